"""Number of points of a masked iteration space for given shapes.

``points`` gives the same number in symbols. A mask is a set of inequalities. One variable, which
each of its inequalities bounds, is counted from its bounds; numpy enumerates the other variables.

A bound is a division if the inequality is linear. It is one too if the variable occurs in a single
rounded quotient, such as ``floor(p / 2 ** l)`` along p. Otherwise bisection finds the bound of a
monotonic inequality. Bounds that repeat along two variables are counted by periods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from math import lcm, prod
from typing import Any

from .. import ir
from ..errors import MappingError
from ..functions import FUNCTIONS, of
from ..graphs import connected
from ..libraries import np, sympy
from ..memo import cached_property
from . import policy
from .affine_masks import AffineSpace, Row
from .points import CountedAxis, PointSet, conjunctions, inlined, last_tile, signed_spaces


def count_points(program: ir.Program, einsum: ir.Einsum, numbers: Mapping[str, float]) -> int:
    """Return the number of points of an Einsum's iteration space, without ``parallel`` ranks.

    A data-dependent mask counts as if it kept every point.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum with its inherited masks written out (``algebra.conditions.with_masks``).
    numbers : mapping
        Shapes of all ranks, and values of the parameters in the mask.

    Raises
    ------
    MappingError
        The mask couples too many variables to count its points.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-causal").program
    >>> count_points(program, program.einsums[0], {"E": 64, "M": 4, "P": 4, "F": 64})
    640
    """
    affine = AffineSpace.of(program, einsum, numbers)
    if affine is not None and (known := _count_affine(affine)) is not None:
        return known
    total = 0
    # Names of the last tiles as ``spaces`` writes them; no rank of a file can have such a name.
    numbers = {**numbers, **dict(_last_tiles(program, numbers))}
    for times, space in program.memo(signed_spaces, einsum.variables, einsum.where):
        factor = _integer(times, numbers)
        found = _count(space, numbers) if factor else 0
        if found is None:
            where = einsum.where
            text = f"{einsum.name}: its mask ties too many points together to count them"
            raise MappingError(text, None if where is None else where.span)
        total += factor * found
    return total


@dataclass(frozen=True)
class Mask:
    """Ranks of an Einsum, separated into ranks that its mask couples and ranks that it leaves
    free.

    Attributes
    ----------
    needs : frozenset of str
        Shapes and parameters required to count the points that the mask couples.
    untied : tuple of str
        Ranks of variables that no condition names; their shapes multiply.
    ones : mapping
        Shapes of 1 for the ``untied`` ranks, so that a count leaves them out.
    """

    needs: frozenset[str]
    untied: tuple[str, ...]
    ones: Mapping[str, int]

    @classmethod
    def of(
        cls, program: ir.Program, variables: tuple[str, ...], where: ir.Condition | None
    ) -> Mask:
        """Return the mask of Einsums with these variables and this condition.

        The condition includes inherited masks.

        >>> from einsum_cascade import Cascade
        >>> program = Cascade.load("attention-causal").program
        >>> mask = Mask.of(program, program.einsums[0].variables, program.einsums[0].where)
        >>> sorted(mask.needs), mask.untied
        (['M', 'P'], ('E',))
        """
        terms = conjunctions(inlined(program, where))
        named = {s.name for _, parts in terms for i in parts for s in i.free_symbols}
        own = {v: _family(program, program.rank_of_variable[v]) for v in variables}
        # A condition may use the shape of a rank without its variable.
        tied = {r for v, family in own.items() if named & {v, *family} for r in family}
        ranks = [program.rank_of_variable[v] for v in variables]
        untied = tuple(r for r in ranks if r not in tied)
        ones = {name: 1 for r in untied for name in _family(program, r)}
        return cls(needs=frozenset(tied | (named - own.keys())), untied=untied, ones=ones)


def _family(program: ir.Program, rank: str) -> tuple[str, ...]:
    """Return a partitioned rank and all its members, given the rank or a member.

    Any other rank is returned alone.
    """
    whole = program.whole_rank(rank)
    return (whole, *program.rank_of[whole].partition)


def _last_tiles(program: ir.Program, numbers: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for rank in program.ranks:
        # Only families whose shapes are all known have a last tile.
        if rank.partition and {rank.name, *rank.partition} <= numbers.keys():
            # 10 keys in 3 tiles of 4: the last has 10 - (3 - 1) * 4 = 2.
            inner = prod(numbers[m] for m in rank.partition[1:])
            whole = (numbers[rank.partition[0]] - 1) * inner
            yield last_tile(rank.name).name, numbers[rank.name] - whole


def _value(expression: Any, numbers: Mapping[str, float], keep: Set[Any] = frozenset()) -> Any:
    """Return an expression with numbers in place of all symbols except those in ``keep``."""
    one = sympy.Integer(0) + expression
    return one.xreplace({s: sympy.Rational(numbers[s.name]) for s in one.free_symbols - keep})


def _count_affine(space: AffineSpace) -> int | None:
    """Return the number of points of a space; None if enumeration would be too long.

    No sympy is needed, whose import takes longer than most runs.
    """
    reach = {row: space.reach(row) for row in space.rows}
    if any(least > 0 for least, _ in reach.values()):
        return 0
    rows = [row for row, (_, most) in reach.items() if most > 0]
    total = 1
    for group in connected(
        space.sizes, (pair for terms, _ in rows for pair in pairwise([v for v, _ in terms]))
    ):
        axes = tuple(CountedAxis(v, n, 1, n) for v, n in space.sizes.items() if v in group)
        mine = tuple(row for row in rows if row[0][0][0] in group)
        found = _count_rows(axes, mine) if mine else axes[0].total
        if not found:
            return found
        total *= found
    return total


@lru_cache(maxsize=4096)
def _count_rows(axes: tuple[CountedAxis, ...], rows: tuple[Row, ...]) -> int | None:
    """Return the number of points on axes coupled by affine inequalities, as ``_count_coupled``."""
    return _count_forms(axes, [Inequality(None, dict(terms), n) for terms, n in rows])


def _integer(expression: Any, numbers: Mapping[str, float]) -> int:
    """Return the integer value of an expression; a single shape is looked up without sympy."""
    if isinstance(expression, int):
        return expression
    if expression.is_Symbol:
        return int(numbers[expression.name])
    return int(_value(expression, numbers))


def _count(space: PointSet, numbers: Mapping[str, float]) -> int | None:
    """Return the number of points of a set for given shapes; None if enumeration would be too
    long.

    Parameters
    ----------
    space : PointSet
        Symbolic point set.
    numbers : mapping
        Shapes and parameters by name.
    """
    axes = tuple(
        CountedAxis(a.symbol, *(_integer(x, numbers) for x in (a.size, a.tile, a.total)))
        for a in space.axes
    )
    sizes = {a.symbol: a.size for a in axes}
    known = [_value(i, numbers, sizes.keys()) for i in space.inequalities]
    if any(not i.free_symbols and not i <= 0 for i in known):
        return 0
    # An inequality that always holds, such as the last tile's end for whole tiles, couples nothing.
    left = (i for i in known if i.free_symbols and not Inequality.of(i).always(sizes))
    total = 1
    for group, inequalities in PointSet(axes, tuple(left)).groups():
        found = _count_coupled(group, inequalities) if inequalities else group[0].total
        if not found:
            return found
        total *= found
    return total


@lru_cache(maxsize=4096)
def _count_coupled(axes: tuple[CountedAxis, ...], inequalities: tuple[Any, ...]) -> int | None:
    """Return the number of points on axes coupled by inequalities; None if enumeration is too
    long.

    Results are cached, because Einsums of a cascade share masks and one shape runs on many
    machines: enumeration took four fifths of the atlas's time for log-linear attention.
    """
    return _count_forms(axes, [Inequality.of(i) for i in inequalities])


def _count_forms(axes: tuple[CountedAxis, ...], forms: Sequence[Inequality]) -> int | None:
    """Return the number of points on coupled axes; None if enumeration is too long."""
    # One axis is counted from its bounds, so the work is the product of the others. If no axis has
    # bounds, all are enumerated.
    work = {a: w for a in (*axes, _NO_AXIS) if (w := _work(a, axes, forms)) is not None}
    x = min(work, key=lambda a: work[a])
    hubs = [a for a in axes if a.size * len(axes) < work[x] and _is_hub(a, axes, forms)]
    if hubs:
        return _count_around(min(hubs, key=lambda a: a.size), axes, forms)
    if work[x] > policy.MAX_COMBINATIONS:
        return None
    others = [a for a in axes if a is not x]
    if (found := _by_periods(x, others, forms)) is not None:
        return found
    combinations = prod(a.size for a in others)
    batch = policy.COMBINATIONS_PER_BATCH
    return sum(
        _count_batch(x, others, forms, start, min(start + batch, combinations))
        for start in range(0, combinations, batch)
    )


def _is_hub(hub: CountedAxis, axes: Sequence[CountedAxis], forms: Sequence[Inequality]) -> bool:
    """Return whether every inequality couples at most one other axis to an axis, and bounds it.

    >>> i, s, p = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "isp")
    >>> axes = [CountedAxis(v, 4, 1, 4) for v in (i, s, p)]
    >>> forms = [Inequality.of(f) for f in (i - s, s - p + 1)]
    >>> [_is_hub(a, axes, forms) for a in axes]
    [False, True, False]
    """
    for form in forms:
        coupled = [a for a in axes if a is not hub and form.names(a.symbol)]
        if len(coupled) > 1 or any(
            not form.bounds(a.symbol) or form.evaluations(a.symbol, a.size) > 1 for a in coupled
        ):
            return False
    return True


def _count_around(
    hub: CountedAxis, axes: Sequence[CountedAxis], forms: Sequence[Inequality]
) -> int:
    """Return the number of points on a hub and the axes that its values make independent.

    >>> i, s, p = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "isp")
    >>> axes = [CountedAxis(v, 4, 1, 4) for v in (i, s, p)]
    >>> forms = [Inequality.of(f) for f in (i - s, s - p + 1)]
    >>> _count_around(axes[1], axes, forms)  # 1 * 3 + 2 * 2 + 3 * 1
    10
    """
    total, batch = 0, policy.COMBINATIONS_PER_BATCH
    product: Any = np.int64 if prod(a.total for a in axes) < 1 << 62 else object
    leaves = [a for a in axes if a is not hub]
    own = [f for f in forms if not any(f.names(a.symbol) for a in leaves)]
    for start in range(0, hub.size, batch):
        stop = min(start + batch, hub.size)
        values, weight = _combinations([hub], start, stop, object)
        found: Any = np.full(stop - start, 1, dtype=product) * weight
        for form in own:
            found = found * form.holds(values)
        for x in leaves:
            naming = [f for f in forms if f.names(x.symbol)]
            kind: Any = np.int64 if _fits_int64(x, [hub], naming, stop - start) else object
            numbers = {hub.symbol: values[hub.symbol].astype(kind)}
            found = found * _counts(x, naming, numbers, stop - start, kind)
        total += int(np.sum(found))
    return total


def _by_periods(
    x: CountedAxis, others: Sequence[CountedAxis], forms: Sequence[Inequality]
) -> int | None:
    """Return the number of points from bounds of x that repeat along the longest other axis.

    The result is None if no bounds repeat, or if enumerating all values is faster.

    >>> p, l, j = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "plj")
    >>> axes = [CountedAxis(s, size, 1, size) for s, size in ((j, 3), (p, 4096), (l, 3))]
    >>> forms = [Inequality.of(i) for i in (p - 2**l * sympy.floor(p / 2**l), j - l)]
    >>> _by_periods(axes[0], axes[1:], forms)  # 4096 + 2 * 2048 + 3 * 1024
    11264
    """
    y = max(others, key=lambda a: a.size, default=_NO_AXIS)
    rest = [a for a in others if a is not y]
    # Each combination of the rest costs one numpy call on a period, while an enumeration handles
    # many combinations per call: periods pay off if y alone has most of the points.
    if y.size < policy.MIN_VALUES_FOR_PERIODS * prod(a.size for a in rest):
        return None
    # The sums over periods fit 64-bit integers.
    too_large = 8 * y.size * (x.size + 2 * y.size) > _LARGEST
    if too_large or any(a.tile != 1 for a in (x, *others)):
        return None
    steps = periodic_steps(x.symbol, y.symbol, forms)
    if steps is None:
        return None
    total = 0
    for at in product(*(range(a.size) for a in rest)):
        fixed = {a.symbol: n for a, n in zip(rest, at, strict=True)}
        found = _count_periods(x, y, forms, min(period_at(steps, fixed), y.size), fixed)
        if found is None:
            return None
        total += found
    return total


def _count_periods(
    x: CountedAxis,
    y: CountedAxis,
    forms: Sequence[Inequality],
    period: int,
    fixed: Mapping[Any, int],
) -> int | None:
    """Return the number of points on two axes if the other variables are fixed.

    The result is None if a bound is too large to be exact.
    """
    at = np.arange(period)
    values = {**{s: np.int64(n) for s, n in fixed.items()}, y.symbol: at}
    # Tightest bounds of x, by whether they move along with y and whether x lies above them. A
    # moving bound is a period larger a period later; these two begin outside the axis of x.
    bounds: dict[tuple[bool, bool], Any] = {
        (True, True): np.full(period, -y.size - period),
        (True, False): np.full(period, x.size),
        (False, True): np.int64(0),
        (False, False): np.int64(x.size),
    }
    holds: Any = np.ones(period, dtype=bool)
    for form in forms:
        if not form.names(x.symbol):
            holds = holds & form.holds(values)
            continue
        edge = form.edge(x.symbol, values)
        if edge is None or np.any(np.abs(edge[1]) > _LARGEST):
            return None
        kind = (form.names(y.symbol), edge[0])
        tighter = np.maximum if edge[0] else np.minimum
        bounds[kind] = tighter(bounds[kind], np.asarray(edge[1]).astype(np.int64))
    low, high, begin, end = bounds.values()
    end = np.maximum(begin, end)
    low = np.minimum(low, end)
    high = np.maximum(low, high)
    # Number of periods in which each value of y occurs.
    times = -(-(y.size - at) // period)

    def beyond(first: Any) -> Any:
        """Return the sum of ``max(0, first + n * period)`` over all periods n."""
        # Terms from n = start on are not negative: -(first // period) is ceiling(-first / period).
        start = np.clip(-(first // period), 0, times)
        many = times - start
        return many * first + period * ((start + times - 1) * many // 2)

    # Size of [low, high) + n * period inside [begin, end), summed over n: with r(t) = max(0, t), it
    # is r(high - begin) - r(low - begin) - r(high - end) + r(low - end).
    inside = beyond(high - begin) - beyond(low - begin) - beyond(high - end) + beyond(low - end)
    return int(np.sum(inside * holds))


def periodic_steps(x: Any, y: Any, forms: Sequence[Inequality]) -> tuple[Any, ...] | None:
    """Return the changes per step of all rounded numbers, if whole changes leave forms as they are.

    A step is one along both x and y; along y alone for a form that does not name x. The result is
    None if forms need not repeat. Forms that do not name y never change.

    >>> p, m, l = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "pml")
    >>> level = Inequality.of(sympy.floor(p / 2**l) - sympy.floor(m / 2**l))
    >>> steps = periodic_steps(m, p, [level, Inequality.of(m - p)])
    >>> period_at(steps, {l: 3})
    8
    >>> periodic_steps(m, p, [level, Inequality.of(2 * m - p)]) is None
    True
    """

    def step(expression: Any) -> Any:
        return sympy.expand(expression.xreplace(later) - expression)

    found: list[Any] = []
    for form in forms:
        if form.names(x) and not (form.is_linear or form.rounded(x)):
            return None
        if not form.names(y):
            continue
        if form.coefficients is not None:
            if sum(form.coefficients.get(v, 0) for v in (x, y)):
                return None
            continue
        later = {v: v + 1 for v in (x, y) if v is not None}
        rounded = form.expression.atoms(sympy.floor, sympy.ceiling)
        names = {r: sympy.Dummy() for r in rounded}
        steps = {name: step(r.args[0]) for r, name in names.items()}
        exact = form.expression.xreplace(names)
        moved = exact.xreplace({**later, **{name: name + s for name, s in steps.items()}})
        if sympy.expand(moved - exact) != 0 or any(s.has(*later) for s in steps.values()):
            return None
        found += steps.values()
    return tuple(found)


def period_at(steps: Sequence[Any], fixed: Mapping[Any, int]) -> int:
    """Return the number of steps after which every rounded number has changed by an integer."""
    values = {s: sympy.Integer(n) for s, n in fixed.items()} if steps else {}
    return lcm(*(sympy.Rational(s.xreplace(values)).q for s in steps))


_LARGEST = 1 << 52
"""Magnitude up to which every integer is exact in floating point."""

_NO_AXIS = CountedAxis(None, 1, 1, 1)
"""Placeholder for the counted axis if no axis is counted from its bounds."""


def _work(x: CountedAxis, axes: Sequence[CountedAxis], forms: Sequence[Inequality]) -> int | None:
    """Return the number of evaluations to count ``x`` from its bounds; None without bounds."""
    naming = [f for f in forms if f.names(x.symbol)]
    if not all(f.bounds(x.symbol) for f in naming):
        return None
    halvings = sum(f.evaluations(x.symbol, x.size) for f in naming if not f.is_linear)
    others: int = prod(a.size for a in axes if a is not x)
    return others * max(1, halvings)


def _count_batch(
    x: CountedAxis,
    others: Sequence[CountedAxis],
    forms: Sequence[Inequality],
    start: int,
    stop: int,
) -> int:
    """Return the number of points of ``x``, added up over a range of combinations of other axes.

    ``start`` and ``stop`` number the combinations.
    """
    # Object arrays hold Python integers: slow, but unlimited.
    kind: Any = np.int64 if _fits_int64(x, others, forms, stop - start) else object
    values, weight = _combinations(others, start, stop, kind)
    holds: Any = True
    for form in forms:
        if not form.names(x.symbol):
            holds = holds & form.holds(values)
    naming = [f for f in forms if f.names(x.symbol)]
    return int(np.sum(_counts(x, naming, values, stop - start, kind) * weight * holds))


def _combinations(
    axes: Sequence[CountedAxis], start: int, stop: int, kind: Any
) -> tuple[dict[Any, Any], Any]:
    """Return the values of axes in a range of their combinations, and the points that each stands
    for."""
    at = np.arange(start, stop, dtype=np.int64)
    values: dict[Any, Any] = {}
    # Split the number of a combination into mixed-radix digits, the last axis fastest: 7 among axes
    # of 2, 3 and 4 values is (0, 1, 3).
    weight: Any = 1
    for axis in reversed(axes):
        at, digit = np.divmod(at, axis.size)
        values[axis.symbol] = digit.astype(kind)
        if axis.tile != 1:
            weight = weight * np.minimum(axis.tile, axis.total - values[axis.symbol] * axis.tile)
    return values, weight


def _counts(
    x: CountedAxis, forms: Sequence[Inequality], values: Mapping[Any, Any], number: int, kind: Any
) -> Any:
    """Return the number of points of ``x`` inside its bounds, for each of some combinations."""
    low: Any = np.zeros(number, dtype=kind)
    high: Any = np.full(number, x.size, dtype=kind)
    for form in forms:
        from_below, bound = form.bound(x.symbol, values, x.size)
        if from_below:
            low = np.maximum(low, bound)
        else:
            high = np.minimum(high, bound)
    # Bounds are in tiles of x and the count is in points: the last tile ends where the rank does.
    ends = [np.minimum(np.maximum(bound, 0) * x.tile, x.total) for bound in (low, high)]
    return np.maximum(ends[1] - ends[0], 0)


def _fits_int64(
    x: CountedAxis, others: Sequence[CountedAxis], forms: Sequence[Inequality], count: int
) -> bool:
    """Return whether every intermediate number of a batch fits 64 bits."""
    sizes = {a.symbol: a.size for a in (x, *others)}
    largest: list[int] = [x.size * x.tile, x.total * prod(a.tile for a in others) * count]
    for form in forms:
        # A non-linear form has no coefficients: it is evaluated in floats anyway.
        reach = sum(abs(c) * sizes[s] for s, c in (form.coefficients or {}).items())
        largest.append((reach + abs(form.constant) + 1) * max(1, x.tile))
    return max(largest) < 1 << 62


# ------------------------------------------------------------------ bounds of one variable


@dataclass(frozen=True)
class Inequality:
    """Inequality ``expression <= 0``, with its integer coefficients if it is linear."""

    expression: Any
    coefficients: Mapping[Any, int] | None
    constant: int

    @classmethod
    def of(cls, inequality: Any) -> Inequality:
        """Return the inequality of a sympy expression in integer symbols.

        >>> p, m = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "pm")
        >>> half = Inequality.of(p / 2 - m)
        >>> half.coefficients, half.constant
        ({p: 1, m: -2}, 0)
        """
        terms = sympy.expand(inequality).as_coefficients_dict()
        # Without fractions, bounds are integer divisions, and exact.
        scale = int(sympy.ilcm(1, *(n.q for n in terms.values() if n.is_Rational)))
        whole = {t: n * scale for t, n in terms.items() if n}
        linear = all(t.is_Symbol or t == 1 for t in whole)
        if not linear or not all(n.is_Integer for n in whole.values()):
            return cls(sympy.Add(*(t * n for t, n in whole.items())), None, 0)
        constant = int(whole.pop(sympy.Integer(1), 0))
        return cls(inequality, {t: int(n) for t, n in whole.items()}, constant)

    @property
    def is_linear(self) -> bool:
        """True if the inequality is linear, so that divisions give its bounds."""
        return self.coefficients is not None

    def always(self, sizes: Mapping[Any, int]) -> bool:
        """Return whether simple interval arithmetic proves the inequality for all values of its
        variables.

        Each variable ranges from 0 to its size less one.

        >>> p, m = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "pm")
        >>> inside = Inequality.of(4 * p + m - 15)
        >>> inside.always({p: 4, m: 4}), inside.always({p: 4, m: 5})
        (True, False)
        """
        if self.coefficients is None:
            return False
        # A linear form is largest in the corner where variables with positive coefficients are
        # largest.
        ends = (max(c * (sizes[s] - 1), 0) for s, c in self.coefficients.items())
        return self.constant + sum(ends) <= 0

    def names(self, symbol: Any) -> bool:
        """Return whether the inequality depends on a variable."""
        linear = self.coefficients
        return symbol in (self.expression.free_symbols if linear is None else linear)

    def bounds(self, symbol: Any) -> bool:
        """Return whether the inequality is monotonic in a variable, and so bounds it."""
        return self.is_linear or direction(self.expression, symbol) is not None

    def evaluations(self, symbol: Any, size: int) -> int:
        """Return the number of evaluations that find the bound of a variable from 0 to ``size -
        1``.
        """
        return 1 if self.is_linear or self.rounded(symbol) else size.bit_length()

    def rounded(self, symbol: Any) -> _Rounded | None:
        """Return the form in which a single rounded quotient holds the variable; None without such
        a form.
        """
        return _Rounded.of(self.expression, symbol)

    def holds(self, values: Mapping[Any, Any]) -> Any:
        """Return whether the inequality holds, element by element for arrays of values of its
        variables.
        """
        if self.coefficients is not None:
            terms = (c * values[s] for s, c in self.coefficients.items())
            return sum(terms, self.constant) <= 0
        # The language defines log(0), so no warning is due.
        with np.errstate(all="ignore"):
            return self._run(values) <= 0

    @cached_property
    def _run(self) -> Callable[[Mapping[Any, Any]], Any]:
        """Function that evaluates the inequality's expression in floating point."""
        return on_floats(self.expression)

    def bound(self, symbol: Any, values: Mapping[Any, Any], size: int) -> tuple[bool, Any]:
        """Return the value from 0 to ``size`` at which the inequality starts or ceases to hold.

        The bound concerns one variable; ``values`` gives arrays of values of the other variables.

        Returns
        -------
        bool
            True if the inequality holds from the bound on, False if it holds below the bound.
        array
            First value at which the inequality starts to hold, or stops to hold.
        """
        found = self.edge(symbol, values)
        if found is None:
            return self._by_bisection(symbol, values, size)
        if self.is_linear:
            return found
        return found[0], np.clip(found[1], 0, size).astype(np.int64)

    def edge(self, symbol: Any, values: Mapping[Any, Any]) -> tuple[bool, Any] | None:
        """Return the bound of a variable without clipping it to the range of the variable.

        The result is None if only bisection finds the bound, or if an intermediate number is too
        large for floats.
        """
        if self.coefficients is None:
            rounded = self.rounded(symbol)
            return None if rounded is None else rounded.edge(values)
        step = self.coefficients[symbol]
        terms = (c * values[s] for s, c in self.coefficients.items() if s != symbol)
        rest = sum(terms, self.constant)
        # Integer division rounds down; a lower bound has to be rounded up, hence the two signs.
        return (False, -rest // step + 1) if step > 0 else (True, -(-rest // -step))

    def _by_bisection(self, symbol: Any, values: Mapping[Any, Any], size: int) -> tuple[bool, Any]:
        falls = direction(self.expression, symbol) == -1
        # A binary search in every element of the arrays at once: ``size.bit_length()`` halvings
        # leave low == high everywhere, and finished elements stay as they are (``inside``).
        shape = np.shape(next(iter(values.values()))) if values else (1,)
        low, high = np.zeros(shape, dtype=np.int64), np.full(shape, size, dtype=np.int64)
        for _ in range(size.bit_length()):
            middle = (low + high) // 2
            # True if the edge lies beyond the middle: a growing form holds up to the edge, a
            # falling one after it.
            before = self.holds({**values, symbol: middle}) != falls
            inside = low < high
            low = np.where(inside & before, middle + 1, low)
            high = np.where(inside & ~before, middle, high)
        return falls, low


@dataclass(frozen=True, kw_only=True)
class _Rounded:
    """Inequality ``times * floor((step * x + above) / below) + rest <= 0`` over integers.

    The inequality bounds the variable x, which occurs nowhere else in it. ``step`` and ``times``
    are not 0, and ``below`` is positive.
    """

    times: int
    step: int
    above: Callable[[Mapping[Any, Any]], Any]
    below: Callable[[Mapping[Any, Any]], Any]
    rest: Callable[[Mapping[Any, Any]], Any]

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, expression: Any, symbol: Any) -> _Rounded | None:
        """Return a sympy expression in this form, or None if it has another form."""
        rest, term = sympy.expand(expression).as_independent(symbol, as_Add=True)
        times, quotient = term.as_coeff_Mul()
        if isinstance(quotient, sympy.ceiling):
            # ceiling(x) = -floor(-x)
            times, quotient = -times, sympy.floor(-quotient.args[0], evaluate=False)
        if not (isinstance(quotient, sympy.floor) and times.is_Integer and rest.is_integer):
            return None
        above, below = sympy.fraction(sympy.together(quotient.args[0]))
        above, moving = sympy.expand(above).as_independent(symbol, as_Add=True)
        step = moving.coeff(symbol)
        if moving != step * symbol or not step.is_Integer or not above.is_integer:
            return None
        if not (below.is_integer and below.is_positive) or symbol in below.free_symbols:
            return None
        above, below, rest = map(on_floats, (above, below, rest))
        return cls(times=int(times), step=int(step), above=above, below=below, rest=rest)

    def edge(self, values: Mapping[Any, Any]) -> tuple[bool, Any] | None:
        """Return the bound of x, as ``Inequality.edge`` does; None if a number is too large for
        floats.
        """
        above, below, rest = (part(values) for part in (self.above, self.below, self.rest))
        # times > 0: floor(q) <= n = floor(-rest / times), so q < n + 1, and step * x < edge. times
        # < 0: floor(q) >= n = ceiling(rest / -times), so q >= n, and step * x >= edge.
        with np.errstate(all="ignore"):
            if self.times > 0:
                edge = below * (_quotient(-rest, float(self.times)) + 1) - above
            else:
                edge = -below * _quotient(-rest, float(-self.times)) - above
            # From the edge on ``step * x`` is at least as large; before it, it is smaller.
            turned = _quotient(-edge, float(abs(self.step)))
            found = -turned if self.step > 0 else 1 + turned
        shapes = [np.shape(v) for v in values.values()] or [(1,)]
        if not np.all(np.isfinite(found)):
            return None
        found = np.broadcast_to(found, np.broadcast_shapes(*shapes))
        return (self.times > 0) != (self.step > 0), found


def direction(expression: Any, symbol: Any) -> int | None:
    """Return 1 if an expression never falls as a variable grows, and -1 if the expression never
    grows.

    The result is 0 if the expression does not depend on the variable, and None if the direction is
    unknown.

    >>> p, m, l = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "pml")
    >>> level = sympy.floor(p / 2**l) - sympy.floor(m / 2**l)
    >>> [direction(level, v) for v in (p, m, l)]
    [1, -1, None]
    """
    if symbol not in expression.free_symbols:
        return 0
    if expression == symbol:
        return 1
    arguments = expression.args
    if isinstance(expression, sympy.Add | sympy.Min | sympy.Max | sympy.floor | sympy.ceiling):
        # A set with None, or with both 1 and -1, means that terms may oppose each other.
        found = {direction(a, symbol) for a in arguments} - {0}
        return found.pop() if len(found) == 1 else None
    naming = [a for a in arguments if symbol in a.free_symbols]
    if len(naming) != 1:
        return None
    inner = direction(naming[0], symbol)
    if isinstance(expression, sympy.Pow) and expression.base.is_number and expression.base >= 1:
        return inner
    if isinstance(expression, sympy.Mul) and inner is not None:
        others = sympy.Mul(*(a for a in arguments if a is not naming[0]))
        sign = 1 if others.is_nonnegative else -1 if others.is_nonpositive else None
        return None if sign is None else sign * inner
    return None


def _with_quotients(expression: Any) -> Any:
    """Return an expression with each rounded fraction as an exact quotient of integers."""
    quotient = sympy.Function("quotient")

    def rounded_down(argument: Any) -> Any:
        above, below = sympy.fraction(sympy.together(argument))
        exact = above.is_integer and below.is_integer and below.is_positive
        return quotient(above, below) if exact else sympy.floor(argument)

    return expression.replace(sympy.floor, rounded_down).replace(
        sympy.ceiling, lambda argument: -rounded_down(-argument)
    )


def on_floats(expression: Any) -> Callable[[Mapping[Any, Any]], Any]:
    """Return a function that evaluates an expression for float values of its variables."""
    symbols = tuple(sorted(expression.free_symbols, key=str))
    run = sympy.lambdify(symbols, _with_quotients(expression), [_functions(), "numpy"])
    return lambda values: run(*(np.asarray(values[s], dtype=np.float64) for s in symbols))


def _quotient(above: Any, below: Any) -> Any:
    """Return ``floor(above / below)`` in floats, exact for integers below 2**53 and for powers of
    2.
    """
    found = np.floor(np.true_divide(above, below))
    # sympy writes p / 49 as (1 / 49) * p, which is less than 1 at p = 49. A quotient is rounded
    # once, so it can only come out one too large.
    return found - (found * below > above)


@lru_cache(maxsize=1)
def _functions() -> Mapping[str, Any]:
    """Return the language's functions as functions on arrays, by the names that sympy prints."""

    def of_floats(function: Any) -> Any:
        return lambda *values: function(*(np.asarray(v, dtype=np.float64) for v in values))

    # sympy prints functions that it knows by their numpy names.
    return {
        name: of_floats(of(np, row.numpy)) for name, row in FUNCTIONS.items() if row.sympy is None
    } | {"erf": of_floats(of(np, FUNCTIONS["erf"].numpy)), "quotient": of_floats(_quotient)}
