"""Grid of regions: one cell for each combination of rank cuts, with a lower bound of its cycles."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from archsim.bounds.makespan import tie_shares
from archsim.spec.arch import ProcessingArray
from archsim.spec.tensor_words import words_of
from einsum_cascade.ir import Einsum
from einsum_cascade.memo import Cache, cached_property
from einsum_cascade.operations import operations_of

from . import policy
from .array_tiles import arrays_of, sides_of
from .factorisation import Cut, Factorisation, factorise, layouts_of, unlaid_ranks
from .mask_bounds import MaskShares, mask_shares
from .region import Region, RegionKey

Cells = NDArray[np.float64]
"""One number per region; each rank has an axis, of length 1 if its cut does not matter."""


def busiest(
    costs: Sequence[dict[str, Cells]], arrays: Sequence[str], grid: tuple[int, ...]
) -> Cells:
    """Return a lower bound of the busiest array's cycles, for each region.

    Each of the largest Einsums runs on one array, as in any mapping; all assignments of these are
    tried. All other Einsums may be split among arrays. Their bound takes shares at which one Einsum
    costs the same on two arrays (``archsim.bounds.makespan``). If all Einsums were split, lanes
    that can multiply would seem to take a share of each product.

    Parameters
    ----------
    costs : sequence of dict
        Cycles of every Einsum on each array that can do it.
    arrays : sequence of str
        All arrays.
    grid : tuple of int
        Shape of the result.

    Examples
    --------
    Two products take 90 cycles, or ten times as many on the lanes, which another 10 keep busy:

    >>> product = {"matrix": np.array([90.0]), "lanes": np.array([900.0])}
    >>> other = {"lanes": np.array([10.0])}
    >>> busiest([product, product, other], ("matrix", "lanes"), (1,))
    array([180.])
    """
    best = [{arrays.index(a): float(c.min()) for a, c in able.items()} for able in costs]
    shares = tie_shares(best, len(arrays), 1.0)
    apart = _largest(best)
    others = [able for number, able in enumerate(costs) if number not in apart]
    split = [_split(others, dict(zip(arrays, one, strict=True)), grid) for one in shares]
    found = np.full(grid, np.inf)
    for assigned in product(*([*costs[number]] for number in apart)):
        # For each assignment of the largest, any shares give a lower bound: the best bound counts,
        # and the assignment with the least of them.
        loads = {a: np.zeros(()) for a in arrays}
        for number, array in zip(apart, assigned, strict=True):
            loads[array] = loads[array] + costs[number][array]
        least = np.zeros(grid)
        for one, rest in zip(shares, split, strict=True):
            total = rest
            for share, load in zip(one, loads.values(), strict=True):
                total = total + share * load
            least = np.maximum(least, total / sum(one))
        found = np.minimum(found, least)
    return found


def _largest(best: Sequence[dict[int, float]]) -> tuple[int, ...]:
    """Return the indices of the largest Einsums that several arrays can do.

    They have at most ``MAX_ASSIGNMENTS`` assignments to arrays.
    """
    several = [n for n, able in enumerate(best) if len(able) > 1]
    several.sort(key=lambda n: -min(best[n].values()))
    found: list[int] = []
    for number in several:
        if prod(len(best[n]) for n in (*found, number)) > policy.MAX_ASSIGNMENTS:
            break
        found.append(number)
    return tuple(found)


def _split(
    costs: Sequence[dict[str, Cells]], share: dict[str, float], grid: tuple[int, ...]
) -> Cells:
    """Return the sum of all Einsums' weighted cycles, each on its cheapest array.

    ``share`` has the weight of each array.
    """
    total = np.zeros(grid)
    for able in costs:
        least = [cycles * share[array] for array, cycles in able.items()]
        total = total + np.minimum.reduce(np.broadcast_arrays(*least))
    return total


Options = dict[str, tuple[Cut, ...]]
"""Alternative cuts of each rank, by rank."""

Iterations = Cache[float]
"""Memo of an Einsum's fewest iterations, by array and cuts; grids of one mapspace share it."""


@dataclass(frozen=True, kw_only=True)
class RegionGrid:
    """Grid of regions: one region for each combination of rank cuts."""

    base: Region
    """Region of the grid's tiles in which no rank is cut."""
    options: Options
    unusual: int = 0
    """Measure of how unusual the cascade's own tiles are; usual tiles have 0."""
    memo: Iterations = field(default_factory=Iterations, compare=False, repr=False)
    """Memo of iterations that all grids of the mapspace share; new ones are added."""

    @cached_property
    def cycles(self) -> Cells:
        """Lower bound of the busiest array's cycles in each region; infinite if none is allowed.

        Raises
        ------
        MappingError
            No array can do all operations of an Einsum.
        """
        return self._bounds()

    @cached_property
    def order(self) -> Cells:
        """Sort key of each region: its lower bound of cycles with penalties for unusual cuts."""
        # A mask is no reason to prefer tiles that fit a rank less well.
        usual = self._bounds(whole=True) if self._shares.of_points else self.cycles
        odd = np.full(self._size, float(self.unusual))
        for axis, (rank, cuts) in enumerate(self.options.items()):
            parallel = rank in self.base.program.parallel
            short = self.base.shapes[rank] <= min(sides_of(self.base.architecture), default=1)
            oddities = [oddity(cut, cuts[0], short, parallel) for cut in cuts]
            odd += self._along_axis(axis, oddities)
        crowded = np.where(self._fits(), 1.0, policy.CROWDED_PENALTY)
        return usual * (1 + policy.ODDITY_PENALTY * odd) * crowded

    @property
    def size(self) -> int:
        """Number of regions with a finite bound."""
        return int(np.isfinite(self.cycles).sum())

    def best(self, most: int) -> Iterator[tuple[float, RegionGrid, tuple[int, ...]]]:
        """Yield the most promising regions: each with its sort key, this grid, and its position
        here."""
        for place in np.argsort(self.order, axis=None, kind="stable")[:most]:
            # A cascade without ranks has one region, without a position along any axis.
            where = np.unravel_index(place, self.order.shape) if self.options else ()
            if not np.isfinite(self.cycles[where]):
                break
            yield float(self.order[where]), self, tuple(int(n) for n in where)

    def region(self, place: tuple[int, ...]) -> Region:
        """Return the region at a position of the grid."""
        cuts = tuple((r, c[n]) for (r, c), n in zip(self.options.items(), place, strict=True))
        return replace(self.base, cuts=cuts, least_cycles=float(self.cycles[place]))

    def least_bound_outside(self, regions: Collection[RegionKey]) -> float:
        """Return the lowest bound among all regions except the given ones."""
        left = self.cycles.copy()
        for fixed, cuts in regions:
            if fixed == self.base.fixed and all(c in self.options[r] for r, c in cuts):
                left[tuple(self.options[r].index(c) for r, c in cuts)] = inf
        return float(left.min())

    @cached_property
    def _size(self) -> tuple[int, ...]:
        return tuple(len(cuts) for cuts in self.options.values())

    @cached_property
    def _shares(self) -> MaskShares:
        """Lower bounds of the shares of points that masks leave."""
        return mask_shares(self.base.program, self.base.architecture, self.base.shapes)

    @cached_property
    def _factorisations(self) -> dict[tuple[str, Cut], Factorisation]:
        """Factorisation of each rank, for each way to cut the rank, with loops at one memory."""
        shapes, parallel = self.base.shapes, self.base.program.parallel
        return {
            (r, cut): factorise(r, shapes[r], cut, 1, shapes, parallel=r in parallel)
            for r, cuts in self.options.items()
            for cut in cuts
        }

    @cached_property
    def _iterations_of(self) -> dict[Hashable, Cells]:
        """Memo of iterations by ranks and array: Einsums over the same ranks fill it alike."""
        return {}

    def _bounds(self, *, whole: bool = False) -> Cells:
        """Return a lower bound of the busiest array's cycles by region; infinite if forbidden.

        Parameters
        ----------
        whole : bool
            True if a mask is as likely to skip the last tile of a rank as any other, not likelier.
        """
        operations = self.base.program.memo(operations_of)
        grid = self._size
        left = np.ones(grid, dtype=np.bool_)
        costs: list[dict[str, Cells]] = []
        for e in self.base.program.einsums:
            share = self._share(e, whole=whole)
            costs.append({})
            able = np.zeros(grid, dtype=np.bool_)
            for array in arrays_of(self.base.program, e, self.base.architecture):
                cycles = float(array.cycles_of(operations[e.name]))
                iterations = self._iterations(e, array)
                able |= np.isfinite(iterations)
                # Shares may be zero, and zero times infinity is no number: a large finite number
                # stands in.
                if np.isfinite(iterations).any():
                    costs[-1][array.name] = np.minimum(iterations, policy.FORBIDDEN_ITERATIONS) * (
                        cycles * share
                    )
            left &= able
        if not left.any():
            return np.full(grid, inf)
        arrays = [a.name for a in self.base.architecture.arrays]
        return np.where(left, busiest(costs, arrays, grid), inf)

    def _share(self, e: Einsum, *, whole: bool) -> Cells | float:
        """Return a lower bound of the share of an Einsum's iterations that masks leave, for each
        cut."""
        parallel = self.base.program.parallel
        cuts = (
            (rank, self.base.shapes[rank], self._granularity(axis, rank))
            for axis, rank in enumerate(self.options)
            if rank in parallel or rank.lower() in e.variables
        )
        return self._shares.of(e.name, () if whole else cuts)

    def _fits(self) -> NDArray[np.bool_]:
        """Return, by region, whether the smallest memory holds each Einsum's smallest tiles."""
        axes = {rank: self._granularity(n, rank) for n, rank in enumerate(self.options)}
        capacities = [m.capacity_bytes for m in self.base.architecture.memories if m.capacity_bytes]
        room = min(capacities, default=inf) / float(self.base.architecture.word_bytes)
        words = self.base.program.memo(words_of, self.base.architecture.word_bits)
        found = np.ones(self._size, dtype=np.bool_)
        for e in self.base.program.einsums:
            total: Cells = np.zeros([1] * len(self.options))
            # One tensor counts for all tensors over the same ranks: the one with the widest values.
            widest: dict[frozenset[str], float] = {}
            for a in (*e.reads, e.target):
                key = frozenset(a.variables)
                widest[key] = max(widest.get(key, 0.0), float(words.of(a.tensor)))
            for variables, share in widest.items():
                tile: Cells = np.full([1] * len(self.options), share)
                for rank, sizes in axes.items():
                    if rank in self.base.program.parallel or rank.lower() in variables:
                        tile = tile * sizes
                total = total + tile
            found &= total <= room
        return found

    def _granularity(self, axis: int, rank: str) -> Cells:
        """Return the coordinates of a rank's smallest tile, for each way to cut the rank."""
        cuts = (self._factorisations[rank, cut] for cut in self.options[rank])
        return self._along_axis(axis, [cut.fine_size for cut in cuts])

    def _along_axis(self, axis: int, values: Sequence[float]) -> Cells:
        """Return values as an array that varies along one rank's axis of the grid only."""
        shape = [1] * len(self.options)
        shape[axis] = -1
        return np.array(values, dtype=np.float64).reshape(shape)

    def _iterations(self, e: Einsum, array: ProcessingArray) -> Cells:
        """Return the fewest iterations of an Einsum on an array, for each way to cut its ranks.

        The number is infinite if constraints forbid every layout.
        """
        parallel = self.base.program.parallel
        ranks = tuple(r for r in self.options if r in parallel or r.lower() in e.variables)
        unlaid = unlaid_ranks(self.base.program, e.name).intersection(ranks)
        mine = self.base.constraints.of_einsum(e.name)
        key = (ranks, unlaid, array.name, mine and e.name)
        if key not in self._iterations_of:
            still = prod(self.base.shapes[r] for r in unlaid)
            free = [r for r in ranks if r not in unlaid]
            shape = [len(cuts) if r in free else 1 for r, cuts in self.options.items()]
            found = np.empty(shape)
            ways = {
                n: [self._factorisations[r, cut] for cut in cuts]
                for n, (r, cuts) in enumerate(self.options.items())
                if r in free
            }
            for place in np.ndindex(*shape):
                laid = [alternatives[place[n]] for n, alternatives in ways.items()]
                found[place] = still * self._fewest(e, array, laid)
            self._iterations_of[key] = found
        return self._iterations_of[key]

    def _fewest(self, e: Einsum, array: ProcessingArray, laid: list[Factorisation]) -> float:
        """Return the fewest times that given ranks fill an array; infinite if that is forbidden."""
        cut = [r for r in laid if r.fine]
        # Without constraints names and order do not matter: ranks of one length with the same cut
        # are alike.
        key: Hashable = (array.name, tuple(sorted((r.size, *(n for _, n in r.fine)) for r in cut)))
        if self.base.constraints.of_einsum(e.name):
            key = (array.name, tuple((r.rank, r.size, r.fine) for r in cut), e.name)

        def fewest() -> float:
            part_of = {m: (r.rank, n) for r in cut for m, n in r.fine}
            allowed = self.base.constraints.layouts(e.name, array.name, part_of.__getitem__)
            layouts = layouts_of(cut, array.dimensions, 1, allowed)
            return layouts[0].iterations if layouts else inf

        # Each element of a rank without a spatial part is a round of its own.
        return self.memo.get(key, fewest) * prod(r.size for r in laid if not r.fine)


def oddity(cut: Cut, usual: Cut, short: bool, parallel: bool) -> float:
    """Return how unusual a cut is; 0 is usual.

    Parallel ranks rarely lie along an array, and long ranks nearly always do.
    """
    if parallel:
        return 2.0 * len(cut)
    if short:
        return max(0, len(cut) - 1) + (0.0 if cut == usual else policy.SHORT_RANK_ODDITY)
    return len(cut) - 1.0 if cut else 1.0
