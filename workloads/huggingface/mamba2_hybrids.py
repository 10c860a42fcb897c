"""Readers of stacks of Mamba-2 and softmax with feed-forward networks: bamba, granitemoehybrid,
nemotron_h.

Fields and defaults are those of Hugging Face Transformers (``BambaConfig``,
``GraniteMoeHybridConfig``, ``NemotronHConfig``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from einsum_cascade.yaml.source import YamlNode

from ..models import Experts, FeedForward, Layer, ModelConfig, SoftmaxAttention, StateSpaceDual
from .fields import (
    ConfigFields,
    LayerCount,
    SiluGate,
    Size,
    SizeOrZero,
    attention_biases,
    auto_or_size,
    build_model,
    check_layer_indices,
    check_per_layer,
    checked_per_token,
    constant,
    exact_quotient,
    feed_forward,
    field_error,
    grouped_heads,
    head_width,
    one_per_layer,
    read_fields,
)
from .recurrent import ssd_other_parameters

_STEPS = ("time_step_*", "mamba_dt_*", "num_logits_to_keep", "use_mamba_kernels")
"""How step sizes begin and are bounded, and of which tokens logits are given back."""


class _DualFields(ConfigFields):
    """What bamba and granitemoehybrid say of their layers alike."""

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
"""What layers are called, by earlier versions of the class and by later ones."""


class _GraniteHybridConfig(_DualFields):
    ignored = (
        *_STEPS,
        *("embedding_multiplier", "logits_scaling", "residual_multiplier"),
        "attention_multiplier",
    )
    """Constants by which what is there is multiplied."""

    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    num_local_experts: SizeOrZero = 8
    num_experts_per_tok: SizeOrZero = 2
    shared_intermediate_size: Size = 1024
    normalization_function: Annotated[str | None, constant("rmsnorm")] = None
    layer_types: Annotated[tuple[str, ...], one_per_layer(*_KINDS)] | None = None


def _dual(root: YamlNode, c: _DualFields) -> StateSpaceDual:
    """The mixer of all layers with a state, whose heads make up the expanded width."""
    inner, heads = c.mamba_expand * c.hidden_size, c.mamba_n_heads
    given = auto_or_size(root, "mamba_d_head", c.mamba_d_head)
    expanded = "mamba_expand x hidden_size"
    width = given or exact_quotient(root, expanded, inner, "mamba_n_heads", heads)
    if heads * width != inner:
        text = f"{heads} heads of mamba_d_head {width} are not {expanded}, {inner}"
        raise field_error(root, "mamba_n_heads", text)
    exact_quotient(root, "mamba_n_heads", heads, "mamba_n_groups", c.mamba_n_groups)
    return StateSpaceDual(
        heads=heads,
        head_width=width,
        state=c.mamba_d_state,
        groups=c.mamba_n_groups,
        conv_width=c.mamba_d_conv,
        chunk=c.mamba_chunk_size,
    )


def _softmax(root: YamlNode, c: _DualFields, kv_heads: int | None) -> SoftmaxAttention:
    heads = c.num_attention_heads
    width = head_width(root, c.hidden_size, heads, None)
    return SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, kv_heads or heads),
        qk_width=width,
        v_width=width,
    )


def bamba(root: YamlNode) -> ModelConfig:
    """``BambaConfig``: layers of softmax are listed, the others are Mamba-2's."""
    c = read_fields(_BambaConfig, root)
    d, count = c.hidden_size, c.num_hidden_layers
    listed = c.attn_layer_indices or ()
    check_layer_indices(root, "attn_layer_indices", listed, count)
    softmax, dual = _softmax(root, c, c.num_key_value_heads), _dual(root, c)
    biases = {"conv_bias": c.mamba_conv_bias, "proj_bias": c.mamba_proj_bias}
    ffn = feed_forward(c.intermediate_size, gated=True, activation=None)
    attends = Layer(mixer=softmax, ffn=ffn, other_parameters=2 * d)
    other = 2 * d + ssd_other_parameters(dual, d, **biases)
    recurs = Layer(mixer=dual, ffn=ffn, other_parameters=other)
    layers = [attends if index in listed else recurs for index in range(count)]
    return build_model(c, "bamba", d, layers, d)


def granitemoehybrid(root: YamlNode) -> ModelConfig:
    """``GraniteMoeHybridConfig``: experts beside a network for all tokens, or that alone."""
    c = read_fields(_GraniteHybridConfig, root)
    d, count, experts = c.hidden_size, c.num_hidden_layers, c.num_local_experts
    softmax, dual = _softmax(root, c, c.num_key_value_heads), _dual(root, c)
    shared = c.shared_intermediate_size
    ffn: FeedForward | Experts = feed_forward(shared, gated=True, activation=None)
    if experts:
        per_token = checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts)
        if not per_token:
            raise field_error(root, "num_experts_per_tok", "layers have experts, and this is 0")
        ffn = Experts(
            experts=experts, per_token=per_token, inner=c.intermediate_size, shared_inner=shared
        )
    biases = {"conv_bias": c.mamba_conv_bias, "proj_bias": c.mamba_proj_bias}
    other = 2 * d + (attention_biases(softmax, d) if c.attention_bias else 0)
    attends = Layer(mixer=softmax, ffn=ffn, other_parameters=other)
    other = 2 * d + ssd_other_parameters(dual, d, **biases)
    recurs = Layer(mixer=dual, ffn=ffn, other_parameters=other)
    kinds = c.layer_types or ("mamba",) * count
    check_per_layer(root, "layer_types", kinds, count)
    layers = [attends if kind in _ATTENDS else recurs for kind in kinds]
    return build_model(c, "granitemoehybrid", d, layers, d)


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
"""What blocks are called: in a word of letters, or in a list."""


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
    """Heads say how wide a state is; further tokens, what is done at once, and the number of
    shared experts, of which there is always one."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _NemotronBlock:
    """A mixer or a network, and its parameters beside products, a norm among them."""

    part: Any
    other: int


def nemotron_h(root: YamlNode) -> ModelConfig:
    """``NemotronHConfig``: a mixer and the network behind it, if there is one, are a layer."""
    c = read_fields(_NemotronHConfig, root)
    blocks = _nemotron_blocks(root, c)
    layers: list[Layer] = []
    closed = True
    for kind in _nemotron_kinds(root, c):
        block = blocks[kind]
        if kind in "M*":
            layers.append(Layer(mixer=block.part, ffn=None, other_parameters=block.other))
            closed = False
            continue
        if closed:
            text = "a feed-forward network stands behind no mixer of its own, and is not read"
            raise field_error(root, "hybrid_override_pattern", text)
        before = layers.pop()
        other = before.other_parameters + block.other
        layers.append(Layer(mixer=before.mixer, ffn=block.part, other_parameters=other))
        closed = True
    return build_model(c, "nemotron_h", c.hidden_size, layers, c.hidden_size)


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


def _nemotron_blocks(root: YamlNode, c: _NemotronHConfig) -> dict[str, _NemotronBlock]:
    d, heads = c.hidden_size, c.num_attention_heads
    softmax = SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, c.num_key_value_heads or heads),
        qk_width=c.head_dim,
        v_width=c.head_dim,
    )
    exact_quotient(root, "mamba_num_heads", c.mamba_num_heads, "n_groups", c.n_groups)
    dual = StateSpaceDual(
        heads=c.mamba_num_heads,
        head_width=c.mamba_head_dim,
        state=c.ssm_state_size,
        groups=c.n_groups,
        conv_width=c.conv_kernel,
        chunk=c.chunk_size,
    )
    dense = feed_forward(c.intermediate_size, gated=False, activation=c.mlp_hidden_act)
    biases = dense.inner + d if c.mlp_bias else 0
    states = ssd_other_parameters(dual, d, conv_bias=c.use_conv_bias, proj_bias=c.use_bias)
    found = {
        "M": _NemotronBlock(part=dual, other=d + states),
        "*": _NemotronBlock(
            part=softmax, other=d + (attention_biases(softmax, d) if c.attention_bias else 0)
        ),
        "-": _NemotronBlock(part=dense, other=d + biases),
    }
    if "E" in _nemotron_kinds(root, c):
        found["E"] = _nemotron_experts(root, c, dense)
    return found


def _nemotron_experts(root: YamlNode, c: _NemotronHConfig, dense: FeedForward) -> _NemotronBlock:
    """Experts without gates; the one for all tokens has a width of its own."""
    d, experts = c.hidden_size, c.n_routed_experts
    for field in ("n_routed_experts", "num_experts_per_tok"):
        if not getattr(c, field):
            raise field_error(root, field, "some blocks have experts, and this is 0")
    shared = c.moe_shared_expert_intermediate_size
    mixture = Experts(
        experts=experts,
        per_token=checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.moe_intermediate_size,
        shared_inner=shared,
        gated=False,
        activation=dense.activation,
    )
    # The router has a bias an expert, by which loads are evened out; of networks the one that
    # all tokens pass may have biases.
    return _NemotronBlock(part=mixture, other=d + experts + (shared + d if c.mlp_bias else 0))
