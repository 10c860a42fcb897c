"""Fields of families that were read before, and the sizes of their weights (``family_cases``).

The totals are those of the checkpoints on the Hugging Face hub, under these names.
"""

from __future__ import annotations

from typing import Any

from family_cases import decoder
from fields_beside import TEXT

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
