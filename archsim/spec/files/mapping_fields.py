"""Fields of mapping files: sizes, tasks, spills and open choices as written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from einsum_cascade.errors import Problem, did_you_mean, nearest
from einsum_cascade.yaml.schema import Fields, Rank, Title, expected, parse_count
from einsum_cascade.yaml.source import Path, YamlNode, shorten

from ..mapping import (
    BALANCED,
    EVEN,
    FIT,
    REST,
    WHOLE,
    WHOLE_OR_ONE,
    Choice,
    ChoiceObjective,
    DimensionRef,
    Factors,
    MinimumSize,
    PhaseTask,
    ScheduleName,
    Spill,
    TileSize,
)
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
