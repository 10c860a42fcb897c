"""Reproduction file: runs, figures and published means, as frozen records.

Each field of a record is a field of the file. Errors point at the file. No publication is mentioned
in the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator

from einsum_cascade.errors import InputError, Problem, SpecError, did_you_mean, raise_all
from einsum_cascade.source import visible
from einsum_cascade.yaml.library import spec_tree
from einsum_cascade.yaml.schema import Count, Fields, Title, expected, section, validate
from einsum_cascade.yaml.source import Path, YamlNode, shorten

from ..spec.files.fields import Name
from .runs import BY_NAME, PLAIN, RATIOS

KEY = "reproduction"

_BLANK = re.compile(r"\{([^{}]*)\}")
"""Pattern of a name in braces, for which a text is filled in."""
_PRINTED = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?[x%]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRatio:
    """Number as it was printed, such as ``6.7x`` or ``79%``, with its number of decimals."""

    text: str

    @property
    def value(self) -> float:
        """Ratio as a plain number."""
        number = float(self.text[:-1])
        return number / 100 if self.text.endswith("%") else number

    def like(self, ratio: float, more: int = 0) -> str:
        """Return another ratio in the same form, with ``more`` digits.

        >>> PrintedRatio(text="79%").like(0.7954, more=1)
        '79.5%'
        """
        number = 100 * ratio if self.text.endswith("%") else ratio
        decimals = len(self.text[:-1].partition(".")[2]) + more
        return f"{number:.{decimals}f}{self.text[-1]}"

    def agrees(self, ratio: float) -> bool:
        """Return whether a ratio, printed with as many decimals, gives the same text."""
        return self.like(ratio) == self.text


def _printed(value: Any) -> PrintedRatio:
    text = str(value)
    if not _PRINTED.fullmatch(text):
        raise expected(f"expected a ratio as printed, such as 6.7x or 79%, got '{shorten(text)}'")
    return PrintedRatio(text=text)


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
Ratio = Annotated[PrintedRatio, PlainValidator(_printed)]
PlainText = Annotated[str, PlainValidator(_plain_text)]
Heading = Annotated[str, AfterValidator(visible)]
"""Title, as it is drawn and printed."""
MeanName = Literal["arithmetic", "geometric", "harmonic"]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


def _filled(text: str, names: Mapping[str, str]) -> str:
    """Return a text in which every ``{name}`` is replaced."""
    return _BLANK.sub(lambda found: names[found[1]], text)


class Configuration(Fields):
    """Mapping, and the machine that bills it in each of the plan's billings."""

    name: Name
    title: Heading
    mapping: str
    architectures: dict[Name, str]


class ModelScope(Fields):
    """Part of a model that is computed: settings of the workload (``scope=block``).

    ``mappings`` are those of the parts other than attention.
    """

    name: Name
    title: Heading
    settings: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()


class FigurePanel(Fields):
    """Quantity of a figure, and its title."""

    quantity: Quantity
    title: Heading


class PublishedFigure(Fields):
    """Figure of the publication, by its number there.

    A figure shows the quantity of each configuration, or its ratio to that of ``baseline``.
    """

    number: Count
    kind: Literal["bars", "breakdown", "stack", "scatter"]
    title: Heading
    scope: Name
    panels: Annotated[tuple[FigurePanel, ...], Field(min_length=1)]
    configurations: tuple[Name, ...] = ()
    """Configurations shown; all of them if the file names none."""
    baseline: Name | None = None

    @property
    def is_of_sweep(self) -> bool:
        """True if the figure shows machines of the sweep instead of configurations."""
        return self.kind == "scatter"


class PublishedMean(Fields):
    """Mean ratio that the publication states.

    ``corrected`` is the published number without a known mistake, and ``because`` names the
    mistake.
    """

    of: Name
    over: Name
    quantity: Literal["speedup", "energy"]
    scope: Name
    mean: MeanName
    published: Ratio
    source: str = ""
    corrected: Ratio | None = None
    because: str = ""


class SweptMachines(Fields):
    """Machines that run some workloads: values for the names in settings, machine by machine."""

    workloads: Names
    points: Annotated[tuple[dict[str, PlainText], ...], Field(min_length=1)]


class MachineSweep(Fields):
    """Machines of many sizes, under one configuration and sequence length."""

    configuration: Name
    seq_len: Count
    settings: tuple[str, ...]
    label: str
    groups: Annotated[tuple[SweptMachines, ...], Field(min_length=1)]

    def points(self, workload: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the label and the architecture settings of each machine for a workload."""
        for group in self.groups:
            for names in group.points if workload in group.workloads else ():
                yield _filled(self.label, names), tuple(_filled(s, names) for s in self.settings)


class OmittedCost(Fields):
    """Cost that the publication's billing omits, and settings that include it."""

    title: Heading
    configuration: Name
    settings: Annotated[tuple[str, ...], Field(min_length=1)]


class OmittedCosts(Fields):
    """Omitted costs, included one at a time, on one workload of one length."""

    scope: Name
    workload: Name
    seq_len: Count
    cases: tuple[OmittedCost, ...]


class PublishedTable(Fields):
    """CSV file of published figures: the rows that are read, and the contents of columns.

    If there is a scope, ``key`` is the length and the column ``configuration`` names one of the
    plan. Otherwise ``key`` is the sweep's machine, composed of columns: ``{pe_dim}x{pe_dim}``.
    """

    file: str
    workload: Name
    scope: Name | None = None
    where: dict[str, PlainText] = Field(default_factory=dict)
    key: str
    columns: dict[str, Quantity]

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Names of all columns that are read."""
        configuration = () if self.scope is None else ("configuration",)
        in_key = dict.fromkeys(_BLANK.findall(self.key))
        return (*in_key, *configuration, *self.where, *self.columns)

    def key_of(self, row: Mapping[str, str]) -> str:
        """Return the length or machine of a row."""
        return _filled(self.key, row)


class Reproduction(Fields):
    """Reproduction file. The first of ``billings`` is the publication's own."""

    name: Title
    title: Heading
    source: str = ""
    workloads: Names
    seq_len: Annotated[tuple[Count, ...], Field(min_length=1)]
    billings: Annotated[dict[Name, Heading], Field(min_length=1)]
    configurations: Annotated[tuple[Configuration, ...], Field(min_length=1)]
    scopes: Annotated[tuple[ModelScope, ...], Field(min_length=1)]
    figures: tuple[PublishedFigure, ...] = ()
    headline: tuple[PublishedMean, ...] = ()
    sweep: MachineSweep | None = None
    omissions: OmittedCosts | None = None
    tables: tuple[PublishedTable, ...] = ()

    @classmethod
    def load(cls, name: str | PathLike[str]) -> Reproduction:
        """Return the built-in reproduction with a name, or the reproduction in a file.

        Raises
        ------
        SpecError
            There is none, or it is wrong.
        """
        root = spec_tree("reproductions", name)
        plan = validate(cls, root, section(root, KEY))
        raise_all([*_twice(plan, root), *_unknown(plan, root), *_unfilled(plan, root)], SpecError)
        everything = {"configurations": tuple(c.name for c in plan.configurations)}
        figures = (f if f.configurations else f.model_copy(update=everything) for f in plan.figures)
        return plan.model_copy(update={"figures": tuple(figures)})

    @property
    def published_billing(self) -> str:
        """Name of the publication's own billing."""
        return next(iter(self.billings))

    @property
    def other_billings(self) -> dict[str, str]:
        """Descriptions, by name, of all billings except the publication's own."""
        return {b: words for b, words in self.billings.items() if b != self.published_billing}

    @property
    def cases(self) -> list[tuple[str, int]]:
        """Pairs of a workload and a length, over which means are taken."""
        return [(w, n) for w in self.workloads for n in self.seq_len]

    def configuration(self, name: str) -> Configuration:
        """Return the configuration called ``name``."""
        return next(c for c in self.configurations if c.name == name)

    def scope(self, name: str) -> ModelScope:
        """Return the scope called ``name``."""
        return next(s for s in self.scopes if s.name == name)

    def title_of(self, mean: PublishedMean) -> str:
        """Return the title of a mean, such as ``attention speedup, +Binding over FLAT``."""
        of, over = (self.configuration(c).title for c in (mean.of, mean.over))
        return f"{self.scope(mean.scope).title} {mean.quantity}, {of} over {over}"

    def figure(self, number: int) -> PublishedFigure:
        """Return the figure with a number in the publication.

        Raises
        ------
        InputError
            The publication has none of that number.
        """
        for figure in self.figures:
            if figure.number == number:
                return figure
        known = [str(f.number) for f in self.figures]
        hint = did_you_mean(str(number), known) if len(known) < 2 else f"known: {', '.join(known)}"
        raise InputError(f"'{self.name}' has no figure {number}; {hint}")

    def only(self, numbers: Sequence[int]) -> Reproduction:
        """Return the plan limited to some figures, with the means that belong to these figures.

        Raises
        ------
        InputError
            The publication has no figure of one of the numbers.
        """
        if not numbers:
            return self
        figures = tuple(self.figure(n) for n in dict.fromkeys(numbers))
        shown = {(f.scope, p.quantity) for f in figures if not f.is_of_sweep for p in f.panels}
        means = tuple(h for h in self.headline if (h.scope, h.quantity) in shown)
        return self.model_copy(update={"figures": figures, "omissions": None, "headline": means})


def _twice(plan: Reproduction, root: YamlNode) -> Iterator[Problem]:
    """Yield problems of names and numbers that occur twice."""
    for key, field in (("configurations", "name"), ("scopes", "name"), ("figures", "number")):
        names = [getattr(each, field) for each in getattr(plan, key)]
        for at, name in enumerate(names):
            if name in names[:at]:
                span = root.span_of((KEY, key, at, field))
                yield Problem(f"there are two {key} called '{name}'", span)


def _unknown(plan: Reproduction, root: YamlNode) -> Iterator[Problem]:
    """Yield problems of names of configurations, scopes and billings that the file does not
    declare."""
    known = {
        "configuration": [c.name for c in plan.configurations],
        "scope": [s.name for s in plan.scopes],
    }
    for what, name, place in _referred(plan):
        if name not in known[what]:
            hint = did_you_mean(name, known[what])
            yield Problem(f"there is no {what} '{name}'", root.span_of((KEY, *place)), hint)
    for at, configuration in enumerate(plan.configurations):
        here = (KEY, "configurations", at, "architectures")
        for name in plan.billings:
            if name not in configuration.architectures:
                yield Problem(f"no architecture is named for '{name}'", root.key_span(here))
        for name in configuration.architectures:
            if name not in plan.billings:
                hint = did_you_mean(name, plan.billings)
                yield Problem(f"there is no billing '{name}'", root.key_span((*here, name)), hint)


_REFERENCES = {"scope": "scope"} | dict.fromkeys(
    ("configuration", "configurations", "baseline", "of", "over"), "configuration"
)
"""Kind of what a field names."""


def _referred(value: object, place: Path = ()) -> Iterator[tuple[str, str, Path]]:
    """Yield every reference to a configuration or a scope in a part of the plan: its kind, its
    name, its position in the file."""
    if isinstance(value, Fields):
        for field in type(value).model_fields:
            yield from _referred(getattr(value, field), (*place, field))
    elif isinstance(value, tuple):
        for at, each in enumerate(value):
            yield from _referred(each, (*place, at))
    elif isinstance(value, str):
        field = next(part for part in reversed(place) if isinstance(part, str))
        if field in _REFERENCES:
            yield _REFERENCES[field], value, place


def _unfilled(plan: Reproduction, root: YamlNode) -> Iterator[Problem]:
    """Yield problems of figures of a missing sweep, and of machines that leave a ``{name}``
    open."""
    sweep = plan.sweep
    if sweep is None:
        if figure := next((f for f in plan.figures if f.is_of_sweep), None):
            span = root.key_span((KEY, "figures", plan.figures.index(figure)))
            yield Problem(f"figure {figure.number} is of a sweep, but there is none", span)
        return
    wanted = [name for text in (sweep.label, *sweep.settings) for name in _BLANK.findall(text)]
    for at, group in enumerate(sweep.groups):
        for i, point in enumerate(group.points):
            for name in dict.fromkeys(wanted):
                if name not in point:
                    span = root.span_of((KEY, "sweep", "groups", at, "points", i))
                    yield Problem(f"the point gives no '{name}'", span, did_you_mean(name, point))
