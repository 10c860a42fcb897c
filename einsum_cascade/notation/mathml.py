"""MathML of cascades and of expressions in their shapes, for pages without any library."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from .. import ir
from ..functions import Function, Reduction, Relation
from ..source import html_text
from .typeset import Notation, Typesetter


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
