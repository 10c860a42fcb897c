"""Loading of built-in specifications and files, with a cache for similar machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from os import PathLike
from typing import Final, Literal

from pydantic_core import PydanticCustomError

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.memo import IdentityCache
from einsum_cascade.yaml.edit import NAME_KEYS, Setting, apply_settings
from einsum_cascade.yaml.library import is_file_name, resolve_reference, spec_tree
from einsum_cascade.yaml.source import YamlNode, YamlScalar

from ..arch import Architecture
from ..mapping import Mapping
from ..overrides import Overrides, Overriding
from ..technology import Technology
from . import units
from .architecture import (
    ARRAYS,
    KEY,
    ArraysRead,
    arrays_node,
    build_architecture,
    check_architecture,
)
from .architecture import KEY as ARCHITECTURE
from .mapping import build_mapping
from .technology import build_technology

_MAX_ARRAYS = 32
"""Arrays that are remembered: a grid has some sizes of them, in any order."""


class ArrayCache(IdentityCache[ArraysRead]):
    """Those that were read lately, by their node in the file with settings made."""

    def __init__(self) -> None:
        super().__init__(_MAX_ARRAYS)
        self._made: list[tuple[YamlNode, tuple[Setting, ...], YamlNode]] = []

    def tree(self, file: YamlNode, settings: tuple[Setting, ...]) -> YamlNode:
        """The tree of a file with settings made, in which arrays that were set alike before are
        the same node.

        Parameters
        ----------
        file : YamlNode
            As it is written.
        settings : tuple of Setting
            From its root.

        Raises
        ------
        SpecError
            As ``apply_settings``.
        """
        mine = tuple(s for s in settings if [step.text for step in s.path[:2]] == [KEY, ARRAYS])
        if not mine or any(len(s.path) < 2 for s in settings):
            return apply_settings(file, settings)
        # What is set of arrays changes nothing else, and nothing else changes them.
        rest = [s for s in settings if s not in mine]
        for known, made, root in self._made:
            if known is file and made == mine:
                return apply_settings(root, rest)
        root = apply_settings(file, mine)
        self._made = [(file, mine, root), *self._made[: _MAX_ARRAYS - 1]]
        return apply_settings(root, rest)


_NODE = "node"
_TEXTS = ("title", "source")


def refuse_unread(settings: Iterable[Setting]) -> None:
    """Refuse to set what nothing reads of a technology: texts, and its node, as its numbers are
    of the node they were found at.

    Raises
    ------
    SpecError
        A setting does.
    """
    wrong = [
        Problem(
            "the node says what the numbers of a technology are of; nothing scales them to another",
            setting.span,
            "take a technology of that node (architecture.technology=NAME or FILE)",
        )
        for setting in settings
        if setting.path[0].text == _NODE
    ]
    wrong += [
        Problem(f"'{setting.path[-1].text}' is a text: nothing reads it", setting.span)
        for setting in settings
        if setting.path[-1].text in _TEXTS
    ]
    if wrong:
        raise SpecError(wrong)


def refuse_unbilled(machines: Iterable[Architecture], settings: Iterable[Setting]) -> None:
    """Refuse to set what no machine bills: an action, or a class of memory.

    Parameters
    ----------
    machines : iterable of Architecture
        Those that the settings are for.
    settings : iterable of Setting
        Of their technologies.

    Raises
    ------
    SpecError
        The result would not depend on a setting.
    """
    billed: dict[str, dict[str, None]] = {"actions": {}, "memories": {}}
    names = []
    for machine in machines:
        names.append(machine.name)
        billed["memories"] |= dict.fromkeys(m.energy for m in machine.memories)
        for array in machine.arrays:
            billed["memories"][array.registers.energy] = None
            actions = (action for o in array.operations for action, _ in o.bill)
            billed["actions"] |= dict.fromkeys((*array.units, *actions))
    wrong = [
        Problem(
            f"{' and '.join(names)} bill{'s' * (len(names) == 1)} no '{name.text}', so that this"
            " changes nothing",
            name.span,
            f"billed: {', '.join(billed[kind.text])}",
        )
        for setting in settings
        if len(setting.path) > 1
        for kind, name in [setting.path[:2]]
        if kind.text in billed and name.text not in billed[kind.text]
    ]
    if wrong:
        raise SpecError(wrong)


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
    names: Iterable[Name], overrides: Overriding = (), recent: ArrayCache | None = None
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
    recent = recent or ArrayCache()
    machines = [_architecture(name, given, recent) for name in names]
    refuse_unbilled(machines, given.technology)
    return machines


def _architecture(name: Name, given: Overrides, recent: ArrayCache) -> Architecture:
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


_MAX_MACHINES: Final = 8
_CAPACITY: Final = "capacity"
_FIELDS: Final = (_CAPACITY, "bandwidth")


@dataclass(frozen=True, slots=True)
class _Size:
    """A capacity or a bandwidth that is set, as it is written."""

    memory: str
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class _Settings:
    """Those of a machine: sizes of its memories, and all others."""

    sizes: tuple[_Size, ...]
    others: Overrides

    def alike(self, other: _Settings) -> bool:
        """Whether two differ in the numbers of the same sizes alone."""
        return self.others == other.others and [(s.memory, s.field) for s in self.sizes] == [
            (s.memory, s.field) for s in other.sizes
        ]


class MachineCache:
    """Reads machines one after the other, those that are alike in less time.

    A machine that differs from one read before in capacities and bandwidths alone is that one
    with other numbers: nothing else of a file depends on them. What is not plainly a size or a
    speed is left to the file's own checks, which say what is wrong with it.
    """

    def __init__(self) -> None:
        self._arrays = ArrayCache()
        self._read: list[tuple[str, _Settings, Architecture]] = []

    def machine(self, name: str, given: Overrides) -> Architecture:
        """A machine with settings made.

        Parameters
        ----------
        name : str
            A built-in name, or a file's.
        given : Overrides
            Those of it and of its technology.

        Raises
        ------
        SpecError
            As ``Architecture.load``.
        """
        settings = _split_settings(given)
        if settings is None:
            return self._afresh(name, given)
        for read, known, machine in self._read:
            if read == name and known.alike(settings):
                return _sized(machine, settings.sizes) or self._afresh(name, given)
        machine = self._afresh(name, given)
        self._read = [(name, settings, machine), *self._read[: _MAX_MACHINES - 1]]
        return machine

    def _afresh(self, name: str, given: Overrides) -> Architecture:
        return load_architectures([name], given, self._arrays)[0]


def _split_settings(given: Overrides) -> _Settings | None:
    """Sizes of memories and other settings; None where there are none, or others may decide
    whose they are."""
    sizes: list[_Size] = []
    others: list[Setting] = []
    for setting in given.architecture:
        match [step.text for step in setting.path]:
            case ["memories", memory, field] if field in _FIELDS:
                value = setting.value
                if not isinstance(value, YamlScalar) or not isinstance(value.value, str):
                    return None
                sizes.append(_Size(memory, field, value.value))
            case ["memories", _, field, *_] if field not in NAME_KEYS:
                others.append(setting)
            case ["memories", *_]:
                return None
            case _:
                others.append(setting)
    if len({(s.memory, s.field) for s in sizes}) < max(1, len(sizes)):
        return None
    return _Settings(tuple(sizes), replace(given, architecture=tuple(others)))


def _sized(machine: Architecture, sizes: tuple[_Size, ...]) -> Architecture | None:
    """The machine with other sizes; None where they are wrong, or of no memory of that name."""
    memories = {m.name: m for m in machine.memories}
    for size in sizes:
        memory, number = memories.get(size.memory), _number(size.field, size.text)
        if memory is None or number is None:
            return None
        if size.field == _CAPACITY:
            if number.denominator != 1 or 8 * number < memory.line_bits:
                return None
            memories[memory.name] = replace(memory, capacity_bytes=int(number))
        else:
            memories[memory.name] = replace(memory, bandwidth_bytes_per_s=number)
    return machine.resized(tuple(memories.values()))


@lru_cache(maxsize=4096)
def _number(field: str, text: str) -> Fraction | None:
    """Bytes, or bytes a second; None where that is wrong."""
    try:
        return units.parse_quantity(text, units.CAPACITY if field == _CAPACITY else units.BANDWIDTH)
    except PydanticCustomError:
        return None
