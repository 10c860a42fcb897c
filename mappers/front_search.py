"""The front of a workload of one part: latency against energy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from archsim.jobs.plan import plan
from archsim.jobs.run import run_plan
from archsim.jobs.selection import ByPart
from archsim.jobs.workload import WorkloadLike
from archsim.result.record import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import Problem, SpecError, did_you_mean

from .exhaustive.capped import EFFORT, SEARCHES
from .front import Front
from .garbage import seldom_collected
from .generators import GENERATORS
from .held_front import CAPACITIES, HeldFront, held_front
from .known_runs import known_runs
from .limited import BUFFER, limited_memory
from .objectives import objective_called
from .part_space import space_of
from .protocol import TOLERANCE, Clock, SearchProblem
from .wide_front import front_on
from .workload_search import (
    ProgressOfParts,
    check_start,
    only_part,
    quiet,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .constraint_files import ConstraintFile

AXES = ("latency", "energy")
"""What every front is of."""

OPTION = "--pareto"


def axes_called(text: str, architecture: Architecture) -> str:
    """The memory that ``--pareto`` names beside latency and energy, if it does.

    Parameters
    ----------
    text : str
        ``latency,energy``, in any order, and perhaps ``buffer`` or a memory of the machine.

    Raises
    ------
    SpecError
        Latency or energy is not there, or something else is; says the nearest.
    """
    names = [name.strip() for name in text.split(",")]
    others = [name for name in names if name not in AXES]
    known = (*AXES, BUFFER, *(m.name for m in architecture.memories))
    for name in others:
        if name not in known and memory_in_role(architecture, name) is None:
            raise SpecError(f"{OPTION}: there is no axis '{name}'; {did_you_mean(name, known)}")
    if sorted(set(names) & set(AXES)) != sorted(AXES) or len(names) != 2 + len(others[:1]):
        why = f"{OPTION} {text}: a front is of latency and energy, and of one memory if you like"
        raise SpecError(Problem(why, hint="write latency,energy or latency,energy,buffer"))
    return limited_memory(architecture, others[0], OPTION).name if others else ""


@seldom_collected()
def search_front(
    workload: WorkloadLike,
    architecture: Architecture,
    *,
    tolerance: float = TOLERANCE,
    progress: ProgressOfParts = quiet,
    start: Sequence[Mapping] = (),
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
    memory: str = "",
) -> Front:
    """Mappings of which none is both faster and of less energy than another.

    Parameters
    ----------
    tolerance : float
        Points whose energies differ by no more than this share are one.
    progress : callable
        As for ``search_workload``.
    start : sequence of Mapping
        Mappings to begin with.
    time_limit_s : float, optional
        Seconds after which what is found has to do: a third for each end, half for less memory.
    constraints : sequence of ConstraintFile
        What all mappings obey.
    memory : str
        One of limited size: the front is of what a mapping holds of it, too.

    Raises
    ------
    SpecError
        The workload has several parts; something named does not exist.
    MappingError
        As ``search_workload``.
    """
    part = only_part(workload, "a front")
    check_start(workload, start)
    on = partial(space_of, part, constraints=constraints)
    problem = SearchProblem(on(architecture), objective_called("latency"), tolerance=tolerance)
    known = known_runs(part, problem, start, sparing=False)
    problem = replace(problem, known=known.best, others=known.others)
    fronts = CAPACITIES + 1 if memory else 1
    advance = progress(part.name, round(2 * EFFORT.subspaces * fronts + SEARCHES))
    clock = Clock(time_limit_s)
    found = front_on(problem, advance, clock.part(2) if memory else clock)
    whole = held_front(problem, memory, on, advance, clock, found) if memory else None
    held = whole or HeldFront.of(found)
    run = partial(_run, workload, architecture)
    points = tuple(one.point(run, number, part.cascade) for number, one in enumerate(held.runs, 1))
    return Front(
        workload=points[0].result.workload,
        architecture=points[0].result.architecture,
        points=points,
        least=(found.least[0].certificate, found.least[1].certificate),
        searches=held.searches,
        runs=held.engine_runs,
        tolerance=tolerance,
        ended=held.ended,
        memory=memory,
    )


def _run(workload: WorkloadLike, architecture: Architecture, mapping: Mapping) -> Result:
    return run_plan(plan(workload, architecture, ByPart((mapping,)), generators=GENERATORS))
