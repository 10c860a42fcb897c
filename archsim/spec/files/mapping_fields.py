"""Fields of a mapping file, and how its sizes and tasks are written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from einsum_cascade.errors import did_you_mean, nearest
from einsum_cascade.yaml.schema import Fields, Rank, Title, expected, parse_count
from einsum_cascade.yaml.source import shorten

from ..mapping import (
    BALANCED,
    EVEN,
    FIT,
    REST,
    WHOLE,
    WHOLE_OR_ONE,
    DimensionRef,
    Least,
    PhaseTask,
    ScheduleName,
    TileSize,
)
from .fields import Name, Names, Words, one_or_more
from .open_choices import ObjectiveFields, SpillFields

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


Parts = Annotated[Any, PlainValidator(_parts)]
Spread = Annotated[dict[Rank, Parts], BeforeValidator(_spread), Field(min_length=1)]


class LevelFields(Fields):
    level: Name
    """A memory, by name or role."""
    loops: Ranks = ()
    """Ranks or tiles, outermost first."""
    spatial: dict[Name, Spread] = Field(default_factory=dict)
    """Ranks of which each of its instances has a part, by what these are called: a rank, some,
    or some with how many parts each has."""
    ring: Ranks = ()
    """Ranks of which each instance holds a part of what all need, and passes it on in a ring."""


class EinsumFields(Fields):
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


class PatchedEinsumFields(EinsumFields):
    array: Name = ""


class ScheduleFields(Fields):
    kind: ScheduleName
    """How Einsums follow one another."""
    lookahead: Annotated[int | Literal["fit"] | None, PlainValidator(_lookahead)] = None
    """Of pipelined: how many tiles are in flight, or `fit`."""
    groups: Annotated[tuple[tuple[Task, ...], ...] | None, Field(min_length=1)] = None
    """Einsums that overlap, group after group."""
    exposes: Names | None = None
    """Of phases: Einsums whose time is not hidden."""


class CaseFields(Fields):
    when: Annotated[dict[Name, Names], Field(min_length=1)]
    """Alternatives of choices, all of which are made."""
    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """Tiles that replace those of the same name."""
    nest: tuple[LevelFields, ...] = ()
    """The nest in the place of the other."""
    einsums: dict[str, PatchedEinsumFields] = Field(default_factory=dict)
    """What replaces the same fields of Einsums."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """Tensors that are kept besides."""
    spill: SpillFields | None = None
    """In the place of the same fields."""
    objective: ObjectiveFields | None = None
    """In the place of the same fields."""


class NestFields(Fields):
    """One of several nests."""

    partition: dict[Rank, dict[Rank, Size]] = Field(default_factory=dict)
    """By rank, its tiles and their sizes: a number, `matrix.rows`, `whole`, `fit`, `even`."""
    nest: tuple[LevelFields, ...] = ()
    """The loops that its Einsums share, outermost first."""
    einsums: Annotated[dict[str, EinsumFields], Field(min_length=1)]
    """By name, how each of its Einsums runs."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """By level, the tensors it holds."""
    schedule: ScheduleFields = ScheduleFields(kind="pipelined")
    """What overlaps with what."""


class MappingFields(Fields):
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
    nest: tuple[LevelFields, ...] = ()
    """The loops that Einsums share, outermost first."""
    einsums: dict[str, EinsumFields] = Field(default_factory=dict)
    """By name, how each runs."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """By level, the tensors it holds."""
    schedule: ScheduleFields = ScheduleFields(kind="pipelined")
    """What overlaps with what."""
    spill: SpillFields | None = None
    """A level that may be asked to hold more than it can."""
    choices: dict[Name, Names] = Field(default_factory=dict)
    """What is left open, and its alternatives."""
    cases: tuple[CaseFields, ...] = ()
    """What follows from choices."""
    objective: ObjectiveFields | None = None
    """What the best choice is."""
    nests: tuple[NestFields, ...] = ()
    """Several, one after the other, in the place of all that says how Einsums run."""
