"""Families of decoders with softmax attention, from ``bloom`` to ``starcoder2``, one row each.

Field names, and defaults of fields that may be absent, are those of the configuration classes of
Hugging Face Transformers (``LlamaConfig``, ...).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from einsum_cascade.yaml.source import YamlNode, YamlScalar

from ..models import Mixer, ModelConfig
from .encoders import (
    Multimodal,
    llama4_encoder,
    pixtral_encoder,
    qwen3_vl_encoder,
    qwen_multimodal,
    siglip_encoder,
)
from .fields import Positive, check_layer_indices, exact_quotient, field_error, read_inner
from .table import (
    STACK,
    Half,
    Mixture,
    ModelFamily,
    Windows,
    all_but,
    all_layers,
    biased,
    counts,
    even_layers,
    families,
    fixed,
    flags,
    from_layer,
    index_lists,
    last_of_every,
    layers_where,
    like,
    listed,
    lists,
    numbers,
    optional_counts,
    optional_sizes,
    own_names,
    sizes,
    softmax,
    sparse_by_step,
    texts,
    uniform,
    uniform_sizes,
)

LLAMA = ModelFamily(
    fields=optional_sizes(num_key_value_heads=None) | flags(attention_bias=False, mlp_bias=False)
)
# Granite scales embeddings, scores, residual sums and logits.
GRANITE = LLAMA
SEED_OSS = like(
    LLAMA,
    fields=optional_sizes(num_key_value_heads=8, head_dim=128)
    | flags(attention_bias=True, attention_out_bias=False),
    output_bias="attention_out_bias",
)


_WITHOUT_ROTATION = listed("no_rope_layers", (0,), last_of_every("no_rope_layer_interval"))
SMOLLM3 = like(
    LLAMA,
    ignored=("max_window_layers",),
    fields=sizes(no_rope_layer_interval=4)
    | optional_sizes(num_key_value_heads=4, sliding_window=None)
    | flags(use_sliding_window=False, tie_word_embeddings=True)
    # The list has 1 for each layer with rotary embedding, and 0 for the others.
    | lists(no_rope_layers=(0, 1)),
    windows=Windows(layers=_WITHOUT_ROTATION),
)

# OLMo 2 normalises queries and keys over all heads, and has its norms behind both halves.
OLMO2 = ModelFamily(
    fields=optional_sizes(num_key_value_heads=None) | flags(attention_bias=False),
    qk_norm=True,
    qk_norm_size="all heads",
)
OLMO3 = like(
    OLMO2,
    fields=optional_sizes(sliding_window=4096),
    windows=Windows(layers=all_but(last_of_every(4))),
)
OLMOE = like(OLMO2, fields=sizes(num_experts=64, num_experts_per_tok=8), mixture=Mixture())

# A null is no window (later versions); without the field the class has a default.
MISTRAL = ModelFamily(
    fields=optional_sizes(num_key_value_heads=8, sliding_window=4096),
    windows=Windows(layers=all_layers),
)
# Ministral scales queries far into a text, which changes no count.
MINISTRAL3 = like(MISTRAL, fields=optional_sizes(head_dim=128, sliding_window=None))
# The ignored fields of Phi 3 name layers that see all keys; the class makes all layers alike.
PHI3 = like(
    MISTRAL,
    fields=optional_sizes(num_key_value_heads=None, sliding_window=None),
    ignored=("full_attn_mod", "interpolate_factor"),
)
MIXTRAL = like(
    MISTRAL,
    fields=sizes(num_local_experts=8, num_experts_per_tok=2) | optional_sizes(sliding_window=None),
    mixture=Mixture(),
)


def _mistral_or_ministral(root: YamlNode) -> ModelConfig:
    kind = root.child("model_type")
    newer = isinstance(kind, YamlScalar) and kind.text == "ministral3"
    return MINISTRAL3(root) if newer else MISTRAL(root)


# Published files of Qwen give a sliding_window that use_sliding_window switches off.
QWEN2 = ModelFamily(
    fields=optional_sizes(num_key_value_heads=32, sliding_window=4096)
    | counts(max_window_layers=28)
    | flags(use_sliding_window=False),
    input_bias=True,
    windows=Windows(layers=from_layer("max_window_layers")),
)
QWEN3 = like(
    QWEN2,
    fields=optional_sizes(head_dim=128) | flags(attention_bias=False),
    qk_norm=True,
    **biased("attention_bias"),
)


_early_even_layers = layers_where(lambda c, index: index % 2 == 0 and index < c.max_window_layers)
QWEN2_MOE = ModelFamily(
    fields=sizes(num_experts_per_tok=4, moe_intermediate_size=1408, decoder_sparse_step=1)
    | optional_sizes(num_key_value_heads=16)
    | counts(max_window_layers=28, num_experts=60, shared_expert_intermediate_size=5632)
    | flags(use_sliding_window=False, qkv_bias=True)
    | index_lists(mlp_only_layers=None)
    | optional_counts(sliding_window=4096),
    input_bias="qkv_bias",
    windows=Windows(layers=_early_even_layers),
    mixture=Mixture(
        shared=("shared_expert_intermediate_size",), shared_gate=True, layers=sparse_by_step
    ),
)
_EXPERT_NAMES = ("num_experts", "num_local_experts")
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
QWEN3_MOE = ModelFamily(
    # Queries and keys of the family are always normalised.
    ignored=("use_qk_norm",),
    names={"num_experts": _EXPERT_NAMES},
    fields=sizes(num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1)
    | optional_sizes(num_key_value_heads=4, sliding_window=4096)
    | counts(num_experts=128)
    | flags(attention_bias=False, use_sliding_window=False)
    | index_lists(mlp_only_layers=None)
    | optional_counts(max_window_layers=None),
    check=_check_window_version,
    qk_norm=True,
    windows=Windows(layers=all_layers),
    mixture=Mixture(layers=sparse_by_step),
)
_QWEN3_VL_MOE_TEXT = like(
    QWEN3_MOE,
    # The class has no windows, whatever a file says of them.
    ignored=("use_qk_norm", "sliding_window", "max_window_layers"),
    fields=sizes(num_experts_per_tok=4, moe_intermediate_size=1408)
    | optional_sizes(num_key_value_heads=16)
    | counts(num_experts=60)
    | fixed(use_sliding_window=False),
    check=None,
    windows=None,
)

# Whatever the limit and alpha of a gate are, an element takes as many operations.
GPT_OSS = ModelFamily(
    aliases=(("experts_per_token", "num_experts_per_tok"),),
    fields=sizes(num_key_value_heads=8, head_dim=64, num_local_experts=128, num_experts_per_tok=4)
    | optional_sizes(sliding_window=128)
    | flags(attention_bias=True)
    | {"swiglu_limit": (Positive, 7.0), "swiglu_alpha": (Positive, 1.702)},
    sinks=True,
    windows=Windows(layers=even_layers),
    mixture=Mixture(clamped=True),
)
_PLAIN = ModelFamily(norm_bias=True, gated=False, **biased(True), ffn_bias=True)
"""Row of families whose networks have no gate, and whose norms and products all have biases."""
# Attention and network of Phi stand side by side behind one norm; the output embedding has a bias.
PHI = like(
    _PLAIN,
    fields=optional_sizes(num_key_value_heads=None) | flags(qk_layernorm=False),
    qk_norm="qk_layernorm",
    qk_norm_size="head with bias",
    norms=1,
    outside=lambda c: 2 * c.hidden_size + (c.vocab_size or 0),
)
GPT_NEOX = like(
    _PLAIN,
    fields=flags(attention_bias=True),
    # Parallel or sequential halves take as many operations.
    ignored=("use_parallel_residual",),
    **biased("attention_bias"),
)
GPT2 = like(
    _PLAIN,
    standard=STACK,
    names=own_names("n_embd", "n_layer", "n_head"),
    fields=sizes(n_positions=1024)
    | optional_sizes(n_inner=None)
    | flags(tie_word_embeddings=True)
    | texts(activation_function=None),
    dense="n_inner",
    # A table of positions, and the last norm with its bias.
    outside=lambda c: c.n_positions * c.hidden_size + 2 * c.hidden_size,
)
BLOOM = like(
    _PLAIN,
    standard=STACK,
    ignored=(
        *("slow_but_exact", "offset_alibi", "seq_length", "skip_bias_add*", "*_fusion"),
        "apply_residual_connection_post_layernorm",
    ),
    names=own_names(
        ("n_embed", "hidden_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
    ),
    fields=optional_sizes(vocab_size=250_880, n_inner=None) | flags(tie_word_embeddings=True),
    dense="n_inner",
    activation="gelu",
    alibi=True,
    # A norm of embeddings and the last norm, with biases.
    outside=lambda c: 4 * c.hidden_size,
)


def _check_falcon(root: YamlNode, c: Any) -> None:
    newer, norms = c.new_decoder_architecture, c.num_ln_in_parallel_attn or 1
    if newer and not c.parallel_attn:
        text = "the halves of new_decoder_architecture are side by side, and this says not"
        raise field_error(root, "parallel_attn", text)
    if c.parallel_attn and norms > (2 if newer else 1):
        most = "1 or 2" if newer else "1 without new_decoder_architecture"
        raise field_error(root, "num_ln_in_parallel_attn", f"expected {most}, got {norms}")


def _falcon_norms(c: Any) -> int:
    both = 2 if c.new_decoder_architecture or not c.parallel_attn else 1
    stated: int | None = c.num_ln_in_parallel_attn if c.parallel_attn else None
    return stated or both


def _falcon_kv_heads(root: YamlNode, c: Any) -> int:
    """Return the number of key heads; early Falcons have one or all, and no other number."""
    heads: int = c.num_attention_heads
    keys: int = c.num_kv_heads or heads
    if c.new_decoder_architecture:
        exact_quotient(root, "num_attention_heads", heads, "num_kv_heads", keys)
        return keys
    if c.multi_query:
        # The published file of the 7B says 71 heads of keys.
        return 1
    if keys != heads:
        text = f"without new_decoder_architecture all {heads} heads have keys, got {keys}"
        raise field_error(root, "num_kv_heads", text)
    return heads


# One head of keys or groups; halves are parallel, or sequential (RW).
FALCON = like(
    _PLAIN,
    standard=STACK,
    ignored=("apply_residual_connection_post_layernorm",),
    aliases=(("ff_factor", lambda c: (c.ffn_hidden_size or 4 * c.hidden_size) / c.hidden_size),),
    names=own_names(
        ("n_embed", "hidden_size"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        num_kv_heads=("num_kv_heads", "n_head_kv"),
    ),
    fields=optional_sizes(
        vocab_size=65_024, num_kv_heads=None, ffn_hidden_size=None, num_ln_in_parallel_attn=None
    )
    | texts(activation="gelu")
    | flags(alibi=False, bias=False, multi_query=True, parallel_attn=True)
    | flags(new_decoder_architecture=False, tie_word_embeddings=True),
    check=_check_falcon,
    kv_heads=_falcon_kv_heads,
    dense="ffn_hidden_size",
    norms=_falcon_norms,
    **biased("bias"),
    ffn_bias="bias",
)
_MPT_NORMS = (
    *("layernorm", "low_precision_layernorm"),
    *("rmsnorm", "low_precision_rmsnorm", "triton_rmsnorm"),
)


_MPT_ATTENTION = (
    # Required, because configuration classes disagree on its default.
    {"alibi": (bool, ...), "attn_type": (str, "multihead_attention")}
    | flags(rope=False, qk_ln=False)
    | optional_sizes(kv_n_heads=None)
    | numbers(clip_qkv=None)
    | fixed(prefix_lm=False, attn_uses_sequence_id=False)
)


def _mpt_attention(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    # The ignored fields concern kernels and constants.
    ignored = ("attn_impl", "softmax_scale", "alibi_bias_max")
    node, a = read_inner(root, "attn_config", _MPT_ATTENTION, ignored)
    if a.alibi and a.rope:
        raise field_error(node, "rope", "a penalty of distance (alibi) stands in its place")
    if c.norm_type not in _MPT_NORMS:
        known = ", ".join(_MPT_NORMS)
        raise field_error(root, "norm_type", f"expected one of {known}, got '{c.norm_type}'")
    kv_heads = _mpt_kv_heads(node, c.num_attention_heads, a)
    half = softmax(replace(row, kv_heads=lambda _root, _c: kv_heads), root, c)
    mixer = replace(half.part, alibi=a.alibi, clip=a.clip_qkv, qk_norm=a.qk_ln)
    # Norms of queries and keys extend over all heads.
    norms = (mixer.heads + mixer.kv_heads) * mixer.qk_width * (2 if _mpt_norm_bias(c) else 1)
    return Half(mixer, half.other_parameters + (norms if a.qk_ln else 0))


def _mpt_kv_heads(node: YamlNode, heads: int, a: Any) -> int:
    """Return the number of key heads that the kind of attention implies."""
    given: int | None = a.kv_n_heads
    if a.attn_type == "grouped_query_attention":
        if given is None:
            raise field_error(node, "attn_type", "'grouped_query_attention' needs kv_n_heads")
        exact_quotient(node, "n_heads", heads, "kv_n_heads", given)
        return given
    known = {"multihead_attention": heads, "multiquery_attention": 1}
    if (keys := known.get(a.attn_type)) is None:
        text = "expected 'multihead_attention', 'multiquery_attention' or"
        message = f"{text} 'grouped_query_attention', got '{a.attn_type}'"
        raise field_error(node, "attn_type", message)
    if given not in (None, keys):
        raise field_error(node, "kv_n_heads", f"'{a.attn_type}' has {keys}, got {given}")
    return keys


def _mpt_norm_bias(c: Any) -> bool:
    """Return whether norms have biases: layer norms do if products do, RMS norms never do."""
    return bool(c.norm_type.endswith("layernorm") and not c.no_bias)


def _outside_mpt(c: Any) -> int:
    # Learned positions exist only without ALiBi and rotations.
    learned = c.learned_pos_emb and not (c.attn_config["alibi"] or c.attn_config.get("rope"))
    positions = c.max_seq_len if learned else 0
    return int(c.hidden_size * ((2 if _mpt_norm_bias(c) else 1) + positions))


MPT = like(
    _PLAIN,
    standard=STACK,
    # The ignored fields concern gradients, messages and padding.
    ignored=("embedding_fraction", "verbose", "tokenizer_name", "use_pad_tok_in_ffn"),
    names=own_names("d_model", "n_layers", "n_heads"),
    fields=optional_sizes(vocab_size=50_368)
    | sizes(expansion_ratio=4, max_seq_len=2048)
    | flags(learned_pos_emb=True, tie_word_embeddings=True)
    # Required, because configuration classes disagree on its default.
    | flags("no_bias")
    | {"norm_type": (str, "low_precision_layernorm"), "attn_config": (dict[str, Any], ...)},
    mixers=uniform(_mpt_attention),
    dense=lambda c: c.expansion_ratio * c.hidden_size,
    activation="gelu",
    norm_bias=_mpt_norm_bias,
    **biased(lambda c: not c.no_bias),
    ffn_bias=lambda c: not c.no_bias,
    outside=_outside_mpt,
)

ERNIE4_5 = ModelFamily(
    fields=optional_sizes(num_key_value_heads=2, head_dim=128)
    | flags(use_bias=False, tie_word_embeddings=True)
    | fixed(use_rmsnorm=True),
    **biased("use_bias"),
    ffn_bias="use_bias",
)


def _has_ernie_experts(c: Any, index: int) -> bool:
    last = c.moe_layer_end_index if c.moe_layer_end_index != -1 else c.num_hidden_layers - 1
    in_range = c.moe_layer_start_index <= index <= last
    return bool(in_range and (index + 1) % c.moe_layer_interval == 0)


ERNIE4_5_MOE = ModelFamily(
    # The ignored fields say how experts are chosen, and bound experts in training.
    ignored=("moe_norm_min", "moe_use_aux_free", "moe_gate*", "moe_capacity"),
    aliases=(("num_experts", "moe_num_experts"), ("num_experts_per_tok", "num_experts_per_tok")),
    names={"num_experts_per_tok": "moe_k"},
    fields=sizes(moe_intermediate_size=1536, num_experts_per_tok=6)
    | sizes(moe_num_experts=64, moe_layer_interval=1)
    | optional_sizes(num_key_value_heads=4)
    | counts(moe_num_shared_experts=2, moe_layer_start_index=1)
    | flags(tie_word_embeddings=True)
    | fixed(use_rmsnorm=True)
    | {"moe_layer_end_index": (int, -1)},
    mixture=Mixture(
        shared=("moe_intermediate_size", "moe_num_shared_experts"),
        layers=layers_where(_has_ernie_experts),
        router_bias=True,
    ),
)
# GLM 4 has norms before and behind both halves.
GLM4 = ModelFamily(
    fields=optional_sizes(num_key_value_heads=2, head_dim=128) | flags(attention_bias=True),
    norms=4,
    output_bias=False,
)
GLM4_MOE = ModelFamily(
    ignored=("use_grouped_mm",),
    fields=sizes(num_key_value_heads=8)
    | flags(attention_bias=False, use_qk_norm=False)
    | sizes("moe_intermediate_size", "n_routed_experts", "num_experts_per_tok")
    | counts("n_shared_experts", "first_k_dense_replace"),
    output_bias=False,
    mixture=Mixture(
        shared=("moe_intermediate_size", "n_shared_experts"),
        layers=from_layer("first_k_dense_replace"),
        router_bias=True,
    ),
)

# Both halves of Cohere's layers stand side by side behind one norm without a bias.
COHERE = ModelFamily(
    fields=optional_sizes(num_key_value_heads=None)
    | flags(attention_bias=False, use_qk_norm=False, tie_word_embeddings=True),
    norms=1,
    qk_norm_size="all heads",
)
COHERE2 = ModelFamily(
    ignored=("use_embedding_sharing", "use_parallel_embedding"),
    aliases=(
        ("layer_switch", "sliding_window_pattern"),
        ("_sliding_window_pattern", "sliding_window_pattern"),
    ),
    fields=sizes(sliding_window_pattern=4)
    | optional_sizes(num_key_value_heads=None, sliding_window=4096)
    | flags(attention_bias=False, tie_word_embeddings=True)
    | fixed(order_of_interleaved_layers="local_attn_first")
    | fixed(use_gated_activation=True, use_parallel_block=True),
    norms=1,
    windows=Windows(layers=all_but(last_of_every("sliding_window_pattern"))),
)


def _exaone_windowed_layers(root: YamlNode, c: Any) -> list[bool]:
    """Select the layers with a window: all but the last of every period.

    The pattern is the period. A word of L and G selects no layers: ``layer_types`` then lists them.
    """
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


EXAONE4 = ModelFamily(
    fields=optional_sizes(num_key_value_heads=32, sliding_window=4096)
    | {"sliding_window_pattern": (Any, 4)},
    qk_norm=True,
    windows=Windows(layers=_exaone_windowed_layers),
)
STARCODER2 = like(
    _PLAIN,
    # The ignored fields set the precision of scores.
    ignored=("attention_softmax_in_fp32", "scale_attention_softmax_*"),
    fields=optional_sizes(num_key_value_heads=2, sliding_window=None)
    | flags(use_bias=True, tie_word_embeddings=True)
    | texts(hidden_act="gelu_pytorch_tanh")
    | fixed(norm_type="layer_norm", mlp_type="default"),
    **biased("use_bias"),
    ffn_bias="use_bias",
    windows=Windows(layers=all_layers),
)

# Heads need not make up the stream: Gemma 7B has 16 of 256 on a width of 3,072.
GEMMA = ModelFamily(
    # The family reads hidden_activation instead.
    ignored=("hidden_act",),
    fields=sizes(num_key_value_heads=16, head_dim=256)
    | optional_sizes(vocab_size=256_000)
    | flags(tie_word_embeddings=True, attention_bias=False)
    | texts(hidden_activation=None),
    activation="gelu",
)
GEMMA2 = like(
    GEMMA,
    aliases=(("sliding_window_size", "sliding_window"),),
    fields=sizes(num_attention_heads=8, num_key_value_heads=4)
    | optional_sizes(sliding_window=4096)
    | numbers(attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
    norms=4,
    windows=Windows(layers=even_layers),
)
GEMMA3 = like(
    GEMMA2,
    aliases=(
        ("_sliding_window_pattern", "sliding_window_pattern"),
        ("sliding_window_size", "sliding_window"),
    ),
    # Multimodal files leave the size of the vocabulary out.
    fields=sizes(sliding_window_pattern=6)
    | optional_sizes(vocab_size=262_208)
    | numbers(attn_logit_softcapping=None, final_logit_softcapping=None),
    qk_norm=True,
    windows=Windows(layers=all_but(last_of_every("sliding_window_pattern"))),
)


_llama4_chunked_layers = listed(
    "no_rope_layers", (1,), all_but(last_of_every("no_rope_layer_interval")), may_be_empty=True
)
"""Rule for the layers with rotary embedding."""


def _llama4_sparse_layers(root: YamlNode, c: Any) -> list[bool]:
    """Select the layers with experts: listed ones, or by default the last of each step. Step 0
    selects none."""
    step, count = c.interleave_moe_layer_step, c.num_hidden_layers
    listed = range(step - 1, count, step) if c.moe_layers is None and step else c.moe_layers or ()
    check_layer_indices(root, "moe_layers", listed, count)
    for name in ("num_local_experts", "num_experts_per_tok"):
        if listed and not getattr(c, name):
            raise field_error(root, name, "some layers have experts, and this is 0")
    return [index in listed for index in range(count)]


LLAMA4_TEXT = ModelFamily(
    # The ignored fields scale queries, and name norms without weights.
    ignored=("attn_temperature_tuning", "attn_scale", "floor_scale", "use_qk_norm", "for_llm_*"),
    fields=sizes("intermediate_size_mlp", num_key_value_heads=8, no_rope_layer_interval=4)
    | optional_sizes(head_dim=128, attention_chunk_size=8192)
    | counts(num_local_experts=16, num_experts_per_tok=1, interleave_moe_layer_step=1)
    | flags(attention_bias=False)
    | index_lists(moe_layers=None)
    | lists(no_rope_layers=(0, 1), layer_types=("full_attention", "chunked_attention")),
    dense="intermediate_size_mlp",
    windows=Windows(
        size="attention_chunk_size",
        kind="chunked_attention",
        chunked=True,
        layers=_llama4_chunked_layers,
    ),
    mixture=Mixture(
        # The shared expert is as wide as a routed one.
        shared=("intermediate_size",),
        layers=_llama4_sparse_layers,
    ),
)
GRANITEMOE = ModelFamily(
    fields=sizes(num_local_experts=8, num_experts_per_tok=2)
    | optional_sizes(num_key_value_heads=None)
    | flags(attention_bias=False),
    mixture=Mixture(),
)


MINIMAX_M2 = ModelFamily(
    # The ignored fields concern networks that no layer has.
    ignored=("layernorm_*", "mlp_intermediate_size", "shared_moe_mode"),
    aliases=(("num_experts", "num_local_experts"),),
    fields=sizes(num_local_experts=256, num_experts_per_tok=8)
    | optional_sizes(num_key_value_heads=8, head_dim=128)
    | flags(use_qk_norm=True, use_routing_bias=True)
    | fixed(qk_norm_type="per_layer")
    | lists(attn_type_list=(1,)),
    qk_norm_size="all heads",
    mixture=Mixture(layers=listed("attn_type_list", (1,)), router_bias="use_routing_bias"),
)

# The ignored fields concern images, classes, and kinds of attention that are switched off.
HUNYUAN_V1_DENSE = ModelFamily(
    ignored=(
        *("*_id", "vit_*", "anyres_*", "num_media_embeds", "add_classification_head", "class_num"),
        *("pool_type", "dense_list", "use_rotary_pos_emb", "cla_share_factor", "org_vocab_size"),
        *("*_lora_rank", "qk_*_head_dim", "v_head_dim", "capacity_factor", "sliding_window"),
    ),
    names={"head_dim": ("head_dim", "attention_head_dim")},
    fields=optional_sizes(num_key_value_heads=None, head_dim=None)
    | flags(attention_bias=False, mlp_bias=False, use_qk_norm=True),
)
# The shared network is as wide as a dense one.
HUNYUAN_V1_MOE = like(
    HUNYUAN_V1_DENSE,
    names={**HUNYUAN_V1_DENSE.names, "num_experts_per_tok": "moe_topk"},
    fields=uniform_sizes("num_experts", "num_experts_per_tok", moe_intermediate_size=None)
    | uniform_sizes(num_shared_expert=1)
    | fixed(use_mixed_mlp_moe=True),
    mixture=Mixture(shared=("intermediate_size", "num_shared_expert")),
)
# Ling and Ring of inclusionAI; the second version has norms of queries and keys.
BAILING_MOE = ModelFamily(
    ignored=(
        *("norm_head", "score_function", "router_dtype", "moe_shared_expert_intermediate_size"),
        *("use_rmsnorm", "sliding_window", "max_window_layers", "moe_router_topk_scaling_factor"),
    ),
    fields=sizes("num_experts", "num_experts_per_tok", "moe_intermediate_size")
    | counts(num_shared_experts=0, first_k_dense_replace=0)
    | optional_sizes(num_key_value_heads=None)
    | flags(use_qk_norm=False, use_qkv_bias=False, use_bias=False)
    | flags(moe_router_enable_expert_bias=False),
    input_bias="use_qkv_bias",
    output_bias="use_bias",
    mixture=Mixture(
        shared=("moe_intermediate_size", "num_shared_experts"),
        layers=from_layer("first_k_dense_replace"),
        router_bias="moe_router_enable_expert_bias",
    ),
)
FAMILIES = families(
    globals(),
    bailing_moe_v2=BAILING_MOE,
    gemma3=Multimodal(
        text=GEMMA3,
        encoder=siglip_encoder,
        encoders=("siglip_vision_model",),
        ignored=("mm_tokens_per_image",),
    ),
    gemma3_text=GEMMA3,
    llama4=Multimodal(text=LLAMA4_TEXT, encoder=llama4_encoder, encoders=("llama4_vision_model",)),
    mistral3=Multimodal(
        text=_mistral_or_ministral,
        encoder=pixtral_encoder,
        encoders=("pixtral",),
        texts=("mistral", "ministral3", "mistral3"),
        # The ignored fields concern the projector's function and its input layer.
        ignored=("projector_hidden_act", "vision_feature_layer"),
        fields=sizes(spatial_merge_size=2) | flags(multimodal_projector_bias=False),
    ),
    qwen3_vl=qwen_multimodal(QWEN3, qwen3_vl_encoder),
    qwen3_vl_moe=qwen_multimodal(_QWEN3_VL_MOE_TEXT, qwen3_vl_encoder),
    qwen3_vl_moe_text=_QWEN3_VL_MOE_TEXT,
    qwen3_vl_text=QWEN3,
)
"""Readers of configurations by ``model_type``."""
