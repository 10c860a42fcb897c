"""Number formats of a checkpoint's weights, from ``quantization_config``.

``fp8`` follows DeepSeek-V3 and Qwen3 (transformers, ``FineGrainedFP8Config``). It covers all linear
layers except the output head, routers, and small projections that a file excludes in all layers.
``mxfp4`` follows gpt-oss (``Mxfp4Config``) and covers experts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, shorten

from ..models import DeltaAttention, LatentAttention, Mixer, ModelConfig, WeightFormats

FIELD = "quantization_config"
_FP8 = MappingProxyType(
    {
        **dict.fromkeys(("e4m3", "float8_e4m3fn"), "fp8_e4m3"),
        **dict.fromkeys(("e5m2", "float8_e5m2"), "fp8_e5m2"),
    }
)
_UNCONVERTED_SUFFIXES = (
    *("lm_head", "gate", "router", "embed_tokens", "norm", "layernorm"),
    *("e_score_correction_bias", "vision_tower", "multi_modal_projector"),
    *("conv1d", "A_log", "dt_bias", ".bias"),
)
"""Suffixes of modules that are never converted."""
_OTHER_MODULES = frozenset(("mtp", "visual", "vision_tower", "multi_modal_projector"))
"""Words in the names of modules outside the layers that run."""
_PARTS_BY_MODULE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Qwen3-Next has both projections in one module, Qwen3.5 in two.
        "in_proj_ba": ("beta-projection", "decay-projection"),
        "in_proj_b": ("beta-projection",),
        "in_proj_a": ("decay-projection",),
        # Files of GLM-5 use the first name for the module of the second name.
        "indexers_proj": ("indexer-weight-projection",),
        "weights_proj": ("indexer-weight-projection",),
    }
)
"""Parts of a layer that stay in words, by the last word of a module's name."""
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,9})\.")
_KNOWN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fp8": (
            "quant_method",
            "fmt",
            "activation_scheme",
            "weight_block_size",
            "scale_fmt",
            "dequantize",
        ),
        "mxfp4": ("quant_method", "dequantize"),
    }
)
_GROUPS = ": their groups have scales and zero points, which no format here counts"
_UNCONVERTED_KEYS = ("modules_to_not_convert", "ignored_layers")


def weight_formats(root: YamlNode) -> WeightFormats:
    """Return the formats that a configuration states for its weights.

    Raises
    ------
    SpecError
        The method is unknown, or excludes weights that must be converted.
    """
    node = root.child(FIELD)
    value: Any = node.plain() if node is not None else None
    if node is None or not value:
        return WeightFormats()
    method = value.get("quant_method") if isinstance(value, dict) else None
    if not isinstance(method, str) or method not in _KNOWN:
        shown = f"'{shorten(str(method))}'" if isinstance(value, dict) else shorten(str(value))
        why = _GROUPS if method in ("gptq", "awq") else ""
        raise _quantization_error(
            node, f"weights quantised by {shown} are not read{why}", "known: fp8, mxfp4; "
        )
    known = (*_KNOWN[method], *_UNCONVERTED_KEYS)
    if other := next((key for key, found in value.items() if key not in known and found), None):
        raise _quantization_error(node, f"'{shorten(str(other))}' is not read for '{method}'")
    if value.get("dequantize"):
        return WeightFormats()
    if method == "mxfp4":
        for module in _kept_modules(value):
            if "experts" in module.split("."):
                raise _quantization_error(
                    node, f"'{shorten(module)}' is left out, and mxfp4 is for experts"
                )
        return WeightFormats(experts="mxfp4")
    _check_blocks(node, value)
    kept = tuple(sorted({part for _, parts in _unconverted_modules(node, root) for part in parts}))
    fmt = _FP8.get(str(value.get("fmt") or "e4m3"))
    if fmt is None:
        raise _quantization_error(
            node, f"fmt: expected e4m3 or e5m2, got '{shorten(str(value['fmt']))}'"
        )
    return WeightFormats(projections=fmt, feed_forward=fmt, experts=fmt, kept=kept)


def _check_blocks(node: YamlNode, value: dict[str, Any]) -> None:
    """Raise an error for invalid blocks of fp8, or scales of activations."""
    block, scheme = value.get("weight_block_size"), value.get("activation_scheme")
    if block is not None and not _two_sizes(block):
        text = f"weight_block_size: expected two whole numbers above 0, got {shorten(str(block))}"
        raise _quantization_error(node, text)
    if scheme not in (None, "dynamic", "static"):
        text = f"activation_scheme: expected dynamic or static, got {shorten(str(scheme))}"
        raise _quantization_error(node, text)


def _two_sizes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(size) is int and size > 0 for size in value)
    )


def _kept_modules(value: dict[str, Any]) -> Iterator[str]:
    """Return the modules that a file excludes from conversion."""
    return (str(module) for key in _UNCONVERTED_KEYS for module in _listed(value.get(key)))


def _is_never_converted(module: str, blocks: int | None) -> bool:
    """Return whether a module is never converted, or belongs to no layer that runs."""
    number = _LAYER.search(module)
    # Layers that predict further tokens have the numbers behind the last layer.
    behind = number is not None and blocks is not None and int(number[1]) >= blocks
    return (
        behind
        or module.endswith(_UNCONVERTED_SUFFIXES)
        or not _OTHER_MODULES.isdisjoint(module.split("."))
    )


def _blocks(root: YamlNode) -> int | None:
    """Return the number of layers in a configuration, or None."""
    for node in (root.child("text_config"), root):
        found: Any = node.child("num_hidden_layers") if node is not None else None
        if found is not None and isinstance(count := found.plain(), int):
            return count
    return None


def _unconverted_modules(node: YamlNode, root: YamlNode) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield excluded modules whose kind could be converted, with their parts."""
    value: Any = node.plain()
    blocks = _blocks(root)
    for module in _kept_modules(value):
        if _is_never_converted(module, blocks):
            continue
        if (parts := _PARTS_BY_MODULE.get(module.rpartition(".")[2])) is None:
            raise _quantization_error(
                node, f"'{shorten(module)}' is left out, and fp8 is for all layers"
            )
        yield module, parts


def check_unconverted(root: YamlNode, found: WeightFormats, model: ModelConfig) -> None:
    """Raise an error if parts are excluded in some layers that have them, or in no such layer."""
    node = root.child(FIELD)
    if node is None or not found.kept:
        return
    every = range(model.layer_count)
    named: dict[str, set[int]] = {part: set() for part in found.kept}
    for module, parts in _unconverted_modules(node, root):
        number = _LAYER.search(module)
        if not any(_has_part(model.layer(i).mixer, parts[0]) for i in every):
            raise _quantization_error(node, f"'{shorten(module)}' is left out, and no layer has it")
        for part in parts:
            named[part].update([int(number[1])] if number else every)
    for part, layers in named.items():
        other = (i for i in every if i not in layers and _has_part(model.layer(i).mixer, part))
        if (one := next(other, None)) is not None:
            text = f"{part} is left out of some layers, and is converted in layer {one}"
            raise _quantization_error(node, f"{text}: fp8 is for all layers, or for none")


def _has_part(mixer: Mixer, part: str) -> bool:
    if part == "indexer-weight-projection":
        index = mixer.indexer if isinstance(mixer, LatentAttention) else None
        return index is not None and not index.shared
    return isinstance(mixer, DeltaAttention) and mixer.low_rank is None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] * (value is not None)


def _quantization_error(node: YamlNode, message: str, known: str = "") -> SpecError:
    hint = f"{known}--set workload.config.{FIELD}=null runs weights as wide as the machine's words"
    return SpecError(Problem(f"{FIELD}: {message}", node.span, hint))


def without_quantization(root: YamlNode) -> YamlNode:
    """Return the configuration without that field, for the readers of other fields."""
    if not isinstance(root, YamlMapping):
        return root
    entries = tuple((key, node) for key, node in root.entries if key.text != FIELD)
    return YamlMapping(span=root.span, entries=entries)
