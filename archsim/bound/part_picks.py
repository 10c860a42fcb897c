"""Gathers of a rank that is in parts: whether each part has the picks that it needs."""

from __future__ import annotations

from einsum_cascade.ir import Access, Affine, Gather, Index, Program


def is_own_pick(program: Program, access: Access, index: Index, variable: str) -> bool:
    """Whether a gather along a rank in parts asks each instance for picks of its own part alone.

    Every query picks its keys: an instance that has some of the queries has their picks, and may
    need any of the keys. What is picked from must not itself be made in parts.

    Parameters
    ----------
    access : Access
        The one that gathers.
    index : Index
        Any of its indices.
    variable : str
        The rank variable in parts.
    """
    if not isinstance(index, Gather) or variable in index.offset.variables:
        return False
    inner = (i for i in index.access.indices if variable in i.variables)
    if not all(isinstance(i, Affine) and i.as_variable == variable for i in inner):
        return False
    made = program.einsum_of.get(access.tensor)
    return made is None or variable not in made.target.variables


def lies_in_parts(access: Access, variable: str) -> bool:
    """Whether a tensor has parts where a rank has: not where it is only picked from."""
    plain = (i for i in access.indices if not isinstance(i, Gather))
    return any(variable in i.variables for i in plain)
