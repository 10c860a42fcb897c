"""Readers of encoders and encoder-decoders, and of encoders of images.

An encoder of images belongs to a multimodal family: its language model runs, and the encoder counts
as parameters. The tokens of an image are not run. Field names and defaults are those of Hugging
Face Transformers (``BertConfig``, ``SiglipVisionConfig``, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field

from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import FeedForward, Layer, ModelConfig, SoftmaxAttention
from .fields import (
    ConfigFields,
    LayerCount,
    Reader,
    SizeOrZero,
    class_of,
    errors_inside,
    field_error,
    fields_class,
    patches_of,
    read_fields,
)
from .table import (
    STACK,
    FieldRow,
    ModelFamily,
    Windows,
    attention_heads,
    biased,
    build_model,
    families,
    feed_forward,
    fixed,
    flags,
    layer_counts,
    layers_where,
    like,
    own_names,
    sizes,
    texts,
)

_ENCODER = ModelFamily(
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
    fields=sizes(max_position_embeddings=512, type_vocab_size=2)
    | flags(is_decoder=False, add_cross_attention=False, tie_word_embeddings=True),
    causal="is_decoder",
    outside=lambda c: (
        (c.max_position_embeddings + c.type_vocab_size + 2 + c.hidden_size + 1) * c.hidden_size
    ),
)
DISTILBERT = like(
    _ENCODER,
    standard=(*STACK, "intermediate_size"),
    # The ignored fields concern initial positions, and an old setting.
    ignored=("sinusoidal_pos_embds", "tie_weights_"),
    names=own_names("dim", "n_layers", "n_heads", intermediate_size="hidden_dim"),
    fields=texts(activation="gelu")
    | sizes(max_position_embeddings=512)
    | flags(tie_word_embeddings=True),
    # Outside layers there are positions and their norm.
    outside=lambda c: (c.max_position_embeddings + 2) * c.hidden_size,
)


def _outside_modernbert(c: Any) -> int:
    # Norms belong to embeddings, the stack and the head; the first attention has none. The head's
    # product may have a bias, and each word has one.
    d: int = c.hidden_size
    norms = 2 * (2 * d if c.norm_bias else d)
    head = d * d + (d if c.classifier_bias else 0)
    return norms + head + ((c.vocab_size or 0) if c.decoder_bias else 0)


MODERNBERT = ModelFamily(
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
    windows=Windows(
        size=lambda c: 2 * (c.local_attention // 2) + 1,
        layers=layers_where(lambda c, index: index % c.global_attn_every_n_layers != 0),
    ),
    outside=_outside_modernbert,
)


def _with_patches(root: YamlNode, c: Any, model: ModelConfig) -> ModelConfig:
    """Return a model whose tokens are the patches of an image and one class token, without
    classifier."""
    d, tokens = c.hidden_size, patches_of(root, c.image_size, c.patch_size) + 1
    embedding = c.num_channels * c.patch_size**2 * d + d
    other = d + tokens * d + embedding + 2 * d
    return replace(model, vocab_size=0, tokens=tokens, other_parameters=other)


VIT = like(
    _ENCODER,
    # The ignored fields concern heads that are not read.
    ignored=("encoder_stride", "pooler_*"),
    fields=sizes(image_size=224, patch_size=16, num_channels=3) | flags(qkv_bias=True),
    input_bias="qkv_bias",
    complete=_with_patches,
)


# Heads need not make up the stream: T5-11B has 128 of 128 on a width of 1,024.
_T5_FIELDS = (
    sizes("d_model", "d_kv", "d_ff", "num_heads", relative_attention_num_buckets=32)
    | layer_counts("num_layers")
    | {"num_decoder_layers": (LayerCount | None, None)}
    | {"feed_forward_proj": (str, Field(default="relu", max_length=40))}
    | flags(tie_word_embeddings=True, is_encoder_decoder=True)
)
_FOLLOWING_FROM_PROJ = ("dense_act_fn", "is_gated_act")
"""Names of T5's fields whose values follow from ``feed_forward_proj``."""
_WHISPER_FIELDS = (
    sizes("d_model", "encoder_attention_heads", "encoder_ffn_dim", "decoder_attention_heads")
    | sizes("decoder_ffn_dim", num_mel_bins=80, max_source_positions=1500)
    | sizes(max_target_positions=448)
    | layer_counts("encoder_layers", "decoder_layers")
    | texts(activation_function="gelu")
    | flags(tie_word_embeddings=True)
)
_FORCED_OR_MASKED = (
    *("is_encoder_decoder", "scale_embedding", "num_hidden_layers", "max_target_length"),
    *("apply_spec_augment", "mask_*", "median_filter_width", "use_weighted_layer_sum"),
    *("forced_decoder_ids", "use_timestamps*", "lang_ids", "task_ids"),
)
"""Names of ignored fields of Whisper: forced words, masked sounds, and ``num_hidden_layers``,
which is the encoder's."""


def _all_tokens(mixer: SoftmaxAttention) -> SoftmaxAttention:
    """Return the attention without causal mask: every query sees all keys."""
    return replace(mixer, causal=False)


def t5(root: YamlNode) -> ModelConfig:
    """Read ``T5Config``: encoder layers, then decoder layers that also attend to the encoder.

    ``T5EncoderModel`` among ``architectures`` is the encoder alone, whatever other fields say.
    """
    c: Any = read_fields(fields_class("t5", _T5_FIELDS, _FOLLOWING_FROM_PROJ), root)
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
    encoder = Layer(mixer=_all_tokens(causal), ffn=ffn, other_parameters=2 * d)
    # Attention to the encoder has no learned bias of positions.
    decoder = Layer(mixer=causal, ffn=ffn, cross=_all_tokens(heads), other_parameters=3 * d)
    decoders = 0 if alone else c.num_decoder_layers or c.num_layers
    layers = [encoder] * c.num_layers + [decoder] * decoders
    # Each stack has a last norm, and a table of relative positions in its first layer.
    other = d + c.relative_attention_num_buckets * c.num_heads
    other *= 1 if alone else 2
    return build_model(c, layers, width=d, other_parameters=other)


def whisper(root: YamlNode) -> ModelConfig:
    """Read ``WhisperConfig``: an encoder of a fixed length, and a decoder that attends to it."""
    c: Any = read_fields(fields_class("whisper", _WHISPER_FIELDS, _FORCED_OR_MASKED), root)
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
    other = sounds + positions + 4 * d
    length = c.max_source_positions
    return build_model(c, layers, width=d, encoder_len=length, other_parameters=other)


Encoder = Callable[[YamlNode, Any, int], int]
"""Function that counts the parameters of an encoder and its projector. It takes the encoder's
configuration, the fields around it, and the width of the stream."""

_OUTER_FIELDS = frozenset(ConfigFields.model_fields)
"""Names of a language model's fields that may also stand outside ``text_config``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multimodal:
    """Multimodal family, whose language model is in ``text_config``, or is the whole file."""

    text: Reader
    """Reader of the language model."""
    encoder: Encoder = lambda *_: 0
    """By default no parameters are counted."""
    encoders: tuple[str, ...] = ("*",)
    """Patterns that the encoder's ``model_type`` may match."""
    texts: tuple[str, ...] = ()
    """Patterns for the language model's ``model_type``; by default the family, and the family with
    ``_text``."""
    ignored: tuple[str, ...] = ()
    """Names of fields outside the two models that change no count."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields outside the two models that the count of the encoder's parameters reads."""

    def __call__(self, root: YamlNode) -> ModelConfig:
        """Return the language model, with the parameters of the encoder in ``vision_config``."""
        inner, vision = root.child("text_config"), root.child("vision_config")
        if inner is None:
            return self.text(root)
        ignored = ("text_config", "vision_config", *self.ignored)
        outer: Any = read_fields(fields_class("outer", self.fields, ignored), root)
        family = _kind(root)
        usual = (family, f"{family}_text") if family else ("*",)
        _check_kind(inner, "the language model", self.texts or usual)
        with errors_inside("text_config"):
            model = self.text(_with_outer_fields(root, inner))
        if vision is None or not vision.plain():
            return model
        _check_kind(vision, "the encoder of images", self.encoders)
        other = model.other_parameters + self.encoder(vision, outer, model.width)
        return replace(model, other_parameters=other)


def _kind(node: YamlNode) -> str:
    named = node.child("model_type")
    return named.text if isinstance(named, YamlScalar) else ""


def _check_kind(node: YamlNode, what: str, known: tuple[str, ...]) -> None:
    """Raise an error if a section's ``model_type`` matches none of the known patterns."""
    found = _kind(node)
    if found and not any(fnmatchcase(found, pattern) for pattern in known):
        words = " or ".join(f"'{pattern}'" for pattern in known)
        raise field_error(node, "model_type", f"{what} is {words}, got '{shorten(found)}'")


def _with_outer_fields(root: YamlNode, inner: YamlNode) -> YamlNode:
    """Return the fields of the language model, completed by fields outside ``text_config``.

    A field with different values inside and outside is refused: the version of the class decides
    which value counts.
    """
    if not isinstance(root, YamlMapping) or not isinstance(inner, YamlMapping):
        return inner
    outer_entries = []
    for key, outer in root.entries:
        if key.text not in _OUTER_FIELDS or outer.plain() is None:
            continue
        if (own := inner.child(key.text)) is None:
            outer_entries.append((key, outer))
        elif own.plain() != outer.plain():
            raise field_error(root, key.text, "text_config says otherwise")
    return YamlMapping(span=inner.span, entries=(*inner.entries, *outer_entries))


def _fields_of(vision: YamlNode, fields: Mapping[str, FieldRow]) -> Any:
    """Return the fields of an encoder that affect its number of parameters; others are ignored."""
    return read_fields(fields_class("encoder", fields, ("*",)), vision)


def _layer_with_biases(width: int, inner: int) -> int:
    """Count the parameters of a layer: four projections, two further products and two norms, all
    with biases."""
    return 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width


def llama4_encoder(vision: YamlNode, _outer: Any, width: int) -> int:
    """Count the parameters of ``Llama4VisionConfig`` and its projector."""
    fields = sizes(hidden_size=768, intermediate_size=5632, vision_output_dim=7680)
    fields |= sizes(projector_input_dim=4096, projector_output_dim=4096)
    fields |= sizes(image_size=448, patch_size=14, num_channels=3)
    c = _fields_of(vision, fields | layer_counts(num_hidden_layers=34))
    d, inner = c.hidden_size, c.intermediate_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # Ends are the projection of patches, positions, the class token, and two norms.
    ends = c.num_channels * c.patch_size**2 * d + (patches + 1) * d + d + 4 * d
    adapter = inner * c.projector_input_dim + c.projector_output_dim**2
    layers = c.num_hidden_layers * _layer_with_biases(d, inner)
    return int(layers + ends + adapter + c.vision_output_dim * width)


def siglip_encoder(vision: YamlNode, _outer: Any, width: int) -> int:
    """Count the parameters of ``SiglipVisionConfig`` in Gemma 3, with a norm and a product
    behind it."""
    fields = sizes(hidden_size=768, intermediate_size=3072, image_size=224, patch_size=16)
    fields |= sizes(num_channels=3) | fixed(vision_use_head=False)
    c = _fields_of(vision, fields | layer_counts(num_hidden_layers=12))
    d = c.hidden_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # Ends are the projection of patches with a bias, positions, and the last norm with a bias.
    ends = c.num_channels * c.patch_size**2 * d + d + patches * d + 2 * d
    layers = c.num_hidden_layers * _layer_with_biases(d, c.intermediate_size)
    return int(layers + ends + d + d * width)


def pixtral_encoder(vision: YamlNode, outer: Any, width: int) -> int:
    """Count the parameters of ``PixtralVisionConfig`` in Mistral 3, with a merger and two
    products."""
    fields = sizes(hidden_size=1024, intermediate_size=4096, patch_size=16, num_channels=3)
    c = _fields_of(vision, fields | layer_counts(num_hidden_layers=24))
    d = c.hidden_size
    # A layer has four projections, a gated network and two norms, without biases.
    layer = 4 * d * d + 3 * d * c.intermediate_size + 2 * d
    ends = c.num_channels * c.patch_size**2 * d + d
    # Behind the encoder there are a norm, the merger of 2 x 2 patches, and two products.
    merged = d + outer.spatial_merge_size**2 * d * d + d * width + width * width
    biases = 2 * width if outer.multimodal_projector_bias else 0
    return int(c.num_hidden_layers * layer + ends + merged + biases)


def qwen3_vl_encoder(vision: YamlNode, outer: Any, width: int) -> int:
    """Count the parameters of ``Qwen3VLVisionConfig``: as Qwen3.5, with mergers of inner layers."""
    indices = {"deepstack_visual_indexes": (tuple[SizeOrZero, ...], (8, 16, 24))}
    c = _fields_of(vision, _QWEN_FIELDS | indices)
    merged = c.hidden_size * c.spatial_merge_size**2
    # A merger has a norm of merged patches, with a bias.
    each = 2 * merged + _merger(merged, c.out_hidden_size)
    return int(qwen3_5_encoder(vision, outer, width) + len(c.deepstack_visual_indexes) * each)


def qwen3_5_encoder(vision: YamlNode, _outer: Any, _width: int) -> int:
    """Count the parameters of ``Qwen3_5VisionConfig``: patches of several frames, and a merger."""
    c = _fields_of(vision, _QWEN_FIELDS)
    d = c.hidden_size
    patch = c.in_channels * c.temporal_patch_size * c.patch_size**2
    ends = patch * d + d + c.num_position_embeddings * d
    # The merger joins 2 x 2 patches into one row, behind a norm.
    merger = 2 * d + _merger(d * c.spatial_merge_size**2, c.out_hidden_size)
    return int(c.depth * _layer_with_biases(d, c.intermediate_size) + ends + merger)


_QWEN_FIELDS = (
    sizes(out_hidden_size=3584, hidden_size=1152, intermediate_size=4304, in_channels=3)
    | sizes(patch_size=16, temporal_patch_size=2, spatial_merge_size=2)
    | sizes(num_position_embeddings=2304)
    | layer_counts(depth=27)
)


def _merger(merged: int, width: int) -> int:
    """Count the parameters of two products with biases, which project merged patches."""
    return merged * merged + merged + merged * width + width


def qwen_multimodal(text: Reader, encoder: Encoder) -> Multimodal:
    """Return a multimodal family of Qwen, whose encoder reads images and films."""
    return Multimodal(
        text=text,
        encoder=encoder,
        encoders=("qwen3_5*", "qwen3_vl*"),
        ignored=("language_model_only",),
    )


FAMILIES = families(globals(), roberta=BERT, t5=t5, whisper=whisper)
"""Readers of configurations by ``model_type``."""
