"""Tuning constants of searches of relaxations."""

from __future__ import annotations

GOOD_ENOUGH_FOR_A_CHAIN = 1.05
"""Ratio to the best value of a chain at which other chains are not searched: they rarely promise
more, and each costs a whole search."""

FLOOR_RATIO_FOR_LONGER_SEARCH = 1.1
"""Ratio to the floor above which the most promising chain is searched again with usual effort."""

HOPELESS_CORE_FLOOR = 2.0
"""Ratio of a core's floor to the incumbent above which a partitioning is not searched.

The memory that stands for all shared memories may be slower than they are: Mamba-2 on ``h100-sxm``
takes at least 78 K cycles on a core by one partitioning, and 48 K on the whole machine."""

HOPELESS_INPUT_TRAFFIC = 1.25
"""Ratio of the time of input traffic to the incumbent above which a partitioning is not searched.

Inputs count whole here, and gathers read a part of them."""

RESIDENCY_ROUNDS = 2
"""Rounds over all tensors and memories, as long as the last round improved the mapping."""

RESIDENCY_SECONDS = 1.0
"""Seconds for improving residencies after the time limit: little time, and latency gains much."""
