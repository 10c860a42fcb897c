"""Tiles handed from one Einsum to another: what is still there need not be fetched again.

An Einsum leaves the tiles it writes, or reads from outside, at every level that keeps the
tensor. A later one finds them there if both step through the tiles of that level by the
same shared loops.
"""

from __future__ import annotations

from einsum_cascade.ir import Access, Affine

from .footing import Footing
from .lattice import Loop
from .lower import Lowered, LoweredEinsum


def width(e: LoweredEinsum, loop: Loop) -> int:
    """Iterations of a temporal loop inside the first tile of the loops around it."""
    extent = e.axes[loop.axis].extent
    for outer in e.temporal:
        if outer is loop:
            break
        if outer.axis == loop.axis:
            extent = min(extent, outer.stride)
    return -(-extent // loop.stride)


def moving_variables(lowered: Lowered, access: Access) -> frozenset[str]:
    """Rank variables whose loops change the tile of an access."""
    return frozenset({*access.variables, *(r.lower() for r in lowered.program.parallel)})


def stepping(lowered: Lowered, e: LoweredEinsum, access: Access, level: int) -> tuple[Loop, ...]:
    """Loops that step through the tiles a level holds, outermost first.

    Inside the innermost loop that moves the tensor a tile stays; loops of one iteration
    do not exist.
    """
    moving = moving_variables(lowered, access)
    loops = [x for x in e.outer(level) if width(e, x) > 1]
    while loops and loops[-1].variable not in moving:
        loops.pop()
    return tuple(loops)


def found_at(lowered: Lowered, e: LoweredEinsum, footing: Footing, level: int) -> bool:
    """Whether an Einsum finds the tiles of an operand already at a level.

    ``level`` is the index of a memory, or the register level for an intermediate.
    """
    taken = footing.access
    writer = next((p for p in lowered.einsums if p.name == taken.tensor), None)
    if writer is not None:
        return hands_over(lowered, writer, e, taken, level)
    before = lowered.einsums[: lowered.einsums.index(e)]
    readers = [r for r in before if taken in r.einsum.reads]
    return any(_step_alike(lowered, (r, taken), (e, taken), level) for r in readers)


def hands_over(
    lowered: Lowered, writer: LoweredEinsum, reader: LoweredEinsum, access: Access, level: int
) -> bool:
    """Whether what one Einsum writes is still at a level when another reads it."""
    target = writer.einsum.target
    return _step_alike(lowered, (writer, target), (reader, access), level) and _same_tile(
        lowered, writer, reader, access, level
    )


def _step_alike(
    lowered: Lowered,
    given: tuple[LoweredEinsum, Access],
    taken: tuple[LoweredEinsum, Access],
    level: int,
) -> bool:
    """Whether two Einsums step through the tiles of a level by the same loops.

    Loops of their own keep step only where values stream from register to register.
    """
    left = stepping(lowered, *given, level)
    right = stepping(lowered, *taken, level)
    if lowered.mapping.schedule.kind == "sequential" and given[0] is not taken[0]:
        # The giver is done with all its tiles before the taker sees the first.
        return not left and not right
    if level < lowered.register_level and {*given[0].own, *taken[0].own} & {*left, *right}:
        return False
    remaining = [x.member for x in left if x.member not in taken[0].outside]
    return remaining == [x.member for x in right]


def _same_tile(
    lowered: Lowered, writer: LoweredEinsum, reader: LoweredEinsum, access: Access, level: int
) -> bool:
    """Whether an access stays inside the tile that was written, index by index.

    A running value read an iteration later is there if no other tile came in between.
    """
    written = [x.variable for x in stepping(lowered, writer, writer.einsum.target, level)]
    loops = [x.variable for x in stepping(lowered, reader, access, level)]
    for wrote, read in zip(writer.einsum.target.indices, access.indices, strict=True):
        if not {*wrote.variables, *read.variables} & {*written, *loops} or read == wrote:
            continue
        if not isinstance(wrote, Affine) or not isinstance(read, Affine):
            return False
        if wrote.offset != 1:
            return False
        (variable,) = wrote.variables
        if not read.variables:
            continue
        if read.variables != (variable,) or read.offset != 0:
            return False
        if variable in loops and {*loops[loops.index(variable) :]} != {variable}:
            return False
    return True
