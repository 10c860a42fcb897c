"""Readers of encoders and encoder-decoders: bert, distilbert, modernbert, roberta, t5, vit,
whisper.

Field names and defaults are those of Hugging Face Transformers (``BertConfig``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pydantic import Field

from einsum_cascade.yaml.source import YamlNode

from ..models import FeedForward, Layer, ModelConfig, SoftmaxAttention
from .fields import (
    ConfigFields,
    LayerCount,
    Reader,
    Size,
    class_of,
    field_error,
    patches_of,
    read_fields,
)
from .table import (
    STACK,
    ModelFamily,
    Windows,
    attention_heads,
    biased,
    build_model,
    feed_forward,
    flags,
    like,
    sizes,
    texts,
)

_ENCODER = ModelFamily(
    family="",
    standard=(*STACK, "intermediate_size", "hidden_act"),
    causal=False,
    gated=False,
    norm_bias=True,
    **biased(True),
    ffn_bias=True,
)
"""Row of families whose tokens all see one another, with biases of all norms and products."""
# Outside layers there are positions, sentence kinds, their norm, and the pooler.
BERT = like(
    _ENCODER,
    family="bert",
    fields=sizes(max_position_embeddings=512, type_vocab_size=2)
    | flags(is_decoder=False, add_cross_attention=False, tie_word_embeddings=True),
    causal="is_decoder",
    cross="add_cross_attention",
    outside=lambda c: (
        (c.max_position_embeddings + c.type_vocab_size + 2 + c.hidden_size + 1) * c.hidden_size
    ),
)
DISTILBERT = like(
    _ENCODER,
    family="distilbert",
    standard=(*STACK, "intermediate_size"),
    # The ignored fields concern initial positions, and an old setting.
    ignored=("sinusoidal_pos_embds", "tie_weights_"),
    names={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    },
    fields=texts(activation="gelu")
    | sizes(max_position_embeddings=512)
    | flags(tie_word_embeddings=True),
    activation="activation",
    # Outside layers there are positions and their norm.
    outside=lambda c: (c.max_position_embeddings + 2) * c.hidden_size,
)


def _local_layers(root: YamlNode, c: Any) -> list[bool]:
    del root
    return [index % c.global_attn_every_n_layers != 0 for index in range(c.num_hidden_layers)]


def _outside_modernbert(c: Any) -> int:
    # Norms belong to embeddings, the stack and the head; the first attention has none. The head's
    # product may have a bias, and each word has one.
    d: int = c.hidden_size
    norms = 2 * (2 * d if c.norm_bias else d)
    head = d * d + (d if c.classifier_bias else 0)
    return norms + head + ((c.vocab_size or 0) if c.decoder_bias else 0)


MODERNBERT = ModelFamily(
    family="modernbert",
    standard=(*STACK, "intermediate_size", "layer_types"),
    # The ignored fields concern training and rotations; the family reads hidden_activation.
    ignored=(
        *("deterministic_flash_attn", "sparse_pred*", "reference_compile"),
        *("repad_logits_with_grad", "global_rope_theta", "local_rope_theta", "hidden_act"),
    ),
    fields=texts(hidden_activation="gelu")
    | flags(attention_bias=False, mlp_bias=False, norm_bias=False, classifier_bias=False)
    | flags(decoder_bias=True, tie_word_embeddings=True)
    | sizes(global_attn_every_n_layers=3, local_attention=128),
    causal=False,
    # A query sees itself and local_attention // 2 keys on either side.
    windows=Windows(size=lambda c: 2 * (c.local_attention // 2) + 1, layers=_local_layers),
    activation="hidden_activation",
    norm_bias="norm_bias",
    **biased("attention_bias"),
    ffn_bias="mlp_bias",
    outside=_outside_modernbert,
)


def _with_patches(root: YamlNode, c: Any, model: ModelConfig) -> ModelConfig:
    """Return a model with one token per patch and one for the class; without a classifier."""
    d, tokens = c.hidden_size, patches_of(root, c.image_size, c.patch_size) + 1
    embedding = c.num_channels * c.patch_size**2 * d + d
    other = d + tokens * d + embedding + 2 * d
    return replace(model, vocab_size=0, tokens=tokens, other_parameters=other)


VIT = like(
    _ENCODER,
    family="vit",
    # The ignored fields concern heads that are not read.
    ignored=("encoder_stride", "pooler_*"),
    fields=sizes(image_size=224, patch_size=16, num_channels=3) | flags(qkv_bias=True),
    input_bias="qkv_bias",
    complete=_with_patches,
)


class _T5Fields(ConfigFields):
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


class _WhisperFields(ConfigFields):
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


def _all_tokens(mixer: SoftmaxAttention) -> SoftmaxAttention:
    """Return the attention of all queries to all keys."""
    return replace(mixer, causal=False)


def t5(root: YamlNode) -> ModelConfig:
    """Read ``T5Config``: encoder layers, then decoder layers that also attend to the encoder.

    ``T5EncoderModel`` among ``architectures`` is the encoder alone, whatever other fields say.
    """
    c = read_fields(_T5Fields, root)
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
    c = read_fields(_WhisperFields, root)
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


FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {row.family: row for row in (BERT, DISTILBERT, MODERNBERT, VIT)}
    | {"roberta": replace(BERT, family="roberta"), "t5": t5, "whisper": whisper}
)
"""Readers by ``model_type``."""
