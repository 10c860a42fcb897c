"""Number of points of a masked iteration space for given shapes.

``points`` gives the same number in symbols. Conditions are inequalities: one variable that each of
them bounds is counted from its bounds, and numpy enumerates the others. A bound is a division if
the inequality is linear, or if it names the variable in one rounded quotient, such as ``floor(p / 2
** l)`` along p. Otherwise bisection finds the bound of a monotonic inequality.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from .. import ir
from ..errors import MappingError
from . import policy
from .inequalities import Inequality, Periodic
from .points import CountedAxis, PointSet, conjunctions, inlined, last_tile, signed_spaces


def count_points(program: ir.Program, einsum: ir.Einsum, numbers: Mapping[str, float]) -> int:
    """Return the points of an Einsum's iteration space, without ``parallel`` ranks.

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
    total = 0
    # Names of the last tiles as ``spaces`` writes them; no rank of a file can have such a name.
    numbers = {**numbers, **dict(_last_tiles(program, numbers))}
    for times, space in signed_spaces(program, einsum):
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
    """Ranks on which the points of an Einsum depend: those coupled by its mask, and free ones.

    Attributes
    ----------
    needs : frozenset of str
        Shapes and parameters required to count the points that the mask couples.
    untied : tuple of str
        Ranks of variables that no condition names; their shapes multiply.
    ones : mapping
        Shapes with which the ``untied`` ranks count once.
    """

    needs: frozenset[str]
    untied: tuple[str, ...]
    ones: Mapping[str, int]

    @staticmethod
    def of(program: ir.Program, einsum: ir.Einsum) -> Mask:
        """Return the mask of an Einsum whose inherited masks are written out.

        >>> from einsum_cascade import Cascade
        >>> program = Cascade.load("attention-causal").program
        >>> mask = Mask.of(program, program.einsums[0])
        >>> sorted(mask.needs), mask.untied
        (['M', 'P'], ('E',))
        """
        return program.memo(_mask_of, einsum.variables, einsum.where)


def _mask_of(program: ir.Program, variables: tuple[str, ...], where: ir.Condition | None) -> Mask:
    """Return the mask of Einsums with these variables and condition (for ``Program.memo``)."""
    terms = conjunctions(inlined(program, where))
    named = {s.name for _, parts in terms for i in parts for s in i.free_symbols}
    own = {v: _family(program, program.rank_of_variable[v]) for v in variables}
    # A condition may use the shape of a rank without its variable.
    tied = {r for v, family in own.items() if named & {v, *family} for r in family}
    ranks = [program.rank_of_variable[v] for v in variables]
    untied = tuple(r for r in ranks if r not in tied)
    return Mask(
        needs=frozenset(tied | (named - own.keys())),
        untied=untied,
        ones={name: 1 for r in untied for name in _family(program, r)},
    )


def _family(program: ir.Program, rank: str) -> tuple[str, ...]:
    """Return the family of a rank (or the rank itself) and all its members."""
    whole = program.rank_of[rank].family or rank
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
    """Return an expression with numbers for all symbols but those to keep."""
    import sympy

    one = sympy.Integer(0) + expression
    return one.xreplace({s: sympy.Rational(numbers[s.name]) for s in one.free_symbols - keep})


def _integer(expression: Any, numbers: Mapping[str, float]) -> int:
    """Return the integer value of an expression; most are a single shape and need no sympy."""
    if isinstance(expression, int):
        return expression
    if expression.is_Symbol:
        return int(numbers[expression.name])
    return int(_value(expression, numbers))


def _count(space: PointSet, numbers: Mapping[str, float]) -> int | None:
    """Return the points of a set with numbers for its shapes; None if they are too many to count.

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
    left = [_value(i, numbers, sizes.keys()) for i in space.inequalities]
    if any(not i.free_symbols and not i <= 0 for i in left):
        return 0
    # An inequality that always holds, such as the last tile's end for whole tiles, couples nothing.
    left = [i for i in left if i.free_symbols and not Inequality.of(i).always(sizes)]
    total = 1
    for group, inequalities in PointSet(axes, tuple(left)).groups():
        found = _count_coupled(group, inequalities) if inequalities else group[0].total
        if not found:
            return found
        total *= found
    return total


@lru_cache(maxsize=4096)
def _count_coupled(axes: tuple[CountedAxis, ...], inequalities: tuple[Any, ...]) -> int | None:
    """Return the points of coupled axes, or None if there are too many combinations.

    Results are cached, because Einsums of a cascade share masks and one shape runs on many
    machines: enumeration took four fifths of the atlas's time for log-linear attention.
    """
    forms = [Inequality.of(i) for i in inequalities]
    # One axis is counted from its bounds, so the work is the product of the others. If no axis has
    # bounds, all are enumerated.
    work = {a: w for a in (*axes, _NO_AXIS) if (w := _work(a, axes, forms)) is not None}
    x = min(work, key=lambda a: work[a])
    if work[x] > policy.MAX_COMBINATIONS:
        return None
    others = [a for a in axes if a is not x]
    if (found := _by_periods(x, others, forms)) is not None:
        return found
    if (
        work[x] >= policy.MIN_COMBINATIONS_TO_SPLIT
        and (found := _value_by_value(axes, inequalities)) is not None
    ):
        return found
    combinations = prod(a.size for a in others)
    batch = policy.COMBINATIONS_PER_BATCH
    return sum(
        _count_batch(x, others, forms, start, min(start + batch, combinations))
        for start in range(0, combinations, batch)
    )


def _value_by_value(axes: Sequence[CountedAxis], inequalities: Sequence[Any]) -> int | None:
    """Return the points summed over the values of the shortest axis, or None.

    None if that axis is long, or if inequalities still couple the other axes at a fixed value.

    >>> import sympy
    >>> p, l, j = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "plj")
    >>> axes = [CountedAxis(p, 8, 1, 8), CountedAxis(l, 3, 1, 3), CountedAxis(j, 4, 1, 4)]
    >>> _value_by_value(axes, [p - 2**l * sympy.floor(p / 2**l), j - l])  # 8 + 2 * 4 + 3 * 2
    22
    """
    short = min(axes, key=lambda a: a.size)
    others = [a for a in axes if a is not short]
    if len(others) < 2 or short.size > policy.MAX_SPLIT_VALUES or short.tile != 1:
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


def _count_along_one_axis(y: CountedAxis, forms: Sequence[Inequality]) -> int | None:
    """Return the points of one axis with periodic inequalities; None if not periodic, or short."""
    import sympy

    # A dummy that no form names stands for x, so the period is along y alone.
    alone = Periodic.of(sympy.Dummy(), y.symbol, forms)
    period = None if alone is None else alone.period({})
    if period is None or period >= y.size:
        return None
    size: int = y.size
    whole, rest = divmod(size, period)
    first, last = (_count_batch(_NO_AXIS, [y], forms, 0, stop) for stop in (period, rest))
    return whole * first + last


def _by_periods(
    x: CountedAxis, others: Sequence[CountedAxis], forms: Sequence[Inequality]
) -> int | None:
    """Return the points from bounds that repeat along x and a long axis; None if not worthwhile."""
    y = max(others, key=lambda a: a.size, default=_NO_AXIS)
    rest = [a for a in others if a is not y]
    # Each combination of the rest costs one numpy call on a period, while an enumeration handles
    # many combinations per call: periods pay off if y alone has most of the points.
    if y.size < policy.MIN_VALUES_FOR_PERIODS * prod(a.size for a in rest):
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


_NO_AXIS = CountedAxis(None, 1, 1, 1)
"""Stands for the counted axis if no axis is counted from its bounds."""


def _work(x: CountedAxis, axes: Sequence[CountedAxis], forms: Sequence[Inequality]) -> int | None:
    """Return the evaluations needed to count ``x`` from its bounds; None if it is not bounded."""
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
    """Return the points of ``x`` over a range of combinations of the other axes."""
    import numpy as np

    # Object arrays hold Python integers: slow, but unlimited.
    kind: Any = np.int64 if _fits_int64(x, others, forms, stop - start) else object
    at = np.arange(start, stop, dtype=np.int64)
    values: dict[Any, Any] = {}
    # Split the number of a combination into mixed-radix digits, the last axis fastest: 7 among axes
    # of 2, 3 and 4 values is (0, 1, 3).
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
    # Bounds are in tiles of x and the count is in points: the last tile ends where the rank does.
    ends = [np.minimum(np.maximum(bound, 0) * x.tile, x.total) for bound in (low, high)]
    return int(np.sum(np.maximum(ends[1] - ends[0], 0) * weight * holds))


def _fits_int64(
    x: CountedAxis, others: Sequence[CountedAxis], forms: Sequence[Inequality], count: int
) -> bool:
    """Return whether every intermediate number fits 64 bits."""
    sizes = {a.symbol: a.size for a in (x, *others)}
    largest: list[int] = [x.size * x.tile, x.total * prod(a.tile for a in others) * count]
    for form in forms:
        # A non-linear form has no coefficients: it is evaluated in floats anyway.
        reach = sum(abs(c) * sizes[s] for s, c in (form.coefficients or {}).items())
        largest.append((reach + abs(form.constant) + 1) * max(1, x.tile))
    return max(largest) < 1 << 62
