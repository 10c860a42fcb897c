"""What one Einsum leaves for another: tiles that are still there need not be fetched again.

An Einsum leaves the tile it writes, or reads from outside, at every level that keeps the
tensor. A later one finds it there, whole or in parts, if the loops that step through the
tiles of that level are shared by both, and a mask made the earlier one leave out none that
the later one comes for. Registers hold one value: there, loops of an
Einsum's own may go along too, so that one streams what the other takes; and what one array
holds, a value in each element, another array may go through value by value.
"""

from __future__ import annotations

from einsum_cascade.ir import variables_of

from ..space.access_map import AccessMap
from ..space.iteration import Loop
from .barriers import behind_barrier, streaming
from .dataflow import Operand
from .left_behind import brings_all
from .record import Bound, BoundEinsum
from .same_elements import SameElements


def found_at(bound: Bound, e: BoundEinsum, number: int, level: int) -> bool:
    """Whether an Einsum finds the tiles of an operand already at a level.

    Parameters
    ----------
    number : int
        The operand's place among what the Einsum reads.
    level : int
        Index of a memory, or the register level for an intermediate.
    """
    return bound.once_kept(_found_at, e, number, level)


def _found_at(bound: Bound, e: BoundEinsum, number: int, level: int) -> bool:
    if e.is_initial:
        return False
    operand, taken = e.operands[number], e.reads[number]
    writer = bound.producer(operand)
    end = bound.position[e.name]
    begin = 0
    if writer is not None:
        if is_left_for(bound, e, number, level):
            return level < bound.register_level or not _streamed_by(bound, writer, e, operand)
        if level == bound.register_level or writer.name in bound.program.iterative:
            return False
        begin = bound.position[writer.name] + 1
        if begin > end:
            return False
    # Whoever reads the same before leaves it, too.
    readers = (bound.by_name[name] for name in operand.readers)
    return any(
        _step_together(bound, (r, taken), (e, taken), level, frozenset())
        and brings_all((r, taken), e, level)
        for r in readers
        if begin <= bound.position[r.name] < end and _holds(bound, r, taken.access.tensor, level)
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
    if level == bound.register_level or not _holds(bound, giver, taken.access.tensor, level):
        return False
    stepped = {x.variable for x in giver.going if x.level < level}
    parts = () if bound.instances is None else bound.instances.spread
    if same.whole & {*stepped, *(s.variable for s in parts)}:
        return False
    if giver is taker:
        return same.number < number
    if bound.position[giver.name] == bound.position[taker.name]:
        return False
    where = giver.einsum.where
    if where is not None and stepped & {*variables_of(where)}:
        return False
    together = _step_together(bound, (giver, given), (taker, taken), level, frozenset())
    return together and brings_all((giver, given), taker, level)


def _streamed_by(bound: Bound, writer: BoundEinsum, reader: BoundEinsum, operand: Operand) -> bool:
    """Whether values have streamed by before an Einsum has what else it needs."""
    loops = writer.stepping(writer.write, bound.register_level)
    loops = tuple(x for x in loops if x.variable not in operand.last)
    return any(
        reader.name in behind_barrier(bound, writer, reader, loop)
        for loop in streaming(writer, loops)
    )


def _holds(bound: Bound, e: BoundEinsum, tensor: str, level: int) -> bool:
    """Whether a level holds a tensor for an Einsum."""
    return level == bound.register_level or level in bound.memories(e, tensor)


def is_left_for(bound: Bound, reader: BoundEinsum, number: int, level: int) -> bool:
    """Whether what another Einsum writes is still at a level when one reads it.

    Parameters
    ----------
    number : int
        The place of what is read among the reader's operands; no input.
    level : int
        As of ``found_at``.
    """
    return bound.once_kept(_is_left_for, reader, number, level)


def _is_left_for(bound: Bound, reader: BoundEinsum, number: int, level: int) -> bool:
    operand, taken = reader.operands[number], reader.reads[number]
    writer = bound.producer(operand)
    assert writer is not None, "what comes from outside is never gone"
    if not _holds(bound, writer, writer.name, level):
        return False
    given = (writer, writer.write)
    return _step_together(bound, given, (reader, taken), level, operand.last) and _same_tile(
        bound, writer, reader, number, level
    )


def _step_together(
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
    if left and bound.apart(giver.name, taker.name):
        # The giver is done with all its tiles before the taker sees the first.
        return False
    kept = [x for x in left if x.member not in taker.outside or x.variable in taker.variables]
    if any(x.member in taker.outside and x in giver.shared for x in kept):
        # They go over the same tiles, but not together.
        return False
    remaining = [x.member for x in kept]
    if level == bound.register_level:
        right = list(taker.stepping(taken[1], level))
        while right and _gone_through(bound, given, taker, right[-1]):
            right.pop()
        together = [x.member in taker.outside for x in right] == [
            x.member in giver.outside for x in kept
        ]
        return together and remaining == [x.member for x in right]
    if any(x in giver.own for x in left):
        return False
    # Of the taker's loops those inside of all that bring other tiles leave the tile where it is.
    moving = {x.variable for x in left} & given[1].moving
    right = [x for x in taker.shared if x.level < level and taker.widths[x.member] > 1]
    while right and right[-1].variable not in moving:
        right.pop()
    return remaining == [x.member for x in right]


def _gone_through(
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
    parts = () if bound.instances is None else [s.variable for s in bound.instances.spread]
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
