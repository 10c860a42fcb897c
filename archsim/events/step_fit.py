"""Shares of masked tiles, scaled so that all steps together do what is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from .step_units import StepClass, Walk
from .step_word import tally


def fitted(walk: Walk) -> Walk:
    """A walk over masked tiles, its shares scaled so that they add up to what is counted.

    Where iterations inside a step are left out, or an Einsum outside a loop runs at the
    loop's end for all tiles at once, a class by itself does not say how much is done.
    """
    turns = tally(walk.word)
    classes = list(walk.classes)
    for number, part in enumerate(walk.unit.parts):
        busy = sum((n * classes[k].busy[number] for k, n in turns.items()), Fraction(0))
        work = _Scale(number, None, part.busy * part.e.iterations, busy)
        scales = [work]
        for memory, counted in enumerate(part.flows.counted):
            moved = sum(
                (
                    n * (classes[k].loads[number][memory] + classes[k].drains[number][memory])
                    for k, n in turns.items()
                ),
                Fraction(0),
            )
            scales.append(_Scale(number, memory, counted, moved))
        classes = [_scaled(c, scales) for c in classes]
    return replace(walk, classes=tuple(classes))


@dataclass(frozen=True, slots=True)
class _Scale:
    """What an Einsum should do in all steps (``memory`` None: work), and what it does."""

    part: int
    memory: int | None
    wanted: Fraction
    found: Fraction

    @property
    def factor(self) -> Fraction:
        return self.wanted / self.found if self.found else Fraction(0)


def _scaled(step: StepClass, scales: list[_Scale]) -> StepClass:
    busy, loads, drains = list(step.busy), list(step.loads), list(step.drains)
    for scale in scales:
        if scale.memory is None:
            busy[scale.part] *= scale.factor
        else:
            for moved in (loads, drains):
                row = list(moved[scale.part])
                row[scale.memory] *= scale.factor
                moved[scale.part] = tuple(row)
    return replace(step, busy=tuple(busy), loads=tuple(loads), drains=tuple(drains))
