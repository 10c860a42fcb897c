"""Limits of the engine: they trade run time for exact steps, or Python for compiled code."""

from __future__ import annotations

from fractions import Fraction

MAX_EVENTS = 2_000_000_000
"""Number of task events that the event engine fires before it times an average step: some
minutes.
"""

MAX_ANALYTICAL_EVENTS = 20_000_000
"""Number of task events that the analytical engine fires before it times an average step.

They take some seconds.
"""

EVENTS_PER_INTERRUPT_CHECK = 20_000_000
"""Number of task events between two points at which a run can be interrupted."""

EVENTS_BEFORE_NUMBA = 100_000
"""Number of task events that a process fires in Python before it imports Numba.

Python fires them in about the time that the import takes.
"""

PERIODS_COMPARED_PER_EVENT = 32
"""Number of periods of a state that can be compared in about the time of one task event."""

MAX_DISTANCE = 4096
"""Largest number of periods that a dependency may reach back; a longer distance is cut to this
one.
"""

MAX_LAG = 4 * MAX_DISTANCE
"""Largest number of periods by which a task may lag another.

A state holds all of these periods, and they are copied and compared.
"""

LOG_HEAD = 8000
"""Number of slices from the beginning of a run that its log keeps."""

LOG_TAIL = 8000
"""Number of slices from the end of a run that its log keeps."""

MIN_ROWS = 6
"""Smallest number of rows to be extrapolated: the first rows of a growing repetition are run
anyway."""

MAX_ROWS = 1 << 20
"""Largest number of rows after which all loops must be whole repetitions longer.

If it takes more rows, the kernel does not wait for it.
"""

ITERATIONS_BETWEEN_LOOKS = 4
"""Number of iterations of a loop between two checks for tasks that run ahead of one another."""

BOUNDING_SHARE = Fraction(98, 100)
"""Share of a run for which a resource must be busy to count as the bound of the run.

It is less than all, because a resource that bounds a run still waits for its first operands.
"""

CANDIDATE_WORK_SHARE = Fraction(15, 16)
"""Smallest share of the largest work with which a core may still be the critical one."""

MAX_CRITICAL_CORES = 3
"""Largest number of cores that are run to find the critical one, including the first."""

MIN_PROBLEMS_TO_SAMPLE = 8
"""Smallest number of distinct core problems for which a sample is counted first."""

MIN_ROUNDING_NOTED = Fraction(1, 10**6)
"""Smallest share of a run added by rounding that a note tells: no published figure has so many
digits.
"""
