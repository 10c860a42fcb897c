"""What ``--out DIR`` writes: the exact result, the report, and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError

if TYPE_CHECKING:
    from archsim.results import Result


def write_result(result: Result, folder: Path) -> tuple[Path, ...]:
    """Write ``result.json``, ``report.md`` and four pictures; returns what was written.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """
    check_folder(folder)
    from archsim.showing.document import to_markdown
    from archsim.showing.report import explain, report

    exact = json.dumps(result.to_dict(), indent=2, allow_nan=False)
    words = to_markdown(report(result)) + "\n" + to_markdown(explain(result))
    pictures = {
        "waterfall": result.plot_waterfall,
        "utilization": result.plot_utilization,
        "roofline": result.plot_roofline,
        "energy": result.plot_energy,
    }
    return (
        write_text(folder / "result.json", exact),
        write_text(folder / "report.md", words),
        *(write_file(folder / f"{name}.png", draw().savefig) for name, draw in pictures.items()),
    )


def check_folder(folder: Path) -> None:
    """Refuse to write into something else than a folder, or a place for one.

    Raises
    ------
    InputError
        It is there and no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write into {folder}: it is not a folder")


def write_text(path: Path, text: str) -> Path:
    """Write a text that ends with a newline; see ``write_file``."""
    return write_file(path, lambda p: p.write_text(text.rstrip("\n") + "\n", encoding="utf-8"))


def write_file(path: Path, write: Callable[[Path], object]) -> Path:
    """Make the folder, write one file, and return its path.

    Raises
    ------
    InputError
        The file cannot be written; says why.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as wrong:
        reason = (wrong.strerror or "it failed").lower()
        raise InputError(f"cannot write {path}: {reason}") from None
    return path
