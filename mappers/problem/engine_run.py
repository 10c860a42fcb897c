"""Runs of mappings on the engine, which decides their objective."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from archsim.engine.evaluate import evaluate_bound, evaluate_nests, result_of_nest, takes_longer
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.nest.sequence import NestPart, nests_of
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Program
from einsum_cascade.memo import Cache, Identity

from ..construct.choices import choose
from ..space.constraints import broken_problem
from ..space.mapspace import Mapspace
from ..space.region import Region
from . import policy
from .objectives import LATENCY, SearchObjective

_NEXT_NEST = "|"

Kind = tuple[str, ...]
"""Kind of a mapping: ranks of all shared loops of several iterations, outermost first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """A mapping with its engine result and its objective."""

    value: float
    """Value of the objective in this run."""
    mapping: Mapping
    result: Result
    kind: Kind = ()

    @classmethod
    def of(cls, objective: SearchObjective, mapping: Mapping, result: Result) -> EngineRun:
        """Return the run of a mapping whose result is already known."""
        return cls(value=objective.of(result), mapping=mapping, result=result)


def kind_of(ranks: Iterable[str]) -> Kind:
    """Return the kind of a mapping; adjacent loops over one rank count as one loop.

    Parameters
    ----------
    ranks : iterable of str
        Ranks of all shared loops with more than one trip, outermost first.

    Examples
    --------
    >>> kind_of(["B", "M1", "P", "P", "M1"])
    ('B', 'M1', 'P', 'M1')
    """
    return tuple(rank for rank, _ in groupby(ranks))


def kind_of_nests(nests: Iterable[tuple[str, Bound]]) -> Kind:
    """Return the kind of a mapping with one nest or several."""
    kinds = [kind_of(x.rank for x in bound.nest if x.bound > 1) for _, bound in nests]
    if len(kinds) == 1:
        return kinds[0]
    return tuple(rank for kind in kinds for rank in (*kind, _NEXT_NEST))


BoundNests = tuple[tuple[str, Bound], ...]
"""Pairs of a nest's name and its bound mapping; the name is empty if there is only one nest."""


def bound_mapping(space: Mapspace | Region, mapping: Mapping) -> Bound:
    """Bind a mapping of a mapspace's cascade; the mapping may be outside of the mapspace.

    Raises
    ------
    MappingError
        The mapping is illegal on the machine.
    """
    own = {tile.member for tile in mapping.tiles}
    given = {rank: size for rank, size in space.given.items() if rank not in own}
    return bind(space.program, mapping, space.architecture, given, choose=choose)


def bound_part(part: NestPart, architecture: Architecture) -> Bound:
    """Bind one of several nests, unless it was bound recently. Raises as ``bind``."""
    key = (part.mapping, Identity(architecture), tuple(part.shapes.items()))
    return part.program.memo(_recent_bounds).get(
        key, lambda: bind(part.program, part.mapping, architecture, part.shapes)
    )


def _recent_bounds(program: Program) -> Cache[Bound]:
    del program
    return Cache(policy.MAX_CACHED_NESTS)


def bound_nests(space: Mapspace | Region, mapping: Mapping) -> BoundNests:
    """Bind each nest of a mapping, and return the nests with their names.

    Raises
    ------
    SpecError
        The nests do not fit together.
    MappingError
        A nest is illegal on the machine.
    """
    if not mapping.nests:
        return (("", bound_mapping(space, mapping)),)
    own = {tile.member for nest in mapping.nests for tile in nest.tiles}
    given = {rank: size for rank, size in space.given.items() if rank not in own}
    parts = nests_of(space.program, mapping, given)
    return tuple((part.name, bound_part(part, space.architecture)) for part in parts)


def run_mapping(
    space: Mapspace | Region, mapping: Mapping, objective: SearchObjective
) -> EngineRun:
    """Run a mapping of a mapspace's cascade; the mapping may be outside of the mapspace.

    Parameters
    ----------
    space : Mapspace or Region
        Source of cascade, shapes and machine.
    mapping : Mapping
        Its own tiles override those of the mapspace; choices that it leaves open are made.
    objective : SearchObjective
        Objective for ``EngineRun.value``.

    Raises
    ------
    MappingError
        The mapping is illegal, does not fit, or breaks a constraint of the mapspace.
    """
    return _run(space, mapping, _obeying(space, mapping), objective)


def run_to_beat(
    space: Mapspace | Region, mapping: Mapping, objective: SearchObjective, best: EngineRun
) -> EngineRun | None:
    """Run a mapping, or return None once it is certain to have a longer latency than the best run.

    Parameters
    ----------
    best : EngineRun
        Run to beat.

    Raises
    ------
    MappingError
        As ``run_mapping``, for all parts that were looked at.
    """
    nests = _obeying(space, mapping)
    if objective.code == LATENCY and _are_slower(nests, best.result.latency_s):
        return None
    return _run(space, mapping, nests, objective)


def _obeying(space: Mapspace | Region, mapping: Mapping) -> BoundNests:
    """Bind the nests of a mapping, or raise an error if it breaks a constraint."""
    if mapping.nests and space.constraints:
        text = f"constraints are on one nest, and the mapping '{mapping.name}' has several"
        raise MappingError(text, mapping.span)
    nests = bound_nests(space, mapping)
    if broken := space.constraints.broken(nests[0][1]):
        raise MappingError(broken_problem(broken, f"the mapping '{mapping.name}'"))
    return nests


def _run(
    space: Mapspace | Region, mapping: Mapping, nests: BoundNests, objective: SearchObjective
) -> EngineRun:
    if mapping.nests:
        result = evaluate_nests(space.program, mapping, nests)
    else:
        result = evaluate_bound(nests[0][1])
    return replace(EngineRun.of(objective, mapping, result), kind=kind_of_nests(nests))


def _are_slower(nests: BoundNests, seconds: float) -> bool:
    """Return whether all nests together take longer than a time in seconds.

    A nest that has run before is not run again.
    """
    if len(nests) == 1:
        return takes_longer(nests[0][1], seconds)
    # Results are rounded to floats, so equal times may differ by the rounding.
    limit = seconds * (1 + 1e-9)
    new = [bound for name, bound in nests if not _has_run(name, bound)]
    spent = sum(_seconds(name, bound) for name, bound in nests if _has_run(name, bound))
    if new and takes_longer(new[-1], limit - spent, before=new[:-1]):
        return True
    return sum(_seconds(*nest) for nest in nests) > limit


def _has_run(name: str, bound: Bound) -> bool:
    return bound.has(result_of_nest, name, "analytical")


def _seconds(name: str, bound: Bound) -> float:
    """Return the latency of a nest in seconds; the result is memoised."""
    return bound.memo(result_of_nest, name, "analytical").latency_s
