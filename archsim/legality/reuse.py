"""Reuse of a tile between Einsums: a tile that is still held is not fetched again.

An Einsum leaves the tile it writes, or reads from outside, at every level that keeps the tensor. A
later one finds it there if both share the loops that step through the tiles of that level, and the
mask of the earlier one skips no tile that the later one needs. Registers hold one value: there
loops of an Einsum's own may match too, so that one streams what the other takes. It does not where
a pipeline barrier is between them: a tensor that is complete only at the end of the loop."""

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
    """Einsums up to ``last`` that need the end of a loop that ``source`` streams in.

    Returns
    -------
    dict
        For each of them, by name, the tensor that is complete only then.
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


def streaming(source: BoundEinsum, loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """Loops of its own in which an Einsum hands on value after value."""
    return tuple(x for x in loops if x in source.own and x.variable not in source.einsum.over)


def brings_every_tile(given: tuple[BoundEinsum, AccessMap], taker: BoundEinsum, level: int) -> bool:
    """Whether an Einsum leaves out no tile that another comes for.

    What is left out without need, or a proof that takes too long, counts as left out: the other
    fetches all of its tiles then, so that no traffic is forgotten.

    Parameters
    ----------
    given : tuple of (BoundEinsum, AccessMap)
        Who brings tiles, and its access.
    taker : BoundEinsum
        It goes along the loops that step through them together with who brings them.
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
    """Whether an Einsum leaves out all iterations of some loops that a window does."""
    if (other := taker.window) is None:
        return False
    members = {x.member for x in loops}
    mine = tuple(x for x in taker.shared if x.member in members)
    if _loop_cuts(window, loops) != _loop_cuts(other, mine):
        return False
    band, inner = window.band.trimmed(), other.band.trimmed()
    return band.low <= inner.low and inner.high <= band.high


def _loop_cuts(window: Window, loops: tuple[Loop, ...]) -> tuple[object, ...]:
    """Lengths of the two ranks of a band, and how some loops cut them."""
    sides = [(x, side) for x in loops if (side := window.side(x.axis)) is not None]
    cuts = tuple((x.member, plus, x.stride * scale) for x, (plus, scale) in sides)
    return window.band.columns, window.band.rows, cuts


def _skips_nothing(e: BoundEinsum, window: Window, loops: tuple[Loop, ...]) -> bool:
    """Whether every iteration of some loops holds a point."""
    if window.band.empty:
        return False
    everything = LoopNest(loops=loops, extents=e.extents)
    left = replace(everything, window=replace(window, governed=len(loops)))
    moved = (True,) * len(loops)
    try:
        return left.delivered(moved, one) == everything.delivered(moved, one)
    except MappingError:
        # Its tiles repeat too seldom to be counted.
        return False


def finds_tile_at(bound: Bound, e: BoundEinsum, number: int, level: int) -> bool:
    """Whether an Einsum finds the tiles of an operand already at a level.

    Parameters
    ----------
    number : int
        The operand's place among what the Einsum reads.
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
            return level < bound.register_level or not _streamed_by(bound, writer, e, operand)
        if level == bound.register_level or writer.name in bound.program.iterative:
            return False
        begin = bound.position[writer.name] + 1
        if begin > end:
            return False
    # Whoever reads the same before leaves it, too.
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
    """Whether another access has brought all that one touches of a tile in a memory.

    Only where the other steps outside of the memory through nothing of what the two go over in
    ways of their own, and its mask leaves out no tiles.
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
    together = _share_tile_loops(bound, (giver, given), (taker, taken), level, frozenset())
    return together and brings_every_tile((giver, given), taker, level)


def _streamed_by(bound: Bound, writer: BoundEinsum, reader: BoundEinsum, operand: Operand) -> bool:
    """Whether values have streamed by before an Einsum has what else it needs."""
    loops = writer.stepping(writer.write, bound.register_level)
    loops = tuple(x for x in loops if x.variable not in operand.last)
    return any(
        reader.name in behind_barrier(bound, writer, reader, loop)
        for loop in streaming(writer, loops)
    )


def _keeps(bound: Bound, e: BoundEinsum, tensor: str, level: int) -> bool:
    """Whether a level holds a tensor for an Einsum."""
    return level == bound.register_level or level in bound.memories(e, tensor)


def is_still_held_for(bound: Bound, reader: BoundEinsum, number: int, level: int) -> bool:
    """Whether what another Einsum writes is still at a level when one reads it.

    Parameters
    ----------
    number : int
        The place of what is read among the reader's operands; no input.
    level : int
        As of ``finds_tile_at``.
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
    """Whether the tile one Einsum leaves at a level is there when another comes for it.

    ``last`` has variables whose last value is taken, which stays when their loop is over.
    """
    giver, taker = given[0], taken[0]
    # Loops that bring the giver another tile: of what it leaves the last one is there, so that the
    # taker has to go along each of them with it.
    left = [x for x in giver.stepping(given[1], level) if x.variable not in last]
    if left and bound.in_different_groups(giver.name, taker.name):
        # The giver is done with all its tiles before the taker sees the first.
        return False
    kept = [x for x in left if x.member not in taker.outside or x.variable in taker.variables]
    if any(x.member in taker.outside and x in giver.shared for x in kept):
        # They go over the same tiles, but not together.
        return False
    remaining = [x.member for x in kept]
    if level == bound.register_level:
        right = list(taker.stepping(taken[1], level))
        while right and _streams_through(bound, given, taker, right[-1]):
            right.pop()
        together = [x.member in taker.outside for x in right] == [
            x.member in giver.outside for x in kept
        ]
        return together and remaining == [x.member for x in right]
    if any(x in giver.own for x in left):
        return False
    # Of the taker's loops those inside of all that bring other tiles leave the tile where it is.
    moving = {x.variable for x in left} & given[1].moving
    right = [x for x in taker.shared if x.level < level and taker.trip_counts[x.member] > 1]
    while right and right[-1].variable not in moving:
        right.pop()
    return remaining == [x.member for x in right]


def _streams_through(
    bound: Bound, given: tuple[BoundEinsum, AccessMap], taker: BoundEinsum, loop: Loop
) -> bool:
    """Whether a loop goes through what the elements of another array hold side by side."""
    giver, access_map = given
    holds = giver.array.name in bound.registers(giver, access_map.access.tensor)
    side_by_side = any(x.member == loop.member for x in giver.spatial)
    return holds and giver.array is not taker.array and side_by_side


def _same_tile(
    bound: Bound, writer: BoundEinsum, reader: BoundEinsum, number: int, level: int
) -> bool:
    """Whether an access stays inside the tile that was written, index by index.

    A running value read an iteration later is there if no other tile came in between, and wherever
    a tile has all places of an index it may be read at any.
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
        # Of a state of rows by columns that is held as a whole any row may be read.
        if not index.written & {*outside, *parts}:
            continue
        if index.before is None:
            return False
        if index.before in outside and {*outside[outside.index(index.before) :]} != {index.before}:
            return False
    return True
