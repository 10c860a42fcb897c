"""Shapes: the size of every rank from the few sizes a user gives, and symmetry of ranks."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from math import prod
from typing import SupportsIndex

from . import ir
from .errors import CascadeError, InputError, Problem, did_you_mean, raise_all


def resolve_shapes(
    program: ir.Program,
    given: Mapping[str, SupportsIndex],
    error: type[InputError] = CascadeError,
    *,
    partial: bool = False,
) -> dict[str, int]:
    """Return the shape of every rank of a program.

    A rank with a fixed shape in the cascade keeps that shape. A partitioned rank and its n members
    determine one another: any n of these shapes are enough, and the outermost member covers the
    rest, ``M1 = ceil(M / M0)``. If every member is given and the rank is not, the shape of the rank
    is their product. The rank of a selection is clipped to the number of candidates.

    Parameters
    ----------
    program : ir.Program
        Its ranks need shapes; its ``parallel`` ranks may have one.
    given : mapping
        Shapes by rank name, positive integers of any size.
    error : type
        Error class to raise.
    partial : bool
        Whether shapes may be missing; the result then has the known ones only.

    Returns
    -------
    dict
        Shapes by rank name, in order of declaration: every declared rank, and the ``parallel``
        ranks given.

    Raises
    ------
    InputError
        (as ``error``) A shape is unknown, missing, not a positive integer, or contradicts the
        others. Lists every such shape.
    """
    problems: list[Problem] = []
    shapes = _checked(program, given, problems)
    _fixed(program, shapes, problems)
    _follow(program, shapes, frozenset(given))
    _copy_like(program, shapes, problems)
    families = {
        rank.name: _family(rank, shapes, problems, frozenset(given))
        for rank in program.ranks
        if rank.partition
    }
    missing: list[str] = []
    for rank in program.ranks:
        missing.extend(families.get(rank.name, ()))
        plain = rank.family is None and not rank.partition
        if plain and rank.name not in shapes and rank.name not in given:
            missing.append(f"'{rank.name}'" + (f" ({rank.meaning})" if rank.meaning else ""))
    if missing and not partial:
        what = "shapes are" if len(missing) > 1 else "shape is"
        problems.append(Problem(f"{what} missing: {', '.join(missing)}"))
    raise_all(problems, error)
    shapes |= clip_selections(program, shapes)
    order = dict.fromkeys((*program.parallel, *(r.name for r in program.ranks)))
    return {name: shapes[name] for name in order if name in shapes}


def complete_shapes(
    program: ir.Program, given: Mapping[str, int], fixed: Collection[str] = ()
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the given shapes, with usual shapes for ranks that nothing else determines.

    The rank of a selection is clipped to the number of candidates.

    Parameters
    ----------
    fixed : collection of str
        Ranks whose shapes are determined elsewhere (the tiles of a mapping).

    Returns
    -------
    tuple of dict
        All shapes known now, and the added ones.
    """
    found, added = dict(given), dict[str, int]()
    for usual in program.usual:
        rank = program.rank_of.get(usual.name)
        names = {usual.name, *(r.name for r in program.ranks if r.like == usual.name)}
        family = program.rank_of.get(rank.family or "") if rank else None
        parted = [r for r in program.ranks if r.partition]
        related = [f for f in parted if family and family.name in (f.name, f.like)]
        known = {*found, *fixed}
        # Any n shapes of a family and its n members determine the last one.
        full = any(len(known & {f.name, *f.partition}) >= len(f.partition) for f in related)
        if not full and not names & known:
            found[usual.name] = added[usual.name] = usual.size
    if any(e.select is not None for e in program.einsums):
        found |= clip_selections(program, derived_shapes(program, found))
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
    """Add the shapes that the cascade fixes to ``shapes``, in place."""
    for rank in program.ranks:
        if rank.shape is None:
            continue
        if shapes.setdefault(rank.name, rank.shape) != rank.shape:
            what = f"{rank.name} is {rank.shape} in '{program.name}', not {shapes[rank.name]}"
            problems.append(Problem(what))


def derived_shapes(program: ir.Program, given: Mapping[str, int]) -> dict[str, int]:
    """Return the given shapes and all shapes that follow from them; other ranks are left out.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("delta-product-chunked").program
    >>> found = derived_shapes(program, {"P": 7, "J": 2, "X0": 4})
    >>> found["N"], found["X1"], found["M0"]
    (14, 4, 4)
    """
    shapes = dict(given)
    _fixed(program, shapes, [])
    _follow(program, shapes, frozenset(given))
    return shapes


def _follow(program: ir.Program, shapes: dict[str, int], given: frozenset[str]) -> None:
    """Add all shapes that follow from the known ones to ``shapes``, in place."""
    known = -1
    while known != len(shapes):
        known = len(shapes)
        _copy_like(program, shapes, [])
        for rank in program.ranks:
            if rank.partition:
                _family(rank, shapes, [], given)


def _copy_like(program: ir.Program, shapes: dict[str, int], problems: list[Problem]) -> None:
    """Copy shapes between ranks that are declared alike, in place."""
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
    """Add the missing shape of a partitioned rank or its member, in place.

    The result describes the shapes that are still missing.
    """
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


def clip_selections(program: ir.Program, shapes: Mapping[str, int]) -> dict[str, int]:
    """Return smaller shapes for ranks that count more selections than there are candidates.

    Selections beyond the number of candidates are absent, and so is everything computed from them,
    so the smaller rank gives the same results. Ranks that also count something else keep their
    shape.

    Parameters
    ----------
    program : Program
    shapes : mapping of str to int
        Known shapes by rank.

    Returns
    -------
    dict of str to int
        Clipped shapes by rank; empty if there are enough candidates.

    Examples
    --------
    Eight blocks are to be selected out of four.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("mixture-of-block-attention").program
    >>> clip_selections(program, {"N": 4, "J": 8}), clip_selections(program, {"N": 4, "J": 3})
    ({'J': 4}, {})
    """
    found: dict[str, int] = {}
    for einsum in program.einsums:
        if (rank := _selection_rank(program, einsum)) is None:
            continue
        there = shapes.get(program.rank_of_variable[einsum.over[0]])
        wanted = found.get(rank, shapes.get(rank))
        if there is None or wanted is None or wanted <= there:
            continue
        if program.memo(_has_only_selected_elements, rank):
            found[rank] = there
    return found


def _selection_rank(program: ir.Program, einsum: ir.Einsum) -> str | None:
    """Return the rank that counts the entries an Einsum selects, or None if it selects nothing."""
    if einsum.select is None:
        return None
    candidates = ir.variables_of(einsum.expression)
    return next(program.rank_of_variable[v] for v in einsum.target.variables if v not in candidates)


def _has_only_selected_elements(program: ir.Program, rank: str) -> bool:
    """Return whether every element along the rank is selected or computed from selected ones."""
    declared = program.rank_of[rank]
    if declared.partition or declared.family or declared.like or declared.shape is not None:
        return False
    if any(r.like == rank for r in program.ranks) or _shape_is_used(program, rank):
        return False
    if any(rank in ranks for ranks in program.iterative.values()):
        return False
    if any(rank in program.tensor_ranks[t.name] for t in program.inputs):
        return False
    variable, of_selections = declared.variable, set[str]()
    for einsum in program.einsums:
        if variable not in einsum.variables:
            continue
        selects = _selection_rank(program, einsum)
        if selects is None and not any(
            a.tensor in of_selections and _is_at(a, variable)
            for a in ir.unconditional_reads(einsum.expression)
        ):
            return False
        if selects not in (None, rank):
            return False
        if variable in einsum.target.variables:
            if not _is_at(einsum.target, variable):
                return False
            of_selections.add(einsum.name)
    return True


def _is_at(access: ir.Access, variable: str) -> bool:
    return any(isinstance(i, ir.Affine) and i.as_variable == variable for i in access.indices)


def _shape_is_used(program: ir.Program, rank: str) -> bool:
    """Return whether an equation or a domain uses the shape of a rank as a number."""
    parts = [
        *(f.body for f in program.functions),
        *(n for e in program.statements for n in e.roots),
    ]
    return any(d.rank == rank for d in program.domains) or rank in ir.shapes_of(*parts)


def rank_asymmetry(program: ir.Program, rank: str) -> str | None:
    """Return the first part of a cascade that distinguishes coordinates of a rank, or None.

    Coordinates are interchangeable if the rank variable is only a plain index (``Q[p, e]``, or
    ``Q[p1*P0 + p0, e]`` by the members of a partition). The variable may not be reduced, compared
    (``where m <= p``), used as a number (``lam ** p``) or combined in an index (``X[p - m]``).
    Nothing else may depend on the shape of the rank. Then twice the coordinates mean twice the same
    work on the same other operands.

    Parameters
    ----------
    program : Program
    rank : str

    Returns
    -------
    str or None
        A rank or an Einsum as named in messages (``Einsum 'QK'``).
    """
    own = next((r for r in program.ranks if r.name == rank), None)
    members = () if own is None else own.partition
    names = (rank, *members)
    for other in program.ranks:
        if other.like in names:
            return f"rank '{other.name}'"
    for einsum in program.statements:
        if _distinguishes(einsum, rank, members):
            return f"Einsum '{einsum.name}'"
    return None


def _distinguishes(einsum: ir.Einsum, rank: str, members: tuple[str, ...]) -> bool:
    variables = {name.lower() for name in (rank, *members)}
    if variables & {*einsum.over, *ir.variables_of(einsum.where)}:
        return True
    nodes = (node for root in einsum.roots for node in ir.walk(root))
    whole = {name.lower() for name in members}
    return any(_is_not_a_plain_index(node, rank, variables, whole) for node in nodes)


def _is_not_a_plain_index(node: ir.Node, rank: str, variables: set[str], whole: set[str]) -> bool:
    """Return whether a node uses the rank in any way other than as a plain index."""
    match node:
        case ir.Name(name=name):
            return name in variables or name.upper() == rank
        case ir.Affine() if any(rank in term.shapes for term in node.terms):
            return True
        case ir.Affine() if variables.isdisjoint(node.variables):
            return False
        case ir.Affine():
            by_members = set(node.variables) == whole and all(t.variable for t in node.terms)
            return node.as_variable is None and not by_members
        case _:
            return False
