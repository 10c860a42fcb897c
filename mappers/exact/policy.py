"""Limits of an exact search: how much of a mapspace it explores."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Limits of a search; the certificate's gap accounts for all mappings they leave out."""

    regions: float = 12
    """Number of regions opened where bounds on cycles rank regions."""
    untimed: float = 40
    """Number of regions opened where bounds on cycles do not rank regions."""
    sketches: float = 4
    """Number of subspaces sketched per region; a sketch searches the simplest placements only."""
    more_sketches: float = 36
    """Number of further subspaces sketched in the most promising regions."""
    of_interest: float = 4
    """Ratio to the incumbent above which mappings of a sketch are ignored."""
    further: float = 2
    """Ratio of a region's best sketch to the incumbent above which its sketches end."""
    subspaces: float = 160
    """Number of subspaces that are searched with all placements."""
    patience: float = 24
    """Number of searched subspaces without an improvement after which the search ends."""
    patience_near: float = 10
    """Number of searched subspaces without an improvement after which the search ends, if the
    incumbent is within ``near`` of its bound."""
    near: float = 0.02
    again: float = 10
    """Number of subspaces searched for the best second objective among equally good mappings."""
    again_regions: float = 6


USUAL = Effort()
"""Limits that take a few seconds for most cascades."""

BRIEF = Effort(
    regions=2, untimed=3, sketches=2, more_sketches=0, subspaces=4, again=2, again_regions=1
)
"""Limits of a quick search whose result is only a hint for another search."""

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
"""Limits of a search that leaves out nothing."""


MAX_RUNS_PER_SUBSPACE = 4
"""Number of engine runs for one subspace; by the bounds, its further proposals are no better."""

MIN_PLACEMENTS_PER_SKETCHED = 2
"""Ratio of all placements to those of a sketch, up to which a region is searched in full at once.
A sketch would save little."""

MAX_PROGRESS_STEPS = 1_000
"""Number of steps of a progress bar; an unlimited search would otherwise have infinitely many."""

FORK_AFTER_S = 0.2
"""Seconds of work in this process before a pool forks: shorter work is not worth a fork."""

POLL_S = 0.05
"""Seconds between two checks of the clock while a pool waits for answers."""

MAX_PIECES_AHEAD = 8
"""Number of pieces of work submitted before the first one has its answer. It is the same for any
number of processes, so that the search result is the same too."""

MAX_FRONTIER_STATES = 1 << 10
"""Number of states of a frontier. Beyond it, Einsums are dropped from the frontier. Bounds become
lower but stay valid."""

MAX_ARRAY_MIXTURES = 24
"""Number of weighted sums of array cycles that bound latency; more are better but slower."""

MAX_DECISIONS_PER_SUBSPACE = 300_000
"""Number of decisions examined in a subspace; its tilings share them."""

MAX_DECISIONS_PER_SKETCH = 30_000
"""Number of decisions examined in a sketch, which only has to rank subspaces."""

DECISIONS_PER_TILING = 300, 50_000
"""Smallest and largest number of decisions examined for one tiling."""

MAX_MULTIPLIER_STEPS = 24
"""Number of subgradient steps that raise the bound of one tiling; later steps gain little."""

PIPELINE_FILL_STEPS = 2
"""Number of steps until all arrays and memories are busy, as assumed when latency is estimated."""

TILINGS_PER_BATCH = 256
"""Number of tilings priced at a time; it limits the memory of their cost tables."""

MAX_PROPOSAL_RATIO = 1.02
"""Ratio to the best proposal up to which a query under a cap returns a proposal."""

SKETCHES_PER_TURN = 6
"""Number of sketches in the most promising region before another region has its turn."""

FIRST_SKETCHES = 2
"""Number of subspaces sketched in every region before any region gets more sketches."""

EARLY_REGIONS = 4
"""Number of regions opened and fully sketched before all others where bounds say little. A good
mapping is thus known early."""

MAX_RUNS_TIMES_EINSUMS = 144
"""Product of engine runs and Einsums of the cascade in a relaxed search. A run takes time in
proportion to its Einsums."""

RUN_AT_ONCE_RATIO = 0.95
"""Ratio of a proposal's estimate to the incumbent, below which a relaxed search runs it at once."""

MOOT_SKETCH_TOLERANCE = 0.2
"""Share of the tolerance by which a region must be able to beat the incumbent. Otherwise its
pending sketches are dropped."""

MAX_VAIN_RUNS_PER_ESTIMATE = 4
"""Number of runs without an improvement after which a region's proposals with the same estimate
wait."""
