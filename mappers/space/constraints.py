"""Constraints on mappings: statements that a mapping must or must not fulfil."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from archsim.nest.record import Bound, BoundEinsum
from einsum_cascade.errors import Problem
from einsum_cascade.memo import cached_property
from einsum_cascade.source import Span


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Range of a rank's sizes in coordinates; without ``most`` it has no upper limit.

    Examples
    --------
    >>> str(SizeRange(256, 256)), str(SizeRange(1, 64)), str(SizeRange(8)), str(SizeRange(8, 64))
    ('256', 'at most 64', 'at least 8', 'from 8 to 64')
    """

    least: int = 1
    most: int | None = None

    def __contains__(self, size: int) -> bool:
        return self.least <= size and (self.most is None or size <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least:,}"
        if self.least == self.most:
            return f"{self.least:,}"
        if self.least == 1:
            return f"at most {self.most:,}"
        return f"from {self.least:,} to {self.most:,}"

    @property
    def ends(self) -> tuple[int, ...]:
        """Smallest size of the range, and the largest if there is a limit."""
        return (self.least,) if self.most is None else (self.least, self.most)


CoordinatesAlong = Mapping[tuple[str, str], int]
"""Number of coordinates along an array dimension, by (dimension, rank)."""

PartOf = Callable[[str], tuple[str, int]]
"""Function from a rank member such as M0 to its rank and its number of coordinates."""

SharedRanks = Sequence[tuple[str, tuple[str, ...]]]
"""Pairs of a memory and the ranks of its shared loops of several iterations, outermost first."""


@dataclass(frozen=True, slots=True)
class RunsOn:
    """Statement that an Einsum runs on one of some arrays."""

    einsum: str
    arrays: tuple[str, ...]

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"{self.einsum} {must} run on {' or '.join(self.arrays)}"

    def holds(self, array: str, coordinates: CoordinatesAlong) -> bool:
        """Return whether an Einsum that runs on the given array fulfils the statement."""
        del coordinates
        return array in self.arrays


@dataclass(frozen=True, slots=True)
class LiesAlong:
    """Statement that a rank of an Einsum lies, whole or in part, along an array dimension."""

    einsum: str
    dimension: str
    rank: str
    size: SizeRange | None = None
    """Coordinates of the rank along the dimension; None allows any number."""

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        what = self.rank if self.size is None else f"{self.size} of {self.rank}"
        return f"{what} {must} lie along {self.dimension} in {self.einsum}"

    def holds(self, array: str, coordinates: CoordinatesAlong) -> bool:
        """Return whether an Einsum with the given ranks along array dimensions fulfils the
        statement."""
        del array
        found = coordinates.get((self.dimension, self.rank))
        return found is not None and (self.size is None or found in self.size)


@dataclass(frozen=True, slots=True)
class IsInnermost:
    """Statement that the innermost loop of an Einsum is over one of some ranks.

    Loops of one iteration do not count.
    """

    einsum: str
    ranks: tuple[str, ...]

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"the innermost loop of {self.einsum} {must} be over {' or '.join(self.ranks)}"

    def holds(self, e: BoundEinsum) -> bool:
        """Return whether a bound Einsum fulfils the statement; an Einsum without loops does not."""
        return bool(e.nonunit_loops) and e.nonunit_loops[-1].variable.upper() in self.ranks


@dataclass(frozen=True, slots=True)
class IsAlone:
    """Statement that an Einsum has a loop of its own over a rank whose loop other Einsums share."""

    einsum: str

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"{self.einsum} {must} stay outside of shared loops"

    def holds(self, e: BoundEinsum) -> bool:
        """Return whether a bound Einsum fulfils the statement."""
        return any(loop.member in e.outside for loop in e.nonunit_loops)


@dataclass(frozen=True, slots=True)
class IsShared:
    """Statement that Einsums share a loop of several iterations over a rank."""

    rank: str

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"loops over {self.rank} {must} be shared"

    def holds(self, shared: SharedRanks) -> bool:
        """Return whether the given shared loops fulfil the statement."""
        return any(self.rank in ranks for _, ranks in shared)


@dataclass(frozen=True, slots=True)
class IsOutside:
    """Statement that a shared loop at a memory, over one rank, is outside of one over another."""

    memory: str
    outer: str
    inner: str

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"{self.outer} {must} be looped over outside of {self.inner} at {self.memory}"

    def holds(self, shared: SharedRanks) -> bool:
        """Return whether the given shared loops fulfil the statement."""
        return any(
            self.inner in ranks[ranks.index(self.outer) :]
            for memory, ranks in shared
            if memory == self.memory and self.outer in ranks
        )


@dataclass(frozen=True, slots=True)
class IsKept:
    """Statement that a tensor is kept in a memory, or in the registers of an array."""

    tensor: str
    level: str

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"{self.tensor} {must} be kept in {self.level}"

    def holds(self, places: Collection[str]) -> bool:
        """Return whether a tensor kept at the given levels fulfils the statement."""
        return self.level in places


@dataclass(frozen=True, slots=True)
class HasTiles:
    """Statement on the size of a rank's tiles in a memory.

    A memory's tile is the part of the rank inside of all loops at memories further out.
    """

    memory: str
    rank: str
    size: SizeRange

    def text(self, must: str) -> str:
        """Return the statement as a sentence; ``must`` is *must* or *must not*."""
        return f"tiles of {self.rank} in {self.memory} {must} have {self.size}"

    def holds(self, sizes: Collection[int]) -> bool:
        """Return whether tiles of these sizes, one for each Einsum, fulfil the statement."""
        return all(size in self.size for size in sizes)


Statement = RunsOn | LiesAlong | IsInnermost | IsAlone | IsShared | IsOutside | IsKept | HasTiles
"""Statement on mappings, which holds for a mapping or does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingConstraint:
    """A statement, and whether mappings must or must not fulfil it."""

    statement: Statement
    must: bool
    span: Span | None = field(default=None, compare=False)
    """Position in the file that states the constraint."""

    @property
    def text(self) -> str:
        """Constraint as a sentence."""
        return self.statement.text("must" if self.must else "must not")


@dataclass(frozen=True)
class Constraints:
    """Constraints that a mapping must fulfil together.

    Examples
    --------
    >>> keys = MappingConstraint(statement=IsKept("K", "global_buffer"), must=False)
    >>> Constraints((keys,)).places("K", [("DRAM",), ("DRAM", "global_buffer")])
    (('DRAM',),)
    """

    all: tuple[MappingConstraint, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.all)

    def of_einsum(self, name: str) -> tuple[MappingConstraint, ...]:
        """Return the constraints on one Einsum's array, layout and loops."""
        return self._of_einsum.get(name, ())

    @cached_property
    def _of_einsum(self) -> dict[str, tuple[MappingConstraint, ...]]:
        return self._grouped(RunsOn | LiesAlong | IsInnermost | IsAlone, "einsum")

    @cached_property
    def _of_tensor(self) -> dict[str, tuple[MappingConstraint, ...]]:
        """Constraints on the levels that keep a tensor, by tensor."""
        return self._grouped(IsKept, "tensor")

    def _grouped(self, kinds: Any, field_name: str) -> dict[str, tuple[MappingConstraint, ...]]:
        """Return the constraints whose statements are of given types, grouped by a field."""
        found: dict[str, tuple[MappingConstraint, ...]] = {}
        for c in self.all:
            if isinstance(c.statement, kinds):
                name = getattr(c.statement, field_name)
                found[name] = (*found.get(name, ()), c)
        return found

    @cached_property
    def of_nest(self) -> tuple[MappingConstraint, ...]:
        """Constraints on shared loops."""
        return tuple(c for c in self.all if isinstance(c.statement, IsShared | IsOutside))

    @cached_property
    def wanted(self) -> frozenset[str]:
        """Ranks that must have shared loops."""
        shared = (c for c in self.of_nest if c.must)
        return frozenset(s.rank for c in shared if isinstance(s := c.statement, IsShared))

    @cached_property
    def of_tiles(self) -> dict[str, tuple[MappingConstraint, ...]]:
        """Constraints on tiles in memories, by rank."""
        return self._grouped(HasTiles, "rank")

    def named_tile_sizes(self, rank: str) -> tuple[int, ...]:
        """Return a rank's tile sizes that constraints name; a mapspace adds them to its own."""
        ends: dict[int, None] = {}
        for c in self.of_tiles.get(rank, ()):
            if isinstance(s := c.statement, HasTiles):
                # A rank that must not have 32 to 64 may have 31 or 65: neighbours are worth a try.
                margin = 0 if c.must else 1
                ends |= dict.fromkeys((s.size.least - margin, s.size.ends[-1] + margin))
                ends |= dict.fromkeys(s.size.ends)
        return tuple(n for n in ends if n > 0)

    def named_spatial_sizes(self, rank: str) -> tuple[int, ...]:
        """Return the sizes along array dimensions that constraints name; ranks are also cut at
        these."""
        laid = (c.statement for c in self.all if isinstance(c.statement, LiesAlong))
        sizes = (s.size for s in laid if s.rank == rank and s.size is not None)
        return tuple(dict.fromkeys(n for size in sizes for n in size.ends if n > 1))

    def broken_by_tiles(
        self, rank: str, sizes: Callable[[str], Collection[int]]
    ) -> MappingConstraint | None:
        """Return the first constraint that a rank's tiles break, if any.

        Parameters
        ----------
        sizes : callable
            Returns the sizes of the rank's tiles in a memory, given its name.
        """
        for c in self.of_tiles.get(rank, ()):
            if isinstance(s := c.statement, HasTiles) and s.holds(sizes(s.memory)) is not c.must:
                return c
        return None

    def are_on_loops_of(self, einsum: str) -> bool:
        """Return whether some constraints depend on loops that are known only once an Einsum is
        bound."""
        mine = (c.statement for c in self.of_einsum(einsum))
        return any(isinstance(s, IsInnermost | IsAlone) for s in mine)

    def broken_by_layout(
        self, einsum: str, array: str, coordinates: CoordinatesAlong
    ) -> MappingConstraint | None:
        """Return the first constraint that an Einsum's layout on an array breaks, if any.

        Parameters
        ----------
        einsum, array : str
            Names of the Einsum and the array.
        lying : mapping
            Coordinates along dimensions, by dimension and rank.
        """
        return _first_broken(self.of_einsum(einsum), RunsOn | LiesAlong, array, coordinates)

    def broken_by_array(self, einsum: str, array: str) -> MappingConstraint | None:
        """Return the first constraint that an Einsum on an array breaks with any layout, if there
        is one."""
        return _first_broken(self.of_einsum(einsum), RunsOn, array, {})

    def broken_by_loops(self, e: BoundEinsum) -> MappingConstraint | None:
        """Return the first constraint that an Einsum's loops break, if any."""
        return _first_broken(self.of_einsum(e.name), IsInnermost | IsAlone, e)

    def broken_by_nest(self, shared: SharedRanks) -> MappingConstraint | None:
        """Return the first constraint that shared loops break, if any."""
        return _first_broken(self.of_nest, IsShared | IsOutside, shared)

    def broken_by_places(self, tensor: str, places: Collection[str]) -> MappingConstraint | None:
        """Return the first constraint that a tensor kept at some levels breaks, if any."""
        return _first_broken(self._of_tensor.get(tensor, ()), IsKept, places)

    def places(self, tensor: str, found: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        """Return those of the given residencies that constraints allow for a tensor."""
        return tuple(places for places in found if not self.broken_by_places(tensor, places))

    def layouts(
        self, einsum: str, array: str, part_of: PartOf
    ) -> Callable[[Iterable[tuple[str, tuple[str, ...]]]], bool]:
        """Return a function that tells if constraints allow a layout of an Einsum on an array.

        Parameters
        ----------
        part_of : callable
            Returns the rank of a member, and the number of its parts.
        """

        if not self.of_einsum(einsum):
            return lambda _: True

        def may(along: Iterable[tuple[str, tuple[str, ...]]]) -> bool:
            coordinates: dict[tuple[str, str], int] = {}
            for dimension, members in along:
                for rank, parts in map(part_of, members):
                    coordinates[dimension, rank] = coordinates.get((dimension, rank), 1) * parts
            return self.broken_by_layout(einsum, array, coordinates) is None

        return may

    def broken(self, bound: Bound) -> MappingConstraint | None:
        """Return the first constraint that a mapping breaks; None if it fulfils all."""
        if not self.all:
            return None
        for e in bound.einsums:
            coordinates = _coordinates_along(e)
            wrong = self.broken_by_layout(
                e.name, e.array.name, coordinates
            ) or self.broken_by_loops(e)
            if wrong is not None:
                return wrong
        for tensor, homes in bound.residency.places:
            wrong = self.broken_by_places(tensor, [home.name for home in homes])
            if wrong is not None:
                return wrong
        for rank in self.of_tiles:
            if wrong := self.broken_by_tiles(rank, partial(_tiles, bound, rank)):
                return wrong
        shared = [
            (m.name, tuple(x.rank for x in bound.nest if x.level == level and x.bound > 1))
            for level, m in enumerate(bound.architecture.memories)
        ]
        return self.broken_by_nest(shared)


def _first_broken(
    constraints: Iterable[MappingConstraint], kinds: Any, *facts: Any
) -> MappingConstraint | None:
    """Return the first constraint whose statement is of a given type and does not hold, if any.

    Parameters
    ----------
    kinds : type or union of types
        Statements whose ``holds`` takes the facts.
    """
    able = ((c, c.statement) for c in constraints if isinstance(c.statement, kinds))
    return next((c for c, statement in able if statement.holds(*facts) is not c.must), None)


def _coordinates_along(e: BoundEinsum) -> dict[tuple[str, str], int]:
    """Return the size of the first tile along each array dimension, by dimension and rank."""
    found: dict[tuple[str, str], int] = {}
    left = list(e.whole.first_tile)
    # Outer parts come first: 100 coordinates are 4 parts of 32, and inside of one 32 of 1.
    for loop in sorted(e.spatial, key=lambda x: -x.stride):
        parts = -(-left[loop.axis] // loop.stride)
        left[loop.axis] = min(left[loop.axis], loop.stride)
        key = (loop.dimension or "", loop.variable.upper())
        found[key] = found.get(key, 1) * parts
    return found


def _tiles(bound: Bound, rank: str, memory: str) -> set[int]:
    """Return the distinct sizes of a rank's tiles in a memory, among all Einsums."""
    level = [m.name for m in bound.architecture.memories].index(memory)
    members, found = bound.tiling.members, set[int]()
    for e in bound.einsums:
        if rank.lower() in e.variables or rank in bound.program.parallel:
            size = bound.tiling.shapes[rank]
            for loop in e.temporal:
                if loop.level < level and members[loop.member].rank == rank:
                    size = min(size, members[loop.member].stride)
            found.add(size)
    return found


NO_CONSTRAINTS = Constraints()


def broken_problem(broken: MappingConstraint, what: str) -> Problem:
    """Return the problem of something that breaks a constraint.

    Parameters
    ----------
    what : str
        Name of the thing that breaks it.
    """
    return Problem(f"{what} breaks a constraint: {broken.text}", broken.span)
