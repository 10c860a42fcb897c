"""Sketch of a region: what moves between its memories under given loops, without binding them.

The counts are those of whole tiles. Under a mask they are scaled by the share of its points. They
rank the decisions of a beam search; a mapping's own counts come from the meter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from archsim.counts.meter import adjacent_variables
from archsim.iteration.bands import Band, coverage
from archsim.spec.arch import Memory, ProcessingArray
from archsim.spec.tensor_words import words_of
from einsum_cascade.ir import Gather, Program
from einsum_cascade.memo import Memoized, cached_property, memoized
from einsum_cascade.operations import operations_of

from ..space.factorisation import EinsumPlacement
from ..space.region import Region
from . import policy
from .context import repeated_gather
from .core_sharing import NO_SHARING, CoreShares, CoreSharing
from .uses import (
    Amount,
    Loading,
    Loops,
    Moved,
    TileWords,
    Trips,
    Use,
    chosen,
    least,
    repetitions,
    stays,
)


@dataclass(frozen=True, kw_only=True)
class Sketch(Memoized):
    """A region with the accesses of its Einsums."""

    region: Region
    sharing: CoreSharing = NO_SHARING
    branching: bool = False
    """True if the memories are branches of a tree, of which each needs room for results."""

    def shares(
        self, use: Use, outer: int, inner: int, held: Trips
    ) -> tuple[Amount, Amount, Amount]:
        """Return the shares of a tile that one core holds in a memory, moves there, and reads.

        Parameters
        ----------
        outer, inner : int
            Index of the memory that is read, and of the one that holds the tile.
        held : dict
            Coarse tiles held of each open rank.
        """
        names = [self.region.architecture.memories[n].name for n in (outer, inner)]
        shares = self._shares(use.tensor).get((names[0], names[1]), CoreShares())
        if shares.whole == shares.part:
            return shares.whole
        whole: NDArray[np.bool_] | bool = True
        if use.gathered_by:
            whole = self._extent(use.gathered_by, held) >= use.positions
        for rank in (use.ranks - use.gathered_by) & held.keys():
            whole = whole & (held[rank] >= self.coarse[rank])
        pairs = zip(shares.whole, shares.part, strict=True)
        kept, moved, read = (chosen(whole, a, b) for a, b in pairs)
        return kept, moved, read

    def share_fed(self, tensor: str, memory: int) -> float:
        """Return the share of the words that one core's array takes from a memory."""
        name = self.region.architecture.memories[memory].name
        return self._shares(tensor).get((name, ""), CoreShares()).part.read

    @memoized
    def _shares(self, tensor: str) -> dict[tuple[str, str], CoreShares]:
        return self.sharing.shares(self.region, tensor)

    @cached_property
    def open(self) -> tuple[str, ...]:
        """Ranks with loops at memories."""
        return tuple(c.rank for c in self.region.open_factorisations)

    @cached_property
    def coarse(self) -> dict[str, int]:
        """Number of coarse tiles of each open rank."""
        return {c.rank: c.coarse for c in self.region.open_factorisations}

    @cached_property
    def lays_parallel(self) -> bool:
        """True if parallel ranks lie along arrays."""
        return any(self.region.factorisation_of[r].fine for r in self.region.program.parallel)

    @cached_property
    def kind(self) -> tuple[bool, ...]:
        """Flags of a region: parallel ranks along arrays, turns inside of tiles, readers joined."""
        return self.lays_parallel, bool(self.region.turns), self.region.joined

    @cached_property
    def bound(self) -> float:
        """Cycles that no mapping of the region takes less than."""
        return self.region.bound

    @cached_property
    def around(self) -> float:
        """Iterations of the loops over parallel ranks, which are outside of all others."""
        cuts = self.region.factorisations
        return prod(-(-c.size // c.fine_size) for c in cuts if c.outside)

    @cached_property
    def _parallel_extent(self) -> int:
        """Coordinates of parallel ranks that are in a memory at a time."""
        cuts = (self.region.factorisation_of[r] for r in self.region.program.parallel)
        return prod(c.fine_size if c.outside else c.size for c in cuts)

    @cached_property
    def ends(self) -> frozenset[str]:
        """Inputs and outputs of the cascade."""
        program = self.region.program
        return frozenset({*(t.name for t in program.inputs), *program.outputs})

    @cached_property
    def gathered(self) -> frozenset[str]:
        """Inputs of which a single gathered index decides the elements."""
        uses = (u for name in self.names for u in self.uses(name))
        return frozenset(u.tensor for u in uses if u.gathered_by and u.tensor in self.ends)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all Einsums."""
        return tuple(e.name for e in self.region.program.einsums)

    @memoized
    def ranks(self, name: str) -> tuple[str, ...]:
        """Return the ranks of an Einsum."""
        return self.region.ranks(name)

    @memoized
    def uses(self, name: str) -> tuple[Use, ...]:
        """Return the accesses of an Einsum, one for each tensor."""
        program, shapes = self.region.program, self.region.shapes
        e, words = (
            program.einsum_of[name],
            program.memo(words_of, self.region.architecture.word_bits),
        )
        found: dict[str, Use] = {}
        for access in (*e.reads, e.target):
            tensor = access.tensor
            running = program.iterative.get(tensor, ())
            ranks = frozenset(v.upper() for v in access.variables)
            gathers = any(isinstance(index, Gather) for index in access.indices)
            gathered_by, positions = repeated_gather(program, shapes, access)
            use = Use(
                tensor=tensor,
                ranks=ranks.difference(program.parallel, running),
                steps=ranks.intersection(running),
                words=float(words.of(tensor)),
                most=float(prod(shapes.get(r, 1) for r in program.tensor_ranks[tensor])),
                written=access is e.target,
                accumulates=any(a.tensor == e.name for a in e.reads),
                runs=bool(running),
                gathers=gathers,
                adjacent=tuple(
                    v.upper() for v in adjacent_variables(access, access.variables) if gathers
                ),
                gathered_by=gathered_by,
                positions=positions,
            )
            known = found.get(tensor)
            if known is None or use.written or len(known.all_ranks) < len(use.all_ranks):
                found[tensor] = use
        return tuple(found.values())

    @memoized
    def array_uses(self, name: str) -> tuple[Use, ...]:
        """Return the accesses of an Einsum, with parallel ranks: arrays take them like others."""
        parallel = self.region.program.parallel
        return tuple(replace(use, ranks=use.ranks.union(parallel)) for use in self.uses(name))

    @memoized
    def follows(self, name: str, tensor: str) -> bool:
        """Return whether an Einsum reads just what another one has written in the same step."""
        e, writer = self.region.program.einsum_of[name], self.region.program.einsum_of.get(tensor)
        if writer is None or self.names.index(name) <= self.names.index(tensor):
            return False
        return all(a.indices == writer.target.indices for a in e.reads if a.tensor == tensor)

    @memoized
    def after(self, name: str, tensor: str) -> frozenset[str]:
        """Return the ranks of a result along which an Einsum without them reads many elements."""
        program = self.region.program
        written = program.einsum_of[tensor].target.indices
        pairs = (
            (v.upper(), read)
            for access in program.einsum_of[name].reads
            if access.tensor == tensor
            for read, index in zip(access.indices, written, strict=True)
            for v in index.variables
        )
        mine = self.ranks(name)
        return frozenset(rank for rank, read in pairs if read.variables and rank not in mine)

    @cached_property
    def registered(self) -> dict[str, frozenset[str]]:
        """Results that the registers of one array may hold, with the Einsums that touch them.

        These Einsums have the same ranks, so that one follows the other at every point. No reader
        waits for another one, which may need the whole tensor first.
        """
        return {
            t: names
            for t, names in self._on_one_array.items()
            if self.all_tied(t) and not self._waits(t, names)
        }

    @cached_property
    def whole(self) -> dict[str, frozenset[str]]:
        """Results that an array may hold whole, in each iteration of shared loops or from one step
        to the next, with the Einsums that touch them."""
        return {t: names for t, names in self._on_one_array.items() if t not in self.registered}

    @memoized
    def tied(self, tensor: str) -> frozenset[str]:
        """Return the Einsums that touch a result and have its ranks and turns, so that they run
        alike."""
        names = self._on_one_array[tensor]
        ranks, turns = {*self.ranks(tensor)}, {*self.region.turning(tensor)}
        return frozenset(
            n for n in names if {*self.ranks(n)} == ranks and {*self.region.turning(n)} == turns
        )

    def all_tied(self, tensor: str) -> bool:
        """Return whether all Einsums that touch a result run alike on one array."""
        return tensor in self._on_one_array and self.tied(tensor) == self._on_one_array[tensor]

    @cached_property
    def _on_one_array(self) -> dict[str, frozenset[str]]:
        """Einsums that touch each result, if some array can do all of them."""
        program, found = self.region.program, dict[str, frozenset[str]]()
        for tensor in program.einsum_of:
            uses = [(n, u) for n in self.names for u in self.uses(n) if u.tensor == tensor]
            names = frozenset(n for n, _ in uses)
            arrays = [{p.array for p, _ in self.layouts(n)} for n in names]
            if (
                tensor not in self.ends
                and len(names) > 1
                # An array forgets the last value of a run, which others may read later.
                and all(u.steps for _, u in uses if u.runs)
                and set.intersection(*arrays)
            ):
                found[tensor] = names
        return found

    def _waits(self, tensor: str, names: Collection[str]) -> bool:
        """Return whether a tensor runs, or some Einsum that reads it waits for another one."""
        program = self.region.program
        before = program.memo(_needed)
        return tensor in program.iterative or any(
            other in before[name] for name in names for other in names if other != tensor
        )

    def state_feed_cycles(
        self,
        loops: Sequence[tuple[Sequence[str], Trips]],
        held: Trips,
        alone: frozenset[str] = frozenset(),
    ) -> Amount:
        """Return the cycles in which the innermost memory feeds states that no array can keep.

        Loops over a state's ranks inside of one over its steps bring other elements at every step.

        Parameters
        ----------
        loops : sequence
            Order and iterations of the shared loops of each memory that is decided.
        held : dict
            Coarse tiles of each open rank that are left for loops further in.
        alone : frozenset of str
            Einsums outside of the shared loops, whose states stay.
        """
        found: Amount = 0.0
        for use, cycles in self._feeds_of_states:
            if not self.whole[use.tensor].isdisjoint(alone):
                continue
            stepping = moved = np.zeros((), dtype=np.bool_)
            for order, trips in loops:
                for rank in order:
                    iterates = np.asarray(trips[rank]) > 1
                    if rank in use.steps:
                        stepping = stepping | iterates
                    elif rank in use.ranks:
                        moved = moved | (stepping & iterates)
            for rank in use.ranks & held.keys():
                moved = moved | (stepping & (np.asarray(held[rank]) > 1))
            found = found + np.where(moved, cycles, 0.0)
        return found

    @cached_property
    def _feeds_of_states(self) -> tuple[tuple[Use, float], ...]:
        """Running values that an array may hold whole, with the cycles in which the innermost
        memory reads and writes another element of each at every point."""
        machine, found = self.region.architecture, list[tuple[Use, float]]()
        rate = machine.memories[-1].bandwidth_bytes_per_s
        if rate is None:
            return ()
        per_word = float(machine.word_bytes * machine.clock_hz / rate)
        for tensor, names in self.whole.items():
            use = next(u for u in self.uses(tensor) if u.tensor == tensor)
            every = use.all_ranks.union(self.region.program.parallel)
            if use.steps and every.issuperset(self.ranks(tensor)):
                points = sum(prod(self.region.shapes[r] for r in self.ranks(n)) for n in names)
                found.append((use, points * use.words * per_word))
        return tuple(found)

    @memoized
    def orders(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return the orders of an Einsum's own loops."""
        return self.region.orders(self.region.program.einsum_of[name], ())

    @memoized
    def layouts(self, name: str, alone: bool = False) -> tuple[tuple[EinsumPlacement, float], ...]:
        """Return the placements of an Einsum, without an order, and their cycles without masks.

        Parameters
        ----------
        alone : bool
            True if the Einsum takes no turns with others.
        """
        found = []
        region = replace(self.region, joined=False) if alone else self.region
        operations = region.program.memo(operations_of)[name]
        for array, layouts in region.layouts_by_array[name].items():
            able = region.architecture.array(array)
            assert able is not None, "arrays come from the machine"
            each = float(able.cycles_of(operations))
            for _, layout in layouts[: policy.MAX_LAYOUTS]:
                if layout.iterations <= policy.MAX_LAYOUT_SLOWDOWN * layouts[0][1].iterations:
                    placement = EinsumPlacement(array, layout.along, (), alone=alone)
                    found.append((placement, each * layout.iterations))
        return tuple(found)

    @memoized
    def _share(self, name: str) -> float:
        return self.region.share(name)

    def share(self, name: str, shared: Collection[str], held: Trips) -> Amount:
        """Return the share of an Einsum's iterations over tiles that a mask leaves.

        Only an Einsum with a mask of its own skips iterations of loops that are not shared.

        Parameters
        ----------
        shared : collection of str
            Ranks whose loops are shared.
        held : dict
            Coarse tiles held of each open rank.
        """
        return self._share_of_tiles(name, shared, lambda ranks: self._extent(ranks, held))

    def array_share(self, name: str, shared: Collection[str], extents: Mapping[str, int]) -> float:
        """Return the share of iterations that a mask leaves, for the coordinates on an array."""

        def extent(ranks: Collection[str]) -> Amount:
            return prod(extents.get(r, 1) for r in ranks)

        return float(self._share_of_tiles(name, shared, extent))

    def _share_of_tiles(
        self, name: str, shared: Collection[str], extent: Callable[[Collection[str]], Amount]
    ) -> Amount:
        masks = self.region.masks
        if name not in masks.bands:
            return self._share(name) if self.masked(name) <= {*shared} else 1.0
        band = masks.bands[name]
        if band is None:
            return 1.0
        wide, deep = (
            1.0 if r is None else extent(self._members(name, r)) for r in (band.plus, band.minus)
        )
        return self._coverage(band.over(self.region.shapes), wide, deep)

    def _members(self, name: str, rank: str) -> tuple[str, ...]:
        """Return the parts of a rank that an Einsum has."""
        mine = self.ranks(name)
        return (
            (rank,)
            if rank in mine
            else tuple(r for r in self.region.program.rank_of[rank].partition if r in mine)
        )

    def _coverage(self, band: Band, wide: Amount, deep: Amount) -> Amount:
        """Return the share of tiles that hold a point of a band."""

        def share(x: Amount, y: Amount) -> float:
            return self.region.program.memo(_covered, band, int(x), int(y))

        if np.ndim(wide) == np.ndim(deep) == 0:
            return share(wide, deep)
        wides, deeps = np.broadcast_arrays(wide, deep)
        pairs = [*zip(wides.ravel().tolist(), deeps.ravel().tolist(), strict=True)]
        shares = {(x, y): share(x, y) for x, y in dict.fromkeys(pairs)}
        return np.array([shares[pair] for pair in pairs]).reshape(wides.shape)

    @memoized
    def masked(self, name: str) -> frozenset[str]:
        """Return the ranks of the mask under which an Einsum runs."""
        region = self.region
        if self._share(name) >= 1:
            return frozenset()
        return region.masks.ranks.intersection(self.ranks(name))

    def tile(
        self, use: Use, held: Trips, shared: Collection[str], *, alone: bool = False
    ) -> Amount:
        """Return the words of a tensor's tile, for coarse tiles held of each open rank.

        A running value has one copy, unless Einsums that touch it step through the tile by
        themselves.
        """
        apart: NDArray[np.bool_] | bool = False
        for rank in use.steps if len(self._stepping(use.tensor)) > 1 else ():
            together = frozenset[str]() if alone else self.region.turns.get(rank, frozenset())
            turning = self._stepping(use.tensor) <= together
            apart = apart | (self.region.factorisation_of[rank].fine_size > 1 and not turning)
            if rank not in shared and rank in held:
                apart = apart | (held[rank] > 1)
        one = self._elements(use, use.ranks, held)
        every = self._elements(use, use.all_ranks, held)
        return chosen(apart, every, one) * use.words

    @cached_property
    def may_fit(self) -> bool:
        """True if every memory can hold the smallest tiles of all results."""
        machine = self.region.architecture
        held, found = dict.fromkeys(self.open, 1.0), dict[str, float]()
        for use in (u for name in self.names for u in self.uses(name)):
            if use.tensor not in self.ends | self.registered.keys():
                size = float(self.tile(use, held, self.open))
                found[use.tensor] = max(found.get(use.tensor, 0.0), size)
        room = min((m.capacity_bytes for m in machine.memories if m.capacity_bytes), default=inf)
        return sum(found.values()) * float(machine.word_bytes) <= room

    def moving_tile(self, use: Use, held: Trips, outer: Memory) -> TileWords:
        """Return a tensor's tile that moves: that of all steps of a running value.

        Parameters
        ----------
        outer : Memory
            Memory that the tile is read from.
        """
        words = self._elements(use, use.all_ranks, held) * use.words
        run: Amount = 1.0
        whole: NDArray[np.bool_] | bool = True
        for rank in use.adjacent:
            extent = self._extent((rank,), held)
            run = run * chosen(whole, extent, 1)
            whole = whole & (extent >= self.region.shapes[rank])
        words = words * self._in_lines(use, run, outer)
        return TileWords(words, self._extent(use.gathered_by, held) >= use.positions)

    def _in_lines(self, use: Use, run: Amount, memory: Memory) -> Amount:
        """Return the words of the lines that hold a run of neighbours, over those of the run."""
        if not use.gathers:
            return 1.0
        line = memory.line_bits / (self.region.architecture.word_bits * use.words)
        if line <= 1:
            return 1.0
        return np.ceil(np.ceil(run / line) * line) / run

    def _elements(self, use: Use, ranks: frozenset[str], held: Trips) -> Amount:
        gathered = least(use.positions, self._extent(use.gathered_by, held))
        size = gathered * self._extent(ranks - use.gathered_by, held)
        return least(size, use.most) * self._parallel_extent

    def _extent(self, ranks: Collection[str], held: Trips) -> Amount:
        """Return the product of the coordinates of some ranks that are held."""
        size: Amount = 1.0
        for rank in ranks:
            cut = self.region.factorisation_of.get(rank)
            if cut is None:
                size = size * self.region.shapes.get(rank, 1)
            elif rank in held:
                size = size * least(cut.size, cut.fine_size * held[rank])
            else:
                size = size * (cut.fine_size if cut.outside else cut.size)
        return size

    @memoized
    def _stepping(self, tensor: str) -> frozenset[str]:
        """Return the Einsum that makes a running value, and those that read it at every step."""
        uses = ((n, u) for n in self.names for u in self.uses(n))
        return frozenset(n for n, u in uses if u.tensor == tensor and u.steps)

    def loops(
        self,
        name: str,
        shared: tuple[str, ...],
        orders: Sequence[tuple[str, ...]],
        trips: Sequence[Trips],
        own: tuple[str, ...],
    ) -> Iterator[tuple[str, Amount]]:
        """Yield the loops of an Einsum at some memories, outermost first.

        Parameters
        ----------
        orders : sequence of tuple of str
            Order of the shared loops of each memory.
        trips : sequence of dict
            Iterations of the loops of each memory.
        own : tuple of str
            Order of the Einsum's own loops.
        """
        mine = self.ranks(name)
        for order, at in zip(orders, trips, strict=True):
            for rank in order:
                if rank in mine:
                    yield rank, at[rank]
            for rank in own:
                if rank in at and rank not in shared:
                    yield rank, at[rank]

    def moved(
        self,
        name: str,
        use: Use,
        loops: Loops,
        tile: TileWords,
        share: Amount,
        shared: Collection[str] = (),
    ) -> Moved:
        """Return the words that an access moves, for the words of a tile and a mask's share.

        A running value comes back at every step if other tiles of it, or loops that are not shared,
        come in between.
        """
        size = tile.words

        def counted(ranks: frozenset[str]) -> tuple[Amount, Amount]:
            tiles, times = repetitions(loops, ranks)
            once = size * tiles * (share if self.masked(name) <= ranks else 1.0)
            return once, size * share * (times - tiles)

        once, again = counted(use.all_ranks)
        if use.gathered_by:
            held, whole = tile.has_all_positions, counted(use.all_ranks - use.gathered_by)
            once, again = chosen(held, whole[0], once), chosen(held, whole[1], again)
        if not use.written:
            return Moved(once, again, once + again)
        back: Amount = again
        returns: NDArray[np.bool_] | bool = False
        if use.steps:
            kept, needed = repetitions(loops, use.ranks)
            _, times = repetitions(loops, use.all_ranks)
            returns = needed > kept
            for rank, trips in loops:
                if rank in use.all_ranks and rank not in shared:
                    returns = returns | (trips > 1)
            # An Einsum that does not read its own value leaves that to others.
            if use.accumulates:
                back = again + size * share * chosen(returns, times, 0.0)
        return Moved(once, again + back, back, returns)

    @memoized
    def streamed(self, name: str, tensor: str) -> float:
        """Return the words of a tensor that an array takes if no memory keeps them, at least."""
        (use,) = (u for u in self.array_uses(name) if u.tensor == tensor)
        loops = [(r, float(n)) for r, n in self.coarse.items()]
        found = inf
        for placement, _ in self.layouts(name):
            for own in self.orders(name):
                memory = self.region.architecture.home
                moved = self.fed(name, use, placement, (), dict(loops), own, memory)
                found = min(found, float(moved.once + moved.again))
        return found

    def fed(
        self,
        name: str,
        use: Use,
        placement: EinsumPlacement,
        loops: Loops,
        inside: Trips,
        own: tuple[str, ...],
        memory: Memory,
        *,
        held: bool = False,
    ) -> Moved:
        """Return the words that an access moves into the elements of an array.

        Parameters
        ----------
        use : Use
            One of ``array_uses``.
        placement : EinsumPlacement
            Its array and layout.
        loops : sequence
            Loops of all memories, without the Einsum's own ones at the innermost memory.
        inside : dict
            Iterations of its own loops at the innermost memory.
        own : tuple of str
            Order of its own loops, those over elements that no array takes at a time included.
        memory : Memory
            Memory that feeds the array.
        held : bool
            True if the array holds the tensor as long as no loop brings other elements.
        """
        (turning, left), extents = self.on_array(name, placement)
        within = [*loops, *turning]
        for r in own:
            within += [(r, trips[r]) for trips in (inside, left) if r in trips]
        if held and stays(within, use, loops):
            return Moved(0.0, 0.0, 0.0)
        size = TileWords(self.array_words(use, extents, memory))
        # Only a value that no memory outside keeps may stay in registers from step to step.
        shared = () if use.tensor in self.ends else use.all_ranks
        return self.moved(name, use, within, size, 1.0, shared)

    def steps(self, name: str, placement: EinsumPlacement, shared: Loops) -> tuple[float, float]:
        """Return the iterations of shared loops down to the last one over steps, and of all others.

        Inside of the last loop over steps of a running value, no Einsum waits for the step before.
        """
        program = self.region.program
        running = {r for ranks in program.iterative.values() for r in ranks}
        (turning, _), _ = self.on_array(name, placement)
        loops = [*shared, *turning]
        last = max(
            (n + 1 for n, (r, trips) in enumerate(loops) if r in running and trips > 1), default=0
        )
        return prod(float(n) for _, n in loops[:last]), prod(float(n) for _, n in loops[last:])

    @memoized
    def latency(self, name: str, placement: EinsumPlacement) -> int:
        """Return the cycles by which sums across an array are late."""
        array, e = (
            self.region.architecture.array(placement.array),
            self.region.program.einsum_of[name],
        )
        assert array is not None, "arrays come from the machine"
        rank_of = {m: c.rank for c in self.region.factorisations for m, _ in c.fine}
        summed = {v.upper() for v in e.over}
        across = {d for d, members in placement.along if any(rank_of[m] in summed for m in members)}
        return sum(d.reduction_latency_cycles for d in array.dimensions if d.name in across)

    @memoized
    def loads_of(self, name: str, placement: EinsumPlacement) -> Loading | None:
        """Return what the elements of the array of a placement load and keep."""
        array = self.region.architecture.array(placement.array)
        assert array is not None, "arrays come from the machine"
        rank_of = {m: c.rank for c in self.region.factorisations for m, _ in c.fine}
        laid = dict[str, set[str]]()
        for dimension, members in placement.along:
            for member in members:
                laid.setdefault(rank_of[member], set()).add(dimension)
        return self.loads(name, array, laid)

    def loads(
        self, name: str, array: ProcessingArray, laid: Mapping[str, Set[str]]
    ) -> Loading | None:
        """Return what the elements of a systolic array load and keep; None for other arrays.

        Parameters
        ----------
        laid : dict
            Dimensions along which each rank lies.
        """
        if array.operands == "broadcast" or len(array.dimensions) == 1 or not laid:
            return None
        parallel, uses = self.region.program.parallel, self.uses(name)
        used = frozenset[str]().union(*laid.values())
        shared = [
            used.difference(*(d for r, d in laid.items() if r in use.all_ranks or r in parallel))
            for use in uses
        ]
        fewest = min(map(len, shared))
        reduced = next(axes for use, axes in zip(uses, shared, strict=True) if use.written)
        along = [d.size for d in array.dimensions if d.name in reduced]
        return Loading(
            tensors=frozenset(
                use.tensor
                for use, axes in zip(uses, shared, strict=True)
                if len(axes) == fewest and not use.written
            ),
            cycles=min(along or [d.size for d in array.dimensions]),
        )

    def array_words(self, use: Use, extents: Mapping[str, int], memory: Memory) -> float:
        """Return the words that a memory reads for the coordinates that are on an array.

        Parameters
        ----------
        use : Use
            One of ``array_uses``.
        extents : dict
            Coordinates of each rank that are laid out.
        """
        run, shapes = 1, self.region.shapes
        for rank in use.adjacent:
            run *= extents.get(rank, 1)
            if extents.get(rank, 1) < shapes[rank]:
                break
        gathered = min(use.positions, prod(extents.get(r, 1) for r in use.gathered_by))
        ranks = use.all_ranks - use.gathered_by
        others = prod(n for r, n in extents.items() if r in ranks)
        return gathered * others * use.words * float(self._in_lines(use, run, memory))

    @memoized
    def on_array(
        self, name: str, placement: EinsumPlacement
    ) -> tuple[tuple[tuple[tuple[str, float], ...], dict[str, float]], dict[str, int]]:
        """Return the loops inside of those of memories, and the coordinates laid out of each rank.

        The loops are those that some Einsums take turns in, and then the Einsum's own.
        """
        laid = {m for _, members in placement.along for m in members}
        turning = set[str]() if placement.alone else {*self.region.turning(name)}
        turned: list[tuple[str, float]] = []
        left: dict[str, float] = {}
        extents: dict[str, int] = {}
        for rank in self.ranks(name):
            fine = self.region.factorisation_of[rank].fine
            extents[rank] = prod(n for m, n in fine if m in laid)
            steps = prod(n for m, n in fine if m in turning)
            if steps > 1:
                turned.append((rank, float(steps)))
            inner = prod(n for m, n in fine if m not in laid and m not in turning)
            if inner > 1:
                left[rank] = float(inner)
        return (tuple(turned), left), extents


def _covered(_: Program, band: Band, wide: int, deep: int) -> float:
    return float(coverage(band, wide, deep, most_columns=policy.MAX_SAMPLED_TILE_ROWS))


def _needed(program: Program) -> dict[str, frozenset[str]]:
    """Return, for each Einsum, the Einsums that it needs, directly or through others."""
    found: dict[str, frozenset[str]] = {}
    for e in program.einsums:
        # A later Einsum hands on a value of the step before.
        direct = {a.tensor for a in e.reads if a.tensor in found}
        found[e.name] = frozenset(direct).union(*(found.get(t, frozenset()) for t in direct))
    return found
