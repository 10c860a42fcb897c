"""Whole numbers as people write them: ``4096``, ``64K``, ``1_000``, ``1e6``."""

from __future__ import annotations

import re
from fractions import Fraction
from types import MappingProxyType

LARGEST_COUNT = 10**15
"""More of anything than this is a slip of the pen."""

_COUNT = re.compile(r"([-+]?)([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMG]?)")
_BINARY = MappingProxyType({"": 1, "K": 2**10, "M": 2**20, "G": 2**30})
_LONGEST_TEXT = 40


def exact_number(value: str | float) -> Fraction | None:
    """The number that is meant, exact; K, M and G after it are binary.

    None: the text is no number, or the number is not finite.

    Parameters
    ----------
    value : str or float
        As read; a text has at most 40 characters.

    Returns
    -------
    Fraction or None

    >>> exact_number("1.5K"), exact_number(0.5), exact_number("many")
    (Fraction(1536, 1), Fraction(1, 2), None)
    """
    if not isinstance(value, str):
        return Fraction(value) if value - value == 0 else None
    found = _COUNT.fullmatch(value.strip())
    if found is None or len(value) > _LONGEST_TEXT:
        return None
    sign, digits, suffix = found.groups()
    return Fraction(f"{sign}{digits.replace('_', '')}") * _BINARY[suffix]
