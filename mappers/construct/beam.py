"""Beam search: decisions on one nest from the outermost memory inwards, the best of them run.

A state has a region (tiles of ranks along arrays) and the ranks whose loops are shared. For each
memory in turn, it gets the order of its shared loops, the tiles that the next memory holds, and the
tensors that this memory does not keep. Last come the placements of all Einsums. States are ordered
by the time of the busiest array or memory, as far as it is decided. The engine decides among the
best ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as Sizes
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from itertools import combinations, islice, pairwise, permutations, zip_longest
from math import prod
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities, lost_results
from archsim.legality.footprint import all_fits
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from archsim.plan.problem import MappingProblem
from archsim.spec.arch import Architecture
from archsim.spec.mapping import BEAM, Keep, Mapping
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError
from einsum_cascade.ir import Program

from ..space.array_tiles import sides_of
from ..space.factorisation import (
    EinsumPlacement,
    strongly_connected_components,
    tile_sizes,
    turned_ranks,
)
from ..space.fusion import shareable_ranks
from ..space.mapspace import Mapspace
from ..space.region import Region, Skeleton, mapping_of
from . import policy
from .fused import in_registers, run_cycles
from .memory_trees import chains_of, lifted_from_chain
from .sketch import Amount, Moved, Sketch, Trips, Use, repetitions

Loads = NDArray[np.float64]
"""Cycles of each array, of each memory, and of each group of Einsums that take turns."""


@dataclass(frozen=True, slots=True)
class PartialMapping:
    """Decisions on one nest, so far."""

    sketch: Sketch
    shared: tuple[str, ...]
    orders: tuple[tuple[str, ...], ...] = ()
    """Order of the shared loops of each memory, from the outermost one on."""
    held: tuple[tuple[int, ...], ...] = ()
    """Coarse tiles of each open rank that each inner memory holds."""
    outside: tuple[frozenset[str], ...] = ()
    """For each inner memory, the results that pass through the memory outside of it."""
    bypassing: tuple[frozenset[str], ...] = ()
    """For each inner memory, the tensors that it does not keep."""
    arrived: float = 0.0
    """Machine words that arrive in the last memory that is decided."""
    times: tuple[float, ...] = ()
    """Cycles of each memory that is decided."""
    score: float = 0.0
    placements: tuple[tuple[str, EinsumPlacement], ...] = ()

    @property
    def trips(self) -> list[dict[str, int]]:
        """Iterations of the loops of each memory, the last one with all that it holds."""
        ranks = self.sketch.open
        chain = ((*self.sketch.coarse.values(),), *self.held, (1,) * len(ranks))
        return [
            {r: -(-a // b) for r, a, b in zip(ranks, outer, inner, strict=True)}
            for outer, inner in pairwise(chain)
        ]

    def kept(self, tensor: str) -> tuple[int, ...]:
        """Return the memories that keep a tensor, outermost first; none for one in registers."""
        levels, first = len(self.held) + 1, 0
        if tensor in self.registered:
            return ()
        if tensor not in self.sketch.ends:
            passed = (n for n, tensors in enumerate(self.outside) if tensor in tensors)
            first = next(passed, levels - 1)
        gone = {n + 1 for n, tensors in enumerate(self.bypassing) if tensor in tensors}
        return tuple(n for n in range(first, levels) if n not in gone) or (0,)

    @property
    def registered(self) -> frozenset[str]:
        """Results that stay in the registers of an array."""
        gone = frozenset[str]().union(*self.bypassing)
        return gone & self.sketch.registered.keys()

    @property
    def mapping(self) -> Mapping:
        """Mapping with all decisions."""
        region, ranks, trips = self.sketch.region, self.sketch.open, self.trips
        levels = range(len(trips))
        members = {r: region.factorisation_of[r].levelled for r in ranks}
        order = tuple(
            tuple(members[r][n] for r in self.orders[n] if trips[n][r] > 1) for n in levels
        )
        own = {members[r][n] for n in levels for r in ranks if trips[n][r] > 1}
        sizes = [trips[n][r] for r in ranks for n in reversed(levels[1:])]
        skeleton = Skeleton(shared=self.shared, order=order, own=frozenset(own.difference(*order)))
        names = [m.name for m in region.architecture.memories]
        placements = dict(self.placements)
        places = {t: tuple(names[n] for n in self.kept(t)) for t in region.program.tensors}
        places |= {t: (placements[t].array,) for t in self.registered}
        rows = np.array(sizes, dtype=np.int64)
        return mapping_of(region, skeleton, rows, placements, places)


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Beam search of one mapspace."""

    space: Mapspace

    def states(self) -> list[PartialMapping]:
        """Return complete states, the most promising ones first."""
        found = [*self._begun()]
        for level in range(1, len(self.space.architecture.memories)):
            groups: dict[tuple[object, ...], list[PartialMapping]] = {}
            for state in found:
                for grown in _Expansion(state=state, level=level).states():
                    key = (id(grown.sketch), grown.shared, grown.orders)
                    groups.setdefault(key, []).append(grown)
            ranked = sorted(groups.values(), key=lambda group: min(s.score for s in group))
            found = [x for group in ranked[: policy.BEAM_WIDTH] for x in _sampled_states(group)]
        # Of each group in turn, so that none crowds out the others.
        by_region: dict[tuple[object, ...], list[PartialMapping]] = {}
        for state in found:
            for ordered in _innermost_orders(state):
                by_region.setdefault((id(state.sketch), state.shared), []).append(ordered)
        alternating = (x for row in zip_longest(*by_region.values()) for x in row if x is not None)
        complete = map(placed, islice(alternating, policy.MAX_PLACED))
        return sorted(complete, key=attrgetter("score"))

    def _begun(self) -> Iterator[PartialMapping]:
        """Yield a state for each region and set of shared ranks."""
        crossed: dict[str, bool] = {}
        for region in self._regions():
            sketch = Sketch(region=region)
            able = tuple(r for r in shareable_ranks(region, crossed) if r in sketch.open)
            turned = {*region.program.memo(turned_ranks), *region.turns}
            needed = turned.intersection(sketch.open)
            for number in range(len(able), -1, -1):
                for shared in combinations(able, number):
                    apart = {a for a, b in region.parts if b in shared and a in sketch.open}
                    if needed <= {*shared} and apart <= {*shared}:
                        yield PartialMapping(sketch, shared)

    def _regions(self) -> Iterator[Region]:
        """Yield promising regions, and those in which some Einsums take turns inside of a tile."""
        program, sides = self.space.program, sides_of(self.space.architecture)
        running = {r for ranks in program.iterative.values() for r in ranks}
        # Work grows with Einsums times regions.
        most = max(
            policy.MIN_BEAM_REGIONS, policy.BEAM_REGIONS_TIMES_EINSUMS // len(program.einsums)
        )
        for region in self.space.regions(min(most, policy.BEAM_REGIONS), diverse=True):
            yield region
            for number, (rank, cut) in enumerate(region.cuts):
                if rank not in running or cut:
                    continue
                for side in sides[: policy.TURNED_SIDES]:
                    if side >= region.shapes[rank]:
                        continue
                    cuts = (*region.cuts[:number], (rank, (side,)), *region.cuts[number + 1 :])
                    tiled = replace(region, cuts=cuts)
                    joined = replace(tiled, joined=True)
                    yield from (x for x in (tiled, joined) if x.turns)


def _sampled_states(group: Sequence[PartialMapping]) -> list[PartialMapping]:
    """Return the best state of a group, and some of the others, evenly."""
    best = min(range(len(group)), key=lambda n: group[n].score)
    chosen = np.linspace(0, len(group) - 1, policy.SAMPLES).round().astype(int)
    return [group[n] for n in dict.fromkeys([best, *map(int, chosen)])]


def _orders_of(region: Region, shared: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the orders of some shared ranks, outer members of a cut rank outside of inner ones."""
    for order in permutations(shared):
        place = {rank: n for n, rank in enumerate(order)}
        pairs = ((place[a], place[b]) for a, b in region.parts if a in place and b in place)
        if all(a < b for a, b in pairs):
            yield order


def _innermost_orders(state: PartialMapping) -> Iterator[PartialMapping]:
    """Yield a state with each order of the loops at the innermost memory that iterate."""
    trips = state.trips[-1]
    still = tuple(r for r in state.shared if trips[r] == 1)
    moving = [r for r in state.shared if trips[r] > 1]
    for order in _orders_of(state.sketch.region, moving):
        yield replace(state, orders=(*state.orders, (*still, *order)))


@dataclass(frozen=True, kw_only=True)
class _Tilings:
    """Alternative tiles that a memory holds, with what it keeps of them."""

    held: Trips
    """Coarse tiles held of each open rank."""
    trips: Trips
    """Iterations of the loops of the memory outside."""
    bypassing: dict[str, NDArray[np.bool_]]
    """Tensors that the memory does not keep, in some tilings."""
    count: int

    def some(self, chosen: NDArray[np.int64]) -> _Tilings:
        """Return the tilings of the given numbers."""
        bypassing = {t: gone[chosen] for t, gone in self.bypassing.items()}
        return _Tilings(
            held={r: np.asarray(n)[chosen] for r, n in self.held.items()},
            trips={r: np.asarray(n)[chosen] for r, n in self.trips.items()},
            bypassing={t: gone for t, gone in bypassing.items() if gone.any()},
            count=len(chosen),
        )


@dataclass(frozen=True, kw_only=True)
class _Expansion:
    """Expansion of a state by the loops of one memory and the tiles that the next one holds."""

    state: PartialMapping
    level: int
    """Index of the memory that holds the tiles."""

    def states(self) -> Iterator[PartialMapping]:
        """Yield the best states for each order of the loops, with tiles of several sizes."""
        tilings = self._tilings()
        if tilings is None:
            return
        state, region = self.state, self.state.sketch.region
        machine = region.architecture
        outer, memory = machine.memories[self.level - 1 : self.level + 1]
        cycles = float(machine.word_bytes * machine.clock_hz)
        before = [dict[str, Amount](at) for at in state.trips[:-1]]
        for order in _orders_of(region, state.shared):
            orders = (*state.orders, order)
            words, outside = self._arriving(orders, [*before, tilings.trips], tilings)
            words = np.broadcast_to(words * state.sketch.around * cycles, tilings.count)
            time = _over(words + state.arrived, outer.bandwidth_bytes_per_s)
            filling = _over(words, memory.bandwidth_bytes_per_s)
            busy = np.maximum(np.maximum(time, filling), max((state.sketch.bound, *state.times)))
            score = busy + policy.SUM_WEIGHT * (time + sum(state.times))
            for n in _sampled(score, tilings.held):
                yield replace(
                    state,
                    orders=orders,
                    held=(*state.held, tuple(int(np.asarray(h)[n]) for h in tilings.held.values())),
                    outside=(*state.outside, frozenset(t for t, out in outside.items() if out[n])),
                    bypassing=(
                        *state.bypassing,
                        frozenset(t for t, gone in tilings.bypassing.items() if gone[n]),
                    ),
                    arrived=float(words[n]),
                    times=(*state.times, float(time[n])),
                    score=float(score[n]),
                )

    def _tilings(self) -> _Tilings | None:
        """Return the tiles that fit the memory, or None if none do."""
        sketch, shared = self.state.sketch, {*self.state.shared}
        above = self.state.held[-1] if self.state.held else (*sketch.coarse.values(),)
        cuts = sketch.region.open_factorisations
        options = [(n,) if cut.whole else tile_sizes(n) for cut, n in zip(cuts, above, strict=True)]
        held = dict(zip(sketch.open, _combinations(options), strict=True))
        count = prod(map(len, [*held.values()][:1]))
        trips = {r: np.ceil(n / held[r]) for r, n in zip(sketch.open, above, strict=True)}
        valid = np.ones(count, dtype=np.bool_)
        # Own loops are not outside of an inner memory's shared loops.
        for r in sketch.open:
            if r not in shared:
                if sketch.region.turns:
                    valid &= held[r] >= sketch.coarse[r]
                for other in shared:
                    valid &= (held[r] >= sketch.coarse[r]) | (held[other] <= 1)
        for a, b in sketch.region.parts:
            if a in trips and b in shared:
                valid &= (trips[b] <= 1) | (held[a] <= 1)
        bypassing = self._bypassing(held, valid)
        found = _Tilings(held=held, trips=trips, bypassing=bypassing, count=count)
        return found.some(np.nonzero(valid)[0]) if valid.any() else None

    def _bypassing(
        self, held: Sizes[str, NDArray[np.float64]], valid: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.bool_]]:
        """Return the tensors to keep out of the memory; tilings that do not fit are not valid.

        Tensors leave it one by one until the rest fits: those first that cost least if an array
        takes them from the memory outside.
        """
        sketch, machine = self.state.sketch, self.state.sketch.region.architecture
        capacity = machine.memories[self.level].capacity_bytes
        if capacity is None:
            return {}
        room, shared = float(capacity / machine.word_bytes), self.state.shared
        tiles: dict[str, Amount] = {}
        for use in (u for name in sketch.names for u in sketch.uses(name)):
            if use.tensor not in self.state.registered:
                tiles[use.tensor] = np.maximum(
                    tiles.get(use.tensor, 0.0), sketch.tile(use, {**held}, shared)
                )
        excess = np.broadcast_to(sum(tiles.values()) - room, valid.shape)
        found: dict[str, NDArray[np.bool_]] = {}
        for tensor in (*sketch.registered, *sketch.memo(_cheapest_to_stream)):
            if tensor not in tiles:
                continue
            gone = (excess > 0) & (tiles[tensor] > policy.MIN_BYPASS_SHARE * room)
            excess = excess - np.where(gone, tiles[tensor], 0.0)
            found[tensor] = gone
        valid &= excess <= 0
        return found

    def _arriving(
        self, orders: tuple[tuple[str, ...], ...], trips: list[Trips], tilings: _Tilings
    ) -> tuple[Amount, dict[str, NDArray[np.bool_]]]:
        """Return the words that arrive in the memory or leave it, and the results that do.

        A result does so if some Einsum needs its tiles again, or if its tile is cut by loops that
        are not shared.
        """
        sketch, program = self.state.sketch, self.state.sketch.region.program
        none = np.zeros(tilings.count, dtype=np.bool_)
        together: dict[str, Amount] = {}
        apart: dict[str, Amount] = {}
        separate: dict[str, NDArray[np.bool_]] = {}
        written: dict[str, Amount] = {}
        outside: dict[str, NDArray[np.bool_]] = {}
        for name in sketch.names:
            for use, moved in self._moved(name, orders, trips, tilings):
                tensor = use.tensor
                words = moved.again + moved.once
                cut = self._is_cut(use, tilings) | none
                if tensor in self.state.registered:
                    continue
                if tensor in program.einsum_of:
                    outside[tensor] = outside.get(tensor, none) | cut | (moved.again > 0)
                    if use.written:
                        written[tensor] = words
                # Readers in the same step find the tile that another one brought.
                together[tensor] = np.maximum(together.get(tensor, 0.0), words)
                if tensor in tilings.bypassing and tensor in sketch.ends:
                    gone = tilings.bypassing[tensor]
                    streamed = np.maximum(words, sketch.streamed(name, tensor))
                    words, cut = np.where(gone, streamed, words), cut | gone
                if sketch.follows(name, tensor):
                    words = np.where(cut | (moved.again > 0), words, 0.0)
                apart[tensor] = apart.get(tensor, 0.0) + words
                separate[tensor] = separate.get(tensor, none) | cut
        total: Amount = 0.0
        for tensor, words in together.items():
            if tensor in sketch.registered and tensor in tilings.bypassing:
                outside[tensor] = outside[tensor] & ~tilings.bypassing[tensor]
            if tensor in outside:
                leaving = written[tensor] if tensor in sketch.ends else 0.0
                total = total + np.where(outside[tensor], apart[tensor], leaving)
            else:
                total = total + np.where(separate[tensor], apart[tensor], words)
        return total, outside

    def _is_cut(self, use: Use, tilings: _Tilings) -> NDArray[np.bool_] | bool:
        """Return whether loops that are not shared cut the tile of a tensor."""
        sketch = self.state.sketch
        found: NDArray[np.bool_] | bool = False
        for r in use.all_ranks:
            if r in sketch.coarse and r not in self.state.shared:
                found = found | (tilings.held[r] < sketch.coarse[r])
        return found

    def _moved(
        self, name: str, orders: tuple[tuple[str, ...], ...], trips: list[Trips], tilings: _Tilings
    ) -> list[tuple[Use, Moved]]:
        """Return what an Einsum moves, with its own loops in the order that moves least."""
        sketch, shared = self.state.sketch, self.state.shared
        share, uses = sketch.share(name, shared), sketch.uses(name)
        own = [r for r in sketch.ranks(name) if r in sketch.coarse and r not in shared]
        tiles = [sketch.moving_tile(use, tilings.held) for use in uses]
        best: list[Moved] = []
        least: Amount = 0.0
        for order in sketch.orders(name)[: None if len(own) > 1 else 1]:
            loops = [*sketch.loops(name, shared, orders, trips, order)]
            found = [
                sketch.moved(name, use, loops, tile, share, shared)
                for use, tile in zip(uses, tiles, strict=True)
            ]
            cost: Amount = 0.0
            for use, moved in zip(uses, found, strict=True):
                cost = cost + moved.again + (moved.once if use.tensor in sketch.ends else 0.0)
            if not best:
                best, least = found, cost
                continue
            better = cost < least
            least = np.where(better, cost, least)
            best = [
                Moved(
                    *(np.where(better, a, b) for a, b in zip(astuple(x), astuple(y), strict=True))
                )
                for x, y in zip(found, best, strict=True)
            ]
        return [*zip(uses, best, strict=True)]


def _over(words: NDArray[np.float64], bandwidth: Fraction | None) -> NDArray[np.float64]:
    return np.zeros_like(words) if bandwidth is None else words / float(bandwidth)


def _combinations(options: list[tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """Return all combinations of some numbers, one array for each; too many are thinned out."""
    lists = [[*numbers] for numbers in options]
    while prod(map(len, lists)) > policy.MAX_BEAM_TILINGS:
        most = max(lists, key=len)
        most[1:-1] = most[2:-1:2]
    grids = np.meshgrid(*[np.array(n, dtype=np.float64) for n in lists], indexing="ij")
    return [grid.ravel() for grid in grids]


def _sampled(score: NDArray[np.float64], held: Trips) -> list[int]:
    """Return the best tiling, and some about as good, from large tiles to small ones."""
    best = int(np.argmin(score))
    (near,) = np.nonzero(score <= policy.NEARLY_BEST * score[best])
    volume = sum((np.log2(h) for h in held.values()), np.zeros(len(score)))
    near = near[np.argsort(-volume[near], kind="stable")]
    chosen = np.linspace(0, len(near) - 1, policy.SAMPLES).round().astype(int)
    return [*dict.fromkeys([best, *(int(near[n]) for n in chosen)])]


def _cheapest_to_stream(sketch: Sketch) -> tuple[str, ...]:
    """Return inputs and outputs, those first that take least more words without a memory."""
    cost: dict[str, float] = {}
    for name in sketch.names:
        for use in sketch.uses(name):
            if use.tensor in sketch.ends:
                more = sketch.streamed(name, use.tensor) / (use.words * use.most)
                cost[use.tensor] = max(cost.get(use.tensor, 0.0), more)
    return tuple(sorted(cost, key=cost.__getitem__))


def placed(state: PartialMapping) -> PartialMapping:
    """Return a state with the placements that keep all arrays and memories least busy.

    Einsums change their placement in turn while that lowers the time of the busiest.
    """
    sketch = state.sketch
    options = [_together(state, names) for names in _tied(state)]
    chosen = [able[0] for able in options]
    total = sum((loads for loads, _ in chosen), np.zeros(()))
    for _ in range(policy.PLACEMENT_ROUNDS):
        before = total.max()
        for number, able in enumerate(options):
            rest = total - chosen[number][0]
            chosen[number] = min(able, key=lambda option, rest=rest: _busy(rest + option[0]))  # type: ignore[misc]
            total = rest + chosen[number][0]
        if total.max() >= before:
            break
    machine = sketch.region.architecture
    arrays, memories = len(machine.arrays), len(machine.memories)
    return replace(
        state,
        score=_busy(total),
        times=tuple(map(float, total[arrays : arrays + memories])),
        placements=tuple(pair for _, placements in chosen for pair in placements),
    )


def _tied(state: PartialMapping) -> list[tuple[str, ...]]:
    """Return groups of Einsums that hand on results in registers, so that they run alike."""
    groups: list[set[str]] = []
    for name in state.sketch.names:
        mine = {name}.union(
            *(
                state.sketch.registered[t]
                for t in state.registered
                if name in state.sketch.registered[t]
            )
        )
        apart = [g for g in groups if not g & mine]
        groups = [*apart, mine.union(*(g for g in groups if g & mine))]
    return [tuple(n for n in state.sketch.names if n in group) for group in groups]


def _together(
    state: PartialMapping, names: tuple[str, ...]
) -> list[tuple[Loads, tuple[tuple[str, EinsumPlacement], ...]]]:
    """Return the placements that Einsums have in common, and the cycles of all of them."""
    if len(names) == 1:
        return [(loads, ((names[0], placement),)) for loads, placement in _options(state, names[0])]
    able = [{placement: loads for loads, placement in _options(state, name)} for name in names]
    common = [p for p in able[0] if all(p in other for other in able[1:])]
    if not common:  # The best of each: legality decides.
        best = [next(iter(x.items())) for x in able]
        loads = sum((loads for _, loads in best), np.zeros(()))
        return [(loads, tuple((n, p) for n, (p, _) in zip(names, best, strict=True)))]
    found = [
        (sum((x[p] for x in able), np.zeros(())), tuple((n, p) for n in names)) for p in common
    ]
    return sorted(found, key=lambda option: _busy(option[0]))


def _turns(program: Program) -> list[frozenset[str]]:
    """Return groups of Einsums that wait for one another at every step, so that cycles add up."""
    groups = program.memo(strongly_connected_components)
    return [frozenset(group) for group in groups if len(group) > 1]


def _busy(loads: Loads) -> float:
    return float(loads.max() + policy.SUM_WEIGHT * loads.sum())


def _options(state: PartialMapping, name: str) -> list[tuple[Loads, EinsumPlacement]]:
    """Return the placements of an Einsum and the cycles they take, the best ones first."""
    sketch, trips = state.sketch, state.trips
    ranks = {*sketch.ranks(name)}
    uses = sketch.uses(name)
    return sketch.memo(
        _priced,
        name,
        tuple(r for r in state.shared if r in ranks),
        tuple(tuple(r for r in order if r in ranks) for order in state.orders),
        tuple(tuple((r, n) for r, n in at.items() if r in ranks) for at in trips),
        tuple(
            tuple((r, n) for r, n in zip(sketch.open, held, strict=True) if r in ranks)
            for held in state.held
        ),
        tuple(_ways(state, name, use) for use in uses),
        sketch.slowdown(name, state.shared),
    )


def _ways(state: PartialMapping, name: str, use: Use) -> tuple[int, ...]:
    """Return the memories that an access of an Einsum moves a tensor through, outermost first."""
    kept = state.kept(use.tensor)
    found = [n for n in kept[1:] if _finds(state, name, use, n)]
    return kept[kept.index(found[-1]) :] if found else kept


def _finds(state: PartialMapping, name: str, use: Use, level: int) -> bool:
    """Return whether an Einsum finds a tile in a memory that another Einsum brought or left."""
    sketch, program = state.sketch, state.sketch.region.program
    held = dict(zip(sketch.open, state.held[level - 1], strict=True))
    cut = (r not in state.shared and held[r] < sketch.coarse[r] for r in use.all_ranks if r in held)
    if use.written or any(cut):
        return False
    if use.tensor in program.einsum_of:
        if use.tensor not in state.outside[level - 1]:
            return True
        loops = sketch.loops(name, state.shared, state.orders[:level], state.trips[:level], ())
        tiles, times = repetitions([*loops], use.all_ranks)
        return sketch.follows(name, use.tensor) and bool(tiles == times)
    first = next(x for x in sketch.names if any(u.tensor == use.tensor for u in sketch.uses(x)))
    return first != name


Counts = tuple[tuple[tuple[str, int], ...], ...]


def _priced(
    sketch: Sketch,
    name: str,
    shared: tuple[str, ...],
    orders: tuple[tuple[str, ...], ...],
    trips: Counts,
    held: Counts,
    ways: tuple[tuple[int, ...], ...],
    slowdown: float,
) -> list[tuple[Loads, EinsumPlacement]]:
    """Return the placements of an Einsum and the cycles they take, the best ones first."""
    machine = sketch.region.architecture
    arrays = [a.name for a in machine.arrays]
    turns = sketch.region.program.memo(_turns)
    taken = [n for n, group in enumerate(turns) if name in group]
    cycles = float(machine.word_bytes * machine.clock_hz) * sketch.around
    rates = [
        0.0 if m.bandwidth_bytes_per_s is None else cycles / float(m.bandwidth_bytes_per_s)
        for m in machine.memories
    ]
    loops_of = [dict[str, Amount](at) for at in trips]
    tiles_of = [dict[str, Amount](at) for at in held]
    share, uses = sketch.share(name, shared), sketch.uses(name)
    found: list[tuple[Loads, EinsumPlacement]] = []
    for own in sketch.orders(name):
        outer = np.zeros(len(rates))
        last = len(rates) - 1
        loops = [*sketch.loops(name, shared, orders[:last], loops_of[:last], own)]
        loops += [(r, loops_of[last][r]) for r in orders[last]]
        inside = {r: n for r, n in loops_of[last].items() if r not in shared}
        for use, way in zip(uses, ways, strict=True):
            for memory, inner in pairwise(way):
                around = [*sketch.loops(name, shared, orders[:inner], loops_of[:inner], own)]
                tile = sketch.moving_tile(use, tiles_of[inner - 1])
                moved = sketch.moved(name, use, around, tile, share, shared)
                outer[memory] += float(moved.once + moved.again) * rates[memory]
                outer[inner] += float(moved.into) * rates[inner]
        for placement, work in sketch.layouts(name):
            loads = np.zeros(len(arrays) + len(rates) + len(turns))
            loads[arrays.index(placement.array)] = work * slowdown
            loads[len(arrays) : len(arrays) + len(rates)] = outer
            for n in taken:
                loads[len(arrays) + len(rates) + n] = work * slowdown
            for use, way in zip(uses, ways, strict=True):
                if not way:
                    continue
                moved = sketch.fed(name, use, placement, loops, inside, own)
                stays = use.runs and use.written and use.tensor not in sketch.ends
                once = 0.0 if stays and not moved.again else moved.once
                words = float(once + moved.again) * share
                loads[len(arrays) + way[-1]] += words * rates[way[-1]]
            found.append((loads, EinsumPlacement(placement.array, placement.along, own)))
    found.sort(key=lambda option: _busy(option[0]))
    return found[: policy.MAX_OPTIONS]


def legalised(region: Region, mapping: Mapping) -> Bound | None:
    """Return a mapping bound, with lost results kept further out; None if it is illegal."""
    program, machine = region.program, region.architecture
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    given = {r: n for r, n in region.given.items() if r not in sizes}
    outer: set[str] = set()
    # The loop ends: in each turn all memories keep more tensors.
    while True:
        try:
            bound = bind_loops(
                program, mapping, machine, build_tiling(program, mapping, given, sizes)
            )
        except InputError:
            return None
        lost = {*lost_results(bound)} - outer
        if not lost:
            return None if illegalities(bound) or not all_fits(bound) else bound
        outer |= lost
        mapping = replace(
            mapping, keep=tuple(_with(k, outer, program.tensors) for k in mapping.keep)
        )


def _with(kept: Keep, tensors: Collection[str], order: Collection[str]) -> Keep:
    return replace(kept, tensors=tuple(t for t in order if t in tensors or t in kept.tensors))


def construct(program: Program, architecture: Architecture, given: Sizes[str, int]) -> Mapping:
    """Return the fastest mapping of one nest among the best states of a beam search.

    Parameters
    ----------
    architecture : Architecture
        Machine of one core.
    given : mapping
        Shapes in elements by rank.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    MappingError
        No state is a legal mapping.
    """
    problem = MappingProblem(program, architecture, dict(given))
    line = architecture if architecture.tree.is_line else next(chains_of(architecture))
    found = [*_run_leaves(problem, line)]
    if not found:
        raise NoLegalMappingError(
            f"the beam search found no legal mapping that fits {architecture.name}",
            hint="try --mapping einsum-by-einsum, or search longer with `archsim map`",
        )
    _, best = min(found, key=lambda leaf: leaf[0])
    return replace(best.mapping, name=BEAM)


def _run_leaves(problem: MappingProblem, line: Architecture) -> Iterator[tuple[Fraction, Bound]]:
    """Yield the best mappings and their cycles, searched on a machine with memories in a line."""
    space = Mapspace.of(problem.program, line, problem.shapes)
    for bound in islice(_leaves(Beam(space=space).states()), policy.LEAVES):
        lifted = [bound.mapping]
        if line is not problem.architecture:
            lifted = [*lifted_from_chain(replace(problem, shapes=space.given), line, bound.mapping)]
        for mapping in lifted:
            with suppress(MappingError):
                whole = bind(problem.program, mapping, problem.architecture, space.given)
                yield run_cycles(whole, space.given), whole


def _leaves(states: Iterable[PartialMapping]) -> Iterator[Bound]:
    """Yield legal mappings of states in order, few of each region and set of shared ranks.

    Whether loops are legal hardly depends on tiles: of loops that are not, others are not tried.
    """
    alike: dict[tuple[object, ...], int] = {}
    refused: set[tuple[object, ...]] = set()
    for state in states:
        key, loops = (id(state.sketch), state.shared), (state.shared, state.orders)
        if alike.get(key, 0) == policy.MAX_LEAVES_ALIKE or loops in refused:
            continue
        bound = legalised(state.sketch.region, state.mapping)
        if bound is None:
            refused.add(loops)
            continue
        alike[key] = alike.get(key, 0) + 1
        yield in_registers(bound)
