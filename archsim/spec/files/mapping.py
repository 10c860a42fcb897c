"""Mapping files: partition, nest, binding, residency and schedule, checked without a cascade."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from einsum_cascade.errors import Problem, SpecError, did_you_mean
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
from .mapping_fields import (
    KEY,
    CaseFields,
    EinsumFields,
    LevelFields,
    MappingFields,
    NestFields,
    ScheduleFields,
    built_choices,
    built_objective,
    built_spill,
    choice_problems,
    objective_problems,
)

FILE_FIELDS: type[Fields] = MappingFields
"""Fields of such a file below its key."""


def build_mapping(root: YamlNode) -> Mapping:
    """Build the mapping from the tree of a file.

    Parameters
    ----------
    root : YamlNode
        Tree of the file with settings applied; its spans locate problems.

    Raises
    ------
    SpecError
        The tree does not describe a mapping; names every problem with its place.
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
        **_nest_fields(spec, root, (KEY,)),
        spill=built_spill(spec.spill, root, (KEY, "spill")),
        choices=built_choices(spec.choices, root),
        cases=tuple(_case(c, root, (KEY, "cases", at)) for at, c in enumerate(spec.cases)),
        objective=built_objective(spec.objective, root, (KEY, "objective")),
        nests=tuple(_built_nest(spec, root, at) for at in range(len(spec.nests))),
        source=root.span.source.name,
    )


def _built_nest(whole: MappingFields, root: YamlNode, at: int) -> Mapping:
    """Build one of several nests; it has the name and the cascade of the whole mapping."""
    path: Path = (KEY, "nests", at)
    spec = whole.nests[at]
    return Mapping(
        name=whole.name,
        cascade=resolve_reference("cascades", whole.cascade, root.span_of((KEY, "cascade"))),
        machine=whole.machine,
        **_nest_fields(spec, root, path),
        source=root.span.source.name,
    )


def _nest_fields(spec: MappingFields | NestFields, root: YamlNode, path: Path) -> dict[str, Any]:
    """Return the fields of a mapping that each nest has."""
    return {
        "tiles": _tiles(spec.partition, root, path),
        "nest": _nest_levels(spec.nest, root, path),
        "einsums": tuple(_einsum(name, e, root, path) for name, e in spec.einsums.items()),
        "keep": _kept(spec.keep, root, path),
        "schedule": _built_schedule(spec.schedule, root, path),
    }


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


def problems_of(spec: MappingFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    """Yield all problems of a mapping with their places.

    Parameters
    ----------
    above : path
        Path of the mapping in its file.
    """
    yield from _either(spec, root, above)
    yield from _of_nest(spec, root, above)
    cases = [c.when for c in spec.cases]
    yield from choice_problems(spec.choices, cases, root)
    yield from objective_problems(spec.choices, spec.objective, root, cases=bool(cases))
    yield from _schedule(spec, root, above)
    for at, nest in enumerate(spec.nests):
        yield from _of_nest(nest, root, (*above, "nests", at))
        yield from _schedule(nest, root, (*above, "nests", at))
    named = [
        (name, (*above, "nests", at, "einsums", name))
        for at, nest in enumerate(spec.nests)
        for name in nest.einsums
    ]
    yield from _twice(named, root, "is already in a nest")


def _either(spec: MappingFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    """Check that Einsums stand either in the mapping itself or in its nests."""
    given = spec.model_fields_set
    if "nests" not in given:
        if "einsums" not in given:
            yield Problem(f"the field 'einsums' is missing in '{above[-1]}'", root.key_span(above))
        return
    if len(spec.nests) < 2:
        text = "several nests are two at the least"
        yield Problem(text, root.key_span((*above, "nests")), "one needs no 'nests'")
    others = {"partition", "nest", "einsums", "keep", "schedule", "spill", "choices", "cases"}
    for field in sorted((others | {"objective"}) & given):
        text = f"a mapping of several nests has no '{field}' of its own"
        yield Problem(text, root.key_span((*above, field)), "each nest says its own")


def _of_nest(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    yield from _partition(spec, root, above)
    yield from _nest(spec, root, above)
    yield from _einsums(spec, root, above)
    yield from _keep(spec, root, above)


def _partition(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for rank, members in spec.partition.items():
        path: Path = (*above, "partition", rank)
        if not members:
            yield Problem(f"no tile of {rank} is named", root.key_span(path))
        for member in members:
            here = root.key_span((*path, member))
            if member == rank:
                yield Problem(f"a tile of {rank} cannot be called {member} itself", here)
            elif member in first:
                yield Problem(f"'{member}' is already a tile of {first[member]}", here)
            first.setdefault(member, rank)


def _nest(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    loops = [
        (name, (*above, "nest", at, "loops", i))
        for at, level in enumerate(spec.nest)
        for i, name in enumerate(level.loops)
    ]
    yield from _twice(loops, root, "is already a loop of the nest")
    for at, level in enumerate(spec.nest):
        if not level.model_fields_set & {"loops", "spatial"}:
            text = f"'{level.level}' has neither 'loops' nor ranks that are 'spatial'"
            yield Problem(text, root.span_of((*above, "nest", at)))
        if level.ring and not level.spatial:
            text = (
                f"'{level.level}' has ranks in a 'ring', but none is 'spatial' over its instances"
            )
            yield Problem(text, root.span_of((*above, "nest", at)), "add 'spatial: {chips: P}'")
        passed = [(rank, (*above, "nest", at, "ring", i)) for i, rank in enumerate(level.ring)]
        yield from _twice(passed, root, "goes round already")
    spread = [
        (rank, (*above, "nest", at, "spatial", instances))
        for at, level in enumerate(spec.nest)
        for instances, ranks in level.spatial.items()
        for rank in ranks
    ]
    yield from _twice(spread, root, "is already spread over instances")
    levels = [(level.level, (*above, "nest", at, "level")) for at, level in enumerate(spec.nest)]
    yield from _twice(levels, root, "already has its loops; give them in one list")


def _einsums(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    shared = [name for level in spec.nest for name in level.loops]
    for einsum, how in spec.einsums.items():
        path: Path = (*above, "einsums", einsum)
        placed: list[tuple[str, Path]] = [
            (rank, (*path, "spatial", dimension, i))
            for dimension, ranks in how.spatial.items()
            for i, rank in enumerate(ranks)
        ]
        for level, ranks in how.loops.items():
            below: Path = (*path, "loops", level) if level else (*path, "loops")
            placed += ((rank, (*below, i)) for i, rank in enumerate(ranks))
        yield from _twice(placed, root, f"is already laid out or looped over by {einsum}")
        for rank, where in placed:
            if rank in shared and rank not in how.outside:
                text = f"'{rank}' is a loop of the shared nest, so {einsum} cannot place it again"
                yield Problem(text, root.span_of(where), f"'outside: {rank}' takes it out of it")
        for i, rank in enumerate(how.outside):
            if rank not in shared:
                text = f"'{rank}' is no loop of the shared nest that {einsum} could be outside of"
                where = (*path, "outside", i)
                yield Problem(text, root.span_of(where), did_you_mean(rank, shared))


def _keep(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    for level, tensors in spec.keep.items():
        placed = [(t, (*above, "keep", level, i)) for i, t in enumerate(tensors)]
        yield from _twice(placed, root, f"is already kept in {level}")


def _schedule(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    schedule, path = spec.schedule, (*above, "schedule")
    owners = (
        ("groups", ("phases", "sequential")),
        ("exposes", ("phases",)),
        ("lookahead", ("pipelined",)),
    )
    for field, kinds in owners:
        if getattr(schedule, field) is not None and schedule.kind not in kinds:
            text = f"a {schedule.kind} schedule has no '{field}'"
            hint = f"that belongs to kind {' or '.join(kinds)}"
            yield Problem(text, root.key_span((*path, field)), hint)
    if schedule.kind == "phases" and schedule.groups is None:
        yield Problem("a schedule of phases needs 'groups'", root.key_span(path))
    if schedule.groups is None or schedule.kind == "pipelined":
        return
    for at, group in enumerate(schedule.groups):
        if not group:
            yield Problem("a group without Einsums", root.span_of((*path, "groups", at)))
    yield from _shifted(schedule, root, path)
    tasks = [
        (task.einsum, (*path, "groups", at, i))
        for at, group in enumerate(schedule.groups)
        for i, task in enumerate(group)
    ]
    yield from _twice(tasks, root, "is already in a group")
    for name, where in tasks:
        if name not in spec.einsums:
            hint = did_you_mean(name, spec.einsums)
            yield Problem(f"no Einsum '{name}' is mapped", root.span_of(where), hint)
    absent = [name for name in spec.einsums if name not in dict(tasks)]
    if absent:
        text = f"every Einsum is in one group; missing: {', '.join(absent)}"
        yield Problem(text, root.key_span((*path, "groups")))
    for i, name in enumerate(schedule.exposes or ()):
        if name not in spec.einsums:
            hint = did_you_mean(name, spec.einsums)
            span = root.span_of((*path, "exposes", i))
            yield Problem(f"no Einsum '{name}' is mapped", span, hint)


def _shifted(schedule: ScheduleFields, root: YamlNode, path: Path) -> Iterator[Problem]:
    """Refuse shifted tasks: only phases run an Einsum on another tile than its group."""
    if schedule.kind == "phases" or schedule.groups is None:
        return
    for at, group in enumerate(schedule.groups):
        for i, task in enumerate(group):
            if task.shift:
                text = f"a sequential schedule runs {task.einsum} on no other tile"
                where = root.span_of((*path, "groups", at, i))
                yield Problem(text, where, f"write '{task.einsum}'")


def _twice(placed: Iterable[tuple[str, Path]], root: YamlNode, what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, path in placed:
        if name in seen:
            yield Problem(f"'{name}' {what}", root.span_of(path))
        seen.add(name)
