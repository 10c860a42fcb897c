"""Tuning constants of searches of several nests."""

from __future__ import annotations

from dataclasses import fields

from ..exact.policy import Effort

MAX_BLOCKS = 10
"""Blocks between places to cut on one core; of more places the cheapest are kept."""

MAX_MULTI_CORE_BLOCKS = 16
"""Blocks between places to cut on many cores; of more places the first are not cut."""

MAX_EINSUMS_SEARCHED = 120
"""Einsums of all nests that are searched: the time of a search grows with its Einsums."""

MIN_GAIN = 0.01
"""Share of the objective that several nests have to promise to save, to be searched."""

INNER_COST_SHARE = 0.95
"""Share of a nest's lower bound from which a nest inside of it is searched first: what is found for
the inner nest is most of the outer one, too."""

MAX_PROMISED_SHARE = 0.9
"""Share of the latency in one nest below which several nests have to promise to stay."""

NEST_EFFORT = Effort(
    regions=6,
    untimed=12,
    sketches=3,
    more_sketches=8,
    subspaces=24,
    patience=8,
    patience_near=4,
    again=0,
)
"""Most effort for one nest of several, as there are many of them."""


def nest_effort(effort: Effort) -> Effort:
    """Return the effort for one nest of several, where one nest alone is worth some effort."""
    limits = {
        f.name: min(getattr(effort, f.name), getattr(NEST_EFFORT, f.name)) for f in fields(Effort)
    }
    return Effort(**limits)
