"""How long the busiest array works at the least, each Einsum on one of the arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from heapq import heappop, heappush
from math import gcd, lcm

from ..cost.shares import tie_shares

_SHARES = 48
"""Shares of arrays whose bounds are followed: those that tell most before any Einsum has its
array."""

_NODES = 400
"""Assignments of some Einsums that are gone on from; what they were by then bounds the rest."""

_BITS = 60
"""Of fixed-point shares."""

_Node = tuple[int, int, int, list[int]]


def busiest_array(einsums: Sequence[Mapping[int, Fraction]], arrays: int) -> Fraction:
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
    >>> busiest_array([one, two], 2), busiest_array([one, two, two], 2)
    (Fraction(20, 1), Fraction(30, 1))
    """
    # In whole numbers: there are many products, and one is the answer.
    unit = lcm(*(x.denominator for cycles in einsums for x in cycles.values()))
    whole = [
        {a: x.numerator * (unit // x.denominator) for a, x in cycles.items()} for cycles in einsums
    ]
    fixed = _fixed(whole, arrays)
    # In an order that does not depend on that of the Einsums, of which it is no property.
    whole.sort(key=lambda cycles: (-min(cycles.values()), sorted(cycles.items())))
    shares = _telling(whole, fixed, arrays)
    # What an Einsum adds to each bound: on the array that is best for it, or on a given one.
    free = [[min([x * s[a] for a, x in cycles.items()]) for s in shares] for cycles in whole]
    root = [sum(column) for column in zip(*free, strict=True)] or [0]
    # Deeper ones first where bounds are equal. The number of a node keeps lists from comparison.
    open_: list[_Node] = [(max(root), 0, 0, root)]
    made = 0
    while True:
        bound, depth, _, sums = heappop(open_)
        if -depth == len(whole) or made >= _NODES:
            return Fraction(bound, unit << _BITS)
        for array, cycles in whole[-depth].items():
            made += 1
            mine = zip(sums, free[-depth], shares, strict=True)
            after = [x - least + cycles * s[array] for x, least, s in mine]
            heappush(open_, (max(bound, max(after)), depth - 1, made, after))


def _fixed(whole: Sequence[Mapping[int, int]], arrays: int) -> list[tuple[int, ...]]:
    """Shares that add up to one at the most, rounded down: what they bound is no higher by it."""
    found = [tuple(int(a == n) << _BITS for n in range(arrays)) for a in range(arrays)]
    for one in tie_shares(_unlike(whole), arrays, Fraction(1)):
        unit = lcm(*(x.denominator for x in one))
        numbers = [x.numerator * (unit // x.denominator) for x in one]
        all_of = sum(numbers)
        found.append(tuple([(x << _BITS) // all_of for x in numbers]))
    return found


def _unlike(whole: Sequence[Mapping[int, int]]) -> list[dict[int, Fraction]]:
    """Einsums without those that tie where an earlier one does: of a kind that the same arrays do
    as much faster or slower than others do, there are many."""
    found: dict[tuple[tuple[int, int], ...], None] = {}
    for cycles in whole:
        common = gcd(*cycles.values()) or 1
        found[tuple([(a, x // common) for a, x in cycles.items()])] = None
    return [{a: Fraction(x) for a, x in cycles} for cycles in found]


def _telling(
    whole: Sequence[Mapping[int, int]], shares: list[tuple[int, ...]], arrays: int
) -> list[tuple[int, ...]]:
    """Each array's alone, by which an assignment of all takes what it takes, and the shares that
    bound most before there is any."""

    def told(one: tuple[int, ...]) -> int:
        return sum(min([x * one[a] for a, x in cycles.items()]) for cycles in whole)

    beside = {*shares[arrays:]} - {*shares[:arrays]}
    others = sorted(beside, key=lambda one: (told(one), one), reverse=True)
    return [*shares[:arrays], *others[:_SHARES]]
