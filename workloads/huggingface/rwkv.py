"""Reader of stacks of RWKV-7's time mixing: rwkv7.

Fields and defaults are those of ``RWKV7Config`` of flash-linear-attention, which the authors'
files in Hugging Face's format name; ranks that are not given follow the width as there.
"""

from __future__ import annotations

from math import sqrt
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator

from einsum_cascade.yaml.source import YamlNode

from ..models import FeedForward, Layer, ModelConfig, RwkvAttention
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    Size,
    divided,
    per_layer,
    read_fields,
    refuse,
    stack,
)

_ACTIVATIONS = MappingProxyType({"sqrelu": "squared relu", "relu2": "squared relu"})


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


class _Rwkv7Config(ConfigFields):
    harmless = ("attn_mode", "use_l2warp")
    """How it is computed, and trained."""

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
    """``RWKV7Config``: layers with softmax among them (``attn``) are refused."""
    c = read_fields(_Rwkv7Config, root)
    d, count, heads = c.hidden_size, c.num_hidden_layers, _heads(root, c)
    values = c.value_dim or (d,)
    values = values * count if len(values) == 1 else values
    per_layer(root, "value_dim", values, count)
    if c.hidden_act not in _ACTIVATIONS:
        known = ", ".join(f"'{name}'" for name in _ACTIVATIONS)
        raise refuse(root, "hidden_act", f"expected {known}, got '{c.hidden_act}'")
    ffn = FeedForward(inner=_inner(c), gated=False, activation=_ACTIVATIONS[c.hidden_act])
    # As wide as heads are, in the 64 of the published ones.
    scale = d // heads / 64
    norm = 2 * d if c.norm_bias else d
    layers = []
    for index, wide in enumerate(values):
        mixer = RwkvAttention(
            heads=heads,
            qk_width=d // heads,
            v_width=divided(root, "value_dim", wide, "num_heads", heads),
            decay_rank=c.decay_low_rank_dim or _rank(2.5 * scale, d),
            rate_rank=c.a_low_rank_dim or _rank(2.5 * scale, d),
            gate_rank=c.gate_low_rank_dim or _rank(5, d),
            value_rank=(c.v_low_rank_dim or _rank(1.7 * scale, d)) if index else None,
        )
        # Two norms, and one of the embedding; how far each of seven inputs is shifted; scales of
        # keys, rates and the bonus; biases of decays, rates and shares; the norm of heads.
        other = 2 * norm + (norm if c.norm_first and not index else 0) + 7 * d + 3 * d
        other += 2 * d + (wide if index else 0) + 2 * wide
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return stack(c, "rwkv7", d, layers, norm)


def _heads(root: YamlNode, c: _Rwkv7Config) -> int:
    d = c.hidden_size
    if c.head_dim is None and c.num_heads is None:
        raise refuse(root, "head_dim", "one of head_dim and num_heads is needed")
    if c.head_dim is None:
        divided(root, "hidden_size", d, "num_heads", c.num_heads or 1)
        return c.num_heads or 1
    found = divided(root, "hidden_size", d, "head_dim", c.head_dim)
    if c.num_heads not in (None, found):
        text = f"hidden_size {d} has {found} heads of head_dim {c.head_dim}, not {c.num_heads}"
        raise refuse(root, "num_heads", text)
    return found


def _inner(c: _Rwkv7Config) -> int:
    """As given, or so many times the width, up to a multiple of 32."""
    if c.intermediate_size is not None:
        return c.intermediate_size
    return 32 * -(-int(c.hidden_size * (c.hidden_ratio or 4)) // 32)


def _rank(factor: float, width: int) -> int:
    """The rank of a width, to the nearest multiple of 32."""
    return max(32, round(factor * sqrt(width) / 32) * 32)
