"""Readers of stacks without softmax: mamba, mamba2, retnet, transnormer.

Field names and defaults are those of ``MambaConfig`` and ``Mamba2Config`` (Hugging Face
Transformers), ``RetNetConfig`` (torchscale's, and flash-linear-attention's), and
TransNormerLLM's own configuration.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from pydantic import Field

from einsum_cascade.yaml.source import YamlMapping, YamlNode

from ..models import DecayAttention, FeedForward, Layer, ModelConfig, SelectiveScan, StateSpaceDual
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    Size,
    auto_or_size,
    divided,
    read_fields,
    refuse,
    stack,
)

_STEPS_AND_SUMS = ("time_step_*", "rms_norm", "pad_vocab_size_multiple", "norm_before_gate")
"""How step sizes begin and are bounded, and which norm there is."""


class _MambaConfig(ConfigFields):
    harmless: ClassVar[tuple[str, ...]] = _STEPS_AND_SUMS
    alike: ClassVar[tuple[tuple[str, str], ...]] = (
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
    harmless = (*_STEPS_AND_SUMS, "use_mambapy", "mixer_rms_eps")
    """Its norms of the steps, of B and of C have no weights."""
    alike = ()


class _Mamba2Config(ConfigFields):
    harmless = _STEPS_AND_SUMS
    alike = (("intermediate_size", "inner"),)

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
        """The expanded width."""
        return self.expand * self.hidden_size


def mamba(root: YamlNode) -> ModelConfig:
    """``MambaConfig``."""
    c = read_fields(_MambaConfig, root)
    d, inner = c.hidden_size, c.expand * c.hidden_size
    for field, width in (("intermediate_size", c.intermediate_size), ("d_inner", c.d_inner)):
        if width not in (None, inner):
            raise refuse(root, field, f"{width} is not the expanded width, {c.expand} x {d}")
    return _selective(root, c, "mamba", inner)


def falcon_mamba(root: YamlNode) -> ModelConfig:
    """``FalconMambaConfig``: an ``intermediate_size`` that is given wins over ``expand``."""
    c = read_fields(_FalconMambaConfig, root)
    inner = c.intermediate_size or c.expand * c.hidden_size
    if c.d_inner not in (None, inner):
        raise refuse(root, "d_inner", f"{c.d_inner} is not the inner width, {inner}")
    return _selective(root, c, "falcon_mamba", inner)


def _selective(root: YamlNode, c: _MambaConfig, family: str, inner: int) -> ModelConfig:
    d = c.hidden_size
    rank = auto_or_size(root, "time_step_rank", c.time_step_rank)
    rank = -(-d // 16) if rank is None else rank
    mixer = SelectiveScan(inner=inner, state=c.state_size, dt_rank=rank, conv_width=c.conv_kernel)
    # The norm, dt's bias, the skip; then biases that may be left out.
    other = d + 2 * inner + (inner if c.use_conv_bias else 0)
    other += 2 * inner + d if c.use_bias else 0
    layer = Layer(mixer=mixer, ffn=None, other_parameters=other)
    return stack(c, family, d, [layer] * c.num_hidden_layers, d)


def beside_dual(a: StateSpaceDual, width: int, *, conv_bias: bool, proj_bias: bool) -> int:
    """Parameters of Mamba-2's mixer beside its products.

    The norm of its output, and A, the bias of the steps and the skip, a number a head each;
    then biases of the convolution and of both projections, which may be left out.
    """
    other = a.inner + 3 * a.heads + (a.convolved if conv_bias else 0)
    return other + (a.inner + a.convolved + a.heads + width if proj_bias else 0)


def mamba2(root: YamlNode) -> ModelConfig:
    """``Mamba2Config``."""
    c = read_fields(_Mamba2Config, root)
    d = c.hidden_size
    if c.num_heads * c.head_dim != c.inner:
        raise refuse(
            root,
            "num_heads",
            f"{c.num_heads} heads of head_dim {c.head_dim} are not the expanded width,"
            f" {c.expand} x {d}",
        )
    divided(root, "num_heads", c.num_heads, "n_groups", c.n_groups)
    mixer = StateSpaceDual(
        heads=c.num_heads,
        head_width=c.head_dim,
        state=c.state_size,
        groups=c.n_groups,
        conv_width=c.conv_kernel,
        chunk=c.chunk_size,
    )
    other = d + beside_dual(mixer, d, conv_bias=c.use_conv_bias, proj_bias=c.use_bias)
    layer = Layer(mixer=mixer, ffn=None, other_parameters=other)
    return stack(c, "mamba2", d, [layer] * c.num_hidden_layers, d)


class _TorchscaleRetNetConfig(ConfigFields):
    harmless = (
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
    harmless = ("attn_mode", "conv_size", "elementwise_affine", "clamp_min")
    """How it is computed, the width of a convolution that is off, and what norms have."""

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_heads: Size
    expand_k: Positive = 1.0
    expand_v: Positive = 2.0
    hidden_ratio: Size | None = 2
    intermediate_size: Size | None = None
    use_output_gate: bool = True


def retnet(root: YamlNode) -> ModelConfig:
    """``RetNetConfig``: torchscale's fields (``decoder_embed_dim``) or fla's."""
    own = isinstance(root, YamlMapping) and any(k.startswith("decoder_") for k in root.keys)
    return _torchscale_retnet(root) if own else _fla_retnet(root)


def _torchscale_retnet(root: YamlNode) -> ModelConfig:
    c = read_fields(_TorchscaleRetNetConfig, root)
    d, heads, field = c.decoder_embed_dim, c.decoder_retention_heads, "decoder_retention_heads"
    mixer = _retention(
        heads,
        divided(root, "decoder_embed_dim", d, field, heads),
        divided(root, "decoder_value_embed_dim", c.decoder_value_embed_dim, field, heads),
    )
    ffn = FeedForward(inner=c.decoder_ffn_embed_dim, gated=True)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=2 * d)
    return stack(c, "retnet", d, [layer] * c.decoder_layers, d)


def _fla_retnet(root: YamlNode) -> ModelConfig:
    c = read_fields(_FlaRetNetConfig, root)
    d, heads = c.hidden_size, c.num_heads
    inner = c.intermediate_size
    if inner is None:
        # Two thirds of the ratio, rounded down, then up to a multiple of 256: of 2,048 with a ratio
        # of 2 first 2,730, then 2,816.
        inner = -(-(2 * d * (c.hidden_ratio or 4) // 3) // 256) * 256
    keys = _expanded(root, "expand_k", d, c.expand_k)
    values = _expanded(root, "expand_v", d, c.expand_v)
    mixer = _retention(
        heads,
        divided(root, "hidden_size x expand_k", keys, "num_heads", heads),
        divided(root, "hidden_size x expand_v", values, "num_heads", heads),
        gated=c.use_output_gate,
    )
    ffn = FeedForward(inner=inner, gated=True)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=2 * d + mixer.v_width)
    return stack(c, "retnet", d, [layer] * c.num_hidden_layers, d)


def _expanded(root: YamlNode, field: str, width: int, factor: float) -> int:
    # Exact, so that a width that is not whole is refused instead of rounded.
    wide = Fraction(factor) * width
    if wide.denominator != 1:
        raise refuse(root, field, f"{factor} times hidden_size, {width}, is no whole number")
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
    harmless = (
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
    """Norms without parameters, rotations, and functions that are not counted."""

    decoder_embed_dim: Size
    decoder_layers: LayerCount
    decoder_attention_heads: Size
    hidden_dim: Size
    glu_dim: Size
    bias: bool = Field(default=False)


def transnormer(root: YamlNode) -> ModelConfig:
    """TransNormerLLM: lightning attention of ``hidden_dim``, norms without parameters."""
    c = read_fields(_TransNormerConfig, root)
    d, heads = c.decoder_embed_dim, c.decoder_attention_heads
    width = divided(root, "hidden_dim", c.hidden_dim, "decoder_attention_heads", heads)
    mixer = DecayAttention(
        heads=heads,
        qk_width=width,
        v_width=width,
        decay="slopes as ALiBi's, weaker in later layers",
    )
    ffn = FeedForward(inner=c.glu_dim, gated=True, activation="no function")
    # Of queries, keys, values and the gate; of the outputs of both halves; of gate and up.
    biases = 4 * c.hidden_dim + 2 * d + 2 * c.glu_dim if c.bias else 0
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=biases)
    return stack(c, "transnormer", d, [layer] * c.decoder_layers, 0)
