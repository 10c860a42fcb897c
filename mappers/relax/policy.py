"""Tuning constants of searches of relaxations."""

from __future__ import annotations

GOOD_ENOUGH_FOR_A_CHAIN = 1.05
"""Ratio to the best value of a chain at which the search stops. If a lifted mapping is as good, no
other chain is searched: others rarely promise more, and each costs a whole search."""

FLOOR_RATIO_FOR_LONGER_SEARCH = 1.1
"""Ratio to the floor above which the most promising chain is searched again with more effort."""

HOPELESS_CORE_FLOOR = 2.0
"""Ratio of a core's floor to the incumbent above which a partitioning is not searched.

One memory stands for all shared memories and may be slower than these. Mamba-2 on ``h100-sxm``
takes at least 78 K cycles on a core by one partitioning, but 48 K on the whole machine.
"""

HOPELESS_INPUT_TRAFFIC = 1.25
"""Ratio of the time of input traffic to the incumbent above which a partitioning is not searched.

Inputs count as a whole here, although gathers read only a part of them.
"""

RESIDENCY_ROUNDS = 2
"""Number of rounds over all tensors and memories; a round without an improvement is the last."""

RESIDENCY_SECONDS = 1.0
"""Seconds to improve residency even after the time limit, as latency gains much in little time."""
