"""Published evaluations, recomputed: plans in YAML, runs, tables and figures.

Stands on top of the house: it may import every other room but the command line, and only that
imports it.
"""

from .plan import Reproduction
from .study import Study, study

__all__ = ["Reproduction", "Study", "study"]
