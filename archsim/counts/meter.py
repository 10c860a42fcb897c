"""Meters: objects that measure the tiles of a loop nest, in whole numbers or in symbols.

A gathered tile is measured in whole memory lines (``words_in_lines``). Its positions come from data
and may lie anywhere, so that each run of neighbours is fetched in lines of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Generic, Protocol, Self, TypeVar

from typing_extensions import override

from einsum_cascade.ir import Access, Gather, Index

from ..iteration.access_map import AccessMap
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Extents, Loop, count_points
from ..nest.record import BoundEinsum
from ..spec.arch import Memory

Size = Callable[[Extents], int]
"""Function that returns the size of a tile from the tile's extent on each axis."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Number of tensor elements in a tile."""

    access_map: AccessMap

    def __call__(self, extents: Extents) -> int:
        return self.access_map.size(extents)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Number of processing elements that have a point in a tile."""

    spatial: tuple[Loop, ...]

    def __call__(self, extents: Extents) -> int:
        return count_points(self.spatial, extents)


class Countable(Protocol):
    """Type of a count; it supports only addition and subtraction."""

    def __add__(self, other: Self, /) -> Self: ...

    def __sub__(self, other: Self, /) -> Self: ...


T = TypeVar("T", bound=Countable)
"""Type of the counts that a meter returns."""


class Meter(ABC, Generic[T]):
    """Abstract meter of a loop nest; all counts use one of its subclasses."""

    @abstractmethod
    def whole(self, number: int) -> T:
        """Return a whole number converted to the meter's type."""

    def points(self, e: BoundEinsum) -> int:
        """Return the number of points that an Einsum runs, whatever its tile sizes."""
        return e.points

    def run(self, e: BoundEinsum) -> T:
        """Return the number of points that an Einsum runs, in the meter's type."""
        return self.whole(self.points(e))

    def iterations(self, e: BoundEinsum) -> T:
        """Return the number of temporal iterations of an Einsum."""
        return self.distinct(e, e.whole, (True,) * len(e.temporal))

    @abstractmethod
    def delivered(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], size: Size
    ) -> T:
        """Return the summed size of all tiles that the loops bring.

        Parameters
        ----------
        e : BoundEinsum
            Einsum that owns the loops.
        nest : LoopNest
            Loops outside the tiles, from the outermost.
        relevant : tuple of bool
            True for each loop of ``nest`` that brings another tile.
        size : callable
            Size of a tile, given the extents that the loops leave.
        """

    @abstractmethod
    def distinct(self, e: BoundEinsum, nest: LoopNest, counted: tuple[bool, ...]) -> T:
        """Return the number of distinct index combinations of the counted loops.

        Parameters
        ----------
        e : BoundEinsum
            Einsum that owns the loops.
        nest : LoopNest
            Loops of the Einsum, from the outermost.
        counted : tuple of bool
            True for each loop of ``nest`` that counts; any other loop is entered once.
        """

    @abstractmethod
    def accessed(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], access_map: AccessMap
    ) -> T:
        """Return the number of distinct tensor elements in all tiles that the loops bring.

        Parameters
        ----------
        e, nest, relevant
            As in ``delivered``.
        access_map : AccessMap
            Addresses of the tensor in the Einsum.
        """


class ExactMeter(Meter[int]):
    """Meter that counts in whole numbers; it is exact for ragged edges and masks."""

    @override
    def whole(self, number: int) -> int:
        return number

    @override
    def delivered(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], size: Size
    ) -> int:
        return nest.delivered(relevant, size)

    @override
    def distinct(self, e: BoundEinsum, nest: LoopNest, counted: tuple[bool, ...]) -> int:
        return nest.distinct(counted)

    @override
    def accessed(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], access_map: AccessMap
    ) -> int:
        return nest.accessed(relevant, access_map.size)


EXACT = ExactMeter()
"""Shared exact meter, with which every reported result is counted."""


def words_in_lines(
    e: BoundEinsum, access_map: AccessMap, memory: Memory, bits: int | Fraction
) -> Size:
    """Return a function that computes the size of a tile, in whole lines if the tile is gathered.

    Parameters
    ----------
    e : BoundEinsum
    access_map : AccessMap
        One of the Einsum's reads.
    memory : Memory
        Memory that is read by the line.
    bits : int or Fraction
        Width of a value.

    Returns
    -------
    callable
        Size of a tile in values, given the extents that loops leave. Without a gather, or with at
        most one value a line, the size is the number of values.
    """
    gathered = any(isinstance(i, Gather) for i in access_map.access.indices)
    line = Fraction(memory.line_bits) / bits
    if not gathered or line <= 1:
        return Elements(access_map)
    return InLines(e, access_map, line)


@dataclass(frozen=True, slots=True)
class InLines:
    """Number of machine words in the lines that hold a gathered tile; a line has ``line`` words."""

    e: BoundEinsum
    access_map: AccessMap
    line: Fraction

    def __call__(self, extents: Extents) -> int:
        # Runs of 24 words in lines of 16: each takes 2 lines, which are 32 words.
        run = _run(self.e, self.access_map, extents)
        return self.access_map.size(extents) // run * ceil(ceil(run / self.line) * self.line)


def _run(e: BoundEinsum, access_map: AccessMap, extents: Extents) -> int:
    """Return the number of neighbouring values at one gathered position.

    They are neighbours because the ranks behind the gathered index are read in full.
    """
    axes = {a.variables[0][0]: n for n, a in enumerate(e.axes) if len(a.variables) == 1}
    read = {v: extents[n] for v, n in axes.items()}
    return contiguous_words(access_map.access, read, {v: e.extents[n] for v, n in axes.items()})


def contiguous_words(access: Access, read: Mapping[str, int], whole: Mapping[str, int]) -> int:
    """Return the number of adjacent values that an access reads at one gathered position.

    Parameters
    ----------
    access : Access
    read : mapping of str to int
        Number of coordinates read, by rank variable; other variables are read one at a time.
    whole : mapping of str to int
        Number of all coordinates, by rank variable.
    """
    found = 1
    for variable in adjacent_variables(access, read):
        found *= read[variable]
        # A rank that is not read in full leaves a gap before the next position outside.
        if read[variable] < whole[variable]:
            break
    return found


def adjacent_variables(access: Access, among: Container[str]) -> Iterator[str]:
    """Yield the rank variables that move an access to neighbours of a position, innermost first."""
    used = [v for index in access.indices for v in _variables_of(index)]
    for index in reversed(access.indices):
        # Neighbours of the gathered position may be read: in K[I[j]*T + t], those of t.
        moved = index.offset if isinstance(index, Gather) else index
        terms = {term.shapes: term for term in moved.terms if term.coefficient == 1}
        if len(terms) < len(moved.terms):
            return
        inside: tuple[str, ...] = ()
        # In r*T + t, values of t are adjacent, and those of the next r follow all of them.
        while inside in terms:
            variable = terms.pop(inside).variable
            # A variable in two indices moves both, so that no neighbours are read.
            if variable is None or variable not in among or used.count(variable) > 1:
                return
            yield variable
            inside = (variable.upper(), *inside)
        if moved is not index or terms:
            return


def _variables_of(index: Index) -> tuple[str, ...]:
    """Return the variables of an index, each as often as it occurs in a separate term."""
    if isinstance(index, Gather):
        return (*index.access.variables, *index.offset.variables)
    return index.variables
