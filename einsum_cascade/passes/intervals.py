"""Distances between two coordinates, as far as they are known: intervals, and how they add up."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A mark rather than a size: sums come out as small whole numbers, as this, or as infinity.
BOUNDED = 1e9


@dataclass(frozen=True)
class Interval:
    """``sign`` +1: ``u - v`` is in ``[low, high]``; -1: ``u + v - (shape - 1)`` is.

    A reader at ``v`` of ``u = v - 1`` that is read at ``w`` with ``v`` in ``w..w+2``:

    >>> Interval(-1, -1).then(Interval(0, 2))
    Interval(low=-1, high=1, sign=1)

    Read backwards twice is forwards again:

    >>> Interval(0, 1, -1).then(Interval(0, 0, -1))
    Interval(low=0, high=1, sign=1)
    """

    low: float
    high: float
    sign: int = 1

    def then(self, other: Interval) -> Interval:
        """``u`` to ``v`` by this interval, ``v`` to ``w`` by ``other``: ``u`` to ``w``."""
        if other is EQUAL:  # the common case, not worth an addition
            return self
        # Backwards u + w is (u + v) - (v - w), so the second interval counts negative.
        low, high = (other.low, other.high) if self.sign > 0 else (-other.high, -other.low)
        return Interval(add(self.low, low), add(self.high, high), self.sign * other.sign)

    @property
    def everything(self) -> bool:
        """Whether the interval says nothing."""
        return self.low == -math.inf and self.high == math.inf

    def inside(self, other: Interval) -> bool:
        """Whether ``other`` allows all this one does."""
        return self.sign == other.sign and other.low <= self.low and self.high <= other.high

    def meet(self, other: Interval) -> Interval:
        """Both hold. Intervals of opposite sign cannot be combined; the first stays."""
        if self.sign != other.sign:
            return self
        return Interval(max(self.low, other.low), min(self.high, other.high), self.sign)

    def cover(self, other: Interval) -> Interval | None:
        """Either holds; None when that is everything."""
        if self.sign != other.sign:
            return None
        found = Interval(min(self.low, other.low), max(self.high, other.high), self.sign)
        return None if found.everything else found


def add(a: float, b: float) -> float:
    """A bounded width stays bounded whatever whole number is added to it.

    >>> add(BOUNDED, -3), add(-3, -BOUNDED), add(BOUNDED, math.inf)
    (1000000000.0, -1000000000.0, inf)
    """
    if math.isinf(a) or math.isinf(b):
        return a if math.isinf(a) else b
    total = a + b
    if abs(total) >= BOUNDED / 2:
        return math.copysign(BOUNDED, total)
    if abs(a) >= BOUNDED / 2 or abs(b) >= BOUNDED / 2:  # opposite widths: either sign
        return math.copysign(BOUNDED, a if abs(a) >= BOUNDED / 2 else b)
    return total


EQUAL = Interval(0, 0)


def coarser(whole: Interval) -> Interval:
    """A shift of elements as a shift of tiles.

    The next element is in the same tile or a later one:

    >>> coarser(Interval(1, 1)), coarser(Interval(-1, 0))
    (Interval(low=0.0, high=1000000000.0, sign=1), Interval(low=-1000000000.0, high=0.0, sign=1))
    """
    low = whole.low if math.isinf(whole.low) else (0.0 if whole.low >= 0 else -BOUNDED)
    high = whole.high if math.isinf(whole.high) else (0.0 if whole.high <= 0 else BOUNDED)
    return Interval(low, high, whole.sign)


def finer(outer: Interval) -> Interval:
    """A shift of tiles as a shift of elements; inside a tile any element may be meant."""
    low = outer.low if math.isinf(outer.low) else -BOUNDED
    high = outer.high if math.isinf(outer.high) else BOUNDED
    return Interval(low, high, outer.sign)
