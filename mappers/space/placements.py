"""Placements of an Einsum in a region: array, ranks along its dimensions, loop orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, prod

from archsim.spec.arch import Architecture, Dimension
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import operations_of

from . import policy
from .array_tiles import arrays_of, outer_parts_first
from .constraints import NO_CONSTRAINTS, Constraints
from .factorisation import Factorisation, unlaid_ranks
from .mask_bounds import mask_shares

Along = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of an array dimension and the members along it."""

Counts = tuple[tuple[int, ...], ...]
"""Coordinates of each rank's members, inner ones first."""

Taken = tuple[int, ...]
"""Number of members of each rank that are laid out."""


@dataclass(frozen=True, slots=True)
class LayableRank:
    """Rank of an Einsum: its elements, and its members that arrays may take, inner ones first."""

    rank: str
    size: int
    fine: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Members along dimensions, and the number of times that they fill the array."""

    along: Along
    iterations: int


def _any(along: Along) -> bool:
    """Allow any layout."""
    del along
    return True


def layouts_of(
    ranks: Sequence[LayableRank],
    dimensions: Sequence[Dimension],
    still: int = 1,
    allowed: Callable[[Along], bool] = _any,
) -> tuple[Layout, ...]:
    """Return layouts of an Einsum on an array, those of the fewest iterations first.

    Parameters
    ----------
    ranks : sequence of LayableRank
        Ranks of the Einsum, in order of preference among equal layouts.
    dimensions : sequence of Dimension
        Dimensions of the array.
    still : int
        Iterations over ranks that cannot be laid out.
    allowed : callable
        Returns whether members may lie along dimensions in some way.

    Examples
    --------
    Queries and keys on 128 x 128 elements, and on 1,024 lanes:

    >>> ranks = [LayableRank("P", 1024, (("P0", 128), ("P1", 8))),
    ...          LayableRank("M", 1024, (("M0", 128),))]
    >>> square = [Dimension(name="columns", size=128), Dimension(name="rows", size=128)]
    >>> best = layouts_of(ranks, square)[0]
    >>> best.along, best.iterations
    ((('columns', ('P0',)), ('rows', ('M0',))), 64)
    >>> best = layouts_of(ranks, [Dimension(name="lanes", size=1024)])[0]
    >>> best.along, best.iterations
    ((('lanes', ('P1', 'P0')),), 1024)
    """
    found: dict[frozenset[tuple[int, frozenset[str]]], Layout] = {}
    counts = tuple(tuple(n for _, n in r.fine) for r in ranks)
    for taken in _filled(counts, [d.size for d in dimensions], (0,) * len(ranks)):
        along: list[tuple[str, tuple[str, ...]]] = []
        before = (0,) * len(ranks)
        for dimension, after in zip(dimensions, taken, strict=True):
            members = [
                member
                for rank, low, high in zip(ranks, before, after, strict=True)
                for member, _ in reversed(rank.fine[low:high])
            ]
            if members:
                along.append((dimension.name, tuple(members)))
            # A mapping names outer parts of a rank first, whatever their dimension.
            if any(0 < low < high for low, high in zip(before, after, strict=True)):
                along.insert(0, along.pop())
            before = after
        if not allowed(tuple(along)):
            continue
        times = _times(ranks, before)
        # Along dimensions of one size members may change places: it is the same layout.
        sizes = {d.name: d.size for d in dimensions}
        same = frozenset((sizes[name], frozenset(members)) for name, members in along)
        found.setdefault(same, Layout(tuple(along), times * still))
    return tuple(sorted(found.values(), key=lambda layout: layout.iterations))


def fewest_iterations(ranks: Sequence[LayableRank], dimensions: Sequence[Dimension]) -> int:
    """Return how many times the best of all layouts fills an array."""
    counts = tuple(tuple(n for _, n in r.fine) for r in ranks)
    sizes = [r.size for r in ranks]
    return min(
        prod(-(-size // n) for size, n in zip(sizes, covered, strict=True))
        for covered in _covered(counts, tuple(d.size for d in dimensions))
    )


@lru_cache(maxsize=1 << 14)
def _covered(counts: Counts, rooms: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return each rank's coordinates on an array at once, for every way to fill it.

    The result depends on the counts of members only, inner ones first, not on the ranks' lengths.
    """
    # Only what is laid out in the end counts, not along which dimensions: most ways agree.
    found: set[Taken] = {(0,) * len(counts)}
    for room in rooms:
        found = {after for taken in found for after in _along(counts, room, taken, 0)}
    return tuple(
        dict.fromkeys(
            tuple(prod(mine[:k]) for mine, k in zip(counts, taken, strict=True)) for taken in found
        )
    )


def _times(ranks: Sequence[LayableRank], taken: Sequence[int]) -> int:
    """Return how many times an array is filled with so many members of each rank."""
    covered = (prod(n for _, n in r.fine[:k]) for r, k in zip(ranks, taken, strict=True))
    return prod(-(-r.size // n) for r, n in zip(ranks, covered, strict=True))


def _filled(counts: Counts, rooms: Sequence[int], taken: Taken) -> Iterator[tuple[Taken, ...]]:
    """Yield what is laid out after each dimension, for every way to fill one after the other."""
    if not rooms:
        yield ()
        return
    for after in _along(counts, rooms[0], taken, 0):
        for others in _filled(counts, rooms[1:], after):
            yield (after, *others)


def _along(counts: Counts, room: int, taken: Taken, number: int) -> Iterator[Taken]:
    """Yield the ways to fill a dimension so that nothing more fits, from one rank on."""
    if number == len(counts):
        # Where another member would fit, the way that takes it comes by itself.
        fits = any(k < len(mine) and mine[k] <= room for mine, k in zip(counts, taken, strict=True))
        if not fits:
            yield taken
        return
    options = [(taken, room)]
    for member in range(taken[number], len(counts[number])):
        room //= counts[number][member]
        if not room:
            break
        options.append(((*taken[:number], member + 1, *taken[number + 1 :]), room))
    for after, left in reversed(options):
        yield from _along(counts, left, after, number + 1)


@dataclass(frozen=True, slots=True)
class EinsumPlacement:
    """Placement of an Einsum: its array, what lies along it, and the order of its own loops."""

    array: str
    along: Along
    order: tuple[str, ...]
    """All ranks of the Einsum, outermost first, those of shared loops included."""
    alone: bool = False
    """True if the Einsum runs before or after all shared loops, outside of them."""


@dataclass(frozen=True, kw_only=True)
class EinsumPlacements:
    """Placements of a cascade's Einsums for given factorisations of ranks."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    factorisations: tuple[Factorisation, ...]
    least_cycles: float
    """Lower bound of any mapping's cycles: much slower placements are left out."""
    slow: bool
    """True if slow placements are kept, where latency does not matter."""
    plain: bool
    """True if each Einsum has few layouts on an array, one loop order, and shares all loops."""
    constraints: Constraints = NO_CONSTRAINTS

    @cached_property
    def _cut_of(self) -> dict[str, Factorisation]:
        return {cut.rank: cut for cut in self.factorisations}

    def of(self, e: Einsum) -> Iterator[EinsumPlacement]:
        """Yield the placements of an Einsum. In a subspace several of them may coincide."""
        found = [
            (work, array, layout)
            for array, layouts in self._layouts_by_array[e.name]
            for work, layout in layouts[: self._alternatives(e)]
            if work <= policy.MAX_LAYOUT_SLOWDOWN * layouts[0][0]
        ]
        if not found:
            return
        most = max(
            policy.MAX_EINSUM_SLOWDOWN * self.least_cycles, min(work for work, _, _ in found)
        )
        most = inf if self.slow else most
        # The innermost loop is known once an Einsum is bound: constraints on it need all orders.
        one = self.plain and not self.constraints.are_on_loops_of(e.name)
        for work, array, layout in found:
            if work <= most:
                orders = self._orders(e, layout.along)[: 1 if one else None]
                yield from (EinsumPlacement(array, layout.along, order) for order in orders)
        if self._may_be_alone(e):
            for array, layouts in self._layouts_by_array[e.name]:
                if layouts[0][0] <= most:
                    for order in self._orders(e, layouts[0][1].along):
                        yield EinsumPlacement(array, layouts[0][1].along, order, alone=True)

    def _alternatives(self, e: Einsum) -> int:
        """Return how many layouts of an Einsum on one array are examined."""
        if self.plain:
            return policy.MAX_LAYOUTS_OF_SMALL_WORK
        least = min(layouts[0][0] for _, layouts in self._layouts_by_array[e.name])
        return (
            policy.MAX_LAYOUTS_PER_ARRAY
            if least > policy.SMALL_WORK_SHARE * self.least_cycles
            else policy.MAX_LAYOUTS_OF_SMALL_WORK
        )

    def _may_be_alone(self, e: Einsum) -> bool:
        """Return whether an Einsum may run before all shared loops, or after them.

        It may if it needs no other Einsum, or no other needs it.
        """
        written = {x.name for x in self.program.einsums}
        first = all(a.tensor not in written for a in e.reads)
        return first or all(a.tensor != e.name for x in self.program.einsums for a in x.reads)

    @property
    def least_work(self) -> tuple[dict[str, float], ...]:
        """Least cycles of each Einsum, by the arrays that can do it."""
        return tuple(
            {array: layouts[0][0] for array, layouts in able}
            for able in self._layouts_by_array.values()
        )

    @cached_property
    def _layouts_by_array(
        self,
    ) -> dict[str, tuple[tuple[str, tuple[tuple[float, Layout], ...]], ...]]:
        """Arrays of each Einsum, with its layouts there and their cycles."""
        operations = self.program.memo(operations_of)
        found = {}
        for e in self.program.einsums:
            able = []
            for array in arrays_of(self.program, e, self.architecture):
                cycles = float(array.cycles_of(operations[e.name])) * self._share(e.name)
                layouts = self.laid_out(e.name, array.name)
                if layouts:
                    able.append((array.name, tuple((cycles * x.iterations, x) for x in layouts)))
            found[e.name] = tuple(able)
        return found

    def _share(self, name: str) -> float:
        """Return the least share of an Einsum's iterations that masks leave."""
        shares = mask_shares(self.program, self.architecture, self.shapes)
        cuts = (self._cut_of[r] for r in self.ranks(name))
        return shares.of(
            name, ((c.rank, self.shapes[c.rank], prod(n for _, n in c.fine)) for c in cuts)
        )

    def laid_out(self, name: str, array: str) -> tuple[Layout, ...]:
        """Return the allowed layouts of an Einsum on an array, best first."""
        machine = self.architecture.array(array)
        assert machine is not None, "arrays come from the machine"
        unlaid = unlaid_ranks(self.program, name)
        cuts = [self._cut_of[r] for r in self.ranks(name)]
        cuts.sort(key=lambda c: self._common[c.rank])
        free = [
            LayableRank(c.rank, self.shapes[c.rank], c.fine) for c in cuts if c.rank not in unlaid
        ]
        still = prod(self.shapes[c.rank] for c in cuts if c.rank in unlaid)
        allowed = self.constraints.layouts(name, array, self._part_of.__getitem__)
        return layouts_of(free, machine.dimensions, still, allowed)

    @cached_property
    def _part_of(self) -> dict[str, tuple[str, int]]:
        """Rank and number of parts of every member that arrays may take."""
        return {member: (cut.rank, n) for cut in self.factorisations for member, n in cut.fine}

    @cached_property
    def _common(self) -> dict[str, int]:
        """Position of each rank by the number of Einsums that have it, the most common first."""
        variables = [e.variables for e in self.program.einsums]
        often = {c.rank: sum(c.rank.lower() in v for v in variables) for c in self.factorisations}
        return {rank: n for n, rank in enumerate(sorted(often, key=lambda r: -often[r]))}

    def ranks(self, name: str) -> tuple[str, ...]:
        """Return the ranks of an Einsum, in the order of the cuts."""
        variables = self.program.einsum_of[name].variables
        parallel = self.program.parallel
        return tuple(r for r in self._cut_of if r in parallel or r.lower() in variables)

    def _orders(self, e: Einsum, along: Along) -> tuple[tuple[str, ...], ...]:
        """Return loop orders of an Einsum.

        The first order is as written, ranks of the result outside of reduced ones. In the others
        one rank of several iterations is innermost.
        """
        laid = {m for _, members in along for m in members}
        ranks = self.ranks(e.name)
        results = {*(v.upper() for v in e.target.variables), *self.program.parallel}
        moving = [
            r
            for r in ranks
            if (c := self._cut_of[r]).levelled or any(m not in laid for m, n in c.fine if n > 1)
        ]
        first = sorted(ranks, key=lambda r: r not in results)
        # QK[p, m] = Q[p, e] * K[m, e] has (P, M, E) as written, then P, M or E innermost.
        found = [first, *([*(x for x in first if x != r), r] for r in moving)]
        seen: dict[tuple[str, ...], tuple[str, ...]] = {}
        for order in found:
            ordered = tuple(outer_parts_first(self.program, order))
            seen.setdefault(tuple(r for r in ordered if r in moving), ordered)
        return tuple(seen.values())
