"""FlashAttention-2 and Flash-Decoding: any tiles, masks, gradients by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference

TILES = [(1, 1), (2, 3), (3, 2), (4, 4), (7, 5), (16, 16)]


def arrays(seed: int, P: int, M: int, E: int = 4, F: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"Q": (2, 1, P, E), "K": (2, 1, M, E), "V": (2, 1, M, F)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def reference(name: str, **arguments: Any) -> dict[str, Any]:
    found = find_reference(name)
    assert found is not None
    return found(**arguments)


def agree(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(("P0", "M0"), TILES)
@pytest.mark.parametrize(
    ("cascade", "name"),
    [
        ("flash-attention-2", "flash_attention"),
        ("flash-attention-2-causal", "flash_attention_causal"),
    ],
)
def test_forward_does_not_depend_on_tiles(cascade: str, name: str, P0: int, M0: int) -> None:
    inputs = arrays(P0, P=7, M=11)
    found = Cascade.load(cascade).evaluate(inputs, P0=P0, M0=M0)
    agree(found, reference(name, **inputs))


@pytest.mark.parametrize(("P0", "M0"), TILES)
def test_backward_does_not_depend_on_tiles(P0: int, M0: int) -> None:
    inputs = arrays(P0, P=7, M=11)
    forward = reference("flash_attention", **inputs)
    DO = np.random.default_rng(9).normal(size=forward["AV"].shape)
    given = {**inputs, "AV": forward["AV"], "L": forward["L"], "DO": DO}
    found = Cascade.load("flash-attention-2-backward").evaluate(given, P0=P0, M0=M0)
    agree(found, reference("flash_attention_backward", **given))


def test_backward_is_the_gradient_of_the_forward_cascade() -> None:
    forward = Cascade.load("flash-attention-2")
    inputs = {n: a[:1] for n, a in arrays(3, P=4, M=5, E=3, F=2).items()}
    saved = forward.evaluate(inputs, P0=3, M0=2)
    DO = np.random.default_rng(4).normal(size=saved["AV"].shape)
    given = {**inputs, "AV": saved["AV"], "L": saved["L"], "DO": DO}
    found = Cascade.load("flash-attention-2-backward").evaluate(given, P0=2, M0=3)

    def loss(name: str, at: tuple[int, ...], step: float) -> float:
        moved = {n: a.copy() for n, a in inputs.items()}
        moved[name][at] += step
        return float((forward.evaluate(moved, P0=3, M0=2)["AV"] * DO).sum())

    for name in ("Q", "K", "V"):
        for at in np.ndindex(inputs[name].shape):
            slope = (loss(name, at, 1e-5) - loss(name, at, -1e-5)) / 2e-5
            assert found[f"D{name}"][at] == pytest.approx(slope, abs=1e-8), (name, at)


@pytest.mark.parametrize(("M1", "M0"), [(1, 1), (1, 4), (2, 2), (3, 1), (5, 3), (1, 13)])
def test_any_number_of_splits(M1: int, M0: int) -> None:
    """From one split of everything to one split for every key; the last one may be short."""
    inputs = arrays(M1, P=1, M=13)
    found = Cascade.load("flash-decoding").evaluate(inputs, M1=M1, M0=M0)
    agree(found, reference("softmax_attention", **inputs))


@pytest.mark.parametrize(("P", "M"), [(1, 6), (4, 6), (6, 6), (9, 6)])
@pytest.mark.parametrize("M0", [1, 2, 4, 6])
def test_causal_forms_agree(P: int, M: int, M0: int) -> None:
    inputs = arrays(P, P, M)
    wanted = reference("causal_attention", **inputs)
    agree(Cascade.load("attention-causal").evaluate(inputs), wanted)
    agree(Cascade.load("attention-causal-1pass").evaluate(inputs, M0=M0), wanted)


@pytest.mark.parametrize("W", [1, 2, 3, 20])
@pytest.mark.parametrize("M0", [1, 2, 4, 7])
def test_window_forms_agree(W: int, M0: int) -> None:
    """Tiles that lie wholly outside of a window leave the running state as it is."""
    inputs = arrays(W, P=5, M=7)
    wanted = reference("window_attention", **inputs, W=W)
    agree(Cascade.load("attention-sliding-window").evaluate(inputs, W=W), wanted)
    agree(Cascade.load("attention-sliding-window-1pass").evaluate(inputs, W=W, M0=M0), wanted)


def test_a_window_as_long_as_the_keys_is_a_causal_mask() -> None:
    inputs = arrays(0, P=5, M=7)
    agree(reference("window_attention", **inputs, W=7), reference("causal_attention", **inputs))


def test_the_last_query_sees_every_key() -> None:
    inputs = arrays(0, P=3, M=7)
    last = {**inputs, "Q": inputs["Q"][..., -1:, :]}
    found = reference("causal_attention", **inputs)["AV"][..., -1:, :]
    agree({"AV": found}, reference("softmax_attention", **last))


@pytest.mark.parametrize("M0", [1, 3, 7])
def test_sinks_in_one_pass(M0: int) -> None:
    inputs = {**arrays(0, P=3, M=7), "S": np.array([[0.3], [-2.0]])}
    found = Cascade.load("attention-sink-1pass").evaluate(inputs, M0=M0)
    agree(found, reference("softmax_attention_sink", **inputs))


def test_a_masked_cascade_counts_what_its_mask_lets_through() -> None:
    """Triangles and bands, aligned at the last key, by counting pairs one by one."""
    P, M, W = 5, 9, 3
    sizes = {"P": P, "M": M, "E": 1, "F": 1, "B": 1, "H": 1}
    pairs = [(p + M - P, m) for p in range(P) for m in range(M)]
    causal = sum(m <= last for last, m in pairs)
    window = sum(last - W < m <= last for last, m in pairs)
    for name, kept in (("attention-causal", causal), ("attention-sliding-window", window)):
        counted = dict(Cascade.load(name).analyze().operations)
        at = {"W": W, **sizes}
        exponentials = counted["exp"].subs({s: at[s.name] for s in counted["exp"].free_symbols})
        assert exponentials == kept, name


@pytest.mark.parametrize("M0", [1, 2, 3, 5, 11, 16])
def test_an_output_divided_in_every_tile_is_the_same(M0: int) -> None:
    inputs = arrays(M0, P=7, M=11)
    found = Cascade.load("flash-attention").evaluate(inputs, M0=M0)
    agree(found, reference("softmax_attention", **inputs))
    assert Cascade.load("flash-attention").passes("M").count == 1
