"""Limits of the engine: they trade run time for exact steps, or Python for compiled code."""

from __future__ import annotations

from fractions import Fraction

MAX_EVENTS = 2_000_000_000
"""Task events that the event engine fires before it times an average step: some minutes."""

MAX_ANALYTICAL_EVENTS = 20_000_000
"""Task events that the analytical engine fires before it times an average step: some seconds."""

EVENTS_PER_INTERRUPT_CHECK = 20_000_000
"""Task events between two chances to interrupt a run."""

EVENTS_BEFORE_NUMBA = 100_000
"""Task events that a process fires in Python before it imports Numba.

Python fires them in about the time that the import takes.
"""

PERIODS_COMPARED_PER_EVENT = 32
"""Periods of a state that are compared in about the time of one task event."""

MAX_DISTANCE = 4096
"""Periods that a dependency may reach back; a farther one counts as one of this distance."""

MAX_LAG = 4 * MAX_DISTANCE
"""Periods by which a task may lag another: a state holds all of them, to be copied and compared."""

LOG_HEAD = 8000
"""First turns of a run that its log keeps."""

LOG_TAIL = 8000
"""Last turns of a run that its log keeps."""

MIN_ROWS = 6
"""Rows of a growing repetition from which rows are extrapolated: the first ones are run anyway."""

MAX_ROWS = 1 << 20
"""Rows after which loops may all be whole repetitions longer; a longer round is not awaited."""

ITERATIONS_BETWEEN_LOOKS = 4
"""Iterations of a loop between two checks whether tasks run ahead of one another."""

BOUNDING_SHARE = Fraction(98, 100)
"""Share of a run for which a resource is busy if it bounds the run.

Less than all: a resource that bounds a run still waits for its first operands.
"""

CANDIDATE_WORK_SHARE = Fraction(15, 16)
"""Share of the largest work with which a core may be the critical one."""

MAX_CRITICAL_CORES = 3
"""Cores that are run to find the critical one, with the first."""

MIN_PROBLEMS_TO_SAMPLE = 8
"""Problems of cores that are counted together without counting a sample of them first."""

MAX_CACHED_PRICES = 4096
"""Prices of memories that a sweep of capacities keeps."""
