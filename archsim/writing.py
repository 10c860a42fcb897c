"""Files that are there as a whole or not at all: written beside their place, then moved there.

Whatever ends a process half-way (a full disk, Ctrl-C, a kill) leaves what was there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from types import TracebackType
from typing import Self

from einsum_cascade.errors import InputError

Write = Callable[[Path], object]
"""Writes one file at a path that ends as the file's own does."""


class OutputFolder:
    """Files of one folder that belong together: moved into place when all are written.

    With ``make`` the folder is made if it is not there, and those it lies in.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as place:
    ...     with OutputFolder(Path(place) / "made") as out:
    ...         out.text("report.md", "done")
    ...     [path.read_text() for path in out.paths]
    ['done\\n']
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        self.folder = folder
        self._make = make
        self._beside: list[tuple[Path, Path]] = []

    @property
    def paths(self) -> tuple[Path, ...]:
        """What was written, in this order."""
        return tuple(path for path, _ in self._beside)

    def text(self, name: str, text: str) -> None:
        """Write a text that ends with a newline.

        Raises
        ------
        InputError
            As ``file``.
        """
        whole = text.rstrip("\n") + "\n"
        self.file(name, lambda path: path.write_text(whole, encoding="utf-8"))

    def file(self, name: str, write: Write) -> None:
        """Write one file beside its place.

        Raises
        ------
        InputError
            It cannot be written; says why.
        """
        path = self.folder / name
        with _WriteProblems(path):
            if self._make:
                self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = _beside(path)
            self._beside.append((path, unfinished))
            write(unfinished)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for path, unfinished in self._beside:
                    with _WriteProblems(path):
                        _moved(unfinished, path)
        finally:
            for path, unfinished in self._beside:
                if unfinished != path:
                    with suppress(OSError):
                        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, write: Write) -> Path:
    """Write one file, in a folder that is there.

    Raises
    ------
    InputError
        It cannot be written; says why.
    """
    with OutputFolder(path.parent, make=False) as out:
        out.file(path.name, write)
    return path


class _WriteProblems:
    """What the system says of a path, as a mistake of who gave it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            reason = (error.strerror or "it failed").lower()
            raise InputError(f"cannot write {self._path}: {reason}") from None


def _beside(path: Path) -> Path:
    """Where a file is written before it is moved; itself, where nothing can be moved there.

    A device or a pipe is written as it is, and so is a file of a folder that takes no other.
    """
    try:
        is_file = S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_file = True
    place = path.resolve()
    if not is_file or (place.exists() and not os.access(place.parent, os.W_OK)):
        return path
    # A picture's kind is told by how its name ends; a name as long as can be has no room.
    return place.with_name(f".{place.stem[:100]}.{os.getpid()}.part{place.suffix}")


def _moved(unfinished: Path, path: Path) -> None:
    if unfinished == path:
        return
    place = path.resolve()
    with suppress(FileNotFoundError):
        unfinished.chmod(S_IMODE(place.stat().st_mode))
    unfinished.replace(place)
