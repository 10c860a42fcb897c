"""Limits of the lower bounds: they trade the time to compute a bound for its tightness."""

from __future__ import annotations

MAX_SHARES_AROUND_AN_ARRAY = 1_000
"""Largest number of ties with one array that give shares; some of many ties still give a valid
bound."""

MAX_SHARES_FOLLOWED = 48
"""Number of sets of shares that are kept: those with the highest bounds before assignments
begin.
"""

MAX_ASSIGNMENTS = 400
"""Number of partial assignments of Einsums that are made; after that the lowest bound is
returned.
"""

LANE_STEPS_PER_DOUBLING = 4
"""Number of steps in which the number of elements that sum one result is doubled."""

MAX_BISECTIONS = 40
"""Number of ranges of tile sizes that are halved; a larger number gives a higher valid bound."""

MAX_CACHED_SIZES = 16
"""Number of shapes and machines for which bounds over the cascade's tile sizes are cached."""
