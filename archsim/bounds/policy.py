"""Limits of the lower bounds: they trade the time to compute a bound for its tightness."""

from __future__ import annotations

MAX_SHARES_AROUND_AN_ARRAY = 1_000
"""Ties with one array that give shares: a part of many ties still gives a valid bound."""

MAX_SHARES_FOLLOWED = 48
"""Shares of arrays with the highest bounds before any Einsum has its array; others are dropped."""

MAX_ASSIGNMENTS = 400
"""Partial assignments of Einsums that are extended; beyond it, the lowest open bound is taken."""

LANE_STEPS_PER_DOUBLING = 4
"""Steps in which the number of elements that sum one result doubles."""

MAX_BISECTIONS = 40
"""Ranges of tile sizes that are halved; beyond it, ranges give a valid, but lower bound."""

MAX_CACHED_POINTS = 512
"""Einsums of an array whose cheapest points are kept."""

MAX_CACHED_ARRAYS = 16
"""Arrays whose prices of arriving operands are kept."""

MAX_CACHED_SIZES = 16
"""Shapes and arrays for which bounds at sizes of a cascade's own tiles are kept."""
