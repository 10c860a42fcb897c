"""What a memory must hold at once, as sets of elements."""

from __future__ import annotations

from collections.abc import Callable

from nest_loops import Element, Nest, Tag
from nest_starts import StartWalker

from einsum_cascade import ir

Tiles = dict[str, int]
"""Elements held at once, by tensor."""


def required(nest: Nest, level: int) -> int:
    """Elements a memory must hold at once.

    Einsums of a group hold their tiles together, one group after the other, each beside
    what waits for a later one.
    """
    groups = [[nest.program.einsum_of[n] for n in group] for group in nest.groups()]
    tiles = {e.name: _tiles(nest, e, level) for e in nest.program.einsums}
    moments: list[int] = []
    for number, group in enumerate(groups):
        held: Tiles = {}
        for e in group:
            for tensor, size in tiles[e.name].items():
                held[tensor] = max(held.get(tensor, 0), size)
        for earlier in (e for g in groups[:number] for e in g):
            later = [e for g in groups[number + 1 :] for e in g]
            waits = any(a.tensor == earlier.name for e in later for a in e.reads)
            if waits and nest.memories(earlier.name)[:1] == [level]:
                held[earlier.name] = max(
                    held.get(earlier.name, 0), tiles[earlier.name][earlier.name]
                )
        moments.append(sum(held.values()))
    return max(moments)


def _tiles(nest: Nest, einsum: ir.Einsum, level: int) -> Tiles:
    found: Tiles = {}
    for access in (*einsum.reads, einsum.target):
        tensor = access.tensor
        if level not in nest.memories(tensor, einsum):
            continue
        spill = nest.mapping.spill
        spills = spill is not None and nest.levels[spill.level] == level
        iterations = None if spills else in_one_iteration(nest, tensor, level)
        if iterations is not None:
            size = _in_a_row(iterations[einsum.name], flying(nest))
            found[tensor] = max(found.get(tensor, 0), size)
        else:
            one_copy = _goes_along(nest, tensor, level)
            size = _largest(nest, einsum, access, level, _one_copy if one_copy else Nest.element)
            found[tensor] = max(found.get(tensor, 0), size)
    starts = StartWalker.of(nest)
    for statement in (s for s in nest.program.init if s.name == einsum.name):
        for access in statement.reads:
            if level in nest.memories(access.tensor, einsum):
                size = _largest(starts, statement, access, level, Nest.element)
                found[access.tensor] = max(found.get(access.tensor, 0), size)
    return found


def flying(nest: Nest) -> int:
    """Tiles that a schedule lets be there at once."""
    schedule = nest.mapping.schedule
    if schedule.kind == "sequential":
        return 2
    if schedule.lookahead == "fit":
        return max(a.registers.depth for a in nest.architecture.arrays)
    return int(schedule.lookahead)


def _in_a_row(iterations: dict[Tag, set[Element]], many: int) -> int:
    """The most elements of so many iterations of the innermost loop, one after the other."""
    return max(
        len(set().union(*(iterations.get((*tag[:-1], tag[-1] + n), set()) for n in range(many))))
        for tag in iterations
    )


def in_one_iteration(
    nest: Nest, tensor: str, level: int
) -> dict[str, dict[Tag, set[Element]]] | None:
    """What each Einsum touches of an intermediate in each iteration of the shared loops down to
    the first that is not outside of a level; None unless each element is made and used, by its
    own indices, in one and the same, by Einsums that run at every step."""
    program = nest.program
    touching = [(e, a) for e in program.einsums for a in (e.target, *e.reads) if a.tensor == tensor]
    writer = program.einsum_of.get(tensor)
    if writer is None or tensor in program.iterative or len(touching) < 2:
        return None
    steps = {n for e in program.einsums if not nest.apart(writer, e) for n in _steps(nest, e)}
    found: dict[str, dict[Tag, set[Element]]] = {}
    where: dict[Element, set[Tag]] = {}
    for e, access in touching:
        if nest.apart(writer, e) or access != writer.target or _steps(nest, e) != steps:
            return None
        loops = [(i, x) for i, x in enumerate(nest.temporal(e)) if nest.turns_of(e)[x.name] > 1]
        inside = [n for n, (_, x) in enumerate(loops) if x.level >= level]
        if not inside or not loops[inside[0]][1].shared:
            return None
        loops = loops[: inside[0] + 1]
        mine = found.setdefault(e.name, {})
        for step in nest.walk_steps(e):
            tag = tuple(step.index[i] for i, _ in loops)
            for _, at in step.lanes:
                element = nest.element(access, at)
                mine.setdefault(tag, set()).add(element)
                where.setdefault(element, set()).add(tag)
    return found if all(len(tags) == 1 for tags in where.values()) else None


def _steps(nest: Nest, einsum: ir.Einsum) -> set[str]:
    """Shared loops that an Einsum really goes round."""
    turns = nest.turns_of(einsum)
    return {x.name for x in nest.temporal(einsum) if x.shared and turns[x.name] > 1}


def _largest(
    nest: Nest,
    einsum: ir.Einsum,
    access: ir.Access,
    level: int,
    name: Callable[[Nest, ir.Access, dict[str, int]], Element],
) -> int:
    outer = [i for i, x in enumerate(nest.temporal(einsum)) if x.level < level]
    held: dict[Tag, set[Element]] = {}
    for step in nest.walk_steps(einsum):
        tile = held.setdefault(tuple(step.index[i] for i in outer), set())
        tile.update(name(nest, access, at) for _, at in step.lanes)
    return max(len(tile) for tile in held.values())


def _one_copy(nest: Nest, access: ir.Access, at: dict[str, int]) -> Element:
    """The element without its coordinates along ranks the tensor iterates over."""
    whole = nest.element(access, at)
    writer = nest.program.einsum_of.get(access.tensor)
    if writer is None:
        return whole
    ranks = nest.program.iterative.get(access.tensor, ())
    start = len(nest.program.parallel)
    kept = list(whole[:start])
    for index, value in zip(writer.target.indices, whole[start:], strict=True):
        if not any(v.upper() in ranks for v in index.variables):
            kept.append(value)
    return tuple(kept)


def _goes_along(nest: Nest, tensor: str, level: int) -> bool:
    """Whether all who touch a running value take its iterations in turn, so that one copy
    is enough for them."""
    ranks = {r.lower() for r in nest.program.iterative.get(tensor, ())}
    touching = [
        e
        for e in nest.program.einsums
        if e.name == tensor or any(a.tensor == tensor and ranks & {*a.variables} for a in e.reads)
    ]
    if not ranks or len(touching) < 2:
        return True
    if any(nest.apart(one, other) for one in touching for other in touching):
        return False
    for e in touching:
        if any(x.variable in ranks and x.width > 1 for x in nest.spatial(e)):
            return False
        turns = nest.turns_of(e)
        own = [x for x in nest.temporal(e) if not x.shared and x.level >= level]
        if any(x.variable in ranks and turns[x.name] > 1 for x in own):
            return False
    return True
