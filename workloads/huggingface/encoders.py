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
    class_of,
    field_error,
    listed_layers,
    patches_of,
    read_fields,
)
from .stack import attention_biases, attention_heads, build_model, feed_forward


class _BertConfig(ConfigFields):
    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
    intermediate_size: Size
    hidden_act: str | None = None
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True


class _DistilBertConfig(ConfigFields):
    ignored = ("sinusoidal_pos_embds", "tie_weights_")
    """With what the table of positions begins, and a setting of old."""

    dim: Size
    n_layers: LayerCount
    n_heads: Size
    hidden_dim: Size
    activation: str | None = "gelu"
    max_position_embeddings: Size = 512
    tie_word_embeddings: bool = True


class _ModernBertConfig(ConfigFields):
    ignored = (
        *("deterministic_flash_attn", "sparse_pred*", "reference_compile"),
        *("repad_logits_with_grad", "global_rope_theta", "local_rope_theta", "hidden_act"),
    )
    """Of training, and rotations; the family reads ``hidden_activation``."""

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
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
    """They follow from ``feed_forward_proj``."""

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
    """How words are forced and sounds masked; ``num_hidden_layers`` is the encoder's."""

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


class _VitConfig(ConfigFields):
    ignored = ("encoder_stride", "pooler_*")
    """Of heads that are not read."""

    hidden_act: str | None = None
    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
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
    # Two norms, each of a weight and a bias a channel; then biases of all products.
    other = 4 * d + attention_biases(heads, d) + inner + d
    other += attention_biases(cross, d) + 2 * d if cross else 0
    layer = Layer(
        mixer=heads if c.is_decoder else _all_tokens(heads),
        ffn=feed_forward(inner, gated=False, activation=c.hidden_act),
        cross=cross,
        other_parameters=other,
    )
    # Positions, kinds of sentence and their norm; then the pooler.
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
    """``ModernBertConfig``: most layers see half a window to either side; its head counts."""
    c = read_fields(_ModernBertConfig, root)
    d, inner = c.hidden_size, c.intermediate_size
    full = _all_tokens(attention_heads(root, d, c.num_attention_heads))
    # A query sees local_attention // 2 keys before it, itself, and as many behind it.
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
    # Norms of embeddings, of the stack and of the head, but none before the first attention;
    # the head's product, which may have a bias; and a bias a word.
    other = 2 * norm + d * d + (d if c.classifier_bias else 0)
    other += (c.vocab_size or 0) if c.decoder_bias else 0
    return build_model(c, "modernbert", d, layers, other)


def t5(root: YamlNode) -> ModelConfig:
    """``T5Config``: encoder layers, then decoder layers, which attend to the encoder too.

    ``T5EncoderModel`` among ``architectures`` is the encoder alone, whatever else is said.
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
    # Attention to the encoder has no bias.
    decoder = Layer(
        mixer=causal,
        ffn=ffn,
        cross=_all_tokens(heads),
        other_parameters=3 * d,
    )
    decoders = 0 if alone else c.num_decoder_layers or c.num_layers
    layers = [encoder] * c.num_layers + [decoder] * decoders
    # Each stack has a last norm, and in its first layer a table of relative positions.
    other = d + c.relative_attention_num_buckets * c.num_heads
    return build_model(c, "t5", d, layers, other if alone else 2 * other)


def whisper(root: YamlNode) -> ModelConfig:
    """``WhisperConfig``: an encoder of a fixed length, and a decoder that attends to it."""
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
    # Two convolutions of three taps, positions of both stacks, and the last norm of each.
    sounds = 3 * c.num_mel_bins * d + d + 3 * d * d + d
    positions = (c.max_source_positions + c.max_target_positions) * d
    model = build_model(c, "whisper", d, layers, sounds + positions + 4 * d)
    return replace(model, encoder_len=c.max_source_positions)


def vit(root: YamlNode) -> ModelConfig:
    """``ViTConfig``: a token a patch and one for the class; no pooler, no classifier."""
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
