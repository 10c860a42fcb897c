"""Footprint: bytes that each memory level must hold at once, and whether they fit.

Einsums may hand on a tensor tile by tile over a shared loop of a level: then only the tiles in
flight are held."""

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
"""Tiles in flight where a schedule says nothing of them: one used, one on its way."""


def stream_of(bound: Bound, e: BoundEinsum, tensor: str, level: int) -> tuple[Loop, ...]:
    """The loop over which what a level holds of a tensor streams by an Einsum, one iteration of
    it for all the tiles that are in flight. Empty: nothing streams.

    Its first iteration is what the level holds at once. Of 10 tiles of 4 rows, with 3 in flight,
    these are 12 rows; of 2 tiles, 8. What a level that may spill is asked for is whole tiles, of
    which a share is there.

    Parameters
    ----------
    bound : Bound
        The mapping.
    e : BoundEinsum
        One of its Einsums, which touches the tensor.
    tensor : str
        What the level keeps.
    level : int
        Index of a memory, or the register level.
    """
    spill = bound.mapping.spill
    if spill is not None and spill.level in [
        m.name for m in bound.architecture.memories[level:][:1]
    ]:
        return ()
    member = bound.pattern_memo(streaming_loop, tensor, level)
    flying = tiles_in_flight(bound)
    if member is None or flying is None:
        return ()
    return tuple(x._replace(stride=x.stride * flying) for x in e.shared if x.member == member)


def tiles_in_flight(bound: Bound) -> int | None:
    """Tiles of a step between the first that is made and the last that is used, at the most.

    With ``lookahead: fit`` no array is further ahead than registers are deep. None: the kind of
    schedule says nothing of it.
    """
    schedule = bound.mapping.schedule
    # Of the names that there are, and of one that is yet to come.
    kind: str = schedule.kind
    if kind == "sequential":
        return DOUBLE_BUFFERED
    if kind == "phases":
        # The tile of a step ``shift`` away, from the one furthest ahead to the last behind.
        shifts = [task.shift for group in schedule.groups for task in group]
        return max(shifts, default=0) - min(shifts, default=0) + 1
    if kind != "pipelined":
        return None
    if schedule.lookahead == FIT:
        return max(1, *(a.registers.depth for a in bound.architecture.arrays))
    return int(schedule.lookahead)


def streaming_loop(bound: Bound, tensor: str, level: int) -> str | None:
    """The shared loop that an intermediate streams over at a level, the outermost that is not
    outside of it. None: all of the level's tile is there at once.

    Every Einsum that touches the tensor runs at every step of its group, each of the loops down
    to this one brings other elements, and all are read as they are written. Then an element
    belongs to one iteration of the loop, for whoever makes or uses it. A running value is left
    aside, and so are inputs and what nobody reads: these come and go a level's tile at a time.
    An Einsum that stays outside a loop may be put off for longer than tiles are in flight.

    Parameters
    ----------
    bound, tensor, level
        As of ``stream_of``.
    """
    writer = bound.by_name.get(tensor)
    if writer is None or not any(x.level >= level and x.bound > 1 for x in bound.nest):
        return None
    readers = [(e, o) for e in bound.einsums for o in e.operands if o.producer == tensor]
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
    """Shared loops of more than one iteration, outermost first."""
    return [x for x in e.shared if e.trip_counts[x.member] > 1]


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """Bytes of live tiles at one memory level, tensor by tensor."""

    level: str
    tensors: tuple[tuple[str, Fraction], ...]
    capacity_bytes: int | None
    spills: bool = False
    """Whether the level may be asked to hold more than it can."""

    @cached_property
    def required_bytes(self) -> Fraction:
        """All live tiles together."""
        return total((1, size) for _, size in self.tensors)

    @property
    def fits(self) -> bool:
        """Whether the level can hold what it must, or may spill the rest."""
        return self.spills or self.fits_whole

    @property
    def fits_whole(self) -> bool:
        """Whether the level can hold what it must."""
        return self.capacity_bytes is None or self.required_bytes <= self.capacity_bytes

    def __str__(self) -> str:
        largest = sorted(self.tensors, key=lambda t: -t[1])[:4]
        parts = ", ".join(f"{name} {byte_size(float(size))}" for name, size in largest)
        capacity = "" if self.capacity_bytes is None else byte_size(float(self.capacity_bytes))
        return (
            f"{self.level} needs {byte_size(float(self.required_bytes))} ({parts}), has {capacity}"
        )


def requirements(bound: Bound) -> tuple[Requirement, ...]:
    """Live tiles per memory, one copy each: double buffering is not charged, except where
    a level spills and the mapping says how many copies it holds.

    Einsums that share a nest hold their tiles together. Of what they hand on tile by tile over a
    shared loop of the level's own (``streaming``), there are as many tiles as are in flight.
    Where groups run one after the other, a level holds the tiles of one group at a time, beside
    intermediates that wait there for a later one.

    Returns
    -------
    tuple of Requirement
        In bytes, of every memory from the outermost, unlimited ones included.
    """
    levels = range(len(bound.architecture.memories))
    return tuple(bound.memo(requirement, i) for i in levels)


def all_fits(bound: Bound) -> bool:
    """Whether every memory holds what it must."""
    return all(r.fits for r in limited_requirements(bound))


def limited_requirements(bound: Bound) -> Iterator[Requirement]:
    """``requirements`` of memories that have a capacity."""
    return (bound.memo(requirement, i) for i in _limited(bound))


def whole_tiles(bound: Bound) -> Iterator[Requirement]:
    """``limited_requirements`` as they would be if nothing streamed."""
    return (bound.memo(_whole_tiles, i) for i in _limited(bound))


def _limited(bound: Bound) -> Iterator[int]:
    memories = enumerate(bound.architecture.memories)
    return (i for i, m in memories if m.capacity_bytes is not None)


def requirement(bound: Bound, level: int) -> Requirement:
    """Live tiles of one memory.

    Parameters
    ----------
    bound : Bound
        The mapping.
    level : int
        The memory's index from the outermost.

    Returns
    -------
    Requirement
        In bytes, tensor by tensor, at the fullest moment.
    """
    return _requirement(bound, level, resident_tile)


def _whole_tiles(bound: Bound, level: int) -> Requirement:
    return _requirement(bound, level, _whole_tile)


def _requirement(bound: Bound, level: int, tile: _Tile) -> Requirement:
    memory = bound.architecture.memories[level]
    spill = bound.mapping.spill
    spills = spill is not None and spill.level == memory.name
    kept = bound.pattern_memo(_kept_here, level)
    sizes = [
        _in_words(bound, _tiles(bound, e, level, tile, here))
        for e, here in zip(bound.einsums, kept, strict=True)
    ]
    if spill is not None and spills:
        copies = dict(spill.copies)
        sizes = [{t: n * copies.get(t, 1) for t, n in tiles.items()} for tiles in sizes]
    live = _largest_moment(bound, sizes, level)
    if spill is not None and spills:
        for tensor, amount in _passing(bound, spill, level).items():
            live[tensor] = live.get(tensor, 0) + amount
    word_bytes = bound.architecture.word_bytes
    return Requirement(
        level=memory.name,
        tensors=tuple([(t, n * word_bytes) for t, n in live.items()]),
        capacity_bytes=memory.capacity_bytes,
        spills=spills,
    )


_Words = dict[str, int | Fraction]
"""Words of the machine that tiles take, by tensor."""


def _in_words(bound: Bound, elements: dict[str, int]) -> _Words:
    words = bound.words
    if words.alike:
        return {**elements}
    return {tensor: n * words.of(tensor) for tensor, n in elements.items()}


def _passing(bound: Bound, spill: Spill, level: int) -> _Words:
    """What a level stages of tensors which some Einsum passes by it."""
    found: _Words = {}
    for tensor, factors in spill.staged:
        kept = level in bound.residency.memories(tensor)
        if not kept or any((spill.level, tensor) in e.bypass for e in bound.einsums):
            found[tensor] = bound.tiling.elements(factors) * bound.words.of(tensor)
    return found


def largest_tile(
    e: BoundEinsum, access_map: AccessMap, level: int, *, one_copy: bool = True
) -> int:
    """Elements of a tensor in the tile that a level has while one Einsum runs.

    With ``one_copy``, only one of them along a rank the tensor is iterative in.

    Parameters
    ----------
    e : BoundEinsum
    access_map : AccessMap
        One of its ``access_maps``.
    level : int
        Index of a memory, or the register level.
    one_copy : bool, default True
        As above; False: all of a running value's steps.
    """
    extents = e.nest(level).first_tile
    return access_map.live(extents) if one_copy else access_map.size(extents)


def resident_tile(bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int) -> int:
    """Elements of a tensor that a level holds at once while one Einsum runs: those of its tile,
    or fewer where the tensor streams.

    Parameters
    ----------
    bound : Bound
        The mapping.
    e : BoundEinsum
        One of its Einsums.
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
"""Elements that a level holds of a tensor while an Einsum runs."""


@dataclass(frozen=True, slots=True)
class _KeptAccesses:
    """Accesses of an Einsum whose tensors a level keeps for it."""

    numbers: tuple[int, ...]
    """Places among the Einsum's own."""
    started: tuple[tuple[int, int], ...]
    """Statements of its ``init``, and places among their reads."""


def _kept_here(bound: Bound, level: int) -> tuple[_KeptAccesses, ...]:
    """What a level keeps by Einsum: the same whatever the sizes are. Links hold nothing."""
    if bound.architecture.memories[level].ring:
        return (_KeptAccesses((), ()),) * len(bound.einsums)

    def here(e: BoundEinsum, access_map: AccessMap) -> bool:
        return level in bound.memories(e, access_map.access.tensor)

    return tuple(
        _KeptAccesses(
            tuple(n for n, m in enumerate(e.access_maps) if here(e, m)),
            tuple(
                (s, n) for s, x in enumerate(e.initial) for n, m in enumerate(x.reads) if here(e, m)
            ),
        )
        for e in bound.einsums
    )


def _tiles(
    bound: Bound, e: BoundEinsum, level: int, tile: _Tile, kept: _KeptAccesses
) -> dict[str, int]:
    found: dict[str, int] = {}
    for number in kept.numbers:
        access_map = e.access_maps[number]
        tensor = access_map.access.tensor
        size = tile(bound, e, access_map, level)
        size = max(size, resident_on_chip(bound, e, access_map, level, size))
        inside = e.nest(level).first_tile
        size = size_for_all_cores(bound, e, access_map, level, inside, size)
        found[tensor] = max(found.get(tensor, 0), size)
    for statement, number in kept.started:
        start = e.initial[statement]
        access_map = start.reads[number]
        tensor = access_map.access.tensor
        size = largest_tile(start, access_map, level)
        size = max(size, resident_on_chip(bound, start, access_map, level, size))
        found[tensor] = max(found.get(tensor, 0), size)
    return found


def resident_on_chip(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: int
) -> int:
    """Elements of a tensor that an instance holds as long as a run lasts, where links in a ring are
    outside of it: all that it needs; or a part, and beside that one on its way round.

    Parameters
    ----------
    bound, e, access_map, level
        As of ``resident_tile``.
    tile : int
        Elements of a tile that comes to the level.

    Returns
    -------
    int
        None at a level that is not the outermost one that holds anything.
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
    """Whether all who touch a running value go along its rank together.

    One copy is enough then; else whoever comes later finds only the last value.

    Parameters
    ----------
    bound : Bound
        The mapping.
    tensor : str
        Any tensor: one that runs along no rank is in step.
    level : int
        Index of the memory that keeps it: only loops inside its tiles can part them.
    """
    running = bound.program.iterative.get(tensor, ())
    writer = bound.by_name.get(tensor)
    if writer is None or not running:
        return True
    ranks = {r.lower() for r in running}
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


def _largest_tiles(sizes: list[_Words]) -> _Words:
    found: _Words = {}
    for tiles in sizes:
        for tensor, size in tiles.items():
            found[tensor] = max(found.get(tensor, 0), size)
    return found


@dataclass(frozen=True, slots=True)
class _GroupMoment:
    """Places of the Einsums that run together, and of those whose results wait for later ones."""

    running: tuple[int, ...]
    waiting: tuple[int, ...]


def _moments(bound: Bound, level: int) -> tuple[_GroupMoment, ...]:
    """The moments at which one group runs: the same whatever the sizes are."""
    place = bound.position
    number = {name: i for i, group in enumerate(bound.groups) for name in group}
    last_use = {f.access.tensor: number[e.name] for e in bound.einsums for f in e.reads}
    home = bound.architecture.home_level
    # What an earlier group made for a later one waits in its outermost memory meanwhile.
    first = {t: [i for i in bound.residency.memories(t) if i >= home][:1] for t in place}
    return tuple(
        _GroupMoment(
            tuple(place[name] for name in group),
            tuple(
                at
                for name, at in place.items()
                if number[name] < now < last_use.get(name, -1) and first[name] == [level]
            ),
        )
        for now, group in enumerate(bound.groups)
    )


def _largest_moment(bound: Bound, sizes: list[_Words], level: int) -> _Words:
    """The largest of the moments at which one group runs."""
    worst: _Words = {}
    for now in bound.pattern_memo(_moments, level):
        moment = _largest_tiles([sizes[at] for at in now.running])
        for at in now.waiting:
            name = bound.einsums[at].name
            moment[name] = max(moment.get(name, 0), sizes[at][name])
        if sum(moment.values()) > sum(worst.values()):
            worst = moment
    return worst
