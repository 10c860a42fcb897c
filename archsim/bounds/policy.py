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

CONTRACTION_EXPONENTS = (0.0, 0.5, 1.0)
"""Exponents of accesses in the traffic bound of a contraction.

Halves are enough for three accesses; for more accesses other exponents may give a higher bound.
"""

PHASES_IN_CAPACITIES = (0.5, 1.0, 2.0, 4.0)
"""Words that cross in a phase of the traffic bound, in words that all inner memories hold. The best
is 2 for a product whose result leaves, and 1 for operands that have no common rank."""

ROUNDING = 1 - 1e-9
"""Share of a traffic bound that certainly remains if floating point rounds it up."""
