"""Arrays that can run an Einsum, and default tile sizes derived from array dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations
from math import inf, isqrt

from archsim.nest.roles import missing_operations
from archsim.spec.arch import Architecture, ProcessingArray
from archsim.spec.mapping import Tile
from einsum_cascade.errors import MappingError, SpecError
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.operations import einsum_operations
from einsum_cascade.shapes import derived_shapes, resolve_shapes


def arrays_of(
    program: Program, einsum: Einsum, architecture: Architecture
) -> tuple[ProcessingArray, ...]:
    """Return the arrays that can do all operations of an Einsum, in the order of the machine.

    Raises
    ------
    MappingError
        No array can; names every operation that the cascade lacks.
    """
    kinds = [kind for kind, _ in einsum_operations(program, einsum)]
    able = architecture.arrays_for(kinds)
    if not able:
        missing = missing_operations([("", program)], architecture, einsum.span)
        assert missing is not None, "the Einsum is one of the cascade"
        raise MappingError(missing)
    return able


def sides_of(architecture: Architecture) -> tuple[int, ...]:
    """Return the sizes of all array dimensions, ascending, each once and without 1."""
    return tuple(sorted({d.size for a in architecture.arrays for d in a.dimensions} - {1}))


def planes_of(architecture: Architecture) -> tuple[tuple[int, int], ...]:
    """Return the sizes of any two dimensions of an array, in both orders."""
    pairs = (pair for a in architecture.arrays for pair in permutations(a.dimensions, 2))
    return tuple(dict.fromkeys((x.size, y.size) for x, y in pairs if min(x.size, y.size) > 1))


def array_strides(architecture: Architecture) -> tuple[int, ...]:
    """Return tile sizes that fit the machine's array dimensions, each a multiple of the one before.

    Returns
    -------
    tuple of int
        In elements, ascending, without 1. A dimension that is not a multiple of the next smaller
        one is left partly idle: nested tiles have to divide one another.

    Examples
    --------
    The 2D array of ``flat`` is as wide as its vector unit. With dimensions of 12 and 100 the larger
    takes 8 tiles of the smaller, 96 coordinates:

    >>> from dataclasses import replace
    >>> machine = Architecture.load("flat")
    >>> array_strides(machine)
    (256,)
    >>> array = machine.arrays[0]
    >>> sides = [replace(d, size=n) for d, n in zip(array.dimensions, (12, 100), strict=True)]
    >>> array_strides(replace(machine, arrays=(replace(array, dimensions=tuple(sides)),)))
    (12, 96)
    """
    return nested_strides(sides_of(architecture))


def nested_strides(
    sides: Iterable[int], *, inner: tuple[int, ...] = (), size: float = inf
) -> tuple[int, ...]:
    """Return tile sizes that fit array dimensions, each a multiple of the one before.

    Parameters
    ----------
    sides : iterable of int
        Sizes of array dimensions, ascending.
    inner : tuple of int
        Strides to begin with.
    size : int, optional
        Elements of a rank; the last stride is at most the whole rank.

    Examples
    --------
    >>> nested_strides((12, 100)), nested_strides((128,), inner=(1, 50))
    ((12, 96), (1, 50, 100))
    >>> nested_strides((8, 16), size=5)
    (5,)
    """
    strides = [*inner]
    for side in sides:
        below = strides[-1] if strides else 1
        stride = int(min(size, side // below * below))
        if stride > below:
            strides.append(stride)
    return tuple(strides)


def family_tiles(
    program: Program,
    architecture: Architecture,
    given: Mapping[str, int],
    width: int | None = None,
    longer: str = "",
) -> tuple[tuple[Tile, ...], dict[str, int]]:
    """Return tiles for ranks that the cascade itself cuts, and the sizes of all ranks.

    The innermost member is as long as ``width``, or as the widest array dimension. Of three
    members, the two outer ones have about the same number of iterations. Given sizes stay as they
    are.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping of str to int
        Shapes in elements, by rank.
    width : int, optional
        Coordinates of innermost parts.
    longer : str
        The rank whose innermost part is twice as long; by default none.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    """
    ranks = {*program.parallel, *(r.name for r in program.ranks)}
    known = {rank: size for rank, size in given.items() if rank in ranks}
    widest = width or max(sides_of(architecture), default=1)
    tiles: list[Tile] = []
    derived = derived_shapes(program, known)
    for rank in program.ranks:
        size = derived.get(rank.name, derived.get(rank.like or "", 0))
        if not size or any(m in derived for m in rank.partition):
            continue
        for member in reversed(rank.partition[1:]):
            long = 2 * widest if rank.name == longer else widest
            chosen = min(size, long) if member == rank.partition[-1] else isqrt(size)
            size = -(-size // chosen)
            tiles.append(Tile(rank=rank.name, member=member, size=chosen))
    fixed = known | {t.member: t.size for t in tiles if isinstance(t.size, int)}
    shapes = resolve_shapes(program, fixed, SpecError)
    if missing := [f"'{r}'" for r in program.parallel if r not in shapes]:
        what = "shapes are" if len(missing) > 1 else "shape is"
        raise SpecError(f"{what} missing: {', '.join(missing)}")
    return tuple(tiles), shapes


def decided_by(program: Program, tiles: Iterable[Tile]) -> frozenset[str]:
    """Return the ranks whose sizes follow from tiles.

    These are the members of cut ranks, and ranks that are declared to be like a member.

    Examples
    --------
    In chunked SSD the keys of a chunk, M0, are as many as its queries:

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("ssd-chunked-prefill").program
    >>> sorted(decided_by(program, [Tile(rank="P", member="P0", size=128)]))
    ['M0', 'P0', 'P1']
    """
    members = {tile.member for tile in tiles}
    found = members | {
        m for r in program.ranks for m in r.partition[:1] if {*r.partition} & members
    }
    return frozenset(found | {r.name for r in program.ranks if r.like in found})


def outer_parts_first(program: Program, ranks: Iterable[str]) -> list[str]:
    """Return ranks in the given order, but outer members of a partitioned rank before inner ones.

    Parameters
    ----------
    ranks : iterable of str
        Some of the program's ranks; only parts of the same rank change places.

    Examples
    --------
    Where a cascade cuts M into M1 and M0, a loop over M0 is inside of one over M1:

    >>> from einsum_cascade import Cascade
    >>> outer_parts_first(Cascade.load("attention-1pass").program, ("M0", "P", "M1"))
    ['M1', 'P', 'M0']
    """
    found = list(ranks)
    for rank in program.ranks:
        present = [m for m in rank.partition if m in found]
        if len(present) < 2:
            continue
        places = sorted(found.index(m) for m in present)
        for place, member in zip(places, present, strict=True):
            found[place] = member
    return found
