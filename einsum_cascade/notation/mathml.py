"""MathML of cascades and of expressions in their shapes, for pages without any library."""

from __future__ import annotations

import math
import re
from html import escape
from typing import Any

from .. import ir

_SYMBOLS = {"+": "∑", "prod": "∏"}
_COMPARISONS = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "<": "<", ">": ">"}
_LOGIC = {"and": "∧", "or": "∨"}
_FENCES = {"abs": ("|", "|"), "floor": ("⌊", "⌋")}
_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4
_SUBSCRIPT = re.compile(r"([A-Za-z]+)([0-9]+)")


def program_mathml(program: ir.Program) -> str:
    """The equations as one ``<math>`` element, aligned at ``=``, initialisation first."""
    rows = "".join(_statement(e) for e in (*program.init, *program.einsums))
    return f'<math displaystyle="true"><mtable class="equations">{rows}</mtable></math>'


def expression_mathml(expression: Any) -> str:
    """A number or a sympy expression in the shapes as a ``<math>`` element."""
    import sympy
    from sympy.printing.mathml import mathml

    body = mathml(sympy.Integer(0) + expression, printer="presentation")
    return f"<math>{body}</math>"


def _statement(einsum: ir.Einsum) -> str:
    value, level = _value(einsum.expression)
    if einsum.select is not None:
        value = _under(_word(einsum.select), einsum.over) + _fenced(value)
    elif einsum.over:
        inner = _fenced(value) if level == _SUM else value
        name = _SYMBOLS.get(einsum.reduction)
        operator = _operator(name) if name else _word(einsum.reduction)
        value = _under(operator, einsum.over) + inner
    if einsum.where is not None:
        value += f'<mspace width="1em"/><mtext>where&nbsp;</mtext>{_condition(einsum.where)}'
    cells = (_access(einsum.target), _operator("="), value)
    return "<mtr>" + "".join(f"<mtd>{c}</mtd>" for c in cells) + "</mtr>"


def _under(operator: str, over: tuple[str, ...]) -> str:
    ranks = _listed(_symbol(v) for v in over)
    return f"<munder>{operator}<mrow>{ranks}</mrow></munder>"


def _listed(parts: Any) -> str:
    return '<mo separator="true">,</mo>'.join(parts)


def _operator(text: str) -> str:
    return f"<mo>{escape(text)}</mo>"


def _word(name: str) -> str:
    """A name of several letters, upright."""
    return f'<mi mathvariant="normal">{escape(name)}</mi>'


def _symbol(name: str) -> str:
    """``m1`` as m with subscript 1; a longer name upright."""
    found = _SUBSCRIPT.fullmatch(name)
    if found:
        return f"<msub>{_symbol(found[1])}<mn>{found[2]}</mn></msub>"
    return f"<mi>{escape(name)}</mi>" if len(name) == 1 else _word(name)


def _access(access: ir.Access) -> str:
    name = _word(access.tensor)
    if not access.indices:
        return name
    return f"<msub>{name}<mrow>{_listed(_index(i) for i in access.indices)}</mrow></msub>"


def _index(index: ir.Index) -> str:
    if isinstance(index, ir.Gather):
        return _access(index.access)
    text = ""
    for term in index.terms:
        factors = [_symbol(term.variable)] if term.variable else []
        factors.extend(_symbol(s) for s in term.shapes)
        if abs(term.coefficient) != 1 or not factors:
            factors.insert(0, f"<mn>{abs(term.coefficient)}</mn>")
        sign = "-" if term.coefficient < 0 else ("+" if text else "")
        text += (_operator(sign) if sign else "") + _operator("·").join(factors)
    return text or "<mn>0</mn>"


def _value(node: ir.Expression) -> tuple[str, int]:
    match node:
        case ir.Number(value=value):
            return _number(value), _ATOM if value >= 0 else _SUM
        case ir.Name(name=name):
            return _symbol(name), _ATOM
        case ir.Access():
            return _access(node), _ATOM
        case ir.Unary(operand=operand):
            return _operator("-") + _group(operand, _PRODUCT), _SUM
        case ir.Call():
            return _call(node)
        case ir.Binary(operator="/", left=left, right=right):
            return f"<mfrac>{_row(_value(left)[0])}{_row(_value(right)[0])}</mfrac>", _PRODUCT
        case ir.Binary(operator="**", left=left, right=right):
            base = _row(_group(left, _ATOM))
            return f"<msup>{base}{_row(_value(right)[0])}</msup>", _POWER
        case ir.Binary(operator="*", left=left, right=right):
            return f"{_group(left, _PRODUCT)}{_operator('·')}{_group(right, _POWER)}", _PRODUCT
        case ir.Binary(operator=operator, left=left, right=right):
            return f"{_group(left, _SUM)}{_operator(operator)}{_group(right, _PRODUCT)}", _SUM


def _number(value: int | float) -> str:
    if math.isinf(value):
        return ("" if value > 0 else _operator("-")) + "<mn>∞</mn>"
    mantissa, _, exponent = repr(value).partition("e")
    number = f"<mn>{mantissa}</mn>"
    if exponent:
        power = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>"
        return f"{number}{_operator('·')}{power}"
    return number


def _row(text: str) -> str:
    return f"<mrow>{text}</mrow>"


def _fenced(text: str, left: str = "(", right: str = ")") -> str:
    return _row(f"{_operator(left)}{text}{_operator(right)}")


def _group(node: ir.Expression, level: int) -> str:
    text, own = _value(node)
    return text if own >= level else _fenced(text)


def _call(node: ir.Call) -> tuple[str, int]:
    parts = [
        _condition(a) if isinstance(a, ir.Comparison | ir.Logical) else _value(a)[0]
        for a in node.arguments
    ]
    match node.function, parts:
        case "exp", [power]:
            return f"<msup><mi>e</mi>{_row(power)}</msup>", _POWER
        case "sqrt", [radicand]:
            return f"<msqrt>{radicand}</msqrt>", _ATOM
        case ("abs" | "floor") as name, [inner]:
            return _fenced(inner, *_FENCES[name]), _ATOM
        case "where", [condition, yes, no]:
            rows = (
                f"<mtr><mtd>{yes}</mtd><mtd>{condition}</mtd></mtr>"
                f"<mtr><mtd>{no}</mtd><mtd><mtext>otherwise</mtext></mtd></mtr>"
            )
            return _row(f"{_operator('{')}<mtable>{rows}</mtable>"), _PRODUCT
        case name, _:
            return _word(name) + _fenced(_listed(parts)), _ATOM


def _condition(node: ir.Expression | ir.Condition) -> str:
    match node:
        case ir.Comparison(operator=operator, left=left, right=right):
            return f"{_value(left)[0]}{_operator(_COMPARISONS[operator])}{_value(right)[0]}"
        case ir.Logical(operator="not", operands=(operand,)):
            return _operator("¬") + _fenced(_condition(operand))
        case ir.Logical(operator=operator, operands=operands):
            parts = (
                _fenced(_condition(o)) if isinstance(o, ir.Logical) else _condition(o)
                for o in operands
            )
            return _operator(_LOGIC[operator]).join(parts)
        case _:
            return _value(node)[0]
