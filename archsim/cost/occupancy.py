"""How long a mapping keeps arrays and memories busy, in cycles of the whole run."""

from __future__ import annotations

from fractions import Fraction

from ..bound.record import Bound, BoundEinsum
from ..spec.arch import Memory
from .accesses import EinsumCount
from .folds import skew_cycles


def busy_cycles(bound: Bound, e: BoundEinsum) -> Fraction:
    """Cycles in which an Einsum occupies its array over the whole run.

    Parameters
    ----------
    bound : Bound
        The mapping: it says which operands of a systolic array wait there already.
    e : BoundEinsum
        One of its Einsums.

    Returns
    -------
    Fraction
        Work and skew; without waits, reduction latencies and transfers.
    """
    skew = skew_cycles(bound, e)
    return work_cycles(e) + skew if skew else work_cycles(e)


def work_cycles(e: BoundEinsum) -> Fraction:
    """Cycles in which an element of the array computes, over the whole run.

    Returns
    -------
    Fraction
        Temporal iterations times cycles per point: exact, though an operation may take part
        of a cycle.
    """
    return e.cycles


def reduction_latency(e: BoundEinsum) -> int:
    """Cycles by which a spatial reduction is late: the sum over the axes it crosses.

    Where a systolic array drains between folds, the hops along an axis are among the
    cycles it is occupied, and only what is later than they are is left.

    Parameters
    ----------
    e : BoundEinsum
        An Einsum; what it does not reduce across the array is never late.
    """
    axes = {loop.dimension for loop in e.spatial if loop.variable in e.einsum.over}
    drained = e.array.operands == "systolic" and e.array.overlap is False
    return sum(
        max(0, d.reduction_latency_cycles - (d.size - 1 if drained else 0))
        for d in e.array.dimensions
        if d.name in axes
    )


def transfer_cycles(bound: Bound, memory: Memory, moved_bytes: Fraction) -> Fraction:
    """Cycles a memory needs to move some bytes; zero when its bandwidth is unlimited.

    Parameters
    ----------
    bound : Bound
        Where the clock comes from: cycles are those of the arrays.
    memory : Memory
        The memory, with its bandwidth in bytes per second.
    moved_bytes : Fraction
        Reads and writes together, in bytes.
    """
    if memory.bandwidth_bytes_per_s is None:
        return Fraction(0)
    return moved_bytes * bound.architecture.clock_hz / memory.bandwidth_bytes_per_s


def memory_bytes(bound: Bound, counts: tuple[EinsumCount, ...], memory: Memory) -> Fraction:
    """Bytes a memory moves, reads and writes, for some Einsums.

    Parameters
    ----------
    bound : Bound
        Where the width of each tensor's values comes from.
    counts : tuple of EinsumCount
        Accesses in elements.
    memory : Memory

    Returns
    -------
    Fraction
        Of the whole run; a value may take part of a byte.
    """
    words = bound.words
    moved = sum(
        (a.reads + a.writes) * words.of(a.tensor)
        for c in counts
        for a in c.accesses
        if a.place == memory.name
    )
    return moved * bound.architecture.word_bytes
