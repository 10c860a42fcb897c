"""Limits of exact counts: larger iteration spaces are refused instead of counted."""

from __future__ import annotations

from typing import Final

MAX_ENUMERATED_POINTS: Final = 200_000
"""Points up to which the elements of an irregular index are enumerated.

Trades generality for time: an enumeration visits each point once."""

MAX_ITERATIONS_VISITED: Final = 1 << 20
"""Iterations that one walk over a masked nest visits one by one; more take too long to wait for."""

COUNT_BITS: Final = 128
"""Bits of the number of deliveries of one tile; no run has 2**128 iterations."""
