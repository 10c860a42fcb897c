"""Limits and penalties of a mapspace: which regions and placements it has, and their order."""

from __future__ import annotations

MAX_SHALLOW_MEMORIES = 2
"""Memories up to which tile sizes and subspaces are taken as they come. With more there are so
many that sizes are thinned out and subspaces without intermediate loops come first."""

MAX_SHARED_RANKS = 3
"""Ranks with shared loops: a search goes through all of their orders."""

REGIONS_FOR_TILE_SIZE_HINT = 8
"""Regions whose tile sizes a hint about an empty mapspace lists."""

MAX_TILINGS = 20_000
"""Tilings of a region beyond which every other tile size is left out."""

ODDITY_PENALTY = 0.01
"""Share of a region's bound added to its rank for each unit of oddity in its cuts: decides among
regions with almost equal bounds."""

SHORT_RANK_ODDITY = 0.4
"""Oddity of cutting a rank that fits along any array the less usual way."""

CROWDED_PENALTY = 1.5
"""Factor on the rank of a region where an Einsum's smallest tiles exceed the smallest memory."""

FORBIDDEN_ITERATIONS = 1e30
"""Iterations of an Einsum on an array that constraints forbid; finite, as weights may be zero."""

REGIONS_PER_WANTED_REGION = 8
"""Regions examined for each wanted one where many may exceed a latency limit."""

PARTIAL_RANK_ODDITY = 3
"""Oddity of laying out only part of a rank that fits along any array."""

MAX_LAYOUTS_PER_ARRAY = 4
"""Layouts of an Einsum on one array."""

SMALL_WORK_SHARE = 0.02
"""Share of the work below which an Einsum has ``MAX_LAYOUTS_OF_SMALL_WORK`` layouts: its layout
hardly changes the total."""

MAX_LAYOUTS_OF_SMALL_WORK = 2
"""Layouts on one array of an Einsum with little work, and of any Einsum in a sketch."""

MAX_LAYOUT_SLOWDOWN = 2
"""Iterations of a layout relative to the best one on the same array; slower layouts are left
out."""

MAX_EINSUM_SLOWDOWN = 2
"""Cycles of one Einsum relative to the least cycles of the whole cascade; slower placements are
left out."""

MAX_NESTED_CUTS = 2
"""Nested spatial tiles of one rank: arrays have two dimensions."""

MAX_EXHAUSTIVE_TILES = 64
"""Tiles of a rank up to which every number of parts gives a tile size; beyond it divisors and
halves do."""

MAX_OPEN_RANKS = 4
"""Ranks whose tile sizes in memories are open; each memory holds other ranks whole."""

MAX_ASSIGNMENTS = 32
"""Assignments of the largest Einsums to arrays that a region's bound tries: each costs one sum over
all regions."""
