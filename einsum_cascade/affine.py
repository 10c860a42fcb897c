"""Affine sums of rank variables, shapes and a constant, and the arithmetic of indices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from types import MappingProxyType
from typing import Literal

from . import ir
from .ir import Affine, AffineTerm, collected
from .memo import cached_property

NO_NUMBERS: Mapping[str, int] = MappingProxyType({})
"""Empty mapping, the default of functions that substitute numbers for shapes and parameters."""


def linear(index: Affine) -> Affine:
    """Return an index with like terms added up, and without source spans."""
    return collected(index.terms)


def linear_expression(
    node: ir.Expression, numbers: Mapping[str, int] = NO_NUMBERS
) -> Affine | None:
    """Return an expression as an affine sum, or None if it is not linear in positions and shapes.

    Parameters
    ----------
    node : Expression
        For example one side of a comparison.
    numbers : mapping, optional
        Values of shapes and parameters to substitute.
    """
    match node:
        case ir.Number(value=value) if math.isfinite(value) and value == int(value):
            return collected((AffineTerm(int(value)),))
        case ir.Name(name=name) if name in numbers:
            return collected((AffineTerm(numbers[name]),))
        case ir.Name(name=name, kind="variable"):
            return Affine((AffineTerm(1, (), name),))
        case ir.Name(name=name, kind="shape"):
            return Affine((AffineTerm(1, (name,)),))
        case ir.Unary(operator="-", operand=operand):
            inside = linear_expression(operand, numbers)
            return None if inside is None else Affine().minus(inside)
        case ir.Binary(operator="+" | "-" | "*" as operator, left=left, right=right):
            a, b = linear_expression(left, numbers), linear_expression(right, numbers)
            if a is None or b is None:
                return None
            if operator == "*":
                return a.times(b)
            return a.plus(b) if operator == "+" else a.minus(b)
    return None


# ------------------------------------------------------------------ families


def digits(members: tuple[str, ...]) -> Affine:
    """Return the position that a rank's members form together, like the digits of a number.

    Parameters
    ----------
    members : tuple of str
        The ranks, outermost first; their variables are the lower-case names.

    >>> [(t.shapes, t.variable) for t in digits(("M2", "M1", "M0")).terms]
    [(('M0', 'M1'), 'm2'), (('M0',), 'm1'), ((), 'm0')]
    """
    return Affine(
        tuple(
            AffineTerm(1, tuple(sorted(members[place + 1 :])), member.lower())
            for place, member in enumerate(members)
        )
    )


@dataclass(frozen=True)
class Families:
    """Partitioned ranks of a program with their members, and ranks declared to share a shape.

    A family is a partitioned rank. Ranks are given by their variables.
    """

    members: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shape_models: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, program: ir.Program) -> Families:
        """Return the partitioned ranks of a program, each with its members, outermost first."""
        return cls(
            tuple(
                (r.variable, tuple(m.lower() for m in r.partition))
                for r in program.ranks
                if r.partition
            ),
            tuple((r.name, m) for r in program.ranks if (m := program.model_of(r.name)) != r.name),
        )

    @cached_property
    def _family_of(self) -> dict[str, str]:
        # If two families name a member, the first one wins.
        return {m: f for f, members in reversed(self.members) for m in members}

    def family_of(self, variable: str) -> str | None:
        """Return the variable of the partitioned rank that a member belongs to.

        The result is None if the variable belongs to no member, for example if it is itself the
        variable of a partitioned rank.
        """
        return self._family_of.get(variable)

    def members_of(self, variable: str) -> tuple[str, ...]:
        """Return the variables of a partitioned rank's members; any other variable has none."""
        return dict(self.members).get(variable, ())

    def fold(self, form: Affine) -> Affine:
        """Return a sum with ``m`` in place of ``m1*M0 + m0``, for each partitioned rank.

        >>> families = Families((("m", ("m1", "m0")),))
        >>> place = digits(("M1", "M0")).minus(Affine((AffineTerm(1, (), "p"),)))
        >>> [(t.coefficient, t.variable) for t in families.fold(place).terms]
        [(-1, 'p'), (1, 'm')]
        >>> other = Affine((AffineTerm(1, ("E",), "m1"), AffineTerm(1, (), "m0")))
        >>> families.fold(other) == other  # E is not the shape of a tile
        True
        """
        for family, members in self.members:
            # Over all members: m1*M0 + m0 - p has sign 1, p - m1*M0 - m0 has sign -1.
            sign = self._whole(form, members)
            if sign:
                rest = tuple(t for t in form.terms if t.variable not in members)
                form = collected((*rest, AffineTerm(sign, (), family)))
        return form

    @cached_property
    def _models(self) -> dict[str, str]:
        return dict(self.shape_models)

    def _whole(self, form: Affine, members: tuple[str, ...]) -> int:
        """Return 1 if ``form`` adds all members' position, -1 if it subtracts it, else 0.

        A member's coefficient must be the product of the shapes of the members inside it.
        """
        own = [t for t in form.terms if t.variable in members]
        signs = {t.coefficient for t in own}
        if not members or len(own) != len(members) or len(signs) != 1 or not signs <= {1, -1}:
            return 0
        shapes = {t.variable: t.shapes for t in own}
        wanted = digits(tuple(m.upper() for m in members)).terms
        right = all(self._same(shapes.get(t.variable, ("",)), t.shapes) for t in wanted)
        return signs.pop() if right else 0

    def _same(self, one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        return sorted(self._models.get(s, s) for s in one) == sorted(
            self._models.get(s, s) for s in other
        )

    def close(self, variables: tuple[str, ...]) -> tuple[str, ...]:
        """Return the variables plus ranks whose members are all present, and members of ranks.

        >>> Families((("m", ("m1", "m0")),)).close(("m0", "m1", "p"))
        ('m0', 'm1', 'p', 'm')
        >>> Families((("m", ("m1", "m0")),)).close(("m0", "p"))  # m1 is missing
        ('m0', 'p')
        """
        found = dict.fromkeys(variables)
        for family, members in self.members:
            if family in found or (members and set(members) <= set(found)):
                found.update(dict.fromkeys((family, *members)))
        return tuple(found)


Sign = Literal["+", "-"]


def affine_value(index: Affine) -> ir.Expression:
    """Return an affine index as an expression: ``m1*M0 + m0``."""
    return _sum(None, index) or ir.Number(0)


def gather_value(index: ir.Gather) -> ir.Expression:
    """Return a gathered index as an expression: ``I[j]*T + t``."""
    position = _added(None, index, [index.access])
    return _sum(position, index.offset) or position


def _sum(total: ir.Expression | None, index: Affine) -> ir.Expression | None:
    """Return an expression plus the terms of an index; None if there are neither."""
    for term in index.terms:
        variable = term.variable
        factors: list[ir.Expression] = [] if variable is None else [ir.Name(variable, "variable")]
        total = _added(total, term, factors)
    return total


def _added(
    total: ir.Expression | None, term: AffineTerm | ir.Gather, factors: list[ir.Expression]
) -> ir.Expression:
    """Return an expression plus one term: the coefficient and the shapes times the factors."""
    factors.extend(ir.Name(s, "shape") for s in term.shapes)
    size = abs(term.coefficient)
    if size != 1 or not factors:
        factors.insert(0, ir.Number(size))
    product = product_of(factors)
    if total is None:
        return ir.Unary("-", product) if term.coefficient < 0 else product
    operator: Sign = "-" if term.coefficient < 0 else "+"
    return ir.Binary(operator, total, product)


def product_of(factors: Iterable[ir.Expression]) -> ir.Expression:
    """Return the product of at least one factor, from left to right."""
    return reduce(lambda left, right: ir.Binary("*", left, right), factors)


def substituted(index: Affine, values: Mapping[str, ir.Index]) -> ir.Index:
    """Return an index with other indices in place of its variables.

    Raises
    ------
    ValueError
        Two of its variables are replaced by gathers; an index gathers at most once.
    """
    if (name := index.as_variable) is not None and name in values:
        return values[name]
    if not any(v in values for v in index.variables):
        return index
    parts: list[Affine] = []
    found: list[ir.Gather] = []
    for term in index.terms:
        value = values.get(term.variable) if term.variable else None
        if value is None:
            parts.append(Affine((term,)))
        elif isinstance(value, ir.Gather):
            found.append(_scaled(value, term))
            parts.append(found[-1].offset)
        else:
            parts.append(_scaled_sum(value, term))
    if len(found) > 1:
        raise ValueError("an index gathers one position")
    offset = collected(t for part in parts for t in part.terms)
    return replace(found[0], offset=offset) if found else offset


def _scaled(index: ir.Gather, term: AffineTerm) -> ir.Gather:
    return replace(
        index,
        coefficient=index.coefficient * term.coefficient,
        shapes=tuple(sorted((*index.shapes, *term.shapes))),
        offset=_scaled_sum(index.offset, term),
    )


def _scaled_sum(index: Affine, factor: AffineTerm) -> Affine:
    """Return an index times the coefficient and the shapes of a constant term."""
    constant = Affine((AffineTerm(factor.coefficient, factor.shapes),))
    return constant.times(index) or Affine()
