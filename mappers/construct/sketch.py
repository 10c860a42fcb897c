"""Sketch of a region: what moves between its memories under given loops, without binding them.

The counts are those of whole tiles. Under a mask they are scaled by the share of its points. They
rank the decisions of a beam search; a mapping's own counts come from the meter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from archsim.spec.tensor_words import words_of
from einsum_cascade.ir import Program
from einsum_cascade.memo import Memoized, cached_property, memoized

from ..space.factorisation import EinsumPlacement
from ..space.region import Region
from . import policy

Amount = NDArray[np.float64] | float
"""One number for each of several tilings, or for all of them."""

Trips = Mapping[str, Amount]
"""Iterations of the loops of one memory, by rank."""

Loops = Sequence[tuple[str, Amount]]
"""Ranks and iterations of loops, outermost first."""


@dataclass(frozen=True, slots=True)
class Use:
    """Access of an Einsum to a tensor."""

    tensor: str
    ranks: frozenset[str]
    """Ranks along which other elements are accessed, except those along which values run."""
    steps: frozenset[str]
    """Ranks along which values run and each of them is accessed, not only the last one."""
    words: float
    """Machine words of an element."""
    most: float
    """Elements of the whole tensor, for one coordinate of each parallel rank."""
    written: bool
    runs: bool
    """True for a value that runs along a rank: its last tile stays where it is."""

    @property
    def all_ranks(self) -> frozenset[str]:
        """Ranks along which other elements move: a running value moves at every step."""
        return self.ranks | self.steps


@dataclass(frozen=True, slots=True)
class Moved:
    """Machine words that an access moves into a memory, for one iteration of parallel loops."""

    once: Amount
    """Words of all tiles, each of which comes once."""
    again: Amount
    """Words of tiles that come again, or leave and come back."""
    into: Amount
    """Words of all these that come in; others leave, which the memory itself does not count."""


def repetitions(loops: Loops, ranks: Collection[str]) -> tuple[Amount, Amount]:
    """Return the number of tiles of a tensor under some loops, and how often tiles come in all.

    A loop over another rank brings the tile again only if a loop over a rank of the tensor iterates
    inside of it.

    Examples
    --------
    For each of four heads, 8 tiles of keys come once for each of 16 tiles of queries:

    >>> repetitions([("H", 4), ("P", 16), ("M", 8)], {"H", "M"})
    (32, 512)
    """
    seen: NDArray[np.bool_] | bool = False
    tiles: Amount = 1
    times: Amount = 1
    for rank, trips in reversed(loops):
        if rank in ranks:
            seen = seen | (trips > 1)
            tiles, times = tiles * trips, times * trips
        elif isinstance(seen, bool):
            times = times * trips if seen else times
        else:
            times = times * np.where(seen, trips, 1)
    return tiles, times


@dataclass(frozen=True, kw_only=True)
class Sketch(Memoized):
    """A region with the accesses of its Einsums."""

    region: Region

    @cached_property
    def open(self) -> tuple[str, ...]:
        """Ranks with loops at memories."""
        return tuple(c.rank for c in self.region.open_factorisations)

    @cached_property
    def coarse(self) -> dict[str, int]:
        """Number of coarse tiles of each open rank."""
        return {c.rank: c.coarse for c in self.region.open_factorisations}

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
            use = Use(
                tensor=tensor,
                ranks=ranks.difference(program.parallel, running),
                steps=ranks.intersection(running),
                words=float(words.of(tensor)),
                most=float(prod(shapes.get(r, 1) for r in program.tensor_ranks[tensor])),
                written=access is e.target,
                runs=bool(running),
            )
            known = found.get(tensor)
            if known is None or use.written or len(known.all_ranks) < len(use.all_ranks):
                found[tensor] = use
        return tuple(found.values())

    @memoized
    def follows(self, name: str, tensor: str) -> bool:
        """Return whether an Einsum reads just what another one has written in the same step."""
        e, writer = self.region.program.einsum_of[name], self.region.program.einsum_of.get(tensor)
        if writer is None or self.names.index(name) <= self.names.index(tensor):
            return False
        return all(a.indices == writer.target.indices for a in e.reads if a.tensor == tensor)

    @cached_property
    def registered(self) -> dict[str, frozenset[str]]:
        """Results that the registers of one array may hold, with the Einsums that touch them.

        These Einsums have the same ranks, so that one follows the other at every point. No reader
        waits for another one, which may need the whole tensor first.
        """
        program, found = self.region.program, dict[str, frozenset[str]]()
        before = program.memo(_needed)
        for tensor in program.einsum_of:
            names = [n for n in self.names if any(u.tensor == tensor for u in self.uses(n))]
            arrays = [{p.array for p, _ in self.layouts(n)} for n in names]
            if (
                tensor not in self.ends
                and tensor not in program.iterative
                and len({frozenset(self.ranks(n)) for n in names}) == 1
                and len(names) > 1
                and not any(other in before[n] for n in names for other in names if other != tensor)
                and set.intersection(*arrays)
            ):
                found[tensor] = frozenset(names)
        return found

    @memoized
    def orders(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return the orders of an Einsum's own loops."""
        return self.region.orders(self.region.program.einsum_of[name], ())

    @memoized
    def layouts(self, name: str) -> tuple[tuple[EinsumPlacement, float], ...]:
        """Return the placements of an Einsum, without an order, and their cycles."""
        found = []
        for array, layouts in self.region.layouts_by_array[name].items():
            for cycles, layout in layouts[: policy.MAX_LAYOUTS]:
                if cycles <= policy.MAX_LAYOUT_SLOWDOWN * layouts[0][0]:
                    found.append((EinsumPlacement(array, layout.along, ()), cycles))
        return tuple(found)

    @memoized
    def _share(self, name: str) -> float:
        return self.region.share(name)

    @memoized
    def share(self, name: str, shared: tuple[str, ...] = ()) -> float:
        """Return the share of an Einsum's iterations that a mask leaves.

        Only an Einsum with a mask of its own skips iterations of loops that are not shared.
        """
        e = self.region.program.einsum_of[name]
        if e.where is None and not self.masked(name) <= {*shared}:
            return 1.0
        return self._share(name)

    @memoized
    def masked(self, name: str) -> frozenset[str]:
        """Return the ranks of the mask under which an Einsum runs."""
        region = self.region
        if self._share(name) >= 1:
            return frozenset()
        return region.masks.ranks.intersection(self.ranks(name))

    def slowdown(self, name: str, shared: tuple[str, ...]) -> float:
        """Return the factor by which an Einsum's cycles exceed those of the points of its mask."""
        return self.share(name, shared) / (self._share(name) or 1.0)

    def tile(self, use: Use, held: Trips, shared: Collection[str]) -> Amount:
        """Return the words of a tensor's tile, for coarse tiles held of each open rank.

        A running value has one copy, unless Einsums that touch it step through the tile by
        themselves.
        """
        apart: NDArray[np.bool_] | bool = False
        for rank in use.steps if len(self._stepping(use.tensor)) > 1 else ():
            turning = self._stepping(use.tensor) <= self.region.turns.get(rank, frozenset())
            apart = apart | (self.region.factorisation_of[rank].fine_size > 1 and not turning)
            if rank not in shared and rank in held:
                apart = apart | (held[rank] > 1)
        one = self._elements(use, use.ranks, held)
        every = self._elements(use, use.all_ranks, held)
        return np.where(apart, every, one) * use.words

    def moving_tile(self, use: Use, held: Trips) -> Amount:
        """Return the words of a tensor's tile that move: those of all steps of a running value."""
        return self._elements(use, use.all_ranks, held) * use.words

    def _elements(self, use: Use, ranks: Collection[str], held: Trips) -> Amount:
        size: Amount = 1.0
        for rank in ranks:
            cut = self.region.factorisation_of.get(rank)
            if cut is None:
                size = size * self.region.shapes.get(rank, 1)
            elif rank in held:
                size = size * np.minimum(cut.size, cut.fine_size * held[rank])
            else:
                size = size * (cut.fine_size if cut.outside else cut.size)
        return np.minimum(size, use.most) * self._parallel_extent

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
        size: Amount,
        share: float,
        shared: Collection[str] = (),
    ) -> Moved:
        """Return the words that an access moves, for the words of a tile and a mask's share.

        A running value comes back at every step if other tiles of it, or loops that are not shared,
        come in between.
        """
        tiles, times = repetitions(loops, use.all_ranks)
        once = size * tiles * (share if self.masked(name) <= use.all_ranks else 1.0)
        again = size * share * (times - tiles)
        if not use.written:
            return Moved(once, again, once + again)
        back: Amount = again
        if use.steps:
            kept, needed = repetitions(loops, use.ranks)
            returns = needed > kept
            for rank, trips in loops:
                if rank in use.all_ranks and rank not in shared:
                    returns = returns | (trips > 1)
            back = again + size * share * np.where(returns, times, 0.0)
        return Moved(once, again + back, back)

    @memoized
    def streamed(self, name: str, tensor: str) -> float:
        """Return the words of a tensor that an array takes if no memory keeps them, at least."""
        (use,) = (u for u in self.uses(name) if u.tensor == tensor)
        loops = [(r, float(n)) for r, n in self.coarse.items()]
        found = inf
        for placement, _ in self.layouts(name):
            for own in self.orders(name):
                moved = self.fed(name, use, placement, (), dict(loops), own)
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
    ) -> Moved:
        """Return the words that an access moves into the elements of an array.

        Parameters
        ----------
        placement : EinsumPlacement
            Its array and layout.
        loops : sequence
            Loops of all memories, without the Einsum's own ones at the innermost memory.
        inside : dict
            Iterations of its own loops at the innermost memory.
        own : tuple of str
            Order of its own loops, those over elements that no array takes at a time included.
        """
        (turning, left), extents = self._on_array(name, placement)
        within = [*loops, *turning]
        for r in own:
            within += [(r, trips[r]) for trips in (inside, left) if r in trips]
        # Every tensor has the parallel ranks; arrays take them like any other.
        use = replace(use, ranks=use.ranks.union(self.region.program.parallel))
        size = prod(extents.get(r, 1) for r in use.all_ranks) * use.words
        # Only a value that no memory outside keeps may stay in registers from step to step.
        stays = () if use.tensor in self.ends else use.all_ranks
        return self.moved(name, use, within, size, 1.0, stays)

    @memoized
    def _on_array(
        self, name: str, placement: EinsumPlacement
    ) -> tuple[tuple[tuple[tuple[str, float], ...], dict[str, float]], dict[str, int]]:
        """Return the loops inside of those of memories, and the coordinates laid out of each rank.

        The loops are those that some Einsums take turns in, and then the Einsum's own.
        """
        laid = {m for _, members in placement.along for m in members}
        turning = {*self.region.turning(name)}
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


def _needed(program: Program) -> dict[str, frozenset[str]]:
    """Return, for each Einsum, the Einsums that it needs, directly or through others."""
    found: dict[str, frozenset[str]] = {}
    for e in program.einsums:
        direct = {a.tensor for a in e.reads if a.tensor in program.einsum_of and a.tensor != e.name}
        found[e.name] = frozenset(direct).union(*(found.get(t, frozenset()) for t in direct))
    return found
