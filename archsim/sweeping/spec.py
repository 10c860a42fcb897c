"""Sweeps as a file states them: settings, axes, conditions, and the points of the grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from einsum_cascade.source import Source
from einsum_cascade.yaml.edit import Setting
from einsum_cascade.yaml.source import Scalar, YamlNode, YamlScalar

from ..spec.files.units import QuantityKind

DEFAULT: Final = "default"
"""Name in place of a mapping: the fastest known mapping runs."""

Role = Literal["workload", "architecture", "mapping", "settings"]
ROLES: Final[tuple[Role, ...]] = ("workload", "architecture", "mapping")
"""Input that an axis chooses, by the axis's name; any other axis makes settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValue:
    """Value of an axis: as its column shows it, and as a setting takes it."""

    shown: Scalar
    node: YamlNode


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAxis:
    """Axis of a sweep: values of some fields, or a choice of an input."""

    name: str
    role: Role
    fields: tuple[YamlScalar, ...]
    """Fields that all take the value, as ``--set`` names them."""
    values: tuple[AxisValue, ...]
    kind: QuantityKind | None = None
    """Quantity of generated values; None for plain numbers and written quantities."""

    @property
    def varies_cascade(self) -> bool:
        """True if the values name cascades."""
        return any(f.text in ("cascade", "workload.cascade") for f in self.fields)

    @property
    def varies_work(self) -> bool:
        """True if the values change the computation, so that points that differ here are no
        alternatives.

        Cascades are alternatives of one another, as machines and mappings are.
        """
        if self.role != "settings" or self.varies_cascade:
            return self.role == "workload"
        return not all(f.text.startswith(("architecture.", "mapping.")) for f in self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPoints:
    """Number of points to draw at random, without repetition."""

    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedPoints:
    """Points that a study chooses one after the other, from earlier results."""

    trials: int
    objectives: tuple[str, ...]
    seed: int


PointChoice = Literal["all"] | RandomPoints | SearchedPoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Condition such as ``area_um2 <= 1500 mm^2``: a column, a comparison, and a value."""

    text: str
    column: str
    sign: str
    node: YamlScalar
    """Place of the condition in the file."""
    value: str
    """Right side as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Sweep, read and checked as far as possible without a run."""

    name: str
    workload: YamlScalar | None
    """Name in the file; None if an axis chooses it. The same holds for the next two fields."""
    architecture: YamlScalar | None
    mapping: YamlScalar | None
    settings: tuple[Setting, ...]
    axes: tuple[SweepAxis, ...]
    conditions: tuple[Condition, ...]
    points: PointChoice
    source: Source
    """File from which the sweep can be read again."""
    said: str
    """Content in canonical form: two files with the same content are one sweep."""

    @property
    def grid(self) -> int:
        """Number of points of the whole grid."""
        total = 1
        for axis in self.axes:
            total *= len(axis.values)
        return total

    @property
    def total(self) -> int:
        """Number of points that are run."""
        if isinstance(self.points, RandomPoints):
            return self.points.count
        if isinstance(self.points, SearchedPoints):
            return self.points.trials
        return self.grid


_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """Point of a sweep: its number, and the position of its value on every axis."""

    number: int
    places: tuple[int, ...]


def point_at(sweep: Sweep, number: int) -> Point:
    """Return the point of a number from 0; the last axis moves fastest.

    Parameters
    ----------
    number : int
        Number of the point; for random points, the position in the drawing.
    """
    at = number
    if isinstance(sweep.points, RandomPoints):
        at = shuffled(number, sweep.grid, sweep.points.seed)
    return Point(number, places_at(sweep, at))


def places_at(sweep: Sweep, at: int) -> tuple[int, ...]:
    """Return the position on every axis of a point of the grid."""
    places: list[int] = []
    for axis in reversed(sweep.axes):
        at, place = divmod(at, len(axis.values))
        places.append(place)
    return tuple(reversed(places))


def shuffled(number: int, total: int, seed: int) -> int:
    """Return the position of a number in a fixed random order of ``range(total)``.

    A Feistel network permutes the next power of four. A result outside the range is permuted again
    until it falls inside, so that no two numbers meet (Black and Rogaway, CT-RSA 2002).

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
