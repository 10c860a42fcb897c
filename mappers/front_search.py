"""The front of a workload of one part: latency against energy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from archsim.jobs.plan import plan
from archsim.jobs.run import run_plan
from archsim.jobs.selection import ByPart
from archsim.jobs.workload import WorkloadLike
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import Problem, SpecError, did_you_mean

from .exhaustive.capped import EFFORT, SEARCHES
from .front import Front, FrontPoint
from .generators import GENERATORS
from .known_runs import known_runs
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
"""What a front can be of."""


def axes_called(text: str) -> None:
    """Check what ``--pareto`` names.

    Raises
    ------
    SpecError
        Something else than latency and energy; says the nearest.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name == "buffer":
            why = "--pareto: how much of a buffer is taken is nothing that a search makes small"
            raise SpecError(Problem(why, hint="write latency,energy"))
        if name not in AXES:
            raise SpecError(f"--pareto: there is no axis '{name}'; {did_you_mean(name, AXES)}")
    if sorted(names) != sorted(AXES):
        raise SpecError(f"--pareto {text}: a front is of two; write latency,energy")


def search_front(
    workload: WorkloadLike,
    architecture: Architecture,
    *,
    tolerance: float = TOLERANCE,
    progress: ProgressOfParts = quiet,
    start: Sequence[Mapping] = (),
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
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
        Seconds after which what is found has to do: a third for each end.
    constraints : sequence of ConstraintFile
        What all mappings obey.

    Raises
    ------
    SpecError
        The workload has several parts; something named does not exist.
    MappingError
        As ``search_workload``.
    """
    part = only_part(workload, "a front")
    check_start(workload, start)
    space = space_of(part, architecture, constraints=constraints)
    problem = SearchProblem(space, objective_called("latency"), tolerance=tolerance)
    known = known_runs(part, problem, start, sparing=False)
    problem = replace(problem, known=known.best, others=known.others)
    advance = progress(part.name, round(2 * EFFORT.subspaces + SEARCHES))
    found = front_on(problem, advance, Clock(time_limit_s))
    points: list[FrontPoint] = []
    for number, (run, bound) in enumerate(zip(found.runs, found.bounds_pj, strict=True), start=1):
        mapping = run.mapping
        if mapping.name.startswith("best-"):
            mapping = replace(mapping, name=f"front-{number}", cascade=part.cascade)
        by_part = ByPart((mapping,))
        result = run_plan(plan(workload, architecture, by_part, generators=GENERATORS))
        gap = max(0.0, 1 - bound / run.energy_pj)
        points.append(FrontPoint(mapping=mapping, result=result, gap=gap))
    latency, energy = found.least
    return Front(
        workload=points[0].result.workload,
        architecture=points[0].result.architecture,
        points=tuple(points),
        least=(latency.certificate, energy.certificate),
        searches=found.searches,
        runs=found.engine_runs,
        tolerance=tolerance,
        ended=found.ended,
    )
