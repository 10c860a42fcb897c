"""Sweeps as their files describe them: settings, axes, conditions, and the points of the grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from operator import eq, ge, gt, le, lt, ne
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic_core import PydanticCustomError

from einsum_cascade.errors import SpecError
from einsum_cascade.source import Source, Span
from einsum_cascade.yaml.edit import Setting
from einsum_cascade.yaml.source import Scalar, YamlNode, YamlScalar, YamlSequence, exact_number

from ..spec.files import fields
from ..spec.files.fields import QuantityKind

DEFAULT: Final = "default"
"""Name that stands for the fastest known mapping."""

Role = Literal["workload", "architecture", "mapping", "settings"]
ROLES: Final[tuple[Role, ...]] = ("workload", "architecture", "mapping")
"""Names of axes that choose an input; an axis with any other name makes settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValue:
    """Value of an axis, in two forms: for its column, and for a setting."""

    shown: Scalar
    node: YamlNode


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAxis:
    """Axis of a sweep: values of some fields, or names of an input."""

    name: str
    role: Role
    fields: tuple[YamlScalar, ...]
    """Fields that take the value together, named as in ``--set``."""
    values: tuple[AxisValue, ...]
    kind: QuantityKind | None = None
    """Quantity of generated values; None for plain numbers and written quantities."""

    @property
    def varies_cascade(self) -> bool:
        """True if the values name cascades."""
        return any(f.text in ("cascade", "workload.cascade") for f in self.fields)

    @property
    def varies_work(self) -> bool:
        """True if the values change the computation.

        Points with different computations are no alternatives of one another. Different cascades
        are, as machines and mappings are.
        """
        if self.role != "settings" or self.varies_cascade:
            return self.role == "workload"
        return not all(f.text.startswith(("architecture.", "mapping.")) for f in self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointChoice:
    """Points of the grid that run: drawn at random without repetition, or chosen by a search."""

    number: int
    seed: int
    objectives: tuple[str, ...] = ()
    """Columns to minimise by an Optuna study, which chooses points from earlier results; empty for
    random points."""


_SIGNS: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {"<=": le, "<": lt, ">=": ge, ">": gt, "==": eq, "!=": ne}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Condition on a column, such as ``area_um2 <= 1500 mm^2``: the column, a comparison, and a
    value."""

    column: str
    sign: str
    node: YamlScalar
    """Text of the condition with its position in the file."""
    value: Fraction | str
    """Right side of the comparison: a number in the column's unit, or a text."""

    def failure(self, row: Mapping[str, Any]) -> str:
        """Return the reason why a row violates the condition; empty if it satisfies the
        condition."""
        text, left = self.node.text, row.get(self.column)
        if left is None:
            return f"{text}: there is no {self.column} here"
        if isinstance(left, bool):
            left = str(left).lower()
        shown = f"{left:.6g}" if isinstance(left, float) else left
        if not isinstance(self.value, str):
            found = measured(left)
            left = None if found is None else found.number
        if left is not None and _SIGNS[self.sign](left, self.value):
            return ""
        return f"{text} does not hold: {self.column} is {shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Sweep that is read, and checked as far as possible without a run."""

    name: str
    workload: YamlScalar | None
    """Name of the workload; None if an axis chooses it. The next two fields work alike."""
    architecture: YamlScalar | None
    mapping: YamlScalar | None
    settings: tuple[Setting, ...]
    axes: tuple[SweepAxis, ...]
    conditions: tuple[Condition, ...]
    points: PointChoice | None
    """Choice of points; None runs the whole grid."""
    source: Source
    """File from which the sweep can be read again."""
    said: str
    """Content in canonical form: two files with equal content describe one sweep."""

    @property
    def grid(self) -> int:
        """Number of points of the whole grid."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def total(self) -> int:
        """Number of points that are run."""
        return self.grid if self.points is None else self.points.number


_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """Point of a sweep: its number, and for every axis the position of its value."""

    number: int
    places: tuple[int, ...]


def point_at(sweep: Sweep, number: int) -> Point:
    """Return the point with a number, counted from 0; the last axis varies fastest.

    Parameters
    ----------
    number : int
        Number of the point; for random points, the position in the drawing.
    """
    at = number
    if sweep.points is not None:
        at = shuffled(number, sweep.grid, sweep.points.seed)
    return Point(number, places_at(sweep, at))


def places_at(sweep: Sweep, at: int) -> tuple[int, ...]:
    """Return the position on every axis of a point in the grid, given by its number."""
    places: list[int] = []
    for axis in reversed(sweep.axes):
        at, place = divmod(at, len(axis.values))
        places.append(place)
    return tuple(reversed(places))


def shuffled(number: int, total: int, seed: int) -> int:
    """Return the position of a number in a fixed random order of ``range(total)``.

    A Feistel network permutes the next power of four. A result outside the range is permuted again
    until it falls inside, so that no two numbers have one position (Black and Rogaway, CT-RSA
    2002).

    Examples
    --------
    >>> sorted(shuffled(n, 6, seed=1) for n in range(6))
    [0, 1, 2, 3, 4, 5]
    """
    half = max(1, ((total - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = number >> half, number & mask
        for turn in range(_ROUNDS):
            text = f"{seed}:{turn}:{right}".encode()
            mixed = int.from_bytes(hashlib.blake2b(text).digest(), "big")
            left, right = right, left ^ (mixed & mask)
        number = left << half | right
        if number < total:
            return number


Scale = Literal["linear", "log"]

MOST_VALUES = 100_000
"""Largest number of values of an axis. A longer axis is a typo, or needs ``points: {random: ..}``.
"""

_KINDS = (
    fields.CAPACITY, fields.BANDWIDTH, fields.FREQUENCY, fields.TIME,
    fields.ENERGY, fields.ENERGY_PER_BIT, fields.AREA, fields.NODE, fields.POWER,
    fields.POWER_PER_BIT,
)  # fmt: skip
_WHOLE = (fields.CAPACITY, fields.WIDTH, fields.BANDWIDTH, fields.FREQUENCY, fields.NODE)
"""Quantities of which machines have whole numbers, such as bytes."""

SYMBOLS = {"byte": "B", "byte/s": "B/s", "um**2": "um^2"}
"""Symbols of units whose symbol differs from their name, by name."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Number with the kind of its quantity; a bare number has no kind."""

    number: Fraction
    kind: QuantityKind | None


def measured(value: Scalar) -> Measured | None:
    """Return the value of a number or quantity in a text; None if the text is neither.

    Examples
    --------
    >>> measured("4K").number, measured("2 MiB").kind.what, measured("fusemax")
    (Fraction(4096, 1), 'a size in bytes', None)
    """
    if isinstance(value, bool) or value is None:
        return None
    number = exact_number(value)
    if number is not None or not isinstance(value, str):
        return None if number is None else Measured(number, None)
    bits = value.rstrip("s").endswith("bit") and "/" not in value
    for kind in (fields.WIDTH,) if bits else _KINDS:
        try:
            return Measured(fields.parse_quantity(value, kind), kind)
        except PydanticCustomError:
            continue
    return None


def symbol(kind: QuantityKind | None) -> str:
    """Return the symbol of a quantity's unit, as settings take it: ``B``, ``B/s``, ``Hz``."""
    return "" if kind is None else SYMBOLS.get(kind.unit, kind.unit)


def written_values(nodes: YamlSequence, axis: str) -> tuple[AxisValue, ...]:
    """Return the values of a list in the form in which the file has them.

    Raises
    ------
    SpecError
        The list is empty, or a value occurs twice.
    """
    if not nodes.items:
        raise SpecError(f"{axis}: expected at least one value", nodes.span)
    found: dict[object, YamlNode] = {}
    for node in nodes.items:
        meant = _meant(node)
        if meant in found:
            text = f"{axis}: {node.kind} stands twice, its points would be the same"
            raise SpecError(text, node.span)
        found[meant] = node
    return tuple(
        AxisValue(shown=n.value if isinstance(n, YamlScalar) else text_of(n), node=n)
        for n in nodes.items
    )


def _meant(node: YamlNode) -> object:
    """Return a key of a value that is equal for equal values, such as ``1K`` and 1024."""
    if not isinstance(node, YamlScalar):
        return repr(node.plain())
    meant = measured(node.value)
    return (node.value, type(node.value)) if meant is None else meant


def text_of(node: YamlNode) -> str:
    """Return a value as a text on one line, in the form that ``--set`` takes."""
    return node.text if isinstance(node, YamlScalar) else json.dumps(node.plain())


def generated_values(
    start: YamlScalar, stop: YamlScalar, steps: int, scale: Scale, axis: str, span: Span
) -> tuple[tuple[AxisValue, ...], QuantityKind | None]:
    """Return the values of a range with both its ends, and their kind of quantity.

    Sizes, bandwidths and counts are whole numbers of bytes, bytes per second and items.

    Raises
    ------
    SpecError
        The ends are no numbers of the same kind, or the values would repeat.
    """
    first, last = _end(start, axis), _end(stop, axis)
    if first.kind != last.kind:
        text = f"{axis}: from '{start.text}' to '{stop.text}' mixes two kinds of numbers"
        raise SpecError(text, stop.span, "give both ends with units of one kind")
    if first.number == last.number:
        raise SpecError(f"{axis}: both ends are the same", stop.span)
    if not 2 <= steps <= MOST_VALUES:
        text = f"{axis}: expected from 2 to {MOST_VALUES} steps, ends included, got {steps}"
        raise SpecError(text, span)
    if scale == "log" and min(first.number, last.number) <= 0:
        raise SpecError(f"{axis}: a log scale needs ends above zero", span, "scale: linear")
    ends = (first.number, last.number)
    whole = first.kind in _WHOLE or (first.kind is None and all(n.denominator == 1 for n in ends))
    found = tuple(round(n) if whole else float(n) for n in _between(*ends, steps, scale))
    if len(set(found)) < steps:
        text = f"{axis}: {steps} steps from '{start.text}' to '{stop.text}' repeat whole numbers"
        raise SpecError(text, span, f"at most {len(set(found))} steps differ")
    unit = symbol(first.kind)
    made = (f"{number!r} {unit}".rstrip() for number in found)
    return tuple(
        AxisValue(shown=n, node=YamlScalar(span=span, value=text if unit else n, text=text))
        for n, text in zip(found, made, strict=True)
    ), first.kind


def _end(node: YamlScalar, axis: str) -> Measured:
    found = measured(node.value)
    if found is None:
        text = f"{axis}: expected a number or a quantity such as 4K or '1 MiB', got {node.kind}"
        raise SpecError(text, node.span)
    return found


def _between(first: Fraction, last: Fraction, steps: int, scale: Scale) -> Iterator[Fraction]:
    yield first
    for k in range(1, steps - 1):
        if scale == "linear":
            yield first + (last - first) * Fraction(k, steps - 1)
        else:
            yield Fraction(float(first) * float(last / first) ** (k / (steps - 1)))
    yield last
