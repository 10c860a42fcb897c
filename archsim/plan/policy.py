"""Tuning constants of the planner.

A *lower-bound ratio* is the latency of a run over the lower bound of any mapping. The planner tries
expensive candidates only while the best run has a large lower-bound ratio: these constants
trade planning time for the quality of the default mapping.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

ACCEPTED_FLOOR_RATIO: Final = 1.1
"""Lower-bound ratio at which the best run is accepted without further candidates."""

MAX_LATENCY_RATIO_TO_REPLACE: Final = 0.98
"""Ratio to the best latency that a later candidate must stay below to replace the best.

Earlier candidates are preferred: written mappings need less traffic and energy than generated
ones, and few nests less than many.
"""

FLOOR_RATIO_TO_ADVISE_SEARCH: Final = 1.5
"""Lower-bound ratio above which the result advises a search."""

# Default mappings: the lower-bound ratio above which a class of candidates is tried.

FLOOR_RATIO_TO_TRY_UNEQUAL_TILES: Final = 1.2
"""Ratio for partitionings with unequal tiles, each of which is bound by itself."""

FLOOR_RATIO_TO_TRY_SLOW_GENERATORS: Final = 2
"""Ratio for mappings that take long to generate."""

FLOOR_RATIO_TO_TRY_FUSED: Final = 1.4
"""Ratio for fused mappings on a line of more than two memories, or on a single core.

Mappings written for one memory hardly use the innermost memory of such a line. On a single core
one mapping is generated, and not one for each partitioning.
"""

FLOOR_RATIO_TO_TRY_NESTS: Final = 4
"""Ratio for several nests on a single core, and for fused mappings once nests were tried.

On a single core all nests have the same partitioning, so that a cut gains less.
"""

MAX_UNEQUAL_PARTITIONINGS: Final = 2
"""Number of partitionings with unequal tiles to try, those that use most cores first."""

# Gathers that cores share.

SHARED_GATHER_CAPACITY_DIVISORS: Final = (4, 8)
"""Divisors of the capacity for gathers that all cores share, in the order of trials.

Each core has results of its own beside the shared gather, so that it cannot use all capacity.
"""

MIN_CORES_WITH_SHARED_GATHERS: Final = 8
"""Number of cores with a shared gather from which each has at least twice its capacity share."""

# Cuts of a cascade into nests.

FLOOR_RATIO_TO_TRY_CUTS: Final = 1.5
"""Lower-bound ratio of a nest above which a cut of it is tried."""

FLOOR_RATIO_TO_TRY_UNFUSED: Final = 2
"""Lower-bound ratio of a nest above which one Einsum after the other is tried."""

MAX_PARTITIONINGS_PER_NEST: Final = 3
"""Number of partitionings to try per nest, those with the smallest bandwidth bound first."""

MAIN_TRAFFIC_SHARE: Final = 0.5
"""Share of a cascade's compulsory traffic from which gathered inputs are most of it.

A single pass over such inputs is not cut: its lower bound is far below all mappings, since the
gathered indices may coincide.
"""

NEGLIGIBLE_HANDOFF_SHARE: Final = 0.03
"""Share of a nest's compulsory traffic up to which a tensor between nests is negligible."""

MAX_HANDOFF_SHARE_OF_GAIN: Final = 0.5
"""Share of the possible gain that the transfer of tensors between nests may take."""

HANDOFF_ACCESSES: Final = 2
"""Accesses of an element between two nests: it is written and read."""

# Partitionings over cores.

MAX_CORES_ENUMERATED: Final = 4096
"""Number of cores up to which all numbers of tiles are tried; beyond, those near powers of two."""

SQUARE_TILE_TOLERANCE: Final = 1.25
"""Ratio by which the largest tile may exceed the smallest possible to be nearly square."""

MANY_IDLE_SHARE: Final = 0.75
"""Share of cores in use up to which a partitioning leaves many cores idle."""

MAX_UNEQUAL_TILES: Final = 32
"""Number of unequal tiles beside tiles of other ranks; each is counted by itself."""

MAX_UNEQUAL_TILES_OF_ONE_RANK: Final = 128
"""Number of unequal tiles if no other rank has as many; each is counted by itself."""

SHARED_CAPACITY_SHARES: Final = (Fraction(9, 10), Fraction(3, 4))
"""Shares of the joint capacity of masked tiles that each of them may use, in the order of trials.

The tiles share tensors without the masked rank, but each has queries and results of its own.
"""

# Partial results of split sums.

SMALL_PARTIAL_SHARE: Final = 1 / 16
"""Ratio of partial results to inputs up to which a split sum is always worth trying."""

FEW_CORES_SHARE: Final = 1 / 3
"""Share of cores in use up to which partial results may be as large as the inputs."""

EQUAL_PARTIAL_SHARE: Final = 1.0
"""Ratio of partial results to inputs that is allowed if few cores are in use."""

MAX_PARTIAL_SHARE: Final = 16.0
"""Ratio of partial results to inputs up to which their transfer time is compared with the gain."""

MAX_COMBINING_TIME_SHARE: Final = 1 / 2
"""Share of the compute time without a split that the transfer of partial results may take."""

MAX_TIME_RATIO_OF_SPLIT: Final = 0.8
"""Ratio of another cascade's bound to the own one without split sums, to be searched.

Another cascade that splits a sum has to promise this gain.
"""

MAX_TIME_RATIO_OF_ANY_PARTITIONING: Final = 1.05
"""Ratio of another cascade's bound to the own one with any partitioning, to be searched."""

# Tiles of a cascade that are partitioned.

MAX_IDLE_RATIO: Final = 1.25
"""Ratio to the smallest number of idle cores up to which a partitioning of tiles is tried."""

MAX_TILE_PARTITIONINGS: Final = 2
"""Number of partitionings of tiles to try: a mapping is generated for each."""

MAX_PARTITIONED_TILES: Final = 128
"""Number of tiles of a tile; under a mask each is counted by itself."""

# Bandwidth bounds of partitionings.

MAX_TIME_RATIO_OF_EXTRA_PARTITIONING: Final = 0.8
"""Ratio to the smallest bound of other partitionings that one more must stay below."""

INPUT_CAPACITY_SHARE: Final = 0.75
"""Share of a core's memory that one input may fill: other tensors need the rest."""

NEARLY_FASTEST_RATIO: Final = 1.15
"""Ratio to the smallest bound up to which partitionings count as equally fast.

Work and transfers that overlap in the bound do not overlap fully in a run.
"""

# Memories of the incremental evaluator.

MAX_CACHED_TIMINGS: Final = 256
"""Timings per counted mapping."""

MAX_CACHED_ARRAYS: Final = 8
"""Lower bounds of work per counted mapping, one for each set of arrays."""

MAX_CACHED_TILE_SIZES: Final = 16
"""Bound mappings per layout, one for each size of fitted tiles."""

MAX_CACHED_RESULTS: Final = 256
"""Results for repricing, of all mappings: a result is some ten times as large as a timing."""

MAX_KEYS_BY_IDENTITY: Final = 8
"""Mappings whose key is found by identity, without a hash of their content."""
