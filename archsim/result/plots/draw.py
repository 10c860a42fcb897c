"""A picture of a result by its kind, at the width of a paper's column or page.

This module imports matplotlib: load it only to draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .latency import plot_capacity, plot_waterfall
from .roofline import plot_roofline
from .shares import plot_breakdown
from .style import Picture, look

if TYPE_CHECKING:
    from ..record import Result, ResultPicture

_DRAWING = {
    "roofline": plot_roofline,
    "waterfall": plot_waterfall,
    "breakdown": plot_breakdown,
    "capacity": plot_capacity,
}


def draw_result(result: Result, kind: ResultPicture, width_in: float) -> Picture:
    """The picture of a kind.

    Raises
    ------
    InputError
        The result lacks what it shows: it was made by hand.
    """
    with look():
        return _DRAWING[kind](result, width_in)
