"""Ranks partitioned over cores: the loop nest of one core, and the partitioning of the whole work.

A memory may feed several copies of the hierarchy inside of it (``instances: {cores: 24}``). A
mapping partitions ranks over these cores (``spatial: {cores: H}``). Each core runs equal loops on
its part of the rank, as the mapping of a smaller problem.

All parts but the last have one size, so few different problems are bound. If a mask is over the
partitioned rank, each part is a problem of its own, and parts are ordered by work.

Balanced parts of a masked rank have equal work. Queries of a causal layer differ in work: the last
quarter of the queries has seven sixteenths of the work. The shares are contiguous, and cut so that
all cores take equally long. One share is bound as a sample. It gives the cycles of each array for
each point that the mask keeps, and from these follows the time of any row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise, product
from math import prod
from operator import mul
from typing import Final

from einsum_cascade.affine import digits, linear
from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean
from einsum_cascade.ir import Access, Affine, Index, Program, walk
from einsum_cascade.notation import index_text

from ..iteration.bands import BoxedBand, signed_intersections
from ..spec.arch import Architecture
from ..spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, SpatialRank, Tile
from .masks import bands_of_several
from .partition import (
    Partitions,
    PartKinds,
    RankPartition,
    has_mask_over,
    is_local_gather,
    is_partitioned_along,
    keep_whole_lengths,
    shift_masks,
    whole_lengths,
    with_partition,
)
from .policy import BALANCE_TOLERANCE, MAX_MASKED_PARTS
from .record import Bound, BoundEinsum, CorePartitioning
from .ring import ring_of
from .tiling import Tiling, build_tiling, tile_size


def unfused_reference(nests: Sequence[Bound]) -> Mapping:
    """Return an unfused, untiled mapping: each Einsum runs by itself, point by point.

    Parameters
    ----------
    nests : sequence of Bound
        Nests that each have some of the Einsums. If they cut a rank of the cascade into different
        sizes, the first nest decides.
    """
    tiles: dict[str, Tile] = {}
    for bound in nests:
        for t in bound.mapping.tiles:
            # Only members of the cascade's own partitions have sizes that the mapping chooses.
            if t.member in bound.program.rank_of:
                tiles.setdefault(t.member, replace(t, size=bound.tiling.shapes[t.member]))
    tensors = dict.fromkeys(name for bound in nests for name in bound.program.tensors)
    first = nests[0]
    einsums = ((e.name, e.array.name, e.ranks) for bound in nests for e in bound.einsums)
    mapping = point_by_point(first.mapping.name, first.architecture, einsums, tuple(tensors))
    return replace(mapping, cascade=first.mapping.cascade, tiles=tuple(tiles.values()))


def point_by_point(
    cascade: str,
    architecture: Architecture,
    einsums: Iterable[tuple[str, str, tuple[str, ...]]],
    tensors: tuple[str, ...],
) -> Mapping:
    """Return an untiled mapping whose Einsums run one after the other, point by point.

    Parameters
    ----------
    cascade : str
        Name of the cascade, and of the mapping.
    einsums : iterable of tuple
        Name of each Einsum, its array, and its ranks, outermost first.
    tensors : tuple of str
        Tensors of the cascade, all kept in the outermost memory.
    """
    return Mapping(
        name=cascade,
        cascade=cascade,
        einsums=tuple(
            EinsumMapping(einsum=name, array=array, nest=(NestLevel(level="", loops=ranks),))
            for name, array, ranks in einsums
        ),
        keep=(Keep(level=architecture.home.name, tensors=tensors),),
        schedule=Schedule(kind="sequential"),
    )


def cross_core_dependences(bound: Bound, s: RankPartition) -> Iterator[str]:
    """Yield a reason for each tensor that one core makes and another needs, if no memory joins
    them."""
    if s.rank in bound.program.parallel:
        return
    replicated = replicated_einsums(bound, s)
    parent = bound.architecture.memories[s.level].name
    for e, number, producer in bound.results_read():
        tensor = producer.name
        iterates = s.variable in e.variables or s.variable in producer.variables
        needs_others = iterates and not is_partitioned_along(e.operands[number].access, s.variable)
        if needs_others and tensor not in replicated and not _is_held(bound, e, tensor, s):
            who = f"{tensor} is needed by all {s.instances}"
            yield f"{who}, but {parent} does not hold it for {e.name}"


def replicated_einsums(bound: Bound, s: RankPartition) -> frozenset[str]:
    """Return the Einsums that each core of a ring runs for itself.

    A replicated Einsum does not iterate over the partitioned rank. Its result is needed by an
    Einsum that does, or by another replicated Einsum. Results of the whole cascade are not
    replicated: they exist once.
    """
    if not bound.architecture.memories[s.level].ring or s.rank in bound.program.parallel:
        return frozenset()
    found: set[str] = set()
    while True:
        more = {
            producer.name
            for e, _, producer in bound.results_read()
            if (s.variable in e.variables or e.name in found)
            and s.variable not in producer.variables
            and not _is_held(bound, e, producer.name, s)
        }
        if more <= found:
            return frozenset(found - {*bound.program.outputs})
        found |= more


def _is_held(bound: Bound, e: BoundEinsum, tensor: str, s: RankPartition) -> bool:
    return any(level <= s.level for level in bound.memories(e, tensor))


def iterations_of_core(bound: Bound) -> int:
    """Return the iterations of all Einsums of a core: a measure of its work."""
    return sum(e.iterations for e in bound.einsums)


BindShapes = Callable[[Program, Mapping, dict[str, int]], Bound]
"""Function that binds a mapping of a cascade to shapes."""


def is_partitioned(mapping: Mapping) -> bool:
    """Return whether a mapping partitions any rank over cores."""
    return any(level.spatial for level in mapping.nest)


def bind_partitioned(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    bind_one: BindShapes,
    bind_whole: BindShapes,
    *,
    alike: bool = False,
) -> Bound:
    """Bind a mapping with partitioned ranks: return one core's nest, with the partitioning of the
    whole.

    Parameters
    ----------
    shapes : dict
        Shapes of the whole work.
    bind_one : callable
        Function that binds the mapping of a core, and refuses an illegal one.
    bind_whole : callable
        Function that binds all of the work, legal or not.
    alike : bool
        True if one core stands for all cores with other parts of a masked rank, whose counts it
        approximates.

    Raises
    ------
    SpecError
        A rank does not exist, or the memory feeds no such cores.
    MappingError
        The ranks cannot be partitioned, or a core would need data of another one.
    """
    levels = (replace(level, spatial=(), ring=()) for level in mapping.nest)
    core_mapping = replace(mapping, nest=tuple(level for level in levels if level.loops))
    sizes = {t.member: tile_size(t, architecture) or 1 for t in core_mapping.tiles}
    tiling = build_tiling(program, core_mapping, shapes, sizes)
    partitions = tuple(_rank_partitions(mapping, architecture, tiling))
    everything, program = program, _with_whole_lengths(program, partitions, tiling)
    first = bind_one(program, core_mapping, _shapes(tiling, partitions, (0,) * len(partitions)))
    illegal = (*_illegal(first, partitions), *_uneven(tiling, partitions))
    if problems := [Problem(text, first.mapping.span) for text in illegal]:
        raise MappingError(problems)
    ring = ring_of(mapping, first, partitions)
    parts = _BoundParts(program, first.mapping, tiling, bind_one)
    masked = _masked(program, partitions, first.mapping)
    for s in masked:
        at = partitions.index(s)
        if s.balanced:
            partitions = _balanced(partitions, at, parts)
            parts = replace(parts, known={})
        partitions = (
            _all_alike(partitions, at) if alike else _ordered_by_work(partitions, at, parts)
        )
    bound = parts.of(partitions, (0,) * len(partitions)) if masked else first
    every = product(*(range(len(s.kinds)) for s in partitions))
    others = tuple((kinds, parts.of(partitions, kinds)) for kinds in every if any(kinds))
    whole = bind_whole(everything, unfused_reference((bound,)), dict(tiling.shapes))
    replicated = frozenset(
        (name, s.rank) for s in partitions for name in replicated_einsums(bound, s)
    )
    cores = CorePartitioning(
        partitions=partitions, whole=whole, others=others, ring=ring, replicated=replicated
    )
    return replace(bound, cores=cores)


def _with_whole_lengths(program: Program, partitions: Partitions, tiling: Tiling) -> Program:
    """Return the cascade of one core; its indices keep the whole lengths of partitioned ranks."""
    for s in partitions:
        if s.parts > 1:
            program = program.memo(
                keep_whole_lengths, s.rank, whole_lengths(program, s.rank, tiling.shapes)
            )
    return program


@dataclass(frozen=True, slots=True)
class _BoundParts:
    """Bound nests of cores, kept so that equal problems are bound once."""

    program: Program
    mapping: Mapping
    tiling: Tiling
    bind: BindShapes
    known: dict[tuple[int, ...], Bound] = field(default_factory=dict)
    """Bound nests, by the number of the part of each partitioned rank."""

    def of(self, partitions: Partitions, kinds: PartKinds) -> Bound:
        """Return the nest of a core whose part of each partitioned rank has the given kind."""
        numbers = tuple(s.kinds[kind][0] for s, kind in zip(partitions, kinds, strict=True))
        if numbers not in self.known:
            program = self.program
            for s, number in zip(partitions, numbers, strict=True):
                if s.work_order:
                    whole = whole_lengths(self.program, s.rank, self.tiling.shapes)
                    program = program.memo(shift_masks, s.rank, s.begin(number), whole)
            shapes = _shapes(self.tiling, partitions, kinds)
            self.known[numbers] = self.bind(program, self.mapping, shapes)
        return self.known[numbers]

    def masked(self, partitions: Partitions, at: int, number: int) -> Bound:
        """Return the nest of a core with a given part of the masked rank.

        Of every other rank, the core has the first kind of part.

        Parameters
        ----------
        partitions : tuple of RankPartition
            Partitions; that of the rank under a mask is at position ``at``.
        number : int
            Kind of its part.
        """
        kinds = (number if i == at else 0 for i in range(len(partitions)))
        return self.of(partitions, tuple(kinds))


def _masked(program: Program, partitions: Partitions, mapping: Mapping) -> list[RankPartition]:
    """Return the partitioned ranks that a mask restricts, at most one."""
    found = [s for s in partitions if s.parts > 1 and has_mask_over(program, s.rank)]
    if len(found) > 1:
        names = " and ".join(s.rank for s in found)
        text = f"masks are over {names}: of ranks with a mask one may be partitioned over instances"
        raise MappingError(text, mapping.span)
    return found


def _balanced(partitions: Partitions, at: int, parts: _BoundParts) -> Partitions:
    """Return the partitions, with parts of equal work for the masked rank."""
    masked = partitions[at]
    even = with_partition(partitions, at, work_order=tuple(range(masked.parts)))
    # The last whole part is the sample.
    number = max(0, masked.parts - 1 - masked.ragged)
    sample = parts.masked(even, at, number)
    begins = balanced_begins(parts.tiling, masked.rank, masked.parts, sample, masked.begin(number))
    sizes = [b - a for a, b in pairwise((*begins, parts.tiling.shapes[masked.rank]))]
    return with_partition(
        partitions, at, parts=len(sizes), part=max(sizes), last=sizes[-1], begins=begins
    )


def _ordered_by_work(partitions: Partitions, at: int, parts: _BoundParts) -> Partitions:
    """Return the partitions, with the parts of the masked rank ordered by work."""
    masked = partitions[at]
    if masked.parts > MAX_MASKED_PARTS:
        text = (
            f"{masked.rank} has {masked.parts} parts under a mask, "
            f"at most {MAX_MASKED_PARTS} are bound"
        )
        raise MappingError(text, hint="use fewer parts")
    numbers = range(masked.parts)
    unordered = with_partition(partitions, at, work_order=tuple(numbers))
    work = [iterations_of_core(parts.masked(unordered, at, n)) for n in numbers]
    order = sorted(numbers, key=lambda n: -work[n])
    return with_partition(partitions, at, work_order=tuple(order))


def _all_alike(partitions: Partitions, at: int) -> Partitions:
    """Return the partitions, with one part of the masked rank in place of all others.

    It is the last one that is as long as the mean, so that all together need as much capacity: of
    parts of equal work it has about the mean reach, and of parts of equal size it has most work
    under a causal mask.
    """
    masked = partitions[at]
    sizes = [masked.size(number) for number in range(masked.parts)]
    one = max(n for n, size in enumerate(sizes) if size * masked.parts >= sum(sizes))
    others = (n for n in range(masked.parts) if n != one)
    return with_partition(partitions, at, work_order=(one, *others), alike=True)


def _shapes(tiling: Tiling, partitions: Partitions, kinds: PartKinds) -> dict[str, int]:
    """Return the shapes of the problem that one core solves."""
    found = dict(tiling.shapes)
    for s, kind in zip(partitions, kinds, strict=True):
        found[s.rank] = s.extent(kind)
        if s.parts > 1:
            # The whole rank follows from the cascade's own tiles. A single part is the whole rank,
            # whose last tile may be shorter.
            found.pop(tiling.program.family_of(s.rank) or "", None)
    return found


def _rank_partitions(
    mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> Iterator[RankPartition]:
    """Yield the partition of each rank that a mapping spreads over cores."""
    names = [m.name for m in architecture.memories]
    for level in mapping.nest:
        if level.spatial and level.level not in names:
            hint = did_you_mean(level.level, names)
            raise SpecError(f"no memory is called '{level.level}'", level.span, hint)
        left = dict(architecture.memories[names.index(level.level)].instances)
        for wanted in level.spatial:
            if wanted.instances not in left:
                instances = f"'instances: {{{wanted.instances}: 4}}'"
                hint = f"give {level.level} in the architecture {instances}"
                if left:
                    hint = did_you_mean(wanted.instances, left) or f"there are: {', '.join(left)}"
                text = f"{level.level} has no instances called '{wanted.instances}'"
                raise SpecError(text, level.span, hint)
            found = _rank_partition(
                level, wanted, tiling, left[wanted.instances], names.index(level.level)
            )
            # With 24 cores and H in 6 parts, each part of the next rank has 4 cores.
            left[wanted.instances] //= found.parts
            yield found


def _rank_partition(
    level: NestLevel, wanted: SpatialRank, tiling: Tiling, available: int, number: int
) -> RankPartition:
    """Return the partition of one rank, with at most as many parts as there are cores."""
    declared = tiling.program.rank_of.get(wanted.rank)
    if wanted.rank in tiling.shapes and not (declared is not None and declared.partition):
        rank, extent = wanted.rank, tiling.shapes[wanted.rank]
        # 10 heads on 4 cores are parts of 3, 3, 3 and 1.
        part = -(-extent // min(wanted.parts or available, extent))
    else:
        tiles = {m.name: m for m in (tiling.of_rank(name)[0] for name in tiling.ranks)}
        member = tiles.get(wanted.rank)
        if member is None:
            text = f"'{wanted.rank}' is neither a rank nor the outermost tile of one"
            hint = did_you_mean(wanted.rank, dict.fromkeys((*tiling.shapes, *tiles)))
            raise SpecError(text, level.span, hint)
        if wanted.parts is not None:
            text = f"{wanted.rank} is a tile, of which each instance has one: it has no parts"
            hint = f"write {member.rank}: {wanted.parts}, or leave out the number"
            raise SpecError(text, level.span, hint)
        # Each core has one tile, as the mapping cuts them.
        rank, extent = member.rank, tiling.shapes[member.rank]
        part = min(extent, member.stride)
    parts = -(-extent // part)
    if parts > available:
        text = (
            f"{wanted.rank} has {parts} parts, but there are {available} {wanted.instances} below"
            f" {level.level} for it"
        )
        raise MappingError(text, level.span, "use larger tiles, or fewer parts")
    return RankPartition(
        rank=rank,
        level=number,
        instances=wanted.instances,
        parts=parts,
        part=part,
        last=extent - part * (parts - 1),
        balanced=wanted.balanced,
    )


def _illegal(bound: Bound, partitions: Partitions) -> Iterator[str]:
    """Yield each reason why ranks cannot be partitioned: some core would lack data it needs."""
    for s in partitions:
        variable = s.variable
        users = [e for e in bound.einsums if variable in e.variables]
        if not users:
            yield f"no Einsum has the rank {s.rank}, which is partitioned over {s.instances}"
        family = bound.program.family_of(s.rank)
        over_all = [e for e in bound.einsums if family and family.lower() in e.variables]
        for e in over_all if s.parts > 1 else ():
            yield f"{e.name} goes over all of {family}, of which instances have parts ({s.rank})"
        for e in users:
            where = e.einsum.where
            if where is not None and not all(
                _is_of_part(bound.tiling, node, index, s)
                for node in walk(where)
                if isinstance(node, Access)
                for index in node.indices
            ):
                yield f"{e.name} has a mask that reads data of other parts of {s.rank}"
            if e.einsum.select is not None and variable in e.einsum.over:
                yield f"{e.name} picks from all of {s.rank}, of which instances have parts"
            for access in (m.access for m in e.access_maps):
                for index in access.indices:
                    if not _is_of_part(bound.tiling, access, index, s):
                        text = f"{e.name} takes {access.tensor} at {index_text(index)}"
                        yield f"{text}, which may be in another part of {s.rank}"
        for tensor, ranks in bound.program.iterative.items():
            if s.rank in ranks:
                yield f"{tensor} runs along {s.rank}: its steps follow one another"
        yield from cross_core_dependences(bound, s)


def _uneven(tiling: Tiling, partitions: Partitions) -> Iterator[str]:
    """Yield a reason for each partitioned rank that the cascade cuts into tiles with a shorter last
    one.

    The last tile of every core's part would then count as a whole one.
    """
    for s in partitions:
        family = tiling.program.family_of(s.rank)
        if s.parts == 1 or family is None:
            continue
        members = tiling.program.rank_of[family].partition
        even = prod(tiling.shapes[m] for m in members)
        if (length := tiling.shapes.get(family, even)) != even:
            product = " x ".join(f"{m} = {tiling.shapes[m]}" for m in members)
            yield (
                f"{family} = {length} is not {product}: parts of {s.rank} over"
                f" {s.instances} have to be of whole tiles"
            )


def _is_of_part(tiling: Tiling, access: Access, index: Index, s: RankPartition) -> bool:
    """Return whether a core has all elements that an index addresses: they do not vary along the
    partitioned rank, or lie in the core's part."""
    return (
        s.variable not in index.variables
        or _in_order(tiling, index, s)
        or is_local_gather(tiling.program, access, index, s.variable)
    )


def _in_order(tiling: Tiling, index: Index, s: RankPartition) -> bool:
    """Return whether each core's part of a rank addresses exactly one part of an index.

    The index must be the rank itself, or address all of a rank that the cascade cuts into tiles. In
    the second case the outermost tiles with more than one iteration must be partitioned.
    """
    if not isinstance(index, Affine):
        return False
    program = tiling.program
    family = program.family_of(s.rank)
    if family is None:
        return index.as_variable == s.variable
    members = program.rank_of[family].partition
    whole = {*linear(index).terms} == {*digits(members).terms}
    outermost = all(tiling.shapes[m] == 1 for m in members[: members.index(s.rank)])
    return index.as_variable == s.variable or (outermost and whole)


_BEYOND_ANY_ROW: Final = 1 << 60
"""Row beyond the end of any rank."""


def balanced_begins(
    tiling: Tiling, rank: str, parts: int, sample: Bound, begin: int
) -> tuple[int, ...]:
    """Return the first coordinates of the cores' parts of a rank, chosen to make the longest part
    as short as possible.

    Parts begin at multiples of the rows that an array works on at once. If Einsums differ in these
    rows, the smallest number counts. Parts no larger than that number of rows get equal sizes: each
    takes as long as its last row, and an array that holds a whole part has no room for a longer
    one.

    Parameters
    ----------
    sample : Bound
        Mapping of one part, whose masks know where the part begins.
    begin : int
        First coordinate of that part.

    Returns
    -------
    tuple of int
        First coordinates, from 0; fewer than ``parts`` if fewer take no longer.
    """
    extent = tiling.shapes[rank]
    grain = _rows_at_once(sample, rank)
    if grain * parts >= extent:
        return tuple(range(0, extent, -(-extent // parts)))
    work: dict[str, dict[_Rows, float]] = {}
    for e in sample.einsums:
        if rank.lower() in e.variables:
            rows, cycles = _row_work(sample, e, rank, begin)
            here = work.setdefault(e.array.name, {})
            here[rows] = here.get(rows, 0.0) + cycles

    every = tuple(dict.fromkeys(rows for here in work.values() for rows in here))
    weights = [[here.get(rows, 0.0) for rows in every] for here in work.values()]

    @cache
    def until(row: int) -> tuple[float, ...]:
        points = [rows.before(row) for rows in every]
        return tuple(sum(map(mul, cycles, points)) for cycles in weights)

    return equal_parts(until, extent, parts, grain)


def equal_parts(
    until: Callable[[int], tuple[float, ...]], extent: int, parts: int, grain: int
) -> tuple[int, ...]:
    """Return the first rows of contiguous parts; the largest work of any part is as small as
    possible.

    Parameters
    ----------
    until : callable
        Function that returns the work in all rows before one, by worker.
    grain : int
        Parts begin at multiples of it.

    Examples
    --------
    Row n of 64 has n + 1 keys. The first of two halves would take a quarter of the time; instead
    the parts have 45 rows (1,035 keys) and 19 rows (1,045 keys).

    >>> equal_parts(lambda row: (row * (row + 1) / 2,), 64, 2, 1)
    (0, 45)
    >>> equal_parts(lambda row: (row * (row + 1) / 2,), 64, 4, 8)
    (0, 32, 48, 56)
    """
    total = until(extent)
    # Work along a band grows or falls, so the step of rows with the most work is at an end.
    step = max(
        b - a
        for first in (0, (extent - 1) // grain * grain)
        for a, b in zip(until(first), until(min(extent, first + grain)), strict=True)
    )
    # With this much work a part, greedy parts suffice: each but the last has its share.
    low, high = max(total) / parts, max(total)
    found: tuple[int, ...] = (0,)
    while high - low > step * BALANCE_TOLERANCE:
        most = (low + high) / 2
        begins = _greedy(until, extent, parts, grain, most)
        if begins is None:
            low = most
        else:
            found, high = begins, most
    return found


def _greedy(
    until: Callable[[int], tuple[float, ...]], extent: int, parts: int, grain: int, most: float
) -> tuple[int, ...] | None:
    """Return the first rows of as few parts as possible, each with at most ``most`` work. Return
    None if that takes more than ``parts`` parts."""
    begins = [0]
    while True:
        before = until(begins[-1])

        def fits(row: int, before: tuple[float, ...] = before) -> bool:
            return all(b - a <= most for a, b in zip(before, until(row), strict=True))

        if fits(extent):
            return tuple(begins)
        # Find the last multiple of the grain up to which rows fit, by bisection.
        low, high = begins[-1] // grain, -(-extent // grain)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle * grain) else (low, middle)
        if low * grain == begins[-1] or len(begins) == parts:
            return None
        begins.append(low * grain)


def _rows_at_once(sample: Bound, rank: str) -> int:
    """Return the number of coordinates of a rank that lie along an array at once. If Einsums
    differ, the smallest number above 1 counts."""
    axis = sample.program.whole_rank(rank)
    found = (
        prod(e.trip_counts[loop.member] for loop in e.spatial if e.axes[loop.axis].name == axis)
        for e in sample.einsums
        if rank.lower() in e.variables
    )
    at_once = min((rows for rows in found if rows > 1), default=1)
    return -(-at_once // _elements_per_coordinate(sample.tiling, rank))


def _elements_per_coordinate(tiling: Tiling, rank: str) -> int:
    """Return the elements of the whole rank in one coordinate: several if the rank counts tiles of
    the cascade's own."""
    family = tiling.program.family_of(rank)
    if family is None:
        return 1
    members = tiling.program.rank_of[family].partition
    return prod(tiling.shapes[m] for m in members[members.index(rank) + 1 :])


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a rank in which Einsums with equal masks work."""

    mask: tuple[tuple[int, BoxedBand], ...] | None
    """Bands whose points, each with its sign, add up to those of the mask."""
    unit: int
    """Number of the mask's rows in one coordinate of the rank."""

    def before(self, row: int) -> int:
        """Count the points that the mask keeps in all rows before ``row``; without a mask, count
        the rows."""
        if self.mask is None:
            return row
        return sum(sign * band.points_before(row * self.unit) for sign, band in self.mask)


def _row_work(sample: Bound, e: BoundEinsum, rank: str, begin: int) -> tuple[_Rows, float]:
    """Return the rows of an Einsum, and its cycles for each point that ``_Rows`` counts."""
    rows = sample.tiling.shapes[rank]
    family = sample.program.whole_rank(rank)
    unit = _elements_per_coordinate(sample.tiling, rank)
    enclosing = _band_of_window(e, family, begin * unit)
    if enclosing is None:
        return _Rows(None, 1), float(e.cycles) / rows
    mask = _bands_of_disjunction(sample, e, family, begin * unit) or (enclosing,)
    found = _Rows(signed_intersections(mask), unit)
    points = found.before(begin + rows) - found.before(begin)
    return found, float(e.cycles) / points if points else 0.0


def _band_of_window(e: BoundEinsum, rows: str, begin: int) -> BoxedBand | None:
    """Return the band of an Einsum's mask, extended to all rows of the partitioned rank. Return
    None if the mask does not restrict these rows.

    The rows of the sample begin at ``begin``.
    """
    window = e.window
    sides = () if window is None else (window.plus, window.minus)
    names = [None if side is None else e.axes[side].name for side in sides]
    if window is None or rows not in names:
        return None
    # Rows are y of a band.
    band = window.band.swapped() if names[0] == rows else window.band
    last = band.columns - 1
    return BoxedBand(band.low - begin, band.high - begin, 0, last, 0, _BEYOND_ANY_ROW)


def _bands_of_disjunction(
    sample: Bound, e: BoundEinsum, rows: str, begin: int
) -> tuple[BoxedBand, ...]:
    """Return the bands whose union is the mask, extended to all rows of the partitioned rank.
    Return an empty tuple if the mask is no such union.

    The rows of the sample begin at ``begin``.
    """
    bands = bands_of_several(sample, e)
    others = {r for b in bands for r in (b.plus, b.minus) if r not in (None, rows)}
    if len(others) != 1:
        return ()
    last = sample.tiling.shapes[str(*others)] - 1
    everything = BoxedBand(-_BEYOND_ANY_ROW, _BEYOND_ANY_ROW, 0, last, 0, _BEYOND_ANY_ROW)
    found: list[BoxedBand] = []
    for band in bands:
        if band.minus is not None:
            turned = band.swapped() if band.plus == rows else band
            boxed = everything._replace(low=turned.low - begin, high=turned.high - begin)
        elif band.plus == rows:
            boxed = everything._replace(first_y=max(0, band.low + begin), last_y=band.high + begin)
        else:
            boxed = everything._replace(first_x=max(0, band.low), last_x=min(last, band.high))
        found.append(boxed)
    return tuple(found)
