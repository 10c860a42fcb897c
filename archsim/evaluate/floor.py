"""What no mapping of a cascade on a machine does with less of: the floor.

Every operation is done where it costs least, all elements of an array at work and all arrays
side by side; every input that is touched and every output crosses the outermost memory once.
Points that a mask takes out are not computed, whatever the tiles are. The bounds of a result
(``Bounds``) are of its mapping; the floor is of its work.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import gcd, lcm

from ..bound.initial import with_initial
from ..bound.record import Bound, BoundEinsum
from ..cost.accesses import EinsumCount
from ..cost.energy import operations_pj
from ..cost.estimators import memory_access
from ..cost.meter import EXACT
from ..result.record import Floor
from ..space.access_map import AccessMap
from ..space.exact import total
from ..space.iteration import Loop
from ..space.nest import LoopNest
from ..spec.arch import Architecture


def floor_of(bound: Bound, counts: tuple[EinsumCount, ...]) -> Floor:
    """The floor of a mapping's work: the same for every mapping of the cascade.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade: of it only the cascade, its shapes and the machine are
        looked at.
    counts : tuple of EinsumCount
        Its operations, which are the same by any mapping.

    Returns
    -------
    Floor
        Seconds, and pJ.
    """
    machine = bound.architecture
    compulsory = compulsory_elements(bound, by_point=True) * machine.word_bytes
    work = _work(_by_array(machine, counts), len(machine.arrays))
    bandwidth = machine.memories[0].bandwidth_bytes_per_s
    compute = float(work / machine.clock_hz)
    transfer = float(compulsory / bandwidth) if bandwidth is not None else 0.0
    return Floor(
        latency_s=max(compute, transfer),
        compute_s=compute,
        bandwidth_s=transfer,
        energy_pj=_energy(bound, counts, compulsory),
    )


def compulsory_elements(bound: Bound, *, by_point: bool = False) -> int:
    """Elements of all inputs and outputs that are touched: each moved once at the least.

    Parameters
    ----------
    by_point : bool
        Whether a mask leaves out single points, not only the tiles it leaves empty: then no
        tiles of any mapping bring less.
    """
    sizes: dict[str, int] = {}
    ends = {*(t.name for t in bound.program.inputs), *bound.program.outputs}
    for e in with_initial(bound):
        nest = _points(e) if by_point and e.window is not None else e.whole
        for access_map in (*e.reads, e.write):
            name = access_map.access.tensor
            if name in ends:
                elements = EXACT.touched(e, nest, _moving(nest, access_map), access_map)
                # Whether Einsums touch the same elements is not asked: the most that one touches
                # is moved in any case.
                sizes[name] = max(sizes.get(name, 0), elements)
    return sum(sizes.values())


def _points(e: BoundEinsum) -> LoopNest:
    """Loops over single points of an Einsum's iteration space, whatever its own loops are."""
    loops = (
        Loop(member=a.name, axis=i, stride=1, level=0, variable=a.variables[0][0])
        for i, a in enumerate(e.axes)
    )
    return LoopNest(loops=tuple(loops), extents=e.extents, window=e.window)


def _moving(nest: LoopNest, access_map: AccessMap) -> tuple[bool, ...]:
    return tuple(loop.variable in access_map.moving for loop in nest.loops)


def _energy(bound: Bound, counts: tuple[EinsumCount, ...], compulsory: Fraction) -> float:
    machine = bound.architecture
    outermost = machine.memories[0]
    price = memory_access(machine, outermost)
    # The cheaper direction: a floor need not know which lines are read and which written.
    found = float(compulsory * 8 / outermost.line_bits) * min(price.read_pj, price.write_pj)
    for count in counts:
        able = machine.arrays_for(kind for kind, _ in count.operations)
        found += min(sum(operations_pj(machine, array, count.operations)) for array in able)
    return found


def _by_array(machine: Architecture, counts: tuple[EinsumCount, ...]) -> list[dict[int, Fraction]]:
    """Cycles of every Einsum on the arrays that can do it, all elements at work."""
    kinds = dict.fromkeys(kind for c in counts for kind, _ in c.operations)
    found: list[dict[int, Fraction]] = [{} for _ in counts]
    for number, array in enumerate(machine.arrays):
        able = {kind: done.cycles for kind in kinds if (done := array.operation(kind))}
        for count, cycles in zip(counts, found, strict=True):
            if all(kind in able for kind, _ in count.operations):
                busy = total((times, able[kind]) for kind, times in count.operations)
                cycles[number] = busy / array.elements
    return found


def _work(einsums: list[dict[int, Fraction]], arrays: int) -> Fraction:
    """Cycles of the busiest array, however work is shared out.

    With any shares that add up to one it is no less than the sum, over Einsums, of the least
    of their cycles on an array times the array's share. Of the shares of two arrays those are
    tried with which some Einsum costs as much on both.

    Examples
    --------
    One Einsum takes 10 cycles on the first array or 30 on the second, another 20 on either.
    All of the first and a quarter of the second on the first array keep both busy for 15:

    >>> _work([{0: Fraction(10), 1: Fraction(30)}, {0: Fraction(20), 1: Fraction(20)}], 2)
    Fraction(15, 1)
    """
    # In whole numbers: there are many products, and one is the answer.
    common = lcm(*(x.denominator for cycles in einsums for x in cycles.values()))
    each = [{a: int(x * common) for a, x in cycles.items()} for cycles in einsums]
    single = tuple(tuple(int(a == other) for a in range(arrays)) for other in range(arrays))
    shares = {(1,) * arrays, *single}
    for one, other in combinations(range(arrays), 2):
        for cycles in each:
            here, there = cycles.get(one, 0), cycles.get(other, 0)
            if here and there:
                least = gcd(here, there)
                parts = {one: there // least, other: here // least}
                shares.add(tuple(parts.get(a, 0) for a in range(arrays)))
    return max(
        Fraction(
            sum(min(x * share[a] for a, x in cycles.items()) for cycles in each),
            sum(share) * common,
        )
        for share in shares
    )
