"""What families of decoders with softmax attention share: their fields, heads and windows."""

from __future__ import annotations

from collections.abc import Sequence

from einsum_cascade.yaml.source import YamlNode

from ..models import SoftmaxAttention
from .fields import (
    ConfigFields,
    LayerCount,
    LayerTypes,
    Size,
    grouped_heads,
    head_width,
    per_layer,
    refuse,
)


class DecoderConfig(ConfigFields):
    """Fields that nearly all families of decoders have."""

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
    intermediate_size: Size
    head_dim: Size | None = None
    layer_types: LayerTypes | None = None
    hidden_act: str | None = None


def softmax_heads(
    root: YamlNode,
    c: DecoderConfig,
    kv_heads: int | None,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sinks: bool = False,
    qk_norm: bool = False,
) -> SoftmaxAttention:
    """Causal attention of a decoder's heads; without ``kv_heads`` each has keys of its own.

    Raises
    ------
    SpecError
        The heads do not divide the width, or those of keys not those of queries.
    """
    heads = c.num_attention_heads
    width = head_width(root, c.hidden_size, heads, c.head_dim)
    return SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, kv_heads or heads),
        qk_width=width,
        v_width=width,
        window=window,
        softcap=softcap,
        sinks=sinks,
        qk_norm=qk_norm,
    )


def layer_windows(
    root: YamlNode, c: DecoderConfig, window: int | None, slides: Sequence[bool]
) -> list[int | None]:
    """The window of each layer: as ``layer_types`` says, else by the family's rule."""
    if c.layer_types is not None:
        per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        slides = [kind == "sliding_attention" for kind in c.layer_types]
        if any(slides) and window is None:
            raise refuse(root, "layer_types", "'sliding_attention' needs a sliding_window")
    return [window if slide else None for slide in slides]
