"""Limits of exact counts: an iteration space beyond them is refused instead of counted."""

from __future__ import annotations

from typing import Final

MAX_ENUMERATED_POINTS: Final = 200_000
"""Maximum number of points over which the elements of an irregular index are enumerated.

The limit trades generality for time: an enumeration visits each point once.
"""

MAX_ITERATIONS_VISITED: Final = 1 << 20
"""Maximum number of iterations of a masked nest that are visited one by one; more take too long."""

COUNT_BITS: Final = 128
"""Width in bits of a count of one tile's deliveries; no run has 2**128 iterations."""
