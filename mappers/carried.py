"""Constraints on the mappings of a machine, as another says them that is searched in its place.

The other has fewer memories: its outermost one stands for several. What it cannot say is asked of
the machine's own mappings alone, as the engine asks about all constraints there.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import replace

from archsim.spec.arch import Architecture
from archsim.spec.mapping import Keep, Mapping
from archsim.spec.roles import memory_in_role

from .space.constraints import Constraints, HasTiles, IsKept, IsOutside, MappingConstraint
from .space.mapspace import Mapspace


def carried(whole: Mapspace, other: Architecture, shapes: Sizes[str, int]) -> Constraints:
    """The constraints of a space on those of another machine.

    Parameters
    ----------
    whole : Mapspace
        Of the machine itself.
    other : Architecture
        Some of its memories and all of its arrays, by their names. Of memories that are not there
        those outside of all that are have its outermost one in their place.
    shapes : mapping
        Of the work on the other machine, in elements by rank.

    Examples
    --------
    What must not be kept in L2 says nothing of a core that sees HBM and L1 alone; no order at L2
    is one that loops at HBM have there, as they may be at either:

    >>> from archsim import Architecture
    >>> from einsum_cascade import Cascade
    >>> machine = Architecture.load("a100-80gb")
    >>> hbm, l2, l1 = machine.memories
    >>> core = replace(machine, memories=(hbm, replace(l1, inside="HBM")))
    >>> told = (IsKept("X", "L2"), IsKept("X", "L1"), IsOutside("L2", "N", "J"))
    >>> them = Constraints(tuple(MappingConstraint(statement=s, must=False) for s in told))
    >>> shapes = {"N": 16, "D": 16, "J": 16}
    >>> layer = Mapspace.of(Cascade.load("linear-layer").program, machine, shapes, them)
    >>> [c.text for c in carried(layer, core, shapes).all]
    ['X must not be kept in L1', 'N must not be looped over outside of J at HBM']
    """
    found = (_said(c, whole.architecture, other, shapes) for c in whole.constraints.all)
    return Constraints(tuple(c for c in found if c is not None))


def _said(
    c: MappingConstraint, whole: Architecture, other: Architecture, shapes: Sizes[str, int]
) -> MappingConstraint | None:
    """A constraint as another machine says it; None where it cannot."""
    known = [m.name for m in other.memories]
    outer = known[0] if shared_outside(whole, other) else None
    match c.statement:
        case IsOutside(memory=memory) as s if memory not in known:
            at = outer if memory in shared_outside(whole, other) else None
            return None if at is None else replace(c, statement=replace(s, memory=at))
        case IsKept(level=level) if level not in (*known, *(a.name for a in other.arrays)):
            return None
        case HasTiles(memory=memory) as s if memory not in known:
            if memory not in shared_outside(whole, other) or len(known) == 1:
                return None
            if s.rank in shapes and s.holds([shapes[s.rank]]) is c.must:
                return None  # with all loops inside of it, it holds all of the part
            # With the loops outside of it, it holds what the next one does.
            return replace(c, statement=replace(s, memory=known[1]))
    return c


def shared_outside(whole: Architecture, other: Architecture) -> tuple[str, ...]:
    """Memories of a machine that the outermost of another stands for, beside its own."""
    known = {m.name for m in other.memories[1:]}
    names = [m.name for m in whole.memories]
    first = next((n for n, name in enumerate(names) if name in known), len(names))
    return tuple(name for name in names[:first] if name != other.memories[0].name)


def kept_as_told(whole: Mapspace, other: Architecture, mapping: Mapping) -> Mapping:
    """A mapping that keeps what constraints ask for, and nothing that they forbid, in memories of
    which the other machine knew nothing.

    Parameters
    ----------
    whole : Mapspace
        Of the machine itself, with its constraints.
    other : Architecture
        The machine that was searched in its place.
    mapping : Mapping
        On the machine itself.
    """
    levels = shared_outside(whole.architecture, other)
    for c in whole.constraints.all:
        if isinstance(s := c.statement, IsKept) and s.level in levels:
            mapping = replace(mapping, keep=(*_kept(mapping, whole.architecture, s, c.must),))
    return mapping


def _kept(mapping: Mapping, machine: Architecture, told: IsKept, must: bool) -> Iterator[Keep]:
    """What levels keep, with a tensor in one of them or without."""
    there = False
    for keep in mapping.keep:
        if (memory_in_role(machine, keep.level) or keep.level) != told.level:
            yield keep
            continue
        there = True
        others = tuple(t for t in keep.tensors if t != told.tensor)
        tensors = (*others, told.tensor) if must else others
        if tensors:
            yield keep if {*tensors} == {*keep.tensors} else replace(keep, tensors=tensors)
    if must and not there:
        yield Keep(level=told.level, tensors=(told.tensor,))
