"""Machines that were read lately, of which the next one often differs in what memories hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Final

from pydantic_core import PydanticCustomError

from einsum_cascade.yaml.edit import NAME_KEYS, Setting
from einsum_cascade.yaml.source import YamlScalar

from ..arch import Architecture
from . import units
from .load import load_architectures
from .overrides import Overrides
from .recent_arrays import RecentArrays

_KEPT: Final = 8
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


class RecentMachines:
    """Reads machines one after the other, those that are alike in less time.

    A machine that differs from one read before in capacities and bandwidths alone is that one
    with other numbers: nothing else of a file depends on them. What is not plainly a size or a
    speed is left to the file's own checks, which say what is wrong with it.
    """

    def __init__(self) -> None:
        self._arrays = RecentArrays()
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
        settings = _sorted(given)
        if settings is None:
            return self._afresh(name, given)
        for read, known, machine in self._read:
            if read == name and known.alike(settings):
                return _sized(machine, settings.sizes) or self._afresh(name, given)
        machine = self._afresh(name, given)
        self._read = [(name, settings, machine), *self._read[: _KEPT - 1]]
        return machine

    def _afresh(self, name: str, given: Overrides) -> Architecture:
        return load_architectures([name], given, self._arrays)[0]


def _sorted(given: Overrides) -> _Settings | None:
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
