"""Floor: lower bounds of latency and energy over all mappings of a cascade on a machine.

Every Einsum runs on the array that suits all Einsums together best, with all elements and all
arrays at work; its energy is the least over the arrays. Every touched input and every output
crosses the outermost memory once. Each operand is read from registers at each point, and a result
is written to them.

Inputs of a systolic array enter over one of its edges, an element at a time. Operands that arrive
at elements are read once for those elements that can share them (``operand_delivery``). Masked
points are not computed, whatever the tiles are, and neither are steps that are certainly no-ops.
Where a cascade partitions a rank itself and a mapping chooses the size (``M: [M1, M0]``), an Einsum
counts at the size with the fewest points. The bounds of a result (``Bounds``) hold for its mapping;
the floor holds for its work.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import prod
from typing import NamedTuple

from einsum_cascade.counting.traffic import guaranteed_access, guaranteed_elements
from einsum_cascade.ir import Gather, Program
from einsum_cascade.memo import Cache, lazy_field

from ..counts.accesses import EinsumCount, RegisterUses, Uses
from ..counts.meter import EXACT
from ..energy import PriceList, leakage_charges, memory_access, operations_pj, prices_of
from ..iteration.access_map import AccessMap
from ..iteration.loop_nest import LoopNest
from ..nest.binder import with_initial
from ..nest.record import Bound, BoundEinsum
from ..nest.tiling import Addressing
from ..result.record import Floor
from ..spec.arch import Architecture, ProcessingArray
from ..spec.tensor_words import TensorWords
from .makespan import makespan_bound
from .minimal_domain import (
    ALL,
    FreeTileSize,
    TileSizes,
    best_ranges,
    cut_ranks,
    declared_partition_of,
    free_partitions,
    least_shares,
    minimal_domains,
    partially_covered,
    partition_member_of,
)
from .operand_delivery import EinsumAccesses, OperandDelivery, operand_delivery_of
from .policy import MAX_CACHED_SIZES


@dataclass(frozen=True, slots=True)
class ArrayInflow:
    """Inflow of one Einsum into a systolic array, for the input whose values are reused least."""

    points: int
    """Least number of points."""
    uses: int
    """Largest number of points that use one value; all points for an Einsum without inputs."""


@dataclass(frozen=True, kw_only=True)
class LeastWork:
    """Least work of any mapping of a cascade on the arrays of a machine."""

    words: Fraction
    """Words of inputs and outputs, each of which crosses the outermost memory once."""
    shares: tuple[tuple[str, Fraction], ...]
    """Share of each Einsum that remains at the best sizes of the cascade's tiles
    (``least_shares``)."""
    sized: tuple[tuple[tuple[EinsumCount, ...], ...], ...]
    """Counts at sizes of the cascade's own tiles: by partitioned rank, one range after the
    other."""
    cycles: Fraction
    """Cycles of the busiest array, with each Einsum on one array and all elements at work."""
    counts: lazy_field[tuple[EinsumCount, ...]] = lazy_field(())
    """Counts with the fewest operations of any mapping; like the next field, for the energy
    alone."""
    deliveries: lazy_field[tuple[tuple[str, OperandDelivery], ...]] = lazy_field(())
    """Operand deliveries by Einsum: arrivals at the elements, and partial results that leave."""


def least_work(bound: Bound, counts: tuple[EinsumCount, ...]) -> LeastWork:
    """Return the least work of any mapping, which does not depend on the speed of memories.

    Parameters
    ----------
    bound : Bound
        Mapping of the cascade; any one serves.
    counts : tuple of EinsumCount
        Operations of the mapping.
    """
    nests = minimal_domains(bound, bound.pattern_memo(cut_ranks))
    shares = least_shares(bound)
    whole = {name for name, loops in nests.items() if len(loops) == 1}
    masked = {e.name for e in bound.einsums if e.einsum.where is not None}
    # An Einsum that has nothing to run at some tile size touches nothing there either.
    none = {name for name, share in shares.items() if not share}
    touched = _touched(bound, nests, none - (whole - masked))
    # Einsums of one core may have another order than those of the whole.
    program, bound_as = bound.program, bound.by_name
    points = {c.einsum: _least_points(bound_as[c.einsum], c, nests[c.einsum]) for c in counts}
    free, inflow = bound.pattern_memo(free_partitions), _inflow_of(bound, points)
    # Tiles of the cascade's own may exceed a tensor; at other sizes they exceed it less.
    words = {
        name: min(size, _elements(bound, name)) * Fraction(bound.words.of(name))
        for name, size in touched.items()
    }
    cycles = makespan_bound(_by_array(bound, shares, inflow), len(bound.architecture.arrays))

    # Many results are kept without a request for their energy: the closures hold no bound mapping.
    of = {
        e.name: EinsumAccesses(e.name, e.axes, e.operations, e.reads, e.write, bool(e.initial))
        for e in bound.einsums
    }

    def least() -> tuple[EinsumCount, ...]:
        return tuple(_with_points(of[c.einsum], c, points[c.einsum]) for c in counts)

    def deliveries() -> tuple[tuple[str, OperandDelivery], ...]:
        return tuple(_operand_deliveries(program, of.values(), free, points, shares, words))

    sized: tuple[_Ranges, ...] = ()
    if bound.pattern_memo(_growing):
        fewest = least()
        sized = program.memo(_size_cache).get(
            _size_key(bound, fewest), lambda: (*_sized(bound, fewest, inflow, whole),)
        )
    return LeastWork(
        words=sum(words.values(), Fraction(0)),
        counts=least,
        shares=tuple(shares.items()),
        deliveries=deliveries,
        sized=tuple(tuple(counts for _, counts in found) for found in sized),
        cycles=max([cycles, *(min(n for n, _ in found) for found in sized)]),
    )


def floor_of(bound: Bound, counts: tuple[EinsumCount, ...], work: LeastWork | None = None) -> Floor:
    """Return the floor of a mapping's work, equal for every mapping of the cascade.

    Parameters
    ----------
    bound : Bound
        Mapping of the cascade; only its cascade, shapes and machine matter.
    counts : tuple of EinsumCount
        Operations of the mapping; mappings differ only in sizes of the cascade's own tiles and in
        skipped steps.
    work : LeastWork, optional
        Least work of the same cascade on a machine with the same arrays, if known.

    Returns
    -------
    Floor
        Latencies in seconds and energy in pJ.
    """
    machine = bound.architecture
    work = work or least_work(bound, counts)
    compulsory = work.words * machine.word_bytes
    bandwidth = machine.home.bandwidth_bytes_per_s
    if bandwidth is not None:
        bandwidth *= machine.copies(machine.home.name)  # each chip of a ring has its own
    compute = float(work.cycles / machine.clock_hz)
    transfer = float(compulsory / bandwidth) if bandwidth is not None else 0.0
    latency = max(compute, transfer)
    return Floor(
        latency_s=latency,
        compute_s=compute,
        bandwidth_s=transfer,
        energy_pj=partial(_energy, machine, bound.words, work, latency),
    )


def _with_points(e: BoundEinsum | EinsumAccesses, count: EinsumCount, points: int) -> EinsumCount:
    """Return the count of an Einsum with the operations of a given number of points."""
    read, written = Uses(points, 0), Uses(0, points)
    used = [*((m, read) for m in e.reads), (e.write, written)]
    return replace(
        count,
        allowed=points,
        accesses=(),
        operations=tuple((kind, n * points) for kind, n in e.operations),
        registers_by_tensor=tuple((m.access.tensor, RegisterUses(uses, uses)) for m, uses in used),
    )


def _least_points(e: BoundEinsum, count: EinsumCount, nests: tuple[LoopNest, ...]) -> int:
    """Return the points of an Einsum in the mapping with the fewest."""
    if e.einsum.where is not None:
        return count.allowed  # the mask's points do not depend on the tiles
    if len(nests) == 1 and not nests[0].loops and nests[0].window is None:
        return prod(nests[0].extents)
    return min(nest.delivered((True,) * len(nest.loops), prod) for nest in nests)


_Ranges = list[tuple[Fraction, tuple[EinsumCount, ...]]]


def _size_cache(_: Program) -> Cache[tuple[_Ranges, ...]]:
    """Return the ranges of a program's own tiles: a search asks for the same with each mapping."""
    return Cache(MAX_CACHED_SIZES)


def _size_key(bound: Bound, least: tuple[EinsumCount, ...]) -> Hashable:
    """Return the key of ``_sized``: all its inputs beside the program."""
    machine = bound.architecture
    copies = tuple(machine.copies(array.name) for array in machine.arrays)
    free = tuple(bound.pattern_memo(free_partitions).items())
    return (bound.shapes, free, machine.arrays, copies, tuple(c.einsum for c in least))


def _sized(
    bound: Bound,
    least: tuple[EinsumCount, ...],
    inflow: Mapping[str, ArrayInflow],
    whole: Collection[str],
) -> Iterator[_Ranges]:
    """Yield the bounds at sizes of a cascade's own tiles, by rank that the cascade cuts in two.

    Each bound covers a range of sizes: the least cycles of the busiest array, and counts of Einsums
    with at least as many operations as any mapping.
    """
    arrays, free = len(bound.architecture.arrays), bound.pattern_memo(free_partitions)
    of = {e.name: e for e in bound.einsums}
    some = bound.pattern_memo(_some)
    none = dict.fromkeys(some, ALL)
    for tiles in bound.pattern_memo(_growing):
        family = tiles.rank
        incomplete = [n for n, cuts in some.items() if family in cuts and n in whole]
        sizes = tiles.ranges(bound, incomplete, free.keys() - {family})
        if sizes is None:
            continue

        def counts_at(at: TileSizes) -> tuple[EinsumCount, ...]:
            points = dict(at.points)
            return tuple(
                _with_points(of[c.einsum], c, points.get(c.einsum, 0)) if some[c.einsum] else c
                for c in least
            )

        def cycles_at(counts: tuple[EinsumCount, ...]) -> Fraction:
            came = {c.einsum: replace(inflow[c.einsum], points=c.allowed) for c in counts}
            return makespan_bound(_by_array(bound, none, came), arrays)

        found = best_ranges(sizes, dict(bound.shapes)[family], lambda at: cycles_at(counts_at(at)))
        yield [(cycles_at(counts), counts) for counts in map(counts_at, found)]


def _growing(bound: Bound) -> tuple[FreeTileSize, ...]:
    """Return the ranks cut in two for which larger tiles give some Einsum more points.

    A rank cut in three has two sizes, and is left out.
    """
    cuts = (FreeTileSize(rank, *m) for rank, m in free_partitions(bound).items() if len(m) == 2)
    return tuple(c for c in cuts if any(c.grows(bound.program, e) for e in bound.einsums))


def _some(bound: Bound) -> dict[str, set[str]]:
    """Return for each Einsum the ranks of which it runs over some members alone."""
    free = free_partitions(bound)
    return {e.name: partially_covered(bound, e, free) for e in bound.einsums}


def _inflow_of(bound: Bound, points: Mapping[str, int]) -> dict[str, ArrayInflow]:
    """Return for each Einsum the inflow into an array, wherever its points are placed."""
    reused, sizes = bound.pattern_memo(_reused), dict(bound.shapes)
    return {
        name: ArrayInflow(n, max(min([prod([sizes[r] for r in x]) for x in reused[name]]), 1))
        for name, n in points.items()
    }


def _reused(bound: Bound) -> dict[str, list[tuple[str, ...]]]:
    """Return for each Einsum and input the ranks along which a value is reused.

    A value has coordinates of its own along all ranks that move an input, as in ``folds_of``. It is
    used at each coordinate of the other ranks. Where a mapping sizes a cut of the cascade, these
    coordinates count as the whole rank, at any size.
    """
    program, free = bound.program, bound.pattern_memo(free_partitions)

    def counted(variable: str) -> str:
        rank = program.rank_of_variable.get(variable, variable.upper())
        family, _ = declared_partition_of(program, rank)
        return family if family in free else rank

    found: dict[str, list[tuple[str, ...]]] = {}
    for e in bound.einsums:
        # An array's own results may wait where they are used. Points of this mapping are no
        # measure: other sizes of tiles may have more.
        came = (m.moving for m in e.reads if m.access.tensor not in program.einsum_of)
        shared = [e.variables, *(e.variables - moving for moving in came)]
        found[e.name] = [tuple(counted(v) for v in variables) for variables in shared]
    return found


def _operand_deliveries(
    program: Program,
    einsums: Iterable[EinsumAccesses],
    free: Collection[str],
    points: Mapping[str, int],
    shares: Mapping[str, Fraction],
    words: Mapping[str, Fraction],
) -> Iterator[tuple[str, OperandDelivery]]:
    """Yield the operand deliveries of each Einsum, given its points in any mapping and the words
    that cross."""
    crossing = {name: n for name, n in words.items() if name not in program.einsum_of}
    for e in einsums:
        chosen = {v for v in e.variables if partition_member_of(program, v)[0] in free}
        settled = not (e.begins or e.name in program.iterative)
        # Stationary operands under a mask are not bounded, and neither are inputs of an Einsum for
        # which some sizes of the cascade's tiles leave next to nothing.
        if shares[e.name] == 1 and all(x.where is None for x in program.einsums):
            yield e.name, operand_delivery_of(e, points[e.name], crossing, chosen, settled)
        else:
            yield e.name, OperandDelivery(points=0)


def compulsory_words(bound: Bound) -> int | Fraction:
    """Return the words of all inputs and outputs that a mapping's tiles touch, each moved at
    least once.

    Tiles that a mask leaves empty are not touched. Gathered elements count if they certainly
    differ.

    A mask leaves out the tiles that it leaves empty. Of what a gather picks those are counted that
    are certain to differ.
    """
    touched = _touched(bound, {e.name: (e.whole,) for e in bound.einsums}, ())
    return sum(size * bound.words.of(name) for name, size in touched.items())


def _touched(
    bound: Bound, nests: Mapping[str, tuple[LoopNest, ...]], idle: Collection[str]
) -> dict[str, int]:
    """Return the elements of inputs and outputs that any nest of each Einsum touches, without
    no-ops."""
    sizes: dict[str, int] = {}
    ends = {*(t.name for t in bound.program.inputs), *bound.program.outputs}
    for e in with_initial(bound):
        if e.name in idle:
            continue
        under = (e.whole,) if e.is_initial else nests[e.name]
        for access_map in (*e.reads, e.write):
            name = access_map.access.tensor
            if name in ends:
                elements = min(_elements_under(bound, e, access_map, nest) for nest in under)
                # Einsums may touch the same elements: the largest number that one touches moves in
                # any case.
                sizes[name] = max(sizes.get(name, 0), elements)
    return sizes


def _elements_under(bound: Bound, e: BoundEinsum, access_map: AccessMap, nest: LoopNest) -> int:
    """Return the elements that an access certainly touches under a nest; for a gather, distinct
    ones."""
    access, program = access_map.access, bound.program
    share = Fraction(1)
    if any(isinstance(index, Gather) for index in access.indices):
        found = guaranteed_elements(program, e.einsum, access, dict(bound.shapes))
        # A part of the gathered elements may lie within the input in another share.
        if found is not None and (found.share == 1 or not nest.loops):
            certain, share = found.access, found.share
        else:
            certain = guaranteed_access(program, e.einsum, access)
        access_map = Addressing(program, bound.tiling, e.axes).of(certain)
    touched = EXACT.accessed(e, nest, _moving(nest, access_map), access_map)
    return int(touched * share)


def _elements(bound: Bound, tensor: str) -> int:
    """Return the elements of a tensor, with the first coordinate of an iterative tensor."""
    program, sizes = bound.program, dict(bound.shapes)
    begun = program.iterative.get(tensor, ())
    ranks = (*program.parallel, *program.tensor_ranks[tensor])
    return prod(sizes[rank] + (rank in begun) for rank in ranks)


def _moving(nest: LoopNest, access_map: AccessMap) -> tuple[bool, ...]:
    return tuple(loop.variable in access_map.moving for loop in nest.loops)


def _energy(machine: Architecture, words: TensorWords, work: LeastWork, latency_s: float) -> float:
    """Return the least energy of some work with a given lower bound of its latency, in pJ."""
    shares, deliveries = dict(work.shares), dict(work.deliveries)
    compulsory = work.words * machine.word_bytes
    outermost = machine.home
    price = memory_access(machine, outermost)
    prices = prices_of(machine, words)
    # The cheaper direction bounds both: a floor need not know which lines are read or written.
    found = float(compulsory * 8 / outermost.line_bits) * min(price.read_pj, price.write_pj)

    def of_all(counts: tuple[EinsumCount, ...], shares: Mapping[str, Fraction]) -> float:
        return sum(
            float(shares.get(count.einsum, 1))
            * min(
                sum(operations_pj(machine, array, count.operations))
                + _registers_pj(machine, prices, array, count)
                + deliveries[count.einsum].energy_pj(machine, array, words)
                for array in machine.arrays_for(kind for kind, _ in count.operations)
            )
            for count in counts
        )

    sized = (min(of_all(counts, {}) for counts in ranges) for ranges in work.sized)
    found += max([of_all(work.counts, shares), *sized])
    return found + sum(charge.energy_pj for charge in leakage_charges(machine, latency_s))


def _registers_pj(
    machine: Architecture, prices: PriceList, array: ProcessingArray, count: EinsumCount
) -> float:
    """Return the least energy of an Einsum's own registers on an array, in pJ."""
    found = 0.0
    for tensor, uses in count.registers_by_tensor:
        price = prices.at(array.name, tensor).energy
        found += uses.of_all.reads * price.read_pj + uses.of_all.writes * price.write_pj
    # If one element alone is billed, it has at least an equal part of all accesses.
    alone = array.registers.billed == "one"
    return found / (machine.copies(array.name) * array.elements) if alone else found


class _Able(NamedTuple):
    """Array, by number, that can run an Einsum, and its cycles per point with all elements at
    work."""

    array: int
    cycles: Fraction
    inflow: Fraction
    """Cycles per point if points wait for the values of an input, each used at one point."""


def _able(bound: Bound) -> dict[str, tuple[_Able, ...]]:
    """Return for each Einsum the arrays that can run it, equal at any length.

    A systolic array is not done before the values of an input have entered (``counts.occupancy``).
    Values that elements share along an axis enter once for all of them; in each point's time as
    many values enter as the other axes have elements. Values of single elements are loaded along an
    axis, one cycle per element. In a single row, every element is at the edge.
    """
    found: dict[str, list[_Able]] = {e.name: [] for e in bound.einsums}
    for number, array in enumerate(bound.architecture.arrays):
        elements = array.elements * bound.architecture.copies(array.name)
        systolic = array.operands == "systolic" and len(array.dimensions) > 1
        hops = min(d.size for d in array.dimensions) if systolic else 0
        for e in bound.einsums:
            if all(array.operation(kind) for kind, _ in e.operations):
                cycles = array.cycles_of(e.operations)
                inflow = min(Fraction(1), cycles) * hops / elements
                found[e.name].append(_Able(number, cycles / elements, inflow))
    return {name: tuple(able) for name, able in found.items()}


def _by_array(
    bound: Bound, shares: Mapping[str, Fraction], inflow: Mapping[str, ArrayInflow]
) -> list[dict[int, Fraction]]:
    """Return the cycles of every Einsum's share of its inflow on each array that can run it.

    All elements are at work.
    """
    able = bound.pattern_memo(_able)
    found: list[dict[int, Fraction]] = []
    for name, came in inflow.items():
        cycles = {
            a.array: came.points * (max(a.cycles, a.inflow / came.uses) if a.inflow else a.cycles)
            for a in able[name]
        }
        share = shares[name]
        found.append(cycles if share is ALL else {a: share * x for a, x in cycles.items()})
    return found
