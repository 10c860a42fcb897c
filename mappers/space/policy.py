"""Limits and penalties of a mapspace: its regions, their placements, and their order."""

from __future__ import annotations

MAX_SHALLOW_MEMORIES = 2
"""Number of memories up to which all tile sizes and subspaces are used in order. With more
memories, sizes are thinned out, and subspaces without intermediate loops come first."""

MAX_SHARED_RANKS = 3
"""Number of ranks with shared loops; a search examines all orders of them."""

REGIONS_FOR_TILE_SIZE_HINT = 8
"""Number of regions whose tile sizes are listed in a hint about an empty mapspace."""

MAX_TILINGS = 20_000
"""Number of tilings of a region above which every other tile size is left out."""

ODDITY_PENALTY = 0.01
"""Share of a region's bound that is added to its sort key for each unit of oddity of its cuts. It
decides among regions with almost equal bounds."""

SHORT_RANK_ODDITY = 0.6
"""Oddity of cutting a rank in a less usual way, if the rank fits along any array."""

CROWDED_PENALTY = 1.5
"""Factor on a region's sort key if an Einsum's smallest tiles exceed the smallest memory."""

FORBIDDEN_ITERATIONS = 1e30
"""Number of iterations that stands for infinity on a forbidden array, as a weight may be zero."""

REGIONS_PER_WANTED_REGION = 8
"""Number of regions examined for each wanted one, if a latency limit may exclude many."""

PARTIAL_RANK_ODDITY = 3
"""Oddity of placing only some of a rank along an array, if the rank fits along any array."""

MAX_LAYOUTS_PER_ARRAY = 4
"""Number of layouts of an Einsum that are examined on one array."""

SMALL_WORK_SHARE = 0.02
"""Share of the work below which an Einsum gets only ``MAX_LAYOUTS_OF_SMALL_WORK`` layouts. Its
layout hardly changes the total."""

MAX_LAYOUTS_OF_SMALL_WORK = 2
"""Number of layouts on one array, for an Einsum with little work and for any Einsum in a sketch."""

MAX_LAYOUT_SLOWDOWN = 2
"""Ratio of iterations to those of the best layout on the same array, above which a layout is left
out."""

MAX_EINSUM_SLOWDOWN = 2
"""Ratio of one Einsum's cycles to the least cycles of the whole cascade. Slower placements are
left out."""

MAX_NESTED_CUTS = 2
"""Number of nested spatial tiles of one rank, as arrays have two dimensions."""

MAX_EXHAUSTIVE_TILES = 64
"""Number of a rank's tiles up to which every number of parts gives a tile size. Beyond it, only
divisors and halves do."""

MAX_OPEN_RANKS = 4
"""Number of ranks whose tile sizes in memories are open; memories hold all other ranks whole."""

MAX_ASSIGNMENTS = 32
"""Number of assignments of the largest Einsums to arrays that a region's bound tries. Each costs
one sum over all regions."""
