"""Files of one folder that belong together, and single ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISREG
from types import TracebackType
from typing import Self

from einsum_cascade.errors import InputError

from .exchange import move_together
from .stage import Stage

Write = Callable[[Path], object]
"""Writes one file at a path that ends as the file's own does."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """A file that is written: where it belongs, and where it is until then."""

    path: Path
    now: Path


class OutputFolder:
    """Files of one folder that belong together: moved into place when all are written.

    With ``make`` the folder is made if it is not there, and those it lies in. A folder that is
    there is exchanged with one that has the new files beside all others, in one step, where the
    system can do so (``move_together``): else each file by itself.

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
        self._written: list[_Staged] = []
        self._together: Stage | None = None
        self._stages: list[Stage] = []

    @property
    def paths(self) -> tuple[Path, ...]:
        """What was written, in this order."""
        return tuple(staged.path for staged in self._written)

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
                self.folder.parent.mkdir(parents=True, exist_ok=True)
            now = path if _stays_in_place(path) else self._stage_of(path).folder / path.name
            self._written.append(_Staged(path, now))
            write(now)

    def _stage_of(self, path: Path) -> Stage:
        """Where a file is written that can be moved: with the others of the folder, unless it is
        one by itself, or a link to a file that lies elsewhere."""
        if not self._make or path.is_symlink():
            return self._opened(Stage(path.resolve()))
        if self._together is None:
            place = self.folder.resolve()
            try:
                self._together = self._opened(Stage(place))
            except OSError:
                # What it lies in takes no other folder: it may itself.
                place.mkdir(exist_ok=True)
                self._together = self._opened(Stage(place / place.name))
        return self._together

    def _opened(self, stage: Stage) -> Stage:
        self._stages.append(stage)
        return stage

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
                self._move()
        finally:
            for stage in self._stages:
                stage.close()

    def _move(self) -> None:
        together: list[_Staged] = []
        for staged in self._written:
            with _WriteProblems(staged.path):
                with suppress(FileNotFoundError):
                    staged.now.chmod(S_IMODE(staged.path.stat().st_mode))
                if self._together is not None and staged.now.parent == self._together.folder:
                    together.append(staged)
                elif staged.now != staged.path:
                    staged.now.replace(staged.path.resolve())
        if together and self._together is not None:
            with _WriteProblems(self.folder):
                move_together(self._together.folder, self.folder.resolve())


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


def _stays_in_place(path: Path) -> bool:
    """Whether a file is written where it is, as nothing can be moved there: a device or a pipe,
    or a file of a folder that takes no other."""
    try:
        is_file = S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
    return not is_file or not os.access(path.resolve().parent, os.W_OK)
