"""Masks and indices of a rank that is in parts, as a part has them."""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from dataclasses import replace
from math import prod

from einsum_cascade.affine import affine_value
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.algebra.terms import map_einsum, rebuild
from einsum_cascade.ir import (
    Access,
    Affine,
    AffineTerm,
    Index,
    Name,
    Node,
    Number,
    Program,
    variables_of,
    walk,
)
from einsum_cascade.masks import conjuncts, depends_on_data

Lengths = tuple[tuple[str, int], ...]
"""Ranks and how many coordinates they have."""


def has_mask_over(program: Program, rank: str, *, of_data: bool = True) -> bool:
    """Whether an Einsum has a mask that asks about a rank's coordinates, or how long it is, or the
    rank of which it is a part as the cascade cuts it.

    Parameters
    ----------
    of_data : bool, default True
        Whether what asks data, too, counts: nobody knows what that leaves out, so that parts of
        the rank have as much to do.
    """
    names = {rank, rank.lower()}
    if (declared := program.rank_of.get(rank)) is not None and declared.family is not None:
        names.add(declared.family)
    conditions = (c for e in with_masks(program).einsums for c in conjuncts(e.where))
    return any(
        names & {node.name} if isinstance(node, Name) else rank.lower() in variables_of(node)
        for condition in conditions
        if of_data or not depends_on_data(condition)
        for node in walk(condition)
        if isinstance(node, Name | Access)
    )


def whole_lengths(program: Program, rank: str, shapes: Sizes[str, int]) -> Lengths:
    """How long a rank is before it is in parts, and the rank of which it is a part itself.

    Parameters
    ----------
    program : Program
    rank : str
        The rank that is in parts.
    shapes : mapping
        By rank, of the whole work.
    """
    declared = program.rank_of.get(rank)
    if declared is None or declared.family is None:
        return ((rank, shapes[rank]),)
    family = declared.family
    if (length := shapes.get(family)) is None:
        length = prod(shapes[m] for m in program.rank_of[family].partition)
    return (rank, shapes[rank]), (family, length)


def moved_masks(program: Program, rank: str, begin: int, whole: Lengths) -> Program:
    """The cascade as a part of a rank has it: its masks know where the part begins, and how long
    all of the rank is.

    Parameters
    ----------
    program : Program
    rank : str
        The rank of which there is a part.
    begin : int
        The part's first coordinate.
    whole : tuple
        What ``whole_lengths`` says.

    Returns
    -------
    Program
        ``m <= p`` for the queries from 256 on is ``m <= p + 256``.
    """
    variable = AffineTerm(variable=rank.lower())
    terms = (variable, AffineTerm(coefficient=begin)) if begin else (variable,)
    lengths = dict(whole)

    def moved(node: Node) -> Node:
        # What a mask reads of tensors is of the part itself, and lies where it lay.
        if isinstance(node, Name) and node.kind == "variable" and node.name == rank.lower():
            return affine_value(Affine(terms=terms))
        if isinstance(node, Name) and node.kind == "shape" and node.name in lengths:
            return Number(value=lengths[node.name])
        return node

    einsums = (
        e if e.where is None else replace(e, where=rebuild(e.where, moved)) for e in program.einsums
    )
    return replace(program, einsums=tuple(einsums))


def whole_indices(program: Program, rank: str, whole: Lengths) -> Program:
    """The cascade as a part of a rank has it: its indices know how long all of the rank is.

    ``X[p*M + e]`` is of other elements at each p, however short a part of M is.

    Parameters
    ----------
    program, rank, whole
        As of ``moved_masks``.

    Returns
    -------
    Program
        The same one, where no index asks how long the rank is.
    """
    lengths = dict(whole)
    declared = program.rank_of.get(rank)
    cut = program.rank_of.get(declared.family or "") if declared is not None else None
    digits = {m.lower() for m in (cut.partition if cut is not None else (rank,))}
    running = {t for t, ranks in program.iterative.items() if not lengths.keys().isdisjoint(ranks)}

    def told(shapes: tuple[str, ...], coefficient: int) -> tuple[tuple[str, ...], int]:
        times = prod(lengths[s] for s in shapes if s in lengths)
        return tuple(s for s in shapes if s not in lengths), coefficient * times

    def term(t: AffineTerm) -> AffineTerm:
        if t.variable in digits or lengths.keys().isdisjoint(t.shapes):
            return t  # positions of the rank itself are of the part
        shapes, coefficient = told(t.shapes, t.coefficient)
        return replace(t, shapes=shapes, coefficient=coefficient)

    def index(i: Index) -> Index:
        if isinstance(i, Affine):
            return replace(i, terms=tuple(map(term, i.terms)))
        shapes, coefficient = told(i.shapes, i.coefficient)
        offset = replace(i.offset, terms=tuple(map(term, i.offset.terms)))
        return replace(i, shapes=shapes, coefficient=coefficient, offset=offset)

    def access(a: Access) -> Access:
        # The end of what runs along the rank is that of the part.
        same = a.tensor in running
        return a if same else replace(a, indices=tuple(map(index, a.indices)))

    def known(node: Node) -> Node:
        return rebuild(node, lambda n: access(n) if isinstance(n, Access) else n)

    einsums = tuple(replace(map_einsum(e, known), target=access(e.target)) for e in program.einsums)
    return program if einsums == program.einsums else replace(program, einsums=einsums)
