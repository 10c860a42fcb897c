"""Columns and rows of a sweep's results: units, conditions, and their stored form."""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import Scalar

from ..spec.files import units
from ..spec.files.units import QuantityKind
from .spec import Condition, Sweep, SweepAxis
from .values import measured, symbol

Status = Literal["ok", "refused", "excluded"]

NUMBERS: Final = ("latency_s", "floor_latency_s", "cycles", "energy_pj", "area_um2")
"""Columns of one number each, in their order."""
TEXTS: Final = ("workload", "architecture", "mapping", "status", "message")
FIXED: Final = ("point", *TEXTS, *NUMBERS, "bound_by")
"""Columns that every sweep has."""
LEVELS: Final = ("traffic_bytes.", "utilization.", "buffer_bytes.", "energy_pj.")
"""Prefixes of columns that each memory, array or component has one of, in their order."""

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
    """Return the quantity of a result's column; None for plain numbers and texts."""
    return KINDS.get(stem(column))


def unit_of(column: str) -> str | None:
    """Return the unit of a result's column, or None."""
    return _UNITS.get(stem(column))


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


J = TypeVar("J")

COLUMNS: Final = ("point", "key", *TEXTS, *NUMBERS, "bound_by", "axes", "members", "inputs")
"""Columns of the store."""

RowColumns = Sequence[Any]
"""Values of a row in the order of ``COLUMNS``: numbers, texts, and texts of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """Row of a point that was run. Numbers are None if the point was refused."""

    point: int
    key: str
    status: Status
    message: str
    workload: str
    architecture: str
    mapping: str
    axes: tuple[Scalar, ...]
    """Value on every axis, as its column shows it."""
    numbers: tuple[float | None, ...] = (None,) * 5
    """Numbers in the order of ``columns.NUMBERS``."""
    members: tuple[tuple[str, float], ...] = ()
    """Columns of memories and arrays, and their numbers."""
    bound_by: str | None = None
    inputs: str = ""
    """Inputs of the run as JSON, including mappings that were searched for."""


def as_columns(row: PointRow) -> RowColumns:
    """Return the stored values of a row: texts and numbers."""
    return (
        *(row.point, row.key, *_texts(row), *row.numbers, row.bound_by),
        *(_json(row.axes), _json(dict(row.members)), row.inputs),
    )


def text_of(text: Any, kind: type[J]) -> J:
    """Return the value of a JSON text. A damaged page of a file may hold another kind of value."""
    with suppress(TypeError, ValueError):
        if isinstance(found := json.loads(text), kind):
            return found
    raise sqlite3.DatabaseError("what it keeps of a point is damaged")


def as_row(found: RowColumns) -> PointRow:
    """Return the row of stored values. Raises sqlite3.DatabaseError if they are damaged."""
    point, key, *rest = found
    texts, numbers, others = rest[:_NUMBERS_AT], rest[_NUMBERS_AT:_OTHERS_AT], rest[_OTHERS_AT:]
    bound_by, axes, members, inputs = others
    return PointRow(
        point=point,
        key=key,
        numbers=tuple(numbers),
        bound_by=bound_by,
        axes=tuple(text_of(axes, list)),
        members=tuple(text_of(members, dict).items()),
        inputs=inputs,
        **dict(zip(TEXTS, texts, strict=True)),
    )


_texts = attrgetter(*TEXTS)
_json = json.JSONEncoder(ensure_ascii=False).encode
_NUMBERS_AT: Final = len(TEXTS)
_OTHERS_AT: Final = _NUMBERS_AT + len(NUMBERS)
"""Position of the first result among the columns, after the point and its key."""


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
        try:
            value = _right_side(condition, axes.get(condition.column))
        except SpecError as wrong:
            problems += wrong.problems
        else:
            found.append(Threshold(condition, value))
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
        kind, number = kind_of(column), column in ("point", *NUMBERS) or stem(column) != column
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
