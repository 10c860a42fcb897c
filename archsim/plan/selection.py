"""Mapping selection: the given, the recalled, the written and the generated mapping of a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, Problem, SpecError
from einsum_cascade.shapes import complete_shapes

from ..spec.arch import Architecture
from ..spec.index import compute_the_same, interchangeable_entries, mapping_entries
from ..spec.mapping import FUSED, MADE, Mapping, SpreadRank
from ..spec.roles import memory_in_role
from .job import Generators, Job
from .partition_factors import Partitioning
from .partitioning import (
    critical_core_shapes,
    machine_of_one_core,
    partition_mapping,
    replicating_partitionings,
    splits_reduction,
    usual_partitionings,
)
from .programs import program_of
from .workload import PartLike, WorkloadLike, own_part

if TYPE_CHECKING:
    from ..spec.overrides import Overriding


@dataclass(frozen=True, slots=True)
class ByPart:
    """A mapping for each part of a workload, in the order of the parts."""

    mappings: tuple[Mapping, ...]


Given = Mapping | Sequence[Mapping] | ByPart | None
"""What a caller may say of mappings: one, several, one for each part, or nothing."""


def given_mappings(workload: WorkloadLike, mapping: Given) -> tuple[Mapping | None, ...]:
    """The mapping given for every part of a workload, in the order of the parts; None for none.

    Parameters
    ----------
    mapping : Mapping, sequence of Mapping, ByPart, or None
        A mapping is for the parts whose cascade it names; one that names another cascade is
        for those that it can stand in for, if there are none the workload's attention.

    Raises
    ------
    SpecError
        Two mappings are for the same parts, or something named does not exist.
    """
    if isinstance(mapping, ByPart):
        return mapping.mappings
    given = (mapping,) if isinstance(mapping, Mapping) else tuple(mapping or ())
    parts = tuple(workload.parts)
    chosen: dict[str, Mapping] = {}
    cascades = {part.cascade for part in parts}
    for mapping in given:
        for cascade in _meant(workload.cascade, parts, mapping):
            if cascade in chosen:
                both = f"'{chosen[cascade].name}' and '{mapping.name}'"
                hint = f"parts run {', '.join(sorted(cascades))}; give one mapping for each"
                raise SpecError(Problem(f"mappings {both} are for the same parts", hint=hint))
            chosen[cascade] = mapping
    return tuple(chosen.get(part.cascade) for part in parts)


def derived_mapping(
    part: PartLike,
    architecture: Architecture,
    generators: Generators,
    cascade: str = "",
    partitioning: int | Partitioning = 0,
    *,
    fuse: bool = False,
) -> Mapping:
    """The mapping made for a part, one Einsum after the other. Raises as ``MakeMapping``.

    Parameters
    ----------
    cascade : str
        One that computes what the part's does; by default the part's own.
    way : int or tuple
        One of ``usual_partitionings`` over the machine's instances by its number, or any way.
    fuse : bool
        Whether Einsums share loops.
    """
    # The part may name a file, whose cascade can be called anything, like a built-in one too.
    cascade = cascade or part.cascade
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    chosen_partitioning = (
        usual_partitionings(program, architecture, given)[partitioning]
        if isinstance(partitioning, int)
        else partitioning
    )
    seen = machine_of_one_core(architecture, chosen_partitioning)
    make = generators.fuse if fuse else generators.make
    made = make(program, seen, critical_core_shapes(chosen_partitioning, given, program))
    return partition_mapping(
        replace(made, cascade=cascade), chosen_partitioning, architecture, program
    )


def blocks_mapping(
    part: PartLike,
    architecture: Architecture,
    generators: Generators,
    cascade: str,
    chosen_partitioning: Partitioning,
) -> Mapping | None:
    """The mapping in blocks made for a part, spread in one way; None where there is none, or where
    nothing is spread.

    Parameters
    ----------
    part : PartLike
    architecture : Architecture
    generators : Generators
        What makes mappings.
    cascade : str
        The part's own, or one that computes the same.
    spreading : Spreading
    """
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    if not chosen_partitioning:
        return None
    seen = machine_of_one_core(architecture, chosen_partitioning)
    try:
        made = generators.make_blocks(
            program, seen, critical_core_shapes(chosen_partitioning, given)
        )
    except InputError:
        return None  # one Einsum after the other says what is wrong
    if made is None:
        return None
    return partition_mapping(
        replace(made, cascade=cascade), chosen_partitioning, architecture, program
    )


def partitionings_of_part(
    part: PartLike, architecture: Architecture, cascade: str
) -> tuple[Partitioning, ...]:
    """The usual ways to spread a cascade over a machine's instances; one where it has none.

    Parameters
    ----------
    part : PartLike
    architecture : Architecture
    cascade : str
        The part's own, or one that computes the same.
    """
    if not architecture.has_instances:
        return ((),)
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    return usual_partitionings(program, architecture, given)


def partitioned_mappings(
    mapping: Mapping, part: PartLike, architecture: Architecture
) -> tuple[Mapping, ...]:
    """A written mapping, spread over the machine's instances where it does not say how.

    Parameters
    ----------
    mapping : Mapping
    part : PartLike
    architecture : Architecture

    Returns
    -------
    tuple of Mapping
        One for each of ``usual_partitionings``; the mapping itself where there is nothing to say.
    """
    if not architecture.has_instances or any(level.spatial for level in mapping.nest):
        return (mapping,)
    program = program_of(part, architecture, mapping.cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    partitionings = usual_partitionings(program, architecture, given)
    return tuple(
        partition_mapping(mapping, partitioning, architecture, program)
        for partitioning in partitionings
    )


def replicating_partitionings_of_part(
    part: PartLike, architecture: Architecture, cascade: str
) -> tuple[Partitioning, ...]:
    """Ways to spread a cascade in which all instances need what one of them makes, where the usual
    ones leave instances idle.

    Parameters
    ----------
    part, architecture, cascade
        As of ``partitionings_of_part``.
    """
    if not architecture.has_instances:
        return ()
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    return replicating_partitionings(program, architecture, given)


def partition_mapping_of_part(
    mapping: Mapping, partitioning: Partitioning, part: PartLike, architecture: Architecture
) -> Mapping:
    """A mapping spread in one way.

    Parameters
    ----------
    mapping : Mapping
        One that says nothing of instances.
    way : Spreading
    part : PartLike
    architecture : Architecture
        The whole machine.
    """
    program = program_of(part, architecture, mapping.cascade)
    return partition_mapping(mapping, partitioning, architecture, program)


def check_partitioned(job: Job) -> None:
    """Refuse a written mapping that says nothing of a machine's instances, where there is something
    that they could share: all but one would do nothing.

    Raises
    ------
    MappingError
        With the place in the mapping's file. That one instance is meant a mapping can say.
    """
    mapping, architecture = job.mapping, job.architecture
    if not (mapping.source and architecture.has_instances):
        return
    shapes = dict(job.shapes)
    partitioning = next(
        (
            partitioning
            for partitioning in usual_partitionings(job.program, architecture, shapes)
            if partitioning
        ),
        (),
    )
    for memory, ranks in partitioning:
        for nest in mapping.nests or (mapping,):
            if not _is_partitioned_at(memory, nest, architecture):
                raise MappingError(_not_partitioned(nest, memory, ranks[0], architecture))


def _is_partitioned_at(memory: str, mapping: Mapping, architecture: Architecture) -> bool:
    """Whether a mapping spreads anything over instances that a memory feeds."""
    return any(
        level.spatial and (memory_in_role(architecture, level.level) or level.level) == memory
        for level in mapping.nest
    )


def _not_partitioned(
    mapping: Mapping, memory: str, spread: SpreadRank, architecture: Architecture
) -> Problem:
    fed = architecture.memory(memory)
    assert fed is not None, "ranks are spread over what a memory feeds"
    name, rank = spread.instances, spread.rank
    return Problem(
        f"nothing is spread over the {dict(fed.instances)[name]} {name} below {memory}: all but one"
        " would do nothing",
        mapping.nest[0].span if mapping.nest else mapping.span,
        f"'{{level: {memory}, spatial: {{{name}: {rank}}}}}' in 'nest' gives each a part of {rank};"
        f" '{{{rank}: 1}}' says that one is meant",
    )


def split_reductions(
    part: PartLike, architecture: Architecture, cascade: str
) -> tuple[tuple[str, int], ...]:
    """Cascades that compute what a part's does, and ways to spread them in which instances have
    parts of what is summed up: where one that runs along a rank cannot be in parts, one of several
    passes can.

    Parameters
    ----------
    cascade : str
        The one that is tried in all ways anyhow.
    """
    if not architecture.has_instances:
        return ()
    entries = chain.from_iterable(
        interchangeable_entries(other) for other in (part.cascade, *part.stand_ins)
    )
    found: list[tuple[str, int]] = []
    for name in dict.fromkeys(entry.cascade for entry in entries if entry.cascade != cascade):
        program = program_of(part, architecture, name)
        if part.left_out_by(program):
            continue
        given, _ = complete_shapes(program, part.shapes_for(program.settable))
        for number, partitioning in enumerate(usual_partitionings(program, architecture, given)):
            if splits_reduction(program, partitioning):
                found.append((name, number))
    return tuple(found)


_MAX_TIME_RATIO_OF_SPLIT = 0.8
"""The share of what a part's own cascade takes at the best without parts of what is summed up that
another one in such parts has to stay below to be searched."""

_MAX_TIME_RATIO_OF_ANY_PARTITIONING = 1.05
"""How many times what the own one takes in whatever parts it may take."""


def promising_split_reductions(part: PartLike, architecture: Architecture) -> tuple[str, ...]:
    """Cascades that compute what a part's does, and in parts of what is summed up promise to be
    sooner: not all instances read what none of them has a part of."""
    splits = dict.fromkeys(name for name, _ in split_reductions(part, architecture, part.cascade))
    if not splits:
        return ()
    own = _least_time(part, architecture, part.cascade)
    most = min(
        _MAX_TIME_RATIO_OF_ANY_PARTITIONING * own,
        _MAX_TIME_RATIO_OF_SPLIT * _least_time(part, architecture, part.cascade, summed=False),
    )
    return tuple(n for n in splits if _least_time(part, architecture, n) < most)


def _least_time(
    part: PartLike, architecture: Architecture, cascade: str, *, summed: bool = True
) -> float:
    """What a cascade takes at the best, in seconds, of all ways to spread it, or of those without
    parts of what is ``summed`` up."""
    # Not above: it takes numpy, without which one core is simulated.
    from .bandwidth_bound import bandwidth_bounds

    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    partitionings = usual_partitionings(program, architecture, given)
    able = [
        partitioning
        for partitioning in partitionings
        if summed or not splits_reduction(program, partitioning)
    ]
    return min(bandwidth_bounds(program, architecture, given, able))


def recalled_mapping(
    part: PartLike, architecture: Architecture, generators: Generators
) -> Mapping | None:
    """The mapping that an earlier search found for a part on a machine, if one did.

    Parameters
    ----------
    part : PartLike
    architecture : Architecture
    generators : Generators
        What remembers mappings.
    """
    program = program_of(part, architecture)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    found = generators.recall(program, architecture, given)
    if found is None or found.cascade != program.name:
        return found  # nothing, or one of another cascade that computes the same
    return replace(found, cascade=part.cascade)


def mapping_called(
    name: str,
    workload: WorkloadLike,
    architecture: Architecture,
    generators: Generators,
    overrides: Overriding = (),
) -> Mapping:
    """The mapping of a name or file; ``einsum-by-einsum`` and ``fused`` are made for the attention.

    Parameters
    ----------
    name : str
        Of a built-in mapping, a path, or ``einsum-by-einsum`` or ``fused``.
    workload : WorkloadLike
    architecture : Architecture
    generators : Generators
        What makes mappings.
    overrides : Overriding
        Settings that a written mapping is read with.

    Raises
    ------
    SpecError
        There is no such mapping, or it is wrong.
    MappingError
        The machine cannot do what an Einsum needs.
    """
    if name not in MADE:
        return Mapping.load(name, overrides)
    return derived_mapping(own_part(workload), architecture, generators, fuse=name == FUSED)


def _meant(own: str, parts: tuple[PartLike, ...], mapping: Mapping) -> tuple[str, ...]:
    """The cascades of a workload that a mapping is for."""
    if any(part.cascade == mapping.cascade for part in parts):
        return (mapping.cascade,)
    able = (part.cascade for part in parts if stands_in(part, mapping.cascade))
    return tuple(dict.fromkeys(able)) or (own,)


def stands_in(part: PartLike, cascade: str) -> bool:
    """Whether a cascade computes a part but for what ``left_out_by`` says of it."""
    return any(compute_the_same(other, cascade) for other in part.stand_ins)


def usual_mapping(workload: WorkloadLike, architecture: Architecture) -> Mapping | None:
    """The written mapping by which the attention of a workload runs where nobody says how.

    Parameters
    ----------
    architecture : Architecture
        A mapping it was designed for comes before the built-in ones of the cascade.

    Returns
    -------
    Mapping or None
        None where none is written: one is made then (``derived_mapping``).
    """
    part = own_part(workload)
    return machines_own(part, architecture) or default_mapping(part.cascade)


def machines_own(part: PartLike, architecture: Architecture) -> Mapping | None:
    """The mapping a machine was designed for, if it computes what the part's cascade does.

    One of a cascade that stands in for it does where nothing is left out: attention of heads
    that share nothing, for one token a sequence, but not for a causal layer's prefill.
    """
    if architecture.mapping is None:
        return None
    mapping = Mapping.load(architecture.mapping)
    if compute_the_same(part.cascade, mapping.cascade):
        return mapping
    if not stands_in(part, mapping.cascade):
        return None
    return None if part.left_out_by(Cascade.load(mapping.cascade).program) else mapping


def default_mapping(cascade: str) -> Mapping | None:
    """The built-in mapping of a cascade: a pipelined one if there is one, else the first."""
    entries = mapping_entries(cascade)
    return entries[0].load() if entries else None
