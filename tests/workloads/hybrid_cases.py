"""Stacks of Mamba-2 and softmax: ``config.json`` as published, and the sizes of the checkpoints.

Where authors say no more than the first digits, these stand beside.
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

HYBRIDS = (
    # Published as 9.78 billion.
    Published("ibm-ai-platform/Bamba-9B-v1", 9_780_235_392, BAMBA),
    Published("ibm-granite/granite-4.0-h-tiny", 6_939_037_248, GRANITE_H_TINY),
    # Published as 32.2 and 3.19 billion; the second has no experts.
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
    # 31,577,937,344 in bf16, and the biases of 23 routers.
    Published(
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        31_577_937_344 + 23 * 128,
        NEMOTRON_3_NANO,
    ),
    Published("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 8_888_227_328, NEMOTRON_9B),
)
"""By their names on the Hugging Face hub."""
