"""Tiles handed from one Einsum to another: what is still there need not be fetched again.

An Einsum leaves the tile it writes, or reads from outside, at every level that keeps the
tensor. A later one finds it there, whole or in parts, if the loops that step through the
tiles of that level are shared by both. Registers hold one value: there, loops of an
Einsum's own may go along too, so that one streams what the other takes; and what one array
holds, a value in each element, another array may go through value by value.
"""

from __future__ import annotations

from einsum_cascade.ir import Access, Affine

from ..space.access_map import AccessMap
from ..space.iteration import Loop
from .barriers import streaming, up_to, waiting
from .record import Bound, BoundEinsum


def width(e: BoundEinsum, loop: Loop) -> int:
    """Iterations of an Einsum's own loop inside the first tile of the temporal ones around it."""
    return e.widths[id(loop)]


def moving_variables(bound: Bound, access: Access) -> frozenset[str]:
    """Rank variables whose loops change the tile of an access."""
    return frozenset({*access.variables, *(r.lower() for r in bound.program.parallel)})


def stepping(bound: Bound, e: BoundEinsum, access: Access, level: int) -> tuple[Loop, ...]:
    """Loops that step through the tiles a level holds, outermost first.

    Inside the innermost loop that moves the tensor a tile stays; loops of one iteration
    do not exist.
    """
    moving = moving_variables(bound, access)
    loops = [x for x in e.outer(level) if width(e, x) > 1]
    while loops and loops[-1].variable not in moving:
        loops.pop()
    return tuple(loops)


def found_at(bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int) -> bool:
    """Whether an Einsum finds the tiles of an operand already at a level.

    ``level`` is the index of a memory, or the register level for an intermediate.
    """
    if e.starts:
        return False
    taken = access_map.access
    writer = next((p for p in bound.einsums if p.name == taken.tensor), None)
    before = bound.einsums[: bound.einsums.index(e)]
    if writer is not None:
        if hands_over(bound, writer, e, taken, level):
            return level < bound.register_level or not _waits(bound, writer, e, taken)
        if level == bound.register_level or taken.tensor in bound.program.iterative:
            return False
        before = before[before.index(writer) + 1 :] if writer in before else ()
    readers = [r for r in before if taken in r.einsum.reads and _holds(bound, r, taken, level)]
    return any(_step_alike(bound, (r, taken), (e, taken), level) for r in readers)


def _waits(bound: Bound, writer: BoundEinsum, reader: BoundEinsum, taken: Access) -> bool:
    """Whether values have streamed by before an Einsum has what else it needs."""
    between = up_to(bound, writer, reader)
    target = writer.einsum.target
    ended = _ended(writer, target, taken)
    loops = stepping(bound, writer, target, bound.register_level)
    loops = tuple(x for x in loops if x.variable not in ended)
    return any(
        reader.name in waiting(bound, writer, between, loop) for loop in streaming(writer, loops)
    )


def _holds(bound: Bound, e: BoundEinsum, access: Access, level: int) -> bool:
    """Whether a level holds a tensor for an Einsum."""
    if level == bound.register_level:
        return True
    return level in bound.memories(e, access.tensor)


def hands_over(
    bound: Bound, writer: BoundEinsum, reader: BoundEinsum, access: Access, level: int
) -> bool:
    """Whether what one Einsum writes is still at a level when another reads it."""
    target = writer.einsum.target
    if not _holds(bound, writer, target, level):
        return False
    return _step_alike(bound, (writer, target), (reader, access), level) and _same_tile(
        bound, writer, reader, access, level
    )


def _step_alike(
    bound: Bound,
    given: tuple[BoundEinsum, Access],
    taken: tuple[BoundEinsum, Access],
    level: int,
) -> bool:
    """Whether the tile one Einsum leaves at a level is there when another comes for it."""
    giver, taker = given[0], taken[0]
    ended = _ended(*given, taken[1])
    left = [x for x in stepping(bound, *given, level) if x.variable not in ended]
    if left and bound.apart(giver.name, taker.name):
        # The giver is done with all its tiles before the taker sees the first.
        return False
    mine = {v for a in taker.axes for v, _ in a.variables}
    kept = [x for x in left if x.member not in taker.outside or x.variable in mine]
    if any(x in giver.shared and x.member in taker.outside for x in kept):
        # They go over the same tiles, but not together.
        return False
    remaining = [x.member for x in kept]
    if level == bound.register_level:
        right = list(stepping(bound, *taken, level))
        while right and _gone_through(bound, given, taker, right[-1]):
            right.pop()
        together = [x.member in taker.outside for x in right] == [
            x.member in giver.outside for x in kept
        ]
        return together and remaining == [x.member for x in right]
    if {*giver.own} & {*left}:
        return False
    moving = {x.variable for x in left} & moving_variables(bound, given[1])
    right = [x for x in taker.shared if x.level < level and width(taker, x) > 1]
    while right and right[-1].variable not in moving:
        right.pop()
    return remaining == [x.member for x in right]


def _gone_through(
    bound: Bound, given: tuple[BoundEinsum, Access], taker: BoundEinsum, loop: Loop
) -> bool:
    """Whether a loop goes through what the elements of another array hold side by side."""
    giver, access = given
    holds = giver.array.name in bound.registers(giver, access.tensor)
    side_by_side = {x.member for x in giver.spatial}
    return holds and giver.array is not taker.array and loop.member in side_by_side


def _ended(giver: BoundEinsum, given: Access, taken: Access) -> frozenset[str]:
    """Variables at whose end a running value is taken: the last one stays."""
    if given is not giver.einsum.target:
        return frozenset()
    return frozenset(
        wrote.variables[0]
        for wrote, read in zip(given.indices, taken.indices, strict=True)
        if isinstance(wrote, Affine) and wrote.offset == 1 and not read.variables
    )


def _same_tile(
    bound: Bound, writer: BoundEinsum, reader: BoundEinsum, access: Access, level: int
) -> bool:
    """Whether an access stays inside the tile that was written, index by index.

    A running value read an iteration later is there if no other tile came in between.
    """
    outside = [x.variable for x in stepping(bound, writer, writer.einsum.target, level)]
    stepped = {*outside}
    if level == bound.register_level:
        stepped |= {x.variable for x in stepping(bound, reader, access, level)}
    for wrote, read in zip(writer.einsum.target.indices, access.indices, strict=True):
        if read == wrote or not stepped & {*wrote.variables, *read.variables}:
            continue
        if not isinstance(wrote, Affine) or not isinstance(read, Affine) or wrote.offset != 1:
            return False
        (variable,) = wrote.variables
        if not read.variables:
            continue
        if read.variables != (variable,) or read.offset != 0:
            return False
        if variable in outside and {*outside[outside.index(variable) :]} != {variable}:
            return False
    return True
