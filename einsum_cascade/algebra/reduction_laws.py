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


def value_of(
    node: ir.Expression | ir.Condition, names: Mapping[str, float], program: ir.Program
) -> float:
    """Return the value of an expression or condition without tensors.

    ``names`` gives the values of its names.

    Raises
    ------
    ArithmeticError, ValueError, TypeError
        The expression has no value there.
    """

    def value(child: ir.Expression | ir.Condition) -> float:
        return value_of(child, names, program)

    match node:
        case ir.Number(value=number):
            # Never a Python integer: a power of two integers could fill the memory.
            return float(number)
        case ir.Name(name=name):
            return names[name]
        case ir.Unary(operand=operand):
            return -value(operand)
        case ir.Binary(operator=operator, left=left, right=right):
            # The root of a negative number is complex, which is no float.
            return float(ARITHMETIC[operator].python(value(left), value(right)))
        case ir.Relational(operator=operator, left=left, right=right):
            return COMPARISONS[operator].python(value(left), value(right))
        case ir.Logical(operator="not", operands=(condition,)):
            return not value(condition)
        case ir.Logical(operator=operator, operands=operands):
            return (all if operator == "and" else any)(map(value, operands))
        case ir.Call(function="where", arguments=(condition, yes, no)):
            return value(yes if value(condition) else no)
        case ir.Call(function=function, arguments=arguments):
            values = [value(a) for a in arguments]
            for declared in program.functions:
                if declared.name == function:
                    inner = dict(names) | dict(zip(declared.arguments, values, strict=True))
                    return value_of(declared.body, inner, program)
            return FUNCTIONS[function].real(*values)
    raise ValueError("a tensor has no scalar value")


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
