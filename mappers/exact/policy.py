"""Limits of an exact search: how much of a mapspace it explores."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Limits of a search. The certificate's gap accounts for everything they leave out."""

    regions: float = 12
    """Regions that are opened where bounds on cycles rank them."""
    untimed: float = 40
    """Regions that are opened where bounds on cycles do not rank them."""
    sketches: float = 4
    """Subspaces sketched in every region. A sketch searches the simplest placements only."""
    more_sketches: float = 36
    """Subspaces sketched in addition, in the most promising regions."""
    of_interest: float = 4
    """Value of a sketch relative to the incumbent, above which the sketch estimates nothing."""
    further: float = 2
    """Best sketch of a region relative to the incumbent, above which it gets no more sketches."""
    subspaces: float = 160
    """Subspaces that are searched with all placements."""
    patience: float = 24
    """Searched subspaces without an improvement after which a search ends."""
    patience_near: float = 10
    """Searched subspaces without an improvement after which a search ends, where the incumbent
    is within ``near`` of its bound."""
    near: float = 0.02
    again: float = 10
    """Subspaces that are searched for the best second objective among equals."""
    again_regions: float = 6


USUAL = Effort()
"""Limits of a few seconds for most cascades."""

BRIEF = Effort(
    regions=2,
    untimed=3,
    sketches=2,
    more_sketches=0,
    subspaces=4,
    again=2,
    again_regions=1,
)
"""Limits of a search whose result is only a hint."""

THOROUGH = Effort(
    regions=inf,
    untimed=inf,
    sketches=0,
    more_sketches=0,
    subspaces=inf,
    patience=inf,
    patience_near=inf,
    again=0,
    again_regions=0,
)
"""Limits that leave nothing of a space out."""


MAX_RUNS_PER_SUBSPACE = 4
"""Engine runs of one subspace; by the bounds, its further proposals are as good or worse."""

MIN_PLACEMENTS_PER_SKETCHED = 2
"""Placements, relative to those of a sketch, up to which a region is searched in full at once:
a sketch would save little."""

MAX_PROGRESS_STEPS = 1_000
"""Steps of a progress bar, which an unlimited search would otherwise ask for without end."""

FORK_AFTER_S = 0.2
"""Seconds of work in this process before a pool forks: shorter work is not worth a fork."""

POLL_S = 0.05
"""Seconds between two looks at the clock while a pool waits for answers."""

MAX_PIECES_AHEAD = 8
"""Pieces submitted before the first has its answer. Being the same for any number of processes,
it makes a search find the same however many work."""

MAX_FRONTIER_STATES = 1 << 10
"""States of a frontier; beyond it Einsums are forgotten, which makes bounds lower but keeps them
true."""

MAX_ARRAY_MIXTURES = 24
"""Weighted sums of array cycles that bound latency: more raise the bound and cost time."""

MAX_DECISIONS_PER_SUBSPACE = 300_000
"""Decisions examined in a subspace, divided among its tilings."""

MAX_DECISIONS_PER_SKETCH = 30_000
"""Decisions examined in a sketch, which only has to rank subspaces."""

DECISIONS_PER_TILING = 300, 50_000
"""Fewest and most decisions examined for one tiling."""

MAX_MULTIPLIER_STEPS = 24
"""Steps that raise the bound of one tiling; later steps gain little."""

PIPELINE_FILL_STEPS = 2
"""Estimated steps before arrays and memories are all busy; an estimate adds them to a latency
bound."""

TILINGS_PER_BATCH = 256
"""Tilings priced at a time: limits the memory of their cost tables."""

MAX_PROPOSAL_RATIO = 1.02
"""Largest value of a proposal, relative to the best one, that a query under a cap still returns."""

SKETCHES_PER_TURN = 6
"""Subspaces of the most promising region that are sketched before another region has its turn."""

FIRST_SKETCHES = 2
"""Subspaces of every region that are sketched before any region has more."""

EARLY_REGIONS = 4
"""Regions that are opened and fully sketched before all others where bounds say little, so that a
good mapping is known early."""

MAX_RUNS_TIMES_EINSUMS = 144
"""Engine runs, times Einsums of the cascade, where values are estimates: a run takes time in
proportion to its Einsums."""

RUN_AT_ONCE_RATIO = 0.95
"""Estimate, relative to the incumbent, below which a proposal runs at once where values are
estimates."""

MOOT_SKETCH_TOLERANCE = 0.2
"""Share of the tolerance by which a region must be able to beat the incumbent for its pending
sketches to be kept."""

MAX_VAIN_RUNS_PER_ESTIMATE = 4
"""Runs of a region's proposals with one estimate that may fail to improve the incumbent."""
