"""Families whose fields are those of another with more of its own: Hunyuan, Ling, Kimi K2.5.

Fields are those of tencent/Hunyuan-MT-7B, tencent/Hunyuan-A13B-Instruct, inclusionAI/Ling-lite-1.5,
inclusionAI/Ling-mini-2.0 and moonshotai/Kimi-K2.5, as public repositories have them (mlx-swift-lm,
vllm, sglang). The sizes are those of the model cards; parts are added up by hand here.
"""

from __future__ import annotations

from typing import Any

import pytest
from family_cases import decoder
from ignored_fields import TEXT
from model_cases import PUBLISHED, model_of

from einsum_cascade.errors import SpecError
from workloads.models import Experts, SoftmaxAttention

HUNYUAN = (
    TEXT
    | decoder("hunyuan_v1_dense", 4096, 14336, 32, 32, num_key_value_heads=8, vocab_size=128256)
    | {"add_classification_head": False, "attention_bias": False, "attention_head_dim": 128}
    | {"head_dim": 128, "hidden_act": "silu", "mlp_bias": False, "pad_token_id": 0}
    | {"tie_word_embeddings": True, "use_qk_norm": True, "use_rotary_pos_emb": True}
)
A13B = (
    TEXT
    | decoder("hunyuan_v1_moe", 4096, 3072, 32, 32, num_key_value_heads=8, vocab_size=128167)
    | {"attention_head_dim": 128, "hidden_act": "silu", "tie_word_embeddings": True}
    | {"cla_share_factor": 2, "kv_lora_rank": 512, "use_cla": False, "use_mla": False}
    | {"moe_intermediate_size": [3072] * 32, "moe_layer_num_skipped": 0, "moe_topk": [8] * 32}
    | {"num_experts": 64, "num_shared_expert": [1] * 32, "use_mixed_mlp_moe": True}
)
LING_LITE = (
    TEXT
    | decoder("bailing_moe", 2048, 1408, 28, 16, num_key_value_heads=4, vocab_size=126464)
    | {"first_k_dense_replace": 0, "hidden_act": "silu", "moe_intermediate_size": 1408}
    | {"norm_head": False, "norm_softmax": False, "norm_topk_prob": True, "num_experts": 64}
    | {"embedding_dropout": 0.0, "output_dropout": 0.0, "output_router_logits": False}
    | {"num_experts_per_tok": 6, "num_shared_experts": 2, "use_bias": False, "use_qkv_bias": False}
)
LING_MINI = (
    TEXT
    | decoder("bailing_moe", 2048, 5120, 20, 16, num_key_value_heads=4, vocab_size=157184)
    | {"first_k_dense_replace": 1, "head_dim": 128, "moe_intermediate_size": 512, "n_group": 8}
    | {"moe_router_enable_expert_bias": True, "moe_shared_expert_intermediate_size": 512}
    | {"norm_topk_prob": True, "num_experts": 256, "num_experts_per_tok": 8, "topk_group": 4}
    | {"num_nextn_predict_layers": 0, "num_shared_experts": 1, "partial_rotary_factor": 0.5}
    | {"routed_scaling_factor": 2.5, "router_dtype": "fp32", "score_function": "sigmoid"}
    | {"use_bias": False, "use_qk_norm": True, "use_qkv_bias": False, "use_rmsnorm": True}
)


def attention(width: int, heads: int, kv_heads: int, size: int = 128) -> int:
    return 2 * width * size * (heads + kv_heads)


@pytest.mark.parametrize(
    ("fields", "parameters", "billions"),
    [
        (
            HUNYUAN,
            128256 * 4096
            + 32 * (attention(4096, 32, 8) + 3 * 4096 * 14336 + 2 * 4096 + 2 * 128)
            + 4096,
            7.5,
        ),
        (
            A13B,
            128167 * 4096
            + 32 * (attention(4096, 32, 8) + 65 * 3 * 4096 * 3072 + 64 * 4096 + 2 * 4096 + 2 * 128)
            + 4096,
            80.4,
        ),
        (
            LING_LITE,
            2 * 126464 * 2048
            + 28 * (attention(2048, 16, 4) + 66 * 3 * 2048 * 1408 + 64 * 2048 + 2 * 2048)
            + 2048,
            16.8,
        ),
        (
            LING_MINI,
            2 * 157184 * 2048
            + 20 * (attention(2048, 16, 4) + 2 * 2048 + 2 * 128)
            + 3 * 2048 * 5120
            + 19 * (257 * 3 * 2048 * 512 + 256 * 2048 + 256)
            + 2048,
            16.3,
        ),
    ],
)
def test_sizes(fields: dict[str, Any], parameters: int, billions: float) -> None:
    found = model_of(fields).parameters
    assert found == parameters
    assert round(found / 1e9, 1) == billions


def test_layers_of_hunyuan_and_ling() -> None:
    shared = model_of(A13B).layer(31).ffn
    assert isinstance(shared, Experts)
    assert (shared.experts, shared.per_token, shared.inner, shared.shared_inner) == (
        *(64, 8, 3072, 3072),
    )
    mixer = model_of({k: v for k, v in HUNYUAN.items() if k != "head_dim"}).layer(0).mixer
    assert isinstance(mixer, SoftmaxAttention)
    assert (mixer.qk_width, mixer.qk_norm) == (128, True)
    ling = model_of(LING_MINI)
    assert not isinstance(ling.layer(0).ffn, Experts)
    assert isinstance(ling.layer(1).ffn, Experts)
    assert model_of(LING_MINI | {"model_type": "bailing_moe_v2"}) == ling


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"moe_topk": [8] * 31 + [4]}, "moe_topk: expected a whole number"),
        ({"use_cla": True}, "'use_cla' is not read for 'hunyuan_v1_moe'"),
        ({"use_mixed_mlp_moe": False}, "use_mixed_mlp_moe: expected true"),
    ],
)
def test_what_is_refused(change: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=wanted):
        model_of(A13B | change)


KIMI_K2 = next(case.fields for case in PUBLISHED if case.name == "kimi-k2")
K2_5 = {
    "architectures": ["KimiK25ForConditionalGeneration"],
    "model_type": "kimi_k25",
    "ignore_index": -100,
    "media_placeholder_token_id": 163605,
    "pad_token_id": 163839,
    "tie_word_embeddings": False,
    "use_unified_vision_chunk": True,
    "text_config": KIMI_K2
    | {
        "max_position_embeddings": 262144,
        "quantization_config": {
            "config_groups": {
                "group_0": {
                    "input_activations": None,
                    "output_activations": None,
                    "targets": ["Linear"],
                    "weights": {"group_size": 32, "num_bits": 4, "type": "int"},
                }
            },
            "format": "pack-quantized",
            "ignore": [
                *("re:.*self_attn.*", "re:.*shared_experts.*", "re:.*lm_head.*"),
                r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
                *("re:vision_tower.*", "re:mm_projector.*"),
            ],
            "kv_cache_scheme": None,
            "quant_method": "compressed-tensors",
        },
    },
    "vision_config": {"vt_hidden_size": 1152, "vt_num_hidden_layers": 27},
}


def test_a_text_configuration_inside_another_is_read() -> None:
    found, inside = model_of(K2_5), model_of(KIMI_K2)
    assert found.parameters == inside.parameters
    assert found.trained_len == 262144
    formats = found.layer(5).weights
    assert formats.of("expert-up") == ("int4_g32", "")
    assert {formats.of(part) for part in ("shared-expert-up", "query-up-projection")} == {("", "")}
    assert found.omitted == ("the encoder of images is neither counted nor run",)
    # The quantisation may stand outside, too, and so may the type of any other model.
    outside = K2_5 | {"quantization_config": K2_5["text_config"]["quantization_config"]}
    assert model_of(outside | {"model_type": "another"}) == found
    with pytest.raises(SpecError, match="text_config says otherwise"):
        model_of(K2_5 | {"text_config": KIMI_K2 | {"vocab_size": 8}, "vocab_size": 9})
    with pytest.raises(SpecError, match="models of type 'kimi_k25' are not read"):
        model_of(K2_5 | {"text_config": KIMI_K2 | {"model_type": "zzz"}})


def test_unknown_types_name_these_families() -> None:
    for fields in (HUNYUAN, A13B, LING_MINI):
        with pytest.raises(SpecError, match=f"fields are those of {fields['model_type']}: --set"):
            model_of(fields | {"model_type": "zzz"})
