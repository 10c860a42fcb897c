"""Selection of a part's mapping: given by the user, recalled, written in a file, or generated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, Problem, SpecError
from workloads.parts.part import Part
from workloads.workload import Workload

from ..spec.arch import Architecture
from ..spec.index import compute_the_same, interchangeable_entries, mapping_entries
from ..spec.mapping import BEAM, EINSUM_BY_EINSUM, FUSED, MADE, Mapping, SpatialRank
from ..spec.roles import memory_called
from . import policy
from .bandwidth_bound import bandwidth_bounds
from .job import Generators, Job
from .partition_factors import Partitioning
from .partitioning import (
    critical_core_shapes,
    machine_of_one_core,
    partition_mapping,
    partitionings_by_bound,
    splits_reduction,
    usual_partitionings,
)
from .parts import PartProblem, own_part, refuse_missing_operations, stands_in
from .problem import MappingProblem

if TYPE_CHECKING:
    from ..spec.overrides import Overriding


@dataclass(frozen=True, slots=True)
class ByPart:
    """Mappings of a workload, one for each part in the order of the parts."""

    mappings: tuple[Mapping, ...]


Given = Mapping | Sequence[Mapping] | ByPart | None
"""Mappings that a caller gives: one, several, one for each part, or None for no mapping."""


def given_mappings(workload: Workload, mapping: Given) -> tuple[Mapping | None, ...]:
    """Return the mapping given for each part of a workload, in the order of the parts. The entry is
    None if none is given.

    Parameters
    ----------
    mapping : Mapping, sequence of Mapping, ByPart, or None
        A mapping is for the parts whose cascade it names; one that names another cascade is
        for those that it can stand in for, or else for the workload's attention.

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
                raise SpecError(f"mappings {both} are for the same parts", hint=hint)
            chosen[cascade] = mapping
    return tuple(chosen.get(part.cascade) for part in parts)


def cascades_of(
    parts: Iterable[Part], given: Iterable[Mapping | None], architecture: Architecture
) -> Iterator[tuple[Part, str]]:
    """Yield each part with the cascade that computes it: of its given mapping, of the mapping that
    the machine was designed for, or its own."""
    for part, mapping in zip(parts, given, strict=True):
        known = mapping or machines_own(part, architecture)
        yield part, part.cascade if known is None else known.cascade


def derived_mapping(
    problem: PartProblem, partitioning: Partitioning | None = None, name: str = EINSUM_BY_EINSUM
) -> Mapping:
    """Generate a mapping of a part.

    Parameters
    ----------
    partitioning : Partitioning, optional
        Partitioning over the cores; by default the first of the usual ones, or the one with the
        smallest bandwidth bound for a beam search.
    name : str
        Which of the generated mappings (``MADE``).

    Raises
    ------
    SpecError, MappingError
        As ``MakeMapping``.
    """
    if name == BEAM:
        chosen = (
            partitionings_by_bound(problem.of_machine)[0] if partitioning is None else partitioning
        )
        made = problem.generators.construct(problem.of_machine, chosen)
        return replace(made, cascade=problem.cascade)
    chosen = problem.partitionings[0] if partitioning is None else partitioning
    core = machine_of_one_core(problem.architecture, chosen)
    shapes = critical_core_shapes(chosen, problem.shapes, problem.program)
    generators = problem.generators
    make = {EINSUM_BY_EINSUM: generators.make, FUSED: generators.fuse}[name]
    return partitioned_mapping(make(problem.program, core, shapes), chosen, problem)


def partitioned_mapping(
    mapping: Mapping, partitioning: Partitioning, problem: PartProblem
) -> Mapping:
    """Return a mapping for the whole machine, from a mapping of one core and a partitioning."""
    named = replace(mapping, cascade=problem.cascade)
    return partition_mapping(named, partitioning, problem.architecture, problem.program)


def partitioned_mappings(mapping: Mapping, problem: PartProblem) -> tuple[Mapping, ...]:
    """Return one mapping per usual partitioning of a written mapping.

    A mapping with a partitioning of its own is returned as it is.
    """
    if not problem.architecture.has_instances or any(level.spatial for level in mapping.nest):
        return (mapping,)
    own = problem.computed_by(mapping.cascade)
    return tuple(partitioned_mapping(mapping, p, own) for p in own.partitionings)


def check_partitioned(job: Job) -> None:
    """Raise an error for a written mapping that leaves all cores but one idle.

    The cores could share the work, and the mapping partitions nothing over them.

    Raises
    ------
    MappingError
        The error has the place in the mapping's file. A mapping can state that one core is meant.
    """
    mapping, architecture = job.mapping, job.architecture
    if not (mapping.source and architecture.has_instances):
        return
    problem = MappingProblem(job.program, architecture, dict(job.shapes))
    partitioning = next(filter(None, usual_partitionings(problem)), ())
    for memory, ranks in partitioning:
        for nest in mapping.nests or (mapping,):
            if not any(
                level.spatial and memory_called(architecture, level.level) == memory
                for level in nest.nest
            ):
                raise MappingError(_not_partitioned(nest, memory, ranks[0], architecture))


def _not_partitioned(
    mapping: Mapping, memory: str, spatial_rank: SpatialRank, architecture: Architecture
) -> Problem:
    fed = architecture.memory(memory)
    assert fed is not None, "ranks are partitioned over what a memory feeds"
    name, rank = spatial_rank.instances, spatial_rank.rank
    return Problem(
        f"no rank is partitioned over the {dict(fed.instances)[name]} {name} below {memory}:"
        " all but one would do nothing",
        mapping.nest[0].span if mapping.nest else mapping.span,
        f"'{{level: {memory}, spatial: {{{name}: {rank}}}}}' in 'nest' gives each a part of {rank};"
        f" '{{{rank}: 1}}' says that one is meant",
    )


def split_reductions(problem: PartProblem) -> Iterator[tuple[PartProblem, Partitioning]]:
    """Yield equivalent cascades with partitionings in which cores hold partial sums.

    A cascade that runs along a rank may not be split there, but an equivalent cascade of several
    passes may.
    """
    if not problem.architecture.has_instances:
        return
    part = problem.part
    entries = chain.from_iterable(
        interchangeable_entries(other) for other in (part.cascade, *part.stand_ins)
    )
    for name in dict.fromkeys(e.cascade for e in entries if e.cascade != problem.cascade):
        other = problem.computed_by(name)
        if part.left_out_by(other.program):
            continue
        for partitioning in other.partitionings:
            if splits_reduction(other.program, partitioning):
                yield other, partitioning


def promising_split_reductions(own: PartProblem) -> tuple[str, ...]:
    """Return names of split-reduction cascades whose time bounds promise a speed-up."""
    splits = {other.cascade: other for other, _ in split_reductions(own)}
    if not splits:
        return ()
    most = min(
        policy.MAX_TIME_RATIO_OF_ANY_PARTITIONING * _least_time(own),
        policy.MAX_TIME_RATIO_OF_SPLIT * _least_time(own, summed=False),
    )
    return tuple(name for name, other in splits.items() if _least_time(other) < most)


def _least_time(problem: PartProblem, *, summed: bool = True) -> float:
    """Return the smallest bandwidth bound of all partitionings, in seconds.

    Parameters
    ----------
    problem : PartProblem
    summed : bool
        True if partitionings with partial sums count.
    """
    program = problem.program
    able = [p for p in problem.partitionings if summed or not splits_reduction(program, p)]
    return min(bandwidth_bounds(problem.of_machine, able))


def recalled_mapping(problem: PartProblem) -> Mapping | None:
    """Return the mapping that an earlier search found for a problem; None if there is none."""
    found = problem.generators.recall(problem.program, problem.architecture, problem.shapes)
    if found is None or found.cascade != problem.program.name:
        return found  # There is none, or it is of another cascade that computes the same.
    return replace(found, cascade=problem.cascade)


def mapping_called(
    name: str,
    workload: Workload,
    architecture: Architecture,
    generators: Generators,
    overrides: Overriding = (),
) -> Mapping:
    """Return the mapping with a name, or in a file; those called as in ``MADE`` are generated.

    Parameters
    ----------
    name : str
        Name of a built-in or generated mapping, or a path.
    workload : Workload
    architecture : Architecture
    generators : Generators
        Generators of mappings.
    overrides : Overriding
        Settings that a written mapping is read with.

    Raises
    ------
    SpecError
        There is no such mapping, or it is wrong.
    MappingError
        The machine lacks operations that parts of the workload need; names all of them.
    """
    if name not in MADE:
        return Mapping.load(name, overrides)
    problem = PartProblem(own_part(workload), architecture, generators)
    try:
        return derived_mapping(problem, name=name)
    except InputError:
        own = ((part, part.cascade) for part in workload.parts)
        refuse_missing_operations(workload, own, architecture)
        raise


def _meant(own: str, parts: tuple[Part, ...], mapping: Mapping) -> tuple[str, ...]:
    """Return the names of the cascades in a workload that a mapping runs."""
    if any(part.cascade == mapping.cascade for part in parts):
        return (mapping.cascade,)
    able = (part.cascade for part in parts if stands_in(part, mapping.cascade))
    return tuple(dict.fromkeys(able)) or (own,)


def usual_mapping(workload: Workload, architecture: Architecture) -> Mapping | None:
    """Return the written mapping that runs a workload's attention by default; None if there is
    none.

    Parameters
    ----------
    architecture : Architecture
        A mapping it was designed for comes before the built-in ones of the cascade.

    Returns
    -------
    Mapping or None
        None if no mapping is written: the planner generates one then (``derived_mapping``).
    """
    part = own_part(workload)
    entries = mapping_entries(part.cascade)
    return machines_own(part, architecture) or (entries[0].load() if entries else None)


def machines_own(part: Part, architecture: Architecture) -> Mapping | None:
    """Return the mapping that a machine was designed for if it computes the part, or None.

    A cascade that stands in for the part's own qualifies if it omits nothing: attention of heads
    that share nothing, for one token per sequence, but not for a causal layer's prefill.
    """
    if architecture.mapping is None:
        return None
    mapping = Mapping.load(architecture.mapping)
    if compute_the_same(part.cascade, mapping.cascade):
        return mapping
    if not stands_in(part, mapping.cascade):
        return None
    return None if part.left_out_by(Cascade.load(mapping.cascade).program) else mapping
