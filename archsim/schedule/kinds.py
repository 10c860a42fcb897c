"""Kinds of schedules: what each has to say, and which there are.

To add one: a module with a class that is a ``ScheduleKind``, a line in ``_kinds``, and its
name in ``spec.mapping.ScheduleName`` (with what the file may say of it).
"""

from __future__ import annotations

from typing import Protocol

from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..steps.group import FusionGroup, Walk
from .lowering import exact_walk
from .phases import Phases
from .pipelined import Pipelined
from .program import StepProgram
from .sequential import Sequential
from .timing import Timing


class ScheduleKind(Protocol):
    """One way in which Einsums follow one another."""

    name: str
    """As mapping files write it."""
    in_turn: bool
    """Whether groups run one after the other, each over all its loops."""

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """What runs together, one group after the other."""
        ...

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """The step program of each group, its tasks in firing order.

        Raises
        ------
        MappingError
            The schedule contradicts the cascade's dependencies, or deadlocks.
        """
        ...

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """The time of a run whose steps are all an average one.

        Raises
        ------
        MappingError
            As ``programs``.
        """
        ...


def _kinds() -> tuple[ScheduleKind, ...]:
    return (
        Sequential(),
        Phases(),
        Pipelined(),
    )


def kind_of(bound: Bound) -> ScheduleKind:
    """The kind of a mapping's schedule.

    Parameters
    ----------
    bound : Bound
        The mapping; its file was checked, so there is such a kind.
    """
    return next(k for k in _kinds() if k.name == bound.mapping.schedule.kind)


def time_mapping(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    """Latency of a bound mapping in cycles, from its average step.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies.
    """
    kind = kind_of(bound)
    return kind.average(bound, kind.groups(bound, counts))


def exact_walks(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[Walk, ...]:
    """The real steps of all that runs together, group by group.

    Raises
    ------
    StepsError
        As ``exact_walk``.
    """
    return tuple(exact_walk(bound, g) for g in kind_of(bound).groups(bound, counts))
