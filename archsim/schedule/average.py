"""Average step of a step program: one task for each task, with its mean duration.

The average step is all that separates the two engines. The event engine takes the order of
issue from the average step of its program, then runs the program itself. The analytical engine
times the average step of the uniform walk's program. The average leaves some things out:

* An Einsum outside a loop takes the time of its slice in every step, but has no dependencies: the
  average has no step in which it runs.
* Pacing of memories that serve only such Einsums is needed to run a program and to order its tasks.
  The time of an average step does not depend on it (``memories`` given).
* Drains follow results and decide no order of issue, so that the average for an order has loads
  alone. To time a step, all traffic of a memory is one task, which waits for room and which loaded
  operands wait for.
* The first fill, the last drain and work beside no step belong to no step. The uniform walk keeps
  them apart (``StepProgram.once``), and a timing adds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from ..iteration.exact import total
from ..nest.record import Bound
from ..steps.run_length import length, steps_by_class
from .event_graph import EventGraph, GraphDependency, GraphTask
from .program import StepProgram, StepTask


@dataclass(frozen=True, kw_only=True)
class AverageStep:
    """Event graph of an average step, and the program's task for each of its tasks."""

    graph: EventGraph
    tasks: tuple[int, ...]
    """Program's task of each task of the graph (for a memory, its load or its drain)."""


def average_step(
    program: StepProgram,
    *,
    memories: tuple[str, ...] = (),
    distance: Literal["longest", "shortest"] = "longest",
) -> AverageStep:
    """Return the average step of a program.

    Parameters
    ----------
    memories : tuple of str
        Memories whose loads and drains are one task, in this order, to time the step. Empty for an
        order of issue.
    distance : {"longest", "shortest"}
        Distance of a dependency to take if classes of steps differ.
    """
    steps = length(program.run_lengths)
    times = steps_by_class(program.run_lengths)
    groups = _tasks_of_memories(program, memories) if memories else _without_drains(program)
    tasks: list[GraphTask] = []
    place: dict[int, int] = {}
    for group in groups:
        first = program.tasks[group[0]]
        # Cycles of the whole run, spread evenly over all steps, also those in which the task does
        # not run.
        share = _busy((program.tasks[i] for i in group), times) / steps
        name = first.resource if first.resource in memories else first.name
        place |= {i: len(tasks) for i in group if program.tasks[i].role != "drain"}
        tasks.append(
            GraphTask(
                name=name, resource=first.resource, occupancy=share, latency=share + first.late
            )
        )
    found: list[GraphDependency] = []
    for d in program.dependencies:
        ends = (program.tasks[d.before], program.tasks[d.after])
        known = [x for x in d.distance if x is not None]
        if not known or any(t.outside for t in ends) or (d.pace and memories):
            continue
        if d.before in place and d.after in place:
            before = tasks[place[d.before]]
            found.append(
                GraphDependency(
                    before=place[d.before],
                    after=place[d.after],
                    distance=max(known) if distance == "longest" else min(known),
                    delay=before.occupancy if d.room else before.latency,
                    why=d.why,
                    room=d.room,
                )
            )
    graph = EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=steps)
    return AverageStep(graph=graph, tasks=tuple(group[0] for group in groups))


def timed_step(bound: Bound, program: StepProgram) -> AverageStep:
    """Return the average step that the analytical engine times."""
    return average_step(program, memories=tuple(m.name for m in bound.architecture.memories))


def _busy(tasks: Iterable[StepTask], times: dict[int, int]) -> Fraction:
    """Return the cycles that some tasks take in the whole run."""
    return total(
        (times.get(k, 0), x) for t in tasks for k, x in enumerate(t.occupancy) if x is not None
    )


def _without_drains(program: StepProgram) -> list[tuple[int, ...]]:
    return [(i,) for i, t in enumerate(program.tasks) if t.role != "drain"]


def _tasks_of_memories(program: StepProgram, memories: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Return the tasks of each memory as one group, then each working task by itself."""
    found: list[tuple[int, ...]] = []
    for memory in memories:
        here = tuple(i for i, t in enumerate(program.tasks) if t.resource == memory)
        found += [here] if here else []
    return [*found, *((i,) for i, t in enumerate(program.tasks) if t.role == "work")]


def unless_ends(
    bound: Bound, cycles: Fraction, ends: Fraction, limit: tuple[str, tuple[str, ...]]
) -> tuple[str, tuple[str, ...]]:
    """Return the resource that bounds a run: the outermost memory if fill and drain take most of
    it.

    Parameters
    ----------
    bound : Bound
    cycles, ends : Fraction
        Cycles of the whole run, and of its first fill and last drain.
    limit : (str, tuple of str)
        Resource that bounds the steady state, and its tasks.
    """
    name = bound.architecture.home.name
    return (name, (f"first fill and last drain of {name}",)) if 2 * ends > cycles else limit
