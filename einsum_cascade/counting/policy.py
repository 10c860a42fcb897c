"""Limits on the work of symbolic and numeric counting."""

from __future__ import annotations

MAX_COMBINATIONS = 10**9
"""Maximum number of combinations of axis values that numpy enumerates; bisection steps count too.
"""

COMBINATIONS_PER_BATCH = 1 << 15
"""Number of combinations per numpy call: an array of int64 takes 256 KiB.

Arrays of 8 MiB are mapped anew by the system at every operation, and a page fault for each of their
pages took more time than the operations.
"""

MIN_VALUES_FOR_PERIODS = 1 << 10
"""Minimum length of an axis, per combination of the other axes, for a search for periods."""

MAX_EXPANDED_TERMS = 64
"""Maximum number of terms of a rounded or clipped sum that sympy adds one by one."""

MAX_CORNER_VARIABLES = 6
"""Maximum number of variables whose two ends are tried: 2**6 corners of the iteration space."""
