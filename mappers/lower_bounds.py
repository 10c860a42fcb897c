"""What no mapping of a cascade on a machine can do with less of."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

from archsim.bound.record import Bound, BoundEinsum
from archsim.cost.accesses import allowed_points
from archsim.cost.energy import operations_pj
from archsim.cost.estimators import memory_access
from archsim.cost.meter import EXACT
from archsim.result.record import Result

from .objectives import EDP, ENERGY, SearchObjective


def lower_bound(objective: SearchObjective, bound: Bound, result: Result) -> float:
    """What no mapping of a cascade on a machine is below.

    All operations are done where they cost least, all elements of an array at work, arrays
    side by side; every input and output crosses the outermost memory once.

    Parameters
    ----------
    bound : Bound
        Any legal mapping of the cascade.
    result : Result
        What it does.

    Returns
    -------
    float
        In the objective's unit: pJ, cycles, or pJ times cycles.
    """
    if objective.code == ENERGY:
        return _energy(bound, result)
    if objective.code == EDP:
        return _energy(bound, result) * _cycles(bound, result)
    return _cycles(bound, result)


def _energy(bound: Bound, result: Result) -> float:
    machine = bound.architecture
    outermost = machine.memories[0]
    price = memory_access(machine, outermost)
    lines = result.bounds.traffic_bytes * 8 / outermost.line_bits
    # The cheaper direction: a bound need not know which lines are read and which written.
    found = lines * min(price.read_pj, price.write_pj)
    for e in bound.einsums:
        points = allowed_points(bound, e, EXACT)
        operations = tuple((kind, n * points) for kind, n in e.operations)
        able = machine.arrays_for(kind for kind, _ in operations)
        found += min(sum(operations_pj(machine, array, operations)) for array in able)
    return found


def _cycles(bound: Bound, result: Result) -> float:
    machine = bound.architecture
    work = _work([dict(_each(bound, e)) for e in bound.einsums], len(machine.arrays))
    bandwidth = machine.memories[0].bandwidth_bytes_per_s
    if bandwidth is None:
        return work
    transfer = Fraction(result.bounds.traffic_bytes) * machine.clock_hz / bandwidth
    return max(work, float(transfer))


def _work(einsums: list[dict[int, float]], arrays: int) -> float:
    """Cycles of the busiest array, however work is shared out.

    With any shares that add up to one it is no less than the sum, over Einsums, of the least
    of their cycles on an array times the array's share. Of the shares of two arrays those are
    tried with which some Einsum costs as much on both.

    Examples
    --------
    One Einsum takes 10 cycles on the first array or 30 on the second, another 20 on either.
    All of the first and a quarter of the second on the first array keep both busy for 15:

    >>> _work([{0: 10.0, 1: 30.0}, {0: 20.0, 1: 20.0}], 2)
    15.0
    """
    shares = [dict.fromkeys(range(arrays), 1 / arrays), *({a: 1.0} for a in range(arrays))]
    for one, other in combinations(range(arrays), 2):
        for cycles in einsums:
            here, there = cycles.get(one, 0.0), cycles.get(other, 0.0)
            if here and there:
                shares.append({one: there / (here + there), other: here / (here + there)})
    return max(
        sum(min(cycles[a] * share.get(a, 0.0) for a in cycles) for cycles in einsums)
        for share in shares
    )


def _each(bound: Bound, e: BoundEinsum) -> Iterator[tuple[int, float]]:
    """Cycles of an Einsum on every array that can do it, all elements at work."""
    points = allowed_points(bound, e, EXACT)
    for number, array in enumerate(bound.architecture.arrays):
        if not array.cannot_do(kind for kind, _ in e.operations):
            yield number, float(points * array.cycles_of(e.operations) / array.elements)
