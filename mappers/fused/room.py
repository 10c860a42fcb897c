"""What the second memory has to hold under shared loops, whatever Einsums do inside of them.

Loops are tried by the hundred, and most leave no room: that is told from the sizes of tiles, before
any Einsum is laid out.
"""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from einsum_cascade.ir import Access, Affine, Gather, Program

from ..picked import picked_in
from ..sites import Site
from .inner import InnerSite
from .plans import SharedLoops


def has_no_room(site: Site, plan: SharedLoops) -> bool:
    """Whether the second memory cannot hold the tiles of loops all of which are outside of it:
    under fewer loops tiles are larger. False where that is not told so soon."""
    architecture = site.architecture
    second = architecture.memories[1]
    if second.capacity_bytes is None or second.ring or not architecture.tree.is_line:
        return False
    return least_bytes(site, plan) > second.capacity_bytes


def least_bytes(site: Site, plan: SharedLoops) -> Fraction | int:
    """Bytes of the tiles in the second memory with all shared loops outside of it, at the least.

    Parameters
    ----------
    site : Site
        With its ranks cut.
    plan : SharedLoops
        Loops over them. What Einsums read that go through the outermost memory by themselves is not
        counted, nor along which indices it is not told at once how many elements there are. Of what
        is picked there are as many as picks, or as positions.
    """
    program, tiles = site.program, dict[str, Fraction | int]()
    touched = program.memo(_touched)
    for e in program.einsums:
        around = plan.around(site, e)
        if plan.is_alone(around):
            continue
        shapes = InnerSite.of(site, around).shapes
        for tile in touched[e.name]:
            size = prod([shapes[r] for r in tile.ranks])
            if tile.picked is not None:
                size *= _elements(site, tile.picked, tile.beside, shapes)
            tiles[tile.tensor] = max(size, tiles.get(tile.tensor, 0))
    words = sum(size * site.words.of(tensor) for tensor, size in tiles.items())
    return words * site.architecture.word_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _TouchedTile:
    """What an Einsum touches of a tensor."""

    tensor: str
    ranks: tuple[str, ...]
    """Each coordinate of them is another element that is held."""
    picked: Access | None = None
    """The access, where it picks along one index."""
    beside: tuple[str, ...] = ()
    """What is touched at each position that it picks: of K[I[j]*T + t] the T."""


def _elements(site: Site, access: Access, beside: tuple[str, ...], shapes: Sizes[str, int]) -> int:
    """Elements along the index that picks: as many as there are picks, or as positions."""
    found = picked_in(site.program, site.shapes, access, shapes)
    (number,) = (n for n, i in enumerate(access.indices) if isinstance(i, Gather))
    length = site.shapes[site.program.tensor_ranks[access.tensor][number]]
    at_each = prod(shapes[r] for r in beside)
    return min(length, min(found.picks, found.positions) * at_each)


def _touched(program: Program) -> dict[str, tuple[_TouchedTile, ...]]:
    """Of each Einsum the tensors that it touches."""
    return {
        e.name: tuple(_tile(program, a) for a in dict.fromkeys((*e.reads, e.target)))
        for e in program.einsums
    }


def _tile(program: Program, access: Access) -> _TouchedTile:
    others = [i for i in access.indices if isinstance(i, Affine)]
    names = [i.as_variable for i in others]
    moved = {v for i, name in zip(others, names, strict=True) if name is None for v in i.variables}
    running = program.iterative.get(access.tensor, ())  # of which one copy is held
    picking = [i for i in access.indices if isinstance(i, Gather)]
    if picking and (moved or running or len(picking) > 1 or not _one_by_one(picking[0])):
        return _TouchedTile(tensor=access.tensor, ranks=())  # neighbours may be the same
    plain = (n.upper() for n in dict.fromkeys(names) if n is not None and n not in moved)
    ranks = dict.fromkeys((*program.parallel, *(r for r in plain if r not in running)))
    if not picking:
        return _TouchedTile(tensor=access.tensor, ranks=tuple(ranks))
    beside = tuple(v.upper() for v in picking[0].offset.variables)
    moving = tuple(v.upper() for v in picking[0].variables if v.upper() not in ranks)
    if not {*beside} <= {*moving} or _cut_twice(program, (*ranks, *moving)):
        return _TouchedTile(tensor=access.tensor, ranks=())
    return _TouchedTile(tensor=access.tensor, ranks=tuple(ranks), picked=access, beside=beside)


def _one_by_one(index: Gather) -> bool:
    """Whether each coordinate of what moves a pick is another pick, and what is beside it is one
    run of a rank."""
    inner = [i.as_variable if isinstance(i, Affine) else None for i in index.access.indices]
    beside = [t.variable for t in index.offset.terms if t.variable]
    names = [n.upper() for n in (*inner, *beside) if n is not None]
    return (
        None not in inner
        and len(beside) < 2
        and all(t.coefficient == 1 and not t.shapes for t in index.offset.terms)
        and len({*names}) == len(names)
        and not {*beside} & {*inner}
    )


def _cut_twice(program: Program, ranks: tuple[str, ...]) -> bool:
    """Whether two of these are parts of one rank, of which the last may be short."""
    wholes = [program.rank_of[r].family or r for r in ranks if r in program.rank_of]
    return len({*wholes}) < len(wholes)
