"""What one instance makes and another needs.

A memory outside of both holds it, or nobody can have it. Chips in a ring have no such memory: what
has no part of the rank that they share out each of them makes for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .part_picks import lies_in_parts

if TYPE_CHECKING:
    from ..space.access_map import AccessMap
    from .instances import Spread
    from .record import Bound, BoundEinsum


def torn(bound: Bound, s: Spread, remade: frozenset[str]) -> Iterator[str]:
    """Tensors that one instance makes and another needs, and no memory of both holds.

    Parameters
    ----------
    remade : frozenset of str
        Einsums that each instance runs for itself.
    """
    if s.rank in bound.program.parallel:
        return
    parent = bound.architecture.memories[s.level].name
    for e, producer, access_map in _handed(bound):
        tensor = access_map.access.tensor
        apart = s.variable not in e.variables and s.variable not in producer.variables
        if apart or producer.name in remade or lies_in_parts(access_map.access, s.variable):
            continue
        if not _is_held(bound, e, tensor, s):
            who = f"{tensor} is needed by all {s.instances}"
            yield f"{who}, but {parent} does not hold it for {e.name}"


def remade_by_each(bound: Bound, s: Spread) -> frozenset[str]:
    """Einsums that each chip of a ring runs for itself: they have no part of the rank that is
    spread, and what has one needs what they make, or another of them does. Results of the whole
    cascade are none: they are there once."""
    if not bound.architecture.memories[s.level].ring or s.rank in bound.program.parallel:
        return frozenset()
    found: set[str] = set()
    while True:
        more = {
            producer.name
            for e, producer, access_map in _handed(bound)
            if (s.variable in e.variables or e.name in found)
            and s.variable not in producer.variables
            and not _is_held(bound, e, access_map.access.tensor, s)
        }
        if more <= found:
            return frozenset(found - {*bound.program.outputs})
        found |= more


def _handed(bound: Bound) -> Iterator[tuple[BoundEinsum, BoundEinsum, AccessMap]]:
    """Every read of what an Einsum made: who reads, who made it, and the read."""
    for e in bound.einsums:
        for operand, access_map in zip(e.operands, e.reads, strict=True):
            producer = bound.producer(operand)
            if producer is not None:
                yield e, producer, access_map


def _is_held(bound: Bound, e: BoundEinsum, tensor: str, s: Spread) -> bool:
    return any(level <= s.level for level in bound.memories(e, tensor))
