"""Masks as sums of signed products of inequalities, in sympy: what counts points reads these.

``or`` and ``not`` are taken apart by inclusion and exclusion, ``where(c, a, b)`` by its two
cases, and a declared function is what its body says.
"""

from __future__ import annotations

from typing import Any

from .. import ir
from ..algebra.terms import rebuild
from ..functions import ARITHMETIC, FUNCTIONS, of
from ..masks import depends_on_data


def rank_symbol(name: str) -> Any:
    """The symbol of a rank's shape: a positive whole number.

    >>> str(rank_symbol("M1") * rank_symbol("M0"))
    'M0*M1'
    """
    import sympy

    return sympy.Symbol(name, integer=True, positive=True)


def variable_symbol(name: str) -> Any:
    """The symbol of a rank variable: a whole number from zero."""
    import sympy

    return sympy.Symbol(name, integer=True, nonnegative=True)


def inlined(program: ir.Program, condition: ir.Condition | None) -> ir.Condition | None:
    """A condition without calls of declared functions: their bodies stand there.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, P]\\ninputs: {X: [M, P]}\\noutput: Z\\n"
    >>> text = head + "functions: {'half(x)': 'floor(x / 2)'}\\n"
    >>> program = Cascade.parse(text + "einsums: 'Z[p] = X[m, p] where half(m) <= p'\\n").program
    >>> from ..notation.printer import expression_text
    >>> expression_text(inlined(program, program.einsums[0].where))
    'floor(m / 2) <= p'
    """
    declared = {f.name: f for f in program.functions}

    def change(node: ir.Node) -> ir.Node:
        if not isinstance(node, ir.Call) or node.function not in declared:
            return node
        function = declared[node.function]
        given = dict(zip(function.arguments, node.arguments, strict=True))

        def put(part: ir.Node) -> ir.Node:
            is_own = isinstance(part, ir.Name) and part.kind == "argument"
            return given[part.name] if is_own and isinstance(part, ir.Name) else part

        return rebuild(rebuild(function.body, change), put)

    return None if condition is None else rebuild(condition, change)


Signed = tuple[int, tuple[Any, ...]]
"""A sign and expressions all of which are at most zero."""


def conjunctions(condition: ir.Condition | None) -> list[Signed]:
    """A condition's indicator as a sum of signed products of inequalities.

    A term is a sign and inequalities; ``or`` is everything but neither:

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, P]\\ninputs: {X: [M, P]}\\noutput: Y\\n"
    >>> text = head + "einsums: |\\n  Y[p] = X[m, p] where m <= p or m == 0\\n"
    >>> mask = Cascade.parse(text).program.einsums[0].where
    >>> [(sign, [str(x) for x in parts]) for sign, parts in conjunctions(mask)]
    [(1, []), (-1, []), (1, ['m', '-m']), (1, ['m - p']), (-1, ['m - p', 'm', '-m'])]
    """
    everything: list[Signed] = [(1, ())]
    match condition:
        case ir.Logical(operator="and", operands=operands):
            found = everything
            for operand in operands:
                found = _times(found, conjunctions(operand))
            return found
        case ir.Logical(operator="or", operands=operands):
            # a or b = 1 - (1 - a)(1 - b).
            none = everything
            for operand in operands:
                none = _times(none, _inverted(conjunctions(operand)))
            return _inverted(none)
        case ir.Logical(operands=(operand,)):
            # Its negation counts as let through, too: inverted, "everything" would be nothing.
            if depends_on_data(operand):
                return everything
            return _inverted(conjunctions(operand))
        case ir.Relational() if not depends_on_data(condition):
            cases = _cases(condition)
            # Of two cases that exclude each other, the sum: no term for both at once.
            return [t for c in cases for t in conjunctions(c)] or _comparison(condition)
        case _:
            return everything


def _cases(condition: ir.Relational) -> tuple[ir.Condition, ...]:
    """A comparison with ``where(c, a, b)`` in it: of a where c holds, and of b where not."""
    choice = next(
        (n for n in ir.walk(condition) if isinstance(n, ir.Call) and n.function == "where"), None
    )
    if choice is None:
        return ()
    chooser, yes, no = choice.arguments
    assert isinstance(chooser, ir.Relational | ir.Logical), "the grammar has a condition there"

    def with_value(value: ir.Expression | ir.Condition) -> ir.Condition:
        return rebuild(condition, lambda node: value if node == choice else node)

    otherwise = ir.Logical(operator="not", operands=(chooser,))
    return (
        ir.Logical(operator="and", operands=(chooser, with_value(yes))),
        ir.Logical(operator="and", operands=(otherwise, with_value(no))),
    )


def _times(a: list[Signed], b: list[Signed]) -> list[Signed]:
    """Both hold: signs multiply, inequalities come together."""
    return [(s * t, (*x, *y)) for s, x in a for t, y in b]


def _inverted(terms: list[Signed]) -> list[Signed]:
    """``1 - indicator``: a condition that does not hold."""
    return [(1, ()), *((-s, x) for s, x in terms)]


def _comparison(node: ir.Relational) -> list[Signed]:
    difference = _value(node.left) - _value(node.right)
    match node.operator:
        case "<=":
            return [(1, (difference,))]
        case ">=":
            return [(1, (-difference,))]
        case "<":
            return _below(difference)
        case ">":
            return _below(-difference)
        case "==":
            return [(1, (difference, -difference))]
        case _:
            return _inverted([(1, (difference, -difference))])


def _below(difference: Any) -> list[Signed]:
    """``difference < 0``; one less than zero where it is a whole number."""
    if difference.is_integer:
        return [(1, (difference + 1,))]
    # Halves lie between whole numbers: ``d < 0`` is ``not -d <= 0``.
    return _inverted([(1, (-difference,))])


def _value(node: ir.Expression) -> Any:
    import sympy

    match node:
        case ir.Number(value=value):
            return sympy.Integer(value) if isinstance(value, int) else sympy.nsimplify(value)
        case ir.Name(name=name, kind="variable"):
            return variable_symbol(name)
        case ir.Name(name=name, kind="shape"):
            return rank_symbol(name)
        case ir.Name(name=name):
            return sympy.Symbol(name, real=True)
        case ir.Unary(operand=operand):
            return -_value(operand)
        case ir.Binary(operator=operator, left=left, right=right):
            return ARITHMETIC[operator].python(_value(left), _value(right))
        case ir.Call(function=function, arguments=arguments):
            values = [_value(a) for a in arguments if not isinstance(a, ir.Relational | ir.Logical)]
            row = FUNCTIONS.get(function)
            known = of(sympy, row.sympy) if row is not None and row.sympy is not None else None
            return (known or sympy.Function(function))(*values)
        case _:
            raise TypeError(f"{node} has no value without data")
