"""Rows of decoder families with softmax attention, from ``bloom`` to ``starcoder2``.

Field names, and defaults of fields that may be absent, are those of the configuration classes of
Hugging Face Transformers (``LlamaConfig``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from einsum_cascade.yaml.source import YamlNode, YamlScalar

from ..models import ModelConfig
from .fields import (
    LayerCount,
    Positive,
    Reader,
    SiluGate,
    Size,
    SizeOrZero,
    check_layer_indices,
    check_per_layer,
    constant,
    field_error,
    one_per_layer,
)
from .table import (
    Decoder,
    Mixture,
    Windows,
    all_but_every,
    all_layers,
    biased,
    counts,
    even_layers,
    flags,
    from_layer,
    like,
    optional_sizes,
    sizes,
)
from .vision import (
    Gemma3MultimodalConfig,
    Llama4MultimodalConfig,
    Mistral3MultimodalConfig,
    Multimodal,
    Qwen35MultimodalConfig,
    llama4_encoder,
    pixtral_encoder,
    qwen3_vl_encoder,
    siglip_encoder,
)

_SILU = (SiluGate, None)
_LAYER_INDICES = (tuple[SizeOrZero, ...] | None, None)
_ROTATED = (Annotated[tuple[int, ...], one_per_layer(0, 1)] | None, None)
"""A list with 1 for each layer with rotary embedding, and 0 for the others."""
_FURTHER_TOKENS = "num_nextn_predict_layers"
"""Field with the number of layers that predict further tokens; they are not run."""
_SCALES = ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier")
"""Fields with constant factors, which change no count."""

LLAMA = Decoder(
    family="llama",
    fields=optional_sizes(num_key_value_heads=None) | flags(attention_bias=False, mlp_bias=False),
    **biased("attention_bias"),
    ffn_bias="mlp_bias",
)
# Granite scales embeddings, scores, residual sums and logits.
GRANITE = like(LLAMA, family="granite", ignored=_SCALES)
SEED_OSS = like(
    LLAMA,
    family="seed_oss",
    fields=optional_sizes(num_key_value_heads=8, head_dim=128)
    | flags(attention_bias=True, attention_out_bias=False),
    output_bias="attention_out_bias",
)


def _layers_without_rotation(root: YamlNode, c: Any) -> Sequence[bool]:
    if c.no_rope_layers is None:
        every = c.no_rope_layer_interval
        return [(index + 1) % every == 0 for index in range(c.num_hidden_layers)]
    check_per_layer(root, "no_rope_layers", c.no_rope_layers, c.num_hidden_layers)
    return [rotated == 0 for rotated in c.no_rope_layers]


SMOLLM3 = like(
    LLAMA,
    family="smollm3",
    ignored=("max_window_layers",),
    fields=sizes(no_rope_layer_interval=4)
    | optional_sizes(num_key_value_heads=4, sliding_window=None)
    | flags(use_sliding_window=False, tie_word_embeddings=True)
    | {"no_rope_layers": _ROTATED},
    windows=Windows(switch="use_sliding_window", layers=_layers_without_rotation),
)

# OLMo 2 normalises queries and keys over all heads, and has its norms behind both halves.
OLMO2 = Decoder(
    family="olmo2",
    fields=optional_sizes(num_key_value_heads=None) | flags(attention_bias=False),
    qk_norm=True,
    qk_norm_size="all heads",
    **biased("attention_bias"),
)
OLMO3 = like(
    OLMO2,
    family="olmo3",
    fields=optional_sizes(sliding_window=4096),
    windows=Windows(layers=all_but_every(4)),
)
OLMOE = like(
    OLMO2,
    family="olmoe",
    fields=sizes(num_experts=64, num_experts_per_tok=8) | {"hidden_act": _SILU},
    mixture=Mixture(experts="num_experts", inner="intermediate_size"),
)

# A null is no window (later versions); without the field the class has a default.
MISTRAL = Decoder(
    family="mistral",
    fields=optional_sizes(num_key_value_heads=8, sliding_window=4096),
    windows=Windows(layers=all_layers),
)
# Ministral scales queries far into a text, which changes no count.
MINISTRAL3 = like(
    MISTRAL, family="ministral3", fields=optional_sizes(head_dim=128, sliding_window=None)
)
# The ignored fields of Phi 3 name layers that see all keys; the class makes all layers alike.
PHI3 = like(
    MISTRAL,
    family="phi3",
    fields=optional_sizes(num_key_value_heads=None, sliding_window=None),
    ignored=("full_attn_mod", "interpolate_factor"),
)
MIXTRAL = like(
    MISTRAL,
    family="mixtral",
    fields=sizes(num_local_experts=8, num_experts_per_tok=2)
    | optional_sizes(sliding_window=None)
    | {"hidden_act": _SILU},
    mixture=Mixture(experts="num_local_experts", inner="intermediate_size"),
)


def _mistral_or_ministral(root: YamlNode) -> ModelConfig:
    kind = root.child("model_type")
    newer = isinstance(kind, YamlScalar) and kind.text == "ministral3"
    return MINISTRAL3(root) if newer else MISTRAL(root)


# Published files of Qwen give a sliding_window that use_sliding_window switches off.
QWEN2 = Decoder(
    family="qwen2",
    fields=optional_sizes(num_key_value_heads=32, sliding_window=4096)
    | counts(max_window_layers=28)
    | flags(use_sliding_window=False),
    input_bias=True,
    windows=Windows(switch="use_sliding_window", layers=from_layer("max_window_layers")),
)
QWEN3 = like(
    QWEN2,
    family="qwen3",
    fields=optional_sizes(head_dim=128) | flags(attention_bias=False),
    qk_norm=True,
    **biased("attention_bias"),
)


def _sparse_by_step(root: YamlNode, c: Any) -> list[bool]:
    """Select the last of every ``decoder_sparse_step`` layers, unless it is listed as dense."""
    dense, count = c.mlp_only_layers or (), c.num_hidden_layers
    check_layer_indices(root, "mlp_only_layers", dense, count)
    return [(i + 1) % c.decoder_sparse_step == 0 and i not in dense for i in range(count)]


def _early_even_layers(root: YamlNode, c: Any) -> list[bool]:
    return [
        is_even and index < c.max_window_layers
        for index, is_even in enumerate(even_layers(root, c))
    ]


QWEN2_MOE = Decoder(
    family="qwen2_moe",
    fields=sizes(num_experts_per_tok=4, moe_intermediate_size=1408, decoder_sparse_step=1)
    | optional_sizes(num_key_value_heads=16)
    | counts(max_window_layers=28, num_experts=60, shared_expert_intermediate_size=5632)
    | flags(use_sliding_window=False, qkv_bias=True)
    | {
        "hidden_act": _SILU,
        "sliding_window": (SizeOrZero | None, 4096),
        "mlp_only_layers": _LAYER_INDICES,
    },
    input_bias="qkv_bias",
    windows=Windows(switch="use_sliding_window", layers=_early_even_layers),
    mixture=Mixture(
        experts="num_experts",
        shared=("shared_expert_intermediate_size",),
        shared_gate=True,
        layers=_sparse_by_step,
    ),
)
_EXPERT_NAMES = AliasChoices("num_experts", "num_local_experts")
"""Both names of the number of experts; Transformers 5 writes the second."""


def _check_window_version(root: YamlNode, c: Any) -> None:
    windowed = c.sliding_window and c.use_sliding_window and c.max_window_layers
    if windowed and c.layer_types is None:
        text = (
            "layers from this one on have the window in the first version of the class, and all"
            " of them in later ones: layer_types says which"
        )
        raise field_error(root, "max_window_layers", text)


# Without head_dim, or with null, heads share out the width: Qwen 3 itself has 128 then.
QWEN3_MOE = Decoder(
    family="qwen3_moe",
    # Queries and keys of the family are always normalised.
    ignored=("use_qk_norm",),
    aliases=(("num_local_experts", "num_experts"),),
    fields=sizes(num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1)
    | optional_sizes(num_key_value_heads=4, sliding_window=4096)
    | flags(attention_bias=False, use_sliding_window=False)
    | {
        "hidden_act": _SILU,
        "max_window_layers": (SizeOrZero | None, None),
        "num_experts": (SizeOrZero, Field(default=128, validation_alias=_EXPERT_NAMES)),
        "mlp_only_layers": _LAYER_INDICES,
    },
    check=_check_window_version,
    qk_norm=True,
    **biased("attention_bias"),
    windows=Windows(switch="use_sliding_window", layers=all_layers),
    mixture=Mixture(experts="num_experts", layers=_sparse_by_step),
)
QWEN3_VL_MOE_TEXT = like(
    QWEN3_MOE,
    # The class has no windows, whatever a file says of them.
    ignored=("use_qk_norm", "sliding_window", "max_window_layers"),
    fields=sizes(num_experts_per_tok=4, moe_intermediate_size=1408)
    | optional_sizes(num_key_value_heads=16)
    | {
        "use_sliding_window": (Annotated[Any, constant(False)], False),
        "num_experts": (SizeOrZero, Field(default=60, validation_alias=_EXPERT_NAMES)),
    },
    check=None,
    windows=None,
)

# Whatever the limit and alpha of a gate are, an element takes as many operations.
GPT_OSS = Decoder(
    family="gpt_oss",
    aliases=(("experts_per_token", "num_experts_per_tok"),),
    fields=sizes(num_key_value_heads=8, head_dim=64, num_local_experts=128, num_experts_per_tok=4)
    | optional_sizes(sliding_window=128)
    | flags(attention_bias=True)
    | {"hidden_act": _SILU, "swiglu_limit": (Positive, 7.0), "swiglu_alpha": (Positive, 1.702)},
    sinks=True,
    **biased("attention_bias"),
    windows=Windows(layers=even_layers),
    mixture=Mixture(experts="num_local_experts", inner="intermediate_size", clamped=True),
)
_PLAIN = Decoder(
    family="",
    norm_bias=True,
    gated=False,
    **biased(True),
    ffn_bias=True,
)
"""Row of families whose networks have no gate, and whose norms and products all have biases."""
# Attention and network of Phi stand side by side behind one norm; the output embedding has a bias.
PHI = like(
    _PLAIN,
    family="phi",
    fields=optional_sizes(num_key_value_heads=None) | flags(qk_layernorm=False),
    qk_norm="qk_layernorm",
    qk_norm_size="head with bias",
    norms=1,
    outside=lambda c: 2 * c.hidden_size + (c.vocab_size or 0),
)
GPT_NEOX = like(
    _PLAIN,
    family="gpt_neox",
    fields=flags(attention_bias=True),
    # Parallel or sequential halves take as many operations.
    ignored=("use_parallel_residual",),
    **biased("attention_bias"),
)
GPT2 = like(
    _PLAIN,
    family="gpt2",
    names={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    },
    fields=sizes(n_positions=1024)
    | optional_sizes(n_inner=None)
    | flags(tie_word_embeddings=True)
    | {"activation_function": (str | None, None)},
    dense="n_inner",
    activation="activation_function",
    # A table of positions, and the last norm with its bias.
    outside=lambda c: c.n_positions * c.n_embd + 2 * c.n_embd,
)
BLOOM = like(
    _PLAIN,
    family="bloom",
    ignored=(
        *("slow_but_exact", "offset_alibi", "seq_length", "skip_bias_add*", "*_fusion"),
        "apply_residual_connection_post_layernorm",
    ),
    aliases=(
        ("n_embed", "hidden_size"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
    ),
    names={
        "hidden_size": "hidden_size",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    },
    fields=optional_sizes(vocab_size=250_880, n_inner=None)
    | flags(tie_word_embeddings=True)
    | {
        "hidden_size": (Size, Field(validation_alias=AliasChoices("n_embed", "hidden_size"))),
        "n_layer": (
            LayerCount,
            Field(validation_alias=AliasChoices("n_layer", "num_hidden_layers")),
        ),
        "n_head": (Size, Field(validation_alias=AliasChoices("n_head", "num_attention_heads"))),
    },
    dense="n_inner",
    activation=None,
    default_activation="gelu",
    alibi=True,
    # A norm of embeddings and the last norm, with biases.
    outside=lambda c: 4 * c.hidden_size,
)

_RMS_NORM = (Annotated[bool | None, constant(True)], None)
ERNIE4_5 = Decoder(
    family="ernie4_5",
    ignored=(_FURTHER_TOKENS,),
    fields=optional_sizes(num_key_value_heads=2, head_dim=128)
    | flags(use_bias=False, tie_word_embeddings=True)
    | {"use_rmsnorm": _RMS_NORM},
    **biased("use_bias"),
    ffn_bias="use_bias",
)


def _ernie_sparse_layers(root: YamlNode, c: Any) -> list[bool]:
    del root
    count, first, last = c.num_hidden_layers, c.moe_layer_start_index, c.moe_layer_end_index
    last = count - 1 if last == -1 else last
    return [first <= i <= last and (i + 1) % c.moe_layer_interval == 0 for i in range(count)]


ERNIE4_5_MOE = Decoder(
    family="ernie4_5_moe",
    # The ignored fields say how experts are chosen, and bound experts in training.
    ignored=("moe_norm_min", "moe_use_aux_free", "moe_gate*", "moe_capacity", _FURTHER_TOKENS),
    aliases=(("num_experts", "moe_num_experts"), ("num_experts_per_tok", "moe_k")),
    fields=sizes(moe_intermediate_size=1536, moe_k=6, moe_num_experts=64, moe_layer_interval=1)
    | optional_sizes(num_key_value_heads=4)
    | counts(moe_num_shared_experts=2, moe_layer_start_index=1)
    | flags(tie_word_embeddings=True)
    | {"hidden_act": _SILU, "moe_layer_end_index": (int, -1), "use_rmsnorm": _RMS_NORM},
    mixture=Mixture(
        experts="moe_num_experts",
        top_k="moe_k",
        shared=("moe_intermediate_size", "moe_num_shared_experts"),
        layers=_ernie_sparse_layers,
        router_bias=True,
    ),
)
# GLM 4 has norms before and behind both halves.
GLM4 = Decoder(
    family="glm4",
    fields=optional_sizes(num_key_value_heads=2, head_dim=128) | flags(attention_bias=True),
    norms=4,
    input_bias="attention_bias",
)
GLM4_MOE = Decoder(
    family="glm4_moe",
    ignored=(_FURTHER_TOKENS, "use_grouped_mm"),
    fields=sizes(num_key_value_heads=8)
    | flags(attention_bias=False, use_qk_norm=False)
    | {
        "hidden_act": _SILU,
        "moe_intermediate_size": (Size, ...),
        "n_routed_experts": (Size, ...),
        "num_experts_per_tok": (Size, ...),
        "n_shared_experts": (SizeOrZero, ...),
        "first_k_dense_replace": (SizeOrZero, ...),
    },
    qk_norm="use_qk_norm",
    input_bias="attention_bias",
    mixture=Mixture(
        experts="n_routed_experts",
        shared=("moe_intermediate_size", "n_shared_experts"),
        layers=from_layer("first_k_dense_replace"),
        router_bias=True,
    ),
)

# Both halves of Cohere's layers stand side by side behind one norm without a bias.
COHERE = Decoder(
    family="cohere",
    fields=optional_sizes(num_key_value_heads=None)
    | flags(attention_bias=False, use_qk_norm=False, tie_word_embeddings=True),
    norms=1,
    qk_norm="use_qk_norm",
    qk_norm_size="all heads",
    **biased("attention_bias"),
)
COHERE2 = Decoder(
    family="cohere2",
    ignored=("use_embedding_sharing", "use_parallel_embedding"),
    aliases=(
        ("layer_switch", "sliding_window_pattern"),
        ("_sliding_window_pattern", "sliding_window_pattern"),
    ),
    fields=sizes(sliding_window_pattern=4)
    | optional_sizes(num_key_value_heads=None, sliding_window=4096)
    | flags(attention_bias=False, tie_word_embeddings=True)
    | {
        "order_of_interleaved_layers": (Annotated[str | None, constant("local_attn_first")], None),
        "use_gated_activation": (Annotated[bool | None, constant(True)], None),
        "use_parallel_block": (Annotated[bool | None, constant(True)], None),
    },
    norms=1,
    **biased("attention_bias"),
    windows=Windows(layers=all_but_every("sliding_window_pattern")),
)


def _exaone_windowed_layers(root: YamlNode, c: Any) -> list[bool]:
    """Read a pattern that is a number, or a word of L and G."""
    pattern, count = c.sliding_window_pattern, c.num_hidden_layers
    if isinstance(pattern, bool) or not isinstance(pattern, int | str | None):
        text = "expected a whole number, or a word of L and G"
        raise field_error(root, "sliding_window_pattern", text)
    # The class itself makes no list of layers from a word: files with a word have the list.
    if isinstance(pattern, str) and c.layer_types is None and c.sliding_window is not None:
        text = f"'{pattern[:20]}' says not which layers have the window without layer_types"
        raise field_error(root, "sliding_window_pattern", text)
    period = pattern if isinstance(pattern, int) and c.sliding_window is not None else 0
    return [period > 0 and (index + 1) % period != 0 for index in range(count)]


EXAONE4 = Decoder(
    family="exaone4",
    fields=optional_sizes(num_key_value_heads=32, sliding_window=4096)
    | {"sliding_window_pattern": (Any, 4)},
    qk_norm=True,
    windows=Windows(layers=_exaone_windowed_layers),
)
STARCODER2 = like(
    _PLAIN,
    family="starcoder2",
    # The ignored fields set the precision of scores.
    ignored=("attention_softmax_in_fp32", "scale_attention_softmax_*"),
    fields=optional_sizes(num_key_value_heads=2, sliding_window=None)
    | flags(use_bias=True, tie_word_embeddings=True)
    | {
        "hidden_act": (str | None, "gelu_pytorch_tanh"),
        "norm_type": (Annotated[str | None, constant("layer_norm")], None),
        "mlp_type": (Annotated[str | None, constant("default")], None),
    },
    **biased("use_bias"),
    ffn_bias="use_bias",
    windows=Windows(layers=all_layers),
)

# Heads need not make up the stream: Gemma 7B has 16 of 256 on a width of 3,072.
GEMMA = Decoder(
    family="gemma",
    # The family reads hidden_activation instead.
    ignored=("hidden_act",),
    fields=sizes(num_key_value_heads=16, head_dim=256)
    | optional_sizes(vocab_size=256_000)
    | flags(tie_word_embeddings=True, attention_bias=False)
    | {"hidden_activation": (str | None, None)},
    activation="hidden_activation",
    default_activation="gelu",
    **biased("attention_bias"),
)
GEMMA2 = like(
    GEMMA,
    family="gemma2",
    aliases=(("sliding_window_size", "sliding_window"),),
    fields=sizes(num_attention_heads=8, num_key_value_heads=4)
    | optional_sizes(sliding_window=4096)
    | {
        "attn_logit_softcapping": (Positive | None, 50.0),
        "final_logit_softcapping": (Positive | None, 30.0),
    },
    norms=4,
    softcap="attn_logit_softcapping",
    logit_softcap="final_logit_softcapping",
    windows=Windows(layers=even_layers),
)
GEMMA3 = like(
    GEMMA2,
    family="gemma3",
    aliases=(
        ("_sliding_window_pattern", "sliding_window_pattern"),
        ("sliding_window_size", "sliding_window"),
    ),
    # Multimodal files leave the size of the vocabulary out.
    fields=sizes(sliding_window_pattern=6)
    | optional_sizes(vocab_size=262_208)
    | {
        "attn_logit_softcapping": (Positive | None, None),
        "final_logit_softcapping": (Positive | None, None),
    },
    qk_norm=True,
    windows=Windows(layers=all_but_every("sliding_window_pattern")),
)


def _llama4_chunked_layers(root: YamlNode, c: Any) -> Sequence[bool]:
    """Select the layers with rotary embedding: as listed, else all but the last of an interval."""
    if c.no_rope_layers:
        check_per_layer(root, "no_rope_layers", c.no_rope_layers, c.num_hidden_layers)
        return [rotated == 1 for rotated in c.no_rope_layers]
    return all_but_every("no_rope_layer_interval")(root, c)


def _llama4_sparse_layers(root: YamlNode, c: Any) -> list[bool]:
    """Select the layers with experts: as listed, else the last of every few; none for step 0."""
    step, count = c.interleave_moe_layer_step, c.num_hidden_layers
    listed = range(step - 1, count, step) if c.moe_layers is None and step else c.moe_layers or ()
    check_layer_indices(root, "moe_layers", listed, count)
    for name in ("num_local_experts", "num_experts_per_tok"):
        if listed and not getattr(c, name):
            raise field_error(root, name, "some layers have experts, and this is 0")
    return [index in listed for index in range(count)]


LLAMA4_TEXT = Decoder(
    family="llama4_text",
    # The ignored fields scale queries, and name norms without weights.
    ignored=("attn_temperature_tuning", "attn_scale", "floor_scale", "use_qk_norm", "for_llm_*"),
    fields=sizes(num_key_value_heads=8, no_rope_layer_interval=4)
    | optional_sizes(head_dim=128, attention_chunk_size=8192)
    | counts(num_local_experts=16, num_experts_per_tok=1, interleave_moe_layer_step=1)
    | flags(attention_bias=False)
    | {
        "hidden_act": _SILU,
        "intermediate_size_mlp": (Size, ...),
        "moe_layers": _LAYER_INDICES,
        "no_rope_layers": _ROTATED,
        "layer_types": (
            Annotated[tuple[str, ...], one_per_layer("full_attention", "chunked_attention")] | None,
            None,
        ),
    },
    dense="intermediate_size_mlp",
    **biased("attention_bias"),
    windows=Windows(
        size="attention_chunk_size",
        kind="chunked_attention",
        chunked=True,
        layers=_llama4_chunked_layers,
    ),
    mixture=Mixture(
        experts="num_local_experts",
        inner="intermediate_size",
        # The shared expert is as wide as a routed one.
        shared=("intermediate_size",),
        layers=_llama4_sparse_layers,
    ),
)
GRANITEMOE = Decoder(
    family="granitemoe",
    ignored=_SCALES,
    fields=sizes(num_local_experts=8, num_experts_per_tok=2)
    | optional_sizes(num_key_value_heads=None)
    | flags(attention_bias=False)
    | {"hidden_act": _SILU},
    **biased("attention_bias"),
    mixture=Mixture(experts="num_local_experts", inner="intermediate_size"),
)


def _all_minimax_layers(root: YamlNode, c: Any) -> list[bool]:
    if c.attn_type_list is not None:
        check_per_layer(root, "attn_type_list", c.attn_type_list, c.num_hidden_layers)
    return all_layers(root, c)


MINIMAX_M2 = Decoder(
    family="minimax_m2",
    # The ignored fields concern further tokens, and networks that no layer has.
    ignored=(
        *("use_mtp", "num_mtp_modules", "mtp_transformer_layers", "layernorm_*"),
        *("mlp_intermediate_size", "shared_moe_mode"),
    ),
    aliases=(("num_experts", "num_local_experts"),),
    fields=sizes(num_local_experts=256, num_experts_per_tok=8)
    | optional_sizes(num_key_value_heads=8, head_dim=128)
    | flags(use_qk_norm=True, use_routing_bias=True)
    | {
        "hidden_act": _SILU,
        "qk_norm_type": (Annotated[str | None, constant("per_layer")], None),
        "attn_type_list": (Annotated[tuple[int, ...], one_per_layer(1)] | None, None),
    },
    qk_norm="use_qk_norm",
    qk_norm_size="all heads",
    mixture=Mixture(
        experts="num_local_experts",
        inner="intermediate_size",
        layers=_all_minimax_layers,
        router_bias="use_routing_bias",
    ),
)

_ROWS = (
    *(BLOOM, COHERE, COHERE2, ERNIE4_5, ERNIE4_5_MOE, EXAONE4, GEMMA, GEMMA2, GLM4, GLM4_MOE),
    *(GPT2, GPT_NEOX, GPT_OSS, GRANITE, GRANITEMOE, LLAMA, LLAMA4_TEXT, MINIMAX_M2, MINISTRAL3),
    *(MISTRAL, MIXTRAL, OLMO2, OLMO3, OLMOE, PHI, PHI3, QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE),
    *(SEED_OSS, SMOLLM3, STARCODER2),
)
FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {row.family: row for row in _ROWS}
    | {
        "gemma3": Multimodal(Gemma3MultimodalConfig, GEMMA3, siglip_encoder),
        "gemma3_text": GEMMA3,
        "llama4": Multimodal(Llama4MultimodalConfig, LLAMA4_TEXT, llama4_encoder),
        "mistral3": Multimodal(Mistral3MultimodalConfig, _mistral_or_ministral, pixtral_encoder),
        "qwen3_vl": Multimodal(Qwen35MultimodalConfig, QWEN3, qwen3_vl_encoder),
        "qwen3_vl_moe": Multimodal(Qwen35MultimodalConfig, QWEN3_VL_MOE_TEXT, qwen3_vl_encoder),
        "qwen3_vl_moe_text": QWEN3_VL_MOE_TEXT,
        "qwen3_vl_text": QWEN3,
    }
)
"""Readers by ``model_type``."""
