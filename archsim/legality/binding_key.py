"""Binding key: the fields of a machine that decide how a mapping is bound. Rebinding uses it to
move a mapping to another machine."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..nest.record import Bound, BoundEinsum
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from .fit import capacity_interval_of
from .footprint import requirement


def binding_key(architecture: Architecture) -> tuple[object, ...]:
    """Return the fields of a machine that decide how a mapping without open choices is bound and
    counted.

    Speeds and prices are not among these fields.

    Parameters
    ----------
    architecture : Architecture

    Returns
    -------
    tuple
        Hashable key; equal for machines between which ``rebind`` may move a mapping.
    """
    return (*memories_key(architecture, capacities=True), arrays_key(architecture.arrays))


def memories_key(architecture: Architecture, *, capacities: bool) -> tuple[object, ...]:
    """Return the part of a binding key that memories and the width of words decide.

    Parameters
    ----------
    architecture : Architecture
    capacities : bool
        True if capacities of memories belong to the key, as they do if ``depends_on_capacities``.
    """
    return (
        architecture.word_bits,
        tuple(
            (
                *(m.name, m.line_bits, m.capacity_bytes if capacities else None),
                *(m.instances, m.multicast, m.reduces, m.ring),
            )
            for m in architecture.memories
        ),
    )


def arrays_key(arrays: tuple[ProcessingArray, ...]) -> tuple[object, ...]:
    """Return the part of a binding key that arrays decide."""
    return tuple(
        (
            a.name,
            tuple((d.name, d.size) for d in a.dimensions),
            a.registers.depth,
            frozenset((o.kind, o.format) for o in a.operations),
            (a.wider, a.convert),
        )
        for a in arrays
    )


def depends_on_capacities(mapping: Mapping) -> bool:
    """Return whether capacities decide more about a mapping than legality and the sizes of fitted
    tiles."""
    return bool(mapping.choices) or mapping.spill is not None


def keeps_fitted_tiles(bound: Bound, architecture: Architecture) -> bool:
    """Return whether fitted tiles keep their sizes on a machine with other capacities."""
    room = bound.memo(capacity_interval_of)
    return room is None or room.contains(architecture)


def bandwidth_key(architecture: Architecture) -> tuple[object, ...]:
    """Return the fields of memories that decide a mapping's cycles, together with its binding key.

    Returns
    -------
    tuple
        Hashable key: bytes per cycle and steps of the write buffer of every memory.
    """
    clock, speeds = architecture.clock_hz, [m.bandwidth_bytes_per_s for m in architecture.memories]
    by_cycle = (Fraction(speed, clock) if speed else None for speed in speeds)
    buffers = (m.write_buffer for m in architecture.memories)
    return tuple(zip(by_cycle, buffers, strict=True))


def rebind(bound: Bound, architecture: Architecture) -> Bound:
    """Move a bound mapping to another machine with an equal binding key.

    Parameters
    ----------
    bound : Bound
        Mapping whose loops, tiles and addresses stay.
    architecture : Architecture
        Other machine. Nothing checks its binding key. Capacities may differ unless
        ``depends_on_capacities``.
    """
    if architecture.arrays == bound.architecture.arrays:
        return bound.on(architecture)
    einsums = tuple(_with_architecture(e, architecture) for e in bound.einsums)
    return replace(bound, architecture=architecture, einsums=einsums)


def rebind_with_footprint(bound: Bound, architecture: Architecture) -> Bound:
    """Move a bound mapping as ``rebind`` does. Its footprint is kept, because it depends on no
    capacity."""
    found = rebind(bound, architecture)
    for level, memory in enumerate(architecture.memories):
        needed = bound.memo(requirement, level)
        found.seed(requirement, replace(needed, capacity_bytes=memory.capacity_bytes), level)
    return found


def _with_architecture(e: BoundEinsum, architecture: Architecture) -> BoundEinsum:
    array = architecture.array(e.array.name)
    assert array is not None, "machines of one layout have the same arrays"
    return replace(
        e, array=array, initial=tuple(_with_architecture(i, architecture) for i in e.initial)
    )
