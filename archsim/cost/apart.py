"""What of a tensor parts under a mask have each for itself.

A tensor that does not move with a rank in parts comes in once for all instances. Under a mask they
do not read the same of it: of queries in parts those of a causal one the more keys the later, so
that the last has what all have; those of a window only keys of their own, and some of the part
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from ..bound.instances import Spread
from ..bound.record import BoundEinsum


class MaskReach(NamedTuple):
    """Elements of the other rank of a mask that a part has a point with, from ``begin`` on."""

    axis: int
    """Of the other rank."""
    begin: int
    end: int


def reach_of(e: BoundEinsum, s: Spread) -> MaskReach | None:
    """What a part's Einsum reaches of the rank that its mask compares with the one in parts.

    Parameters
    ----------
    e : BoundEinsum
        As the part has it.
    s : Spread
        The rank in parts.

    Returns
    -------
    MaskReach or None
        None where no band leaves it anything out.
    """
    window = e.window
    if window is None or window.plus is None or window.minus is None:
        return None
    box = window.box
    for axis, other in ((window.plus, window.minus), (window.minus, window.plus)):
        if all(variable != s.variable for variable, _ in e.axes[axis].variables):
            continue
        if axis == window.plus:
            return MaskReach(other, max(0, -box.high), min(box.minus, box.plus - box.low))
        return MaskReach(other, max(0, box.low), min(box.plus, box.high + box.minus))
    return None


def shares_apart(reaches: Sequence[tuple[int, int]]) -> tuple[Fraction, ...]:
    """By part the share of what it reaches that none before it does.

    Parameters
    ----------
    reaches : sequence of (int, int)
        First element and end of every part's.

    Examples
    --------
    Of what the second reaches half is new, of the third all, and of the last nothing:

    >>> [str(share) for share in shares_apart([(4, 8), (2, 6), (8, 9), (3, 7)])]
    ['1', '1/2', '1', '0']
    """
    found: list[Fraction] = []
    seen: list[tuple[int, int]] = []
    for begin, end in reaches:
        new, at = 0, begin
        # From one that is seen to the next: what lies between is new.
        for left, right in sorted(seen):
            if right > at and left < end:
                new += max(0, left - at)
                at = max(at, right)
        new += max(0, end - at)
        found.append(Fraction(new, end - begin) if end > begin else Fraction(0))
        if new:
            seen.append((begin, end))
    return tuple(found)
