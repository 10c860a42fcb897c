"""Tuning constants of the order of issue: they trade search time for the length of a schedule."""

from __future__ import annotations

TRIAL_STEPS = 32
"""Number of steps for which candidate orders are run and compared.

They are enough to show fill, drain and steady state.
"""

SLACKS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Slacks tried between resources, in periods: a larger slack lets the first tiles run ahead."""

PERIOD_GROWTH = 17 / 16
"""Factor by which the tried period grows while no candidate order fits."""

MAX_PERIODS_TRIED = 80
"""Largest number of periods tried: 80 steps of ``PERIOD_GROWTH`` reach 128 times the first
period.
"""

ROUNDS_BEFORE_CYCLE_SEARCH = 3
"""Rounds of propagated delays before the delays are searched for a cycle that grows for ever.

A search for a cycle costs as much as a round; most placements settle in fewer rounds than this.
"""

MAX_CACHED_ORDERS = 512
"""Number of graphs whose orders are cached: most mappings that a search tries have steps in
common.
"""

GRAPHS_BEFORE_JIT = 250
"""Number of graphs that a process schedules in Python before it imports Numba.

Each takes some milliseconds in Python. The import of Numba and the reading of compiled code take
about a hundred times as long.
"""

GRAPHS_BEFORE_JIT_IF_IMPORTED = 16
"""Number of graphs scheduled in Python if another stage has imported Numba already."""
