"""Pictures of the documentation with the numbers that they show, so that a test finds stale ones.

The numbers stand in the text of the PNG file itself: a picture and its numbers cannot differ. Each
script ``make_*.py`` has a dictionary ``PICTURES`` of the functions that draw its pictures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import PathCollection
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from archsim.figure_style import Picture, look
from mappers.memory import VARIABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parent
IMAGES = FOLDER / "images"
_KEY = "Numbers"
_DPI = 155
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Drawing = Callable[[], Picture]


def pictures() -> dict[str, Drawing]:
    """Return the function that draws each picture of the documentation, by name."""
    modules = (import_module(path.stem) for path in sorted(FOLDER.glob("make_*.py")))
    return {name: draw for m in modules for name, draw in getattr(m, "PICTURES", {}).items()}


def drawn(draw: Drawing) -> Picture:
    """Return a picture in the style of all pictures."""
    with look():
        return draw()


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
    for group in axes.collections:
        if (colours := group.get_array()) is not None:
            yield _text(colours)
        if isinstance(group, PathCollection):
            yield _text(group.get_offsets())
        elif colours is None and not timed:
            yield _text([path.get_extents().bounds for path in group.get_paths()])
    yield from (note.get_text().strip() for note in axes.texts)


def _text(values: object) -> str:
    return " ".join(f"{n:.6g}" for n in np.asarray(values, dtype=float).ravel())


def recorded(name: str) -> str:
    """Return the numbers in the file of a picture."""
    with Image.open(IMAGES / f"{name}.png") as image:
        return str(image.info[_KEY])


def save(made: Mapping[str, Drawing], names: Iterable[str] = ()) -> None:
    """Write some pictures of the documentation with their numbers, or all.

    No mapping of an earlier search is remembered: each picture shows a whole run.
    """
    os.environ[VARIABLE] = ""
    IMAGES.mkdir(exist_ok=True)
    for name in names or made:
        picture, info = drawn(made[name]), PngInfo()
        info.add_itxt(_KEY, numbers(picture), zip=True)
        picture.savefig(IMAGES / f"{name}.png", dpi=_DPI, pil_kwargs={"pnginfo": info})


def tables(text: str) -> dict[str, str]:
    """Return the tables that a page marks, by name."""
    return {name: table for _, name, table, _ in _BLOCK.findall(text)}


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Return a page with some of its tables replaced."""
    return _BLOCK.sub(lambda b: f"{b[1]}{blocks.get(b[2], b[3])}{b[4]}", text)
