"""What a reproduction file says: which runs, which figures, which published means.

Everything is frozen data; the code that reads it knows no publication.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from einsum_cascade.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

Mean = Literal["arithmetic", "geometric", "harmonic"]
FigureKind = Literal["bars", "breakdown", "stack", "scatter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A mapping, and the machine that bills it in each of the plan's billings."""

    name: str
    title: str
    mapping: str
    architectures: tuple[tuple[str, str], ...]
    """Pairs of a billing and an architecture."""

    def architecture(self, billing: str) -> str:
        """The machine of a billing."""
        return dict(self.architectures)[billing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much of a model is computed: settings of the workload (``scope=block``).

    ``mappings`` are those of the parts beside attention.
    """

    name: str
    title: str
    settings: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPoint:
    """One machine of a sweep: a label, and what differs from the architecture."""

    label: str
    workloads: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Machines of many sizes under one configuration and sequence length."""

    configuration: str
    seq_len: int
    points: tuple[DesignPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """Something that the publication's billing leaves out, and the settings that put it in."""

    title: str
    configuration: str
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Omissions:
    """Omissions put right one at a time, on one workload of one length."""

    scope: str
    workload: str
    seq_len: int
    cases: tuple[Omission, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One quantity of a figure."""

    quantity: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of the publication, by its number there."""

    number: int
    kind: FigureKind
    title: str
    scope: str
    panels: tuple[Panel, ...]
    configurations: tuple[str, ...]
    baseline: str | None = None
    """Configuration that ratios are taken against; None: the quantity itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A number as it was printed, ``6.7x`` or ``79%``, to so many decimals."""

    text: str

    @property
    def value(self) -> float:
        """The ratio that is meant."""
        number = float(self.text[:-1])
        return number / 100 if self.text.endswith("%") else number

    def like(self, ratio: float, more: int = 0) -> str:
        """Another ratio in the same form, with ``more`` digits."""
        number = 100 * ratio if self.text.endswith("%") else ratio
        decimals = len(self.text[:-1].partition(".")[2]) + more
        return f"{number:.{decimals}f}{self.text[-1]}"

    def agrees(self, ratio: float) -> bool:
        """Whether a ratio prints as this one does."""
        return self.like(ratio) == self.text


BLANK = re.compile(r"\{([^{}]*)\}")
"""A name in braces, to be filled in."""

PRINTED = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?[x%]")
"""Texts that are printed ratios."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A mean ratio that the publication states."""

    title: str
    scope: str
    quantity: str
    of: str
    over: str
    mean: Mean
    published: Printed
    source: str
    corrected: Printed | None = None
    """The published number without a known mistake in it, and ``because`` of what."""
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A CSV file of published figures: which rows are meant, what its columns hold."""

    file: str
    workload: str
    scope: str | None
    """None: the sweep."""
    where: tuple[tuple[str, str], ...]
    key: str
    """The length, or the sweep's machine, made of columns: ``{pe_dim}x{pe_dim}``."""
    columns: tuple[tuple[str, str], ...]
    """Pairs of a column and a quantity."""

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns that ``key`` is made of."""
        return tuple(dict.fromkeys(BLANK.findall(self.key)))

    def filled(self, row: Mapping[str, str]) -> str:
        """The key of a row."""
        return BLANK.sub(lambda found: row[found[1]], self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole reproduction file.

    The first of ``billings`` is the publication's own.
    """

    name: str
    title: str
    source: str
    workloads: tuple[str, ...]
    lengths: tuple[int, ...]
    billings: tuple[tuple[str, str], ...]
    """Pairs of a name and what it means."""
    configurations: tuple[Configuration, ...]
    scopes: tuple[Scope, ...]
    figures: tuple[Figure, ...]
    headlines: tuple[Headline, ...]
    sweep: Sweep | None = None
    omissions: Omissions | None = None
    tables: tuple[PublishedTable, ...] = ()

    @classmethod
    def load(cls, name: str | PathLike[str]) -> Plan:
        """The built-in reproduction of a name, or the one in a file.

        Raises
        ------
        SpecError
            There is none, or it is wrong.
        """
        from .spec import load_plan

        return load_plan(name)

    def configuration(self, name: str) -> Configuration:
        """The configuration called ``name``."""
        return next(c for c in self.configurations if c.name == name)

    def scope(self, name: str) -> Scope:
        """The scope called ``name``."""
        return next(s for s in self.scopes if s.name == name)

    def figure(self, number: int) -> Figure:
        """The figure of a number.

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

    def only(self, numbers: Sequence[int]) -> Plan:
        """The plan with some of its figures, and the means that belong to them.

        Raises
        ------
        InputError
            The publication has no figure of one of the numbers.
        """
        if not numbers:
            return self
        from dataclasses import replace

        figures = tuple(self.figure(n) for n in dict.fromkeys(numbers))
        shown = {(f.scope, p.quantity) for f in figures if f.kind != "scatter" for p in f.panels}
        return replace(
            self,
            figures=figures,
            omissions=None,
            headlines=tuple(h for h in self.headlines if (h.scope, h.quantity) in shown),
        )


def _arithmetic(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _geometric(values: Sequence[float]) -> float:
    return exp(fsum(log(v) for v in values) / len(values))


def _harmonic(values: Sequence[float]) -> float:
    return len(values) / fsum(1 / v for v in values)


MEANS: Mapping[Mean, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"arithmetic": _arithmetic, "geometric": _geometric, "harmonic": _harmonic}
)
"""Kinds of mean, of one or more positive numbers."""
