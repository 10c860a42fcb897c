"""Notations of a cascade: canonical YAML text, LaTeX, MathML, HTML and DOT.

The YAML text of a cascade parses to an equal cascade: ``parse(print(c)) == c``. A typeset notation
is a table of templates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, get_args

from . import ir
from .domains import whole_text
from .functions import COMPARISONS, FUNCTIONS, REDUCTIONS, Strength
from .ordering import dependences
from .source import escaped, html_text, visible
from .yaml.source import resolve

_LEVEL = {"or": 1, "and": 2, "not": 3, "compare": 4, "+": 5, "-": 5, "*": 6, "/": 6, "**": 8}
_UNARY = 7
_NOTHING = "~"
_ATOM = 9
# Characters of a plain YAML scalar that is also safe inside [ ] and { }.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./_+()*^-]*(?<! )")


def number_text(value: int | float) -> str:
    """Return a number as text that the grammar reads; integers stay integers."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


# ------------------------------------------------------------------ expressions as text


def index_text(index: ir.Index, tight: bool = False) -> str:
    """Return an index as text: ``m1*M0 + m0``, ``m1+1``, ``0`` or a gather.

    The parser reads the same index from the text. ``tight`` omits blanks. A sum of two terms, one
    of them a number, never has blanks (``m1+1``), as people write it.
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
    """Return ``text`` followed by the terms of an index as text."""
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
    """Return an expression or condition as text with the fewest parentheses.

    The parser reads the same tree from it: ``a + (b + c)`` keeps its parentheses.

    >>> a, b, c = (ir.Name(name=n, kind="parameter") for n in "abc")
    >>> difference = ir.Binary(operator="-", left=b, right=c)
    >>> expression_text(ir.Binary(operator="-", left=a, right=difference))
    'a - (b - c)'
    """
    return _render(node)[0]


def _render(node: ir.Expression | ir.Condition) -> tuple[str, int]:
    """Return the text of a node and the binding level of its outermost operator."""
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
    """Return one statement as text; the left side is padded to ``width`` characters.

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
        if einsum.reduction != "+" or einsum.repeated:
            text += f" :: {einsum.reduction}[{', '.join(einsum.over)}]"
    if einsum.where is not None:
        text += f" where {expression_text(einsum.where)}"
    return text


def statements_text(einsums: tuple[ir.Einsum, ...]) -> tuple[str, ...]:
    """Return statements as texts with their ``=`` in one column."""
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
    else:
        yield from _mapping("ranks", tuple(_ranks(program)))
    yield from _mapping("inputs", tuple((t.name, _list(t.ranks)) for t in program.inputs))
    if len(program.outputs) == 1:
        yield f"output: {program.outputs[0]}"
    elif program.outputs:
        yield f"outputs: {_list(program.outputs)}"
    yield from _parameters(program)
    yield from _mapping("domains", tuple((d.name, _domain(d)) for d in program.domains))
    yield from _mapping("distinct", tuple((d.name, _list(d.ranks)) for d in program.distinct))
    yield from _mapping("usual", tuple((u.name, str(u.size)) for u in program.usual))
    yield from _functions(program)
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
    if program.parameters and all(p.default is None for p in program.parameters):
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
    if not entries:
        return
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
    """Return a text as a YAML scalar, without quotes if that is safe."""
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


# ------------------------------------------------------------------ typesetting

_SUBSCRIPT = re.compile(r"([A-Za-z]+)([0-9]+)")


Column = Literal["latex", "mathml"]
"""Name of a typeset notation, which is a column of the function tables and of ``_TEMPLATES``."""

_TEMPLATES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        # Signs.
        "times": (r"\cdot", "·"),
        "infinity": (r"\infty", "∞"),
        "both": (r"\land", "∧"),
        "either": (r"\lor", "∨"),
        "negation": (r"\lnot ", "<mo>¬</mo>"),
        # Names: of one letter, of several letters, of a function, reduction or selection.
        "letter": ("{0}", "<mi>{0}</mi>"),
        "word": (r"\mathrm{{{0}}}", '<mi mathvariant="normal">{0}</mi>'),
        "operator": (r"\operatorname{{{0}}}", '<mi mathvariant="normal">{0}</mi>'),
        "digits": ("{0}", "<mn>{0}</mn>"),
        # Operators: close to their operands, between their operands.
        "sign": ("{0}", "<mo>{0}</mo>"),
        "infix": (" {0} ", "<mo>{0}</mo>"),
        # Parts: several in a group, separated, in parentheses.
        "row": ("{0}", "<mrow>{0}</mrow>"),
        "comma": (", ", '<mo separator="true">,</mo>'),
        "fenced": (r"\left({0}\right)", "<mrow><mo>(</mo>{0}<mo>)</mo></mrow>"),
        "subscript": ("{0}_{{{1}}}", "<msub>{0}{1}</msub>"),
        "power": ("{0}^{{{1}}}", "<msup>{0}{1}</msup>"),
        "fraction": (r"\frac{{{0}}}{{{1}}}", "<mfrac><mrow>{0}</mrow><mrow>{1}</mrow></mfrac>"),
        # Value {2} reduced over ranks {1} by operator {0}.
        "reduced": ("{0}_{{{1}}} {2}", "<munder>{0}<mrow>{1}</mrow></munder>{2}"),
        # Positions selected from value {2} over ranks {1} by operator {0}.
        "selected": (
            r"{0}_{{{1}}}\; {2}",
            "<munder>{0}<mrow>{1}</mrow></munder><mrow><mo>(</mo>{2}<mo>)</mo></mrow>",
        ),
        # Value {0} where condition {1} holds.
        "restricted": (
            r"{0} \quad \text{{where }} {1}",
            '{0}<mspace width="1em"/><mtext>where&nbsp;</mtext>{1}',
        ),
        # Equation of target {0} and value {1}, aligned at its sign.
        "equation": ("{0} &= {1}", "<mtr><mtd>{0}</mtd><mtd><mo>=</mo></mtd><mtd>{1}</mtd></mtr>"),
    }
)
"""Templates of the parts of an equation in LaTeX and MathML.

``{0}``, ``{1}``... stand for parts that are already typeset.
"""


class Typesetter:
    """Printer of statements in a typeset notation, with the fewest parentheses."""

    def __init__(self, column: Column) -> None:
        self._column: Column = column
        place = get_args(Column).index(column)
        self._templates = {name: row[place] for name, row in _TEMPLATES.items()}

    @property
    def _times(self) -> str:
        return self._word(self._templates["times"], "infix")

    def equations(self, program: ir.Program) -> Iterator[str]:
        """Yield every statement of a program as typeset text, initialisation first."""
        return (self._statement(e) for e in program.statements)

    def _statement(self, einsum: ir.Einsum) -> str:
        value, strength = self._value(einsum.expression)
        over = self._templates["comma"].join(self._symbol(v) for v in einsum.over)
        if einsum.select is not None:
            value = self._put("selected", self._word(einsum.select, "operator"), over, value)
        elif einsum.over:
            inner = self._put("fenced", value) if strength == Strength.SUM else value
            row = REDUCTIONS.get(einsum.reduction)
            symbol = row and getattr(row, self._column)
            name = (
                self._word(symbol, "sign") if symbol else self._word(einsum.reduction, "operator")
            )
            value = self._put("reduced", name, over, inner)
        if einsum.where is not None:
            value = self._put("restricted", value, self._condition(einsum.where))
        return self._put("equation", self._access(einsum.target), value)

    # ------------------------------------------------------------ names and indices

    def _symbol(self, name: str) -> str:
        """Return a typeset name: ``m1`` is m with subscript 1, and a longer name is upright."""
        found = _SUBSCRIPT.fullmatch(name)
        if found:
            return self._put("subscript", self._symbol(found[1]), self._put("digits", found[2]))
        return self._word(name, "letter" if len(name) == 1 else "word")

    def _put(self, template: str, *parts: str) -> str:
        return self._templates[template].format(*parts)

    def _word(self, name: str, template: str) -> str:
        plain = self._column == "latex"
        return self._put(template, name.replace("_", r"\_") if plain else html_text(name))

    def _access(self, access: ir.Access) -> str:
        name = self._word(access.tensor, "word")
        if not access.indices:
            return name
        inside = self._templates["comma"].join(self._index(i) for i in access.indices)
        return self._put("subscript", name, self._put("row", inside))

    def _index(self, index: ir.Index) -> str:
        if isinstance(index, ir.Gather):
            position = self._term(index, [self._access(index.access)], first=True)
            return self._sum(index.offset, position)
        return self._sum(index, "") or self._put("digits", "0")

    def _sum(self, index: ir.Affine, text: str) -> str:
        """Return ``text`` followed by the typeset terms of an index."""
        for term in index.terms:
            variable = [self._symbol(term.variable)] if term.variable else []
            text += self._term(term, variable, first=not text)
        return text

    def _term(self, term: ir.AffineTerm | ir.Gather, factors: list[str], first: bool) -> str:
        factors.extend(self._symbol(s) for s in term.shapes)
        if abs(term.coefficient) != 1 or not factors:
            factors.insert(0, self._put("digits", str(abs(term.coefficient))))
        sign = "-" if term.coefficient < 0 else ("" if first else "+")
        before = self._word(sign, "sign") if sign else ""
        return before + self._times.join(factors)

    # -------------------------------------------------------------------- expressions

    def _value(self, node: ir.Expression) -> tuple[str, Strength]:
        """Return a typeset expression and its binding strength."""
        match node:
            case ir.Number(value=value):
                return self._number(value), Strength.ATOM if value >= 0 else Strength.SUM
            case ir.Name(name=name):
                return self._symbol(name), Strength.ATOM
            case ir.Access():
                return self._access(node), Strength.ATOM
            case ir.Unary(operand=operand):
                return self._word("-", "sign") + self._group(
                    operand, Strength.PRODUCT
                ), Strength.SUM
            case ir.Call():
                return self._call(node)
            case ir.Binary(operator="/", left=left, right=right):
                above, below = self._value(left)[0], self._value(right)[0]
                return self._put("fraction", above, below), Strength.PRODUCT
            case ir.Binary(operator="**", left=left, right=right):
                base, exponent = self._group(left, Strength.ATOM), self._value(right)[0]
                return self._put(
                    "power", self._put("row", base), self._put("row", exponent)
                ), Strength.POWER
            case ir.Binary(operator=operator, left=left, right=right):
                own = Strength.PRODUCT if operator == "*" else Strength.SUM
                sign = self._times if operator == "*" else self._word(operator, "infix")
                # The right operand of an operator of equal strength keeps its parentheses.
                second = self._group(right, Strength(own + 1))
                return f"{self._group(left, own)}{sign}{second}", own

    def _number(self, value: int | float) -> str:
        if math.isinf(value):
            sign = "" if value > 0 else self._word("-", "sign")
            return sign + self._put("digits", self._templates["infinity"])
        mantissa, _, exponent = repr(value).partition("e")
        number = self._put("digits", mantissa)
        if exponent:
            power = self._put(
                "power", self._put("digits", "10"), self._put("digits", str(int(exponent)))
            )
            return f"{number}{self._times}{power}"
        return number

    def _group(self, node: ir.Expression, strength: Strength) -> str:
        text, own = self._value(node)
        return text if own >= strength else self._put("fenced", text)

    def _call(self, node: ir.Call) -> tuple[str, Strength]:
        parts = [self._condition(a) for a in node.arguments]
        row = FUNCTIONS.get(node.function)
        if row is not None and (template := getattr(row, self._column)):
            return template.format(*parts), row.strength
        arguments = self._put("fenced", self._templates["comma"].join(parts))
        command = row.latex_name if row is not None and self._column == "latex" else ""
        return (command or self._word(node.function, "operator")) + arguments, Strength.ATOM

    def _condition(self, node: ir.Expression | ir.Condition) -> str:
        match node:
            case ir.Relational(operator=operator, left=left, right=right):
                sign = self._word(getattr(COMPARISONS[operator], self._column), "infix")
                return f"{self._value(left)[0]}{sign}{self._value(right)[0]}"
            case ir.Logical(operator="not", operands=(operand,)):
                return self._templates["negation"] + self._put("fenced", self._condition(operand))
            case ir.Logical(operator=operator, operands=operands):
                texts = ((self._condition(o), isinstance(o, ir.Logical)) for o in operands)
                parts = (self._put("fenced", x) if fenced else x for x, fenced in texts)
                return self._word(
                    self._templates["both"] if operator == "and" else self._templates["either"],
                    "infix",
                ).join(parts)
            case _:
                return self._value(node)[0]


def program_latex(program: ir.Program) -> str:
    """Return the equations as a LaTeX ``aligned`` block without ``$``, initialisation first."""
    body = " \\\\\n".join(Typesetter("latex").equations(program))
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def program_mathml(program: ir.Program) -> str:
    """Return the equations as one ``<math>`` element, aligned at ``=``, initialisation first."""
    rows = "".join(Typesetter("mathml").equations(program))
    return f'<math displaystyle="true"><mtable class="equations">{rows}</mtable></math>'


# ------------------------------------------------------------------------- DOT and HTML


def program_dot(program: ir.Program) -> str:
    """Return the graph of dependences in Graphviz' DOT language, with the equations as tooltips.

    Inputs are boxes, outputs have a double border, and iterative tensors are grey. A dashed edge
    carries the value of the previous iteration.
    """
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
    for writer, reader in dict.fromkeys(
        (a.tensor, e.name) for e in program.einsums for a in e.reads
    ):
        dashed = (writer, reader) in delayed and (writer, reader) not in at_once
        lines.append(
            f"  {_quote(writer)} -> {_quote(reader)}{' [style=dashed]' if dashed else ''};"
        )
    return "\n".join([*lines, "}"]) + "\n"


def _quote(text: str) -> str:
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def program_html(program: ir.Program) -> str:
    """Return a cascade's name, title and equations as escaped HTML, with its text folded below.

    The result is one ``<div>`` whose equations are LaTeX between ``$$``, which Jupyter typesets.
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
