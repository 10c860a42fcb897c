"""How many graphs of a process have their orders of issue chosen in Python."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache


@dataclass
class FirstGraphs:
    """Those that are left to Python: each takes some milliseconds, as do, but for a hundred times
    as long, the import of a compiler and the reading of what it compiled."""

    alone: int = 250
    beside: int = 16
    """Where Numba is there already."""

    def over(self) -> bool:
        """Whether one more is none of them."""
        self.alone -= 1
        self.beside -= 1
        return self.alone < 0 or (self.beside < 0 and "numba" in sys.modules)


@cache
def first_graphs() -> FirstGraphs:
    """Those of the whole process: what costs an import once need not be put off for ever."""
    return FirstGraphs()
