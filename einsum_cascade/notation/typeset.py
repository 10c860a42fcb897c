"""The equations of a cascade as they are typeset: one printer over two sets of tokens.

What an equation looks like is said once, here; ``latex`` and ``mathml`` say how its pieces are
spelt.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from .. import ir
from ..functions import COMPARISONS, FUNCTIONS, REDUCTIONS, Function, Reduction, Relation, Strength

_SUBSCRIPT = re.compile(r"([A-Za-z]+)([0-9]+)")


class Notation(ABC):
    """How the pieces of an equation are spelt; all of them take and give spelt pieces.

    Attributes
    ----------
    times, infinity, both, either, negation : str
        The signs of a product, of infinity, of ``and``, ``or`` and ``not``.
    """

    times: str
    infinity: str
    both: str
    either: str
    negation: str

    # ------------------------------------------------------------------- single pieces

    @abstractmethod
    def letter(self, name: str) -> str:
        """A name of one letter."""

    @abstractmethod
    def word(self, name: str) -> str:
        """A name of several letters, upright."""

    @abstractmethod
    def digits(self, text: str) -> str:
        """A number as it is written."""

    @abstractmethod
    def sign(self, text: str) -> str:
        """An operator that stands close to its operands."""

    @abstractmethod
    def infix(self, text: str) -> str:
        """An operator between its operands."""

    @abstractmethod
    def comparison(self, row: Relation) -> str:
        """The sign of a comparison."""

    @abstractmethod
    def reduction(self, name: str, row: Reduction | None) -> str:
        """What stands for a reduction; the row of a built-in one."""

    @abstractmethod
    def function(self, name: str, row: Function | None) -> str:
        """The name of a function before its arguments; the row of a built-in one."""

    @abstractmethod
    def template(self, row: Function) -> str:
        """How a call of a built-in function is printed, if it is no name with arguments."""

    # ----------------------------------------------------------------- put together

    @abstractmethod
    def row(self, text: str) -> str:
        """Several pieces as one."""

    @abstractmethod
    def listed(self, parts: Iterable[str]) -> str:
        """Pieces with commas between them."""

    @abstractmethod
    def fenced(self, text: str) -> str:
        """A piece in parentheses."""

    @abstractmethod
    def subscript(self, base: str, below: str) -> str:
        """An index below the line."""

    @abstractmethod
    def power(self, base: str, exponent: str) -> str:
        """A power."""

    @abstractmethod
    def fraction(self, above: str, below: str) -> str:
        """A quotient."""

    # -------------------------------------------------------------------- statements

    @abstractmethod
    def reduced(self, operator: str, over: str, value: str) -> str:
        """A value reduced over some ranks."""

    @abstractmethod
    def selected(self, name: str, over: str, value: str) -> str:
        """Positions selected from a value over some ranks."""

    @abstractmethod
    def restricted(self, value: str, condition: str) -> str:
        """A value where a condition holds."""

    @abstractmethod
    def equation(self, target: str, value: str) -> str:
        """An equation, aligned at its sign."""


class Typesetter:
    """Prints statements in a notation, with the fewest parentheses."""

    def __init__(self, notation: Notation) -> None:
        self._spelt = notation

    def equations(self, program: ir.Program) -> Iterator[str]:
        """Every statement of a program, initialisation first."""
        return (self._statement(e) for e in (*program.init, *program.einsums))

    def _statement(self, einsum: ir.Einsum) -> str:
        value, strength = self._value(einsum.expression)
        over = self._spelt.listed(self._symbol(v) for v in einsum.over)
        if einsum.select is not None:
            value = self._spelt.selected(einsum.select, over, value)
        elif einsum.over:
            inner = self._spelt.fenced(value) if strength == Strength.SUM else value
            row = REDUCTIONS.get(einsum.reduction)
            value = self._spelt.reduced(self._spelt.reduction(einsum.reduction, row), over, inner)
        if einsum.where is not None:
            value = self._spelt.restricted(value, self._condition(einsum.where))
        return self._spelt.equation(self._access(einsum.target), value)

    # ------------------------------------------------------------ names and indices

    def _symbol(self, name: str) -> str:
        """``m1`` as m with subscript 1; a longer name upright."""
        found = _SUBSCRIPT.fullmatch(name)
        if found:
            return self._spelt.subscript(self._symbol(found[1]), self._spelt.digits(found[2]))
        return self._spelt.letter(name) if len(name) == 1 else self._spelt.word(name)

    def _access(self, access: ir.Access) -> str:
        name = self._spelt.word(access.tensor)
        if not access.indices:
            return name
        inside = self._spelt.listed(self._index(i) for i in access.indices)
        return self._spelt.subscript(name, self._spelt.row(inside))

    def _index(self, index: ir.Index) -> str:
        if isinstance(index, ir.Gather):
            position = self._term(index, [self._access(index.access)], first=True)
            return self._sum(index.offset, position)
        return self._sum(index, "") or self._spelt.digits("0")

    def _sum(self, index: ir.Affine, text: str) -> str:
        """The terms of an index after what stands before them."""
        for term in index.terms:
            variable = [self._symbol(term.variable)] if term.variable else []
            text += self._term(term, variable, first=not text)
        return text

    def _term(self, term: ir.AffineTerm | ir.Gather, factors: list[str], first: bool) -> str:
        factors.extend(self._symbol(s) for s in term.shapes)
        if abs(term.coefficient) != 1 or not factors:
            factors.insert(0, self._spelt.digits(str(abs(term.coefficient))))
        sign = "-" if term.coefficient < 0 else ("" if first else "+")
        before = self._spelt.sign(sign) if sign else ""
        return before + self._spelt.infix(self._spelt.times).join(factors)

    # -------------------------------------------------------------------- expressions

    def _value(self, node: ir.Expression) -> tuple[str, Strength]:
        """An expression, and how strongly what is printed holds together."""
        spelt = self._spelt
        match node:
            case ir.Number(value=value):
                return self._number(value), Strength.ATOM if value >= 0 else Strength.SUM
            case ir.Name(name=name):
                return self._symbol(name), Strength.ATOM
            case ir.Access():
                return self._access(node), Strength.ATOM
            case ir.Unary(operand=operand):
                return spelt.sign("-") + self._group(operand, Strength.PRODUCT), Strength.SUM
            case ir.Call():
                return self._call(node)
            case ir.Binary(operator="/", left=left, right=right):
                above, below = self._value(left)[0], self._value(right)[0]
                return spelt.fraction(above, below), Strength.PRODUCT
            case ir.Binary(operator="**", left=left, right=right):
                base, exponent = self._group(left, Strength.ATOM), self._value(right)[0]
                return spelt.power(spelt.row(base), spelt.row(exponent)), Strength.POWER
            case ir.Binary(operator="*", left=left, right=right):
                # What is to the right of an operator of its own strength keeps its fence.
                first, second = (
                    self._group(left, Strength.PRODUCT),
                    self._group(right, Strength.POWER),
                )
                return f"{first}{spelt.infix(spelt.times)}{second}", Strength.PRODUCT
            case ir.Binary(operator=operator, left=left, right=right):
                first, second = (
                    self._group(left, Strength.SUM),
                    self._group(right, Strength.PRODUCT),
                )
                return f"{first}{spelt.infix(operator)}{second}", Strength.SUM

    def _number(self, value: int | float) -> str:
        spelt = self._spelt
        if math.isinf(value):
            return ("" if value > 0 else spelt.sign("-")) + spelt.digits(spelt.infinity)
        mantissa, _, exponent = repr(value).partition("e")
        number = spelt.digits(mantissa)
        if exponent:
            power = spelt.power(spelt.digits("10"), spelt.digits(str(int(exponent))))
            return f"{number}{spelt.infix(spelt.times)}{power}"
        return number

    def _group(self, node: ir.Expression, strength: Strength) -> str:
        text, own = self._value(node)
        return text if own >= strength else self._spelt.fenced(text)

    def _call(self, node: ir.Call) -> tuple[str, Strength]:
        parts = [self._condition(a) for a in node.arguments]
        row = FUNCTIONS.get(node.function)
        if row is not None and (template := self._spelt.template(row)):
            return template.format(*parts), row.strength
        arguments = self._spelt.fenced(self._spelt.listed(parts))
        return self._spelt.function(node.function, row) + arguments, Strength.ATOM

    def _condition(self, node: ir.Expression | ir.Condition) -> str:
        spelt = self._spelt
        match node:
            case ir.Relational(operator=operator, left=left, right=right):
                sign = spelt.infix(spelt.comparison(COMPARISONS[operator]))
                return f"{self._value(left)[0]}{sign}{self._value(right)[0]}"
            case ir.Logical(operator="not", operands=(operand,)):
                return spelt.negation + spelt.fenced(self._condition(operand))
            case ir.Logical(operator=operator, operands=operands):
                parts = (
                    spelt.fenced(self._condition(o))
                    if isinstance(o, ir.Logical)
                    else self._condition(o)
                    for o in operands
                )
                return spelt.infix(spelt.both if operator == "and" else spelt.either).join(parts)
            case _:
                return self._value(node)[0]
