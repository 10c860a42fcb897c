"""Stacks of states or convolutions and softmax: the fields of their ``config.json``, and the
sizes of the checkpoints (as of ``family_cases``).

Compared in November 2026 with the classes of Transformers and with public copies: Nemotron 3 Nano
whole; Nemotron Nano 9B v2, Granite 4.0 H, LFM2 and RecurrentGemma as far as such copies select
fields. Totals were found for all but Bamba, whose authors say no more than the first digits.
"""

from __future__ import annotations

from typing import Any

from family_cases import Published, decoder


def _granite_hybrid(width: int, inner: int, heads: int, state_heads: int, **more: Any) -> Any:
    attends = (5, 15, 25, 35)
    return (
        decoder("granitemoehybrid", width, inner, 40, heads)
        | {
            "attention_bias": False,
            "attention_multiplier": 0.0078125,
            "embedding_multiplier": 12,
            "hidden_act": "silu",
            "layer_types": ["attention" if i in attends else "mamba" for i in range(40)],
            "logits_scaling": 6,
            "mamba_chunk_size": 256,
            "mamba_conv_bias": True,
            "mamba_d_conv": 4,
            "mamba_d_head": 64,
            "mamba_d_state": 128,
            "mamba_expand": 2,
            "mamba_n_groups": 1,
            "mamba_n_heads": state_heads,
            "mamba_proj_bias": False,
            "normalization_function": "rmsnorm",
            "position_embedding_type": "nope",
            "residual_multiplier": 0.22,
            "router_aux_loss_coef": 0.0,
            "tie_word_embeddings": True,
            "vocab_size": 100352,
        }
        | more
    )


def _nemotron(width: int, inner: int, heads: int, pattern: str, **more: Any) -> Any:
    return (
        decoder("nemotron_h", width, inner, len(pattern), heads)
        | {
            "attention_bias": False,
            "chunk_size": 128,
            "conv_kernel": 4,
            "expand": 2,
            "head_dim": 128,
            "hidden_dropout": 0.0,
            "hybrid_override_pattern": pattern,
            "layer_norm_epsilon": 1e-05,
            "mamba_hidden_act": "silu",
            "mamba_num_heads": 128,
            "mamba_proj_bias": False,
            "mamba_ssm_cache_dtype": "float32",
            "mlp_bias": False,
            "mlp_hidden_act": "relu2",
            "n_groups": 8,
            "norm_eps": 1e-05,
            "num_key_value_heads": 8,
            "num_logits_to_keep": 1,
            "rescale_prenorm_residual": True,
            "residual_in_fp32": False,
            "ssm_state_size": 128,
            "time_step_limit": [0.0, 1e9],
            "time_step_max": 0.1,
            "use_bias": False,
            "use_conv_bias": True,
            "use_mamba_kernels": True,
            "vocab_size": 131072,
        }
        | more
    )


GRANITE_H_TINY = _granite_hybrid(
    1536,
    512,
    12,
    48,
    num_key_value_heads=4,
    num_local_experts=64,
    num_experts_per_tok=6,
    shared_intermediate_size=1024,
)
NEMOTRON_9B = _nemotron(
    4480,
    15680,
    40,
    "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
    mamba_head_dim=80,
    mamba_num_groups=8,
    mamba_state_dim=128,
)
NEMOTRON_3_NANO = _nemotron(
    2688,
    1856,
    32,
    "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    mamba_head_dim=64,
    mamba_num_heads=64,
    moe_intermediate_size=1856,
    moe_shared_expert_intermediate_size=3712,
    n_group=1,
    n_routed_experts=128,
    n_shared_experts=1,
    norm_topk_prob=True,
    num_experts_per_tok=6,
    num_key_value_heads=2,
    partial_rotary_factor=1.0,
    routed_scaling_factor=2.5,
    sliding_window=None,
    topk_group=1,
)
BAMBA = decoder("bamba", 4096, 14336, 32, 32) | {
    "attn_layer_indices": [9, 18, 27],
    "attn_rotary_emb": 64,
    "hidden_act": "silu",
    "mamba_chunk_size": 256,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_head": 64,
    "mamba_d_state": 128,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": 128,
    "mamba_proj_bias": False,
    "num_key_value_heads": 8,
    "num_logits_to_keep": 1,
    "vocab_size": 128256,
}


def _lfm2(width: int, inner: int, heads: int) -> Any:
    return {
        "model_type": "lfm2",
        "block_auto_adjust_ff_dim": True,
        "block_dim": width,
        "block_ff_dim": inner,
        "block_ffn_dim_multiplier": 1.0,
        "block_mlp_init_scale": 1.0,
        "block_multiple_of": 256,
        "block_norm_eps": 1e-05,
        "block_out_init_scale": 1.0,
        "block_use_swiglu": True,
        "block_use_xavier_init": True,
        "conv_L_cache": 3,
        "conv_bias": False,
        "conv_dim": width,
        "conv_dim_out": width,
        "conv_use_xavier_init": True,
        "full_attn_idxs": [2, 5, 8, 10, 12, 14],
        "hidden_size": width,
        "norm_eps": 1e-05,
        "num_attention_heads": heads,
        "num_heads": heads,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "theta": 1000000.0,
        "use_pos_enc": True,
        "vocab_size": 65536,
    }


LFM2 = _lfm2(2048, 12288, 32)
LFM2_MOE = {
    "model_type": "lfm2_moe",
    "conv_L_cache": 3,
    "conv_bias": False,
    "hidden_size": 2048,
    "intermediate_size": 7168,
    "layer_types": [
        "full_attention" if index in (2, 6, 10, 14, 18, 21) else "conv" for index in range(24)
    ],
    "moe_intermediate_size": 1792,
    "norm_eps": 1e-05,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_dense_layers": 2,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "routed_scaling_factor": 1.0,
    "use_expert_bias": True,
    "vocab_size": 65536,
}
RECURRENT_GEMMA = {
    "model_type": "recurrent_gemma",
    "_block_types": ["recurrent", "recurrent", "attention"],
    "attention_bias": False,
    "attention_window_size": 2048,
    "conv1d_width": 4,
    "embeddings_scale_by_sqrt_dim": True,
    "final_w_init_variance_scale": 0.07692307692307693,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2560,
    "intermediate_size": 15360,
    "logits_soft_cap": 30.0,
    "lru_width": 2560,
    "num_attention_heads": 10,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "partial_rotary_factor": 0.5,
    "vocab_size": 256000,
    "w_init_variance_scale": 0.01,
}

HYBRIDS = (
    # Published as 9.78 billion.
    Published("ibm-ai-platform/Bamba-9B-v1", 9_780_235_392, BAMBA),
    Published("ibm-granite/granite-4.0-h-tiny", 6_939_037_248, GRANITE_H_TINY),
    # As files in GGUF count; the second has no experts.
    Published(
        "ibm-granite/granite-4.0-h-small",
        32_207_337_984,
        _granite_hybrid(
            4096,
            768,
            32,
            128,
            num_key_value_heads=8,
            num_local_experts=72,
            num_experts_per_tok=10,
            shared_intermediate_size=1536,
        ),
    ),
    Published(
        "ibm-granite/granite-4.0-h-micro",
        3_191_396_096,
        _granite_hybrid(
            2048,
            8192,
            32,
            64,
            num_key_value_heads=8,
            num_local_experts=0,
            num_experts_per_tok=0,
            shared_intermediate_size=8192,
        ),
    ),
    # The hub's total is without the biases of 23 routers.
    Published(
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_577_937_344 + 23 * 128, NEMOTRON_3_NANO
    ),
    Published("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 8_888_227_328, NEMOTRON_9B),
    Published("LiquidAI/LFM2-1.2B", 1_170_340_608, LFM2),
    Published("LiquidAI/LFM2-350M", 354_483_968, _lfm2(1024, 6656, 16)),
    # 8,339,929,856 in bf16, and the biases of 22 routers.
    Published("LiquidAI/LFM2-8B-A1B", 8_339_929_856 + 22 * 32, LFM2_MOE),
    Published("google/recurrentgemma-2b", 2_682_862_080, RECURRENT_GEMMA),
)
"""By their names on the Hugging Face hub."""
