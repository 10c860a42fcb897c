"""Which tiles a mask makes an Einsum leave out, where another comes for what it has brought."""

from __future__ import annotations

from dataclasses import replace

from einsum_cascade.errors import MappingError

from ..space.access_map import AccessMap
from ..space.banded import one
from ..space.bands import Window
from ..space.iteration import Loop
from ..space.nest import LoopNest
from .record import BoundEinsum


def brings_all(given: tuple[BoundEinsum, AccessMap], taker: BoundEinsum, level: int) -> bool:
    """Whether an Einsum leaves out no tile that another comes for.

    What is left out without need, or a proof that takes too long, counts as left out: the other
    fetches all of its tiles then, so that no traffic is forgotten.

    Parameters
    ----------
    given : tuple of (BoundEinsum, AccessMap)
        Who brings tiles, and its access.
    taker : BoundEinsum
        It goes along the loops that step through them together with who brings them.
    level : int
        Index of the memory that holds the tiles.
    """
    giver, access_map = given
    window = giver.window
    if window is None:
        return True
    loops = giver.stepping(access_map, level)
    return _leaves_out_more(taker, window, loops) or _leaves_out_none(giver, window, loops)


def _leaves_out_more(taker: BoundEinsum, window: Window, loops: tuple[Loop, ...]) -> bool:
    """Whether an Einsum leaves out all iterations of some loops that a window does."""
    if (other := taker.window) is None:
        return False
    members = {x.member for x in loops}
    mine = tuple(x for x in taker.shared if x.member in members)
    if _cut(window, loops) != _cut(other, mine):
        return False
    box, inner = window.box.trimmed(), other.box.trimmed()
    return box.low <= inner.low and inner.high <= box.high


def _cut(window: Window, loops: tuple[Loop, ...]) -> tuple[object, ...]:
    """Lengths of the two ranks of a band, and how some loops cut them."""
    sides = [(x, side) for x in loops if (side := window.side(x.axis)) is not None]
    cuts = tuple((x.member, plus, x.stride * scale) for x, (plus, scale) in sides)
    return window.box.plus, window.box.minus, cuts


def _leaves_out_none(e: BoundEinsum, window: Window, loops: tuple[Loop, ...]) -> bool:
    """Whether every iteration of some loops holds a point."""
    if window.box.empty:
        return False
    everything = LoopNest(loops=loops, extents=e.extents)
    left = replace(everything, window=replace(window, governed=len(loops)))
    moved = (True,) * len(loops)
    try:
        return left.delivered(moved, one) == everything.delivered(moved, one)
    except MappingError:
        # Its tiles repeat too seldom to be counted.
        return False
