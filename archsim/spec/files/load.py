"""Loading of built-in specifications and files, with a cache for similar machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Named
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from os import PathLike
from typing import Final, TypeVar

from pydantic_core import PydanticCustomError

from einsum_cascade.errors import Problem, SpecError, raise_all
from einsum_cascade.memo import Cache
from einsum_cascade.yaml.edit import NAME_KEYS, Setting, apply_settings
from einsum_cascade.yaml.library import EXTENDS, Kind, is_file_name, resolve_reference, spec_tree
from einsum_cascade.yaml.schema import section, validate
from einsum_cascade.yaml.source import YamlNode, YamlScalar

from ..arch import Architecture
from ..mapping import Mapping
from ..overrides import Overrides, Overriding
from ..technology import Technology
from . import technology
from .architecture import KEY, TEXTS, build_architecture, check_architecture, with_operation_sets
from .fields import BANDWIDTH, CAPACITY, parse_quantity
from .mapping import build_mapping
from .numbers import StatedNumber, stated_numbers
from .technology import build_technology

_MAX_MACHINES: Final = 128
"""Maximum number of cached machines, whose sizes are set anew: a grid varies few other fields."""

_NODE = "node"


def refuse_unread(settings: Iterable[Setting]) -> None:
    """Refuse settings that change no number: texts, and the process node, by which nothing is
    scaled.

    Raises
    ------
    SpecError
        Names every such setting.
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
        if setting.path[-1].text in TEXTS
    ]
    raise_all(wrong, SpecError)


def refuse_unbilled(machines: Iterable[Architecture], settings: Iterable[Setting]) -> None:
    """Refuse settings of actions and memory classes that no machine bills.

    Parameters
    ----------
    machines : iterable of Architecture
        Machines that the settings are for.
    settings : iterable of Setting
        Settings of their technologies.

    Raises
    ------
    SpecError
        Names every setting without an effect.
    """
    known = tuple(machines)
    names, billed = [machine.name for machine in known], _billed(known)
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
    raise_all(wrong, SpecError)


def _billed(machines: Iterable[Architecture]) -> dict[str, dict[str, None]]:
    """Return the names of the actions and of the memory classes that machines bill."""
    billed: dict[str, dict[str, None]] = {"actions": {}, "memories": {}}
    for machine in machines:
        billed["memories"] |= dict.fromkeys(m.energy for m in machine.memories)
        for array in machine.arrays:
            billed["memories"][array.registers.energy] = None
            actions = (action for o in array.operations for action, _ in o.bill)
            billed["actions"] |= dict.fromkeys((*array.units, *actions))
    return billed


Name = str | PathLike[str]
S = TypeVar("S")


def load_technology(name: Name, overrides: Overriding = ()) -> Technology:
    """Load a technology (see ``Technology.load``)."""
    given = Overrides.of_part("technology", overrides)
    refuse_unread(given.technology)
    return _built(build_technology, "technology", name, given.rooted("technology"))


def load_architecture(name: Name, overrides: Overriding = ()) -> Architecture:
    """Load a machine (see ``Architecture.load``)."""
    return load_architectures([name], overrides)[0]


def load_architectures(names: Iterable[Name], overrides: Overriding = ()) -> list[Architecture]:
    """Load several machines, all with the given settings.

    Parameters
    ----------
    names, overrides
        See ``Architecture.load``.

    Raises
    ------
    SpecError
        As ``Architecture.load``; or no machine bills the action or class that a setting changes.
    """
    given = Overrides.of_part("architecture", overrides)
    settings = given.rooted("architecture")
    if settings or given.technology:
        roots = (_machine_tree(name, settings) for name in names)
        machines = [_architecture(root, given) for root in roots]
    else:
        machines = [_built(_architecture, "architectures", name, ()) for name in names]
    refuse_unbilled(machines, given.technology)
    return machines


def numbers_of_machine(name: Name, overrides: Overriding = ()) -> tuple[StatedNumber, ...]:
    """Return every number that a machine states or inherits, and those of its technology that it
    bills.

    Sets of operations are counted where an array extends them.

    Parameters
    ----------
    name, overrides
        See ``Architecture.load``.

    Raises
    ------
    SpecError
        As ``Architecture.load``.
    """
    given = Overrides.of_part("architecture", overrides)
    root = _machine_tree(name, given.rooted("architecture"))
    spec = check_architecture(root)
    billed = _billed([_architecture(root, given)])
    used = resolve_reference("technology", spec.technology, root.span_of((KEY, "technology")))
    tree = spec_tree("technology", used, given.rooted("technology"))
    prices = validate(technology.FILE_FIELDS, tree, section(tree, technology.KEY))
    found = [*stated_numbers(spec, root, (KEY,)), *stated_numbers(prices, tree, (technology.KEY,))]
    return tuple(n for n in found if not _is_unused(n.field.split("."), billed))


def _is_unused(field: Sequence[str], billed: Named[str, dict[str, None]]) -> bool:
    """Return whether a field is of a set of operations, or of a price that is not billed."""
    if field[0] == KEY:
        return field[1] == "operations"
    return field[1] in billed and field[2] not in billed[field[1]]


def _machine_tree(name: Name, settings: Iterable[Setting]) -> YamlNode:
    """Return the tree of a machine, whose settings reach all that it extends."""
    shared: list[Setting] = []
    others: list[Setting] = []
    for setting in settings:
        (shared if setting.path[1].text in (EXTENDS, "operations") else others).append(setting)
    root = with_operation_sets(spec_tree("architectures", name, shared))
    return apply_settings(root, others)


def _architecture(root: YamlNode, given: Overriding = ()) -> Architecture:
    root = with_operation_sets(root)
    spec = check_architecture(root)
    span = root.span_of((KEY, "technology"))
    technology = load_technology(resolve_reference("technology", spec.technology, span), given)
    return build_architecture(spec, root, technology)


def load_mapping(name: Name, overrides: Overriding = ()) -> Mapping:
    """Load a mapping (see ``Mapping.load``)."""
    given = Overrides.of_part("mapping", overrides)
    return _built(build_mapping, "mappings", name, given.rooted("mapping"))


def _built(
    build: Callable[[YamlNode], S], kind: Kind, name: Name, settings: tuple[Setting, ...]
) -> S:
    if isinstance(name, str) and not is_file_name(name) and not settings:
        known: S = _built_in(build, kind, name)
        return known
    return build(spec_tree(kind, name, settings))


@lru_cache(maxsize=64)
def _built_in(build: Callable[[YamlNode], S], kind: Kind, name: str) -> S:
    # Packaged files do not change while a process runs, and specifications are frozen.
    return build(spec_tree(kind, name))


_CAPACITY: Final = "capacity"
_FIELDS: Final = (_CAPACITY, "bandwidth")


class MachineCache:
    """Loader of machines that avoids reading a file again.

    A machine that differs from an earlier one only in capacities and bandwidths is a copy with
    other numbers: nothing else of a file depends on them. A value that is not plainly such a number
    goes to the checks of the file, which name the problem.
    """

    def __init__(self) -> None:
        self._machines = Cache[Architecture](_MAX_MACHINES)

    def machine(self, name: str, given: Overrides) -> Architecture:
        """Return a machine with settings applied, from the cache if possible.

        Parameters
        ----------
        name : str
            A built-in name, or the name of a file.
        given : Overrides
            Settings of the machine and of its technology.

        Raises
        ------
        SpecError
            As ``Architecture.load``.
        """
        split = _split_settings(given)
        if split is None:
            return load_architecture(name, given)
        sizes, others = split
        key = (name, tuple(sizes), others)
        if (known := self._machines.find(key)) is not None:
            return _sized(known, sizes) or load_architecture(name, given)
        return self._machines.keep(key, load_architecture(name, given))


_Sizes = dict[tuple[str, str], str]
"""Capacities and bandwidths as the user wrote them, by memory and field."""


def _split_settings(given: Overrides) -> tuple[_Sizes, Overrides] | None:
    """Split settings into capacities and bandwidths of memories, and all other settings.

    Return None if no capacity or bandwidth is set, or if another setting may rename a memory.
    """
    sizes: _Sizes = {}
    others: list[Setting] = []
    for setting in given.architecture:
        match [step.text for step in setting.path]:
            case ["memories", memory, field] if field in _FIELDS:
                value = setting.value
                if not isinstance(value, YamlScalar) or not isinstance(value.value, str):
                    return None
                if (memory, field) in sizes:
                    return None
                sizes[memory, field] = value.value
            case ["memories", _, field, *_] if field not in NAME_KEYS:
                others.append(setting)
            case ["memories", *_]:
                return None
            case _:
                others.append(setting)
    return (sizes, replace(given, architecture=tuple(others))) if sizes else None


def _sized(machine: Architecture, sizes: _Sizes) -> Architecture | None:
    """Return the machine with other capacities and bandwidths. Return None if a value is wrong or
    its memory does not exist."""
    memories = {m.name: m for m in machine.memories}
    for (name, field), text in sizes.items():
        memory, number = memories.get(name), _number(field, text)
        if memory is None or number is None:
            return None
        if field == _CAPACITY:
            if number.denominator != 1 or 8 * number < memory.line_bits:
                return None
            memories[name] = replace(memory, capacity_bytes=int(number))
        else:
            memories[name] = replace(memory, bandwidth_bytes_per_s=number)
    changed = (f"memories.{name}.{field}" for name, field in sizes)
    return machine.resized(tuple(memories.values()), machine.evidence.assuming(*changed))


@lru_cache(maxsize=4096)
def _number(field: str, text: str) -> Fraction | None:
    """Parse a number of bytes, or of bytes per second; return None if the text is neither."""
    try:
        return parse_quantity(text, CAPACITY if field == _CAPACITY else BANDWIDTH)
    except PydanticCustomError:
        return None
