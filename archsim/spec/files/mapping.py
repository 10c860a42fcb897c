"""Mapping files: partition, nest, binding, residency and schedule.

What a file can get wrong by itself is found here; whether it suits a cascade and a
machine is for the lowering to say.
"""

from __future__ import annotations

from typing import Any

from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.library import resolve_reference
from einsum_cascade.yaml.schema import Fields, section, validate
from einsum_cascade.yaml.source import Path, YamlNode

from ..mapping import (
    FIT,
    Case,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Mapping,
    NestLevel,
    Schedule,
    SpreadRank,
    Tile,
)
from .mapping_checks import problems_of
from .mapping_fields import (
    KEY,
    CaseFields,
    EinsumFields,
    LevelFields,
    MappingFields,
    ScheduleFields,
)
from .open_choices import built_choices, built_objective, built_spill

FILE_FIELDS: type[Fields] = MappingFields
"""What such a file holds below its key."""


def build_mapping(root: YamlNode) -> Mapping:
    """The mapping of a file's tree.

    Parameters
    ----------
    root : YamlNode
        The tree of the file, settings made; its spans say where a problem is.

    Raises
    ------
    SpecError
        The tree does not describe one; every problem with its place.
    """
    path = section(root, KEY)
    spec = validate(MappingFields, root, path)
    problems = [*problems_of(spec, root, path)]
    if problems:
        raise SpecError(problems)
    return Mapping(
        name=spec.name,
        cascade=resolve_reference("cascades", spec.cascade, root.span_of((*path, "cascade"))),
        machine=spec.machine,
        tiles=_tiles(spec.partition, root, (KEY,)),
        nest=_nest_levels(spec.nest, root, (KEY,)),
        einsums=tuple(_einsum(name, e, root, (KEY,)) for name, e in spec.einsums.items()),
        keep=_kept(spec.keep, root, (KEY,)),
        schedule=_built_schedule(spec.schedule, root, (KEY,)),
        spill=built_spill(spec.spill, root, (KEY, "spill")),
        choices=built_choices(spec.choices, root),
        cases=tuple(_case(c, root, (KEY, "cases", at)) for at, c in enumerate(spec.cases)),
        objective=built_objective(spec.objective, root, (KEY, "objective")),
        nests=tuple(_built_nest(spec, root, at) for at in range(len(spec.nests))),
        source=root.span.source.name,
    )


def _built_nest(whole: MappingFields, root: YamlNode, at: int) -> Mapping:
    """One of several nests, which is called and runs what the whole mapping does."""
    path: Path = (KEY, "nests", at)
    spec = whole.nests[at]
    return Mapping(
        name=whole.name,
        cascade=resolve_reference("cascades", whole.cascade, root.span_of((KEY, "cascade"))),
        machine=whole.machine,
        tiles=_tiles(spec.partition, root, path),
        nest=_nest_levels(spec.nest, root, path),
        einsums=tuple(_einsum(name, e, root, path) for name, e in spec.einsums.items()),
        keep=_kept(spec.keep, root, path),
        schedule=_built_schedule(spec.schedule, root, path),
        source=root.span.source.name,
    )


def _case(spec: CaseFields, root: YamlNode, path: Path) -> Case:
    return Case(
        when=tuple(spec.when.items()),
        tiles=_tiles(spec.partition, root, path),
        nest=_nest_levels(spec.nest, root, path),
        einsums=tuple(
            EinsumPatch(mapping=_einsum(n, e, root, path), given=frozenset(e.model_fields_set))
            for n, e in spec.einsums.items()
        ),
        keep=_kept(spec.keep, root, path),
        spill=built_spill(spec.spill, root, (*path, "spill")),
        objective=built_objective(spec.objective, root, (*path, "objective")),
        span=root.span_of(path),
    )


def _tiles(partition: dict[str, dict[str, Any]], root: YamlNode, path: Path) -> tuple[Tile, ...]:
    return tuple(
        Tile(
            rank=rank,
            member=member,
            size=size,
            span=root.span_of((*path, "partition", rank, member)),
        )
        for rank, members in partition.items()
        for member, size in members.items()
    )


def _nest_levels(
    nest: tuple[LevelFields, ...], root: YamlNode, path: Path
) -> tuple[NestLevel, ...]:
    return tuple(
        NestLevel(
            level=n.level,
            loops=n.loops,
            spatial=tuple(
                SpreadRank(
                    instances=instances, rank=rank, parts=parts.number, balanced=parts.balanced
                )
                for instances, ranks in n.spatial.items()
                for rank, parts in ranks.items()
            ),
            ring=n.ring,
            span=root.span_of((*path, "nest", at)),
        )
        for at, n in enumerate(nest)
    )


def _kept(keep: dict[str, tuple[str, ...]], root: YamlNode, path: Path) -> tuple[Keep, ...]:
    return tuple(
        Keep(level=level, tensors=tensors, span=root.key_span((*path, "keep", level)))
        for level, tensors in keep.items()
    )


def _einsum(name: str, spec: EinsumFields, root: YamlNode, above: Path) -> EinsumMapping:
    path: Path = (*above, "einsums", name)
    return EinsumMapping(
        einsum=name,
        array=spec.array,
        spatial=tuple(spec.spatial.items()),
        nest=tuple(
            NestLevel(level=level, loops=loops, span=root.span_of((*path, "loops", level)))
            for level, loops in spec.loops.items()
            if loops
        ),
        outside=spec.outside,
        bypass=tuple(spec.bypass.items()),
        span=root.key_span(path),
    )


def _built_schedule(spec: ScheduleFields, root: YamlNode, path: Path) -> Schedule:
    return Schedule(
        kind=spec.kind,
        lookahead=FIT if spec.lookahead is None else spec.lookahead,
        groups=spec.groups or (),
        exposes=spec.exposes,
        span=root.key_span((*path, "schedule")),
    )
