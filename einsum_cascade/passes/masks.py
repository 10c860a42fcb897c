"""What a mask says of the positions a statement stands at: which comes before which.

``where m <= p`` ties a reader at ``p`` to elements at ``m`` no later than its own, so that a
running sum over ``m`` is ready when ``p`` is reached. Only such orders are taken from a mask.
How *far* apart two positions may be (``p - W < m``) is left out on purpose: it bounds the fiber
that belongs to one ``p``, and whatever traverses the fiber traverses the bounded one as often.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .. import ir
from ..affine import Families, Form, Term, collected
from ..functions import COMPARISONS


@dataclass(frozen=True)
class Before:
    """A statement is carried out only where ``first + gap <= second``; ``gap >= 0``."""

    first: str
    second: str
    gap: int = 0


@dataclass(frozen=True)
class Compared:
    """Two positions that a mask compares in a way no order follows from.

    ``sign`` -1: it compares their sum, so that one counts from the other end.
    """

    one: str
    other: str
    sign: int = 1


def masks_of(
    conditions: Iterable[ir.Condition], families: Families
) -> tuple[tuple[Before, ...], tuple[Compared, ...]]:
    """The orders conditions impose that all hold, and the pairs of positions they relate else."""
    found = {part for condition in conditions for part in _parts(condition, families)}
    before = sorted((f for f in found if isinstance(f, Before)), key=str)
    compared = sorted((f for f in found if isinstance(f, Compared)), key=str)
    return tuple(before), tuple(compared)


def _parts(
    node: ir.Condition, families: Families, holds: bool = True
) -> Iterator[Before | Compared]:
    """What follows from ``node`` being true, or false where ``holds`` is not."""
    if isinstance(node, ir.Comparison):
        operator = node.operator if holds else COMPARISONS[node.operator].opposite
        yield from _comparison(node, operator, families)
    elif node.operator == "not":
        yield from _parts(node.operands[0], families, not holds)
    elif (node.operator == "and") == holds:
        for operand in node.operands:
            yield from _parts(operand, families, holds)
    else:  # one of several holds, nobody knows which
        yield from _any_pair(ir.variables_of(node), families)


def _comparison(
    node: ir.Comparison, operator: str, families: Families
) -> Iterator[Before | Compared]:
    left, right = _linear(node.left), _linear(node.right)
    if left is None or right is None:  # it asks data
        yield from _any_pair(ir.variables_of(node), families)
        return
    difference = families.fold(left.minus(right))
    if operator in ("<", "<=", "=="):
        yield from _at_most_zero(difference, operator == "<")
    if operator in (">", ">=", "=="):
        yield from _at_most_zero(Form().minus(difference), operator == ">")


def _at_most_zero(form: Form, strict: bool) -> Iterator[Before | Compared]:
    """What ``form <= 0`` (or ``< 0``) says."""
    signs = [form.coefficient(v) for v in form.variables]
    if len(signs) < 2 or (signs != [1, 1] and signs != [-1, -1] and _one_sided(form)):
        return  # whether an index is inside its rank
    if sorted(s or 0 for s in signs) != [-1, 1]:
        sign = -1 if len(signs) == 2 and signs[0] == signs[1] else 1
        yield from (Compared(a, b, sign) for a, b in itertools.combinations(form.variables, 2))
        return
    first, second = sorted(form.variables, key=lambda v: -(form.coefficient(v) or 0))
    gap = form.constant + strict
    if gap >= 0 and all(t.coefficient > 0 for t in form.shape_terms):
        yield Before(first, second, gap)
    else:  # it allows a distance
        yield Compared(first, second)


def _one_sided(form: Form) -> bool:
    return len({t.coefficient > 0 for t in form.terms if t.variable}) == 1


def _any_pair(variables: tuple[str, ...], families: Families) -> Iterator[Compared]:
    for a, b in itertools.combinations(families.close(variables), 2):
        yield Compared(a, b)


def _linear(node: ir.Expression) -> Form | None:
    """The form an expression says; None when it is not a sum of positions and shapes."""
    match node:
        case ir.Number(value=value) if value == int(value):
            return Form((Term(int(value)),)) if value else Form()
        case ir.Name(name=name, kind="variable"):
            return Form((Term(1, (), name),))
        case ir.Name(name=name, kind="shape"):
            return Form((Term(1, (name,)),))
        case ir.Unary(operator="-", operand=operand):
            inside = _linear(operand)
            return None if inside is None else Form().minus(inside)
        case ir.Binary(operator=operator, left=left, right=right):
            return _combined(operator, _linear(left), _linear(right))
    return None


def _combined(operator: str, left: Form | None, right: Form | None) -> Form | None:
    if left is None or right is None or operator not in ("+", "-", "*"):
        return None
    if operator == "-":
        return left.minus(right)
    if operator == "+":
        return collected((*left.terms, *right.terms))
    products = itertools.product(left.terms, right.terms)
    if left.variables and right.variables:
        return None
    return collected(
        tuple(
            Term(a.coefficient * b.coefficient, a.shapes + b.shapes, a.variable or b.variable)
            for a, b in products
        )
    )
