"""Residency on branching memories: each tensor stays in the memories of its array's branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from archsim.legality.dependences import lost_results
from archsim.legality.footprint import limited_requirements
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.residency import Routes, tensors_of
from archsim.nest.roles import with_bypass
from archsim.nest.tiling import build_tiling
from archsim.plan.problem import MappingProblem
from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program


def by_branches(program: Program, architecture: Architecture, mapping: Mapping) -> Mapping:
    """Return a mapping that keeps each tensor only in memories between it and its arrays.

    Tensors in the outermost memory stay there. A tensor may be made in one branch and read in
    another. It then also stays in the innermost memory that both branches share.

    Parameters
    ----------
    mapping : Mapping
        Mapping without roles that keeps tensors as if every memory fed every array. It is returned
        unchanged if every memory does.
    """
    if architecture.tree.is_line:
        return mapping
    arrays = {how.einsum: how.array for how in mapping.einsums}
    routes = Routes(program=program, architecture=architecture, arrays=arrays)
    names = [m.name for m in architecture.memories]
    kept: dict[str, set[int]] = {}
    in_memories = [k for k in mapping.keep if k.level in names]
    for keep in in_memories:
        for tensor in keep.tensors:
            kept.setdefault(tensor, set()).add(names.index(keep.level))
    for tensor, levels in kept.items():
        meeting = routes.meeting(tensor)
        passed = routes.everywhere(tensor)
        wanted = {i for i in levels if i == 0 or i in passed} or {*passed} - {0} or {0}
        # Further in than the memory where all ways part, and in that memory.
        kept[tensor] = wanted if min(wanted, default=meeting) <= meeting else wanted | {meeting}
    return replace(
        mapping,
        keep=(
            *(
                Keep(level=name, tensors=tuple(t for t, levels in kept.items() if number in levels))
                for number, name in enumerate(names)
            ),
            *(k for k in mapping.keep if k not in in_memories),
        ),
        einsums=tuple(_one_way(how, routes, kept, names) for how in mapping.einsums),
    )


def _one_way(
    how: EinsumMapping, routes: Routes, kept: dict[str, set[int]], names: list[str]
) -> EinsumMapping:
    e = routes.program.einsum_of[how.einsum]
    how = replace(how, nest=_where_fed(how, routes.architecture))
    passed_memories = (
        (names[i], tensor)
        for tensor in tensors_of(routes.program, e)
        for i in routes.passed_memories(e.name, tensor, kept.get(tensor, ()))
    )
    return with_bypass(how, passed_memories)


def _where_fed(how: EinsumMapping, architecture: Architecture) -> tuple[NestLevel, ...]:
    """Return an Einsum's own loops at memories that feed its array.

    Loops at another memory move inwards to the next memory that feeds the array. If there is none,
    they move to the last memory, whose loops are inside of all tiles.
    """
    names = [m.name for m in architecture.memories]
    fed = sorted({*architecture.tree.feeding(how.array), len(names) - 1})
    moved: dict[str, tuple[str, ...]] = {}
    for level in how.nest:
        at = level.level
        if at in names:
            at = names[next(i for i in fed if i >= names.index(at))]
        moved[at] = (*moved.get(at, ()), *level.loops)
    return NestLevel.nest(moved.items())


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
    ends = [levels[a.name][0] for levels in (tree.reads, tree.writes) for a in architecture.arrays]
    for levels in dict.fromkeys((tuple(range(len(memories))), *(tree.paths[n] for n in ends))):
        yield replace(
            architecture,
            memories=tuple(replace(memories[n], inside=None) for n in levels),
            arrays=tuple(replace(a, reads=(), writes=()) for a in architecture.arrays),
            mapping=None,
        )


def lifted_from_chain(
    problem: MappingProblem, chain: Architecture, mapping: Mapping
) -> Iterator[Mapping]:
    """Yield mappings of the memory tree for one mapping of a chain, each tensor in its own branch.

    Memories outside of the chain keep nothing, or every tensor that passes them. A mapping that
    names roles is yielded unchanged, as roles find their branches themselves.

    Parameters
    ----------
    problem : MappingProblem
        Problem on the machine itself.
    """
    program, architecture = problem.program, problem.architecture
    arrays = {a.name for a in architecture.arrays}
    if any(how.array not in arrays for how in mapping.einsums):
        yield mapping
        return
    yield _legalised(problem, by_branches(program, architecture, mapping))
    on_chain = {m.name for m in chain.memories}
    others = [m.name for m in architecture.memories if m.name not in on_chain]
    if others:
        more = tuple(Keep(level=name, tensors=program.tensors) for name in others)
        everywhere = replace(mapping, keep=(*mapping.keep, *more))
        yield _legalised(problem, by_branches(program, architecture, everywhere))


def _legalised(problem: MappingProblem, mapping: Mapping) -> Mapping:
    """Return a mapping whose outermost memory keeps every tensor that no other memory can keep.

    Some tensors would be evicted before they are read, as a memory of another branch kept them in
    the chain. Others exceed the capacity of an inner memory.
    """
    outer = problem.architecture.memories[0].name
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    given = {r: n for r, n in problem.shapes.items() if r not in {t.member for t in mapping.tiles}}
    # The loop ends: in each turn the outermost memory keeps more, or another memory keeps less.
    while True:
        try:
            tiling = build_tiling(problem.program, mapping, given, sizes)
            bound = bind_loops(problem.program, mapping, problem.architecture, tiling)
        except InputError:
            return mapping  # the engine reports the error when it runs the mapping
        kept = {t for k in mapping.keep if k.level == outer for t in k.tensors}
        missing = tuple(t for t in lost_results(bound) if t not in kept)
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


def with_place(mapping: Mapping, tensor: str, place: str) -> Mapping:
    """Keep a tensor in a memory or in an array's registers, or stop keeping it there.

    Examples
    --------
    >>> one = with_place(Mapping(name="m", cascade="c"), "K", "latches")
    >>> [(k.level, k.tensors) for k in one.keep]
    [('latches', ('K',))]
    >>> [k.tensors for k in with_place(one, "K", "latches").keep]
    [()]
    """
    if all(k.level != place for k in mapping.keep):
        return replace(mapping, keep=(*mapping.keep, Keep(level=place, tensors=(tensor,))))
    keep = (
        replace(k, tensors=toggled(k.tensors, tensor)) if k.level == place else k
        for k in mapping.keep
    )
    return replace(mapping, keep=tuple(keep))


def toggled(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return names without a given one, or with it at the end if it is not among them."""
    return tuple(n for n in names if n != name) if name in names else (*names, name)
