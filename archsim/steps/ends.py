"""What a run does before its first step and after its last: the first fill, the last drain."""

from __future__ import annotations

from fractions import Fraction

from ..bound.record import Bound
from ..bound.together import size_of_all
from ..space.access_map import AccessMap
from ..space.iteration import first_tile


def first_fill(bound: Bound, inside: tuple[str, ...]) -> int | Fraction:
    """Words that come from the outermost memory before the first step can begin.

    Parameters
    ----------
    inside : tuple of str
        Einsums that run at every step. Those of them that wait for none of the others begin
        the step; tiles of what they read are awaited, each tensor's once.
    """
    needed: dict[str, int] = {}
    level = bound.architecture.home_level
    for e in bound.einsums:
        waits = any(a.tensor in inside for a in e.einsum.reads)
        if e.name in inside and not waits:
            tile = first_tile(e.extents, e.shared)
            for f in e.reads:
                if level in bound.residency.memories(f.access.tensor)[: level + 1]:
                    inner = (n for n in bound.memories(e, f.access.tensor) if n > level)
                    to = next(inner, bound.register_level)
                    size = size_of_all(bound, e, f, level, tile, f.size(tile), to=to)
                    needed[f.access.tensor] = max(needed.get(f.access.tensor, 0), size)
    return sum(n * bound.words.of(tensor) for tensor, n in needed.items())


def last_drain(bound: Bound) -> int | Fraction:
    """Words of the last step's outputs, which go to the outermost memory after all steps.

    Parameters
    ----------
    bound : Bound
        The mapping.

    Returns
    -------
    int or Fraction
        Those of whole tiles, together: a ragged last one counts as the first.
    """
    outputs = [e for e in bound.einsums if e.name in bound.program.outputs]
    return sum(
        e.write.size(first_tile(e.extents, e.shared))
        * _copies(bound, e.write)
        * bound.words.of(e.name)
        for e in outputs
    )


def _copies(bound: Bound, access_map: AccessMap) -> int:
    """Tiles of a tensor that cross the outermost memory's port at a time."""
    if bound.instances is None:
        return 1
    return bound.instances.copies(access_map, bound.architecture.home_level)
