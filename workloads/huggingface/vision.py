"""Multimodal models: the language model runs, and an encoder of images counts as parameters.

The tokens of an image are not run. Fields and defaults are those of Hugging Face Transformers
(``Llama4VisionConfig``, ``SiglipVisionConfig``, ``PixtralVisionConfig``, ``Qwen3_5VisionConfig``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import ModelConfig
from .fields import (
    ConfigFields,
    LayerCount,
    Reader,
    Size,
    SizeOrZero,
    constant,
    errors_inside,
    field_error,
    patches_of,
    read_fields,
)

Encoder = Callable[[YamlNode, YamlNode, int], int]
"""Function that counts the parameters of an encoder and its projector. It takes the encoder's
fields, all fields, and the width of the stream."""

_OUTER_FIELDS = frozenset(ConfigFields.model_fields)
"""Fields of a language model that may stand outside ``text_config``."""


class MultimodalConfig(ConfigFields):
    """Fields besides those of the two models."""

    ignored: ClassVar[tuple[str, ...]] = ("text_config", "vision_config")
    texts: ClassVar[tuple[str, ...]] = ()
    """``model_type`` of language models; by default the family, or the family and ``_text``."""
    encoders: ClassVar[tuple[str, ...]] = ("*",)
    """Patterns of the ``model_type`` of encoders."""


@dataclass(frozen=True, slots=True)
class Multimodal:
    """Family whose language model stands in ``text_config``, or is the whole file."""

    outer: type[MultimodalConfig]
    """Fields besides the two models."""
    text: Reader
    """Reader of the language model."""
    encoder: Encoder

    def __call__(self, root: YamlNode) -> ModelConfig:
        """Return the language model, with the parameters of the encoder in ``vision_config``."""
        inner, vision = root.child("text_config"), root.child("vision_config")
        if inner is None:
            return self.text(root)
        read_fields(self.outer, root)
        family = _kind(root)
        usual = (family, f"{family}_text") if family else ("*",)
        _check_kind(inner, "the language model", self.outer.texts or usual)
        with errors_inside("text_config"):
            model = self.text(_with_outer_fields(root, inner))
        if vision is None or not vision.plain():
            return model
        _check_kind(vision, "the encoder of images", self.outer.encoders)
        other = model.other_parameters + self.encoder(vision, root, model.width)
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


class _EncoderConfig(ConfigFields):
    ignored = ("*",)
    """All fields that no count needs are ignored."""


class _Llama4VisionConfig(_EncoderConfig):
    hidden_size: Size = 768
    num_hidden_layers: LayerCount = 34
    intermediate_size: Size = 5632
    vision_output_dim: Size = 7680
    projector_input_dim: Size = 4096
    projector_output_dim: Size = 4096
    image_size: Size = 448
    patch_size: Size = 14
    num_channels: Size = 3


def _layer_with_biases(width: int, inner: int) -> int:
    """Count four projections and two products, each with biases, and two norms with biases."""
    return 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width


def llama4_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """Count the parameters of ``Llama4VisionConfig`` and its projector."""
    del root
    c = read_fields(_Llama4VisionConfig, vision)
    d, inner = c.hidden_size, c.intermediate_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # Ends are the projection of patches, positions, the class token, and two norms.
    ends = c.num_channels * c.patch_size**2 * d + (patches + 1) * d + d + 4 * d
    adapter = inner * c.projector_input_dim + c.projector_output_dim**2
    layers = c.num_hidden_layers * _layer_with_biases(d, inner)
    return layers + ends + adapter + c.vision_output_dim * width


class Llama4MultimodalConfig(MultimodalConfig):
    """Fields of ``Llama4Config`` besides those of its two models."""

    encoders = ("llama4_vision_model",)


class _SiglipConfig(_EncoderConfig):
    hidden_size: Size = 768
    num_hidden_layers: LayerCount = 12
    intermediate_size: Size = 3072
    image_size: Size = 224
    patch_size: Size = 16
    num_channels: Size = 3
    vision_use_head: Annotated[bool | None, constant(False)] = None


class Gemma3MultimodalConfig(MultimodalConfig):
    """Fields of ``Gemma3Config`` besides those of its two models."""

    ignored = ("text_config", "vision_config", "mm_tokens_per_image")
    encoders = ("siglip_vision_model",)


def siglip_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """Count the parameters of ``SiglipVisionConfig`` in Gemma 3, with a norm and a product
    behind it."""
    del root
    c = read_fields(_SiglipConfig, vision)
    d = c.hidden_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # Ends are the projection of patches with a bias, positions, and the last norm with a bias.
    ends = c.num_channels * c.patch_size**2 * d + d + patches * d + 2 * d
    layers = c.num_hidden_layers * _layer_with_biases(d, c.intermediate_size)
    return layers + ends + d + d * width


class _PixtralConfig(_EncoderConfig):
    hidden_size: Size = 1024
    num_hidden_layers: LayerCount = 24
    intermediate_size: Size = 4096
    patch_size: Size = 16
    num_channels: Size = 3


class Mistral3MultimodalConfig(MultimodalConfig):
    """Fields of ``Mistral3Config`` besides those of its two models."""

    ignored = ("text_config", "vision_config", "projector_hidden_act", "vision_feature_layer")
    """Names of fields about the projector's function and its input layer."""
    texts = ("mistral", "ministral3", "mistral3")
    encoders = ("pixtral",)

    spatial_merge_size: Size = 2
    multimodal_projector_bias: bool = False


def pixtral_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """Count the parameters of ``PixtralVisionConfig`` in Mistral 3, with a merger and two
    products."""
    c, outer = read_fields(_PixtralConfig, vision), read_fields(Mistral3MultimodalConfig, root)
    d = c.hidden_size
    # A layer has four projections, a gated network and two norms, without biases.
    layer = 4 * d * d + 3 * d * c.intermediate_size + 2 * d
    ends = c.num_channels * c.patch_size**2 * d + d
    # Behind the encoder there are a norm, the merger of 2 x 2 patches, and two products.
    merged = d + outer.spatial_merge_size**2 * d * d + d * width + width * width
    biases = 2 * width if outer.multimodal_projector_bias else 0
    return c.num_hidden_layers * layer + ends + merged + biases


class _Qwen35VisionConfig(_EncoderConfig):
    hidden_size: Size = 1152
    depth: LayerCount = 27
    intermediate_size: Size = 4304
    in_channels: Size = 3
    patch_size: Size = 16
    temporal_patch_size: Size = 2
    spatial_merge_size: Size = 2
    num_position_embeddings: Size = 2304
    out_hidden_size: Size = 3584


class Qwen35MultimodalConfig(MultimodalConfig):
    """Fields of ``Qwen3_5Config`` besides those of its two models."""

    ignored = ("text_config", "vision_config", "language_model_only")
    encoders = ("qwen3_5*", "qwen3_vl*")


class _Qwen3VlVisionConfig(_Qwen35VisionConfig):
    deepstack_visual_indexes: tuple[SizeOrZero, ...] = (8, 16, 24)


def qwen3_vl_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """Count the parameters of ``Qwen3VLVisionConfig``: as Qwen3.5, with mergers of inner layers."""
    c = read_fields(_Qwen3VlVisionConfig, vision)
    merged = c.hidden_size * c.spatial_merge_size**2
    # A merger has a norm of merged patches, with a bias, then two products.
    each = 2 * merged + merged * merged + merged + merged * c.out_hidden_size + c.out_hidden_size
    return qwen3_5_encoder(vision, root, width) + len(c.deepstack_visual_indexes) * each


def qwen3_5_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """Count the parameters of ``Qwen3_5VisionConfig``: patches of several frames, and a merger."""
    del root, width
    c = read_fields(_Qwen35VisionConfig, vision)
    d = c.hidden_size
    patch = c.in_channels * c.temporal_patch_size * c.patch_size**2
    ends = patch * d + d + c.num_position_embeddings * d
    # The merger joins 2 x 2 patches into one row: a norm, then two products with biases.
    merged = d * c.spatial_merge_size**2
    merger = 2 * d + merged * merged + merged + merged * c.out_hidden_size + c.out_hidden_size
    return c.depth * _layer_with_biases(d, c.intermediate_size) + ends + merger
