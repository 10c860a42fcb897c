"""A region of a mapspace: all mappings whose ranks are cut in the same way.

Each mapping of a region is one fused nest. These choices determine it, in this order:

* the *shared* ranks, whose loops all Einsums share; each Einsum has its own loops over other
  ranks;
* the *order* of the shared loops at every memory;
* the *tiles*: how many of a rank's coarse tiles each memory holds;
* the *placements*: the array of each Einsum, the rank members along its dimensions, and the
  order of the Einsum's own loops;
* the *residency*: the levels that keep each tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, permutations, product
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from archsim.bounds.makespan import makespan_bound
from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import operations_of

from . import policy
from .array_tiles import arrays_of, decided_by, outer_parts_first
from .constraints import NO_CONSTRAINTS, Constraints, SharedRanks
from .factorisation import (
    Along,
    Cut,
    EinsumPlacement,
    Factorisation,
    Layout,
    closed,
    factorise,
    joined_ranks,
    layouts_of,
    stepped_ranks,
    turned_ranks,
    unlaid_ranks,
)
from .mask_bounds import MaskShares, mask_shares

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Loops of a mapping without tile sizes, placements and residency."""

    shared: tuple[str, ...]
    """Ranks of shared loops, except parallel ranks."""
    order: tuple[tuple[str, ...], ...]
    """Members whose shared loops have several iterations, at each memory, outermost first."""
    own: frozenset[str]
    """Members whose own loops, at any memory, have several iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subspace:
    """All mappings of a region with the same loops: a skeleton and its tilings.

    In each of these tilings, exactly the loops of the skeleton have several iterations. Rows of
    ``sizes`` are tilings; columns are the tiles of ``Region.tiles``.
    """

    skeleton: Skeleton
    sizes: Ints


RegionKey = tuple[tuple[Tile, ...], tuple[tuple[str, Cut], ...]]
"""Identity of a region in a mapspace: tiles of the cascade's own, and cuts of all other ranks."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """All mappings of a cascade, with given sizes on a machine, that cut all ranks alike."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    """Sizes of all ranks in coordinates, derived ones included."""
    fixed: tuple[Tile, ...]
    """Tiles of ranks that the cascade itself cuts."""
    cuts: tuple[tuple[str, Cut], ...]
    """Cut of every rank that some Einsum has, parallel ranks first."""
    least_cycles: float
    """Lower bound of the cycles of any mapping; placements that are much slower are left out."""
    slow: bool = False
    """True if slow placements are kept because latency does not matter."""
    plain: bool = False
    """True for a sketch: few layouts per Einsum, one loop order, and all loops shared."""
    constraints: Constraints = NO_CONSTRAINTS
    """Constraints on all mappings; constraints on own loops are checked on bound Einsums."""
    joined: bool = False
    """True if Einsums that read a running value go step by step with the Einsum that makes it."""

    @cached_property
    def turns(self) -> dict[str, frozenset[str]]:
        """Ranks whose members along arrays some Einsums share a loop over, with these Einsums."""
        found = dict(self.program.memo(turned_ranks))
        if self.joined:
            for rank, names in self.program.memo(joined_ranks).items():
                found[rank] = found.get(rank, frozenset()) | names
        return {r: names for r, names in found.items() if self.factorisation_of[r].fine}

    def turning(self, name: str) -> tuple[str, ...]:
        """Return the members of ranks along arrays over which an Einsum shares loops."""
        return tuple(m for m, names in self.turned_members.items() if name in names)

    @cached_property
    def turned_members(self) -> dict[str, frozenset[str]]:
        return {
            member: names
            for rank, names in self.turns.items()
            for member, _ in reversed(self.factorisation_of[rank].fine)
        }

    @property
    def key(self) -> RegionKey:
        """Identity of the region in its mapspace."""
        return self.fixed, self.cuts

    @property
    def bound(self) -> float:
        """Lower bound of the cycles if every Einsum runs on one array only; it may exceed
        ``least_cycles``."""
        work = self.least_work
        number = {array: n for n, array in enumerate(sorted({a for able in work for a in able}))}
        exact = [{number[a]: Fraction(cycles) for a, cycles in able.items()} for able in work]
        return max(self.least_cycles, float(makespan_bound(exact, len(number))))

    @property
    def given(self) -> dict[str, int]:
        """Sizes of all ranks except those that follow from tiles of the mapping."""
        decided = decided_by(self.program, self.fixed)
        return {r: size for r, size in self.shapes.items() if r not in decided}

    @cached_property
    def factorisations(self) -> tuple[Factorisation, ...]:
        """Factorisation of each rank, in the order of ``cuts``."""
        parallel, levels = self.program.parallel, len(self.architecture.memories)
        found = [
            self._with_named_sizes(
                factorise(r, self.shapes[r], cut, levels, self.shapes, parallel=r in parallel)
            )
            for r, cut in self.cuts
        ]
        # Loops of one iteration over tiles of one element are inside of those over the tiles.
        inner = {b for a, b in self.parts if self.shapes[a] > 1 and self.shapes[b] == 1}
        found = [
            replace(c, fine=((c.rank, 1),), outside="") if c.rank in inner else c for c in found
        ]
        wanted = self.constraints.wanted | {*self.constraints.of_tiles}
        return closed(found, stepped_ranks(self.program) | wanted)

    def _with_named_sizes(self, cut: Factorisation) -> Factorisation:
        """Return a factorisation that also has the tile sizes which constraints name."""
        fine, sizes = cut.fine_size, self.constraints.named_tile_sizes(cut.rank)
        named_sizes = {n for size in sizes for n in (size // fine, -(-size // fine)) if n}
        return replace(cut, named_sizes=tuple(sorted(named_sizes))) if named_sizes else cut

    def sizes(self, cut: Factorisation) -> tuple[tuple[int, ...], ...]:
        """Return the combinations of a rank's tile sizes that fulfil all constraints."""
        if cut.rank not in self.constraints.of_tiles:
            return cut.sizes()
        memories = [m.name for m in self.architecture.memories]

        def obeys(sizes: tuple[int, ...]) -> bool:
            def there(memory: str) -> tuple[int, ...]:
                """Return the size of a memory's tile: all inside of loops further out."""
                inner = len(memories) - memories.index(memory)
                whole = inner == len(memories)
                tile = cut.size if whole else cut.fine_size * prod(sizes[:inner])
                return (min(tile, cut.size),)

            return self.constraints.broken_by_tiles(cut.rank, there) is None

        return tuple(sizes for sizes in (cut.sizes() if cut.levelled else ((),)) if obeys(sizes))

    @cached_property
    def factorisation_of(self) -> dict[str, Factorisation]:
        """Factorisation of each rank, by the rank's name."""
        return {cut.rank: cut for cut in self.factorisations}

    @cached_property
    def open_factorisations(self) -> tuple[Factorisation, ...]:
        """Factorisations of ranks that have loops at memories, and so open tile sizes."""
        return tuple(cut for cut in self.factorisations if cut.levelled)

    @property
    def tiled_ranks(self) -> tuple[str, ...]:
        """Ranks in the order in which a tiling lists their members."""
        leaves = [r.name for r in self.program.ranks if not r.partition]
        families = [r.name for r in self.program.ranks if r.partition]
        return (*self.program.parallel, *leaves, *families)

    @cached_property
    def tiles(self) -> tuple[tuple[str, str], ...]:
        """Tiles of open size, as pairs (rank, member)."""
        return tuple((cut.rank, member) for cut in self.open_factorisations for member in cut.held)

    @cached_property
    def places(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Alternative residencies of each tensor that constraints allow; each lists the levels
        that keep it."""
        return {t: self.constraints.places(t, found) for t, found in self.all_places.items()}

    @cached_property
    def all_places(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Alternative residencies of each tensor, regardless of constraints.

        Inputs and outputs are in the outermost memory, and perhaps in inner ones. Intermediates are
        in any memories, or in the registers of one array.

        Raises
        ------
        MappingError
            No array can do all operations of an Einsum.
        """
        outermost, *inner = (m.name for m in self.architecture.memories)
        subsets: list[tuple[str, ...]] = [()]
        for name in inner:
            subsets += [(*found, name) for found in subsets]
        ends = {*(t.name for t in self.program.inputs), *self.program.outputs}
        kept = tuple((outermost, *found) for found in subsets)
        able = (arrays_of(self.program, e, self.architecture) for e in self.program.einsums)
        used = dict.fromkeys(array.name for arrays in able for array in arrays)
        # The last alternative has every memory: callers that bind a subspace rely on it.
        between = (*((a,) for a in used), *(s for s in subsets if s), *kept)
        return {t: kept if t in ends else between for t in self.program.tensors}

    @cached_property
    def tilings(self) -> Ints:
        """All combinations of tile sizes, one row each.

        With several nested memories there may be too many combinations. Then every other size is
        left out of the ranks that have most sizes.
        """
        columns = [self.sizes(cut) for cut in self.open_factorisations]
        if len(self.architecture.memories) > policy.MAX_SHALLOW_MEMORIES:
            named = [cut.rank in self.constraints.of_tiles for cut in self.open_factorisations]
            columns = fewer_tilings(columns, named)
        tables = [np.array(sizes, dtype=np.int64).reshape(len(sizes), -1) for sizes in columns]
        rows = prod(map(len, tables))
        if not rows:
            return np.empty((0, len(self.tiles)), dtype=np.int64)
        found, alike = np.empty((rows, len(self.tiles)), dtype=np.int64), rows
        for table, (_, place) in zip(tables, self._columns(), strict=True):
            # In the order of a Cartesian product: the last rank's sizes change from row to row.
            alike //= len(table)
            found[:, place] = table[np.arange(rows) // alike % len(table)]
        return found

    def subspaces(self, shared: tuple[str, ...]) -> Iterator[Subspace]:
        """Yield all subspaces whose Einsums share the loops over the given ranks."""
        others = frozenset(m for m, rank in self.rank_of.items() if rank not in shared)
        # Subspaces with the fewest loops come first: among equals they have the least traffic.
        for nonunit, sizes in self._patterns:
            own = nonunit & others
            if self._nested(nonunit, own):
                for order in product(*(permutations(x) for x in self._loops(shared, nonunit))):
                    if self._outer_first([m for loops in order for m in loops], nonunit, own):
                        skeleton = Skeleton(shared=shared, order=order, own=own)
                        yield Subspace(skeleton=skeleton, sizes=sizes)

    @cached_property
    def _patterns(self) -> tuple[tuple[frozenset[str], Ints], ...]:
        """Pairs of a set of loops and its tilings, in which exactly these loops have several
        iterations."""
        members = [m for cut in self.open_factorisations for m in cut.levelled]
        going_round = np.zeros((len(self.tilings), len(members)), dtype=np.bool_)
        column = 0
        for cut, columns in self._columns():
            loops = slice(column, column + len(cut.levelled))
            going_round[:, loops] = cut.nonunit(self.tilings[:, columns])
            column += len(cut.levelled)
        patterns, which = _distinct(going_round)
        # A stable sort keeps the order of a pattern's tilings.
        places = np.argsort(which, kind="stable")
        ends = np.cumsum(np.bincount(which, minlength=len(patterns)))[:-1]
        alike = np.split(self.tilings[places], ends)
        named = (
            frozenset(m for m, goes in zip(members, pattern, strict=True) if goes)
            for pattern in patterns.tolist()
        )
        return tuple(zip(named, alike, strict=True))

    def steps(self, subspace: Subspace, tiling: int) -> int:
        """Return the number of steps of a tiling's shared loops.

        A step is one iteration of the innermost shared loop that has several iterations.
        """
        steps = prod(-(-c.size // c.fine_size) for c in self.factorisations if c.outside)
        sizes = subspace.sizes[tiling]
        for cut, columns in self._columns():
            if cut.rank in subspace.skeleton.shared:
                nonunit = cut.nonunit(sizes[None, columns])[0]
                # Loops inside the innermost one of several iterations are part of its step.
                steps *= cut.coarse if nonunit[-1] else -(-cut.coarse // int(sizes[columns].prod()))
        return steps

    @cached_property
    def rank_of(self) -> dict[str, str]:
        return {m: cut.rank for cut in self.open_factorisations for m in cut.levelled}

    @cached_property
    def _level(self) -> dict[str, int]:
        """Index of the memory that has each member's loop."""
        return {m: n for cut in self.open_factorisations for n, m in enumerate(cut.levelled)}

    def is_flat(self, skeleton: Skeleton) -> bool:
        """Return whether all loops are at the outermost and the innermost memory.

        All shared loops are at the outermost memory, and all own loops at the innermost. Each
        memory in between thus holds the tensors that one step needs.
        """
        last = len(self.architecture.memories) - 1
        return not any(skeleton.order[1:]) and all(self._level[m] == last for m in skeleton.own)

    def _nested(self, nonunit: frozenset[str], own: frozenset[str]) -> bool:
        """Return whether no own loop is outside of the innermost memory with a shared loop."""
        level = self._level
        deepest = max((level[m] for m in nonunit - own), default=0)
        return all(level[m] >= deepest for m in own)

    def _outer_first(self, shared: list[str], nonunit: frozenset[str], own: frozenset[str]) -> bool:
        """Return whether loops over outer members of a rank are outside of loops over its inner
        members."""
        level = self._level
        for outer, inner in self.parts:
            around = [m for m in nonunit if self.rank_of[m] == outer]
            inside = [m for m in nonunit if self.rank_of[m] == inner]
            for m, x in product(around, inside):
                if x in own:
                    apart = m in own and level[m] > level[x]
                else:
                    apart = m in own or shared.index(m) > shared.index(x)
                if apart:
                    return False
        return True

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Pairs of an outer and an inner member of one rank, for ranks that the cascade cuts."""
        cut = (r.partition for r in self.program.ranks if r.partition)
        return tuple(pair for parts in cut for pair in combinations(parts, 2))

    def _columns(self) -> Iterator[tuple[Factorisation, slice]]:
        start = 0
        for cut in self.open_factorisations:
            yield cut, slice(start, start + len(cut.held))
            start += len(cut.held)

    def _loops(self, shared: tuple[str, ...], nonunit: frozenset[str]) -> list[list[str]]:
        """Return the members whose shared loops have several iterations, for each memory."""
        depth = len(self.architecture.memories)
        cuts = [self.factorisation_of[rank] for rank in shared]
        return [
            [cut.levelled[n] for cut in cuts if cut.levelled[n] in nonunit] for n in range(depth)
        ]

    @property
    def slower(self) -> float:
        """Cycles above which a placement of an Einsum is left out."""
        return inf if self.slow else policy.MAX_EINSUM_SLOWDOWN * self.least_cycles

    @property
    def leaves_aside(self) -> bool:
        """True if some array is left out for an Einsum because it is too slow."""
        return any(max(able.values()) > self.slower for able in self.least_work if able)

    @cached_property
    def placements(self) -> dict[str, tuple[EinsumPlacement, ...]]:
        """Placements of each Einsum; several of them may be equal in a subspace."""
        return {e.name: tuple(self.placements_of(e)) for e in self.program.einsums}

    def placements_of(self, e: Einsum) -> Iterator[EinsumPlacement]:
        """Yield the placements of an Einsum; several of them may be equal in a subspace."""
        found = [
            (work, array, layout)
            for array, layouts in self.layouts_by_array[e.name].items()
            for work, layout in layouts[: self._alternatives(e)]
            if work <= policy.MAX_LAYOUT_SLOWDOWN * layouts[0][0]
        ]
        if not found:
            return
        most = max(self.slower, min(work for work, _, _ in found))
        # The innermost loop is known once an Einsum is bound: constraints on it need all orders.
        one = self.plain and not self.constraints.are_on_loops_of(e.name)
        for work, array, layout in found:
            if work <= most:
                orders = self.orders(e, layout.along)[: 1 if one else None]
                yield from (EinsumPlacement(array, layout.along, order) for order in orders)
        if self._may_be_alone(e):
            for array, layouts in self.layouts_by_array[e.name].items():
                if layouts[0][0] <= most:
                    for order in self.orders(e, layouts[0][1].along):
                        yield EinsumPlacement(array, layouts[0][1].along, order, alone=True)

    def _alternatives(self, e: Einsum) -> int:
        """Return the number of an Einsum's layouts to examine on each array."""
        least = min(layouts[0][0] for layouts in self.layouts_by_array[e.name].values())
        if self.plain or least <= policy.SMALL_WORK_SHARE * self.least_cycles:
            return policy.MAX_LAYOUTS_OF_SMALL_WORK
        return policy.MAX_LAYOUTS_PER_ARRAY

    def _may_be_alone(self, e: Einsum) -> bool:
        """Return whether an Einsum may run before or after all shared loops.

        This is possible if it needs no other Einsum, or no other Einsum needs it.
        """
        written = {x.name for x in self.program.einsums}
        first = all(a.tensor not in written for a in e.reads)
        return first or all(a.tensor != e.name for x in self.program.einsums for a in x.reads)

    @property
    def least_work(self) -> tuple[dict[str, float], ...]:
        """Fewest cycles of each Einsum on each array that can do it."""
        every = self.layouts_by_array.values()
        return tuple({array: layouts[0][0] for array, layouts in able.items()} for able in every)

    @cached_property
    def layouts_by_array(self) -> dict[str, dict[str, tuple[tuple[float, Layout], ...]]]:
        """Arrays that can do each Einsum, with the Einsum's layouts there and their cycles."""
        operations = self.program.memo(operations_of)
        found: dict[str, dict[str, tuple[tuple[float, Layout], ...]]] = {}
        for e in self.program.einsums:
            able = found[e.name] = {}
            for array in arrays_of(self.program, e, self.architecture):
                cycles = float(array.cycles_of(operations[e.name])) * self.share(e.name)
                layouts = self.laid_out(e.name, array.name)
                if layouts:
                    able[array.name] = tuple((cycles * x.iterations, x) for x in layouts)
        return found

    @cached_property
    def masks(self) -> MaskShares:
        """Shares of points that masks leave."""
        return mask_shares(self.program, self.architecture, self.shapes)

    def share(self, name: str) -> float:
        """Return a lower bound of the share of an Einsum's iterations that masks leave."""
        shares = self.masks
        cuts = (self.factorisation_of[r] for r in self.ranks(name))
        return float(shares.of(name, ((c.rank, c.size, c.fine_size) for c in cuts)))

    def laid_out(self, name: str, array: str) -> tuple[Layout, ...]:
        """Return the allowed layouts of an Einsum on an array, best first."""
        machine = self.architecture.array(array)
        assert machine is not None, "arrays come from the machine"
        unlaid = unlaid_ranks(self.program, name) | {
            r for r, names in self.turns.items() if name in names
        }
        cuts = [self.factorisation_of[r] for r in self.ranks(name)]
        cuts.sort(key=lambda c: self._common[c.rank])
        free = [c for c in cuts if c.rank not in unlaid]
        still = prod(c.size for c in cuts if c.rank in unlaid)
        allowed = self.constraints.layouts(name, array, self._part_of.__getitem__)
        return layouts_of(free, machine.dimensions, still, allowed)

    @cached_property
    def _part_of(self) -> dict[str, tuple[str, int]]:
        """Rank and number of iterations of every member that may lie along an array."""
        return {member: (cut.rank, n) for cut in self.factorisations for member, n in cut.fine}

    @cached_property
    def _common(self) -> dict[str, int]:
        """Position of each rank when sorted by the number of Einsums that have it, most first."""
        variables = [e.variables for e in self.program.einsums]
        often = {c.rank: sum(c.rank.lower() in v for v in variables) for c in self.factorisations}
        return {rank: n for n, rank in enumerate(sorted(often, key=lambda r: -often[r]))}

    def ranks(self, name: str) -> tuple[str, ...]:
        """Return the ranks of an Einsum in the order of the region's cuts."""
        variables = self.program.einsum_of[name].variables
        parallel = self.program.parallel
        return tuple(r for r in self.factorisation_of if r in parallel or r.lower() in variables)

    def orders(self, e: Einsum, along: Along) -> tuple[tuple[str, ...], ...]:
        """Return the loop orders of an Einsum to examine.

        The first order is as written, with ranks of the result outside of reduced ranks. Each
        further order moves another rank to the innermost position.
        """
        laid = {m for _, members in along for m in members}
        ranks = self.ranks(e.name)
        results = {*(v.upper() for v in e.target.variables), *self.program.parallel}

        def moves(rank: str) -> bool:
            cut = self.factorisation_of[rank]
            return bool(cut.levelled) or any(m not in laid for m, n in cut.fine if n > 1)

        moving = [r for r in ranks if moves(r)]
        first = sorted(ranks, key=lambda r: r not in results)
        # QK[p, m] = Q[p, e] * K[m, e] has (P, M, E) as written, then P, M or E innermost.
        found = [first, *([*(x for x in first if x != r), r] for r in moving)]
        seen: dict[tuple[str, ...], tuple[str, ...]] = {}
        for order in found:
            ordered = tuple(outer_parts_first(self.program, order))
            seen.setdefault(tuple(r for r in ordered if r in moving), ordered)
        return tuple(seen.values())

    def nest(self, skeleton: Skeleton) -> SharedRanks:
        """Return each memory with the ranks of its shared loops that have several iterations."""
        cuts = self.factorisations
        outside = tuple(c.rank for c in cuts if c.outside and c.size > c.fine_size)
        order = [tuple(self.rank_of[m] for m in loops) for loops in skeleton.order]
        order[0] = (*outside, *order[0])
        return [(m.name, r) for m, r in zip(self.architecture.memories, order, strict=True)]

    @cached_property
    def bindings(self) -> int:
        """Number of combinations of all Einsums' placements."""
        return prod(len(placements) for placements in self.placements.values())

    @cached_property
    def residencies(self) -> int:
        """Number of combinations of all tensors' residencies."""
        return prod(len(places) for places in self.places.values())


def fewer_tilings(
    columns: Sequence[tuple[tuple[int, ...], ...]], named: Sequence[bool] = ()
) -> list[tuple[tuple[int, ...], ...]]:
    """Thin out the tile sizes of several ranks until all combinations can be enumerated.

    Parameters
    ----------
    columns : sequence of tuple
        Alternatives of each rank, each with a tile size for every memory that holds some.
    named : sequence of bool
        True for ranks whose sizes constraints name: they keep all sizes.

    Examples
    --------
    The least and the largest are kept:

    >>> sizes = tuple((a, b) for a in range(1, 200) for b in range(1, 200))
    >>> (fewer,) = fewer_tilings([sizes])
    >>> len(fewer), fewer[0], fewer[-1]
    (10000, (1, 1), (199, 199))
    """
    found = [*columns]
    fixed = {n for n, is_named in enumerate(named) if is_named}
    while prod(map(len, found)) > policy.MAX_TILINGS:
        open_ = [n for n in range(len(found)) if n not in fixed]
        if not open_:
            break
        most = max(open_, key=lambda n: len(found[n]))
        # Every other size stays, and the largest: of 199 sizes 100, of 100 then 51.
        values = sorted({size for sizes in found[most] for size in sizes})
        kept = {*values[::2], values[-1]}
        fewer = tuple(sizes for sizes in found[most] if kept.issuperset(sizes))
        if len(fewer) == len(found[most]) or not fewer:
            # This rank cannot lose more.
            fixed.add(most)
        else:
            found[most] = fewer
    return found


def _distinct(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Ints]:
    """Return the distinct rows, sorted as binary numbers, and the index of each given row there."""
    # A row becomes one integer, (True, False) being 2: integers compare much faster than rows.
    bits = 1 << np.arange(rows.shape[1], dtype=np.int64)[::-1]
    _, first, which = np.unique(rows @ bits, return_index=True, return_inverse=True)
    return rows[first], which.reshape(-1)


def mapping_of(
    region: Region,
    skeleton: Skeleton,
    sizes: Ints,
    placements: dict[str, EinsumPlacement],
    places: dict[str, tuple[str, ...]],
) -> Mapping:
    """Return the mapping of a region that the given choices determine.

    Parameters
    ----------
    sizes : array of int64, (tiles,)
    placements : dict
        Placement of every Einsum.
    places : dict
        Levels that keep each tensor.
    """
    held = dict(zip((m for _, m in region.tiles), map(int, sizes), strict=True))
    machine = region.architecture
    used = (*(m.name for m in machine.memories), *(a.name for a in machine.arrays))
    keep = ((level, tuple(t for t, found in places.items() if level in found)) for level in used)
    return Mapping(
        name="searched",
        cascade=region.program.name,
        tiles=(*region.fixed, *(t for cut in region.factorisations for t in cut.tiles(held))),
        nest=_levels(region, _nest(region, skeleton)),
        einsums=tuple(
            _einsum(region, skeleton, e.name, placements[e.name]) for e in region.program.einsums
        ),
        keep=tuple(Keep(level=level, tensors=found) for level, found in keep if found),
        schedule=Schedule(kind="pipelined"),
    )


def with_placements(
    region: Region, skeleton: Skeleton, mapping: Mapping, placements: dict[str, EinsumPlacement]
) -> Mapping:
    """Return a mapping with other placements of some Einsums.

    Parameters
    ----------
    region : Region
    skeleton : Skeleton
        Skeleton of the mapping.
    mapping : Mapping
    placements : dict of str to EinsumPlacement
        New placements by Einsum; absent Einsums keep theirs.
    """
    found = tuple(
        _einsum(region, skeleton, how.einsum, placements[how.einsum])
        if how.einsum in placements
        else how
        for how in mapping.einsums
    )
    return replace(mapping, einsums=found)


def _levels(region: Region, nest: list[list[str]]) -> tuple[NestLevel, ...]:
    """Return the loops of each memory as a mapping states them."""
    names = (m.name for m in region.architecture.memories)
    return NestLevel.nest(zip(names, nest, strict=True))


def _nest(region: Region, skeleton: Skeleton) -> list[list[str]]:
    """Return the loops of each memory that Einsums share.

    A loop of one iteration comes directly behind the loops that must be outside of it. Without such
    loops it is outermost.
    """
    nest = [list(loops) for loops in skeleton.order]
    nonunit = {m for loops in nest for m in loops}
    turned = region.program.memo(turned_ranks)
    for rank in reversed(outer_parts_first(region.program, skeleton.shared)):
        before = [outer for outer, inner in region.parts if inner == rank]
        around = [m for m in nonunit if region.rank_of[m] in before]
        levelled = region.factorisation_of[rank].levelled
        for number, member in enumerate(levelled):
            if member not in nonunit:
                level, place = max((_find(nest, m) for m in around), default=(0, 0))
                inner = [m for m in levelled[number:] if m in nonunit]
                if inner and rank in turned:
                    level, place = _find(nest, inner[0])
                    place -= 1
                nest[level].insert(place, member)
            around.append(member)
    outside = [c.outside for c in region.factorisations if c.outside]
    nest[0] = [*outside, *nest[0]]
    nest[-1] = [*nest[-1], *region.turned_members]
    return nest


def _einsum(region: Region, skeleton: Skeleton, name: str, way: EinsumPlacement) -> EinsumMapping:
    laid = {m for _, members in way.along for m in members}
    turning = set[str]() if way.alone else {*region.turning(name)}
    loops: list[list[str]] = [[] for _ in region.architecture.memories]
    shared = () if way.alone else skeleton.shared
    nonunit = {m for order in skeleton.order for m in order} if way.alone else set[str]()
    deepest = max((n for n, order in enumerate(skeleton.order) if order), default=0)
    deepest = 0 if way.alone else deepest
    if turning:
        deepest = len(loops) - 1
    reached: dict[str, int] = {}
    for rank in way.order:
        cut = region.factorisation_of[rank]
        if rank not in shared:
            # A loop of one iteration must be inside of shared loops and of loops over outer parts:
            # the deepest memory with one of these is the place.
            at = max([deepest, *(reached.get(outer, 0) for outer, x in region.parts if x == rank)])
            for level, member in enumerate(cut.levelled):
                at = max(at, level) if member in skeleton.own or member in nonunit else at
                loops[at].append(member)
            reached[rank] = at
        loops[-1] += [m for m, _ in reversed(cut.fine) if m not in laid and m not in turning]
    # An Einsum that runs alone stays out of all shared loops over its ranks.
    mine = region.ranks(name) if way.alone else ()
    passed_by = [region.factorisation_of[r] for r in skeleton.shared if r in mine]
    outside = tuple(m for cut in passed_by for m in cut.levelled)
    own_ranks = {*region.ranks(name)}
    outside += tuple(
        m
        for r in region.turns
        if r in own_ranks
        for m, _ in reversed(region.factorisation_of[r].fine)
        if m not in turning
    )
    array, spatial, nest = way.array, way.along, _levels(region, loops)
    return EinsumMapping(einsum=name, array=array, spatial=spatial, outside=outside, nest=nest)


def _find(nest: list[list[str]], member: str) -> tuple[int, int]:
    """Return the index of the memory that has a loop, and the position behind the loop there."""
    level = next(n for n, loops in enumerate(nest) if member in loops)
    return level, nest[level].index(member) + 1
