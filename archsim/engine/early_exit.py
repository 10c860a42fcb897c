"""Early exit: reject a mapping whose arrays or memories alone take longer than a known latency.

The planner takes the fastest of several mappings. A mapping that certainly takes longer need not be
run, nor counted completely.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from ..counts.accesses import EinsumCount
from ..counts.cores import counts_at_ports
from ..counts.occupancy import busy_cycles, memory_bytes, transfer_cycles
from ..counts.spill import count_mapping, count_of
from ..nest.record import Bound
from ..schedule.kinds import kind_of
from .policy import MIN_PROBLEMS_TO_SAMPLE


def takes_longer(bound: Bound, seconds: float, *, before: Iterable[Bound] = ()) -> bool:
    """Return whether a bound mapping certainly takes longer than a known latency.

    The check stops as soon as the answer is certain. An array or a memory does one thing at a time:
    Einsums that run together take at least the time of the busiest resource, and groups in sequence
    take the sum. ``False`` promises nothing.

    An array does one thing after the other, and so does a memory: what runs together takes no less
    than the busiest of them, and what runs in turn the sum of that. ``False`` promises nothing.

    Parameters
    ----------
    seconds : float
        Known latency.
    before : iterable of Bound, optional
        Nests of the mapping that run before this one; their time counts too.

    Raises
    ------
    MappingError
        As ``count_mapping``.
    """
    # Results are rounded to floats: a difference within rounding is none.
    limit = Fraction(seconds * (1 + 1e-9)) * bound.architecture.clock_hz
    least = Fraction(0)
    for nest in (*before, bound):
        if any(least + cycles > limit for cycles in _sampled_bounds(nest)):
            return True
        for counts in _run_together(nest):
            least += _busiest(nest, counts)
            if least > limit:
                return True
    return False


def _sampled_bounds(bound: Bound) -> Iterator[Fraction]:
    """Yield lower bounds of a mapping's cycles from its arrays, then from a sample of its cores.

    The sample counts the traffic of some of the parts that cores have of a masked rank: a far
    slower mapping shows before every part is counted.
    """
    groups = _groups(bound)
    if bound.is_whole or bound.mapping.spill is not None or bound.architecture.memories[0].ring:
        return
    yield sum((max(_arrays(bound, names).values()) for names in groups), Fraction(0))
    number = len(bound.core_nests)
    for some in (number // 4, number // 2) if number >= MIN_PROBLEMS_TO_SAMPLE else ():
        ported = counts_at_ports(bound, bound.memo(count_mapping), some)
        together = (tuple(c for c in ported if c.einsum in names) for names in groups)
        yield sum((_busiest(bound, counts) for counts in together), Fraction(0))


def _groups(bound: Bound) -> list[tuple[str, ...]]:
    """Return the names of Einsums that run together, by group."""
    every = tuple(e.name for e in bound.einsums)
    if kind_of(bound).in_turn:
        written = [tuple(t.einsum for t in group) for group in bound.mapping.schedule.groups]
        return written or [(name,) for name in every]
    return [every]


def _run_together(bound: Bound) -> Iterator[tuple[EinsumCount, ...]]:
    """Yield the counts of Einsums that run together, by group."""
    groups = _groups(bound)
    if bound.is_whole and bound.mapping.spill is None:
        yield from (tuple(bound.memo(count_of, name) for name in names) for names in groups)
        return
    ported = counts_at_ports(bound, bound.memo(count_mapping))
    yield from (tuple(c for c in ported if c.einsum in names) for names in groups)


def _busiest(bound: Bound, counts: tuple[EinsumCount, ...]) -> Fraction:
    """Return the cycles of the busiest array or memory."""
    memories = (
        transfer_cycles(bound, memory, memory_bytes(bound, counts, memory))
        for memory in bound.architecture.memories
    )
    arrays = _arrays(bound, tuple(count.einsum for count in counts))
    return max((*arrays.values(), *memories), default=Fraction(0))


def _arrays(bound: Bound, names: tuple[str, ...]) -> dict[str, Fraction]:
    """Return the cycles that some Einsums keep each array busy."""
    busy: dict[str, Fraction] = {}
    for e in (bound.by_name[name] for name in names):
        busy[e.array.name] = busy.get(e.array.name, Fraction(0)) + busy_cycles(bound, e)
    return busy
