"""Mapspace of one part of a workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsim.legality.binding import with_parameters
from archsim.plan.problem import MappingProblem
from archsim.plan.workload import PartLike
from archsim.spec.arch import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError

from ..space.mapspace import Mapspace
from .constraint_files import ConstraintFile, constraints_of


def name_of(part: PartLike) -> str:
    """The name of a part's cascade, which may be given by its file."""
    return Cascade.load(part.cascade).program.name


def space_of(
    part: PartLike,
    architecture: Architecture,
    cascade: str = "",
    *,
    constraints: Sequence[ConstraintFile] = (),
) -> Mapspace:
    """The mapspace of a part of a workload, by its own cascade or another that computes it. Of many
    cores and of memories side by side its mappings are not enumerated: stand-ins are searched.

    Raises as ``Mapspace.of``.
    """
    problem = MappingProblem(part, architecture, cascade or part.cascade)
    given = problem.shapes
    try:
        program, shapes = with_parameters(problem.program, given)
        obeyed = constraints_of(constraints, program, architecture)
        return Mapspace.of(program, architecture, shapes, obeyed)
    except InputError as wrong:
        problems = [replace(p, message=f"{part.name}: {p.message}") for p in wrong.problems]
        raise type(wrong)(problems) from None
