"""Conversion between expressions of the language and sympy, node by node in both directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from .. import ir
from ..affine import product_of
from ..functions import ARITHMETIC, FUNCTIONS, REDUCTIONS, of
from ..libraries import sympy
from ..notation import access_text, expression_text
from .terms import applied

Operator = Literal["*", "+", "**"]
"""Operation by which a correction changes a value (``**`` raises the value to the correction)."""


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that sympy can simplify, by their name in the language."""
    rows = FUNCTIONS.values()
    return {row.name: of(sympy, row.sympy) for row in rows if row.sympy and row.algebra}


class Bridge:
    """Converter to sympy and back with one symbol table: equal accesses give the same symbol.

    Parameters
    ----------
    program : Program
        Program that declares the user functions.
    positive : frozenset of str
        Tensors whose elements are known to be positive.
    """

    def __init__(self, program: ir.Program, positive: frozenset[str] = frozenset()) -> None:
        self._positive = positive
        self._functions = {f.name: f for f in program.functions}
        self._symbols: dict[ir.Access | ir.Name, Any] = {}
        self._nodes: dict[Any, ir.Access | ir.Name] = {}

    def symbol(self, node: ir.Access | ir.Name) -> Any:
        """Return the sympy symbol of an access, a shape, a parameter or a variable."""
        if node not in self._symbols:
            text = symbol_text(node)
            if isinstance(node, ir.Name):
                positive = node.kind != "variable"
            else:
                positive = node.tensor.rstrip("'") in self._positive
            symbol = (
                sympy.Symbol(text, positive=True) if positive else sympy.Symbol(text, real=True)
            )
            self._symbols[node] = symbol
            self._nodes[symbol] = node
        return self._symbols[node]

    def nodes(self, value: Any) -> tuple[ir.Access | ir.Name, ...]:
        """Return the accesses and names that the symbols in a sympy expression stand for."""
        return tuple(self._nodes[s] for s in value.free_symbols if s in self._nodes)

    # ------------------------------------------------------------------ IR -> sympy

    def to_sympy(self, expression: ir.Expression) -> Any:
        """Return an expression of the language as a sympy expression."""
        match expression:
            case ir.Number(value=value):
                return constant(value)
            case ir.Name() | ir.Access():
                return self.symbol(expression)
            case ir.Unary(operand=operand):
                return -self.to_sympy(operand)
            case ir.Binary(operator=operator, left=left, right=right):
                apply = ARITHMETIC[operator].python
                return apply(self.to_sympy(left), self.to_sympy(right))
            case ir.Call():
                return self._call(expression)

    def _call(self, call: ir.Call) -> Any:
        parts = [self._condition(a) for a in call.arguments]
        values = [v for _, inside in parts for v in inside]
        if call.function in self._functions:
            return self.to_sympy(applied(self._functions[call.function], call.arguments))
        if call.function in _functions():
            return _functions()[call.function](*values)
        name = f"where {parts[0][0]}" if call.function == "where" else call.function
        return sympy.Function(name, real=True)(*values)

    def _condition(self, condition: ir.Expression | ir.Condition) -> tuple[str, list[Any]]:
        """Return a text that describes a condition's operators, and its operands in sympy."""
        if isinstance(condition, ir.Relational):
            sides = [self.to_sympy(condition.left), self.to_sympy(condition.right)]
            return condition.operator, sides
        if isinstance(condition, ir.Logical):
            parts = [self._condition(o) for o in condition.operands]
            name = f"({condition.operator} {' '.join(n for n, _ in parts)})"
            return name, [v for _, values in parts for v in values]
        return "", [self.to_sympy(condition)]

    # ------------------------------------------------------------------ sympy -> IR

    def from_sympy(self, value: Any) -> ir.Expression:
        """Return a sympy expression as an expression of the language.

        Raises
        ------
        ValueError
            The language has no form for some part (a ``where``, a constant such as pi).
        """
        if value.is_Symbol:
            return self._nodes[value]
        if value.is_Number:
            return _literal(value)
        if value.is_Add:
            return self._sum(value)
        if value.is_Mul:
            return self._product(value)
        if isinstance(value, sympy.exp):
            return ir.Call("exp", (self.from_sympy(value.args[0]),))
        if value.is_Pow:
            return self._power(value)
        arguments = tuple(self.from_sympy(a) for a in value.args)
        # Functions that are no classes of sympy have become powers or maxima of those that are.
        for name, kind in _functions().items():
            if isinstance(kind, type) and isinstance(value, kind):
                return ir.Call(name, arguments)
        name = value.func.__name__
        if name.startswith("where ") or not value.args:
            raise ValueError(f"'{value}' has no form in the language")
        return ir.Call(name, arguments)

    def _sum(self, value: Any) -> ir.Expression:
        # Write 2*a + 2*b as 2 * (a + b): one multiplication.
        content, inside = value.primitive()
        if content.is_Integer and content != 1:
            return ir.Binary("*", ir.Number(int(content)), self.from_sympy(inside))
        first, *rest = sorted(value.args, key=lambda t: (_negative(t), sympy.default_sort_key(t)))
        total = self.from_sympy(first)
        for term in rest:
            if _negative(term):
                total = ir.Binary("-", total, self.from_sympy(-term))
            else:
                total = ir.Binary("+", total, self.from_sympy(term))
        return total

    def _product(self, value: Any) -> ir.Expression:
        if _negative(value):
            return ir.Unary("-", self.from_sympy(-value))
        above, below = [], []
        for factor in value.args:
            base, exponent = factor.as_base_exp()
            if factor.is_Rational and factor.q != 1 and factor.p == 1:
                below.append(1 / factor)
            elif not isinstance(factor, sympy.exp) and _negative(exponent):
                below.append(base**-exponent)
            else:
                above.append(factor)
        top = self._chain(above) if above else ir.Number(1)
        return ir.Binary("/", top, self._chain(below)) if below else top

    def _chain(self, factors: list[Any]) -> ir.Expression:
        return product_of(self.from_sympy(f) for f in factors)

    def _power(self, value: Any) -> ir.Expression:
        base, exponent = value.base, value.exp
        if exponent == sympy.Rational(1, 2):
            return ir.Call("sqrt", (self.from_sympy(base),))
        if exponent == sympy.Rational(-1, 2):
            return ir.Call("rsqrt", (self.from_sympy(base),))
        if exponent == 2 and base.is_Symbol:
            # A square as a product is one multiply-accumulate inside a sum.
            return self._chain([base, base])
        if _negative(exponent):
            return ir.Binary("/", ir.Number(1), self.from_sympy(base**-exponent))
        return ir.Binary("**", self.from_sympy(base), self.from_sympy(exponent))


def free_factor(new: Any, old: Any, operator: Operator) -> Any:
    """Return ``c`` with ``new = old (operator) c``, simplified as far as sympy can.

    The result may contain any symbol; the caller checks which ones.

    Parameters
    ----------
    new, old : expression
        Value to reach, and present value.
    operator : str
        ``*``, ``+`` or ``**``.

    >>> x, a, b = sympy.symbols("x a b", real=True)
    >>> free_factor(sympy.exp(x - b), sympy.exp(x - a), "*")
    exp(a - b)
    """
    match operator:
        case "+":
            return sympy.simplify(sympy.expand(new - old))
        case "*":
            return _quotient(_scaled_outside(new), _scaled_outside(old))
        case "**":
            ratio = sympy.log(new) / sympy.log(old)
            return sympy.simplify(sympy.expand_log(ratio, force=True))


def _scaled_outside(value: Any) -> Any:
    """Return the value with positive factors outside maxima with 0: relu(2 z) becomes 2 relu(z).

    >>> x, z = sympy.symbols("x z", real=True)
    >>> _scaled_outside(sympy.Max(0, z * sympy.exp(x)))
    exp(x)*Max(0, z)
    """

    def taken(largest: Any) -> Any:
        rest = [a for a in largest.args if a != 0]
        if len(largest.args) != 2 or len(rest) != 1 or not rest[0].is_Mul:
            return largest
        positive = [f for f in rest[0].args if f.is_positive]
        others = [f for f in rest[0].args if not f.is_positive]
        return sympy.Mul(*positive, sympy.Max(0, sympy.Mul(*others)))

    return value.replace(lambda e: isinstance(e, sympy.Max), taken)


def _quotient(new: Any, old: Any) -> Any:
    """Return ``new / old`` with exponentials merged into one where possible.

    ``simplify`` alone leaves ``exp((x - a)/t)`` over ``exp((x - b)/t)`` unmerged.
    """
    ratio = sympy.powsimp(sympy.cancel(sympy.together(new / old)), combine="exp", deep=True)
    return tidy(ratio)


def tidy(value: Any) -> Any:
    """Return a value with exponentials joined and like terms collected; powers of sums stay.

    Of two equal forms the one with fewer symbols, then fewer operations, is returned.

    >>> x, a, b = sympy.symbols("x a b", real=True)
    >>> tidy(sympy.exp(x - b) / sympy.exp(x - a))
    exp(a - b)
    """
    joined = sympy.powsimp(sympy.expand(value, deep=False), combine="exp", deep=True)
    joined = joined.replace(
        lambda e: isinstance(e, sympy.exp),
        lambda e: sympy.exp(sympy.factor_terms(sympy.expand(e.args[0]))),
    )
    joined = sympy.powsimp(joined, combine="exp", deep=True)
    simple = sympy.powsimp(sympy.simplify(joined), combine="exp", deep=True)
    # simplify may lengthen an expression, or bring back symbols that had cancelled.
    return min((joined, simple), key=lambda e: (len(e.free_symbols), sympy.count_ops(e)))


def expand_products(value: Any) -> tuple[Any, ...]:
    """Return the terms of the value as a finite sum of products.

    ``exp(x - d)`` is not split into ``exp(x) * exp(-d)``, which would overflow on a machine.

    Parameters
    ----------
    value : sympy expression

    Returns
    -------
    tuple of sympy expression
        Terms with sum ``value``; a single one if nothing expands.

    >>> x, d = sympy.symbols("x d", real=True)
    >>> sorted(map(str, expand_products((x - d) ** 2)))
    ['-2*d*x', 'd**2', 'x**2']
    """
    expanded = sympy.expand(
        value, power_exp=False, log=False, mul=True, multinomial=True, power_base=True
    )
    return tuple(sympy.Add.make_args(expanded))


def symbol_text(node: ir.Access | ir.Name) -> str:
    """Return the text of an access or name in a derivation: ``QK[m,p]``, without blanks."""
    return node.name if isinstance(node, ir.Name) else access_text(node, tight=True)


def render(bridge: Bridge, value: Any) -> str:
    """Return a sympy expression as one line of text, in the language if possible.

    Parameters
    ----------
    bridge : Bridge
        Bridge that made the symbols of ``value``.
    value : sympy expression

    Returns
    -------
    str
        Text in sympy's notation if a part has no form in the language (for example a Piecewise).
    """
    try:
        return expression_text(bridge.from_sympy(value))
    except ValueError:
        return str(sympy.sstr(value))


def positive_tensors(program: ir.Program) -> frozenset[str]:
    """Return the tensors that sympy proves positive, such as a sum of exponentials without a
    mask.

    Masked and selected tensors are excluded: without any element they are the identity, and 0 is
    not positive.
    """
    found: frozenset[str] = frozenset()
    for einsum in program.einsums:
        if einsum.where is None and einsum.select is None and einsum.reduction in REDUCTIONS:
            bridge = Bridge(program, found)
            if bridge.to_sympy(einsum.expression).is_positive:
                found |= {einsum.name}
    return found


def constant(value: int | float) -> Any:
    """Return an exact sympy number; a float counts as its decimal text: 0.1 is 1/10."""
    if isinstance(value, int):
        return sympy.Integer(value)
    if math.isinf(value):
        return sympy.oo if value > 0 else -sympy.oo
    return sympy.Rational(str(value))


def _literal(value: Any) -> ir.Expression:
    if value.is_Integer:
        return ir.Number(int(value))
    if value in (sympy.oo, -sympy.oo):
        return ir.Number(float(value))
    if not value.is_finite:
        raise ValueError(f"'{value}' has no form in the language")
    return ir.Number(float(value))


def _negative(value: Any) -> bool:
    return bool(value.could_extract_minus_sign()) and not (value.is_Add and len(value.args) > 1)
