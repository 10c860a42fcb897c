"""Loading built-in specifications and files into the frozen types of ``archsim``."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike
from typing import Literal

from einsum_cascade.yaml.library import is_file_name
from einsum_cascade.yaml.spec_files import referred, spec_tree

from . import architectures, mappings, technologies
from .arch import Architecture
from .mapping import Mapping
from .overrides import Overrides, Overriding
from .technology import Technology

Name = str | PathLike[str]


def load_technology(name: Name, overrides: Overriding = ()) -> Technology:
    """See ``Technology.load``."""
    given = _only("technology", overrides)
    if isinstance(name, str) and not is_file_name(name) and not given.technology:
        return _built_in_technology(name)
    return technologies.build_technology(spec_tree("technology", name, given.rooted("technology")))


@lru_cache(maxsize=8)
def _built_in_technology(name: str) -> Technology:
    return technologies.build_technology(spec_tree("technology", name))


def load_architecture(name: Name, overrides: Overriding = ()) -> Architecture:
    """See ``Architecture.load``."""
    given = _only("architecture", overrides)
    root = spec_tree("architectures", name, given.rooted("architecture"))
    spec = architectures.check_architecture(root)
    span = root.span_of((architectures.KEY, "technology"))
    technology = load_technology(referred("technology", spec.technology, span), given)
    return architectures.build_architecture(spec, root, technology)


def load_mapping(name: Name, overrides: Overriding = ()) -> Mapping:
    """See ``Mapping.load``."""
    given = _only("mapping", overrides)
    return mappings.build_mapping(spec_tree("mappings", name, given.rooted("mapping")))


def _only(part: Literal["technology", "architecture", "mapping"], given: Overriding) -> Overrides:
    """Texts given to one loader are fields of what it loads, with or without its name."""
    if isinstance(given, Overrides):
        return given
    return Overrides.of_part(part, given)
