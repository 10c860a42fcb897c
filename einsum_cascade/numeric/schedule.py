"""The order of execution: which Einsums run at once and which inside a loop.

Einsums that need one another through an iterative tensor form a recurrence and run
inside a loop over its rank; every other Einsum runs once, over all coordinates. That is
loop distribution: tensors are written once, so only dependences order the Einsums.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir
from ..errors import EvaluationError, Problem
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
    needs = {n: {e.writer for e in edges if e.reader == n} & set(names) for n in names}
    reach = {n: _reachable(n, needs) for n in names}
    steps: list[Step] = []
    done: set[str] = set()
    while len(done) < len(names):
        # The first Einsum all of whose needs are done, but for those that need it in turn.
        name = next(
            n for n in names if n not in done and all(m in done or n in reach[m] for m in reach[n])
        )
        group = {name} | {m for m in reach[name] if name in reach[m]}
        steps.append(_step(name, group, needs, einsums, edges))
        done |= group
    return tuple(steps)


def _step(
    name: str,
    group: set[str],
    needs: dict[str, set[str]],
    einsums: tuple[ir.Einsum, ...],
    edges: tuple[Dependence, ...],
) -> Step:
    members = tuple(e for e in einsums if e.name in group)
    if len(group) == 1 and name not in needs[name]:
        return members[0]
    inside = tuple(e for e in edges if e.reader in group and e.writer in group)
    common = frozenset.intersection(*(e.in_step for e in inside))
    variables = sorted(v for v in common if any(v in e.delayed for e in inside))
    if not variables:
        what = f"these Einsums depend on one another: {', '.join(sorted(group))}"
        raise EvaluationError(Problem(what, members[0].target.span))
    variable = variables[0]
    rest = tuple(e for e in inside if variable not in e.delayed)
    return IterativeLoop(variable, _steps(members, rest))


def _reachable(start: str, needs: dict[str, set[str]]) -> frozenset[str]:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for name in needs[stack.pop()]:
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return frozenset(seen)
