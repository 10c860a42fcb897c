"""Relaxations: simpler problems are searched, and their mappings lifted to the real machine.

A query asks for the best mapping, a Pareto front or a capacity curve. One driver answers it from
any family of relaxations. Constraints are projected onto each relaxation. The engine prices the
lifted mappings. The lower bound is that of the machine itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Sizes
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.index import mapping_entries
from archsim.spec.mapping import Keep, Mapping
from archsim.spec.roles import memory_called
from einsum_cascade.errors import InputError, NoLegalMappingError

from ..construct.einsum_by_einsum import einsum_by_einsum
from ..problem.certificate import INTERRUPTED, Certificate
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.protocol import SearchProblem
from ..space.constraints import Constraints, HasTiles, IsKept, IsOutside, MappingConstraint
from ..space.mapspace import Mapspace, no_legal_mapping

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """A simpler mapspace, and a function that lifts mappings from it to the machine itself."""

    space: Mapspace
    lift: Callable[[Mapping], Iterator[Mapping]]
    """Function that yields the machine's mappings for one of ``space``; some may be illegal."""
    sharers: int = 1
    """Number of cores that share the capacity of the memory that a query asks about."""
    bounds_cores: bool = False
    """True if the mapspace is that of one core; its lower bounds then hold for each core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyMember:
    """One relaxation of a family; it is made only when it is searched."""

    make: Callable[[], Relaxation]
    """Function that makes the relaxation. Raises ``InputError`` if the machine prevents it."""
    otherwise: Callable[[], Relaxation] | None = None
    """Function that makes a second relaxation, searched if the first gives no legal mapping."""
    is_slower: Callable[[float], bool] | None = None
    """Function that returns whether input traffic alone exceeds a number of cycles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """All relaxations of one mapspace, most promising first.

    If there are no members, the mapspace itself is enumerated instead.
    """

    members: tuple[FamilyMember, ...] = ()
    label: str = ""
    """Suffix of the strategy's name in a certificate; it names the searched part of the machine."""
    good_enough: float = 0.0
    """Ratio to the best value of a relaxation at which the search stops. If a lifted mapping is as
    good, no further relaxation is searched."""
    is_brief: bool = False
    """True if searches of members are brief, as their mappings say little about the machine. The
    best member is searched again longer, and the best lifted mapping improved in small steps."""


class Query(ABC, Generic[Answer]):
    """A question about a mapspace that all its relaxations answer together."""

    def __init__(self, space: Mapspace, family: Family) -> None:
        self.space, self.family = space, family
        self.refused: list[InputError] = []
        """Errors of relaxations that cannot be made, and of lifted mappings that are illegal."""
        self.legal = 0
        """Number of legal lifted mappings."""
        self.ended = ""
        """Reason why the search ended early; empty if all relaxations were searched."""

    @abstractmethod
    def enumerated(self) -> Answer:
        """Return the answer if the mapspace itself is enumerated."""

    @abstractmethod
    def is_done(self) -> bool:
        """Return whether no further relaxation is worth a search."""

    def is_hopeless(self, member: FamilyMember) -> bool:
        """Return whether a member's relaxation need not even be made."""
        del member
        return False

    @abstractmethod
    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search a relaxation and lift its mappings; ``left`` relaxations remain, with this one."""

    @abstractmethod
    def answer(self) -> Answer:
        """Return the answer. Raises an ``InputError`` if no lifted mapping is legal."""


def answer(query: Query[Answer]) -> Answer:
    """Answer a query by searching the relaxations of its family.

    Raises
    ------
    InputError
        As ``Query.answer``.
    KeyboardInterrupt
        The search was interrupted before there was anything to report.
    """
    members = query.family.members
    if not members:
        return query.enumerated()
    try:
        for number, member in enumerate(members):
            if query.is_done():
                break
            if query.is_hopeless(member):
                continue
            legal = query.legal
            _search(query, member.make, len(members) - number)
            if member.otherwise is not None and query.legal == legal:
                _search(query, member.otherwise, len(members) - number)
    except KeyboardInterrupt as interrupt:
        query.ended = INTERRUPTED
        try:
            return query.answer()
        except InputError:
            raise interrupt from None
    return query.answer()


def _search(query: Query[Answer], make: Callable[[], Relaxation], left: int) -> None:
    try:
        query.search(make(), left)
    except InputError as wrong:
        query.refused.append(wrong)


def projected_constraints(
    whole: Mapspace, other: Architecture, shapes: Sizes[str, int]
) -> Constraints:
    """Translate the constraints of a mapspace to the machine of a relaxation.

    Parameters
    ----------
    whole : Mapspace
        Mapspace of the machine itself.
    other : Architecture
        Machine with all arrays and some of the memories of the machine itself. Its outermost memory
        stands for the missing memories outside of all others.
    shapes : mapping
        Shapes of the work on the other machine, in elements by rank.

    Examples
    --------
    A core sees HBM and L1 only. Residency in L2 does not concern it. The order of loops at L2
    concerns its loops at HBM, as these may be at either memory:

    >>> from archsim import Architecture
    >>> from einsum_cascade import Cascade
    >>> machine = Architecture.load("a100-80gb")
    >>> hbm, l2, l1 = machine.memories
    >>> core = replace(machine, memories=(hbm, replace(l1, inside="HBM")))
    >>> given = (IsKept("X", "L2"), IsKept("X", "L1"), IsOutside("L2", "N", "J"))
    >>> constraints = Constraints(tuple(MappingConstraint(statement=s, must=False) for s in given))
    >>> shapes = {"N": 16, "D": 16, "J": 16}
    >>> layer = Mapspace.of(Cascade.load("linear-layer").program, machine, shapes, constraints)
    >>> [c.text for c in projected_constraints(layer, core, shapes).all]
    ['X must not be kept in L1', 'N must not be looped over outside of J at HBM']
    """
    found = (_projected(c, whole.architecture, other, shapes) for c in whole.constraints.all)
    return Constraints(tuple(c for c in found if c is not None))


def _projected(
    c: MappingConstraint, whole: Architecture, other: Architecture, shapes: Sizes[str, int]
) -> MappingConstraint | None:
    """Return a constraint as it applies to the machine of a relaxation; None if it does not."""
    known = [m.name for m in other.memories]
    missing = memories_represented(whole, other)
    match c.statement:
        case IsOutside(memory=memory) as s if memory not in known:
            moved = replace(c, statement=replace(s, memory=known[0]))
            return moved if memory in missing else None
        case IsKept(level=level) if level not in (*known, *(a.name for a in other.arrays)):
            return None
        case HasTiles(memory=memory) as s if memory not in known:
            if memory not in missing or len(known) == 1:
                return None
            if s.rank in shapes and s.holds([shapes[s.rank]]) is c.must:
                return None  # all loops are inside of the missing memory: it holds all of the part
            # With all loops outside of the missing memory, it holds what the next memory does.
            return replace(c, statement=replace(s, memory=known[1]))
    return c


def memories_represented(whole: Architecture, other: Architecture) -> tuple[str, ...]:
    """Return the memories for which a relaxed machine's outermost memory stands, except itself."""
    known = {m.name for m in other.memories[1:]}
    names = [m.name for m in whole.memories]
    first = next((n for n, name in enumerate(names) if name in known), len(names))
    return tuple(name for name in names[:first] if name != other.memories[0].name)


def with_constrained_places(whole: Mapspace, other: Architecture, mapping: Mapping) -> Mapping:
    """Return a mapping that obeys residency constraints of memories that the relaxation lacks.

    Parameters
    ----------
    whole : Mapspace
        Mapspace of the machine itself, with its constraints.
    other : Architecture
        Machine of the relaxation.
    mapping : Mapping
        Mapping of the machine itself.
    """
    levels = memories_represented(whole.architecture, other)
    for c in whole.constraints.all:
        if isinstance(s := c.statement, IsKept) and s.level in levels:
            mapping = replace(
                mapping, keep=(*_residencies(mapping, whole.architecture, s, c.must),)
            )
    return mapping


def _residencies(
    mapping: Mapping, machine: Architecture, statement: IsKept, must: bool
) -> Iterator[Keep]:
    """Yield the residency of a mapping after a tensor is added to one memory or removed from it."""
    is_found = False
    for keep in mapping.keep:
        if memory_called(machine, keep.level) != statement.level:
            yield keep
            continue
        is_found = True
        others = tuple(t for t in keep.tensors if t != statement.tensor)
        tensors = (*others, statement.tensor) if must else others
        if tensors:
            yield keep if {*tensors} == {*keep.tensors} else replace(keep, tensors=tensors)
    if must and not is_found:
        yield Keep(level=statement.level, tensors=(statement.tensor,))


def relaxed_certificate(
    problem: SearchProblem,
    best: Result,
    all_of: Sequence[Certificate],
    *,
    where: str,
    runs: int,
    ended: str,
) -> Certificate:
    """Return one certificate for several relaxations; its gap is against the machine's floor.

    Parameters
    ----------
    best : Result
        Best result of the engine on the machine itself.
    all_of : sequence of Certificate
        Certificates of the relaxations.
    where : str
        Text behind the strategy: the part of the machine that was searched.
    runs : int
        Mappings that the engine ran on the machine itself.
    """
    strategy = all_of[0].strategy if all_of else "exhaustive"
    own = problem.certificate(best, bound=0.0, strategy=strategy + where, runs=runs)
    return replace(own.with_effort_of(all_of), ended=ended)


def infeasible_relaxations(space: Mapspace, refused: Sequence[InputError]) -> InputError:
    """Return the error that explains why no lifted mapping is legal.

    Parameters
    ----------
    space : Mapspace
        Mapspace of the machine itself.
    refused : sequence of InputError
        Errors of relaxations and of lifted mappings.
    """
    if refused and not space.constraints:
        return refused[0]
    if refused:
        # Constraints that allow no mapping anywhere are explained best by the first relaxation.
        nothing = (why for why in refused if isinstance(why, NoLegalMappingError))
        return next(nothing, None) or no_legal_mapping(space, refused[0].problems)
    return NoLegalMappingError(f"no mapping is legal on {space.architecture.name}")


def first_incumbent(space: Mapspace, problem: SearchProblem) -> EngineRun | None:
    """Return the best run among the built-in and the generated mappings for a relaxation.

    Parameters
    ----------
    space : Mapspace
        Mapspace of the relaxation.
    """
    best: EngineRun | None = None
    for mapping in _unsearched(space):
        with suppress(InputError):
            run = run_mapping(space, mapping, problem.objective)
            best = run if best is None or run.value < best.value else best
    return best


def _unsearched(space: Mapspace) -> Iterator[Mapping]:
    for entry in mapping_entries(space.program.name):
        mapping = entry.load()
        # Its loops name memories by roles, which any machine has.
        if not any(level.spatial for level in mapping.nest):
            yield mapping
    with suppress(InputError):
        yield einsum_by_einsum(space.program, space.architecture, space.given)
