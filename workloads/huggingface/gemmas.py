"""Readers of Gemma: gemma, gemma2, gemma3, gemma3_text.

Field names and the defaults of fields that may be absent are those of the configuration
classes of Hugging Face Transformers (``Gemma2Config``, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from einsum_cascade.yaml.source import YamlNode

from ..models import Layer, ModelConfig
from .fields import (
    Positive,
    Size,
    attention_biases,
    build_model,
    check_full_attention,
    feed_forward,
    read_fields,
)
from .softmax import DecoderConfig, layer_windows, softmax_heads
from .vision import MultimodalConfig, multimodal_model, siglip_encoder


class _GemmaConfig(DecoderConfig):
    ignored = ("hidden_act",)
    """The family reads ``hidden_activation`` in its place."""

    vocab_size: Size | None = 256_000
    hidden_activation: str | None = None
    num_key_value_heads: Size = 16
    # Heads need not make up the stream: Gemma 7B has 16 of 256 on a width of 3,072.
    head_dim: Size = 256
    tie_word_embeddings: bool = True
    attention_bias: bool = False


class _Gemma2Config(_GemmaConfig):
    aliases: ClassVar[tuple[tuple[str, str], ...]] = (("sliding_window_size", "sliding_window"),)

    num_attention_heads: Size = 8
    num_key_value_heads: Size = 4
    sliding_window: Size | None = 4096
    attn_logit_softcapping: Positive | None = 50.0
    final_logit_softcapping: Positive | None = 30.0

    @property
    def logit_softcap(self) -> float | None:
        """``final_logit_softcapping``."""
        return self.final_logit_softcapping


class _Gemma3Config(_Gemma2Config):
    aliases = (
        ("_sliding_window_pattern", "sliding_window_pattern"),
        ("sliding_window_size", "sliding_window"),
    )

    # Files of several inputs leave it out.
    vocab_size: Size | None = 262_208
    attn_logit_softcapping: Positive | None = None
    final_logit_softcapping: Positive | None = None
    sliding_window_pattern: Size = 6


def gemma(root: YamlNode) -> ModelConfig:
    """``GemmaConfig``."""
    c = read_fields(_GemmaConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    return _gemma_stack(root, c, "gemma", [None] * c.num_hidden_layers, norms=2)


def gemma2(root: YamlNode) -> ModelConfig:
    """``Gemma2Config``: windowed and full layers alternate, the first has the window."""
    c = read_fields(_Gemma2Config, root)
    windowed = [index % 2 == 0 for index in range(c.num_hidden_layers)]
    windows = layer_windows(root, c, c.sliding_window, windowed)
    return _gemma_stack(root, c, "gemma2", windows, norms=4, softcap=c.attn_logit_softcapping)


def gemma3(root: YamlNode) -> ModelConfig:
    """``Gemma3TextConfig``: the last of every ``sliding_window_pattern`` layers is full."""
    c = read_fields(_Gemma3Config, root)
    windowed = [(i + 1) % c.sliding_window_pattern != 0 for i in range(c.num_hidden_layers)]
    # Of a pattern of 6: layers 5, 11, 17, ... from 0 are full.
    windows = layer_windows(root, c, c.sliding_window, windowed)
    softcap = c.attn_logit_softcapping
    return _gemma_stack(root, c, "gemma3", windows, norms=4, softcap=softcap, qk_norm=True)


class _Gemma3MultimodalConfig(MultimodalConfig):
    ignored = ("text_config", "vision_config", "mm_tokens_per_image")
    encoders = ("siglip_vision_model",)


def gemma3_multimodal(root: YamlNode) -> ModelConfig:
    """``Gemma3Config``: the language model runs; an encoder of images counts as parameters."""
    return multimodal_model(root, _Gemma3MultimodalConfig, gemma3, siglip_encoder)


def _gemma_stack(
    root: YamlNode,
    c: _GemmaConfig,
    family: str,
    windows: Sequence[int | None],
    *,
    norms: int,
    softcap: float | None = None,
    qk_norm: bool = False,
) -> ModelConfig:
    d = c.hidden_size
    layers = []
    for window in windows:
        mixer = softmax_heads(
            root, c, c.num_key_value_heads, window=window, softcap=softcap, qk_norm=qk_norm
        )
        # Norms of queries and keys have one weight for each channel of a head, the same for all
        # heads.
        other = norms * d + (2 * mixer.qk_width if qk_norm else 0)
        other += attention_biases(mixer, d) if c.attention_bias else 0
        activation = c.hidden_activation or "gelu"
        ffn = feed_forward(c.intermediate_size, gated=True, activation=activation)
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, family, d, layers, d)
