"""Readers of encoders and encoder-decoders: bert, distilbert, modernbert, roberta, t5, vit,
whisper.

Field names and defaults are those of Hugging Face Transformers (``BertConfig``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from pydantic import Field

from einsum_cascade.yaml.source import YamlNode

from ..models import FeedForward, Layer, ModelConfig, SoftmaxAttention, runs_of
from .fields import (
    ConfigFields,
    LayerCount,
    LayerTypes,
    Reader,
    Size,
    StackFields,
    class_of,
    field_error,
    listed_layers,
    patches_of,
    read_fields,
)
from .stack import attention_biases, attention_heads, build_model, feed_forward


class _BertConfig(StackFields):
    intermediate_size: Size
    hidden_act: str | None = None
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True


class _DistilBertConfig(ConfigFields):
    ignored = ("sinusoidal_pos_embds", "tie_weights_")
    """Names of fields about initial positions, and of an old setting."""

    dim: Size
    n_layers: LayerCount
    n_heads: Size
    hidden_dim: Size
    activation: str | None = "gelu"
    max_position_embeddings: Size = 512
    tie_word_embeddings: bool = True


class _ModernBertConfig(StackFields):
    ignored = (
        *("deterministic_flash_attn", "sparse_pred*", "reference_compile"),
        *("repad_logits_with_grad", "global_rope_theta", "local_rope_theta", "hidden_act"),
    )
    """Names of fields about training and rotations; the family reads ``hidden_activation``
    instead."""

    intermediate_size: Size
    hidden_activation: str | None = "gelu"
    attention_bias: bool = False
    mlp_bias: bool = False
    norm_bias: bool = False
    classifier_bias: bool = False
    decoder_bias: bool = True
    global_attn_every_n_layers: Size = 3
    local_attention: Size = 128
    layer_types: LayerTypes | None = None
    tie_word_embeddings: bool = True


class _T5Config(ConfigFields):
    ignored = ("dense_act_fn", "is_gated_act")
    """Names of fields that follow from ``feed_forward_proj``."""

    d_model: Size
    # Heads need not make up the stream: T5-11B has 128 of 128 on a width of 1,024.
    d_kv: Size
    d_ff: Size
    num_heads: Size
    num_layers: LayerCount
    num_decoder_layers: LayerCount | None = None
    relative_attention_num_buckets: Size = 32
    feed_forward_proj: str = Field(default="relu", max_length=40)
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True


class _WhisperConfig(ConfigFields):
    ignored = (
        *("is_encoder_decoder", "scale_embedding", "num_hidden_layers", "max_target_length"),
        *("apply_spec_augment", "mask_*", "median_filter_width", "use_weighted_layer_sum"),
        *("forced_decoder_ids", "use_timestamps*", "lang_ids", "task_ids"),
    )
    """Names of fields about forced words and masked sounds; ``num_hidden_layers`` is the
    encoder's."""

    d_model: Size
    encoder_layers: LayerCount
    encoder_attention_heads: Size
    encoder_ffn_dim: Size
    decoder_layers: LayerCount
    decoder_attention_heads: Size
    decoder_ffn_dim: Size
    activation_function: str | None = "gelu"
    num_mel_bins: Size = 80
    max_source_positions: Size = 1500
    max_target_positions: Size = 448
    tie_word_embeddings: bool = True


class _VitConfig(StackFields):
    ignored = ("encoder_stride", "pooler_*")
    """Names of fields about heads that are not read."""

    hidden_act: str | None = None
    intermediate_size: Size
    image_size: Size = 224
    patch_size: Size = 16
    num_channels: Size = 3
    qkv_bias: bool = True


def _all_tokens(mixer: SoftmaxAttention) -> SoftmaxAttention:
    """Return the attention of all queries to all keys."""
    return replace(mixer, causal=False)


def bert(root: YamlNode, *, family: str) -> ModelConfig:
    """Read ``BertConfig`` or ``RobertaConfig``; parameters include the pooler."""
    c = read_fields(_BertConfig, root)
    d, inner = c.hidden_size, c.intermediate_size
    heads = attention_heads(root, d, c.num_attention_heads)
    cross = _all_tokens(heads) if c.add_cross_attention else None
    # There are two norms with a weight and a bias per channel, and biases of all products.
    other = 4 * d + attention_biases(heads, d) + inner + d
    other += attention_biases(cross, d) + 2 * d if cross else 0
    layer = Layer(
        mixer=heads if c.is_decoder else _all_tokens(heads),
        ffn=feed_forward(inner, gated=False, activation=c.hidden_act),
        cross=cross,
        other_parameters=other,
    )
    # Outside layers there are positions, sentence kinds, their norm, and the pooler.
    tables = (c.max_position_embeddings + c.type_vocab_size) * d + 2 * d
    return build_model(c, family, d, [layer] * c.num_hidden_layers, tables + d * d + d)


def distilbert(root: YamlNode) -> ModelConfig:
    """Read ``DistilBertConfig``: as bert, without kinds of sentences and without a pooler."""
    c = read_fields(_DistilBertConfig, root)
    d, inner = c.dim, c.hidden_dim
    heads = attention_heads(root, d, c.n_heads, width_field="dim", heads_field="n_heads")
    layer = Layer(
        mixer=_all_tokens(heads),
        ffn=feed_forward(inner, gated=False, activation=c.activation),
        other_parameters=4 * d + attention_biases(heads, d) + inner + d,
    )
    tables = c.max_position_embeddings * d + 2 * d
    return build_model(c, "distilbert", d, [layer] * c.n_layers, tables)


def modernbert(root: YamlNode) -> ModelConfig:
    """Read ``ModernBertConfig``: most layers see half a window on either side; the head counts."""
    c = read_fields(_ModernBertConfig, root)
    d, inner = c.hidden_size, c.intermediate_size
    full = _all_tokens(attention_heads(root, d, c.num_attention_heads))
    # A query sees itself and local_attention // 2 keys on either side.
    local = replace(full, window=2 * (c.local_attention // 2) + 1)
    every = c.global_attn_every_n_layers
    rule = [index % every != 0 for index in range(c.num_hidden_layers)]
    local_layers = listed_layers(root, c, "layer_types", ("sliding_attention",), rule)
    norm = 2 * d if c.norm_bias else d
    biases = attention_biases(full, d) if c.attention_bias else 0
    biases += 2 * inner + d if c.mlp_bias else 0
    ffn = feed_forward(inner, gated=True, activation=c.hidden_activation)
    layers = [
        Layer(mixer=local if is_local else full, ffn=ffn, other_parameters=biases + 2 * norm)
        for is_local in local_layers
    ]
    # Norms belong to embeddings, the stack and the head; the first attention has none. The head's
    # product may have a bias, and each word has one.
    other = 2 * norm + d * d + (d if c.classifier_bias else 0)
    other += (c.vocab_size or 0) if c.decoder_bias else 0
    return build_model(c, "modernbert", d, layers, other)


def t5(root: YamlNode) -> ModelConfig:
    """Read ``T5Config``: encoder layers, then decoder layers that also attend to the encoder.

    ``T5EncoderModel`` among ``architectures`` is the encoder alone, whatever other fields say.
    """
    c = read_fields(_T5Config, root)
    named = class_of(root)
    alone = named is not None and named.text.endswith("EncoderModel")
    if not (c.is_encoder_decoder or alone):
        text = "only 'T5EncoderModel' in architectures runs without a decoder"
        raise field_error(root, "is_encoder_decoder", text)
    d = c.d_model
    words = c.feed_forward_proj.split("-")
    if len(words) > 2 or (len(words) == 2 and words[0] != "gated") or not words[-1]:
        message = f"expected an activation such as 'relu' or 'gated-gelu', got '{'-'.join(words)}'"
        raise field_error(root, "feed_forward_proj", message)
    ffn = FeedForward(inner=c.d_ff, gated=words[0] == "gated", activation=words[-1])
    heads = attention_heads(root, d, c.num_heads, head_dim=c.d_kv)
    causal = replace(heads, buckets=c.relative_attention_num_buckets)
    encoder = Layer(
        mixer=_all_tokens(causal),
        ffn=ffn,
        other_parameters=2 * d,
    )
    # Attention to the encoder has no learned bias of positions.
    decoder = Layer(
        mixer=causal,
        ffn=ffn,
        cross=_all_tokens(heads),
        other_parameters=3 * d,
    )
    decoders = 0 if alone else c.num_decoder_layers or c.num_layers
    layers = [encoder] * c.num_layers + [decoder] * decoders
    # Each stack has a last norm, and a table of relative positions in its first layer.
    other = d + c.relative_attention_num_buckets * c.num_heads
    return build_model(c, "t5", d, layers, other if alone else 2 * other)


def whisper(root: YamlNode) -> ModelConfig:
    """Read ``WhisperConfig``: an encoder of a fixed length, and a decoder that attends to it."""
    c = read_fields(_WhisperConfig, root)
    d = c.d_model
    encoder_heads, decoder_heads = (
        attention_heads(root, d, getattr(c, field), width_field="d_model", heads_field=field)
        for field in ("encoder_attention_heads", "decoder_attention_heads")
    )
    # Keys have no biases; a norm has a weight and a bias.
    attention = 3 * d + 2 * d
    encoder = Layer(
        mixer=_all_tokens(encoder_heads),
        ffn=feed_forward(c.encoder_ffn_dim, gated=False, activation=c.activation_function),
        other_parameters=attention + c.encoder_ffn_dim + d + 2 * d,
    )
    decoder = Layer(
        mixer=decoder_heads,
        ffn=feed_forward(c.decoder_ffn_dim, gated=False, activation=c.activation_function),
        cross=_all_tokens(decoder_heads),
        other_parameters=2 * attention + c.decoder_ffn_dim + d + 2 * d,
    )
    layers = [encoder] * c.encoder_layers + [decoder] * c.decoder_layers
    # Outside layers there are two convolutions of three taps, positions and a last norm per stack.
    sounds = 3 * c.num_mel_bins * d + d + 3 * d * d + d
    positions = (c.max_source_positions + c.max_target_positions) * d
    model = build_model(c, "whisper", d, layers, sounds + positions + 4 * d)
    return replace(model, encoder_len=c.max_source_positions)


def vit(root: YamlNode) -> ModelConfig:
    """Read ``ViTConfig``: one token per patch and one for the class; no pooler, no classifier."""
    c = read_fields(_VitConfig, root)
    d, inner = c.hidden_size, c.intermediate_size
    patches = patches_of(root, c.image_size, c.patch_size)
    mixer = _all_tokens(attention_heads(root, d, c.num_attention_heads))
    inputs = 3 * d if c.qkv_bias else 0
    layer = Layer(
        mixer=mixer,
        ffn=feed_forward(inner, gated=False, activation=c.hidden_act),
        other_parameters=4 * d + inputs + d + inner + d,
    )
    tokens = patches + 1
    embedding = c.num_channels * c.patch_size**2 * d + d
    return ModelConfig(
        family="vit",
        width=d,
        runs=runs_of([layer] * c.num_hidden_layers),
        vocab_size=0,
        other_parameters=d + tokens * d + embedding + 2 * d,
        tokens=tokens,
    )


FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {
        "bert": partial(bert, family="bert"),
        "distilbert": distilbert,
        "modernbert": modernbert,
        "roberta": partial(bert, family="roberta"),
        "t5": t5,
        "vit": vit,
        "whisper": whisper,
    }
)
"""Readers by ``model_type``."""
