"""Normal form of masks: inequalities between affine sums, and opaque conditions.

``where m <= p and not m < p - W`` becomes ``m - p <= 0`` and ``p - W - m <= 0``. The pass analysis
derives from these inequalities which position comes first; binding derives bands.

``where m <= p`` orders a reader at ``p`` after the elements at ``m``, so that a running sum over
``m`` is ready when ``p`` is reached. Only orders of this kind are derived from a mask. A maximum
distance (``p - W < m``) is ignored on purpose: it bounds the fiber of one ``p``, and a bounded
fiber is traversed as often as a whole one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from . import ir
from .affine import NO_NUMBERS, Families, linear_expression
from .functions import COMPARISONS
from .ir import Affine, AffineTerm

_ONE = Affine((AffineTerm(1),))


def conjuncts(condition: ir.Condition | None) -> tuple[ir.Condition, ...]:
    """Return the conditions whose conjunction a mask is, with ``>`` and ``>=`` turned around.

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
        return (ir.Relational(turned, condition.right, condition.left, span=condition.span),)
    return (condition,)


def depends_on_data(condition: ir.Condition | None) -> bool:
    """Return whether a mask reads tensors, so that its points cannot be counted without data.

    The result is False without a mask, and for a mask over rank variables, shapes and parameters.
    """
    return condition is not None and any(isinstance(n, ir.Access) for n in ir.walk(condition))


@dataclass(frozen=True)
class Opaque:
    """Condition that is no conjunction of inequalities: it reads data, or is a disjunction.

    ``variables`` are the rank variables that occur in the condition.
    """

    variables: tuple[str, ...]


def inequalities(
    condition: ir.Condition, numbers: Mapping[str, int] = NO_NUMBERS
) -> tuple[Affine | Opaque, ...]:
    """Return the inequalities that a condition implies, with negations resolved.

    Parameters
    ----------
    condition : Condition
    numbers : mapping, optional
        Values of shapes and parameters to substitute.

    Returns
    -------
    tuple of Affine or Opaque
        Sums that are at most zero. An equality gives two of them; ``!=`` gives none.

    >>> m, p = (ir.Name(name=n, kind="variable") for n in "mp")
    >>> window = ir.Binary(operator="-", left=p, right=ir.Name(name="W", kind="parameter"))
    >>> late = ir.Relational(operator="<", left=m, right=window)
    >>> inside = ir.Logical(operator="not", operands=(late,))
    >>> inequalities(inside)  # W has no value
    (Opaque(variables=('m', 'p')),)
    >>> (part,) = inequalities(inside, {"W": 3})  # p - m - 3 <= 0
    >>> [(t.coefficient, t.variable) for t in part.terms]
    [(-1, 'm'), (1, 'p'), (-3, None)]
    """
    return tuple(_parts(condition, numbers, holds=True))


def _parts(
    node: ir.Condition, numbers: Mapping[str, int], holds: bool
) -> Iterator[Affine | Opaque]:
    """Yield the inequalities that follow if ``node`` is true, or false if ``holds`` is False."""
    if isinstance(node, ir.Relational):
        operator = node.operator if holds else COMPARISONS[node.operator].opposite
        yield from _comparison(node, operator, numbers)
    elif node.operator == "not":
        yield from _parts(node.operands[0], numbers, not holds)
    # A false ``or`` implies that all its operands are false, like a true ``and`` that all are true.
    elif (node.operator == "and") == holds:
        for operand in node.operands:
            yield from _parts(operand, numbers, holds)
    else:  # one operand holds, and it is unknown which
        yield Opaque(ir.variables_of(node))


def _comparison(
    node: ir.Relational, operator: str, numbers: Mapping[str, int]
) -> Iterator[Affine | Opaque]:
    left, right = linear_expression(node.left, numbers), linear_expression(node.right, numbers)
    if left is None or right is None:  # reads data
        yield Opaque(ir.variables_of(node))
        return
    # Both sides are integers, so ``a < b`` is ``a + 1 <= b``.
    difference, strict = left.minus(right), operator in ("<", ">")
    if operator in ("<", "<=", "=="):
        yield difference.plus(_ONE) if strict else difference
    if operator in (">", ">=", "=="):
        flipped = Affine().minus(difference)
        yield flipped.plus(_ONE) if strict else flipped


# --------------------------------------------------------------------------- orders


@dataclass(frozen=True)
class Before:
    """Order of two positions, ``first + gap <= second``, at every point of a statement.

    ``gap`` is at least 0.
    """

    first: str
    second: str
    gap: int = 0


@dataclass(frozen=True)
class Compared:
    """Pair of positions that a mask compares without ordering them.

    ``sign`` is -1 if the mask compares the sum of the positions, so that one of them counts from
    the far end.
    """

    one: str
    other: str
    sign: int = 1


def orders_of(
    conditions: Iterable[ir.Condition], families: Families
) -> tuple[tuple[Before, ...], tuple[Compared, ...]]:
    """Return the orders that several conditions imply, and the pairs that they relate otherwise.

    Parameters
    ----------
    conditions : iterable of Condition
        Conditions that all hold.
    families : Families
        Partitioned ranks; the members of a family together are one position.

    Returns
    -------
    tuple of Before
        Orders ``m + gap <= p``, sorted, each once.
    tuple of Compared
        Pairs that a mask relates without an order: by a window, a sum or data.
    """
    found: set[Before | Compared] = set()
    for part in (p for c in conditions for p in inequalities(c)):
        if isinstance(part, Affine):
            found.update(_order(families.fold(part)))
        else:
            pairs = itertools.combinations(families.close(part.variables), 2)
            found.update(Compared(a, b) for a, b in pairs)
    before = sorted((f for f in found if isinstance(f, Before)), key=str)
    compared = sorted((f for f in found if isinstance(f, Compared)), key=str)
    return tuple(before), tuple(compared)


def _order(form: Affine) -> Iterator[Before | Compared]:
    """Yield the orders and comparisons that ``form <= 0`` implies.

    >>> list(_order(Affine((AffineTerm(1, (), "m"), AffineTerm(-1, (), "p"), AffineTerm(2)))))
    [Before(first='m', second='p', gap=2)]
    >>> list(_order(Affine((AffineTerm(1, (), "p"), AffineTerm(-1, (), "m"), AffineTerm(-3)))))
    [Compared(one='p', other='m', sign=1)]
    """
    signs = [form.coefficient(v) for v in form.variables]
    one_sided = len({t.coefficient > 0 for t in form.terms if t.variable}) == 1
    if len(signs) < 2 or (signs != [1, 1] and signs != [-1, -1] and one_sided):
        # A form with one variable, or with variables of one sign (m1*M0 + m0 <= M - 1), compares no
        # two positions: it only keeps an index inside its rank. Two variables of one sign with
        # coefficients 1 are kept, because ``m + p < M`` compares m with p counted from the far end.
        return
    if sorted(s or 0 for s in signs) != [-1, 1]:
        sign = -1 if len(signs) == 2 and signs[0] == signs[1] else 1
        yield from (Compared(a, b, sign) for a, b in itertools.combinations(form.variables, 2))
        return
    # One coefficient is 1 and the other -1: in first - second + gap <= 0 the positive one comes
    # first.
    first, second = sorted(form.variables, key=lambda v: -(form.coefficient(v) or 0))
    if form.constant >= 0 and all(t.coefficient > 0 for t in form.shape_terms):
        yield Before(first, second, form.constant)
    else:  # allows a distance
        yield Compared(first, second)
