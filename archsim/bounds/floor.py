"""Floor: lower bounds of latency and energy over all mappings of a cascade on a machine.

For latency, Einsums are assigned to arrays in the best way, with all processing elements and all
arrays at work. For energy, each Einsum costs the least over the arrays. Every touched input and
every output crosses the outermost memory once. Each operand is read from registers at each point,
and a result is written to registers.

Inputs of a systolic array enter over one of its edges, one processing element at a time. Operands
that arrive at processing elements are read once for all elements that can share them
(``operand_delivery``). Masked points are not computed, whatever the tiles are, and neither are
steps that are certainly no-ops. A cascade may partition a rank itself and leave the size to a
mapping (``M: [M1, M0]``). Then an Einsum counts at the size with the fewest points. The bounds of a
result (``Bounds``) hold only for its mapping; the floor holds for any mapping that does the same
work.
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
from einsum_cascade.memo import Cache, cached_property, lazy_field

from ..counts.accesses import EinsumCount, RegisterUses, Uses
from ..counts.meter import EXACT
from ..energy import PriceList, leakage_charges, memory_access, operations_pj, prices_of
from ..iteration.access_map import AccessMap
from ..iteration.loop_nest import LoopNest
from ..nest.record import Bound, BoundEinsum
from ..result.record import Floor
from ..spec.arch import Architecture, ProcessingArray
from ..spec.tensor_words import TensorWords
from .capacity import Contraction, contraction_of, crossing_words
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
    partial_ranks,
    partition_member_of,
)
from .operand_delivery import EinsumAccesses, OperandDelivery, operand_delivery_of
from .policy import MAX_CACHED_SIZES


@dataclass(frozen=True, slots=True)
class ArrayInflow:
    """Least points of an Einsum on a systolic array, and how often these use a value that must
    enter.

    The input whose values are reused least decides.
    """

    points: int
    """Least number of points of the Einsum."""
    uses: int
    """Largest number of points that use one input value; all points for an Einsum without
    inputs.
    """


@dataclass(frozen=True, kw_only=True)
class LeastWork:
    """Least work that any mapping of a cascade needs on the arrays of a machine."""

    words: Fraction
    """Machine words of all inputs and outputs, each of which crosses the outermost memory once."""
    contractions: tuple[Contraction, ...] = ()
    """Einsums that move more words if the machine's memories hold few (``crossing_words``)."""
    shares: tuple[tuple[str, Fraction], ...]
    """Share of each Einsum's points that remains at the best sizes of the cascade's tiles
    (``least_shares``)."""
    sized: tuple[tuple[tuple[EinsumCount, ...], ...], ...]
    """Counts for each range of sizes that the cascade's own tiles can have, by partitioned rank."""
    cycles: Fraction
    """Cycles of the busiest array, if each Einsum runs on one array with all processing elements
    at work."""
    counts: lazy_field[tuple[EinsumCount, ...]] = lazy_field(())
    """Counts with the fewest operations of any mapping.

    Like the next field, they are needed only for energy.
    """
    deliveries: lazy_field[tuple[tuple[str, OperandDelivery], ...]] = lazy_field(())
    """Operand deliveries of each Einsum: values that arrive at processing elements, and partial
    results that leave."""


def least_work(bound: Bound, counts: tuple[EinsumCount, ...]) -> LeastWork:
    """Return the least work of any mapping, which does not depend on the speed of memories.

    Parameters
    ----------
    bound : Bound
        Mapping of the cascade; any mapping gives the same answer.
    counts : tuple of EinsumCount
        Operations of the mapping.
    """
    nests = minimal_domains(bound, bound.pattern_memo(cut_ranks))
    shares = least_shares(bound)
    whole = {name for name, loops in nests.items() if len(loops) == 1}
    masked = {e.name for e in bound.einsums if e.einsum.where is not None}
    # An Einsum that has nothing to run at some tile size touches nothing there either.
    none = {name for name, share in shares.items() if not share}
    touched = _accessed_elements(bound, nests, none - (whole - masked))
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
    contractions = (
        contraction_of(bound, e, points[e.name], len(nests[e.name]) == 1, words)
        for e in bound.einsums
        if shares[e.name] == ALL
    )
    return LeastWork(
        words=sum(words.values(), Fraction(0)),
        contractions=tuple(c for c in contractions if c is not None),
        counts=least,
        shares=tuple(shares.items()),
        deliveries=deliveries,
        sized=tuple(tuple(counts for _, counts in found) for found in sized),
        cycles=max([cycles, *(min(n for n, _ in found) for found in sized)]),
    )


def floor_of(bound: Bound, counts: tuple[EinsumCount, ...], work: LeastWork | None = None) -> Floor:
    """Return the floor of a mapping's work, which is equal for every mapping of the cascade.

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
    found = _Floors(bound.architecture, bound.words, work or partial(least_work, bound, counts))
    return Floor(
        latency_s=lambda: found.latency_s,
        energy_pj=lambda: _energy(found),
        compute_s=lambda: found.compute_s,
        bandwidth_s=lambda: found.bandwidth_s,
    )


@dataclass(frozen=True)
class _Floors:
    """Floors of the least work on a machine; once it is known, no bound mapping is held."""

    machine: Architecture
    words: TensorWords
    work: lazy_field[LeastWork] = lazy_field()

    @cached_property
    def crossing(self) -> Fraction:
        """Least words that cross the outermost memory."""
        return crossing_words(self.work.words, self.work.contractions, self.machine)

    @property
    def compute_s(self) -> float:
        return float(self.work.cycles / self.machine.clock_hz)

    @property
    def bandwidth_s(self) -> float:
        machine = self.machine
        bandwidth = machine.home.bandwidth_bytes_per_s
        if bandwidth is None:
            return 0.0
        bandwidth *= machine.copies(machine.home.name)  # each chip of a ring has its own
        return float(self.crossing * machine.word_bytes / bandwidth)

    @property
    def latency_s(self) -> float:
        return max(self.compute_s, self.bandwidth_s)


def _with_points(e: BoundEinsum | EinsumAccesses, count: EinsumCount, points: int) -> EinsumCount:
    """Return the counts of an Einsum, with the operations that a given number of points takes."""
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
    """Return the fewest iteration points at which any mapping executes an Einsum."""
    if e.einsum.where is not None:
        return count.allowed  # the mask's points do not depend on the tiles
    if len(nests) == 1 and not nests[0].loops and nests[0].window is None:
        return prod(nests[0].extents)
    return min(nest.delivered((True,) * len(nest.loops), prod) for nest in nests)


_Ranges = list[tuple[Fraction, tuple[EinsumCount, ...]]]


def _size_cache(_: Program) -> Cache[tuple[_Ranges, ...]]:
    """Return an empty cache for ``_sized``: a search asks for the same sizes with each mapping."""
    return Cache(MAX_CACHED_SIZES)


def _size_key(bound: Bound, least: tuple[EinsumCount, ...]) -> Hashable:
    """Return the cache key of ``_sized``: all its inputs except the program."""
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
    """Yield lower bounds over the sizes of a cascade's own tiles, for each rank that it cuts in
    two.

    The bounds of a rank are a list with an entry for each range of sizes. An entry has the least
    cycles of the busiest array in this range. It also has counts of the Einsums with no more
    operations than any mapping needs in this range.
    """
    arrays, free = len(bound.architecture.arrays), bound.pattern_memo(free_partitions)
    of = {e.name: e for e in bound.einsums}
    partial = bound.pattern_memo(partial_ranks)
    some = {
        e.name: {of.family for of in gone} for e, gone in zip(bound.einsums, partial, strict=True)
    }
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
    """Return the ranks cut in two in which larger tiles give some Einsum more points.

    A rank cut in three has two free sizes, and is left out.
    """
    cuts = (FreeTileSize(rank, *m) for rank, m in free_partitions(bound).items() if len(m) == 2)
    return tuple(c for c in cuts if any(c.grows(bound.program, e) for e in bound.einsums))


def _inflow_of(bound: Bound, points: Mapping[str, int]) -> dict[str, ArrayInflow]:
    """Return, for each Einsum, its least points and the largest number of points that use one
    value.

    Both hold wherever the points are placed on the array.
    """
    reused, sizes = bound.pattern_memo(_reused), dict(bound.shapes)
    return {
        name: ArrayInflow(n, max(min([prod([sizes[r] for r in x]) for x in reused[name]]), 1))
        for name, n in points.items()
    }


def _reused(bound: Bound) -> dict[str, list[tuple[str, ...]]]:
    """Return, for each Einsum and input, the ranks along which one input value is reused.

    An input has different values along all ranks that index it, as in ``folds_of``. One value is
    used at each coordinate of all other ranks. If a mapping chooses the size of a rank's tiles,
    each rank of the partition counts with the length of the whole rank.
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
    """Yield each Einsum with its operand delivery under any mapping.

    ``points`` are the least points of each Einsum, and ``words`` the machine words of each tensor
    that cross the outermost memory.
    """
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
    """Return the machine words of all inputs and outputs that a mapping's tiles touch.

    Each is moved at least once. Tiles that a mask leaves empty are not touched. Gathered elements
    count only if they certainly differ.
    """
    touched = _accessed_elements(bound, {e.name: (e.whole,) for e in bound.einsums}, ())
    return sum(size * bound.words.of(name) for name, size in touched.items())


def _accessed_elements(
    bound: Bound, nests: Mapping[str, tuple[LoopNest, ...]], idle: Collection[str]
) -> dict[str, int]:
    """Return, for each input and output, the number of tensor elements that every mapping touches.

    For an Einsum it is the least number over its possible nests. Einsums in ``idle`` are left out.
    """
    sizes: dict[str, int] = {}
    ends = {*(t.name for t in bound.program.inputs), *bound.program.outputs}
    for e in (part for whole in bound.einsums for part in (whole, *whole.initial)):
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
    """Return how many tensor elements an access certainly touches under a nest.

    For a gather, only elements that certainly differ count.
    """
    access, program = access_map.access, bound.program
    share = Fraction(1)
    if any(isinstance(index, Gather) for index in access.indices):
        found = guaranteed_elements(program, e.einsum, access, dict(bound.shapes))
        # A part of the gathered elements may lie within the input in another share.
        if found is not None and (found.share == 1 or not nest.loops):
            certain, share = found.access, found.share
        else:
            certain = guaranteed_access(program, e.einsum, access)
        access_map = bound.tiling.access_map(e.axes, certain)
    touched = EXACT.accessed(e, nest, _moving(nest, access_map), access_map)
    return int(touched * share)


def _elements(bound: Bound, tensor: str) -> int:
    """Return the number of elements of a tensor, including the initial coordinate of an iterative
    tensor."""
    program, sizes = bound.program, dict(bound.shapes)
    begun = program.iterative.get(tensor, ())
    ranks = (*program.parallel, *program.tensor_ranks[tensor])
    return prod(sizes[rank] + (rank in begun) for rank in ranks)


def _moving(nest: LoopNest, access_map: AccessMap) -> tuple[bool, ...]:
    return tuple(loop.variable in access_map.moving for loop in nest.loops)


def _energy(floors: _Floors) -> float:
    """Return the least energy in pJ of the least work, if its latency is at least its floor."""
    machine, words, work = floors.machine, floors.words, floors.work
    shares, deliveries = dict(work.shares), dict(work.deliveries)
    crossing = floors.crossing * machine.word_bytes
    outermost = machine.home
    price = memory_access(machine, outermost)
    prices = prices_of(machine, words)
    # The cheaper direction bounds both: a floor need not know which lines are read or written.
    found = float(crossing * 8 / outermost.line_bits) * min(price.read_pj, price.write_pj)

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
    return found + sum(charge.energy_pj for charge in leakage_charges(machine, floors.latency_s))


def _registers_pj(
    machine: Architecture, prices: PriceList, array: ProcessingArray, count: EinsumCount
) -> float:
    """Return the least energy in pJ of an Einsum's accesses to its own array's registers."""
    found = 0.0
    for tensor, uses in count.registers_by_tensor:
        price = prices.at(array.name, tensor).energy
        found += uses.of_all.reads * price.read_pj + uses.of_all.writes * price.write_pj
    # If one element alone is billed, it has at least an equal part of all accesses.
    alone = array.registers.billed == "one"
    return found / (machine.copies(array.name) * array.elements) if alone else found


class _Able(NamedTuple):
    """Array that can run an Einsum, given by number, with its cycles per point.

    All processing elements are at work.
    """

    array: int
    cycles: Fraction
    inflow: Fraction
    """Cycles per point if points must wait for input values, and each value is used at only one
    point."""


def _able(bound: Bound) -> dict[str, tuple[_Able, ...]]:
    """Return, for each Einsum, the arrays that can run it; they do not depend on shapes.

    A systolic array is not done before the values of an input have entered (``counts.occupancy``).
    A value that processing elements share along an axis enters once for all of them. In the time of
    one point, as many values enter as the other axes have elements. Values of single processing
    elements are loaded along an axis, one cycle per element. In a single row, every element is at
    the edge.
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
    """Return, for each Einsum, its least cycles on each array that can run it.

    All processing elements are at work, and only the Einsum's share of its points counts.
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
