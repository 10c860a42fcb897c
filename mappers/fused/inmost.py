"""Loops shared inside of the third memory, where there is one.

What Einsums hand on then does not come to the second one, which many instances may share: it holds
inputs and results, under as few of the loops outside as leave it room.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from archsim.bound.binder import bind_loops
from archsim.bound.footprint import all_fits
from archsim.bound.legality import illegalities
from archsim.bound.record import Bound
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Keep, NestLevel
from einsum_cascade.errors import MappingError


def without_second(architecture: Architecture) -> Architecture | None:
    """The machine without the memory inside of the outermost one; None where there is none to
    spare, or memories are side by side."""
    first, *inner = architecture.memories
    if len(inner) < 2 or not architecture.tree.is_line:
        return None
    return replace(architecture, memories=(first, *inner[1:]))


def with_second(bound: Bound, architecture: Architecture) -> Bound | None:
    """A mapping of the machine without its second memory on the whole machine: the memory holds
    what comes from the outermost one, under as few loops as leave it room.

    Parameters
    ----------
    bound : Bound
        Legal, and fitting.
    architecture : Architecture
        The whole machine.

    Returns
    -------
    Bound or None
        None where it has no room under any loops.
    """
    return next((x for x in _moved_in(bound, architecture) if all_fits(x)), None)


def _moved_in(bound: Bound, architecture: Architecture) -> Iterator[Bound]:
    first, second, *_ = (m.name for m in architecture.memories)
    mapping = bound.mapping
    outside = next((n.loops for n in mapping.nest if n.level == first), ())
    inside = tuple(n for n in mapping.nest if n.level != first)
    held = next(k.tensors for k in mapping.keep if k.level == first)
    keep = (*(k for k in mapping.keep if k.level != second), Keep(level=second, tensors=held))
    # From no loop around what the second memory holds, which asks for most room, to all of them.
    for split in range(len(outside) + 1):
        levels = ((first, outside[:split]), (second, outside[split:]))
        nest = tuple(NestLevel(level=level, loops=loops) for level, loops in levels if loops)
        moved = replace(mapping, nest=(*nest, *inside), keep=keep)
        try:
            found = bind_loops(bound.program, moved, architecture, bound.tiling)
        except MappingError:
            return
        if not illegalities(found):
            yield found
