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
"""What stands in a mapping's place where the fastest of those known is to run."""

Role = Literal["workload", "architecture", "mapping", "settings"]
ROLES: Final[tuple[Role, ...]] = ("workload", "architecture", "mapping")
"""What an axis of that name chooses; any other axis makes settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValue:
    """One value of an axis: as its column shows it, and as a setting takes it."""

    shown: Scalar
    node: YamlNode


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAxis:
    """What moves: the values of some fields, or what runs where."""

    name: str
    role: Role
    fields: tuple[YamlScalar, ...]
    """Fields that are all set to the value, as ``--set`` names them."""
    values: tuple[AxisValue, ...]
    kind: QuantityKind | None = None
    """What generated values are quantities of; None: they are numbers, or written ones."""

    @property
    def varies_cascade(self) -> bool:
        """Whether the values name cascades."""
        return any(f.text in ("cascade", "workload.cascade") for f in self.fields)

    @property
    def varies_work(self) -> bool:
        """Whether the values change what is computed: points that differ so are no alternatives.

        Cascades are alternatives of one another, as machines and mappings are.
        """
        if self.role != "settings" or self.varies_cascade:
            return self.role == "workload"
        return not all(f.text.startswith(("architecture.", "mapping.")) for f in self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPoints:
    """So many points of all, none twice."""

    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedPoints:
    """Points that a study asks for one after the other, after what it learns from results."""

    trials: int
    objectives: tuple[str, ...]
    seed: int


PointChoice = Literal["all"] | RandomPoints | SearchedPoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``area_um2 <= 1500 mm^2``: a column, how it compares, and with what."""

    text: str
    column: str
    sign: str
    node: YamlScalar
    """Where it was written."""
    value: str
    """The right side as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep, read and checked as far as that can be done without running anything."""

    name: str
    workload: YamlScalar | None
    """None where an axis chooses it; likewise below."""
    architecture: YamlScalar | None
    mapping: YamlScalar | None
    settings: tuple[Setting, ...]
    axes: tuple[SweepAxis, ...]
    conditions: tuple[Condition, ...]
    points: PointChoice
    source: Source
    """The file, from which the sweep can be read again."""
    said: str
    """All that it says, in one way of writing: two files that say the same are one sweep."""

    @property
    def grid(self) -> int:
        """How many points all axes make."""
        total = 1
        for axis in self.axes:
            total *= len(axis.values)
        return total

    @property
    def total(self) -> int:
        """How many points are run."""
        if isinstance(self.points, RandomPoints):
            return self.points.count
        if isinstance(self.points, SearchedPoints):
            return self.points.trials
        return self.grid


_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One point: its number, and the position of its value on every axis."""

    number: int
    places: tuple[int, ...]


def point_at(sweep: Sweep, number: int) -> Point:
    """The point of a number from 0; the last axis moves fastest.

    Parameters
    ----------
    number : int
        Of points drawn at random: the position in the drawing.
    """
    at = number
    if isinstance(sweep.points, RandomPoints):
        at = shuffled(number, sweep.grid, sweep.points.seed)
    return Point(number, places_at(sweep, at))


def places_at(sweep: Sweep, at: int) -> tuple[int, ...]:
    """The position on every axis of the point at some place of the grid."""
    places: list[int] = []
    for axis in reversed(sweep.axes):
        at, place = divmod(at, len(axis.values))
        places.append(place)
    return tuple(reversed(places))


def shuffled(number: int, total: int, seed: int) -> int:
    """Where a number goes in a fixed random order of ``range(total)``, without the order.

    A Feistel network permutes the next power of four; what falls outside is permuted on until
    it falls inside, so that no two numbers meet (Black and Rogaway, CT-RSA 2002).

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
