"""Tuning constants that all searches share: time, runs of the engine, and reports."""

from __future__ import annotations

SEARCH_TIME_SHARE = 0.8
"""Largest share of the time limit that a search takes; the rest is for runs of what it found."""

MAX_CACHED_NESTS = 8
"""Bound mappings kept for each nest: a search changes one nest at a time, and rebinds it alone."""

MAX_REPORTED_RUNS = 8
"""Best runs that a search reports besides the best one, as many as a table shows well."""

MAX_RUNNER_UP_RUNS = 4
"""Mappings with other shared loops that are run at the end of a search."""

GOOD_ENOUGH_FLOOR_RATIO = 1.01
"""Ratio to the floor up to which a result is good enough to make no further mapping."""
