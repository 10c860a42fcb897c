"""What families of decoders with softmax attention share: their fields, heads and windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from einsum_cascade.yaml.source import YamlNode

from ..models import Experts, FeedForward, Layer, ModelConfig, SoftmaxAttention
from .fields import (
    ConfigFields,
    LayerCount,
    LayerTypes,
    Size,
    build_model,
    check_per_layer,
    feed_forward,
    field_error,
    grouped_heads,
    head_width,
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
    root: YamlNode, c: DecoderConfig, window: int | None, windowed: Sequence[bool]
) -> list[int | None]:
    """The window of each layer: as ``layer_types`` says, else by the family's rule."""
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        windowed = [kind == "sliding_attention" for kind in c.layer_types]
        if any(windowed) and window is None:
            raise field_error(root, "layer_types", "'sliding_attention' needs a sliding_window")
    return [window if slide else None for slide in windowed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """Both halves of a layer, of whose norms and biases a family counts the parameters."""

    mixer: SoftmaxAttention
    ffn: FeedForward | Experts


def decoder_stack(
    root: YamlNode,
    c: DecoderConfig,
    family: str,
    kv_heads: int | None,
    beside: Callable[[Halves], int],
    *,
    windows: Sequence[int | None] | None = None,
    ffns: Sequence[FeedForward | Experts] | None = None,
    qk_norm: bool = False,
    gated: bool = True,
    last: int | None = None,
) -> ModelConfig:
    """The model of a decoder whose layers are attention and a feed-forward network.

    Parameters
    ----------
    root, c : YamlNode, DecoderConfig
        The configuration, and what was read of it.
    family : str
        The ``model_type``.
    kv_heads : int or None
        Heads of keys and values; None: as many as of queries.
    beside : callable
        Parameters of a layer beside its matrix products, by its halves.
    windows : sequence of int or None, optional
        Keys that a query of a layer sees; without it, all layers see all.
    ffns : sequence, optional
        The network of each layer; without it, ``intermediate_size`` wide.
    qk_norm : bool
        Whether queries and keys are normalised.
    gated : bool
        Whether such a network has a gate.
    last : int, optional
        Parameters beside those of the layers and the embeddings; without it, of one norm.
    """
    count = c.num_hidden_layers
    dense = feed_forward(c.intermediate_size, gated=gated, activation=c.hidden_act)
    layers = []
    for window, ffn in zip(windows or [None] * count, ffns or [dense] * count, strict=True):
        mixer = softmax_heads(root, c, kv_heads, window=window, qk_norm=qk_norm)
        other = beside(Halves(mixer=mixer, ffn=ffn))
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, family, c.hidden_size, layers, c.hidden_size if last is None else last)
