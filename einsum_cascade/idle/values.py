"""Values of Einsums in a step without points: by a few sure rules, or by all of algebra.

The rules are those that softmax, linear attention and their like need (``max(x, -inf) = x``,
``x - x = 0``, ``exp(0) = 1``, ``0 * x = 0``). They take no time; what they cannot decide is
for sympy, which knows the same and more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from .. import ir


class ValueRules(Protocol):
    """How values are written down, so that equal ones are seen to be equal."""

    def symbol(self, access: ir.Access) -> Any:
        """The value that an access has, whatever it is."""
        ...

    def constant(self, number: int | float) -> Any:
        """A number."""
        ...

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> Any:
        """An expression with what is known of its accesses put in."""
        ...


class PlainValues:
    """Values as expressions, simplified by rules."""

    def __init__(self, program: ir.Program) -> None:
        self._own = {f.name for f in program.functions}

    def symbol(self, access: ir.Access) -> ir.Expression:
        """The access itself."""
        return access

    def constant(self, number: int | float) -> ir.Expression:
        """A literal."""
        return ir.Number(value=number)

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> ir.Expression:
        """The expression, as short as the rules make it."""
        match expression:
            case ir.Access():
                found: ir.Expression = known.get(expression, expression)
                return found
            case ir.Binary(operator=operator, left=left, right=right):
                return _binary(operator, self.evaluate(left, known), self.evaluate(right, known))
            case ir.Call(function=function) if function not in self._own and function != "where":
                values = tuple(
                    self.evaluate(a, known)
                    for a in expression.arguments
                    if not isinstance(a, ir.Relational | ir.Logical)
                )
                return _call(function, values)
            case ir.Number() | ir.Name():
                return expression
            case _:
                return _opaque(expression, known)


def _opaque(expression: ir.Expression, known: Mapping[ir.Access, Any]) -> ir.Expression:
    """What no rule is about: itself, unless something known stands in it."""
    inside = [n for n in ir.walk(expression) if isinstance(n, ir.Access) and n in known]
    # A name that nothing else has: it equals itself alone.
    return ir.Call(function=f"unknown {id(expression)}", arguments=()) if inside else expression


def _number(value: ir.Expression) -> float | None:
    return value.value if isinstance(value, ir.Number) else None


def _finite(value: ir.Expression) -> bool:
    """Whether no infinity is written into it."""
    return not any(isinstance(n, ir.Number) and math.isinf(n.value) for n in ir.walk(value))


def _binary(operator: Any, left: ir.Expression, right: ir.Expression) -> ir.Expression:
    a, b = _number(left), _number(right)
    match operator:
        case "+" if a == 0:
            return right
        case "+" | "-" if b == 0:
            return left
        # Accesses count as finite, as sympy's real symbols do; inf - inf would be no number.
        case "-" if left == right and _finite(left):
            return ir.Number(value=0)
        case "*" if (a == 0 and _finite(right)) or (b == 0 and _finite(left)):
            return ir.Number(value=0)
        case "*" if a == 1:
            return right
        case "*" | "/" if b == 1:
            return left
        case _:
            return ir.Binary(operator=operator, left=left, right=right)


def _call(function: str, values: tuple[ir.Expression, ...]) -> ir.Expression:
    match function:
        case "max" | "min":
            empty = -math.inf if function == "max" else math.inf
            # max(x, -inf, x) is x: the identity says nothing, and what stands twice counts once.
            left = [v for v in dict.fromkeys(values) if _number(v) != empty]
            if len(left) == 1:
                return left[0]
            return ir.Call(function=function, arguments=tuple(left)) if left else values[0]
        case "exp" if _number(values[0]) == 0:
            return ir.Number(value=1)
        case _:
            return ir.Call(function=function, arguments=values)


class SympyValues:
    """Values as sympy's expressions."""

    def __init__(self, program: ir.Program) -> None:
        from ..algebra.bridge import Bridge

        self._bridge = Bridge(program)

    def symbol(self, access: ir.Access) -> Any:
        """A real symbol."""
        return self._bridge.symbol(access)

    def constant(self, number: int | float) -> Any:
        """An exact number."""
        from ..algebra.bridge import constant

        return constant(number)

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> Any:
        """The expression in sympy's normal form."""
        value = self._bridge.to_sympy(expression)
        put = {self._bridge.symbol(access): found for access, found in known.items()}
        return value.subs(put, simultaneous=True)
