"""Makespan bound: least cycles of the busiest array over all assignments of Einsums.

With any shares of the arrays that add up to one, the busiest array takes no less than the sum,
over all work, of the least of its cycles on an array times the share of that array: no weighted
mean is above the largest value. Between shares at which some work costs as much on one array as
on another the sum is linear, so that the largest sum is at such *ties*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from heapq import heappop, heappush
from itertools import islice, product
from math import gcd, lcm
from typing import TypeVar

from .policy import MAX_ASSIGNMENTS, MAX_SHARES_AROUND_AN_ARRAY, MAX_SHARES_FOLLOWED

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
        found |= dict.fromkeys(islice(product(*choices), MAX_SHARES_AROUND_AN_ARRAY))
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


_FIXED_POINT_BITS = 60
"""Of fixed-point shares."""

_Node = tuple[int, int, int, list[int]]


def makespan_bound(einsums: Sequence[Mapping[int, Fraction]], arrays: int) -> Fraction:
    """The least cycles of the busiest array, by all ways to assign Einsums to arrays.

    Assignments of the largest Einsums are gone on from, the one of the lowest bound first; the
    others may be split among arrays, which any shares of the arrays bound from below
    (``cost.shares``). The first in which every Einsum has its array is the best there is.

    Parameters
    ----------
    einsums : sequence of mapping
        Cycles of each Einsum on the arrays that can do it, by number.
    arrays : int
        How many arrays there are.

    Returns
    -------
    Fraction
        Where there are too many ways, what none of them is below.

    Examples
    --------
    One Einsum takes 10 cycles on the first array or 30 on the second, another 20 on either. Split
    among both they would take 15, but each is on one:

    >>> one, two = {0: Fraction(10), 1: Fraction(30)}, {0: Fraction(20), 1: Fraction(20)}
    >>> makespan_bound([one, two], 2), makespan_bound([one, two, two], 2)
    (Fraction(20, 1), Fraction(30, 1))
    """
    # In whole numbers: there are many products, and one is the answer.
    unit = lcm(*(x.denominator for cycles in einsums for x in cycles.values()))
    whole = [
        {a: x.numerator * (unit // x.denominator) for a, x in cycles.items()} for cycles in einsums
    ]
    fixed = _fixed_point_shares(whole, arrays)
    # In an order that does not depend on that of the Einsums, of which it is no property.
    whole.sort(key=lambda cycles: (-min(cycles.values()), sorted(cycles.items())))
    shares = _tightest_shares(whole, fixed, arrays)
    # What an Einsum adds to each bound: on the array that is best for it, or on a given one.
    free = [[min([x * s[a] for a, x in cycles.items()]) for s in shares] for cycles in whole]
    root = [sum(column) for column in zip(*free, strict=True)] or [0]
    # Deeper ones first where bounds are equal. The number of a node keeps lists from comparison.
    open_: list[_Node] = [(max(root), 0, 0, root)]
    made = 0
    while True:
        bound, depth, _, sums = heappop(open_)
        if -depth == len(whole) or made >= MAX_ASSIGNMENTS:
            return Fraction(bound, unit << _FIXED_POINT_BITS)
        for array, cycles in whole[-depth].items():
            made += 1
            mine = zip(sums, free[-depth], shares, strict=True)
            after = [x - least + cycles * s[array] for x, least, s in mine]
            heappush(open_, (max(bound, max(after)), depth - 1, made, after))


def _fixed_point_shares(whole: Sequence[Mapping[int, int]], arrays: int) -> list[tuple[int, ...]]:
    """Shares that add up to one at the most, rounded down: what they bound is no higher by it."""
    found = [tuple(int(a == n) << _FIXED_POINT_BITS for n in range(arrays)) for a in range(arrays)]
    for one in tie_shares(_distinct_ratios(whole), arrays, Fraction(1)):
        unit = lcm(*(x.denominator for x in one))
        numbers = [x.numerator * (unit // x.denominator) for x in one]
        all_of = sum(numbers)
        found.append(tuple([(x << _FIXED_POINT_BITS) // all_of for x in numbers]))
    return found


def _distinct_ratios(whole: Sequence[Mapping[int, int]]) -> list[dict[int, Fraction]]:
    """Einsums without those that tie where an earlier one does: of a kind that the same arrays do
    as much faster or slower than others do, there are many."""
    found: dict[tuple[tuple[int, int], ...], None] = {}
    for cycles in whole:
        common = gcd(*cycles.values()) or 1
        found[tuple([(a, x // common) for a, x in cycles.items()])] = None
    return [{a: Fraction(x) for a, x in cycles} for cycles in found]


def _tightest_shares(
    whole: Sequence[Mapping[int, int]], shares: list[tuple[int, ...]], arrays: int
) -> list[tuple[int, ...]]:
    """Each array's alone, by which an assignment of all takes what it takes, and the shares that
    bound most before there is any."""

    def told(one: tuple[int, ...]) -> int:
        return sum(min([x * one[a] for a, x in cycles.items()]) for cycles in whole)

    beside = {*shares[arrays:]} - {*shares[:arrays]}
    others = sorted(beside, key=lambda one: (told(one), one), reverse=True)
    return [*shares[:arrays], *others[:MAX_SHARES_FOLLOWED]]
