"""Layers that see other tokens than a model computes: chunks of these, and an encoder's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import LLAMA_4_SCOUT, WHISPER, model_of
from portions import examples

from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from workloads import Workload, load, summarize
from workloads.attention.cascades import attention_of
from workloads.attention.phases import Tokens
from workloads.models import Experts, SoftmaxAttention


def of_fields(folder: Path, fields: dict[str, Any], **more: Any) -> Workload:
    path = folder / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return load(str(path), **more)


@settings(deadline=None, max_examples=examples(50))
@given(
    chunk=st.integers(1, 9),
    cached=st.integers(0, 40),
    queries=st.integers(1, 40),
    batch=st.integers(1, 3),
)
def test_chunks_see_their_own_tokens(chunk: int, cached: int, queries: int, batch: int) -> None:
    """Scores that count, against every query and every key before it in its chunk."""
    mixer = SoftmaxAttention(heads=2, kv_heads=1, qk_width=4, v_width=4, chunk=chunk)
    phase: Any = "chunked-prefill" if cached else "prefill"
    tokens = Tokens(phase=phase, batch=batch, seq_len=queries, cached_len=cached)
    places = range(cached, cached + queries)
    pairs = sum(1 for p in places for m in range(p + 1) if m // chunk == p // chunk)
    inside = len({p // chunk for p in places}) == 1
    if not inside and (cached % chunk or queries % chunk):
        with pytest.raises(SpecError, match="not whole ones"):
            attention_of(mixer, tokens)
        return
    shape = dict(attention_of(mixer, tokens).shapes)
    assert shape["B"] * shape["P"] == batch * queries
    own = Tokens(
        phase="chunked-prefill",
        batch=shape["B"],
        seq_len=shape["P"],
        cached_len=shape["M"] - shape["P"],
    )
    assert shape["B"] * own.attended_pairs() == batch * pairs


@settings(deadline=None, max_examples=examples(30))
@given(reach=st.integers(0, 20), length=st.integers(1, 30))
def test_a_window_that_looks_both_ways(reach: int, length: int) -> None:
    """Against every query and every key."""
    tokens = Tokens(phase="prefill", batch=1, seq_len=length, cached_len=0)
    pairs = sum(abs(p - m) <= reach for p in range(length) for m in range(length))
    assert tokens.attended_pairs_both_sides(min(reach, length - 1)) == pairs
    mixer = SoftmaxAttention(
        heads=2, kv_heads=2, qk_width=4, v_width=4, causal=False, window=2 * reach + 1
    )
    found = attention_of(mixer, tokens)
    if length <= 2 * reach + 1:
        assert found.cascade == "attention-1pass"
        return
    assert found.cascade == "attention-two-sided-window-1pass"
    assert dict(found.shapes)["W"] == reach
    (omission,) = found.omissions
    assert f"{pairs:,} of them count" in omission.note


def test_keys_that_an_indexer_picks() -> None:
    """All of them up to its number, as in DeepSeek-V3; beyond it the latents that are picked."""
    fields: dict[str, Any] = {"phase": "decode", "scope": "block"}
    few = load("deepseek-v3.2", cached_len=2047, **fields)
    many = load("deepseek-v3.2", cached_len=2048, **fields)
    assert few.cascade == "mla-absorbed"
    assert any("the indexer would pick all 2048 keys" in note for note in few.notes)
    assert many.cascade == "deepseek-sparse-attention"
    parts = {part.name: part for part in many.parts}
    shape = parts["attention"].shapes_for(("H", "P", "M", "N", "D", "J", "A", "R", "C", "F"))
    assert shape == {"H": 128, "P": 1, "M": 2049, "N": 64, "D": 128, "J": 2048} | {
        "A": 128,
        "R": 64,
        "C": 512,
        "F": 128,
    }
    assert dict(parts["indexer-query-projection"].shapes) == {"N": 1, "D": 1536, "J": 64 * 128}
    assert dict(parts["indexer-key-projection"].shapes) == {"N": 1, "D": 7168, "J": 128}
    # Keys and values are unfolded inside.
    assert not [name for name in parts if "unfolding" in name or "absorption" in name]
    attention = parts["attention"]
    assert not attention.left_out_by(Cascade.load("deepseek-sparse-attention").program)
    (left,) = attention.left_out_by(Cascade.load("mla-absorbed").program)
    assert "not 2048 that an indexer picks" in left
    # 128 words of every key to the indexer, 576 of those that are picked to the heads.
    macs = dict(summarize(many).operations)["mac"]
    more = dict(summarize(load("deepseek-v3.2", cached_len=4096, **fields)).operations)["mac"]
    assert more - macs == 61 * 2048 * 64 * (128 + 1)


def test_layers_of_modernbert() -> None:
    work = load("modernbert-base", scope="model", seq_len=1000)
    parts = {part.name: part for part in work.parts}
    assert parts["window-129.attention"].times == 14
    assert dict(parts["window-129.attention"].shapes)["W"] == 64
    assert parts["full.attention"].cascade == "attention-1pass"
    assert parts["full.attention"].times == 8
    assert "output-head" not in parts
    whole = load("modernbert-base", cascade="attention-1pass", layer=1, seq_len=1000)
    assert whole.parts[0].left_out_by(Cascade.load("attention-1pass").program)
    with pytest.raises(SpecError, match="3 queries are not all of 1000 tokens"):
        load("modernbert-base", layer=1, M=1000, P=3)


def test_layers_of_llama_4() -> None:
    def chunks(fields: dict[str, Any]) -> list[int | None]:
        model = model_of(LLAMA_4_SCOUT | fields)
        mixers = [model.layer(i).mixer for i in range(8)]
        return [m.chunk for m in mixers if isinstance(m, SoftmaxAttention)]

    three_of_four = [8192, 8192, 8192, None] * 2
    assert chunks({}) == three_of_four
    assert chunks({"no_rope_layers": None}) == three_of_four
    assert chunks({"no_rope_layers": [], "no_rope_layer_interval": 2}) == [8192, None] * 4
    kinds = ["full_attention", "chunked_attention"] * 24
    assert chunks({"layer_types": kinds, "attention_chunk_size": 64}) == [None, 64] * 4
    assert chunks({"attention_chunk_size": None}) == [None] * 8

    def sparse(fields: dict[str, Any]) -> list[int]:
        model = model_of(LLAMA_4_SCOUT | fields)
        return [i for i in range(6) if isinstance(model.layer(i).ffn, Experts)]

    assert sparse({}) == [0, 1, 2, 3, 4, 5]
    assert sparse({"interleave_moe_layer_step": 2}) == [1, 3, 5]
    assert sparse({"moe_layers": [2, 3]}) == [2, 3]
    dense = {"moe_layers": [], "num_experts_per_tok": 0, "interleave_moe_layer_step": 0}
    assert sparse(dense) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"moe_layers": [48]}, "moe_layers: the layers are 0 to 47, got 48"),
        ({"num_local_experts": 0}, "some layers have experts, and this is 0"),
        ({"num_experts_per_tok": 17}, "a token goes to 17 experts, there are 16"),
        ({"no_rope_layers": [1] * 3}, "expected one entry for each of 48 layers"),
        ({"no_rope_layers": [2] * 48}, "expected 0 or 1, got 2"),
        ({"layer_types": ["sliding_attention"] * 48}, "expected 'full_attention' or"),
        (
            {"layer_types": ["chunked_attention"] * 48, "attention_chunk_size": None},
            "needs an attention_chunk_size",
        ),
        ({"quantization_config": {"quant_method": "hqq"}}, "quantised by 'hqq' are not read"),
    ],
)
def test_bad_fields_of_llama_4(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        model_of(LLAMA_4_SCOUT | fields)


def test_a_model_with_chunks_in_some_layers(tmp_path: Path) -> None:
    fields = LLAMA_4_SCOUT | {"attention_chunk_size": 1024}
    work = of_fields(tmp_path, fields, scope="model", seq_len=4096, batch=2)
    parts = {part.name: dict(part.shapes) for part in work.parts}
    chunked, full = (parts[f"{kind}.attention"] for kind in ("chunk-1024", "full"))
    assert (chunked["B"], chunked["P"], chunked["M"]) == (8, 1024, 1024)
    assert (full["B"], full["P"], full["M"]) == (2, 4096, 4096)
    assert parts["chunk-1024.key-projection"]["N"] == parts["full.router"]["N"] == 8192
    assert parts["output-head"]["N"] == 2
    assert work.tokens == 8192
    decode = of_fields(tmp_path, fields, scope="model", phase="decode", cached_len=2500)
    keys = {part.name: dict(part.shapes).get("M") for part in decode.parts}
    assert (keys["chunk-1024.attention"], keys["full.attention"]) == (453, 2501)
    assert dict(summarize(decode).layers) == {"GQA-chunk-1024": 36, "GQA-full": 12}
    with pytest.raises(SpecError, match="take a multiple of 1024 tokens"):
        of_fields(tmp_path, fields, seq_len=1500)


def test_whisper_hears_as_long_as_it_always_does(tmp_path: Path) -> None:
    work = of_fields(tmp_path, WHISPER, scope="model", seq_len=4, batch=2)
    parts = {part.name: dict(part.shapes) for part in work.parts}
    assert (parts["encoder.attention"]["P"], parts["encoder.attention"]["M"]) == (1500, 1500)
    assert parts["encoder.ffn-up"]["N"] == parts["decoder.cross-key-projection"]["N"] == 3000
    assert (parts["decoder.attention"]["P"], parts["decoder.attention"]["M"]) == (4, 4)
    assert (parts["decoder.cross-attention"]["P"], parts["decoder.cross-attention"]["M"]) == (
        4,
        1500,
    )
    assert parts["decoder.cross-query-projection"]["N"] == 8
    assert work.tokens == 8
    token = of_fields(tmp_path, WHISPER, scope="model", phase="decode", cached_len=9)
    keys = {part.name: dict(part.shapes).get("M") for part in token.parts}
    assert (keys["attention"], keys["cross-attention"]) == (10, 1500)
    assert "cross-key-projection" not in keys
    assert any("the encoder's output is 1500 tokens long" in said for said in token.left_out)
    lengths: dict[str, Any] = {"phase": "request", "prompt_len": 4, "answer_len": 3}
    asked = of_fields(tmp_path, WHISPER, scope="model", **lengths)
    stages = {part.name: part.times for part in asked.parts}
    assert stages["prefill.encoder.attention"] == 32
    assert stages["decode.cross-attention"] == 64
    found = summarize(work)
    assert found.cache_bytes_per_token == 2 * 32 * 20 * (64 + 64)
    # Decoder, cross attention without its keys, 4 and 1500 keys of 20 heads, the words.
    layer = 4 * 1280**2 + 2 * 1280**2 + 2 * 1280 * 5120 + 20 * (64 + 64) * (4 + 1500)
    assert dict(found.operations)["mac"] == 32 * layer + 1280 * 51866
