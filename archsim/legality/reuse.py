"""Reuse of a tile between Einsums: a tile that is still held is not fetched again.

An Einsum leaves the tile it writes, or reads from outside, at every level that keeps the tensor. A
later Einsum finds the tile there if both share the loops that step through the tiles of that level.
The mask of the earlier one must not skip a tile that the later one needs.

Registers hold one value, so the Einsums' own loops may match, too: one Einsum streams values that
the other takes. A pipeline barrier prevents that: a tensor in between that is complete only at the
end of the loop.
"""

from __future__ import annotations

from dataclasses import replace

from einsum_cascade.errors import MappingError
from einsum_cascade.ir import variables_of

from ..iteration.access_map import AccessMap
from ..iteration.bands import Window
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Loop
from ..iteration.windowed import one
from ..nest.dataflow import Operand, SameElements
from ..nest.record import Bound, BoundEinsum


def behind_barrier(
    bound: Bound, source: BoundEinsum, last: BoundEinsum, loop: Loop
) -> dict[str, str]:
    """Return the Einsums up to ``last`` that need the end of a loop in which ``source`` streams.

    Returns
    -------
    dict
        For each Einsum, by name, the tensor that is complete only then.
    """
    fed = {source.name}
    after: dict[str, str] = {}
    between = bound.einsums[bound.position[source.name] + 1 : bound.position[last.name] + 1]
    for e in between:
        for operand in e.operands:
            tensor = operand.access.tensor
            if tensor not in fed or operand.earlier:
                continue
            fed.add(e.name)
            ends = loop.variable in operand.ends
            summed = loop.variable in bound.by_name[tensor].einsum.over
            if tensor in after or ends or summed:
                after[e.name] = tensor
    return after


def awaited_stream(
    bound: Bound, source: BoundEinsum, last: BoundEinsum, operand: Operand
) -> tuple[Loop, dict[str, str]] | None:
    """Return the loop in which an operand streams from registers, if its reader needs the loop's
    end.

    Parameters
    ----------
    source, last : BoundEinsum
        Einsum that writes the operand, and the one that reads it.

    Returns
    -------
    tuple of (Loop, dict) or None
        The loop, and the Einsums that need its end (``behind_barrier``).
    """
    for loop in source.stepping(source.write, bound.register_level):
        # The last value of a loop stays when the loop is over.
        streams = loop in source.own and loop.variable not in source.einsum.over
        if streams and loop.variable not in operand.last:
            after = behind_barrier(bound, source, last, loop)
            if last.name in after:
                return loop, after
    return None


def brings_every_tile(given: tuple[BoundEinsum, AccessMap], taker: BoundEinsum, level: int) -> bool:
    """Return whether an Einsum brings every tile that another Einsum (``taker``) needs.

    The answer is also False if the proof fails or takes too long. The other Einsum then fetches all
    of its tiles, so that no traffic is forgotten.

    Parameters
    ----------
    given : tuple of (BoundEinsum, AccessMap)
        Einsum that brings the tiles, and its access.
    taker : BoundEinsum
        Einsum that shares the loops which step through the tiles.
    level : int
        Index of the memory that holds the tiles.
    """
    giver, access_map = given
    window = giver.window
    if window is None:
        return True
    loops = giver.stepping(access_map, level)
    return _skips_superset(taker, window, loops) or _skips_nothing(giver, window, loops)


def _skips_superset(taker: BoundEinsum, window: Window, loops: tuple[Loop, ...]) -> bool:
    """Return whether ``taker`` skips all iterations of the loops that ``window`` skips."""
    if (other := taker.window) is None:
        return False
    members = {x.member for x in loops}
    mine = tuple(x for x in taker.shared if x.member in members)
    if _loop_cuts(window, loops) != _loop_cuts(other, mine):
        return False
    band, inner = window.band.trimmed(), other.band.trimmed()
    return band.low <= inner.low and inner.high <= band.high


def _loop_cuts(window: Window, loops: tuple[Loop, ...]) -> tuple[object, ...]:
    """Return the lengths of a band's two ranks, and the tile sizes into which loops cut these
    ranks."""
    sides = [(x, side) for x in loops if (side := window.side(x.axis)) is not None]
    cuts = tuple((x.member, plus, x.stride * scale) for x, (plus, scale) in sides)
    return window.band.columns, window.band.rows, cuts


def _skips_nothing(e: BoundEinsum, window: Window, loops: tuple[Loop, ...]) -> bool:
    """Return whether every iteration of the loops holds a point of the window."""
    if window.band.empty:
        return False
    everything = LoopNest(loops=loops, extents=e.extents)
    left = replace(everything, window=replace(window, governed=len(loops)))
    moved = (True,) * len(loops)
    try:
        return left.delivered(moved, one) == everything.delivered(moved, one)
    except MappingError:
        # The tiles repeat too seldom to be counted.
        return False


def finds_tile_at(bound: Bound, e: BoundEinsum, number: int, level: int) -> bool:
    """Return whether a level already has the tiles of an operand when its Einsum needs them.

    Parameters
    ----------
    number : int
        Position of the operand among the Einsum's reads.
    level : int
        Index of a memory, or the register level for an intermediate.
    """
    return bound.residency_memo(_found_at, e, number, level)


def _found_at(bound: Bound, e: BoundEinsum, number: int, level: int) -> bool:
    if e.is_initial:
        return False
    operand, taken = e.operands[number], e.reads[number]
    writer = bound.producer(operand)
    end = bound.position[e.name]
    begin = 0
    if writer is not None:
        if is_still_held_for(bound, e, number, level):
            # Values that streamed past are gone before the Einsum has its other operands.
            return level < bound.register_level or not awaited_stream(bound, writer, e, operand)
        if level == bound.register_level or writer.name in bound.program.iterative:
            return False
        begin = bound.position[writer.name] + 1
        if begin > end:
            return False
    # An earlier reader of the same elements leaves them, too.
    readers = (bound.by_name[name] for name in operand.readers)
    return any(
        _share_tile_loops(bound, (r, taken), (e, taken), level, frozenset())
        and brings_every_tile((r, taken), e, level)
        for r in readers
        if begin <= bound.position[r.name] < end and _keeps(bound, r, taken.access.tensor, level)
    ) or any(
        _brings_the_same(bound, same, (e, number), level)
        for same in operand.same
        if begin <= bound.position[same.einsum] <= end
    )


def _brings_the_same(
    bound: Bound, same: SameElements, reader: tuple[BoundEinsum, int], level: int
) -> bool:
    """Return whether another access has already brought all elements of a tile to a memory.

    The two accesses may iterate over some ranks in different ways. The other access must not step
    through these ranks outside of the memory, and its mask must skip no tiles.
    """
    taker, number = reader
    giver = taker if same.einsum == taker.name else bound.by_name[same.einsum]
    given, taken = giver.reads[same.number], taker.reads[number]
    if level == bound.register_level or not _keeps(bound, giver, taken.access.tensor, level):
        return False
    stepped = {x.variable for x in giver.nonunit_loops if x.level < level}
    if same.whole & {*stepped, *(s.variable for s in bound.cores.partitions)}:
        return False
    if giver is taker:
        return same.number < number
    if bound.position[giver.name] == bound.position[taker.name]:
        return False
    where = giver.einsum.where
    if where is not None and stepped & {*variables_of(where)}:
        return False
    shared = _share_tile_loops(bound, (giver, given), (taker, taken), level, frozenset())
    return shared and brings_every_tile((giver, given), taker, level)


def _keeps(bound: Bound, e: BoundEinsum, tensor: str, level: int) -> bool:
    """Return whether a level keeps a tensor for an Einsum; registers always count."""
    return level == bound.register_level or level in bound.memories(e, tensor)


def is_still_held_for(bound: Bound, reader: BoundEinsum, number: int, level: int) -> bool:
    """Return whether a level still has another Einsum's result when the reader needs it.

    Parameters
    ----------
    number : int
        Position of the operand among the reader's; not an input.
    level : int
        See ``finds_tile_at``.
    """
    return bound.residency_memo(_is_left_for, reader, number, level)


def _is_left_for(bound: Bound, reader: BoundEinsum, number: int, level: int) -> bool:
    operand, taken = reader.operands[number], reader.reads[number]
    writer = bound.producer(operand)
    assert writer is not None, "what comes from outside is never gone"
    if not _keeps(bound, writer, writer.name, level):
        return False
    given = (writer, writer.write)
    return _share_tile_loops(bound, given, (reader, taken), level, operand.last) and _same_tile(
        bound, writer, reader, number, level
    )


def _share_tile_loops(
    bound: Bound,
    given: tuple[BoundEinsum, AccessMap],
    taken: tuple[BoundEinsum, AccessMap],
    level: int,
    last: frozenset[str],
) -> bool:
    """Return whether a tile that one Einsum leaves at a level is still there for another Einsum.

    ``last`` has the variables at whose last value the tensor is read. The last value stays when the
    loop over such a variable ends.
    """
    giver, taker = given[0], taken[0]
    # The giver's loops bring it other tiles, and leave the last one. The taker has to share each of
    # them.
    left = [x for x in giver.stepping(given[1], level) if x.variable not in last]
    if left and bound.in_different_groups(giver.name, taker.name):
        # The giver has finished all its tiles before the taker begins.
        return False
    kept = [x for x in left if x.member not in taker.outside or x.variable in taker.variables]
    if any(x.member in taker.outside and x in giver.shared for x in kept):
        # Both iterate over the same tiles, but not together.
        return False
    remaining = [x.member for x in kept]
    if level == bound.register_level:
        right = list(taker.stepping(taken[1], level))
        while right and _streams_through(bound, given, taker, right[-1]):
            right.pop()
        matching = [x.member in taker.outside for x in right] == [
            x.member in giver.outside for x in kept
        ]
        return matching and remaining == [x.member for x in right]
    if any(x in giver.own for x in left):
        return False
    # The taker's loops inside of all loops that bring other tiles leave the tile where it is.
    moving = {x.variable for x in left} & given[1].moving
    right = [x for x in taker.shared if x.level < level and taker.trip_counts[x.member] > 1]
    while right and right[-1].variable not in moving:
        right.pop()
    return remaining == [x.member for x in right]


def _streams_through(
    bound: Bound, given: tuple[BoundEinsum, AccessMap], taker: BoundEinsum, loop: Loop
) -> bool:
    """Return whether a loop goes over values that processing elements of another array hold side
    by side."""
    giver, access_map = given
    holds = giver.array.name in bound.registers(giver, access_map.access.tensor)
    is_spatial = any(x.member == loop.member for x in giver.spatial)
    return holds and giver.array is not taker.array and is_spatial


def _same_tile(
    bound: Bound, writer: BoundEinsum, reader: BoundEinsum, number: int, level: int
) -> bool:
    """Return whether a read stays inside the tile just written, index by index.

    A running value that is read one iteration later is there if no other tile came in between. A
    tile with all positions of an index may be read at any of these.
    """
    displaced = reader.operands[number].displaced
    if not displaced:
        return True
    outside = [x.variable for x in writer.stepping(writer.write, level)]
    parts = [s.variable for s in bound.cores.partitions]
    stepped = {*outside}
    if level == bound.register_level:
        stepped |= {x.variable for x in reader.stepping(reader.reads[number], level)}
    for index in displaced:
        if index.fixed or not stepped & index.variables:
            continue
        # In a state of rows by columns that is held as a whole any row may be read.
        if not index.written & {*outside, *parts}:
            continue
        if index.before is None:
            return False
        if index.before in outside and {*outside[outside.index(index.before) :]} != {index.before}:
            return False
    return True
