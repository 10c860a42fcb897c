"""Symbolic sums over variables, compared and evaluated faster than by sympy itself."""

from __future__ import annotations

from typing import Any

import sympy

from .policy import MAX_EXPANDED_TERMS


class SumOverSymbols(sympy.Sum):  # type: ignore[misc]
    """``sympy.Sum`` over variables that are plain symbols.

    sympy finds the free symbols of a sum by substituting dummies for its variables, which builds
    every ``Min`` and ``Max`` inside again; and it does so whenever it sorts or prints terms.
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


def evaluate_sums(expression: Any) -> Any:
    """Return an expression with its sums evaluated, if they are polynomials or short.

    Rounded or clipped symbolic summands have no closed form: sympy takes minutes to add thousands
    of terms, and the result has as many terms.

    >>> i, N = sympy.Symbol("i", integer=True), sympy.Symbol("N", integer=True, positive=True)
    >>> evaluate_sums(SumOverSymbols(i, (i, 0, 1000 * N)).subs(N, 4))
    8002000
    >>> evaluate_sums(SumOverSymbols(sympy.Min(i, N), (i, 0, 4095)))
    Sum(Min(N, i), (i, 0, 4095))
    """
    if not expression.has(sympy.Sum):
        return expression
    long = {s: sympy.Dummy() for s in expression.atoms(sympy.Sum) if not _is_short(s)}
    kept = {dummy: s for s, dummy in long.items()}
    return expression.xreplace(long).doit().xreplace(kept)


def _is_short(total: Any) -> bool:
    """Return whether a sum and its inner sums have few terms, or round and clip nothing."""
    sums = total.atoms(sympy.Sum)
    limits = [limit for s in sums for limit in s.limits]
    terms = sympy.Mul(*(high - low + 1 for _, low, high in limits))
    rounded = total.has(sympy.Min, sympy.Max, sympy.floor, sympy.ceiling)
    return bool(terms.is_number and terms <= MAX_EXPANDED_TERMS) or not rounded
