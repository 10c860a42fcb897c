"""Arithmetic on indices: sums, multiples, and indices put for variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ..affine import Form, Term, collected, index_of, linear
from ..ir import Affine, AffineTerm, Binary, Expression, Gather, Index, Name, Number, Unary

Sign = Literal["+", "-"]


def affine_value(index: Affine) -> Expression:
    """An affine index as a number in an expression: ``m1*M0 + m0``."""
    total: Expression | None = None
    for term in index.terms:
        variable = term.variable
        factors = [] if variable is None else [Name(name=variable, kind="variable")]
        total = _added(total, term, [*factors])
    return total if total is not None else Number(value=0)


def gather_value(index: Gather) -> Expression:
    """A gathered index as a number in an expression: ``I[j]*T + t``."""
    total = _added(None, index, [index.access])
    for term in index.offset.terms:
        variable = term.variable
        factors = [] if variable is None else [Name(name=variable, kind="variable")]
        total = _added(total, term, [*factors])
    return total


def _added(
    total: Expression | None, term: AffineTerm | Gather, factors: list[Expression]
) -> Expression:
    """A sum with one more term: the shapes and the coefficient times the factors."""
    factors.extend(Name(name=s, kind="shape") for s in term.shapes)
    size = abs(term.coefficient)
    if size != 1 or not factors:
        factors.insert(0, Number(value=size))
    product = factors[0]
    for factor in factors[1:]:
        product = Binary(operator="*", left=product, right=factor)
    if total is None:
        return Unary(operator="-", operand=product) if term.coefficient < 0 else product
    operator: Sign = "-" if term.coefficient < 0 else "+"
    return Binary(operator=operator, left=total, right=product)


def add_affine(*parts: Affine) -> Affine:
    """The sum of affine indices, like terms collected in order of appearance."""
    return index_of(collected(tuple(t for part in parts for t in linear(part).terms)))


def scale_affine(index: Affine, coefficient: int, shapes: tuple[str, ...]) -> Affine:
    """``coefficient * shapes... * index``.

    Parameters
    ----------
    index : Affine
    coefficient : int
    shapes : tuple of str
        Ranks whose shapes multiply it, such as those of the members inside one.
    """
    factor = Form((Term(coefficient, shapes),))
    return index_of(factor.times(linear(index)) or Form())


def substituted(index: Affine, values: Mapping[str, Index]) -> Index:
    """An index with other indices put for its variables.

    Raises
    ------
    ValueError
        Gathers stand for two of them: an index gathers one position.
    """
    if (name := index.as_variable) is not None and name in values:
        return values[name]
    if not any(v in values for v in index.variables):
        return index
    parts: list[Affine] = []
    found: list[Gather] = []
    for term in index.terms:
        value = values.get(term.variable) if term.variable else None
        if value is None:
            parts.append(Affine(terms=(term,)))
        elif isinstance(value, Gather):
            found.append(_scaled(value, term))
            parts.append(found[-1].offset)
        else:
            parts.append(scale_affine(value, term.coefficient, term.shapes))
    if len(found) > 1:
        raise ValueError("an index gathers one position")
    offset = add_affine(*parts)
    return replace(found[0], offset=offset) if found else offset


def _scaled(index: Gather, term: AffineTerm) -> Gather:
    return replace(
        index,
        coefficient=index.coefficient * term.coefficient,
        shapes=tuple(sorted((*index.shapes, *term.shapes))),
        offset=scale_affine(index.offset, term.coefficient, term.shapes),
    )
