"""Lowering of a schedule: the steps of a walk become a program of tasks and dependencies.

Both engines read the program that is built here. The event engine runs the program of the exact
walk, with its real steps. The analytical engine averages the program of the uniform walk, with
equal steps (``average``).
"""

from __future__ import annotations

from fractions import Fraction

from ..counts.occupancy import reduction_latency, transfer_cycles
from ..iteration.exact import total
from ..nest.record import Bound
from ..spec.arch import Memory
from ..steps.flows import Role, first_fill, last_drain
from ..steps.group import FusionGroup, Shifts, Walk
from ..steps.run_length import StepsError
from ..steps.walk import walk
from .program import StepDependency, StepProgram, StepTask

Distances = tuple[int | None, ...]
"""Number of steps between two tasks, by class of step; None if the task does not wait."""


def exact_walk(bound: Bound, group: FusionGroup) -> Walk:
    """Return all steps of a group, including how many steps back its running values come from.

    Raises
    ------
    StepsError
        The steps do not add up to the counted work (tiles are left out), or differ too much.
    """
    wanted = {member for read in group.reads for member, _ in read.shifts}
    found = walk(group, frozenset(wanted))
    busy = [(n, found.classes[k].busy) for k, n in found.steps_by_class.items()]
    odd = [
        p.e.name
        for i, p in enumerate(group.parts)
        if total([(n, row[i]) for n, row in busy]) != p.occupied
    ]
    if odd:
        text = f"tiles that hold no point are left out of {', '.join(odd)}"
        raise StepsError(text, bound.mapping.span)
    return found


class ProgramBuilder:
    """Builder of a group's step program, to which tasks and dependencies are added by name.

    It begins with a task for every loaded memory, every Einsum and every drained memory. A kind of
    schedule then adds the dependencies.
    """

    def __init__(self, bound: Bound, steps: Walk) -> None:
        self.bound = bound
        self.steps = steps
        self.group = steps.group
        self.outside = frozenset(self.group.outside)
        self.tasks: dict[str, StepTask] = {}
        self.waits: list[StepDependency] = []
        self._numbers: dict[str, int] = {}
        self._moving: dict[tuple[str, Role], list[tuple[str, str]]] = {}
        memories = bound.architecture.memories
        for place, memory in enumerate(memories):
            self._memory(place, memory, "load")
        for number, p in enumerate(self.group.parts):
            self.add(
                StepTask(
                    name=p.e.name,
                    resource=p.e.array.name,
                    occupancy=tuple(
                        c.busy[number] if c.runs[number] else None for c in steps.classes
                    ),
                    late=Fraction(reduction_latency(p.e)),
                    outside=p.depth is not None,
                )
            )
        for place, memory in enumerate(memories):
            self._memory(place, memory, "drain")

    def add(self, task: StepTask) -> None:
        """Add a task to the program."""
        self._numbers[task.name] = len(self.tasks)
        self.tasks[task.name] = task

    def _memory(self, place: int, memory: Memory, role: Role) -> None:
        """Add a task for a memory's traffic in each step, if the memory takes time."""
        of_word = transfer_cycles(self.bound, memory, self.bound.architecture.word_bytes)
        if not of_word:
            return
        moved = [c.loads if role == "load" else c.drains for c in self.steps.classes]
        # Most Einsums move nothing through a given memory.
        words = [total([(1, n) for row in rows if (n := row[place])]) for rows in moved]
        if not any(words):
            return
        task = StepTask(
            name=f"{memory.name} {role}",
            resource=memory.name,
            # A class of steps without traffic has None, and no task.
            occupancy=tuple(n * of_word or None for n in words),
            role=role,
        )
        self.add(task)
        for number, part in enumerate(self.group.parts):
            if any(rows[number][place] for rows in moved):
                here = self._moving.setdefault((part.e.name, role), [])
                here.append((task.name, memory.name))

    def wait(
        self,
        before: str,
        after: str,
        distance: int | Distances,
        why: str,
        *,
        room: bool = False,
        pace: bool = False,
    ) -> None:
        """Add a dependency: task ``after`` waits for task ``before``.

        Parameters
        ----------
        before, after : str
            Names of tasks.
        distance : int or tuple
            Steps that ``before`` is ahead: one number, or one for each class of the step of
            ``after``.
        why : str
            Reason for reports.
        room, pace : bool
            As in ``StepDependency``.
        """
        if isinstance(distance, int):
            distance = (distance,) * len(self.steps.classes)
        numbers = self._numbers[before], self._numbers[after]
        self.waits.append(StepDependency(*numbers, distance, room, pace, why))

    def distances(self, shifts: Shifts) -> Distances:
        """Return the steps between the write and the read of a value, by class of step.

        The entry is None for a class in which no step has written the value.
        """
        if not shifts:
            return (0,) * len(self.steps.classes)
        place = {x.member: i for i, x in enumerate(self.group.loops)}
        found: list[int | None] = []
        for c in self.steps.classes:
            back = [(c.back[place[m]], shift) for m, shift in shifts]
            known = [b * shift for b, shift in back if b is not None]
            # The first iteration of some loop reads what no step has written.
            found.append(sum(known) if len(known) == len(back) else None)
        return tuple(found)

    def loads(self, consumer: str) -> list[tuple[str, str]]:
        """Return the load task and the name of each memory from which an Einsum's operands are
        loaded."""
        return self._moving.get((consumer, "load"), [])

    def drains(self, producer: str) -> list[tuple[str, str]]:
        """Return the drain task and the name of each memory to which an Einsum's results drain."""
        return self._moving.get((producer, "drain"), [])

    def pace(self, lookahead: int) -> None:
        """Add dependencies that pace memories which serve only Einsums outside loops.

        Each such memory task and the first Einsum inside all loops limit how far either runs ahead.
        """
        tied = {number for w in self.waits for number in (w.before, w.after)}
        depths = {m.name: m.write_buffer for m in self.bound.architecture.memories}
        for name, task in self.tasks.items():
            moves = task.role in ("load", "drain")
            if moves and self._numbers[name] not in tied and self.group.inside:
                first, why = self.group.inside[0], f"pace of {name}"
                # What waits in a write buffer is behind by as many steps more.
                behind = lookahead + (depths[task.resource] if task.role == "drain" else 1)
                self.wait(name, first, behind, why, room=True, pace=True)
                self.wait(first, name, lookahead + 1, why, room=True, pace=True)

    def program(self, *, ends: bool = True) -> StepProgram:
        """Return the program, with tasks in written order.

        If ``ends`` is True, arrays wait for the first fill, and the last results count only after
        the last drain.
        """
        fill = drain = Fraction(0)
        if ends:
            memory, word = self.bound.architecture.home, self.bound.architecture.word_bytes
            filled = self.bound.memo(first_fill, self.group.inside) * word
            drained = self.bound.memo(last_drain) * word
            fill, drain = (transfer_cycles(self.bound, memory, n) for n in (filled, drained))
        return StepProgram(
            tasks=tuple(self.tasks.values()),
            dependencies=tuple(self.waits),
            run_lengths=self.steps.run_lengths,
            start=tuple((a.name, fill) for a in self.bound.architecture.arrays if fill),
            ends=tuple((name, drain) for name in self.bound.program.outputs if drain),
            once=self.steps.once,
        )
