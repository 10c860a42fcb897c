"""The least that crosses the outermost memory: what is touched of inputs, and outputs, once.

Of an input that a gather picks from, the picks alone are touched. Where they are is in the
data; a selection picks as many different positions as it picks, and entries differ where the
cascade says so (``distinct``), while those of another index tensor, and the picks of two
selections, may all be the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .. import ir
from ..affine import digits, linear
from ..algebra.conditions import Masks
from ..masks import conjuncts, depends_on_data
from .certain_picks import apart_along
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
    return sympy.Add(*inputs, *(_written(program, t) for t in program.outputs))


def _written(program: ir.Program, tensor: str) -> Any:
    """Elements of an output that are written whatever the data are."""
    import sympy

    einsum = program.einsum_of.get(tensor)
    if einsum is None or not einsum.scattered:
        return tensor_size(program, tensor)
    if Masks(program).skipped(einsum) or any(_may_lack(program, i) for i in einsum.scattered):
        return sympy.Integer(0)
    # Each element once: as many as are scattered.
    ranks = (program.rank_of_variable[v] for v in einsum.target.variables)
    return size_of(program, [*program.parallel, *ranks])


def _may_lack(program: ir.Program, index: ir.Gather) -> bool:
    """Whether an index tensor may have no entry somewhere."""
    picks = program.einsum_of.get(index.access.tensor)
    return picks is not None and bool(Masks(program).skipped(picks))


def picked_from(program: ir.Program) -> tuple[str, ...]:
    """Inputs of which no more is certain to be touched than what gathers pick."""
    names = (t.name for t in program.inputs)
    return tuple(n for n in names if all(_gathers(a) for _, a in _reads(program, n)))


def certain_access(program: ir.Program, einsum: ir.Einsum, access: ir.Access) -> ir.Access:
    """An access that touches as many elements as another is certain to, whatever is picked.

    Parameters
    ----------
    einsum : Einsum
        The one that reads.
    access : Access
        Of an input. A pick becomes the variable along which picks differ, or is left out.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, J, E]\\ninputs: {S: [M], K: [M, E]}\\noutput: C\\n"
    >>> lines = "einsums: |\\n  I[j] << topk(S[m], j)\\n  C[j, e] = K[I[j], e]\\n"
    >>> program = Cascade.parse(head + lines).program
    >>> reader = program.einsum_of["C"]
    >>> certain_access(program, reader, reader.reads[0]).variables
    ('e', 'j')
    """
    gathers = _gathers(access)
    if not gathers:
        return access
    kept = tuple(
        i.offset if isinstance(i, ir.Gather) else i
        for i in access.indices
        if not isinstance(i, ir.Gather) or _has_beside(program, einsum, i)
    )
    used = {*_cut(program, einsum), *(v for i in kept for v in i.variables)}
    picks = [v for gather in gathers for v in _picks(program, gather, used)]
    terms = (ir.AffineTerm(coefficient=1, variable=v) for v in picks)
    return replace(access, indices=(*kept, *(ir.Affine(terms=(term,)) for term in terms)))


def _reads(program: ir.Program, tensor: str) -> tuple[tuple[ir.Einsum, ir.Access], ...]:
    """Accesses of a tensor, each with who reads it."""
    einsums = (*program.init, *program.einsums)
    return tuple((e, a) for e in einsums for a in e.reads if a.tensor == tensor)


def _left_out_by(program: ir.Program, einsum: ir.Einsum) -> Iterable[ir.Condition]:
    """What leaves out points of an Einsum: its mask, and those of its operands but for what says
    that there is a pick, which is asked of the selection (``_picks``)."""
    own = {*conjuncts(einsum.where)}
    for condition in program.once(Masks).skipped(einsum):
        if condition in own or not _says_picked(program, condition):
            yield condition


def _says_picked(program: ir.Program, condition: ir.Condition) -> bool:
    """Whether a condition is that an entry of a selection is a position."""
    match condition:  # as conjuncts spell it
        case ir.Relational(operator="<=", left=ir.Number(value=0), right=ir.Access(tensor=picks)):
            source = program.einsum_of.get(picks)
            return source is not None and source.select is not None
    return False


def _cut(program: ir.Program, einsum: ir.Einsum) -> set[str]:
    """Variables of what an Einsum's points are left out by: what it shows of them to one it may
    not show to another, so that picks along them need not differ."""
    return {v for c in _left_out_by(program, einsum) for v in ir.variables_of(c)}


def _has_beside(program: ir.Program, einsum: ir.Einsum, gather: ir.Gather) -> bool:
    """Whether the neighbours of a gathered position are touched, whatever the position is.

    A mask that asks data may show a part of them alone, and so does the end of a rank of whose
    last block not all is there. What moves on to another pick, too, is beside none.
    """
    offset = gather.offset
    asked = any(depends_on_data(c) for c in _left_out_by(program, einsum))
    if asked or not offset.variables:
        return False
    if not {*offset.variables}.isdisjoint(gather.access.variables):
        return False
    ranks = (program.rank_of[program.rank_of_variable[v]] for v in offset.variables)
    return _family(program, offset) is not None or all(r.family is None for r in ranks)


def _family(program: ir.Program, offset: ir.Affine) -> str | None:
    """The rank through all of which an offset goes, part by part."""
    family = program.rank_of[program.rank_of_variable[offset.variables[0]]].family
    members = program.rank_of[family].partition if family else ()
    return family if linear(offset).terms == digits(members).terms else None


def _gathers(access: ir.Access) -> tuple[ir.Gather, ...]:
    return tuple(i for i in access.indices if isinstance(i, ir.Gather))


def _least_of(program: ir.Program, tensor: str) -> Any:
    """The most that one access is certain to touch: others may touch the same."""
    import sympy

    whole = tensor_size(program, tensor)
    found = dict.fromkeys(_touched(program, e, access) for e, access in _reads(program, tensor))
    return whole if whole in found or not found else sympy.Max(*found)


def _touched(program: ir.Program, einsum: ir.Einsum, access: ir.Access) -> Any:
    used: set[str] = set()
    ranks: list[str] = list(program.parallel)
    for index, rank in zip(access.indices, program.tensor_ranks[access.tensor], strict=True):
        if isinstance(index, ir.Gather):  # picks are counted below
            if _has_beside(program, einsum, index):
                ranks += _beside(program, index)
            used.update(index.offset.variables)
            continue
        if not index.variables:
            continue  # a constant is one position
        if used.isdisjoint(index.variables):
            ranks.append(_along(program, index, rank))
        # A diagonal X[a, a] has as many elements as a.
        used.update(index.variables)
    used.update(_cut(program, einsum))
    for gather in _gathers(access):
        ranks += (program.rank_of_variable[v] for v in _picks(program, gather, used))
    return size_of(program, ranks)


def _along(program: ir.Program, index: ir.Affine, rank: str) -> str:
    """The rank that has as many positions as an index takes."""
    # 2*e, or e*E0, touches one position for each value of e; a sum as e + r all of the rank.
    if len(index.variables) == 1 and any(abs(t.coefficient) != 1 or t.shapes for t in index.terms):
        return program.rank_of_variable[index.variables[0]]
    return rank


def _beside(program: ir.Program, gather: ir.Gather) -> list[str]:
    """Ranks that have as many positions as are touched around a gathered one, at least."""
    offset = gather.offset
    if (family := _family(program, offset)) is not None:
        return [family]
    every = [program.rank_of_variable[v] for v in offset.variables]
    return every if _digits(program, offset) else every[:1]


def _digits(program: ir.Program, offset: ir.Affine) -> bool:
    """Whether an offset such as ``r*T + t`` counts from zero through all its variables' values."""
    ranks = tuple(program.rank_of_variable[v] for v in offset.variables)
    return linear(offset).terms == digits(ranks).terms


def _apart(program: ir.Program, gather: ir.Gather) -> bool:
    """Whether what is touched around one position is never touched around another."""
    ranks = sorted(program.rank_of_variable[v] for v in gather.offset.variables)
    return not ranks or (_digits(program, gather.offset) and sorted(gather.shapes) == ranks)


def _picks(program: ir.Program, gather: ir.Gather, used: set[str]) -> Iterable[str]:
    """The variables with as many values as are certain to be picked; none for one alone."""
    picked = gather.access
    if not _apart(program, gather):
        return
    source = program.einsum_of.get(picked.tensor)
    for name in apart_along(program, picked):
        if name in used:
            continue
        others = {v for v in picked.variables if v != name}
        masks = program.once(Masks)
        # Of a masked selection one fiber may see all candidates, and the next one none.
        if (
            source is None
            or not masks.skipped(source)
            or (masks.sees_all(source) and used.isdisjoint(others))
        ):
            used.add(name)
            yield name
