"""Readers of stacks without softmax: Mamba, Mamba-2, retention, TransNormer, RWKV-7.

Field names and defaults are those of ``MambaConfig`` and ``Mamba2Config`` (Hugging Face
Transformers), ``RetNetConfig`` (torchscale's, and flash-linear-attention's), TransNormerLLM's
own configuration, and ``RWKV7Config`` of flash-linear-attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import sqrt
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from einsum_cascade.yaml.source import YamlMapping, YamlNode

from ..models import (
    DecayAttention,
    FeedForward,
    Layer,
    ModelConfig,
    RwkvAttention,
    SelectiveScan,
    StateSpaceDual,
)
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    Reader,
    Size,
    auto_or_size,
    check_per_layer,
    exact_quotient,
    field_error,
    read_fields,
)
from .stack import ALIBI_SLOPES, build_model, join_halves, scan_half, ssd_half

_STEPS_AND_SUMS = ("time_step_*", "rms_norm", "pad_vocab_size_multiple", "norm_before_gate")
"""Names of fields about step sizes and the kind of norm."""


class _MambaConfig(ConfigFields):
    ignored: ClassVar[tuple[str, ...]] = _STEPS_AND_SUMS
    aliases: ClassVar[tuple[tuple[str, str], ...]] = (
        ("d_model", "hidden_size"),
        ("n_layer", "num_hidden_layers"),
    )

    hidden_size: Size
    num_hidden_layers: LayerCount
    state_size: Size = 16
    expand: Size = 2
    conv_kernel: Size = 4
    time_step_rank: Any = "auto"
    intermediate_size: Size | None = None
    d_inner: Size | None = None
    use_bias: bool = False
    use_conv_bias: bool = True
    tie_word_embeddings: bool = True


class _FalconMambaConfig(_MambaConfig):
    ignored = (*_STEPS_AND_SUMS, "use_mambapy", "mixer_rms_eps")
    """Names of ignored fields; norms of the steps, of B and of C have no weights."""
    aliases = ()


class _Mamba2Config(ConfigFields):
    ignored = _STEPS_AND_SUMS
    aliases = (("intermediate_size", "inner"),)

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_heads: Size = 128
    head_dim: Size = 64
    state_size: Size = 128
    expand: Size = 2
    conv_kernel: Size = 4
    n_groups: Size = 8
    chunk_size: Size = 256
    use_bias: bool = False
    use_conv_bias: bool = True

    @property
    def inner(self) -> int:
        """Expanded width, in elements."""
        return self.expand * self.hidden_size


def mamba(root: YamlNode) -> ModelConfig:
    """Read ``MambaConfig``."""
    c = read_fields(_MambaConfig, root)
    d, inner = c.hidden_size, c.expand * c.hidden_size
    for field, width in (("intermediate_size", c.intermediate_size), ("d_inner", c.d_inner)):
        if width not in (None, inner):
            raise field_error(root, field, f"{width} is not the expanded width, {c.expand} x {d}")
    return _selective(root, c, "mamba", inner)


def falcon_mamba(root: YamlNode) -> ModelConfig:
    """Read ``FalconMambaConfig``, where ``intermediate_size`` takes precedence over ``expand``."""
    c = read_fields(_FalconMambaConfig, root)
    inner = c.intermediate_size or c.expand * c.hidden_size
    if c.d_inner not in (None, inner):
        raise field_error(root, "d_inner", f"{c.d_inner} is not the inner width, {inner}")
    return _selective(root, c, "falcon_mamba", inner)


def _selective(root: YamlNode, c: _MambaConfig, family: str, inner: int) -> ModelConfig:
    d = c.hidden_size
    rank = auto_or_size(root, "time_step_rank", c.time_step_rank)
    rank = -(-d // 16) if rank is None else rank
    mixer = SelectiveScan(inner=inner, state=c.state_size, dt_rank=rank, conv_width=c.conv_kernel)
    half = scan_half(mixer, d, conv_bias=c.use_conv_bias, proj_bias=c.use_bias)
    count = c.num_hidden_layers
    return build_model(c, family, d, join_halves([half] * count, [None] * count), d)


def mamba2(root: YamlNode) -> ModelConfig:
    """Read ``Mamba2Config``."""
    c = read_fields(_Mamba2Config, root)
    d = c.hidden_size
    if c.num_heads * c.head_dim != c.inner:
        raise field_error(
            root,
            "num_heads",
            f"{c.num_heads} heads of head_dim {c.head_dim} are not the expanded width,"
            f" {c.expand} x {d}",
        )
    mixer = StateSpaceDual(
        heads=c.num_heads,
        head_width=c.head_dim,
        state=c.state_size,
        groups=c.n_groups,
        conv_width=c.conv_kernel,
        chunk=c.chunk_size,
    )
    half = ssd_half(
        root,
        mixer,
        d,
        fields=("num_heads", "n_groups"),
        conv_bias=c.use_conv_bias,
        proj_bias=c.use_bias,
    )
    count = c.num_hidden_layers
    return build_model(c, "mamba2", d, join_halves([half] * count, [None] * count), d)


class _TorchscaleRetNetConfig(ConfigFields):
    ignored = (
        "deepnorm",
        "subln",
        "no_scale_embedding",
        "recurrent_chunk_size",
        "decoder_normalize_before",
        "layernorm_embedding",
        "fsdp",
        "xpos_*",
    )

    decoder_embed_dim: Size
    decoder_value_embed_dim: Size
    decoder_retention_heads: Size
    decoder_ffn_embed_dim: Size
    decoder_layers: LayerCount


class _FlaRetNetConfig(ConfigFields):
    ignored = ("attn_mode", "conv_size", "elementwise_affine", "clamp_min")
    """Names of fields about kernels, a convolution that is off, and norms."""

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_heads: Size
    expand_k: Positive = 1.0
    expand_v: Positive = 2.0
    hidden_ratio: Size | None = 2
    intermediate_size: Size | None = None
    use_output_gate: bool = True


def retnet(root: YamlNode) -> ModelConfig:
    """Read ``RetNetConfig``, with torchscale's fields (``decoder_embed_dim``) or fla's."""
    own = isinstance(root, YamlMapping) and any(k.startswith("decoder_") for k in root.keys)
    return _torchscale_retnet(root) if own else _fla_retnet(root)


def _torchscale_retnet(root: YamlNode) -> ModelConfig:
    c = read_fields(_TorchscaleRetNetConfig, root)
    d, heads, field = c.decoder_embed_dim, c.decoder_retention_heads, "decoder_retention_heads"
    mixer = _retention(
        heads,
        exact_quotient(root, "decoder_embed_dim", d, field, heads),
        exact_quotient(root, "decoder_value_embed_dim", c.decoder_value_embed_dim, field, heads),
    )
    ffn = FeedForward(inner=c.decoder_ffn_embed_dim, gated=True)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=2 * d)
    return build_model(c, "retnet", d, [layer] * c.decoder_layers, d)


def _fla_retnet(root: YamlNode) -> ModelConfig:
    c = read_fields(_FlaRetNetConfig, root)
    d, heads = c.hidden_size, c.num_heads
    inner = c.intermediate_size
    if inner is None:
        # The width is two thirds of the ratio, rounded down, then up to a multiple of 256: 2,048
        # with a ratio of 2 gives 2,730, then 2,816.
        inner = -(-(2 * d * (c.hidden_ratio or 4) // 3) // 256) * 256
    keys = _expanded(root, "expand_k", d, c.expand_k)
    values = _expanded(root, "expand_v", d, c.expand_v)
    mixer = _retention(
        heads,
        exact_quotient(root, "hidden_size x expand_k", keys, "num_heads", heads),
        exact_quotient(root, "hidden_size x expand_v", values, "num_heads", heads),
        gated=c.use_output_gate,
    )
    ffn = FeedForward(inner=inner, gated=True)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=2 * d + mixer.v_width)
    return build_model(c, "retnet", d, [layer] * c.num_hidden_layers, d)


def _expanded(root: YamlNode, field: str, width: int, factor: float) -> int:
    # The product is exact, so that a fractional width is refused instead of rounded.
    wide = Fraction(factor) * width
    if wide.denominator != 1:
        raise field_error(root, field, f"{factor} times hidden_size, {width}, is no whole number")
    return int(wide)


def _retention(heads: int, qk_width: int, v_width: int, gated: bool = True) -> DecayAttention:
    return DecayAttention(
        heads=heads,
        qk_width=qk_width,
        v_width=v_width,
        decay="1 - 2^-(5 + head)",
        kind="retention",
        gated=gated,
    )


class _TransNormerConfig(ConfigFields):
    ignored = (
        "norm_type",
        "no_scale_embedding",
        "linear_use_lrpe_list",
        "linear_act_fun",
        "add_bos_token",
        "causal",
        "glu_act",
        "use_triton",
        "token_positions",
    )
    """Names of fields about norms without parameters, rotations, and uncounted functions."""

    decoder_embed_dim: Size
    decoder_layers: LayerCount
    decoder_attention_heads: Size
    hidden_dim: Size
    glu_dim: Size
    bias: bool = Field(default=False)


def transnormer(root: YamlNode) -> ModelConfig:
    """Read TransNormerLLM: lightning attention of ``hidden_dim``, norms without parameters."""
    c = read_fields(_TransNormerConfig, root)
    d, heads = c.decoder_embed_dim, c.decoder_attention_heads
    width = exact_quotient(root, "hidden_dim", c.hidden_dim, "decoder_attention_heads", heads)
    mixer = DecayAttention(
        heads=heads,
        qk_width=width,
        v_width=width,
        decay=ALIBI_SLOPES,
    )
    ffn = FeedForward(inner=c.glu_dim, gated=True, activation="no function")
    # Biases belong to queries, keys, values and gate, to both outputs, and to gate and up.
    biases = 4 * c.hidden_dim + 2 * d + 2 * c.glu_dim if c.bias else 0
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=biases)
    return build_model(c, "transnormer", d, [layer] * c.decoder_layers, 0)


_ACTIVATIONS = MappingProxyType({"sqrelu": "squared relu", "relu2": "squared relu"})


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


class _Rwkv7Config(ConfigFields):
    ignored = ("attn_mode", "use_l2warp")
    """Names of fields about kernels and training."""

    hidden_size: Size
    num_hidden_layers: LayerCount
    head_dim: Size | None = 64
    num_heads: Size | None = None
    hidden_ratio: Positive | None = 4.0
    intermediate_size: Size | None = None
    hidden_act: str = "sqrelu"
    decay_low_rank_dim: Size | None = None
    a_low_rank_dim: Size | None = None
    v_low_rank_dim: Size | None = None
    gate_low_rank_dim: Size | None = None
    value_dim: Annotated[tuple[Size, ...] | None, BeforeValidator(_listed)] = None
    norm_first: bool = True
    norm_bias: bool = True


def rwkv7(root: YamlNode) -> ModelConfig:
    """Read ``RWKV7Config``; layers with softmax (``attn``) are refused."""
    c = read_fields(_Rwkv7Config, root)
    d, count, heads = c.hidden_size, c.num_hidden_layers, _heads(root, c)
    values = c.value_dim or (d,)
    values = values * count if len(values) == 1 else values
    check_per_layer(root, "value_dim", values, count)
    if c.hidden_act not in _ACTIVATIONS:
        known = ", ".join(f"'{name}'" for name in _ACTIVATIONS)
        raise field_error(root, "hidden_act", f"expected {known}, got '{c.hidden_act}'")
    ffn = FeedForward(inner=_inner(c), gated=False, activation=_ACTIVATIONS[c.hidden_act])
    # The published models have heads of 64.
    scale = d // heads / 64
    norm = 2 * d if c.norm_bias else d
    layers = []
    for index, wide in enumerate(values):
        mixer = RwkvAttention(
            heads=heads,
            qk_width=d // heads,
            v_width=exact_quotient(root, "value_dim", wide, "num_heads", heads),
            decay_rank=c.decay_low_rank_dim or _rank(2.5 * scale, d),
            rate_rank=c.a_low_rank_dim or _rank(2.5 * scale, d),
            gate_rank=c.gate_low_rank_dim or _rank(5, d),
            value_rank=(c.v_low_rank_dim or _rank(1.7 * scale, d)) if index else None,
        )
        # Parameters are two norms and that of the embedding; shifts of seven inputs; scales of
        # keys, rates and the bonus; biases of decays, rates and shares; and the norm of heads.
        other = 2 * norm + (norm if c.norm_first and not index else 0) + 7 * d + 3 * d
        other += 2 * d + (wide if index else 0) + 2 * wide
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "rwkv7", d, layers, norm)


def _heads(root: YamlNode, c: _Rwkv7Config) -> int:
    d = c.hidden_size
    if c.head_dim is None and c.num_heads is None:
        raise field_error(root, "head_dim", "one of head_dim and num_heads is needed")
    if c.head_dim is None:
        exact_quotient(root, "hidden_size", d, "num_heads", c.num_heads or 1)
        return c.num_heads or 1
    found = exact_quotient(root, "hidden_size", d, "head_dim", c.head_dim)
    if c.num_heads not in (None, found):
        text = f"hidden_size {d} has {found} heads of head_dim {c.head_dim}, not {c.num_heads}"
        raise field_error(root, "num_heads", text)
    return found


def _inner(c: _Rwkv7Config) -> int:
    """Return the width inside a network: as given, else a multiple of 32 above a ratio of the
    width."""
    if c.intermediate_size is not None:
        return c.intermediate_size
    return 32 * -(-int(c.hidden_size * (c.hidden_ratio or 4)) // 32)


def _rank(factor: float, width: int) -> int:
    """Return the rank for a width, rounded to a multiple of 32."""
    return max(32, round(factor * sqrt(width) / 32) * 32)


FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {
        "falcon_mamba": falcon_mamba,
        "mamba": mamba,
        "mamba2": mamba2,
        "retnet": retnet,
        "rwkv7": rwkv7,
        "transnormer": transnormer,
    }
)
"""Readers by ``model_type``."""
