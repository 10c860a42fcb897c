"""What arrays and memories do at the most: the roofs of a roofline."""

from __future__ import annotations

from fractions import Fraction

from einsum_cascade.operations import kind_and_format

from ..bound.record import Bound
from ..result.record import ArrayRoof, MemoryRoof, Roofs
from ..spec.arch import ProcessingArray


def roofs_of(bound: Bound) -> Roofs:
    """The roofs of the arrays that a mapping uses, and of all memories."""
    return bound.once_of_any_size(_roofs_of)


def _roofs_of(bound: Bound) -> Roofs:
    used = {e.array.name for e in bound.einsums}
    return Roofs(
        arrays=tuple(_array_roof(bound, a) for a in bound.architecture.arrays if a.name in used),
        memories=tuple(
            MemoryRoof(
                level=m.name,
                bytes_per_s=None
                if m.bandwidth_bytes_per_s is None
                else float(m.bandwidth_bytes_per_s * bound.architecture.copies(m.name)),
            )
            for m in bound.architecture.memories
        ),
    )


def _array_roof(bound: Bound, array: ProcessingArray) -> ArrayRoof:
    kinds = [k for e in bound.einsums if e.array is array for k, _ in e.operations]
    cycles = {k: o.cycles for k in kinds if (o := array.operation(k)) is not None}
    # What takes no time would put the roof at infinity: it is named, and left aside.
    listed = [o.cycles for o in array.operations if o.cycles > 0]
    fastest = min(listed, default=Fraction(1))
    elements = array.elements * bound.architecture.copies(array.name)
    return ArrayRoof(
        array=array.name,
        peak_ops_per_s=float(elements * bound.architecture.clock_hz / fastest),
        untimed=tuple(dict.fromkeys(kind_and_format(k)[0] for k, n in cycles.items() if not n)),
    )
