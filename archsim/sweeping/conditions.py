"""``where``: what is asked of a result, told once it is there."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import Scalar

from .columns import NUMBERS, kind_of, stem
from .spec import Condition, Sweep, SweepAxis
from .values import measured, symbol

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
    """A condition whose right side is a number of the column's unit, or a text."""

    condition: Condition
    value: Fraction | str

    def failure(self, row: Mapping[str, Any]) -> str:
        """Why a row does not hold it; empty if it does."""
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
    """The conditions of a sweep, their right sides in the units of the columns.

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
