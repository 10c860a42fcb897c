"""Partitionings that split a cascade's own tiles over idle cores, with shared loops sunk inward."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from itertools import product

from einsum_cascade.errors import InputError, NoLegalMappingError
from einsum_cascade.ir import Program

from ..legality.binding import bind, with_parameters
from ..nest.partition import has_mask_over
from ..spec.arch import Architecture
from ..spec.mapping import Mapping, NestLevel, SpatialRank
from . import policy
from .job import MakeMapping
from .partition_factors import (
    Partitioning,
    cores_used,
    is_divisible,
    partial_elements,
    partial_results,
    stepwise_ranks,
)
from .partitioning import (
    critical_core_shapes,
    idle_factor,
    machine_of_one_core,
    partition_mapping,
    usual_partitionings,
)
from .problem import Cores, MappingProblem


def sink_loops(mapping: Mapping, outer: str, inner: str, number: int) -> Mapping:
    """Return a mapping with some loops of an outer memory moved to an inner memory.

    The moved loops are the innermost shared ones, and the Einsums' own loops at the outer memory.

    Parameters
    ----------
    mapping : Mapping
    outer, inner : str
        The memories, as the mapping names them.
    number : int
        Number of shared loops to move.
    """
    nest: list[NestLevel] = []
    for level in mapping.nest:
        if level.level != outer:
            nest.append(level)
            continue
        stay = len(level.loops) - number
        nest.append(replace(level, loops=level.loops[:stay]))
        nest.append(replace(level, level=inner, loops=level.loops[stay:]))

    def moved(nest: tuple[NestLevel, ...]) -> tuple[NestLevel, ...]:
        return tuple(replace(x, level=inner) if x.level == outer else x for x in nest)

    einsums = (replace(e, nest=moved(e.nest)) for e in mapping.einsums)
    return replace(
        mapping, nest=tuple(level for level in nest if level.loops), einsums=tuple(einsums)
    )


@dataclass(frozen=True, slots=True)
class TilePartitioning:
    """Partitioning that splits tiles which the cascade itself cuts, and the partitioning without
    them."""

    rest: Partitioning
    """Partitioning of the other ranks alone; the mapping of a core is generated for it."""
    partitioning: Partitioning


def tile_partitionings(problem: MappingProblem) -> tuple[TilePartitioning, ...]:
    """Return partitionings that split a cascade's tiles over otherwise idle cores.

    Partitionings with the fewest partial results come first. Among equal ones, partitionings with
    most tiles of other ranks come first.

    There are none if several memories feed cores, or if cores form a ring.
    """
    program, cores = problem.program, problem.unlinked_cores
    members = [m for m in divisible_tiles(program) if _is_open(program, problem.shapes, m)]
    if cores is None or not members:
        return ()
    rests = {
        partitioning
        for partitioning in problem.memo(usual_partitionings)
        if 2 * cores_used(partitioning) <= cores.number and _is_even(partitioning)
    }
    found: list[TilePartitioning] = []
    for rest, member in product(rests, members):
        length = problem.shapes.get(program.rank_of[member].family or member, 1)
        parts = min(policy.MAX_PARTITIONED_TILES, cores.number // cores_used(rest), length)
        if parts > 1:
            found.append(_with_tiles(program, rest, cores, member, parts))
    idle = [idle_factor(problem.architecture, x.partitioning) for x in found]
    found = [x for x, n in zip(found, idle, strict=True) if n <= policy.MAX_IDLE_RATIO * min(idle)]
    found.sort(key=lambda x: (partial_elements(problem, x.partitioning), -cores_used(x.rest)))
    return tuple(found[: policy.MAX_TILE_PARTITIONINGS])


def without_unequal_tiles(partitioning: Partitioning) -> TilePartitioning | None:
    """Return a usual partitioning with unequal tiles, together with the partitioning without them.

    A mapping generated for the whole rank fits each of its tiles. The result is None if no tiles
    are unequal, or if several memories feed cores.
    """
    if len(partitioning) != 1 or _is_even(partitioning):
        return None
    ((memory, ranks),) = partitioning
    rest = tuple(s for s in ranks if not s.balanced)
    return TilePartitioning(((memory, rest),) if rest else (), partitioning)


def _is_open(program: Program, given: Sizes[str, int], member: str) -> bool:
    """Return whether a tile of a cut rank may still be partitioned.

    It may if the mapping chooses the tile's length, or if an Einsum sums over the tile.
    ``replicating_partitionings`` already split all other tiles.
    """
    family = program.rank_of[member].family or member
    fixed = any(m in given for m in program.rank_of[family].partition)
    return not fixed or bool(partial_results(program, {member.lower()}))


def _is_even(partitioning: Partitioning) -> bool:
    """Return whether all tiles are equally long; tiles balanced under a mask are not."""
    return not any(s.balanced for _, ranks in partitioning for s in ranks)


def _with_tiles(
    program: Program, rest: Partitioning, cores: Cores, member: str, parts: int
) -> TilePartitioning:
    """Return a partitioning of other ranks with the tiles of one cut rank added."""
    masked = has_mask_over(program, member, of_data=False)
    tiles = SpatialRank(instances=cores.name, rank=member, parts=parts, balanced=masked)
    ((_, ranks),) = rest or ((cores.memory.name, ()),)
    return TilePartitioning(rest, ((cores.memory.name, (*ranks, tiles)),))


def divisible_tiles(program: Program) -> tuple[str, ...]:
    """Return the outermost tiles of cut ranks that can be split over cores.

    Tiles over which Einsums sum are included.

    Parameters
    ----------
    program : Program

    Examples
    --------
    In the gradients of attention each tile of queries meets each tile of keys by itself. If a
    value passes from one tile of keys to the next, no core can begin in the middle:

    >>> from einsum_cascade import Cascade
    >>> divisible_tiles(Cascade.load("flash-attention-2-backward").program)
    ('P1', 'M1')
    >>> divisible_tiles(Cascade.load("attention-1pass").program)
    ()
    """
    stepwise = stepwise_ranks(program)
    found: list[str] = []
    for rank in program.ranks:
        if not rank.partition or {rank.name, *rank.partition} & stepwise:
            continue
        whole, member = rank.variable, rank.partition[0]
        using = [e for e in program.einsums if member.lower() in e.variables]
        able = all(is_divisible(program, e, member.lower()) for e in using)
        if using and able and not any(whole in e.variables for e in program.einsums):
            found.append(member)
    return tuple(found)


def mapping_with_partitioned_tiles(
    problem: MappingProblem, fuse: MakeMapping, tiles: TilePartitioning
) -> Mapping:
    """Return a fused mapping with split tiles, with as many loops at the feeding memory as fit.

    Parameters
    ----------
    problem : MappingProblem
    fuse : MakeMapping
        Generator of the mapping of a core.
    tiles : TilePartitioning
        One of ``tile_partitionings``.

    Raises
    ------
    SpecError, MappingError
        As ``MakeMapping``, or no generated mapping is legal.
    """
    program, architecture = problem.program, problem.architecture
    core = _machine_of_one_core(architecture, tiles)
    made = fuse(program, core, critical_core_shapes(tiles.rest, problem.shapes, program))
    cascade, sizes = with_parameters(program, problem.shapes)
    refused: InputError | None = None
    for mapping in _with_loops_sunk(made, architecture, tiles.partitioning):
        partitioned = partition_mapping(mapping, tiles.partitioning, architecture, program)
        try:
            bind(cascade, partitioned, architecture, sizes)
        except InputError as wrong:
            refused = wrong.with_traceback(None)
        else:
            return partitioned
    assert refused is not None, "one mapping is bound at the least"
    raise NoLegalMappingError(refused.problems[0].message)


def _machine_of_one_core(architecture: Architecture, tiles: TilePartitioning) -> Architecture:
    """Return the machine as one core sees it, if cores with other tiles share the outer memories.

    The core has its own share of bandwidth at the memory that feeds the cores.
    """
    shared, own = (
        machine_of_one_core(architecture, partitioning)
        for partitioning in (tiles.rest, tiles.partitioning)
    )
    speeds = {m.name: m.bandwidth_bytes_per_s for m in own.memories}
    ((feeding, _),) = tiles.partitioning
    memories = tuple(
        replace(m, bandwidth_bytes_per_s=speeds[m.name]) if m.name == feeding else m
        for m in shared.memories
    )
    return replace(shared, memories=memories)


def _with_loops_sunk(
    made: Mapping, architecture: Architecture, partitioning: Partitioning
) -> Iterator[Mapping]:
    """Yield variants of a mapping: all, fewer, and none of its outermost loops are moved inward.

    The moved loops run at the memory that feeds the cores.
    """
    outer = architecture.home.name
    loops = next((level.loops for level in made.nest if level.level == outer), ())
    for memory, _ in partitioning if partitioning[0][0] != outer else ():
        for number in range(len(loops), 0, -1):
            yield sink_loops(made, outer, memory, number)
    yield made
