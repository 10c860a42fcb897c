"""A mapping of a mapspace run by the engine, which has the last word on what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

from archsim.bound.binding import bind
from archsim.evaluate.evaluate import evaluate_bound
from archsim.result.record import Result
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError

from .choices.choose import choose
from .objectives import SearchObjective
from .space.constraints import broken_problem
from .space.mapspace import Mapspace
from .space.region import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """A mapping that the engine has run."""

    value: float
    """Its objective."""
    mapping: Mapping
    result: Result


def run_mapping(
    space: Mapspace | Region, mapping: Mapping, objective: SearchObjective
) -> EngineRun:
    """A mapping of a space's cascade, in the space or not, run by the engine.

    Parameters
    ----------
    space : Mapspace or Region
        Whose cascade, shapes and machine are taken.
    mapping : Mapping
        Its own tiles win over the space's; choices that it leaves open are made.
    objective : SearchObjective
        What ``EngineRun.value`` is of.

    Raises
    ------
    MappingError
        The mapping is not legal on the space's machine, does not fit, or breaks a constraint of
        the space.
    """
    own = {tile.member for tile in mapping.tiles}
    given = {rank: size for rank, size in space.given.items() if rank not in own}
    bound = bind(space.program, mapping, space.architecture, given, choose=choose)
    if broken := space.constraints.broken(bound):
        raise MappingError(broken_problem(broken, f"the mapping '{mapping.name}'"))
    result = evaluate_bound(bound)
    return EngineRun(value=objective.of(result), mapping=mapping, result=result)
