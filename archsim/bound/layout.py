"""What of a machine decides how a mapping is bound, and bound mappings on machines alike."""

from __future__ import annotations

from dataclasses import replace

from ..spec.arch import Architecture
from .record import Bound, BoundEinsum


def layout(architecture: Architecture) -> tuple[object, ...]:
    """What of a machine decides how a mapping without open choices is bound.

    Speeds and prices do not.

    Parameters
    ----------
    architecture : Architecture
        The machine.

    Returns
    -------
    tuple
        Hashable; equal for machines between which ``rebind`` may move a mapping.
    """
    return (
        architecture.word_bits,
        tuple((m.name, m.capacity_bytes) for m in architecture.memories),
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


def rebind(bound: Bound, architecture: Architecture) -> Bound:
    """A bound mapping on another machine of the same ``layout``.

    Parameters
    ----------
    bound : Bound
        A mapping; loops, tiles and what is addressed stay.
    architecture : Architecture
        The other machine. That its layout is the same is taken for granted.
    """
    einsums = tuple(_on(e, architecture) for e in bound.einsums)
    return replace(bound, architecture=architecture, einsums=einsums)


def _on(e: BoundEinsum, architecture: Architecture) -> BoundEinsum:
    array = architecture.array(e.array.name)
    assert array is not None, "machines of one layout have the same arrays"
    return replace(e, array=array, initial=tuple(_on(i, architecture) for i in e.initial))
