"""Partitionings of a cascade's ranks over the cores of a machine, and mappings that use them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import replace
from itertools import accumulate, chain, product
from math import prod
from operator import mul

from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.ir import Access, Einsum, Gather, Program, walk

from ..nest.partition import (
    has_mask_over,
    is_local_gather,
    is_partitioned_along,
    shift_masks,
    stepwise_ranks,
    whole_lengths,
)
from ..nest.policy import MANY_IDLE_SHARE
from ..spec.arch import Architecture, Memory
from ..spec.mapping import Keep, Mapping, NestLevel, SpatialRank
from ..spec.roles import memory_called, memory_in_role
from . import policy
from .bandwidth_bound import bandwidth_bounds, bandwidth_optimal, fastest_first
from .partition_factors import (
    Partitioning,
    cores_used,
    distinct_partitionings,
    divisible_tiles,
    follows_partition,
    has_fast_partial_results,
    has_small_partial_results,
    partial_elements,
    partial_results,
    partition_factors,
    summed_ranks,
    useful_factors,
)
from .problem import Cores, MappingProblem


def usual_partitionings(problem: MappingProblem) -> tuple[Partitioning, ...]:
    """Return the usual partitionings of a cascade over cores; the one with most tiles comes first.

    The last partitioning is empty; on a single core there is no other.
    """
    program, architecture, given = problem.program, problem.architecture, problem.shapes
    if not architecture.has_instances:
        return ((),)
    parallel = tuple(r for r in program.parallel if r in given)
    others = tuple(r for r in independent_ranks(program) if r in given)
    tried = [((*parallel, *others), False), ((*parallel, *others), True), (parallel, False)]
    found = [_balanced_partitioning(architecture, given, names, square) for names, square in tried]
    masked = [r for r in independent_ranks(program, masked=True) if r in given and r not in others]
    # Masked tiles extend partitionings of other ranks, if there are any: each is bound by itself.
    bases = [partitioning for partitioning in found if partitioning] or found
    more = [
        _with_idle_cores_used(architecture, given, partitioning, rank, masked=True)
        for partitioning in bases
        for rank in masked
    ]
    more += [_with_factors(architecture, given, (*parallel, *others), rank) for rank in masked]
    if sum(len(m.instances) for m in architecture.memories) > 1:
        # A rank that suits the outer cores cannot also be used for the more numerous inner ones.
        more += [_with_idle_cores_used(architecture, given, found[-1], rank) for rank in others]
    summed = [r for r in summed_ranks(program) if r in given]
    idle = [partitioning for partitioning in found if _leaves_idle(architecture, partitioning)]
    all_idle = len(idle) == len(found)
    split = [
        wider
        for partitioning in idle
        for wider in _splitting_reduction(problem, partitioning, summed, all_idle=all_idle)
    ]
    choices = [(*parallel, *others, *r) for r in ((), *((r,) for r in (*summed, *masked)))]
    least = bandwidth_optimal(problem, choices, [w for w in (*found, *more) if w], masked)
    every = (p for p in (*more, *found, *split, least, ()) if p is not None)
    return distinct_partitionings(every, program.parallel, given)


def _splitting_reduction(
    problem: MappingProblem, partitioning: Partitioning, summed: list[str], *, all_idle: bool
) -> list[Partitioning]:
    """Return partitionings that also split a sum over the cores, if there are few partial results.

    If there are none and all partitionings leave cores idle, return those whose partial results
    take less time than the split saves.
    """
    machine, shapes = problem.architecture, problem.shapes
    few = cores_used(partitioning) <= policy.FEW_CORES_SHARE * _available(machine)
    wider = (_with_idle_cores_used(machine, shapes, partitioning, rank) for rank in summed)
    found = [x for x in wider if x]
    cheap = policy.EQUAL_PARTIAL_SHARE if few else policy.SMALL_PARTIAL_SHARE
    return [x for x in found if has_small_partial_results(problem, x, cheap)] or [
        x
        for x in found
        if all_idle
        and has_small_partial_results(problem, x, policy.MAX_PARTIAL_SHARE)
        and has_fast_partial_results(problem, partitioning, x)
    ]


def replicating_partitionings(problem: MappingProblem) -> tuple[Partitioning, ...]:
    """Return further partitionings if the ``usual_partitionings`` leave many cores idle.

    A core may take a tile of a rank although all cores need some common result. One core makes this
    result, and the memory that feeds the cores holds it.

    For example, 80 heads of Mamba-2 that share their keys become 80 tiles: the scores of a chunk
    are the common result.
    """
    program, architecture, given = problem.program, problem.architecture, problem.shapes
    usual = problem.memo(usual_partitionings)
    unsplit = [p for p in usual if not splits_reduction(program, p)]
    if not architecture.has_instances or not all(_leaves_idle(architecture, p) for p in unsplit):
        return ()
    outermost = outermost_tiles(program, given)
    sizes = {**given, **outermost}
    parallel = tuple(r for r in program.parallel if r in sizes)
    strict = tuple(r for r in independent_ranks(program) if r in sizes)
    wider = [
        r for r in independent_ranks(program, copied=outermost) if r in sizes and r not in strict
    ]
    masked = [
        r
        for r in independent_ranks(program, masked=True, copied=outermost)
        if r in sizes and r not in (*strict, *wider)
    ]
    choices = [(*parallel, *strict, *wider), *((*parallel, *strict, r) for r in wider)]
    found = [
        _balanced_partitioning(architecture, sizes, ranks, square)
        for ranks in choices
        for square in (False, True)
    ]
    more = [
        _with_idle_cores_used(architecture, sizes, partitioning, rank, masked=True)
        for partitioning in dict.fromkeys(
            (*found[:1], _balanced_partitioning(architecture, sizes, parallel, False))
        )
        if _leaves_idle(architecture, partitioning)
        for rank in masked
    ]
    # Fewer heads at a time, each in more tiles: the memory that feeds the cores can then hold all
    # that the tiles may gather from.
    gathering = (
        _with_factors(architecture, sizes, parallel, r) for r in masked if gathers_along(program, r)
    )
    return tuple(p for p in dict.fromkeys((*gathering, *more, *found)) if p and p not in usual)


def tile_partitionings(problem: MappingProblem) -> tuple[Partitioning, ...]:
    """Return partitionings that split a cascade's own tiles over cores that all others leave idle.

    The mapping chooses the length of these tiles, or an Einsum sums over them. Partitionings with
    the fewest partial results come first. Among equal ones, partitionings with most tiles of other
    ranks come first.

    There are none if several memories feed cores, or if cores form a ring.
    """
    program, cores = problem.program, problem.unlinked_cores
    members = [
        member
        for member in divisible_tiles(program)
        if _is_open(program, problem.shapes, member) and _is_of_whole_tiles(problem, member)
    ]
    usual = problem.memo(usual_partitionings)
    if (
        cores is None
        or not members
        or not all(_leaves_idle(problem.architecture, p) for p in usual)
    ):
        return ()
    rests = [p for p in usual if 2 * cores_used(p) <= cores.number and _is_even(p)]
    found: list[tuple[Partitioning, Partitioning]] = []
    for rest, member in product(rests, members):
        length = problem.shapes.get(program.rank_of[member].family or member, 1)
        parts = min(policy.MAX_PARTITIONED_TILES, cores.number // cores_used(rest), length)
        if parts > 1:
            found.append((rest, _with_tiles(program, rest, cores, member, parts)))
    idle = [idle_factor(problem.architecture, whole) for _, whole in found]
    most = policy.MAX_IDLE_RATIO * min(idle, default=1)
    found = [x for x, n in zip(found, idle, strict=True) if n <= most]
    found.sort(key=lambda x: (partial_elements(problem, x[1]), -cores_used(x[0])))
    return tuple(whole for _, whole in found[: policy.MAX_TILE_PARTITIONINGS])


def _is_open(program: Program, given: Sizes[str, int], member: str) -> bool:
    """Return whether a tile of a cut rank may still be partitioned.

    It may if the mapping chooses the tile's length, or if an Einsum sums over the tile.
    ``replicating_partitionings`` already split all other tiles.
    """
    family = program.rank_of[member].family or member
    fixed = any(m in given for m in program.rank_of[family].partition)
    return not fixed or bool(partial_results(program, {member.lower()}))


def _is_of_whole_tiles(problem: MappingProblem, member: str) -> bool:
    """Return whether a cut rank may consist of whole tiles: parts of it must.

    Tiles whose length the mapping chooses are as long as a side of an array.
    """
    family = problem.program.rank_of[member].family or member
    tile = problem.shapes.get(problem.program.rank_of[family].partition[-1])
    sides = (d.size for array in problem.architecture.arrays for d in array.dimensions)
    lengths = [n for n in sides if n > 1] if tile is None else [tile]
    return any(problem.extent(family) % n == 0 for n in lengths)


def _is_even(partitioning: Partitioning) -> bool:
    """Return whether all tiles are equally long; tiles balanced under a mask are not."""
    return not any(s.balanced for _, ranks in partitioning for s in ranks)


def _with_tiles(
    program: Program, rest: Partitioning, cores: Cores, member: str, parts: int
) -> Partitioning:
    """Return a partitioning of other ranks with the tiles of one cut rank added."""
    masked = has_mask_over(program, member, of_data=False)
    tiles = SpatialRank(instances=cores.name, rank=member, parts=parts, balanced=masked)
    ((_, ranks),) = rest or ((cores.memory.name, ()),)
    return ((cores.memory.name, (*ranks, tiles)),)


def partitionings_by_bound(problem: MappingProblem) -> tuple[Partitioning, ...]:
    """Return the partitionings of a cascade, those with small bandwidth bounds first."""
    found = [
        *problem.memo(usual_partitionings),
        *problem.memo(replicating_partitionings),
        *problem.memo(tile_partitionings),
    ]
    found = sorted(found, key=lambda p: idle_factor(problem.architecture, p))
    return tuple(fastest_first(problem, found))


def number_to_search(problem: MappingProblem) -> int:
    """Return the number of partitionings to search, of those in the order of their bounds.

    Bounds of all of them are close to the smallest one.
    """
    first, *others = problem.memo(partitionings_by_bound)[: policy.MAX_SEARCHED_PARTITIONINGS]
    least, *bounds = bandwidth_bounds(problem, (first, *others))
    return 1 + sum(bound <= policy.MAX_BOUND_RATIO_TO_SEARCH * least for bound in bounds)


def gathers_along(program: Program, rank: str) -> bool:
    """Return whether the gathered indices of some access vary along a rank."""
    indices = (i for e in program.einsums for a in e.reads for i in a.indices)
    return any(isinstance(i, Gather) and rank.lower() in i.access.variables for i in indices)


def splits_reduction(program: Program, partitioning: Partitioning) -> bool:
    """Return whether a partitioning splits a sum, so that cores hold partial sums."""
    summed = {*summed_ranks(program)}
    return any(s.rank in summed for _, ranks in partitioning for s in ranks)


def critical_core_shapes(
    partitioning: Partitioning, given: Sizes[str, int], program: Program | None = None
) -> dict[str, int]:
    """Return the shapes of the tiles of the critical core, which has the largest tile of each rank.

    Parameters
    ----------
    program : Program, optional
        Cascade: a rank that it cuts is shorter if its outermost tile is partitioned.
    """
    found = dict(given)
    if program is not None:
        found |= {r: n for r, n in outermost_tiles(program, given).items() if r not in found}
    for split in chain.from_iterable(ranks for _, ranks in partitioning):
        if split.rank not in found and program is not None:
            # The mapping chooses the length of the tiles: a core has its share of the whole rank.
            family = program.whole_rank(split.rank)
            found[family] = -(-found[family] // (split.parts or 1))
            continue
        whole = found[split.rank]
        found[split.rank] = -(-whole // (split.parts or 1))
        declared = program.rank_of.get(split.rank) if program is not None else None
        if declared is not None and declared.family in found:
            found[declared.family] = found[declared.family] // whole * found[split.rank]
    return found


def outermost_tiles(program: Program, given: Sizes[str, int]) -> dict[str, int]:
    """Return the outermost rank of more than one tile for each cut rank, with its size.

    Only ranks count that given sizes cut evenly.

    Examples
    --------
    80 heads that share their keys are one group of 80, so that heads are the outermost tiles.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("ssd-chunked-prefill").program
    >>> outermost_tiles(program, {"H": 80, "S": 80}), outermost_tiles(program, {"H": 80, "S": 10})
    ({'S': 80}, {'G': 8})
    """
    found: dict[str, int] = {}
    for rank in (r for r in program.ranks if r.partition):
        sizes = [given.get(m) for m in rank.partition]
        inner = prod(n for n in sizes[1:] if n is not None)
        if rank.name not in given or None in sizes[1:] or given[rank.name] % inner:
            continue
        every = (given[rank.name] // inner, *(n or 1 for n in sizes[1:]))
        first = next((n for n, size in enumerate(every) if size > 1), None)
        if first is not None:
            found[rank.partition[first]] = every[first]
    return found


def machine_of_one_core(architecture: Architecture, partitioning: Partitioning) -> Architecture:
    """Return the machine as one core sees it: outer memories have the core's share of capacity and
    bandwidth.

    The share is exact if the cores need different data. Links of a ring are left out: a core works
    on its own data.
    """
    parts = {name: prod(s.parts or 1 for s in ranks) for name, ranks in partitioning}
    inside = _cores_inside(architecture, parts)
    memories: list[Memory] = []
    for memory in architecture.memories[architecture.home_level :]:
        sharing = inside[memory.name]
        capacity, speed = memory.capacity_bytes, memory.bandwidth_bytes_per_s
        capacity = None if capacity is None else max(1, capacity // sharing)
        speed = None if speed is None else speed / sharing
        memories.append(replace(memory, capacity_bytes=capacity, bandwidth_bytes_per_s=speed))
    return replace(architecture, memories=tuple(memories))


def problem_of_one_core(problem: MappingProblem, partitioning: Partitioning) -> MappingProblem:
    """Return the problem of a core with the largest tile of each rank, on its share of the machine.

    Masks are those of the core's part of a masked rank: the last part, or a middle one if all parts
    have equal work.
    """
    program, given = problem.program, problem.shapes
    shapes = critical_core_shapes(partitioning, given, program)
    sizes = {**given, **outermost_tiles(program, given)}
    for s in chain.from_iterable(ranks for _, ranks in partitioning):
        if s.rank in sizes and has_mask_over(program, s.rank):
            left = sizes[s.rank] - shapes[s.rank]
            begin = left // 2 if s.balanced else left
            program = program.memo(
                shift_masks, s.rank, begin, whole_lengths(program, s.rank, sizes)
            )
    return MappingProblem(program, machine_of_one_core(problem.architecture, partitioning), shapes)


def _cores_inside(architecture: Architecture, parts: Sizes[str, int]) -> dict[str, int]:
    """Return the number of used cores below each memory, from the number that each feeds."""
    names = [m.name for m in reversed(architecture.memories)]
    return dict(zip(names, accumulate((parts.get(name, 1) for name in names), mul), strict=True))


def partition_mapping(
    mapping: Mapping,
    partitioning: Partitioning,
    architecture: Architecture,
    program: Program | None = None,
) -> Mapping:
    """Return a mapping that partitions ranks over the cores in addition to its own loops.

    The partitioned ranks stand at the memories that feed the cores.

    Parameters
    ----------
    program : Program, optional
        Cascade: partial results of split sums are kept in the memory that feeds the cores.
    """
    nest = list(mapping.nest)
    words = [*(n.level for n in mapping.nest), *(k.level for k in mapping.keep)]
    keep = mapping.keep
    for memory, ranks in partitioning:
        # A mapping refers to a memory by its role or by its name, not by both.
        word = next((w for w in words if memory_in_role(architecture, w) == memory), memory)
        at = next((n for n, level in enumerate(nest) if level.level == word), None)
        if at is None:
            nest.insert(0, NestLevel(level=word, loops=(), spatial=ranks))
        else:
            nest[at] = replace(nest[at], spatial=ranks)
        if memory != architecture.memories[0].name and word not in (k.level for k in keep):
            # Data from outside that several cores need is loaded once.
            keep = (*keep, Keep(level=word, tensors=_outermost(mapping, architecture)))
        if program is not None:
            variables = {s.rank.lower() for s in ranks}
            keep = _keeping(
                keep, word, (*partial_results(program, variables), *_common(program, variables))
            )
    return replace(mapping, nest=tuple(nest), keep=keep)


def _keeping(keep: tuple[Keep, ...], word: str, tensors: tuple[str, ...]) -> tuple[Keep, ...]:
    """Return the kept tensors of all levels, with some tensors added at one level."""
    return tuple(
        replace(k, tensors=tuple(dict.fromkeys((*k.tensors, *tensors)))) if k.level == word else k
        for k in keep
    )


def _common(program: Program, split: Collection[str]) -> tuple[str, ...]:
    """Return intermediate tensors that all cores need whole: no partitioned rank divides them."""
    made = program.einsum_of
    return tuple(
        dict.fromkeys(
            a.tensor
            for e in program.einsums
            for a in e.reads
            for v in split
            if a.tensor in made
            and v in e.variables
            and not is_partitioned_along(a, v)
            and v not in made[a.tensor].variables
        )
    )


def _outermost(mapping: Mapping, architecture: Architecture) -> tuple[str, ...]:
    """Return the tensors that a mapping keeps in the outermost memory."""
    name = architecture.memories[0].name
    kept = (k for k in mapping.keep if memory_called(architecture, k.level) == name)
    return tuple(t for k in kept for t in k.tensors)


def _balanced_partitioning(
    architecture: Architecture, shapes: Sizes[str, int], ranks: tuple[str, ...], square: bool
) -> Partitioning:
    """Return a partitioning with about as many tiles as cores.

    There are fewer tiles if these leave less work to the critical core.
    """
    left = {rank: shapes[rank] for rank in ranks}
    found: list[tuple[str, tuple[SpatialRank, ...]]] = []
    for memory in architecture.memories:
        here: list[SpatialRank] = []
        for name, available in memory.instances:
            parts = partition_factors({r: n for r, n in left.items() if n > 1}, available, square)
            here += (
                SpatialRank(instances=name, rank=r, parts=n) for r, n in parts.items() if n > 1
            )
            # A rank that is split already is not split again.
            left = {rank: n for rank, n in left.items() if parts.get(rank, 1) == 1}
        if here:
            found.append((memory.name, tuple(here)))
    return tuple(found)


def _with_idle_cores_used(
    architecture: Architecture,
    shapes: Sizes[str, int],
    partitioning: Partitioning,
    rank: str,
    *,
    masked: bool = False,
) -> Partitioning | None:
    """Return a partitioning with tiles of one more rank for idle cores; None if that is
    impossible."""
    of_memory = dict(partitioning)
    most = policy.MAX_UNEQUAL_TILES_OF_ONE_RANK if masked else policy.MAX_CORES_ENUMERATED
    able: list[tuple[str, SpatialRank]] = []
    for memory in architecture.memories:
        here = of_memory.get(memory.name, ())
        for name, available in memory.instances:
            used = prod(s.parts or 1 for s in here if s.instances == name)
            parts = max(useful_factors(shapes[rank], min(most, available // used)), default=1)
            more = SpatialRank(instances=name, rank=rank, parts=parts, balanced=masked)
            able += [(memory.name, more)] if parts > 1 else []
    if not able:
        return None
    at, more = max(able, key=lambda x: x[1].parts or 1)  # Of equals, the outer cores.
    of_memory[at] = (*of_memory.get(at, ()), more)
    return tuple((m.name, of_memory[m.name]) for m in architecture.memories if m.name in of_memory)


def _with_factors(
    architecture: Architecture, shapes: Sizes[str, int], ranks: tuple[str, ...], rank: str
) -> Partitioning | None:
    """Return the partitioning with the least work per core that has balanced tiles of a given rank.

    Examples
    --------
    32 heads and 3 tiles of the queries use 96 of 108 SMs; 4 heads and 27 tiles use all:

    >>> machine = Architecture.load("a100-80gb")
    >>> ((memory, ways),) = _with_factors(machine, {"G": 8, "S": 4, "P": 8192}, ("G", "S"), "P")
    >>> memory, [(s.rank, s.parts) for s in ways]
    ('L2', [('G', 4), ('P', 27)])
    """
    fed = [(m.name, name, n) for m in architecture.memories for name, n in m.instances]
    if len(fed) != 1:
        return None
    ((memory, instances, available),) = fed
    sizes = {r: shapes[r] for r in ranks if shapes[r] > 1}
    candidates = [
        (partition_factors(sizes, available // parts, False), parts)
        for parts in useful_factors(shapes[rank], min(policy.MAX_UNEQUAL_TILES, available))
    ]
    others, parts = min(
        candidates,
        key=lambda w: (prod(-(-n // w[0].get(r, 1)) for r, n in sizes.items()) / w[1], w[1]),
    )
    if parts == 1:
        return None
    split = [SpatialRank(instances=instances, rank=r, parts=n) for r, n in others.items() if n > 1]
    split.append(SpatialRank(instances=instances, rank=rank, parts=parts, balanced=True))
    return ((memory, tuple(split)),)


def _leaves_idle(architecture: Architecture, partitioning: Partitioning) -> bool:
    return cores_used(partitioning) <= MANY_IDLE_SHARE * _available(architecture)


def idle_factor(architecture: Architecture, partitioning: Partitioning) -> float:
    """Return the number of all cores divided by the number that a partitioning uses."""
    return _available(architecture) / cores_used(partitioning)


def _available(architecture: Architecture) -> int:
    return prod(n for m in architecture.memories for _, n in m.instances)


def independent_ranks(
    program: Program, *, masked: bool = False, copied: Collection[str] | None = None
) -> Iterator[str]:
    """Yield the ranks besides the parallel ones that can be partitioned, in the cascade's order.

    Masked ranks are included if ``masked``.

    Parameters
    ----------
    copied : collection of str, optional
        Tiles of cut ranks that may be partitioned as well. If given, an Einsum may read a whole
        result of another Einsum on every core.
    """
    einsums = with_masks(program).einsums
    stepwise = stepwise_ranks(program)
    made = {e.name for e in einsums}
    iterated = {v for e in einsums for v in e.variables}
    for rank in program.ranks:
        if rank.partition or rank.name in stepwise:
            continue
        if rank.variable not in iterated:
            continue  # The rank is only the length of gathered tensors.
        if rank.family and rank.name not in (copied or ()):
            continue
        if not masked and has_mask_over(program, rank.name, of_data=False):
            continue
        needed = made if copied is None else ()
        if all(_is_partitionable(program, e, rank.variable, needed) for e in einsums):
            yield rank.name


def _is_partitionable(program: Program, e: Einsum, variable: str, made: Collection[str]) -> bool:
    """Return whether an Einsum can compute a tile of a rank from a tile of its operands.

    An operand in ``made``, which another Einsum makes, must have tiles as well: no single core can
    make it for all cores.
    """
    if variable not in e.variables:
        return True
    if variable not in e.target.variables:
        return False  # The Einsum sums over the whole rank.
    accesses = [e.target, *e.reads]
    if e.where is not None:
        accesses += (node for node in walk(e.where) if isinstance(node, Access))
    if any(a.tensor in made and not is_partitioned_along(a, variable) for a in e.reads):
        return False
    return all(
        follows_partition(program, i, variable) or is_local_gather(program, a, i, variable)
        for a in accesses
        for i in a.indices
        if variable in i.variables
    )
