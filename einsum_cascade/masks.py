"""One normal form of masks: inequalities between linear forms, and what is none.

``where m <= p and not m < p - W`` is ``m - p <= 0`` and ``p - W - m <= 0``. From these the
passes read which position comes before which, and a mapped nest reads a band.

``where m <= p`` ties a reader at ``p`` to elements at ``m`` no later than its own, so that a
running sum over ``m`` is ready when ``p`` is reached. Only such orders are taken from a mask.
How *far* apart two positions may be (``p - W < m``) is left out on purpose: it bounds the fiber
that belongs to one ``p``, and whatever traverses the fiber traverses the bounded one as often.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from . import ir
from .affine import Families, Form, Term, linear_expression
from .functions import COMPARISONS

_NO_NUMBERS: Mapping[str, int] = MappingProxyType({})
_ONE = Form((Term(1),))


def conjuncts(condition: ir.Condition | None) -> tuple[ir.Condition, ...]:
    """The conditions that must all hold, each with ``<`` or ``<=`` rather than ``>``.

    Returns
    -------
    tuple of Condition
        Empty for no mask. Only ``and`` is taken apart: ``or`` and ``not`` stay whole, so two
        masks with equal conjuncts are the same, but not the other way round.

    >>> m, p = (ir.Name(name=n, kind="variable") for n in "mp")
    >>> [(c.left.name, c.operator, c.right.name)
    ...  for c in conjuncts(ir.Relational(operator=">=", left=p, right=m))]
    [('m', '<=', 'p')]
    """
    if condition is None:
        return ()
    if isinstance(condition, ir.Logical) and condition.operator == "and":
        return tuple(c for o in condition.operands for c in conjuncts(o))
    if isinstance(condition, ir.Relational) and condition.operator in (">", ">="):
        turned: Literal["<", "<="] = "<" if condition.operator == ">" else "<="
        left, right = condition.right, condition.left
        return (replace(condition, operator=turned, left=left, right=right),)
    return (condition,)


def depends_on_data(condition: ir.Condition | None) -> bool:
    """Whether a mask reads tensors, so that nobody can count it beforehand.

    Returns
    -------
    bool
        False for no mask, and for one in rank variables, shapes and parameters alone.
    """
    return condition is not None and any(isinstance(n, ir.Access) for n in ir.walk(condition))


@dataclass(frozen=True)
class AtMostZero:
    """``form <= 0`` holds wherever a mask lets something through."""

    form: Form


@dataclass(frozen=True)
class Opaque:
    """Something holds that is no inequality: it asks data, or one of several may hold.

    ``variables`` are the positions it may relate.
    """

    variables: tuple[str, ...]


def inequalities(
    condition: ir.Condition, numbers: Mapping[str, int] = _NO_NUMBERS
) -> tuple[AtMostZero | Opaque, ...]:
    """What all holds where a condition does, negations resolved.

    Parameters
    ----------
    condition : Condition
    numbers : mapping, optional
        Shapes and parameters to put numbers for.

    Returns
    -------
    tuple of AtMostZero or Opaque
        An equality is two inequalities; that two positions differ says nothing.

    >>> m, p = (ir.Name(name=n, kind="variable") for n in "mp")
    >>> window = ir.Binary(operator="-", left=p, right=ir.Name(name="W", kind="parameter"))
    >>> late = ir.Relational(operator="<", left=m, right=window)
    >>> inside = ir.Logical(operator="not", operands=(late,))
    >>> inequalities(inside)  # nobody says how long W is
    (Opaque(variables=('m', 'p')),)
    >>> (part,) = inequalities(inside, {"W": 3})  # p - m - 3 <= 0
    >>> [(t.coefficient, t.variable) for t in part.form.terms]
    [(-1, 'm'), (1, 'p'), (-3, None)]
    """
    return tuple(_parts(condition, numbers, holds=True))


def _parts(
    node: ir.Condition, numbers: Mapping[str, int], holds: bool
) -> Iterator[AtMostZero | Opaque]:
    """What follows from ``node`` being true, or false where ``holds`` is not."""
    if isinstance(node, ir.Relational):
        operator = node.operator if holds else COMPARISONS[node.operator].opposite
        yield from _comparison(node, operator, numbers)
    elif node.operator == "not":
        yield from _parts(node.operands[0], numbers, not holds)
    # An ``or`` that fails is as certain as an ``and`` that holds: all its parts fail.
    elif (node.operator == "and") == holds:
        for operand in node.operands:
            yield from _parts(operand, numbers, holds)
    else:  # one of several holds, nobody knows which
        yield Opaque(ir.variables_of(node))


def _comparison(
    node: ir.Relational, operator: str, numbers: Mapping[str, int]
) -> Iterator[AtMostZero | Opaque]:
    left, right = linear_expression(node.left, numbers), linear_expression(node.right, numbers)
    if left is None or right is None:  # it asks data
        yield Opaque(ir.variables_of(node))
        return
    # Both sides are whole numbers, so ``a < b`` is ``a + 1 <= b``.
    difference, strict = left.minus(right), operator in ("<", ">")
    if operator in ("<", "<=", "=="):
        yield AtMostZero(difference.plus(_ONE) if strict else difference)
    if operator in (">", ">=", "=="):
        flipped = Form().minus(difference)
        yield AtMostZero(flipped.plus(_ONE) if strict else flipped)


# --------------------------------------------------------------------------- orders


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


def orders_of(
    conditions: Iterable[ir.Condition], families: Families
) -> tuple[tuple[Before, ...], tuple[Compared, ...]]:
    """The orders conditions impose that all hold, and the pairs of positions they relate else.

    Parameters
    ----------
    conditions : iterable of Condition
    families : Families
        Partitioned ranks, whose members together are one position.

    Returns
    -------
    tuple of Before
        ``m + gap <= p`` everywhere, sorted, each once.
    tuple of Compared
        Pairs that a mask names together without such an order: a window, a sum, data.
    """
    found: set[Before | Compared] = set()
    for part in (p for c in conditions for p in inequalities(c)):
        if isinstance(part, AtMostZero):
            found.update(_order(families.fold(part.form)))
        else:
            pairs = itertools.combinations(families.close(part.variables), 2)
            found.update(Compared(a, b) for a, b in pairs)
    before = sorted((f for f in found if isinstance(f, Before)), key=str)
    compared = sorted((f for f in found if isinstance(f, Compared)), key=str)
    return tuple(before), tuple(compared)


def _order(form: Form) -> Iterator[Before | Compared]:
    """What ``form <= 0`` says.

    >>> list(_order(Form((Term(1, (), "m"), Term(-1, (), "p"), Term(2)))))
    [Before(first='m', second='p', gap=2)]
    >>> list(_order(Form((Term(1, (), "p"), Term(-1, (), "m"), Term(-3)))))
    [Compared(one='p', other='m', sign=1)]
    """
    signs = [form.coefficient(v) for v in form.variables]
    if len(signs) < 2 or (signs != [1, 1] and signs != [-1, -1] and _one_sided(form)):
        # One variable alone, or all with one sign (m1*M0 + m0 <= M - 1): no position is compared
        # with another. Two with one sign and coefficients 1 are kept: ``m + p < M`` compares m with
        # p counted from the other end.
        return  # whether an index is inside its rank
    if sorted(s or 0 for s in signs) != [-1, 1]:
        sign = -1 if len(signs) == 2 and signs[0] == signs[1] else 1
        yield from (Compared(a, b, sign) for a, b in itertools.combinations(form.variables, 2))
        return
    # One coefficient is 1, the other -1: what is added comes first in first - second + gap <= 0.
    first, second = sorted(form.variables, key=lambda v: -(form.coefficient(v) or 0))
    if form.constant >= 0 and all(t.coefficient > 0 for t in form.shape_terms):
        yield Before(first, second, form.constant)
    else:  # it allows a distance
        yield Compared(first, second)


def _one_sided(form: Form) -> bool:
    return len({t.coefficient > 0 for t in form.terms if t.variable}) == 1
