"""Cuts of ranks for the arrays of a machine, before any loops are decided.

An Einsum costs the cycles of its array and those of the innermost memory, which feeds the array, in
its best layout; results in registers are not fed. A beam over the ranks adds their cuts one
by one. Then single ranks are cut anew as long as that costs less; ranks that all tensors have lie
along arrays only then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from math import inf, prod
from operator import itemgetter

from archsim.spec.arch import Memory, ProcessingArray
from einsum_cascade.ir import Program
from einsum_cascade.memo import Memoized, cached_property, memoized
from einsum_cascade.operations import operations_of

from ..space.array_tiles import arrays_of, sides_of
from ..space.factorisation import (
    Cut,
    Factorisation,
    coverages,
    factorise,
    turned_ranks,
    unlaid_ranks,
)
from ..space.grid import Options, oddity
from ..space.mapspace import Mapspace
from ..space.policy import CROWDED_PENALTY, ODDITY_PENALTY
from ..space.region import Region
from . import policy
from .sketch import Sketch
from .uses import Use

Cuts = tuple[Cut, ...]
"""A cut of each rank."""

State = tuple[float, Cuts]
"""Cycles of all Einsums, and the cuts of all ranks."""


def promising_regions(space: Mapspace, most: int) -> list[Region]:
    """Return the most promising regions of a mapspace.

    Families of tiles take turns, and so do numbers of heads (elements of parallel ranks) that lie
    side by side along arrays: memories hold tiles of all these. Half of the regions have one head.
    """
    families = [ArrayCuts(base=b, usual=u, options=o) for b, u, o in space.cuttable()]
    # With usual cuts families differ more than other cuts change them.
    families = sorted(families, key=lambda family: family.begun[0][0])[:most]
    several, single = list[_Ranked](), list[_Ranked]()
    for place, cuts in enumerate(families):
        numbers = Counter[int]()
        for score, chosen in cuts.best(most):
            heads = cuts.parallel_elements(chosen)
            ranked = several if heads > 1 else single
            ranked.append((numbers[heads], score, place, cuts, chosen))
            numbers[heads] += 1
    rows = zip_longest(*(sorted(found, key=lambda one: one[:3]) for found in (several, single)))
    turns = (one for row in rows for one in row if one is not None)
    return [cuts.region(chosen) for *_, cuts, chosen in islice(turns, most)]


@dataclass(frozen=True, kw_only=True)
class ArrayCuts(Memoized):
    """Alternative cuts of all ranks for one family of a cascade's own tiles."""

    base: Region
    """Region in which no rank is cut."""
    usual: Options
    """Cuts with which a rank fills one dimension of an array, or two."""
    options: Options
    """All alternative cuts."""

    def best(self, most: int) -> list[State]:
        """Return the cuts that cost least, and their costs in cycles."""
        states = [*self._continued(self.begun, most)]
        for _ in range(policy.ROUNDS_OF_CUTS):
            known = {cuts: score for score, cuts in states}
            for _, cuts in states:
                self._add_neighbours(cuts, known)
            grown = [(score, cuts) for cuts, score in known.items()]
            found = [*self._continued(sorted(grown, key=self._order), most)]
            if found == states:
                break
            states = found
        return [state for state in states if state[0] < inf]

    def region(self, cuts: Cuts) -> Region:
        """Return the region with some cuts."""
        pairs = tuple(zip(self._all_ranks, cuts, strict=True))
        region = replace(self.base, cuts=pairs, least_cycles=0)
        return replace(region, least_cycles=region.bound)

    def parallel_elements(self, cuts: Cuts) -> int:
        """Return the number of elements of parallel ranks that lie side by side along arrays."""
        parallel = self.base.program.parallel
        pairs = zip(self._all_ranks, cuts, strict=True)
        return prod(self._cut(r, cut).fine_size for r, cut in pairs if r in parallel)

    @cached_property
    def begun(self) -> list[State]:
        """Best combinations of usual cuts, without parallel ranks along arrays."""
        parallel = self.base.program.parallel
        order = sorted(self._all_ranks, key=lambda r: (r not in parallel, -len(self._with(r))))
        states: list[tuple[float, dict[str, Cut]]] = [(0.0, {})]
        for number, rank in enumerate(order):
            decided = {*order[: number + 1]}
            whole = [n for n in self._with(rank) if decided.issuperset(self._ranks(n))]
            grown = []
            for score, cuts in states:
                for cut in ((),) if rank in parallel else self.usual[rank]:
                    more = {**cuts, rank: cut}
                    grown.append((score + self._sum(whole, more), more))
            grown.sort(key=lambda state: state[0])
            states = grown[: policy.CUTS_CONTINUED]
        return sorted(
            ((score, tuple(cuts[r] for r in self._all_ranks)) for score, cuts in states),
            key=self._order,
        )

    def _add_neighbours(self, cuts: Cuts, known: dict[Cuts, float]) -> None:
        """Add the cuts that differ in one rank, with their costs in cycles."""
        names = self._sketch.names
        costs = [self._cost(name, self._of(name, cuts)) for name in names]
        for place, rank in enumerate(self._all_ranks):
            changed = [n for n, name in enumerate(names) if rank in self._ranks(name)]
            for cut in self.options[rank]:
                other = (*cuts[:place], cut, *cuts[place + 1 :])
                if other not in known:
                    anew = [*costs]
                    for n in changed:
                        anew[n] = self._cost(names[n], self._of(names[n], other))
                    known[other] = sum(anew)

    def _continued(self, states: Iterable[State], most: int) -> Iterator[State]:
        """Yield the first states with, and without, parallel ranks along arrays.

        Of cuts that cost the same, which differ in ranks that lie along no array, one is enough.
        """
        numbers, known = Counter[int](), set[tuple[int, float]]()
        for score, cuts in states:
            kind = self.parallel_elements(cuts)
            if (kind, score) not in known and numbers[kind] < most:
                known.add((kind, score))
                numbers[kind] += 1
                yield score, cuts

    def _order(self, state: State) -> tuple[float, tuple[int, ...]]:
        score, cuts = state
        pairs = [*zip(self._all_ranks, cuts, strict=True)]
        odd = sum(self._oddity(r, c) for r, c in pairs)
        crowded = 1.0 if self._fits(cuts) else CROWDED_PENALTY
        places = tuple(self.options[r].index(c) for r, c in pairs)
        return score * crowded * (1 + ODDITY_PENALTY * odd), places

    def _fits(self, cuts: Cuts) -> bool:
        """Return whether the smallest memory holds the smallest tiles of all tensors."""
        tiles: dict[str, float] = {}
        for name in self._sketch.names:
            for tensor, words in self._tiles(name, self._of(name, cuts)):
                tiles[tensor] = max(tiles.get(tensor, 0.0), words)
        return sum(tiles.values()) <= self._room

    @memoized
    def _tiles(self, name: str, cuts: Cuts) -> tuple[tuple[str, float], ...]:
        """Return the tensors of an Einsum, and the words of the smallest tile of each."""
        ranks = self._ranks(name)
        sizes = {r: self._cut(r, cut).fine_size for r, cut in zip(ranks, cuts, strict=True)}
        uses = self._sketch.uses(name)
        return tuple((u.tensor, prod(sizes.get(r, 1) for r in u.ranks) * u.words) for u in uses)

    @cached_property
    def _room(self) -> float:
        machine = self.base.architecture
        room = min((m.capacity_bytes for m in machine.memories if m.capacity_bytes), default=inf)
        return room / float(machine.word_bytes)

    def _sum(self, names: Iterable[str], cuts: dict[str, Cut]) -> float:
        return sum(self._cost(name, tuple(cuts[r] for r in self._ranks(name))) for name in names)

    def _of(self, name: str, cuts: Cuts) -> Cuts:
        """Return the cuts of the ranks of an Einsum, from those of all ranks."""
        return tuple([cuts[n] for n in self._places(name)])

    @memoized
    def _places(self, name: str) -> tuple[int, ...]:
        return tuple(map(self._all_ranks.index, self._ranks(name)))

    @cached_property
    def _all_ranks(self) -> tuple[str, ...]:
        return tuple(self.options)

    @memoized
    def _with(self, rank: str) -> tuple[str, ...]:
        """Return the Einsums that have a rank."""
        return tuple(e.name for e in self.base.program.einsums if rank in self._ranks(e.name))

    @memoized
    def _ranks(self, name: str) -> tuple[str, ...]:
        program = self.base.program
        variables = program.einsum_of[name].variables
        return tuple(r for r in self.options if r in program.parallel or r.lower() in variables)

    @memoized
    def _oddity(self, rank: str, cut: Cut) -> float:
        short = self.base.shapes[rank] <= min(sides_of(self.base.architecture), default=1)
        parallel = rank in self.base.program.parallel
        return oddity(cut, self.options[rank][0], short, parallel)

    @memoized
    def _cut(self, rank: str, cut: Cut) -> Factorisation:
        shapes, parallel = self.base.shapes, self.base.program.parallel
        return factorise(rank, shapes[rank], cut, 1, shapes, parallel=rank in parallel)

    @cached_property
    def _sketch(self) -> Sketch:
        uncut = tuple((rank, ()) for rank in self._all_ranks)
        return Sketch(region=replace(self.base, cuts=uncut))

    @memoized
    def _arrays(self, name: str) -> tuple[tuple[ProcessingArray, tuple[int, ...], float], ...]:
        """Return the arrays that can do an Einsum, their sides, and the cycles of an iteration."""
        program = self.base.program
        operations = program.memo(operations_of)[name]
        return tuple(
            (array, tuple(d.size for d in array.dimensions), float(array.cycles_of(operations)))
            for array in arrays_of(program, program.einsum_of[name], self.base.architecture)
        )

    @memoized
    def _cost(self, name: str, cuts: Cuts) -> float:
        """Return the cycles of an Einsum on its array, and of the memory that feeds it."""
        unlaid = unlaid_ranks(self.base.program, name)
        ranks = [self._cut(r, cut) for r, cut in zip(self._ranks(name), cuts, strict=True)]
        free = [r for r in ranks if r.rank not in unlaid]
        counts = tuple(tuple(n for _, n in r.fine) for r in free)
        least = inf
        for array, rooms, each in self._arrays(name):
            able: list[tuple[float, float, dict[str, int], dict[str, int]]] = []
            for taken in self.base.program.memo(_coverages, counts, rooms):
                covered = {r.rank: n for r, n in zip(free, taken, strict=True) if n > 1}
                times = {r.rank: -(-r.size // covered.get(r.rank, 1)) for r in ranks}
                share = self._sketch.array_share(name, (), covered)
                able.append((share * each * prod(times.values()), share, covered, times))
            for cycles, share, covered, times in sorted(able, key=itemgetter(0)):
                if cycles >= least:
                    break
                fed = self._fed(name, array, cycles / share, covered, times) if share else 0.0
                least = min(least, share * fed)
        return least

    @cached_property
    def _feeding(self) -> list[tuple[Memory, float]]:
        """Memories, the innermost one first, and the cycles in which each moves a word."""
        machine = self.base.architecture
        rates = ((m, m.bandwidth_bytes_per_s) for m in reversed(machine.memories))
        per_second = machine.word_bytes * machine.clock_hz
        return [(m, 0.0 if rate is None else float(per_second / rate)) for m, rate in rates]

    def _fed(
        self,
        name: str,
        array: ProcessingArray,
        cycles: float,
        covered: dict[str, int],
        times: dict[str, int],
    ) -> float:
        """Return the cycles of an array and of the memory that feeds it, in the best loop order.

        Parameters
        ----------
        cycles : float
            Cycles of the array without loads.
        covered : dict
            Coordinates of each rank on the array, of those that it takes several of.
        times : dict
            Iterations of each rank.
        """
        loading = self._sketch.loads(name, array, {r: {r} for r in covered})
        every, moving = prod(times.values()), [r for r, n in times.items() if n > 1]
        fed = dict.fromkeys(moving, 0.0) or {"": 0.0}
        busy = dict.fromkeys(fed, cycles)
        for use in self._sketch.array_uses(name):
            if array.name in self._holders(use.tensor):
                continue
            # An array may take gathered elements from any memory: lines are of different length.
            able = self._feeding if use.tensor in self._sketch.gathered else self._feeding[:1]
            size = min(self._sketch.array_words(use, covered, m) * each for m, each in able)
            lacking = [r for r in moving if r not in use.all_ranks]
            # An array may keep a running value as long as steps are the innermost loop.
            lacking += self._steps(use, covered)
            for inner in fed:
                # A result that lacks other ranks, too, leaves and comes back.
                stays = inner in lacking
                comes = every // times[inner] if stays else every
                back = 2 if use.written and len(lacking) > stays else 1
                fed[inner] += size * comes * back
                if loading is not None and use.tensor in loading.tensors:
                    busy[inner] = max(busy[inner], comes * loading.cycles)
        return min(busy[inner] + fed[inner] for inner in fed)

    @memoized
    def _holders(self, tensor: str) -> frozenset[str]:
        """Return the arrays whose registers may hold a result until all Einsums have read it."""
        touching = self._sketch.registered.get(tensor, frozenset())
        able = [{array.name for array, *_ in self._arrays(name)} for name in touching]
        return frozenset(set.intersection(*able)) if able else frozenset()

    def _steps(self, use: Use, covered: dict[str, int]) -> list[str]:
        """Return the ranks along which a running value stays, with some coordinates on an array.

        All others over which an Einsum that takes turns reduces must be on the array whole.
        """
        shapes = self.base.shapes
        return [
            r for r in use.steps if all(covered.get(x, 1) == shapes[x] for x in self._reduced(r))
        ]

    @memoized
    def _reduced(self, step: str) -> frozenset[str]:
        """Return the ranks over which Einsums that take turns along a rank reduce."""
        program = self.base.program
        names = program.memo(turned_ranks).get(step, frozenset())
        return frozenset(v.upper() for n in names for v in program.einsum_of[n].over)


def _coverages(
    _: Program, counts: tuple[tuple[int, ...], ...], rooms: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    return coverages(counts, rooms)


_Ranked = tuple[int, float, int, ArrayCuts, Cuts]
"""Number of better cuts with as many heads, cycles, and number of the family; family and cuts."""
