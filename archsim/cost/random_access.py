"""Gathers fetch whole lines: what is read at positions that data says lies anywhere.

Tensors are stored with their last rank innermost. A tile read in order shares its lines with
the tiles beside it, and is billed for its own words alone; around a gathered position nothing
else is wanted, and every run of neighbouring words is fetched in lines of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from einsum_cascade.ir import Access, Gather, Index

from ..bound.record import BoundEinsum
from ..space.access_map import AccessMap
from ..space.iteration import Extents
from ..spec.arch import Memory
from .meter import Elements, Size


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
    return neighbours(access_map.access, read, {v: e.extents[n] for v, n in axes.items()})


def neighbours(access: Access, read: Mapping[str, int], whole: Mapping[str, int]) -> int:
    """Words beside one another that an access reads at one gathered position.

    Parameters
    ----------
    access : Access
    read : mapping of str to int
        Coordinates that are read, by rank variable; of others one at a time.
    whole : mapping of str to int
        How many there are.
    """
    used = [v for index in access.indices for v in _told(index)]
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


def _told(index: Index) -> tuple[str, ...]:
    """The variables of an index, once for each place of its own that they have in it."""
    if isinstance(index, Gather):
        return (*index.access.variables, *index.offset.variables)
    return index.variables
