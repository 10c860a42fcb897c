"""Phases as an event program: a barrier before each group of Einsums."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from einsum_cascade.errors import MappingError, Problem

from ..bound.record import Bound
from ..steps.units import Walk
from .draft import DOUBLE, Draft
from .program import IssueError, StepProgram, StepTask, ordered


def phased(
    bound: Bound,
    steps: Walk,
    start: tuple[tuple[str, Fraction], ...] = (),
    ends: tuple[tuple[str, Fraction], ...] = (),
) -> StepProgram:
    """A unit in groups with a barrier between them.

    A barrier waits for all that the group before it runs, and for reduction results that
    its own group needs (those that the schedule exposes). Inside a group Einsums on two
    arrays go side by side, element by element.
    """
    schedule = bound.mapping.schedule
    place = {t.einsum: (i, t.shift) for i, g in enumerate(schedule.groups) for t in g}
    draft = Draft(bound, steps)
    groups = len(schedule.groups)
    ahead = max(shift for _, shift in place.values())
    _barriers(draft, place, groups)
    _across(draft, place, groups)
    for memory, consumer in draft.feeds(drains=False):
        if consumer not in draft.outside:
            draft.wait(memory, consumer, 0, f"{memory} -> {consumer}")
            draft.wait(consumer, memory, DOUBLE, f"room to prefetch: {memory}", True)
    for memory, producer in draft.feeds(drains=True):
        if producer not in draft.outside:
            draft.wait(producer, memory, 0, f"{producer} -> {memory}")
            draft.wait(memory, producer, DOUBLE, f"room for what goes to {memory}", True)
    draft.pace(DOUBLE - 1)
    for name, task in draft.tasks.items():
        stage, priority = _turn(draft, name, place, groups, ahead)
        settled = name in place
        draft.tasks[name] = replace(task, stage=stage, priority=priority, settled=settled)
    try:
        return ordered(draft.program(start, ends))
    except IssueError as error:
        text = f"these wait for one another in their phases: {' -> '.join(error.names)}"
        raise MappingError(Problem(text, schedule.span)) from None


_Place = dict[str, tuple[int, int]]
"""Group and shift of every Einsum."""


def _barrier(group: int) -> str:
    return f"phase {group + 1}"


def _barriers(draft: Draft, place: _Place, groups: int) -> None:
    """One task a group that waits for the group before it, and starts its own."""
    kinds = len(draft.steps.classes)
    for g in range(groups):
        draft.add(
            StepTask(
                name=_barrier(g),
                resource="phases",
                occupancy=(Fraction(0),) * kinds,
                role="barrier",
            )
        )
    for name, (group, shift) in place.items():
        # Barriers run for the period's own step, an Einsum for the one ``shift`` away.
        draft.wait(_barrier(group), name, shift, f"{_barrier(group)} begins")
        then = (group + 1) % groups
        draft.wait(name, _barrier(then), int(then == 0) - shift, f"{_barrier(group)} ends", True)


def _across(draft: Draft, place: _Place, groups: int) -> None:
    """Results of earlier phases: their consumer's barrier waits for them, and it itself."""
    exposes = draft.bound.mapping.schedule.exposes
    for before, after, distance in draft.flows():
        (group, shift), (then, later) = place[before], place[after]
        exposed = exposes is None or before in exposes
        known = [d for d in distance if d is not None]
        turns = [(d + shift - later) * groups + then - group for d in known]
        if not turns or min(turns) <= 0:
            continue
        draft.wait(before, after, distance, f"{before} -> {after}", not exposed)
        if exposed:
            moved = tuple(None if d is None else d - later for d in distance)
            draft.wait(before, _barrier(then), moved, f"{before} -> {_barrier(then)}")


def _turn(
    draft: Draft, name: str, place: _Place, groups: int, ahead: int
) -> tuple[int, tuple[Fraction, int]]:
    """Stage and priority of a task: by its group, barriers first, memories around."""
    if name in place:
        group, shift = place[name]
        return ahead - shift, (Fraction(group), 1)
    task = draft.tasks[name]
    if task.role == "barrier":
        number = next(g for g in range(groups) if _barrier(g) == name)
        return ahead, (Fraction(number), 0)
    if task.role == "drain":
        # One period after the results are there, so that it does not keep operands waiting.
        makers = [place[e][1] for memory, e in draft.feeds(drains=True) if memory == name]
        return ahead - min(makers) + 1, (Fraction(-1), 2)
    readers = [place[e][1] for memory, e in draft.feeds(drains=False) if memory == name]
    return ahead - max(readers), (Fraction(-1), 0)
