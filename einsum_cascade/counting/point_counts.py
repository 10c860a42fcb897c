"""How many points of an iteration space a mask lets through, as a number.

What ``points`` says in symbols, for given shapes: conditions are inequalities, one variable
that each of them bounds is counted from its bounds, and the others are gone through with numpy.
A bound is a division where the inequality is linear, or names a variable in one quotient that is
rounded, as ``floor(p / 2 ** l)`` is along p, and found by halving where it only grows or falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from .. import ir
from ..errors import MappingError, Problem
from .inequalities import Inequality, Periodic
from .points import CountedAxis, conjunctions, inlined, last_tile, signed_spaces

_MAX_COMBINATIONS = 10**9
"""Combinations of the other variables that are gone through at most, steps of halving included."""
# As many at once that an array of them has 8 MiB.
_COMBINATIONS_PER_BATCH = 1 << 20
_MIN_VALUES_FOR_PERIODS = 1 << 10
"""Values of an axis for each combination of the others from which on periods are looked for."""
_MIN_COMBINATIONS_TO_SPLIT = 1 << 22
"""Combinations from which on a short axis is taken value by value."""
_MAX_SPLIT_VALUES = 64
"""Values of such an axis at most: each takes some milliseconds to write out."""


def count_points(program: ir.Program, einsum: ir.Einsum, numbers: Mapping[str, float]) -> int:
    """Points of an Einsum's iteration space, without ``parallel`` ranks.

    A mask that depends on data is counted as if it let everything through.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        With its whole mask written out (``algebra.conditions.with_masks``).
    numbers : mapping
        Shapes of all ranks, and values of the parameters that the mask uses.

    Raises
    ------
    MappingError
        The mask ties too many variables together to count its points.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-causal").program
    >>> count_points(program, program.einsums[0], {"E": 64, "M": 4, "P": 4, "F": 64})
    640
    """
    total = 0
    # By the names under which ``spaces`` writes them; no file can use these.
    numbers = {**numbers, **dict(_last_tiles(program, numbers))}
    for times, space in signed_spaces(program, einsum):
        total += _NumericShapes(numbers, einsum).space(times, space.axes, space.inequalities)
    return total


@dataclass(frozen=True)
class Mask:
    """What the points of an Einsum depend on: ranks that its mask ties, and those that multiply.

    Attributes
    ----------
    needs : frozenset of str
        Shapes and parameters without which the points that the mask ties cannot be counted.
    untied : tuple of str
        Ranks of its variables that no condition names; their shapes multiply.
    ones : mapping
        Shapes with which these count once.
    """

    needs: frozenset[str]
    untied: tuple[str, ...]
    ones: Mapping[str, int]

    @staticmethod
    def of(program: ir.Program, einsum: ir.Einsum) -> Mask:
        """Of an Einsum with its whole mask written out.

        >>> from einsum_cascade import Cascade
        >>> program = Cascade.load("attention-causal").program
        >>> mask = Mask.of(program, program.einsums[0])
        >>> sorted(mask.needs), mask.untied
        (['M', 'P'], ('E',))
        """
        return program.memo(_mask_of, einsum.variables, einsum.where)


def _mask_of(program: ir.Program, variables: tuple[str, ...], where: ir.Condition | None) -> Mask:
    """Of Einsums that are masked alike, whatever else they are (for ``Program.memo``)."""
    terms = conjunctions(inlined(program, where))
    named = {s.name for _, parts in terms for i in parts for s in i.free_symbols}
    own = {v: _family(program, program.rank_of_variable[v]) for v in variables}
    # A condition may ask for the length of a rank whose variable it does not name.
    tied = {r for v, family in own.items() if named & {v, *family} for r in family}
    ranks = [program.rank_of_variable[v] for v in variables]
    untied = tuple(r for r in ranks if r not in tied)
    return Mask(
        needs=frozenset(tied | (named - own.keys())),
        untied=untied,
        ones={name: 1 for r in untied for name in _family(program, r)},
    )


def _family(program: ir.Program, rank: str) -> tuple[str, ...]:
    """A rank, the one it is a member of, and all its members."""
    whole = program.rank_of[rank].family or rank
    return (whole, *program.rank_of[whole].partition)


def _last_tiles(program: ir.Program, numbers: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for rank in program.ranks:
        # Those that are not known are not asked for.
        if rank.partition and {rank.name, *rank.partition} <= numbers.keys():
            # 10 keys in 3 tiles of 4: the last has 10 - (3 - 1) * 4 = 2.
            inner = prod(numbers[m] for m in rank.partition[1:])
            whole = (numbers[rank.partition[0]] - 1) * inner
            yield last_tile(rank.name).name, numbers[rank.name] - whole


@dataclass(frozen=True)
class _NumericAxis:
    """An axis in numbers: ``size`` values, each of ``tile`` points, ``total`` in all."""

    symbol: Any
    size: int
    tile: int
    total: int


@dataclass(frozen=True)
class _NumericShapes:
    numbers: Mapping[str, float]
    einsum: ir.Einsum

    def _value(self, expression: Any, keep: frozenset[Any] = frozenset()) -> Any:
        import sympy

        one = sympy.Integer(0) + expression
        return one.xreplace(
            {s: sympy.Rational(self.numbers[s.name]) for s in one.free_symbols - keep}
        )

    def _whole(self, expression: Any) -> int:
        """The number that an expression is; most are a shape, and need no arithmetic of sympy."""
        if isinstance(expression, int):
            return expression
        if expression.is_Symbol:
            return int(self.numbers[expression.name])
        return int(self._value(expression))

    def space(self, times: Any, axes: Sequence[CountedAxis], inequalities: Sequence[Any]) -> int:
        """Parameters
        ----------
        times : expression
            How often the space counts; below 0 in an inclusion and exclusion.
        axes, inequalities
            Of a ``CountedSpace``, still in symbols.

        Returns
        -------
        int
            Points, ``times`` multiplied in.

        Raises
        ------
        MappingError
            A group of axes has more than 10**9 combinations to go through.
        """
        symbols = frozenset(a.symbol for a in axes)
        ranges = [
            _NumericAxis(a.symbol, *(self._whole(x) for x in (a.size, a.tile, a.total)))
            for a in axes
        ]
        left = [self._value(i, symbols) for i in inequalities]
        if any(not i.free_symbols and not i <= 0 for i in left):
            return 0
        # What holds everywhere, as the last tile's end where tiles are whole, ties nothing.
        sizes = {a.symbol: a.size for a in ranges}
        left = [i for i in left if i.free_symbols and not Inequality.of(i).always(sizes)]
        found = self._whole(times)
        while ranges and found:
            group = [ranges.pop(0)]
            mine: list[Any] = []
            # All axes that inequalities tie to the first, directly or through others. Groups know
            # nothing of one another, so that their points multiply.
            while more := [i for i in left if i.free_symbols & {a.symbol for a in group}]:
                mine += more
                left = [i for i in left if i not in more]
                tied = set().union(*(i.free_symbols for i in more))
                group += [a for a in ranges if a.symbol in tied]
                ranges = [a for a in ranges if a.symbol not in tied]
            found *= self._group(group, mine) if mine else group[0].total
        return found

    def _group(self, axes: list[_NumericAxis], inequalities: list[Any]) -> int:
        """Points of axes that inequalities tie together."""
        found = _count_coupled(tuple(axes), tuple(inequalities))
        if found is None:
            where = self.einsum.where
            text = f"{self.einsum.name}: its mask ties too many points together to count them"
            raise MappingError(Problem(text, None if where is None else where.span))
        return found


@lru_cache(maxsize=4096)
def _count_coupled(axes: tuple[_NumericAxis, ...], inequalities: tuple[Any, ...]) -> int | None:
    """Points of axes that inequalities tie together; None where they are too many to count.

    Remembered, as Einsums of a cascade share masks and one shape is run on many machines: going
    through the points was four fifths of what the atlas took for log-linear attention.
    """
    forms = [Inequality.of(i) for i in inequalities]
    # One axis is counted from its bounds: the product of the others is the work. Where nothing
    # bounds any, all are gone through.
    work = {a: w for a in (*axes, _NO_AXIS) if (w := _work(a, axes, forms)) is not None}
    x = min(work, key=lambda a: work[a])
    if work[x] > _MAX_COMBINATIONS:
        return None
    others = [a for a in axes if a is not x]
    if (found := _by_periods(x, others, forms)) is not None:
        return found
    if (
        work[x] >= _MIN_COMBINATIONS_TO_SPLIT
        and (found := _value_by_value(axes, inequalities)) is not None
    ):
        return found
    combinations = prod(a.size for a in others)
    return sum(
        _count_batch(x, others, forms, start, min(start + _COMBINATIONS_PER_BATCH, combinations))
        for start in range(0, combinations, _COMBINATIONS_PER_BATCH)
    )


def _value_by_value(axes: Sequence[_NumericAxis], inequalities: Sequence[Any]) -> int | None:
    """Points at each value of the shortest axis, where the others are not tied to one another but
    by that; None where they are, or it is long.

    >>> import sympy
    >>> p, l, j = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "plj")
    >>> axes = [_NumericAxis(p, 8, 1, 8), _NumericAxis(l, 3, 1, 3), _NumericAxis(j, 4, 1, 4)]
    >>> _value_by_value(axes, [p - 2**l * sympy.floor(p / 2**l), j - l])  # 8 + 2 * 4 + 3 * 2
    22
    """
    short = min(axes, key=lambda a: a.size)
    others = [a for a in axes if a is not short]
    if len(others) < 2 or short.size > _MAX_SPLIT_VALUES or short.tile != 1:
        return None
    total = 0
    for value in range(short.size):
        left = [i.xreplace({short.symbol: value}) for i in inequalities]
        naming = [{a for a in others if a.symbol in i.free_symbols} for i in left]
        if any(len(named) > 1 for named in naming):
            return None
        if any(not named and not i <= 0 for i, named in zip(left, naming, strict=True)):
            continue
        counts = 1
        for axis in others:
            mine = tuple(i for i, named in zip(left, naming, strict=True) if axis in named)
            found = _count_coupled((axis,), mine) if mine else axis.total
            if found is None:
                return None
            counts *= found
        total += counts
    return total


def _count_along_one_axis(y: _NumericAxis, forms: Sequence[Inequality]) -> int | None:
    """Points of one axis along which whatever holds does so again and again; None where it does
    not, or the axis is short."""
    import sympy

    # With a dummy in the place of x, which no form names, it is the period along y alone.
    alone = Periodic.of(sympy.Dummy(), y.symbol, forms)
    period = None if alone is None else alone.period({})
    if period is None or period >= y.size:
        return None
    whole, rest = divmod(y.size, period)
    first, last = (_count_batch(_NO_AXIS, [y], forms, 0, stop) for stop in (period, rest))
    return whole * first + last


def _by_periods(
    x: _NumericAxis, others: Sequence[_NumericAxis], forms: Sequence[Inequality]
) -> int | None:
    """Points whose bounds repeat along x and a long axis; None where they do not, or are few."""
    y = max(others, key=lambda a: a.size, default=_NO_AXIS)
    rest = [a for a in others if a is not y]
    # Each combination of the rest is a call of numpy on a period, where going through all points is
    # one on arrays of them: it pays where y alone has the points.
    if y.size < _MIN_VALUES_FOR_PERIODS * prod(a.size for a in rest):
        return None
    if any(a.tile != 1 for a in (x, *others)):
        return None
    if x is _NO_AXIS:
        return None if rest else _count_along_one_axis(y, forms)
    periodic = Periodic.of(x.symbol, y.symbol, forms)
    total = 0
    for at in product(*(range(a.size) for a in rest)):
        values = {a.symbol: n for a, n in zip(rest, at, strict=True)}
        found = None if periodic is None else periodic.count(x.size, y.size, values)
        if found is None:
            return None
        total += found
    return total


_NO_AXIS = _NumericAxis(None, 1, 1, 1)
"""What is counted where no axis is."""


def _work(x: _NumericAxis, axes: Sequence[_NumericAxis], forms: Sequence[Inequality]) -> int | None:
    """Evaluations when ``x`` is counted from its bounds; None where they are no bounds of it."""
    naming = [f for f in forms if f.names(x.symbol)]
    if not all(f.bounds(x.symbol) for f in naming):
        return None
    halvings = sum(f.evaluations(x.symbol, x.size) for f in naming if not f.is_linear)
    return prod(a.size for a in axes if a is not x) * max(1, halvings)


def _count_batch(
    x: _NumericAxis,
    others: Sequence[_NumericAxis],
    forms: Sequence[Inequality],
    start: int,
    stop: int,
) -> int:
    """Points of ``x`` at a run of combinations of the other axes."""
    import numpy as np

    # As objects they are Python's own numbers: slow, and without a largest one.
    kind: Any = np.int64 if _fits_int64(x, others, forms, stop - start) else object
    at = np.arange(start, stop, dtype=np.int64)
    values: dict[Any, Any] = {}
    # The number of a combination, taken apart like a number of mixed radix, the last axis fastest:
    # 7 among axes of 2, 3 and 4 values is (0, 1, 3).
    weight: Any = 1
    for axis in reversed(others):
        at, digit = np.divmod(at, axis.size)
        values[axis.symbol] = digit.astype(kind)
        if axis.tile != 1:
            weight = weight * np.minimum(axis.tile, axis.total - values[axis.symbol] * axis.tile)
    low: Any = np.zeros(stop - start, dtype=kind)
    high: Any = np.full(stop - start, x.size, dtype=kind)
    holds: Any = True
    for form in forms:
        if not form.names(x.symbol):
            holds = holds & form.holds(values)
            continue
        from_below, bound = form.bound(x.symbol, values, x.size)
        if from_below:
            low = np.maximum(low, bound)
        else:
            high = np.minimum(high, bound)
    # Bounds are in tiles of x, the count is in points: the last tile ends where the rank does.
    ends = [np.minimum(np.maximum(bound, 0) * x.tile, x.total) for bound in (low, high)]
    return int(np.sum(np.maximum(ends[1] - ends[0], 0) * weight * holds))


def _fits_int64(
    x: _NumericAxis, others: Sequence[_NumericAxis], forms: Sequence[Inequality], count: int
) -> bool:
    """Whether every number on the way fits 64 bits."""
    sizes = {a.symbol: a.size for a in (x, *others)}
    largest = [x.size * x.tile, x.total * prod(a.tile for a in others) * count]
    for form in forms:
        # What is not linear has none: it is worked out in floats, whatever the arrays hold.
        reach = sum(abs(c) * sizes[s] for s, c in (form.coefficients or {}).items())
        largest.append((reach + abs(form.constant) + 1) * max(1, x.tile))
    return max(largest) < 1 << 62
