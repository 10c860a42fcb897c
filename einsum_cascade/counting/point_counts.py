"""How many points of an iteration space a mask lets through, as a number.

What ``points`` says in symbols, for given shapes: conditions are linear inequalities, one
variable between them is counted in closed form, and the others are gone through with numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from .. import ir
from ..errors import MappingError, Problem
from ..functions import FUNCTIONS, of
from .indicators import conjunctions, inlined
from .points import CountedAxis, last_tile, spaces

_MOST = 2 * 10**9
"""Combinations of the other variables that are gone through at most."""
# As many at once that an array of them has 8 MiB.
_AT_ONCE = 1 << 20


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
    for sign, inequalities in conjunctions(inlined(program, einsum.where)):
        for times, space in spaces(program, einsum.variables, inequalities):
            total += sign * _Numbers(numbers, einsum).space(times, space.axes, space.inequalities)
    return total


def _last_tiles(program: ir.Program, numbers: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for rank in program.ranks:
        if rank.partition:
            inner = prod(numbers[m] for m in rank.partition[1:])
            whole = (numbers[rank.partition[0]] - 1) * inner
            yield last_tile(rank.name).name, numbers[rank.name] - whole


@dataclass(frozen=True)
class _Range:
    """An axis in numbers: ``size`` values, each of ``tile`` points, ``total`` in all."""

    symbol: Any
    size: int
    tile: int
    total: int


@dataclass(frozen=True)
class _Numbers:
    numbers: Mapping[str, float]
    einsum: ir.Einsum

    def _value(self, expression: Any, keep: frozenset[Any] = frozenset()) -> Any:
        import sympy

        one = sympy.Integer(0) + expression
        return one.xreplace(
            {s: sympy.Rational(self.numbers[s.name]) for s in one.free_symbols - keep}
        )

    def space(self, times: Any, axes: Sequence[CountedAxis], inequalities: Sequence[Any]) -> int:
        symbols = frozenset(a.symbol for a in axes)
        ranges = [
            _Range(a.symbol, *(int(self._value(x)) for x in (a.size, a.tile, a.total)))
            for a in axes
        ]
        left = [self._value(i, symbols) for i in inequalities]
        if any(not i.free_symbols and not i <= 0 for i in left):
            return 0
        left = [i for i in left if i.free_symbols]
        found = int(self._value(times))
        while ranges and found:
            group = [ranges.pop(0)]
            mine: list[Any] = []
            while more := [i for i in left if i.free_symbols & {a.symbol for a in group}]:
                mine += more
                left = [i for i in left if i not in more]
                tied = set().union(*(i.free_symbols for i in more))
                group += [a for a in ranges if a.symbol in tied]
                ranges = [a for a in ranges if a.symbol not in tied]
            found *= self._group(group, mine) if mine else group[0].total
        return found

    def _group(self, axes: list[_Range], inequalities: list[Any]) -> int:
        """Points of axes that inequalities tie together."""
        found = _tied(tuple(axes), tuple(inequalities))
        if found is None:
            where = self.einsum.where
            text = f"{self.einsum.name}: its mask ties too many points together to count them"
            raise MappingError(Problem(text, None if where is None else where.span))
        return found


@lru_cache(maxsize=4096)
def _tied(axes: tuple[_Range, ...], inequalities: tuple[Any, ...]) -> int | None:
    """Points of axes that inequalities tie together; None where they are too many to count.

    Remembered, as Einsums of a cascade share masks and one shape is run on many machines: going
    through the points was four fifths of what the atlas took for log-linear attention.
    """
    forms = [_Inequality.of(i) for i in inequalities]
    # One axis is counted in closed form, the longest: the product of the others is the work.
    counted = [a for a in axes if all(f.steps(a.symbol) for f in forms if f.names(a.symbol))]
    # Where no axis is bounded by the others in closed form, all are gone through.
    nothing = _Range(None, 1, 1, 1)
    x = max(counted, key=lambda a: a.size, default=nothing)
    others = [a for a in axes if a is not x]
    combinations = prod(a.size for a in others)
    if combinations > _MOST:
        return None
    return sum(
        _counted(x, others, forms, start, min(start + _AT_ONCE, combinations))
        for start in range(0, combinations, _AT_ONCE)
    )


@dataclass(frozen=True)
class _Inequality:
    """An inequality ``expression <= 0``, with its whole coefficients where it is linear."""

    expression: Any
    coefficients: Mapping[Any, int] | None
    constant: int

    @classmethod
    def of(cls, inequality: Any) -> _Inequality:
        """Read a sympy expression."""
        import sympy

        terms = sympy.expand(inequality).as_coefficients_dict()
        constant = terms.pop(sympy.Integer(1), sympy.Integer(0))
        numbers = [*terms.values(), constant]
        if not all(t.is_Symbol for t in terms) or not all(n.is_Rational for n in numbers):
            return cls(inequality, None, 0)
        # Cleared of fractions, bounds are divisions of whole numbers, and exact.
        scale = int(sympy.ilcm(1, *(n.q for n in numbers)))
        return cls(
            inequality, {t: int(n * scale) for t, n in terms.items() if n}, int(constant * scale)
        )

    def names(self, symbol: Any) -> bool:
        """Whether it depends on a variable."""
        return symbol in self.expression.free_symbols

    def steps(self, symbol: Any) -> bool:
        """Whether it is a bound of a variable."""
        return self.coefficients is not None and symbol in self.coefficients

    def rest(self, values: Mapping[Any, Any], without: Any = None) -> Any:
        """Its value at arrays of the variables, the term of one of them left out."""
        if self.coefficients is not None:
            terms = (c * values[s] for s, c in self.coefficients.items() if s != without)
            return sum(terms, self.constant)
        import numpy as np
        import sympy

        symbols = sorted(self.expression.free_symbols, key=str)
        run = sympy.lambdify(symbols, self.expression, [_functions(), "numpy"])
        # The logarithm of 0 is what the language says it is, and no matter for a warning.
        with np.errstate(all="ignore"):
            try:
                return run(*(values[s] for s in symbols))
            except ValueError:
                # Whole numbers have no negative powers in numpy: 2 ** (l - 1) at l = 0.
                return run(*(np.asarray(values[s], dtype=np.float64) for s in symbols))


@lru_cache(maxsize=1)
def _functions() -> Mapping[str, Any]:
    """The language's functions on arrays, by the names under which sympy prints them."""
    import numpy as np

    def on_floats(function: Any) -> Any:
        return lambda *values: function(*(np.asarray(v, dtype=np.float64) for v in values))

    # Those sympy knows it prints in numpy's own words.
    return {
        name: on_floats(of(np, row.numpy)) for name, row in FUNCTIONS.items() if row.sympy is None
    } | {"erf": on_floats(of(np, FUNCTIONS["erf"].numpy))}


def _counted(
    x: _Range, others: Sequence[_Range], forms: Sequence[_Inequality], start: int, stop: int
) -> int:
    """Points of ``x`` at a run of combinations of the other axes."""
    import numpy as np

    # As objects they are Python's own numbers: slow, and without a largest one.
    kind: Any = np.int64 if _small(x, others, forms, stop - start) else object
    at = np.arange(start, stop, dtype=np.int64)
    values: dict[Any, Any] = {}
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
        if not form.steps(x.symbol):
            holds = holds & (form.rest(values) <= 0)
            continue
        assert form.coefficients is not None
        step = form.coefficients[x.symbol]
        rest = form.rest(values, without=x.symbol)
        if step > 0:
            high = np.minimum(high, -rest // step + 1)
        else:
            # Division rounds down; a lower bound has to be rounded up, hence the two signs.
            low = np.maximum(low, -(-rest // -step))
    ends = [np.minimum(np.maximum(bound, 0) * x.tile, x.total) for bound in (low, high)]
    return int(np.sum(np.maximum(ends[1] - ends[0], 0) * weight * holds))


def _small(x: _Range, others: Sequence[_Range], forms: Sequence[_Inequality], count: int) -> bool:
    """Whether every number on the way fits 64 bits."""
    sizes = {a.symbol: a.size for a in (x, *others)}
    largest = [x.size * x.tile, x.total * prod(a.tile for a in others) * count]
    for form in forms:
        reach = sum(abs(c) * sizes[s] for s, c in (form.coefficients or {}).items())
        largest.append((reach + abs(form.constant) + 1) * max(1, x.tile))
    return max(largest) < 1 << 62
