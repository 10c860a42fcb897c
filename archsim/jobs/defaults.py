"""How a part of a workload runs where nobody says how: the best way that is known.

A machine that was designed for a mapping runs by that where it is legal. Else what is known is
run, and the fastest is taken: what an earlier search found for the very same problem, the
built-in mappings of the cascade, on machines of many cores those in blocks, and the one that is
made for any cascade, one Einsum after the other.

A mapping that fills the arrays in prefill may leave all rows but one idle when a single
token is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import log2

from einsum_cascade import Cascade
from einsum_cascade.errors import (
    InputError,
    MappingError,
    NoLegalMappingError,
    Problem,
    SpecError,
)
from einsum_cascade.shapes import complete_shapes

from ..result.record import Result
from ..spec.arch import Architecture
from ..spec.index import mapping_entries
from ..spec.mapping import BLOCK_BY_BLOCK, EINSUM_BY_EINSUM, FUSED, NEST_BY_NEST, Mapping
from .alike_picks import MANY_ALIKE, fused_with_more_room, picking_alike
from .best_parts import Spreading
from .job import Evaluate, Generators, Job, Refusal, SlowerError
from .nest_by_nest import cuts_of, nest_by_nest
from .parts import job_of
from .programs import program_of
from .selection import (
    blocks_mapping,
    copying_ways,
    derived_mapping,
    machines_own,
    recalled_mapping,
    split_ways,
    spread_in_way,
    stands_in,
    ways_to_spread,
    written_ways,
)
from .spreading import idle_times, spreadings
from .stages import picked_inputs
from .tiles_in_parts import (
    TilesInParts,
    mapping_with_tiles,
    ways_with_tiles,
    without_balanced,
)
from .workload import PartLike

NEAR = 1.1
"""How many times its floor a run may take to be taken without a look at others."""

_NEARLY = 1.2
"""How many times its floor a run may take without a look at balanced parts that are unlike one
another, which are bound one by one."""

_UNEVEN = 2
"""Ways with such parts that are tried, those first that use most instances."""

FAR = 2
"""How many times its floor a run may take without a look at mappings that take long to make."""

LESS_FAR = 1.4
"""The same where memories stand one inside of another, as mappings written for a single one leave
the innermost with next to nothing, and for what shares loops on a machine without instances, where
one mapping is made, and not one for each way to share the work."""

VERY_FAR = 4
"""The same where several nests are known by then, and for these on a machine without instances:
there all nests are spread alike."""

_SEARCHED = "the mapping is one that an earlier search for this very problem found"

FASTER = 0.98
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
        if (best is not None and not known.may_be_sooner(best[1])) or not known.there():
            continue
        try:
            mapping = known()
        except InputError as wrong:
            errors[known.name] = unmade = _alone(wrong)
            continue
        try:
            job = job_of(part, mapping, architecture, generators, name=name)
            if known.searched:
                job = replace(job, searched=True, notes=(*job.notes, _SEARCHED))
            result = evaluate(job if best is None else replace(job, limit_s=_limit(job, *best)))
        except SlowerError:
            continue
        except InputError as wrong:
            errors[known.name] = _alone(wrong)
            continue
        if best is None or result.latency_s < FASTER * best[1].latency_s:
            best = job, result
            refused = tuple(Refusal(m, _reason(why)) for m, why in errors.items())
        if result.over_floor <= NEAR or known.designed:
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
    return max(FASTER * best.latency_s, NEAR * best.floor.latency_s)


def _alone(wrong: InputError) -> InputError:
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

    def may_be_sooner(self, best: Result) -> bool:
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
        yield from _in_all_ways(known, part, architecture)
    ways = ways_to_spread(part, architecture, cascade)
    copying = copying_ways(part, architecture, cascade)
    for known, way in product(written, copying):
        spread = partial(_spread_so, known, way, part, architecture)
        yield replace(known, make=spread, beyond=FAR, idle=idle_times(architecture, way))
    for way in ways if len(ways) > 1 else ():
        blocks = blocks_mapping(part, architecture, generators, cascade, way)
        if blocks is not None:
            yield KnownMapping(BLOCK_BY_BLOCK, partial(_itself, blocks))
    yield from _fused_and_after(part, architecture, generators, cascade, (ways, copying))
    yield from _split(part, architecture, generators, cascade)


def _fused_and_after(
    part: PartLike,
    architecture: Architecture,
    generators: Generators,
    cascade: str,
    spread: tuple[tuple[Spreading, ...], tuple[Spreading, ...]],
) -> Iterator[KnownMapping]:
    """What is made of Einsums that share loops, of one after the other, and of several nests: of
    the usual ways to ``spread``, and those in which instances need what one of them makes."""
    ways, copying = spread
    far = LESS_FAR if len(architecture.memories) > 2 and architecture.tree.is_line else FAR
    nests = KnownMapping(
        NEST_BY_NEST,
        partial(nest_by_nest, part, architecture, generators, cascade),
        beyond=far if architecture.has_instances else VERY_FAR,
    )
    cuts = partial(cuts_of, part, architecture, generators, cascade)
    picked = architecture.has_instances and picked_inputs(program_of(part, architecture, cascade))
    first = bool(picked) and cuts().among_picks
    if first:
        yield nests
        far = VERY_FAR
    make = partial(derived_mapping, part, architecture, generators, cascade)
    for name, fuse in ((FUSED, True), (EINSUM_BY_EINSUM, False)):
        # Those that leave most idle last: what is known by then is sooner than they can be.
        for way in sorted((*ways, *copying), key=partial(_idle_twofold, architecture)):
            beyond = far if fuse or first else FAR if way in copying else 0
            if fuse and not architecture.has_instances:
                beyond = LESS_FAR
            idle = idle_times(architecture, way)
            yield KnownMapping(name, partial(make, way, fuse=fuse), beyond=beyond, idle=idle)
    yield from _in_tiles(part, architecture, generators, cascade)
    picking = _picking(part, architecture, cascade, (*copying, *ways))
    if picking is not None:
        more = partial(fused_with_more_room, part, architecture, generators, cascade, picking)
        idle = idle_times(architecture, picking)
        yield KnownMapping(FUSED, more, beyond=max(far, FAR), idle=idle)
    if not first:
        yield replace(nests, there=lambda: cuts().any)


def _in_tiles(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> Iterator[KnownMapping]:
    """What is made of Einsums that share loops whose tiles are in parts for idle instances, and
    where balanced parts of a rank may be far longer than their mean."""
    if not architecture.has_instances:
        return
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    usual = map(without_balanced, spreadings(program, architecture, given))
    uneven = [x for x in usual if x is not None][:_UNEVEN]
    found = (*ways_with_tiles(program, architecture, given), *uneven)
    for tiles in found:

        def made(tiles: TilesInParts = tiles) -> Mapping:
            found = mapping_with_tiles(program, architecture, given, generators.fuse, tiles)
            return replace(found, cascade=cascade)

        idle = idle_times(architecture, tiles.way)
        yield KnownMapping(FUSED, made, beyond=_NEARLY, idle=idle)


def _picking(
    part: PartLike, architecture: Architecture, cascade: str, ways: tuple[Spreading, ...]
) -> Spreading | None:
    """The first way in which instances pick alike, so that a memory has more room than for what
    each of them needs by itself; None if there is none."""
    if not any(ways):
        return None
    program = program_of(part, architecture, cascade)
    return next((way for way in ways if picking_alike(program, way) >= MANY_ALIKE), None)


def _idle_twofold(architecture: Architecture, way: Spreading) -> int:
    """How often the instances in use are doubled before all are, in halves."""
    return round(2 * log2(idle_times(architecture, way)))


def _split(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> Iterator[KnownMapping]:
    """What is made for cascades that let cores share what one of them would sum up alone."""
    for other, way in split_ways(part, architecture, cascade):
        for name, fuse in ((FUSED, True), (EINSUM_BY_EINSUM, False)):
            make = partial(derived_mapping, part, architecture, generators, other, way, fuse=fuse)
            yield KnownMapping(name, make, beyond=NEAR)


def _in_all_ways(
    known: KnownMapping, part: PartLike, architecture: Architecture
) -> Iterator[KnownMapping]:
    """A written mapping in each way to spread it over the machine's instances."""
    if not architecture.has_instances:
        yield known
        return
    try:
        ways = written_ways(known(), part, architecture)
    except InputError:
        yield known  # who asks for it is told
        return
    for mapping in ways:
        yield replace(known, make=partial(_itself, mapping))


def _spread_so(
    known: KnownMapping, way: Spreading, part: PartLike, architecture: Architecture
) -> Mapping:
    return spread_in_way(known(), way, part, architecture)


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
