"""Ranks whose coordinates a cascade treats all alike, so that it may be given more of them."""

from __future__ import annotations

from .ir import Affine, Einsum, Name, Node, Program, variables_of, walk


def tells_apart(program: Program, rank: str) -> str | None:
    """What does not treat every coordinate of a rank alike (``Einsum 'QK'``), or None.

    A cascade treats them alike when the rank's variable is only ever a plain index
    (``Q[p, e]``, or ``Q[p1*P0 + p0, e]`` by the members of a partition): not reduced, not
    compared (``where m <= p``), not a number (``lam ** p``), not part of a longer index
    (``X[p - m]``), and when nothing else depends on its shape. Then twice the coordinates
    are twice the same work on the same other operands.

    Parameters
    ----------
    program : Program
    rank : str

    Returns
    -------
    str or None
        The Einsum, as it stands in a message; None where more coordinates change nothing.
    """
    own = next((r for r in program.ranks if r.name == rank), None)
    members = () if own is None else own.partition
    names = (rank, *members)
    for other in program.ranks:
        if other.like in names:
            return f"rank '{other.name}'"
    for einsum in (*program.init, *program.einsums):
        if _apart(einsum, rank, members):
            return f"Einsum '{einsum.name}'"
    return None


def _apart(einsum: Einsum, rank: str, members: tuple[str, ...]) -> bool:
    variables = {name.lower() for name in (rank, *members)}
    compared = () if einsum.where is None else walk(einsum.where)
    if variables & {*einsum.over, *(v for n in compared for v in variables_of(n))}:
        return True
    nodes = (*walk(einsum.expression), *walk(einsum.target), *compared)
    whole = {name.lower() for name in members}
    return any(_is_more(node, rank, variables, whole) for node in nodes)


def _is_more(node: Node, rank: str, variables: set[str], whole: set[str]) -> bool:
    """Whether a node uses the rank otherwise than as a plain index."""
    match node:
        case Name(name=name):
            return name in variables or name.upper() == rank
        case Affine() if any(rank in term.shapes for term in node.terms):
            return True
        case Affine() if variables.isdisjoint(node.variables):
            return False
        case Affine():
            by_members = set(node.variables) == whole and all(t.variable for t in node.terms)
            return node.as_variable is None and not by_members
        case _:
            return False
