"""LaTeX, HTML and DOT renderings of a cascade, for people and for Jupyter."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator

from .. import ir
from .printer import statements_text

_FUNCTIONS = {"exp": r"\exp", "log": r"\log", "max": r"\max", "min": r"\min", "tanh": r"\tanh"}
_REDUCTIONS = {"+": r"\sum", "max": r"\max", "min": r"\min", "prod": r"\prod"}
_COMPARISONS = {"<=": r"\le", ">=": r"\ge", "==": "=", "!=": r"\ne", "<": "<", ">": ">"}
_LOGIC = {"and": r" \land ", "or": r" \lor "}
_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4
_SUBSCRIPT = re.compile(r"([A-Za-z]+)([0-9]+)")


# ------------------------------------------------------------------------- LaTeX


def program_latex(program: ir.Program) -> str:
    """The equations as a LaTeX ``aligned`` block, initialisation first."""
    lines = [_statement(e) for e in (*program.init, *program.einsums)]
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def _statement(einsum: ir.Einsum) -> str:
    target = _access(einsum.target)
    value, level = _value(einsum.expression)
    if einsum.select is not None:
        over = ", ".join(_symbol(v) for v in einsum.over)
        text = rf"{target} &= \operatorname{{{_escape(einsum.select)}}}_{{{over}}}\; {value}"
    elif einsum.over:
        over = ", ".join(_symbol(v) for v in einsum.over)
        name = _REDUCTIONS.get(einsum.reduction)
        operator = name or rf"\operatorname{{{_escape(einsum.reduction)}}}"
        inner = rf"\left({value}\right)" if level == _SUM else value
        text = rf"{target} &= {operator}_{{{over}}} {inner}"
    else:
        text = f"{target} &= {value}"
    if einsum.where is not None:
        text += rf" \quad \text{{where }} {_condition(einsum.where)}"
    return text


def _escape(name: str) -> str:
    return name.replace("_", r"\_")


def _symbol(name: str) -> str:
    """``m1`` as ``m_{1}``; a longer name upright."""
    found = _SUBSCRIPT.fullmatch(name)
    if found:
        return f"{_symbol(found[1])}_{{{found[2]}}}"
    return name if len(name) == 1 else rf"\mathrm{{{_escape(name)}}}"


def _access(access: ir.Access) -> str:
    name = rf"\mathrm{{{_escape(access.tensor)}}}"
    if not access.indices:
        return name
    return f"{name}_{{{', '.join(_index(i) for i in access.indices)}}}"


def _index(index: ir.Index) -> str:
    if isinstance(index, ir.Gather):
        return _access(index.access)
    text = ""
    for term in index.terms:
        factors = [_symbol(term.variable)] if term.variable else []
        factors.extend(_symbol(s) for s in term.shapes)
        if abs(term.coefficient) != 1 or not factors:
            factors.insert(0, str(abs(term.coefficient)))
        sign = "-" if term.coefficient < 0 else ("+" if text else "")
        text += sign + r" \cdot ".join(factors)
    return text or "0"


def _value(node: ir.Expression) -> tuple[str, int]:
    match node:
        case ir.Number(value=value):
            return _number(value), _ATOM if value >= 0 else _SUM
        case ir.Name(name=name):
            return _symbol(name), _ATOM
        case ir.Access():
            return _access(node), _ATOM
        case ir.Unary(operand=operand):
            return f"-{_group(operand, _PRODUCT)}", _SUM
        case ir.Call():
            return _call(node)
        case ir.Binary(operator="/", left=left, right=right):
            return rf"\frac{{{_value(left)[0]}}}{{{_value(right)[0]}}}", _PRODUCT
        case ir.Binary(operator="**", left=left, right=right):
            return f"{_group(left, _ATOM)}^{{{_value(right)[0]}}}", _POWER
        case ir.Binary(operator="*", left=left, right=right):
            return rf"{_group(left, _PRODUCT)} \cdot {_group(right, _POWER)}", _PRODUCT
        case ir.Binary(operator=operator, left=left, right=right):
            return f"{_group(left, _SUM)} {operator} {_group(right, _PRODUCT)}", _SUM


def _number(value: int | float) -> str:
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    mantissa, _, exponent = repr(value).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def _group(node: ir.Expression, level: int) -> str:
    text, own = _value(node)
    return text if own >= level else rf"\left({text}\right)"


def _call(node: ir.Call) -> tuple[str, int]:
    parts = [
        _condition(a) if isinstance(a, ir.Comparison | ir.Logical) else _value(a)[0]
        for a in node.arguments
    ]
    match node.function, parts:
        case "exp", [power]:
            return f"e^{{{power}}}", _POWER
        case "sqrt", [radicand]:
            return rf"\sqrt{{{radicand}}}", _ATOM
        case "abs", [inner]:
            return rf"\left|{inner}\right|", _ATOM
        case "floor", [inner]:
            return rf"\left\lfloor {inner} \right\rfloor", _ATOM
        case "where", [condition, yes, no]:
            cases = rf"{yes} & {condition} \\ {no} & \text{{otherwise}}"
            return rf"\begin{{cases}} {cases} \end{{cases}}", _PRODUCT
        case name, _:
            function = _FUNCTIONS.get(name) or rf"\operatorname{{{_escape(name)}}}"
            return rf"{function}\left({', '.join(parts)}\right)", _ATOM


def _condition(node: ir.Expression | ir.Condition) -> str:
    match node:
        case ir.Comparison(operator=operator, left=left, right=right):
            return f"{_value(left)[0]} {_COMPARISONS[operator]} {_value(right)[0]}"
        case ir.Logical(operator="not", operands=(operand,)):
            return rf"\lnot \left({_condition(operand)}\right)"
        case ir.Logical(operator=operator, operands=operands):
            parts = (
                rf"\left({_condition(o)}\right)" if isinstance(o, ir.Logical) else _condition(o)
                for o in operands
            )
            return _LOGIC[operator].join(parts)
        case _:
            return _value(node)[0]


# ------------------------------------------------------------------------- DOT and HTML


def program_dot(program: ir.Program) -> str:
    """The dependency graph in Graphviz' DOT language.

    Inputs are boxes, outputs have a double border, iterative tensors are grey; a dashed
    edge carries the value of the iteration before.
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
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def program_html(program: ir.Program) -> str:
    """Name, title and typeset equations as HTML, the text folded below; all of it escaped."""
    lines = [*statements_text(program.init), *statements_text(program.einsums)]
    heading = f"<strong>{html.escape(program.name)}</strong>"
    title = f"<br>{html.escape(program.title)}" if program.title else ""
    if program.unverified:
        title += f"<br><em>unverified: {html.escape(program.unverified)}</em>"
    equations = html.escape(f"$${program_latex(program)}$$")
    text = html.escape("\n".join(lines))
    folded = f"<details><summary>as text</summary><pre>{text}</pre></details>"
    return f"<div>{heading}{title}<div>{equations}</div>{folded}</div>"
