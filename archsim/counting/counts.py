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

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Name, walk

from ..nest.footing import Footing
from ..nest.handover import found_at, moving_variables
from ..nest.initial import initial_einsums
from ..nest.lattice import (
    Extents,
    Loop,
    count_deliveries,
    count_distinct,
    count_points,
    first_tile,
)
from ..nest.lower import Lowered, LoweredEinsum
from ..nest.window import Window
from ..nest.windowed import one, windowed_deliveries, windowed_distinct
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


def count_einsum(lowered: Lowered, e: LoweredEinsum) -> EinsumCount:
    """Count one Einsum's operations and accesses.

    Where what it writes begins with an input, bringing that is among its accesses.
    """
    points = e.points
    allowed = allowed_points(lowered, e)
    accesses: list[AccessCount] = []
    totals = _Registers()
    single = _Registers()
    for footing in e.reads:
        accesses.extend(_input(lowered, e, footing))
        left = _left_in_registers(lowered, e, footing)
        totals.operand(points, 0 if left else _register_fills(lowered, e, footing))
        single.operand(e.iterations, 0 if left else register_changes(lowered, e, footing))
    accesses.extend(_output(lowered, e))
    moved = _relevant(e.temporal, lowered, e.write)
    lanes = tuple(True for _ in e.spatial)
    everywhere = _distinct(e, (*e.temporal, *e.spatial), (*moved, *lanes))
    totals.result(points, _register_fills(lowered, e, e.write), everywhere)
    in_one = _distinct(e, e.temporal, moved)
    single.result(e.iterations, register_changes(lowered, e, e.write), in_one)
    for start in initial_einsums(lowered, e):
        moves = count_einsum(lowered, start)
        accesses.extend(moves.accesses)
        totals.add(moves.registers)
        single.add(moves.registers_of_one)
    return EinsumCount(
        einsum=e.name,
        array=e.array.name,
        points=points,
        allowed=allowed,
        iterations=e.iterations,
        operations=tuple((kind, n * allowed) for kind, n in e.operations),
        accesses=tuple(accesses),
        registers=totals.count(e),
        registers_of_one=single.count(e),
    )


def allowed_points(lowered: Lowered, e: LoweredEinsum) -> int:
    """Points of the iteration space that the mask lets through.

    What depends on data is taken to let everything through: nobody can count it beforehand.

    Raises
    ------
    MappingError
        The mask needs a parameter that has no value.
    """
    if e.einsum.where is None:
        return e.points
    if e.window is not None:
        return _inside(e, e.window)
    from einsum_cascade.point_counts import count_points

    shapes = dict(lowered.shapes)
    given = {p.name: p.default for p in lowered.program.parameters if p.default is not None}
    used = {n.name for n in walk(e.einsum.where) if isinstance(n, Name) and n.kind == "parameter"}
    if absent := sorted(used - given.keys()):
        text = f"{e.name}: its mask needs a number for {', '.join(absent)}"
        raise MappingError(Problem(text, e.einsum.where.span, f"--set {absent[0]}=..."))
    points = count_points(lowered.program, e.einsum, given | shapes)
    return points * prod(shapes[r] for r in lowered.program.parallel)


def _inside(e: LoweredEinsum, window: Window) -> int:
    """Points inside the band that an Einsum's mask is: those of its two ranks, times the rest."""
    across = prod(n for axis, n in enumerate(e.extents) if window.side(axis) is None)
    return across * window.box.points


class _Registers:
    """Adds up register accesses of one Einsum."""

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0

    def operand(self, uses: int, fills: int) -> None:
        """An operand is read at every use and written when it changes."""
        self.reads += uses
        self.writes += fills

    def result(self, updates: int, arrivals: int, elements: int) -> None:
        """A result is written at every update and read back at all but an element's first.

        A partial result that comes back from outside is written once more.
        """
        self.reads += updates - elements
        self.writes += updates + arrivals - elements

    def add(self, other: AccessCount) -> None:
        """The accesses of another Einsum."""
        self.reads += int(other.reads)
        self.writes += int(other.writes)

    def count(self, e: LoweredEinsum) -> AccessCount:
        return AccessCount(
            einsum=e.name,
            tensor="",
            place=e.array.name,
            reads=self.reads,
            writes=self.writes,
        )


def _relevant(loops: tuple[Loop, ...], lowered: Lowered, footing: Footing) -> tuple[bool, ...]:
    moving = moving_variables(lowered, footing.access)
    return tuple(loop.variable in moving for loop in loops)


def deliveries(lowered: Lowered, e: LoweredEinsum, footing: Footing, level: int) -> int:
    """Elements of a tensor that arrive at ``level`` under the loops outside it.

    For the register level the tile is what all array elements take together, shared
    values once.
    """
    loops = e.outer(level)
    return _delivered(e, loops, _relevant(loops, lowered, footing), footing.size)


def _delivered(
    e: LoweredEinsum,
    loops: tuple[Loop, ...],
    relevant: tuple[bool, ...],
    size: Callable[[Extents], int],
) -> int:
    if e.window is not None:
        return windowed_deliveries(loops, relevant, e.extents, e.window, size)
    return count_deliveries(loops, relevant, e.extents, size)


def _distinct(e: LoweredEinsum, loops: tuple[Loop, ...], counted: tuple[bool, ...]) -> int:
    if e.window is not None:
        return windowed_distinct(loops, counted, e.extents, e.window, one)
    return count_distinct(loops, counted, e.extents)


def touched(lowered: Lowered, e: LoweredEinsum, footing: Footing, level: int) -> int:
    """Distinct elements of a tensor in the tiles that ever come to ``level``."""
    if e.window is None:
        return footing.size(e.extents)
    loops = e.outer(level)
    moved = _relevant(loops, lowered, footing)
    tiles = windowed_distinct(loops, moved, e.extents, e.window, footing.size)
    return min(tiles, footing.size(e.extents))


def register_changes(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> int:
    """How often a tensor's value changes in the registers of one array element."""
    return _changes(lowered, e, footing, one)


def in_own_registers(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> bool:
    """Whether an operand waits where an Einsum runs, so that nothing brings it there."""
    return _left_in_registers(lowered, e, footing)


def _register_fills(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> int:
    """Register writes as a tensor's value changes, in all elements together."""
    return _changes(lowered, e, footing, lambda extents: count_points(e.spatial, extents))


def _changes(
    lowered: Lowered, e: LoweredEinsum, footing: Footing, size: Callable[[Extents], int]
) -> int:
    return _delivered(e, e.temporal, _relevant(e.temporal, lowered, footing), size)


def _memories(lowered: Lowered, e: LoweredEinsum, tensor: str) -> list[tuple[str, int]]:
    """Memories that hold a tensor for an Einsum, with their level, outermost first."""
    memories = lowered.architecture.memories
    return [(memories[i].name, i) for i in lowered.memories(e, tensor)]


def _other_registers(lowered: Lowered, e: LoweredEinsum, tensor: str) -> list[str]:
    """Arrays but the Einsum's own whose registers keep a tensor."""
    return [a for a in lowered.registers(e, tensor) if a != e.array.name]


def _in_registers(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> bool:
    """Whether registers, somewhere, still hold an intermediate when an Einsum reads it."""
    tensor = footing.access.tensor
    if tensor not in lowered.program.einsum_of:
        return False
    return not lowered.memories(e, tensor) or found_at(lowered, e, footing, lowered.register_level)


def _left_in_registers(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> bool:
    """Whether an operand waits in the Einsum's own registers; nothing is fetched then."""
    own = e.array.name in lowered.registers(e, footing.access.tensor)
    return own and _in_registers(lowered, e, footing)


def _input(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> list[AccessCount]:
    """Reads of an operand: from where it is still found, level by level inwards."""
    if _left_in_registers(lowered, e, footing):
        return []
    tensor = footing.access.tensor
    chain = _memories(lowered, e, tensor)
    others = _other_registers(lowered, e, tensor)
    if others and _in_registers(lowered, e, footing):
        chain = [(others[0], lowered.register_level)]
    found_in = [i for i, (_, level) in enumerate(chain) if found_at(lowered, e, footing, level)]
    chain = chain[max(found_in, default=0) :]
    below = [*(level for _, level in chain[1:]), lowered.register_level]
    arriving = [0, *(deliveries(lowered, e, footing, level) for level in below)]
    return [
        AccessCount(
            einsum=e.name,
            tensor=tensor,
            place=place,
            reads=_read(lowered, e, footing, level, inside),
            writes=writes,
        )
        for (place, level), inside, writes in zip(chain, below, arriving, strict=False)
    ]


def _read(lowered: Lowered, e: LoweredEinsum, footing: Footing, level: int, inside: int) -> int:
    """Elements that one level reads for the tiles of another inside it."""
    machine = lowered.architecture
    if level == lowered.register_level:
        return deliveries(lowered, e, footing, inside)
    size = words_in_lines(e, footing, machine.memories[level], machine.word_bits)
    loops = e.outer(inside)
    return _delivered(e, loops, _relevant(loops, lowered, footing), size)


def accesses_of(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> list[AccessCount]:
    """What one operand, or the result, of an Einsum reads and writes where."""
    return _output(lowered, e) if footing is e.write else _input(lowered, e, footing)


def _output(lowered: Lowered, e: LoweredEinsum) -> list[AccessCount]:
    """Writes of a result on its way out, and partial results on their way back."""
    memories = _memories(lowered, e, e.name)
    others = _other_registers(lowered, e, e.name)
    level = lowered.register_level
    below = [*(level for _, level in memories[1:]), level]
    updates = [deliveries(lowered, e, e.write, i) for i in below]
    again = [u - touched(lowered, e, e.write, i) for u, i in zip(updates, below, strict=True)]
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


def largest_tile(e: LoweredEinsum, footing: Footing, level: int, *, one_copy: bool = True) -> int:
    """Elements of a tensor live at ``level`` while one Einsum runs.

    With ``one_copy``, only one of them along a rank the tensor is iterative in.
    """
    extents = first_tile(e.extents, e.outer(level))
    return footing.live(extents) if one_copy else footing.size(extents)
