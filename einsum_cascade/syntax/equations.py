"""Parser of equations: splits a block into statements, parses them by lark, and resolves names.

The result is the intermediate representation (``ir``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any, TypeVar

from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from .. import ir
from ..algebra.products import ProductPart, summands_of
from ..algebra.products import total as sum_of
from ..algebra.terms import variable as variable_index
from ..errors import Problem, did_you_mean
from ..functions import FUNCTIONS, SELECTIONS
from ..notation import expression_text, statement_text
from ..source import Span
from ..yaml.source import YamlScalar

MAX_DEPTH = 80
"""Maximum nesting depth of an expression; a longer sum is better written as two Einsums."""

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STARTS = re.compile(r"[ \t]*[A-Za-z_]\w*[ \t]*(\[[^=\n<>]*\][ \t]*)?(=(?!=)|<<)")
_CONTINUES = re.compile(r"[ \t]*(::|where\b)")
_OPEN, _CLOSE = "([{", ")]}"
_LOOK_ALIKES = {
    "×": "*",
    "·": "*",
    "⋅": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "∧": "and",
    "∨": "or",
    "¬": "not",
    "∞": "inf",
    "^": "**",
    "{": "( or [",
    "}": ") or ]",
    "&": "and",
    "|": "or",
    "!": "not",
}
_WORDS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "COMPARE": "a comparison",
    "ASSIGN": "'='",
    "SELECT": "'<<'",
    "REDUCE": "'::'",
    **dict.fromkeys(("POWER", "TIMES", "DIVIDE", "PLUS", "MINUS"), "an operator"),
    "LSQB": "'['",
    "RSQB": "']'",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "WHERE": "'where'",
    "$END": "the end of the statement",
}


@dataclass(frozen=True)
class Piece:
    """Part of a YAML scalar that holds one statement or one expression."""

    scalar: YamlScalar
    start: int
    end: int

    @property
    def text(self) -> str:
        """Text of the piece."""
        return self.scalar.text[self.start : self.end]

    def span(self, start: int, end: int) -> Span:
        """Return the span in the file of the characters ``start`` to ``end`` of the piece."""
        return self.scalar.place(self.start + start, self.start + end)

    @property
    def names(self) -> frozenset[str]:
        """Words in the piece that look like names."""
        return frozenset(_NAME.findall(re.sub(r"#[^\n]*", "", self.text)))


@dataclass(frozen=True)
class Statement:
    """Statement as a parse tree, before its conversion to an Einsum."""

    piece: Piece
    tree: Any

    @property
    def target(self) -> str:
        """Name of the tensor on the left."""
        return str(self.tree.children[0].children[0])

    @property
    def is_scalar(self) -> bool:
        """True if the left side has no indices."""
        return len(self.tree.children[0].children) == 1


@cache
def _grammar() -> Lark:
    text = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        parser="lalr",
        start=["statement", "expression"],
        propagate_positions=True,
        maybe_placeholders=False,
    )


# ------------------------------------------------------------------------- cutting


def split_statements(scalar: YamlScalar) -> tuple[tuple[Piece, ...], tuple[Problem, ...]]:
    """Split a block into statements at newlines and ``;`` outside brackets.

    A line that begins with ``::`` or ``where`` continues the previous statement.
    """
    # Comments become blanks.
    text = re.sub(r"#[^\n]*", lambda found: " " * len(found[0]), scalar.text)
    pieces: list[Piece] = []
    problems: list[Problem] = []
    opened: list[int] = []
    start = 0

    def finish(end: int) -> None:
        nonlocal start
        part = text[start:end]
        if opened:
            what = f"'{text[opened[-1]]}' is never closed"
            problems.append(Problem(what, scalar.place(opened[-1])))
            opened.clear()
        elif part.strip():
            first = start + len(part) - len(part.lstrip())
            pieces.append(Piece(scalar, first, start + len(part.rstrip())))
        start = end + 1

    for at, c in enumerate(text):
        if c in _OPEN:
            opened.append(at)
        elif c in _CLOSE and opened:
            opened.pop()
        elif c == ";" or (c == "\n" and _ends_statement(text, at, bool(opened))):
            finish(at)
    finish(len(text))
    return tuple(pieces), tuple(problems)


def _ends_statement(text: str, newline: int, inside: bool) -> bool:
    # Inside brackets, a line that looks like a new statement means that a bracket was not closed.
    if inside:
        return _STARTS.match(text, newline + 1) is not None
    return _CONTINUES.match(text, newline + 1) is None


# ------------------------------------------------------------------------- parsing


def parse_piece(piece: Piece, start: str) -> tuple[Any, tuple[Problem, ...]]:
    """Return the lark tree of a piece (``start``: statement or expression), or its problems."""
    try:
        tree = _grammar().parse(piece.text, start=start)
    except UnexpectedInput as wrong:
        return None, (_syntax_problem(piece, wrong),)
    if _depth(tree) > MAX_DEPTH:
        what = f"this nests more than {MAX_DEPTH} deep; write it as several statements"
        return None, (Problem(what, piece.span(0, len(piece.text))),)
    return tree, ()


def _depth(tree: Any) -> int:
    deepest = 0
    stack = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        stack.extend((c, depth + 1) for c in node.children if isinstance(c, Tree))
    return deepest


def _syntax_problem(piece: Piece, wrong: UnexpectedInput) -> Problem:
    text = piece.text
    token = ""
    expected: Any
    if isinstance(wrong, UnexpectedCharacters):
        at = wrong.pos_in_stream or 0
        token = text[at]
        expected = wrong.allowed
    elif isinstance(wrong, UnexpectedToken) and wrong.token.type != "$END":
        at = wrong.token.start_pos or 0
        token = str(wrong.token)
        expected = wrong.accepts or wrong.expected
    else:
        at = max(0, len(text) - 1)
        expected = getattr(wrong, "accepts", None) or getattr(wrong, "expected", None)
    hint = f"expected {_expected(expected)}"
    if token in _LOOK_ALIKES:
        hint = f"write {_LOOK_ALIKES[token]}"
    elif token in ("=", "<<"):
        hint = "one '=' a statement; a comparison is written '=='"
    if piece.scalar.style not in ("|", ">") and piece.scalar.end[0] >= piece.scalar.span.line:
        hint = "start the block with '|' so that its lines stay apart"
    if not token:
        return Problem("the statement ends too early", piece.span(at, len(text)), hint)
    shown = token if token.isprintable() else f"U+{ord(token[0]):04X}"
    return Problem(f"'{shown}' is not expected here", piece.span(at, at + len(token)), hint)


def _expected(terminals: Any) -> str:
    words = [_WORDS.get(t) for t in sorted(terminals or ())]
    names = list(dict.fromkeys(w for w in words if w))
    if "a name" in names and "'('" in names:
        names = ["a name, a number or '('"]
    return " or ".join(names) if names else "something else"


_MAX_LITERAL = 40
_MAX_TERMS = 32


@dataclass(frozen=True, kw_only=True)
class NameScope:
    """Names that an equation may use, by kind."""

    variables: frozenset[str] = frozenset()
    shapes: frozenset[str] = frozenset()
    parallel: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    tensors: frozenset[str] = frozenset()
    scalars: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    arguments: frozenset[str] = frozenset()

    @property
    def known(self) -> tuple[str, ...]:
        """Names that may stand in an expression, sorted."""
        names = self.variables | self.shapes | self.parameters | self.tensors | self.arguments
        return tuple(sorted(names))


class _Stop(Exception):
    """Exception that ends the conversion of one statement after its problem was recorded."""


@dataclass
class Converter:
    """Converter of parse trees to Einsums and expressions, with the names of a scope.

    Problems are recorded with their spans.
    """

    scope: NameScope
    problems: list[Problem] = field(default_factory=list)
    piece: Piece | None = None

    def _span(self, node: Any) -> Span | None:
        if self.piece is None:
            return None
        if isinstance(node, Token):
            start = node.start_pos or 0
            return self.piece.span(start, start + len(node))
        return self.piece.span(node.meta.start_pos, node.meta.end_pos)

    def _wrong(self, message: str, node: Any, hint: str | None = None) -> _Stop:
        self.problems.append(Problem(message, self._span(node), hint))
        return _Stop()

    def _number(self, token: Token) -> ir.Number:
        text = str(token)
        if text == "inf":
            return ir.Number(math.inf, span=self._span(token))
        if len(text) > _MAX_LITERAL:
            raise self._wrong(f"a number of {len(text)} characters is too long", token)
        value = int(text) if text.isdigit() else float(text)
        if value == math.inf:
            raise self._wrong(
                f"'{text}' is too large for a float64; infinity is written inf", token
            )
        return ir.Number(value, span=self._span(token))

    def _access_or_name(self, tree: Any) -> ir.Access | ir.Name:
        if len(tree.children) > 1:
            return self._access(tree)
        token = tree.children[0]
        name, scope, span = str(token), self.scope, self._span(token)
        if name in scope.arguments:
            return ir.Name(name, "argument", span=span)
        if name in scope.parameters:
            return ir.Name(name, "parameter", span=span)
        if name in scope.variables:
            return ir.Name(name, "variable", span=span)
        if name in scope.scalars:
            return ir.Access(name, span=span)
        if name in scope.shapes:
            return ir.Name(name, "shape", span=span)
        raise self._unknown(token)

    def _unknown(self, token: Token) -> _Stop:
        name = str(token)
        if name in self.scope.tensors:
            return self._wrong(f"tensor '{name}' has indices; write them in [ ]", token)
        if name.upper() in self.scope.parallel:
            why = f"'{name.upper()}' is a parallel rank: every tensor carries it"
            return self._wrong(f"'{name}' is left out of the equations", token, why)
        if name in FUNCTIONS or name in self.scope.functions:
            return self._wrong(f"function '{name}' needs its arguments in ( )", token)
        return self._wrong(f"unknown name '{name}'", token, did_you_mean(name, self.scope.known))

    def _access(self, tree: Any) -> ir.Access:
        token, *indices = tree.children
        name = str(token)
        done = tuple(self._index(i) for i in indices)
        return ir.Access(name, done, span=self._span(tree))

    def _index(self, tree: Any) -> ir.Index:
        positions: dict[ir.Access, str] = {}
        total, span = self._affine(tree, positions), self._span(tree)
        accesses = {name: access for access, name in positions.items()}
        gathered = [t for t in total.terms if t.variable in accesses]
        if len(gathered) > 1:
            names = " and ".join(f"'{_shown(t.variable)}'" for t in gathered[:2])
            hint = "add the positions in an equation of their own, or gather twice"
            raise self._wrong(f"an index gathers one position, not those of {names}", tree, hint)
        offset = ir.Affine(tuple(t for t in total.terms if t not in gathered), span=span)
        for term in gathered:
            access = accesses[term.variable or ""]
            return ir.Gather(access, term.coefficient, term.shapes, offset, span=span)
        return offset

    def _affine(self, tree: Any, positions: dict[ir.Access, str]) -> ir.Affine:
        """Return an index as a sum, in which a variable with a blank stands for a position.

        ``positions`` holds the variable of each gathered access, and grows.
        """
        match tree.data:
            case "group":
                return self._affine(tree.children[0], positions)
            case "number":
                number = self._number(tree.children[0])
                if not isinstance(number.value, int):
                    raise self._wrong("an index is a whole number", tree)
                return ir.collected((ir.AffineTerm(number.value),))
            case "negation":
                return ir.Affine().minus(self._affine(tree.children[1], positions))
            case "binary":
                left, right = (self._affine(c, positions) for c in tree.children[::2])
                return self._combined(tree, left, right)
            case "access":
                name = str(tree.children[0])
                if len(tree.children) > 1 or name in self.scope.scalars:
                    variable = f"{name} {len(positions)}"
                    variable = positions.setdefault(self._access(tree), variable)
                    return ir.Affine((ir.AffineTerm(variable=variable),))
                return ir.Affine((self._index_name(tree.children[0]),))
            case _:
                raise self._wrong(
                    "an index is a sum of rank variables, shapes and whole numbers", tree
                )

    def _combined(self, tree: Any, left: ir.Affine, right: ir.Affine) -> ir.Affine:
        match str(tree.children[1]):
            case "+":
                return left.plus(right)
            case "-":
                return left.minus(right)
            case "*" if len(left.terms) * len(right.terms) > _MAX_TERMS:
                raise self._wrong("this index is too long", tree)
            case "*":
                product = left.times(right)
                if product is None:
                    both = "*".join(_shown(side.variables[0]) for side in (left, right))
                    raise self._wrong(f"{both} is not affine: one variable a term", tree)
                return product
            case operator:
                raise self._wrong(f"'{operator}' cannot be used in an index", tree.children[1])

    def _index_name(self, token: Token) -> ir.AffineTerm:
        name = str(token)
        if name in self.scope.variables:
            return ir.AffineTerm(variable=name)
        if name in self.scope.shapes:
            return ir.AffineTerm(shapes=(name,))
        if name in self.scope.parameters:
            hint = "declare it in 'ranks' to use it as a whole number"
            raise self._wrong(f"parameter '{name}' cannot be used in an index", token, hint)
        if name.upper() in self.scope.parallel:
            raise self._unknown(token)
        known = sorted(self.scope.variables | self.scope.shapes)
        raise self._wrong(f"unknown rank variable '{name}'", token, did_you_mean(name, known))

    # ------------------------------------------------------------- values and conditions

    def _value(self, tree: Any) -> ir.Expression:
        match tree.data:
            case "group":
                return self._value(tree.children[0])
            case "number":
                return self._number(tree.children[0])
            case "negation":
                return self._negation(tree)
            case "binary":
                left, operator, right = tree.children
                operands, symbol = (self._value(left), self._value(right)), str(operator)
                return ir.Binary(symbol, *operands, span=self._span(tree))  # type: ignore[arg-type]
            case "call":
                return self._call(tree)
            case "access":
                return self._access_or_name(tree)
            case _:
                raise self._wrong("a condition stands where a number is expected", tree)

    def _negation(self, tree: Any) -> ir.Expression:
        operand = tree.children[1]
        if operand.data == "number":
            number = self._number(operand.children[0])
            return ir.Number(-number.value, span=self._span(tree))
        return ir.Unary("-", self._value(operand), span=self._span(tree))

    def _call(self, tree: Any) -> ir.Call:
        name = tree.children[0]
        arguments = list(tree.children[1:])
        known = {**FUNCTIONS, **dict.fromkeys(self.scope.functions)}
        if name not in known:
            hint = did_you_mean(name, known)
            if name in self.scope.tensors:
                hint = f"'{name}' is a tensor; its indices stand in [ ]"
            raise self._wrong(f"unknown function '{name}'", name, hint)
        done: list[ir.Expression | ir.Condition] = []
        for position, argument in enumerate(arguments):
            is_condition = name == "where" and position == 0
            done.append(self._condition(argument) if is_condition else self._value(argument))
        return ir.Call(str(name), tuple(done), span=self._span(tree))

    def _condition(self, tree: Any) -> ir.Condition:
        match tree.data:
            case "group":
                return self._condition(tree.children[0])
            case "comparison":
                return self._comparison(tree)
            case "conjunction" | "disjunction":
                parts = tuple(self._condition(c) for c in tree.children[::2])
                operator = "and" if tree.data == "conjunction" else "or"
                return ir.Logical(operator, parts, span=self._span(tree))  # type: ignore[arg-type]
            case "inversion":
                part = self._condition(tree.children[1])
                return ir.Logical("not", (part,), span=self._span(tree))
            case _:
                raise self._wrong("a comparison is expected here", tree, "such as m <= p")

    def _comparison(self, tree: Any) -> ir.Condition:
        values = [self._value(c) for c in tree.children[::2]]
        operators = tree.children[1::2]
        parts = tuple(
            ir.Relational(str(op), left, right, span=self._span(tree))  # type: ignore[arg-type]
            for left, op, right in zip(values, operators, values[1:], strict=False)
        )
        if len(parts) == 1:
            return parts[0]
        return ir.Logical("and", parts, span=self._span(tree))

    # -------------------------------------------------------------------- statements

    def statement(self, statement: Statement) -> ir.Einsum | None:
        """Return the Einsum of a statement, or record problems and return None."""
        return self._converted(self._statement, statement.piece, statement.tree)

    def expression(self, piece: Piece, tree: Any) -> ir.Expression | None:
        """Return the expression of a piece, or record problems and return None."""
        return self._converted(self._value, piece, tree)

    def _converted(self, convert: Callable[[Any], T], piece: Piece, tree: Any) -> T | None:
        self.piece = piece
        before = len(self.problems)
        found = None
        with suppress(_Stop):
            found = convert(tree)
        return found if len(self.problems) == before else None

    def _statement(self, tree: Any) -> ir.Einsum:
        target = self._access(tree.children[0])
        if tree.data == "selection":
            return self._selection(tree, target)
        expression = self._value(tree.children[2])
        over = _missing(target, expression)
        clauses = tree.children[3:]
        einsum = self._clauses(ir.Einsum(target, expression, over=over, span=target.span), clauses)
        if einsum.repeated and all(clause.data != "reduction" for clause in clauses):
            self.problems.append(self._repeated(einsum, einsum.repeated))
        return einsum

    def _repeated(self, einsum: ir.Einsum, variable: str) -> Problem:
        """Return the problem of a term that an implied sum adds once per coordinate."""
        parts = summands_of(einsum.expression)
        term = next(p.value for p in parts if not ir.every_term_has(p.value, variable))
        taken = {*self.scope.known, *self.scope.parallel}
        name = next(n for i in count(1) if (n := f"{einsum.name}{i}") not in taken)
        apart = "; ".join(map(statement_text, _summed_apart(einsum, name)))
        first = apart or f"the sum of what has '{variable}' as an Einsum of its own"
        hint = f"write {first}\n    or, to add it once per {variable}: {statement_text(einsum)}"
        what = f"the implied sum over '{variable}' repeats a term without '{variable}'"
        return Problem(f"{what}: {expression_text(term)}", term.span, hint)

    def _clauses(self, einsum: ir.Einsum, clauses: list[Any]) -> ir.Einsum:
        seen: set[str] = set()
        for clause in clauses:
            if clause.data in seen:
                raise self._wrong(
                    f"a second '{clause.children[0]}' in one statement", clause.children[0]
                )
            seen.add(clause.data)
            if clause.data == "restriction":
                einsum = replace(einsum, where=self._condition(clause.children[1]))
            else:
                einsum = self._reduction(einsum, clause)
        return einsum

    def _reduction(self, einsum: ir.Einsum, clause: Any) -> ir.Einsum:
        operator = clause.children[1].children[0]
        names = clause.children[2:]
        if einsum.select:
            raise self._wrong("a selection reduces by itself; drop the '::'", clause.children[0])
        written = [str(n) for n in names]
        missing = [v for v in einsum.over if v not in written]
        for name in names:
            if written.count(str(name)) > 1:
                raise self._wrong(f"'{name}' is reduced twice", name)
            if name not in einsum.over:
                raise self._not_reducible(einsum, name)
        if missing:
            listed = ", ".join(f"'{v}'" for v in missing)
            raise self._wrong(f"{listed} is missing on the left but not reduced here", clause)
        return replace(einsum, reduction=str(operator))

    def _not_reducible(self, einsum: ir.Einsum, name: Token) -> _Stop:
        if name in einsum.target.variables:
            return self._wrong(f"'{name}' is on the left, so it is not reduced", name)
        hint = did_you_mean(name, einsum.over) if einsum.over else "nothing is reduced here"
        return self._wrong(f"'{name}' is not on the right, so it cannot be reduced", name, hint)

    def _selection(self, tree: Any, target: ir.Access) -> ir.Einsum:
        function, source, position = tree.children[2:5]
        if function not in SELECTIONS:
            hint = did_you_mean(function, SELECTIONS)
            raise self._wrong(f"'{function}' is not a selection", function, hint)
        selected = self._access(source)
        free = [v for v in target.variables if v not in selected.variables]
        if free != [str(position)]:
            where = f"'{free[0]}'" if len(free) == 1 else "one new variable on the left"
            raise self._wrong(f"the last argument must be {where}, not '{position}'", position)
        over = _missing(target, selected)
        einsum = ir.Einsum(target, selected, over=over, select=str(function), span=target.span)
        return self._clauses(einsum, tree.children[5:])


def _summed_apart(einsum: ir.Einsum, name: str) -> tuple[ir.Einsum, ...]:
    """Return an Einsum of the terms that are reduced, then one that adds the other terms.

    Return () if the terms differ in what they reduce, or if one is a product of such a sum.
    """
    terms = summands_of(einsum.expression)
    summed = [t for t in terms if _missing(einsum.target, t.value)]
    lead = summed[0].count
    total = sum_of(replace(t, count=t.count * lead) for t in summed)
    # A condition on reduced variables stays with their sum.
    where, rest = einsum.where, None
    if not {*ir.variables_of(where)} & {*einsum.over}:
        where, rest = rest, where
    kept = [v for v in einsum.target.variables if v in ir.variables_of(total, where)]
    access = ir.Access(name, tuple(variable_index(v) for v in kept))
    first = ir.Einsum(access, total, over=einsum.over, where=where)
    left = sum_of([ProductPart(access, lead), *(t for t in terms if t not in summed)])
    last = replace(einsum, expression=left, over=(), where=rest)
    return () if first.repeated else (first, last)


def _missing(target: ir.Access, expression: ir.Expression) -> tuple[str, ...]:
    return tuple(v for v in ir.variables_of(expression) if v not in target.variables)


def _shown(variable: str | None) -> str:
    """Return the name that stands for a variable in messages; for a position, the index tensor."""
    return (variable or "").partition(" ")[0]
