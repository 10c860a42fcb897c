"""Configurations of published models as their files write them, and their true sizes.

``parameters`` are those of the published weights (the sum of the sizes of all tensors in
the checkpoint; DeepSeek-V3 without its further-token layer, BERT with its pooler, ViT
without its classifier).
"""

from __future__ import annotations

import json
from typing import Any

from family_cases import NEWER, Published, decoder
from hybrid_cases import HYBRIDS
from later_cases import LATER

from einsum_cascade.source import Source
from einsum_cascade.yaml.source import read_yaml
from workloads.huggingface.read import read_config
from workloads.models import ModelConfig


def model_of(fields: dict[str, Any]) -> ModelConfig:
    """The model of fields, through the text of a JSON file."""
    return read_config(read_yaml(Source("config.json", json.dumps(fields, indent=1))))


def _deepseek(kind: str, width: int, inner: int, layers: int, heads: int, **more: Any) -> Any:
    latent = {
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    }
    return decoder(kind, width, inner, layers, heads, **latent, **more)


LLAMA = decoder("llama", 4096, 14336, 32, 32, num_key_value_heads=8, vocab_size=128256)
MISTRAL = decoder("mistral", 4096, 14336, 32, 32, num_key_value_heads=8, vocab_size=32000)
GEMMA2 = decoder(
    "gemma2", 3584, 14336, 42, 16, num_key_value_heads=8, head_dim=256, vocab_size=256000
)
GPT_OSS = decoder(
    "gpt_oss",
    2880,
    2880,
    24,
    64,
    num_key_value_heads=8,
    head_dim=64,
    num_local_experts=32,
    vocab_size=201088,
)
DEEPSEEK_V3 = _deepseek(
    "deepseek_v3",
    7168,
    18432,
    61,
    128,
    q_lora_rank=1536,
    moe_intermediate_size=2048,
    n_routed_experts=256,
    n_shared_experts=1,
    num_experts_per_tok=8,
    first_k_dense_replace=3,
    vocab_size=129280,
)
MINIMAX = decoder(
    "minimax_text_01",
    6144,
    9216,
    80,
    64,
    num_key_value_heads=8,
    head_dim=128,
    num_local_experts=32,
    num_experts_per_tok=2,
    attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1] * 10,
    vocab_size=200064,
)
MAMBA2 = {
    "model_type": "mamba2",
    "hidden_size": 2560,
    "num_hidden_layers": 64,
    "num_heads": 80,
    "n_groups": 1,
    "vocab_size": 50288,
    "tie_word_embeddings": True,
}
T5 = {
    "model_type": "t5",
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "vocab_size": 32128,
}

GLM_4_5_AIR = decoder(
    "glm4_moe",
    4096,
    10944,
    46,
    96,
    num_key_value_heads=8,
    head_dim=128,
    attention_bias=True,
    use_qk_norm=False,
    moe_intermediate_size=1408,
    n_routed_experts=128,
    n_shared_experts=1,
    num_experts_per_tok=8,
    first_k_dense_replace=1,
    vocab_size=151552,
)
LLAMA_4_SCOUT = decoder(
    "llama4_text",
    5120,
    8192,
    48,
    40,
    intermediate_size_mlp=16384,
    num_key_value_heads=8,
    head_dim=128,
    num_local_experts=16,
    interleave_moe_layer_step=1,
    no_rope_layers=[1, 1, 1, 0] * 12,
    vocab_size=202048,
)
QWEN3_NEXT = decoder(
    "qwen3_next",
    2048,
    5120,
    48,
    16,
    num_key_value_heads=2,
    head_dim=256,
    num_experts=512,
    vocab_size=151936,
)
KIMI_LINEAR = _deepseek(
    "kimi_linear",
    2304,
    9216,
    27,
    32,
    q_lora_rank=None,
    num_experts=256,
    num_experts_per_token=8,
    num_shared_experts=1,
    moe_intermediate_size=1024,
    first_k_dense_replace=1,
    linear_attn_config={
        "head_dim": 128,
        "num_heads": 32,
        "short_conv_kernel_size": 4,
        "kda_layers": [i for i in range(1, 27) if i % 4],
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
    },
    vocab_size=163840,
)


def _rwkv7(width: int, layers: int, narrow: int, values: int, gate: int) -> Any:
    return {
        "model_type": "rwkv7",
        "hidden_size": width,
        "head_dim": 64,
        "num_hidden_layers": layers,
        "decay_low_rank_dim": narrow,
        "a_low_rank_dim": narrow,
        "v_low_rank_dim": values,
        "gate_low_rank_dim": gate,
        "vocab_size": 65536,
    }


RWKV7 = _rwkv7(768, 12, 64, 32, 128)
WHISPER = {
    "model_type": "whisper",
    "d_model": 1280,
    **{f"{stack}_layers": 32 for stack in ("encoder", "decoder")},
    **{f"{stack}_attention_heads": 20 for stack in ("encoder", "decoder")},
    **{f"{stack}_ffn_dim": 5120 for stack in ("encoder", "decoder")},
    "num_mel_bins": 128,
    "vocab_size": 51866,
}
JAMBA = decoder("jamba", 4096, 14336, 32, 32, mamba_dt_rank=256, vocab_size=65536)
FALCON_MAMBA = {
    "model_type": "falcon_mamba",
    "hidden_size": 4096,
    "num_hidden_layers": 64,
    # Its file says so, and the width below wins.
    "expand": 16,
    "intermediate_size": 8192,
    "time_step_rank": 256,
    "tie_word_embeddings": False,
    "vocab_size": 65024,
}

PUBLISHED = (
    Published("llama-3-8b", 8_030_261_248, LLAMA),
    Published(
        "llama-3-70b",
        70_553_706_496,
        decoder("llama", 8192, 28672, 80, 64, num_key_value_heads=8, vocab_size=128256),
    ),
    Published("llama-2-7b", 6_738_415_616, decoder("llama", 4096, 11008, 32, 32, vocab_size=32000)),
    Published("mistral-7b", 7_241_732_096, MISTRAL),
    Published(
        "mixtral-8x7b", 46_702_792_704, decoder("mixtral", 4096, 14336, 32, 32, vocab_size=32000)
    ),
    Published(
        "qwen2-7b",
        7_615_616_512,
        decoder("qwen2", 3584, 18944, 28, 28, num_key_value_heads=4, vocab_size=152064),
    ),
    Published(
        "qwen3-8b",
        8_190_735_360,
        decoder("qwen3", 4096, 12288, 36, 32, num_key_value_heads=8, vocab_size=151936),
    ),
    Published(
        "qwen3-30b-a3b",
        30_532_122_624,
        decoder(
            "qwen3_moe",
            2048,
            6144,
            48,
            32,
            num_key_value_heads=4,
            head_dim=128,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
            decoder_sparse_step=1,
            mlp_only_layers=[],
            norm_topk_prob=True,
            vocab_size=151936,
        ),
    ),
    Published("gemma-7b", 8_537_680_896, decoder("gemma", 3072, 24576, 28, 16, vocab_size=256000)),
    Published("gemma-2-9b", 9_241_705_984, GEMMA2),
    Published(
        "gemma-3-1b",
        999_885_952,
        decoder(
            "gemma3_text",
            1152,
            6912,
            26,
            4,
            num_key_value_heads=1,
            sliding_window=512,
            vocab_size=262144,
        ),
    ),
    Published("phi-2", 2_779_683_840, decoder("phi", 2560, 10240, 32, 32, vocab_size=51200)),
    Published("phi-3-mini", 3_821_079_552, decoder("phi3", 3072, 8192, 32, 32, vocab_size=32064)),
    Published("gpt-oss-20b", 20_914_757_184, GPT_OSS),
    Published("pythia-70m", 70_426_624, decoder("gpt_neox", 512, 2048, 6, 8, vocab_size=50304)),
    Published(
        "gpt-neox-20b", 20_554_567_680, decoder("gpt_neox", 6144, 24576, 44, 64, vocab_size=50432)
    ),
    Published(
        "gpt2",
        124_439_808,
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
    ),
    Published(
        "bert-base-uncased", 109_482_240, decoder("bert", 768, 3072, 12, 12, vocab_size=30522)
    ),
    # With its head, as the checkpoint has it.
    Published(
        "modernbert-base", 149_655_232, decoder("modernbert", 768, 1152, 22, 12, vocab_size=50368)
    ),
    Published("vit-base-patch16-224", 85_798_656, decoder("vit", 768, 3072, 12, 12)),
    Published("t5-small", 60_506_624, T5),
    Published(
        "flan-t5-small",
        76_961_152,
        T5
        | {
            "d_ff": 1024,
            "num_layers": 8,
            "num_heads": 6,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
    ),
    Published(
        "deepseek-v2",
        235_741_434_880,
        _deepseek(
            "deepseek_v2",
            5120,
            12288,
            60,
            128,
            q_lora_rank=1536,
            moe_intermediate_size=1536,
            n_routed_experts=160,
            n_shared_experts=2,
            num_experts_per_tok=6,
            first_k_dense_replace=1,
            vocab_size=102400,
        ),
    ),
    Published(
        "deepseek-v2-lite",
        15_706_484_224,
        _deepseek(
            "deepseek_v2",
            2048,
            10944,
            27,
            16,
            q_lora_rank=None,
            moe_intermediate_size=1408,
            n_routed_experts=64,
            n_shared_experts=2,
            num_experts_per_tok=6,
            first_k_dense_replace=1,
            vocab_size=102400,
        ),
    ),
    Published("deepseek-v3", 671_026_419_200, DEEPSEEK_V3),
    # 671.03 of DeepSeek-V3, and 61 indexers of 1536 x 64 x 128 + 7168 x (128 + 64) + 2 x 128.
    Published(
        "deepseek-v3.2",
        671_026_419_200 + 61 * (1536 * 64 * 128 + 7168 * (128 + 64) + 2 * 128),
        DEEPSEEK_V3
        | {"model_type": "deepseek_v32", "index_n_heads": 64, "index_head_dim": 128}
        | {"index_topk": 2048},
    ),
    Published("minimax-text-01", 456_089_655_296, MINIMAX),
    Published(
        "mamba-130m",
        129_135_360,
        {
            "model_type": "mamba",
            "hidden_size": 768,
            "num_hidden_layers": 24,
            "state_size": 16,
            "vocab_size": 50280,
        },
    ),
    Published("mamba2-2.7b", 2_702_599_680, MAMBA2),
    Published("falcon-mamba-7b", 7_272_665_088, FALCON_MAMBA),
    # With its further-token layer and that one's embeddings 110,468,824,832.
    Published("glm-4.5-air", 106_852_251_264, GLM_4_5_AIR),
    Published("llama-4-scout-text", 107_769_861_120, LLAMA_4_SCOUT),
    Published(
        "llama-4-scout",
        108_641_793_536,
        {
            "model_type": "llama4",
            "text_config": LLAMA_4_SCOUT,
            "vision_config": {
                "model_type": "llama4_vision_model",
                "hidden_size": 1408,
                "num_hidden_layers": 34,
                "num_attention_heads": 16,
                "intermediate_size": 5632,
                "image_size": 336,
                "vision_output_dim": 4096,
                "projector_input_dim": 4096,
                "projector_output_dim": 4096,
            },
        },
    ),
    # Without its further-token layer; 49.1 billion as the checkpoint counts, 48 in its name.
    Published("qwen3-next-80b-a3b", 79_674_391_296, QWEN3_NEXT),
    # Of models that do not ship, as their checkpoints have them.
    Published(
        "qwen3-0.6b",
        596_049_920,
        decoder("qwen3", 1024, 3072, 28, 16, num_key_value_heads=8, head_dim=128)
        | {"tie_word_embeddings": True, "vocab_size": 151936},
    ),
    Published("olmo-2-1b", 1_484_916_736, decoder("olmo2", 2048, 8192, 16, 16, vocab_size=100352)),
    # Table of the paper, arXiv 2503.14456.
    Published("rwkv-7-0.19b", 191_034_624, RWKV7),
    Published("rwkv-7-0.45b", 450_767_872, _rwkv7(1024, 24, 64, 32, 128)),
    Published("rwkv-7-1.5b", 1_527_404_544, _rwkv7(2048, 24, 96, 64, 256)),
    Published("rwkv-7-2.9b", 2_947_735_040, _rwkv7(2560, 32, 96, 64, 320)),
    Published("kimi-linear-48b-a3b", 49_122_681_728, KIMI_LINEAR),
    Published("whisper-large-v3", 1_543_490_560, WHISPER),
    Published("jamba-v0.1", 51_570_323_328, JAMBA),
    Published(
        "kimi-k2",
        1_026_408_232_448,
        _deepseek(
            "kimi_k2",
            7168,
            18432,
            61,
            64,
            q_lora_rank=1536,
            moe_intermediate_size=2048,
            n_routed_experts=384,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=1,
            vocab_size=163840,
        ),
    ),
    Published(
        "olmo-2-13b", 13_716_198_400, decoder("olmo2", 5120, 13824, 40, 40, vocab_size=100352)
    ),
    *NEWER,
    *HYBRIDS,
    *LATER,
)
