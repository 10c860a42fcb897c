"""Exact sum of many fractions over one common denominator."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import lcm


def total(terms: Iterable[tuple[int, Fraction]]) -> Fraction:
    """Return the sum of fractions, each multiplied by its own integer.

    >>> total([(3, Fraction(1, 2)), (1, Fraction(1, 3)), (1, Fraction(1, 6))])
    Fraction(2, 1)

    Parameters
    ----------
    terms : iterable of (int, Fraction)
        Multipliers and fractions.
    """
    # The terms of a run have few distinct denominators.
    found: dict[int, int] = {}
    for times, value in terms:
        numerator, denominator = value.as_integer_ratio()
        found[denominator] = found.get(denominator, 0) + times * numerator
    if len(found) == 1:
        ((denominator, numerator),) = found.items()
        return Fraction(numerator, denominator)
    common = lcm(*found)
    return Fraction(sum([n * (common // d) for d, n in found.items()]), common)
