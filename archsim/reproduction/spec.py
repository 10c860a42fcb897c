"""Reproduction files: from YAML to a ``Plan``, with errors that point at the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.yaml.schema import Count, Fields, expected, section, validate
from einsum_cascade.yaml.source import Path, YamlNode, shorten
from einsum_cascade.yaml.spec_files import spec_tree

from ..spec.files.fields import Name, Title, Words
from .measures import BY_NAME, PLAIN, RATIOS
from .plan import (
    BLANK,
    PRINTED,
    Configuration,
    DesignPoint,
    Figure,
    Headline,
    Omission,
    Omissions,
    Panel,
    Plan,
    Printed,
    PublishedTable,
    Scope,
    Sweep,
)

KEY = "reproduction"


def _printed(value: Any) -> Printed:
    text = value if isinstance(value, str) else str(value)
    if not PRINTED.fullmatch(text):
        raise expected(f"expected a ratio as printed, such as 6.7x or 79%, got '{shorten(text)}'")
    return Printed(text=text)


def _quantity(value: Any) -> str:
    word, _, name = str(value).partition(".")
    if value in (*PLAIN, *RATIOS) or (word in BY_NAME and name):
        return str(value)
    known = [*PLAIN, *RATIOS, *(f"{w}.NAME" for w in BY_NAME)]
    hint = did_you_mean(str(value), known)
    raise expected(f"there is no quantity '{shorten(str(value))}'", hint)


def _plain_text(value: Any) -> str:
    if isinstance(value, bool | int | float | str):
        return str(value)
    raise expected("expected a text or a number")


Quantity = Annotated[str, PlainValidator(_quantity)]
Ratio = Annotated[Printed, PlainValidator(_printed)]
PlainText = Annotated[str, PlainValidator(_plain_text)]
MeanName = Literal["arithmetic", "geometric", "harmonic"]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class _Configuration(Fields):
    name: Name
    title: Words
    mapping: str
    architectures: dict[Name, str]


class _Scope(Fields):
    name: Name
    title: Words
    settings: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()


class _Panel(Fields):
    quantity: Quantity
    title: Words


class _Figure(Fields):
    number: Count
    kind: Literal["bars", "breakdown", "stack", "scatter"]
    title: Words
    scope: Name
    panels: Annotated[tuple[_Panel, ...], Field(min_length=1)]
    configurations: tuple[Name, ...] = ()
    baseline: Name | None = None


class _Headline(Fields):
    of: Name
    over: Name
    quantity: Literal["speedup", "energy"]
    scope: Name
    mean: MeanName
    published: Ratio
    source: Words = ""
    corrected: Ratio | None = None
    because: Words = ""


class _Group(Fields):
    workloads: Names
    points: Annotated[tuple[dict[str, PlainText], ...], Field(min_length=1)]


class _Sweep(Fields):
    configuration: Name
    seq_len: Count
    settings: tuple[str, ...]
    label: str
    groups: Annotated[tuple[_Group, ...], Field(min_length=1)]


class _Omission(Fields):
    title: Words
    configuration: Name
    settings: Annotated[tuple[str, ...], Field(min_length=1)]


class _Omissions(Fields):
    scope: Name
    workload: Name
    seq_len: Count
    cases: tuple[_Omission, ...]


class _Table(Fields):
    file: str
    workload: Name
    scope: Name | None = None
    where: dict[str, PlainText] = Field(default_factory=dict)
    key: str
    columns: dict[str, Quantity]


class _Plan(Fields):
    name: Title
    title: Words
    source: Words = ""
    workloads: Names
    seq_len: Annotated[tuple[Count, ...], Field(min_length=1)]
    billings: Annotated[dict[Name, str], Field(min_length=1)]
    configurations: Annotated[tuple[_Configuration, ...], Field(min_length=1)]
    scopes: Annotated[tuple[_Scope, ...], Field(min_length=1)]
    figures: tuple[_Figure, ...] = ()
    headline: tuple[_Headline, ...] = ()
    sweep: _Sweep | None = None
    omissions: _Omissions | None = None
    tables: tuple[_Table, ...] = ()


def load_plan(name: str | PathLike[str]) -> Plan:
    """See ``Plan.load``."""
    root = spec_tree("reproductions", name)
    spec = validate(_Plan, root, section(root, KEY))
    problems = [*_twice(spec, root), *_names(spec, root), *_sweep_names(spec, root)]
    if problems:
        raise SpecError(problems)
    return _built(spec)


# ------------------------------------------------------------------------------ checks


def _twice(spec: _Plan, root: YamlNode) -> Iterator[Problem]:
    """Names and numbers that must be told apart."""
    lists: tuple[tuple[str, str, list[str]], ...] = (
        ("configurations", "name", [c.name for c in spec.configurations]),
        ("scopes", "name", [s.name for s in spec.scopes]),
        ("figures", "number", [str(f.number) for f in spec.figures]),
    )
    for key, field, names in lists:
        for at, name in enumerate(names):
            if name in names[:at]:
                span = root.span_of((KEY, key, at, field))
                yield Problem(f"there are two {key} called '{name}'", span)


def _names(spec: _Plan, root: YamlNode) -> Iterator[Problem]:
    """Every name of a configuration, scope or billing is one that is declared."""
    configurations = [c.name for c in spec.configurations]
    scopes = [s.name for s in spec.scopes]
    used: list[tuple[str, Path, list[str], str]] = []
    for at, figure in enumerate(spec.figures):
        here: Path = (KEY, "figures", at)
        used.append((figure.scope, (*here, "scope"), scopes, "scope"))
        for i, name in enumerate(figure.configurations):
            where = (*here, "configurations", i)
            used.append((name, where, configurations, "configuration"))
        if figure.baseline is not None:
            where = (*here, "baseline")
            used.append((figure.baseline, where, configurations, "configuration"))
    for at, headline in enumerate(spec.headline):
        here = (KEY, "headline", at)
        used.append((headline.scope, (*here, "scope"), scopes, "scope"))
        used.append((headline.of, (*here, "of"), configurations, "configuration"))
        used.append((headline.over, (*here, "over"), configurations, "configuration"))
    if spec.omissions is not None:
        here = (KEY, "omissions")
        used.append((spec.omissions.scope, (*here, "scope"), scopes, "scope"))
        for at, case in enumerate(spec.omissions.cases):
            where = (*here, "cases", at, "configuration")
            used.append((case.configuration, where, configurations, "configuration"))
    for at, table in enumerate(spec.tables):
        if table.scope is not None:
            used.append((table.scope, (KEY, "tables", at, "scope"), scopes, "scope"))
    for name, where, known, what in used:
        if name not in known:
            hint = did_you_mean(name, known)
            yield Problem(f"there is no {what} '{name}'", root.span_of(where), hint)
    for at, configuration in enumerate(spec.configurations):
        here = (KEY, "configurations", at, "architectures")
        for name in spec.billings:
            if name not in configuration.architectures:
                yield Problem(f"no architecture is named for '{name}'", root.key_span(here))
        for name in configuration.architectures:
            if name not in spec.billings:
                hint = did_you_mean(name, spec.billings)
                yield Problem(f"there is no billing '{name}'", root.key_span((*here, name)), hint)


def _sweep_names(spec: _Plan, root: YamlNode) -> Iterator[Problem]:
    """A sweep's configuration is declared, and its points fill in every ``{name}``."""
    sweep = spec.sweep
    if sweep is None:
        if figure := next((f for f in spec.figures if f.kind == "scatter"), None):
            span = root.key_span((KEY, "figures", spec.figures.index(figure)))
            yield Problem(f"figure {figure.number} is of a sweep, but there is none", span)
        return
    names = [c.name for c in spec.configurations]
    if sweep.configuration not in names:
        hint = did_you_mean(sweep.configuration, names)
        span = root.span_of((KEY, "sweep", "configuration"))
        yield Problem(f"there is no configuration '{sweep.configuration}'", span, hint)
    wanted = [name for text in (sweep.label, *sweep.settings) for name in BLANK.findall(text)]
    for at, group in enumerate(sweep.groups):
        for i, point in enumerate(group.points):
            for name in dict.fromkeys(wanted):
                if name not in point:
                    span = root.span_of((KEY, "sweep", "groups", at, "points", i))
                    hint = did_you_mean(name, point)
                    yield Problem(f"the point gives no '{name}'", span, hint)


# ------------------------------------------------------------------------------ building


def _built(spec: _Plan) -> Plan:
    everything = tuple(c.name for c in spec.configurations)
    return Plan(
        name=spec.name,
        title=spec.title,
        source=spec.source,
        workloads=spec.workloads,
        lengths=spec.seq_len,
        billings=tuple(spec.billings.items()),
        configurations=tuple(
            Configuration(
                name=c.name,
                title=c.title,
                mapping=c.mapping,
                architectures=tuple(c.architectures.items()),
            )
            for c in spec.configurations
        ),
        scopes=tuple(
            Scope(name=s.name, title=s.title, settings=s.settings, mappings=s.mappings)
            for s in spec.scopes
        ),
        figures=tuple(_figure(f, everything) for f in spec.figures),
        headlines=tuple(_headline(h, spec) for h in spec.headline),
        sweep=None if spec.sweep is None else _sweep(spec.sweep),
        omissions=None if spec.omissions is None else _omissions(spec.omissions),
        tables=tuple(
            PublishedTable(
                file=t.file,
                workload=t.workload,
                scope=t.scope,
                where=tuple(t.where.items()),
                key=t.key,
                columns=tuple(t.columns.items()),
            )
            for t in spec.tables
        ),
    )


def _figure(spec: _Figure, everything: tuple[str, ...]) -> Figure:
    return Figure(
        number=spec.number,
        kind=spec.kind,
        title=spec.title,
        scope=spec.scope,
        panels=tuple(Panel(quantity=p.quantity, title=p.title) for p in spec.panels),
        configurations=spec.configurations or everything,
        baseline=spec.baseline,
    )


def _headline(spec: _Headline, plan: _Plan) -> Headline:
    titles = {c.name: c.title for c in plan.configurations}
    scope = next(s.title for s in plan.scopes if s.name == spec.scope)
    return Headline(
        title=f"{scope} {spec.quantity}, {titles[spec.of]} over {titles[spec.over]}",
        scope=spec.scope,
        quantity=spec.quantity,
        of=spec.of,
        over=spec.over,
        mean=spec.mean,
        published=spec.published,
        source=spec.source,
        corrected=spec.corrected,
        because=spec.because,
    )


def _omissions(spec: _Omissions) -> Omissions:
    return Omissions(
        scope=spec.scope,
        workload=spec.workload,
        seq_len=spec.seq_len,
        cases=tuple(
            Omission(title=c.title, configuration=c.configuration, settings=c.settings)
            for c in spec.cases
        ),
    )


def _sweep(spec: _Sweep) -> Sweep:
    return Sweep(
        configuration=spec.configuration,
        seq_len=spec.seq_len,
        points=tuple(
            DesignPoint(
                label=_filled(spec.label, point),
                workloads=group.workloads,
                settings=tuple(_all_filled(spec.settings, point)),
            )
            for group in spec.groups
            for point in group.points
        ),
    )


def _all_filled(texts: Iterable[str], point: dict[str, str]) -> Iterator[str]:
    return (_filled(text, point) for text in texts)


def _filled(text: str, point: dict[str, str]) -> str:
    return BLANK.sub(lambda found: point[found[1]], text)
