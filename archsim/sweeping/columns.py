"""Columns of a sweep's results, their units, and conditions on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from einsum_cascade.errors import SpecError
from einsum_cascade.source import Span

from ..spec.files import fields
from ..spec.files.fields import QuantityKind
from .spec import SweepAxis, measured, symbol

NUMBERS: Final = ("latency_s", "floor_latency_s", "cycles", "energy_pj", "area_um2")
"""Names of the columns with one number per run, in their order."""
AS_BUILT: Final = ("as_built_latency_s", "as_built_energy_pj", "as_built_average_power_w")
"""Names of the columns with numbers of the machine as built, if it states losses."""
INHERITED: Final = "as_built_inherited"
"""Name of the column with the losses that were measured on another machine."""
FITS: Final = "fits"
"""Name of the column that is false if a memory is too small for the whole workload."""
MACHINE: Final = "architecture"
"""Name of the column with the machine: its name, or the value of the axis that chooses it."""
TEXTS: Final = ("workload", MACHINE, "mapping", "status", "message")
FIXED: Final = ("point", *TEXTS, *NUMBERS, *AS_BUILT, INHERITED, FITS, "bound_by")
"""Names of the columns that no part of a machine names."""
LEVELS: Final = (
    *("needed_bytes.", "traffic_bytes.", "utilization.", "buffer_bytes.", "energy_pj."),
)
"""Prefixes of columns of which each memory, array or component has one, in their order."""
MEMBERS: Final = (*AS_BUILT, INHERITED, FITS, *LEVELS)
"""Beginnings of columns that depend on the machine, in their order."""

_UNITS: Final[Mapping[str, tuple[str, QuantityKind | None]]] = MappingProxyType(
    {
        "latency_s": ("s", fields.TIME),
        "floor_latency_s": ("s", fields.TIME),
        "cycles": ("cycles", None),
        "energy_pj": ("pJ", fields.ENERGY),
        "area_um2": ("um^2", fields.AREA),
        "as_built_latency_s": ("s", fields.TIME),
        "as_built_energy_pj": ("pJ", fields.ENERGY),
        "as_built_average_power_w": ("W", fields.POWER),
        "needed_bytes.": ("B", fields.CAPACITY),
        "traffic_bytes.": ("B", fields.CAPACITY),
        "utilization.": ("1", None),
        "buffer_bytes.": ("B", fields.CAPACITY),
        "energy_pj.": ("pJ", fields.ENERGY),
    }
)
"""Unit of each measured column, and the kind of quantity that conditions on the column may use."""


_FLAGS: Final = ("true", "false")


def unit_of(column: str) -> str | None:
    """Return the unit of a column of results, or None."""
    return _UNITS.get(stem(column), (None, None))[0]


def stem(column: str) -> str:
    """Return a column's prefix in ``LEVELS``, or the column itself."""
    return next((each for each in LEVELS if column.startswith(each)), column)


def header(axes: Iterable[str], members: Iterable[str]) -> tuple[str, ...]:
    """Return the names of all columns in their order.

    Parameters
    ----------
    axes : iterable of str
        Names of the axes. One that is called as a column of the inputs is that column.
    members : iterable of str
        Columns that depend on the machine, of each kind in the order of the machine.
    """
    members = tuple(members)
    grouped = (m for each in MEMBERS for m in members if m.startswith(each))
    return tuple(dict.fromkeys(("point", *axes, *TEXTS, *NUMBERS, *grouped, "bound_by")))


def right_side(
    column: str, sign: str, text: str, axis: SweepAxis | None, place: Span
) -> Fraction | str:
    """Return the right side of a condition as a number in the column's unit, or as a text.

    Raises
    ------
    SpecError
        The right side is no number of the column's kind.
    """
    if column == FITS and text not in _FLAGS:
        raise SpecError(f"where: {FITS} is true or false, got '{text}'", place, FITS)
    share = stem(column) == "utilization." and text.endswith("%")
    found = measured(text.removesuffix("%").rstrip() if share else text)
    if share and found is not None:
        return found.number / 100
    if axis is not None:
        kind, number = axis.kind, any(measured(v.shown) is not None for v in axis.values)
    else:
        kind = _UNITS.get(stem(column), (None, None))[1]
        number = column in ("point", *NUMBERS, *AS_BUILT) or stem(column) != column
    if not number:
        if sign not in ("==", "!="):
            raise SpecError(f"where: {column} is a text, which is '==' or '!=' another", place)
        return text
    right = found is not None and (
        found.kind in (None, kind) or (axis is not None and kind is None)
    )
    if found is None or not right:
        example = f"{column} {sign} {kind.example if kind else '4K'}"
        what = f"where: '{text}' is no number of {symbol(kind) or 'that'} to compare {column} with"
        raise SpecError(what, place, example)
    return found.number
