"""Tuning constants of Pareto fronts and capacity curves."""

from __future__ import annotations

from dataclasses import replace

from ..exact.policy import USUAL

EFFORT = replace(USUAL, sketches=3, more_sketches=24, subspaces=64, patience=16)
"""Effort for each end of a front: less than a single search takes, as there are two."""

SLOW_EFFORT = replace(EFFORT, sketches=2, more_sketches=12, subspaces=24)
"""Effort for the least energy on slow arrays, in a mapspace too large to be searched whole."""

LEAN_EFFORT = replace(EFFORT, untimed=8, sketches=2, more_sketches=8, subspaces=24, patience=8)
"""Effort for each front with less of a memory: there are up to ``MAX_SMALLER_CAPACITIES``."""

CURVE_EFFORT = replace(USUAL, untimed=8, sketches=2, more_sketches=8, subspaces=8, patience=6)
"""Effort of the search for the least energy whose tables a capacity curve reads again."""

MAX_CAPPED_SEARCHES = 16
"""Searches under a cap for one front: more points take longer."""

MAX_POINTS = 12
"""Points of a front of two objectives, as many as a table shows well."""

MAX_POINTS_IN_THREE = 24
"""Points of a front of three objectives."""

MAX_RUNS_PER_SEARCH = 3
"""Engine runs of a search under a cap."""

MIN_GAP_SHARE = 1e-3
"""Share of the whole front's area below which a gap is not searched."""

MAX_SMALLER_CAPACITIES = 8
"""Fronts with less of the memory, for a front of three objectives."""

CAPACITY_DIVISOR = 4
"""Ratio of the largest footprint on one front to the capacity of the next one."""

MIN_FOOTPRINT_SAVING = 0.1
"""Share of the footprint that a point has to save if it is no better otherwise."""

EQUAL_SHARE = 1e-12
"""Relative difference up to which values are equal: the order of their sums may differ."""

TIE_BYTES = 1e-3
"""Bytes that the least energy counts for, to choose among mappings of equal traffic."""

MAX_SUBSPACES_SEARCHED_WHOLE = 128
"""Subspaces of a mapspace up to which a capacity curve looks at all of them."""

MAX_RUNS_PER_POINT = 3
"""Mappings that the engine runs for one point of a capacity curve."""
