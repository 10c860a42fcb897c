"""Tuning constants of searches of several nests."""

from __future__ import annotations

from dataclasses import fields

from ..exact.policy import Effort

MAX_BLOCKS = 10
"""Number of blocks between possible cuts on one core; the cuts with the lowest bounds are kept."""

MAX_MULTI_CORE_BLOCKS = 16
"""Number of blocks between possible cuts on many cores; further Einsums join the last block."""

MAX_EINSUMS_SEARCHED = 120
"""Number of Einsums in all searched nests together; search time grows with this number."""

MIN_GAIN = 0.01
"""Share of the objective that several nests must promise to save before they are searched."""

INNER_COST_SHARE = 0.95
"""Share of a nest's lower bound from which a nest inside of it is searched first. The inner nest's
mapping is then most of the outer one's."""

MAX_PROMISED_SHARE = 0.9
"""Share of one nest's latency that the bound of several nests must stay below for a search."""

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
"""Largest effort for one of several nests, as there are many of them."""


def nest_effort(effort: Effort) -> Effort:
    """Return the effort for one of several nests, given the effort for a single nest."""
    limits = {
        f.name: min(getattr(effort, f.name), getattr(NEST_EFFORT, f.name)) for f in fields(Effort)
    }
    return Effort(**limits)
