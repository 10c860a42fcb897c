"""Shares of arrays that bound how long work takes, however it is shared out.

With any shares of the arrays that add up to one, the busiest array takes no less than the sum,
over all work, of the least of its cycles on an array times the array's share: no weighted mean
is above the largest. Between shares at which some work costs as much on one array as on another
the sum is linear, so that the largest is at such *ties*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import islice, product
from typing import TypeVar

_MOST = 1_000
"""Shares around one array at the most: some of many ties, too, give a bound."""

Number = TypeVar("Number", float, Fraction)


def tie_shares(
    work: Sequence[Mapping[int, Number]], arrays: int, one: Number
) -> tuple[tuple[Number, ...], ...]:
    """Shares of arrays at which work ties, each up to a factor.

    All arrays tie with one of them, or take no part. Of up to three arrays all ties are such;
    of more, shares that tie in chains are left out, and the bound may be lower.

    Parameters
    ----------
    work : sequence of mapping
        Cycles of each piece of work on the arrays that can do it, by number.
    arrays : int
        How many arrays there are.
    one : Fraction or float
        The number one, as the shares are to be.

    Examples
    --------
    One Einsum takes 10 cycles on the first array or 30 on the second, another 20 on either:

    >>> tie_shares([{0: 10.0, 1: 30.0}, {0: 20.0, 1: 20.0}], 2, 1.0)
    ((1.0, 0.0), (1.0, 0.3333333333333333), (1.0, 1.0), (0.0, 1.0), (3.0, 1.0))
    """
    found: dict[tuple[Number, ...], None] = {}
    for middle in range(arrays):
        choices = [
            (one,) if other == middle else _ratios(work, middle, other, one)
            for other in range(arrays)
        ]
        found |= dict.fromkeys(islice(product(*choices), _MOST))
    return tuple(found)


def _ratios(
    work: Iterable[Mapping[int, Number]], middle: int, other: int, one: Number
) -> tuple[Number, ...]:
    """Shares of an array at which something costs as much there as on another of share one."""
    found = {one - one: None}
    for cycles in work:
        here, there = cycles.get(middle), cycles.get(other)
        if here and there:
            found[here / there] = None
    return tuple(found)
