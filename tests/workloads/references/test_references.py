"""The shipped references against plain loops, and against what they must satisfy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import loops
import numpy as np
import pytest

from einsum_cascade import Cascade
from einsum_cascade.yaml.library import builtin_names
from workloads.references import REFERENCES, Reference, find_reference

SHAPES = [(5, 7, 3, 4), (7, 5, 1, 2), (1, 1, 2, 1), (6, 6, 4, 3)]


def draw(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def call(name: str, *args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
    """The only output of a reference."""
    found = find_reference(name)
    assert found is not None
    (result,) = found.function(*args, **kwargs).values()
    return result


ATTENTION: list[tuple[str, dict[str, Any], Callable[..., Any]]] = [
    ("softmax_attention", {}, loops.attend),
    ("softmax_attention_causal", {}, lambda q, k, v: loops.attend(q, k, v, lambda p, m: m <= p)),
    (
        "sliding_window_attention",
        {"W": 3},
        lambda q, k, v: loops.attend(q, k, v, lambda p, m: p - 3 < m <= p),
    ),
    (
        "softmax_attention_temperature",
        {"tau": 0.6},
        lambda q, k, v: loops.attend(q, k, v, temperature=0.6),
    ),
    (
        "softmax_attention_sink",
        {"S": np.array(0.4)},
        lambda q, k, v: loops.attend(q, k, v, sink=0.4),
    ),
    ("squared_softmax_attention", {}, lambda q, k, v: loops.attend(q, k, v, power=2)),
    ("linear_attention", {}, lambda q, k, v: loops.linear(q, k, v, lambda p, m: True)),
    ("linear_attention_causal", {}, lambda q, k, v: loops.linear(q, k, v, lambda p, m: m <= p)),
    ("lightning_attention", {"lam": 0.8}, lambda q, k, v: loops.decayed(q, k, v, 0.8)),
]


@pytest.mark.parametrize(("name", "extra", "slow"), ATTENTION, ids=[a[0] for a in ATTENTION])
@pytest.mark.parametrize(("P", "M", "E", "F"), SHAPES)
def test_attention(
    name: str, extra: dict[str, Any], slow: Callable[..., Any], P: int, M: int, E: int, F: int
) -> None:
    q, k, v = draw(P, (P, E), (M, E), (M, F))
    if name == "sliding_window_attention" and P > M:
        k, v = draw(P, (P, E), (P, F))
    expected = slow(q.tolist(), k.tolist(), v.tolist())
    np.testing.assert_allclose(call(name, q, k, v, **extra), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "extra"), [a[:2] for a in ATTENTION], ids=[a[0] for a in ATTENTION]
)
def test_parallel_ranks_are_independent(name: str, extra: dict[str, Any]) -> None:
    q, k, v = draw(0, (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2))
    lifted = {n: np.full((2, 3), x) if n == "S" else x for n, x in extra.items()}
    whole = call(name, q, k, v, **lifted)
    for b in range(2):
        for h in range(3):
            one = call(name, q[b, h], k[b, h], v[b, h], **extra)
            np.testing.assert_allclose(whole[b, h], one, rtol=1e-12, atol=1e-14)


def test_scores_may_be_large() -> None:
    q, k, v = (np.array([[1000.0]]), np.array([[1.0], [-1.0]]), np.array([[2.0], [3.0]]))
    assert call("softmax_attention", q, k, v) == [[2.0]]


def test_a_query_without_keys_gives_nothing() -> None:
    q, k, v = draw(0, (6, 2), (2, 2), (2, 3))
    result = call("sliding_window_attention", q, k, v, W=2)
    assert np.isfinite(result).all()
    assert (result[3:] == 0).all()


def test_backward_is_the_gradient() -> None:
    arrays = dict(zip(("Q", "K", "V", "DO"), draw(1, (6, 3), (6, 3), (6, 2), (6, 2)), strict=True))
    found = find_reference("lightning_attention_backward")
    assert found is not None
    gradients = found(**arrays, lam=0.7)

    def loss(name: str, at: tuple[int, ...], step: float) -> float:
        moved = {n: a.copy() for n, a in arrays.items() if n != "DO"}
        moved[name][at] += step
        return float((call("lightning_attention", **moved, lam=0.7) * arrays["DO"]).sum())

    for name in ("Q", "K", "V"):
        for at in np.ndindex(arrays[name].shape):
            slope = (loss(name, at, 1e-5) - loss(name, at, -1e-5)) / 2e-5
            assert gradients[f"D{name}"][at] == pytest.approx(slope, abs=1e-8)


def test_normalizations() -> None:
    x, t, g, b = draw(2, (4, 6), (4, 6), (6,), (6,))
    (w,) = draw(3, (6, 3))
    rows = x.tolist()
    lse = [loops.log_sum_exp(r) for r in rows]
    close = np.testing.assert_allclose
    close(call("log_softmax", x), [[e - s for e in r] for r, s in zip(rows, lse, strict=True)])
    close(call("softmax", x), np.exp([[e - s for e in r] for r, s in zip(rows, lse, strict=True)]))
    loss = [s - loops.dot(r, y) for r, y, s in zip(rows, t.tolist(), lse, strict=True)]
    close(call("cross_entropy", x, t), loss)
    normed = [loops.layer_norm(r, g.tolist(), b.tolist(), 1e-3) for r in rows]
    close(call("layer_norm", x, g, b, 1e-3), normed)
    scaled = [loops.rms_norm(r, g.tolist(), 1e-3) for r in rows]
    close(call("rms_norm", x, g, 1e-3), scaled)
    projected = [[loops.dot(r, c) for c in w.T.tolist()] for r in scaled]
    close(call("rms_norm_projection", x, g, w, 1e-3), projected)


def gelu(u: float) -> float:
    return u * (1 + math.erf(u / math.sqrt(2))) / 2


def gpt_oss(g: float, u: float, limit: float, slope: float) -> float:
    g, u = min(g, limit), sorted((-limit, u, limit))[1]
    return (u + 1) * g / (1 + math.exp(-slope * g))


def test_linear_layers() -> None:
    x, w, v = draw(5, (4, 6), (6, 3), (6, 3))
    close = np.testing.assert_allclose
    rows, gate = ([[loops.dot(r, c) for c in a.T.tolist()] for r in x.tolist()] for a in (w, v))
    close(call("linear_layer", x, w), rows)
    close(call("linear_layer_relu", x, w), [[u if u > 0 else 0 for u in r] for r in rows])
    close(call("linear_layer_gelu", x, w), [[gelu(u) for u in r] for r in rows])
    gated = [
        [g / (1 + math.exp(-g)) * u for g, u in zip(a, b, strict=True)]
        for a, b in zip(gate, rows, strict=True)
    ]
    close(call("linear_layer_swiglu", x, v, w), gated)
    for limit, slope in ((0.5, 1.702), (100.0, 1.0)):
        clamped = [
            [gpt_oss(g, u, limit, slope) for g, u in zip(*rc, strict=True)]
            for rc in zip(gate, rows, strict=True)
        ]
        close(call("linear_layer_swiglu_clamped", x, v, w, limit, slope), clamped)
    (w2,) = draw(6, (3, 6))
    inner = [[gelu(u) for u in r] for r in rows]
    close(call("feed_forward", x, w, w2), [[loops.dot(r, c) for c in w2.T.tolist()] for r in inner])


def test_large_arguments_do_not_overflow() -> None:
    x, w = np.array([[1000.0]]), np.array([[-1.0, 1.0]])
    assert call("linear_layer_swiglu", x, w, w).tolist() == [[0.0, 1e6]]
    assert call("linear_layer_gelu", x, w).tolist() == [[0.0, 1000.0]]


def test_projections_of_heads() -> None:
    x, wq, wk, wv = draw(7, (4, 6), (6, 3, 2), (6, 3, 2), (6, 3, 5))
    found = find_reference("projections")
    assert found is not None
    made = found(X=x, WQ=wq, WK=wk, WV=wv)
    for name, weight in (("Q", wq), ("K", wk), ("V", wv)):
        for h, n, e in np.ndindex(made[name].shape):
            wanted = loops.dot(x[n].tolist(), weight[:, h, e].tolist())
            assert made[name][h, n, e] == pytest.approx(wanted)
    av, wo = draw(8, (3, 4, 5), (3, 5, 6))
    out = call("output_projection", av, wo)
    assert out.shape == (4, 6)
    for n, d in np.ndindex(out.shape):
        wanted = sum(loops.dot(av[h, n].tolist(), wo[h, :, d].tolist()) for h in range(3))
        assert out[n, d] == pytest.approx(wanted)


def test_cross_entropy_is_that_of_a_distribution() -> None:
    x, t = draw(4, (3, 5), (3, 5))
    target = np.exp(t) / np.exp(t).sum(-1, keepdims=True)
    expected = -(target * np.log(call("softmax", x))).sum(-1)
    np.testing.assert_allclose(call("cross_entropy", x, target), expected)


def test_registry() -> None:
    names = [r.name for r in REFERENCES]
    assert len(set(names)) == len(names)
    assert find_reference("softmax_attention") in REFERENCES
    assert find_reference("softmax-attention") is None
    assert all(isinstance(r, Reference) and r.function.__doc__ for r in REFERENCES)


def test_every_builtin_cascade_finds_its_reference() -> None:
    for name in builtin_names("cascades"):
        program = Cascade.load(name).program
        if not program.reference:
            continue
        found = find_reference(program.reference)
        assert found is not None, f"{name}: {program.reference}"
        parameters = inspect.signature(found.function).parameters
        taken = list(parameters)
        given = [t.name for t in program.inputs] + [p.name for p in program.parameters]
        assert set(given) <= set(taken), name
        optional = {n for n, p in parameters.items() if p.default is not p.empty}
        shapes = {r.name for r in program.ranks}
        assert set(taken) - set(given) <= shapes | optional, name
