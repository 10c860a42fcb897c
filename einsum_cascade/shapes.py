"""Shapes: the size of every rank from the few a user gives."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from math import prod
from typing import SupportsIndex

from . import ir
from .errors import CascadeError, InputError, Problem, did_you_mean
from .picks import fewer_picks


def resolve_shapes(
    program: ir.Program,
    given: Mapping[str, SupportsIndex],
    error: type[InputError] = CascadeError,
) -> dict[str, int]:
    """The shape of every rank of a program.

    A rank whose shape the cascade says has that one.

    A partitioned rank and its members fix one another: of a family and its n members any
    n are enough, and the outermost covers what is left, ``M1 = ceil(M / M0)``. When every
    member is given and the family is not, the family is their product.

    Parameters
    ----------
    program : ir.Program
        Its ranks need shapes; ``parallel`` ranks may have one.
    given : mapping
        Shapes by rank name, positive whole numbers of any size.
    error : type
        The member of the error family to raise.

    Returns
    -------
    dict
        Rank name to shape: every declared rank, and the ``parallel`` ranks given, in the
        order of declaration.

    Raises
    ------
    InputError
        (as ``error``) A shape is unknown, missing, not a positive whole number, or
        contradicts the others. Names every such shape.
    """
    problems: list[Problem] = []
    shapes = _checked(program, given, problems)
    _fixed(program, shapes, problems)
    _follow(program, shapes, frozenset(given))
    _alike(program, shapes, problems)
    families = {
        rank.name: _family(rank, shapes, problems, frozenset(given))
        for rank in program.ranks
        if rank.partition
    }
    # Once more: by now there may be shapes of members and families that others are like.
    _alike(program, shapes, problems)
    missing: list[str] = []
    for rank in program.ranks:
        missing.extend(families.get(rank.name, ()))
        plain = rank.family is None and not rank.partition
        if plain and rank.name not in shapes and rank.name not in given:
            missing.append(f"'{rank.name}'" + (f" ({rank.meaning})" if rank.meaning else ""))
    if missing:
        what = "shapes are" if len(missing) > 1 else "shape is"
        problems.append(Problem(f"{what} missing: {', '.join(missing)}"))
    if problems:
        raise error(problems)
    order = dict.fromkeys((*program.parallel, *(r.name for r in program.ranks)))
    return {name: shapes[name] for name in order if name in shapes}


def with_usual(
    program: ir.Program, given: Mapping[str, int], fixed: Collection[str] = ()
) -> tuple[dict[str, int], dict[str, int]]:
    """The given shapes with usual ones where nothing else fixes a rank.

    Of what picks more than there is to pick from it is as many as there is.

    Parameters
    ----------
    fixed : collection of str
        Ranks whose shapes come from elsewhere (the tiles of a mapping).

    Returns
    -------
    tuple of dict
        All shapes that are now given, and those that were not before.
    """
    found, added = dict(given), dict[str, int]()
    for usual in program.usual:
        rank = program.rank_of.get(usual.name)
        names = {usual.name, *(r.name for r in program.ranks if r.like == usual.name)}
        family = program.rank_of.get(rank.family or "") if rank else None
        parted = [r for r in program.ranks if r.partition]
        alike = [f for f in parted if family and family.name in (f.name, f.like)]
        known = {*found, *fixed}
        # Of a family and its n members any n fix the last one.
        full = any(len(known & {f.name, *f.partition}) >= len(f.partition) for f in alike)
        if not full and not names & known:
            found[usual.name] = added[usual.name] = usual.size
    if any(e.select is not None for e in program.einsums):
        found |= fewer_picks(program, following(program, found))
    return found, added


def _checked(
    program: ir.Program, given: Mapping[str, SupportsIndex], problems: list[Problem]
) -> dict[str, int]:
    known = (*program.parallel, *(r.name for r in program.ranks))
    shapes: dict[str, int] = {}
    for name, value in given.items():
        if name not in known:
            problems.append(Problem(f"'{name}' is not a rank; {did_you_mean(name, known)}"))
            continue
        try:
            if isinstance(value, bool):
                raise TypeError
            size = operator.index(value)
        except TypeError:
            problems.append(Problem(f"shape {name} is a positive whole number, not {value!r}"))
            continue
        if size <= 0:
            problems.append(Problem(f"shape {name} is a positive whole number, not {size}"))
        else:
            shapes[name] = size
    return shapes


def _fixed(program: ir.Program, shapes: dict[str, int], problems: list[Problem]) -> None:
    """Put in the shapes that the cascade itself says, in place."""
    for rank in program.ranks:
        if rank.shape is None:
            continue
        if shapes.setdefault(rank.name, rank.shape) != rank.shape:
            what = f"{rank.name} is {rank.shape} in '{program.name}', not {shapes[rank.name]}"
            problems.append(Problem(what))


def following(program: ir.Program, given: Mapping[str, int]) -> dict[str, int]:
    """Shapes that are given, and those that follow from them; the rest is left out.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("delta-product-chunked").program
    >>> found = following(program, {"P": 7, "J": 2, "X0": 4})
    >>> found["N"], found["X1"], found["M0"]
    (14, 4, 4)
    """
    shapes = dict(given)
    _fixed(program, shapes, [])
    _follow(program, shapes, frozenset(given))
    return shapes


def _follow(program: ir.Program, shapes: dict[str, int], given: frozenset[str]) -> None:
    """Fill in what follows, in place: of a family what a rank like its member has, and so on."""
    known = -1
    while known != len(shapes):
        known = len(shapes)
        _alike(program, shapes, [])
        for rank in program.ranks:
            if rank.partition:
                _family(rank, shapes, [], given)


def _alike(program: ir.Program, shapes: dict[str, int], problems: list[Problem]) -> None:
    """Give ranks that are declared alike one another's shapes, in place."""
    for rank in program.ranks:
        other = program.rank_of.get(rank.like or "")
        if other is None:
            continue
        pairs = [(rank.name, other.name), *zip(rank.partition, other.partition, strict=False)]
        for a, b in pairs:
            if a in shapes and b in shapes and shapes[a] != shapes[b]:
                text = f"{a} and {b} are declared alike, but {a} = {shapes[a]}, {b} = {shapes[b]}"
                if Problem(text) not in problems:
                    problems.append(Problem(text))
            elif a in shapes or b in shapes:
                shapes[a] = shapes[b] = shapes[a] if a in shapes else shapes[b]


def _family(
    rank: ir.Rank, shapes: dict[str, int], problems: list[Problem], given: frozenset[str]
) -> list[str]:
    """Fill in one family, in place; returns what is missing, in words."""
    names = (rank.name, *rank.partition)
    if any(n in given and n not in shapes for n in names):
        return []
    absent = [n for n in names if n not in shapes]
    if len(absent) > 1:
        quoted = [f"'{n}'" for n in absent]
        if len(absent) == 2:
            return [" or ".join(quoted)]
        return [f"{len(absent) - 1} of {', '.join(quoted)}"]
    sizes = [shapes[n] for n in rank.partition if n in shapes]
    if absent == [rank.name]:
        shapes[rank.name] = prod(sizes)
    elif absent:
        shapes[absent[0]] = -(-shapes[rank.name] // prod(sizes))
    _consistent(rank, shapes, problems)
    return []


def _consistent(rank: ir.Rank, shapes: dict[str, int], problems: list[Problem]) -> None:
    outer, *rest = rank.partition
    inner = prod(shapes[n] for n in rest)
    needed = -(-shapes[rank.name] // inner)
    if shapes[outer] != needed:
        sizes = ", ".join(f"{n} = {shapes[n]}" for n in rank.partition)
        text = f"{rank.name} = {shapes[rank.name]} does not agree with {sizes}"
        product = " * ".join(rest)
        text += f": {outer} must be ceil({rank.name} / {product}) = {needed}"
        problems.append(Problem(text))
