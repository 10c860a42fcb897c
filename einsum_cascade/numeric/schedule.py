"""The order of execution: which Einsums run at once and which inside a loop.

Einsums that need one another through an iterative tensor form a recurrence and run
inside a loop over its rank; every other Einsum runs once, over all coordinates. That is
loop distribution: tensors are written once, so only dependences order the Einsums.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from .. import ir
from ..errors import EvaluationError, Problem
from ..graphs import strongly_connected
from ..ordering import Dependence, dependences


@dataclass(frozen=True)
class IterativeLoop:
    """Steps that run for every value of an iterative rank variable in turn."""

    variable: str
    steps: tuple[Step, ...]

    @property
    def einsums(self) -> tuple[ir.Einsum, ...]:
        """Every Einsum inside."""
        return tuple(e for step in self.steps for e in einsums_of(step))


Step = ir.Einsum | IterativeLoop


def einsums_of(step: Step) -> tuple[ir.Einsum, ...]:
    """The Einsums of a step.

    Returns
    -------
    tuple of Einsum
        In the order one iteration runs them; a loop inside a loop is flattened.
    """
    return step.einsums if isinstance(step, IterativeLoop) else (step,)


def schedule(program: ir.Program) -> tuple[Step, ...]:
    """The steps of a program in the order they run.

    Raises
    ------
    EvaluationError
        Einsums need one another and no iteration orders them.
    """
    return _steps(program.einsums, dependences(program))


def _steps(einsums: tuple[ir.Einsum, ...], edges: tuple[Dependence, ...]) -> tuple[Step, ...]:
    names = [e.name for e in einsums]
    needs: dict[str, set[str]] = {n: set() for n in names}
    for edge in edges:
        if edge.reader in needs and edge.writer in needs:
            needs[edge.reader].add(edge.writer)
    groups = strongly_connected(needs)
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    waits = [{group_of[m] for n in group for m in needs[n]} - {i} for i, group in enumerate(groups)]
    needed_by: list[list[int]] = [[] for _ in groups]
    for number, others in enumerate(waits):
        for other in others:
            needed_by[other].append(number)
    # The first Einsum all of whose needs are done, but for those that need it in turn.
    place = {name: i for i, name in enumerate(names)}
    ready = [(min(place[n] for n in groups[i]), i) for i, others in enumerate(waits) if not others]
    heapify(ready)
    steps: list[Step] = []
    while ready:
        _, number = heappop(ready)
        members = tuple(einsums[at] for at in sorted(place[n] for n in groups[number]))
        is_loop = len(members) > 1 or members[0].name in needs[members[0].name]
        steps.append(_loop(members, edges) if is_loop else members[0])
        for other in needed_by[number]:
            waits[other].discard(number)
            if not waits[other]:
                heappush(ready, (min(place[n] for n in groups[other]), other))
    return tuple(steps)


def _loop(members: tuple[ir.Einsum, ...], edges: tuple[Dependence, ...]) -> IterativeLoop:
    group = {e.name for e in members}
    inside = tuple(e for e in edges if e.reader in group and e.writer in group)
    common = frozenset.intersection(*(e.in_step for e in inside))
    variables = sorted(v for v in common if any(v in e.delayed for e in inside))
    # Along v every reader must stand at its writer's step or one later, or the steps of v could not
    # be taken in turn; and one later on some edge, which is what breaks the cycle.
    if not variables:
        what = f"these Einsums depend on one another: {', '.join(sorted(group))}"
        raise EvaluationError(Problem(what, members[0].target.span))
    variable = variables[0]
    # Inside of one step the edges that are left order the Einsums; a cycle of them is one more
    # loop.
    rest = tuple(e for e in inside if variable not in e.delayed)
    return IterativeLoop(variable, _steps(members, rest))
