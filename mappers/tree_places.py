"""Places of tensors on a machine whose memories are side by side, changed one by one.

In a line, where loops and places are searched, memories of other branches are outside or inside of
one another: loops end up at a memory that has nothing to do with what they go over, and what could
wait in a branch of its own has no room there. On the machine itself the engine says what is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping, NestLevel

from .moves import with_place

_ROUNDS = 2
"""How often all places are gone through, as long as one was better in the last round."""


def settled(
    architecture: Architecture, mapping: Mapping, better: Callable[[Mapping], bool]
) -> Mapping:
    """A mapping with tensors in better places, each change tried on what was best before.

    Parameters
    ----------
    mapping : Mapping
        Of one nest, which names memories by their names.
    better : callable
        Whether a mapping is legal, and better than all that it was asked about before. Once there
        is no time it says no to all.
    """
    tensors = tuple(dict.fromkeys(t for k in mapping.keep for t in k.tensors))
    for _ in range(_ROUNDS):
        before = mapping
        for tensor in tensors:
            for memory in architecture.memories:
                changed = with_place(mapping, tensor, memory.name)
                if better(changed):
                    mapping = changed
        if mapping is before:
            break
    return mapping


def with_loops_outside(architecture: Architecture, mapping: Mapping) -> Mapping:
    """The same loops in the same order, all shared ones at the outermost memory: tiles of them may
    be in any memory inside of it.

    Examples
    --------
    >>> machine = Architecture.load("fsa")
    >>> levels = (NestLevel(level="DRAM", loops=("H",)), NestLevel(level="latches", loops=("M1",)))
    >>> moved = with_loops_outside(machine, Mapping(name="m", cascade="c", nest=levels))
    >>> [(level.level, level.loops) for level in moved.nest]
    [('DRAM', ('H', 'M1'))]
    """
    if any(level.spatial or level.ring for level in mapping.nest):
        return mapping
    loops = tuple(loop for level in mapping.nest for loop in level.loops)
    return replace(mapping, nest=(NestLevel(level=architecture.memories[0].name, loops=loops),))


def starts_of(architecture: Architecture, mapping: Mapping) -> Iterator[Mapping]:
    """A mapping as it is, and with its loops outside; none of several nests or of roles."""
    named = {m.name for m in architecture.memories} | {a.name for a in architecture.arrays}
    if mapping.nests or not mapping.keep or any(k.level not in named for k in mapping.keep):
        return
    outside = with_loops_outside(architecture, mapping)
    if outside != mapping:
        yield outside
    yield mapping
