"""Limits of symbolic and numeric counting."""

from __future__ import annotations

MAX_COMBINATIONS = 10**9
"""Most combinations of axes that numpy enumerates; bisection steps count too."""

COMBINATIONS_PER_BATCH = 1 << 20
"""Combinations per numpy call: an array of int64 takes 8 MiB."""

MIN_VALUES_FOR_PERIODS = 1 << 10
"""Smallest length of an axis, per combination of the others, at which periods are looked for."""

MIN_COMBINATIONS_TO_SPLIT = 1 << 22
"""Number of combinations from which on a short axis is split into its values."""

MAX_SPLIT_VALUES = 64
"""Most values of an axis to split: each takes some milliseconds to substitute."""

MAX_EXPANDED_TERMS = 64
"""Most terms of a rounded or clipped sum that sympy adds one by one."""

MAX_CORNER_VARIABLES = 6
"""Most variables of which both ends are tried: 2**6 corners of the iteration space."""
