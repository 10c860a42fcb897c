"""Ranks that a cascade itself cuts, in tiles of sizes that are for mappings to choose.

What goes over all members of such a rank has as many points at any size; what goes over some of
them alone has more or fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import prod
from typing import NamedTuple

from einsum_cascade.affine import Form, Term, digits
from einsum_cascade.ir import Gather, Program
from einsum_cascade.masks import AtMostZero, Opaque, inequalities

from ..bound.record import Bound, BoundEinsum

ALL = Fraction(1)
"""The share of an Einsum of which something is left at any size of tiles."""


def cut_of(program: Program, rank: str) -> tuple[str, str]:
    """The cut rank that a member is of, and the member; of ranks alike, those of the first."""
    declared = program.rank_of.get(rank)
    if declared is not None and declared.like is not None:
        return cut_of(program, declared.like)
    family = program.rank_of.get(declared.family or "") if declared is not None else None
    if family is None:
        return "", rank
    first = program.rank_of[family.like] if family.like is not None else family
    if not first.partition:
        return family.name, rank
    return first.name, first.partition[family.partition.index(rank)]


def member_of(program: Program, variable: str) -> tuple[str, str]:
    """The cut rank that a variable goes over a member of, and the member."""
    return cut_of(program, program.rank_of_variable.get(variable, variable.upper()))


def in_part(bound: Bound, e: BoundEinsum, free: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Ranks that the cascade cuts of which an Einsum goes over members, but not over positions."""
    whole = of_positions(bound.program, e)
    axes = ([member_of(bound.program, v) for v, _ in axis.variables] for axis in e.axes)
    return {of[0][0] for of in axes if len(of) < len(free.get(of[0][0], ()))} - {whole}


def least_shares(bound: Bound) -> dict[str, Fraction]:
    """The share of each Einsum's points that is left at the best sizes of the cascade's tiles.

    An Einsum that goes over all members of a cut rank has as many points at any size. One that
    goes over some of them alone (a running maximum over M1) could have a single tile, or tiles
    of a single element: those have a size of one. Under a mask there may be nothing left of it at
    some size, unless the mask is of positions alone.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade.

    Returns
    -------
    dict of str to Fraction
        By Einsum: 1 where no size makes a difference.

    Examples
    --------
    Of one-pass attention with 4 tiles of 256 keys, ``RM[m1+1, p]`` is left with a quarter.
    """
    masked = any(x.where is not None for x in bound.program.einsums)
    sizes, free = dict(bound.shapes), bound.once_of_any_size(_gone_of)
    return {
        e.name: _share(e, gone, sizes, masked) for e, gone in zip(bound.einsums, free, strict=True)
    }


class _Gone(NamedTuple):
    """Members of a cut rank of which an Einsum goes over some alone."""

    family: str
    axes: tuple[int, ...]
    """Along which it goes over them."""
    times: int
    """How often it goes over all members, each on an axis of its own."""


def _share(
    e: BoundEinsum, gone: tuple[_Gone, ...], sizes: dict[str, int], masked: bool
) -> Fraction:
    """The least share of an Einsum's points."""
    if not gone:
        return ALL
    if masked:
        return Fraction(0)  # at some sizes there may be no tile that has to be run
    share = ALL
    for family, axes, times in gone:
        # M1 and M0 have M points together at the least, whatever their sizes; M1 alone may be 1,
        # so that nothing of its extent is left.
        share *= Fraction(sizes[family] ** times, prod([e.extents[axis] for axis in axes]))
    return min(share, ALL)


def _gone_of(bound: Bound) -> tuple[tuple[_Gone, ...], ...]:
    """By Einsum, of what its share is less than all: the same at any length."""
    free = cut_by_mapping(bound)
    return tuple(tuple(_gone(bound.program, e, free)) for e in bound.einsums)


def _gone(program: Program, e: BoundEinsum, free: Mapping[str, tuple[str, ...]]) -> Iterator[_Gone]:
    axes: dict[str, list[int]] = {family: [] for family in free}
    gone: dict[str, list[str]] = {family: [] for family in free}
    for number, axis in enumerate(e.axes):
        family, _ = member_of(program, axis.variables[0][0])
        if family in free:
            members = [member_of(program, v)[1] for v, _ in axis.variables]
            # Members that together are positions of the rank are one axis, as long at any size;
            # M2 and M1 of three are an axis of as many tiles of M0 as there are.
            if len(members) < len(free[family]):
                axes[family].append(number)
                gone[family] += members
    whole = of_positions(program, e)
    for family, found in axes.items():
        # Of ``whole`` each position comes once, however it is cut.
        if found and family != whole:
            times = min(gone[family].count(member) for member in free[family])
            yield _Gone(family, tuple(found), times)


def of_positions(program: Program, e: BoundEinsum) -> str:
    """The cut rank of which an Einsum's mask lets through each position once, and leaves out what
    the last tile has beyond the end; empty where it has another mask, or none.

    An example: ``where p1*M0 + m0 < P`` of an Einsum over p1 and m0, where M0 is as long as P0.
    So many points are P, whatever P0 is, and so they are from the last tile to the first, ``where
    (P1 - p1 - 1)*M0 + m0 < P``.
    """
    if e.einsum.where is None or len(conditions := inequalities(e.einsum.where)) != 1:
        return ""
    (condition,) = conditions
    mine = [(v, *member_of(program, v)) for axis in e.axes for v, _ in axis.variables]
    for family in dict.fromkeys(family for _, family, _ in mine if family):
        names = {v: member.lower() for v, of, member in mine if of == family}
        members = program.rank_of[family].partition
        once = sorted(names.values()) == sorted(m.lower() for m in members)
        if once and is_end(program, condition, family, names) is not None:
            return family
    return ""


def is_end(
    program: Program, condition: AtMostZero | Opaque, family: str, names: Mapping[str, str]
) -> bool | None:
    """Whether a condition that lets through what is inside of a cut rank counts its outermost tiles
    from the last; None where it is no such condition.

    Parameters
    ----------
    names : mapping
        The member of the rank, as a variable, that each of some variables goes over.
    """
    if not isinstance(condition, AtMostZero):
        return None
    members = program.rank_of[family].partition
    found = _terms(program, condition.form, names)
    forwards = digits(members).plus(Form((Term(1), Term(-1, (family,)))))
    if found == _terms(program, forwards, {}):
        return False
    # Of P1 tiles of P0 the one of number P1 - p1 - 1, all of whose digits but the first stay.
    outer, *inner = members
    first = (Term(1, (outer, *inner)), Term(-1, tuple(inner)))
    turned = tuple(
        Term(-t.coefficient, t.shapes, t.variable) if t.variable == outer.lower() else t
        for t in forwards.terms
    )
    backwards = Form(turned).plus(Form(first))
    return True if found == _terms(program, backwards, {}) else None


def _terms(
    program: Program, form: Form, names: Mapping[str, str]
) -> frozenset[tuple[int, tuple[str, ...], str | None]]:
    """The terms of a form, with ranks that are alike called by the first, and variables renamed."""
    return frozenset(
        (
            t.coefficient,
            tuple(sorted(cut_of(program, shape)[1] for shape in t.shapes)),
            names.get(t.variable or "", t.variable),
        )
        for t in form.terms
    )


def cut_by_mapping(bound: Bound) -> dict[str, tuple[str, ...]]:
    """Ranks that the cascade cuts into sizes that are not the workload's, and their members."""
    program = bound.program
    chosen = {*(t.member for t in bound.mapping.tiles), *(u.name for u in program.usual)}
    # Where picks are of tiles, their size is part of what is computed.
    reads = (i for e in program.einsums for a in e.reads for i in a.indices)
    scaled = {shape for i in reads if isinstance(i, Gather) for shape in i.shapes}
    cut = [
        r
        for r in program.ranks
        if r.partition and not chosen.isdisjoint(r.partition) and scaled.isdisjoint(r.partition)
    ]
    families = {cut_of(program, r.partition[0])[0] for r in cut}
    return {family: program.rank_of[family].partition for family in families}


def cut_ranks(bound: Bound) -> frozenset[str]:
    """The same ranks, and those that are cut like them."""
    free, ranks = cut_by_mapping(bound), (r for r in bound.program.ranks if r.partition)
    return frozenset(r.name for r in ranks if cut_of(bound.program, r.partition[0])[0] in free)
