"""Published evaluations, recomputed: plans in YAML, runs, tables and figures.

Stands on top of ``archsim`` and ``workloads``; only the command line imports it.
"""

from .plan import Plan
from .study import Study, study

__all__ = ["Plan", "Study", "study"]
