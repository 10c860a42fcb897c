"""Readers of stacks without softmax: Mamba, Mamba-2, retention, TransNormer, RWKV-7.

Field names and defaults are those of ``MambaConfig`` and ``Mamba2Config`` (Hugging Face
Transformers), ``RetNetConfig`` (torchscale's, and flash-linear-attention's), TransNormerLLM's
own configuration, and ``RWKV7Config`` of flash-linear-attention.
"""

from __future__ import annotations

from fractions import Fraction
from math import sqrt
from typing import Annotated, Any

from pydantic import BeforeValidator

from einsum_cascade.yaml.source import YamlMapping, YamlNode

from ..models import DecayAttention, Mixer, ModelConfig, RwkvAttention
from .fields import Positive, Size, check_per_layer, exact_quotient, field_error
from .table import (
    STACK,
    Half,
    ModelFamily,
    expanded,
    families,
    flags,
    like,
    no_networks,
    numbers,
    optional_sizes,
    own_names,
    scan,
    sizes,
    state_space_dual,
    uniform,
)

ALIBI_SLOPES = "slopes as ALiBi's, weaker in later layers"
"""Name of the decay rule of lightning attention, which gives one decay per head."""
_STREAM = ("hidden_size", "num_hidden_layers")
_STEPS_AND_SUMS = ("time_step_*", "rms_norm", "pad_vocab_size_multiple", "norm_before_gate")
"""Names of ignored fields: step sizes, and the kind of norm."""


def _check_inner(root: YamlNode, c: Any) -> None:
    for field in ("intermediate_size", "d_inner"):
        if (width := getattr(c, field)) not in (None, expanded(c)):
            text = f"{width} is not the expanded width, {c.expand} x {c.hidden_size}"
            raise field_error(root, field, text)


def _falcon_inner(c: Any) -> int:
    given: int | None = c.intermediate_size
    return given or expanded(c)


def _check_falcon_inner(root: YamlNode, c: Any) -> None:
    if c.d_inner not in (None, inner := _falcon_inner(c)):
        raise field_error(root, "d_inner", f"{c.d_inner} is not the inner width, {inner}")


MAMBA = ModelFamily(
    standard=_STREAM,
    ignored=_STEPS_AND_SUMS,
    aliases=(("d_model", "hidden_size"), ("n_layer", "num_hidden_layers")),
    fields=sizes(state_size=16, expand=2, conv_kernel=4)
    | {"time_step_rank": (Any, "auto")}
    | optional_sizes(intermediate_size=None, d_inner=None)
    | flags(use_bias=False, use_conv_bias=True, tie_word_embeddings=True),
    check=_check_inner,
    mixers=uniform(scan()),
    networks=no_networks,
)
# The width inside takes precedence over the factor; norms of steps, B and C have no weights.
FALCON_MAMBA = like(
    MAMBA,
    ignored=(*_STEPS_AND_SUMS, "use_mambapy", "mixer_rms_eps"),
    aliases=(),
    check=_check_falcon_inner,
    mixers=uniform(scan(_falcon_inner)),
)


def _check_heads(root: YamlNode, c: Any) -> None:
    heads, width = c.mamba_num_heads, c.mamba_head_dim
    if heads * width != expanded(c):
        inner = f"the expanded width, {c.expand} x {c.hidden_size}"
        raise field_error(root, "num_heads", f"{heads} heads of head_dim {width} are not {inner}")


MAMBA2 = ModelFamily(
    standard=_STREAM,
    ignored=_STEPS_AND_SUMS,
    aliases=(("intermediate_size", expanded),),
    names={"mamba_num_heads": "num_heads", "mamba_head_dim": "head_dim"},
    fields=sizes(mamba_num_heads=128, mamba_head_dim=64, state_size=128, expand=2, conv_kernel=4)
    | sizes(n_groups=8, chunk_size=256)
    | flags(use_bias=False, use_conv_bias=True),
    check=_check_heads,
    mixers=uniform(state_space_dual),
    networks=no_networks,
)


def _retention(heads: int, qk_width: int, v_width: int, gated: bool = True) -> DecayAttention:
    return DecayAttention(
        heads=heads,
        qk_width=qk_width,
        v_width=v_width,
        decay="1 - 2^-(5 + head)",
        kind="retention",
        gated=gated,
    )


def _torchscale_retention(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    heads = c.num_attention_heads
    field = row.own_name(root, "num_attention_heads")
    keys, values = (
        exact_quotient(root, row.own_name(root, name), getattr(c, name), field, heads)
        for name in ("hidden_size", "decoder_value_embed_dim")
    )
    return Half(_retention(heads, keys, values))


_TORCHSCALE_RETNET = ModelFamily(
    standard=(*STACK, "intermediate_size"),
    names=own_names(
        "decoder_embed_dim",
        "decoder_layers",
        "decoder_retention_heads",
        intermediate_size="decoder_ffn_embed_dim",
    ),
    ignored=(
        *("deepnorm", "subln", "no_scale_embedding", "recurrent_chunk_size", "fsdp", "xpos_*"),
        *("decoder_normalize_before", "layernorm_embedding"),
    ),
    fields=sizes("decoder_value_embed_dim"),
    mixers=uniform(_torchscale_retention),
)


def _fla_retention(_row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    keys, values = (
        exact_quotient(
            root, f"hidden_size x {field}", _whole_product(root, c, field), "num_heads", c.num_heads
        )
        for field in ("expand_k", "expand_v")
    )
    return Half(_retention(c.num_heads, keys, values, c.use_output_gate), values)


def _whole_product(root: YamlNode, c: Any, field: str) -> int:
    # The product is exact, so that a fractional width is refused instead of rounded.
    factor, width = getattr(c, field), c.hidden_size
    wide = Fraction(factor) * width
    if wide.denominator != 1:
        raise field_error(root, field, f"{factor} times hidden_size, {width}, is no whole number")
    return int(wide)


def _fla_inner(c: Any) -> int:
    """Return the width inside a feed-forward network.

    Without a given width, it is two thirds of the stream's width times a ratio, rounded down, then
    up to a multiple of 256: 2,048 with a ratio of 2 gives 2,730, then 2,816.
    """
    ratio, given = c.hidden_ratio or 4, c.intermediate_size
    return int(given or -(-(2 * c.hidden_size * ratio // 3) // 256) * 256)


_FLA_RETNET = ModelFamily(
    standard=_STREAM,
    # The ignored fields concern kernels, a convolution that is off, and norms.
    ignored=("attn_mode", "conv_size", "elementwise_affine", "clamp_min"),
    fields=sizes("num_heads")
    | {"expand_k": (Positive, 1.0), "expand_v": (Positive, 2.0)}
    | optional_sizes(hidden_ratio=2, intermediate_size=None)
    | flags(use_output_gate=True),
    mixers=uniform(_fla_retention),
    dense=_fla_inner,
)


def retnet(root: YamlNode) -> ModelConfig:
    """Read ``RetNetConfig``, with torchscale's fields (``decoder_embed_dim``) or fla's."""
    own = isinstance(root, YamlMapping) and any(k.startswith("decoder_") for k in root.keys)
    return (_TORCHSCALE_RETNET if own else _FLA_RETNET)(root)


def _transnormer_attention(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    heads, field = c.num_attention_heads, row.own_name(root, "num_attention_heads")
    width = exact_quotient(root, "hidden_dim", c.hidden_dim, field, heads)
    # Biases belong to queries, keys, values and gate, to both outputs, and to gate and up.
    biases = 4 * c.hidden_dim + 2 * c.hidden_size + 2 * c.intermediate_size if c.bias else 0
    mixer = DecayAttention(heads=heads, qk_width=width, v_width=width, decay=ALIBI_SLOPES)
    return Half(mixer, biases)


TRANSNORMER = ModelFamily(
    standard=(*STACK, "intermediate_size"),
    names=own_names(
        "decoder_embed_dim",
        "decoder_layers",
        "decoder_attention_heads",
        intermediate_size="glu_dim",
    ),
    # The ignored fields concern norms, rotations, and uncounted functions.
    ignored=(
        *("norm_type", "no_scale_embedding", "linear_use_lrpe_list", "linear_act_fun", "causal"),
        *("add_bos_token", "glu_act", "use_triton", "token_positions"),
    ),
    fields=sizes("hidden_dim") | flags(bias=False),
    mixers=uniform(_transnormer_attention),
    activation="no function",
    # Norms have no parameters.
    norms=0,
    outside=lambda _: 0,
)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_rwkv7(root: YamlNode, c: Any) -> None:
    if c.hidden_act not in ("sqrelu", "relu2"):
        raise field_error(root, "hidden_act", f"expected 'sqrelu', 'relu2', got '{c.hidden_act}'")


def _rwkv7_mixers(_row: ModelFamily, root: YamlNode, c: Any) -> list[Half[Mixer]]:
    d, count, heads = c.hidden_size, c.num_hidden_layers, _rwkv7_heads(root, c)
    values = c.value_dim or (d,)
    values = values * count if len(values) == 1 else values
    check_per_layer(root, "value_dim", values, count)
    # The published models have heads of 64.
    scale = d // heads / 64
    found: list[Half[Mixer]] = []
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
        # Parameters are the norm of the embedding; shifts of seven inputs; scales of keys, rates
        # and the bonus; biases of decays, rates and shares; and the norm of heads.
        norm = 2 * d if c.norm_bias else d
        other = (norm if c.norm_first and not index else 0) + 7 * d + 3 * d
        found.append(Half(mixer, other + 2 * d + (wide if index else 0) + 2 * wide))
    return found


def _rwkv7_heads(root: YamlNode, c: Any) -> int:
    d, heads = c.hidden_size, c.num_heads
    if c.head_dim is None and heads is None:
        raise field_error(root, "head_dim", "one of head_dim and num_heads is needed")
    if c.head_dim is None:
        exact_quotient(root, "hidden_size", d, "num_heads", heads)
        return int(heads)
    found = exact_quotient(root, "hidden_size", d, "head_dim", c.head_dim)
    if heads not in (None, found):
        text = f"hidden_size {d} has {found} heads of head_dim {c.head_dim}, not {heads}"
        raise field_error(root, "num_heads", text)
    return found


def _rwkv7_inner(c: Any) -> int:
    """Return the width inside a feed-forward network.

    Without a given width, it is the stream's width times a ratio, rounded up to a multiple of 32.
    """
    given: int | None = c.intermediate_size
    return given or 32 * -(-int(c.hidden_size * (c.hidden_ratio or 4)) // 32)


def _rank(factor: float, width: int) -> int:
    """Return the rank of a low-rank projection: a factor times the root of the width, rounded to a
    positive multiple of 32."""
    return max(32, round(factor * sqrt(width) / 32) * 32)


RWKV7 = ModelFamily(
    standard=_STREAM,
    # The ignored fields concern kernels and training.
    ignored=("attn_mode", "use_l2warp"),
    fields=optional_sizes(head_dim=64, num_heads=None)
    | numbers(hidden_ratio=4.0)
    | optional_sizes(intermediate_size=None, decay_low_rank_dim=None, a_low_rank_dim=None)
    | optional_sizes(v_low_rank_dim=None, gate_low_rank_dim=None)
    | {
        "hidden_act": (str, "sqrelu"),
        "value_dim": (Annotated[tuple[Size, ...] | None, BeforeValidator(_listed)], None),
    }
    | flags(norm_first=True, norm_bias=True),
    check=_check_rwkv7,
    mixers=_rwkv7_mixers,
    dense=_rwkv7_inner,
    gated=False,
)

FAMILIES = families(globals(), retnet=retnet)
"""Readers of configurations by ``model_type``."""
