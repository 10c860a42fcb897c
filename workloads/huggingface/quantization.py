"""Reader of ``quantization_config``: number formats of weights, of inputs of products, of caches.

Fields are those of Hugging Face Transformers (``FineGrainedFP8Config``, ``Mxfp4Config``,
``AwqConfig``, ``GPTQConfig``), of NVIDIA Model Optimizer (``hf_quant_config.json``), and of
compressed-tensors (``QuantizationConfig``). A rule maps a pattern of module names to formats; the
first rule that matches a module counts. Embeddings, output heads, routers, norms and convolutions
keep the machine's word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, NamedTuple

from einsum_cascade.errors import SpecError
from einsum_cascade.number_formats import FORMATS
from einsum_cascade.source import Source
from einsum_cascade.yaml.source import YamlNode, read_yaml, shorten

from ..models import Layer, ModelConfig, repeated
from ..weight_formats import PartFormats, WeightFormats

QUANTIZATION = "quantization_config"
_WORDS = ("", "")
_BY_BITS = ("awq", "gptq")
_KEPT_KEYS = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules")
_NEVER_CONVERTED = re.compile(
    r"lm_head|embed|norm|router|gate\W*$|bias|conv1d|A_log|dt_bias|visual|vision|mm_projector"
    r"|multi_modal_projector|\bmtp\b|eh_proj"
)
"""Pattern of modules that keep the machine's word in any case, or do not run."""
_EXPERT = re.compile(r"\bexperts\.\d+")
_LAYER = re.compile(r"\blayers\.(\d{1,9})\.")


@cache
def _names() -> Mapping[str, Any]:
    """Return the tables of ``specs/checkpoints.yaml``."""
    text = files("specs").joinpath("checkpoints.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = read_yaml(Source("specs/checkpoints.yaml", text)).plain()
    return MappingProxyType(found)


class ModuleRule(NamedTuple):
    """Formats of the modules that match a pattern."""

    entry: str
    """Entry of the file; empty for a rule about all modules."""
    formats: PartFormats
    pattern: re.Pattern[str]
    layer: int | None
    """Index of the layer that the entry names, or None."""


def quantized(root: YamlNode, model: ModelConfig) -> ModelConfig:
    """Return a model with the number formats that its configuration gives.

    Raises
    ------
    SpecError
        The method or a format is unknown, or an entry is no pattern.
    """
    # A text configuration inside another one may have the field itself.
    inner = root.child("text_config")
    node = next((n for r in (root, inner) if r and (n := r.child(QUANTIZATION))), None)
    given: Any = node.plain() if node is not None else None
    if node is None or not given or (isinstance(given, dict) and given.get("dequantize")):
        return model
    if not isinstance(given, dict):
        raise _refusal(node, f"expected fields, got {shorten(str(given))}")
    fields = given | _mapping(given.get("quantization"))
    rules = [_rule(node, *pair) for pair in dict.fromkeys(_pairs(node, fields))]
    matched: set[str] = set()
    layers = chain.from_iterable(repeat(run.layer, run.count) for run in model.runs)
    runs = repeated(
        replace(layer, weights=_layer_formats(index, layer, rules, matched))
        for index, layer in enumerate(layers)
    )
    cache, scheme = fields.get("kv_cache_quant_algo"), _mapping(fields.get("kv_cache_scheme"))
    cache_format = _algorithm(node, cache)[0] if cache else _format(node, scheme)
    # Layers that predict further tokens have the numbers behind the last layer.
    named = {rule.entry for rule in rules if (rule.layer or 0) < model.layer_count} - matched
    other = sorted(entry for entry in named if not _NEVER_CONVERTED.search(entry))
    text = f"{QUANTIZATION} names modules that are no part here: {', '.join(other[:3])}"
    omitted = (*model.omitted, *([text + ", ..." * (len(other) > 3)] if other else []))
    return replace(model, runs=runs, cache_format=cache_format, omitted=omitted)


def _layer_formats(
    index: int, layer: Layer, rules: Sequence[ModuleRule], matched: set[str]
) -> WeightFormats:
    """Return the formats of a layer's parts, and add the entries that match one to ``matched``."""
    own = [rule for rule in rules if rule.layer in (None, index)]
    table, parts = _names(), {}
    mixers = table["mixers"].get(layer.mixer.kind, table["mixers"]["default"])
    for part, words in table["modules"].items():
        owners = table["networks"] if part.endswith(("-up", "-down")) else mixers
        names = [f"model.layers.{index}.{o}.{word}" for o in owners for word in words.split()]
        found = [rule for rule in own if any(rule.pattern.search(name) for name in names)]
        matched.update(rule.entry for rule in found)
        parts[part] = found[0].formats if found else _WORDS
    usual = next((rule.formats for rule in own if not rule.entry), _WORDS)
    others = tuple((part, formats) for part, formats in parts.items() if formats != usual)
    return WeightFormats(usual=usual, others=others)


def _pairs(node: YamlNode, fields: Mapping[str, Any]) -> Iterator[tuple[str, PartFormats]]:
    """Yield pairs of an entry and the formats of its modules, excluded modules first.

    An empty entry is about all modules.
    """
    method, algorithm = fields.get("quant_method"), fields.get("quant_algo")
    for listed in (fields.get(key) or () for key in _KEPT_KEYS):
        names = listed if isinstance(listed, list | tuple) else [listed]
        yield from ((str(name), _WORDS) for name in names)
    groups = [_mapping(group) for group in _mapping(fields.get("config_groups")).values()]
    if layers := _mapping(fields.get("quantized_layers")):
        # Files may list every expert.
        for name, own in layers.items():
            entry = _EXPERT.sub("experts.0", str(name))
            yield entry, _algorithm(node, _mapping(own).get("quant_algo"))
    elif groups and algorithm is None:
        for group in groups:
            weights, inputs = (_mapping(group.get(k)) for k in ("weights", "input_activations"))
            for target in map(str, group.get("targets") or ["Linear"]):
                # The names of classes, such as Linear, begin with a capital letter.
                entry = "" if target[:1].isupper() else target
                yield entry, (_format(node, weights), _format(node, inputs))
    elif algorithm is None and method in _BY_BITS:
        scheme = {"num_bits": fields.get("bits"), "group_size": fields.get("group_size")}
        yield "", (_format(node, scheme), "")
    else:
        method = "fp8_e5m2" if method == "fp8" and "e5m2" in str(fields.get("fmt")) else method
        yield from [("self_attn", _WORDS)] * (method == "mxfp4")
        yield "", _algorithm(node, algorithm or method)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _algorithm(node: YamlNode, name: Any) -> PartFormats:
    algorithms: Mapping[Any, Sequence[str]] = _names()["algorithms"]
    if not isinstance(name, str) or name not in algorithms:
        known = ", ".join((*_BY_BITS, "compressed-tensors", *algorithms))
        text = f"weights quantised by '{shorten(str(name))}' are not read"
        raise _refusal(node, text, f"known: {known}; ")
    weights, inputs = algorithms[name]
    return weights, inputs


def _format(node: YamlNode, scheme: Mapping[str, Any]) -> str:
    """Return the number format of a scheme of compressed-tensors; empty for no scheme."""
    if not scheme:
        return ""
    bits, group = scheme.get("num_bits"), scheme.get("group_size") or -1
    name = f"int{bits}" if group == -1 else f"int{bits}_g{group}"
    if scheme.get("type") == "float":
        known: Mapping[str, str] = _names()["floats"]
        name = known.get(f"{bits}/{group}", known.get(f"{bits}/-1", ""))
    if name not in FORMATS:
        raise _refusal(node, f"values of {bits} bits in groups of {group} are not read")
    return name


def _rule(node: YamlNode, entry: str, formats: PartFormats) -> ModuleRule:
    """Return the rule of an entry: ``re:`` and a regular expression, or words with ``*``."""
    body = entry[3:]
    if not entry.startswith("re:"):
        # Prefixes such as "model.language_model" differ between files and versions.
        words = re.sub(r"^.*?(?=\blayers\.)", "", entry)
        body = re.escape(words).replace(r"\*", ".*") if words else ".*"
    number = _LAYER.search(entry)
    try:
        pattern = re.compile(rf"(?:^|\.)(?:{body})(?:\.|$)")
    except re.error as wrong:
        raise _refusal(node, f"'{shorten(entry)}' is no pattern: {wrong}") from None
    return ModuleRule(entry, formats, pattern, int(number[1]) if number else None)


def _refusal(node: YamlNode, message: str, known: str = "") -> SpecError:
    off = f"--set workload.config.{QUANTIZATION}=null"
    hint = f"{known}{off} runs weights as wide as the machine's words"
    return SpecError(f"{QUANTIZATION}: {message}", node.span, hint)
