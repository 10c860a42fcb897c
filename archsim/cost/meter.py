"""What counting asks of a loop nest, and the answer in whole numbers.

Counts are sums and differences of a few measures: how much is delivered under some loops,
how many of their iterations are distinct, how large a tile is. The rules of counting
(``accesses``) know nothing else of a nest, so that a search can put another meter in the
place of this one and learn how counts depend on the sizes of tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from typing_extensions import override

from ..bound.record import BoundEinsum
from ..space.access_map import AccessMap
from ..space.banded import one
from ..space.iteration import Extents, Loop, count_points
from ..space.nest import LoopNest

Size = Callable[[Extents], int]
"""The size of a tile, given what loops leave of each axis."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements of a tensor in a tile."""

    access_map: AccessMap

    def __call__(self, extents: Extents) -> int:
        return self.access_map.size(extents)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Elements of an array that have a point in a tile."""

    spatial: tuple[Loop, ...]

    def __call__(self, extents: Extents) -> int:
        return count_points(self.spatial, extents)


class Countable(Protocol):
    """What counts may be: the rules of counting only add and subtract."""

    def __add__(self, other: Self, /) -> Self: ...

    def __sub__(self, other: Self, /) -> Self: ...


T = TypeVar("T", bound=Countable)
"""What a meter counts in."""


class Meter(ABC, Generic[T]):
    """What the rules of counting ask of a nest."""

    @abstractmethod
    def whole(self, number: int) -> T:
        """A whole number as what this meter counts in."""

    def points(self, e: BoundEinsum) -> int:
        """Points of the tiles that are run: known whatever the tiles are."""
        return e.points

    def run(self, e: BoundEinsum) -> T:
        """The same as what this meter counts in."""
        return self.whole(self.points(e))

    @abstractmethod
    def iterations(self, e: BoundEinsum) -> T:
        """Temporal iterations."""

    @abstractmethod
    def delivered(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], size: Size
    ) -> T:
        """Total size of the tiles that come under the loops, moved by the relevant ones.

        Parameters
        ----------
        e : BoundEinsum
            The Einsum whose loops they are.
        nest : LoopNest
            Loops outside the tiles: some of the Einsum's, from the outermost.
        relevant : tuple of bool
            Whether each loop of ``nest`` brings another tile.
        size : callable
            What a tile counts, given what the loops leave of each axis.
        """

    def fills(self, e: BoundEinsum, moved: tuple[bool, ...]) -> T:
        """How often all elements of an Einsum's array that have a point take another value.

        Parameters
        ----------
        e : BoundEinsum
        moved : tuple of bool
            Whether each of its temporal loops brings another one.
        """
        return self.delivered(e, e.whole, moved, Lanes(e.spatial))

    def changes(self, e: BoundEinsum, moved: tuple[bool, ...]) -> T:
        """How often the first element of an Einsum's array takes another value.

        Parameters
        ----------
        e, moved
            As of ``fills``.
        """
        return self.delivered(e, e.whole, moved, one)

    @abstractmethod
    def distinct(self, e: BoundEinsum, nest: LoopNest, counted: tuple[bool, ...]) -> T:
        """Distinct indices of the counted loops.

        Parameters
        ----------
        e : BoundEinsum
            The Einsum whose loops they are.
        nest : LoopNest
            Some of its loops, from the outermost.
        counted : tuple of bool
            Whether each loop of ``nest`` is counted; any other is entered once.
        """

    @abstractmethod
    def touched(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], access_map: AccessMap
    ) -> T:
        """Distinct elements of a tensor in all the tiles that ever come under the loops.

        Parameters
        ----------
        e, nest, relevant
            As of ``delivered``.
        access_map : AccessMap
            What the Einsum addresses of the tensor.
        """


class ExactMeter(Meter[int]):
    """Measures in whole numbers, ragged edges and masks exact."""

    @override
    def whole(self, number: int) -> int:
        return number

    @override
    def iterations(self, e: BoundEinsum) -> int:
        return e.iterations

    @override
    def delivered(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], size: Size
    ) -> int:
        return nest.delivered(relevant, size)

    @override
    def fills(self, e: BoundEinsum, moved: tuple[bool, ...]) -> int:
        return e.space.fills(moved)

    @override
    def changes(self, e: BoundEinsum, moved: tuple[bool, ...]) -> int:
        return e.space.changes(moved)

    @override
    def distinct(self, e: BoundEinsum, nest: LoopNest, counted: tuple[bool, ...]) -> int:
        return nest.distinct(counted)

    @override
    def touched(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], access_map: AccessMap
    ) -> int:
        return nest.touched(relevant, access_map.size)


EXACT = ExactMeter()
"""The meter of every result."""
