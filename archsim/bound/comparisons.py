"""What a mask compares, as whole numbers times rank variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from einsum_cascade import ir

Form = dict[str, int]
"""Whole numbers by rank variable that are multiplied with it and added up; "" has the constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedForms:
    """``low <= left - right <= high``, or so of what is left of both when they are divided by a
    number and rounded down; None: no end."""

    left: Form
    right: Form
    low: int | None
    high: int | None
    divisor: int = 1


def conjunction(condition: ir.Condition) -> Iterator[ir.Condition]:
    """The conditions that must all hold, each whole.

    Parameters
    ----------
    condition : Condition
        Of a mask.
    """
    if isinstance(condition, ir.Logical) and condition.operator == "and":
        for operand in condition.operands:
            yield from conjunction(operand)
    else:
        yield condition


def compared(comparison: ir.Relational, numbers: Mapping[str, int]) -> ComparedForms | None:
    """A comparison of forms, or of two that are divided by the same number and rounded down.

    Parameters
    ----------
    comparison : Relational
    numbers : mapping
        Shapes and whole parameters by name.

    Returns
    -------
    ComparedForms or None
        None where it is neither, or says that something is different.
    """
    left, right = (_quotient(x, numbers) for x in (comparison.left, comparison.right))
    if left is None or right is None or left[1] != right[1]:
        return None
    low, high = {
        "<=": (None, 0),
        "<": (None, -1),
        ">=": (0, None),
        ">": (1, None),
        "==": (0, 0),
    }.get(comparison.operator, (None, None))
    if low is None and high is None:
        return None
    return ComparedForms(left=left[0], right=right[0], low=low, high=high, divisor=left[1])


def _quotient(node: ir.Expression, numbers: Mapping[str, int]) -> tuple[Form, int] | None:
    """A form, and what it is divided by before it is rounded down."""
    match node:
        case ir.Call(
            function="floor", arguments=(ir.Binary(operator="/", left=above, right=below),)
        ):
            divided, by = _linear(above, numbers), _linear(below, numbers)
            if divided is None or by is None or set(by) != {""} or by[""] < 1:
                return None
            return divided, by[""]
        case _:
            form = _linear(node, numbers)
            return None if form is None else (form, 1)


def _linear(node: ir.Expression, numbers: Mapping[str, int]) -> Form | None:
    """An expression as whole numbers times rank variables; the name "" has the constant."""
    match node:
        case ir.Number(value=int(value)):
            return {"": value}
        case ir.Name(name=name, kind="variable"):
            return {name: 1}
        case ir.Name(name=name) if name in numbers:
            return {"": numbers[name]}
        case ir.Unary(operand=operand):
            return _scaled(_linear(operand, numbers), -1)
        case ir.Binary(operator="+" | "-", left=left, right=right):
            a = _linear(left, numbers)
            b = _scaled(_linear(right, numbers), 1 if node.operator == "+" else -1)
            if a is None or b is None:
                return None
            return {n: a.get(n, 0) + b.get(n, 0) for n in {**a, **b}}
        case ir.Binary(operator="*", left=left, right=right):
            a, b = _linear(left, numbers), _linear(right, numbers)
            if a is None or b is None:
                return None
            if set(a) <= {""}:
                return _scaled(b, a.get("", 0))
            return _scaled(a, b.get("", 0)) if set(b) <= {""} else None
        case _:
            return None


def _scaled(form: Form | None, factor: int) -> Form | None:
    return None if form is None else {n: factor * c for n, c in form.items()}
