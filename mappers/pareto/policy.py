"""Tuning constants of Pareto fronts and capacity curves."""

from __future__ import annotations

from dataclasses import replace

from ..exact.policy import USUAL

EFFORT = replace(USUAL, sketches=3, more_sketches=24, subspaces=64, patience=16)
"""Effort for each of the two ends of a front, less than for a single search."""

SLOW_EFFORT = replace(EFFORT, sketches=2, more_sketches=12, subspaces=24)
"""Effort to search the least energy on slow arrays, if the mapspace is too large for all of it."""

LEAN_EFFORT = replace(EFFORT, untimed=8, sketches=2, more_sketches=8, subspaces=24, patience=8)
"""Effort for each front with less capacity; there are up to ``MAX_SMALLER_CAPACITIES``."""

CURVE_EFFORT = replace(USUAL, untimed=8, sketches=2, more_sketches=8, subspaces=8, patience=6)
"""Effort of the least-energy search whose cost tables a capacity curve reads again."""

MAX_CAPPED_SEARCHES = 16
"""Number of searches under a cap for one front; more points take longer."""

MAX_POINTS = 12
"""Number of points on a front of two objectives, as many as a table shows well."""

MAX_POINTS_IN_THREE = 24
"""Number of points on a front of three objectives."""

MAX_RUNS_PER_SEARCH = 3
"""Number of engine runs in one search under a cap."""

MIN_GAP_SHARE = 1e-3
"""Share of the whole front's area below which a gap is not searched any more."""

MAX_SMALLER_CAPACITIES = 8
"""Number of fronts with less capacity that are searched for a front of three objectives."""

CAPACITY_DIVISOR = 4
"""Ratio of the largest footprint on one front to the capacity for the next front."""

MIN_FOOTPRINT_SAVING = 0.1
"""Share of the footprint that a point must save if it is no better otherwise."""

EQUAL_SHARE = 1e-12
"""Relative difference up to which values count as equal; the order of summation may differ."""

TIE_BYTES = 1e-3
"""Weight of the least energy, in bytes: energy decides among mappings of equal traffic."""

MAX_SUBSPACES_SEARCHED_WHOLE = 128
"""Number of subspaces up to which a capacity curve searches a mapspace completely."""

MAX_RUNS_PER_POINT = 3
"""Number of mappings that the engine runs for one point of a capacity curve."""
