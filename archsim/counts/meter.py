"""Meters: sizes and counts of a loop nest's tiles, in whole numbers or in symbols.

A gathered tile is measured in whole memory lines (``words_in_lines``): its positions come from
data and may lie anywhere, so that each run of neighbours is fetched in lines of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Generic, Protocol, Self, TypeVar

from typing_extensions import override

from einsum_cascade.ir import Access, Gather, Index

from ..iteration.access_map import AccessMap
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Extents, Loop, count_points
from ..iteration.windowed import one
from ..nest.record import BoundEinsum
from ..spec.arch import Memory

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


def words_in_lines(
    e: BoundEinsum, access_map: AccessMap, memory: Memory, bits: int | Fraction
) -> Size:
    """Values of ``bits`` that a memory reads for a tile, whole lines where it is gathered.

    Parameters
    ----------
    e : BoundEinsum
    access_map : AccessMap
        One of its reads.
    memory : Memory
        Whose lines are read.
    bits : int or Fraction
        Of a value.

    Returns
    -------
    callable
        The size of a tile in values, given what loops leave of each axis: as many as it has where
        nothing is gathered, or a line holds no more than a value.
    """
    gathered = any(isinstance(i, Gather) for i in access_map.access.indices)
    line = Fraction(memory.line_bits) / bits
    if not gathered or line <= 1:
        return Elements(access_map)
    return InLines(e, access_map, line)


@dataclass(frozen=True, slots=True)
class InLines:
    """Words of the lines, of ``line`` words each, that hold a gathered tile."""

    e: BoundEinsum
    access_map: AccessMap
    line: Fraction

    def __call__(self, extents: Extents) -> int:
        # Runs of 24 words in lines of 16: each takes 2 lines, which are 32 words.
        run = _run(self.e, self.access_map, extents)
        return self.access_map.size(extents) // run * ceil(ceil(run / self.line) * self.line)


def _run(e: BoundEinsum, access_map: AccessMap, extents: Extents) -> int:
    """Neighbouring words at one gathered position: the ranks after it, as far as all is read."""
    axes = {a.variables[0][0]: n for n, a in enumerate(e.axes) if len(a.variables) == 1}
    read = {v: extents[n] for v, n in axes.items()}
    return contiguous_words(access_map.access, read, {v: e.extents[n] for v, n in axes.items()})


def contiguous_words(access: Access, read: Mapping[str, int], whole: Mapping[str, int]) -> int:
    """Words beside one another that an access reads at one gathered position.

    Parameters
    ----------
    access : Access
    read : mapping of str to int
        Coordinates that are read, by rank variable; of others one at a time.
    whole : mapping of str to int
        How many there are.
    """
    used = [v for index in access.indices for v in _variables_of(index)]
    found = 1
    for index in reversed(access.indices):
        # From the gathered position on neighbours may be read: of K[I[j]*T + t] the t.
        moved = index.offset if isinstance(index, Gather) else index
        terms = {term.shapes: term for term in moved.terms if term.coefficient == 1}
        if len(terms) < len(moved.terms):
            break
        inside: tuple[str, ...] = ()
        # Of r*T + t the t lie side by side, and behind all of them those of the next r.
        while inside in terms:
            variable = terms.pop(inside).variable
            # A variable that stands in two indices moves both, and no two neighbours are read.
            if variable is None or variable not in read or used.count(variable) > 1:
                return found
            found *= read[variable]
            # What is not read to its end leaves a gap before the next position outside of it.
            if read[variable] < whole[variable]:
                return found
            inside = (variable.upper(), *inside)
        if moved is not index or terms:
            break
    return found


def _variables_of(index: Index) -> tuple[str, ...]:
    """The variables of an index, once for each place of its own that they have in it."""
    if isinstance(index, Gather):
        return (*index.access.variables, *index.offset.variables)
    return index.variables
