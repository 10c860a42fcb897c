"""Makespan bound: least cycles of the busiest array over all assignments of Einsums to arrays.

Give each array a weight (share), such that the weights add up to one. For each piece of work, take
the least product of an array's weight and the work's cycles on that array. The busiest array takes
at least the sum of these products, because no weighted mean exceeds the largest value. A weighting
at which some work costs the same on two arrays is a *tie*. The sum is linear between ties, so that
its largest value is at a tie.
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
    """Return the weights (shares) of arrays at which work ties, each set up to a common factor.

    In each set, all arrays tie with one array or have the weight zero. For up to three arrays,
    these are all ties. For more arrays, chains of ties are left out, and the bound may be lower.

    Parameters
    ----------
    work : sequence of mapping
        Cycles of each piece of work on the arrays that can do it, by number.
    arrays : int
        Number of arrays.
    one : Fraction or float
        The number one, in the type of the shares.

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
    """Return weights of array ``middle`` at which some work ties with array ``other``.

    The weight of array ``other`` is one.
    """
    found = {one - one: None}
    for cycles in work:
        here, there = cycles.get(middle), cycles.get(other)
        if here and there:
            found[here / there] = None
    return tuple(found)


_FIXED_POINT_BITS = 60
"""Number of binary digits after the point in fixed-point shares."""

_Node = tuple[int, int, int, list[int]]


def makespan_bound(einsums: Sequence[Mapping[int, Fraction]], arrays: int) -> Fraction:
    """Return the least cycles of the busiest array over all assignments of Einsums to arrays.

    Branch and bound assigns the largest Einsums first, and extends the assignment with the lowest
    bound. Einsums without an array may be split among arrays; the shares of arrays bound their work
    from below (``tie_shares``). The first complete assignment is optimal.

    Parameters
    ----------
    einsums : sequence of mapping
        Cycles of each Einsum on the arrays that can do it, by number.
    arrays : int
        Number of arrays.

    Returns
    -------
    Fraction
        Least cycles; with too many assignments, a lower bound.

    Examples
    --------
    One Einsum takes 10 cycles on the first array or 30 on the second, another 20 on either. Split
    among both they would take 15, but each is on one:

    >>> one, two = {0: Fraction(10), 1: Fraction(30)}, {0: Fraction(20), 1: Fraction(20)}
    >>> makespan_bound([one, two], 2), makespan_bound([one, two, two], 2)
    (Fraction(20, 1), Fraction(30, 1))
    """
    # Whole numbers: there are many products, and one is the answer.
    unit = lcm(*(x.denominator for cycles in einsums for x in cycles.values()))
    whole = [
        {a: x.numerator * (unit // x.denominator) for a, x in cycles.items()} for cycles in einsums
    ]
    fixed = _fixed_point_shares(whole, arrays)
    # The answer does not depend on the order of the Einsums, so that they are sorted.
    whole.sort(key=lambda cycles: (-min(cycles.values()), sorted(cycles.items())))
    shares = _tightest_shares(whole, fixed, arrays)
    # Increment of each bound by an Einsum: on its best array, or on a given one.
    free = [[min([x * s[a] for a, x in cycles.items()]) for s in shares] for cycles in whole]
    root = [sum(column) for column in zip(*free, strict=True)] or [0]
    # Of equal bounds, deeper nodes come first. The number of a node avoids comparing lists.
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
    """Return sets of shares in fixed point.

    Each set adds up to at most one because shares are rounded down, so that no bound becomes
    higher.
    """
    found = [tuple(int(a == n) << _FIXED_POINT_BITS for n in range(arrays)) for a in range(arrays)]
    # Einsums whose cycles are multiples of another's tie at the same shares.
    divided = ((cycles, gcd(*cycles.values()) or 1) for cycles in whole)
    distinct = dict.fromkeys(tuple((a, Fraction(x // d)) for a, x in c.items()) for c, d in divided)
    for one in tie_shares([dict(cycles) for cycles in distinct], arrays, Fraction(1)):
        unit = lcm(*(x.denominator for x in one))
        numbers = [x.numerator * (unit // x.denominator) for x in one]
        all_of = sum(numbers)
        found.append(tuple([(x << _FIXED_POINT_BITS) // all_of for x in numbers]))
    return found


def _tightest_shares(
    whole: Sequence[Mapping[int, int]], shares: list[tuple[int, ...]], arrays: int
) -> list[tuple[int, ...]]:
    """Return the sets of array weights (shares) that bound the makespan most tightly.

    First come those with all weight on one array: they give the exact load of a complete
    assignment.
    """

    def bound_at(one: tuple[int, ...]) -> int:
        return sum(min([x * one[a] for a, x in cycles.items()]) for cycles in whole)

    ties = {*shares[arrays:]} - {*shares[:arrays]}
    others = sorted(ties, key=lambda one: (bound_at(one), one), reverse=True)
    return [*shares[:arrays], *others[:MAX_SHARES_FOLLOWED]]
