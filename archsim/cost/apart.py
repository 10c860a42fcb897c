"""What of a tensor parts under a mask have each for itself.

A tensor that does not move with a rank in parts comes in once for all instances. Under a mask they
do not read the same of it: of queries in parts those of a causal one the more keys the later, so
that the last has what all have; those of a window only keys of their own, and some of the part
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


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
    seen: list[tuple[int, int]] = []  # without any two that touch: those of a causal mask are one
    for begin, end in reaches:
        known = sum(max(0, min(end, right) - max(begin, left)) for left, right in seen)
        new = max(0, end - begin - known)
        found.append(Fraction(new, end - begin) if new else Fraction(0))
        if new:
            touched = [(left, right) for left, right in seen if left <= end and right >= begin]
            lefts, rights = zip(*touched, (begin, end), strict=True)
            seen = [x for x in seen if x not in touched] + [(min(lefts), max(rights))]
    return tuple(found)
