"""How often each level is read and written: exact counts per Einsum and tensor.

The rules are Timeloop's. Inputs: a level receives a tile whenever a relevant loop outside
it moves; its parent is read once for all array elements that share a value. Outputs: a
level is updated by whatever arrives from below; an arrival that is not the first for its
element reads the partial result back (``reads = updates - distinct elements``) and hands
it down again. The first touch only writes, and handing a finished tile outwards reads
nothing below. Every operand passes through the registers of the array that uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from einsum_cascade.errors import MappingError, Problem

from .footing import Footing
from .lattice import Extents, Loop, count_deliveries, count_points, first_tile
from .lower import Lowered, LoweredEinsum


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCount:
    """Elements of one tensor that one Einsum reads and writes at one place."""

    einsum: str
    tensor: str
    place: str
    reads: int
    writes: int


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
    """Count one Einsum's operations and accesses."""
    points = e.points
    allowed = allowed_points(lowered, e)
    accesses: list[AccessCount] = []
    totals = _Registers()
    single = _Registers()
    for footing in e.reads:
        accesses.extend(_input(lowered, e, footing))
        own = e.array.name in lowered.residency.registers(footing.access.tensor)
        totals.operand(points, 0 if own else _register_fills(lowered, e, footing))
        single.operand(e.iterations, 0 if own else register_changes(lowered, e, footing))
    moved = _output(lowered, e)
    accesses.extend(moved)
    totals.result(points, _register_fills(lowered, e, e.write))
    single.result(e.iterations, register_changes(lowered, e, e.write))
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

    Raises
    ------
    MappingError
        The mask depends on data, so that nobody can count it beforehand.
    """
    if e.einsum.where is None:
        return e.points
    from einsum_cascade.counting import depends_on_data, points_of

    if depends_on_data(e.einsum.where):
        text = f"{e.name}: its mask depends on data, so its points cannot be counted"
        raise MappingError(Problem(text, e.einsum.where.span))
    shapes = dict(lowered.shapes)
    symbols = points_of(lowered.program, e.einsum)
    value = symbols.subs({s: shapes[s.name] for s in symbols.free_symbols}).doit()
    return int(value) * prod(shapes[r] for r in lowered.program.parallel)


class _Registers:
    """Adds up register accesses of one Einsum."""

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0

    def operand(self, uses: int, fills: int) -> None:
        """An operand is read at every use and written when it changes."""
        self.reads += uses
        self.writes += fills

    def result(self, updates: int, starts: int) -> None:
        """A result is written at every update and read back at all but the first."""
        self.reads += updates - starts
        self.writes += updates

    def count(self, e: LoweredEinsum) -> AccessCount:
        return AccessCount(
            einsum=e.name,
            tensor="",
            place=e.array.name,
            reads=self.reads,
            writes=self.writes,
        )


def _relevant(
    loops: tuple[Loop, ...], footing: Footing, carried: tuple[str, ...]
) -> tuple[bool, ...]:
    moving = {*footing.access.variables, *carried}
    return tuple(loop.variable in moving for loop in loops)


def deliveries(lowered: Lowered, e: LoweredEinsum, footing: Footing, level: int) -> int:
    """Elements of a tensor that arrive at ``level`` under the loops outside it.

    For the register level the tile is what all array elements take together, shared
    values once.
    """
    loops = e.outer(level)
    carried = tuple(r.lower() for r in lowered.program.parallel)
    return count_deliveries(loops, _relevant(loops, footing, carried), e.extents, footing.size)


def register_changes(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> int:
    """How often a tensor's value changes in the registers of one array element."""
    return _changes(lowered, e, footing, lambda _: 1)


def _register_fills(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> int:
    """Register writes as a tensor's value changes, in all elements together."""
    return _changes(lowered, e, footing, lambda extents: count_points(e.spatial, extents))


def _changes(
    lowered: Lowered, e: LoweredEinsum, footing: Footing, size: Callable[[Extents], int]
) -> int:
    carried = tuple(r.lower() for r in lowered.program.parallel)
    loops = e.temporal
    return count_deliveries(loops, _relevant(loops, footing, carried), e.extents, size)


def _chain(lowered: Lowered, e: LoweredEinsum, tensor: str) -> list[tuple[str, int]]:
    """Places that hold a tensor for an Einsum, outermost first, its own registers last.

    Registers of another array stand where the innermost memory would: they feed, or
    collect from, the Einsum's own registers.
    """
    level = lowered.register_level
    own = e.array.name
    places = lowered.residency.of(tensor)
    memories = [(p.name, p.memory) for p in places if p.memory is not None]
    others = [(p.name, level) for p in places if p.memory is None and p.name != own]
    return [*((n, m) for n, m in memories if m is not None), *others[:1]]


def _input(lowered: Lowered, e: LoweredEinsum, footing: Footing) -> list[AccessCount]:
    tensor = footing.access.tensor
    if e.array.name in lowered.residency.registers(tensor):
        return []
    chain = _chain(lowered, e, tensor)
    found: list[AccessCount] = []
    arriving = 0
    for position, (place, _) in enumerate(chain):
        below = chain[position + 1][1] if position + 1 < len(chain) else lowered.register_level
        taken = deliveries(lowered, e, footing, below)
        writes = arriving if position else 0
        found.append(
            AccessCount(einsum=e.name, tensor=tensor, place=place, reads=taken, writes=writes)
        )
        arriving = taken
    return _without_handover(lowered, e, tensor, found)


def _without_handover(
    lowered: Lowered, e: LoweredEinsum, tensor: str, counts: list[AccessCount]
) -> list[AccessCount]:
    """An intermediate whose tile is still at its inner place is not fetched again."""
    producer = next((p for p in lowered.einsums if p.name == tensor), None)
    chain = _chain(lowered, e, tensor)
    if producer is None or len(chain) < 2:
        return counts
    level = chain[-1][1]
    if not (_fused(e, level) and _fused(producer, level)):
        return counts
    inner = counts[-1]
    return [
        AccessCount(einsum=e.name, tensor=tensor, place=inner.place, reads=inner.reads, writes=0)
    ]


def _fused(e: LoweredEinsum, level: int) -> bool:
    """Whether only shared loops move the tiles that ``level`` holds for an Einsum."""
    return all(loop in e.shared for loop in e.outer(level))


def _output(lowered: Lowered, e: LoweredEinsum) -> list[AccessCount]:
    chain = _chain(lowered, e, e.name)
    distinct = e.write.size(e.extents)
    below = [level for _, level in chain[1:]] + [lowered.register_level]
    updates = [deliveries(lowered, e, e.write, level) for level in below]
    again = [u - distinct for u in updates]
    handed_down = [0, *again]
    return [
        AccessCount(einsum=e.name, tensor=e.name, place=place, reads=back, writes=arriving + refill)
        for (place, _), arriving, back, refill in zip(
            chain, updates, again, handed_down, strict=False
        )
    ]


def largest_tile(e: LoweredEinsum, footing: Footing, level: int) -> int:
    """Elements of a tensor live at ``level`` while one Einsum runs."""
    return footing.live(first_tile(e.extents, e.outer(level)))
