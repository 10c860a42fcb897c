"""Sizes that constraints ask for: of a tile in a memory, of a part along a dimension."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from archsim.nest.record import Bound, BoundEinsum
from einsum_cascade.errors import Problem
from einsum_cascade.memo import cached_property
from einsum_cascade.source import Span


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Coordinates of a rank, from the least to the most; no most is any number.

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
        """Its least and its most, where there is one."""
        return (self.least,) if self.most is None else (self.least, self.most)


Lying = Mapping[tuple[str, str], int]
"""By array dimension and rank of which a part lies along it, how many coordinates that has."""

PartOf = Callable[[str], tuple[str, int]]
"""Of a member its rank, and how many parts of it there are."""

SharedRanks = Sequence[tuple[str, tuple[str, ...]]]
"""By memory the ranks of its shared loops that go round, outermost first."""


@dataclass(frozen=True, slots=True)
class RunsOn:
    """An Einsum runs on one of some arrays."""

    einsum: str
    arrays: tuple[str, ...]

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"{self.einsum} {must} run on {' or '.join(self.arrays)}"

    def holds(self, array: str, lying: Lying) -> bool:
        """Whether an Einsum on this array does."""
        del lying
        return array in self.arrays


@dataclass(frozen=True, slots=True)
class LiesAlong:
    """A rank of an Einsum, or a part of it, lies along a dimension of the array it runs on."""

    einsum: str
    dimension: str
    rank: str
    size: SizeRange | None = None
    """How many coordinates of it lie there; any number where none is given."""

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        what = self.rank if self.size is None else f"{self.size} of {self.rank}"
        return f"{what} {must} lie along {self.dimension} in {self.einsum}"

    def holds(self, array: str, lying: Lying) -> bool:
        """Whether an Einsum with these ranks along dimensions does."""
        del array
        found = lying.get((self.dimension, self.rank))
        return found is not None and (self.size is None or found in self.size)


@dataclass(frozen=True, slots=True)
class IsInnermost:
    """The innermost loop of an Einsum that goes round is over one of some ranks."""

    einsum: str
    ranks: tuple[str, ...]

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"the innermost loop of {self.einsum} {must} be over {' or '.join(self.ranks)}"

    def holds(self, e: BoundEinsum) -> bool:
        """Whether it is; it is not where no loop goes round."""
        return bool(e.nonunit_loops) and e.nonunit_loops[-1].variable.upper() in self.ranks


@dataclass(frozen=True, slots=True)
class IsAlone:
    """An Einsum stays outside of a shared loop over one of its ranks, and goes round by itself."""

    einsum: str

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"{self.einsum} {must} stay outside of shared loops"

    def holds(self, e: BoundEinsum) -> bool:
        """Whether it does."""
        return any(loop.member in e.outside for loop in e.nonunit_loops)


@dataclass(frozen=True, slots=True)
class IsShared:
    """A loop over a rank that goes round is shared by the Einsums."""

    rank: str

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"loops over {self.rank} {must} be shared"

    def holds(self, shared: SharedRanks) -> bool:
        """Whether one is."""
        return any(self.rank in ranks for _, ranks in shared)


@dataclass(frozen=True, slots=True)
class IsOutside:
    """At a memory a shared loop over one rank stands outside of one over another."""

    memory: str
    outer: str
    inner: str

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"{self.outer} {must} be looped over outside of {self.inner} at {self.memory}"

    def holds(self, shared: SharedRanks) -> bool:
        """Whether one does."""
        return any(
            self.inner in ranks[ranks.index(self.outer) :]
            for memory, ranks in shared
            if memory == self.memory and self.outer in ranks
        )


@dataclass(frozen=True, slots=True)
class IsKept:
    """A tensor is kept in a memory, or in the registers of an array."""

    tensor: str
    level: str

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"{self.tensor} {must} be kept in {self.level}"

    def holds(self, places: Collection[str]) -> bool:
        """Whether it is."""
        return self.level in places


@dataclass(frozen=True, slots=True)
class HasTiles:
    """Tiles of a rank that a memory holds have so many coordinates: those that stand inside of all
    loops over the rank at memories further out."""

    memory: str
    rank: str
    size: SizeRange

    def text(self, must: str) -> str:
        """A sentence; ``must`` is *must* or *must not*."""
        return f"tiles of {self.rank} in {self.memory} {must} have {self.size}"

    def holds(self, sizes: Collection[int]) -> bool:
        """Whether the tiles of all Einsums that go over the rank do."""
        return all(size in self.size for size in sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingConstraint:
    """A statement that must hold, or must not."""

    statement: RunsOn | LiesAlong | IsInnermost | IsAlone | IsShared | IsOutside | IsKept | HasTiles
    must: bool
    span: Span | None = field(default=None, compare=False)
    """Where it was written."""

    @property
    def text(self) -> str:
        """A sentence."""
        return self.statement.text("must" if self.must else "must not")


@dataclass(frozen=True)
class Constraints:
    """Constraints that all have to be obeyed.

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
        """Those on how an Einsum runs."""
        return self._of_einsum.get(name, ())

    @cached_property
    def _of_einsum(self) -> dict[str, tuple[MappingConstraint, ...]]:
        found: dict[str, tuple[MappingConstraint, ...]] = {}
        for c in self.all:
            if isinstance(c.statement, RunsOn | LiesAlong | IsInnermost | IsAlone):
                found[c.statement.einsum] = (*found.get(c.statement.einsum, ()), c)
        return found

    def of_tensor(self, name: str) -> tuple[MappingConstraint, ...]:
        """Those on where a tensor is kept."""
        return tuple(
            c for c in self.all if isinstance(c.statement, IsKept) and c.statement.tensor == name
        )

    @cached_property
    def of_nest(self) -> tuple[MappingConstraint, ...]:
        """Those on shared loops."""
        return tuple(c for c in self.all if isinstance(c.statement, IsShared | IsOutside))

    @cached_property
    def wanted(self) -> frozenset[str]:
        """Ranks that must have shared loops."""
        shared = (c for c in self.of_nest if c.must)
        return frozenset(s.rank for c in shared if isinstance(s := c.statement, IsShared))

    @cached_property
    def of_tiles(self) -> dict[str, tuple[MappingConstraint, ...]]:
        """Those on tiles of memories, by rank."""
        found: dict[str, tuple[MappingConstraint, ...]] = {}
        for c in self.all:
            if isinstance(s := c.statement, HasTiles):
                found[s.rank] = (*found.get(s.rank, ()), c)
        return found

    def sizes_asked(self, rank: str) -> tuple[int, ...]:
        """Sizes of tiles of a rank that constraints name: a space has them, as far as it can."""
        ends: dict[int, None] = {}
        for c in self.of_tiles.get(rank, ()):
            if isinstance(s := c.statement, HasTiles):
                # What must not be 32 to 64 may be 31 or 65: sizes just beside are worth trying.
                beside = 0 if c.must else 1
                ends |= dict.fromkeys((s.size.least - beside, s.size.ends[-1] + beside))
                ends |= dict.fromkeys(s.size.ends)
        return tuple(n for n in ends if n > 0)

    def sizes_laid(self, rank: str) -> tuple[int, ...]:
        """Sizes of parts along dimensions that constraints name: ranks are cut so, too."""
        laid = (c.statement for c in self.all if isinstance(c.statement, LiesAlong))
        sizes = (s.size for s in laid if s.rank == rank and s.size is not None)
        return tuple(dict.fromkeys(n for size in sizes for n in size.ends if n > 1))

    def broken_by_tiles(
        self, rank: str, sizes: Callable[[str], Collection[int]]
    ) -> MappingConstraint | None:
        """The first that tiles of a rank break.

        Parameters
        ----------
        sizes : callable
            Of a memory, by its name, the sizes that tiles of the rank have there.
        """
        for c in self.of_tiles.get(rank, ()):
            if isinstance(s := c.statement, HasTiles) and s.holds(sizes(s.memory)) is not c.must:
                return c
        return None

    def are_on_loops_of(self, einsum: str) -> bool:
        """Whether some are on the loops of an Einsum: those are known once it is bound."""
        mine = (c.statement for c in self.of_einsum(einsum))
        return any(isinstance(s, IsInnermost | IsAlone) for s in mine)

    def broken_by_way(self, einsum: str, array: str, lying: Lying) -> MappingConstraint | None:
        """The first that an Einsum breaks that runs so.

        Parameters
        ----------
        einsum, array : str
            By name, the Einsum and where it runs.
        lying : mapping
            By dimension and rank, how many coordinates lie there.
        """
        for c in self.of_einsum(einsum):
            s = c.statement
            if isinstance(s, RunsOn | LiesAlong) and s.holds(array, lying) is not c.must:
                return c
        return None

    def broken_by_array(self, einsum: str, array: str) -> MappingConstraint | None:
        """The first that an Einsum breaks on an array, whatever lies along it."""
        for c in self.of_einsum(einsum):
            if isinstance(s := c.statement, RunsOn) and s.holds(array, {}) is not c.must:
                return c
        return None

    def broken_by_loops(self, e: BoundEinsum) -> MappingConstraint | None:
        """The first that the loops of an Einsum break."""
        for c in self.of_einsum(e.name):
            if isinstance(s := c.statement, IsInnermost | IsAlone) and s.holds(e) is not c.must:
                return c
        return None

    def broken_by_nest(self, shared: SharedRanks) -> MappingConstraint | None:
        """The first that shared loops break."""
        for c in self.of_nest:
            if isinstance(s := c.statement, IsShared | IsOutside) and s.holds(shared) is not c.must:
                return c
        return None

    def broken_by_places(self, tensor: str, places: Collection[str]) -> MappingConstraint | None:
        """The first that a tensor breaks that is kept in some places."""
        for c in self.of_tensor(tensor):
            if isinstance(s := c.statement, IsKept) and s.holds(places) is not c.must:
                return c
        return None

    def places(self, tensor: str, found: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        """Those of some places that a tensor may be kept in."""
        return tuple(places for places in found if not self.broken_by_places(tensor, places))

    def layouts(
        self, einsum: str, array: str, part_of: PartOf
    ) -> Callable[[Iterable[tuple[str, tuple[str, ...]]]], bool]:
        """What tells whether members may lie so along dimensions where an Einsum runs on an array.

        Parameters
        ----------
        part_of : callable
            The rank of a member, and how many parts of it there are.
        """

        if not self.of_einsum(einsum):
            return lambda _: True

        def may(along: Iterable[tuple[str, tuple[str, ...]]]) -> bool:
            lying: dict[tuple[str, str], int] = {}
            for dimension, members in along:
                for rank, parts in map(part_of, members):
                    lying[dimension, rank] = lying.get((dimension, rank), 1) * parts
            return self.broken_by_way(einsum, array, lying) is None

        return may

    def broken(self, bound: Bound) -> MappingConstraint | None:
        """The first that a mapping breaks; None where it obeys all."""
        if not self.all:
            return None
        for e in bound.einsums:
            lying = _lying(e)
            wrong = self.broken_by_way(e.name, e.array.name, lying) or self.broken_by_loops(e)
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


def _lying(e: BoundEinsum) -> dict[tuple[str, str], int]:
    """Coordinates along dimensions, of the first tile."""
    found: dict[tuple[str, str], int] = {}
    left = list(e.whole.first_tile)
    # Outer parts first: of 100 coordinates 4 parts of 32 lie there, inside of one 32 of 1.
    for loop in sorted(e.spatial, key=lambda x: -x.stride):
        parts = -(-left[loop.axis] // loop.stride)
        left[loop.axis] = min(left[loop.axis], loop.stride)
        key = (loop.dimension or "", loop.variable.upper())
        found[key] = found.get(key, 1) * parts
    return found


def _tiles(bound: Bound, rank: str, memory: str) -> set[int]:
    """Coordinates of a rank inside of all loops at memories further out than one, by Einsum."""
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
    """That something breaks a constraint, for an error.

    Parameters
    ----------
    what : str
        The thing that does.
    """
    return Problem(f"{what} breaks a constraint: {broken.text}", broken.span)
