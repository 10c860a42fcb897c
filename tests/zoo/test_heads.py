"""Heads that share keys and values: groups, one for all, and latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference


def reference(name: str, **arguments: Any) -> Any:
    found = find_reference(name)
    assert found is not None
    return found(**arguments)["AV"]


def draw(seed: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def latent(seed: int, P: int = 3, M: int = 7) -> dict[str, Any]:
    H, D, R, L, F = 3, 4, 2, 5, 6
    return draw(
        seed,
        QN=(2, H, P, D),
        QR=(2, H, P, R),
        C=(2, M, L),
        KR=(2, M, R),
        WK=(H, D, L),
        WV=(H, F, L),
    )


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("M0", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("P", [1, 3])
def test_absorbed_is_naive(M0: int, P: int) -> None:
    inputs = latent(M0, P=P)
    naive = Cascade.load("mla-naive").evaluate(inputs, M0=M0)["AV"]
    absorbed = Cascade.load("mla-absorbed").evaluate(inputs, M0=3)["AV"]
    close(naive, absorbed)
    close(naive, reference("latent_attention", **inputs))


def test_latent_attention_without_latents_is_attention() -> None:
    """Identities for the up-projections: the latent is key and value."""
    inputs = latent(0)
    inputs["WK"] = np.broadcast_to(np.eye(4, 5), (3, 4, 5))
    inputs["WV"] = np.broadcast_to(np.eye(5), (3, 5, 5))
    K = np.concatenate([inputs["C"][..., :4], inputs["KR"]], axis=-1)
    Q = np.concatenate([inputs["QN"], inputs["QR"]], axis=-1)
    close(
        reference("latent_attention", **inputs),
        reference("multi_query_attention", Q=Q, K=K, V=inputs["C"]),
    )


@pytest.mark.parametrize(("S", "G"), [(1, 4), (2, 2), (3, 2), (4, 1)])
@pytest.mark.parametrize("M0", [1, 3, 8])
def test_groups(S: int, G: int, M0: int) -> None:
    """Every head beside its own copy of its group's keys and values."""
    inputs = draw(S, Q=(2, G, S, 3, 4), K=(2, G, 7, 4), V=(2, G, 7, 2))
    found = Cascade.load("grouped-query-attention").evaluate(inputs, M0=M0)["AV"]
    close(found, reference("softmax_attention", **copied(inputs)))
    close(found, reference("grouped_query_attention", **inputs))
    if G == 1:
        shared = {n: a[:, 0] for n, a in inputs.items()}
        alone = Cascade.load("multi-query-attention").evaluate(shared, M0=2)["AV"]
        close(alone, found[:, 0])


def copied(inputs: dict[str, Any]) -> dict[str, Any]:
    """Keys and values of a group once for each of its query heads."""
    query_heads = inputs["Q"].shape[:-2]
    return {
        name: array
        if name == "Q"
        else np.broadcast_to(np.expand_dims(array, -3), (*query_heads, *array.shape[-2:]))
        for name, array in inputs.items()
    }


@pytest.mark.parametrize(("P", "M"), [(7, 7), (3, 9), (1, 6), (8, 5)])
@pytest.mark.parametrize("M0", [1, 3, 8])
def test_groups_with_a_mask(P: int, M: int, M0: int) -> None:
    """Beside attention of one head and the same mask: whole, a chunk, decode, more than keys."""
    inputs = draw(P, Q=(2, 2, 3, P, 4), K=(2, 2, M, 4), V=(2, 2, M, 2))
    first = max(P - M, 0)  # queries before it see no key
    for name, more, alone in (
        ("causal", {}, "causal_attention"),
        ("window", {"W": 3}, "window_attention"),
        ("window", {"W": 100}, "causal_attention"),
    ):
        found = Cascade.load(f"grouped-query-attention-{name}").evaluate(inputs, M0=M0, **more)
        wanted = reference(f"grouped_query_attention_{name}", **inputs, **more)
        single = {k: v for k, v in more.items() if alone == "window_attention"}
        close(wanted, reference(alone, **copied(inputs), **single))
        close(found["AV"][..., first:, :], wanted[..., first:, :])


@pytest.mark.parametrize(("P", "M"), [(7, 7), (3, 9), (1, 6), (8, 5)])
@pytest.mark.parametrize("M0", [1, 3, 8])
def test_sinks_of_groups(P: int, M: int, M0: int) -> None:
    """A sink is one more key, seen by all, whose value is zero."""
    inputs = draw(P, Q=(2, 2, 3, P, 4), K=(2, 2, M, 4), V=(2, 2, M, 2), Z=(2, 2, 3))
    name = "grouped-query-attention-sink"
    whole = reference("grouped_query_attention_sink", **inputs)
    close(Cascade.load(name).evaluate(inputs, M0=M0)["AV"], whole)
    for W in (1, 3, 100):
        found = Cascade.load(f"{name}-window").evaluate(inputs, M0=M0, W=W)["AV"]
        wanted = reference("grouped_query_attention_sink_window", **inputs, W=W)
        close(found, wanted)
        if W == 100:
            close(wanted, whole)
    # A sink that is never reached is none; the first queries of M < P have nothing else.
    no_sink = {k: v for k, v in inputs.items() if k != "Z"}
    low = inputs | {"Z": inputs["Z"] - 1e3}
    deep = reference("grouped_query_attention_sink_window", **low, W=3)
    close(deep, reference("grouped_query_attention_window", **no_sink, W=3))
    # The last query sees all keys, as without a mask.
    one = {**copied(no_sink), "Q": inputs["Q"][..., -1:, :], "S": inputs["Z"]}
    close(whole[..., -1:, :], reference("softmax_attention_sink", **one))


def least_traffic(name: str, **shapes: int) -> int:
    traffic = Cascade.load(name).analyze().traffic(buffer=10**12)
    return int(traffic.subs({s: shapes[s.name] for s in traffic.free_symbols}))


def test_the_latent_cache_is_read_once_for_all_heads() -> None:
    """576 words a token: 512 of the latent and 64 of the rotated key (DeepSeek-V3)."""
    model = {"B": 1, "H": 128, "D": 128, "R": 64, "L": 512, "F": 128, "P": 1}
    for name in ("mla-absorbed", "mla-absorbed-2pass", "mla-naive"):
        grown = least_traffic(name, M=4097, **model) - least_traffic(name, M=4096, **model)
        assert grown == 576, name
        # The up-projections are the same for every sequence of the batch.
        two = least_traffic(name, M=4096, **{**model, "B": 2})
        weights = 128 * (128 + 128) * 512
        assert two - weights == 2 * (least_traffic(name, M=4096, **model) - weights), name


def test_a_group_shares_its_cache() -> None:
    """Llama-3-8B: 32 query heads on 8 key/value heads of 128, 2 * 8 * 128 words a token."""
    model = {"B": 1, "G": 8, "S": 4, "E": 128, "F": 128, "P": 1}
    name = "grouped-query-attention"
    grown = least_traffic(name, M=4097, **model) - least_traffic(name, M=4096, **model)
    assert grown == 2 * 8 * 128
