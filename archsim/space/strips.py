"""Points of which one or another of several masks lets each through, row by row.

A prefix that all see beside a causal mask is ``m <= p or m < L``: no band, but each of the two is
one, and so is what both let through.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import combinations
from typing import NamedTuple

from .bands import Box


class Strip(NamedTuple):
    """``low <= x - row <= high`` for x from ``first`` up to ``last`` and rows from ``begin`` up to
    ``end``, all of them included."""

    low: int
    high: int
    first: int
    last: int
    begin: int
    end: int

    def both(self, other: Strip) -> Strip:
        """What another lets through, too."""
        (low, high, first, last, begin, end), o = self, other
        return Strip(
            max(low, o.low),
            min(high, o.high),
            max(first, o.first),
            min(last, o.last),
            max(begin, o.begin),
            min(end, o.end),
        )

    def until(self, row: int) -> int:
        """Points of all rows before one."""
        rows, wide = min(row, self.end + 1) - self.begin, self.last - self.first + 1
        if rows <= 0 or wide <= 0:
            return 0
        moved = self.begin - self.first
        return Box(self.low + moved, self.high + moved, wide, rows).points


def points_until(strips: Iterable[Strip], row: int) -> int:
    """Points in any of some strips, of all rows before one: those of each, less those of each two,
    and so on.

    Parameters
    ----------
    strips : iterable of Strip
    row : int

    Examples
    --------
    Of 8 keys the first 3 are seen by all, others by later queries:

    >>> far = 1 << 60
    >>> seen = [Strip(-far, 0, 0, 7, 0, far), Strip(-far, far, 0, 2, 0, far)]
    >>> [points_until(seen, row) for row in range(6)]
    [0, 3, 6, 9, 13, 18]
    """
    known = tuple(dict.fromkeys(strips))
    chosen = (c for n in range(1, len(known) + 1) for c in combinations(known, n))
    return sum((-1) ** (1 + len(c)) * reduce(Strip.both, c).until(row) for c in chosen)
