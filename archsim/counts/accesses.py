"""Exact counts of reads and writes at each memory level, by Einsum and tensor.

The rules are Timeloop's. Inputs: a level receives a tile whenever a relevant loop outside the level
advances. The parent level is read once for all processing elements that share a value. Outputs:
each arrival from an inner level updates the level. A later arrival of the same tensor element reads
the partial result back (``reads = updates - distinct elements``) and hands the result down again. A
first arrival only writes. Handing a finished tile outwards reads nothing further inside. Every
operand passes through the registers of the array that uses the operand; registers count as one more
level.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Generic, NamedTuple

from typing_extensions import TypeVar

from einsum_cascade.counting.point_counts import count_points
from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Name, walk

from ..iteration.access_map import AccessMap
from ..iteration.bands import Window
from ..iteration.loop_nest import LoopNest
from ..iteration.windowed import one
from ..legality.reuse import finds_tile_at
from ..nest.record import Bound, BoundEinsum
from .meter import EXACT, Elements, Lanes, Meter, Size, T, words_in_lines

Amount = int | Fraction
"""Number of tensor elements; a fraction only where a share of a level spills."""

A_co = TypeVar("A_co", covariant=True, default=Amount)
"""Type of a count: a number, or a symbolic expression of a meter."""


@dataclass(frozen=True, slots=True)
class AccessCount(Generic[A_co]):
    """Tensor elements of one tensor that one Einsum reads and writes at one memory or register
    file."""

    einsum: str
    tensor: str
    place: str
    reads: A_co
    writes: A_co


class Uses(NamedTuple, Generic[A_co]):
    """Number of reads and writes of registers."""

    reads: A_co
    writes: A_co


class RegisterUses(NamedTuple, Generic[A_co]):
    """Register accesses of one operand or result: of all processing elements, and of the first
    one."""

    of_all: Uses[A_co]
    of_one: Uses[A_co]


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumCount(Generic[A_co]):
    """All counts of one Einsum: iterations, operations and accesses.

    ``iterations`` are temporal: the points that one processing element runs through.
    """

    einsum: str
    array: str
    points: int
    allowed: int
    """Points that the Einsum's mask lets through; exactly these are computed and cost energy."""
    iterations: A_co
    operations: tuple[tuple[str, int], ...]
    accesses: tuple[AccessCount[A_co], ...]
    registers_by_tensor: tuple[tuple[str, RegisterUses[A_co]], ...]
    """Register accesses of each operand and of the result, kept apart because widths may differ."""

    @property
    def registers(self) -> AccessCount[A_co]:
        """Register accesses of all processing elements."""
        return self._in_registers([uses.of_all for _, uses in self.registers_by_tensor])

    @property
    def registers_of_one(self) -> AccessCount[A_co]:
        """Register accesses of the first processing element."""
        return self._in_registers([uses.of_one for _, uses in self.registers_by_tensor])

    def _in_registers(self, used: list[Uses[Any]]) -> AccessCount[Any]:
        reads, writes = (sum(amounts[1:], amounts[0]) for amounts in zip(*used, strict=True))
        return AccessCount(self.einsum, "", self.array, reads, writes)


def count_einsum(bound: Bound, e: BoundEinsum, meter: Meter[Any] = EXACT) -> EinsumCount[Any]:
    """Count the operations and accesses of one Einsum.

    If the Einsum's result starts from initial values in a memory, moving these values counts as
    accesses too.

    Raises
    ------
    MappingError
        The Einsum's mask needs a parameter that has no value.
    """
    allowed = allowed_points(bound, e, meter)
    access_maps = [(part, n) for part in (e, *e.initial) for n in range(len(part.access_maps))]
    return EinsumCount(
        einsum=e.name,
        array=e.array.name,
        points=meter.points(e),
        allowed=allowed,
        iterations=meter.iterations(e),
        operations=tuple((kind, n * allowed) for kind, n in e.operations),
        accesses=tuple(a for part, n in access_maps for a in accesses_of(bound, part, n, meter)),
        registers_by_tensor=tuple(
            (
                part.access_maps[n].access.tensor,
                register_uses(
                    part, n, meter, waits=n < len(part.reads) and in_own_registers(bound, part, n)
                ),
            )
            for part, n in access_maps
        ),
    )


def allowed_points(bound: Bound, e: BoundEinsum, meter: Meter[Any]) -> int:
    """Return the number of points of the iteration space that the mask lets through.

    A mask that depends on data is ignored, because its points cannot be counted beforehand.

    Parameters
    ----------
    bound : Bound
        The mapping, for shapes and parameters.
    e : BoundEinsum
    meter : Meter
        Meter that counts points without a mask.

    Returns
    -------
    int
        Number of points over all parallel ranks.

    Raises
    ------
    MappingError
        The mask needs a parameter that has no value.
    """
    if e.einsum.where is None:
        return meter.points(e)
    if e.window is not None and not e.partially_masked:
        return _inside(e, e.window)
    shapes = dict(bound.shapes)
    given = {p.name: p.default for p in bound.program.parameters if p.default is not None}
    used = {n.name for n in walk(e.einsum.where) if isinstance(n, Name) and n.kind == "parameter"}
    if absent := sorted(used - given.keys()):
        text = f"{e.name}: its mask needs a number for {', '.join(absent)}"
        raise MappingError(text, e.einsum.where.span, f"--set {absent[0]}=...")
    points = count_points(bound.program, e.einsum, given | shapes)
    return points * prod(shapes[r] for r in bound.program.parallel)


def _inside(e: BoundEinsum, window: Window) -> int:
    """Return the number of points inside the band of an Einsum's mask.

    This is the number of allowed points of the mask's two ranks, times the sizes of all other
    ranks.
    """
    across = prod(n for axis, n in enumerate(e.extents) if window.side(axis) is None)
    return across * window.band.points


def register_uses(e: BoundEinsum, number: int, meter: Meter[T], *, waits: bool) -> RegisterUses[T]:
    """Return the accesses of an Einsum to its own array's registers for one operand or result.

    An operand is read at every use and written when its value changes. A result is written at every
    update. It is read back at every update except the first update of a tensor element. A partial
    result that comes back from outside is written once more.

    Parameters
    ----------
    e : BoundEinsum
    number : int
        Index into the Einsum's ``access_maps``: its reads in order, then its write.
    meter : Meter
        Meter that counts, in numbers or symbols.
    waits : bool
        True if ``in_own_registers`` holds for the operand; False for a result.
    """
    access_map = e.access_maps[number]
    moved = _relevant(e.whole, access_map.moving)
    points, iterations = meter.run(e), meter.iterations(e)
    if waits:
        none = meter.whole(0)
        return RegisterUses(Uses(points, none), Uses(iterations, none))
    # Values taken by every element of the array that has a point, and by the first one alone.
    fills, changes = (meter.delivered(e, e.whole, moved, x) for x in (Lanes(e.spatial), one))
    if access_map is e.write:
        lanes = (True,) * len(e.spatial)
        everywhere = meter.distinct(e, e.full_nest, (*moved, *lanes))
        in_one = meter.distinct(e, e.whole, moved)
        return RegisterUses(
            _updated(points, fills, everywhere), _updated(iterations, changes, in_one)
        )
    return RegisterUses(Uses(points, fills), Uses(iterations, changes))


def _updated(updates: T, arrivals: T, elements: T) -> Uses[T]:
    """Return the reads and writes of a result in registers.

    Every update writes. Every update except the first of a tensor element reads the partial result.
    A tensor element that arrives again brings its partial result from outside, which is written
    too. For example, 64 updates of 4 elements that arrive 3 times each take 60 reads and 64 + 12 -
    4 = 72 writes.
    """
    return Uses(updates - elements, updates + arrivals - elements)


def _relevant(nest: LoopNest, moving: frozenset[str]) -> tuple[bool, ...]:
    return tuple([loop.variable in moving for loop in nest.loops])


def deliveries(
    e: BoundEinsum, access_map: AccessMap, level: int, meter: Meter[T], size: Size | None = None
) -> T:
    """Return how many tensor elements arrive at ``level`` under the loops outside it.

    At the register level, the tile is the union over all processing elements, so that a shared
    value counts once.

    Parameters
    ----------
    e : BoundEinsum
    access_map : AccessMap
        One of its ``access_maps``.
    level : int
        Index of a memory, or the register level.
    meter : Meter
        Meter that counts, in numbers or symbols.
    size : callable, optional
        Size of a tile; by default its number of elements.
    """
    nest, size = e.nest(level), size or Elements(access_map)
    return meter.delivered(e, nest, _relevant(nest, e.moved_by(access_map, level)), size)


def accessed(e: BoundEinsum, access_map: AccessMap, level: int, meter: Meter[T]) -> T:
    """Return the number of distinct tensor elements in all tiles that arrive at ``level``.

    Parameters
    ----------
    e : BoundEinsum
        The Einsum that brings them.
    access_map : AccessMap
        One of its ``access_maps``.
    level : int
        Index of a memory from the outermost, or the register level.
    meter : Meter
        Meter that counts, in numbers or symbols.
    """
    nest = e.nest(level)
    return meter.accessed(e, nest, _relevant(nest, e.moved_by(access_map, level)), access_map)


def _in_registers(bound: Bound, e: BoundEinsum, number: int) -> bool:
    """Return whether an intermediate is still in some array's registers when an Einsum reads it."""
    operand = e.operands[number]
    if operand.producer is None:
        return False
    # An intermediate that no memory keeps comes from registers.
    kept = bound.memories(e, operand.producer)
    return not kept or finds_tile_at(bound, e, number, bound.register_level)


def in_own_registers(bound: Bound, e: BoundEinsum, number: int) -> bool:
    """Return whether an operand is already in the registers of the Einsum's own array.

    Such an operand needs no transfer.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
    number : int
        Index of the operand among the Einsum's reads.
    """
    return bound.pattern_memo(_in_own_registers, e, number)


def _in_own_registers(bound: Bound, e: BoundEinsum, number: int) -> bool:
    own = e.array.name in bound.registers(e, e.operands[number].access.tensor)
    return own and _in_registers(bound, e, number)


@dataclass(frozen=True, slots=True)
class PathStop:
    """One stop of a tensor on its path: a memory, given by its level, or the registers of another
    array."""

    place: str
    level: int


def path_of(bound: Bound, e: BoundEinsum, number: int) -> tuple[PathStop, ...]:
    """Return the memories and registers that an operand or result of an Einsum passes, outermost
    first.

    An operand starts at the innermost level that already holds its tile. The path is empty if the
    operand is already in the Einsum's own registers. A result goes to all levels that keep it.

    Parameters
    ----------
    number : int
        Index into the Einsum's ``access_maps``.
    """
    return bound.pattern_memo(_path_of, e, number)


def _path_of(bound: Bound, e: BoundEinsum, number: int) -> tuple[PathStop, ...]:
    tensor = e.access_maps[number].access.tensor
    memories = bound.architecture.memories
    kept = [PathStop(memories[level].name, level) for level in bound.memories(e, tensor)]
    arrays = [a for a in bound.registers(e, tensor) if a != e.array.name]
    others = [PathStop(a, bound.register_level) for a in arrays]
    if number == len(e.reads):
        return (*kept, *others)
    if in_own_registers(bound, e, number):
        return ()
    if others and _in_registers(bound, e, number):
        kept = others[:1]
    found = [n for n, stop in enumerate(kept) if finds_tile_at(bound, e, number, stop.level)]
    return tuple(kept[max(found, default=0) :])


def accesses_of(
    bound: Bound,
    e: BoundEinsum,
    number: int,
    meter: Meter[T],
    path: tuple[PathStop, ...] | None = None,
) -> list[AccessCount[T]]:
    """Return the reads and writes of one operand, or of the result, at each memory or register
    file.

    Parameters
    ----------
    bound : Bound
        The mapping.
    e : BoundEinsum
        One of its Einsums, or a statement of ``init``.
    number : int
        Index into the Einsum's ``access_maps``: its reads in order, then its write.
    meter : Meter
        Meter that counts, in numbers or symbols.
    path : tuple of PathStop, optional
        Path on which the mapping would keep the tensor; by default that of ``path_of``.

    Returns
    -------
    list of AccessCount
        Tensor elements read and written at each stop, from the outermost; empty for an operand that
        is already in the Einsum's own registers.
    """
    if path is None:
        path = path_of(bound, e, number)
    if number == len(e.reads):
        return _output(bound, e, path, meter)
    return _input(bound, e, e.reads[number], path, meter)


def _input(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, path: tuple[PathStop, ...], meter: Meter[T]
) -> list[AccessCount[T]]:
    """Return the accesses of an operand, from the memory that holds it to the array."""
    if not path:
        return []
    below = [*(stop.level for stop in path[1:]), bound.register_level]
    arriving = [meter.whole(0), *(deliveries(e, access_map, level, meter) for level in below[:-1])]
    found: list[AccessCount[T]] = []
    for stop, inside, writes in zip(path, below, arriving, strict=True):
        reads = _read(bound, e, access_map, stop.level, inside, meter)
        found.append(AccessCount(e.name, access_map.access.tensor, stop.place, reads, writes))
    return found


def _read(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, inside: int, meter: Meter[T]
) -> T:
    """Return the number of tensor elements that one level reads to fill tiles of an inner level."""
    machine = bound.architecture
    if level == bound.register_level:
        return deliveries(e, access_map, inside, meter)
    bits = machine.word_bits * bound.words.of(access_map.access.tensor)
    size = words_in_lines(e, access_map, machine.memories[level], bits)
    return deliveries(e, access_map, inside, meter, size)


def _output(
    bound: Bound, e: BoundEinsum, path: tuple[PathStop, ...], meter: Meter[T]
) -> list[AccessCount[T]]:
    """Return the accesses of a result: writes on its way out, and partial results read back."""
    memories = [stop for stop in path if stop.level < bound.register_level]
    below = [*(stop.level for stop in memories[1:]), bound.register_level]
    # Arrivals at each memory from the next one inside. 8 results that are summed over 4 tiles of k,
    updates = [deliveries(e, e.write, level, meter) for level in below]
    # Timeloop's rule: the first arrival of an element only writes; any other reads the element
    # back.
    again = [
        arriving - accessed(e, e.write, level, meter)
        for arriving, level in zip(updates, below, strict=True)
    ]
    # A partial result that is read back is handed down again, from each memory to the next inside.
    handed_down = [meter.whole(0), *again]
    moved = [*zip(updates, again, handed_down, strict=False)][: len(memories)]
    refill = again[-1] if memories else meter.whole(0)
    moved += [(updates[-1], again[-1], refill)] * (len(path) - len(memories))
    return [
        AccessCount(e.name, e.name, stop.place, reads=back, writes=arriving + refilled)
        for stop, (arriving, back, refilled) in zip(path, moved, strict=True)
    ]
