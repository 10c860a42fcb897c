"""What of a machine decides how a mapping is bound, and bound mappings on machines alike."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..spec.arch import Architecture
from ..spec.mapping import FITTED, Mapping
from .record import Bound, BoundEinsum


def layout(architecture: Architecture, *, capacities: bool = True) -> tuple[object, ...]:
    """What of a machine decides how a mapping without open choices is bound and counted.

    Speeds and prices do not.

    Parameters
    ----------
    architecture : Architecture
        The machine.
    capacities : bool
        Whether those of its memories count, as they do where ``room_decides``.

    Returns
    -------
    tuple
        Hashable; equal for machines between which ``rebind`` may move a mapping.
    """
    return (
        architecture.word_bits,
        tuple(
            (
                *(m.name, m.line_bits, m.capacity_bytes if capacities else None),
                *(m.instances, m.multicast, m.reduces),
            )
            for m in architecture.memories
        ),
        tuple(
            (
                a.name,
                tuple((d.name, d.size) for d in a.dimensions),
                a.registers.depth,
                frozenset((o.kind, o.format) for o in a.operations),
                (a.wider, a.convert),
            )
            for a in architecture.arrays
        ),
    )


def room_decides(mapping: Mapping) -> bool:
    """Whether more than the legality of a mapping depends on what memories can hold."""
    open_sizes = any(tile.size in FITTED for tile in mapping.tiles)
    return open_sizes or bool(mapping.choices) or mapping.spill is not None


def pace(architecture: Architecture) -> tuple[object, ...]:
    """What of a machine, beside its layout, decides how many cycles a bound mapping takes.

    Returns
    -------
    tuple
        Hashable: its arrays, and of every memory bytes per cycle and steps that writes may wait.
    """
    clock = architecture.clock_hz
    return (
        architecture.arrays,
        tuple(
            (
                Fraction(m.bandwidth_bytes_per_s, clock) if m.bandwidth_bytes_per_s else None,
                m.write_buffer,
            )
            for m in architecture.memories
        ),
    )


def rebind(bound: Bound, architecture: Architecture) -> Bound:
    """A bound mapping on another machine of the same ``layout``.

    Parameters
    ----------
    bound : Bound
        A mapping; loops, tiles and what is addressed stay.
    architecture : Architecture
        The other machine. That its layout is the same is taken for granted.
    """
    einsums = bound.einsums
    if architecture.arrays != bound.architecture.arrays:
        einsums = tuple(_on(e, architecture) for e in einsums)
    return replace(bound, architecture=architecture, einsums=einsums)


def _on(e: BoundEinsum, architecture: Architecture) -> BoundEinsum:
    array = architecture.array(e.array.name)
    assert array is not None, "machines of one layout have the same arrays"
    return replace(e, array=array, initial=tuple(_on(i, architecture) for i in e.initial))
