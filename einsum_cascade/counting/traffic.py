"""The least that crosses the outermost memory: what is touched of inputs, and outputs, once.

Of an input that a gather picks from, the picks alone are touched. Where they are is in the
data; a selection picks as many different positions as it picks, while the entries of a given
index tensor, and the picks of two selections, may all be the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import ir
from ..algebra.conditions import Masks
from .footprint import tensor_size
from .points import size_of


def least_traffic(program: ir.Program) -> Any:
    """Elements of inputs that are touched whatever the data are, and of outputs.

    Masks are not asked which elements of an input nobody sees: it counts whole.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, J, E]\\ninputs: {S: [M], K: [M, E]}\\noutput: C\\n"
    >>> lines = "einsums: |\\n  I[j] << topk(S[m], j)\\n  C[j, e] = K[I[j], e]\\n"
    >>> least_traffic(Cascade.parse(head + lines).program)  # S, J rows of K, and C
    2*E*J + M
    """
    import sympy

    inputs = (_least_of(program, t.name) for t in program.inputs)
    return sympy.Add(*inputs, *(tensor_size(program, t) for t in program.outputs))


def picked_from(program: ir.Program) -> tuple[str, ...]:
    """Inputs of which no more is certain to be touched than what gathers pick."""
    names = (t.name for t in program.inputs)
    return tuple(n for n in names if all(_gathers(a) for a in _accesses(program, n)))


def _accesses(program: ir.Program, tensor: str) -> tuple[ir.Access, ...]:
    reads = (a for e in (*program.init, *program.einsums) for a in e.reads)
    return tuple(dict.fromkeys(a for a in reads if a.tensor == tensor))


def _gathers(access: ir.Access) -> tuple[ir.Gather, ...]:
    return tuple(i for i in access.indices if isinstance(i, ir.Gather))


def _least_of(program: ir.Program, tensor: str) -> Any:
    """The most that one access is certain to touch: others may touch the same."""
    import sympy

    whole = tensor_size(program, tensor)
    found = [_touched(program, access) for access in _accesses(program, tensor)]
    return whole if whole in found or not found else sympy.Max(*found)


def _touched(program: ir.Program, access: ir.Access) -> Any:
    used: set[str] = set()
    ranks: list[str] = list(program.parallel)
    for index, rank in zip(access.indices, program.tensor_ranks[access.tensor], strict=True):
        if isinstance(index, ir.Gather) or not index.variables:
            continue  # a pick is counted below, and a constant is one position
        if used.isdisjoint(index.variables):
            ranks.append(_along(program, index, rank))
        # A diagonal X[a, a] has as many elements as a.
        used.update(index.variables)
    for gather in _gathers(access):
        ranks += _picks(program, gather.access, used)
    return size_of(program, ranks)


def _along(program: ir.Program, index: ir.Affine, rank: str) -> str:
    """The rank that has as many positions as an index takes."""
    if len(index.variables) == 1 and any(abs(t.coefficient) != 1 or t.shapes for t in index.terms):
        return program.rank_of_variable[index.variables[0]]
    return rank


def _picks(program: ir.Program, picked: ir.Access, used: set[str]) -> Iterable[str]:
    """The rank that has as many positions as are certain to be picked; none for one alone."""
    source = program.einsum_of.get(picked.tensor)
    if source is None or source.select is None:
        return
    written = ir.variables_of(source.expression)
    for index, wrote in zip(picked.indices, source.target.indices, strict=True):
        name = index.as_variable if isinstance(index, ir.Affine) else None
        if set(wrote.variables) & {*written} or name is None or name in used:
            continue
        masks = Masks(program)
        others = {v for i in picked.indices if i is not index for v in i.variables}
        # Of a masked selection one fiber may see all candidates, and the next one none.
        if not masks.skipped(source) or (masks.sees_all(source) and used.isdisjoint(others)):
            used.add(name)
            yield program.rank_of_variable[name]
