"""What the second memory has to hold under shared loops, whatever Einsums do inside of them.

Loops are tried by the hundred, and most leave no room: that is told from the sizes of tiles, before
any Einsum is laid out.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

from einsum_cascade.ir import Access, Affine, Program

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
        counted, nor along which indices it is not told at once how many elements there are.
    """
    program, tiles = site.program, dict[str, int]()
    touched = program.once(_touched)
    for e in program.einsums:
        around = plan.around(site, e)
        if plan.is_alone(around):
            continue
        shapes = InnerSite.of(site, around).shapes
        for tensor, ranks in touched[e.name]:
            size = prod([shapes[r] for r in ranks])
            tiles[tensor] = max(size, tiles.get(tensor, 0))
    words = sum(size * site.words.of(tensor) for tensor, size in tiles.items())
    return words * site.architecture.word_bytes


def _touched(program: Program) -> dict[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Of each Einsum the tensors that it touches, with ranks of which each coordinate is another
    element that is held."""
    return {
        e.name: tuple((a.tensor, _ranks(program, a)) for a in dict.fromkeys((*e.reads, e.target)))
        for e in program.einsums
    }


def _ranks(program: Program, access: Access) -> tuple[str, ...]:
    names = [i.as_variable if isinstance(i, Affine) else None for i in access.indices]
    others = [i for i, name in zip(access.indices, names, strict=True) if name is None]
    moved = {v for i in others for v in (i.variables if isinstance(i, Affine) else ())}
    if any(not isinstance(i, Affine) for i in others):
        return ()  # picks: neighbours may be the same
    running = program.iterative.get(access.tensor, ())  # of which one copy is held
    plain = (n.upper() for n in dict.fromkeys(names) if n is not None and n not in moved)
    return tuple(dict.fromkeys((*program.parallel, *(r for r in plain if r not in running))))
