"""Corrections: factors that repair results when a value they were computed from changes.

A value ``f(x, d)`` that depends on a reduction result ``d`` is *correctable* if ``f(x, d2) = c(d1,
d2) (.) f(x, d1)`` with ``c`` free of ``x``. Then one ``c`` per step repairs a running sum of ``f``
that was built with the old ``d``. Corrections compose: the factor of a map follows from the factors
of its operands. A reduction keeps the factor of its term if ``(.)`` distributes over the operator
of the reduction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..algebra import sympy_bridge, terms
from ..algebra.sweeps import RankView, gathers_through
from ..algebra.sympy_bridge import Bridge, Operator
from ..functions import ARITHMETIC, REDUCTIONS
from ..ir import Access, Binary, Einsum, Expression, Name, Program, accesses_of
from ..libraries import sympy
from ..memo import Memoized, cached_property, memoized

OLD, NEW = "'", "''"
"""Suffixes of a tensor's name for its value before a step and after it."""

_NONE = "no correction exists"
_INVERSE: dict[Operator, str] = {
    "*": "f(x, d2) / f(x, d1)",
    "+": "f(x, d2) - f(x, d1)",
    "**": "log f(x, d2) / log f(x, d1)",
}
# A factor leaves a max or min only if it is positive, which ``_objection`` requires.
_DISTRIBUTES: dict[str, tuple[Operator, ...]] = {
    "+": ("*",),
    "max": ("+", "*"),
    "min": ("+", "*"),
    "prod": ("**",),
}

_MAX_FACTOR_CHARACTERS = 200
"""Maximum length of a formula in a message, in characters; longer formulas explain nothing."""


class Blocked(Exception):
    """Exception for an Einsum without a correction, with the reason."""

    def __init__(self, einsum: Einsum, condition: str) -> None:
        super().__init__(condition)
        self.einsum = einsum
        self.condition = condition


@dataclass(frozen=True)
class Correction:
    """Correction ``new = old (operator) factor`` of a running value.

    The factor names values before and after a step by the suffixes OLD and NEW.
    """

    operator: Operator
    factor: Expression


def moved_finals(
    view: RankView, bridge: Bridge, expression: Expression
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return symbols of the final values in an expression, before a step and after it.

    Their names, which end with OLD and NEW, belong to no tensor.
    """
    finals = [a for a in accesses_of(expression) if view.is_final(a)]

    def moved(mark: str) -> dict[Any, Any]:
        marked = (replace(a, tensor=a.tensor + mark) for a in finals)
        return dict(zip(map(bridge.symbol, finals), map(bridge.symbol, marked), strict=True))

    return moved(OLD), moved(NEW)


@dataclass(frozen=True)
class Corrections(Memoized):
    """Corrections of a program along one swept rank, derived when first needed."""

    view: RankView

    @cached_property
    def _positive(self) -> frozenset[str]:
        return sympy_bridge.positive_tensors(self.view.program)

    def of(self, einsum: Einsum) -> Correction:
        """Return the correction of an Einsum that depends on a value known only after the sweep.

        Raises
        ------
        Blocked
            There is none.
        """
        found = self._found(einsum.name)
        if isinstance(found, Blocked):
            raise found
        return found

    @memoized
    def _found(self, name: str) -> Correction | Blocked:
        # Failures are kept too: sympy takes as long to find that there is no correction.
        try:
            return self._derive(self.view.program.einsum_of[name])
        except Blocked as blocked:
            return blocked

    def _derive(self, einsum: Einsum) -> Correction:
        if (obstacle := self._obstacle(einsum)) is not None:
            raise Blocked(einsum, obstacle)
        bridge = Bridge(self.view.program, self._positive)
        value = bridge.to_sympy(einsum.expression)
        old, new = moved_finals(self.view, bridge, einsum.expression)
        for access in dict.fromkeys(accesses_of(einsum.expression)):
            if access.tensor in self.view.stale and not self.view.is_final(access):
                new[bridge.symbol(access)] = self._corrected(bridge, access)
        # Simultaneously, because the replacement of a stale operand contains the operand itself.
        before, after = value.subs(old), value.subs(new, simultaneous=True)
        reasons = []
        for operator in self._operators(einsum):
            factor = sympy_bridge.free_factor(after, before, operator)
            reason = self._objection(einsum, bridge, factor, operator)
            if reason is None:
                return Correction(operator, bridge.from_sympy(factor))
            reasons.append(reason)
        # A correction with one fault explains more than an operator without any correction.
        reasons.sort(key=lambda r: r.startswith(_NONE))
        nothing = f"no correction distributes over the reduction '{einsum.reduction}'"
        raise Blocked(einsum, reasons[0] if reasons else nothing)

    def _obstacle(self, einsum: Einsum) -> str | None:
        view = self.view
        if einsum.select is not None:
            return (
                f"{einsum.select} is a selection, not a reduction: "
                "what it picked cannot be corrected afterwards"
            )
        if einsum.where is not None and view.depends(einsum.where):
            return "its 'where' condition needs the end of the sweep"
        for access in view.final_reads(einsum):
            if gathers_through(einsum.expression, access.tensor):
                return (
                    f"it is read at positions that '{access.tensor}' gives only after the "
                    "whole sweep: there is no value to correct"
                )
        return None

    def _corrected(self, bridge: Bridge, access: Access) -> Any:
        """Return an operand's value after the values that it depends on change."""
        source = self.view.program.einsum_of[access.tensor]
        if self.view.is_iterative(access.tensor):
            raise Blocked(source, "it is a recurrence that needs the end of its own sweep")
        if terms.target_variables(source) is None:
            raise Blocked(source, "its target is not indexed by bare rank variables")
        correction = self.of(source)
        factor = terms.substitute_variables(correction.factor, terms.at_access(source, access))
        moved = bridge.to_sympy(factor)
        return ARITHMETIC[correction.operator].python(bridge.symbol(access), moved)

    def _operators(self, einsum: Einsum) -> tuple[Operator, ...]:
        if not einsum.over:
            return ("*", "+", "**")
        if einsum.reduction in _DISTRIBUTES:
            return _DISTRIBUTES[einsum.reduction]
        operators: tuple[Operator, ...] = ("+", "*")
        program = self.view.program
        return tuple(o for o in operators if distributes(program, einsum.reduction, o))

    def _objection(
        self, einsum: Einsum, bridge: Bridge, factor: Any, operator: Operator
    ) -> str | None:
        """Return the reason why ``factor`` is no correction of the Einsum, or None if it is one."""
        if factor.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I):
            return "the change has no finite correction"
        bound = self.view.grain.variables | set(einsum.over)
        local = sorted(
            sympy_bridge.symbol_text(n) for n in bridge.nodes(factor) if not self._is_free(n, bound)
        )
        if local:
            change = sympy_bridge.render(bridge, factor)
            finals = ", ".join(_finals_of(bridge, factor)) or "it"
            shown = f" = {change}" if len(change) <= _MAX_FACTOR_CHARACTERS else ""
            return (
                f"{_NONE}: when {finals} moves on, {_INVERSE[operator]}"
                f"{shown} still depends on {', '.join(local)}"
            )
        ordered = einsum.reduction in ("max", "min") and einsum.over
        if ordered and operator == "*" and not factor.is_positive:
            text = sympy_bridge.render(bridge, factor)
            return f"the correction {text} may be negative, which swaps max and min"
        for divisor in _divisors(factor):
            marks = _finals_of(bridge, divisor)
            if marks and not divisor.is_positive:
                return (
                    f"the correction {sympy_bridge.render(bridge, factor)} divides by "
                    f"{', '.join(marks)} as known on the way, which can be zero"
                )
        try:
            bridge.from_sympy(factor)
        except ValueError as error:
            return f"no correction the language can write: {error}"
        return None

    def _is_free(self, node: Access | Name, bound: Iterable[str]) -> bool:
        if isinstance(node, Access) and node.tensor in self.view.stale:
            return False
        return not terms.variables_of(node) & set(bound)


def distributes(program: Program, reduction: str, operator: Operator) -> bool:
    """Return whether applying ``(operator) c`` distributes over a declared reduction.

    False also means that sympy cannot prove it; the correction is then refused.

    Parameters
    ----------
    program : Program
        Program that declares the reduction.
    reduction : str
    operator : str
        For ``+``: whether ``r(a, b) + c`` equals ``r(a + c, b + c)``.
    """
    a, b, c = (Access(name) for name in "abc")
    outside = Binary(operator, terms.combine(program, reduction, a, b), c)
    inside = terms.combine(program, reduction, Binary(operator, a, c), Binary(operator, b, c))
    return _are_equal(program, outside, inside)


def is_associative(program: Program, reduction: str) -> bool:
    """Return whether sympy proves a declared reduction associative."""
    a, b, c = (Access(name) for name in "abc")
    left = terms.combine(program, reduction, terms.combine(program, reduction, a, b), c)
    right = terms.combine(program, reduction, a, terms.combine(program, reduction, b, c))
    return _are_equal(program, left, right)


def _are_equal(program: Program, left: Expression, right: Expression) -> bool:
    return bool(sympy.simplify(Bridge(program).to_sympy(Binary("-", left, right))) == 0)


def known_reduction(view: RankView, einsum: Einsum) -> bool:
    """Return whether an Einsum's reduction may be split.

    A reduction may be split if its operator is built in, or proved associative.
    """
    return einsum.select is None and (
        einsum.reduction in REDUCTIONS or is_associative(view.program, einsum.reduction)
    )


def _divisors(factor: Any) -> tuple[Any, ...]:
    """Return the divisors in a sympy expression, such as ``d1`` in ``d2 / d1``."""
    return tuple(p.base for p in factor.atoms(sympy.Pow) if p.exp.could_extract_minus_sign())


def _finals_of(bridge: Bridge, value: Any) -> tuple[str, ...]:
    """Return the names of tensors that a sympy expression reads before or after a step."""
    nodes = (n for n in bridge.nodes(value) if isinstance(n, Access))
    return tuple(sorted({n.tensor.rstrip("'") for n in nodes if n.tensor.endswith("'")}))
