"""Sequence of nests: a mapping whose nests run one after the other, each with some Einsums.

Every nest is a mapping of its own, for a cascade of its own (``algebra.excerpt``). A tensor that
passes from one nest to another is written to the outermost memory and read from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field, replace
from itertools import combinations

from einsum_cascade.algebra.excerpt import crossing, excerpt, sizes_of_excerpt, tiled_families
from einsum_cascade.errors import Problem, SpecError, did_you_mean, raise_all
from einsum_cascade.ir import Program

from ..spec.arch import Architecture
from ..spec.mapping import Mapping, SpatialRank
from .record import Bound


@dataclass(frozen=True, kw_only=True)
class NestPart:
    """One nest of several: its Einsums as a cascade, and their mapping."""

    name: str
    """Name of the nest's only Einsum, or of its first and its last one."""
    program: Program
    mapping: Mapping
    shapes: dict[str, int] = field(repr=False)
    """Shapes and parameters of the nest's cascade."""


def nests_of(program: Program, mapping: Mapping, shapes: Sizes[str, int]) -> tuple[NestPart, ...]:
    """Return the nests of a mapping in the order in which they run.

    Parameters
    ----------
    program : Program
        Whole cascade.
    shapes : mapping
        Shapes by rank, and parameters of the cascade.

    Raises
    ------
    SpecError
        A nest names no Einsum; an Einsum is in no nest or in two, or runs before a tensor it reads.
        Or a tensor between two nests is iterative, or the two nests cut its tiles differently.
    """
    groups = [tuple(e.einsum for e in nest.einsums) for nest in mapping.nests]
    problems = [*_names(program, mapping)]
    if not problems:
        problems = [
            *_disorder(program, mapping, groups),
            *_mismatched_tiles(program, mapping, groups),
        ]
    raise_all(problems, SpecError)
    return tuple(
        nest_part(program, nest, group, shapes)
        for nest, group in zip(mapping.nests, groups, strict=True)
    )


def nest_part(
    program: Program, nest: Mapping, names: tuple[str, ...], shapes: Sizes[str, int]
) -> NestPart:
    """Return one nest of several; its Einsums are known to be legal as one cascade.

    Parameters
    ----------
    program : Program
        Whole cascade.
    nest : Mapping
    names : tuple of str
        Einsums of the nest.
    shapes : mapping
        Shapes by rank, and parameters, of the whole cascade.
    """
    ordered = tuple(e.name for e in program.einsums if e.name in names)
    mine = program.memo(excerpt, ordered)
    name, shapes_inside = nest_name(ordered), sizes_of_excerpt(program, mine, shapes)
    return NestPart(name=name, program=mine, mapping=nest, shapes=shapes_inside)


def nest_name(names: tuple[str, ...]) -> str:
    """Return the name of a nest: its only Einsum, or its first and last ones."""
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


@dataclass(frozen=True, slots=True)
class BoundNest:
    """Nest that has already been bound while nests were searched."""

    shapes: Sizes[str, int]
    """Shapes that the nest is bound to."""
    bound: Bound


def _names(program: Program, mapping: Mapping) -> Iterator[Problem]:
    names = [e.name for e in program.einsums]
    listed: set[str] = set()
    for nest in mapping.nests:
        for how in nest.einsums:
            if how.einsum not in names:
                text = f"the cascade {program.name} has no Einsum '{how.einsum}'"
                yield Problem(text, how.span, did_you_mean(how.einsum, names))
            elif how.einsum in listed:
                yield Problem(f"{how.einsum} is in two nests", how.span)
            listed.add(how.einsum)
    for name in names:
        if name not in listed:
            yield Problem(f"no nest runs {name}", mapping.span)


def _disorder(
    program: Program, mapping: Mapping, groups: list[tuple[str, ...]]
) -> Iterator[Problem]:
    """Yield a problem for each Einsum that reads the result of a later nest. Also yield one for
    each iterative tensor that passes from one nest to another."""
    place = {name: number for number, group in enumerate(groups) for name in group}
    for e in program.einsums:
        for tensor in dict.fromkeys(a.tensor for a in e.reads if a.tensor in place):
            span = mapping.nests[place[e.name]].span
            if place[tensor] > place[e.name]:
                yield Problem(
                    f"{e.name} runs in an earlier nest than {tensor}, which it reads", span
                )
            elif place[tensor] < place[e.name] and tensor in program.iterative:
                along = ", ".join(program.iterative[tensor])
                text = f"{tensor} runs along {along}: {e.name}, which reads it, is in another nest"
                yield Problem(text, span, f"put {e.name} into the nest of {tensor}")


def _mismatched_tiles(
    program: Program, mapping: Mapping, groups: list[tuple[str, ...]]
) -> Iterator[Problem]:
    """Yield a problem if a tensor passes between two nests that cut its tiles into different sizes.

    The tiles are the cascade's own: partitioned ranks whose sizes the mapping chooses.
    """
    nests = zip(groups, mapping.nests, strict=True)
    for (group, nest), (later_group, later) in combinations(nests, 2):
        read = {a.tensor for e in program.einsums if e.name in later_group for a in e.reads}
        for tensor in (t for t in crossing(program, group) if t in read):
            for family in tiled_families(program, tensor):
                if _sizes(program, nest, family) != _sizes(program, later, family):
                    text = f"{tensor} is made of tiles of {family}, which two nests cut otherwise"
                    yield Problem(text, later.span)


def _sizes(program: Program, nest: Mapping, family: str) -> list[tuple[str, object]]:
    members = program.rank_of[family].partition
    return [(t.member, t.size) for t in nest.tiles if t.member in members]


def ring_problems(
    program: Program, mapping: Mapping, architecture: Architecture
) -> Iterator[Problem]:
    """Yield a problem for each tensor that one nest makes in other cores of a ring than read it
    later.

    Links store nothing, so a tensor stays with the core that made it. Traffic over the links
    between two nests is not counted.

    Parameters
    ----------
    program : Program
        Whole cascade.
    mapping : Mapping
        Mapping of several nests.
    """
    links = architecture.memories[0]
    if not links.ring:
        return
    maker = {how.einsum: nest for nest in mapping.nests for how in nest.einsums}
    for e in program.einsums:
        for tensor in dict.fromkeys(a.tensor for a in e.reads if a.tensor in maker):
            made, read = (
                _parts_of(program, maker[x], tensor, links.name) for x in (tensor, e.name)
            )
            if made != read:
                yield Problem(
                    f"{e.name} reads {tensor} by other parts than those in which chips make it "
                    f"({_parts(read)}, and {_parts(made)}): what changes chips between two nests"
                    " is not counted",
                    maker[e.name].span,
                    f"partition both nests by the same parts of {tensor}, or map them as one",
                )


def _parts_of(program: Program, nest: Mapping, tensor: str, links: str) -> tuple[SpatialRank, ...]:
    """Return the partitions over the cores of a ring that a tensor's ranks have in a nest."""
    families = {m: r.name for r in program.ranks for m in r.partition}
    ranks = {*program.parallel, *program.tensor_ranks[tensor]}
    ranks |= {families[r] for r in ranks if r in families}
    partitions = (s for level in nest.nest if level.level == links for s in level.spatial)
    return tuple(s for s in partitions if s.rank in ranks or families.get(s.rank) in ranks)


def _parts(partitions: tuple[SpatialRank, ...]) -> str:
    return " and ".join(f"parts of {s.rank}" for s in partitions) or "not in parts"


def join_nests(mapping: Mapping, nests: tuple[Mapping, ...]) -> Mapping:
    """Return a mapping that runs several nests in order. Name and cascade are those of
    ``mapping``."""
    name, cascade = mapping.name, mapping.cascade
    same = tuple(replace(n, name=name, cascade=cascade) for n in nests)
    return Mapping(name=name, cascade=cascade, nests=same)
