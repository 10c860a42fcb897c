"""A bound mapping as text: a loop nest that a person reads."""

from __future__ import annotations

from collections.abc import Iterator

from ..legality.footprint import resident_tile
from ..nest.record import Bound, BoundEinsum


def bound_text(bound: Bound) -> str:
    """Loops with their iterations, and what every Einsum reads and writes inside them.

    A loop is ``for P2 of 40 @ DRAM``: 40 iterations, which exchange tiles with DRAM. An
    access is ``K: DRAM 16,384 > registers 64``: elements of the tile that each level holds.

    Parameters
    ----------
    bound : Bound
        The mapping, with tile sizes fitted.

    Returns
    -------
    str
        Lines without a newline at the end.
    """
    return "\n".join(_lines(bound))


def _lines(bound: Bound) -> Iterator[str]:
    yield f"{bound.mapping.name}: {bound.program.name} on {bound.architecture.name}"
    yield f"shapes  {', '.join(f'{rank} = {size:,}' for rank, size in bound.shapes)}"
    for memory in bound.architecture.memories:
        yield f"{memory.name} keeps {_kept(bound, memory.name)}"
    for array in bound.architecture.arrays:
        yield f"registers of {array.name} keep {_kept(bound, array.name)}"
    yield f"schedule  {bound.mapping.schedule.kind}, {bound.steps:,} steps"
    for number, group in enumerate(bound.groups, start=1):
        if len(bound.groups) > 1:
            yield f"group {number}"
        indent = ""
        for loop in bound.nest:
            # A group goes round the shared loops that any of its Einsums is inside of.
            if any(loop.member not in bound.by_name[name].outside for name in group):
                level = bound.architecture.memories[loop.level].name
                yield f"{indent}for {loop.member} of {loop.bound:,} @ {level}"
                indent += "  "
        for name in group:
            yield from _einsum(bound, bound.by_name[name], indent)


def _kept(bound: Bound, level: str) -> str:
    tensors = [t for t, places in bound.residency.places if any(p.name == level for p in places)]
    return ", ".join(tensors) or "nothing"


def _einsum(bound: Bound, e: BoundEinsum, indent: str) -> Iterator[str]:
    operations = ", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in e.operations)
    going = [m for m in e.outside if any(x.member == m and x.bound > 1 for x in bound.nest)]
    outside = f", outside {', '.join(going)}" if going else ""
    yield f"{indent}{e.name} on {e.array.name}: {operations}{outside}"
    inner = indent + "  "
    for loop in e.own:
        level = bound.architecture.memories[loop.level].name
        yield f"{inner}for {loop.member} of {e.trip_counts[loop.member]:,} @ {level}"
        inner += "  "
    for loop in e.spatial:
        yield f"{inner}across {loop.dimension}: {loop.member} of {e.trip_counts[loop.member]:,}"
    for number in range(len(e.access_maps)):
        yield f"{inner}{_access(bound, e, number)}"
    if e.window is not None:
        yield f"{inner}tiles outside {e.window.box.low} <= distance <= {e.window.box.high} left out"


def _access(bound: Bound, e: BoundEinsum, number: int) -> str:
    """One access: who wrote it, and the tile at every level that holds it."""
    tensor = e.access_maps[number].access.tensor
    memories = bound.architecture.memories
    held = [
        f"{memories[level].name} {resident_tile(bound, e, e.access_maps[number], level):,}"
        for level in bound.memories(e, tensor)
    ]
    held += [f"registers of {array}" for array in bound.registers(e, tensor)]
    held.append(f"tile {resident_tile(bound, e, e.access_maps[number], bound.register_level):,}")
    if number == len(e.reads):
        return f"writes {tensor}: {' > '.join(reversed(held))}"
    operand = e.operands[number]
    when = " of before" if operand.earlier else " at the end" if operand.ends else ""
    source = "" if operand.producer else " (input)"
    return f"reads {tensor}{when}{source}: {' > '.join(held)}"
