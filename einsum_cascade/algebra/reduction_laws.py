"""Laws of user-defined reductions, tested on sample values.

A reduction may be split into tiles and evaluated in any order, so its operator has to be
associative and commutative, and its identity must not change results. A grid of sample values
exposes a wrong operator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from .. import ir
from ..errors import Problem
from ..functions import ARITHMETIC, COMPARISONS, FUNCTIONS

# Both signs, zero, below and above one; exact in binary, so that their sums are exact too.
_SAMPLES = (-1.5, -0.25, 0.0, 0.5, 1.0, 3.0)
_TOLERANCE = 1e-9


def value_of(node: ir.Expression, names: Mapping[str, float], program: ir.Program) -> float:
    """Return the value of an expression without tensors; ``names`` gives the values of its names.

    Raises
    ------
    ArithmeticError, ValueError
        The expression has no value there.
    """
    match node:
        case ir.Number(value=value):
            # Never a Python integer: a power of two integers could fill the memory.
            return float(value)
        case ir.Name(name=name):
            return names[name]
        case ir.Unary(operand=operand):
            return -value_of(operand, names, program)
        case ir.Binary(operator=operator, left=left, right=right):
            return _binary(
                operator, value_of(left, names, program), value_of(right, names, program)
            )
        case ir.Call(function="where", arguments=(condition, yes, no)):
            chosen = yes if _holds(condition, names, program) else no
            return _argument(chosen, names, program)
        case ir.Call(function=function, arguments=arguments):
            values = [_argument(a, names, program) for a in arguments]
            return _call(function, values, names, program)
        case _:
            raise ValueError("a tensor has no scalar value")


def _argument(
    node: ir.Expression | ir.Condition, names: Mapping[str, float], program: ir.Program
) -> float:
    if isinstance(node, ir.Relational | ir.Logical):
        raise ValueError("a condition has no value")
    return value_of(node, names, program)


def _call(
    function: str, values: list[float], names: Mapping[str, float], program: ir.Program
) -> float:
    for declared in program.functions:
        if declared.name == function:
            inner = dict(names) | dict(zip(declared.arguments, values, strict=True))
            return value_of(declared.body, inner, program)
    return FUNCTIONS[function].real(*values)


def _binary(operator: str, left: float, right: float) -> float:
    found = ARITHMETIC[operator].python(left, right)
    if isinstance(found, complex):
        raise ValueError("a root of a negative number")
    return float(found)


def _holds(
    node: ir.Expression | ir.Condition, names: Mapping[str, float], program: ir.Program
) -> bool:
    match node:
        case ir.Relational(operator=operator, left=left, right=right):
            return COMPARISONS[operator].python(
                value_of(left, names, program), value_of(right, names, program)
            )
        case ir.Logical(operator="not", operands=(operand,)):
            return not _holds(operand, names, program)
        case ir.Logical(operator="and", operands=operands):
            return all(_holds(o, names, program) for o in operands)
        case ir.Logical(operands=operands):
            return any(_holds(o, names, program) for o in operands)
        case _:
            raise ValueError("not a condition")


def operator_problems(program: ir.Program) -> Iterator[Problem]:
    """Yield user reductions that are not associative and commutative, or have a wrong identity.

    Each reduction gives at most one problem, with values that violate the first broken law. No
    problem is no proof; ``rewrites.corrections.is_associative`` proves the laws.
    """
    names = {p.name: 0.75 if p.default is None else p.default for p in program.parameters}
    names |= {r.name: 3.0 for r in program.ranks}
    for reduction in program.reductions:
        if broken := next(_broken_laws(reduction, names, program), None):
            yield Problem(f"reduction '{reduction.name}' {broken}", reduction.span)


def _broken_laws(
    reduction: ir.UserReduction, names: Mapping[str, float], program: ir.Program
) -> Iterator[str]:
    """Yield descriptions of the laws that an operator violates."""
    first, second = reduction.arguments
    identity = reduction.identity

    def apply(a: float, b: float) -> float:
        return value_of(reduction.body, {**names, first: a, second: b}, program)

    # The identity is applied to results only: a norm changes the sign of a raw value.
    laws: tuple[tuple[str, Callable[[float, float, float], tuple[float, float]]], ...] = (
        ("is not commutative", lambda a, b, c: (apply(a, b), apply(b, a))),  # noqa: ARG005
        ("is not associative", lambda a, b, c: (apply(apply(a, b), c), apply(a, apply(b, c)))),
        (
            f"does not have the identity {identity:g}",
            lambda a, b, c: (apply(identity, apply(a, b)), apply(a, b)),  # noqa: ARG005
        ),
    )
    for law, sides in laws:
        for a, b, c in itertools.product(_SAMPLES, repeat=3):
            try:
                left, right = sides(a, b, c)
            except (ArithmeticError, ValueError, KeyError, TypeError):
                # No value here (a logarithm of a negative number), or a mistake reported elsewhere.
                continue
            if not _agree(left, right):
                yield f"{law} at {a:g}, {b:g}, {c:g}: {left:.6g} is not {right:.6g}"


def _agree(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return True
    if math.isinf(a) or math.isinf(b):
        return a == b
    return abs(a - b) <= _TOLERANCE * max(1.0, abs(a), abs(b))
