"""Tuning constants of the planner.

A *lower-bound ratio* is the latency of a run over the lower bound of any mapping. The planner tries
expensive candidates only while the best run has a large lower-bound ratio: these constants
trade planning time for the quality of the default mapping.
"""

from __future__ import annotations

from typing import Final

ACCEPTED_FLOOR_RATIO: Final = 1.1
"""Lower-bound ratio at which the best run is accepted without further candidates."""

MAX_LATENCY_RATIO_TO_REPLACE: Final = 0.98
"""Ratio to the best latency below which a later candidate replaces the best one.

Earlier candidates are preferred. Written mappings need less traffic and energy than generated ones,
and mappings of few nests need less than mappings of many.
"""

FLOOR_RATIO_TO_ADVISE_SEARCH: Final = 1.5
"""Lower-bound ratio above which the result advises a search."""

MIN_GAIN_OF_REWRITE: Final = 1.05
"""Least ratio of the lower bounds before and after a rewrite at which a note proposes it."""

# Default mappings: the lower-bound ratio above which a class of candidates is tried.

FLOOR_RATIO_TO_TRY_SLOW_GENERATORS: Final = 2
"""Lower-bound ratio above which mappings that take long to generate are tried."""

FLOOR_RATIO_TO_TRY_BEAM: Final = 1.4
"""Lower-bound ratio above which a beam search is tried, and several nests on many cores."""

FLOOR_RATIO_TO_TRY_BEAM_ON_CORES: Final = 1.2
"""Lower-bound ratio above which a beam search is tried on many cores.

Written mappings know neither how many cores there are nor what they share.
"""

FLOOR_RATIO_TO_TRY_FUSED: Final = 1.2
"""Lower-bound ratio above which a fused mapping is tried if the beam search found the best one."""

MAX_SEARCHED_PARTITIONINGS: Final = 2
"""Number of partitionings to search by a beam, of a cascade or a nest; those with small bandwidth
bounds come first."""

MAX_BOUND_RATIO_TO_SEARCH: Final = 3
"""Largest ratio of a partitioning's bandwidth bound to the smallest one, to be searched, too."""

# Cuts of a cascade into nests.

FLOOR_RATIO_TO_TRY_CUTS: Final = 1.5
"""Lower-bound ratio of a nest above which the planner tries to cut the nest."""

FLOOR_RATIO_TO_TRY_UNFUSED: Final = 2
"""Lower-bound ratio of a nest above which mappings of one Einsum after the other are tried."""

MAIN_TRAFFIC_SHARE: Final = 0.5
"""Smallest share of a cascade's compulsory traffic at which gathered inputs count as most of it.

A single pass over such inputs is not cut: its lower bound is far below all mappings, since the
gathered indices may coincide.
"""

NEGLIGIBLE_HANDOFF_SHARE: Final = 0.03
"""Largest share of a nest's compulsory traffic at which a tensor between nests is negligible."""

MAX_HANDOFF_SHARE_TO_CUT: Final = 0.2
"""Largest share of compulsory traffic that tensors at a cut may take for cuts to be tried.

A part of latent attention, of 128 sequences and 4096 keys on an H100, takes 859 us in one nest and
452 in three, although tensors between them are 6 % of the traffic: weights that expand each head
are then read once instead of once for each sequence.
"""

MAX_HANDOFF_SHARE_OF_GAIN: Final = 0.5
"""Largest share of the possible gain that the transfer of tensors between nests may take."""

HANDOFF_ACCESSES: Final = 2
"""Number of accesses to each tensor element between two nests: one write and one read."""

# Partitionings over cores.

MAX_CORES_ENUMERATED: Final = 4096
"""Largest number of cores for which all numbers of tiles are tried.

For more cores only numbers near powers of two are tried.
"""

SQUARE_TILE_TOLERANCE: Final = 1.25
"""Largest ratio of a nearly square tile to the smallest possible tile."""

MAX_UNEQUAL_TILES: Final = 32
"""Largest number of unequal tiles if other ranks are split too; each tile is counted by itself."""

MAX_UNEQUAL_TILES_OF_ONE_RANK: Final = 128
"""Largest number of unequal tiles of one added rank; each tile is counted by itself."""

# Partial results of split sums.

SMALL_PARTIAL_SHARE: Final = 1 / 16
"""Largest ratio of partial results to inputs at which a split sum is always tried."""

FEW_CORES_SHARE: Final = 1 / 3
"""Largest share of cores in use at which partial results may be as large as the inputs."""

EQUAL_PARTIAL_SHARE: Final = 1.0
"""Largest ratio of partial results to inputs if few cores are in use."""

MAX_PARTIAL_SHARE: Final = 16.0
"""Largest ratio of partial results to inputs at which a split sum is tried if its transfers are
fast."""

MAX_COMBINING_TIME_SHARE: Final = 1 / 2
"""Largest ratio of the transfer time of partial results to the compute time without a split.
"""

MAX_TIME_RATIO_OF_SPLIT: Final = 0.8
"""Largest ratio of time bounds at which another cascade with a split sum is searched.

The ratio compares the other cascade with the part's own cascade without split sums.
"""

MAX_TIME_RATIO_OF_ANY_PARTITIONING: Final = 1.05
"""Largest ratio of time bounds at which another cascade with a split sum is searched.

The ratio compares the other cascade with the part's own cascade under any partitioning.
"""

# Tiles of a cascade that are partitioned.

MAX_IDLE_RATIO: Final = 1.25
"""Largest ratio of a tile partitioning's idle factor to the smallest idle factor, to be tried.

Of searches those up to this idle factor come first, in the order of their bandwidth bounds."""

MAX_TILE_PARTITIONINGS: Final = 2
"""Largest number of tile partitionings to try; a mapping is generated for each."""

MAX_PARTITIONED_TILES: Final = 128
"""Largest number of shares into which tiles are split; under a mask each is counted by itself."""

# Bandwidth bounds of partitionings.

MAX_TIME_RATIO_OF_EXTRA_PARTITIONING: Final = 0.8
"""Ratio to the smallest bound of known partitionings below which one more partitioning is tried."""

INPUT_CAPACITY_SHARE: Final = 0.75
"""Largest share of a core's memory that one input may fill: other tensors need the rest."""

MAX_RATIO_OF_EQUAL_BOUNDS: Final = 1.01
"""Largest ratio to the smallest bound at which the total time decides among partitionings."""

NEARLY_FASTEST_RATIO: Final = 1.15
"""Largest ratio to the smallest bound at which partitionings count as equally fast.

Work and transfers that overlap in the bound do not overlap fully in a run.
"""

# Memories of the incremental evaluator.

MAX_CACHED_TIMINGS: Final = 256
"""Largest number of remembered timings per counted mapping."""

MAX_CACHED_ARRAYS: Final = 8
"""Largest number of remembered work bounds per counted mapping, one for each set of arrays."""

MAX_CACHED_TILE_SIZES: Final = 16
"""Largest number of remembered bound mappings per layout, one for each size of fitted tiles."""

MAX_CACHED_RESULTS: Final = 256
"""Largest number of results that are remembered for repricing.

A result is some ten times as large as a timing.
"""

MAX_KEYS_BY_IDENTITY: Final = 8
"""Largest number of mappings whose key is found by identity, without a hash of their content."""
