"""A search of little effort, for what has to hold of anything that a search finds."""

from __future__ import annotations

from mappers.exhaustive.effort import Effort
from mappers.exhaustive.search import Exhaustive

BRIEFLY = Exhaustive(
    effort=Effort(
        regions=2,
        untimed=3,
        sketches=2,
        more_sketches=0,
        subspaces=4,
        again=2,
        again_regions=1,
    )
)
