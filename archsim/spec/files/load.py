"""Loading built-in specifications and files into the frozen types of ``archsim``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from os import PathLike
from typing import Literal

from einsum_cascade.yaml.library import is_file_name, resolve_reference, spec_tree

from ..arch import Architecture
from ..mapping import Mapping
from ..technology import Technology
from .architecture import KEY as ARCHITECTURE
from .architecture import (
    ArraysRead,
    arrays_node,
    build_architecture,
    check_architecture,
)
from .mapping import build_mapping
from .overrides import Overrides, Overriding
from .recent_arrays import RecentArrays
from .technology import build_technology
from .unbilled import refuse_unbilled, refuse_unread

Name = str | PathLike[str]


def load_technology(name: Name, overrides: Overriding = ()) -> Technology:
    """See ``Technology.load``."""
    given = _only("technology", overrides)
    refuse_unread(given.technology)
    if _is_built_in(name) and not given.technology:
        return _built_in_technology(str(name))
    return build_technology(spec_tree("technology", name, given.rooted("technology")))


def load_architecture(name: Name, overrides: Overriding = ()) -> Architecture:
    """See ``Architecture.load``."""
    return load_architectures([name], overrides)[0]


def load_architectures(
    names: Iterable[Name], overrides: Overriding = (), recent: RecentArrays | None = None
) -> list[Architecture]:
    """Machines with the same settings, each of which is for one of them at least.

    Parameters
    ----------
    names, overrides
        As of ``Architecture.load``.
    recent : RecentArrays, optional
        Where to look for arrays that the last machines had, too.

    Raises
    ------
    SpecError
        As ``Architecture.load``; or a setting is of what none of the machines bills.
    """
    given = _only("architecture", overrides)
    recent = recent or RecentArrays()
    machines = [_architecture(name, given, recent) for name in names]
    refuse_unbilled(machines, given.technology)
    return machines


def _architecture(name: Name, given: Overrides, recent: RecentArrays) -> Architecture:
    root = recent.tree(spec_tree("architectures", name), given.rooted("architecture"))
    known = recent.find(arrays_node(root))
    spec = check_architecture(root, known)
    span = root.span_of((ARCHITECTURE, "technology"))
    technology = load_technology(resolve_reference("technology", spec.technology, span), given)
    machine = build_architecture(spec, root, technology, known)
    if known is None:
        read = ArraysRead(
            checked=spec.arrays,
            technology=technology,
            word_bits=machine.word_bits,
            built=machine.arrays,
        )
        recent.keep(read, arrays_node(root))
    return machine


def load_mapping(name: Name, overrides: Overriding = ()) -> Mapping:
    """See ``Mapping.load``."""
    given = _only("mapping", overrides)
    if _is_built_in(name) and not given.mapping:
        return _built_in_mapping(str(name))
    return build_mapping(spec_tree("mappings", name, given.rooted("mapping")))


# What is packaged does not change while a process runs, and what is read from it is frozen.


@lru_cache(maxsize=8)
def _built_in_technology(name: str) -> Technology:
    return build_technology(spec_tree("technology", name))


@lru_cache(maxsize=64)
def _built_in_mapping(name: str) -> Mapping:
    return build_mapping(spec_tree("mappings", name))


def _is_built_in(name: Name) -> bool:
    return isinstance(name, str) and not is_file_name(name)


def _only(part: Literal["technology", "architecture", "mapping"], given: Overriding) -> Overrides:
    """Texts given to one loader are fields of what it loads, with or without its name."""
    if isinstance(given, Overrides):
        return given
    return Overrides.of_part(part, given)
