"""Mapping files: their fields, and checks that need no cascade."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from einsum_cascade.errors import Problem, SpecError, did_you_mean, nearest
from einsum_cascade.yaml.library import resolve_reference
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

from ..mapping import (
    BALANCED,
    EVEN,
    FIT,
    REST,
    WHOLE,
    WHOLE_OR_ONE,
    Case,
    Choice,
    ChoiceObjective,
    DimensionRef,
    EinsumMapping,
    EinsumPatch,
    Factors,
    Keep,
    MinimumSize,
    NestLevel,
    PhaseTask,
    Schedule,
    ScheduleName,
    Spill,
    SpreadRank,
    Tile,
    TileSize,
)
from ..mapping import Mapping as MappingSpec
from .fields import Name, Names, Words, one_or_more

KEY = "mapping"
_MAX_COMBINATIONS = 1000


def _count(value: Any) -> int:
    """Parse a whole number from 0 up."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COMBINATIONS:
        return value
    raise expected(f"expected a whole number from 0 to {_MAX_COMBINATIONS}, got '{value}'")


def _factors(value: Any) -> Factors:
    parts = one_or_more(value)
    if not isinstance(parts, tuple | list) or not parts:
        raise expected("expected tile members and numbers, such as [2, P0, E0]")
    return tuple(p if isinstance(p, str) else parse_count(p) for p in parts)


_Factors = str | int | tuple[str | int, ...]
"""Factors as written."""
Count = Annotated[int, PlainValidator(_count)]
Elements = Annotated[Factors, PlainValidator(_factors, json_schema_input_type=_Factors)]


class SpillFields(Fields):
    """Fields of ``spill``; in a case the level may be left out."""

    level: Name = ""
    """Memory whose footprint may exceed its capacity."""
    copies: dict[str, Count] = Field(default_factory=dict)
    """Number of tiles held of a tensor: 2 if double-buffered, 0 if in the place of another."""
    staged: dict[str, Elements] = Field(default_factory=dict)
    """Elements that the level holds of a tensor that only passes it."""


class ObjectiveFields(Fields):
    """Fields of ``objective``, or those that a case changes."""

    latency_of: Names = ()
    """Einsums whose roofline is minimised; all if left out."""
    start_cycles: dict[str, Count] = Field(default_factory=dict)
    """Cycles for each iteration of the outermost loops of an Einsum."""
    first_tiles: dict[str, Elements] = Field(default_factory=dict)
    """Elements of a tensor that have to arrive before work begins."""


def built_spill(spec: SpillFields | None, root: YamlNode, path: Path) -> Spill | None:
    """Build the spill of a section, if there is one."""
    if spec is None:
        return None
    return Spill(
        level=spec.level,
        copies=tuple(spec.copies.items()),
        staged=tuple(spec.staged.items()),
        span=root.key_span(path),
    )


def built_objective(
    spec: ObjectiveFields | None, root: YamlNode, path: Path
) -> ChoiceObjective | None:
    """Build the objective of a section, if there is one."""
    if spec is None:
        return None
    return ChoiceObjective(
        latency_of=spec.latency_of,
        start_cycles=tuple(spec.start_cycles.items()),
        first_tiles=tuple(spec.first_tiles.items()),
        span=root.key_span(path),
    )


def built_choices(choices: Mapping[str, tuple[str, ...]], root: YamlNode) -> tuple[Choice, ...]:
    """Build the open decisions in the order of the file."""
    return tuple(
        Choice(name=name, alternatives=found, span=root.key_span((KEY, "choices", name)))
        for name, found in choices.items()
    )


def choice_problems(
    choices: Mapping[str, tuple[str, ...]],
    conditions: Iterable[Mapping[str, tuple[str, ...]]],
    root: YamlNode,
) -> Iterator[Problem]:
    """Yield choices that no case tests, alternatives without a case, and cases without a choice."""
    tested: dict[str, list[str]] = {}
    conditions = tuple(conditions)
    if conditions and not choices:
        text = "'cases' are for 'choices', and there are none"
        yield Problem(text, root.key_span((KEY, "cases")))
        return
    for at, when in enumerate(conditions):
        for name, alternatives in when.items():
            tested.setdefault(name, []).extend(alternatives)
            if name not in choices:
                where = root.key_span((KEY, "cases", at, "when", name))
                yield Problem(f"no choice is called '{name}'", where, did_you_mean(name, choices))
    for name, alternatives in choices.items():
        span = root.span_of((KEY, "choices", name))
        if not alternatives:
            yield Problem(f"choice '{name}' has no alternatives", span)
        if name not in tested:
            hint = did_you_mean(name, tested)
            yield Problem(f"no case asks about a choice '{name}'", span, hint)
            continue
        known = list(dict.fromkeys(tested[name]))
        for alternative in alternatives:
            if alternative not in known:
                text = f"no case says what '{alternative}' of choice '{name}' is"
                yield Problem(text, span, did_you_mean(alternative, known))
            elif alternatives.count(alternative) > 1:
                yield Problem(f"'{alternative}' stands twice in choice '{name}'", span)
                break


def objective_problems(
    choices: Mapping[str, tuple[str, ...]],
    objective: ObjectiveFields | None,
    root: YamlNode,
    *,
    cases: bool,
) -> Iterator[Problem]:
    """Yield choices without an objective, and an objective without choices."""
    if choices and objective is None:
        text = "a mapping with 'choices' needs an 'objective'"
        hint = "such as 'objective: {latency_of: [QK, AV]}'"
        yield Problem(text, root.key_span((KEY, "choices")), hint)
    if not choices and objective is not None and not cases:
        text = "an 'objective' is for 'choices', and there are none"
        yield Problem(text, root.key_span((KEY, "objective")))


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
            return MinimumSize(sizes=tuple(_extent(part.strip()) for part in found[1].split(",")))
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
    """Parse one of the sizes inside ``min(...)``."""
    if found := _DIMENSION.fullmatch(text):
        return DimensionRef(array=found[1], dimension=found[2])
    if text[:1].isdigit():
        return parse_count(text)
    wanted = "numbers or array dimensions such as matrix.rows inside min(...)"
    raise expected(f"expected {wanted}, got '{shorten(text)}'")


def _lookahead(value: Any) -> int | Literal["fit"]:
    return FIT if value == FIT else parse_count(value)


def _loops(value: Any) -> Any:
    """Turn a plain list into the loops of the unnamed level."""
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
    """Turn ranks into a dictionary from rank to number of parts."""
    if isinstance(value, str | tuple):
        ranks = one_or_more(value)
        twice = [rank for rank in ranks if ranks.count(rank) > 1]
        if twice:
            raise expected(f"expected ranks that differ, got {twice[0]} twice")
        return dict.fromkeys(ranks, REST)
    return value


@dataclass(frozen=True, slots=True)
class _SpreadParts:
    """Number of parts of a rank, if stated, and whether parts have equal work."""

    number: int | None
    balanced: bool


def _parts(value: Any) -> _SpreadParts:
    number, balanced = value, False
    if isinstance(value, str) and (found := _BALANCED.fullmatch(value)):
        number, balanced = found[1] or REST, True
    return _SpreadParts(None if number == REST else parse_count(number), balanced)


Parts = Annotated[Any, PlainValidator(_parts)]
Spread = Annotated[dict[Rank, Parts], BeforeValidator(_spread), Field(min_length=1)]


class LevelFields(Fields):
    level: Name
    """Memory, by name or role."""
    loops: Ranks = ()
    """Ranks or tiles, outermost first."""
    spatial: dict[Name, Spread] = Field(default_factory=dict)
    """Ranks partitioned over the level's cores, by the name of the cores: a rank, several, or
    several with a number of parts each."""
    ring: Ranks = ()
    """Ranks whose parts travel in a ring: each core holds one part of data that all need."""


class EinsumFields(Fields):
    array: Name
    """Array, by name or role."""
    spatial: dict[Name, Ranks] = Field(default_factory=dict)
    """Ranks laid out along each dimension of the array."""
    loops: Annotated[dict[str, Ranks], BeforeValidator(_loops)] = Field(default_factory=dict)
    """Loops of this Einsum alone, a list or by level, outermost first."""
    outside: Ranks = ()
    """Shared loops that the Einsum is outside of."""
    bypass: dict[Name, Names] = Field(default_factory=dict)
    """Tensors that bypass a level."""


class PatchedEinsumFields(EinsumFields):
    array: Name = ""


class ScheduleFields(Fields):
    kind: ScheduleName
    """Kind of schedule."""
    lookahead: Annotated[int | Literal["fit"] | None, PlainValidator(_lookahead)] = None
    """Pipelined: number of tiles in flight, or `fit`."""
    groups: Annotated[tuple[tuple[Task, ...], ...] | None, Field(min_length=1)] = None
    """Groups of Einsums that overlap, one group after the other."""
    exposes: Names | None = None
    """Phases: Einsums whose time is not hidden."""


class CaseFields(Fields):
    when: Annotated[dict[Name, Names], Field(min_length=1)]
    """Alternatives of choices that select the case if all are chosen."""
    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """Tiles that replace those of the same name."""
    nest: tuple[LevelFields, ...] = ()
    """Nest that replaces the mapping's nest."""
    einsums: dict[str, PatchedEinsumFields] = Field(default_factory=dict)
    """Fields that replace those of Einsums."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """Tensors that are kept in addition."""
    spill: SpillFields | None = None
    """Fields that replace those of the mapping's spill."""
    objective: ObjectiveFields | None = None
    """Fields that replace those of the mapping's objective."""


class NestFields(Fields):
    """One of several nests."""

    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """Tiles of each rank with their sizes: a number, `matrix.rows`, `whole`, `fit`, `even`."""
    nest: tuple[LevelFields, ...] = ()
    """Loops shared by its Einsums, outermost first."""
    einsums: Annotated[dict[str, EinsumFields], Field(min_length=1)]
    """Einsums of the nest, by name."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """Tensors that each level holds."""
    schedule: ScheduleFields = ScheduleFields(kind="pipelined")
    """Order and overlap of Einsums."""


class MappingFields(Fields):
    name: Title
    """Name of the mapping."""
    title: Words = ""
    """Description in one line."""
    source: Words = ""
    """Source of the mapping."""
    cascade: str
    """A built-in cascade, or a file."""
    machine: str = ""
    """Only architecture that the mapping is for; no other machine takes it as a default."""
    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """Tiles of each rank with their sizes: a number, `matrix.rows`, `whole`, `fit`, `even`."""
    nest: tuple[LevelFields, ...] = ()
    """Loops shared by Einsums, outermost first."""
    einsums: dict[str, EinsumFields] = Field(default_factory=dict)
    """Einsums, by name."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """Tensors that each level holds."""
    schedule: ScheduleFields = ScheduleFields(kind="pipelined")
    """Order and overlap of Einsums."""
    spill: SpillFields | None = None
    """Level whose footprint may exceed its capacity."""
    choices: dict[Name, Names] = Field(default_factory=dict)
    """Open decisions with their alternatives."""
    cases: tuple[CaseFields, ...] = ()
    """Fields that follow from choices."""
    objective: ObjectiveFields | None = None
    """Objective that decides open choices."""
    nests: tuple[NestFields, ...] = ()
    """Nests that run one after the other; replace all fields that place Einsums."""


FILE_FIELDS: type[Fields] = MappingFields
"""Fields of such a file below its key."""


def build_mapping(root: YamlNode) -> MappingSpec:
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
    return MappingSpec(
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


def _built_nest(whole: MappingFields, root: YamlNode, at: int) -> MappingSpec:
    """Build one of several nests; it has the name and the cascade of the whole mapping."""
    path: Path = (KEY, "nests", at)
    spec = whole.nests[at]
    return MappingSpec(
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
