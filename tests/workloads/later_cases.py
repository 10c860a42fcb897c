"""Qwen3-VL and GLM-4.7-Flash: the fields of their ``config.json``, and the checkpoints' sizes.

Compared in November 2026 with the classes of Transformers, a whole public copy of GLM-4.7-Flash's
file and a shortened one of Qwen3-VL 235B; totals of all four were found (``family_cases``).
"""

from __future__ import annotations

from typing import Any

from family_cases import Published, decoder


def _vision(out: int, **more: Any) -> Any:
    return {
        "deepstack_visual_indexes": [8, 16, 24],
        "depth": 27,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "in_channels": 3,
        "intermediate_size": 4304,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": out,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    } | more


def _qwen3_vl(kind: str, tied: bool, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    beside = {"attention_bias": False, "head_dim": 128, "vocab_size": 151936}
    return {
        "model_type": kind,
        "image_token_id": 151655,
        "text_config": text | beside | {"rope_scaling": {"mrope_interleaved": True}},
        "tie_word_embeddings": tied,
        "video_token_id": 151656,
        "vision_config": vision,
        "vision_start_token_id": 151652,
    }


QWEN3_VL = _qwen3_vl(
    "qwen3_vl",
    True,
    decoder("qwen3_vl_text", 2560, 9728, 36, 32, num_key_value_heads=8),
    _vision(
        2560,
        depth=24,
        hidden_size=1024,
        intermediate_size=4096,
        deepstack_visual_indexes=[5, 11, 17],
    ),
)
QWEN3_VL_MOE = _qwen3_vl(
    "qwen3_vl_moe",
    False,
    decoder("qwen3_vl_moe_text", 2048, 6144, 48, 32, num_key_value_heads=4)
    | {"decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": 768}
    | {"norm_topk_prob": True, "num_experts": 128, "num_experts_per_tok": 8},
    _vision(2048),
)
GLM_4_7_FLASH = decoder("glm4_moe_lite", 2048, 10240, 47, 20) | {
    "attention_bias": False,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 1536,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_experts_per_tok": 4,
    "num_key_value_heads": 20,
    "num_nextn_predict_layers": 1,
    "partial_rotary_factor": 1.0,
    "q_lora_rank": 768,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "routed_scaling_factor": 1.8,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "v_head_dim": 256,
    "vocab_size": 154880,
}
# A layer as the others, the product of both inputs, three norms more, and embeddings of its own.
_FLASH_NEXT = (
    768 * (2048 + 20 * 256)
    + 2048 * (512 + 64)
    + 512 * 20 * (192 + 256)
    + 20 * 256 * 2048
    + 65 * 3 * 2048 * 1536
    + 64 * (2048 + 1)
    + 2 * 2048**2
    + 5 * 2048
    + 768
    + 512
    + 2 * 154880 * 2048
)

LATER = (
    Published("Qwen/Qwen3-VL-4B-Instruct", 4_437_815_808, QWEN3_VL),
    Published(
        "Qwen/Qwen3-VL-8B-Instruct",
        8_767_123_696,
        _qwen3_vl(
            "qwen3_vl",
            False,
            decoder("qwen3_vl_text", 4096, 12288, 36, 32, num_key_value_heads=8),
            _vision(4096),
        ),
    ),
    Published("Qwen/Qwen3-VL-30B-A3B-Instruct", 31_070_754_032, QWEN3_VL_MOE),
    Published("zai-org/GLM-4.7-Flash", 31_221_488_576 - _FLASH_NEXT, GLM_4_7_FLASH),
)
"""By their names on the Hugging Face hub."""
