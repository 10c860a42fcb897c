"""How many picks of a selection there can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from . import ir


def fewer_picks(program: ir.Program, shapes: Mapping[str, int]) -> dict[str, int]:
    """Shapes of ranks that count more picks than there are to pick from: as many as there are.

    What is picked beyond that is absent, and so is all that is computed of it, so that the
    smaller rank says the same. Ranks that count anything else beside picks keep their shape.

    Parameters
    ----------
    program : Program
    shapes : mapping of str to int
        By rank, those that are known.

    Returns
    -------
    dict of str to int
        By rank that counts picks; empty where there is enough to pick from.

    Examples
    --------
    Four blocks, of which eight are to be picked.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("mixture-of-block-attention").program
    >>> fewer_picks(program, {"N": 4, "J": 8}), fewer_picks(program, {"N": 4, "J": 3})
    ({'J': 4}, {})
    """
    found: dict[str, int] = {}
    for einsum in program.einsums:
        if (rank := _counted(program, einsum)) is None:
            continue
        there = shapes.get(program.rank_of_variable[einsum.over[0]])
        wanted = found.get(rank, shapes.get(rank))
        if there is None or wanted is None or wanted <= there:
            continue
        if program.once(_counts_picks, rank):
            found[rank] = there
    return found


def _counted(program: ir.Program, einsum: ir.Einsum) -> str | None:
    """The rank that counts what an Einsum selects; None where it selects nothing."""
    if einsum.select is None:
        return None
    candidates = ir.variables_of(einsum.expression)
    return next(program.rank_of_variable[v] for v in einsum.target.variables if v not in candidates)


def _counts_picks(program: ir.Program, rank: str) -> bool:
    """Whether whatever has the rank is of a pick, so that nothing is there without one."""
    declared = program.rank_of[rank]
    if declared.partition or declared.family or declared.like or declared.shape is not None:
        return False
    if any(r.like == rank for r in program.ranks) or _is_named(program, rank):
        return False
    if any(rank in ranks for ranks in program.iterative.values()):
        return False
    if any(rank in program.tensor_ranks[t.name] for t in program.inputs):
        return False
    variable, of_picks = declared.variable, set[str]()
    for einsum in program.einsums:
        if variable not in einsum.variables:
            continue
        selects = _counted(program, einsum)
        if selects is None and not any(
            a.tensor in of_picks and _is_at(a, variable) for a in _certain(einsum.expression)
        ):
            return False
        if selects not in (None, rank):
            return False
        if variable in einsum.target.variables:
            if not _is_at(einsum.target, variable):
                return False
            of_picks.add(einsum.name)
    return True


def _is_at(access: ir.Access, variable: str) -> bool:
    return any(isinstance(i, ir.Affine) and i.as_variable == variable for i in access.indices)


def _is_named(program: ir.Program, rank: str) -> bool:
    """Whether the shape of a rank stands in an equation or a domain, as a number."""
    parts: list[ir.Node] = [f.body for f in program.functions]
    for einsum in (*program.einsums, *program.init):
        parts += [einsum.target, einsum.expression, *([einsum.where] if einsum.where else [])]
    return any(d.rank == rank for d in program.domains) or any(
        _says(node, rank) for part in parts for node in ir.walk(part)
    )


def _says(node: ir.Node, rank: str) -> bool:
    if isinstance(node, ir.Affine):
        return any(rank in t.shapes for t in node.terms)
    return isinstance(node, ir.Name | ir.Gather) and rank in (
        node.shapes if isinstance(node, ir.Gather) else (node.name,)
    )


def _certain(node: ir.Node) -> Iterator[ir.Access]:
    """Accesses that are read at every point, those inside of indices included."""
    if isinstance(node, ir.Access):
        yield node
    if isinstance(node, ir.Call) and node.function == "where":
        return
    for child in ir.children(node):
        yield from _certain(child)
