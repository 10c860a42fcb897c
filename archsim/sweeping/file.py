"""Reader of sweeps from a YAML file or a dict; every error has its position in the file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from einsum_cascade.errors import Problem, SpecError, collect_problems, did_you_mean, raise_all
from einsum_cascade.source import Source
from einsum_cascade.yaml.edit import Setting, written_setting
from einsum_cascade.yaml.library import read_source, text_tree
from einsum_cascade.yaml.schema import Count, Fields, Title, format_value, section, validate
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, YamlSequence

from ..spec.files.fields import one_or_more
from .columns import AS_BUILT, FITS, FIXED, LEVELS, NUMBERS, right_side
from .spec import (
    DEFAULT,
    ROLES,
    Condition,
    PointChoice,
    Role,
    Sweep,
    SweepAxis,
    generated_values,
    written_values,
)

KEY = "sweep"

_AXIS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(?:(<=|>=|==|!=|<|>)\s*(\S.*))?")
_MOST_POINTS = 10**9
_SMALL = ("needed_bytes.", "traffic_bytes.", "buffer_bytes.", "energy_pj.")
"""Names of columns that a search can minimise, besides the columns with one number per run."""


class SweepFields(Fields):
    """Section ``sweep`` of a file."""

    name: Title
    """Name of the sweep."""
    workload: str | None = None
    """Workload, as `simulate` takes it, files included."""
    architecture: str | None = None
    """Machine, by name or file."""
    mapping: str | None = None
    """Mapping: `default`, `auto`, a name or a file."""
    set: dict[str, Any] | None = None
    """Settings of every point, as after `--set`."""
    axes: dict[str, Any]
    """Axes by name; the last one moves fastest."""
    where: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """Comparisons of a column with a value. Rows that violate one are kept and marked."""
    points: Any = "all"
    """Points of the grid to run."""


class AxisFields(Fields):
    """Axis that is no plain list."""

    field: str | None = None
    """Field that is set, if its name is not that of the axis."""
    fields: tuple[str, ...] | None = None
    """Several fields, all set to the same value."""
    values: tuple[Any, ...] | None = None
    """Values of the axis."""
    start: Any = Field(default=None, alias="from")
    """First value of a range."""
    to: Any = None
    """Last value of a range that begins with `from`."""
    steps: Count | None = None
    """Number of values of a range."""
    scale: Literal["linear", "log"] | None = None
    """Spacing of the values of a range."""


class PointsFields(Fields):
    """Choice of points, if not all of them run."""

    random: Count | None = None
    """Number of points to draw at random, without repetition."""
    search: Literal["optuna"] | None = None
    """Search that chooses points."""
    trials: Count | None = None
    """Number of points that a search runs."""
    objectives: tuple[str, ...] | None = None
    """Columns to minimise."""
    seed: int | None = None
    """Seed of random points, or of a search."""


def sweep_of(given: Mapping[str, Any] | str | os.PathLike[str]) -> Sweep:
    """Return the sweep in a file, or in a dict with its content; the key ``sweep`` is optional.

    Raises
    ------
    SpecError
        All that is wrong with it, or something in it that a file cannot say.
    """
    if not isinstance(given, Mapping):
        return read_sweep(read_source(given))
    inner = given if set(given) == {KEY} else {KEY: dict(given)}
    try:
        text = json.dumps(inner, indent=2, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError) as wrong:
        raise SpecError(f"the sweep cannot be written as a file: {wrong}") from None
    return read_sweep(Source(KEY, text))


def _plain(value: Any) -> Any:
    """Return a numpy number, a path or a range in the form that a file has."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, range):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"it holds a {type(value).__name__}")


def read_sweep(source: Source) -> Sweep:
    """Return the sweep in a text of YAML. Raises SpecError with all errors."""
    root = text_tree(source)
    path = section(root, KEY)
    node = root.at(path)
    if not isinstance(node, YamlMapping):
        raise SpecError(f"expected the fields of a sweep below '{KEY}:'", root.span)
    problems: list[Problem] = []
    name = ""
    # Errors in later sections are reported as well.
    with collect_problems(problems):
        name = validate(SweepFields, root, path).name
    settings = tuple(_settings(node, problems))
    axes = tuple(_axes(node, problems))
    _refuse_repeated_fields(settings, axes, problems)
    named = {role: _named(node, role, axes, problems) for role in ROLES}
    conditions = tuple(_conditions(node, axes, problems))
    points: PointChoice | None = None
    with collect_problems(problems):
        points = _points(node, axes)
    raise_all(_first_by_place(problems), SpecError)
    return Sweep(
        name=name,
        settings=settings,
        axes=axes,
        conditions=conditions,
        points=points,
        source=source,
        said=json.dumps(root.plain(), ensure_ascii=False),
        **named,
    )


def _first_by_place(problems: list[Problem]) -> list[Problem]:
    """Return problems in the order of the file, with only one at each position."""
    found = {(p.span.line, p.span.column) if p.span else (0, 0): p for p in reversed(problems)}
    return [found[place] for place in sorted(found)]


def _settings(node: YamlMapping, problems: list[Problem]) -> Iterator[Setting]:
    given = node.child("set")
    for key, value in given.entries if isinstance(given, YamlMapping) else ():
        with collect_problems(problems):
            yield written_setting(key, value)


def _axes(node: YamlMapping, problems: list[Problem]) -> Iterator[SweepAxis]:
    given = node.child("axes")
    if not isinstance(given, YamlMapping) or not given.entries:
        what = "axes: expected at least one, NAME: [VALUE, ...]"
        problems.append(Problem(what, node.key_span(("axes",))))
        return
    for key, value in given.entries:
        with collect_problems(problems):
            yield _axis(key, value)


def _axis(key: YamlScalar, node: YamlNode) -> SweepAxis:
    name = key.text
    role: Role = next((r for r in ROLES if r == name), "settings")
    if not _AXIS.fullmatch(name):
        text = f"expected a name of letters, digits, '_', '-' and '.', got '{name}'"
        raise SpecError(text, key.span)
    if role == "settings" and (name in FIXED or name.startswith(LEVELS)):
        text = f"'{name}' is a column of the results, an axis needs another name"
        raise SpecError(text, key.span, f"swept_{name}")
    if isinstance(node, YamlSequence):
        fields = () if role != "settings" else (_checked(key),)
        return SweepAxis(name=name, role=role, fields=fields, values=written_values(node, name))
    if not isinstance(node, YamlMapping):
        text = f"{name}: expected a list of values, or from, to and steps, got {node.kind}"
        raise SpecError(text, node.span, f"{name}: [{format_value(node.plain())}]".replace("'", ""))
    return _axis_of_fields(key, role, node)


def _axis_of_fields(key: YamlScalar, role: Role, node: YamlMapping) -> SweepAxis:
    name = key.text
    parsed = validate(AxisFields, node)
    fields = tuple(_fields(key, node, parsed)) if role == "settings" else ()
    if role != "settings" and (parsed.field or parsed.fields):
        text = f"{name}: an axis of this name chooses the {name}, it sets no field"
        raise SpecError(text, key.span)
    values = node.child("values")
    if isinstance(values, YamlSequence):
        extra = [k for k in ("from", "to", "steps", "scale") if node.child(k) is not None]
        if extra:
            text = f"{name}: values are given, '{extra[0]}' says others"
            raise SpecError(text, node.key_span((extra[0],)))
        return SweepAxis(name=name, role=role, fields=fields, values=written_values(values, name))
    ends: list[YamlScalar] = []
    missing = [k for k in ("from", "to", "steps") if node.child(k) is None]
    if missing:
        hint = "give values: [..], or from, to and steps"
        raise SpecError(f"{name}: '{missing[0]}' is missing", key.span, hint)
    for end in (node.child("from"), node.child("to")):
        if not isinstance(end, YamlScalar):
            assert end is not None, "an end is not missing"
            raise SpecError(f"{name}: expected a number or a quantity, got {end.kind}", end.span)
        ends.append(end)
    start, stop = ends
    made, kind_of = generated_values(
        start, stop, parsed.steps or 0, parsed.scale or "linear", name, node.key_span(("steps",))
    )
    return SweepAxis(name=name, role=role, fields=fields, values=made, kind=kind_of)


def _fields(key: YamlScalar, node: YamlMapping, parsed: AxisFields) -> Iterator[YamlScalar]:
    """Return the fields that an axis sets: the ones it lists, or the field with the axis's name."""
    one, several = node.child("field"), node.child("fields")
    if one is not None and several is not None:
        text = f"{key.text}: 'field' and 'fields' are both given"
        raise SpecError(text, node.key_span(("fields",)))
    if several is not None and not parsed.fields:
        raise SpecError(f"{key.text}: fields: expected at least one", several.span)
    if isinstance(one, YamlScalar):
        yield _checked(one)
    elif isinstance(several, YamlSequence):
        yield from (_checked(f) for f in several.items if isinstance(f, YamlScalar))
    else:
        yield _checked(key)


def _checked(field: YamlScalar) -> YamlScalar:
    """Return a field after a check that settings can change it. Raises SpecError if they cannot."""
    written_setting(field, field)
    return field


def _refuse_repeated_fields(
    settings: tuple[Setting, ...], axes: tuple[SweepAxis, ...], problems: list[Problem]
) -> None:
    """Raise an error for fields that are set twice: one of the values would be ignored."""
    found = {_bare(s.field): "set" for s in settings}
    for axis in axes:
        for field in axis.fields:
            by = found.setdefault(_bare(field.text), f"axis '{axis.name}'")
            if by != f"axis '{axis.name}'" or axis.fields.count(field) > 1:
                text = f"axis '{axis.name}': {field.text} is set by {by} already"
                problems.append(Problem(text, field.span))


def _bare(field: str) -> str:
    return field.removeprefix("workload.")


def _named(
    node: YamlMapping, role: Role, axes: tuple[SweepAxis, ...], problems: list[Problem]
) -> YamlScalar | None:
    """Return the workload, machine or mapping of all points; None if an axis chooses it."""
    given = node.child(role)
    chosen = any(a.role == role for a in axes)
    if isinstance(given, YamlScalar) and given.value is not None:
        if chosen:
            text = f"the {role} is '{given.text}', and an axis chooses it, too"
            problems.append(Problem(text, node.key_span((role,)), f"leave out {role}:"))
        return given
    if chosen:
        return None
    if role == "mapping":
        return YamlScalar(span=node.span, value=DEFAULT, text=DEFAULT)
    text = f"the field '{role}' is missing in '{KEY}'"
    problems.append(Problem(text, node.key_span((role,)), f"or an axis {role}: [..]"))
    return None


def _conditions(
    node: YamlMapping, axes: tuple[SweepAxis, ...], problems: list[Problem]
) -> Iterator[Condition]:
    given = node.child("where")
    items = given.items if isinstance(given, YamlSequence) else (given,)
    named = {axis.name: axis for axis in axes}
    known = (*FIXED, *named)
    for item in items:
        if not isinstance(item, YamlScalar):
            continue
        found = _CONDITION.fullmatch(item.text.rstrip())
        column, sign, value = found.groups() if found else ("", "", "")
        if column == FITS and sign is None:
            sign, value = "==", "true"
        if found and column not in known and not column.startswith(LEVELS):
            span = item.place(found.start(1), found.end(1))
            hint = did_you_mean(column, (*known, *(f"{each}NAME" for each in LEVELS)))
            problems.append(Problem(f"where: there is no column '{column}'", span, hint))
            continue
        if not sign:
            text = f"where: expected COLUMN, a comparison and a value, got '{item.text}'"
            problems.append(Problem(text, item.span, "area_um2 <= 1500 mm^2"))
            continue
        with collect_problems(problems):
            right = right_side(column, sign, value, named.get(column), item.span)
            yield Condition(column=column, sign=sign, node=item, value=right)


def _points(node: YamlMapping, axes: tuple[SweepAxis, ...]) -> PointChoice | None:
    """Return the choice of the points to run; None for all. Raises SpecError."""
    given = node.child("points")
    total = prod(len(axis.values) for axis in axes)
    if given is None or (isinstance(given, YamlScalar) and given.text == "all"):
        if total > _MOST_POINTS:
            text = f"points: the axes make {total:,} points, more than would ever be run"
            raise SpecError(text, node.key_span(("axes",)), "points: {random: 1000, seed: 1}")
        return None
    hint = "points: all, or {random: 1000, seed: 1}"
    if not isinstance(given, YamlMapping):
        raise SpecError(f"points: expected 'all' or a mapping, got {given.kind}", given.span, hint)
    parsed = validate(PointsFields, given)
    if (parsed.random is None) == (parsed.search is None):
        raise SpecError("points: expected 'random' or 'search', and one of them", given.span, hint)
    if parsed.random is not None:
        for other in ("trials", "objectives"):
            if given.child(other) is not None:
                text = f"points: '{other}' is for a search, this draws at random"
                raise SpecError(text, given.key_span((other,)))
        key, number, text = "random", parsed.random, "at random are more than the {} that"
    elif parsed.trials is not None:
        key, number, text = "trials", parsed.trials, "trials are more than the {} points that"
    else:
        raise SpecError("points: a search needs 'trials'", given.span, "trials: 500")
    if number > total:
        text = f"points: {number} {text.format(total)} there are"
        raise SpecError(text, given.key_span((key,)), "points: all")
    searched = () if parsed.search is None else parsed.objectives or ("latency_s",)
    numbers = (*NUMBERS, *AS_BUILT)
    for name in searched:
        if not (name in numbers or name.startswith(_SMALL)) or searched.count(name) > 1:
            text = f"points: '{name}' is no column whose numbers are to be small, or stands twice"
            hint = did_you_mean(name, (*numbers, *(f"{each}NAME" for each in _SMALL)))
            raise SpecError(text, given.key_span(("objectives",)), hint)
    return PointChoice(number=number, seed=parsed.seed or 0, objectives=searched)
