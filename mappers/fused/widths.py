"""How long the parts of ranks are that a cascade cuts itself, where nobody says it."""

from __future__ import annotations

from collections.abc import Iterator

from archsim.spec.arch import Architecture
from archsim.spec.mapping import Tile
from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Program

from ..space.array_tiles import family_tiles

_WIDTHS = (None, 128, 64, 32, 16)
"""As wide as an array, or shorter where all pairs of a part would not fit, or leave more to do."""

SHORT = (8, 4, 2, 1)
"""More where values run from part to part: the fewer pairs a part has, the less there is to do, and
heads beside one another fill the arrays."""


def widths_of(program: Program) -> Iterator[tuple[int | None, str]]:
    """Lengths of parts, None for as long as an array is wide, and the rank whose parts are twice as
    long, if any are.

    Of two ranks that a cascade cuts one may have what the other leaves it room for: beside 128
    queries an SM has room for the gradients of 64 keys, but not of 128.

    Parameters
    ----------
    program : Program
    """
    cut = [r for r in program.ranks if r.partition]
    each_alone = len(cut) > 1 and not any(r.like for r in cut)
    for width in (*_WIDTHS, *SHORT):
        yield width, ""
        if each_alone and width is not None and width not in SHORT:
            yield from ((width, r.name) for r in cut)


def parts_in_widths(
    program: Program, given: dict[str, int], architecture: Architecture
) -> Iterator[tuple[int | None, tuple[Tile, ...], dict[str, int]]]:
    """By length the tiles of such parts, and all shapes; lengths that make the same parts once.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    """
    seen: list[dict[str, int]] = []
    for width, longer in widths_of(program):
        try:
            tiles, shapes = family_tiles(program, architecture, given, width, longer)
        except SpecError:
            if not seen:
                raise
            continue
        if shapes in seen:
            continue
        seen.append(dict(shapes))
        shapes |= {m: min(shapes[m], shapes[r.name]) for r in program.ranks for m in r.partition}
        yield width, tuple(tiles), shapes
