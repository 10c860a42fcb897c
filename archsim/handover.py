"""Tiles handed from one Einsum to another: what is still there need not be fetched again.

An Einsum leaves the tiles it writes, or reads from outside, at every level that keeps the
tensor. A later one finds them there if both step through the tiles of that level by the
same shared loops.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    return any(
        _alike(lowered, (giver, access), (e, footing.access), level)
        for giver, access in _givers(lowered, e, footing.access)
    )


def _givers(
    lowered: Lowered, e: LoweredEinsum, taken: Access
) -> Iterator[tuple[LoweredEinsum, Access]]:
    """Who may have left a tile: the Einsum that writes it, or one that read it before."""
    writer = next((p for p in lowered.einsums if p.name == taken.tensor), None)
    if writer is not None:
        yield writer, writer.einsum.target
        return
    for earlier in lowered.einsums:
        if earlier is e:
            return
        if taken in earlier.einsum.reads:
            yield earlier, taken


def _alike(
    lowered: Lowered,
    given: tuple[LoweredEinsum, Access],
    taken: tuple[LoweredEinsum, Access],
    level: int,
) -> bool:
    left = stepping(lowered, *given, level)
    right = stepping(lowered, *taken, level)
    if lowered.mapping.schedule.kind == "sequential":
        # The giver is done with all its tiles before the taker sees the first.
        return not left and not right
    if level < lowered.register_level:
        own = {*given[0].own, *taken[0].own}
        if own & {*left, *right}:
            return False
    remaining = [x.member for x in left if x.member not in taken[0].outside]
    return remaining == [x.member for x in right] and _keeps_running_value(given, taken[1], right)


def _keeps_running_value(
    given: tuple[LoweredEinsum, Access], taken: Access, loops: tuple[Loop, ...]
) -> bool:
    """Whether no other tile comes between a running value and its use an iteration later."""
    writer, left = given
    if left is not writer.einsum.target:
        return True
    variables = [x.variable for x in loops]
    for wrote, read in zip(left.indices, taken.indices, strict=True):
        if not isinstance(wrote, Affine) or not isinstance(read, Affine) or wrote.offset != 1:
            continue
        (variable,) = wrote.variables
        if read.offset == 0 and variable in variables:
            inside = variables[variables.index(variable) :]
            if set(inside) != {variable}:
                return False
    return True
