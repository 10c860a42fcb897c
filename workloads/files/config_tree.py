"""Where a workload's model is written: beside its fields, in a file, and what changes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.edit import SettingSpan
from einsum_cascade.yaml.library import file_exists, read_source
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, read_yaml

from ..huggingface.read import is_config

CONFIG = "config"


def config_tree(fields: YamlNode | None) -> YamlNode | None:
    """What ``config:`` says among the fields of a workload: a mapping, or a file's root.

    Raises
    ------
    SpecError
        It is neither, or the file is not there or is no model's configuration.
    """
    node = fields.child(CONFIG) if fields is not None else None
    if node is None or isinstance(node, YamlMapping):
        return node
    if not (isinstance(node, YamlScalar) and isinstance(node.value, str)):
        text = f"{CONFIG}: expected the fields of a model or a file, got {node.kind}"
        raise SpecError(Problem(text, node.span))
    inside = isinstance(node.span, SettingSpan)
    path = (Path() if inside else Path(node.span.source.name).parent) / node.text
    if not file_exists(path):
        raise SpecError(Problem(f"there is no file '{path}'", node.span))
    root = read_yaml(read_source(path))
    if not is_config(root):
        text = f"'{path}' is no model's configuration: it has no 'model_type'"
        raise SpecError(Problem(text, node.span))
    return root


def config_over(base: YamlNode | None, over: YamlNode) -> YamlNode:
    """A model with fields changed; ``over`` itself where it is a model of its own.

    Parameters
    ----------
    base : YamlNode or None
        The configuration of the workloads below, if one has any.
    over : YamlNode
        Some fields, or a whole configuration (it has a ``model_type``).
    """
    if base is None or is_config(over):
        return over
    return _merged(base, over)


def _merged(base: YamlNode, over: YamlNode) -> YamlNode:
    """Fields of ``over`` win, mapping by mapping (the reader bounds their depth)."""
    if not (isinstance(base, YamlMapping) and isinstance(over, YamlMapping)):
        return over
    kept = tuple(
        (key, value if (new := over.child(key.text)) is None else _merged(value, new))
        for key, value in base.entries
    )
    added = tuple((key, value) for key, value in over.entries if base.child(key.text) is None)
    return dataclasses.replace(base, entries=(*kept, *added))
