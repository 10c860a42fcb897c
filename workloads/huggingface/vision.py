"""Models of several inputs: the language model runs, an encoder of images counts as parameters.

An image's tokens are no part of what is run. Fields and defaults are those of Hugging Face
Transformers (``Llama4VisionConfig``, ``SiglipVisionConfig``, ``PixtralVisionConfig``,
``Qwen3_5VisionConfig``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import ModelConfig
from .fields import (
    ConfigFields,
    LayerCount,
    Size,
    SizeOrZero,
    constant,
    errors_inside,
    field_error,
    patches_of,
    read_fields,
)

Encoder = Callable[[YamlNode, YamlNode, int], int]
"""Parameters of an encoder and what leads out of it, by its fields, all fields, and the width."""

_OUTER_FIELDS = frozenset(ConfigFields.model_fields)
"""Fields of a language model that may stand outside of its own, too."""


class MultimodalConfig(ConfigFields):
    """Fields beside those of the two models."""

    ignored: ClassVar[tuple[str, ...]] = ("text_config", "vision_config")
    texts: ClassVar[tuple[str, ...]] = ()
    """The ``model_type`` of language models; nothing: the family's, or that and ``_text``."""
    encoders: ClassVar[tuple[str, ...]] = ("*",)
    """Patterns of the ``model_type`` of encoders."""


def multimodal_model(
    root: YamlNode,
    outer: type[MultimodalConfig],
    text: Callable[[YamlNode], ModelConfig],
    encoder: Encoder,
) -> ModelConfig:
    """A model whose language model stands in ``text_config``, or is all there is.

    Parameters
    ----------
    root : YamlNode
        The configuration.
    outer : type of SeveralInputs
        The fields beside.
    text, encoder : callable
        Readers of the language model, and of the encoder in ``vision_config``.
    """
    inner, vision = root.child("text_config"), root.child("vision_config")
    if inner is None:
        return text(root)
    read_fields(outer, root)
    family = _kind(root)
    usual = (family, f"{family}_text") if family else ("*",)
    _check_kind(inner, "the language model", outer.texts or usual)
    with errors_inside("text_config"):
        model = text(_with_outer_fields(root, inner))
    if vision is None or not vision.plain():
        return model
    _check_kind(vision, "the encoder of images", outer.encoders)
    other = model.other_parameters + encoder(vision, root, model.width)
    return replace(model, other_parameters=other)


def _kind(node: YamlNode) -> str:
    named = node.child("model_type")
    return named.text if isinstance(named, YamlScalar) else ""


def _check_kind(node: YamlNode, what: str, known: tuple[str, ...]) -> None:
    """Refuse a part of another family, whose fields would be read as if it were of this one."""
    found = _kind(node)
    if found and not any(fnmatchcase(found, pattern) for pattern in known):
        words = " or ".join(f"'{pattern}'" for pattern in known)
        raise field_error(node, "model_type", f"{what} is {words}, got '{shorten(found)}'")


def _with_outer_fields(root: YamlNode, inner: YamlNode) -> YamlNode:
    """The language model's fields, and those of them that may stand around them, too.

    Which of two that differ is right depends on the version of the class.
    """
    if not isinstance(root, YamlMapping) or not isinstance(inner, YamlMapping):
        return inner
    said = []
    for key, outer in root.entries:
        if key.text not in _OUTER_FIELDS or outer.plain() is None:
            continue
        if (own := inner.child(key.text)) is None:
            said.append((key, outer))
        elif own.plain() != outer.plain():
            raise field_error(root, key.text, "text_config says otherwise")
    return YamlMapping(span=inner.span, entries=(*inner.entries, *said))


class _EncoderConfig(ConfigFields):
    ignored = ("*",)
    """Parameters alone are counted."""


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
    """Four projections and two products, each with biases, and two norms with theirs."""
    return 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width


def llama4_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """``Llama4VisionConfig``."""
    del root
    c = read_fields(_Llama4VisionConfig, vision)
    d, inner = c.hidden_size, c.intermediate_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # Patches in, positions (one for the class, and the class itself), norms at both ends.
    ends = c.num_channels * c.patch_size**2 * d + (patches + 1) * d + d + 4 * d
    adapter = inner * c.projector_input_dim + c.projector_output_dim**2
    layers = c.num_hidden_layers * _layer_with_biases(d, inner)
    return layers + ends + adapter + c.vision_output_dim * width


class Llama4MultimodalConfig(MultimodalConfig):
    """Of ``Llama4Config``."""

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
    """``SiglipVisionConfig`` as Gemma 3 has it: a norm and one product lead out of it."""
    del root
    c = read_fields(_SiglipConfig, vision)
    d = c.hidden_size
    patches = patches_of(vision, c.image_size, c.patch_size)
    # A product of a patch's pixels, with a bias; positions; the last norm with its bias.
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
    """Of ``Mistral3Config``."""

    ignored = ("text_config", "vision_config", "projector_hidden_act", "vision_feature_layer")
    """What leads out of the encoder: its function, and of which layer."""
    texts = ("mistral", "ministral3", "mistral3")
    encoders = ("pixtral",)

    spatial_merge_size: Size = 2
    multimodal_projector_bias: bool = False


def pixtral_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """``PixtralVisionConfig`` as Mistral 3 has it: patches are merged, and pass two products."""
    c, outer = read_fields(_PixtralConfig, vision), read_fields(Mistral3MultimodalConfig, root)
    d = c.hidden_size
    # No biases: four projections, a gated network, two norms.
    layer = 4 * d * d + 3 * d * c.intermediate_size + 2 * d
    ends = c.num_channels * c.patch_size**2 * d + d
    # A norm, what makes 2 x 2 patches one, and the projector's two products.
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
    """Of ``Qwen3_5Config``."""

    ignored = ("text_config", "vision_config", "language_model_only")
    encoders = ("qwen3_5*", "qwen3_vl*")


class _Qwen3VlVisionConfig(_Qwen35VisionConfig):
    deepstack_visual_indexes: tuple[SizeOrZero, ...] = (8, 16, 24)


def qwen3_vl_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """``Qwen3VLVisionConfig``: as Qwen3.5's, and what some of its layers hand on by themselves."""
    c = read_fields(_Qwen3VlVisionConfig, vision)
    merged = c.hidden_size * c.spatial_merge_size**2
    # Norms are of patches that are merged, with a bias; then two products.
    each = 2 * merged + merged * merged + merged + merged * c.out_hidden_size + c.out_hidden_size
    return qwen3_5_encoder(vision, root, width) + len(c.deepstack_visual_indexes) * each


def qwen3_5_encoder(vision: YamlNode, root: YamlNode, width: int) -> int:
    """``Qwen3_5VisionConfig``: patches of several frames, merged by two products."""
    del root, width
    c = read_fields(_Qwen35VisionConfig, vision)
    d = c.hidden_size
    patch = c.in_channels * c.temporal_patch_size * c.patch_size**2
    ends = patch * d + d + c.num_position_embeddings * d
    # 2 x 2 patches side by side are one row: a norm, then two products with biases.
    merged = d * c.spatial_merge_size**2
    merger = 2 * d + merged * merged + merged + merged * c.out_hidden_size + c.out_hidden_size
    return c.depth * _layer_with_biases(d, c.intermediate_size) + ends + merger
