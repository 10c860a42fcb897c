"""What published files have beside the fields that are read, and which changes nothing."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {
    "architectures": ["AnyForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "pad_token_id": None,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "attention_dropout": 0.0,
    "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "quantization_config": None,
    "_name_or_path": "somewhere",
}
BESIDE: dict[str, dict[str, Any]] = {
    "llama": TEXT | {"hidden_act": "silu", "pretraining_tp": 1, "mlp_bias": False},
    "mistral": TEXT | {"hidden_act": "silu"},
    "mixtral": TEXT
    | {"hidden_act": "silu", "router_aux_loss_coef": 0.02, "output_router_logits": False},
    "qwen2": TEXT | {"hidden_act": "silu", "use_mrope": False},
    "qwen3": TEXT | {"hidden_act": "silu"},
    "qwen3_moe": TEXT | {"hidden_act": "silu", "router_aux_loss_coef": 0.001},
    "gemma": TEXT | {"hidden_act": "gelu", "hidden_activation": None},
    "gemma2": TEXT
    | {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "final_logit_softcapping": 30.0,
        "cache_implementation": "hybrid",
        "sliding_window_size": 4096,
    },
    "gemma3_text": TEXT | {"rope_local_base_freq": 10000, "_sliding_window_pattern": 6},
    "phi": TEXT | {"hidden_act": "gelu_new", "partial_rotary_factor": 0.4, "resid_pdrop": 0.1},
    "phi3": TEXT | {"hidden_act": "silu", "original_max_position_embeddings": 4096},
    "gpt_oss": TEXT
    | {
        "hidden_act": "silu",
        "attention_bias": True,
        "experts_per_token": 4,
        "swiglu_limit": 7.0,
        "initial_context_length": 4096,
    },
    "gpt_neox": TEXT | {"hidden_act": "gelu", "rotary_pct": 0.25, "use_parallel_residual": True},
    "gpt2": TEXT
    | {
        "activation_function": "gelu_new",
        "n_ctx": 1024,
        "layer_norm_epsilon": 1e-05,
        "summary_first_dropout": 0.1,
        "task_specific_params": {"text-generation": {"do_sample": True}},
    },
    "bert": TEXT
    | {
        "max_position_embeddings": 512,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
        "gradient_checkpointing": False,
    },
    "modernbert": TEXT
    | {"hidden_activation": "gelu", "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    | {"decoder_bias": True, "deterministic_flash_attn": False, "sparse_prediction": False}
    | {"classifier_pooling": "mean", "embedding_dropout": 0.0, "norm_eps": 1e-05},
    "vit": TEXT | {"hidden_act": "gelu", "encoder_stride": 16, "id2label": {"0": "tench"}},
    "t5": TEXT | {"is_encoder_decoder": True, "dropout_rate": 0.1, "n_positions": 512},
    "deepseek_v2": TEXT
    | {"hidden_act": "silu", "aux_loss_alpha": 0.001, "n_group": 8, "topk_group": 3},
    "deepseek_v3": TEXT
    | {
        "hidden_act": "silu",
        "num_key_value_heads": 128,
        "num_nextn_predict_layers": 1,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "ep_size": 1,
        "seq_aux": True,
    },
    "minimax_text_01": TEXT
    | {"hidden_act": "silu", "postnorm": True, "layernorm_mlp_alpha": 3.5, "rotary_dim": 64},
    "mamba": TEXT
    | {
        "hidden_act": "silu",
        "d_inner": 1536,
        "d_model": 768,
        "n_layer": 24,
        "intermediate_size": 1536,
        "rescale_prenorm_residual": False,
        "residual_in_fp32": True,
        "time_step_init_scheme": "random",
        "time_step_max": 0.1,
        "ssm_cfg": {},
        "rms_norm": True,
        "pad_vocab_size_multiple": 8,
    },
    "falcon_mamba": TEXT | {"hidden_act": "silu", "mixer_rms_eps": 1e-6, "use_mambapy": False},
    "glm4_moe": TEXT
    | {"hidden_act": "silu", "partial_rotary_factor": 0.5, "n_group": 1, "topk_group": 1}
    | {"num_nextn_predict_layers": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.0},
    "jamba": TEXT
    | {"hidden_act": "silu", "use_mamba_kernels": True, "num_logits_to_keep": 1}
    | {"sliding_window": None, "router_aux_loss_coef": 0.001},
    "deepseek_v32": TEXT
    | {"hidden_act": "silu", "num_key_value_heads": 128, "num_nextn_predict_layers": 1}
    | {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "ep_size": 1, "n_group": 8},
    "kimi_k2": TEXT
    | {"hidden_act": "silu", "num_key_value_heads": 64, "num_nextn_predict_layers": 0}
    | {"qk_head_dim": 192, "scoring_func": "sigmoid", "topk_method": "noaux_tc"},
    "llama4_text": TEXT
    | {"hidden_act": "silu", "attn_temperature_tuning": True, "use_qk_norm": True}
    | {"attention_chunk_size": 8192, "attn_scale": 0.1, "router_jitter_noise": 0.0},
    "llama4": {"boi_token_index": 200080, "image_token_index": 200092, "torch_dtype": "bfloat16"},
    "qwen3_next": TEXT
    | {"hidden_act": "silu", "partial_rotary_factor": 0.25, "full_attention_interval": 4}
    | {"decoder_sparse_step": 1, "mlp_only_layers": [], "output_router_logits": False},
    "kimi_linear": TEXT
    | {"hidden_act": "silu", "num_key_value_heads": 32, "head_dim": 72, "mla_use_nope": True}
    | {"moe_router_activation_func": "sigmoid", "moe_renormalize": True, "moe_layer_freq": 1}
    | {"num_expert_group": 1, "use_grouped_topk": True, "model_max_length": 1048576},
    "rwkv7": TEXT
    | {"hidden_act": "sqrelu", "attn": None, "attn_mode": "chunk", "fuse_norm": False}
    | {"hidden_ratio": 4.0, "norm_first": True, "norm_bias": True, "norm_eps": 1e-05}
    | {"use_l2warp": True, "num_heads": None, "value_dim": None},
    "whisper": TEXT
    | {"activation_function": "gelu", "is_encoder_decoder": True, "num_hidden_layers": 32}
    | {"suppress_tokens": [1], "begin_suppress_tokens": [220], "mask_time_prob": 0.05}
    | {"max_target_positions": 448, "median_filter_width": 7, "apply_spec_augment": False},
    "cohere2": TEXT
    | {"cache_implementation": "hybrid", "layer_norm_eps": 1e-05, "logit_scale": 0.25}
    | {"position_embedding_type": "rope_gptj", "rotary_pct": 1.0, "use_gated_activation": True}
    | {"use_embedding_sharing": True, "use_parallel_block": True, "use_qk_norm": False},
    "ernie4_5_moe": TEXT
    | {"moe_capacity": [64, 64, 64], "moe_gate": "topk", "moe_use_aux_free": True}
    | {"num_nextn_predict_layers": 1, "use_rmsnorm": True},
    "glm_moe_dsa": TEXT
    | {"hidden_act": "silu", "index_share_for_mtp_iteration": True, "pretraining_tp": 1}
    | {"moe_router_dtype": "float32", "rope_interleave": True},
    "olmo2": TEXT | {"hidden_act": "silu", "attention_bias": False},
    "mamba2": TEXT | {"hidden_act": "silu", "time_step_limit": [0.0, 1e6], "rms_norm": True},
}
"""By family, what its published files have beside that and which changes nothing here."""
