"""Ranks whose coordinates a cascade treats all alike, so that it may be given more of them."""

from __future__ import annotations

from .ir import Affine, Einsum, Name, Node, Program, variables_of, walk


def tells_apart(program: Program, rank: str) -> Einsum | None:
    """The first Einsum that does not treat every coordinate of a rank alike, or None.

    It treats them alike when the rank's variable is only ever a plain index (``Q[p, e]``):
    not reduced, not compared (``where m <= p``), not a number (``lam ** p``), not part of
    a longer index (``X[p - m]``). Then twice the coordinates are twice the same work on the
    same other operands.
    """
    variable = rank.lower()
    for einsum in (*program.init, *program.einsums):
        nodes = (*walk(einsum.expression), *walk(einsum.target))
        compared = () if einsum.where is None else variables_of(einsum.where)
        if variable in (*einsum.over, *compared) or any(_is_more(n, variable) for n in nodes):
            return einsum
    return None


def _is_more(node: Node, variable: str) -> bool:
    """Whether a node uses the variable otherwise than as a plain index."""
    match node:
        case Name(name=name, kind="variable"):
            return name == variable
        case Affine():
            return variable in node.variables and node.as_variable != variable
        case _:
            return False
