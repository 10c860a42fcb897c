"""Tuning constants of local search and of strategies that try mappings one by one."""

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

FIRST_HEAT, LAST_HEAT = 0.1, 0.002
"""Share by which a mapping may be worse and is still accepted about once in three times. Annealing
begins with the first share and ends with the second."""

MAX_STARTS = 6
"""Number of regions in which annealing looks for the known mapping. It is also the number of legal
points from which annealing chooses its start."""

MAX_REGIONS = 12
"""Number of regions from which points are drawn if the objective is latency. Its lower bound ranks
regions."""

MAX_UNRANKED_REGIONS = 40
"""Number of regions from which points are drawn for all other objectives."""

MAX_SHARE_ELSEWHERE = 0.5
"""Largest share of tensors that a random point keeps in inner memories. With more of them, it is
likelier that some tensor is evicted before it is read."""

EVALUATIONS = 300
"""Number of legal mappings that a strategy runs by default."""

OPTUNA_EVALUATIONS = 100
"""Number of legal mappings that Optuna runs by default; a suggestion takes longer than a run."""

MAX_ATTEMPTS_PER_RUN = 10
"""Number of points that are tried for each legal mapping, as many points are illegal."""
