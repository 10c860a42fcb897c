"""Limits of binding: sizes of caches and messages, and the effort to find equal parts of a rank."""

from __future__ import annotations

from typing import Final

MAX_CACHED_NESTS: Final = 8
"""Maximum number of mappings of a cascade that are cached, to be bound again to other sizes.

A cached mapping has resolved names and a loop nest without sizes. The limit trades memory for time:
a search over tile sizes has one mapping and machine at a time, a comparison has several.
"""

MAX_PARAMETER_VARIANTS: Final = 8
"""Maximum number of cached variants of a cascade with other parameters.

A variant keeps all that is derived from it. The limit trades memory for time: runs that alternate
use two or three values.
"""

MAX_MASKED_PARTS: Final = 256
"""Maximum number of parts of a masked rank; each part is bound and counted by itself, which takes
time."""

BALANCE_TOLERANCE: Final = 1 / 256
"""Precision at which the search for equal parts ends, as a share of the work of one step of rows.

Cuts lie at whole steps of rows, so a difference of less than a step rarely moves one.
"""

MAX_TRIAL_DIVISOR: Final = 1 << 17
"""Largest divisor that trial division tries, in at most 10 ms; importing sympy takes 300 ms."""

MAX_UNKNOWN_EINSUMS: Final = 3
"""Maximum number of unknown Einsums in a mapping that are reported one by one.

More than these are no slip of the pen: one problem then says that the mapping is for another
cascade.
"""

MAX_LISTED_EINSUMS: Final = 3
"""Maximum number of further Einsums that a problem names; the rest is only counted."""

MANY_IDLE_SHARE: Final = 0.75
"""Largest share of cores in use at which a partitioning counts as leaving many cores idle."""
