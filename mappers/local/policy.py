"""Tuning constants of local search."""

from __future__ import annotations

from fractions import Fraction

TILE_RATIOS = tuple(
    Fraction(*f) for f in ((2, 1), (1, 2), (4, 1), (1, 4), (3, 1), (3, 2), (2, 3), (3, 4))
)
"""Factors by which a change scales a tile size."""

MIN_GAP_TO_IMPROVE = 0.02
"""Gap of a certificate above which small changes are tried; within this gap none matters."""

MAX_CHANGES = 400
"""Number of changes that are tried; each gain of ``BIG_GAIN`` allows as many again."""

BIG_GAIN = 0.01
"""Share of the objective that a change must gain to allow ``MAX_CHANGES`` further changes."""

MIN_GAIN = 1e-4
"""Share of the objective that a change must gain to be accepted."""

HOPELESS_RUNNER_UP = 1.2
"""Ratio to the best objective up to which changes of the runner-up are tried as well."""

MIN_SECONDS, MAX_TIME_SHARE = 1.0, 0.2
"""Time limit of local search: the larger of these seconds and this share of the search's time."""
