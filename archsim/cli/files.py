"""Writers of the files that commands produce."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..writing import OutputFolder

if TYPE_CHECKING:
    from einsum_cascade.ir import Program

    from ..figure_style import Picture
    from ..result.result import Result


def write_result(result: Result, folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Write ``result.json``, ``report.md``, pictures and further texts, and return their paths.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    from ..document import to_markdown
    from ..result.figures import draw_result
    from ..result.report import explain, report

    words = to_markdown(report(result)) + "\n" + to_markdown(explain(result))
    with OutputFolder(folder) as out:
        out.text("result.json", _exact(result.to_dict()))
        out.text("report.md", words)
        for kind in ("waterfall", "time", "utilization", "roofline", "energy"):
            out.file(f"{kind}.png", draw_result(result, kind).savefig)
        for file, text in texts.items():
            out.text(file, text)
    return out.paths


def write_numbers(
    folder: Path, name: str, numbers: dict[str, Any], picture: Picture, texts: Mapping[str, str]
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


def temporary_cascade(program: Program, text: str) -> Path:
    """Return a file with a cascade's text, named after it; it is removed when the command ends."""
    from tempfile import TemporaryDirectory

    folder = click.get_current_context().with_resource(TemporaryDirectory())
    file = Path(folder) / f"{program.name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def _exact(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False)
