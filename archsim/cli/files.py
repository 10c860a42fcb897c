"""Writers of the files that commands produce."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..writing import OutputFolder, write_whole

if TYPE_CHECKING:
    from ..figure_style import Picture
    from ..result.result import Result

_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


def write_result(
    result: Result, folder: Path, texts: Mapping[str, str] = _NO_TEXTS
) -> tuple[Path, ...]:
    """Write ``result.json``, ``report.md``, pictures and further texts, and return their paths.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    from ..document import to_markdown
    from ..result.report import explain, report

    words = to_markdown(report(result)) + "\n" + to_markdown(explain(result))
    pictures = {
        "waterfall": result.plot_waterfall,
        "time": result.plot_time,
        "utilization": result.plot_utilization,
        "roofline": result.plot_roofline,
        "energy": result.plot_energy,
    }
    with OutputFolder(folder) as out:
        out.text("result.json", _exact(result.to_dict()))
        out.text("report.md", words)
        for name, draw in pictures.items():
            out.file(f"{name}.png", draw().savefig)
        for file, text in texts.items():
            out.text(file, text)
    return out.paths


def write_numbers(
    folder: Path,
    name: str,
    numbers: dict[str, Any],
    picture: Picture,
    texts: Mapping[str, str] = _NO_TEXTS,
) -> tuple[Path, ...]:
    """Write texts by file name, numbers as ``NAME.json``, and their picture as PNG and SVG.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    with OutputFolder(folder) as out:
        for file, text in texts.items():
            out.text(file, text)
        out.text(f"{name}.json", _exact(numbers))
        out.file(f"{name}.png", picture.write)
        out.file(f"{name}.svg", picture.write)
    return out.paths


def _exact(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False)


def write_text(path: Path, text: str) -> Path:
    """Write a text that ends with a newline; see ``write_whole``."""
    return write_whole(path, lambda p: p.write_text(text.rstrip("\n") + "\n", encoding="utf-8"))
