"""Loop nests as text: memories with the tiles they keep, loops with iterations, and Einsums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import prod

from ..document import Document, Listing
from ..iteration.loops import Loop
from ..legality.footprint import Requirement, requirement, resident_tile
from ..nest.record import Bound, BoundEinsum, SharedLoop
from ..nest.shared_tiles import size_for_all_cores
from ..plan.job import JobPlan
from ..quantities import byte_size

_LINE = 98
"""Width, in characters, of a line that lists a memory's tensors."""
_REMARK = 56
"""Position, in characters, at which remarks begin, unless lines are longer."""


_LoopLine = tuple[str, str]
"""Indented text, and a remark."""


def _line(depth: int, text: str, remark: str = "") -> _LoopLine:
    return "  " * depth + text, remark


def loop_nest(bound: Bound, title: str = "") -> Listing:
    """Return the loops of a mapping as a listing, the outermost loop first.

    ``for P2 in [0:16)`` has 16 iterations; the remark gives the coordinates of each.
    ``global_buffer [K 32 KiB]`` shows the tiles that the memory holds inside the loops above, where
    the steps through its tiles begin. ``par-for`` lies along a dimension of an array, or over
    cores.

    Parameters
    ----------
    bound : Bound
        The mapping, with sizes.
    title : str
        Title of the listing; by default the name of the mapping.

    Returns
    -------
    Listing
        Lines of text.
    """
    lines = [line for group in bound.groups for line in _FusedNest(bound, group).lines()]
    width = min(_REMARK, max((len(text) for text, remark in lines if remark), default=0))
    shown = (f"{text:<{width}}  {remark}" if remark else text for text, remark in lines)
    return Listing(title=title or f"loops of {bound.mapping.name}", lines=tuple(shown))


def loop_nests(plan: JobPlan) -> Document:
    """Return the loop nest of every part of a workload; equal nests are shown once.

    Parameters
    ----------
    plan : JobPlan
        Plan of the workload.

    Raises
    ------
    SpecError, MappingError
        As ``Job.bind``.
    """
    found: dict[tuple[str, ...], Listing] = {}
    for job in plan.nests:
        listing = loop_nest(job.bind(), f"{job.name} as loops, by {job.mapping.name}")
        found.setdefault(listing.lines, listing)
    title = f"{plan.workload.name} on {plan.architecture.name}"
    return Document(title=title, listings=tuple(found.values()))


class _FusedNest:
    """Listing of the loops of Einsums that share at least one loop."""

    def __init__(self, bound: Bound, group: Sequence[str]) -> None:
        self.bound = bound
        self.einsums = tuple(bound.by_name[name] for name in group)
        self.memories = bound.architecture.memories
        self.described: set[int] = set()

    def lines(self) -> Iterator[_LoopLine]:
        bound = self.bound
        if len(bound.groups) > 1 and self.einsums[0].name == bound.groups[0][0]:
            yield _line(0, f"{len(bound.groups)} nests, one after the other")
        yield from self._resident_tiles(range(1), self.einsums, 0)
        accesses = [(e, m.access.tensor) for e in self.einsums for m in e.access_maps]
        for array in bound.architecture.arrays:
            found = {t for e, t in accesses if array.name in bound.registers(e, t)}
            if kept := [t for t in dict.fromkeys(t for _, t in accesses) if t in found]:
                yield from _wrapped_listing(0, f"registers of {array.name}", kept)
        for partition in bound.cores.partitions:
            text = f"par-for {partition.rank} in [0:{partition.parts:,})"
            remark = f"over {partition.instances} of {self.memories[partition.level].name}"
            each = _tile(partition.rank, partition.part)
            yield _line(0, text, f"{remark}, {each}" if each else remark)
        going = tuple(loop for loop in bound.nest if loop.bound > 1)
        yield from self._loops(going, self.einsums, 0, 0)

    def _loops(
        self, loops: tuple[SharedLoop, ...], einsums: Sequence[BoundEinsum], depth: int, shown: int
    ) -> Iterator[_LoopLine]:
        """Return lines for the shared loops with their content, and for the Einsums outside them.

        ``shown`` is the innermost memory whose tiles are shown already.
        """
        if not einsums:
            return
        if not loops:
            yield from self._bodies(einsums, depth, shown)
            return
        loop, *rest = loops
        before, inside, after = _around(loop.member, einsums)
        if inside:
            # Tiles of this memory are held for all that follows.
            yield from self._resident_tiles(range(shown + 1, loop.level + 1), einsums, depth)
            shown = max(shown, loop.level)
        yield from self._loops((*rest,), before, depth, shown)
        if inside:
            each = self.bound.tiling.members[loop.member].stride
            yield _line(depth, f"for {loop.member} in [0:{loop.bound:,})", _tile(loop.rank, each))
            yield from self._loops((*rest,), inside, depth + 1, shown)
        yield from self._loops((*rest,), after, depth, shown)

    def _bodies(
        self, einsums: Sequence[BoundEinsum], depth: int, shown: int
    ) -> Iterator[_LoopLine]:
        """Return lines for the Einsums inside all shared loops; Einsums with equal loops share a
        line."""
        innermost = len(self.memories) - 1
        last = min([innermost, *(x.level for e in einsums for x in _own_loops(e))])
        yield from self._resident_tiles(range(shown + 1, last + 1), einsums, depth)
        shown = max(shown, last)
        for _, group in groupby(einsums, key=_line_key):
            yield from self._body([*group], depth, shown)

    def _body(self, same: Sequence[BoundEinsum], depth: int, shown: int) -> Iterator[_LoopLine]:
        e = same[0]
        each = ", one after the other" if len(same) > 1 and _own_loops(e) else ""
        yield _line(depth, ", ".join(x.name for x in same), f"on {e.array.name}{each}")
        depth += 1
        for loop in _own_loops(e):
            yield from self._resident_tiles(range(shown + 1, loop.level + 1), same, depth)
            shown = max(shown, loop.level)
            n = e.trip_counts[loop.member]
            tile = _tile(loop.variable.upper(), loop.stride)
            yield _line(depth, f"for {loop.member} in [0:{n:,})", tile)
            depth += 1
        yield from self._resident_tiles(range(shown + 1, len(self.memories)), same, depth)
        for dimension, tiles in groupby(_spatial_tiles(e), key=lambda tile: tile[0]):
            laid = [(member, parts) for _, member, parts in tiles if parts > 1]
            if laid:
                text = " x ".join(f"{member} in [0:{parts:,})" for member, parts in laid)
                taken = prod(parts for _, parts in laid)
                size = next(d.size for d in e.array.dimensions if d.name == dimension)
                remark = f"{dimension}: {taken:,} of {size:,}"
                yield _line(depth, f"par-for {text}", remark)

    def _resident_tiles(
        self, levels: Iterable[int], einsums: Sequence[BoundEinsum], depth: int
    ) -> Iterator[_LoopLine]:
        """Return lines with the tiles that some memories keep, and the footprint of each memory."""
        word, words = self.bound.architecture.word_bytes, self.bound.words
        for level in levels:
            sizes: dict[str, int] = {}
            accesses = [(e, m) for e in einsums for m in e.access_maps]
            # Links hold nothing.
            for e, access in accesses if not self.memories[level].ring else ():
                tensor = access.access.tensor
                if level in self.bound.memories(e, tensor):
                    size = resident_tile(self.bound, e, access, level)
                    tile = e.nest(level).first_tile
                    size = size_for_all_cores(self.bound, e, access, level, tile, size)
                    sizes[tensor] = max(sizes.get(tensor, 0), size)
            if sizes:
                kept = [f"{t} {byte_size(float(n * words.of(t) * word))}" for t, n in sizes.items()]
                full = "" if level in self.described else _fullness(requirement(self.bound, level))
                self.described.add(level)
                yield from _wrapped_listing(depth, self.memories[level].name + full, kept)


def _around(
    member: str, einsums: Sequence[BoundEinsum]
) -> tuple[list[BoundEinsum], list[BoundEinsum], list[BoundEinsum]]:
    """Return three lists of Einsums: before a shared loop, inside it, and after it."""
    inside = [e for e in einsums if member not in e.outside]
    late = {e.name for e in inside}
    before: list[BoundEinsum] = []
    after: list[BoundEinsum] = []
    for e in einsums:
        if member in e.outside:
            follows = any(o.producer in late for o in e.operands)
            (after if follows else before).append(e)
            late |= {e.name} if follows else set()
    return before, inside, after


def _fullness(has: Requirement) -> str:
    """Return the footprint and the capacity of a memory as text; empty if it is unlimited."""
    if has.capacity_bytes is None:
        return ""
    spills = "" if has.fits_whole else ", the rest spills"
    taken, there = float(has.required_bytes), float(has.capacity_bytes)
    return f", {byte_size(taken)} of {byte_size(there)}{spills}"


def _own_loops(e: BoundEinsum) -> list[Loop]:
    """Return the Einsum's own temporal loops with more than one iteration."""
    return [x for x in e.own if e.trip_counts[x.member] > 1]


def _spatial_tiles(e: BoundEinsum) -> list[tuple[str, str, int]]:
    """Return the array dimension, the partitioned rank and the number of tiles of each spatial
    loop."""
    return [(x.dimension or "", x.member, e.trip_counts[x.member]) for x in e.spatial]


def _line_key(e: BoundEinsum) -> tuple[object, ...]:
    """Return a key that is equal for two Einsums with the same array and loops, which share a
    line."""
    loops = [(x.member, x.level, e.trip_counts[x.member]) for x in _own_loops(e)]
    return e.array.name, loops, _spatial_tiles(e)


def _tile(rank: str, each: int) -> str:
    return f"{each:,} of {rank} each" if each > 1 else ""


def _wrapped_listing(depth: int, level: str, kept: Sequence[str]) -> Iterator[_LoopLine]:
    """Return lines with a memory level and its tensors, wrapped to the width of the listing."""
    text = f"{level} ["
    room = _LINE - 2 * depth
    for n, item in enumerate(kept):
        end = "]" if n == len(kept) - 1 else ", "
        if len(text) + len(item) > room:
            yield _line(depth, text.rstrip())
            text = " " * (len(level) + 2)
        text += item + end
    yield _line(depth, text)
