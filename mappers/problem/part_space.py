"""Mapspaces of the parts of a workload, and checks before a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsim.legality.binding import with_parameters
from archsim.plan.parts import PartProblem, refuse_unknown_tensors
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, Problem, SpecError
from workloads.parts.part import Part
from workloads.workload import Workload

from ..space.mapspace import Mapspace
from .constraint_files import ConstraintFile, constraints_of


def name_of(part: Part) -> str:
    """Return the name of a part's cascade, which may be given by its file."""
    return Cascade.load(part.cascade).program.name


def space_of(
    part: Part,
    architecture: Architecture,
    cascade: str = "",
    *,
    constraints: Sequence[ConstraintFile] = (),
) -> Mapspace:
    """Return the mapspace of a part of a workload.

    On machines of many cores or with a memory tree, relaxations of the mapspace are searched.

    Parameters
    ----------
    cascade : str
        Another cascade that computes the same; the part's own without one.

    Raises
    ------
    InputError
        As ``Mapspace.of``, with the name of the part.
    """
    problem = PartProblem(part, architecture, cascade or part.cascade)
    given = problem.shapes
    try:
        program, shapes = with_parameters(problem.program, given)
        obeyed = constraints_of(constraints, program, architecture)
        return Mapspace.of(program, architecture, shapes, obeyed)
    except InputError as wrong:
        problems = [replace(p, message=f"{part.name}: {p.message}") for p in wrong.problems]
        raise type(wrong)(problems) from None


def check_start(
    workload: Workload, start: Sequence[Mapping], constraints: Sequence[ConstraintFile] = ()
) -> None:
    """Check the inputs of a search before it starts, as it may take minutes.

    Raises
    ------
    SpecError
        A mapping to begin with is of no cascade of the workload, several parts are constrained, or
        a format is of no tensor of the workload.
    """
    refuse_unknown_tensors(workload, (Cascade.load(p.cascade).program for p in workload.parts))
    if constraints:
        only_part(workload, "a constraint on mappings")
    cascades = dict.fromkeys(c for part in workload.parts for c in (part.cascade, name_of(part)))
    for mapping in start:
        if mapping.cascade not in cascades:
            raise SpecError(
                f"the mapping '{mapping.name}' is of cascade '{mapping.cascade}'; "
                f"{workload.name} computes {', '.join(cascades)}"
            )


def only_part(workload: Workload, what: str) -> Part:
    """Return the only part of a workload.

    Parameters
    ----------
    what : str
        Subject of the error's sentence.

    Raises
    ------
    SpecError
        The workload has several parts; names the option that takes one.
    """
    if len(workload.parts) > 1:
        names = ", ".join(dict.fromkeys(part.name for part in workload.parts))
        raise SpecError(
            Problem(
                f"{what} is of a workload of one part; {workload.name} has {names}",
                hint="take its attention alone: --set scope=attention",
            )
        )
    return workload.parts[0]
