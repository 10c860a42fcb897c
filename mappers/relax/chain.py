"""Chain relaxation: a machine with a memory tree is searched as if its memories were in a line.

Loops pass the memories in the order in which a machine lists them, in a tree as in a line. A
mapping of the line becomes one of the tree once each tensor moves to the memories of its own
branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from archsim.legality.dependences import is_still_held
from archsim.legality.footprint import limited_requirements
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Keep, Mapping, NestLevel
from einsum_cascade.errors import InputError

from ..construct.memory_trees import by_branches
from ..local.local_search import with_place
from ..space.mapspace import Mapspace
from . import policy
from .relaxation import Family, FamilyMember, IsBetter, Relaxation, projected_constraints


def chain_family(space: Mapspace, memory: str = "") -> Family:
    """Return the chain relaxations of a machine with a memory tree.

    Parameters
    ----------
    memory : str
        Memory that every chain must contain; empty if any chain will do.
    """
    chains = (
        chain
        for chain in chains_of(space.architecture)
        if not memory or memory in [m.name for m in chain.memories]
    )
    return Family(
        members=tuple(
            FamilyMember(make=partial(chain_relaxation, space, chain)) for chain in chains
        ),
        label=", with memories in a line",
        good_enough=policy.GOOD_ENOUGH_FOR_A_CHAIN,
        # The best mapping of a line proves nothing about the tree.
        is_brief=True,
        improve=partial(improve_in_tree, space.architecture),
    )


def chain_relaxation(whole: Mapspace, chain: Architecture) -> Relaxation:
    """Return the relaxation of a mapspace to one chain of memories. Raises as ``Mapspace.of``."""
    projected = projected_constraints(whole, chain, whole.given)
    space = Mapspace.of(whole.program, chain, whole.given, projected, slow=whole.slow)
    return Relaxation(space=space, lift=partial(lifted_from_chain, whole, chain))


def chains_of(architecture: Architecture) -> Iterator[Architecture]:
    """Yield the machine with all memories in a line, then one with each array's own memories only.

    Examples
    --------
    >>> from dataclasses import replace
    >>> machine = Architecture.load("fusemax")
    >>> dram, buffer = machine.memories
    >>> own = [replace(buffer, name=name, inside="DRAM") for name in ("left", "right")]
    >>> arrays = [replace(a, reads=(m.name,)) for a, m in zip(machine.arrays, own)]
    >>> split = replace(machine, memories=(dram, *own), arrays=tuple(arrays))
    >>> [[m.name for m in chain.memories] for chain in chains_of(split)]
    [['DRAM', 'left', 'right'], ['DRAM', 'left'], ['DRAM', 'right']]
    """
    tree, memories = architecture.tree, architecture.memories
    ends = [levels[0] for a in architecture.arrays for levels in (tree.reads[a.name],)]
    ends += [levels[0] for a in architecture.arrays for levels in (tree.writes[a.name],)]
    for levels in dict.fromkeys((tuple(range(len(memories))), *(tree.paths[n] for n in ends))):
        yield replace(
            architecture,
            memories=tuple(replace(memories[n], inside=None) for n in levels),
            arrays=tuple(replace(a, reads=(), writes=()) for a in architecture.arrays),
            mapping=None,
        )


def lifted_from_chain(space: Mapspace, chain: Architecture, mapping: Mapping) -> Iterator[Mapping]:
    """Yield mappings of the memory tree for one mapping of a chain, each tensor in its own branch.

    Memories outside of the chain keep nothing, or every tensor that passes them. A mapping that
    names roles is yielded unchanged, as roles find their branches themselves.

    Parameters
    ----------
    space : Mapspace
        Mapspace of the machine itself.
    """
    program, architecture = space.program, space.architecture
    arrays = {a.name for a in architecture.arrays}
    if any(how.array not in arrays for how in mapping.einsums):
        yield mapping
        return
    yield _legalised(space, by_branches(program, architecture, mapping))
    on_chain = {m.name for m in chain.memories}
    others = [m.name for m in architecture.memories if m.name not in on_chain]
    if others:
        tensors = (*(t.name for t in program.inputs), *(e.name for e in program.einsums))
        more = tuple(Keep(level=name, tensors=tensors) for name in others)
        everywhere = replace(mapping, keep=(*mapping.keep, *more))
        yield _legalised(space, by_branches(program, architecture, everywhere))


def _legalised(space: Mapspace, mapping: Mapping) -> Mapping:
    """Return a mapping whose outermost memory keeps every tensor that no other memory can keep.

    Some tensors would be evicted before they are read, as a memory of another branch kept them in
    the chain. Others exceed the capacity of an inner memory.
    """
    outer = space.architecture.memories[0].name
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    given = {r: n for r, n in space.given.items() if r not in {t.member for t in mapping.tiles}}
    # The loop ends: in each turn the outermost memory keeps more, or another memory keeps less.
    while True:
        try:
            tiling = build_tiling(space.program, mapping, given, sizes)
            bound = bind_loops(space.program, mapping, space.architecture, tiling)
        except InputError:
            return mapping  # the engine reports the error when it runs the mapping
        kept = {t for k in mapping.keep if k.level == outer for t in k.tensors}
        evicted = [
            operand.producer
            for e in bound.einsums
            for number, operand in enumerate(e.operands)
            if operand.producer and not is_still_held(bound, e, number)
        ]
        missing = tuple(t for t in dict.fromkeys(evicted) if t not in kept)
        if missing:
            keep = Keep(level=outer, tensors=(*sorted(kept), *missing))
            others = tuple(k for k in mapping.keep if k.level != outer)
            mapping = replace(mapping, keep=(keep, *others))
            continue
        lighter = _without_largest(bound, mapping)
        if lighter == mapping:
            return mapping
        mapping = lighter


def _without_largest(bound: Bound, mapping: Mapping) -> Mapping:
    """Return a mapping without the largest tensor of the first memory that is too full.

    The tensor moves to the outermost memory if no other memory keeps it. The mapping is returned
    unchanged if no capacity is exceeded.
    """
    full = next((r for r in limited_requirements(bound) if not r.fits), None)
    outer = bound.architecture.memories[0].name
    if full is None or full.level == outer:
        return mapping
    largest = max(full.tensors, key=lambda t: t[1])[0]
    if not any(largest in k.tensors for k in mapping.keep if k.level == full.level):
        return mapping
    lighter = with_place(mapping, largest, full.level)
    kept = any(largest in k.tensors for k in lighter.keep)
    return lighter if kept else with_place(lighter, largest, outer)


def improve_in_tree(
    architecture: Architecture, mapping: Mapping, new_test: Callable[[], IsBetter]
) -> None:
    """Improve the residency of a mapping, and of the same mapping with its loops moved outside.

    Parameters
    ----------
    new_test : callable
        Makes the test that judges all changes of one start.
    """
    for start in starts_of(architecture, mapping):
        is_better = new_test()
        if is_better(start):
            improve_residency(architecture, start, is_better)


def improve_residency(architecture: Architecture, mapping: Mapping, is_better: IsBetter) -> Mapping:
    """Move tensors between memories one by one while this improves the mapping; return the best.

    Parameters
    ----------
    mapping : Mapping
        Mapping of one nest that names memories by their names.
    is_better : callable
        Returns False for every mapping once time is up.
    """
    tensors = tuple(dict.fromkeys(t for k in mapping.keep for t in k.tensors))
    for _ in range(policy.RESIDENCY_ROUNDS):
        before = mapping
        for tensor in tensors:
            for memory in architecture.memories:
                changed = with_place(mapping, tensor, memory.name)
                if is_better(changed):
                    mapping = changed
        if mapping is before:
            break
    return mapping


def with_loops_outside(architecture: Architecture, mapping: Mapping) -> Mapping:
    """Return a mapping with all shared loops at the outermost memory, in the same order.

    Any memory inside the outermost one may then hold tiles of these loops.

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
    """Yield a mapping with its loops moved outside, then the mapping itself.

    Nothing is yielded for a mapping of several nests or one that names roles.
    """
    named = {m.name for m in architecture.memories} | {a.name for a in architecture.arrays}
    if mapping.nests or not mapping.keep or any(k.level not in named for k in mapping.keep):
        return
    outside = with_loops_outside(architecture, mapping)
    if outside != mapping:
        yield outside
    yield mapping
