"""Cycles that a mapping keeps arrays and memories busy, including the folds of systolic arrays.

Several processing elements along an axis may share a value: an operand that does not vary along the
axis, or a result that is reduced along it. The value hops from one element to the next, one cycle
per hop. The last of ``size`` elements works ``size - 1`` cycles after the first. A *fold* is the
run between two fillings of the array, during which the stationary operand stays. Between folds the
array drains and fills again, and stationary operands are loaded along an axis first.

On an array that overlaps ``streams``, a streamed operand follows the one before it, and the skew of
both is hidden. A load cannot follow in this way. It waits until the last value has left along its
axis, and then takes a cycle per element. An element of such an array holds one stationary value.
Einsums that alternate in the steps of a nest therefore load their values anew at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from ..iteration.access_map import AccessMap
from ..iteration.windowed import one
from ..nest.record import Bound, BoundEinsum
from ..result.record import Folds
from ..spec.arch import Memory
from .accesses import EinsumCount, in_own_registers
from .meter import EXACT


def busy_cycles(bound: Bound, e: BoundEinsum) -> Fraction:
    """Return the cycles in which an Einsum occupies its array over the whole run.

    Parameters
    ----------
    bound : Bound
        Mapping, which says which operands a systolic array already holds.
    e : BoundEinsum
        One of its Einsums.

    Returns
    -------
    Fraction
        Cycles of work and skew, without waits, reduction latencies and transfers.
    """
    folds = folds_of(bound, e)
    return e.cycles if folds is None else e.cycles + folds.cycles


def reduction_latency(e: BoundEinsum) -> int:
    """Return the delay of a spatial reduction in cycles, summed over the axes that it crosses.

    If a systolic array drains between folds, its occupied cycles already contain the hops along an
    axis. Then only the remaining delay is returned.

    Parameters
    ----------
    e : BoundEinsum
        Einsum; without a reduction across the array, the delay is 0.
    """
    axes = {loop.dimension for loop in e.spatial if loop.variable in e.einsum.over}
    drained = e.array.operands == "systolic" and e.array.overlap is False
    return sum(
        max(0, d.reduction_latency_cycles - (d.size - 1 if drained else 0))
        for d in e.array.dimensions
        if d.name in axes
    )


def transfer_cycles(bound: Bound, memory: Memory, moved_bytes: Fraction) -> Fraction:
    """Return the cycles that a memory needs to move some bytes; 0 if its bandwidth is unlimited.

    Parameters
    ----------
    bound : Bound
        Mapping, whose machine gives the clock of the arrays.
    memory : Memory
        The memory, with its bandwidth in bytes per second.
    moved_bytes : Fraction
        Reads and writes together, in bytes.
    """
    if memory.bandwidth_bytes_per_s is None:
        return Fraction(0)
    return moved_bytes * bound.architecture.clock_hz / memory.bandwidth_bytes_per_s


def memory_bytes(bound: Bound, counts: tuple[EinsumCount, ...], memory: Memory) -> Fraction:
    """Return the bytes that a memory reads and writes for some Einsums.

    Parameters
    ----------
    bound : Bound
        Mapping, which gives the width of each tensor's values.
    counts : tuple of EinsumCount
        Accesses in elements.
    memory : Memory

    Returns
    -------
    Fraction
        Bytes of the whole run; a value may take part of a byte.
    """
    words, word_bytes = bound.words, bound.architecture.word_bytes
    mine = (a for c in counts for a in c.accesses if a.place == memory.name)
    return sum((a.reads + a.writes) * words.of(a.tensor) for a in mine) * word_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StationaryOperand:
    """Tensors that stay in the processing elements of a systolic array while other values pass
    through."""

    skew: tuple[tuple[str, int], ...]
    """Skew of the tensors, as axes and cycles like in ``Folds``; a streamed tensor has no skew."""
    own: tuple[int, ...]
    """Numbers of the accesses that vary along the most axes; each processing element has its own
    values."""
    loaded: tuple[int, ...]
    """Numbers of the accesses in ``own`` that are operands and must be loaded; a result needs no
    load."""
    load_cycles: int


def stationary_operand(e: BoundEinsum) -> StationaryOperand | None:
    """Return the tensors that stay in the array.

    Returns None if operands are broadcast or no rank is spatial.
    """
    if e.array.operands == "broadcast" or not e.spatial:
        return None
    shared = [_shared_axes(e, access_map) for access_map in e.access_maps]
    hopping = {axis for axes in shared for axis in axes}
    # Z[m, n] = A[m, k] * B[n, k] with m along rows and n along columns: A is shared by columns, B
    # by rows, Z by neither, so that Z stays in its element (output-stationary). With k along rows
    # and n along columns it is B that stays (weight-stationary).
    least, result = min(map(len, shared)), len(e.reads)
    own = tuple(n for n, axes in enumerate(shared) if len(axes) == least)
    return StationaryOperand(
        skew=tuple(
            (d.name, d.size - 1) for d in e.array.dimensions if d.name in hopping and d.size > 1
        ),
        own=own,
        loaded=tuple(n for n in own if n != result),
        load_cycles=_load_cycles(e, shared[result]),
    )


def folds_of(bound: Bound, e: BoundEinsum) -> Folds | None:
    """Return the cost of skew for an Einsum; None if skew costs nothing.

    Folds are not trimmed at ragged edges. For a GEMM without overlap the cycles are SCALE-Sim's
    (its report + 1): output-stationary ``K + R + C - 2`` a fold, weight- and input-stationary ``T +
    2 R + C - 2``.

    Parameters
    ----------
    bound : Bound
        Mapping, which says which operands the array's registers already hold.
    e : BoundEinsum
        One of its Einsums.

    Returns
    -------
    Folds or None
        None also if operands are broadcast or no rank is spatial.
    """
    held = stationary_operand(e)
    if held is None:
        return None
    skew, own = held.skew, held.own
    # Operands that wait in the registers need no loads.
    loaded = [n for n in held.loaded if not in_own_registers(bound, e, n)]
    load_cycles = held.load_cycles
    streams = e.array.overlap == "streams"
    turns = streams and _alternates_with_others(bound, e)
    changes = {n: _changes(e, e.access_maps[n], anew=turns) for n in own}
    loads = max((changes[n] for n in loaded), default=0) if load_cycles else 0
    if streams:
        skew = ()
    if not skew and not loads:
        return None
    # A load may take longer than the work between two loads.
    stall = max(0, ceil(load_cycles - e.cycles / loads)) if loads and e.array.overlap is True else 0
    drain = load_cycles - 1 if loads and streams and _waits(bound, e, loaded) else 0
    return Folds(
        einsum=e.name,
        array=e.array.name,
        folds=min(changes.values()),
        skew=skew,
        loads=loads,
        load_cycles=load_cycles if loads else 0,
        overlap=e.array.overlap is True,
        stall=stall,
        drain=drain,
    )


def _alternates_with_others(bound: Bound, e: BoundEinsum) -> bool:
    """Return whether another Einsum of the same step keeps stationary values in the same array."""
    return any(
        other is not e
        and other.array.name == e.array.name
        and other.spatial
        and not bound.in_different_groups(e.name, other.name)
        for other in bound.einsums
    )


def _changes(e: BoundEinsum, access_map: AccessMap, *, anew: bool) -> int:
    """Return how often a processing element must load a tensor's value.

    It loads the value again if the value changes or, with ``anew``, if it was evicted since its
    last use.
    """
    relevant = tuple(
        (anew and loop in e.shared) or loop.variable in access_map.moving for loop in e.whole.loops
    )
    return EXACT.delivered(e, e.whole, relevant, one)


def _waits(bound: Bound, e: BoundEinsum, loaded: list[int]) -> bool:
    """Return whether a loaded operand comes from outside the array.

    If the operand is the array's own result coming back, the array has drained that result. Then no
    other value is on its way that the load must wait for.
    """
    makers = [bound.producer(e.operands[n]) for n in loaded]
    return any(maker is None or maker.array.name != e.array.name for maker in makers)


def _shared_axes(e: BoundEinsum, access_map: AccessMap) -> frozenset[str]:
    """Return the used axes of the array along which a tensor does not vary."""
    used = {loop.dimension for loop in e.spatial if loop.dimension is not None}
    moved = {x.dimension for x in e.spatial if x.variable in access_map.moving}
    return frozenset(used - moved)


def _load_cycles(e: BoundEinsum, reduced: frozenset[str]) -> int:
    """Return the cycles of a load.

    It runs along the axis by which partial sums leave, or else along the shortest axis. In a single
    row every processing element is at the edge, so that no value passes through other elements.
    """
    if len(e.array.dimensions) == 1:
        return 0
    sizes = {d.name: d.size for d in e.array.dimensions}
    return min(n for axis, n in sizes.items() if axis in reduced or not reduced)
