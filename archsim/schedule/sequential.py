"""The sequential schedule: one group of Einsums after the other, over all their loops each."""

from __future__ import annotations

from fractions import Fraction

from ..bound.record import Bound
from ..bound.streaming import DOUBLE
from ..cost.accesses import EinsumCount
from ..space.exact import total
from ..steps.group import FusionGroup, Walk, fused_group, single_group
from ..steps.run_length import steps_by_class
from ..steps.uniform import whole_walk
from .lowering import ProgramBuilder
from .pipelined import overlapped, unordered
from .program import StepProgram
from .timing import Timing


class Sequential:
    """Each Einsum is a group of its own where none are given; a group overlaps inside."""

    name = "sequential"
    in_turn = True

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """One for each of the schedule's groups."""
        named = {e.name: e for e in bound.einsums}
        written = [tuple(named[t.einsum] for t in group) for group in bound.mapping.schedule.groups]
        return tuple(
            single_group(bound, counts, group[0])
            if len(group) == 1
            else fused_group(bound, counts, group)
            for group in written or [(e,) for e in bound.einsums]
        )

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """A program for each group, its first fill and last drain among its steps."""
        return tuple(overlapped(ProgramBuilder(bound, walk), DOUBLE, ends=False) for walk in walks)

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """Group after group, each as long as its busiest array or its transfers.

        A group is one step that does all of its work. What is late of an array's results is
        waited for once.
        """
        total = Fraction(0)
        slowest = (Fraction(-1), "", "")
        for group in groups:
            builder = ProgramBuilder(bound, whole_walk(bound, group))
            what, longest = _longest(bound, unordered(builder, DOUBLE, ends=False))
            total += longest
            here = {p.e.name for p in group.parts}
            names = ", ".join(e.name for e in bound.einsums if e.name in here)
            slowest = max(slowest, (longest, what, names))
        return Timing(
            cycles=total,
            steps=1,
            period=total,
            bound_by=slowest[1],
            critical=(f"{slowest[2]} on {slowest[1]}",),
        )


def _longest(bound: Bound, program: StepProgram) -> tuple[str, Fraction]:
    """The resource that a program's work takes longest on, arrays before memories."""
    times = steps_by_class(program.run_lengths)
    busy: dict[str, Fraction] = {}
    late: dict[str, Fraction] = {}
    for task in (t for role in ("work", "load", "drain") for t in program.tasks if t.role == role):
        cycles = total((times.get(k, 0), x) for k, x in enumerate(task.occupancy) if x is not None)
        busy[task.resource] = busy.get(task.resource, Fraction(0)) + cycles
        late[task.resource] = max(late.get(task.resource, Fraction(0)), task.late)
    memories = [m.name for m in bound.architecture.memories if m.name in busy]
    order = [*(r for r in busy if r not in memories), *memories]
    longest = max(order, key=lambda r: busy[r] + late[r])
    return longest, busy[longest] + late[longest]
