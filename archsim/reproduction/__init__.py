"""Published evaluations that are recomputed: plans in YAML, runs, tables and figures.

This package may import every other package of archsim but the command line, and only the command
line imports this package.
"""

from .plan import Reproduction
from .study import Study, study

__all__ = ["Reproduction", "Study", "study"]
