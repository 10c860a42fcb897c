"""Which cascade computes a layer's attention in a phase, and what others leave out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_cases import GEMMA2

from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from workloads import load
from workloads.attention.phases import Tokens

CAUSAL = "grouped-query-attention-causal"
RANKS = ("B", "H", "E", "F", "P", "M")


def write(folder: Path, fields: dict[str, Any], name: str = "config.json") -> str:
    path = folder / name
    path.write_text(json.dumps(fields, indent=1), encoding="utf-8")
    return str(path)


def shapes(name: str, ranks: tuple[str, ...] = RANKS, **fields: Any) -> dict[str, int]:
    return load(name, **fields).shapes_for(ranks)


def test_windows(tmp_path: Path) -> None:
    path = write(tmp_path, GEMMA2)
    short = load(path, seq_len=4096)
    capped = "grouped-query-attention-softcap"
    assert (short.cascade, short.shape("M"), short.shape("W")) == (capped, 4096, None)
    window = f"{capped}-window"
    for phase in (
        {"seq_len": 4097},
        {"phase": "chunked-prefill", "cached_len": 1, "seq_len": 4096},
    ):
        long = load(path, **phase)
        assert (long.cascade, long.shape("M"), long.shape("W")) == (window, 4097, 4096)
    assert load(path, seq_len=4097, layer=1).cascade == capped
    assert load(path, phase="decode", cached_len=4095).shape("M") == 4096
    long = load(path, phase="decode", cached_len=9999)
    assert (long.cascade, long.shape("M")) == (capped, 4096)
    assert "the window lets the query see 4096 of 10000 keys" in long.notes
    assert not any("soft cap" in note for note in long.notes)


SINKS = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 2,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "vocab_size": 201088,
}


@pytest.mark.parametrize(
    ("layer", "tokens", "cascade", "keys", "window"),
    [
        (0, {"seq_len": 1000}, "sink-window", 1000, 128),
        (0, {"seq_len": 128}, "sink", 128, None),
        (1, {"seq_len": 1000}, "sink", 1000, None),
        (0, {"phase": "decode", "cached_len": 999}, "sink", 128, None),
        (1, {"phase": "decode", "cached_len": 999}, "sink", 1000, None),
        (
            0,
            {"phase": "chunked-prefill", "cached_len": 999, "seq_len": 2},
            *("sink-window", 1001, 128),
        ),
    ],
)
def test_sinks(
    tmp_path: Path, layer: int, tokens: dict[str, Any], cascade: str, keys: int, window: int | None
) -> None:
    work = load(write(tmp_path, SINKS), layer=layer, **tokens)
    assert work.cascade == f"grouped-query-attention-{cascade}"
    assert (work.shape("M"), work.shape("W")) == (keys, window)
    program = Cascade.load(work.cascade).program
    assert work.parts[0].left_out_by(program) == ()
    (sinks,) = (
        note
        for note in work.parts[0].left_out_by(Cascade.load("attention-1pass").program)
        if "mask" not in note
    )
    assert sinks == "the sink of every head, one more score a query, is not counted"


@pytest.mark.parametrize(
    ("name", "tokens", "cascade"),
    [
        ("llama-3-8b", {"seq_len": 2}, CAUSAL),
        ("llama-3-8b", {"seq_len": 1}, "grouped-query-attention"),
        ("llama-3-8b", {"P": 3}, CAUSAL),
        ("llama-3-8b", {"phase": "decode", "cached_len": 9, "P": 3, "M": 12}, CAUSAL),
        ("deepseek-v3", {"seq_len": 2}, CAUSAL),
        ("deepseek-v3", {"phase": "decode", "cached_len": 9}, "mla-absorbed"),
        ("mistral-7b", {"seq_len": 4097}, "grouped-query-attention-window"),
        ("mistral-7b", {"P": 8, "M": 5000}, "grouped-query-attention-window"),
        ("vit-b-16", {}, "attention-1pass"),
    ],
)
def test_the_cascade_of_a_layer_leaves_nothing_out(
    name: str, tokens: dict[str, Any], cascade: str
) -> None:
    work = load(name, **tokens)
    assert work.cascade == cascade
    assert work.parts[0].left_out_by(Cascade.load(cascade).program) == ()


def test_more_queries_than_keys_are_refused_where_the_last_is_the_last() -> None:
    for wrong in ({"M": 5}, {"P": 5000}):
        with pytest.raises(SpecError, match=r"[MP]=5.*queries are the last of the keys") as caught:
            load("llama-3-8b", **wrong)
        assert "there are" in str(caught.value)
    assert load("vit-b-16", M=5).shape("P") == 197
    with pytest.raises(SpecError, match="queries are the last of the keys"):
        load("deepseek-v3", M=5)


def test_latent_attention() -> None:
    prefill = load("deepseek-v3", seq_len=100)
    assert prefill.shapes_for(RANKS) == {"B": 1, "H": 128, "E": 192, "F": 128, "P": 100, "M": 100}
    decode = load("deepseek-v3", phase="decode", cached_len=99, batch=2)
    assert decode.shapes_for(RANKS) == {"B": 2, "H": 1, "E": 576, "F": 512, "P": 128, "M": 100}
    assert decode.cascade == "mla-absorbed"
    (note,) = decode.parts[0].left_out_by(Cascade.load("attention-1pass").program)
    assert "1088 words a token instead of 576" in note
    # A cascade on the latent itself takes every width as it is.
    latent = (*RANKS[:2], "D", "R", "L", "F", "P", "M")
    for work in (prefill, decode):
        found = work.shapes_for(latent)
        assert (found["D"], found["R"], found["L"], found["F"]) == (128, 64, 512, 128)
        assert (found["H"], found["P"]) == (128, work.shape("P"))
    # All heads share the one key, however many are computed here.
    assert shapes("deepseek-v3", phase="decode", cached_len=99, H=16)["P"] == 16


def left_out(work: Any, cascade: str = "attention-1pass") -> str:
    return " ".join(work.parts[0].left_out_by(Cascade.load(cascade).program))


def test_what_the_mask_leaves_is_said() -> None:
    """1 + 2 + ... + 100 pairs, and 50 x 1000 + 1 + ... + 50."""
    chunk = load("llama-3-8b", phase="chunked-prefill", cached_len=1000, seq_len=50)
    full = left_out(load("llama-3-8b", seq_len=100))
    assert full.startswith(
        "the causal mask is not applied: 10,000 scores a query head are computed"
    )
    assert full.endswith(" 5,050 of them count")
    assert "52,500 scores a query head are computed, 51,275 of them" in left_out(chunk)
    for work in (load("llama-3-8b", phase="decode", cached_len=9), load("vit-b-16")):
        assert left_out(work) == ""
    # By hand: 3 queries see 4094, 4095 and 4096 keys.
    assert "12,288 scores a query head are computed, 12,285 of them" in left_out(
        load("llama-3-8b", P=3)
    )


def test_what_a_window_leaves_is_said() -> None:
    """Of 5000 queries 4096 see 1 to 4096 keys, the others 4096 each."""
    work = load("mistral-7b", seq_len=5000)
    attended_pairs = 4096 * 4097 // 2 + 904 * 4096
    both = left_out(work)
    assert both == (
        "the causal mask and the window of 4096 keys are not applied: 25,000,000 scores a query"
        f" head are computed, {attended_pairs:,} of them count"
    )
    assert left_out(work, CAUSAL) == (
        f"the window of 4096 keys is not applied: {5000 * 5001 // 2:,} scores a query"
        f" head are computed, {attended_pairs:,} of them count"
    )
    assert left_out(work, "grouped-query-attention-window") == ""


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 20) | st.none())
def test_pairs_are_those_one_by_one(queries: int, cached: int, window: int | None) -> None:
    tokens = Tokens(phase="chunked-prefill", batch=1, seq_len=queries, cached_len=cached)
    keys = range(queries + cached)
    wide = queries + cached if window is None else window
    pairs = [(p, m) for p in range(queries) for m in keys if p + cached - wide < m <= p + cached]
    assert tokens.attended_pairs(window) == len(pairs)
