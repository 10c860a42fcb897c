"""What the busiest array of many regions has to do at the least, worked out side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.cost.shares import tie_shares

Cells = NDArray[np.float64]
"""A number for every region: an axis for each rank, or of length one where it does not matter
how that is cut."""

_ASSIGNMENTS = 32
"""Ways to share out the largest Einsums that are told apart."""


def busiest(
    costs: Sequence[dict[str, Cells]], arrays: Sequence[str], grid: tuple[int, ...]
) -> Cells:
    """The least cycles of the busiest array, of each region.

    Of the largest Einsums all ways to share them out are told apart, each of them on one array
    as in any mapping. The others may be split among arrays: then the bound is at shares where
    one of them costs as much on two arrays (``archsim.cost.shares``). Were all of them split, a
    lane that multiplies as well as the matrix array would seem to take a share of each product.

    Parameters
    ----------
    costs : sequence of dict
        Of every Einsum the cycles on each array that can do it.
    arrays : sequence of str
        All arrays.
    grid : tuple of int
        The shape of the result.

    Examples
    --------
    Two products of 90 cycles, or ten times as many on the lanes, which another 10 keep busy:

    >>> product = {"matrix": np.array([90.0]), "lanes": np.array([900.0])}
    >>> other = {"lanes": np.array([10.0])}
    >>> busiest([product, product, other], ("matrix", "lanes"), (1,))
    array([180.])
    """
    best = [{arrays.index(a): float(c.min()) for a, c in able.items()} for able in costs]
    shares = tie_shares(best, len(arrays), 1.0)
    apart = _largest(best)
    others = [able for number, able in enumerate(costs) if number not in apart]
    split = [_split(others, dict(zip(arrays, one, strict=True)), grid) for one in shares]
    found = np.full(grid, np.inf)
    for assigned in product(*([*costs[number]] for number in apart)):
        # With the largest so assigned, every choice of shares bounds the busiest array from below:
        # the best of these bounds counts, and of all assignments the one with least to do.
        loads = {a: np.zeros(1) for a in arrays}
        for number, array in zip(apart, assigned, strict=True):
            loads[array] = loads[array] + costs[number][array]
        least = np.zeros(grid)
        for one, rest in zip(shares, split, strict=True):
            total = rest
            for share, load in zip(one, loads.values(), strict=True):
                total = total + share * load
            least = np.maximum(least, total / sum(one))
        found = np.minimum(found, least)
    return found


def _largest(best: Sequence[dict[int, float]]) -> tuple[int, ...]:
    """The Einsums with most work that more than one array can do, as many as are told apart."""
    several = [n for n, able in enumerate(best) if len(able) > 1]
    several.sort(key=lambda n: -min(best[n].values()))
    found: list[int] = []
    for number in several:
        if prod(len(best[n]) for n in (*found, number)) > _ASSIGNMENTS:
            break
        found.append(number)
    return tuple(found)


def _split(
    costs: Sequence[dict[str, Cells]], share: dict[str, float], grid: tuple[int, ...]
) -> Cells:
    """The sum of the least cycles of Einsums at some shares of arrays."""
    total = np.zeros(grid)
    for able in costs:
        least = [cycles * share[array] for array, cycles in able.items()]
        total = total + np.minimum.reduce(np.broadcast_arrays(*least))
    return total
