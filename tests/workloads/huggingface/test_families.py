"""Further families: which layers they have, what their fields change, what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from family_cases import (
    COHERE2,
    ERNIE_MOE,
    EXAONE4,
    GLM_5,
    GLM_5_INDEXER,
    MINIMAX_M2,
    NEWER,
    QWEN2_MOE,
    QWEN35,
    QWEN35_MOE,
    SMOLLM3,
)
from fresh_cases import FRESH, SIZES
from hybrid_cases import LFM2_MOE
from later_cases import GLM_4_7_FLASH, QWEN3_VL_MOE
from model_cases import GEMMA2, JAMBA, LLAMA, model_of

from einsum_cascade.errors import SpecError
from workloads import load, summarize
from workloads.models import DecayAttention, Experts, FeedForward, ModelConfig, SoftmaxAttention

FIELDS = {case.name: case.fields for case in NEWER}
BY_TYPE = {str(case.fields["model_type"]): case.fields for case in reversed(NEWER)}
MANY = {"num_experts_per_tok": 999}
CODER = "Qwen/Qwen3-Coder-480B-A35B-Instruct"


def windows(model: ModelConfig) -> list[int | None]:
    mixers = [model.layer(i).mixer for i in range(model.layer_count)]
    return [m.window for m in mixers if isinstance(m, SoftmaxAttention)]


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


@pytest.mark.parametrize("name", [*FRESH, *SIZES])
def test_files_of_families_read_before(name: str) -> None:
    """As published, whole: nothing is refused, and parameters are those of the checkpoint."""
    parameters, fields = (FRESH | SIZES)[name]
    assert model_of(fields).parameters == parameters


def test_windows_without_a_list_of_layers() -> None:
    """The rule of each class, where files do not list kinds of layers."""
    alternate = {"use_sliding_window": True, "max_window_layers": 5, "sliding_window": 9}
    assert windows(model_of(QWEN2_MOE | alternate)) == [9, None, 9, None, 9] + [None] * 19
    assert windows(model_of(QWEN2_MOE | {"sliding_window": 0})) == [None] * 24
    olmo = without(BY_TYPE["olmo3"], "layer_types")
    assert windows(model_of(olmo)) == [4096, 4096, 4096, None] * 8
    assert windows(model_of(olmo)) == windows(model_of(BY_TYPE["olmo3"]))
    assert windows(model_of(COHERE2)) == [4096, 4096, 4096, None] * 8
    assert windows(model_of(COHERE2 | {"layer_switch": 2, "sliding_window_pattern": 2})) == (
        [4096, None] * 16
    )
    unrotated = {"use_sliding_window": True, "sliding_window": 7}
    bare = without(SMOLLM3, "layer_types")
    assert windows(model_of(bare | unrotated)) == [None, None, None, 7] * 9
    assert windows(model_of(without(bare, "no_rope_layers") | unrotated)) == (
        [None, None, None, 7] * 9
    )
    # By the class of today windows are of all layers; what its first version did with the other
    # field is refused, unless layers are listed.
    sparse = without(FRESH[CODER][1], "max_window_layers")
    slides = {"use_sliding_window": True, "sliding_window": 5}
    assert windows(model_of(sparse | slides)) == [5] * 62
    assert windows(model_of(FRESH[CODER][1] | slides | {"max_window_layers": 0})) == [5] * 62
    kinds = ["full_attention"] * 61 + ["sliding_attention"]
    listed = FRESH[CODER][1] | slides | {"layer_types": kinds}
    assert windows(model_of(listed)) == [None] * 61 + [5]
    exaone = without(EXAONE4, "layer_types", "sliding_window_pattern")
    assert windows(model_of(exaone)) == windows(model_of(EXAONE4))
    assert windows(model_of(exaone | {"sliding_window": None})) == [None] * 64


@pytest.mark.parametrize(
    ("family", "change", "more"),
    [
        # Biases of queries, keys and values; of these and the output.
        ("glm4", {"attention_bias": False}, -40 * (4096 + 2 * 256)),
        ("granite", {"attention_bias": True}, 40 * (2 * 4096 + 2 * 1024)),
        ("granite", {"mlp_bias": True}, 40 * (2 * 12800 + 4096)),
        ("smollm3", {"attention_bias": True, "mlp_bias": True}, 36 * (5120 + 22016 + 2048)),
        ("seed_oss", {"attention_bias": False}, -64 * (80 * 128 + 2 * 1024)),
        ("seed_oss", {"attention_out_bias": True}, 64 * 5120),
        ("ernie4_5", {"use_bias": True}, 18 * (2048 + 512 + 1024 + 6144 + 1024)),
        ("starcoder2", {"use_bias": False}, -30 * (3072 + 512 + 3072 + 12288 + 3072)),
        ("cohere", {"use_qk_norm": True}, 40 * 128 * 128),
        ("cohere2", {"attention_bias": True}, 32 * (2 * 4096 + 2 * 1024)),
        ("olmo3", {"attention_bias": True}, 32 * 4 * 4096),
        ("olmoe", {"attention_bias": True}, 16 * 4 * 2048),
        ("granitemoe", {"attention_bias": True}, 32 * (2 * 1536 + 2 * 512)),
        ("qwen2_moe", {"qkv_bias": False}, -24 * 3 * 2048),
        ("minimax_m2", {"use_qk_norm": False}, -62 * (48 + 8) * 128),
        ("minimax_m2", {"use_routing_bias": False}, -62 * 256),
        ("mistral3", {"multimodal_projector_bias": True}, 2 * 5120),
        ("exaone4", {"tie_word_embeddings": True}, -102400 * 5120),
        ("qwen3_5", {"tie_word_embeddings": True}, -248320 * 5120),
    ],
)
def test_what_a_field_adds(family: str, change: dict[str, Any], more: int) -> None:
    fields = BY_TYPE[family]
    before, after = model_of(fields).parameters, model_of(fields | change).parameters
    assert before is not None
    assert after == before + more


@pytest.mark.parametrize(
    ("fields", "absent", "default"),
    [
        (BY_TYPE["glm4"], "attention_bias", True),
        (QWEN3_VL_MOE["text_config"], "num_experts", 60),
        (QWEN3_VL_MOE["text_config"], "num_experts_per_tok", 4),
        (QWEN3_VL_MOE["text_config"], "num_key_value_heads", 16),
        (QWEN3_VL_MOE["text_config"], "moe_intermediate_size", 1408),
        (FRESH[CODER][1], "num_experts", 128),
        (FRESH[CODER][1], "mlp_only_layers", None),
    ],
)
def test_a_field_that_is_absent(fields: dict[str, Any], absent: str, default: Any) -> None:
    """Has the default of the family's own class, not of the one that it is read like."""
    assert model_of(without(fields, absent)) == model_of(fields | {absent: default})


def test_names_that_later_versions_save() -> None:
    """Files that Transformers 5 writes have them in place of those that were published."""
    for fields in (FRESH[CODER][1], QWEN3_VL_MOE["text_config"]):
        renamed = without(fields, "num_experts") | {"num_local_experts": fields["num_experts"]}
        assert model_of(renamed) == model_of(fields) == model_of(fields | renamed)
    for kind in ("deepseek_sparse_attention", "indexed_attention"):
        assert model_of(GLM_5 | {"layer_types": [kind] * 78}) == model_of(GLM_5)
    beside = {"index_share_for_mtp_iteration": True, "moe_router_dtype": "float32"}
    assert model_of(GLM_5_2 | beside) == model_of(GLM_5_2)
    beside = {"use_rmsnorm": True, "num_nextn_predict_layers": 1}
    for fields in (ERNIE_MOE, BY_TYPE["ernie4_5"]):
        assert replace(model_of(fields | beside), omitted=()) == model_of(fields)


def test_layers_with_experts() -> None:
    sparse = model_of(QWEN2_MOE | {"decoder_sparse_step": 2, "mlp_only_layers": [1]})
    kinds = [type(sparse.layer(index).ffn) for index in range(4)]
    assert kinds == [FeedForward, FeedForward, FeedForward, Experts]
    assert model_of(QWEN2_MOE | {"num_experts": 0}).layer(0).ffn == FeedForward(
        inner=5632, gated=True
    )
    some = model_of(ERNIE_MOE | {"moe_layer_interval": 3, "moe_layer_end_index": 9})
    found = [i for i in range(28) if isinstance(some.layer(i).ffn, Experts)]
    assert found == [2, 5, 8]
    all_but_one = model_of(ERNIE_MOE | {"moe_layer_end_index": -1})
    assert [run.count for run in all_but_one.runs] == [1, 27]
    assert model_of(MINIMAX_M2).layer(0).ffn == Experts(experts=256, per_token=8, inner=1536)
    # As published: 10 of 230 billion meet a token, 3.0 of 21.8, 2.7 of 14.3, 3 of 35, 40 of 744.
    for name, active in {
        "MiniMaxAI/MiniMax-M2": 11.03e9,
        "Qwen/Qwen1.5-MoE-A2.7B": 2.69e9,
        "zai-org/GLM-5": 41.8e9,
    }.items():
        model = model_of(FIELDS[name])
        assert model.active_parameters is not None
        unused = ((model.vocab_size or 1) - 1) * model.width
        assert model.active_parameters + unused == pytest.approx(active, rel=0.001)


@pytest.mark.parametrize(
    ("fields", "without_experts", "too_many"),
    [
        (QWEN2_MOE, {"mlp_only_layers": [*range(24)]}, MANY),
        (FRESH[CODER][1], {"mlp_only_layers": [*range(62)]}, MANY),
        (ERNIE_MOE, {"moe_layer_start_index": 28}, {"moe_k": 999}),
        (LFM2_MOE, {"num_dense_layers": 24}, MANY),
        (JAMBA, {"expert_layer_period": 40, "expert_layer_offset": 39}, MANY),
        (GLM_4_7_FLASH, {"first_k_dense_replace": 47}, MANY),
    ],
)
def test_a_mixture_without_layers_is_not_checked(
    fields: dict[str, Any], without_experts: dict[str, Any], too_many: dict[str, Any]
) -> None:
    """Only a mixture of experts that a layer has is checked, in every family."""
    dense = model_of(fields | without_experts)
    assert {type(run.layer.ffn) for run in dense.runs} == {FeedForward}
    assert model_of(fields | without_experts | too_many) == dense
    with pytest.raises(SpecError, match="a token goes to"):
        model_of(fields | too_many)


def test_layers_of_qwen3_5() -> None:
    """Three layers of the gated delta rule, one of softmax; an encoder of images beside."""
    dense, sparse = model_of(QWEN35), model_of(QWEN35_MOE)
    kinds = [dense.layer(i).mixer.kind for i in range(4)]
    assert kinds == ["gated-delta"] * 3 + ["GQA"]
    assert dense.layer(3).ffn == FeedForward(inner=17408, gated=True)
    assert sparse.layer(0).ffn == Experts(experts=256, per_token=8, inner=512, shared_inner=512)
    alone = model_of(QWEN35["text_config"])
    assert alone.runs == dense.runs
    # 27 layers of 1,152; patches of two frames, 2,304 places; four of which come together.
    layers = 27 * (4 * 1152**2 + 2 * 1152 * 4304 + 4304 + 9 * 1152)
    ends = 3 * 2 * 16**2 * 1152 + 1152 + 2304 * 1152
    merger = 2 * 1152 + 4608**2 + 4608 + 4608 * 5120 + 5120
    assert dense.other_parameters - alone.other_parameters == layers + ends + merger
    assert model_of(without(QWEN35, "vision_config")).parameters == alone.parameters


def test_transnormer() -> None:
    model = model_of(
        {
            "model_type": "transnormer",
            "decoder_embed_dim": 40,
            "decoder_layers": 3,
            "decoder_attention_heads": 5,
            "hidden_dim": 80,
            "glu_dim": 70,
            "vocab_size": 11,
        }
    )
    mixer = model.layer(0).mixer
    assert isinstance(mixer, DecayAttention)
    assert (mixer.heads, mixer.qk_width, mixer.v_width) == (5, 16, 16)
    assert model.parameters == 3 * (5 * 40 * 80 + 3 * 40 * 70) + 2 * 11 * 40


GLM_5_2 = FIELDS["zai-org/GLM-5.2"]


def test_layers_that_share_picks() -> None:
    """GLM-5.2: the first three layers score keys, and then every fourth."""
    full, shared = model_of(GLM_5), model_of(GLM_5_2)
    own = [i for i in range(78) if shared.layer(i).mixer.kind == "DSA"]
    assert own == [0, 1, 2, *range(6, 78, 4)]
    assert {shared.layer(i).mixer.kind for i in {*range(78)} - {*own}} == {"DSA-shared"}
    assert {run.layer.mixer.kind for run in full.runs} == {"DSA"}
    assert full.parameters is not None
    assert shared.parameters == full.parameters - 57 * GLM_5_INDEXER
    # The latent and the rotated key of all layers, an indexer's key of those that have one.
    assert dict(shared.cached) == {"CKV": 78 * 512, "KR": 78 * 64, "KI": 21 * 128}
    listed = ["full"] * 3 + (["shared"] * 3 + ["full"]) * 18 + ["shared"] * 3
    for other in (
        {"indexer_types": listed},
        {"index_topk_pattern": "".join(kind[0].upper() for kind in listed)},
    ):
        assert model_of(GLM_5 | other) == shared
    flash = model_of(GLM_4_7_FLASH)
    assert model_of(GLM_4_7_FLASH | {"mlp_layer_types": ["dense"] + ["sparse"] * 46}) == flash
    by_layer = ["dense"] * 3 + ["sparse"] * 75
    assert model_of(GLM_5 | {"mlp_layer_types": by_layer}) == full


def test_a_layer_that_shares_picks_scores_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GLM_5_2), encoding="utf-8")
    places = {"phase": "decode", "cached_len": 9999, "scope": "block"}
    own, shared = (load(str(path), layer=layer, **places) for layer in (6, 7))
    assert shared.cascade == "deepseek-sparse-attention-shared"
    assert [work.shapes_for(("J",)) for work in (own, shared)] == [{"J": 2048}] * 2
    beside = {part.name for part in own.parts} - {part.name for part in shared.parts}
    assert beside == {f"indexer-{what}-projection" for what in ("query", "key", "weight")}
    # Keys that are no more than picks are all attended, whoever picks.
    few = load(str(path), layer=7, phase="decode", cached_len=100)
    assert few.cascade == "mla-absorbed"


def test_cache_bytes_of_the_newer_ones(tmp_path: Path) -> None:
    """At 16 bits, by hand: layers of softmax, their heads of keys, and both widths."""
    for name, elements in {
        "Qwen/Qwen3.5-27B": 16 * 4 * 2 * 256,
        "zai-org/GLM-5.2": 78 * (512 + 64) + 21 * 128,
        "MiniMaxAI/MiniMax-M2": 62 * 8 * 2 * 128,
    }.items():
        path = tmp_path / "config.json"
        path.write_text(json.dumps(FIELDS[name]), encoding="utf-8")
        assert summarize(load(str(path))).cache_bytes_per_token == 2 * elements


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (EXAONE4 | {"layer_types": None}, "'LLLG' says not which layers have the window"),
        (COHERE2 | {"layer_switch": 3}, "layer_switch: expected 4"),
        (SMOLLM3 | {"no_rope_layers": [1]}, "expected one entry for each of 36 layers"),
        (QWEN2_MOE | {"num_experts_per_tok": 61}, "a token goes to 61 experts, there are 60"),
        (ERNIE_MOE | {"moe_k": 65}, "moe_k: a token goes to 65 experts, there are 64"),
        (ERNIE_MOE | {"use_bias": True}, "'use_bias' is not read for 'ernie4_5_moe'"),
        (MINIMAX_M2 | {"shared_intermediate_size": 9}, "'shared_intermediate_size' is not read"),
        (GLM_5 | {"indexer_types": ["shared"] * 78}, "the first layer has no picks to share"),
        (GLM_5 | {"indexer_types": ["full"]}, "expected one entry for each of 78 layers"),
        (GLM_5 | {"layer_types": ["indexed_attention"]}, "expected one entry for each of 78"),
        (GLM_5 | {"layer_types": ["full_attention"] * 78}, "entry 0: expected 'deepseek_sparse"),
        (ERNIE_MOE | {"use_rmsnorm": False}, "use_rmsnorm: expected true"),
        (FRESH[CODER][1] | {"num_local_experts": 8}, "num_local_experts: expected 160"),
        (
            FRESH[CODER][1] | {"use_sliding_window": True, "sliding_window": 5},
            "max_window_layers: layers from this one on have the window in the first version",
        ),
        (
            QWEN3_VL_MOE["text_config"] | {"use_sliding_window": True},
            "use_sliding_window: expected false",
        ),
        (GEMMA2 | {"sliding_window_size": 7}, "sliding_window_size: expected 4096"),
        (GLM_5 | {"index_topk_pattern": "FX" * 39}, "entry 1: expected 'F' or 'S'"),
        (
            EXAONE4 | {"sliding_window_pattern": [4]},
            "expected a whole number, or a word of L and G",
        ),
        (COHERE2 | {"use_parallel_block": False}, "expected true, which all models of the family"),
        (COHERE2 | {"order_of_interleaved_layers": "global_attn_first"}, "'local_attn_first'"),
        (BY_TYPE["starcoder2"] | {"mlp_type": "gated"}, "mlp_type: expected 'default'"),
        (MINIMAX_M2 | {"attn_type_list": [1, 0] * 31}, "entry 1: expected 1, got 0"),
        (MINIMAX_M2 | {"qk_norm_type": "per_head"}, "qk_norm_type: expected 'per_layer'"),
        (
            GLM_4_7_FLASH | {"n_routed_experts": None, "mlp_layer_types": ["sparse"] * 47},
            "some layers have experts, and there are none",
        ),
        (BY_TYPE["olmoe"] | {"clip_qkv": 8.0}, "'clip_qkv' is not read for 'olmoe'"),
        (QWEN35["text_config"] | {"attn_output_gate": False}, "softmax layers have a gate"),
        (QWEN35 | {"a_field_of_tomorrow": 1}, "'a_field_of_tomorrow' is not read"),
        (QWEN35 | {"text_config": 3}, "got the number 3"),
        (
            BY_TYPE["mistral3"] | {"text_config": LLAMA},
            "the language model is 'mistral' or 'ministral3' or 'mistral3', got 'llama'",
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        model_of(fields)
