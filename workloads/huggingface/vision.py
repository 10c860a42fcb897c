"""Multimodal models: the language model runs, and an encoder of images counts as parameters.

The tokens of an image are not run. Fields and defaults are those of Hugging Face Transformers
(``Llama4VisionConfig``, ``SiglipVisionConfig``, ``PixtralVisionConfig``, ``Qwen3_5VisionConfig``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import ModelConfig
from .fields import (
    ConfigFields,
    LayerCount,
    Reader,
    SizeOrZero,
    errors_inside,
    field_error,
    fields_class,
    patches_of,
    read_fields,
)
from .table import FieldRow, fixed, sizes

Encoder = Callable[[YamlNode, Any, int], int]
"""Function that counts the parameters of an encoder and its projector. It takes the encoder's
configuration, the fields around it, and the width of the stream."""

_OUTER_FIELDS = frozenset(ConfigFields.model_fields)
"""Fields of a language model that may stand outside ``text_config``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multimodal:
    """Family whose language model stands in ``text_config``, or is the whole file."""

    text: Reader
    """Reader of the language model."""
    encoder: Encoder
    encoders: tuple[str, ...]
    """Patterns of the ``model_type`` of encoders."""
    texts: tuple[str, ...] = ()
    """``model_type`` of language models; by default the family, or the family and ``_text``."""
    ignored: tuple[str, ...] = ()
    """Names of fields besides the two models that change no count."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields besides the two models, which the encoder reads."""

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
    """Raise an error if a part belongs to another family, whose fields have other meanings."""
    found = _kind(node)
    if found and not any(fnmatchcase(found, pattern) for pattern in known):
        words = " or ".join(f"'{pattern}'" for pattern in known)
        raise field_error(node, "model_type", f"{what} is {words}, got '{shorten(found)}'")


def _with_outer_fields(root: YamlNode, inner: YamlNode) -> YamlNode:
    """Return the fields of the language model, with those that stand around them.

    Two different values are refused: which one counts depends on the version of the class.
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


def _fields_of(vision: YamlNode, fields: Mapping[str, FieldRow], **others: FieldRow) -> Any:
    """Return the fields of an encoder that counts need; all others are ignored."""
    return read_fields(fields_class("encoder", {**fields, **others}, ("*",)), vision)


def _layer_with_biases(width: int, inner: int) -> int:
    """Count four projections and two products, each with biases, and two norms with biases."""
    return 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width


def llama4_encoder(vision: YamlNode, outer: Any, width: int) -> int:
    """Count the parameters of ``Llama4VisionConfig`` and its projector."""
    del outer
    fields = sizes(hidden_size=768, intermediate_size=5632, vision_output_dim=7680)
    fields |= sizes(projector_input_dim=4096, projector_output_dim=4096)
    fields |= sizes(image_size=448, patch_size=14, num_channels=3)
    c = _fields_of(vision, fields, num_hidden_layers=(LayerCount, 34))
    d, inner = c.hidden_size, c.intermediate_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # Ends are the projection of patches, positions, the class token, and two norms.
    ends = c.num_channels * c.patch_size**2 * d + (patches + 1) * d + d + 4 * d
    adapter = inner * c.projector_input_dim + c.projector_output_dim**2
    layers = c.num_hidden_layers * _layer_with_biases(d, inner)
    return int(layers + ends + adapter + c.vision_output_dim * width)


def siglip_encoder(vision: YamlNode, outer: Any, width: int) -> int:
    """Count the parameters of ``SiglipVisionConfig`` in Gemma 3, with a norm and a product
    behind it."""
    del outer
    fields = sizes(hidden_size=768, intermediate_size=3072, image_size=224, patch_size=16)
    fields |= sizes(num_channels=3) | fixed(vision_use_head=False)
    c = _fields_of(vision, fields, num_hidden_layers=(LayerCount, 12))
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
    c = _fields_of(vision, fields, num_hidden_layers=(LayerCount, 24))
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
    indices = (tuple[SizeOrZero, ...], (8, 16, 24))
    c = _qwen_fields(vision, deepstack_visual_indexes=indices)
    merged = c.hidden_size * c.spatial_merge_size**2
    # A merger has a norm of merged patches, with a bias.
    each = 2 * merged + _merger(merged, c.out_hidden_size)
    return int(qwen3_5_encoder(vision, outer, width) + len(c.deepstack_visual_indexes) * each)


def qwen3_5_encoder(vision: YamlNode, outer: Any, width: int) -> int:
    """Count the parameters of ``Qwen3_5VisionConfig``: patches of several frames, and a merger."""
    del outer, width
    c = _qwen_fields(vision)
    d = c.hidden_size
    patch = c.in_channels * c.temporal_patch_size * c.patch_size**2
    ends = patch * d + d + c.num_position_embeddings * d
    # The merger joins 2 x 2 patches into one row, behind a norm.
    merger = 2 * d + _merger(d * c.spatial_merge_size**2, c.out_hidden_size)
    return int(c.depth * _layer_with_biases(d, c.intermediate_size) + ends + merger)


def _qwen_fields(vision: YamlNode, **others: Any) -> Any:
    fields = sizes(hidden_size=1152, intermediate_size=4304, in_channels=3, patch_size=16)
    fields |= sizes(temporal_patch_size=2, spatial_merge_size=2, num_position_embeddings=2304)
    return _fields_of(
        vision, sizes(out_hidden_size=3584) | fields, depth=(LayerCount, 27), **others
    )


def _merger(merged: int, width: int) -> int:
    """Count two products with biases, of merged patches."""
    return merged * merged + merged + merged * width + width


def qwen_multimodal(text: Reader, encoder: Encoder) -> Multimodal:
    """Return a family of Qwen with an encoder of images and films."""
    return Multimodal(
        text=text,
        encoder=encoder,
        encoders=("qwen3_5*", "qwen3_vl*"),
        ignored=("language_model_only",),
    )
