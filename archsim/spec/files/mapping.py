"""Mapping files: partition, nest, binding, residency and schedule.

What a file can get wrong by itself is found here; whether it suits a cascade and a
machine is for the lowering to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from einsum_cascade.errors import Problem, SpecError, did_you_mean, nearest
from einsum_cascade.yaml.schema import (
    Fields,
    Rank,
    Title,
    expected,
    parse_count,
    section,
    validate,
)
from einsum_cascade.yaml.source import Path, YamlNode, shorten
from einsum_cascade.yaml.spec_files import referred

from ..mapping import (
    BALANCED,
    EVEN,
    FIT,
    REST,
    WHOLE,
    WHOLE_OR_ONE,
    Case,
    DimensionRef,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Least,
    Mapping,
    NestLevel,
    PhaseTask,
    Schedule,
    ScheduleName,
    SpreadRank,
    Tile,
    TileSize,
)
from .fields import Name, Names, Words, one_or_more
from .open_choices import (
    ObjectiveFields,
    SpillFields,
    built_choices,
    built_objective,
    built_spill,
    choice_problems,
    objective_problems,
)

KEY = "mapping"

_DIMENSION = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)\.([A-Za-z_][A-Za-z0-9_-]*)")
_LEAST = re.compile(r"min\((.*)\)")
_BALANCED = re.compile(rf"(?:(\S+) )?{BALANCED}")
_TASK = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:@([-+]?[0-9]{1,4}))?")


def _tile_size(value: Any) -> TileSize:
    if value == FIT:
        return FIT
    if value == WHOLE:
        return WHOLE
    if value == WHOLE_OR_ONE:
        return WHOLE_OR_ONE
    if value == EVEN:
        return EVEN
    if isinstance(value, str):
        if found := _DIMENSION.fullmatch(value):
            return DimensionRef(array=found[1], dimension=found[2])
        if found := _LEAST.fullmatch(value):
            return Least(sizes=tuple(_extent(part.strip()) for part in found[1].split(",")))
        if not value[:1].isdigit():
            wanted = (
                "a number, an array dimension such as matrix.rows, the least of some such as "
                "min(matrix.columns, vector.lanes), fit, even, whole, or whole or one"
            )
            words = [FIT, EVEN, WHOLE, WHOLE_OR_ONE]
            hint = did_you_mean(value, words) if nearest(value, words) else ""
            raise expected(f"expected {wanted}, got '{shorten(value)}'", hint)
    return parse_count(value)


def _extent(text: str) -> int | DimensionRef:
    """One of the sizes that ``min`` takes the least of."""
    if found := _DIMENSION.fullmatch(text):
        return DimensionRef(array=found[1], dimension=found[2])
    if text[:1].isdigit():
        return parse_count(text)
    wanted = "numbers or array dimensions such as matrix.rows inside min(...)"
    raise expected(f"expected {wanted}, got '{shorten(text)}'")


def _lookahead(value: Any) -> int | Literal["fit"]:
    return FIT if value == FIT else parse_count(value)


def _loops(value: Any) -> Any:
    """A plain list is the loops of no named level."""
    return {"": one_or_more(value)} if isinstance(value, str | tuple) else value


def _task(value: Any) -> PhaseTask:
    found = _TASK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        got = shorten(value) if isinstance(value, str) else type(value).__name__
        raise expected(f"expected an Einsum, perhaps of another tile (RD@-1), got '{got}'")
    return PhaseTask(einsum=found[1], shift=int(found[2] or 0))


Ranks = Annotated[tuple[Rank, ...], BeforeValidator(one_or_more)]
Size = Annotated[Any, PlainValidator(_tile_size)]
Task = Annotated[PhaseTask, PlainValidator(_task)]


def _spread(value: Any) -> Any:
    """Ranks by what their parts are spread over, each with how many parts there are, if told."""
    if isinstance(value, str | tuple):
        ranks = one_or_more(value)
        twice = [rank for rank in ranks if ranks.count(rank) > 1]
        if twice:
            raise expected(f"expected ranks that differ, got {twice[0]} twice")
        return dict.fromkeys(ranks, REST)
    return value


@dataclass(frozen=True, slots=True)
class _SpreadParts:
    """How many parts a rank has, if that is told, and whether they are balanced."""

    number: int | None
    balanced: bool


def _parts(value: Any) -> _SpreadParts:
    number, balanced = value, False
    if isinstance(value, str) and (found := _BALANCED.fullmatch(value)):
        number, balanced = found[1] or REST, True
    return _SpreadParts(None if number == REST else parse_count(number), balanced)


Parts = Annotated[_SpreadParts, PlainValidator(_parts)]
Spread = Annotated[dict[Rank, Parts], BeforeValidator(_spread), Field(min_length=1)]


class _LevelFields(Fields):
    level: Name
    """A memory, by name or role."""
    loops: Ranks = ()
    """Ranks or tiles, outermost first."""
    spatial: dict[Name, Spread] = Field(default_factory=dict)
    """Ranks of which each of its instances has a part, by what these are called: a rank, some,
    or some with how many parts each has."""


class _EinsumFields(Fields):
    array: Name
    """Where it runs, by name or role."""
    spatial: dict[Name, Ranks] = Field(default_factory=dict)
    """By dimension of the array, the ranks that lie along it."""
    loops: Annotated[dict[str, Ranks], BeforeValidator(_loops)] = Field(default_factory=dict)
    """Of its own, a list or by level, outermost first."""
    outside: Ranks = ()
    """Shared loops that it stays out of."""
    bypass: dict[Name, Names] = Field(default_factory=dict)
    """By level, tensors that pass by it."""


class _PatchedEinsumFields(_EinsumFields):
    array: Name = ""


class _ScheduleFields(Fields):
    kind: ScheduleName
    """How Einsums follow one another."""
    lookahead: Annotated[int | Literal["fit"] | None, PlainValidator(_lookahead)] = None
    """Of pipelined: how many tiles are in flight, or `fit`."""
    groups: Annotated[tuple[tuple[Task, ...], ...] | None, Field(min_length=1)] = None
    """Einsums that overlap, group after group."""
    exposes: Names | None = None
    """Of phases: Einsums whose time is not hidden."""


class _CaseFields(Fields):
    when: Annotated[dict[Name, Names], Field(min_length=1)]
    """Alternatives of choices, all of which are made."""
    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """Tiles that replace those of the same name."""
    nest: tuple[_LevelFields, ...] = ()
    """The nest in the place of the other."""
    einsums: dict[str, _PatchedEinsumFields] = Field(default_factory=dict)
    """What replaces the same fields of Einsums."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """Tensors that are kept besides."""
    spill: SpillFields | None = None
    """In the place of the same fields."""
    objective: ObjectiveFields | None = None
    """In the place of the same fields."""


class _MappingFields(Fields):
    name: Title
    """What it is called."""
    title: Words = ""
    """What it does, in a line."""
    source: Words = ""
    """Where it is from."""
    cascade: str
    """A built-in cascade, or a file."""
    machine: str = ""
    """The only architecture that it is for, by its parts: others do not try it by themselves."""
    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """By rank, its tiles and their sizes: a number, `matrix.rows`, `whole`, `fit`, `even`."""
    nest: tuple[_LevelFields, ...] = ()
    """The loops that Einsums share, outermost first."""
    einsums: Annotated[dict[str, _EinsumFields], Field(min_length=1)]
    """By name, how each runs."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """By level, the tensors it holds."""
    schedule: _ScheduleFields = _ScheduleFields(kind="pipelined")
    """What overlaps with what."""
    spill: SpillFields | None = None
    """A level that may be asked to hold more than it can."""
    choices: dict[Name, Names] = Field(default_factory=dict)
    """What is left open, and its alternatives."""
    cases: tuple[_CaseFields, ...] = ()
    """What follows from choices."""
    objective: ObjectiveFields | None = None
    """What the best choice is."""


FILE_FIELDS: type[Fields] = _MappingFields
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
    spec = validate(_MappingFields, root, path)
    problems = [
        *_partition(spec, root),
        *_nest(spec, root),
        *_einsums(spec, root),
        *_keep(spec, root),
        *choice_problems(spec.choices, [c.when for c in spec.cases], root),
        *objective_problems(spec.choices, spec.objective, root, cases=bool(spec.cases)),
        *_schedule(spec, root),
    ]
    if problems:
        raise SpecError(problems)
    return Mapping(
        name=spec.name,
        cascade=referred("cascades", spec.cascade, root.span_of((*path, "cascade"))),
        tiles=_tiles(spec.partition, root, (KEY,)),
        nest=_nest_levels(spec.nest, root, (KEY,)),
        einsums=tuple(_einsum(name, e, root, (KEY,)) for name, e in spec.einsums.items()),
        keep=_kept(spec.keep, root, (KEY,)),
        schedule=_built_schedule(spec.schedule, root),
        spill=built_spill(spec.spill, root, (KEY, "spill")),
        choices=built_choices(spec.choices, root),
        cases=tuple(_case(c, root, (KEY, "cases", at)) for at, c in enumerate(spec.cases)),
        objective=built_objective(spec.objective, root, (KEY, "objective")),
        source=root.span.source.name,
    )


def _case(spec: _CaseFields, root: YamlNode, path: Path) -> Case:
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
    nest: tuple[_LevelFields, ...], root: YamlNode, path: Path
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
            span=root.span_of((*path, "nest", at)),
        )
        for at, n in enumerate(nest)
    )


def _kept(keep: dict[str, tuple[str, ...]], root: YamlNode, path: Path) -> tuple[Keep, ...]:
    return tuple(
        Keep(level=level, tensors=tensors, span=root.key_span((*path, "keep", level)))
        for level, tensors in keep.items()
    )


def _einsum(name: str, spec: _EinsumFields, root: YamlNode, above: Path) -> EinsumMapping:
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


def _built_schedule(spec: _ScheduleFields, root: YamlNode) -> Schedule:
    return Schedule(
        kind=spec.kind,
        lookahead=FIT if spec.lookahead is None else spec.lookahead,
        groups=spec.groups or (),
        exposes=spec.exposes,
        span=root.key_span((KEY, "schedule")),
    )


# ------------------------------------------------------------------------------ checks


def _partition(spec: _MappingFields, root: YamlNode) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for rank, members in spec.partition.items():
        path: Path = (KEY, "partition", rank)
        if not members:
            yield Problem(f"no tile of {rank} is named", root.key_span(path))
        for member in members:
            here = root.key_span((*path, member))
            if member == rank:
                yield Problem(f"a tile of {rank} cannot be called {member} itself", here)
            elif member in first:
                yield Problem(f"'{member}' is already a tile of {first[member]}", here)
            first.setdefault(member, rank)


def _nest(spec: _MappingFields, root: YamlNode) -> Iterator[Problem]:
    loops = [
        (name, (KEY, "nest", at, "loops", i))
        for at, level in enumerate(spec.nest)
        for i, name in enumerate(level.loops)
    ]
    yield from _twice(loops, root, "is already a loop of the nest")
    for at, level in enumerate(spec.nest):
        if not level.model_fields_set & {"loops", "spatial"}:
            text = f"'{level.level}' has neither 'loops' nor ranks that are 'spatial'"
            yield Problem(text, root.span_of((KEY, "nest", at)))
    spread = [
        (rank, (KEY, "nest", at, "spatial", instances))
        for at, level in enumerate(spec.nest)
        for instances, ranks in level.spatial.items()
        for rank in ranks
    ]
    yield from _twice(spread, root, "is already spread over instances")
    levels = [(level.level, (KEY, "nest", at, "level")) for at, level in enumerate(spec.nest)]
    yield from _twice(levels, root, "already has its loops; give them in one list")


def _einsums(spec: _MappingFields, root: YamlNode) -> Iterator[Problem]:
    shared = [name for level in spec.nest for name in level.loops]
    for einsum, how in spec.einsums.items():
        path: Path = (KEY, "einsums", einsum)
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


def _keep(spec: _MappingFields, root: YamlNode) -> Iterator[Problem]:
    for level, tensors in spec.keep.items():
        placed = [(t, (KEY, "keep", level, i)) for i, t in enumerate(tensors)]
        yield from _twice(placed, root, f"is already kept in {level}")


def _schedule(spec: _MappingFields, root: YamlNode) -> Iterator[Problem]:
    schedule, path = spec.schedule, (KEY, "schedule")
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
    yield from _shifted(schedule, root)
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


def _shifted(schedule: _ScheduleFields, root: YamlNode) -> Iterator[Problem]:
    """Only phases run an Einsum on another tile than the others of its group."""
    if schedule.kind == "phases" or schedule.groups is None:
        return
    for at, group in enumerate(schedule.groups):
        for i, task in enumerate(group):
            if task.shift:
                text = f"a sequential schedule runs {task.einsum} on no other tile"
                where = root.span_of((KEY, "schedule", "groups", at, i))
                yield Problem(text, where, f"write '{task.einsum}'")


def _twice(placed: Iterable[tuple[str, Path]], root: YamlNode, what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, path in placed:
        if name in seen:
            yield Problem(f"'{name}' {what}", root.span_of(path))
        seen.add(name)
