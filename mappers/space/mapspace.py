"""The space of mappings of a cascade on a machine: what is open, and how much there is of it.

A mapping of the space is one fused nest. Open are, in this order:

* the *shared* ranks: whose loops all Einsums go round together. Every Einsum goes over the
  other ranks by itself, its results' ranks outside of what it sums over.
* the *order* of the shared loops at every memory;
* the *tiles*: how many coordinates of a rank each memory holds. Ranks that are longer than
  an array is wide, and those along which values run, are cut so; the innermost part of a
  rank is as long as an array dimension.
* the *ways*: the array each Einsum runs on, if several can, and whether its own loops over
  what it sums over are outside of those over its result's ranks, or inside;
* the *residency*: where every tensor is kept.

What is laid out along the dimensions of an array follows from the array (``layout``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from einsum_cascade.ir import Program

from ..arrays import arrays_of
from .array_tiles import family_tiles
from .factorisation import Factorisation, factorise_ranks
from .layout import Layouts

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A mapping without sizes, arrays and residency."""

    shared: tuple[str, ...]
    """Ranks whose loops are shared, beside the parallel ones."""
    order: tuple[tuple[str, ...], ...]
    """Shared loops of more than one iteration at each memory, outermost first."""
    own: frozenset[str]
    """Other loops at memories that go round more than once."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an Einsum runs: its array, and whether it goes over what it sums over outside of the
    ranks of its result, where it goes over both by itself."""

    array: str
    sums_outside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subspace:
    """Mappings with the same loops: a skeleton, and all tilings in which just these go round.

    Rows of ``sizes`` are tilings, columns the tiles of ``Mapspace.tiles``.
    """

    skeleton: Skeleton
    sizes: Ints


@dataclass(frozen=True, kw_only=True)
class Mapspace:
    """All mappings of a cascade of some shapes on a machine."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    """Every rank's, also of those that follow from others."""
    fixed: tuple[Tile, ...]
    """Tiles of ranks that the cascade itself cuts."""

    @classmethod
    def of(cls, program: Program, architecture: Architecture, given: dict[str, int]) -> Mapspace:
        """The space of a cascade on a machine.

        Parameters
        ----------
        given : dict
            Shapes in elements, by rank.

        Raises
        ------
        SpecError
            Shapes are missing.
        MappingError
            No array can do all operations of an Einsum.
        """
        fixed, shapes = family_tiles(program, architecture, given)
        return cls(program=program, architecture=architecture, shapes=shapes, fixed=fixed)

    @property
    def given(self) -> dict[str, int]:
        """Shapes of the ranks that are not cut by a mapping's tiles."""
        fixed = {tile.member for tile in self.fixed}
        follows = {m for r in self.program.ranks for m in r.partition[:1] if {*r.partition} & fixed}
        return {r: size for r, size in self.shapes.items() if r not in fixed | follows}

    @cached_property
    def factorisations(self) -> tuple[Factorisation, ...]:
        """How each rank is cut."""
        return factorise_ranks(self.program, self.architecture, self.shapes)

    @cached_property
    def factorisation_of(self) -> dict[str, Factorisation]:
        """The same, by rank."""
        return {cut.rank: cut for cut in self.factorisations}

    @cached_property
    def open_factorisations(self) -> tuple[Factorisation, ...]:
        """Ranks of which a memory may hold more or less."""
        return tuple(cut for cut in self.factorisations if cut.levelled)

    @property
    def tiled_ranks(self) -> tuple[str, ...]:
        """Ranks in the order in which a tiling lists their members."""
        leaves = [r.name for r in self.program.ranks if not r.partition]
        families = [r.name for r in self.program.ranks if r.partition]
        return (*self.program.parallel, *leaves, *families)

    @cached_property
    def tiles(self) -> tuple[tuple[str, str], ...]:
        """Open tiles as (rank, member)."""
        return tuple((cut.rank, member) for cut in self.open_factorisations for member in cut.held)

    @cached_property
    def arrays(self) -> dict[str, tuple[str, ...]]:
        """Arrays that can do all operations of an Einsum, by its name.

        Raises
        ------
        MappingError
            There is none.
        """
        return {
            e.name: tuple(a.name for a in arrays_of(self.program, e, self.architecture))
            for e in self.program.einsums
        }

    @cached_property
    def places(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Where each tensor may be kept: lists of levels.

        Inputs and outputs are in the outermost memory, perhaps also in inner ones;
        intermediates in any memories, or in the registers of one array.
        """
        outermost, *inner = (m.name for m in self.architecture.memories)
        subsets: list[tuple[str, ...]] = [()]
        for name in inner:
            subsets += [(*found, name) for found in subsets]
        ends = {*(t.name for t in self.program.inputs), *self.program.outputs}
        tensors = [*(t.name for t in self.program.inputs), *(e.name for e in self.program.einsums)]
        kept = tuple((outermost, *found) for found in subsets)
        used = dict.fromkeys(a for arrays in self.arrays.values() for a in arrays)
        # The last alternative has every memory: what binds a subspace, or shows that nothing
        # fits, counts on it.
        between = (*((a,) for a in used), *(s for s in subsets if s), *kept)
        return {t: kept if t in ends else between for t in tensors}

    @cached_property
    def layouts(self) -> Layouts:
        """What each Einsum lays out on each array."""
        return Layouts(
            program=self.program, architecture=self.architecture, factorisations=self.factorisations
        )

    @cached_property
    def tilings(self) -> Ints:
        """All combinations of tile sizes, a row each."""
        columns = [cut.sizes() for cut in self.open_factorisations]
        rows = [tuple(x for sizes in row for x in sizes) for row in product(*columns)]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.tiles))

    def subspaces(self, shared: tuple[str, ...]) -> Iterator[Subspace]:
        """All mappings that share the loops of some ranks."""
        members = [m for cut in self.open_factorisations for m in cut.levelled]
        going_round = np.zeros((len(self.tilings), len(members)), dtype=np.bool_)
        column = 0
        for cut, columns in self._columns():
            loops = slice(column, column + len(cut.levelled))
            going_round[:, loops] = cut.going(self.tilings[:, columns])
            column += len(cut.levelled)
        patterns, which = _patterns(going_round)
        # Those with the fewest loops first: of mappings as good, theirs move least.
        for number, pattern in enumerate(patterns):
            going = {m for m, goes in zip(members, pattern, strict=True) if goes}
            sizes = self.tilings[which == number]
            own = frozenset(m for m in going if self._rank_of[m] not in shared)
            if self._nested(going, own):
                for order in product(*(permutations(x) for x in self._loops(shared, going))):
                    yield Subspace(
                        skeleton=Skeleton(shared=shared, order=order, own=own), sizes=sizes
                    )

    @cached_property
    def _rank_of(self) -> dict[str, str]:
        return {m: cut.rank for cut in self.open_factorisations for m in cut.levelled}

    def _nested(self, going: set[str], own: frozenset[str]) -> bool:
        """Whether no loop of an Einsum's own is at a memory outside of a shared one's."""
        level = {m: n for cut in self.open_factorisations for n, m in enumerate(cut.levelled)}
        deepest = max((level[m] for m in going - own), default=0)
        return all(level[m] >= deepest for m in own)

    def _columns(self) -> Iterator[tuple[Factorisation, slice]]:
        start = 0
        for cut in self.open_factorisations:
            yield cut, slice(start, start + len(cut.held))
            start += len(cut.held)

    def _loops(self, shared: tuple[str, ...], going: set[str]) -> list[list[str]]:
        """Shared loops that go round, by memory."""
        depth = len(self.architecture.memories)
        cuts = [self.factorisation_of[rank] for rank in shared]
        return [[cut.levelled[n] for cut in cuts if cut.levelled[n] in going] for n in range(depth)]

    @cached_property
    def ways(self) -> dict[str, tuple[Way, ...]]:
        """How each Einsum may run. In a subspace some of its ways may be the same."""
        found: dict[str, tuple[Way, ...]] = {}
        for e in self.program.einsums:
            orders = (False, True) if {*e.over} - {*e.target.variables} else (False,)
            found[e.name] = tuple(Way(a, o) for o in orders for a in self.arrays[e.name])
        return found

    @property
    def bindings(self) -> int:
        """Ways of all Einsums together."""
        return prod(len(ways) for ways in self.ways.values())

    @property
    def residencies(self) -> int:
        """Ways to keep tensors."""
        return prod(len(places) for places in self.places.values())

    def mapping(
        self,
        skeleton: Skeleton,
        sizes: Ints,
        ways: dict[str, Way],
        places: dict[str, tuple[str, ...]],
    ) -> Mapping:
        """One mapping of the space.

        Parameters
        ----------
        sizes : array of int64, (tiles,)
        ways : dict
            How every Einsum runs.
        places : dict
            The levels that keep each tensor.
        """
        levels = [m.name for m in self.architecture.memories]
        held = dict(zip((m for _, m in self.tiles), map(int, sizes), strict=True))
        nest = self._nest(skeleton)
        used = [*levels, *(a.name for a in self.architecture.arrays)]
        keep = (
            (level, tuple(t for t, found in places.items() if level in found)) for level in used
        )
        return Mapping(
            name="searched",
            cascade=self.program.name,
            tiles=(*self.fixed, *(t for cut in self.factorisations for t in cut.tiles(held))),
            nest=tuple(
                NestLevel(level=level, loops=tuple(loops))
                for level, loops in zip(levels, nest, strict=True)
                if loops
            ),
            einsums=tuple(
                self._einsum(skeleton, e.name, ways[e.name]) for e in self.program.einsums
            ),
            keep=tuple(Keep(level=level, tensors=found) for level, found in keep if found),
            schedule=Schedule(kind="pipelined"),
        )

    def _nest(self, skeleton: Skeleton) -> list[list[str]]:
        """All shared loops by memory; those of one iteration are at the outermost, each behind
        the outer loop of its rank."""
        going = {m for loops in skeleton.order for m in loops}
        outermost, *inner = (list(loops) for loops in skeleton.order)
        for rank in reversed(skeleton.shared):
            place = 0
            for member in self.factorisation_of[rank].levelled:
                if member not in going:
                    outermost.insert(place, member)
                if member in outermost:
                    place = outermost.index(member) + 1
        return [[*self.program.parallel, *outermost], *inner]

    def _einsum(self, skeleton: Skeleton, name: str, way: Way) -> EinsumMapping:
        along = self.layouts.of(name, way.array)
        laid = {m for _, members in along for m in members}
        loops: list[list[str]] = [[] for _ in self.architecture.memories]
        deepest = max((n for n, going in enumerate(skeleton.order) if going), default=0)
        for rank in self.layouts.own_order(name, sums_outside=way.sums_outside):
            cut = self.factorisation_of[rank]
            if rank not in skeleton.shared and rank not in self.program.parallel:
                # A loop that goes round once may be anywhere but outside of a shared one: at the
                # deepest memory that has one of these it never is.
                for level, member in enumerate(cut.levelled):
                    loops[level if member in skeleton.own else deepest].append(member)
            loops[-1] += [m for m, _ in reversed(cut.fine) if m not in laid]
        levels = [m.name for m in self.architecture.memories]
        return EinsumMapping(
            einsum=name,
            array=way.array,
            spatial=along,
            nest=tuple(
                NestLevel(level=level, loops=tuple(found))
                for level, found in zip(levels, loops, strict=True)
                if found
            ),
        )


def _patterns(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Ints]:
    """Distinct rows, and which one each row is."""
    if not rows.shape[1]:
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    patterns, which = np.unique(rows, axis=0, return_inverse=True)
    return patterns, which.reshape(-1)
