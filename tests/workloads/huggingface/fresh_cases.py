"""Fields of families that were read before, and the sizes of their weights (``family_cases``).

The totals are those of the checkpoints on the Hugging Face hub, under these names, but for two: the
hub counts the head of Qwen3-1.7B, which is its embedding, a second time, and scales of blocks with
the weights of Kimi-K2, whose tensors others have added up to this number. Those of ``SIZES`` were
found in public repositories in November 2026, and so were all others; Jamba's as the bytes of the
files of its 1.5 to 1.7 Mini, 103,140,646,656, two for each.
"""

from __future__ import annotations

from typing import Any

from family_cases import GLM_5, GLM_5_NEXT, QWEN35, QWEN35_MOE, decoder
from hybrid_cases import GRANITE_H_TINY, LFM2
from ignored_fields import TEXT

FRESH: dict[str, tuple[int, dict[str, Any]]] = {
    "meta-llama/Llama-3.2-1B": (
        1_235_814_400,
        TEXT
        | decoder("llama", 2048, 8192, 16, 32, num_key_value_heads=8, vocab_size=128256)
        | {"attention_bias": False, "head_dim": 64, "hidden_act": "silu", "mlp_bias": False}
        | {"pretraining_tp": 1, "tie_word_embeddings": True},
    ),
    "Qwen/Qwen3-1.7B": (
        1_720_574_976,
        TEXT
        | decoder("qwen3", 2048, 6144, 28, 16, num_key_value_heads=8, vocab_size=151936)
        | {"attention_bias": False, "head_dim": 128, "max_window_layers": 28}
        | {"sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False},
    ),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": (
        480_154_875_392,
        TEXT
        | decoder("qwen3_moe", 6144, 8192, 62, 96, num_key_value_heads=8, vocab_size=151936)
        | {"decoder_sparse_step": 1, "head_dim": 128, "max_window_layers": 62}
        | {"mlp_only_layers": [], "moe_intermediate_size": 2560, "norm_topk_prob": True}
        | {"num_experts": 160, "num_experts_per_tok": 8, "qkv_bias": False}
        | {"shared_expert_intermediate_size": 0, "use_qk_norm": True},
    ),
    "mistralai/Mixtral-8x22B-v0.1": (
        140_620_634_112,
        TEXT
        | decoder("mixtral", 6144, 16384, 56, 48, num_key_value_heads=8, vocab_size=32000)
        | {"num_experts_per_tok": 2, "num_local_experts": 8, "sliding_window": None},
    ),
    "mistralai/Mistral-Nemo-Base-2407": (
        12_247_782_400,
        TEXT
        | decoder("mistral", 5120, 14336, 40, 32, num_key_value_heads=8, vocab_size=131072)
        | {"head_dim": 128, "sliding_window": None},
    ),
    "microsoft/phi-4": (
        14_659_507_200,
        TEXT
        | decoder("phi3", 5120, 17920, 40, 40, num_key_value_heads=10, vocab_size=100352)
        | {"attention_bias": False, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        | {"original_max_position_embeddings": 16384, "sliding_window": None},
    ),
    "microsoft/Phi-4-mini-instruct": (
        3_836_021_760,
        TEXT
        | decoder("phi3", 3072, 8192, 32, 24, num_key_value_heads=8, vocab_size=200064)
        | {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False}
        | {"mlp_bias": False, "partial_rotary_factor": 0.75, "sliding_window": 262144}
        | {"tie_word_embeddings": True},
    ),
    "ai21labs/AI21-Jamba-1.5-Mini": (
        51_570_323_328,
        TEXT
        | decoder("jamba", 4096, 14336, 32, 32, num_key_value_heads=8, vocab_size=65536)
        | {"attn_layer_offset": 4, "attn_layer_period": 8, "expert_layer_offset": 1}
        | {"expert_layer_period": 2, "mamba_conv_bias": True, "mamba_d_conv": 4}
        | {"mamba_d_state": 16, "mamba_dt_rank": 256, "mamba_expand": 2, "num_experts": 16}
        | {"mamba_proj_bias": False, "num_experts_per_tok": 2, "num_logits_to_keep": 1}
        | {"sliding_window": None, "use_mamba_kernels": True},
    ),
    "moonshotai/Kimi-K2-Instruct-0905": (
        1_026_408_232_448,
        TEXT
        | decoder("kimi_k2", 7168, 18432, 61, 64, num_key_value_heads=64, vocab_size=163840)
        | {"aux_loss_alpha": 0.001, "ep_size": 1, "first_k_dense_replace": 1}
        | {"kv_lora_rank": 512, "moe_intermediate_size": 2048, "moe_layer_freq": 1}
        | {"n_group": 1, "n_routed_experts": 384, "n_shared_experts": 1}
        | {"num_experts_per_tok": 8, "num_nextn_predict_layers": 0, "pretraining_tp": 1}
        | {"q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}
        | {"routed_scaling_factor": 2.827, "scoring_func": "sigmoid", "seq_aux": True}
        | {"topk_group": 1, "topk_method": "noaux_tc", "v_head_dim": 128}
        | {
            "quantization_config": {
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            }
        },
    ),
}


def _qwen35(
    base: dict[str, Any], text: dict[str, Any], tied: bool = False, **vision: Any
) -> dict[str, Any]:
    fields = base["text_config"] | text
    kinds = (["linear_attention"] * 3 + ["full_attention"]) * (fields["num_hidden_layers"] // 4)
    return base | {
        "text_config": fields | {"layer_types": kinds},
        "tie_word_embeddings": tied,
        "vision_config": base["vision_config"]
        | {"out_hidden_size": fields["hidden_size"]}
        | vision,
    }


def _qwen35_next(width: int, heads: int, kv_heads: int, network: int) -> int:
    """Of the layer that predicts further tokens: softmax, products of both inputs, norms."""
    heads_of_256 = 3 * heads + 2 * kv_heads
    return width * (256 * heads_of_256 + 2 * width + 5) + 2 * 256 + network


def _granite(width: int, heads: int, kv_heads: int, inner: int, layers: int) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    kinds = {"layer_types": ["attention"] * layers, "position_embedding_type": "rope"}
    none = {"num_local_experts": 0, "num_experts_per_tok": 0, "mamba_n_heads": width // 32}
    dense = {"shared_intermediate_size": inner, "intermediate_size": inner}
    return GRANITE_H_TINY | sizes | {"num_key_value_heads": kv_heads} | dense | kinds | none


_SMALL = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096}
SIZES: dict[str, tuple[int, dict[str, Any]]] = {
    "Qwen/Qwen3.5-397B-A17B": (
        403_397_928_944 - _qwen35_next(4096, 32, 2, 4096 * (513 * 3 * 1024 + 512 + 1)),
        _qwen35(
            QWEN35_MOE,
            {"hidden_size": 4096, "linear_num_value_heads": 64, "moe_intermediate_size": 1024}
            | {"num_attention_heads": 32, "num_experts": 512, "num_experts_per_tok": 10}
            | {"num_hidden_layers": 60, "shared_expert_intermediate_size": 1024},
        ),
    ),
    "Qwen/Qwen3.5-9B": (
        9_653_104_368 - _qwen35_next(4096, 16, 4, 3 * 4096 * 12288),
        _qwen35(
            QWEN35,
            {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32}
            | {"num_attention_heads": 16, "linear_num_value_heads": 32},
        ),
    ),
    "Qwen/Qwen3.5-4B": (
        4_659_865_088 - _qwen35_next(2560, 16, 4, 3 * 2560 * 9216),
        _qwen35(
            QWEN35,
            {"hidden_size": 2560, "intermediate_size": 9216, "num_hidden_layers": 32}
            | {"num_attention_heads": 16, "linear_num_value_heads": 32},
            tied=True,
            **_SMALL,
        ),
    ),
    "zai-org/GLM-5.1": (753_864_139_008 - GLM_5_NEXT, GLM_5 | {"rope_interleave": True}),
    "ibm-granite/granite-4.0-micro": (3_402_836_480, _granite(2560, 40, 8, 8192, 40)),
    "ibm-granite/granite-4.0-1b": (1_631_750_144, _granite(2048, 16, 4, 4096, 40)),
    "ibm-granite/granite-4.0-350m": (352_379_904, _granite(1024, 16, 4, 2048, 28)),
    "LiquidAI/LFM2-2.6B": (
        2_569_272_320,
        LFM2
        | {"block_auto_adjust_ff_dim": False, "block_ff_dim": 10752, "num_hidden_layers": 30}
        | {"full_attn_idxs": [2, 5, 9, 13, 17, 21, 24, 27]},
    ),
    # Three in four layers have windows though the file does not list them.
    "allenai/Olmo-3-1125-32B": (
        32_233_522_176,
        decoder("olmo3", 5120, 27648, 64, 40, num_key_value_heads=8, vocab_size=100278)
        | {"attention_bias": False, "sliding_window": 4096},
    ),
}
"""Further sizes of the families of ``family_cases`` and ``hybrid_cases``."""
