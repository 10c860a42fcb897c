"""Further families: the fields of their ``config.json``, and the sizes of the checkpoints.

Fields are those of the published files as far as they are known, not copies of the files: that they
make up the published total says that those which count are right. ``parameters`` are the totals
that the Hugging Face hub gives for the files named in ``name`` (``safetensors.total``, encoders of
images included), less the layers that predict further tokens, which are no part of what is read:
the constants that end in ``_NEXT`` have these by hand.

In November 2026 they were compared with the configuration classes of Transformers (of
``ernie4_5_moe``, ``granitemoe`` and ``mistral3`` in earlier versions) and with public repositories.
Those have whole copies of GLM-5.1, 5.2 and 5.3, MiniMax-M2 and Qwen3.6 35B (as Qwen3.5), selected
fields of most others, and these totals (some of another model of the same sizes; ERNIE 4.5 21B's to
four digits, as llama.cpp counts it) but for those of Command R, Command R+ and StarCoder2: where
their readers miscount, these agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A model's fields and the number of its parameters."""

    name: str
    parameters: int
    fields: dict[str, Any]


def decoder(kind: str, width: int, inner: int, layers: int, heads: int, **more: Any) -> Any:
    """The fields that nearly all decoders have."""
    return {
        "model_type": kind,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **more,
    }


SIGLIP = {
    "hidden_size": 1152,
    "image_size": 896,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}
_PIXTRAL = {
    "attention_dropout": 0.0,
    "head_dim": 64,
    "hidden_act": "gelu",
    "hidden_size": 1024,
    "image_size": 1540,
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "model_type": "pixtral",
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "rope_theta": 10000.0,
}


def _qwen35_vision(out: int) -> Any:
    return {
        "deepstack_visual_indexes": [],
        "depth": 27,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "in_channels": 3,
        "intermediate_size": 4304,
        "model_type": "qwen3_5",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": out,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }


def _qwen35(kind: str, text: dict[str, Any]) -> Any:
    beside = {
        "attn_output_gate": True,
        "full_attention_interval": 4,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"])
        * (text["num_hidden_layers"] // 4),
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_value_head_dim": 128,
        "mamba_ssm_dtype": "float32",
        "mlp_only_layers": [],
        "model_type": f"{kind}_text",
        "mtp_num_hidden_layers": 1,
        "mtp_use_dedicated_embeddings": False,
        "rope_parameters": {"mrope_interleaved": True, "rope_type": "default"},
        "vocab_size": 248320,
    }
    return {
        "model_type": kind,
        "image_token_id": 248056,
        "text_config": text | beside,
        "tie_word_embeddings": False,
        "video_token_id": 248057,
        "vision_config": _qwen35_vision(text["hidden_size"]),
        "vision_start_token_id": 248053,
    }


QWEN35 = _qwen35(
    "qwen3_5",
    decoder("", 5120, 17408, 64, 24)
    | {"num_key_value_heads": 4, "head_dim": 256, "linear_num_value_heads": 48},
)
_QWEN35_MOE_TEXT = {
    "hidden_size": 2048,
    "num_hidden_layers": 40,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_num_value_heads": 32,
    "moe_intermediate_size": 512,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 512,
}
QWEN35_MOE = _qwen35("qwen3_5_moe", _QWEN35_MOE_TEXT)
# A layer of softmax with its norms, the product of both inputs, and norms of these and the end.
QWEN35_NEXT = (
    5120 * 256 * (24 + 4 + 4 + 24 + 24) + 3 * 5120 * 17408 + 2 * 5120**2 + 5 * 5120 + 2 * 256
)
QWEN35_MOE_NEXT = (
    2048 * 256 * (16 + 2 + 2 + 16 + 16)
    + (257 * 3 * 512 + 256 + 1) * 2048
    + 2 * 2048**2
    + 5 * 2048
    + 2 * 256
)

GLM_5 = decoder("glm_moe_dsa", 6144, 12288, 78, 64) | {
    "attention_bias": False,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "head_dim": 64,
    "index_head_dim": 128,
    "index_n_heads": 32,
    "index_topk": 2048,
    "indexer_rope_interleave": True,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_experts_per_tok": 8,
    "num_key_value_heads": 64,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 2048,
    "qk_head_dim": 256,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "v_head_dim": 256,
    "vocab_size": 154880,
}
GLM_5_2 = GLM_5 | {
    "head_dim": 192,
    "index_share_for_mtp_iteration": True,
    "index_skip_topk_offset": 3,
    "index_topk_freq": 4,
    "index_topk_pattern": None,
    "indexer_types": ["full"] * 3 + (["shared"] * 3 + ["full"]) * 18 + ["shared"] * 3,
    "moe_router_dtype": "float32",
    "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 75,
    "rope_interleave": True,
}
# As the others of the stack, the product of both inputs, and their norms and the last one.
GLM_5_INDEXER = 2048 * 32 * 128 + 6144 * (128 + 32) + 2 * 128
GLM_5_NEXT = (
    2048 * (6144 + 64 * 256)
    + 6144 * (512 + 64)
    + 512 * 64 * (192 + 256)
    + 64 * 256 * 6144
    + 257 * 3 * 6144 * 2048
    + 256 * (6144 + 1)
    + 2 * 6144**2
    + 5 * 6144
    + 2048
    + 512
    + GLM_5_INDEXER
)
EXAONE4 = decoder("exaone4", 5120, 27392, 64, 40) | {
    "attention_dropout": 0.0,
    "head_dim": 128,
    "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 16,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "sliding_window_pattern": "LLLG",
    "vocab_size": 102400,
}
SMOLLM3 = decoder("smollm3", 2048, 11008, 36, 16) | {
    "layer_types": ["full_attention"] * 36,
    "max_window_layers": 28,
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0] * 9,
    "num_key_value_heads": 4,
    "pretraining_tp": 2,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 128256,
}
COHERE2 = decoder("cohere2", 4096, 14336, 32, 32) | {
    "cache_implementation": "hybrid",
    "head_dim": 128,
    "layer_switch": 4,
    "logit_scale": 0.25,
    "num_key_value_heads": 8,
    "order_of_interleaved_layers": "local_attn_first",
    "position_embedding_type": "rope_gptj",
    "rotary_pct": 1.0,
    "sliding_window": 4096,
    "sliding_window_pattern": 4,
    "use_embedding_sharing": True,
    "use_gated_activation": True,
    "use_parallel_block": True,
    "use_parallel_embedding": True,
    "vocab_size": 256000,
}
QWEN2_MOE = decoder("qwen2_moe", 2048, 5632, 24, 16) | {
    "decoder_sparse_step": 1,
    "max_window_layers": 21,
    "moe_intermediate_size": 1408,
    "norm_topk_prob": False,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_key_value_heads": 16,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 5632,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
ERNIE_MOE = decoder("ernie4_5_moe", 2560, 12288, 28, 20) | {
    "moe_capacity": [64, 64, 64],
    "moe_intermediate_size": 1536,
    "moe_k": 6,
    "moe_layer_end_index": 27,
    "moe_layer_interval": 1,
    "moe_layer_start_index": 1,
    "moe_num_experts": 64,
    "moe_num_shared_experts": 2,
    "moe_use_aux_free": True,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "use_bias": False,
    "vocab_size": 103424,
}
MINIMAX_M2 = decoder("minimax_m2", 3072, 1536, 62, 48) | {
    "attn_type_list": [1] * 62,
    "head_dim": 128,
    "mtp_transformer_layers": 1,
    "num_experts_per_tok": 8,
    "num_key_value_heads": 8,
    "num_local_experts": 256,
    "num_mtp_modules": 3,
    "qk_norm_type": "per_layer",
    "rotary_dim": 64,
    "scoring_func": "sigmoid",
    "shared_intermediate_size": 0,
    "use_mtp": True,
    "use_qk_norm": True,
    "use_routing_bias": True,
    "vocab_size": 200064,
}
_GRANITE = {
    "attention_multiplier": 0.0078125,
    "embedding_multiplier": 12.0,
    "logits_scaling": 16.0,
    "num_key_value_heads": 8,
    "residual_multiplier": 0.22,
    "tie_word_embeddings": True,
}


_BLOOM = {
    "model_type": "bloom",
    "bias_dropout_fusion": True,
    "masked_softmax_fusion": True,
    "n_inner": None,
    "offset_alibi": 100,
    "pretraining_tp": 4,
    "seq_length": 2048,
    "skip_bias_add": True,
    "vocab_size": 250880,
}


NEWER = (
    Published(
        "bigscience/bloom-7b1",
        7_069_016_064,
        _BLOOM | {"n_embed": 4096, "n_layer": 30, "num_attention_heads": 32},
    ),
    Published(
        "bigscience/bloom-560m",
        559_214_592,
        _BLOOM | {"hidden_size": 1024, "num_hidden_layers": 24, "n_head": 16},
    ),
    Published("Qwen/Qwen1.5-MoE-A2.7B", 14_315_784_192, QWEN2_MOE),
    Published(
        "zai-org/GLM-4-9B-0414",
        9_400_279_040,
        decoder("glm4", 4096, 13696, 40, 32, num_key_value_heads=2, vocab_size=151552)
        | {"attention_bias": True, "head_dim": 128, "partial_rotary_factor": 0.5},
    ),
    Published(
        "allenai/Olmo-3-1025-7B",
        7_298_011_136,
        decoder("olmo3", 4096, 11008, 32, 32, num_key_value_heads=32, vocab_size=100278)
        | {"layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 8}
        | {"sliding_window": 4096, "rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
    ),
    Published(
        "allenai/OLMoE-1B-7B-0924",
        6_919_161_856,
        decoder("olmoe", 2048, 1024, 16, 16, num_key_value_heads=16, vocab_size=50304)
        | {"clip_qkv": None, "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": False},
    ),
    Published("HuggingFaceTB/SmolLM3-3B", 3_075_098_624, SMOLLM3),
    Published(
        "ibm-granite/granite-3.3-8b-instruct",
        8_170_864_640,
        decoder("granite", 4096, 12800, 40, 32, vocab_size=49159, mlp_bias=False) | _GRANITE,
    ),
    Published(
        "ibm-granite/granite-3.1-3b-a800m-instruct",
        3_298_793_472,
        decoder("granitemoe", 1536, 512, 32, 24, vocab_size=49155)
        | {"num_experts_per_tok": 8, "num_local_experts": 40, "router_aux_loss_coef": 0.0}
        | _GRANITE,
    ),
    Published(
        "CohereForAI/c4ai-command-r-v01",
        34_980_831_232,
        decoder("cohere", 8192, 22528, 40, 64, num_key_value_heads=64, vocab_size=256000)
        | {"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "use_qk_norm": False},
    ),
    Published(
        "CohereForAI/c4ai-command-r-plus",
        103_810_674_688,
        decoder("cohere", 12288, 33792, 64, 96, num_key_value_heads=8, vocab_size=256000)
        | {"logit_scale": 0.8333333333333334, "use_qk_norm": True},
    ),
    Published("CohereForAI/c4ai-command-r7b-12-2024", 8_028_033_024, COHERE2),
    # Published as 32.0 billion.
    Published("LGAI-EXAONE/EXAONE-4.0-32B", 32_003_216_384, EXAONE4),
    Published(
        "LGAI-EXAONE/EXAONE-4.0-1.2B",
        1_279_391_488,
        decoder("exaone4", 2048, 4096, 30, 32, num_key_value_heads=8, vocab_size=102400)
        | {"head_dim": 64, "layer_types": ["full_attention"] * 30, "sliding_window": None}
        | {"sliding_window_pattern": None, "tie_word_embeddings": True},
    ),
    Published(
        "ByteDance-Seed/Seed-OSS-36B-Instruct",
        36_151_104_512,
        decoder("seed_oss", 5120, 27648, 64, 80, num_key_value_heads=8, vocab_size=155136)
        | {"attention_bias": True, "attention_out_bias": False, "head_dim": 128}
        | {"mlp_bias": False, "residual_dropout": 0.1},
    ),
    Published(
        "baidu/ERNIE-4.5-0.3B-PT",
        360_748_032,
        decoder("ernie4_5", 1024, 3072, 18, 16, num_key_value_heads=2, vocab_size=103424)
        | {"head_dim": 128, "tie_word_embeddings": True, "use_bias": False},
    ),
    Published("baidu/ERNIE-4.5-21B-A3B-PT", 21_825_437_888, ERNIE_MOE),
    Published("MiniMaxAI/MiniMax-M2", 228_689_764_864, MINIMAX_M2),
    Published(
        "bigcode/starcoder2-3b",
        3_030_371_328,
        decoder("starcoder2", 3072, 12288, 30, 24, num_key_value_heads=2, vocab_size=49152)
        | {"hidden_act": "gelu_pytorch_tanh", "mlp_type": "default", "norm_type": "layer_norm"}
        | {"embedding_dropout": 0.1, "norm_epsilon": 1e-5, "sliding_window": 4096}
        | {"use_bias": True},
    ),
    Published(
        "mistralai/Mistral-Small-3.1-24B-Base-2503",
        24_011_361_280,
        {
            "model_type": "mistral3",
            "image_token_index": 10,
            "multimodal_projector_bias": False,
            "projector_hidden_act": "gelu",
            "spatial_merge_size": 2,
            "text_config": decoder("mistral", 5120, 32768, 40, 32, vocab_size=131072)
            | {"head_dim": 128, "num_key_value_heads": 8, "sliding_window": None},
            "vision_config": _PIXTRAL,
            "vision_feature_layer": -1,
        },
    ),
    Published(
        "mistralai/Ministral-3-8B-Base-2512",
        8_918_026_240,
        {
            "model_type": "mistral3",
            "image_token_index": 10,
            "multimodal_projector_bias": False,
            "projector_hidden_act": "gelu",
            "spatial_merge_size": 2,
            "text_config": decoder("ministral3", 4096, 14336, 34, 32, vocab_size=131072)
            | {"head_dim": 128, "num_key_value_heads": 8, "sliding_window": None}
            | {"rope_parameters": {"llama_4_scaling_beta": 0.1, "type": "yarn"}},
            "vision_config": _PIXTRAL,
            "vision_feature_layer": -1,
        },
    ),
    Published(
        "google/gemma-3-27b-it",
        27_432_406_640,
        {
            "model_type": "gemma3",
            "boi_token_index": 255999,
            "mm_tokens_per_image": 256,
            "text_config": decoder("gemma3_text", 5376, 21504, 62, 32)
            | {"head_dim": 128, "num_key_value_heads": 16, "query_pre_attn_scalar": 168}
            | {"sliding_window": 1024, "vocab_size": 262208},
            "vision_config": SIGLIP,
        },
    ),
    Published("Qwen/Qwen3.5-27B", 27_781_427_952 - QWEN35_NEXT, QWEN35),
    Published("Qwen/Qwen3.5-35B-A3B", 35_951_822_704 - QWEN35_MOE_NEXT, QWEN35_MOE),
    Published("zai-org/GLM-5.2", 753_329_940_480 - GLM_5_NEXT, GLM_5_2),
    Published("zai-org/GLM-5", 753_864_139_008 - GLM_5_NEXT, GLM_5),
    # The encoder with its pooler, as BERT's; without the heads that the file has beside.
    Published(
        "FacebookAI/roberta-base",
        124_645_632,
        decoder("roberta", 768, 3072, 12, 12, vocab_size=50265)
        | {"max_position_embeddings": 514, "type_vocab_size": 1, "hidden_act": "gelu"},
    ),
    Published(
        "distilbert/distilbert-base-uncased",
        66_362_880,
        {
            "model_type": "distilbert",
            "activation": "gelu",
            "attention_dropout": 0.1,
            "dim": 768,
            "dropout": 0.1,
            "hidden_dim": 3072,
            "initializer_range": 0.02,
            "max_position_embeddings": 512,
            "n_heads": 12,
            "n_layers": 6,
            "qa_dropout": 0.1,
            "seq_classif_dropout": 0.2,
            "sinusoidal_pos_embds": False,
            "tie_weights_": True,
            "vocab_size": 30522,
        },
    ),
)
"""By their names on the Hugging Face hub."""
