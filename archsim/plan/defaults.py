"""Default mappings: the fastest known mapping of a part when none is given.

A machine that was designed for a mapping runs that mapping where it is legal. Otherwise the planner
evaluates the mappings it knows and takes the fastest: mappings that an earlier search found for the
same problem, built-in mappings of the cascade, blocked mappings on machines of many cores, and
generated mappings, with fused loops and one Einsum after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import log2, prod

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.shapes import complete_shapes

from ..legality.binding import bind
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.index import mapping_entries
from ..spec.mapping import BLOCK_BY_BLOCK, EINSUM_BY_EINSUM, FUSED, NEST_BY_NEST, Mapping
from .job import Evaluate, Generators, Job, Refusal, SlowerError
from .nest_cuts import cuts_of, gathered_inputs, nest_by_nest
from .partition_factors import Partitioning
from .partitioned_tiles import (
    TilePartitioning,
    mapping_with_partitioned_tiles,
    tile_partitionings,
    without_unequal_tiles,
)
from .partitioning import (
    critical_core_shapes,
    gathers_along,
    idle_factor,
    machine_of_one_core,
    partition_mapping,
    usual_partitionings,
)
from .parts import job_of
from .programs import program_of
from .selection import (
    blocks_mapping,
    derived_mapping,
    machines_own,
    partition_mapping_of_part,
    partitioned_mappings,
    partitionings_of_part,
    recalled_mapping,
    replicating_partitionings_of_part,
    split_reductions,
    stands_in,
)
from .workload import PartLike

ACCEPTED_FLOOR_RATIO = 1.1
"""How many times its floor a run may take to be taken without a look at others."""

FLOOR_RATIO_TO_TRY_UNEQUAL_TILES = 1.2
"""How many times its floor a run may take without a look at balanced parts that are unlike one
another, which are bound one by one."""

MAX_UNEQUAL_PARTITIONINGS = 2
"""Ways with such parts that are tried, those first that use most instances."""

FLOOR_RATIO_TO_TRY_SLOW_GENERATORS = 2
"""How many times its floor a run may take without a look at mappings that take long to make."""

FLOOR_RATIO_TO_TRY_FUSED = 1.4
"""The same where memories stand one inside of another, as mappings written for a single one leave
the innermost with next to nothing, and for what shares loops on a machine without instances, where
one mapping is made, and not one for each way to share the work."""

FLOOR_RATIO_TO_TRY_NESTS = 4
"""The same where several nests are known by then, and for these on a machine without instances:
there all nests are spread alike."""

_SEARCHED = "the mapping is one that an earlier search for this very problem found"

MAX_LATENCY_RATIO_TO_REPLACE = 0.98
"""The share of another's latency that a mapping must stay below to be preferred to one that
comes before it: written ones come before made ones, as they need less traffic and energy."""


def default_job(
    part: PartLike,
    name: str,
    architecture: Architecture,
    generators: Generators,
    evaluate: Evaluate,
) -> Job:
    """A part under the best mapping known, with its result.

    Parameters
    ----------
    name : str
        What the result is called.
    evaluate : callable
        What judges the mappings.

    Raises
    ------
    SpecError
        Shapes of the part are missing or contradict one another.
    MappingError
        None is legal; says why for each. ``NoLegalMappingError`` if each lacks room only.
    """
    best: tuple[Job, Result] | None = None
    errors: dict[str, InputError] = {}
    refused: tuple[Refusal, ...] = ()
    unmade: InputError | None = None
    for known in known_mappings(part, architecture, generators):
        if (best is not None and not known.may_be_faster(best[1])) or not known.there():
            continue
        try:
            mapping = known()
        except InputError as wrong:
            errors[known.name] = unmade = _without_traceback(wrong)
            continue
        try:
            job = job_of(part, mapping, architecture, generators, name=name)
            if known.searched:
                job = replace(job, searched=True, notes=(*job.notes, _SEARCHED))
            result = evaluate(job if best is None else replace(job, limit_s=_limit(job, *best)))
        except SlowerError:
            continue
        except InputError as wrong:
            errors[known.name] = _without_traceback(wrong)
            continue
        if best is None or result.latency_s < MAX_LATENCY_RATIO_TO_REPLACE * best[1].latency_s:
            best = job, result
            refused = tuple(Refusal(m, _reason(why)) for m, why in errors.items())
        if result.over_floor <= ACCEPTED_FLOOR_RATIO or known.designed:
            break
    if best is None:
        raise _none_is_legal(part, architecture, errors, unmade)
    job, result = best
    said = (f"mapping '{r.mapping}' is not legal here: {r.reason}" for r in refused)
    return replace(job, known=result, refused=refused, notes=(*job.notes, *said))


def _limit(job: Job, other: Job, best: Result) -> float | None:
    """Seconds beyond which a job is neither preferred to the best before it nor near the floor."""
    if job.mapping.cascade != other.mapping.cascade:
        return None  # its floor may be another
    return max(
        MAX_LATENCY_RATIO_TO_REPLACE * best.latency_s, ACCEPTED_FLOOR_RATIO * best.floor.latency_s
    )


def _without_traceback(wrong: InputError) -> InputError:
    """An error without its traceback, which would keep all that led to it until it is collected."""
    return wrong.with_traceback(None)


@dataclass(frozen=True, slots=True)
class KnownMapping:
    """A mapping by its name, which is read or made when it is asked for."""

    name: str
    make: Callable[[], Mapping]
    designed: bool = False
    """Whether the machine was designed for it, and runs it whatever else is faster."""
    searched: bool = False
    """Whether it is what an earlier search for the very same problem found."""
    beyond: float = 0
    """It is tried where all before it take more than so many times their floor."""
    idle: float = 1
    """How many times what it would take if all instances of the machine were at work its arrays
    take at the least."""
    there: Callable[[], bool] = lambda: True
    """Whether there is such a mapping at all, where to tell takes a while: it is asked last."""

    def may_be_faster(self, best: Result) -> bool:
        """Whether it is worth a look beside the best of those before it."""
        return best.over_floor > self.beyond and best.latency_s > best.floor.compute_s * self.idle

    def __call__(self) -> Mapping:
        """The mapping. Raises SpecError or MappingError where it cannot be had."""
        return self.make()


def known_mappings(
    part: PartLike, architecture: Architecture, generators: Generators
) -> Iterator[KnownMapping]:
    """Mappings that compute a part, in the order in which they are tried.

    Parameters
    ----------
    generators : Generators
        What makes those that come last: one whose Einsums share loops, and one Einsum after
        the other.
    """
    own = machines_own(part, architecture)
    cascade = part.cascade
    written: list[KnownMapping] = []
    if own is not None:
        cascade = own.cascade
        written.append(KnownMapping(own.name, lambda: own, designed=True))
    else:
        recalled = recalled_mapping(part, architecture, generators)
        if recalled is not None:
            written.append(KnownMapping(recalled.name, lambda: recalled, searched=True))
    entries = mapping_entries(cascade)
    written += (KnownMapping(e.name, e.load) for e in entries if own is None or e.name != own.name)
    for known in written:
        yield from _in_all_partitionings(known, part, architecture)
    partitionings = partitionings_of_part(part, architecture, cascade)
    copying = replicating_partitionings_of_part(part, architecture, cascade)
    for known, partitioning in product(written, copying):
        spread = partial(_partitioned, known, partitioning, part, architecture)
        yield replace(
            known,
            make=spread,
            beyond=FLOOR_RATIO_TO_TRY_SLOW_GENERATORS,
            idle=idle_factor(architecture, partitioning),
        )
    for partitioning in partitionings if len(partitionings) > 1 else ():
        blocks = blocks_mapping(part, architecture, generators, cascade, partitioning)
        if blocks is not None:
            yield KnownMapping(BLOCK_BY_BLOCK, partial(_itself, blocks))
    yield from _fused_and_after(part, architecture, generators, cascade, (partitionings, copying))
    yield from _split(part, architecture, generators, cascade)


def _fused_and_after(
    part: PartLike,
    architecture: Architecture,
    generators: Generators,
    cascade: str,
    spread: tuple[tuple[Partitioning, ...], tuple[Partitioning, ...]],
) -> Iterator[KnownMapping]:
    """What is made of Einsums that share loops, of one after the other, and of several nests: of
    the usual ways to ``spread``, and those in which instances need what one of them makes."""
    partitionings, copying = spread
    far = (
        FLOOR_RATIO_TO_TRY_FUSED
        if len(architecture.memories) > 2 and architecture.tree.is_line
        else FLOOR_RATIO_TO_TRY_SLOW_GENERATORS
    )
    nests = KnownMapping(
        NEST_BY_NEST,
        partial(nest_by_nest, part, architecture, generators, cascade),
        beyond=far if architecture.has_instances else FLOOR_RATIO_TO_TRY_NESTS,
    )
    cuts = partial(cuts_of, part, architecture, generators, cascade)
    picked = architecture.has_instances and gathered_inputs(program_of(part, architecture, cascade))
    first = bool(picked) and cuts().at_gathers
    if first:
        yield nests
        far = FLOOR_RATIO_TO_TRY_NESTS
    make = partial(derived_mapping, part, architecture, generators, cascade)
    for name, fuse in ((FUSED, True), (EINSUM_BY_EINSUM, False)):
        # Those that leave most idle last: what is known by then is sooner than they can be.
        for partitioning in sorted(
            (*partitionings, *copying), key=partial(_idle_half_octaves, architecture)
        ):
            beyond = (
                far
                if fuse or first
                else FLOOR_RATIO_TO_TRY_SLOW_GENERATORS
                if partitioning in copying
                else 0
            )
            if fuse and not architecture.has_instances:
                beyond = FLOOR_RATIO_TO_TRY_FUSED
            idle = idle_factor(architecture, partitioning)
            yield KnownMapping(
                name, partial(make, partitioning, fuse=fuse), beyond=beyond, idle=idle
            )
    yield from _with_partitioned_tiles(part, architecture, generators, cascade)
    picking = _shared_gather_partitioning(part, architecture, cascade, (*copying, *partitionings))
    if picking is not None:
        more = partial(fused_with_shared_gathers, part, architecture, generators, cascade, picking)
        idle = idle_factor(architecture, picking)
        yield KnownMapping(
            FUSED, more, beyond=max(far, FLOOR_RATIO_TO_TRY_SLOW_GENERATORS), idle=idle
        )
    if not first:
        yield replace(nests, there=lambda: cuts().any)


def _with_partitioned_tiles(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> Iterator[KnownMapping]:
    """What is made of Einsums that share loops whose tiles are in parts for idle instances, and
    where balanced parts of a rank may be far longer than their mean."""
    if not architecture.has_instances:
        return
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    usual = map(without_unequal_tiles, usual_partitionings(program, architecture, given))
    uneven = [x for x in usual if x is not None][:MAX_UNEQUAL_PARTITIONINGS]
    found = (*tile_partitionings(program, architecture, given), *uneven)
    for tiles in found:

        def made(tiles: TilePartitioning = tiles) -> Mapping:
            found = mapping_with_partitioned_tiles(
                program, architecture, given, generators.fuse, tiles
            )
            return replace(found, cascade=cascade)

        idle = idle_factor(architecture, tiles.partitioning)
        yield KnownMapping(FUSED, made, beyond=FLOOR_RATIO_TO_TRY_UNEQUAL_TILES, idle=idle)


def _shared_gather_partitioning(
    part: PartLike,
    architecture: Architecture,
    cascade: str,
    partitionings: tuple[Partitioning, ...],
) -> Partitioning | None:
    """The first way in which instances pick alike, so that a memory has more room than for what
    each of them needs by itself; None if there is none."""
    if not any(partitionings):
        return None
    program = program_of(part, architecture, cascade)
    return next(
        (
            partitioning
            for partitioning in partitionings
            if cores_with_shared_gathers(program, partitioning) >= MIN_CORES_WITH_SHARED_GATHERS
        ),
        None,
    )


def _idle_half_octaves(architecture: Architecture, partitioning: Partitioning) -> int:
    """How often the instances in use are doubled before all are, in halves."""
    return round(2 * log2(idle_factor(architecture, partitioning)))


def _split(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> Iterator[KnownMapping]:
    """What is made for cascades that let cores share what one of them would sum up alone."""
    for other, partitioning in split_reductions(part, architecture, cascade):
        for name, fuse in ((FUSED, True), (EINSUM_BY_EINSUM, False)):
            make = partial(
                derived_mapping, part, architecture, generators, other, partitioning, fuse=fuse
            )
            yield KnownMapping(name, make, beyond=ACCEPTED_FLOOR_RATIO)


def _in_all_partitionings(
    known: KnownMapping, part: PartLike, architecture: Architecture
) -> Iterator[KnownMapping]:
    """A written mapping in each way to spread it over the machine's instances."""
    if not architecture.has_instances:
        yield known
        return
    try:
        partitionings = partitioned_mappings(known(), part, architecture)
    except InputError:
        yield known  # who asks for it is told
        return
    for mapping in partitionings:
        yield replace(known, make=partial(_itself, mapping))


def _partitioned(
    known: KnownMapping, partitioning: Partitioning, part: PartLike, architecture: Architecture
) -> Mapping:
    return partition_mapping_of_part(known(), partitioning, part, architecture)


def _itself(mapping: Mapping) -> Mapping:
    return mapping


def _reason(error: InputError) -> str:
    return error.problems[0].message


def _none_is_legal(
    part: PartLike,
    architecture: Architecture,
    errors: dict[str, InputError],
    unmade: InputError | None,
) -> InputError:
    """One error that says why each mapping is not legal; a common reason is said once.

    What is wrong with the shapes is wrong with all, and the made mapping says it plainly. Where
    none can be made (no array does what an Einsum needs) a search would find none either.
    """
    found = list(errors.values())
    if isinstance(found[-1], SpecError) or len({str(e) for e in found}) == 1:
        return found[-1]
    # The made mapping has no tiles to fit, so that it never says that it lacks room alone.
    short = all(isinstance(e, NoLegalMappingError) for e in found[:-1])
    lines = [f"no mapping that is known is legal on {architecture.name}:"]
    lines += [f"    {name}: {_reason(e)}" for name, e in errors.items()]
    hint = "write one for this machine, or search with --mapping auto"
    if unmade is not None:
        hint = unmade.problems[0].hint or hint
    problems = [Problem("\n".join(lines), hint=hint), *_advice(part, architecture)]
    return (NoLegalMappingError if short else MappingError)(problems)


def _advice(part: PartLike, architecture: Architecture) -> Iterator[Problem]:
    """What the mapping that a machine was designed for would leave out of a part."""
    if architecture.mapping is None:
        return
    own = Mapping.load(architecture.mapping)
    if not stands_in(part, own.cascade):
        return
    lacking = part.left_out_by(Cascade.load(own.cascade).program)
    if lacking:
        text = f"{architecture.name} was designed for mapping '{own.name}'; with it "
        yield Problem(text + "; ".join(lacking), hint=f"--mapping {own.name}")


_CAPACITY_DIVISORS = (4, 8)
"""How many times less room there may be than if all were the same for those that pick: beside what
they pick from each has results of its own."""

MIN_CORES_WITH_SHARED_GATHERS = 8
"""Instances that pick alike for there to be more room: twice an instance's share, at the least."""


def cores_with_shared_gathers(program: Program, partitioning: Partitioning) -> int:
    """How many instances pick from the same positions.

    Parameters
    ----------
    program : Program
    way : Spreading

    Examples
    --------
    Four heads have keys of their own, and 27 parts of the queries pick from those of one head:

    >>> from archsim.spec.mapping import SpreadRank
    >>> from einsum_cascade import Cascade
    >>> ranks = [SpreadRank(instances="sms", rank=r, parts=n) for r, n in (("H", 4), ("P", 27))]
    >>> program = Cascade.load("mixture-of-block-attention").program
    >>> cores_with_shared_gathers(program, (("L2", tuple(ranks)),))
    27
    """
    spread = (s for _, ranks in partitioning for s in ranks)
    return prod(s.parts or 1 for s in spread if gathers_along(program, s.rank))


def with_shared_gather_capacity(
    program: Program, architecture: Architecture, partitioning: Partitioning
) -> Iterator[Architecture]:
    """The machine as one instance sees it, with more room than its share, the most first.

    Parameters
    ----------
    program : Program
    architecture : Architecture
        The whole machine.
    way : Spreading
    """
    seen, alike = (
        machine_of_one_core(architecture, partitioning),
        cores_with_shared_gathers(program, partitioning),
    )
    whole = {m.name: m.capacity_bytes for m in architecture.memories}
    for times in (alike // n for n in _CAPACITY_DIVISORS if alike // n >= 2):
        memories = (
            m if m.capacity_bytes is None else replace(m, capacity_bytes=min(room, times * share))
            for m in seen.memories
            for room, share in [(whole[m.name] or 0, m.capacity_bytes or 0)]
        )
        yield replace(seen, memories=tuple(memories))


def fused_with_shared_gathers(
    part: PartLike,
    architecture: Architecture,
    generators: Generators,
    cascade: str,
    partitioning: Partitioning,
) -> Mapping:
    """The mapping with shared loops that is made for most room, of those that fit.

    Parameters
    ----------
    part : PartLike
    architecture : Architecture
        The whole machine.
    generators : Generators
        What makes mappings.
    cascade : str
        The part's own, or one that computes the same.
    way : Spreading
        In which several instances pick alike: some room is tried.

    Raises
    ------
    MappingError
        None fits; says why the last does not.
    """
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    one = critical_core_shapes(partitioning, given, program)
    why: MappingError | None = None
    for seen in with_shared_gather_capacity(program, architecture, partitioning):
        try:
            made = generators.fuse(program, seen, one)
            spread = partition_mapping(
                replace(made, cascade=cascade), partitioning, architecture, program
            )
            named = replace(spread, cascade=program.name)
            bind(program, named, architecture, dict(given))
        except MappingError as wrong:
            why = wrong.with_traceback(None)
            continue
        return spread
    assert why is not None, "it is asked where there is more room"
    raise why
