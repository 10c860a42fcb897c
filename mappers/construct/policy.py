"""Limits of the mapping generators: how many candidates they make and compare."""

from __future__ import annotations

from fractions import Fraction

BEAM_WIDTH = 6
"""Layouts of the first axes of an array that are continued along the next axis."""

MAX_STRETCH_LENGTHS = 3
"""Lengths of a stretch that are tried: as few rounds as possible, one more, and so on."""

MAX_RANKS_PER_AXIS = 3
"""Ranks with stretches side by side along one axis."""

MAX_SYSTOLIC_LAYOUTS = 3
"""Layouts on systolic arrays whose memory traffic is compared: loads make it differ."""

MAX_LOOP_ORDERS = 120
"""Loop orders of an Einsum that are tried: all orders of five ranks that some tensor lacks."""

MAX_SHARING_SLOWDOWN = Fraction(5, 4)
"""Cycles of a layout relative to the fastest one, up to which reading fewer operands may decide."""

MAX_GATHER_SLOWDOWN = 2
"""Cycles of a layout relative to the fastest one, for Einsums that gather."""

MAX_GATHER_LAYOUTS = 12
"""Layouts of an Einsum that gathers whose loops are worked out."""

MAX_COMBINATIONS = 20_000
"""Combinations of alternatives in a mapping file; more are refused with an error."""

PART_WIDTHS = (None, 128, 64, 32, 16)
"""Lengths of parts that the cascade cuts: as wide as an array (None), or shorter where the pairs
of a part exceed the memory or leave more to do."""

SHORT_PART_WIDTHS = (8, 4, 2, 1)
"""Further lengths where values run from part to part: shorter parts have fewer pairs to compute,
and heads side by side fill the arrays."""

MAX_IDLE_RATIO = Fraction(5, 4)
"""Cycles of steps relative to full arrays, above which ranks are cut anew to fill the arrays."""

MAX_BUSY_SHARE_OF_ODD_SIDES = Fraction(4, 5)
"""Share of its cycles that a cascade needs with all elements busy, up to which ranks are cut for
arrays of odd sizes."""

MIN_RANK_TO_BAND_WIDTH = 4
"""Length of ranks relative to a mask's band, from which the band is narrow."""

BLOCKS_PER_BAND_WIDTH = (1, 2, 4)
"""Numbers of blocks that together are as long as a band is wide."""

REMEMBER_AFTER_S = 0.3
"""Seconds a fused mapping takes to make before it is stored: a sweep would store thousands."""

MIN_BLOCK_WIDTH = 16
"""Coordinates down to which blocks become narrower than an array where no wider ones fit."""

MAX_BLOCK_SIZES_PER_STRUCTURE = 3
"""Block sizes of a gathering rank that are tried for each structure of shared loops."""

MAX_BLOCK_SIZES = 6
"""Block sizes in all structures together, where operands made before a gather may stream in under
the loops over heads: no other structure fits in smaller blocks."""

MIN_REBALANCING_GAIN = Fraction(19, 20)
"""Estimated cycles, relative to the mapping before, below which moved Einsums are worth a run."""

BUFFERED_TILES = 2
"""Copies of each tile: one is in use while the next one arrives."""

MAX_BLOCK_COMBINATIONS = 1 << 14
"""Combinations of tile sizes; a cascade of many ranks has millions, and no blocked mapping."""

MAX_ESTIMATE_RATIO = Fraction(3, 2)
"""Estimated cycles relative to the best estimate, up to which the engine decides."""

MAX_SAMPLED_TILE_ROWS = 256
"""Rows of tiles that are examined to estimate the coverage of a band."""

MAX_SHORT_RANK = 64
"""Coordinates of ranks that arrays take whole, up to which their loops are shared as well."""

MAX_OPTIONAL_RANKS = 4
"""Ranks without a need for shared loops among which one or two are chosen to share theirs."""

FINER_BLOCK_FACTORS = (4, 8)
"""Factors by which blocks are finer for Einsums that have nothing to do with gathers."""

MAX_GATHERING_RANKS = 2
"""Ranks that move gathered indices and are cut into blocks."""

MAX_ARRAY_HALVINGS = 2
"""Times that array sides are halved for lack of capacity: more would leave most elements idle."""

MIN_REFITTING_GAIN = Fraction(19, 20)
"""Estimated time, relative to cuts at array sides, below which cuts of each rank by itself win."""
