"""The columns of the results, and their units."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final, Literal

from ..spec.files import units
from ..spec.files.units import QuantityKind

Status = Literal["ok", "refused", "excluded"]

NUMBERS: Final = ("latency_s", "floor_latency_s", "cycles", "energy_pj", "area_um2")
"""Columns of one number each, in their order."""
TEXTS: Final = ("workload", "architecture", "mapping", "status", "message")
FIXED: Final = ("point", *TEXTS, *NUMBERS, "bound_by")
"""Columns that every sweep has."""
LEVELS: Final = ("traffic_bytes.", "utilization.", "buffer_bytes.", "energy_pj.")
"""What columns begin with of which each memory, array or component has one, in their order."""

KINDS: Final = MappingProxyType(
    {
        "latency_s": units.TIME,
        "floor_latency_s": units.TIME,
        "energy_pj": units.ENERGY,
        "area_um2": units.AREA,
        "traffic_bytes.": units.CAPACITY,
        "buffer_bytes.": units.CAPACITY,
        "energy_pj.": units.ENERGY,
    }
)

_UNITS: Final = MappingProxyType(
    {
        "latency_s": "s",
        "floor_latency_s": "s",
        "cycles": "cycles",
        "energy_pj": "pJ",
        "area_um2": "um^2",
        "traffic_bytes.": "B",
        "utilization.": "1",
        "buffer_bytes.": "B",
        "energy_pj.": "pJ",
    }
)


def kind_of(column: str) -> QuantityKind | None:
    """What a result's column is a quantity of; None for plain numbers and texts."""
    return KINDS.get(stem(column))


def unit_of(column: str) -> str | None:
    """The unit of a result's column; None where it has none."""
    return _UNITS.get(stem(column))


def stem(column: str) -> str:
    """The column, or what those begin with of which each memory or array has one."""
    return next((each for each in LEVELS if column.startswith(each)), column)


def header(axes: Iterable[str], members: Iterable[str]) -> tuple[str, ...]:
    """All columns in their order.

    Parameters
    ----------
    axes : iterable of str
        Names of the axes. One that is called as a column of the inputs is that column.
    members : iterable of str
        Columns of memories and arrays, of each kind in the order of the machine.
    """
    members = tuple(members)
    grouped = (m for each in LEVELS for m in members if m.startswith(each))
    return tuple(dict.fromkeys(("point", *axes, *TEXTS, *NUMBERS, *grouped, "bound_by")))
