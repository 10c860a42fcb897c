"""Ranks cut for the arrays of a machine, so that few elements are idle.

Ranks that are all cut alike, at the sides of the arrays, fill sides that divide one another and
are shorter than the ranks. On 7 x 5 elements beside 3 lanes such a cut is of 3 and 6 coordinates,
and 18 of 35 elements work. Here every rank is cut by itself, at what the Einsums that take longest
lay side by side: a stretch of a rank along each axis, one of another rank in the room that it
leaves, and a stretch of the same rank along the second axis where there is no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import prod

from archsim.spec.arch import Dimension, ProcessingArray

_KEPT = 6
"""Layouts of the first axes of an array that are continued along the next."""

_STRETCHES = 3
"""Lengths of a stretch that are tried: as few rounds as there can be, one more, ..."""

_SIDE_BY_SIDE = 3
"""Ranks of which stretches lie side by side along one axis, at the most."""

Run = tuple[str, tuple[int, ...]]
"""A stretch of a rank: its name, and the strides of the parts that lie side by side."""


@dataclass(frozen=True, slots=True)
class CutRank:
    """A rank, where it is cut, and how many of its parts are laid out, from the inside.

    Examples
    --------
    25 coordinates in 4 tiles of 7 take 4 rounds with the 7 side by side:

    >>> CutRank(25, (1, 7), laid=1).rounds
    4
    """

    size: int
    strides: tuple[int, ...] = (1,)
    """Coordinates from one to the next of each part, ascending, from 1."""
    laid: int = 0

    @property
    def rounds(self) -> int:
        """How often loops over the other parts go round."""
        return 1 if self.laid == len(self.strides) else -(-self.size // self.strides[self.laid])

    def within(self, room: int, *, cut: bool) -> Iterator[tuple[CutRank, int]]:
        """The rank with one stretch more laid out, and the length of that.

        Parameters
        ----------
        room : int
            Coordinates at the most.
        cut : bool
            Whether the rank may be cut once more.

        Examples
        --------
        40 coordinates on an axis of 9 are 5 rounds of 8, 6 of 7, or 7 of 6:

        >>> [length for _, length in CutRank(40).within(9, cut=True)]
        [8, 7, 6]
        """
        first, parts = self.laid, len(self.strides)
        if first == parts:
            return
        begin, length = self.strides[first], 1
        for part in range(first, parts):
            above = self.strides[part + 1] if part + 1 < parts else self.size
            length *= -(-above // self.strides[part])
            if length > room:
                break
            yield CutRank(self.size, self.strides, part + 1), length
        if not cut:
            return
        if first + 1 < parts:
            lengths = _even(self.strides[first + 1] // begin, room)
        else:
            lengths = _stretches(-(-self.size // begin), room)
        for length in lengths:
            strides = (*self.strides[: first + 1], begin * length, *self.strides[first + 1 :])
            yield CutRank(self.size, strides, first + 1), length


def _stretches(count: int, room: int) -> Iterator[int]:
    """Lengths that fit of stretches of a part, as equal as can be, the longest first."""
    least = max(2, -(-count // room))
    lengths = (-(-count // n) for n in range(least, least + _STRETCHES))
    return (n for n in dict.fromkeys(lengths) if n > 1)


def _even(count: int, room: int) -> Iterator[int]:
    """The longest length that fits and divides a part."""
    divisors = (n for n in range(min(room, count - 1), 1, -1) if count % n == 0)
    return (n for n in [next(divisors, 0)] if n)


_Beam = list[tuple[int, int, dict[str, CutRank], tuple[Run, ...]]]
"""Rounds, the room that is left, all ranks, and what lies along an axis."""


@dataclass(frozen=True, slots=True)
class LaidRanks:
    """What lies along the dimensions of an array."""

    ranks: dict[str, CutRank]
    rounds: int
    """How often loops over all ranks go round."""
    along: tuple[tuple[str, tuple[Run, ...]], ...] = ()
    """By dimension in use; of a rank that lies along several the outer part comes first."""

    def onto(self, dimension: Dimension, *, cut: bool) -> list[LaidRanks]:
        """What may lie along one dimension more, nothing among it, the fewest rounds first."""
        beam: _Beam = [(self.rounds, dimension.size, self.ranks, ())]
        found = [*beam]
        for _ in range(_SIDE_BY_SIDE):
            more: _Beam = []
            for rounds, room, ranks, along in beam:
                have = {name for name, _ in along}
                for name, rank in ranks.items():
                    before = rank.rounds
                    if name in have or before == 1 or room == 1:
                        continue
                    for laid, length in rank.within(room, cut=cut):
                        if laid.rounds < before:
                            run = (name, laid.strides[rank.laid : laid.laid])
                            state = ranks | {name: laid}
                            # ``rounds`` is a product over all ranks: this one's factor is put in
                            # the place of the old.
                            fewer = rounds // before * laid.rounds
                            more.append((fewer, room // length, state, (*along, run)))
            if not more:
                break
            beam = sorted(more, key=lambda x: (x[0], -x[1]))[:_KEPT]
            found += beam
        found.sort(key=lambda x: x[0])
        return [
            LaidRanks(
                ranks, rounds, ((dimension.name, along), *self.along) if along else self.along
            )
            for rounds, _, ranks, along in found[:_KEPT]
        ]


def layouts_along(
    array: ProcessingArray, ranks: dict[str, CutRank], *, cut: bool
) -> list[LaidRanks]:
    """Layouts on an array that go round least often, in rising order.

    Parameters
    ----------
    ranks : dict of str to CutRank
        What may be laid out, nothing of it yet.
    cut : bool
        Whether ranks may be cut where that makes a layout better.
    """
    found: list[LaidRanks] = []
    for order in permutations(array.dimensions):
        beam = [LaidRanks(ranks, prod(r.rounds for r in ranks.values()))]
        for dimension in order:
            beam = [x for state in beam for x in state.onto(dimension, cut=cut)]
            beam.sort(key=lambda x: x.rounds)
            beam = beam[:_KEPT]
        found += beam
        if len({d.size for d in array.dimensions}) == 1:
            break
    return sorted(found, key=lambda x: x.rounds)
