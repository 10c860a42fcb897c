"""Picked keys, turned keys, deep memories, gradients of groups: limits, chunks, passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_checks import close, draw, reference

from archsim import Architecture, simulate
from einsum_cascade import Cascade
from einsum_cascade.errors import RewriteError
from workloads import load

HEAD = {"Q": (2, 3, 7, 4), "K": (2, 3, 9, 4), "V": (2, 3, 9, 5)}


def evaluated(name: str, inputs: dict[str, Any], **numbers: Any) -> dict[str, Any]:
    return Cascade.load(name).evaluate(inputs, **numbers)


# ------------------------------------------------------------------ blocks


@pytest.mark.parametrize("length", [1, 2, 4, 9])
def test_all_blocks_are_causal_attention(length: int) -> None:
    """Also a last block of one key (lengths 2 and 4 of 9 keys)."""
    inputs = draw(1, **HEAD)
    blocks = -(-9 // length)
    found = evaluated("mixture-of-block-attention", inputs, U=length, J=blocks)["O"]
    close(found, reference("causal_attention", **inputs)["AV"])


@pytest.mark.parametrize(("queries", "length", "picks"), [(9, 2, 2), (7, 4, 3), (11, 3, 1)])
def test_blocks_are_picked_as_the_reference_picks(queries: int, length: int, picks: int) -> None:
    inputs = draw(2, **HEAD | {"Q": (2, 3, queries, 4)})
    found = evaluated("mixture-of-block-attention", inputs, U=length, J=picks)["O"]
    wanted = reference("mixture_of_block_attention", **inputs, U=length, J=picks)["O"]
    close(found, wanted)


def branches(queries: int, gates: tuple[float, float, float]) -> dict[str, Any]:
    """Inputs of native sparse attention with gates of 1 and 0."""
    found = draw(3, Q=(2, 3, 4, queries, 4), K=(2, 3, 9, 4), V=(2, 3, 9, 5))
    opened = {
        n: np.full((2, 3, 4, queries), g) for n, g in zip(("GC", "GS", "GW"), gates, strict=True)
    }
    return found | opened


def test_branches_of_native_sparse_attention_one_by_one() -> None:
    """Compressed alone over blocks of one key is causal attention; so are all blocks, and a window
    as long as the keys."""
    shut, opened = -800.0, 800.0
    for gates, length in (((opened, shut, shut), 1), ((shut, opened, shut), 4)):
        inputs = branches(9, gates)
        picks = -(-9 // length)
        found = evaluated("native-sparse-attention", inputs, W=1, U=length, J=picks)["O"]
        for s in range(4):
            one = {"Q": inputs["Q"][:, :, s], "K": inputs["K"], "V": inputs["V"]}
            close(found[:, :, s], reference("causal_attention", **one)["AV"])
    inputs = branches(9, (shut, shut, opened))
    found = evaluated("native-sparse-attention", inputs, W=3, U=4, J=2)["O"]
    one = {"Q": inputs["Q"][:, :, 1], "K": inputs["K"], "V": inputs["V"]}
    close(found[:, :, 1], reference("window_attention", **one, W=3)["AV"])


@pytest.mark.parametrize(("queries", "length", "picks"), [(9, 2, 4), (7, 4, 3), (9, 1, 5)])
def test_picks_of_native_sparse_attention(queries: int, length: int, picks: int) -> None:
    inputs = branches(queries, (0.3, 1.0, -0.5))
    found = evaluated("native-sparse-attention", inputs, W=3, U=length, J=picks)["O"]
    wanted = reference("native_sparse_attention", **inputs, W=3, U=length, J=picks)["O"]
    close(found, wanted)


# ------------------------------------------------------------------ the indexer


def latent(queries: int, keys: int) -> dict[str, Any]:
    return draw(
        4,
        QI=(2, queries, 5, 3),
        KI=(2, keys, 3),
        IW=(2, queries, 5),
        QN=(2, 2, queries, 4),
        QR=(2, 2, queries, 2),
        CKV=(2, keys, 6),
        KR=(2, keys, 2),
        WK=(2, 4, 6),
        WV=(2, 3, 6),
    )


@pytest.mark.parametrize(("queries", "keys", "picks"), [(7, 7, 3), (1, 9, 4), (5, 9, 1), (9, 5, 2)])
def test_the_indexer_picks_for_all_heads(queries: int, keys: int, picks: int) -> None:
    inputs = latent(queries, keys)
    found = evaluated("deepseek-sparse-attention", inputs, J=picks)["O"]
    close(found, reference("deepseek_sparse_attention", **inputs, J=picks)["O"], 10)


def shared_picks(inputs: dict[str, Any], picks: int) -> dict[str, Any]:
    """Return the keys that a sharing layer reads: each query's best ones, and 0 if there are
    none."""
    late = inputs["KI"].shape[1] - inputs["QI"].shape[1]
    scores = np.einsum("bpnd,bmd->bpnm", inputs["QI"], inputs["KI"])
    index = np.einsum("bpn,bpnm->bpm", inputs["IW"], np.maximum(scores, 0))
    found = np.zeros((*index.shape[:2], picks), dtype=np.int64)
    for b, p in np.ndindex(index.shape[:2]):
        seen = p + late + 1
        best = np.argsort(-index[b, p, : max(0, seen)], kind="stable")[:picks]
        found[b, p, : len(best)] = best
    return {n: inputs[n] for n in ("QN", "QR", "CKV", "KR", "WK", "WV")} | {"IX": found}


@pytest.mark.parametrize(("queries", "keys", "picks"), [(7, 7, 3), (1, 9, 4), (5, 9, 1), (6, 8, 8)])
def test_picks_of_a_layer_before(queries: int, keys: int, picks: int) -> None:
    """With the picks that its own indexer would make, a layer that shares them is the same."""
    inputs = latent(queries, keys)
    given = shared_picks(inputs, picks)
    found = evaluated("deepseek-sparse-attention-shared", given)["O"]
    close(found, evaluated("deepseek-sparse-attention", inputs, J=picks)["O"], 10)
    close(found, reference("deepseek_sparse_attention_shared", **given)["O"], 10)


def test_as_many_picks_as_keys_are_dense_latent_attention() -> None:
    """Return each query attends all keys that it sees, however the indexer weighs them."""
    inputs = latent(1, 8)
    dense = {n: inputs[n] for n in ("QN", "QR", "KR")}
    weights = {"C": inputs["CKV"], "WK": inputs["WK"], "WV": inputs["WV"]}
    wanted = reference("latent_attention", **dense, **weights)["AV"]
    close(evaluated("deepseek-sparse-attention", inputs, J=8)["O"], wanted, 10)


# ------------------------------------------------------------------ turned keys


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 10])
def test_turned_keys_chunk_by_chunk(size: int) -> None:
    shapes = {"Q": (2, 7, 4), "K": (2, 7, 4), "V": (2, 7, 3), "W": (2, 7, 4)}
    inputs = draw(5, **{n: (2, *s) for n, s in shapes.items()})
    inputs["BETA"] = np.random.default_rng(5).uniform(0, 2, (2, 2, 7))
    wanted = reference("path_attention", **inputs)["O"]
    close(evaluated("path-attention-chunked", inputs, P0=size)["O"], wanted, 10)
    close(evaluated("path-attention-chunked-1pass", inputs, P0=size)["O"], wanted, 10)
    close(evaluated("path-attention-1pass", inputs, M0=size)["O"], wanted, 10)
    if size == 1:
        close(evaluated("path-attention", inputs)["O"], wanted, 10)
        inputs["BETA"][:] = 0
        causal = reference("causal_attention", **{n: inputs[n] for n in "QKV"})["AV"]
        close(evaluated("path-attention-chunked", inputs, P0=3)["O"], causal)


# ------------------------------------------------------------------ a deep memory


def memory(length: int) -> dict[str, Any]:
    found = draw(6, Q=(2, 2, length, 3), K=(2, 2, length, 3), V=(2, 2, length, 4))
    rng = np.random.default_rng(6)
    for name, most in (("AL", 0.5), ("ET", 0.9), ("TH", 0.03)):
        found[name] = rng.uniform(0, most, (2, 2, length))
    return found | {
        "W1": rng.normal(scale=0.5, size=(2, 3, 5)),
        "W2": rng.normal(scale=0.5, size=(2, 5, 4)),
    }


@pytest.mark.parametrize("size", [1, 2, 4, 7, 9])
def test_a_deep_memory_learns_as_its_reference(size: int) -> None:
    inputs = memory(7)
    wanted = reference("titans_deep_memory", **inputs, P0=size)["Y"]
    close(evaluated("titans-deep-chunked", inputs, P0=size)["Y"], wanted, 10)
    if size == 1:
        close(evaluated("titans-deep-recurrent", inputs)["Y"], wanted, 10)


def test_its_first_step_goes_down_the_slope() -> None:
    """Return one token, no forgetting: the first layer moves by -theta times the slope of the
    loss."""
    drawn = memory(1)
    inputs = {n: a[:1] if n in ("W1", "W2") else a[:1, :1] for n, a in drawn.items()}
    inputs["AL"] = np.zeros((1, 1, 1))
    theta = inputs["TH"][0, 0, 0]
    kept = Cascade.load("titans-deep-recurrent").evaluate(inputs, keep="all")
    moved = kept["MA"][0, 0, 1] - inputs["W1"][0]

    def loss(first: Any) -> float:
        inner = inputs["K"][0, 0, 0] @ first
        hidden = inner / (1 + np.exp(-inner))
        return float(((hidden @ inputs["W2"][0] - inputs["V"][0, 0, 0]) ** 2).sum())

    for at in np.ndindex(3, 5):
        step = np.zeros((3, 5))
        step[at] = 1e-6
        slope = (loss(inputs["W1"][0] + step) - loss(inputs["W1"][0] - step)) / 2e-6
        assert moved[at] == pytest.approx(-theta * slope, abs=1e-8)


# ------------------------------------------------------------------ gradients of groups


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 7), (7, 4)])
def test_gradients_of_groups(queries: int, keys: int) -> None:
    """Against the slope of the loss, at every element of K, and the reference for the rest."""
    inputs = draw(7, Q=(1, 1, 2, queries, 3), K=(1, 1, keys, 3), V=(1, 1, keys, 2))
    weights = np.random.default_rng(8).normal(size=(1, 1, 2, queries, 2))
    repeated = {n: np.repeat(inputs[n][:, :, None], 2, axis=2) for n in "KV"}
    forward = reference("flash_attention_causal", Q=inputs["Q"], **repeated)
    logs = np.where(forward["L"] == -np.inf, 0.0, forward["L"])
    given = inputs | {"AV": forward["AV"], "L": logs, "DO": weights}
    found = evaluated("flash-attention-2-backward-grouped", given, P0=2, M0=3)
    wanted = reference("flash_attention_backward_grouped", **given)
    for name, value in wanted.items():
        close(found[name], value)

    def loss(moved: Any) -> float:
        keys_of = np.repeat(moved[:, :, None], 2, axis=2)
        out = reference("flash_attention_causal", Q=inputs["Q"], K=keys_of, V=repeated["V"])
        return float((out["AV"] * weights).sum())

    for at in np.ndindex(keys, 3):
        step = np.zeros_like(inputs["K"])
        step[(0, 0, *at)] = 1e-6
        slope = (loss(inputs["K"] + step) - loss(inputs["K"] - step)) / 2e-6
        assert found["DK"][(0, 0, *at)] == pytest.approx(slope, abs=1e-7)


# ------------------------------------------------------------------ passes, rewrites, machines


@pytest.mark.parametrize(
    ("name", "rank", "count"),
    [
        # The indexer's keys are swept, then the picks are fetched: other tensors, one pass each.
        ("deepseek-sparse-attention", "M", 1),
        ("deepseek-sparse-attention", "J", 2),
        ("deepseek-sparse-attention-shared", "M", 1),
        ("deepseek-sparse-attention-shared", "J", 2),
        # Keys for their means, and again where they are picked.
        ("mixture-of-block-attention", "M", 2),
        ("native-sparse-attention", "M", 2),
        ("path-attention", "M", 2),
        ("path-attention-chunked", "P", 1),
        ("titans-deep-chunked", "P", 1),
        ("flash-attention-2-backward-grouped", "M", 1),
        ("flash-attention-2-backward-grouped", "P", 1),
    ],
)
def test_passes(name: str, rank: str, count: int) -> None:
    assert Cascade.load(name).passes(rank).count == count


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("deepseek-sparse-attention", "J"),
        ("deepseek-sparse-attention-shared", "J"),
        ("mixture-of-block-attention", "J"),
        ("path-attention", "M"),
    ],
)
def test_one_pass_over_what_is_attended_is_derived(name: str, rank: str) -> None:
    derived = Cascade.load(name).rewrite(f"reduce_passes:{rank}")
    assert derived.result.passes(rank).count == 1
    assert derived.proof is not None
    assert derived.proof.error_float64 < 1e-12


@pytest.mark.parametrize(
    "name", ["deepseek-sparse-attention", "mixture-of-block-attention", "native-sparse-attention"]
)
def test_what_is_picked_is_known_after_a_sweep(name: str) -> None:
    with pytest.raises(RewriteError, match="topk is a selection"):
        Cascade.load(name).rewrite("reduce_passes:M")


def test_they_run_on_a_machine() -> None:
    machine = Architecture.load("fusemax")
    for name in ("mixture-of-block-attention", "path-attention", "titans-deep-chunked"):
        workload = load("bert-base", seq_len=2048, batch=1, cascade=name)
        found = simulate(workload, machine)
        assert found.latency_s >= found.floor.latency_s > 0
