"""How often each level is read and written: exact counts per Einsum and tensor.

The rules are Timeloop's. Inputs: a level receives a tile whenever a relevant loop outside
it moves; its parent is read once for all array elements that share a value. Outputs: a
level is updated by whatever arrives from below; an arrival that is not the first for its
element reads the partial result back (``reads = updates - distinct elements``) and hands
it down again. The first touch only writes, and handing a finished tile outwards reads
nothing below. Every operand passes through the registers of the array that uses it, and
the registers count as one more level.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Name, walk

from ..bound.initial import initial_einsums
from ..bound.record import Bound, BoundEinsum
from ..bound.reuse import found_at, moving_variables
from ..space.access_map import AccessMap
from ..space.banded import one
from ..space.bands import Window
from ..space.iteration import Loop
from .meter import EXACT, Elements, Lanes, Meter, Size
from .random_access import words_in_lines

Amount = int | Fraction
"""A number of elements; a fraction only where a share of a level spills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCount:
    """Elements of one tensor that one Einsum reads and writes at one place."""

    einsum: str
    tensor: str
    place: str
    reads: Amount
    writes: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumCount:
    """All counts of one Einsum.

    ``iterations`` are temporal: what one array element runs through. ``registers`` counts
    its own array's register files twice: summed over all elements, and in the first one.
    """

    einsum: str
    array: str
    points: int
    allowed: int
    """Points that the Einsum's mask lets through: those that are computed and billed."""
    iterations: int
    operations: tuple[tuple[str, int], ...]
    accesses: tuple[AccessCount, ...]
    registers: AccessCount
    registers_of_one: AccessCount


def count_einsum(bound: Bound, e: BoundEinsum, meter: Meter = EXACT) -> EinsumCount:
    """Count one Einsum's operations and accesses.

    Where what it writes begins with inputs, bringing these is among its accesses.
    """
    allowed = allowed_points(bound, e, meter)
    touches = [(part, f) for part in (e, *initial_einsums(bound, e)) for f in part.touches]
    accesses = [a for part, f in touches for a in accesses_of(bound, part, f, meter)]
    used = [registers_of(bound, part, f, meter) for part, f in touches]
    return EinsumCount(
        einsum=e.name,
        array=e.array.name,
        points=meter.points(e),
        allowed=allowed,
        iterations=meter.iterations(e),
        operations=tuple((kind, n * allowed) for kind, n in e.operations),
        accesses=tuple(accesses),
        registers=_in_registers_of(e, [of_all for of_all, _ in used]),
        registers_of_one=_in_registers_of(e, [of_one for _, of_one in used]),
    )


def _in_registers_of(e: BoundEinsum, used: list[Uses]) -> AccessCount:
    return AccessCount(
        einsum=e.name,
        tensor="",
        place=e.array.name,
        reads=sum(reads for reads, _ in used),
        writes=sum(writes for _, writes in used),
    )


def allowed_points(bound: Bound, e: BoundEinsum, meter: Meter = EXACT) -> int:
    """Points of the iteration space that the mask lets through.

    What depends on data is taken to let everything through: nobody can count it beforehand.

    Raises
    ------
    MappingError
        The mask needs a parameter that has no value.
    """
    if e.einsum.where is None:
        return meter.points(e)
    if e.window is not None:
        return _inside(e, e.window)
    from einsum_cascade.counting.point_counts import count_points

    shapes = dict(bound.shapes)
    given = {p.name: p.default for p in bound.program.parameters if p.default is not None}
    used = {n.name for n in walk(e.einsum.where) if isinstance(n, Name) and n.kind == "parameter"}
    if absent := sorted(used - given.keys()):
        text = f"{e.name}: its mask needs a number for {', '.join(absent)}"
        raise MappingError(Problem(text, e.einsum.where.span, f"--set {absent[0]}=..."))
    points = count_points(bound.program, e.einsum, given | shapes)
    return points * prod(shapes[r] for r in bound.program.parallel)


def _inside(e: BoundEinsum, window: Window) -> int:
    """Points inside the band that an Einsum's mask is: those of its two ranks, times the rest."""
    across = prod(n for axis, n in enumerate(e.extents) if window.side(axis) is None)
    return across * window.box.points


Uses = tuple[int, int]
"""Reads and writes of registers."""


def registers_of(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, meter: Meter = EXACT
) -> tuple[Uses, Uses]:
    """Accesses of an Einsum to its own array's registers for one tensor: of all, of one.

    An operand is read at every use and written when it changes. A result is written at
    every update and read back at all but an element's first; a partial result that comes
    back from outside is written once more.
    """
    moved = _relevant(e.temporal, bound, access_map)
    fills = meter.delivered(e, e.temporal, moved, Lanes(e.spatial))
    changes = meter.delivered(e, e.temporal, moved, one)
    points, iterations = meter.points(e), meter.iterations(e)
    if access_map is e.write:
        lanes = tuple(True for _ in e.spatial)
        everywhere = meter.distinct(e, (*e.temporal, *e.spatial), (*moved, *lanes))
        in_one = meter.distinct(e, e.temporal, moved)
        return _updated(points, fills, everywhere), _updated(iterations, changes, in_one)
    if _left_in_registers(bound, e, access_map):
        fills = changes = 0
    return (points, fills), (iterations, changes)


def _updated(updates: int, arrivals: int, elements: int) -> Uses:
    return updates - elements, updates + arrivals - elements


def _relevant(loops: tuple[Loop, ...], bound: Bound, access_map: AccessMap) -> tuple[bool, ...]:
    moving = moving_variables(bound, access_map.access)
    return tuple(loop.variable in moving for loop in loops)


def deliveries(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, meter: Meter = EXACT
) -> int:
    """Elements of a tensor that arrive at ``level`` under the loops outside it.

    For the register level the tile is what all array elements take together, shared
    values once.
    """
    return _arriving(bound, e, access_map, level, Elements(access_map), meter)


def _arriving(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, size: Size, meter: Meter
) -> int:
    loops = e.outer(level)
    return meter.delivered(e, loops, _relevant(loops, bound, access_map), size)


def touched(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, meter: Meter = EXACT
) -> int:
    """Distinct elements of a tensor in the tiles that ever come to ``level``."""
    loops = e.outer(level)
    return meter.touched(e, loops, _relevant(loops, bound, access_map), access_map)


def register_changes(bound: Bound, e: BoundEinsum, access_map: AccessMap) -> int:
    """How often a tensor's value changes in the registers of one array element."""
    return EXACT.delivered(e, e.temporal, _relevant(e.temporal, bound, access_map), one)


def in_own_registers(bound: Bound, e: BoundEinsum, access_map: AccessMap) -> bool:
    """Whether an operand waits where an Einsum runs, so that nothing brings it there."""
    return _left_in_registers(bound, e, access_map)


def _memories(bound: Bound, e: BoundEinsum, tensor: str) -> list[tuple[str, int]]:
    """Memories that hold a tensor for an Einsum, with their level, outermost first."""
    memories = bound.architecture.memories
    return [(memories[i].name, i) for i in bound.memories(e, tensor)]


def _other_registers(bound: Bound, e: BoundEinsum, tensor: str) -> list[str]:
    """Arrays but the Einsum's own whose registers keep a tensor."""
    return [a for a in bound.registers(e, tensor) if a != e.array.name]


def _in_registers(bound: Bound, e: BoundEinsum, access_map: AccessMap) -> bool:
    """Whether registers, somewhere, still hold an intermediate when an Einsum reads it."""
    tensor = access_map.access.tensor
    if tensor not in bound.program.einsum_of:
        return False
    return not bound.memories(e, tensor) or found_at(bound, e, access_map, bound.register_level)


def _left_in_registers(bound: Bound, e: BoundEinsum, access_map: AccessMap) -> bool:
    """Whether an operand waits in the Einsum's own registers; nothing is fetched then."""
    own = e.array.name in bound.registers(e, access_map.access.tensor)
    return own and _in_registers(bound, e, access_map)


def _input(bound: Bound, e: BoundEinsum, access_map: AccessMap, meter: Meter) -> list[AccessCount]:
    """Reads of an operand: from where it is still found, level by level inwards."""
    if _left_in_registers(bound, e, access_map):
        return []
    tensor = access_map.access.tensor
    chain = _memories(bound, e, tensor)
    others = _other_registers(bound, e, tensor)
    if others and _in_registers(bound, e, access_map):
        chain = [(others[0], bound.register_level)]
    found_in = [i for i, (_, level) in enumerate(chain) if found_at(bound, e, access_map, level)]
    chain = chain[max(found_in, default=0) :]
    below = [*(level for _, level in chain[1:]), bound.register_level]
    arriving = [0, *(deliveries(bound, e, access_map, level, meter) for level in below)]
    return [
        AccessCount(
            einsum=e.name,
            tensor=tensor,
            place=place,
            reads=_read(bound, e, access_map, level, inside, meter),
            writes=writes,
        )
        for (place, level), inside, writes in zip(chain, below, arriving, strict=False)
    ]


def _read(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, inside: int, meter: Meter
) -> int:
    """Elements that one level reads for the tiles of another inside it."""
    machine = bound.architecture
    if level == bound.register_level:
        return deliveries(bound, e, access_map, inside, meter)
    size = words_in_lines(e, access_map, machine.memories[level], machine.word_bits)
    return _arriving(bound, e, access_map, inside, size, meter)


def accesses_of(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, meter: Meter = EXACT
) -> list[AccessCount]:
    """What one operand, or the result, of an Einsum reads and writes where."""
    return (
        _output(bound, e, meter) if access_map is e.write else _input(bound, e, access_map, meter)
    )


def _output(bound: Bound, e: BoundEinsum, meter: Meter) -> list[AccessCount]:
    """Writes of a result on its way out, and partial results on their way back."""
    memories = _memories(bound, e, e.name)
    others = _other_registers(bound, e, e.name)
    level = bound.register_level
    below = [*(level for _, level in memories[1:]), level]
    updates = [deliveries(bound, e, e.write, i, meter) for i in below]
    again = [u - touched(bound, e, e.write, i, meter) for u, i in zip(updates, below, strict=True)]
    handed_down = [0, *again]
    found = [
        AccessCount(einsum=e.name, tensor=e.name, place=place, reads=back, writes=arriving + refill)
        for (place, _), arriving, back, refill in zip(
            memories, updates, again, handed_down, strict=False
        )
    ]
    arriving, back = updates[-1], again[-1]
    refill = back if memories else 0
    return found + [
        AccessCount(einsum=e.name, tensor=e.name, place=a, reads=back, writes=arriving + refill)
        for a in others
    ]
