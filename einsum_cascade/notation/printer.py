"""Printer: IR to canonical YAML text, such that ``parse(print(c)) == c``.

``typeset`` has equations in LaTeX and MathML, HTML and DOT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from .. import ir
from ..domains import whole_text
from ..source import escaped
from ..yaml.source import resolve

_LEVEL = {"or": 1, "and": 2, "not": 3, "compare": 4, "+": 5, "-": 5, "*": 6, "/": 6, "**": 8}
_UNARY = 7
_NOTHING = "~"
_ATOM = 9
# Characters of a plain YAML scalar that is also safe inside [ ] and { }.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./_+()*^-]*(?<! )")


def number_text(value: int | float) -> str:
    """Return a number as the grammar reads it; integers stay integers."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


# ------------------------------------------------------------------------- expressions


def index_text(index: ir.Index, tight: bool = False) -> str:
    """Return an index as text: ``m1*M0 + m0``, ``m1+1``, ``0`` or a gather.

    The parser reads the same index from it. ``tight`` omits blanks; two terms one of which is a
    number are always tight (``m1+1``), as people write them.
    """
    if isinstance(index, ir.Gather):
        position = _product_text(index, access_text(index.access, tight))
        text = f"-{position}" if index.coefficient < 0 else position
        return _sum_text(index.offset, text, compact=tight)
    if not index.terms:
        return "0"
    compact = tight or (len(index.terms) == 2 and index.offset is not None)
    return _sum_text(index, "", compact)


def _sum_text(index: ir.Affine, text: str, compact: bool) -> str:
    """Return ``text`` followed by the terms of an index."""
    plus, minus = ("+", "-") if compact else (" + ", " - ")
    for term in index.terms:
        sign = (minus if text else "-") if term.coefficient < 0 else (plus if text else "")
        text += sign + _product_text(term, term.variable)
    return text


def _product_text(term: ir.AffineTerm | ir.Gather, variable: str | None) -> str:
    size = abs(term.coefficient)
    factors = [variable] if variable else []
    factors.extend(term.shapes)
    if size != 1 or not factors:
        factors.insert(0, str(size))
    return "*".join(factors)


def access_text(access: ir.Access, tight: bool = False) -> str:
    """Return an access as text: ``T[i, j]``, or ``T`` for a tensor of rank zero.

    Parameters
    ----------
    access : Access
    tight : bool, optional
        Whether to omit blanks, for names inside sentences and symbols of sympy.
    """
    if not access.indices:
        return access.tensor
    indices = (index_text(i, tight) for i in access.indices)
    return f"{access.tensor}[{(',' if tight else ', ').join(indices)}]"


def expression_text(node: ir.Expression | ir.Condition) -> str:
    """Return an expression or condition with the fewest parentheses.

    The parser reads the same tree from it: ``a + (b + c)`` keeps its parentheses.

    >>> a, b, c = (ir.Name(name=n, kind="parameter") for n in "abc")
    >>> difference = ir.Binary(operator="-", left=b, right=c)
    >>> expression_text(ir.Binary(operator="-", left=a, right=difference))
    'a - (b - c)'
    """
    return _render(node)[0]


def _render(node: ir.Expression | ir.Condition) -> tuple[str, int]:
    """Return the text of a node and the level of its outermost operator."""
    match node:
        case ir.Number(value=value):
            return number_text(value), _UNARY if math.copysign(1, value) < 0 else _ATOM
        case ir.Name(name=name):
            return name, _ATOM
        case ir.Access():
            return access_text(node), _ATOM
        case ir.Call(function=function, arguments=arguments):
            return f"{function}({', '.join(expression_text(a) for a in arguments)})", _ATOM
        case ir.Unary(operand=ir.Number() as operand):
            # Without parentheses the parser would read a negative number.
            return f"-({expression_text(operand)})", _UNARY
        case ir.Unary(operand=operand):
            return f"-{_inside(operand, _UNARY)}", _UNARY
        case ir.Binary(operator=operator, left=left, right=right):
            level = _LEVEL[operator]
            if operator == "**":
                return f"{_inside(left, _ATOM)} ** {_inside(right, _UNARY)}", level
            return f"{_inside(left, level)} {operator} {_inside(right, level + 1)}", level
        case ir.Relational(operator=operator, left=left, right=right):
            level = _LEVEL["compare"]
            return f"{_inside(left, level + 1)} {operator} {_inside(right, level + 1)}", level
        case ir.Logical(operator="not", operands=(operand,)):
            return f"not {_inside(operand, _LEVEL['not'])}", _LEVEL["not"]
        case ir.Logical(operator=operator, operands=operands):
            level = _LEVEL[operator]
            return f" {operator} ".join(_inside(o, level + 1) for o in operands), level


def _inside(node: ir.Expression | ir.Condition, level: int) -> str:
    text, own = _render(node)
    return text if own >= level else f"({text})"


# ------------------------------------------------------------------------- statements


def statement_text(einsum: ir.Einsum, width: int = 0) -> str:
    """Return one statement; the left side is padded to ``width`` characters.

    Parameters
    ----------
    einsum : Einsum
    width : int, optional
        Characters before ``=``; a longer left side is not cut.
    """
    left = access_text(einsum.target).ljust(width)
    if einsum.select is not None:
        free = [v for v in einsum.target.variables if v not in ir.variables_of(einsum.expression)]
        inner = ", ".join([expression_text(einsum.expression), *free])
        text = f"{left} << {einsum.select}({inner})"
    else:
        text = f"{left} = {expression_text(einsum.expression)}"
        if einsum.reduction != "+":
            text += f" :: {einsum.reduction}[{', '.join(einsum.over)}]"
    if einsum.where is not None:
        text += f" where {expression_text(einsum.where)}"
    return text


def statements_text(einsums: tuple[ir.Einsum, ...]) -> tuple[str, ...]:
    """Return statements with their ``=`` in one column."""
    width = max((len(access_text(e.target)) for e in einsums), default=0)
    return tuple(statement_text(e, min(width, 40)) for e in einsums)


# ------------------------------------------------------------------------- the file


def program_text(program: ir.Program) -> str:
    """Return the canonical YAML text of a program; parsing it gives an equal program."""
    return "\n".join(_lines(program)) + "\n"


def _lines(program: ir.Program) -> Iterator[str]:
    yield f"cascade: {scalar_text(program.name)}"
    for key, text in (
        ("title", program.title),
        ("source", program.origin),
        ("unverified", program.unverified),
        ("reference", program.reference),
    ):
        if text:
            yield f"{key}: {scalar_text(text)}"
    if program.parallel:
        yield f"parallel: {_list(program.parallel)}"
    if program.ranks and not any(
        r.meaning or r.partition or r.like or r.shape for r in program.ranks
    ):
        yield f"ranks: {_list(tuple(r.name for r in program.ranks))}"
    elif program.ranks:
        yield from _mapping("ranks", tuple(_ranks(program)))
    if program.inputs:
        yield from _mapping("inputs", tuple((t.name, _list(t.ranks)) for t in program.inputs))
    if len(program.outputs) == 1:
        yield f"output: {program.outputs[0]}"
    elif program.outputs:
        yield f"outputs: {_list(program.outputs)}"
    yield from _parameters(program)
    if program.domains:
        yield from _mapping("domains", tuple((d.name, _domain(d)) for d in program.domains))
    if program.distinct:
        yield from _mapping("distinct", tuple((d.name, _list(d.ranks)) for d in program.distinct))
    if program.usual:
        yield from _mapping("usual", tuple((u.name, str(u.size)) for u in program.usual))
    yield from _functions(program)
    if program.accumulate:
        yield from _mapping("accumulate", program.accumulate)
    for key, block in (("init", program.init), ("einsums", program.einsums)):
        if block:
            yield f"{key}: |"
            yield from (f"  {line}" for line in statements_text(block))


def _ranks(program: ir.Program) -> Iterator[tuple[str, str]]:
    for rank in program.ranks:
        if rank.family is not None:
            continue
        meaning = scalar_text(rank.meaning) if rank.meaning else _NOTHING
        if rank.partition or rank.like or rank.shape:
            parts = [f"is: {meaning}"] if meaning else []
            parts += [f"like: {rank.like}"] if rank.like else []
            parts += [f"shape: {rank.shape}"] if rank.shape else []
            parts += [f"partition: {_list(rank.partition)}"] if rank.partition else []
            yield rank.name, f"{{{', '.join(parts)}}}"
        else:
            yield rank.name, meaning


def _parameters(program: ir.Program) -> Iterator[str]:
    if not program.parameters:
        return
    if all(p.default is None for p in program.parameters):
        yield f"parameters: {_list(tuple(p.name for p in program.parameters))}"
        return
    entries = tuple(
        (p.name, _NOTHING if p.default is None else number_text(p.default))
        for p in program.parameters
    )
    yield from _mapping("parameters", entries)


def _domain(domain: ir.Domain) -> str:
    if domain.whole:
        return whole_text(domain)
    return _list((number_text(domain.low), number_text(domain.high)))


def _functions(program: ir.Program) -> Iterator[str]:
    if program.functions:
        yield "functions:"
        for function in program.functions:
            signature = f"{function.name}({', '.join(function.arguments)})"
            yield f"  {quoted(signature)}: {quoted(expression_text(function.body))}"
    if program.reductions:
        yield "reductions:"
        for reduction in program.reductions:
            signature = f"{reduction.name}({', '.join(reduction.arguments)})"
            body = quoted(expression_text(reduction.body))
            identity = number_text(reduction.identity)
            yield f"  {quoted(signature)}: {{is: {body}, identity: {identity}}}"


def _mapping(key: str, entries: tuple[tuple[str, str], ...]) -> Iterator[str]:
    inline = f"{key}: {{{', '.join(f'{name}: {value}' for name, value in entries)}}}"
    if len(inline) <= 100:
        yield inline
        return
    yield f"{key}:"
    for name, value in entries:
        yield f"  {name}: {value}"


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(names)}]"


def scalar_text(text: str) -> str:
    """Return a text as a YAML scalar, plain if that is safe."""
    return text if _PLAIN.fullmatch(text) and resolve(text) == text else quoted(text)


def quoted(text: str) -> str:
    r"""Return a text as a double-quoted YAML scalar on one line.

    Unprintable characters become YAML escapes (``\\x0a``).
    """
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c.isprintable():
        return c
    return escaped(c)
