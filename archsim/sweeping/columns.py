"""Columns of a sweep's results, their units, and conditions on them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from einsum_cascade.errors import Problem, SpecError, collect_problems
from einsum_cascade.yaml.source import Scalar

from ..spec.files import fields
from ..spec.files.fields import QuantityKind
from .spec import Condition, Sweep, SweepAxis, measured, symbol

NUMBERS: Final = ("latency_s", "floor_latency_s", "cycles", "energy_pj", "area_um2")
"""Columns of one number each, in their order."""
TEXTS: Final = ("workload", "architecture", "mapping", "status", "message")
FIXED: Final = ("point", *TEXTS, *NUMBERS, "bound_by")
"""Columns that every sweep has."""
LEVELS: Final = ("traffic_bytes.", "utilization.", "buffer_bytes.", "energy_pj.")
"""Prefixes of columns that each memory, array or component has one of, in their order."""

_UNITS: Final[Mapping[str, tuple[str, QuantityKind | None]]] = MappingProxyType(
    {
        "latency_s": ("s", fields.TIME),
        "floor_latency_s": ("s", fields.TIME),
        "cycles": ("cycles", None),
        "energy_pj": ("pJ", fields.ENERGY),
        "area_um2": ("um^2", fields.AREA),
        "traffic_bytes.": ("B", fields.CAPACITY),
        "utilization.": ("1", None),
        "buffer_bytes.": ("B", fields.CAPACITY),
        "energy_pj.": ("pJ", fields.ENERGY),
    }
)
"""Unit of each column with one, and its kind of quantity, in which a condition may be written."""


def unit_of(column: str) -> str | None:
    """Return the unit of a result's column, or None."""
    return _UNITS.get(stem(column), (None, None))[0]


def stem(column: str) -> str:
    """Return a column's prefix in ``LEVELS``, or the column itself."""
    return next((each for each in LEVELS if column.startswith(each)), column)


def header(axes: Iterable[str], members: Iterable[str]) -> tuple[str, ...]:
    """Return all columns in their order.

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


_SIGNS = MappingProxyType(
    {
        "<=": operator.le,
        "<": operator.lt,
        ">=": operator.ge,
        ">": operator.gt,
        "==": operator.eq,
        "!=": operator.ne,
    }
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Condition whose right side is a number in the column's unit, or a text."""

    condition: Condition
    value: Fraction | str

    def failure(self, row: Mapping[str, Any]) -> str:
        """Return why a row violates the condition; empty if it does not."""
        column = self.condition.column
        found = row.get(column)
        if found is None:
            return f"{self.condition.text}: there is no {column} here"
        left: Any = found if isinstance(self.value, str) else _exact(found)
        if left is not None and _SIGNS[self.condition.sign](left, self.value):
            return ""
        shown = f"{found:.6g}" if isinstance(found, float) else found
        return f"{self.condition.text} does not hold: {column} is {shown}"


def _exact(value: Scalar) -> Fraction | None:
    found = measured(value)
    return None if found is None else found.number


def thresholds(sweep: Sweep) -> tuple[Threshold, ...]:
    """Return the conditions of a sweep, with right sides in the units of the columns.

    Raises
    ------
    SpecError
        A right side is no number of the column's kind.
    """
    axes = {axis.name: axis for axis in sweep.axes}
    found: list[Threshold] = []
    problems: list[Problem] = []
    for condition in sweep.conditions:
        with collect_problems(problems):
            found.append(Threshold(condition, _right_side(condition, axes.get(condition.column))))
    if problems:
        raise SpecError(problems)
    return tuple(found)


def _right_side(condition: Condition, axis: SweepAxis | None) -> Fraction | str:
    column, text = condition.column, condition.value
    share = stem(column) == "utilization." and text.endswith("%")
    found = measured(text.removesuffix("%").rstrip() if share else text)
    if share and found is not None:
        return found.number / 100
    if axis is not None:
        kind, number = axis.kind, any(_exact(v.shown) is not None for v in axis.values)
    else:
        kind = _UNITS.get(stem(column), (None, None))[1]
        number = column in ("point", *NUMBERS) or stem(column) != column
    if not number:
        if condition.sign not in ("==", "!="):
            what = f"where: {column} is a text, which is '==' or '!=' another"
            raise SpecError(Problem(what, condition.node.span))
        return text
    right = found is not None and (
        found.kind in (None, kind) or (axis is not None and kind is None)
    )
    if found is None or not right:
        example = f"{column} {condition.sign} {kind.example if kind else '4K'}"
        what = f"where: '{text}' is no number of {symbol(kind) or 'that'} to compare {column} with"
        raise SpecError(Problem(what, condition.node.span, example))
    return found.number
