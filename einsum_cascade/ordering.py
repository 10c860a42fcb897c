"""Order of evaluation: dependences between Einsums, and cycles that no iteration can break.

An Einsum that reads an iterative tensor at ``v`` and itself iterates over ``v`` needs the value of
the previous iteration. That dependence is *delayed* and may point backwards in the file. Every
other read needs a tensor written earlier.

A cycle is legal if all its Einsums iterate in step over one iterative rank that delays part of the
cycle. The dependences that remain without the delayed reads must be legal again (the classic test
for loop-carried dependences).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import ir
from .graphs import strongly_connected


@dataclass(frozen=True)
class Dependence:
    """Dependence of ``reader`` on ``writer`` through ``access``.

    Along a variable of ``in_step``, the reader is at the writer's iteration or one later. Along a
    variable of ``delayed``, the reader is exactly one later.
    """

    reader: str
    writer: str
    access: ir.Access
    in_step: frozenset[str]
    delayed: frozenset[str]


def dependences(program: ir.Program) -> tuple[Dependence, ...]:
    """Return all dependences between Einsums, by reader in written order.

    Every distinct access is one dependence, so two Einsums have several if the indices differ.
    Reads of inputs are no dependences.
    """
    return tuple(
        _dependence(program, einsum, access)
        for einsum in program.einsums
        for access in einsum.reads
        if access.tensor in program.einsum_of
    )


def _dependence(program: ir.Program, einsum: ir.Einsum, access: ir.Access) -> Dependence:
    writer = program.einsum_of[access.tensor]
    walked = frozenset(einsum.target.variables)
    in_step: set[str] = set()
    delayed: set[str] = set()
    for written, read in zip(writer.target.indices, access.indices, strict=False):
        if not isinstance(written, ir.Affine) or not isinstance(read, ir.Affine):
            continue
        to, at = written.offset, read.offset
        if to is None or at is None or written.variables != read.variables:
            continue
        variable = read.variables[0]
        if variable in walked and at <= to:
            in_step.add(variable)
            # Delayed: written at v + 1, and read at v or before.
            if at < to == 1:
                delayed.add(variable)
    return Dependence(einsum.name, writer.name, access, frozenset(in_step), frozenset(delayed))


def cycles(
    edges: tuple[Dependence, ...],
) -> Iterator[tuple[frozenset[str], tuple[Dependence, ...]]]:
    """Yield each set of Einsums whose cycle no loop breaks, with a short cycle as evidence.

    Parameters
    ----------
    edges : tuple of Dependence
        Dependences to check.

    Yields
    ------
    group : frozenset of str
        Einsums that all depend on one another.
    chain : tuple of Dependence
        Cycle in the group; each reader is followed by a writer that it depends on.
    """
    for group in _groups(edges):
        variable, rest = loop_over(group, edges)
        if variable is None:
            yield group, _chain(rest)
        else:
            yield from cycles(rest)


def loop_over(
    group: frozenset[str], edges: tuple[Dependence, ...]
) -> tuple[str | None, tuple[Dependence, ...]]:
    """Return the variable of a loop that orders a group, and the dependences within one iteration.

    Along the variable every reader is at its writer's step or one later, so that the steps can run
    in order. On some edge the reader is one later, which breaks the cycle. If there is no such
    variable, the result is None and all dependences of the group.
    """
    inside = tuple(e for e in edges if e.reader in group and e.writer in group)
    common = frozenset.intersection(*(e.in_step for e in inside))
    variable = min((v for v in common if any(v in e.delayed for e in inside)), default=None)
    return variable, tuple(e for e in inside if variable not in e.delayed)


def too_early(program: ir.Program, edges: tuple[Dependence, ...]) -> Iterator[Dependence]:
    """Yield reads of tensors that are written later in the file and that no iteration delays.

    A read of a whole tensor is also too early if it precedes an Einsum of the iteration that
    computes the tensor. For each iterative variable, a tensor is complete at the last Einsum that
    it depends on in step.

    Parameters
    ----------
    program : Program
        Program whose order of Einsums is checked.
    edges : tuple of Dependence
        All dependences of the program.
    """
    position = {e.name: i for i, e in enumerate(program.einsums)}
    found: dict[Dependence, None] = {}
    for edge in edges:
        if not edge.delayed and position[edge.writer] >= position[edge.reader]:
            found.setdefault(edge)
    for variable in sorted({v for e in edges for v in e.delayed}):
        complete = dict(position)
        changed = True
        while changed:
            changed = False
            for edge in edges:
                # The position of the completing Einsum only moves down the file, so the loop ends.
                last = complete[edge.writer]
                if variable in edge.in_step and last > complete[edge.reader]:
                    complete[edge.reader] = last
                    changed = True
        for edge in edges:
            late = complete[edge.writer] > position[edge.reader]
            if variable not in edge.in_step and late and not edge.delayed:
                found.setdefault(edge)
    yield from found


def _groups(edges: tuple[Dependence, ...]) -> list[frozenset[str]]:
    """Return the groups of Einsums that depend on one another in a cycle, by first reader."""
    successors: dict[str, set[str]] = {}
    for edge in edges:
        successors.setdefault(edge.reader, set()).add(edge.writer)
    group_of = {name: group for group in strongly_connected(successors) for name in group}
    found = dict.fromkeys(group_of[name] for name in successors)
    return [g for g in found if len(g) > 1 or any(name in successors[name] for name in g)]


def _chain(inside: tuple[Dependence, ...]) -> tuple[Dependence, ...]:
    """Return a shortest cycle among some dependences; an illegal cycle is preferred."""
    found = [(edge, *_path(edge.writer, edge.reader, inside)) for edge in inside]
    found.sort(key=lambda chain: (_is_legal(chain), len(chain)))
    return found[0]


def _path(start: str, end: str, edges: tuple[Dependence, ...]) -> tuple[Dependence, ...]:
    """Return a shortest path of dependences from one Einsum to another, which must exist."""
    paths: dict[str, tuple[Dependence, ...]] = {start: ()}
    queue = [start]
    while end not in paths:
        name = queue.pop(0)
        for edge in edges:
            if edge.reader == name and edge.writer not in paths:
                paths[edge.writer] = (*paths[name], edge)
                queue.append(edge.writer)
    return paths[end]


def _is_legal(chain: tuple[Dependence, ...]) -> bool:
    common = frozenset.intersection(*(e.in_step for e in chain))
    return any(common & e.delayed for e in chain)


def chain_text(chain: tuple[Dependence, ...]) -> str:
    """Return a cycle as text: ``A <- B <- A``, each Einsum depending on the next.

    Parameters
    ----------
    chain : tuple of Dependence
        Closed cycle: the writer of the last dependence is the reader of the first.
    """
    return " <- ".join([*(e.reader for e in chain), chain[0].reader])
