"""Points of two axes between bounds that move along with both of them, period by period.

Along ``floor(p / 4) == floor(m / 4)`` whatever holds at p and m holds 4 further along both, too:
what bounds m is looked at for the first 4 values of p, and counted at all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, lcm
from typing import Any

from .inequalities import Inequality, on_floats

_LARGEST = 1 << 52
"""Beyond it not every whole number is a float."""


@dataclass(frozen=True)
class _Moving:
    """What a term of an inequality gains in steps along both axes: ``by / below`` in each."""

    times: int
    by: int
    below: Callable[[Mapping[Any, Any]], Any]


@dataclass(frozen=True)
class Periodic:
    """Inequalities in two variables, and in others that have one value at a time."""

    x: Any
    y: Any
    forms: tuple[Inequality, ...]
    moving: tuple[tuple[_Moving, ...], ...]

    @classmethod
    def of(cls, x: Any, y: Any, forms: Sequence[Inequality]) -> Periodic | None:
        """Inequalities that may repeat along both variables; None where that cannot be told.

        >>> import sympy
        >>> p, m, l = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "pml")
        >>> level = Inequality.of(sympy.floor(p / 2**l) - sympy.floor(m / 2**l))
        >>> before = Inequality.of(m - p)
        >>> found = Periodic.of(m, p, [level, before])
        >>> found.period({l: 3})
        8
        >>> Periodic.of(m, p, [level, Inequality.of(m - 3)]).period({l: 3}) is None
        True
        """
        moving = []
        for form in forms:
            if form.names(x) and not form.has_edge(x):
                return None
            terms = _terms(form, x, y)
            if terms is None:
                return None
            moving.append(terms)
        return cls(x, y, tuple(forms), tuple(moving))

    def period(self, others: Mapping[Any, int]) -> int | None:
        """Steps along both variables after which all holds as before; None where it never does."""
        found = [[(t, int(t.below(others))) for t in terms] for terms in self.moving]
        # (a + b) * period / below is whole for every term: then all that is rounded moves by whole
        # numbers. Where what a form gains in a period is not 0, it ceases to hold in the end.
        period = lcm(*(below // gcd(below, t.by) for terms in found for t, below in terms))
        gained = (sum(t.times * t.by * period // below for t, below in terms) for terms in found)
        return None if any(gained) else period

    def count(self, size: int, steps: int, others: Mapping[Any, int]) -> int | None:
        """Points with x below ``size`` and y below ``steps``, at values of the other variables.

        None where they do not repeat, or numbers on the way are too large.
        """
        import numpy as np

        period = self.period(others)
        # The sums below stay whole numbers of 64 bits, and edges whole numbers of floats.
        if period is None or 8 * steps * (size + 2 * steps) > _LARGEST:
            return None
        period = min(period, steps)
        at = np.arange(period, dtype=np.int64)
        values = {**{s: np.int64(n) for s, n in others.items()}, self.y: at}
        # In how many periods there is such a value of y, and x at most so far below the first.
        times = -(-(steps - at) // period)
        # In the n-th period the bounds of x are low + n * period and high + n * period: they move
        # along with y. Hence ``_beyond``, of bounds against 0 and against the size of the axis.
        low: Any = np.full(period, -steps - period, dtype=np.int64)
        high: Any = np.full(period, size, dtype=np.int64)
        holds: Any = True
        for form in self.forms:
            if not form.names(self.x):
                holds = holds & form.holds(values)
                continue
            edge = form.edge(self.x, values)
            if edge is None or np.any(np.abs(edge[1]) > _LARGEST):
                return None
            from_below, bound = edge
            if from_below:
                low = np.maximum(low, bound.astype(np.int64))
            else:
                high = np.minimum(high, bound.astype(np.int64))
        low = np.minimum(low, size)
        high = np.maximum(low, high)
        # Of [low, high) moved by n * period, what lies in [0, size): with r(t) = max(0, t), r(high)
        # - r(low) - r(high - size) + r(low - size), added over n.
        within = [
            _beyond(high, times, period),
            -_beyond(low, times, period),
            -_beyond(high - size, times, period),
            _beyond(low - size, times, period),
        ]
        return int(np.sum(sum(within) * holds))


def _beyond(first: Any, times: Any, period: int) -> Any:
    """The sum of ``max(0, first + n * period)`` over n from 0 to ``times - 1``."""
    import numpy as np

    # From n = begin on the term is not negative: -(first // period) is ceiling(-first / period).
    begin = np.clip(-(first // period), 0, times)
    many = times - begin
    return many * first + period * ((begin + times - 1) * many // 2)


def _terms(form: Inequality, x: Any, y: Any) -> tuple[_Moving, ...] | None:
    """What moves along with two variables; None where it is not known how.

    ``times * floor((a * x + b * y + c) / below)`` gains ``times * (a + b) / below`` where x and y
    both go one further, on average, and exactly that in each whole period; a linear form gains
    the sum of its two coefficients.
    """
    import sympy

    if form.coefficients is not None:
        linear = sum(form.coefficients.get(v, 0) for v in (x, y))
        return (_Moving(times=linear, by=1, below=lambda _: 1),)
    found = []
    for term in sympy.Add.make_args(sympy.expand(form.expression)):
        times, rest = term.as_coeff_Mul()
        if not rest.free_symbols & {x, y}:
            continue
        rounded = isinstance(rest, sympy.floor | sympy.ceiling)
        above, below = sympy.fraction(sympy.together(rest.args[0] if rounded else rest))
        above = sympy.expand(above)
        by = [above.coeff(v) for v in (x, y)]
        apart = sympy.expand(above - by[0] * x - by[1] * y)
        if (apart.free_symbols | below.free_symbols) & {x, y} or not all(b.is_Integer for b in by):
            return None
        if not (below.is_integer and below.is_positive and (rounded or below == 1)):
            return None
        if not times.is_Integer:
            return None
        found.append(_Moving(times=int(times), by=int(sum(by)), below=on_floats(below)))
    return tuple(found)
