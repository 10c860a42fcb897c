"""Output places of commands, and the files of ``simulate --out DIR``.

A folder (``--out DIR``) is created with its parents; a file (``--trace FILE``, ``rewrite --out
FILE``) goes into an existing folder. Both are checked before the work begins.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING

import click

from einsum_cascade.errors import InputError

from ..writing import OutputFolder, write_whole

if TYPE_CHECKING:
    from ..result.result import Result


def write_result(result: Result, folder: Path) -> tuple[Path, ...]:
    """Write ``result.json``, ``report.md`` and pictures, and return their paths.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    from ..document import to_markdown
    from ..result.report import explain, report

    exact = json.dumps(result.to_dict(), indent=2, allow_nan=False)
    words = to_markdown(report(result)) + "\n" + to_markdown(explain(result))
    pictures = {
        "waterfall": result.plot_waterfall,
        "time": result.plot_time,
        "utilization": result.plot_utilization,
        "roofline": result.plot_roofline,
        "energy": result.plot_energy,
    }
    with OutputFolder(folder) as out:
        out.text("result.json", exact)
        out.text("report.md", words)
        for name, draw in pictures.items():
            out.file(f"{name}.png", draw().savefig)
    return out.paths


class NamedPath(click.ParamType[Path]):
    """Path with a name: an empty path does not mean the working folder."""

    name = "path"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path."""
        if isinstance(value, str) and not value.strip():
            self.fail("the name is empty; the working folder is '.'", param, ctx)
        return Path(value)


def check_folder(folder: Path) -> None:
    """Refuse an output folder that exists as a file, or lies in one.

    Raises
    ------
    InputError
        The path, or a folder it lies in, exists and is no folder.
    """
    for place in (folder, *folder.parents):
        if (is_folder := _is_folder(place)) is not None:
            if is_folder:
                return
            what = "it" if place == folder else place
            raise InputError(f"cannot write into {folder}: {what} is not a folder")


def check_file(path: Path) -> None:
    """Refuse an output file in a missing folder, or in place of a folder.

    Raises
    ------
    InputError
        The path is a folder, or its folder does not exist.
    """
    if _is_folder(path):
        raise InputError(f"cannot write {path}: it is a folder")
    if not (there := _is_folder(path.parent)):
        what = "not there" if there is None else "not a folder"
        raise InputError(f"cannot write {path}: the folder {path.parent} is {what}")


def _is_folder(path: Path) -> bool | None:
    """Return whether a path is a folder; None if nothing exists there.

    Raises
    ------
    InputError
        No system takes such a path.
    """
    try:
        return S_ISDIR(path.stat().st_mode)
    except OSError as wrong:
        if wrong.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"cannot write {path}: {(wrong.strerror or '').lower()}") from None
        return None


def write_text(path: Path, text: str) -> Path:
    """Write a text that ends with a newline; see ``write_whole``."""
    return write_whole(path, lambda p: p.write_text(text.rstrip("\n") + "\n", encoding="utf-8"))
