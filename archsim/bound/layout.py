"""What of a machine decides how a mapping is bound, and bound mappings on machines alike."""

from __future__ import annotations

from dataclasses import replace

from ..spec.arch import Architecture
from .record import Bound


def layout(architecture: Architecture) -> tuple[object, ...]:
    """What of a machine decides how a mapping without open choices is bound.

    Speeds and prices do not.
    """
    return (
        architecture.word_bits,
        tuple((m.name, m.capacity_bytes) for m in architecture.memories),
        tuple(
            (
                a.name,
                tuple((d.name, d.size) for d in a.dimensions),
                a.registers.depth,
                frozenset(o.kind for o in a.operations),
            )
            for a in architecture.arrays
        ),
    )


def rebind(bound: Bound, architecture: Architecture) -> Bound:
    """A bound mapping on another machine of the same ``layout``."""
    arrays = {a.name: a for a in architecture.arrays}
    return replace(
        bound,
        architecture=architecture,
        einsums=tuple(replace(e, array=arrays[e.array.name]) for e in bound.einsums),
    )
