"""Tuning constants of local search and of strategies that try mappings one by one."""

from __future__ import annotations

from fractions import Fraction

TILE_RATIOS = tuple(
    Fraction(*f) for f in ((2, 1), (1, 2), (4, 1), (1, 4), (3, 1), (3, 2), (2, 3), (3, 4))
)
"""Ratios by which a change scales a tile."""

MIN_GAP_TO_IMPROVE = 0.02
"""Gap of a certificate above which small changes are tried: within it, none matters."""

MAX_CHANGES = 400
"""Changes that are tried; as many again after each change that gains ``BIG_GAIN``."""

BIG_GAIN = 0.01
"""Share of the objective that a change has to gain for ``MAX_CHANGES`` further ones."""

MIN_GAIN = 1e-4
"""Share of the objective that a change has to gain to be accepted."""

HOPELESS_RUNNER_UP = 1.2
"""Ratio to the best objective above which changes of the runner-up are not tried."""

MIN_SECONDS, MAX_TIME_SHARE = 1.0, 0.2
"""Time limit of local search: so many seconds, or this share of the search's time if longer."""

FIRST_HEAT, LAST_HEAT = 0.1, 0.002
"""Annealing accepts a mapping worse by this share about once in three times, at both ends."""

MAX_STARTS = 6
"""Regions in which annealing looks for the known mapping, and legal points to begin with."""

MAX_REGIONS = 12
"""Regions from which points are drawn for latency, whose lower bound ranks regions."""

MAX_UNRANKED_REGIONS = 40
"""Regions from which points are drawn for other objectives."""

MAX_SHARE_ELSEWHERE = 0.5
"""Largest share of a random point's tensors that are kept in inner memories. The more there are,
the likelier is a tensor that is evicted before it is read."""

EVALUATIONS = 300
"""Legal mappings that a strategy runs by default."""

OPTUNA_EVALUATIONS = 100
"""Legal mappings that Optuna runs by default: it takes longer to suggest a point than to run it."""

MAX_ATTEMPTS_PER_RUN = 10
"""Points that are looked at for each legal mapping: many are illegal."""
