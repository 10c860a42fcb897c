"""Atomic file output: files are written in a staging folder and then moved into place.

After a failure (a full disk, Ctrl-C, a kill) the earlier files are still in place.
"""

from __future__ import annotations

import csv
import ctypes
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache, partial
from io import StringIO
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, Self, TextIO

from einsum_cascade.errors import InputError

from .locks import wait_for

Write = Callable[[Path], object]
"""Function that writes one file at a path with the file's own suffix."""


class OutputFolder:
    """Files of one folder that belong together: they are moved when all are written.

    A link, a device or a pipe in the folder is replaced by the file of its name, and never opened.

    With ``make`` the folder is created with its parents. An existing folder is exchanged in one
    step with a folder that holds the new files and links to the others, if the system can do so
    (``move_together``). Otherwise each file is moved by itself.

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
        self._written: dict[Path, Path] = {}
        """Present place of each file by its destination."""
        self._together: Stage | None = None
        self._stages = ExitStack()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Destinations of the files written, in this order."""
        return tuple(self._written)

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
        """Write one file in the stage.

        Raises
        ------
        InputError
            The file cannot be written; gives the reason.
        """
        path = self.folder / name
        with _write_problems(path):
            if self._make:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
            now = path if _stays_in_place(path) else self._stage_of(path).folder / name
            self._written[path] = now
            write(now)

    def _stage_of(self, path: Path) -> Stage:
        """Return a place for a file that can be moved: in the folder's stage, unless the file
        stands alone."""
        if not self._make:
            return self._stages.enter_context(closing(Stage(path)))
        if self._together is None:
            place = self.folder.resolve()
            try:
                stage = Stage(place)
            except OSError:
                # The parent folder cannot be written, but the folder itself may be.
                place.mkdir(exist_ok=True)
                stage = Stage(place / place.name)
            self._together = self._stages.enter_context(closing(stage))
        return self._together

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stages:
            if kind is None:
                self._move()

    def _move(self) -> None:
        together = self._together and self._together.folder
        for path, now in self._written.items():
            with _write_problems(path):
                if _is_regular(path):
                    now.chmod(path.stat().st_mode & 0o777)
                if now != path and now.parent != together:
                    now.replace(path)
        if together:
            with _write_problems(self.folder):
                move_together(together, self.folder.resolve())


Cell = str | float | None
"""Value of a cell in a table of comma-separated text."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that a spreadsheet runs as formulas (OWASP, CSV injection)."""


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> str:
    """Return rows as comma-separated text: see ``write_csv``."""
    stream = StringIO()
    write_csv(stream, columns, rows)
    return stream.getvalue()


def write_csv(stream: TextIO, columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> None:
    """Write rows as comma-separated text.

    Floats have their shortest exact form, and None is an empty cell. A text that a spreadsheet
    would run as a formula begins with an apostrophe.
    """
    writer = csv.writer(stream, lineterminator="\n")
    for row in chain((columns,), rows):
        writer.writerow([_no_formula(cell) for cell in row])


def _no_formula(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def write_whole(path: Path, write: Write, *, named: bool = True) -> Path:
    """Write one file into an existing folder.

    Parameters
    ----------
    named : bool
        True if a user names the file: a link is followed, and a device or a pipe is written.

    Raises
    ------
    InputError
        The file cannot be written; gives the reason.
    """
    with _write_problems(path), ExitStack() as reader:
        if named and path.exists() and not (path.is_file() or path.is_dir()):
            if path.is_fifo():  # Waiting for a reader could take forever.
                reader.callback(os.close, os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            write(path)
            return path
    place = Path(os.path.realpath(path)) if named else path
    with OutputFolder(place.parent, make=False) as out:
        out.file(place.name, write)
    return path


@contextmanager
def _write_problems(path: Path) -> Iterator[None]:
    """Report errors of the system about a path as InputError."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or "it failed").lower()
        raise InputError(f"cannot write {path}: {reason}") from None


def _is_regular(path: Path) -> bool:
    """Return whether a path is a file, and no link."""
    return path.is_file() and not path.is_symlink()


def _stays_in_place(path: Path) -> bool:
    """Return whether a file is written in place, since its folder takes no other."""
    return _is_regular(path) and not os.access(path.parent, os.W_OK)


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def move_together(stage: Path, folder: Path) -> None:
    """Move all files of a stage into a folder, in one step if possible.

    A new folder is the renamed stage. An existing folder exchanges names with the stage, after the
    stage has received links to all its other files. Each file is moved by itself if the system or
    the file system lacks such a step, if the folder has subfolders, belongs to another user or is a
    process's working folder (whose user would find it empty), or if the stage lies in it.

    Parameters
    ----------
    stage : Path
        Folder of the files alone; afterwards it is empty, gone, or holds the replaced files.
    folder : Path
        Folder, which need not exist; no link.

    Raises
    ------
    OSError
        The files cannot be moved.
    """
    new = {path.name for path in stage.iterdir()}
    with alone_in(folder.parent):
        if not folder.exists():
            stage.rename(folder)
            return
        if len(new) > 1 and _can_change_names(stage, folder):
            try:
                others = {path.name for path in folder.iterdir()} - new
                for name in others:
                    os.link(folder / name, stage / name, follow_symlinks=False)
                shutil.copystat(folder, stage)
                _exchange(stage, folder)
            except OSError:
                pass  # The system lacks the exchange or links; existing links do no harm.
            else:
                # Another process may have written files into the old folder after the links.
                for path in [p for p in stage.iterdir() if p.name not in new | others]:
                    path.rename(folder / path.name)
                return
        for name in new:
            (stage / name).replace(folder / name)


def _can_change_names(stage: Path, folder: Path) -> bool:
    """Return whether a folder can be replaced by another of its name without harm."""
    if _renameat2() is None or stage.parent != folder.parent or os.path.ismount(folder):
        return False
    entries = list(os.scandir(folder))
    return (
        folder.stat().st_uid == os.geteuid()
        and all(e.is_file(follow_symlinks=False) or e.is_symlink() for e in entries)
        and not _is_worked_in(folder)
    )


def _is_worked_in(folder: Path) -> bool:
    """Return whether a folder is the working folder of some process of this user."""
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if process.samefile(folder):
                return True
    return False


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two paths in one step.

    Linux has had ``renameat2`` for this since 3.15, and glibc since 2.28; Python has no binding.

    Raises
    ------
    OSError
        The file system cannot, or not with these.
    """
    function = _renameat2()
    first, second = os.fsencode(one), os.fsencode(other)
    if function(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE):
        wrong = ctypes.get_errno()
        raise OSError(wrong, os.strerror(wrong), str(one))


@cache
def _renameat2() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    place = (ctypes.c_int, ctypes.c_char_p)
    function.argtypes = (*place, *place, ctypes.c_uint)
    return function


try:
    import fcntl
except ImportError:  # On a system without such locks, old stages remain.
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

_LONGEST = 100
"""Characters of a name that its stage repeats: a name of maximal length leaves no more space."""


class Stage:
    """Temporary folder beside a place, for files that will be moved there.

    Parameters
    ----------
    place : Path
        File or folder, which need not exist; its parent folder exists.

    Raises
    ------
    OSError
        The parent folder cannot be written.
    """

    def __init__(self, place: Path) -> None:
        begin = f".{place.name[:_LONGEST]}.{os.getpid()}"
        # Nobody clears a stage between its creation and its lock.
        with alone_in(place.parent):
            _clear(place.parent)
            for number in count():
                self.folder = place.with_name(f"{begin}-{number}.part")
                with suppress(FileExistsError):
                    self.folder.mkdir()
                    break
            self._lock = _locked(self.folder)

    def close(self) -> None:
        """Remove the stage, or the folder that took its name, with its content."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing folder while stages in it come, go and move into place.

    Raises
    ------
    InputError
        Another process holds the lock too long.
    """
    lock = _locked(folder, waiting=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


_STAGE = re.compile(r"\..+\.[0-9]+-[0-9]+\.part")


def _clear(parent: Path) -> None:
    """Remove stages in a folder whose processes have ended."""
    with suppress(OSError):
        left = [x for x in os.scandir(parent) if _STAGE.fullmatch(x.name)]
        for folder in (Path(x) for x in left if x.is_dir(follow_symlinks=False)):
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path, *, waiting: bool = False) -> int | None:
    """Return the lock of a folder; None if another process holds it, or there are no locks."""
    if not _HAS_LOCKS:
        return None
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        if waiting:
            wait_for(partial(_took, lock), folder)
        elif not _took(lock):
            raise BlockingIOError
    except BaseException as error:
        os.close(lock)
        if not isinstance(error, OSError):
            raise
        return None
    return lock


def _took(lock: int) -> bool:
    """Take the lock of an open folder if it is free, and return whether it was."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
