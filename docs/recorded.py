"""Pictures of the documentation with the numbers that they show, so that a test finds stale ones.

The numbers stand in the text of the PNG file itself: a picture and its numbers cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from archsim.figure_style import Picture

IMAGES = Path(__file__).parent / "images"
_KEY = "Numbers"


def numbers(picture: Picture) -> str:
    """Return the numbers that a picture shows: a line of text for each curve, bar and map.

    Seconds of a search depend on the machine that searches: only the ends of its curves count.
    """
    return "\n".join(line for axes in picture.axes for line in _numbers_of(axes))


def _numbers_of(axes: Axes) -> Iterator[str]:
    timed = "seconds of the search" in axes.get_xlabel()
    for curve in axes.lines:
        yield _text(np.asarray(curve.get_ydata())[[0, -1]] if timed else curve.get_xydata())
    for patch in axes.patches:
        yield _text(patch.get_path().get_extents(patch.get_patch_transform()).bounds)
    for mesh in axes.collections:
        if (colours := mesh.get_array()) is not None:
            yield _text(colours)
    yield from (note.get_text().strip() for note in axes.texts)


def _text(values: object) -> str:
    return " ".join(f"{n:.6g}" for n in np.asarray(values, dtype=float).ravel())


def recorded(name: str) -> str:
    """Return the numbers in the file of a picture."""
    with Image.open(IMAGES / f"{name}.png") as image:
        return str(image.info[_KEY])


def save(picture: Picture, name: str, dpi: int = 100) -> None:
    """Write a picture of the documentation with its numbers."""
    IMAGES.mkdir(exist_ok=True)
    picture.savefig(IMAGES / f"{name}.png", dpi=dpi, metadata={_KEY: numbers(picture)})
