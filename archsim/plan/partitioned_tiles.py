"""Partitionings of a cascade's own tiles over idle cores, with shared loops sunk inward."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from itertools import chain, product
from math import prod

from einsum_cascade.errors import InputError, NoLegalMappingError, Problem
from einsum_cascade.ir import Access, Einsum, Program, walk

from ..legality.binding import bind, with_parameters
from ..nest.partition import has_mask_over
from ..spec.arch import Architecture, Memory
from ..spec.mapping import Mapping, NestLevel, SpreadRank
from .job import MakeMapping
from .partial_results import elements_of, partial_results
from .partition_factors import Partitioning, cores_used
from .partitioning import (
    critical_core_shapes,
    follows_partition,
    idle_factor,
    machine_of_one_core,
    partition_mapping,
    usual_partitionings,
)
from .policy import (
    MAX_IDLE_RATIO,
    MAX_PARTITIONED_TILES,
    MAX_TILE_PARTITIONINGS,
)


def sink_loops(mapping: Mapping, outer: str, inner: str, number: int) -> Mapping:
    """Move the innermost shared loops of a memory, and the Einsums' own loops there, to an inner
    memory.

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
    einsums = (
        replace(
            e,
            nest=tuple(
                replace(level, level=inner) if level.level == outer else level for level in e.nest
            ),
        )
        for e in mapping.einsums
    )
    return replace(
        mapping, nest=tuple(level for level in nest if level.loops), einsums=tuple(einsums)
    )


@dataclass(frozen=True, slots=True)
class TilePartitioning:
    """Partitioning in which a cascade's own tiles are split."""

    rest: Partitioning
    """Partitioning without the split tiles, for which the mapping of a core is generated."""
    partitioning: Partitioning


def tile_partitionings(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> tuple[TilePartitioning, ...]:
    """Return partitionings that split tiles over cores that other ranks leave idle.

    Those with the fewest partial results come first, and among equal ones those with most tiles of
    other ranks.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank, and parameters.

    Returns
    -------
    tuple
        Empty if several memories feed cores, or if cores form a ring.
    """
    fed = [(m, name, n) for m in architecture.memories for name, n in m.instances]
    if len(fed) != 1 or architecture.memories[0].ring:
        return ()
    ((memory, name, available),) = fed
    members = [m for m in divisible_tiles(program) if _is_open(program, given, m)]
    if not members:
        return ()
    usual = usual_partitionings(program, architecture, given)
    rests = {
        partitioning
        for partitioning in usual
        if 2 * cores_used(partitioning) <= available and _is_even(partitioning)
    }
    found = [
        _beside(program, rest, memory, SpreadRank(instances=name, rank=m, parts=parts))
        for rest, m in product(rests, members)
        if (
            parts := min(
                MAX_PARTITIONED_TILES, available // cores_used(rest), _length(program, given, m)
            )
        )
        > 1
    ]
    least = min((idle_factor(architecture, x.partitioning) for x in found), default=1.0)
    found = [
        x for x in found if idle_factor(architecture, x.partitioning) <= MAX_IDLE_RATIO * least
    ]
    found.sort(
        key=lambda x: (_partial_elements(program, given, x.partitioning), -cores_used(x.rest))
    )
    return tuple(found[:MAX_TILE_PARTITIONINGS])


def without_unequal_tiles(partitioning: Partitioning) -> TilePartitioning | None:
    """Return a usual partitioning with unequal tiles, and the same without them.

    A mapping generated for the whole rank fits each of its tiles. The result is None if no tiles
    are unequal, or if several memories feed cores.
    """
    if len(partitioning) != 1 or _is_even(partitioning):
        return None
    ((memory, ranks),) = partitioning
    rest = tuple(s for s in ranks if not s.balanced)
    return TilePartitioning(((memory, rest),) if rest else (), partitioning)


def _is_open(program: Program, given: Sizes[str, int], member: str) -> bool:
    """Return whether the mapping chooses a tile's length, or the tile is summed over.

    ``replicating_partitionings`` already split all other tiles.
    """
    family = program.rank_of[member].family or member
    told = any(m in given for m in program.rank_of[family].partition)
    return not told or bool(partial_results(program, {member.lower()}))


def _is_even(partitioning: Partitioning) -> bool:
    """Return whether all tiles are equal: none is balanced under a mask."""
    return not any(s.balanced for _, ranks in partitioning for s in ranks)


def _beside(
    program: Program, rest: Partitioning, memory: Memory, tiles: SpreadRank
) -> TilePartitioning:
    """Return a partitioning of other ranks, extended by split tiles."""
    masked = has_mask_over(program, tiles.rank, of_data=False)
    ((_, ranks),) = rest or ((memory.name, ()),)
    partitioning = ((memory.name, (*ranks, replace(tiles, balanced=masked))),)
    return TilePartitioning(rest, partitioning)


def _length(program: Program, given: Sizes[str, int], member: str) -> int:
    """Return the coordinates of the cut rank, which limit the number of its tiles."""
    return given.get(program.rank_of[member].family or member, 1)


def _partial_elements(program: Program, given: Sizes[str, int], partitioning: Partitioning) -> int:
    """Return the elements of the partial results of all cores."""
    parts = {s.rank.lower(): s.parts or 1 for _, ranks in partitioning for s in ranks}
    found = 0
    for name in partial_results(program, parts):
        e = program.einsum_of[name]
        copies = prod(n for v, n in parts.items() if v in {*e.variables} - {*e.target.variables})
        found += copies * elements_of(program, (v.upper() for v in e.target.variables), given)
    return found


def divisible_tiles(program: Program) -> tuple[str, ...]:
    """Return the outermost tiles of cut ranks that can be split, whether Einsums sum over them
    or not.

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
    stepped = {*chain.from_iterable(program.iterative.values())}
    alike = {r.like for r in program.ranks} | {r.name for r in program.ranks if r.like}
    found: list[str] = []
    for rank in program.ranks:
        if not rank.partition or {rank.name, *rank.partition} & (stepped | alike):
            continue
        whole, member = rank.variable, rank.partition[0]
        using = [e for e in program.einsums if member.lower() in e.variables]
        able = all(_divisible(program, e, member.lower()) for e in using)
        if using and able and not any(whole in e.variables for e in program.einsums):
            found.append(member)
    return tuple(found)


def _divisible(program: Program, e: Einsum, variable: str) -> bool:
    """Return whether an Einsum can compute a split tile: without gathers, and without masks by
    data."""
    if e.select is not None and variable in e.over:
        return False
    asked = () if e.where is None else (n for n in walk(e.where) if isinstance(n, Access))
    if any(variable in node.variables for node in asked):
        return False
    return all(
        follows_partition(program, i, variable)
        for a in (e.target, *e.reads)
        for i in a.indices
        if variable in i.variables
    )


def mapping_with_partitioned_tiles(
    program: Program,
    architecture: Architecture,
    given: Sizes[str, int],
    fuse: MakeMapping,
    tiles: TilePartitioning,
) -> Mapping:
    """Return the fused mapping with split tiles, and as many loops at the feeding memory as fit.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank, and parameters.
    fuse : MakeMapping
        Generator of the mapping of a core.
    tiles : TilePartitioning
        One of ``tile_partitionings``.

    Raises
    ------
    SpecError, MappingError
        As ``MakeMapping``, or no generated mapping is legal.
    """
    made = fuse(
        program,
        _machine_of_one_core(architecture, tiles),
        critical_core_shapes(tiles.rest, given, program),
    )
    told, sizes = with_parameters(program, dict(given))
    refused: InputError | None = None
    for mapping in _with_loops_sunk(made, architecture, tiles.partitioning):
        spread = partition_mapping(mapping, tiles.partitioning, architecture, program)
        try:
            bind(told, spread, architecture, sizes)
        except InputError as wrong:
            refused = wrong.with_traceback(None)
        else:
            return spread
    assert refused is not None, "one mapping is bound at the least"
    raise NoLegalMappingError(Problem(refused.problems[0].message))


def _machine_of_one_core(architecture: Architecture, tiles: TilePartitioning) -> Architecture:
    """Return the machine of one core, whose outer memories are shared with cores that have other
    tiles.

    The memory that feeds the cores gives each core its own share of bandwidth.
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
    """Yield a mapping with all, fewer and none of its outermost loops at the memory that feeds
    the cores."""
    outer = architecture.home.name
    loops = next((level.loops for level in made.nest if level.level == outer), ())
    for memory, _ in partitioning if partitioning[0][0] != outer else ():
        for number in range(len(loops), 0, -1):
            yield sink_loops(made, outer, memory, number)
    yield made
