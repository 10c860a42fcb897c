"""Reader of a Hugging Face ``config.json``: its ``model_type`` selects the family's reader.

``quantization_config`` gives the number formats of weights. ``fp8`` follows DeepSeek-V3 and Qwen3
(``FineGrainedFP8Config``). It covers all linear layers except the output head, routers, and small
projections that a file excludes in all layers. ``mxfp4`` follows gpt-oss (``Mxfp4Config``) and
covers experts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import DeltaAttention, Experts, LatentAttention, Mixer, ModelConfig, WeightFormats
from .fields import CLASSES, Reader, class_of, omitted_parts

TYPE = "model_type"


_MODULES = ("decoders", "encoders", "hybrids", "recurrent")
"""Names of the modules with readers of families."""


@cache
def readers() -> Mapping[str, Reader]:
    """Return the readers of all families by ``model_type``.

    Their modules are imported on the first call.
    """
    found: dict[str, Reader] = {}
    for name in _MODULES:
        found |= import_module(f".{name}", __package__).FAMILIES
    return MappingProxyType(dict(sorted(found.items())))


_REFUSED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "falcon_h1": (
            "Falcon-H1 adds up softmax and Mamba-2 side by side in each layer, and a layer here has"
            " one of them",
            "where they take turns they are read: 'bamba', 'granitemoehybrid', 'nemotron_h'",
        ),
        "rwkv": (
            "RWKV-4 carries running sums of one channel each, of which there is no cascade here,"
            " and lets a receptance gate what its channels mix",
            "RWKV-7 is read (model_type 'rwkv7'), as in workload 'rwkv-7-2.9b'",
        ),
        "rwkv5": (
            "RWKV-5 lets a receptance gate what its channels mix, and there is no cascade of its"
            " time mixing here",
            "RWKV-7 is read (model_type 'rwkv7'), as in workload 'rwkv-7-2.9b'",
        ),
        "rwkv6": (
            "RWKV-6 lets a receptance gate what its channels mix, and there is no cascade here of"
            " a token from its state",
            "its time mixing by itself is workload 'rwkv-6'; RWKV-7 is read (model_type 'rwkv7')",
        ),
    }
)
"""Families that are refused, each with the reason and an alternative."""

_CLASS = re.compile(r"For[A-Z]\w*|(LMHead|Double\w*)?Model")
_HEADLESS = re.compile(
    r"\w*(?<!LMHead)(?<!DoubleHeads)Model"
    r"|\w*For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)"
)
"""Pattern of class names without an output head over the vocabulary.

Such classes are the stack of layers alone, or have a head with few classes.
"""


def is_config(node: YamlNode) -> bool:
    """Return whether a file is a Hugging Face configuration, judged by its keys.

    Parameters
    ----------
    node : YamlNode
        Root of a file, JSON or YAML. No workload file has either key.
    """
    return isinstance(node, YamlMapping) and (TYPE in node.keys or CLASSES in node.keys)


def read_config(root: YamlNode) -> ModelConfig:
    """Return the model of a configuration.

    Parameters
    ----------
    root : YamlNode
        Fields of a ``config.json``, from a file or below ``config:`` of a workload.

    Raises
    ------
    SpecError
        The family is unknown (the hint names similar ones), fields are missing or wrong (all
        are named), or fields contradict one another.
    """
    family, where = _family(root)
    if family in _REFUSED:
        why, instead = _REFUSED[family]
        raise SpecError(f"models of type '{family}' are not read: {why}", where.span, instead)
    if family not in readers():
        text = f"models of type '{shorten(family)}' are not read"
        known = f"known: {', '.join(readers())}"
        meant = next((f"did you mean '{name}'? " for name in _similar_names(family)), "")
        raise SpecError(text, where.span, f"{meant}{known}")
    source = root.child("source")
    text = source.text if isinstance(source, YamlScalar) else ""
    weights = weight_formats(root)
    model = readers()[family](without_quantization(root))
    sparse = any(isinstance(run.layer.ffn, Experts) for run in model.runs)
    if weights.experts and not weights.projections and not sparse:
        text = f"{QUANTIZATION}: {weights.experts} is for experts, and the model has none"
        raise SpecError(text, root.span_of((QUANTIZATION,)))
    check_unconverted(root, weights, model)
    named = class_of(root)
    predicts = named is None or _HEADLESS.fullmatch(named.text) is None
    omitted = omitted_parts(root)
    return replace(
        model, family=family, source=text, weights=weights, predicts=predicts, omitted=omitted
    )


def _similar_names(family: str) -> Iterator[str]:
    """Yield known families with nearly the given name.

    The names may differ in case, separators and doubled letters only: one other letter may change
    the family. ``jamba`` is no misspelt ``mamba``, and ``qwen3_moe`` has experts that ``qwen3``
    lacks.
    """
    return (name for name in readers() if _bare_letters(name) == _bare_letters(family))


def _bare_letters(name: str) -> str:
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"([a-z])\1+", r"\1", bare)


def _family(root: YamlNode) -> tuple[str, YamlNode]:
    """Return the name of the family and its position in the file.

    The name is the ``model_type``, or follows from the class in ``architectures``.
    """
    if not isinstance(root, YamlMapping):
        raise SpecError(f"expected a model's fields, got {root.kind}", root.span)
    named = root.child(TYPE)
    if isinstance(named, YamlScalar) and isinstance(named.value, str):
        return named.text, named
    if named is not None:
        raise SpecError(f"{TYPE}: expected a text, got {named.kind}", named.span)
    if (first := class_of(root)) is not None:
        bare = _CLASS.sub("", first.text).lower()
        plain = {name.replace("_", ""): name for name in readers()}
        return plain.get(bare, first.text), first
    text = f"the field '{TYPE}' is missing: it says how the others are read"
    raise SpecError(text, root.span, f"known: {', '.join(readers())}")


QUANTIZATION = "quantization_config"
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
"""Suffixes of the names of modules whose weights are never converted to fp8."""
_OTHER_MODULES = frozenset(("mtp", "visual", "vision_tower", "multi_modal_projector"))
"""Words that occur in the names of modules outside the layers that run."""
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
"""Parts of a layer whose weights keep the machine's word, by the last word of a module's name."""
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,9})\.")
_KNOWN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fp8": (
            *("quant_method", "fmt", "activation_scheme", "weight_block_size", "scale_fmt"),
            "dequantize",
        ),
        "mxfp4": ("quant_method", "dequantize"),
    }
)
_GROUPS = ": their groups have scales and zero points, which no format here counts"
_UNCONVERTED_KEYS = ("modules_to_not_convert", "ignored_layers")


def weight_formats(root: YamlNode) -> WeightFormats:
    """Return the number formats of the weights, as a configuration gives them.

    Raises
    ------
    SpecError
        The method is unknown, or excludes weights that must be converted.
    """
    node = root.child(QUANTIZATION)
    value: Any = node.plain() if node is not None else None
    if node is None or not value:
        return WeightFormats()
    method = value.get("quant_method") if isinstance(value, dict) else None
    if not isinstance(method, str) or method not in _KNOWN:
        shown = f"'{shorten(str(method))}'" if isinstance(value, dict) else shorten(str(value))
        why = _GROUPS if method in ("gptq", "awq") else ""
        raise _refusal(
            node, f"weights quantised by {shown} are not read{why}", "known: fp8, mxfp4; "
        )
    known = (*_KNOWN[method], *_UNCONVERTED_KEYS)
    if other := next((key for key, found in value.items() if key not in known and found), None):
        raise _refusal(node, f"'{shorten(str(other))}' is not read for '{method}'")
    if value.get("dequantize"):
        return WeightFormats()
    if method == "mxfp4":
        for module in _kept_modules(value):
            if "experts" in module.split("."):
                raise _refusal(node, f"'{shorten(module)}' is left out, and mxfp4 is for experts")
        return WeightFormats(experts="mxfp4")
    _check_blocks(node, value)
    kept = tuple(sorted({part for _, parts in _unconverted_modules(node, root) for part in parts}))
    fmt = _FP8.get(str(value.get("fmt") or "e4m3"))
    if fmt is None:
        raise _refusal(node, f"fmt: expected e4m3 or e5m2, got '{shorten(str(value['fmt']))}'")
    return WeightFormats(projections=fmt, feed_forward=fmt, experts=fmt, kept=kept)


def _check_blocks(node: YamlNode, value: dict[str, Any]) -> None:
    """Raise an error if fp8 has an invalid block size, or invalid scales of activations."""
    block, scheme = value.get("weight_block_size"), value.get("activation_scheme")
    sizes = block if isinstance(block, list) else []
    two_sizes = len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes)
    if block is not None and not two_sizes:
        text = f"weight_block_size: expected two whole numbers above 0, got {shorten(str(block))}"
        raise _refusal(node, text)
    if scheme not in (None, "dynamic", "static"):
        text = f"activation_scheme: expected dynamic or static, got {shorten(str(scheme))}"
        raise _refusal(node, text)


def _kept_modules(value: dict[str, Any]) -> Iterator[str]:
    """Return the names of the modules that a configuration excludes from conversion to fp8."""
    return (str(module) for key in _UNCONVERTED_KEYS for module in _listed(value.get(key)))


def _is_never_converted(module: str, blocks: int | None) -> bool:
    """Return whether a module's weights are never converted, or the module is in no layer that
    runs."""
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
    """Yield excluded modules that fp8 could convert, with the names of their parts of a layer."""
    value: Any = node.plain()
    blocks = _blocks(root)
    for module in _kept_modules(value):
        if _is_never_converted(module, blocks):
            continue
        if (parts := _PARTS_BY_MODULE.get(module.rpartition(".")[2])) is None:
            raise _refusal(node, f"'{shorten(module)}' is left out, and fp8 is for all layers")
        yield module, parts


def check_unconverted(root: YamlNode, found: WeightFormats, model: ModelConfig) -> None:
    """Raise an error if a part is excluded from conversion in some of its layers but not in others.

    An excluded part that occurs in no layer is also an error.
    """
    node = root.child(QUANTIZATION)
    if node is None or not found.kept:
        return
    every = range(model.layer_count)
    named: dict[str, set[int]] = {part: set() for part in found.kept}
    for module, parts in _unconverted_modules(node, root):
        number = _LAYER.search(module)
        if not any(_has_part(model.layer(i).mixer, parts[0]) for i in every):
            raise _refusal(node, f"'{shorten(module)}' is left out, and no layer has it")
        for part in parts:
            named[part].update([int(number[1])] if number else every)
    for part, layers in named.items():
        other = (i for i in every if i not in layers and _has_part(model.layer(i).mixer, part))
        if (one := next(other, None)) is not None:
            text = f"{part} is left out of some layers, and is converted in layer {one}"
            raise _refusal(node, f"{text}: fp8 is for all layers, or for none")


def _has_part(mixer: Mixer, part: str) -> bool:
    if part == "indexer-weight-projection":
        index = mixer.indexer if isinstance(mixer, LatentAttention) else None
        return index is not None and not index.shared
    return isinstance(mixer, DeltaAttention) and mixer.low_rank is None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] * (value is not None)


def _refusal(node: YamlNode, message: str, known: str = "") -> SpecError:
    off = f"--set workload.config.{QUANTIZATION}=null"
    hint = f"{known}{off} runs weights as wide as the machine's words"
    return SpecError(f"{QUANTIZATION}: {message}", node.span, hint)


def without_quantization(root: YamlNode) -> YamlNode:
    """Return the configuration without ``quantization_config``, which family readers do not
    read."""
    if not isinstance(root, YamlMapping):
        return root
    entries = tuple((key, node) for key, node in root.entries if key.text != QUANTIZATION)
    return YamlMapping(span=root.span, entries=entries)
