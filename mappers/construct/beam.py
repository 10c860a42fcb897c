"""Beam search: decisions on one nest from the outermost memory inwards, the best of them run.

A state has a region (tiles of ranks along arrays) and the ranks whose loops are shared. For each
memory in turn, it gets the order of its shared loops, the tiles that the next memory holds, and the
tensors that this memory does not keep. Last come the placements of all Einsums. States are ordered
by the time of the busiest array or memory, as far as it is decided. The engine decides among the
best ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Sizes
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, combinations, islice, permutations, zip_longest
from math import prod
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsim.engine.evaluate import takes_longer
from archsim.legality.binding import bind, with_parameters
from archsim.legality.dependences import illegalities, lost_results
from archsim.legality.footprint import all_fits
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from archsim.plan.partition_factors import Partitioning
from archsim.plan.partitioning import partition_mapping, problem_of_one_core
from archsim.plan.problem import MappingProblem
from archsim.spec.mapping import BEAM, Keep, Mapping
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError
from einsum_cascade.memo import cached_property

from ..space.array_tiles import sides_of
from ..space.factorisation import tile_sizes, turned_ranks
from ..space.fusion import einsums_alone, shareable_ranks
from ..space.mapspace import Mapspace
from ..space.region import Region
from . import policy
from .array_cuts import promising_regions
from .core_sharing import NO_SHARING, CoreSharing
from .fused import in_registers, timed_cycles
from .memory_trees import chains_of, lifted_from_chain
from .partial_mapping import PartialMapping, placed
from .sketch import Sketch
from .uses import Amount, Moved, Trips, Use

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Beam search of one mapspace."""

    space: Mapspace
    sharing: CoreSharing = NO_SHARING
    branching: bool = False
    """True if the machine's memories are a tree, and those searched one of its chains."""

    def states(self) -> list[PartialMapping]:
        """Return complete states, the most promising ones first."""
        found = [*self._begun()]
        for level in range(1, len(self.space.architecture.memories)):
            groups: dict[tuple[object, ...], list[PartialMapping]] = {}
            for grown in _expanded(found, level):
                key = (id(grown.sketch), grown.shared, grown.alone, grown.orders, grown.kind)
                groups.setdefault(key, []).append(grown)
            ranked = sorted(groups.values(), key=lambda group: min(s.score for s in group))
            legal = filter(None, map(self._with_legal_loops, _with_quotas(ranked)))
            kept = islice(legal, policy.BEAM_WIDTH)
            found = [x for group in kept for x in _sampled_states(group)]
        ordered = (x for state in found for x in _innermost_orders(state))
        inner = _taking_turns(
            ordered, key=lambda x: (id(x.sketch), x.shared, x.alone, x.bypassing, x.kind)
        )
        able = (state for state in inner if self._has_legal_loops(state))
        complete = [
            placed(replace(state, in_registers=held))
            for state in islice(able, policy.MAX_PLACED)
            for held in ((False, True) if state.sketch.whole else (False,))
        ]
        best = sorted((x for x in complete if x is not None), key=attrgetter("score"))
        return [*_taking_turns(best, key=lambda x: (x.in_registers, x.sketch.lays_parallel))]

    def _with_legal_loops(self, group: Sequence[PartialMapping]) -> list[PartialMapping]:
        """Return the states of a group whose loops are legal: loops that iterate differ."""
        return [state for state in group if self._has_legal_loops(state)]

    def _has_legal_loops(self, state: PartialMapping) -> bool:
        """Return whether the shared loops are legal, which hardly depends on sizes of tiles."""
        region, trips = state.sketch.region, state.trips
        iterating = tuple(
            tuple(r for r in order if at[r] > 1)
            for order, at in zip(state.orders, trips, strict=False)
        )
        key = (state.shared, state.alone, iterating, region.joined, tuple(region.turns))
        if key not in self._legal:
            self._legal[key] = legalised(region, _filled(state).mapping) is not None
        return self._legal[key]

    @cached_property
    def _legal(self) -> dict[Hashable, bool]:
        return {}

    def _begun(self) -> Iterator[PartialMapping]:
        """Yield a state for each region and set of shared ranks."""
        crossed: dict[str, bool] = {}
        for sketch in self._sketches():
            region = sketch.region
            # Passes cross a rank's loops or not, whichever Einsums take turns.
            apart = replace(region, joined=False)
            able = tuple(r for r in shareable_ranks(apart, crossed) if r in sketch.open)
            turned = {*region.program.memo(turned_ranks), *region.turns}
            needed = turned.intersection(sketch.open)
            for number in range(len(able), -1, -1):
                for shared in combinations(able, number):
                    outer = {a for a, b in region.parts if b in shared and a in sketch.open}
                    if needed | outer <= {*shared}:
                        streams = dict.fromkeys((frozenset[str](), sketch.gathered))
                        for alone in region.program.memo(einsums_alone, shared):
                            for streamed in streams:
                                yield PartialMapping(sketch, shared, alone, streamed)

    def _sketches(self) -> Iterator[Sketch]:
        """Yield promising regions, and those in which some Einsums take turns inside of a tile."""
        program, sides = self.space.program, sides_of(self.space.architecture)
        running = {r for ranks in program.iterative.values() for r in ranks}
        # Work grows with Einsums times regions.
        most = max(
            policy.MIN_BEAM_REGIONS, policy.BEAM_REGIONS_TIMES_EINSUMS // len(program.einsums)
        )
        for region in promising_regions(self.space, min(most, policy.BEAM_REGIONS)):
            sketch = Sketch(region=region, sharing=self.sharing, branching=self.branching)
            # Values of all steps of a tile may exceed a memory, and those of one step fit.
            joined = replace(region, joined=True)
            together = replace(sketch, region=joined)
            yield sketch if sketch.may_fit or not joined.turns else together
            for number, (rank, cut) in enumerate(region.cuts):
                if rank not in running or cut:
                    continue
                for side in sides[: policy.TURNED_SIDES]:
                    if side >= region.shapes[rank]:
                        continue
                    cuts = (*region.cuts[:number], (rank, (side,)), *region.cuts[number + 1 :])
                    tiled = replace(region, cuts=cuts)
                    joined = replace(tiled, joined=True)
                    yield from (replace(sketch, region=x) for x in (tiled, joined) if x.turns)


def _taking_turns(found: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[T]:
    """Yield the first one of each kind, then the second of each, so that none crowds out others."""
    kinds: dict[Hashable, list[T]] = {}
    for one in found:
        kinds.setdefault(key(one), []).append(one)
    missing = object()
    for row in zip_longest(*kinds.values(), fillvalue=missing):
        yield from (one for one in row if one is not missing)  # type: ignore[misc]


def _with_quotas(ranked: Sequence[Sequence[PartialMapping]]) -> Iterator[Sequence[PartialMapping]]:
    """Yield groups of states: half of them by kind, others by region, the best of each first."""
    turns = _taking_turns(ranked, key=lambda group: (id(group[0].sketch), group[0].kind))
    turns = _taking_turns(turns, key=lambda group: group[0].kind)
    first = [*islice(turns, policy.BEAM_WIDTH // 2)]
    yield from first
    known = {id(group) for group in first}
    others = [group for group in ranked if id(group) not in known]
    yield from _taking_turns(others, key=lambda group: id(group[0].sketch))


def _sampled_states(group: Sequence[PartialMapping]) -> list[PartialMapping]:
    """Return the best state of a group, and some of the others, evenly."""
    best = min(range(len(group)), key=lambda n: group[n].score)
    chosen = np.linspace(0, len(group) - 1, policy.SAMPLES).round().astype(int)
    return [group[n] for n in dict.fromkeys([best, *map(int, chosen)])]


def _expanded(found: Sequence[PartialMapping], level: int) -> list[PartialMapping]:
    """Return the states that some states grow to, in the order of these.

    Those that differ in sizes of tiles alone are expanded together.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, state in enumerate(found):
        decided = (state.shared, state.alone, state.orders, state.outside, state.bypassing)
        groups.setdefault((id(state.sketch), *decided, state.kind), []).append(number)
    grown: list[tuple[int, PartialMapping]] = []
    for numbers in groups.values():
        expansion = _Expansion(alike=[found[n] for n in numbers], level=level)
        grown += ((numbers[origin], state) for origin, state in expansion.states())
    return [state for _, state in sorted(grown, key=itemgetter(0))]


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
    free: NDArray[np.float64]
    """Words that the tiles leave free."""
    origin: NDArray[np.int64]
    """Number of the state that each tiling continues."""

    @property
    def count(self) -> int:
        """Number of tilings."""
        return len(self.origin)

    def some(self, chosen: NDArray[np.int64]) -> _Tilings:
        """Return the tilings of the given numbers."""
        bypassing = {t: gone[chosen] for t, gone in self.bypassing.items()}
        return _Tilings(
            held={r: np.asarray(n)[chosen] for r, n in self.held.items()},
            trips={r: np.asarray(n)[chosen] for r, n in self.trips.items()},
            bypassing={t: gone for t, gone in bypassing.items() if gone.any()},
            free=self.free[chosen],
            origin=self.origin[chosen],
        )


class _Arriving(NamedTuple):
    """Words that arrive in a memory or leave it, for one iteration of parallel loops."""

    words: Amount
    read: Amount
    """Words that the memory outside reads or takes: several cores may read some together."""
    outside: dict[str, NDArray[np.bool_]]
    """Results that pass through the memory outside, in some tilings."""


@dataclass(frozen=True, kw_only=True)
class _Expansion:
    """Expansion of states by the loops of one memory and the tiles that the next one holds."""

    alike: Sequence[PartialMapping]
    """States that differ in sizes of tiles alone."""
    level: int
    """Index of the memory that holds the tiles."""

    @property
    def state(self) -> PartialMapping:
        """One of the states, for all decisions that they have in common."""
        return self.alike[0]

    def states(self) -> Iterator[tuple[int, PartialMapping]]:
        """Yield the best states for each order of the loops, with tiles of several sizes.

        The number of the state that each one continues comes first.
        """
        tilings = self._tilings()
        if not tilings.count:
            return
        state, region = self.state, self.state.sketch.region
        machine = region.architecture
        outer, memory = machine.memories[self.level - 1 : self.level + 1]
        cycles = float(machine.word_bytes * machine.clock_hz)
        before = self._before(tilings)
        arrived, slowest, total = (
            np.array(values)[tilings.origin]
            for values in (
                [s.arrived for s in self.alike],
                [max((s.sketch.bound, *s.times)) for s in self.alike],
                [float(sum(s.times)) for s in self.alike],
            )
        )
        for order in _orders_of(region, state.shared):
            orders = (*state.orders, order)
            found = self._arriving(orders, [*before, tilings.trips], tilings)
            words, read = (
                np.broadcast_to(n * state.sketch.around * cycles, tilings.count)
                for n in (found.words, found.read)
            )
            outside = found.outside
            time = _over(read + arrived, outer.bandwidth_bytes_per_s)
            decided = [*zip(orders, [*before, tilings.trips], strict=True)]
            filling = _over(words, memory.bandwidth_bytes_per_s)
            fed = state.sketch.state_feed_cycles(decided, tilings.held, state.alone)
            busy = np.maximum(np.maximum(time, filling), slowest)
            score = np.maximum(busy, fed) + policy.SUM_WEIGHT * (time + fed + total)
            free, fits = self._left(tilings, outside)
            fed_again = np.broadcast_to(fed > 0, tilings.count)
            kinds = 2 * tilings.origin + fed_again
            for n in _sampled(score, tilings.held, kinds, fits):
                origin = int(tilings.origin[n])
                state = self.alike[origin]
                grown = replace(
                    state,
                    orders=orders,
                    held=(*state.held, tuple(int(np.asarray(h)[n]) for h in tilings.held.values())),
                    outside=(*state.outside, frozenset(t for t, out in outside.items() if out[n])),
                    bypassing=(
                        *state.bypassing,
                        frozenset(t for t, gone in tilings.bypassing.items() if gone[n]),
                    ),
                    free=float(free[n]),
                    arrived=float(words[n]),
                    times=(*state.times, float(time[n])),
                    score=float(score[n]),
                    moves_states=bool(fed_again[n]),
                )
                yield origin, grown

    def _before(self, tilings: _Tilings) -> list[Trips]:
        """Return the iterations of the loops of all memories further out, for each tiling."""
        every = [s.trips[:-1] for s in self.alike]
        return [
            {r: _each([at[r] for at in trips], tilings.origin) for r in self.state.sketch.open}
            for trips in zip(*every, strict=True)
        ]

    def _left(
        self, tilings: _Tilings, outside: Sizes[str, NDArray[np.bool_]]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the words that are left free, and the tilings in which both memories have room.

        Results that pass through the memory outside take room in both: before, it was open whether
        they do.
        """
        state = self.state
        free, room = tilings.free, np.array([s.free for s in self.alike])[tilings.origin]
        held_before = self._above(tilings.origin) if state.held else {}
        for tensor, passes in outside.items():
            if tensor not in self._counted:
                free = free - np.where(passes, self._words(tensor, tilings.held), 0.0)
            if held_before and tensor not in self._counted_at(self.level - 1):
                room = room - np.where(passes, self._words(tensor, held_before), 0.0)
        return free, (free >= 0) & (room >= 0)

    @cached_property
    def _counted(self) -> frozenset[str]:
        """Tensors whose tiles the memory certainly holds, unless they bypass it."""
        return self._counted_at(self.level)

    def _counted_at(self, level: int) -> frozenset[str]:
        """Return the tensors whose tiles a memory certainly holds, unless they bypass it."""
        state, sketch = self.state, self.state.sketch
        elsewhere = state.registered | state.streamed
        innermost = level == len(sketch.region.architecture.memories) - 1
        if innermost or sketch.branching:
            return frozenset(sketch.region.program.tensors) - elsewhere
        return sketch.ends.union(*state.outside) - elsewhere

    def _words(self, tensor: str, held: Trips) -> Amount:
        """Return the words of the largest tile of a tensor that some Einsum needs."""
        sketch, state = self.state.sketch, self.state
        found: Amount = 0.0
        for name in sketch.names:
            for use in (u for u in sketch.uses(name) if u.tensor == tensor):
                size = sketch.tile(use, held, state.shared_by(name), alone=name in state.alone)
                found = np.maximum(
                    found, size * sketch.shares(use, self.level - 1, self.level, held)[0]
                )
        return found

    def _above(self, origin: NDArray[np.int64]) -> dict[str, Amount]:
        """Return the coarse tiles of each open rank that the memory further out holds."""
        sketch = self.state.sketch
        held = [s.held[-1] if s.held else (*sketch.coarse.values(),) for s in self.alike]
        return {r: _each(n, origin) for r, *n in zip(sketch.open, *held, strict=True)}

    def _tilings(self) -> _Tilings:
        """Return the tiles that fit the memory, for all states."""
        sketch, shared = self.state.sketch, {*self.state.shared}
        cuts, found = sketch.region.open_factorisations, list[list[NDArray[np.float64]]]()
        for state in self.alike:
            sizes = state.held[-1] if state.held else (*sketch.coarse.values(),)
            pairs = zip(cuts, sizes, strict=True)
            found.append(_combinations([(n,) if c.whole else tile_sizes(n) for c, n in pairs]))
        counts = [len(grids[0]) if grids else 1 for grids in found]
        origin = np.repeat(np.arange(len(self.alike)), counts)
        held = {r: np.concatenate(n) for r, *n in zip(sketch.open, *found, strict=True)}
        trips = {r: np.ceil(n / held[r]) for r, n in self._above(origin).items()}
        valid = np.ones(len(origin), dtype=np.bool_)
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
        bypassing, free = self._bypassing(held, valid)
        every = _Tilings(held=held, trips=trips, bypassing=bypassing, free=free, origin=origin)
        return every.some(np.nonzero(valid)[0])

    def _bypassing(
        self, held: Sizes[str, NDArray[np.float64]], valid: NDArray[np.bool_]
    ) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.float64]]:
        """Return the tensors to keep out of the memory, and the words that others leave free.

        Tensors leave it one by one until the rest fits: those first that cost least if an array
        takes them from the memory outside. Tilings that do not fit are not valid.
        """
        sketch, machine = self.state.sketch, self.state.sketch.region.architecture
        capacity = machine.memories[self.level].capacity_bytes
        if capacity is None:
            return {}, np.full(valid.shape, np.inf)
        room = float(capacity / machine.word_bytes)
        order = (t for t in sketch.region.program.tensors if t in self._counted)
        tiles = {t: self._words(t, {**held}) for t in order}
        excess = np.broadcast_to(sum(tiles.values()) - room, valid.shape)
        found = {t: np.ones(valid.shape, dtype=np.bool_) for t in self.state.streamed}
        for tensor in (*sketch.registered, *sketch.memo(_cheapest_to_stream)):
            if tensor not in tiles:
                continue
            gone = (excess > 0) & (tiles[tensor] > policy.MIN_BYPASS_SHARE * room)
            excess = excess - np.where(gone, tiles[tensor], 0.0)
            found[tensor] = gone
        valid &= excess <= 0
        return found, -excess

    def _arriving(
        self, orders: tuple[tuple[str, ...], ...], trips: list[Trips], tilings: _Tilings
    ) -> _Arriving:
        """Return the words that arrive in the memory or leave it, and the results that do.

        A result does so if some Einsum needs its tiles again, or if its tile is cut by loops that
        are not shared, or by shared ones that a reader is not in.
        """
        sketch, program = self.state.sketch, self.state.sketch.region.program
        none = np.zeros(tilings.count, dtype=np.bool_)
        together: dict[str, Amount] = {}
        apart: dict[str, Amount] = {}
        separate: dict[str, NDArray[np.bool_]] = {}
        written: dict[str, Amount] = {}
        outside: dict[str, NDArray[np.bool_]] = {}
        shares: dict[str, tuple[Amount, ...]] = {}
        for name in sketch.names:
            for use, moved in self._moved(name, orders, trips, tilings):
                tensor = use.tensor
                words = moved.again + moved.once
                cut = self._is_cut(name, use, tilings) | none
                shares[tensor] = sketch.shares(use, self.level - 1, self.level, tilings.held)
                if tensor in self.state.registered:
                    continue
                if tensor in program.einsum_of:
                    later = [at[r] for r in sketch.after(name, tensor) for at in trips if r in at]
                    passed = sum((np.asarray(n) > 1 for n in later), start=none)
                    gone = cut | moved.leaves | passed
                    outside[tensor] = outside.get(tensor, none) | gone
                    if use.written:
                        written[tensor] = words
                # Readers in the same step find the tile that another one brought.
                together[tensor] = np.maximum(together.get(tensor, 0.0), words)
                if tensor in tilings.bypassing and tensor in sketch.ends:
                    gone = tilings.bypassing[tensor]
                    streamed = np.maximum(words, sketch.streamed(name, tensor))
                    words, cut = np.where(gone, streamed, words), cut | gone
                if sketch.follows(name, tensor):
                    words = np.where(cut | moved.leaves, words, 0.0)
                apart[tensor] = apart.get(tensor, 0.0) + words
                separate[tensor] = separate.get(tensor, none) | cut
        total: Amount = 0.0
        read: Amount = 0.0
        for tensor, words in together.items():
            if tensor in sketch.registered and tensor in tilings.bypassing:
                outside[tensor] = outside[tensor] & ~tilings.bypassing[tensor]
            if tensor in outside:
                leaving = written[tensor] if tensor in sketch.ends else 0.0
                words = np.where(outside[tensor], apart[tensor], leaving)
            else:
                words = np.where(separate[tensor], apart[tensor], words)
            gone = tilings.bypassing.get(tensor, none)
            mine, taken = (np.where(gone, 1.0, share) for share in shares[tensor][1:])
            total, read = total + words * mine, read + words * taken
        return _Arriving(total, read, outside)

    def _is_cut(self, name: str, use: Use, tilings: _Tilings) -> NDArray[np.bool_] | bool:
        """Return whether loops that are not shared cut the tile of a tensor."""
        sketch, shared = self.state.sketch, self.state.shared_by(name)
        found: NDArray[np.bool_] | bool = False
        for r in use.all_ranks:
            if r in sketch.coarse and r not in shared:
                found = found | (tilings.held[r] < sketch.coarse[r])
        return found

    def _moved(
        self, name: str, orders: tuple[tuple[str, ...], ...], trips: list[Trips], tilings: _Tilings
    ) -> list[tuple[Use, Moved]]:
        """Return what an Einsum moves; only the order of loops over its own ranks matters."""
        orders, mine = self.state.orders_by(name, orders), self.state.sketch.ranks(name)
        key = (name, tuple(rank for rank in orders[-1] if rank in mine))
        if key not in self._known:
            self._known[key] = self._least_moved(name, orders, trips, tilings)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[Hashable, list[tuple[Use, Moved]]]:
        """Words that each Einsum moves, by the order of those loops that it has."""
        return {}

    def _least_moved(
        self, name: str, orders: tuple[tuple[str, ...], ...], trips: list[Trips], tilings: _Tilings
    ) -> list[tuple[Use, Moved]]:
        """Return what an Einsum moves, with its own loops in the order that moves least."""
        sketch, shared = self.state.sketch, self.state.shared_by(name)
        share, uses = sketch.share(name, shared, tilings.held), sketch.uses(name)
        own = [r for r in sketch.ranks(name) if r in sketch.coarse and r not in shared]
        outer = sketch.region.architecture.memories[self.level - 1]
        tiles = [sketch.moving_tile(use, tilings.held, outer) for use in uses]
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
            best = [x.where(better, y) for x, y in zip(found, best, strict=True)]
        return [*zip(uses, best, strict=True)]


def _over(words: NDArray[np.float64], bandwidth: Fraction | None) -> NDArray[np.float64]:
    return np.zeros_like(words) if bandwidth is None else words / float(bandwidth)


def _each(numbers: Sequence[float], origin: NDArray[np.int64]) -> Amount:
    """Return the number of each tiling's state; a single one if all states have the same."""
    if all(n == numbers[0] for n in numbers):
        return numbers[0]
    return np.array(numbers, dtype=np.float64)[origin]


def _combinations(options: list[tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """Return all combinations of some numbers, one array for each; too many are thinned out."""
    lists = [[*numbers] for numbers in options]
    while prod(map(len, lists)) > policy.MAX_BEAM_TILINGS:
        most = max(lists, key=len)
        most[1:-1] = most[2:-1:2]
    grids = np.meshgrid(*[np.array(n, dtype=np.float64) for n in lists], indexing="ij")
    return [grid.ravel() for grid in grids]


def _sampled(
    score: NDArray[np.float64], held: Trips, kinds: NDArray[np.int64], fits: NDArray[np.bool_]
) -> list[int]:
    """Return the best tiling of each kind, and some about as good, from large tiles to small."""
    volume = sum((np.log2(h) for h in held.values()), np.zeros(len(score)))
    found: list[int] = []
    for kind in np.unique(kinds):
        (mine,) = np.nonzero((kinds == kind) & fits)
        if not len(mine):
            continue
        best = int(mine[np.argmin(score[mine])])
        near = mine[score[mine] <= policy.NEARLY_BEST * score[best]]
        near = near[np.argsort(-volume[near], kind="stable")]
        chosen = np.linspace(0, len(near) - 1, policy.SAMPLES).round().astype(int)
        found += dict.fromkeys([best, *(int(near[n]) for n in chosen)])
    return found


def _cheapest_to_stream(sketch: Sketch) -> tuple[str, ...]:
    """Return inputs and outputs, those first that take least more words without a memory."""
    cost: dict[str, float] = {}
    for name in sketch.names:
        for use in sketch.uses(name):
            if use.tensor in sketch.ends:
                more = sketch.streamed(name, use.tensor) / (use.words * use.most)
                cost[use.tensor] = max(cost.get(use.tensor, 0.0), more)
    return tuple(sorted(cost, key=cost.__getitem__))


def _filled(state: PartialMapping) -> PartialMapping:
    """Return a state with any decisions in place of those that are still open."""
    sketch = state.sketch
    depth = len(sketch.region.architecture.memories)
    more, orders = depth - 1 - len(state.held), depth - len(state.orders)
    placements = (
        (name, replace(sketch.layouts(name, alone)[0][0], order=sketch.orders(name)[0]))
        for name in sketch.names
        for alone in (name in state.alone,)
    )
    return replace(
        state,
        orders=(*state.orders, *state.orders[-1:] * orders),
        held=(*state.held, *state.held[-1:] * more),
        outside=(*state.outside, *state.outside[-1:] * more),
        # A tensor that cannot bypass a memory says nothing of the loops.
        bypassing=(frozenset[str](),) * (depth - 1),
        placements=tuple(placements),
    )


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
            return None if illegalities(bound) else bound
        outer |= lost
        mapping = replace(
            mapping, keep=tuple(_with(k, outer, program.tensors) for k in mapping.keep)
        )


def _with(kept: Keep, tensors: Collection[str], order: Collection[str]) -> Keep:
    return replace(kept, tensors=tuple(t for t in order if t in tensors or t in kept.tensors))


def construct(problem: MappingProblem, partitioning: Partitioning = ()) -> Mapping:
    """Return the fastest mapping of one nest among the best states of a beam search.

    Parameters
    ----------
    problem : MappingProblem
    partitioning : Partitioning
        Partitioning over the cores of the machine.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    MappingError
        No state is a legal mapping.
    """
    program, shapes = with_parameters(problem.program, problem.shapes)
    problem = MappingProblem(program, problem.architecture, shapes)
    found = _fastest_leaf(problem, partitioning)
    if found is None:
        raise NoLegalMappingError(
            f"the beam search found no legal mapping that fits {problem.architecture.name}",
            hint="try --mapping einsum-by-einsum, or search longer with `archsim map`",
        )
    return replace(found, name=BEAM)


def _fastest_leaf(problem: MappingProblem, partitioning: Partitioning) -> Mapping | None:
    """Return the fastest of the best mappings, searched for one core with its memories in a line.

    Each is run on the whole machine, with one core for all those under a mask.
    """
    machine, core = problem.architecture, problem_of_one_core(problem, partitioning)
    line = core.architecture
    if not line.tree.is_line:
        line = next(chains_of(line))
    space = Mapspace.of(core.program, line, core.shapes)
    sharing = CoreSharing(machine.memories, partitioning)

    def runs(mapping: Mapping) -> list[tuple[Mapping, Bound]]:
        lifted = [mapping]
        if line is not core.architecture:
            lifted = [*lifted_from_chain(replace(core, shapes=space.given), line, mapping)]
        found: list[tuple[Mapping, Bound]] = []
        for one in lifted:
            whole = partition_mapping(one, partitioning, machine, problem.program)
            with suppress(MappingError):
                bound = bind(problem.program, whole, machine, problem.shapes, alike=True)
                found.append((whole, bound))
        return found

    best, least = None, Fraction(0)
    beam = Beam(space=space, sharing=sharing, branching=line is not core.architecture)
    leaves = _leaves(beam.states(), runs)
    for mapping, whole in chain.from_iterable(islice(leaves, policy.LEAVES)):
        # Later ones are no better by estimates, which weigh the traffic of all memories.
        most = least * policy.MAX_RATIO_OF_LATER_LEAF
        if best is not None and takes_longer(whole, float(most / machine.clock_hz)):
            continue
        with suppress(MappingError):
            cycles = timed_cycles(whole)
            if best is None or cycles < most:
                best, least = mapping, cycles
    return best


def _leaves(
    states: Iterable[PartialMapping], runs: Callable[[Mapping], list[tuple[Mapping, Bound]]]
) -> Iterator[list[tuple[Mapping, Bound]]]:
    """Yield legal runs of states in order, few of each region and set of shared ranks.

    Parameters
    ----------
    runs : callable
        Binds the mapping of one core on the whole machine; returns nothing if that is illegal.
    """
    alike: dict[tuple[object, ...], int] = {}
    known = set[tuple[object, ...]]()
    for state in states:
        key = (id(state.sketch), state.shared, state.alone)
        # States with equal costs differ in ranks that hardly matter.
        costs = (state.score, state.times, state.in_registers)
        if alike.get(key, 0) == policy.MAX_LEAVES_ALIKE or costs in known:
            continue
        bound = legalised(state.sketch.region, state.mapping)
        # Inputs that cores share fit the whole machine only.
        if bound is None or not (state.sketch.sharing.partitioning or all_fits(bound)):
            continue
        found = runs(in_registers(bound).mapping)
        if found:
            alike[key] = alike.get(key, 0) + 1
            known.add(costs)
            yield found
