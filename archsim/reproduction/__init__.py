"""Published evaluations, recomputed: plans in YAML, runs, tables and figures.

Stands on top of ``archsim`` and ``workloads``; only the command line imports it.
"""

from .crew import Crew
from .plan import Plan
from .study import Study, study

__all__ = ["Crew", "Plan", "Study", "study"]
