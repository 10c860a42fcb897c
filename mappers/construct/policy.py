"""Limits of the mapping generators: how many candidates they make and compare."""

from __future__ import annotations

from fractions import Fraction

LAYOUTS_CONTINUED = 6
"""Number of layouts of an array's first axes that are continued along the next axis."""

MAX_STRETCH_LENGTHS = 3
"""Number of tile lengths tried along an axis: fewest iterations, one more, and so on."""

MAX_RANKS_PER_AXIS = 3
"""Number of ranks that may lie along one axis of an array."""

MAX_SYSTOLIC_LAYOUTS = 3
"""Number of fast layouts on systolic arrays whose memory traffic is compared, as loads vary it."""

MAX_LOOP_ORDERS = 120
"""Number of loop orders tried for an Einsum: all orders of five ranks that some tensor lacks."""

MAX_SHARING_SLOWDOWN = Fraction(5, 4)
"""Slowdown against the fastest layout that is accepted in order to read fewer operands."""

MAX_GATHER_SLOWDOWN = 2
"""Slowdown against the fastest layout up to which layouts of a gathering Einsum are examined."""

MAX_GATHER_LAYOUTS = 12
"""Number of layouts of a gathering Einsum for which loop orders are computed."""

MAX_COMBINATIONS = 20_000
"""Number of combinations of alternatives in a mapping file; more are refused with an error."""

PART_WIDTHS = (None, 128, 64, 32, 16)
"""Tile lengths tried for ranks that the cascade cuts; None is as wide as an array. Shorter tiles
may fit the memory, or skip more masked points."""

SHORT_PART_WIDTHS = (8, 4, 2, 1)
"""Further tile lengths where values run from tile to tile. Shorter tiles have fewer pairs to
compute, and heads side by side fill the arrays."""

MAX_IDLE_RATIO = Fraction(5, 4)
"""Cycles of steps, relative to those with full arrays, above which ranks are cut anew."""

MAX_BUSY_SHARE_OF_ODD_SIDES = Fraction(4, 5)
"""Share of a cascade's cycles that it would need with full arrays. Up to this share, ranks are cut
anew for arrays of odd sizes."""

MIN_RANK_TO_BAND_WIDTH = 4
"""Ratio of rank length to band width from which a mask's band counts as narrow."""

BLOCKS_PER_BAND_WIDTH = (1, 2, 4)
"""Numbers of blocks tried that together are as long as a band is wide."""

REMEMBER_AFTER_S = 0.3
"""Seconds to make a fused mapping above which it is stored; a sweep would store thousands."""

MIN_BLOCK_WIDTH = 16
"""Smallest block length, in coordinates, tried where no block as wide as an array fits."""

MAX_BLOCK_SIZES_PER_STRUCTURE = 3
"""Number of fitting block sizes that are examined for each structure of shared loops around a
gathering Einsum."""

MAX_BLOCK_SIZES = 6
"""Number of fitting block sizes in all structures together, where heads have shared loops.
Operands made before a gather may then stream in; no other structure fits in smaller blocks."""

MIN_REBALANCING_GAIN = Fraction(19, 20)
"""Ratio of estimated cycles after and before Einsums are moved, below which the engine compares
the two mappings."""

MAX_ESTIMATE_RATIO = Fraction(3, 2)
"""Ratio to the best estimate, in cycles, up to which the engine compares mappings."""

MAX_SAMPLED_TILE_ROWS = 256
"""Number of rows of tiles that are sampled to estimate how much of a tile a band covers."""

MAX_SHORT_RANK = 64
"""Length, in coordinates, up to which the loop of an uncut rank may be shared too."""

MAX_OPTIONAL_RANKS = 4
"""Number of optional ranks considered; one or two of them are chosen to have shared loops."""

FINER_BLOCK_FACTORS = (4, 8)
"""Factors by which blocks are shorter for Einsums that are independent of gathers."""

MAX_GATHERING_RANKS = 2
"""Number of ranks that move gathered indices and are cut into blocks."""

MAX_ARRAY_HALVINGS = 2
"""Number of times that array sides are halved if memories are too small. More halvings would leave
most processing elements idle."""

MIN_REFITTING_GAIN = Fraction(19, 20)
"""Ratio of estimated times, below which cutting each rank by itself beats cuts at array sides."""

# Beam search.

BEAM_REGIONS = 8
"""Number of regions that the beam begins with; families of tiles take turns."""

CUTS_CONTINUED = 12
"""Number of combinations of cuts to which cuts of another rank are added."""

ROUNDS_OF_CUTS = 3
"""Number of times that each rank is cut anew in the best combinations."""

BEAM_REGIONS_TIMES_EINSUMS = 96
"""Product of regions and Einsums from which on larger cascades begin with fewer regions."""

MIN_BEAM_REGIONS = 4
"""Smallest number of regions that the beam begins with."""

TURNED_SIDES = 3
"""Number of array sides that tile a rank along which some Einsums take turns."""

BEAM_WIDTH = 24
"""Number of groups of states (region, shared ranks, orders, kind) that go on to the next memory."""

MAX_BEAM_TILINGS = 2048
"""Number of combinations of tiles that are compared for one memory; others are thinned out."""

SAMPLES = 6
"""Number of tilings of different size, and about as good, that go on from each group."""

NEARLY_BEST = 1.05
"""Ratio to the best score up to which tilings count as about as good."""

SUM_WEIGHT = 1e-3
"""Weight of the sum of all times beside the largest one: it decides among equals."""

MIN_BYPASS_SHARE = 0.02
"""Share of a memory that a tile fills at least for its tensor to bypass the memory."""

MAX_LAYOUTS = 6
"""Number of layouts on one array that are compared for an Einsum."""

MAX_LAYOUT_SLOWDOWN = 4
"""Ratio of cycles to the best layout on the same array up to which a layout is compared."""

MAX_OPTIONS = 48
"""Number of placements that are compared for an Einsum."""

MAX_SLOWDOWN_ON_ONE_ARRAY = 1.25
"""Ratio of the busiest array's cycles up to which Einsums are on one array that holds tensors."""

PLACEMENT_ROUNDS = 4
"""Number of rounds in which all Einsums change their placements."""

MAX_PLACED = 64
"""Number of states for which placements are decided; regions and shared ranks take turns."""

MAX_LEAVES_ALIKE = 2
"""Number of complete states of one region and set of shared ranks that are run."""

LEAVES = 6
"""Number of complete states that the engine runs."""

MAX_RATIO_OF_LATER_LEAF = Fraction(99, 100)
"""Ratio of cycles to the best of the earlier complete states, below which one replaces it."""
