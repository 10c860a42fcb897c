"""Typeset cascades: LaTeX, MathML, HTML and DOT, by one printer over sets of tokens."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from .. import ir
from ..functions import COMPARISONS, FUNCTIONS, REDUCTIONS, Function, Reduction, Relation, Strength
from ..source import html_text, visible
from .printer import statements_text

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


def program_latex(program: ir.Program) -> str:
    """The equations as a LaTeX ``aligned`` block, initialisation first.

    Returns
    -------
    str
        Without ``$``; one equation per line, aligned at its ``=``.
    """
    body = " \\\\\n".join(Typesetter(_Latex()).equations(program))
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def _escape(name: str) -> str:
    return name.replace("_", r"\_")


def _operator(name: str) -> str:
    return rf"\operatorname{{{_escape(name)}}}"


class _Latex(Notation):
    times = r"\cdot"
    infinity = r"\infty"
    both = r"\land"
    either = r"\lor"
    negation = r"\lnot "

    def letter(self, name: str) -> str:
        return name

    def word(self, name: str) -> str:
        return rf"\mathrm{{{_escape(name)}}}"

    def digits(self, text: str) -> str:
        return text

    def sign(self, text: str) -> str:
        return text

    def infix(self, text: str) -> str:
        return f" {text} "

    def comparison(self, row: Relation) -> str:
        return row.latex

    def reduction(self, name: str, row: Reduction | None) -> str:
        return row.latex if row is not None else _operator(name)

    def function(self, name: str, row: Function | None) -> str:
        return row.latex_name if row is not None and row.latex_name else _operator(name)

    def template(self, row: Function) -> str:
        return row.latex

    def row(self, text: str) -> str:
        return text

    def listed(self, parts: Iterable[str]) -> str:
        return ", ".join(parts)

    def fenced(self, text: str) -> str:
        return rf"\left({text}\right)"

    def subscript(self, base: str, below: str) -> str:
        return f"{base}_{{{below}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{{{exponent}}}"

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def reduced(self, operator: str, over: str, value: str) -> str:
        return f"{self.subscript(operator, over)} {value}"

    def selected(self, name: str, over: str, value: str) -> str:
        return rf"{self.subscript(_operator(name), over)}\; {value}"

    def restricted(self, value: str, condition: str) -> str:
        return rf"{value} \quad \text{{where }} {condition}"

    def equation(self, target: str, value: str) -> str:
        return f"{target} &= {value}"


def program_mathml(program: ir.Program) -> str:
    """The equations as one ``<math>`` element, aligned at ``=``, initialisation first.

    Returns
    -------
    str
        To be put into HTML as it is; names in it are escaped.
    """
    rows = "".join(Typesetter(_MathMl()).equations(program))
    return f'<math displaystyle="true"><mtable class="equations">{rows}</mtable></math>'


@lru_cache(maxsize=1024)
def expression_mathml(expression: Any) -> str:
    """A number or a sympy expression in the shapes as a ``<math>`` element.

    Parameters
    ----------
    expression : int or sympy expression
        A count, a footprint or traffic, in the shapes.
    """
    import sympy
    from sympy.printing.mathml import mathml

    body = mathml(sympy.Integer(0) + expression, printer="presentation")
    return f"<math>{body}</math>"


class _MathMl(Notation):
    times = "·"
    infinity = "∞"
    both = "∧"
    either = "∨"
    negation = "<mo>¬</mo>"

    def letter(self, name: str) -> str:
        return f"<mi>{html_text(name)}</mi>"

    def word(self, name: str) -> str:
        return f'<mi mathvariant="normal">{html_text(name)}</mi>'

    def digits(self, text: str) -> str:
        return f"<mn>{text}</mn>"

    def sign(self, text: str) -> str:
        return f"<mo>{html_text(text)}</mo>"

    def infix(self, text: str) -> str:
        return self.sign(text)

    def comparison(self, row: Relation) -> str:
        return row.mathml

    def reduction(self, name: str, row: Reduction | None) -> str:
        return self.sign(row.mathml) if row is not None and row.mathml else self.word(name)

    def function(self, name: str, row: Function | None) -> str:  # noqa: ARG002
        return self.word(name)

    def template(self, row: Function) -> str:
        return row.mathml

    def row(self, text: str) -> str:
        return f"<mrow>{text}</mrow>"

    def listed(self, parts: Iterable[str]) -> str:
        return '<mo separator="true">,</mo>'.join(parts)

    def fenced(self, text: str) -> str:
        return self.row(f"<mo>(</mo>{text}<mo>)</mo>")

    def subscript(self, base: str, below: str) -> str:
        return f"<msub>{base}{below}</msub>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup>{base}{exponent}</msup>"

    def fraction(self, above: str, below: str) -> str:
        return f"<mfrac>{self.row(above)}{self.row(below)}</mfrac>"

    def reduced(self, operator: str, over: str, value: str) -> str:
        return f"<munder>{operator}{self.row(over)}</munder>{value}"

    def selected(self, name: str, over: str, value: str) -> str:
        return self.reduced(self.word(name), over, self.fenced(value))

    def restricted(self, value: str, condition: str) -> str:
        return f'{value}<mspace width="1em"/><mtext>where&nbsp;</mtext>{condition}'

    def equation(self, target: str, value: str) -> str:
        cells = "".join(f"<mtd>{c}</mtd>" for c in (target, self.sign("="), value))
        return f"<mtr>{cells}</mtr>"


# ------------------------------------------------------------------------- DOT and HTML


def program_dot(program: ir.Program) -> str:
    """The dependency graph in Graphviz' DOT language.

    Inputs are boxes, outputs have a double border, iterative tensors are grey; a dashed
    edge carries the value of the iteration before.

    Returns
    -------
    str
        One node per input and Einsum, whose tooltip is the equation; ends with a line break.
    """
    from ..ordering import dependences

    delayed = {(d.writer, d.reader) for d in dependences(program) if d.delayed}
    at_once = {(d.writer, d.reader) for d in dependences(program) if not d.delayed}
    lines = [f"digraph {_quote(program.name)} {{", "  rankdir=TB;", "  node [shape=ellipse];"]
    lines += [f"  {_quote(t.name)} [shape=box];" for t in program.inputs]
    for einsum, text in zip(program.einsums, statements_text(program.einsums), strict=True):
        label = re.sub(" +=", " =", text, count=1)
        style = f"label={_quote(einsum.name)}, tooltip={_quote(label)}"
        if einsum.name in program.outputs:
            style += ", peripheries=2"
        if einsum.name in program.iterative:
            style += ', style=filled, fillcolor="lightgrey"'
        lines.append(f"  {_quote(einsum.name)} [{style}];")
    for writer, reader in _edges(program):
        dashed = (writer, reader) in delayed and (writer, reader) not in at_once
        lines.append(
            f"  {_quote(writer)} -> {_quote(reader)}{' [style=dashed]' if dashed else ''};"
        )
    return "\n".join([*lines, "}"]) + "\n"


def _edges(program: ir.Program) -> Iterator[tuple[str, str]]:
    pairs = ((a.tensor, e.name) for e in program.einsums for a in e.reads)
    yield from dict.fromkeys(pairs)


def _quote(text: str) -> str:
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def program_html(program: ir.Program) -> str:
    """Name, title and typeset equations as HTML, the text folded below; all of it escaped.

    Returns
    -------
    str
        One ``<div>``; its equations are LaTeX between ``$$``, which Jupyter typesets.
    """
    lines = [*statements_text(program.init), *statements_text(program.einsums)]
    heading = f"<strong>{html_text(program.name)}</strong>"
    title = f"<br>{html_text(program.title)}" if program.title else ""
    if program.unverified:
        title += f"<br><em>unverified: {html_text(program.unverified)}</em>"
    equations = html_text(f"$${program_latex(program)}$$")
    text = html_text("\n".join(lines))
    folded = f"<details><summary>as text</summary><pre>{text}</pre></details>"
    return f"<div>{heading}{title}<div>{equations}</div>{folded}</div>"
