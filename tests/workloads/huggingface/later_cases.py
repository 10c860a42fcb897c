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

_FALCON = {
    "model_type": "falcon",
    "alibi": False,
    "apply_residual_connection_post_layernorm": False,
    "bias": False,
    "hidden_dropout": 0.0,
    "multi_query": True,
    "new_decoder_architecture": False,
    "parallel_attn": True,
    "vocab_size": 65024,
}
FALCON_7B = _FALCON | {"hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71}
FALCON_40B = _FALCON | {
    "hidden_size": 8192,
    "new_decoder_architecture": True,
    "num_attention_heads": 128,
    "num_hidden_layers": 60,
    "num_kv_heads": 8,
}
FALCON_RW = _FALCON | {
    "alibi": True,
    "bias": True,
    "hidden_size": 2048,
    "multi_query": False,
    "n_head": 32,
    "n_layer": 24,
    "parallel_attn": False,
    "vocab_size": 50304,
}
_TIED = 65024
"""Words of Falcon, whose tied output head some of its files have once more."""
MPT_7B: dict[str, Any] = {
    "model_type": "mpt",
    "attn_config": {
        "alibi": True,
        "alibi_bias_max": 8,
        "attn_impl": "torch",
        "attn_pdrop": 0,
        "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False,
        "clip_qkv": None,
        "prefix_lm": False,
        "qk_ln": False,
        "softmax_scale": None,
    },
    "d_model": 4096,
    "emb_pdrop": 0,
    "embedding_fraction": 1.0,
    "expansion_ratio": 4,
    "init_config": {"init_nonlinearity": "relu", "name": "kaiming_normal_"},
    "init_device": "cpu",
    "learned_pos_emb": True,
    "logit_scale": None,
    "max_seq_len": 2048,
    "n_heads": 32,
    "n_layers": 32,
    "no_bias": True,
    "norm_type": "low_precision_layernorm",
    "resid_pdrop": 0,
    "tokenizer_name": "EleutherAI/gpt-neox-20b",
    "verbose": 0,
    "vocab_size": 50432,
}

LATER = (
    # The hub counts the tied output head of the 7B and the 180B again: their files have it.
    Published("tiiuae/falcon-7b", 7_217_189_760 - _TIED * 4544, FALCON_7B),
    Published("tiiuae/falcon-40b", 41_303_293_952, FALCON_40B),
    Published(
        "tiiuae/falcon-180B",
        179_522_565_120 - _TIED * 14848,
        FALCON_40B | {"hidden_size": 14848, "num_attention_heads": 232, "num_hidden_layers": 80},
    ),
    Published("tiiuae/falcon-rw-1b", 1_311_625_216, FALCON_RW),
    # Added up by hand, of 32 layers: no other total was found.
    Published("mosaicml/mpt-7b", 50432 * 4096 + 32 * (12 * 4096**2 + 2 * 4096) + 4096, MPT_7B),
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
