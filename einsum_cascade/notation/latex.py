"""LaTeX of cascades."""

from __future__ import annotations

from collections.abc import Iterable

from .. import ir
from ..functions import Function, Reduction, Relation
from .typeset import Notation, Typesetter


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
