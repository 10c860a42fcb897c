"""Readers of hybrid stacks and of latent attention.

Hybrid stacks have softmax among Mamba, Mamba-2, gated delta rule, lightning attention,
convolutions or RG-LRU, or latent attention among delta rules (``kimi_linear``). Fields and defaults
are those of Hugging Face Transformers (``JambaConfig``, ``DeepseekV3Config``, ...), and of the own
configurations of MiniMax-Text-01 and Kimi Linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    DecayAttention,
    DeltaAttention,
    FeedForward,
    GatedRecurrence,
    KeyIndexer,
    LatentAttention,
    Mixer,
    ModelConfig,
    ShortConvolution,
)
from .encoders import qwen3_5_encoder, qwen_multimodal
from .fields import (
    Size,
    SizeOrZero,
    check_per_layer,
    exact_quotient,
    field_error,
    one_per_layer,
    read_inner,
)
from .recurrent import ALIBI_SLOPES
from .table import (
    SILU,
    STACK,
    Half,
    LayerRule,
    MixersReader,
    Mixture,
    ModelFamily,
    all_layers,
    counts,
    dense_network,
    even_layers,
    families,
    fixed,
    flags,
    from_layer,
    index_lists,
    indices,
    last_of_every,
    layers_where,
    like,
    listed,
    lists,
    mixed,
    no_layers,
    numbers,
    optional_counts,
    optional_sizes,
    scan,
    sizes,
    softmax,
    sparse_by_step,
    state_space_dual,
    texts,
    uniform,
)

_STANDARD = (*STACK, "intermediate_size", "hidden_act")
_MAMBA_NAMES = MappingProxyType(
    {
        "state_size": "mamba_d_state",
        "conv_kernel": "mamba_d_conv",
        "expand": "mamba_expand",
        "use_conv_bias": "mamba_conv_bias",
        "use_bias": "mamba_proj_bias",
    }
)
"""Names of the fields of state-space mixers in hybrid stacks."""


def _at_period(kind: str) -> LayerRule:
    """Return a rule that selects one layer of every period; two fields hold the period and the
    offset."""

    def rule(root: YamlNode, c: Any) -> list[bool]:
        field, period = f"{kind}_layer_offset", getattr(c, f"{kind}_layer_period")
        if (offset := getattr(c, field)) >= period:
            raise field_error(root, field, f"{offset} is not below the period, {period}")
        return [index % period == offset for index in range(c.num_hidden_layers)]

    return rule


def _jamba_sparse_layers(root: YamlNode, c: Any) -> list[bool]:
    # With a single expert, the authors' layers are dense and route no token.
    return [c.num_experts > 1 and at_period for at_period in _at_period("expert")(root, c)]


# In Jamba, of every 8 layers from 0, layer 4 attends, and layers 1, 3, 5 and 7 have experts.
JAMBA = ModelFamily(
    # The ignored fields choose kernels, and the tokens whose logits are returned.
    ignored=("use_mamba_kernels", "num_logits_to_keep", "calc_logits_for_entire_prompt"),
    names=_MAMBA_NAMES | {"time_step_rank": "mamba_dt_rank"},
    fields={"time_step_rank": (Any, "auto")}
    | sizes(num_key_value_heads=8, attn_layer_period=8, expert_layer_period=2)
    | counts(attn_layer_offset=4, expert_layer_offset=1)
    | sizes(num_experts=16, num_experts_per_tok=2, state_size=16, conv_kernel=4, expand=2)
    | flags(use_conv_bias=True, use_bias=False, mamba_inner_layernorms=True),
    mixers=mixed(_at_period("attn"), scan()),
    mixture=Mixture(layers=_jamba_sparse_layers),
)
_DUAL = ModelFamily(
    standard=_STANDARD,
    ignored=("time_step_*", "mamba_dt_*", "num_logits_to_keep", "use_mamba_kernels"),
    names=_MAMBA_NAMES
    | {
        "mamba_num_heads": "mamba_n_heads",
        "mamba_head_dim": "mamba_d_head",
        "n_groups": "mamba_n_groups",
        "chunk_size": "mamba_chunk_size",
    },
    fields={"hidden_act": SILU, "mamba_head_dim": (Any, "auto")}
    | sizes(mamba_num_heads=128, n_groups=1, state_size=256, conv_kernel=4, expand=2)
    | sizes(chunk_size=256)
    | flags(use_conv_bias=True, use_bias=False),
)
"""Row shared by families with layers of Mamba-2; its ignored fields concern step sizes and
kernels."""


BAMBA = like(
    _DUAL,
    fields=optional_sizes(num_key_value_heads=8) | index_lists(attn_layer_indices=None),
    mixers=mixed(indices("attn_layer_indices", no_layers), state_space_dual),
)


_granite_attention_layers = listed(
    "layer_types", ("attention", "full_attention"), no_layers, may_be_empty=True
)

# All tokens pass a shared network, beside which there may be experts.
GRANITEMOEHYBRID = like(
    _DUAL,
    fields=optional_sizes(num_key_value_heads=None)
    | flags(attention_bias=False)
    | counts(num_local_experts=8, num_experts_per_tok=2)
    | sizes(shared_intermediate_size=1024)
    | fixed(normalization_function="rmsnorm")
    # Kinds of layers have other names in later versions of the class.
    | lists(layer_types=("mamba", "attention", "linear_attention", "full_attention")),
    mixers=mixed(_granite_attention_layers, state_space_dual),
    dense="shared_intermediate_size",
    mixture=Mixture(shared=("shared_intermediate_size",)),
)
_BLOCKS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("M", "mamba", "linear_attention"), "M"),
        **dict.fromkeys(("*", "attention", "full_attention"), "*"),
        **dict.fromkeys(("-", "mlp"), "-"),
        **dict.fromkeys(("E", "moe"), "E"),
    }
)
"""Kinds of blocks by the letters, and by the words, that stand for them."""


def _nemotron_blocks(root: YamlNode, c: Any) -> list[str]:
    listed = c.layers_block_type or c.hybrid_override_pattern
    if not listed:
        text = "it says which blocks there are: give it, or layers_block_type"
        raise field_error(root, "hybrid_override_pattern", text)
    if c.num_hidden_layers is not None:
        field = "layers_block_type" if c.layers_block_type else "hybrid_override_pattern"
        check_per_layer(root, field, listed, c.num_hidden_layers)
    found = [_BLOCKS[kind] for kind in listed]
    if found != [_BLOCKS[kind] for kind in c.hybrid_override_pattern or listed]:
        raise field_error(root, "hybrid_override_pattern", "layers_block_type says otherwise")
    return found


def _nemotron_mixers(row: ModelFamily, root: YamlNode, c: Any) -> list[Half[Mixer]]:
    known = {"*": softmax(row, root, c), "M": state_space_dual(row, root, c)}
    return [known[kind] for kind in _nemotron_blocks(root, c) if kind in known]


def _nemotron_networks(row: ModelFamily, root: YamlNode, c: Any) -> list[Half[FeedForward] | None]:
    """Return the network behind each mixer, or None; a mixer and the network behind it form a
    layer."""
    blocks = _nemotron_blocks(root, c)
    dense = dense_network(row, c)
    known: dict[str, Half[FeedForward]] = {"-": dense}
    if "E" in blocks:
        for field in ("n_routed_experts", "num_experts_per_tok"):
            if not getattr(c, field):
                raise field_error(root, field, "some blocks have experts, and this is 0")
        known["E"] = _NEMOTRON_EXPERTS.half(row, root, c, dense.part)
    networks: list[Half[FeedForward] | None] = []
    for kind in blocks:
        if kind not in known:
            networks.append(None)
        elif networks and networks[-1] is None:
            networks[-1] = known[kind]
        else:
            text = "a feed-forward network stands behind no mixer of its own, and is not read"
            raise field_error(root, "hybrid_override_pattern", text)
    return networks


_NEMOTRON_EXPERTS = Mixture(shared=("moe_shared_expert_intermediate_size",), router_bias=True)
NEMOTRON_H = ModelFamily(
    standard=(*STACK, "intermediate_size"),
    # The ignored fields concern widths that heads imply, overlap, and the number of shared experts,
    # which is always one.
    ignored=(
        *_DUAL.ignored,
        *("expand", "mamba_ssm_cache_dtype"),
        *("moe_shared_expert_overlap", "n_shared_experts"),
    ),
    aliases=(
        ("attention_head_dim", "head_dim"),
        ("mamba_num_groups", "n_groups"),
        ("mamba_state_dim", "state_size"),
    ),
    names={"state_size": "ssm_state_size"},
    fields=optional_sizes(num_hidden_layers=None, num_key_value_heads=8)
    | sizes(num_attention_heads=32, head_dim=128)
    | flags(attention_bias=False, mlp_bias=False, use_bias=False, use_conv_bias=True)
    | lists(letters=True, hybrid_override_pattern=(*_BLOCKS,), layers_block_type=(*_BLOCKS,))
    | {"mlp_hidden_act": (str, "relu2"), "mamba_hidden_act": SILU}
    | sizes(mamba_num_heads=128, mamba_head_dim=64, state_size=128, n_groups=8, conv_kernel=4)
    | sizes(chunk_size=128, moe_intermediate_size=7688, moe_shared_expert_intermediate_size=7688)
    | counts(n_routed_experts=8, num_experts_per_tok=2),
    mixers=_nemotron_mixers,
    networks=_nemotron_networks,
    gated=False,
)


def _gated_delta(_row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    """Return the gated delta rule; its further parameters are two per head and the norm of its
    output."""
    keys, values = c.linear_num_key_heads, c.linear_num_value_heads
    exact_quotient(root, "linear_num_value_heads", values, "linear_num_key_heads", keys)
    delta = DeltaAttention(
        heads=values,
        key_heads=keys,
        qk_width=c.linear_key_head_dim,
        v_width=c.linear_value_head_dim,
        conv_width=c.linear_conv_kernel_dim,
    )
    return Half(delta, 2 * values + delta.v_width)


_LINEAR_KINDS = ("full_attention", "linear_attention")
_QWEN35 = ("mamba_ssm_dtype", "mrope_*", "output_gate_type")
"""Names of ignored fields: formats of states, positions, a gate's function."""
_SHARED_EXPERTS = Mixture(shared=("shared_expert_intermediate_size",), shared_gate=True)

# The projection of queries makes the gate, too. With an interval of 4, layers 3, 7, 11, ... from 0
# attend.
QWEN3_NEXT = ModelFamily(
    fields=sizes(num_key_value_heads=2, full_attention_interval=4, linear_conv_kernel_dim=4)
    | sizes(linear_key_head_dim=128, linear_value_head_dim=128)
    | sizes(linear_num_key_heads=16, linear_num_value_heads=32)
    | sizes(num_experts_per_tok=10, moe_intermediate_size=512, decoder_sparse_step=1)
    | counts(num_experts=512, shared_expert_intermediate_size=512)
    | optional_sizes(head_dim=256)
    | flags(attention_bias=False)
    | lists(layer_types=_LINEAR_KINDS)
    | {"hidden_act": SILU, "mlp_only_layers": (tuple[SizeOrZero, ...], ())},
    qk_norm=True,
    output_gate=True,
    mixers=mixed(
        listed("layer_types", ("full_attention",), last_of_every("full_attention_interval")),
        _gated_delta,
    ),
    mixture=replace(_SHARED_EXPERTS, layers=sparse_by_step),
)


def _check_gate(root: YamlNode, c: Any) -> None:
    if not c.attn_output_gate:
        raise field_error(root, "attn_output_gate", "the family's softmax layers have a gate")


_SPARSE_FIELDS = (
    *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "decoder_sparse_step"),
    *("shared_expert_intermediate_size", "mlp_only_layers"),
)
QWEN3_5_TEXT = replace(
    QWEN3_NEXT,
    ignored=_QWEN35,
    fields={k: v for k, v in QWEN3_NEXT.fields.items() if k not in _SPARSE_FIELDS}
    | sizes(num_key_value_heads=4)
    | flags(attn_output_gate=True),
    check=_check_gate,
    mixture=None,
)
# Without a dense layer, the width of dense layers is ignored.
QWEN3_5_MOE_TEXT = like(
    QWEN3_5_TEXT,
    standard=(*STACK, "head_dim", "layer_types", "hidden_act"),
    ignored=(*_QWEN35, "intermediate_size"),
    fields=sizes(num_key_value_heads=2, num_experts=256, num_experts_per_tok=8)
    | sizes(moe_intermediate_size=512)
    | counts(shared_expert_intermediate_size=512),
    dense=None,
    mixture=_SHARED_EXPERTS,
)


def _short_convolution(_row: ModelFamily, _root: YamlNode, c: Any) -> Half[Mixer]:
    width = c.hidden_size
    # Biases belong to the input projection, to the taps, and to the output.
    biases = 5 * width if c.conv_bias else 0
    return Half(ShortConvolution(channels=width, conv_width=c.conv_L_cache), biases)


def _tie_embeddings(_root: YamlNode, c: Any, model: ModelConfig) -> ModelConfig:
    tied = c.tie_word_embeddings if c.tie_embedding is None else c.tie_embedding
    return replace(model, tied_embeddings=tied)


def _lfm2_inner(c: Any) -> int:
    """Return two thirds of the width that the configuration gives, rounded up to a multiple."""
    inner: int = c.block_ff_dim or c.intermediate_size
    if not c.block_auto_adjust_ff_dim:
        return inner
    # As in the class, floating-point results are rounded down after each product.
    inner = int(2 * inner / 3)
    if c.block_ffn_dim_multiplier is None:
        return inner
    inner = int(c.block_ffn_dim_multiplier * inner)
    return int(c.block_multiple_of * -(-inner // c.block_multiple_of))


def _check_lfm2_inner(root: YamlNode, c: Any) -> None:
    if _lfm2_inner(c) == 0:
        raise field_error(root, "intermediate_size", "nothing is left of it once it is adjusted")


LFM2 = ModelFamily(
    standard=(*STACK, "head_dim", "layer_types"),
    # The ignored fields concern initial weights, the gate that always exists, and positions.
    ignored=(
        *("block_*_init_scale", "*_use_xavier_init", "block_use_swiglu", "use_pos_enc"),
        *("theta", "max_seq_len"),
    ),
    aliases=(
        *(("block_dim", "hidden_size"), ("conv_dim", "hidden_size")),
        *(("conv_dim_out", "hidden_size"), ("num_heads", "num_attention_heads")),
    ),
    fields=sizes(num_key_value_heads=8, conv_L_cache=3)
    | flags(conv_bias=False, tie_word_embeddings=True)
    | index_lists(full_attn_idxs=None)
    | lists(layer_types=("full_attention", "conv"))
    | {"tie_embedding": (bool | None, None)}
    | sizes(intermediate_size=12288, block_multiple_of=256)
    | optional_sizes(block_ff_dim=None)
    | numbers(block_ffn_dim_multiplier=1.0)
    | flags(block_auto_adjust_ff_dim=True),
    check=_check_lfm2_inner,
    qk_norm=True,
    mixers=mixed(
        listed("layer_types", ("full_attention",), indices("full_attn_idxs", all_layers)),
        _short_convolution,
    ),
    dense=_lfm2_inner,
    complete=_tie_embeddings,
)
LFM2_MOE = replace(
    LFM2,
    fields={k: v for k, v in LFM2.fields.items() if not k.startswith("block_")}
    | sizes("intermediate_size", moe_intermediate_size=1792)
    | counts(num_dense_layers=2)
    | sizes(num_experts=32, num_experts_per_tok=4)
    | flags(use_expert_bias=True),
    check=None,
    dense="intermediate_size",
    mixture=Mixture(layers=from_layer("num_dense_layers"), router_bias="use_expert_bias"),
)


def _check_recurrent_gemma(root: YamlNode, c: Any) -> None:
    d, heads = c.hidden_size, c.num_attention_heads
    width = exact_quotient(root, "hidden_size", d, "num_attention_heads", heads)
    if c.head_dim not in (None, width):
        text = f"{heads} heads of {d} are {width} wide, not {c.head_dim}"
        raise field_error(root, "head_dim", text)
    if not c.block_types:
        raise field_error(root, "block_types", "no kind of layer is named")
    exact_quotient(root, "lru_width", c.lru_width or d, "num_attention_heads", heads)
    exact_quotient(root, "intermediate_size", c.intermediate_size, "the gate and the rest", 2)


def _gated_recurrence(_row: ModelFamily, _root: YamlNode, c: Any) -> Half[Mixer]:
    inner = c.lru_width or c.hidden_size
    mixer = GatedRecurrence(inner=inner, blocks=c.num_attention_heads, conv_width=c.conv1d_width)
    # Biases of three projections, of the taps and of both gates; a decay per channel.
    return Half(mixer, c.hidden_size + 5 * inner + inner)


def _windowed_softmax(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    half = softmax(row, root, c)
    return Half(replace(half.part, window=c.attention_window_size), half.other_parameters)


_cycled_attention_layers = layers_where(
    lambda c, index: c.block_types[index % len(c.block_types)] == "attention"
)
_BLOCK_TYPES = Annotated[tuple[str, ...], one_per_layer("recurrent", "attention")]

# Two layers of a gated recurrence, then one with a window.
RECURRENT_GEMMA = ModelFamily(
    standard=(*STACK, "intermediate_size", "head_dim"),
    # The ignored fields concern initial weights, and a constant factor.
    ignored=("*_init_variance_scale", "embeddings_scale_by_sqrt_dim"),
    aliases=(("_block_types", "block_types"),),
    fields=optional_sizes(vocab_size=256_000, num_key_value_heads=None, lru_width=None)
    | sizes(num_attention_heads=10, attention_window_size=2048, conv1d_width=4)
    | texts(hidden_activation="gelu_pytorch_tanh")
    | {"block_types": (_BLOCK_TYPES, ("recurrent", "recurrent", "attention"))}
    | numbers(logits_soft_cap=30.0)
    | flags(attention_bias=False, tie_word_embeddings=True),
    check=_check_recurrent_gemma,
    output_bias=True,
    mixers=mixed(_cycled_attention_layers, _gated_recurrence, _windowed_softmax),
    # The field counts both the gate and the values that the gate multiplies.
    dense=lambda c: c.intermediate_size // 2,
    ffn_bias=True,
    logit_softcap="logits_soft_cap",
)


def _lightning(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    """Return lightning attention, which normalises the values of all heads together."""
    a = softmax(row, root, c).part
    mixer = DecayAttention(
        heads=a.heads, qk_width=a.qk_width, v_width=a.v_width, decay=ALIBI_SLOPES
    )
    return Half(mixer, a.heads * a.v_width)


MINIMAX = ModelFamily(
    standard=(*STACK, "intermediate_size", "head_dim", "hidden_act", "layer_types"),
    # The ignored fields concern factors of the stream, places of norms, and chunks.
    ignored=(
        *("*_attention_alpha", "*_attention_beta", "mlp_alpha_factor", "mlp_beta_factor"),
        *("*_attn_alpha_factor", "*_attn_beta_factor", "layernorm_*", "postnorm"),
        *("shared_moe_mode", "block_size"),
    ),
    fields=sizes(num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2)
    | lists(layer_types=_LINEAR_KINDS),
    mixers=mixed(listed("layer_types", ("full_attention",), even_layers), _lightning),
    mixture=Mixture(),
)
MINIMAX_TEXT_01 = like(
    MINIMAX,
    fields=counts(shared_intermediate_size=0)
    # The list has 0 for each lightning layer and 1 for each softmax layer.
    | {"attn_type_list": (Annotated[tuple[int, ...], one_per_layer(0, 1)], ...)},
    mixers=mixed(listed("attn_type_list", (1,)), _lightning),
    mixture=Mixture(shared=("shared_intermediate_size",), shared_gate="shared_intermediate_size"),
)


def _latent(_row: ModelFamily, _root: YamlNode, c: Any) -> Half[LatentAttention]:
    """Return latent attention that is causal and sees all keys.

    Its further parameters are the norms of the latents of queries and of keys.
    """
    found = LatentAttention(
        heads=c.num_attention_heads,
        q_rank=c.q_lora_rank,
        kv_rank=c.kv_lora_rank,
        nope_width=c.qk_nope_head_dim,
        rope_width=c.qk_rope_head_dim,
        v_width=c.v_head_dim,
    )
    return Half(found, c.kv_lora_rank + (c.q_lora_rank or 0))


def _check_groups(root: YamlNode, c: Any) -> None:
    """Raise an error if the fields on groups of experts are inconsistent; groups change no
    count."""
    groups, selected, experts = c.n_group or 1, c.topk_group or 1, c.n_routed_experts
    if experts is None:
        return
    each = exact_quotient(root, "n_routed_experts", experts, "n_group", groups)
    if selected > groups:
        text = f"a token goes to {selected} groups, there are {groups}"
        raise field_error(root, "topk_group", text)
    if c.num_experts_per_tok > selected * each and groups > 1:
        text = f"a token goes to {c.num_experts_per_tok} experts, its groups have {selected * each}"
        raise field_error(root, "num_experts_per_tok", text)


_RULE = from_layer("first_k_dense_replace", every="moe_layer_freq")
_LATENT = sizes("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")

# The router of DeepSeek-V3 adds a bias to the score of each expert, which balances their load
# (arXiv 2412.19437).
_MIXTURE = Mixture(
    shared=("moe_intermediate_size", "n_shared_experts"), layers=_RULE, router_bias=True
)
DEEPSEEK_V3 = ModelFamily(
    standard=_STANDARD,
    # After expansion every query head has keys of its own.
    aliases=(
        ("num_key_value_heads", "num_attention_heads"),
        ("qk_head_dim", lambda c: c.qk_nope_head_dim + c.qk_rope_head_dim),
    ),
    fields=_LATENT
    | optional_sizes("q_lora_rank", "n_routed_experts")
    | optional_counts("n_shared_experts")
    | counts("first_k_dense_replace")
    | optional_counts(n_group=None, topk_group=None)
    | sizes("moe_intermediate_size", "num_experts_per_tok", moe_layer_freq=1),
    check=_check_groups,
    mixers=uniform(_latent),
    mixture=_MIXTURE,
)
DEEPSEEK_V2 = like(DEEPSEEK_V3, mixture=replace(_MIXTURE, router_bias=False))
KIMI_K2 = DEEPSEEK_V3


def _indexed(own: LayerRule | None = None) -> MixersReader:
    """Return a reader of latent attention in which an indexer selects the keys of each query.

    Layers that the rule ``own`` does not select use the selection of an earlier layer.
    """

    def mixers(row: ModelFamily, root: YamlNode, c: Any) -> list[Half[Mixer]]:
        if c.layer_types is not None:
            check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        half = _latent(row, root, c)
        indexer = KeyIndexer(heads=c.index_n_heads, width=c.index_head_dim, top_k=c.index_topk)
        found: list[Half[Mixer]] = []
        for selects in [True] * c.num_hidden_layers if own is None else own(root, c):
            part = replace(half.part, indexer=replace(indexer, shared=not selects))
            # The key of an indexer is normalised, with a bias.
            found.append(Half(part, half.other_parameters + (2 * indexer.width if selects else 0)))
        return found

    return mixers


DEEPSEEK_V32 = like(
    DEEPSEEK_V3,
    fields=sizes("q_lora_rank", "index_n_heads", "index_head_dim", "index_topk")
    # Both words name the same layer: every layer attends to selected keys.
    | lists(layer_types=("deepseek_sparse_attention", "indexed_attention")),
    mixers=_indexed(),
)
_LAYER_KINDS = lists(mlp_layer_types=("dense", "sparse"))


def _listed_sparse_layers(root: YamlNode, c: Any) -> Sequence[bool]:
    """Select the layers with experts: listed ones, or by default every few after the first dense
    ones."""
    found = listed("mlp_layer_types", ("sparse",), _RULE)(root, c)
    if c.mlp_layer_types is not None and any(found) and not c.n_routed_experts:
        raise field_error(root, "mlp_layer_types", "some layers have experts, and there are none")
    return found


GLM4_MOE_LITE = like(
    DEEPSEEK_V3,
    ignored=("head_dim",),
    fields=counts(first_k_dense_replace=1) | _LAYER_KINDS,
    mixture=replace(_MIXTURE, layers=_listed_sparse_layers),
)


def _own_indexers(root: YamlNode, c: Any) -> Sequence[bool]:
    """Return one boolean per layer: True if the layer's own indexer selects keys.

    A list in the configuration decides; without a list, every few layers have an indexer.
    """
    offset, every = c.index_skip_topk_offset, c.index_topk_freq
    # With an offset of 2 and every 4th layer, layers 0, 1, 5, 9, 13, ... select keys; layers 2 to 4
    # use the keys of layer 1.
    regular = [max(index - offset + 1, 0) % every == 0 for index in range(c.num_hidden_layers)]
    pattern = listed("index_topk_pattern", ("full", "F"), lambda _root, _c: regular)
    own = listed("indexer_types", ("full", "F"), pattern)(root, c)
    if not own[0]:
        raise field_error(root, "indexer_types", "the first layer has no picks to share")
    return own


GLM_MOE_DSA = like(
    DEEPSEEK_V32,
    # The ignored fields concern a head's width with rotations, the indexer of further tokens, and
    # the format of router scores.
    ignored=(
        *("head_dim", "indexer_rope_interleave"),
        *("index_share_for_mtp_iteration", "moe_router_dtype"),
    ),
    fields=sizes(index_n_heads=32, index_head_dim=128, index_topk=2048, index_topk_freq=1)
    | counts(first_k_dense_replace=3, index_skip_topk_offset=2)
    | _LAYER_KINDS
    | lists(indexer_types=("full", "shared"))
    | lists(letters=True, index_topk_pattern=("F", "S", "full", "shared")),
    mixers=_indexed(_own_indexers),
    mixture=replace(_MIXTURE, layers=_listed_sparse_layers),
)


_KIMI_DELTA = sizes("head_dim", "num_heads", short_conv_kernel_size=4) | dict.fromkeys(
    ("kda_layers", "full_attn_layers"), (tuple[Size, ...], ...)
)


def _kimi_mixers(row: ModelFamily, root: YamlNode, c: Any) -> Sequence[Half[Mixer]]:
    """Return the mixer of each layer: Kimi Delta Attention or latent attention, as two lists say.

    The lists count layers from 1.
    """
    _, linear = read_inner(root, "linear_attn_config", _KIMI_DELTA)
    count, heads, width = c.num_hidden_layers, linear.num_heads, linear.head_dim
    taps = linear.short_conv_kernel_size
    listed = sorted((*linear.kda_layers, *linear.full_attn_layers))
    if listed != list(range(1, count + 1)):
        text = (
            f"kda_layers and full_attn_layers together are not the layers 1 to {count}, each once"
        )
        raise field_error(root, "linear_attn_config", text)
    delta = DeltaAttention(
        heads=heads, key_heads=heads, qk_width=width, v_width=width, conv_width=taps, low_rank=width
    )
    # Parameters are A and the bias of steps, and the norm of a head's output.
    recurs: Half[Mixer] = Half(delta, heads * (1 + width) + width)
    full = [index in linear.full_attn_layers for index in range(1, count + 1)]
    return mixed(lambda _root, _c: full, lambda *_: recurs, _latent)(row, root, c)


KIMI_LINEAR = ModelFamily(
    standard=_STANDARD,
    # The ignored fields concern the choice of experts, and widths without rotation.
    ignored=(
        *("moe_router_activation_func", "moe_renormalize"),
        *("num_expert_group", "use_grouped_topk", "mla_use_nope", "head_dim"),
    ),
    aliases=(("num_key_value_heads", "num_attention_heads"),),
    names={"num_experts_per_tok": "num_experts_per_token"},
    fields=_LATENT
    | {"linear_attn_config": (dict[str, Any], ...)}
    | optional_sizes(q_lora_rank=None)
    | sizes("num_experts", "num_experts_per_tok", "moe_intermediate_size", moe_layer_freq=1)
    | counts(num_shared_experts=0, first_k_dense_replace=0),
    mixers=_kimi_mixers,
    mixture=replace(_MIXTURE, shared=("moe_intermediate_size", "num_shared_experts")),
)

FAMILIES = families(
    globals(),
    minimax_m1=MINIMAX_TEXT_01,
    qwen3_5=qwen_multimodal(QWEN3_5_TEXT, qwen3_5_encoder),
    qwen3_5_moe=qwen_multimodal(QWEN3_5_MOE_TEXT, qwen3_5_encoder),
)
"""Readers of configurations by ``model_type``."""
