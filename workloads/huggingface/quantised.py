"""``quantization_config``: in which formats a checkpoint keeps its weights.

``fp8`` as DeepSeek-V3 and Qwen3 have it (transformers, ``FineGrainedFP8Config``): all linear
layers but the output head and routers. ``mxfp4`` as gpt-oss has it (``Mxfp4Config``): experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, shorten

from ..models import WeightFormats

FIELD = "quantization_config"
_FP8 = MappingProxyType(
    {
        **dict.fromkeys(("e4m3", "float8_e4m3fn"), "fp8_e4m3"),
        **dict.fromkeys(("e5m2", "float8_e5m2"), "fp8_e5m2"),
    }
)
_KEPT = (
    *("lm_head", "gate", "router", "embed_tokens", "norm", "layernorm"),
    *("e_score_correction_bias", "vision_tower", "multi_modal_projector"),
)
"""Last words of modules that are not converted, which are never converted here."""
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
_LEFT_OUT = ("modules_to_not_convert", "ignored_layers")


def weight_formats(root: YamlNode) -> WeightFormats:
    """The formats that a configuration states for its weights.

    Raises
    ------
    SpecError
        They are quantised in a way that is not read, or not all of them are.
    """
    node = root.child(FIELD)
    value: Any = node.plain() if node is not None else None
    if node is None or not value:
        return WeightFormats()
    method = value.get("quant_method") if isinstance(value, dict) else None
    if not isinstance(method, str) or method not in _KNOWN:
        said = f"'{shorten(str(method))}'" if isinstance(value, dict) else shorten(str(value))
        why = _GROUPS if method in ("gptq", "awq") else ""
        raise _refused(
            node, f"weights quantised by {said} are not read{why}", "known: fp8, mxfp4; "
        )
    known = (*_KNOWN[method], *_LEFT_OUT)
    if other := next((key for key, found in value.items() if key not in known and found), None):
        raise _refused(node, f"'{shorten(str(other))}' is not read for '{method}'")
    if value.get("dequantize"):
        return WeightFormats()
    if method == "mxfp4":
        return WeightFormats(experts="mxfp4")
    for module in (m for key in _LEFT_OUT for m in _listed(value.get(key))):
        if not str(module).endswith(_KEPT):
            raise _refused(node, f"'{shorten(str(module))}' is left out, and fp8 is for all layers")
    fmt = _FP8.get(str(value.get("fmt") or "e4m3"))
    if fmt is None:
        raise _refused(node, f"fmt: expected e4m3 or e5m2, got '{shorten(str(value['fmt']))}'")
    return WeightFormats(projections=fmt, feed_forward=fmt, experts=fmt)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] * (value is not None)


def _refused(node: YamlNode, message: str, known: str = "") -> SpecError:
    hint = f"{known}--set workload.config.{FIELD}=null runs weights as wide as the machine's words"
    return SpecError(Problem(f"{FIELD}: {message}", node.span, hint))


def without_quantisation(root: YamlNode) -> YamlNode:
    """The configuration without that field, for those who read the others."""
    if not isinstance(root, YamlMapping):
        return root
    entries = tuple((key, node) for key, node in root.entries if key.text != FIELD)
    return YamlMapping(span=root.span, entries=entries)
