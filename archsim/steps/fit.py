"""Shares of masked tiles, scaled so that all steps together do what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from ..space.exact import total
from .group import StepClass, Walk


def fitted(walk: Walk) -> Walk:
    """A walk over masked tiles, its shares scaled so that they add up to what is counted.

    Where iterations inside a step are left out, or an Einsum outside a loop runs at the
    loop's end for all tiles at once, a class by itself does not say how much is done.
    """
    classes = [(walk.steps_by_class[k], c) for k, c in enumerate(walk.classes)]
    work: list[Fraction] = []
    moved: list[tuple[Fraction, ...]] = []
    for number, part in enumerate(walk.group.parts):
        wanted = part.busy * part.e.iterations
        work.append(_factor(wanted, [(n, c.busy[number]) for n, c in classes]))
        rows = _each_once((n, x) for n, c in classes for x in (c.loads[number], c.drains[number]))
        moved.append(
            tuple(
                _factor(counted, [(n, row[memory]) for n, row in rows if row[memory]])
                for memory, counted in enumerate(part.flows.counted)
            )
        )
    scaled = _Scaled(_off(work), [_off(factors) for factors in moved])
    return replace(walk, classes=tuple(scaled.step(c) for c in walk.classes))


_Row = tuple[Fraction, ...]


def _each_once(rows: Iterable[tuple[int, _Row]]) -> list[tuple[int, _Row]]:
    """How often each row comes: classes have many rows in common."""
    times: dict[int, int] = {}
    known: dict[int, _Row] = {}
    for n, row in rows:
        known[id(row)] = row
        times[id(row)] = times.get(id(row), 0) + n
    return [(times[number], row) for number, row in known.items()]


def _factor(wanted: Fraction, found: Iterable[tuple[int, Fraction]]) -> Fraction:
    """What to multiply shares by that add up to what is ``found``."""
    sum_found = total(found)
    return wanted / sum_found if sum_found else Fraction(0)


_Off = tuple[tuple[int, Fraction], ...]
"""Places in a row, and the factors there: those that are not one."""


def _off(factors: Sequence[Fraction]) -> _Off:
    return tuple((n, by) for n, by in enumerate(factors) if by != 1)


class _Scaled:
    """Rows scaled, each that many classes have in common once."""

    def __init__(self, work: _Off, moved: Sequence[_Off]) -> None:
        self.work = work
        self.moved = moved
        self.known: dict[tuple[int, int], _Row] = {}

    def step(self, step: StepClass) -> StepClass:
        """A class of steps, which has to be there as long as others are asked for."""
        loads, drains = (
            tuple([self.row(n, row) for n, row in enumerate(rows)])
            for rows in (step.loads, step.drains)
        )
        return replace(step, busy=_product(step.busy, self.work), loads=loads, drains=drains)

    def row(self, part: int, row: _Row) -> _Row:
        """What a part moves."""
        if not self.moved[part]:
            return row
        key = (part, id(row))
        if key not in self.known:
            self.known[key] = _product(row, self.moved[part])
        return self.known[key]


def _product(row: _Row, factors: _Off) -> _Row:
    """One by one; nothing is nothing whatever it is scaled by."""
    if not factors:
        return row
    found = list(row)
    for n, by in factors:
        if row[n]:
            found[n] = row[n] * by
    return tuple(found)
