"""Falcon and MPT: heads of keys, norms, biases and positions as their fields say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from later_cases import FALCON_7B, FALCON_40B, FALCON_RW, MPT_7B
from model_cases import model_of

from archsim import simulate
from einsum_cascade.errors import SpecError
from workloads import load
from workloads.models import SoftmaxAttention


def mixer_of(fields: dict[str, Any]) -> SoftmaxAttention:
    found = model_of(fields).layer(0).mixer
    assert isinstance(found, SoftmaxAttention)
    return found


def parameters(fields: dict[str, Any]) -> int:
    found = model_of(fields).parameters
    assert found is not None
    return found


def attention(**fields: Any) -> dict[str, Any]:
    """MPT with other fields of its attention."""
    return MPT_7B | {"attn_config": MPT_7B["attn_config"] | fields}


@pytest.mark.parametrize(
    ("fields", "kv_heads", "alibi"),
    [
        (FALCON_7B, 1, False),
        # As published: only the newer ones heed the number of heads of keys.
        (FALCON_7B | {"num_kv_heads": 71}, 1, False),
        (FALCON_7B | {"multi_query": False}, 71, False),
        (FALCON_40B, 8, False),
        (FALCON_40B | {"multi_query": False}, 8, False),
        (
            {k: v for k, v in FALCON_40B.items() if k != "num_kv_heads"} | {"n_head_kv": 16},
            16,
            False,
        ),
        (FALCON_RW, 32, True),
        (FALCON_40B | {"alibi": True}, 8, True),
        (MPT_7B, 32, True),
        (attention(attn_type="multiquery_attention"), 1, True),
        (attention(attn_type="grouped_query_attention", kv_n_heads=8), 8, True),
        (attention(alibi=False), 32, False),
    ],
)
def test_heads_of_keys_and_the_penalty_of_distance(
    fields: dict[str, Any], kv_heads: int, alibi: bool
) -> None:
    found = mixer_of(fields)
    assert (found.kv_heads, found.alibi) == (kv_heads, alibi)


@pytest.mark.parametrize(
    ("fields", "other", "more"),
    [
        # A norm has a weight and a bias a channel.
        (FALCON_40B, {"num_ln_in_parallel_attn": 1}, -60 * 2 * 8192),
        (FALCON_7B, {"parallel_attn": False}, 32 * 2 * 4544),
        (FALCON_7B, {"ffn_hidden_size": 4 * 4544 + 8}, 32 * 2 * 8 * 4544),
        # Of queries and one head of keys and values, the output, and both products.
        (FALCON_7B, {"bias": True}, 32 * (73 * 64 + 4544 + 5 * 4544)),
        (FALCON_7B, {"tie_word_embeddings": False}, 65024 * 4544),
        # Positions are learned where nothing else tells them.
        (MPT_7B, {"learned_pos_emb": False}, 0),
        (attention(alibi=False), {"learned_pos_emb": False}, -2048 * 4096),
        (MPT_7B, {"no_bias": False}, 32 * (4 + 5 + 2) * 4096 + 4096),
        (MPT_7B, {"no_bias": False, "norm_type": "rmsnorm"}, 32 * (4 + 5) * 4096),
        (MPT_7B, {"expansion_ratio": 5}, 32 * 2 * 4096**2),
        (MPT_7B, attention(qk_ln=True), 32 * 2 * 4096),
        (MPT_7B, attention(alibi=False, rope=True), 0),
    ],
)
def test_what_fields_add(fields: dict[str, Any], other: dict[str, Any], more: int) -> None:
    assert parameters(fields | other) - parameters(fields) == more


@pytest.mark.slow
def test_both_compute_the_penalty_of_distance(tmp_path: Path) -> None:
    """By the cascade of BLOOM, whose heads may share keys; and say that clips are left out."""
    path = tmp_path / "config.json"
    said = (
        "clips of queries, keys and values at 6 (a minimum and a maximum an element) are not"
        " counted"
    )
    small = {"n_layer": 2, "hidden_size": 512, "n_head": 8}
    for fields, clipped in (
        (FALCON_RW | small | {"new_decoder_architecture": True, "parallel_attn": True}, False),
        (attention(clip_qkv=6.0) | {"n_layers": 2, "d_model": 512, "n_heads": 8}, True),
    ):
        path.write_text(json.dumps(fields), encoding="utf-8")
        for phase in ({"seq_len": 64}, {"phase": "decode", "cached_len": 63}):
            work = load(str(path), **phase)
            assert work.cascade == "grouped-query-attention-alibi"
            assert (said in simulate(work, "fusemax").notes) == clipped
        whole = simulate(load(str(path), scope="model", seq_len=64), "fusemax")
        assert any(note.endswith(said) for note in whole.notes) == clipped


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (FALCON_40B | {"num_kv_heads": 7}, "num_kv_heads: 7 does not divide num_attention_heads"),
        (
            FALCON_RW | {"num_kv_heads": 8},
            "num_kv_heads: without new_decoder_architecture all 32 heads have keys, got 8",
        ),
        (FALCON_40B | {"parallel_attn": False}, "parallel_attn: the halves of new_decoder"),
        (
            FALCON_7B | {"num_ln_in_parallel_attn": 2},
            "expected 1 without new_decoder_architecture, got 2",
        ),
        (FALCON_40B | {"num_ln_in_parallel_attn": 3}, "expected 1 or 2, got 3"),
        (FALCON_40B | {"ff_factor": 3}, "ff_factor: expected 4"),
        (FALCON_40B | {"n_head_kv": 4}, "n_head_kv: expected 8"),
        # Of two names of a width, neither may say otherwise.
        (FALCON_7B | {"n_embed": 71}, "hidden_size: expected 71, as the other fields say"),
        (FALCON_40B | {"sliding_window": 4}, "'sliding_window' is not read for 'falcon'"),
        (attention(prefix_lm=True), "prefix_lm: expected false"),
        (attention(attn_uses_sequence_id=True), "attn_uses_sequence_id: expected false"),
        (attention(attn_type="linear"), "attn_type: expected 'multihead_attention'"),
        (attention(attn_type="grouped_query_attention"), "needs kv_n_heads"),
        (attention(kv_n_heads=8), "kv_n_heads: 'multihead_attention' has 32, got 8"),
        (attention(rope=True), "rope: a penalty of distance (alibi) stands in its place"),
        (attention(sliding_window_size=9), "'sliding_window_size' is not read"),
        (attention(clip_qkv=-1), "clip_qkv: expected a number above 0"),
        (MPT_7B | {"norm_type": "none"}, "norm_type: expected one of layernorm"),
        (MPT_7B | {"attn_config": {}}, "'alibi' is missing"),
        (MPT_7B | {"attn_config": None}, "attn_config"),
        ({k: v for k, v in MPT_7B.items() if k != "no_bias"}, "'no_bias' is missing"),
        (MPT_7B | {"ffn_config": {"ffn_type": "mptglu"}}, "'ffn_config' is not read for 'mpt'"),
    ],
)
def test_what_is_refused_of_both(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        model_of(fields)
