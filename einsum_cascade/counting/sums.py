"""Symbolic sums that sympy sorts and prints quickly; loading this module loads sympy."""

from __future__ import annotations

from typing import Any

import sympy


class SumOverSymbols(sympy.Sum):  # type: ignore[misc]
    """``sympy.Sum`` over variables that are plain symbols.

    sympy finds the free symbols of a sum whenever it sorts or prints terms. For that it substitutes
    dummies for the summation variables, which builds every ``Min`` and ``Max`` inside again. This
    class finds free symbols without substitution.
    """

    __slots__ = ()

    @property
    def free_symbols(self) -> set[Any]:
        """Free symbols of the summand and the bounds, without the summation variables."""
        found = set(self.function.free_symbols)
        for variable, *bounds in self.limits:
            found.discard(variable)
            found.update(*(bound.free_symbols for bound in bounds))
        return found
