"""Fields of a mapping file for what may spill, and for what is left open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from einsum_cascade.errors import Problem, did_you_mean
from einsum_cascade.yaml.schema import Fields, expected, parse_count
from einsum_cascade.yaml.source import Path, YamlNode

from ..mapping import Choice, ChoiceObjective, Factors, Spill
from .fields import Name, Names, one_or_more

KEY = "mapping"
_MOST = 1000


def _count(value: Any) -> int:
    """A whole number from 0 on."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    raise expected(f"expected a whole number from 0 to {_MOST}, got '{value}'")


def _factors(value: Any) -> Factors:
    parts = one_or_more(value)
    if not isinstance(parts, tuple | list) or not parts:
        raise expected("expected tile members and numbers, such as [2, P0, E0]")
    return tuple(p if isinstance(p, str) else parse_count(p) for p in parts)


_Factors = str | int | tuple[str | int, ...]
"""As they are written."""
Count = Annotated[int, PlainValidator(_count)]
Elements = Annotated[Factors, PlainValidator(_factors, json_schema_input_type=_Factors)]


class SpillFields(Fields):
    """``spill``; in a case the level may be left out."""

    level: Name = ""
    """The memory that may be asked for more than it holds."""
    copies: dict[str, Count] = Field(default_factory=dict)
    """By tensor, tiles kept: 2 if double-buffered, 0 if in the place of another."""
    staged: dict[str, Elements] = Field(default_factory=dict)
    """By tensor that passes by the level, what the level holds of it."""


class ObjectiveFields(Fields):
    """``objective``, or a part of it in a case."""

    latency_of: Names = ()
    """Einsums whose roofline is minimised; all if left out."""
    start_cycles: dict[str, Count] = Field(default_factory=dict)
    """By Einsum, what each iteration of its outermost loops costs."""
    first_tiles: dict[str, Elements] = Field(default_factory=dict)
    """By tensor, elements that have to come before work begins."""


def built_spill(spec: SpillFields | None, root: YamlNode, path: Path) -> Spill | None:
    """The spill of a section, if it is there."""
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
    """The objective of a section, if it is there."""
    if spec is None:
        return None
    return ChoiceObjective(
        latency_of=spec.latency_of,
        start_cycles=tuple(spec.start_cycles.items()),
        first_tiles=tuple(spec.first_tiles.items()),
        span=root.key_span(path),
    )


def built_choices(choices: Mapping[str, tuple[str, ...]], root: YamlNode) -> tuple[Choice, ...]:
    """The open decisions in the order in which they are written."""
    return tuple(
        Choice(name=name, alternatives=found, span=root.key_span((KEY, "choices", name)))
        for name, found in choices.items()
    )


def choice_problems(
    choices: Mapping[str, tuple[str, ...]],
    conditions: Iterable[Mapping[str, tuple[str, ...]]],
    root: YamlNode,
) -> Iterator[Problem]:
    """Choices nobody tests, alternatives without a case, cases of no choice."""
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
    """Open choices need something to be chosen by."""
    if choices and objective is None:
        text = "a mapping with 'choices' needs an 'objective'"
        hint = "such as 'objective: {latency_of: [QK, AV]}'"
        yield Problem(text, root.key_span((KEY, "choices")), hint)
    if not choices and objective is not None and not cases:
        text = "an 'objective' is for 'choices', and there are none"
        yield Problem(text, root.key_span((KEY, "objective")))
