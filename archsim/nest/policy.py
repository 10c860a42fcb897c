"""Limits of binding: sizes of caches, of searches for part sizes, and of messages."""

from __future__ import annotations

from typing import Final

MAX_CACHED_NESTS: Final = 8
"""Mappings of a cascade whose names, and whose nests without sizes, are kept for other sizes.

Trades memory for binding again: a search in tiles of many sizes has one mapping and machine at a
time, a comparison has several."""

MAX_PARAMETER_VARIANTS: Final = 8
"""Variants of a cascade with other parameters that are kept, each with all that is derived from it.

Trades memory for deriving again: runs that alternate use two or three values."""

MAX_MASKED_PARTS: Final = 256
"""Parts of a rank under a mask; each part is bound and counted by itself, in a time of its own."""

BALANCE_TOLERANCE: Final = 1 / 256
"""Share of the work of one step of rows at which the search for equal parts ends.

Cuts lie at whole steps of rows, so a difference of less than a step rarely moves one."""

MAX_TRIAL_DIVISOR: Final = 1 << 17
"""Largest number that trial division tries, in at most 10 ms; sympy takes 300 ms to import."""

MAX_UNKNOWN_EINSUMS: Final = 3
"""Unknown Einsums in a mapping that are reported one by one.

More are no slip of the pen: one problem says that the mapping is for another cascade."""

MAX_LISTED_EINSUMS: Final = 3
"""Further Einsums that a problem names; the others are a number."""
