"""Reader of a Hugging Face ``config.json``: its ``model_type`` selects the family's reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from types import MappingProxyType

from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import ModelConfig
from ..policy import MIN_SHARED_FIELDS
from .fields import CLASSES, ConfigFields, Reader, class_of, omitted_parts, trained_length
from .quantization import quantized

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
        The family is unknown (the hint names one with such fields), fields are missing or wrong
        (all are named), or fields contradict one another.
    """
    family, where = _family(root)
    if family in _REFUSED:
        why, instead = _REFUSED[family]
        raise SpecError(f"models of type '{family}' are not read: {why}", where.span, instead)
    reader, inner = readers().get(family), root.child("text_config")
    if reader is None and inner is not None and (own := readers().get(_family(inner)[0])):
        multimodal = import_module(".encoders", __package__).Multimodal
        reader = multimodal(text=own, texts=("*",), ignored=("*",))
    if reader is None:
        text = f"models of type '{shorten(family)}' are not read"
        raise SpecError(text, where.span, f"{_alike(root)}known: {', '.join(readers())}")
    source = root.child("source")
    text = source.text if isinstance(source, YamlScalar) else ""
    model = reader(root)
    named = class_of(root)
    predicts = named is None or _HEADLESS.fullmatch(named.text) is None
    found = replace(model, family=family, source=text, predicts=predicts)
    found = replace(
        found, omitted=omitted_parts(root, family in readers()), trained_len=trained_length(root)
    )
    return quantized(root, found)


def _alike(root: YamlNode) -> str:
    """Return a hint with the family that shares most fields with a configuration, or no text."""
    found = []
    for name, row in readers().items():
        fields = (*getattr(row, "standard", ()), *getattr(row, "fields", ()))
        own = {row.own_name(root, field) for field in fields if hasattr(row, "own_name")}
        own -= {*ConfigFields.model_fields}
        shared = sum(root.child(field) is not None for field in own)
        found.append((-shared, len(own), len(name), name))
    shared, *_, name = min(found)
    text = f"fields are those of {name}: --set config.{TYPE}={name}; "
    return text if -shared >= MIN_SHARED_FIELDS else ""


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
