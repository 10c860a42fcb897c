"""Footprint: bytes that each memory level must hold at once, and whether they fit.

Einsums may pass a tensor tile by tile over a shared loop of a level. The level then holds only the
tiles in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile

from einsum_cascade.ir import Affine
from einsum_cascade.memo import cached_property

from ..iteration.access_map import AccessMap
from ..iteration.exact import total
from ..iteration.loops import Loop, first_tile
from ..nest.record import Bound, BoundEinsum
from ..nest.ring import elements_in_transit
from ..nest.shared_tiles import size_for_all_cores
from ..quantities import byte_size
from ..spec.mapping import FIT, Spill

DOUBLE_BUFFERED = 2
"""Number of tiles in flight if a schedule states none: one in use, one on its way."""


def stream_of(bound: Bound, e: BoundEinsum, tensor: str, level: int) -> tuple[Loop, ...]:
    """Return the loop over which a tensor streams through a level to or from an Einsum. Return an
    empty tuple if the tensor does not stream.

    The loop's first iteration covers the tiles in flight, which the level holds at once. With 3 in
    flight, 10 tiles of 4 rows hold 12 rows; 2 tiles hold 8. A level that may spill is counted with
    whole tiles, of which it holds a share.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
        Einsum that touches the tensor.
    tensor : str
        Tensor that the level keeps.
    level : int
        Index of a memory, or the register level.
    """
    if spills_at(bound, level):
        return ()
    member = bound.pattern_memo(streaming_loop, tensor, level)
    flying = tiles_in_flight(bound)
    if member is None or flying is None:
        return ()
    return tuple(x._replace(stride=x.stride * flying) for x in e.shared if x.member == member)


def tiles_in_flight(bound: Bound) -> int | None:
    """Return the largest number of tiles in flight: from the first one made up to the last one
    used.

    With ``lookahead: fit`` no array is further ahead than its registers are deep. The result is
    None if the kind of schedule does not decide it.
    """
    schedule = bound.mapping.schedule
    # The annotation keeps the last branch for kinds that are yet to come.
    kind: str = schedule.kind
    if kind == "sequential":
        return DOUBLE_BUFFERED
    if kind == "phases":
        # Shifts range from the task furthest ahead to the one furthest behind.
        shifts = [task.shift for group in schedule.groups for task in group]
        return max(shifts, default=0) - min(shifts, default=0) + 1
    if kind != "pipelined":
        return None
    if schedule.lookahead == FIT:
        return max(1, *(a.registers.depth for a in bound.architecture.arrays))
    return int(schedule.lookahead)


def streaming_loop(bound: Bound, tensor: str, level: int) -> str | None:
    """Return the outermost shared loop, at a level or inside of it, over which an intermediate
    streams.

    All Einsums that touch the tensor must run at every step of their group. Each loop down to the
    returned one must bring other elements, and the elements must be read in the order they are
    written. Then an element belongs to one iteration of the loop for its producer and its readers.

    Running values do not stream, nor do inputs and tensors without readers: they are exchanged by
    whole tiles of the level. An Einsum outside of a loop may run later than tiles are in flight.
    The result is None if the level holds its whole tile.

    Parameters
    ----------
    bound, tensor, level
        See ``stream_of``.
    """
    writer = bound.by_name.get(tensor)
    if writer is None or not any(x.level >= level and x.bound > 1 for x in bound.nest):
        return None
    readers = [(e, e.operands[n]) for e, n, p in bound.results_read() if p is writer]
    own_places = all(isinstance(i, Affine) and i.as_variable for i in writer.einsum.target.indices)
    if not readers or not own_places or tensor in bound.program.iterative:
        return None
    if any(bound.in_different_groups(tensor, e.name) or o.displaced for e, o in readers):
        return None
    if any(a.access.tensor == tensor for e in bound.einsums for s in e.initial for a in s.reads):
        return None
    group = [e for e in bound.einsums if not bound.in_different_groups(tensor, e.name)]
    steps = {x.member for e in group for x in _nonunit_shared_loops(e)}
    if any(
        {x.member for x in _nonunit_shared_loops(e)} != steps
        for e in (writer, *(e for e, _ in readers))
    ):
        return None
    loops = _nonunit_shared_loops(writer)
    outside = [*takewhile(lambda x: x.level < level, loops)]
    down = loops[: len(outside) + 1]
    streams = len(down) > len(outside) and all(x.variable in writer.write.moving for x in down)
    return down[-1].member if streams else None


def _nonunit_shared_loops(e: BoundEinsum) -> list[Loop]:
    """Return the shared loops of more than one iteration, outermost first."""
    return [x for x in e.shared if e.trip_counts[x.member] > 1]


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """Footprint of one memory level in bytes, tensor by tensor."""

    level: str
    tensors: tuple[tuple[str, Fraction], ...]
    capacity_bytes: int | None
    spills: bool = False
    """True if the footprint may exceed the capacity, because the level spills."""

    @cached_property
    def required_bytes(self) -> Fraction:
        """Total size of all live tiles, in bytes."""
        return total((1, size) for _, size in self.tensors)

    @property
    def fits(self) -> bool:
        """True if the level holds its footprint, or may spill the rest."""
        return self.spills or self.fits_whole

    @property
    def fits_whole(self) -> bool:
        """True if the level holds its whole footprint."""
        return self.capacity_bytes is None or self.required_bytes <= self.capacity_bytes

    def __str__(self) -> str:
        largest = sorted(self.tensors, key=lambda t: -t[1])[:4]
        parts = ", ".join(f"{name} {byte_size(float(size))}" for name, size in largest)
        capacity = "" if self.capacity_bytes is None else byte_size(float(self.capacity_bytes))
        return (
            f"{self.level} needs {byte_size(float(self.required_bytes))} ({parts}), has {capacity}"
        )


def requirements(bound: Bound) -> tuple[Requirement, ...]:
    """Return the footprint of every memory: one copy of each live tile.

    Double buffering is not charged, unless a level spills and the mapping states numbers of copies.
    Einsums that share a nest hold their tiles together. If a tensor streams over a shared loop of
    the level, only its tiles in flight are held. Groups that run one after the other hold their
    tiles in turn, beside intermediates that wait for a later group.

    Returns
    -------
    tuple of Requirement
        Bytes in every memory, outermost first, unlimited ones included.
    """
    levels = range(len(bound.architecture.memories))
    return tuple(bound.memo(requirement, i) for i in levels)


def all_fits(bound: Bound) -> bool:
    """Return whether every memory holds its footprint."""
    return all(r.fits for r in limited_requirements(bound))


def limited_requirements(bound: Bound, *, whole_tiles: bool = False) -> Iterator[Requirement]:
    """Yield the footprints of memories with a limited capacity.

    Parameters
    ----------
    whole_tiles : bool
        True if no tensor streams.
    """
    given = (True,) if whole_tiles else ()
    memories = enumerate(bound.architecture.memories)
    return (bound.memo(requirement, i, *given) for i, m in memories if m.capacity_bytes is not None)


def requirement(bound: Bound, level: int, whole_tiles: bool = False) -> Requirement:
    """Return the footprint of one memory.

    Parameters
    ----------
    bound : Bound
    level : int
        Index of the memory from the outermost.
    whole_tiles : bool
        True if no tensor streams.

    Returns
    -------
    Requirement
        Bytes of each tensor at the fullest moment.
    """
    tile = _whole_tile if whole_tiles else resident_tile
    memory = bound.architecture.memories[level]
    spill = bound.mapping.spill if spills_at(bound, level) else None
    kept = bound.pattern_memo(_kept_here, level)
    words = bound.words
    sizes: list[_Words] = [
        {t: n * words.of(t) for t, n in _tiles(bound, e, level, tile, here).items()}
        for e, here in zip(bound.einsums, kept, strict=True)
    ]
    if spill is not None:
        copies = dict(spill.copies)
        sizes = [{t: n * copies.get(t, 1) for t, n in tiles.items()} for tiles in sizes]
    live = _largest_moment(bound, sizes, level)
    if spill is not None:
        for tensor, amount in _passing(bound, spill, level).items():
            live[tensor] = live.get(tensor, 0) + amount
    word_bytes = bound.architecture.word_bytes
    tensors = tuple([(t, n * word_bytes) for t, n in live.items()])
    capacity, spills = memory.capacity_bytes, spill is not None
    return Requirement(level=memory.name, tensors=tensors, capacity_bytes=capacity, spills=spills)


def spills_at(bound: Bound, level: int) -> bool:
    """Return whether a mapping lets a memory spill; registers never spill."""
    spill, memories = bound.mapping.spill, bound.architecture.memories
    return spill is not None and [spill.level] == [m.name for m in memories[level : level + 1]]


_Words = dict[str, int | Fraction]
"""Size of each tensor's tile, in machine words."""


def _passing(bound: Bound, spill: Spill, level: int) -> _Words:
    """Return, by tensor, the words that a level stages of tensors that bypass it."""
    found: _Words = {}
    for tensor, factors in spill.staged:
        kept = level in bound.residency.memories(tensor)
        if not kept or any((spill.level, tensor) in e.bypass for e in bound.einsums):
            found[tensor] = bound.tiling.elements(factors) * bound.words.of(tensor)
    return found


def largest_tile(
    e: BoundEinsum, access_map: AccessMap, level: int, *, one_copy: bool = True
) -> int:
    """Return how many elements of a tensor are in the level's tile while one Einsum runs.

    Parameters
    ----------
    e : BoundEinsum
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    level : int
        Index of a memory, or the register level.
    one_copy : bool, default True
        True to count one copy along ranks in which the tensor is iterative; False for all steps.
    """
    extents = e.nest(level).first_tile
    return access_map.live(extents) if one_copy else access_map.size(extents)


def resident_tile(bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int) -> int:
    """Return how many elements of a tensor a level holds at once while one Einsum runs.

    The number is that of the level's tile, or less if the tensor streams.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    level : int
        Index of a memory that keeps the tensor, or the register level.
    """
    stream = stream_of(bound, e, access_map.access.tensor, level)
    if not stream:
        return _whole_tile(bound, e, access_map, level)
    return access_map.size(first_tile(e.nest(level).first_tile, stream))


def _whole_tile(bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int) -> int:
    tensor = access_map.access.tensor
    one_copy = access_map.running and bound.pattern_memo(keeps_one_copy, tensor, level)
    return largest_tile(e, access_map, level, one_copy=one_copy)


_Tile = Callable[[Bound, BoundEinsum, AccessMap, int], int]
"""Function that counts the elements of a tensor that a level holds while an Einsum runs."""


_Accesses = tuple[tuple[int, int], ...]
"""Accesses of an Einsum: pairs of a part and a position among the part's ``access_maps``. Part 0 is
the Einsum itself; the others are its statements of ``init``."""


def _kept_here(bound: Bound, level: int) -> tuple[_Accesses, ...]:
    """Return, for each Einsum, its accesses to tensors that a level keeps; links keep nothing.

    The result holds for any tile sizes.
    """
    if bound.architecture.memories[level].ring:
        return ((),) * len(bound.einsums)
    return tuple(
        tuple(
            (number, n)
            for number, part in enumerate((e, *e.initial))
            for n, m in enumerate(part.reads if number else part.access_maps)
            if level in bound.memories(e, m.access.tensor)
        )
        for e in bound.einsums
    )


def _tiles(
    bound: Bound, e: BoundEinsum, level: int, tile: _Tile, kept: _Accesses
) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, n in kept:
        part = (e, *e.initial)[number]
        access_map = part.access_maps[n]
        tensor = access_map.access.tensor
        if number:
            size = largest_tile(part, access_map, level)
        else:
            size = tile(bound, e, access_map, level)
        size = max(size, resident_on_chip(bound, part, access_map, level, size))
        if not number:
            inside = e.nest(level).first_tile
            size = size_for_all_cores(bound, e, access_map, level, inside, size)
        found[tensor] = max(found.get(tensor, 0), size)
    return found


def resident_on_chip(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: int
) -> int:
    """Return how many elements of a tensor one core in a ring of links holds for the whole run.

    A core holds all elements that it needs. Of a tensor that travels in the ring, it holds one
    part, and another one in transit.

    Parameters
    ----------
    bound, e, access_map, level
        See ``resident_tile``.
    tile : int
        Elements of a tile that arrives at the level.

    Returns
    -------
    int
        0 at a level other than the outermost one that stores data.
    """
    tensor = access_map.access.tensor
    if not level == bound.architecture.home_level > 0 or bound.is_whole:
        return 0
    if 0 not in bound.memories(e, tensor):
        return 0
    whole, ring = _whole_tile(bound, e, access_map, 0), bound.cores.ring
    if ring.rank(tensor) is None:
        return whole
    return -(-whole // ring.parts) + elements_in_transit(bound, e, access_map, ring, tile)


def keeps_one_copy(bound: Bound, tensor: str, level: int) -> bool:
    """Return whether all Einsums that touch a running value iterate over its rank together.

    If they do, one copy is enough. Otherwise a later Einsum would find only the last value.

    Parameters
    ----------
    bound : Bound
    tensor : str
        Any tensor; the answer is True for one that is not iterative.
    level : int
        Index of the memory that keeps the tensor: only loops inside its tiles can separate Einsums.
    """
    ranks, writer = bound.iterative_variables(tensor), bound.by_name.get(tensor)
    if writer is None or not ranks:
        return True
    readers = [
        e
        for e in bound.einsums
        if e is not writer
        and any(o.producer == tensor and ranks & {*o.access.variables} for o in e.operands)
    ]
    if any(bound.in_different_groups(e.name, tensor) for e in readers):
        return False
    separating = [
        loop
        for e in (writer, *readers)
        for loop in (*e.own, *e.spatial)
        if loop.variable in ranks and loop.level >= level and e.trip_counts[loop.member] > 1
    ]
    return not readers or not separating


_Moment = tuple[tuple[int, ...], tuple[tuple[int, str], ...]]
"""Moment of the run: the positions of Einsums that run together; and pairs of an Einsum's position
and its name, for each result that waits for a later group."""


def _moments(bound: Bound, level: int) -> tuple[_Moment, ...]:
    """Return one moment for each group, for any tile sizes."""
    place = bound.position
    number = bound.group_of
    last_use = {f.access.tensor: number[e.name] for e in bound.einsums for f in e.reads}
    home = bound.architecture.home_level
    # The result of an earlier group for a later one waits in its outermost memory.
    first = {t: [i for i in bound.residency.memories(t) if i >= home][:1] for t in place}
    return tuple(
        (
            tuple(place[name] for name in group),
            tuple(
                (at, name)
                for name, at in place.items()
                if number[name] < now < last_use.get(name, -1) and first[name] == [level]
            ),
        )
        for now, group in enumerate(bound.groups)
    )


def _largest_moment(bound: Bound, sizes: list[_Words], level: int) -> _Words:
    """Return the machine words of each tensor at the moment with the largest footprint."""
    worst: _Words = {}
    for running, waits in bound.pattern_memo(_moments, level):
        waiting = ({name: sizes[at][name]} for at, name in waits)
        moment: _Words = {}
        for tiles in (*(sizes[at] for at in running), *waiting):
            for tensor, size in tiles.items():
                moment[tensor] = max(moment.get(tensor, 0), size)
        if sum(moment.values()) > sum(worst.values()):
            worst = moment
    return worst
