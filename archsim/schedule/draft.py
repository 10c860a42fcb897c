"""Tasks and dependencies of Einsums that run together, before they are put in order."""

from __future__ import annotations

from fractions import Fraction

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Access

from ..bound.record import Bound
from ..cost.occupancy import busy_cycles, reduction_latency, transfer_cycles
from ..spec.arch import Memory
from ..steps.flows import Role
from ..steps.units import FusionGroup, GroupPart, Walk
from ..steps.walk import walk
from .program import StepDependency, StepProgram, StepTask
from .tasks import read_shifts

DOUBLE = 2
"""Tiles in flight where a schedule says nothing of them: one used, one on its way."""


def exact_walk(bound: Bound, group: FusionGroup) -> Walk:
    """The steps of a group, with the distances its running values ask for.

    Raises
    ------
    MappingError
        The steps are not the work that is counted: tiles are left out.
    """
    wanted = {m for p in group.parts for _, shifts in _reads(bound, group, p) for m, _ in shifts}
    found = walk(group, frozenset(wanted))
    odd = [
        p.e.name
        for i, p in enumerate(group.parts)
        if sum(n * found.classes[k].busy[i] for k, n in found.steps_by_class.items())
        != busy_cycles(bound, p.e)
    ]
    if odd:
        text = (
            f"the event engine runs every tile, but tiles that hold no point are left out of "
            f"{', '.join(odd)}"
        )
        raise MappingError(Problem(text, bound.mapping.span, "use --engine analytical"))
    return found


Shifts = tuple[tuple[str, int], ...]


def _reads(bound: Bound, group: FusionGroup, part: GroupPart) -> list[tuple[Access, Shifts]]:
    """Operands that other Einsums of the group (or itself, earlier) make."""
    names = {p.e.name for p in group.parts}
    found: list[tuple[Access, Shifts]] = []
    for access in part.e.einsum.reads:
        if access.tensor in names:
            shifts = read_shifts(bound, part.e, access)
            members = {x.member for x in group.loops}
            if shifts is not None and all(m in members for m, _ in shifts):
                found.append((access, shifts))
    return found


class Draft:
    """Tasks and dependencies of a group, by name, before they are put in order."""

    def __init__(self, bound: Bound, steps: Walk) -> None:
        self.bound = bound
        self.steps = steps
        self.group = steps.group
        self.outside = frozenset(self.group.outside)
        self.tasks: dict[str, StepTask] = {}
        self.dependencies: list[tuple[str, str, tuple[int | None, ...], bool, str]] = []
        for memory in bound.architecture.memories:
            self._memory(memory, "load", [c.loads for c in steps.classes])
        for number, p in enumerate(self.group.parts):
            self.add(
                StepTask(
                    name=p.e.name,
                    resource=p.e.array.name,
                    occupancy=tuple(
                        c.busy[number] if c.runs[number] else None for c in steps.classes
                    ),
                    late=Fraction(reduction_latency(p.e)),
                )
            )
        for memory in bound.architecture.memories:
            self._memory(memory, "drain", [c.drains for c in steps.classes])

    def add(self, task: StepTask) -> None:
        """One more task."""
        self.tasks[task.name] = task

    def _memory(
        self, memory: Memory, role: Role, moved: list[tuple[tuple[Fraction, ...], ...]]
    ) -> None:
        place = self.bound.architecture.memories.index(memory)
        word = self.bound.architecture.word_bytes
        cycles = [
            transfer_cycles(self.bound, memory, sum((e[place] for e in m), Fraction(0)) * word)
            for m in moved
        ]
        if any(cycles):
            self.add(
                StepTask(
                    name=f"{memory.name} {role}",
                    resource=memory.name,
                    occupancy=tuple(c or None for c in cycles),
                    role=role,
                )
            )

    def wait(
        self,
        before: str,
        after: str,
        distance: int | tuple[int | None, ...],
        why: str,
        room: bool = False,
    ) -> None:
        """``after`` waits for ``before``."""
        if isinstance(distance, int):
            distance = (distance,) * len(self.steps.classes)
        self.dependencies.append((before, after, distance, room, why))

    def moves(self, part: int, memory: int, drains: bool) -> bool:
        """Whether an Einsum takes from a memory, or hands to it."""
        return any((c.drains if drains else c.loads)[part][memory] for c in self.steps.classes)

    def distances(self, shifts: Shifts) -> tuple[int | None, ...]:
        """Steps between writing and reading, by class; None where nothing was written."""
        place = {x.member: i for i, x in enumerate(self.group.loops)}
        found: list[int | None] = []
        for c in self.steps.classes:
            back = [(c.back[place[m]], shift) for m, shift in shifts]
            known = [b * shift for b, shift in back if b is not None]
            found.append(sum(known) if len(known) == len(back) else None)
        return tuple(found)

    def flows(self) -> list[tuple[str, str, tuple[int | None, ...]]]:
        """(producer, consumer, distance by class) of the group's own values."""
        return [
            (access.tensor, p.e.name, self.distances(shifts))
            for p in self.group.parts
            for access, shifts in _reads(self.bound, self.group, p)
        ]

    def feeds(self, drains: bool) -> list[tuple[str, str]]:
        """(memory task, Einsum) for all that is loaded, or drained."""
        way = "drain" if drains else "load"
        return [
            (f"{memory.name} {way}", p.e.name)
            for m, memory in enumerate(self.bound.architecture.memories)
            for i, p in enumerate(self.group.parts)
            if f"{memory.name} {way}" in self.tasks and self.moves(i, m, drains)
        ]

    def pace(self, lookahead: int) -> None:
        """Tie memories that serve Einsums outside loops alone to those inside."""
        inside = [p.e.name for p in self.group.parts if p.e.name not in self.outside]
        tied = {x for before, after, *_ in self.dependencies for x in (before, after)}
        for name, task in self.tasks.items():
            if task.role != "work" and name not in tied and inside:
                self.wait(name, inside[0], lookahead + 1, f"pace of {name}", True)
                self.wait(inside[0], name, lookahead + 1, f"pace of {name}", True)

    def program(
        self,
        start: tuple[tuple[str, Fraction], ...] = (),
        ends: tuple[tuple[str, Fraction], ...] = (),
    ) -> StepProgram:
        """The draft as a program, its tasks in written order."""
        number = {n: i for i, n in enumerate(self.tasks)}
        return StepProgram(
            tasks=tuple(self.tasks.values()),
            dependencies=tuple(
                StepDependency(before=number[b], after=number[a], distance=d, room=room, why=why)
                for b, a, d, room, why in self.dependencies
            ),
            run_lengths=self.steps.run_lengths,
            start=start,
            ends=ends,
        )
