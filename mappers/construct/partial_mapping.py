"""Decisions on one nest, as a beam search makes them, and the placements that come last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from archsim.spec.mapping import Mapping
from einsum_cascade.ir import Program

from ..space.array_tiles import outer_parts_first
from ..space.factorisation import EinsumPlacement, strongly_connected_components
from ..space.region import Skeleton, mapping_of
from . import policy
from .sketch import Sketch
from .uses import Amount, Use, repetitions, stays

Loads = NDArray[np.float64]
"""Cycles of each array, of each memory, and of each group of Einsums that wait for one another."""

Placed = tuple[Loads, tuple[tuple[str, EinsumPlacement], ...]]
"""Cycles of some Einsums, and their placements."""

Alternatives = list[list[list[Placed]]]
"""Alternatives for some groups of Einsums: the placements that each group may have."""


@dataclass(frozen=True, slots=True)
class PartialMapping:
    """Decisions on one nest, so far."""

    sketch: Sketch
    shared: tuple[str, ...]
    alone: frozenset[str] = frozenset()
    """Einsums that run before all shared loops or after them."""
    streamed: frozenset[str] = frozenset()
    """Inputs that arrays take from the outermost memory, as no other one keeps them."""
    orders: tuple[tuple[str, ...], ...] = ()
    """Order of the shared loops of each memory, from the outermost one on."""
    held: tuple[tuple[int, ...], ...] = ()
    """Coarse tiles of each open rank that each inner memory holds."""
    outside: tuple[frozenset[str], ...] = ()
    """For each inner memory, the results that pass through the memory outside of it."""
    bypassing: tuple[frozenset[str], ...] = ()
    """For each inner memory, the tensors that it does not keep."""
    free: float = inf
    """Machine words that are left free in the last memory that is decided."""
    arrived: float = 0.0
    """Machine words that arrive in the last memory that is decided."""
    times: tuple[float, ...] = ()
    """Cycles of each memory that is decided."""
    score: float = 0.0
    placements: tuple[tuple[str, EinsumPlacement], ...] = ()
    in_registers: bool = False
    """True if tensors are taken to stay in registers wherever they may: a bound mapping shows
    whether they do, and memories keep the others."""

    moves_states: bool = False
    """True if loops bring other elements of a state at every step, so that no array keeps it."""

    @property
    def kind(self) -> tuple[bool, ...]:
        """Flags of a state: those of its region, whether states move, whether inputs stream, and
        whether Einsums run alone."""
        return (*self.sketch.kind, self.moves_states, bool(self.streamed), bool(self.alone))

    def shared_by(self, name: str) -> tuple[str, ...]:
        """Return the ranks whose loops an Einsum shares."""
        return () if name in self.alone else self.shared

    def orders_by(
        self, name: str, orders: tuple[tuple[str, ...], ...]
    ) -> tuple[tuple[str, ...], ...]:
        """Return the orders of the shared loops around an Einsum."""
        return ((),) * len(orders) if name in self.alone else orders

    @property
    def trips(self) -> list[dict[str, int]]:
        """Iterations of the loops of each memory, the last one with all that it holds."""
        ranks = self.sketch.open
        chain = ((*self.sketch.coarse.values(),), *self.held, (1,) * len(ranks))
        return [
            {r: -(-a // b) for r, a, b in zip(ranks, outer, inner, strict=True)}
            for outer, inner in pairwise(chain)
        ]

    @property
    def steps(self) -> float:
        """Iterations of all shared loops, those over parallel ranks included."""
        trips = self.trips
        shared = prod(at[r] for order, at in zip(self.orders, trips, strict=True) for r in order)
        return shared * self.sketch.around

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
        together = (t for t, names in self.sketch.registered.items() if self._alike(names))
        if self.in_registers:
            return frozenset(together)
        return frozenset[str]().union(*self.bypassing).intersection(together)

    def _alike(self, names: frozenset[str]) -> bool:
        """Return whether Einsums all share loops, or none of them does."""
        return names <= self.alone or names.isdisjoint(self.alone)

    @property
    def held_whole(self) -> frozenset[str]:
        """Tensors that an array may hold whole, as far as loops at memories decide."""
        trips, found = self.trips, set()
        shared = [(r, at[r]) for order, at in zip(self.orders, trips, strict=True) for r in order]
        for tensor, names in self.sketch.whole.items():
            if not names.isdisjoint(self.alone) or tensor in self._passing:
                continue
            use = next(u for u in self.sketch.uses(tensor) if u.tensor == tensor)
            own = [(r, trips[-1][r]) for r in use.ranks.difference(self.shared) if r in trips[-1]]
            if stays([*shared, *own], use, shared):
                found.add(tensor)
        return frozenset(found)

    @property
    def _passing(self) -> frozenset[str]:
        """Results that pass through the memory outside of the innermost one."""
        return self.outside[-1] if self.outside else frozenset()

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


def placed(state: PartialMapping) -> PartialMapping | None:
    """Return a state with the placements that keep all arrays and memories least busy.

    Einsums change their placement in turn while that lowers the time of the busiest. Return None if
    Einsums that hand on tensors in registers have no placement in common.
    """
    sketch, groups = state.sketch, _tied(state)
    options = [_together(state, names) for names in groups]
    if not all(options):
        return None
    able = [[[found]] for found in options]
    if state.in_registers:
        able = _linked(state, groups, able)
    chosen = [_least_busy(alternatives, np.zeros(())) for alternatives in able]
    total = sum((loads for loads, _ in chosen), np.zeros(()))
    for _ in range(policy.PLACEMENT_ROUNDS):
        before = total.max()
        for number, alternatives in enumerate(able):
            rest = total - chosen[number][0]
            chosen[number] = _least_busy(alternatives, rest)
            total = rest + chosen[number][0]
        if total.max() >= before:
            break
    machine = sketch.region.architecture
    arrays, memories = len(machine.arrays), len(machine.memories)
    busy = total[:arrays]
    return replace(
        state,
        # Arrays wait for one another in the first step and in the last one.
        score=_busy(total) + float(busy.sum() - busy.max()) / state.steps,
        times=tuple(map(float, total[arrays : arrays + memories])),
        placements=tuple(pair for _, placements in chosen for pair in placements),
    )


def _tied(state: PartialMapping) -> list[tuple[str, ...]]:
    """Return groups of Einsums that hand on results in registers, so that they run alike."""
    sketch, groups = state.sketch, list[set[str]]()
    together = [sketch.registered[t] for t in state.registered]
    if state.in_registers:
        together += [sketch.tied(t) for t in state.held_whole]
    for name in sketch.names:
        mine = {name}.union(*(names for names in together if name in names))
        apart = [g for g in groups if not g & mine]
        groups = [*apart, mine.union(*(g for g in groups if g & mine))]
    return [tuple(n for n in sketch.names if n in group) for group in groups]


def _linked(
    state: PartialMapping, groups: list[tuple[str, ...]], able: list[Alternatives]
) -> list[Alternatives]:
    """Return the alternatives of Einsums that are on one array, which holds tensors between them.

    Groups stay apart if one array would take much longer for all of them.
    """
    sets = [({number}, alternatives) for number, alternatives in enumerate(able)]
    held = state.held_whole
    for tensor, names in state.sketch.whole.items():
        mine = {n for n, group in enumerate(groups) if not names.isdisjoint(group)}
        touched = [one for one in sets if one[0] & mine] if tensor in held else []
        if len(touched) < 2:
            continue
        numbers = set[int]().union(*(one[0] for one in touched))
        together = _on_one_array([able[n][0][0] for n in sorted(numbers)])
        apart = sum((_least_busy(one[1], np.zeros(()))[0] for one in touched), np.zeros(()))
        most = policy.MAX_SLOWDOWN_ON_ONE_ARRAY * _busy(apart)
        if together and _busy(_least_busy(together, np.zeros(()))[0]) <= most:
            sets = [*(one for one in sets if not one[0] & numbers), (numbers, together)]
    return [alternatives for _, alternatives in sets]


def _on_one_array(options: list[list[Placed]]) -> Alternatives:
    """Return an alternative for each array that all groups of Einsums can be on."""
    apart: list[dict[str, list[Placed]]] = []
    for found in options:
        apart.append({})
        for option in found:
            apart[-1].setdefault(option[1][0][1].array, []).append(option)
    arrays = [array for array in apart[0] if all(array in each for each in apart)]
    return [[each[array] for each in apart] for array in arrays]


def _least_busy(alternatives: Alternatives, rest: Loads) -> Placed:
    """Return the placements that keep all arrays and memories least busy beside all others."""
    found: list[Placed] = []
    for groups in alternatives:
        loads, placements = np.zeros(()), tuple[tuple[str, EinsumPlacement], ...]()
        for able in groups:
            before = rest + loads
            more, placed_there = min(able, key=lambda option: _busy(before + option[0]))
            loads, placements = loads + more, (*placements, *placed_there)
        found.append((loads, placements))
    return min(found, key=lambda option: _busy(rest + option[0]))


def _together(state: PartialMapping, names: tuple[str, ...]) -> list[Placed]:
    """Return the placements that Einsums have in common, and the cycles of all of them."""
    if len(names) == 1:
        return [
            (loads, ((names[0], placement),)) for loads, placement in options_of(state, names[0])
        ]
    able = [{placement: loads for loads, placement in options_of(state, name)} for name in names]
    common = [p for p in able[0] if all(p in other for other in able[1:])]
    if not common and state.in_registers:
        return []
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


def options_of(state: PartialMapping, name: str) -> list[tuple[Loads, EinsumPlacement]]:
    """Return the placements of an Einsum and the cycles they take, the best ones first."""
    sketch, trips = state.sketch, state.trips
    ranks = {*sketch.ranks(name)}
    uses = sketch.uses(name)
    return sketch.memo(
        _priced,
        name,
        tuple(r for r in state.shared_by(name) if r in ranks),
        tuple(
            tuple(r for r in order if r in ranks) for order in state.orders_by(name, state.orders)
        ),
        tuple(tuple((r, n) for r, n in at.items() if r in ranks) for at in trips),
        tuple(
            tuple((r, n) for r, n in zip(sketch.open, held, strict=True) if r in ranks)
            for held in state.held
        ),
        tuple(_ways(state, name, use) for use in uses),
        # Elsewhere it makes no difference, and the same prices hold.
        state.in_registers and any(use.tensor in sketch.whole for use in uses),
        name in state.alone,
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
    shared = state.shared_by(name)
    cut = (r not in shared and held[r] < sketch.coarse[r] for r in use.all_ranks if r in held)
    if use.written or any(cut):
        return False
    if use.tensor in program.einsum_of:
        if use.tensor not in state.outside[level - 1]:
            return True
        orders = state.orders_by(name, state.orders[:level])
        loops = sketch.loops(name, shared, orders, state.trips[:level], ())
        tiles, times = repetitions([*loops], use.all_ranks)
        return sketch.follows(name, use.tensor) and bool(tiles == times)
    alike = (x for x in sketch.names if (x in state.alone) == (name in state.alone))
    first = next(x for x in alike if any(u.tensor == use.tensor for u in sketch.uses(x)))
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
    in_registers: bool,
    alone: bool,
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
    uses = sketch.uses(name)
    shares = [sketch.share(name, shared, tiles) for tiles in tiles_of]
    last = len(rates) - 1
    inside = {r: n for r, n in loops_of[last].items() if r not in shared}
    iterating = frozenset(r for at in loops_of for r, n in at.items() if n > 1 and r not in shared)
    outer = dict[tuple[str, ...], Loads]()
    found: list[tuple[Loads, EinsumPlacement]] = []
    for placement, work in sketch.layouts(name, alone):
        _, extents = sketch.on_array(name, placement)
        share = sketch.array_share(name, shared, extents)
        loading = sketch.loads_of(name, placement)
        for own in _distinct_orders(sketch, name, placement, iterating):
            if own not in outer:
                outer[own] = np.zeros(len(rates))
                for use, way in zip(uses, ways, strict=True):
                    for memory, inner in pairwise(way):
                        around = [
                            *sketch.loops(name, shared, orders[:inner], loops_of[:inner], own)
                        ]
                        tile = sketch.moving_tile(
                            use, tiles_of[inner - 1], machine.memories[memory]
                        )
                        moved = sketch.moved(name, use, around, tile, shares[inner - 1], shared)
                        _, moved_share, read_share = map(
                            float, sketch.shares(use, memory, inner, tiles_of[inner - 1])
                        )
                        read = float(moved.once + moved.again) * read_share
                        outer[own][memory] += read * rates[memory]
                        outer[own][inner] += float(moved.into) * moved_share * rates[inner]
            loops = [*sketch.loops(name, shared, orders[:last], loops_of[:last], own)]
            loops += [(r, loops_of[last][r]) for r in orders[last]]
            busy = work * share
            loads = np.zeros(len(arrays) + len(rates) + len(turns))
            loads[len(arrays) : len(arrays) + len(rates)] = outer[own]
            for use, way in zip(sketch.array_uses(name), ways, strict=True):
                if not way:
                    continue
                feeds = machine.memories[way[-1]]
                free = in_registers and use.tensor in sketch.whole
                moved = sketch.fed(name, use, placement, loops, inside, own, feeds, held=free)
                # Of values with readers of other ranks no array holds all until they are read.
                kept = use.runs and use.written and sketch.all_tied(use.tensor)
                once = 0.0 if kept and not moved.again else moved.once
                words = float(once + moved.again) * share
                read = words * sketch.share_fed(use.tensor, way[-1])
                loads[len(arrays) + way[-1]] += read * rates[way[-1]]
                if loading is not None and use.tensor in loading.tensors:
                    fills = words / sketch.array_words(use, extents, feeds) * sketch.around
                    busy = max(busy, fills * loading.cycles)
            loads[arrays.index(placement.array)] = busy
            if taken:
                steps, between = sketch.steps(name, placement, [x for x in loops if x[0] in shared])
                waits = steps * sketch.around * sketch.latency(name, placement)
                loads[[len(arrays) + len(rates) + n for n in taken]] = busy / between + waits
            found.append((loads, replace(placement, order=own)))
    found.sort(key=lambda option: _busy(option[0]))
    return found[: policy.MAX_OPTIONS]


def _distinct_orders(
    sketch: Sketch, name: str, placement: EinsumPlacement, iterating: frozenset[str]
) -> list[tuple[str, ...]]:
    """Return orders of an Einsum's own loops that differ in ranks which iterate.

    Parameters
    ----------
    iterating : frozenset of str
        Ranks with own loops at some memory.
    """
    (_, left), _ = sketch.on_array(name, placement)
    moving = iterating.union(left)
    alike = dict.fromkeys(tuple(r for r in own if r in moving) for own in sketch.orders(name))
    still = [r for r in sketch.ranks(name) if r not in moving]
    return [tuple(outer_parts_first(sketch.region.program, (*still, *order))) for order in alike]
