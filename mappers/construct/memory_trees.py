"""Residency on branching memories: each tensor stays in the memories of its array's branch."""

from __future__ import annotations

from dataclasses import replace

from archsim.nest.residency import Routes, tensors_of
from archsim.nest.roles import with_bypass
from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel
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
