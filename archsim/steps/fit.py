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
        work.append(_factor(wanted, ((n, c.busy[number]) for n, c in classes)))
        moved.append(
            tuple(
                _factor(
                    counted,
                    ((n, x) for n, c in classes for x in _moved(c, number, memory)),
                )
                for memory, counted in enumerate(part.flows.counted)
            )
        )
    off = _off(work), [_off(factors) for factors in moved]
    return replace(walk, classes=tuple(_scaled(c, *off) for c in walk.classes))


def _factor(wanted: Fraction, found: Iterable[tuple[int, Fraction]]) -> Fraction:
    """What to multiply shares by that add up to what is ``found``."""
    sum_found = total(found)
    return wanted / sum_found if sum_found else Fraction(0)


def _moved(step: StepClass, part: int, memory: int) -> tuple[Fraction, Fraction]:
    return step.loads[part][memory], step.drains[part][memory]


_Off = tuple[tuple[int, Fraction], ...]
"""Places in a row, and the factors there: those that are not one."""


def _off(factors: Sequence[Fraction]) -> _Off:
    return tuple((n, by) for n, by in enumerate(factors) if by != 1)


def _scaled(step: StepClass, work: _Off, moved: Sequence[_Off]) -> StepClass:
    loads, drains = (
        tuple(_product(row, by) for row, by in zip(rows, moved, strict=True))
        for rows in (step.loads, step.drains)
    )
    return replace(step, busy=_product(step.busy, work), loads=loads, drains=drains)


def _product(row: tuple[Fraction, ...], factors: _Off) -> tuple[Fraction, ...]:
    """One by one; nothing is nothing whatever it is scaled by."""
    if not factors:
        return row
    found = list(row)
    for n, by in factors:
        if row[n]:
            found[n] = row[n] * by
    return tuple(found)
