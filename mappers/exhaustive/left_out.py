"""What masks leave of the tiles of open sizes, as estimates go.

A band between two ranks leaves out the tiles that it does not touch: the finer loops cut the two
ranks, the more. Of what comes under some loops it leaves the share of their tiles that it touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from archsim.bound.record import BoundEinsum
from archsim.space.bands import Window
from archsim.space.iteration import Loop

from .kernels.arrays import Floats, Ints
from .kernels.touched import touched_shares

FIXED = -1
"""The member of a loop whose stride is the same in all tilings."""


class OpenSide(NamedTuple):
    """Tiles of one rank of a band: of ``unit * min(stride of the member, limit)`` elements, or of
    ``unit`` where the member is ``FIXED``."""

    elements: int
    """Of all the rank."""
    member: int
    unit: int
    limit: int


class OpenBand(NamedTuple):
    """A band between two ranks that are cut into tiles of open sizes: x - y is from ``low`` to
    ``high``."""

    low: int
    high: int
    plus: OpenSide
    minus: OpenSide
    least: tuple[int, int] | None = None
    """What it is drawn together to, where tiles are whole blocks of a mask of blocks (``low`` and
    ``high`` are those of single elements); None: it stays."""


Opened = tuple[int, int, int]
"""A loop's member, unit and limit, as an ``OpenLoop`` has them."""


class LeftOut:
    """The windows of the Einsums of a subspace, whatever the ways of these.

    Parameters
    ----------
    windows : mapping of str to Window
        By the names of Einsums.
    least : mapping of str to Window
        The same for tiles that are whole blocks of a mask of blocks.
    """

    def __init__(self, windows: Mapping[str, Window], least: Mapping[str, Window]) -> None:
        self._windows = windows
        self._least = least

    def __bool__(self) -> bool:
        return bool(self._windows)

    def governed(self, e: BoundEinsum, loops: Sequence[Loop]) -> int:
        """How many of some of its loops, from the outermost, leave out what is empty: where an
        Einsum has no mask itself, those that make a step."""
        if e.name not in self._windows:
            return 0
        return len(loops) if e.einsum.where is not None else sum(x in e.shared for x in loops)

    def key(self, e: BoundEinsum) -> tuple[object, ...]:
        """What decides which tiles are left out, beside an Einsum's loops."""
        if e.name not in self._windows:
            return ()
        shared = () if e.einsum.where is not None else tuple(x.member for x in e.shared)
        return (self._windows[e.name].box, shared)

    def band(self, e: BoundEinsum, loops: Sequence[tuple[int, Opened]]) -> OpenBand | None:
        """What is left under some loops; None: all.

        Parameters
        ----------
        loops : sequence of (int, (int, int, int))
            Axes of the loops that leave tiles out, outermost first, and what is open of them.
        """
        window = self._windows.get(e.name)
        if window is None:
            return None
        box = window.box
        strides: dict[int | None, Opened] = dict(loops)
        plus = _side(box.plus, window.plus_scale, strides.get(window.plus))
        minus = _side(box.minus, window.minus_scale, strides.get(window.minus))
        if plus.unit >= box.plus and minus.unit >= box.minus:
            return None
        low, high = max(box.low, -box.minus), min(box.high, box.plus)
        least = self._least[e.name].box if e.name in self._least else box
        drawn = (max(low, least.low), min(high, least.high))
        together = drawn if drawn[0] <= drawn[1] and drawn != (low, high) else None
        return OpenBand(low, high, plus, minus, together)


def _side(elements: int, scale: int, stride: Opened | None) -> OpenSide:
    if stride is None:
        return OpenSide(elements, FIXED, elements, 0)
    member, unit, limit = stride
    return OpenSide(elements, member, unit * scale, limit)


def shares_left(bands: Sequence[OpenBand], strides: Ints) -> Floats:
    """The shares of tiles that bands touch.

    Parameters
    ----------
    bands : sequence of OpenBand
    strides : array of int64, (tilings, members)

    Returns
    -------
    array of float64, (tilings, bands)
    """
    found = np.empty((strides.shape[0], len(bands)))
    rows = [(b.low, b.high, *b.plus, *b.minus, *(b.least or (b.low, b.high))) for b in bands]
    table = np.array(rows, dtype=np.int64).reshape(-1, 12)
    touched_shares(table, np.ascontiguousarray(strides), found)
    return found
