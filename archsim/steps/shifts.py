"""How long ago, in iterations of shared loops, a step's operand was written."""

from __future__ import annotations

from dataclasses import dataclass

from ..bound.dataflow import Operand
from ..bound.record import Bound, BoundEinsum

Shifts = tuple[tuple[str, int], ...]
"""Iterations of shared loops between writing and reading, by the loop's member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRead:
    """An operand of an Einsum that one which runs together with it makes."""

    producer: str
    consumer: str
    shifts: Shifts
    """Empty where it is made in the same step."""


def step_reads(
    bound: Bound, einsums: tuple[BoundEinsum, ...], members: frozenset[str]
) -> tuple[StepRead, ...]:
    """All that some Einsums, in the loops ``members``, hand to one another.

    Left out is what no step waits for: an Einsum that goes along the whole rank within one
    step hands its running value on by itself.

    Parameters
    ----------
    bound : Bound
    einsums : tuple of BoundEinsum
        That run together.
    members : frozenset of str
        The loops whose iterations are steps.
    """
    by_name = {e.name: e for e in einsums}
    found: list[StepRead] = []
    for e in einsums:
        for operand in e.operands:
            writer = by_name.get(operand.producer or "")
            shifts = None if writer is None else _shifts(bound, writer, e, operand)
            if writer is not None and shifts is not None and all(m in members for m, _ in shifts):
                found.append(StepRead(producer=writer.name, consumer=e.name, shifts=shifts))
    return tuple(found)


def _shifts(
    bound: Bound, writer: BoundEinsum, reader: BoundEinsum, operand: Operand
) -> Shifts | None:
    """How many iterations of which shared loops ago an element was written, if any step's."""
    found: list[tuple[str, int]] = []
    for variable, shift in operand.shifts:
        # What goes along the rank inside a step sees all of it at once.
        within = any(
            x.variable == variable and e.widths[x.member] > 1
            for e in (writer, reader)
            for x in (*e.own, *e.spatial)
        )
        if reader is writer or not within:
            inner = [loop.member for loop in bound.nest if loop.rank.lower() == variable][-1:]
            if not inner:
                return None
            found.append((inner[0], shift))
    return tuple(found)
