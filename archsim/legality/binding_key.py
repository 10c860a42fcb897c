"""Binding key: fields of a machine that decide how a mapping is bound; rebinding."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..nest.record import Bound, BoundEinsum
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from .fit import capacity_interval_of
from .footprint import requirement


def binding_key(architecture: Architecture, *, capacities: bool = True) -> tuple[object, ...]:
    """What of a machine decides how a mapping without open choices is bound and counted.

    Speeds and prices do not.

    Parameters
    ----------
    architecture : Architecture
        The machine.
    capacities : bool
        Whether those of its memories count, as they do where ``depends_on_capacities``.

    Returns
    -------
    tuple
        Hashable; equal for machines between which ``rebind`` may move a mapping.
    """
    memories = memories_key(architecture, capacities=capacities)
    return (*memories, arrays_key(architecture.arrays))


def memories_key(architecture: Architecture, *, capacities: bool) -> tuple[object, ...]:
    """What of memories and words is part of a ``layout``."""
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
    """What of arrays is part of a ``layout``."""
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
    """Whether more than the legality of a mapping, and sizes of tiles that are fitted, depends
    on what memories can hold."""
    return bool(mapping.choices) or mapping.spill is not None


def keeps_fitted_tiles(bound: Bound, architecture: Architecture) -> bool:
    """Whether tiles that were fitted come out the same on a machine of other capacities."""
    room = bound.memo(capacity_interval_of)
    return room is None or room.contains(architecture)


def bandwidth_key(architecture: Architecture) -> tuple[object, ...]:
    """What of memories, beside a layout, decides how many cycles a bound mapping takes.

    Returns
    -------
    tuple
        Hashable: of every memory bytes per cycle and steps that writes may wait.
    """
    clock = architecture.clock_hz
    return tuple(
        (
            Fraction(m.bandwidth_bytes_per_s, clock) if m.bandwidth_bytes_per_s else None,
            m.write_buffer,
        )
        for m in architecture.memories
    )


def rebind(bound: Bound, architecture: Architecture) -> Bound:
    """A bound mapping on another machine of the same ``layout``.

    Parameters
    ----------
    bound : Bound
        A mapping; loops, tiles and what is addressed stay.
    architecture : Architecture
        The other machine. That its layout is the same, but for capacities where these do not
        decide (``depends_on_capacities``), is taken for granted.
    """
    if architecture.arrays == bound.architecture.arrays:
        return bound.on(architecture)
    einsums = tuple(_with_architecture(e, architecture) for e in bound.einsums)
    return replace(bound, architecture=architecture, einsums=einsums)


def rebind_with_footprint(bound: Bound, architecture: Architecture) -> Bound:
    """As ``rebind``, with what memories must hold, which is the same whatever they can."""
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
