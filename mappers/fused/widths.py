"""How long the parts of ranks are that a cascade cuts itself, where nobody says it."""

from __future__ import annotations

from collections.abc import Iterator

from einsum_cascade.ir import Program

_WIDTHS = (None, 64, 16)
"""As wide as an array, or shorter where all pairs of a part would not fit."""

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
