"""Mapping files: their fields, and checks that need no cascade."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PlainValidator

from einsum_cascade.errors import Problem, SpecError, did_you_mean, nearest, raise_all
from einsum_cascade.yaml.library import resolve_reference
from einsum_cascade.yaml.schema import Fields, Rank, Title, expected, parse_count, section, validate
from einsum_cascade.yaml.source import FilePlace, YamlNode, shorten

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
    SpatialRank,
    Spill,
    Tile,
)
from ..mapping import Mapping as MappingSpec
from .fields import Name, Names, given_fields, one_or_more

KEY = "mapping"
R = TypeVar("R")
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
"""Factors of a product, as a file states them."""
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


def _section(record: Callable[..., R], spec: Fields | None, place: FilePlace) -> R | None:
    """Return the record of a section with the same fields; None without such a section."""
    return None if spec is None else record(**given_fields(spec), span=place.key_span)


def _choice_problems(spec: MappingFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each choice that no case tests, alternative without a case, and case
    without a choice."""
    tested: dict[str, list[str]] = {}
    choices = spec.choices
    if spec.cases and not choices:
        yield place.below("cases").key_problem("'cases' are for 'choices', and there are none")
        return
    for at, case in enumerate(spec.cases):
        for name, alternatives in case.when.items():
            tested.setdefault(name, []).extend(alternatives)
            if name not in choices:
                where = place.below("cases", at, "when", name)
                hint = did_you_mean(name, choices)
                yield where.key_problem(f"no choice is called '{name}'", hint)
    for name, alternatives in choices.items():
        here = place.below("choices", name)
        if not alternatives:
            yield here.problem(f"choice '{name}' has no alternatives")
        if name not in tested:
            yield here.problem(f"no case asks about a choice '{name}'", did_you_mean(name, tested))
            continue
        known = list(dict.fromkeys(tested[name]))
        for alternative in alternatives:
            if alternative not in known:
                text = f"no case says what '{alternative}' of choice '{name}' is"
                yield here.problem(text, did_you_mean(alternative, known))
            elif alternatives.count(alternative) > 1:
                yield here.problem(f"'{alternative}' stands twice in choice '{name}'")
                break


def _objective_problems(spec: MappingFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem if there are choices but no objective, or an objective but no choices."""
    if spec.choices and spec.objective is None:
        text = "a mapping with 'choices' needs an 'objective'"
        hint = "such as 'objective: {latency_of: [QK, AV]}'"
        yield place.below("choices").key_problem(text, hint)
    if not spec.choices and spec.objective is not None and not spec.cases:
        text = "an 'objective' is for 'choices', and there are none"
        yield place.below("objective").key_problem(text)


_DIMENSION = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)\.([A-Za-z_][A-Za-z0-9_-]*)")
_LEAST = re.compile(r"min\((.*)\)")
_BALANCED = re.compile(rf"(?:(\S+) )?{BALANCED}")
_TASK = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:@([-+]?[0-9]{1,4}))?")


_SIZES = (FIT, EVEN, WHOLE, WHOLE_OR_ONE)
"""Words for sizes of tiles."""


def _tile_size(value: Any) -> Any:
    if value in _SIZES:
        return value
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
            hint = did_you_mean(value, _SIZES) if nearest(value, _SIZES) else ""
            raise expected(f"expected {wanted}, got '{shorten(value)}'", hint)
    return parse_count(value)


def _extent(text: str) -> int | DimensionRef:
    """Parse one of the sizes inside of ``min(...)``."""
    if found := _DIMENSION.fullmatch(text):
        return DimensionRef(array=found[1], dimension=found[2])
    if text[:1].isdigit():
        return parse_count(text)
    wanted = "numbers or array dimensions such as matrix.rows inside min(...)"
    raise expected(f"expected {wanted}, got '{shorten(text)}'")


def _lookahead(value: Any) -> int | Literal["fit"]:
    return FIT if value == FIT else parse_count(value)


def _loops(value: Any) -> Any:
    """Return the loops by level; a plain list becomes the loops of a level without a name."""
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


def _partitioned(value: Any) -> Any:
    """Return partitioned ranks as a dictionary from a rank to its number of parts."""
    if isinstance(value, str | tuple):
        ranks = one_or_more(value)
        twice = [rank for rank in ranks if ranks.count(rank) > 1]
        if twice:
            raise expected(f"expected ranks that differ, got {twice[0]} twice")
        return dict.fromkeys(ranks, REST)
    return value


def _parts(value: Any) -> dict[str, Any]:
    """Parse the number of parts of a rank, if stated, and whether the parts have equal work."""
    number, balanced = value, False
    if isinstance(value, str) and (found := _BALANCED.fullmatch(value)):
        number, balanced = found[1] or REST, True
    return {"parts": None if number == REST else parse_count(number), "balanced": balanced}


Parts = Annotated[Any, PlainValidator(_parts)]
RanksInParts = Annotated[dict[Rank, Parts], BeforeValidator(_partitioned), Field(min_length=1)]


class LevelFields(Fields):
    level: Name
    """Memory, by name or role."""
    loops: Ranks = ()
    """Ranks or tiles, outermost first."""
    spatial: dict[Name, RanksInParts] = Field(default_factory=dict)
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
    """One nest of a mapping."""

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
    title: str = ""
    """Description in one line."""
    source: str = ""
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


def build_mapping(root: YamlNode) -> MappingSpec:
    """Build a mapping from the tree of its file.

    Parameters
    ----------
    root : YamlNode
        Tree of the file with settings applied; its spans locate problems.

    Raises
    ------
    SpecError
        The tree does not describe a mapping; names every problem with its place.
    """
    place = FilePlace(root, section(root, KEY))
    spec = validate(MappingFields, root, place.path)
    raise_all(_problems_of(spec, place), SpecError)
    whole: dict[str, Any] = {
        "name": spec.name,
        "cascade": resolve_reference("cascades", spec.cascade, place.below("cascade").span),
        "machine": spec.machine,
        "source": root.span.source.name,
    }
    return MappingSpec(
        **whole,
        **_nest_fields(spec, place),
        spill=_section(Spill, spec.spill, place.below("spill")),
        choices=tuple(
            Choice(name=name, alternatives=found, span=place.below("choices", name).key_span)
            for name, found in spec.choices.items()
        ),
        cases=tuple(_case(case, place.below("cases", at)) for at, case in enumerate(spec.cases)),
        objective=_section(ChoiceObjective, spec.objective, place.below("objective")),
        nests=tuple(
            MappingSpec(**whole, **_nest_fields(nest, place.below("nests", at)))
            for at, nest in enumerate(spec.nests)
        ),
    )


def _nest_fields(spec: MappingFields | NestFields, place: FilePlace) -> dict[str, Any]:
    """Return the fields that a mapping and each of its nests have in common."""
    return {
        **_placed_fields(spec, place),
        "einsums": tuple(_einsum(name, e, place) for name, e in spec.einsums.items()),
        "schedule": _section(Schedule, spec.schedule, place.below("schedule")),
    }


def _case(spec: CaseFields, place: FilePlace) -> Case:
    return Case(
        when=tuple(spec.when.items()),
        **_placed_fields(spec, place),
        einsums=tuple(
            EinsumPatch(mapping=_einsum(name, e, place), given=frozenset(e.model_fields_set))
            for name, e in spec.einsums.items()
        ),
        spill=_section(Spill, spec.spill, place.below("spill")),
        objective=_section(ChoiceObjective, spec.objective, place.below("objective")),
        span=place.span,
    )


def _placed_fields(
    spec: MappingFields | NestFields | CaseFields, place: FilePlace
) -> dict[str, Any]:
    """Return the tiles, the nest and the kept tensors that a mapping, a nest or a case states."""
    parts_place = place.below("partition")
    return {
        "tiles": tuple(
            Tile(rank=rank, member=member, size=size, span=parts_place.below(rank, member).span)
            for rank, members in spec.partition.items()
            for member, size in members.items()
        ),
        "nest": tuple(
            NestLevel(
                level=level.level,
                loops=level.loops,
                spatial=tuple(
                    SpatialRank(instances=instances, rank=rank, **parts)
                    for instances, ranks in level.spatial.items()
                    for rank, parts in ranks.items()
                ),
                ring=level.ring,
                span=place.below("nest", at).span,
            )
            for at, level in enumerate(spec.nest)
        ),
        "keep": tuple(
            Keep(level=level, tensors=tensors, span=place.below("keep", level).key_span)
            for level, tensors in spec.keep.items()
        ),
    }


def _einsum(name: str, spec: EinsumFields, above: FilePlace) -> EinsumMapping:
    place = above.below("einsums", name)
    given = given_fields(spec)
    del given["loops"]
    nest = tuple(
        NestLevel(level=level, loops=loops, span=place.below("loops", level).span)
        for level, loops in spec.loops.items()
        if loops
    )
    return EinsumMapping(einsum=name, nest=nest, span=place.key_span, **given)


Named = list[tuple[str, FilePlace]]
"""Pairs of a name in a file and its place."""


def _named(names: Iterable[str], place: FilePlace) -> Named:
    """Return the names in a list of a file, with their places."""
    return [(name, place.below(at)) for at, name in enumerate(names)]


def _problems_of(spec: MappingFields, place: FilePlace) -> Iterator[Problem]:
    """Yield all problems of a mapping with their places."""
    yield from _nests_problems(spec, place)
    yield from _nest_problems(spec, place)
    yield from _choice_problems(spec, place)
    yield from _objective_problems(spec, place)
    yield from _schedule_problems(spec, place)
    for at, nest in enumerate(spec.nests):
        yield from _nest_problems(nest, place.below("nests", at))
        yield from _schedule_problems(nest, place.below("nests", at))
    named = [
        (name, place.below("nests", at, "einsums", name))
        for at, nest in enumerate(spec.nests)
        for name in nest.einsums
    ]
    yield from _twice(named, "is already in a nest")


def _nests_problems(spec: MappingFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem if a mapping has neither Einsums nor nests, or nests beside fields of its
    own."""
    given = spec.model_fields_set
    if "nests" not in given:
        if "einsums" not in given:
            yield place.key_problem(f"the field 'einsums' is missing in '{place.path[-1]}'")
        return
    if len(spec.nests) < 2:
        text = "several nests are two at the least"
        yield place.below("nests").key_problem(text, "one needs no 'nests'")
    others = {"partition", "nest", "einsums", "keep", "schedule", "spill", "choices", "cases"}
    for field in sorted((others | {"objective"}) & given):
        text = f"a mapping of several nests has no '{field}' of its own"
        yield place.below(field).key_problem(text, "each nest says its own")


def _nest_problems(spec: MappingFields | NestFields, place: FilePlace) -> Iterator[Problem]:
    yield from _partition_problems(spec, place)
    yield from _level_problems(spec, place)
    yield from _einsum_problems(spec, place)
    for level, tensors in spec.keep.items():
        kept = _named(tensors, place.below("keep", level))
        yield from _twice(kept, f"is already kept in {level}")


def _partition_problems(spec: MappingFields | NestFields, place: FilePlace) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for rank, members in spec.partition.items():
        here = place.below("partition", rank)
        if not members:
            yield here.key_problem(f"no tile of {rank} is named")
        for member in members:
            if member == rank:
                text = f"a tile of {rank} cannot be called {member} itself"
                yield here.below(member).key_problem(text)
            elif member in first:
                text = f"'{member}' is already a tile of {first[member]}"
                yield here.below(member).key_problem(text)
            first.setdefault(member, rank)


def _level_problems(spec: MappingFields | NestFields, place: FilePlace) -> Iterator[Problem]:
    levels = [(level, place.below("nest", at)) for at, level in enumerate(spec.nest)]
    loops = [x for level, here in levels for x in _named(level.loops, here.below("loops"))]
    yield from _twice(loops, "is already a loop of the nest")
    for level, here in levels:
        if not level.model_fields_set & {"loops", "spatial"}:
            yield here.problem(f"'{level.level}' has neither 'loops' nor ranks that are 'spatial'")
        if level.ring and not level.spatial:
            text = (
                f"'{level.level}' has ranks in a 'ring', but none is 'spatial' over its instances"
            )
            yield here.problem(text, "add 'spatial: {chips: P}'")
        yield from _twice(_named(level.ring, here.below("ring")), "goes round already")
    spatial_ranks = [
        (rank, here.below("spatial", instances))
        for level, here in levels
        for instances, ranks in level.spatial.items()
        for rank in ranks
    ]
    yield from _twice(spatial_ranks, "is already partitioned over instances")
    names = [(level.level, here.below("level")) for level, here in levels]
    yield from _twice(names, "already has its loops; give them in one list")


def _einsum_problems(spec: MappingFields | NestFields, place: FilePlace) -> Iterator[Problem]:
    shared = [name for level in spec.nest for name in level.loops]
    for einsum, how in spec.einsums.items():
        here = place.below("einsums", einsum)
        placed: Named = []
        for dimension, ranks in how.spatial.items():
            placed += _named(ranks, here.below("spatial", dimension))
        for level, ranks in how.loops.items():
            placed += _named(ranks, here.below("loops", *([level] if level else [])))
        yield from _twice(placed, f"is already laid out or looped over by {einsum}")
        for rank, where in placed:
            if rank in shared and rank not in how.outside:
                text = f"'{rank}' is a loop of the shared nest, so {einsum} cannot place it again"
                yield where.problem(text, f"'outside: {rank}' takes it out of it")
        for rank, where in _named(how.outside, here.below("outside")):
            if rank not in shared:
                text = f"'{rank}' is no loop of the shared nest that {einsum} could be outside of"
                yield where.problem(text, did_you_mean(rank, shared))


def _schedule_problems(spec: MappingFields | NestFields, above: FilePlace) -> Iterator[Problem]:
    schedule, place = spec.schedule, above.below("schedule")
    owners = (
        ("groups", ("phases", "sequential")),
        ("exposes", ("phases",)),
        ("lookahead", ("pipelined",)),
    )
    for field, kinds in owners:
        if getattr(schedule, field) is not None and schedule.kind not in kinds:
            text = f"a {schedule.kind} schedule has no '{field}'"
            yield place.below(field).key_problem(text, f"that belongs to kind {' or '.join(kinds)}")
    if schedule.kind == "phases" and schedule.groups is None:
        yield place.key_problem("a schedule of phases needs 'groups'")
    if schedule.groups is None or schedule.kind == "pipelined":
        return
    groups = place.below("groups")
    for at, group in enumerate(schedule.groups):
        if not group:
            yield groups.below(at).problem("a group without Einsums")
    tasks = [
        (task, groups.below(at, number))
        for at, group in enumerate(schedule.groups)
        for number, task in enumerate(group)
    ]
    for task, where in tasks:
        # Only phases run an Einsum on another tile than its group.
        if task.shift and schedule.kind != "phases":
            text = f"a sequential schedule runs {task.einsum} on no other tile"
            yield where.problem(text, f"write '{task.einsum}'")
    named = [(task.einsum, where) for task, where in tasks]
    yield from _twice(named, "is already in a group")
    yield from _unmapped(named, spec)
    absent = [name for name in spec.einsums if name not in dict(named)]
    if absent:
        yield groups.key_problem(f"every Einsum is in one group; missing: {', '.join(absent)}")
    yield from _unmapped(_named(schedule.exposes or (), place.below("exposes")), spec)


def _unmapped(named: Named, spec: MappingFields | NestFields) -> Iterator[Problem]:
    for name, where in named:
        if name not in spec.einsums:
            yield where.problem(f"no Einsum '{name}' is mapped", did_you_mean(name, spec.einsums))


def _twice(named: Named, what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, place in named:
        if name in seen:
            yield place.problem(f"'{name}' {what}")
        seen.add(name)
