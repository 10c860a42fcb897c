"""Exact number of points of an iteration space, as a sympy expression in the shapes.

A mask becomes a sum of signed products of inequalities; ``or`` and ``not`` follow by inclusion and
exclusion. A partitioned rank with all its members counts as the whole rank (``M``, not ``M1 *
M0``), so that a short last tile is exact. Triangles and bands have a closed form; any other shape
stays a sum over one or more variables. Symbols carry the names of the ranks, and ranks that are
declared alike share one symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import ir
from ..affine import Families
from ..algebra.terms import applied, rebuild
from ..functions import ARITHMETIC, FUNCTIONS, of
from ..libraries import sympy
from ..masks import depends_on_data


def rank_symbol(name: str) -> Any:
    """Return the symbol for the shape of a rank, a positive integer.

    >>> str(rank_symbol("M1") * rank_symbol("M0"))
    'M0*M1'
    """
    return sympy.Symbol(name, integer=True, positive=True)


def variable_symbol(name: str) -> Any:
    """Return the symbol for the variable of a rank, an integer from zero."""
    return sympy.Symbol(name, integer=True, nonnegative=True)


def inlined(program: ir.Program, condition: ir.Condition | None) -> ir.Condition | None:
    """Return a condition with the bodies of user functions in place of their calls.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, P]\\ninputs: {X: [M, P]}\\noutput: Z\\n"
    >>> text = head + "functions: {'half(x)': 'floor(x / 2)'}\\n"
    >>> program = Cascade.parse(text + "einsums: 'Z[p] = X[m, p] where half(m) <= p'\\n").program
    >>> from ..notation import expression_text
    >>> expression_text(inlined(program, program.einsums[0].where))
    'floor(m / 2) <= p'
    """
    declared = {f.name: f for f in program.functions}

    def change(node: ir.Node) -> ir.Node:
        if not isinstance(node, ir.Call) or node.function not in declared:
            return node
        # Arguments have been rebuilt already, but calls inside the body have not.
        return rebuild(applied(declared[node.function], node.arguments), change)

    return None if condition is None else rebuild(condition, change)


Signed = tuple[int, tuple[Any, ...]]
"""Pair of a sign and the expressions of inequalities; each expression has to be at most zero."""


def conjunctions(condition: ir.Condition | None) -> list[Signed]:
    """Return the indicator of a condition as a sum of signed products of inequalities.

    Each term is a sign and inequalities. ``a or b`` is one minus the product of the negations:

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
            # A data-dependent condition and its negation both count as always true.
            if depends_on_data(operand):
                return everything
            return _inverted(conjunctions(operand))
        case ir.Relational() if not depends_on_data(condition):
            cases = _cases(condition)
            # The two cases exclude each other, so the sum needs no term for both.
            return [t for c in cases for t in conjunctions(c)] or _comparison(condition)
        case _:
            return everything


def _cases(condition: ir.Relational) -> tuple[ir.Condition, ...]:
    """Return the two cases of a comparison that contains ``where(c, a, b)``.

    In the first case c holds and a stands in the comparison; otherwise c fails and b stands there.
    A comparison without ``where`` gives no cases.
    """
    choice = next(
        (n for n in ir.walk(condition) if isinstance(n, ir.Call) and n.function == "where"), None
    )
    if choice is None:
        return ()
    chooser, yes, no = choice.arguments
    assert isinstance(chooser, ir.Relational | ir.Logical), "the grammar has a condition there"

    def with_value(value: ir.Expression | ir.Condition) -> ir.Condition:
        return rebuild(condition, lambda node: value if node == choice else node)

    otherwise = ir.Logical("not", (chooser,))
    return (
        ir.Logical("and", (chooser, with_value(yes))),
        ir.Logical("and", (otherwise, with_value(no))),
    )


def _times(a: list[Signed], b: list[Signed]) -> list[Signed]:
    """Return the product of two indicators: signs multiply, inequalities are concatenated."""
    return [(s * t, (*x, *y)) for s, x in a for t, y in b]


def _inverted(terms: list[Signed]) -> list[Signed]:
    """Return ``1 - indicator``, which is the indicator of the negated condition."""
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
    """Return the indicator of ``difference < 0``; for an integer, of ``difference + 1 <= 0``."""
    if difference.is_integer:
        return [(1, (difference + 1,))]
    # Halves lie between integers: ``d < 0`` is ``not -d <= 0``.
    return _inverted([(1, (-difference,))])


def _value(node: ir.Expression) -> Any:
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


_LAST_TILE = "last tile of "


def _shared_symbols(program: ir.Program) -> dict[Any, Any]:
    """Return replacements that give ranks declared alike one common shape symbol."""
    pairs = ((r.name, program.model_of(r.name)) for r in program.ranks)
    return {rank_symbol(a): rank_symbol(b) for a, b in pairs if a != b}


def _tidy(program: ir.Program, expression: Any) -> Any:
    """Return the expression in the shapes alone, simplified by properties of tiles.

    The tiles of a rank cover it, ``M <= M1 * M0``, and the last tile is at most as long as each
    other tile.
    """
    found = expression
    named = any(s.name.startswith(_LAST_TILE) for s in found.free_symbols)
    if not named and not found.has(sympy.Min, sympy.Max):
        return found
    for rank in (r for r in program.ranks if r.partition):
        for trivial in _trivial(rank.name, rank.partition):
            found = found.xreplace(trivial)
    return found


@lru_cache(maxsize=64)
def _trivial(family: str, members: tuple[str, ...]) -> tuple[dict[Any, Any], ...]:
    """Return two replacements, to apply in turn, that simplify expressions about a rank's tiles."""
    whole, sizes = rank_symbol(family), [rank_symbol(m) for m in members]
    last = last_tile(family)
    covered = {
        sympy.Min(whole, sympy.Mul(*sizes)): whole,
        sympy.Min(last, sizes[-1]): last,
        sympy.Max(0, sizes[-1] - last): sizes[-1] - last,
    }
    # Apply this one second: it removes the symbol of the last tile, which the first one looks for.
    return covered, {last: whole - (sizes[0] - 1) * sizes[-1]}


def last_tile(family: str) -> Any:
    """Return the symbol for the length of the last tile of a rank with two members."""
    return rank_symbol(f"{_LAST_TILE}{family}")


def size_of(program: ir.Program, ranks: Iterable[str]) -> Any:
    """Return the product of the shapes of ranks; all members of a rank together count as the rank.

    ``M1`` and ``M0`` together give ``M``, even if the last tile is short; ``M1`` alone stays
    ``M1``.

    Parameters
    ----------
    program : Program
    ranks : iterable of str
        Ranks of a tensor or a space; a rank counts as often as it occurs.
    """
    left = [program.model_of(r) for r in ranks]
    factors = []
    for rank in program.ranks:
        if rank.partition and set(rank.partition) <= set(left):
            left = [r for r in left if r not in rank.partition]
            factors.append(rank_symbol(rank.name))
    return sympy.Mul(*factors, *(rank_symbol(r) for r in left))


def points_of(program: ir.Program, einsum: ir.Einsum) -> Any:
    """Return the number of points of an Einsum's iteration space, without ``parallel`` ranks.

    A data-dependent mask counts as if it kept every point.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum with its inherited masks written out (``algebra.conditions.with_masks``).

    Returns
    -------
    expression
        Points in terms of the shapes; a sum remains if there is no closed form.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-causal").program
    >>> points = points_of(program, program.einsums[0])
    >>> points.subs({rank_symbol(rank): size for rank, size in {"E": 64, "M": 4, "P": 4}.items()})
    640
    """
    total = sympy.Integer(0)
    shared = _shared_symbols(program)
    for times, space in program.memo(signed_spaces, einsum.variables, einsum.where):
        total += times * space.with_symbols(shared).count()
    return factored(_tidy(program, total))


@lru_cache(maxsize=1024)
def factored(expression: Any) -> Any:
    """Return an expression with common factors in front; cached, as Einsums often share one."""
    return sympy.factor_terms(expression)


# ------------------------------------------------------------------ points of the iteration space


@dataclass(frozen=True)
class CountedAxis:
    """Variable from 0 to ``size - 1`` whose values stand for points of an iteration space.

    Each value stands for ``tile`` points; all values together stand for ``total`` points, because
    the last tile may be short.
    """

    symbol: Any
    size: Any
    tile: Any
    total: Any

    def between(self, low: Any, high: Any) -> Any:
        """Return the number of points with ``low <= symbol < high``, clipped to the axis."""

        def below(bound: Any) -> Any:
            # Scale first, then clip: the last tile is short, not the number of tiles.
            return sympy.Min(sympy.Max(bound, 0) * self.tile, self.total)

        return sympy.Max(below(high) - below(low), 0)

    @property
    def weight(self) -> Any:
        """Number of points that one value of the variable stands for."""
        return sympy.Min(self.tile, self.total - self.symbol * self.tile) if self.tile != 1 else 1


def _plain_axis(name: str) -> CountedAxis:
    size = rank_symbol(name.upper())
    return CountedAxis(variable_symbol(name), size, 1, size)


@dataclass(frozen=True)
class PointSet:
    """Set of the points on some axes that satisfy inequalities ``expression <= 0``.

    Sizes of axes are expressions here, and integers in ``point_counts``.
    """

    axes: tuple[CountedAxis, ...]
    inequalities: tuple[Any, ...]

    def with_symbols(self, shared: dict[Any, Any]) -> PointSet:
        """Return the set with shape symbols replaced according to ``shared``."""

        def put(expression: Any) -> Any:
            return (sympy.Integer(0) + expression).xreplace(shared)

        if not shared:
            return self
        axes = (CountedAxis(a.symbol, put(a.size), put(a.tile), put(a.total)) for a in self.axes)
        return PointSet(tuple(axes), tuple(map(put, self.inequalities)))

    def groups(self) -> Iterator[tuple[tuple[CountedAxis, ...], tuple[Any, ...]]]:
        """Yield the groups of axes that inequalities connect, each with its inequalities.

        Groups are independent, so their points multiply.
        """
        named = [i.free_symbols for i in self.inequalities]
        left = list(self.axes)
        while left:
            group: list[CountedAxis] = []
            more = left[:1]
            while more:
                group += more
                left = [a for a in left if a not in more]
                symbols = {a.symbol for a in group}
                connected = set().union(*(names for names in named if names & symbols))
                more = [a for a in left if a.symbol in connected]
            pairs = zip(self.inequalities, named, strict=True)
            yield tuple(group), tuple(i for i, names in pairs if names & symbols)

    def count(self) -> Any:
        """Return the number of points as an expression."""
        total = sympy.Integer(1)
        symbols = {a.symbol for a in self.axes}
        for constant in (i for i in self.inequalities if not i.free_symbols & symbols):
            total *= sympy.Piecewise((1, constant <= 0), (0, True))
        return sympy.Mul(total, *(_group(*group) for group in self.groups()))


def signed_spaces(
    program: ir.Program, variables: tuple[str, ...], where: ir.Condition | None
) -> tuple[tuple[Any, PointSet], ...]:
    """Return spaces without masks whose weighted sum of points is that of an Einsum.

    Each space comes with its factor. The result holds for all shapes, and for all Einsums of a
    program with these variables and this mask: call it by ``Program.memo``.
    """
    return tuple(
        (sign * times, space)
        for sign, inequalities in conjunctions(inlined(program, where))
        for times, space in spaces(program, variables, inequalities)
    )


def spaces(
    program: ir.Program, variables: tuple[str, ...], inequalities: tuple[Any, ...]
) -> list[tuple[Any, PointSet]]:
    """Return the spaces of some rank variables, with the members of a rank joined where possible.

    If conditions mention only the inner member of a rank, the full tiles and the last tile become
    separate spaces.

    Parameters
    ----------
    program : Program
    variables : tuple of str
        Rank variables of an Einsum, members and families as it names them.
    inequalities : tuple of expression
        Expressions in the symbols of these variables that must be at most 0.

    Returns
    -------
    list of (expression, PointSet)
        Multiplicity of each space, and the space.
    """
    names = list(variables)
    found: list[tuple[Any, tuple[CountedAxis, ...]]] = [(1, ())]
    for family, members in Families.of(program).members:
        if members and set(members) <= set(names):
            names = [n for n in names if n not in members and n != family]
            if _cut_inside(members, inequalities):
                tiles = _full_and_last(family, members)
                found = [(n * t, (*axes, axis)) for n, axes in found for t, axis in tiles]
                continue
            new, inequalities = _folded(family, members, inequalities)
            found = [(n, (*axes, *new)) for n, axes in found]
    plain = tuple(_plain_axis(n) for n in names)
    return [(n, PointSet((*axes, *plain), inequalities)) for n, axes in found]


def _cut_inside(members: tuple[str, ...], inequalities: tuple[Any, ...]) -> bool:
    """Return whether conditions mention only the inner one of a rank's two members."""
    used: set[Any] = set().union(*(i.free_symbols for i in inequalities))
    outer, inner = variable_symbol(members[0]), variable_symbol(members[-1])
    return len(members) == 2 and inner in used and outer not in used


def _full_and_last(family: str, members: tuple[str, ...]) -> list[tuple[Any, CountedAxis]]:
    """Return an axis for a full tile of a rank and one for its last tile, with their numbers."""
    count, size = (rank_symbol(m.upper()) for m in members)
    symbol, last = variable_symbol(members[1]), last_tile(family.upper())
    return [
        (count - 1, CountedAxis(symbol, size, 1, size)),
        (1, CountedAxis(symbol, last, 1, last)),
    ]


def _folded(
    family: str, members: tuple[str, ...], inequalities: tuple[Any, ...]
) -> tuple[list[CountedAxis], tuple[Any, ...]]:
    """Return a rank's members as one axis, as an axis of tiles, or as separate axes.

    The second result is the inequalities in the symbols of these axes.
    """
    symbols = [variable_symbol(m) for m in members]
    sizes = [rank_symbol(m.upper()) for m in members]
    strides = [sympy.Mul(*sizes[k + 1 :]) for k in range(len(sizes))]
    whole = _plain_axis(family)
    rewritten = []
    for i in inequalities:
        one = sympy.expand(i)
        # The innermost member has stride 1, so its coefficient is that of the whole position:
        # 2*m1*M0 + 2*m0 - p is 2*m - p. Any other use of the members stops the loop.
        c = one.coeff(symbols[-1])
        rest = sympy.expand(one - c * sum(s * x for s, x in zip(strides, symbols, strict=True)))
        if rest.free_symbols & set(symbols):
            break
        rewritten.append(rest + c * whole.symbol)
    else:
        return [whole], tuple(rewritten)
    # Conditions on whole tiles only: an axis of tiles with ``strides[0]`` points each.
    inner = set(symbols[1:])
    if not any(i.free_symbols & inner for i in inequalities):
        return [CountedAxis(symbols[0], sizes[0], strides[0], whole.size)], inequalities
    place = sum(s * x for s, x in zip(strides, symbols, strict=True))
    axes = [_plain_axis(m) for m in members]
    # Separate members have M1 * M0 points; exclude those past the end of the rank.
    return axes, (*inequalities, place - whole.size + 1)


@lru_cache(maxsize=512)
def _group(axes: tuple[CountedAxis, ...], inequalities: tuple[Any, ...]) -> Any:
    """Return the number of points on connected axes; cached, because Einsums often share masks."""
    if not inequalities:
        # Only inequalities connect axes, so there is a single axis here.
        return axes[0].total
    if len(axes) == 2:
        x, y = axes
        for found in (_digits(x, y, inequalities), _digits(y, x, inequalities)):
            if found is not None:
                return found
        if (band := _band(x, y, inequalities)) is not None:
            return band
    return _summed(axes, inequalities)


def _digits(x: CountedAxis, y: CountedAxis, inequalities: tuple[Any, ...]) -> Any:
    """Return the number of points with ``x * Y + y < end``: the values of a two-digit number.

    ``x`` is the leading digit; each of its values counts for ``Y``. The result is None if the
    inequality has another form.
    """
    if len(inequalities) != 1 or x.tile != 1 or y.tile != 1:
        return None
    end = sympy.expand(1 - inequalities[0] + x.symbol * y.size + y.symbol)
    if end.has(x.symbol) or end.has(y.symbol):
        return None
    return sympy.Min(sympy.Max(end, 0), x.size * y.size)


def _limits(axis: CountedAxis, inequalities: Sequence[Any]) -> tuple[Any, Any] | None:
    """Return the bounds of ``low <= symbol < high``, or None if an inequality is not linear."""
    low, high = sympy.Integer(0), axis.size
    for i in inequalities:
        one = sympy.expand(i)
        a = one.coeff(axis.symbol)
        b = one - a * axis.symbol
        if b.has(axis.symbol) or not (a.is_positive or a.is_negative):
            return None
        if a.is_positive:
            high = sympy.Min(high, sympy.floor(-b / a) + 1)
        else:
            low = sympy.Max(low, sympy.ceiling(-b / a))
    return low, high


def _band(x: CountedAxis, y: CountedAxis, inequalities: tuple[Any, ...]) -> Any:
    """Return the number of points with ``y + low <= x < y + high``, a triangle or band.

    The number is in closed form; the result is None for inequalities of another form.
    """
    if x.tile != 1 or y.tile != 1:
        return None
    # Counting y from its far end turns a bound on x + y into one on x - y. The number of points
    # stays: y and Y - 1 - y take the same values.
    turned = [sympy.expand(i.subs(y.symbol, y.size - 1 - y.symbol)) for i in inequalities]
    straight = [sympy.expand(i) for i in inequalities]
    for form in (straight, turned):
        # Each form is a * (x - y) + rest <= 0: x < y + floor(-rest) + 1 for a = 1, and x >= y +
        # ceiling(rest) for a = -1. The tightest bound of each side applies.
        lows: list[Any] = []
        highs: list[Any] = []
        for i in form:
            a = i.coeff(x.symbol)
            rest = i - a * (x.symbol - y.symbol)
            if abs(a) != 1 or rest.has(x.symbol) or rest.has(y.symbol):
                break
            (highs if a == 1 else lows).append(
                sympy.floor(-rest) + 1 if a == 1 else sympy.ceiling(rest)
            )
        else:
            if highs and lows and sympy.Min(*highs) - sympy.Max(*lows) == 1:
                # A diagonal has one x for each y: count the y whose x is on the axis.
                shift = sympy.Max(*lows)
                end = sympy.Min(y.size, x.size - shift)
                return sympy.Max(end - sympy.Max(-shift, 0), 0)
            top = _under(x, y, sympy.Min(*highs)) if highs else x.size * y.size
            bottom = _under(x, y, sympy.Max(*lows)) if lows else 0
            return sympy.Max(top - bottom, 0) if highs and lows else top - bottom
    return None


def _under(x: CountedAxis, y: CountedAxis, shift: Any) -> Any:
    """Return the number of points with ``x < y + shift``.

    Each y from 0 to Y - 1 contributes ``clip(y + shift, 0, X)`` points.
    """
    return _staircase(y.size + shift, x.size) - _staircase(shift, x.size)


def _staircase(end: Any, width: Any) -> Any:
    """Return the sum of ``clip(j, 0, width)`` over all integers ``j < end``.

    >>> _staircase(4, 10), _staircase(4, 2)  # 0 + 1 + 2 + 3, and 0 + 1 + 2 + 2
    (6, 5)
    """
    top = sympy.Min(sympy.Max(end, 0), width)
    return top * (top - 1) / 2 + width * sympy.Max(end - width, 0)


def _summed(axes: Sequence[CountedAxis], inequalities: Sequence[Any]) -> Any:
    """Return the number of points as a sum: one axis from its bounds, the other axes as summation.

    Conditions on the other axes become factors of 0 or 1.
    """
    from .sums import SumOverSymbols

    left = list(axes)
    body, rest = sympy.Integer(1), inequalities
    for axis in sorted(axes, key=lambda a: (a.tile != 1, str(a.symbol))):
        mine = [i for i in inequalities if i.has(axis.symbol)]
        found = _limits(axis, mine)
        if found is not None:
            body = axis.between(*found)
            rest = [i for i in inequalities if i not in mine]
            left.remove(axis)
            break
    for i in rest:
        # No Piecewise: sympy moves its condition out of a sum, even if the condition names the
        # summation variable. The factor is 1 where i <= 0, and 0 elsewhere.
        body *= sympy.Max(0, sympy.Min(1, 1 - sympy.ceiling(i)))
    for axis in left:
        body = SumOverSymbols(body * axis.weight, (axis.symbol, 0, axis.size - 1))
    return body
