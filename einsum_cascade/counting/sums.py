"""A sum over a variable, as sympy has it, that tells its symbols without being built anew."""

from __future__ import annotations

from typing import Any

import sympy


class SumOverSymbols(sympy.Sum):  # type: ignore[misc]
    """``sympy.Sum`` over variables that are plain symbols.

    sympy finds the free symbols of any sum by putting dummies for its variables, which builds
    every ``Min`` and ``Max`` inside again; and it asks whenever it sorts or prints terms.
    """

    __slots__ = ()

    @property
    def free_symbols(self) -> set[Any]:
        """The symbols of the summand and the bounds, without the variables summed over."""
        found = set(self.function.free_symbols)
        for variable, *bounds in self.limits:
            found.discard(variable)
            found.update(*(bound.free_symbols for bound in bounds))
        return found
