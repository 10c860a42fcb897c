"""Readers of stacks of Mamba-2 and softmax with feed-forward networks: bamba, granitemoehybrid,
nemotron_h.

Fields and defaults are those of Hugging Face Transformers (``BambaConfig``,
``GraniteMoeHybridConfig``, ``NemotronHConfig``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from einsum_cascade.yaml.source import YamlNode

from ..models import FeedForward, Mixer, ModelConfig, StateSpaceDual
from .fields import (
    ConfigFields,
    LayerCount,
    Reader,
    SiluGate,
    Size,
    SizeOrZero,
    auto_or_size,
    check_layer_indices,
    check_per_layer,
    constant,
    exact_quotient,
    field_error,
    listed_layers,
    one_per_layer,
    read_fields,
)
from .stack import (
    Half,
    Network,
    attention_biases,
    attention_heads,
    build_model,
    feed_forward,
    join_halves,
    mixture_of_experts,
    ssd_half,
)

_STEPS = ("time_step_*", "mamba_dt_*", "num_logits_to_keep", "use_mamba_kernels")
"""Names of fields about step sizes, kernels, and the tokens whose logits are returned."""


class _DualFields(ConfigFields):
    """Fields that bamba and granitemoehybrid have in common."""

    ignored: ClassVar[tuple[str, ...]] = _STEPS

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
    hidden_act: SiluGate = None
    mamba_n_heads: Size = 128
    mamba_d_head: Any = "auto"
    mamba_n_groups: Size = 1
    mamba_d_state: Size = 256
    mamba_d_conv: Size = 4
    mamba_expand: Size = 2
    mamba_chunk_size: Size = 256
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False


class _BambaConfig(_DualFields):
    num_key_value_heads: Size | None = 8
    attn_layer_indices: tuple[SizeOrZero, ...] | None = None


_ATTENDS = ("attention", "full_attention")
_KINDS = ("mamba", "attention", "linear_attention", "full_attention")
"""Names of kinds of layers in earlier and later versions of the class."""


class _GraniteHybridConfig(_DualFields):
    ignored = (
        *_STEPS,
        *("embedding_multiplier", "logits_scaling", "residual_multiplier"),
        "attention_multiplier",
    )
    """Names of fields with constant factors."""

    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    num_local_experts: SizeOrZero = 8
    num_experts_per_tok: SizeOrZero = 2
    shared_intermediate_size: Size = 1024
    normalization_function: Annotated[str | None, constant("rmsnorm")] = None
    layer_types: Annotated[tuple[str, ...], one_per_layer(*_KINDS)] | None = None


def _mamba2_half(root: YamlNode, c: _DualFields) -> Half[Mixer]:
    """Return the mixer of all layers with a state; its heads make up the expanded width."""
    inner, heads = c.mamba_expand * c.hidden_size, c.mamba_n_heads
    given = auto_or_size(root, "mamba_d_head", c.mamba_d_head)
    expanded = "mamba_expand x hidden_size"
    width = given or exact_quotient(root, expanded, inner, "mamba_n_heads", heads)
    if heads * width != inner:
        text = f"{heads} heads of mamba_d_head {width} are not {expanded}, {inner}"
        raise field_error(root, "mamba_n_heads", text)
    mixer = StateSpaceDual(
        heads=heads,
        head_width=width,
        state=c.mamba_d_state,
        groups=c.mamba_n_groups,
        conv_width=c.mamba_d_conv,
        chunk=c.mamba_chunk_size,
    )
    return ssd_half(
        root,
        mixer,
        c.hidden_size,
        fields=("mamba_n_heads", "mamba_n_groups"),
        conv_bias=c.mamba_conv_bias,
        proj_bias=c.mamba_proj_bias,
    )


def bamba(root: YamlNode) -> ModelConfig:
    """Read ``BambaConfig``: layers of softmax are listed, the others are Mamba-2's."""
    c = read_fields(_BambaConfig, root)
    d, count = c.hidden_size, c.num_hidden_layers
    listed = c.attn_layer_indices or ()
    check_layer_indices(root, "attn_layer_indices", listed, count)
    heads = attention_heads(root, d, c.num_attention_heads, c.num_key_value_heads)
    attends: Half[Mixer] = Half(heads, d)
    recurs = _mamba2_half(root, c)
    network = Half(feed_forward(c.intermediate_size), d)
    mixers = [attends if index in listed else recurs for index in range(count)]
    return build_model(c, "bamba", d, join_halves(mixers, [network] * count), d)


def granitemoehybrid(root: YamlNode) -> ModelConfig:
    """Read ``GraniteMoeHybridConfig``: a network that all tokens pass, with or without experts."""
    c = read_fields(_GraniteHybridConfig, root)
    d, count = c.hidden_size, c.num_hidden_layers
    heads = attention_heads(root, d, c.num_attention_heads, c.num_key_value_heads)
    biases = attention_biases(heads, d) if c.attention_bias else 0
    attends: Half[Mixer] = Half(heads, d + biases)
    recurs = _mamba2_half(root, c)
    network = Half(_granite_network(root, c), d)
    softmax: Sequence[bool] = [False] * count
    if c.layer_types:
        softmax = listed_layers(root, c, "layer_types", _ATTENDS)
    mixers = [attends if is_softmax else recurs for is_softmax in softmax]
    return build_model(c, "granitemoehybrid", d, join_halves(mixers, [network] * count), d)


def _granite_network(root: YamlNode, c: _GraniteHybridConfig) -> Network:
    shared = c.shared_intermediate_size
    if not c.num_local_experts:
        return feed_forward(shared)
    mixture = mixture_of_experts(
        root, c.num_local_experts, c.num_experts_per_tok, c.intermediate_size, shared
    )
    if not mixture.per_token:
        raise field_error(root, "num_experts_per_tok", "layers have experts, and this is 0")
    return mixture


_BLOCKS: Mapping[str, str] = MappingProxyType(
    {
        "M": "M",
        "mamba": "M",
        "linear_attention": "M",
        "*": "*",
        "attention": "*",
        "full_attention": "*",
        "-": "-",
        "mlp": "-",
        "E": "E",
        "moe": "E",
    }
)
"""Kinds of blocks, by letters of a word and by words of a list."""


def _letters(value: Any) -> Any:
    return list(value) if isinstance(value, str) else value


_NemotronPattern = (
    Annotated[tuple[str, ...], one_per_layer(*_BLOCKS), BeforeValidator(_letters)] | None
)


class _NemotronHConfig(ConfigFields):
    ignored = (
        *_STEPS,
        *("expand", "num_nextn_predict_layers", "mtp_*", "mamba_ssm_cache_dtype"),
        *("moe_shared_expert_overlap", "n_shared_experts"),
    )
    """Names of fields about widths that heads imply, further tokens, overlap, and the number of
    shared experts, which is always one."""
    aliases = (
        ("attention_head_dim", "head_dim"),
        ("mamba_num_groups", "n_groups"),
        ("mamba_state_dim", "ssm_state_size"),
    )

    hidden_size: Size
    num_hidden_layers: Size | None = None
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = 8
    head_dim: Size = 128
    attention_bias: bool = False
    hybrid_override_pattern: _NemotronPattern = None
    layers_block_type: _NemotronPattern = None
    intermediate_size: Size
    mlp_hidden_act: str = "relu2"
    mlp_bias: bool = False
    mamba_hidden_act: SiluGate = None
    mamba_num_heads: Size = 128
    mamba_head_dim: Size = 64
    ssm_state_size: Size = 128
    n_groups: Size = 8
    conv_kernel: Size = 4
    chunk_size: Size = 128
    use_bias: bool = False
    use_conv_bias: bool = True
    n_routed_experts: SizeOrZero = 8
    num_experts_per_tok: SizeOrZero = 2
    moe_intermediate_size: Size = 7688
    moe_shared_expert_intermediate_size: Size = 7688


def nemotron_h(root: YamlNode) -> ModelConfig:
    """Read ``NemotronHConfig``: a mixer, with the network behind it if there is one, is a layer."""
    c = read_fields(_NemotronHConfig, root)
    mixers: list[Half[Mixer]] = []
    networks: list[Half[Network] | None] = []
    kinds = _nemotron_kinds(root, c)
    known_mixers, known_networks = _nemotron_mixers(root, c), _nemotron_networks(root, c, kinds)
    for kind in kinds:
        if kind in known_mixers:
            mixers.append(known_mixers[kind])
            networks.append(None)
        elif networks and networks[-1] is None:
            networks[-1] = known_networks[kind]
        else:
            text = "a feed-forward network stands behind no mixer of its own, and is not read"
            raise field_error(root, "hybrid_override_pattern", text)
    d = c.hidden_size
    return build_model(c, "nemotron_h", d, join_halves(mixers, networks), d)


def _nemotron_kinds(root: YamlNode, c: _NemotronHConfig) -> list[str]:
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


def _nemotron_mixers(root: YamlNode, c: _NemotronHConfig) -> dict[str, Half[Mixer]]:
    d = c.hidden_size
    softmax = attention_heads(root, d, c.num_attention_heads, c.num_key_value_heads, c.head_dim)
    dual = StateSpaceDual(
        heads=c.mamba_num_heads,
        head_width=c.mamba_head_dim,
        state=c.ssm_state_size,
        groups=c.n_groups,
        conv_width=c.conv_kernel,
        chunk=c.chunk_size,
    )
    biases = attention_biases(softmax, d) if c.attention_bias else 0
    return {
        "*": Half(softmax, d + biases),
        "M": ssd_half(
            root,
            dual,
            d,
            fields=("mamba_num_heads", "n_groups"),
            conv_bias=c.use_conv_bias,
            proj_bias=c.use_bias,
        ),
    }


def _nemotron_networks(
    root: YamlNode, c: _NemotronHConfig, kinds: list[str]
) -> dict[str, Half[Network]]:
    d = c.hidden_size
    dense = feed_forward(c.intermediate_size, gated=False, activation=c.mlp_hidden_act)
    biases = dense.inner + d if c.mlp_bias else 0
    found: dict[str, Half[Network]] = {"-": Half(dense, d + biases)}
    if "E" in kinds:
        found["E"] = _nemotron_experts(root, c, dense)
    return found


def _nemotron_experts(root: YamlNode, c: _NemotronHConfig, dense: FeedForward) -> Half[Network]:
    """Return experts without gates; the shared expert has a width of its own."""
    d, experts = c.hidden_size, c.n_routed_experts
    for field in ("n_routed_experts", "num_experts_per_tok"):
        if not getattr(c, field):
            raise field_error(root, field, "some blocks have experts, and this is 0")
    shared = c.moe_shared_expert_intermediate_size
    mixture = mixture_of_experts(
        root, experts, c.num_experts_per_tok, c.moe_intermediate_size, shared
    )
    # The router adds a bias to the score of each expert, which balances their load; only the
    # shared expert may have biases.
    return Half(
        replace(mixture, gated=False, activation=dense.activation),
        d + experts + (shared + d if c.mlp_bias else 0),
    )


FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {"bamba": bamba, "granitemoehybrid": granitemoehybrid, "nemotron_h": nemotron_h}
)
"""Readers by ``model_type``."""
