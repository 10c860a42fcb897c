"""Where files are written before they are moved into place: a folder beside it, which a process
that is killed leaves there, and the next one clears away.

A process locks its stage. The system takes the lock away with the process, whatever ended it: a
stage that can be locked is nobody's any more.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without such locks: what is left there stays
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

_LONGEST = 100
"""Characters of a name in that of its stage: a name as long as can be has no room for more."""


class Stage:
    """A new folder beside a place, for what will be moved there.

    Parameters
    ----------
    place : Path
        A file or a folder, there or not; the folder it lies in is there.

    Raises
    ------
    OSError
        The folder it lies in takes no other.
    """

    def __init__(self, place: Path) -> None:
        _clear(place)
        begin = f"{_begin(place)}{os.getpid()}"
        for number in count():
            self.folder = place.with_name(f"{begin}-{number}.part")
            with suppress(FileExistsError):
                self.folder.mkdir()
                break
        self._lock = _locked(self.folder)

    def close(self) -> None:
        """Remove the stage, or what has taken its name, with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def alone_in(folder: Path, *, waiting: bool = True) -> Iterator[bool]:
    """While nobody else moves files into place in a folder; says whether that is so.

    Parameters
    ----------
    folder : Path
        It is there.
    waiting : bool
        Whether to wait for others.
    """
    lock = _locked(folder, waiting=waiting)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _begin(place: Path) -> str:
    return f".{place.name[:_LONGEST]}."


def _clear(place: Path) -> None:
    """Remove stages of a place whose processes are gone."""
    ours = re.compile(re.escape(_begin(place)) + r"[0-9]+-[0-9]+\.part")
    with suppress(OSError):
        left = [x for x in place.parent.iterdir() if ours.fullmatch(x.name) and x.is_dir()]
        if not left:
            return
        with alone_in(place.parent, waiting=False) as alone:
            for folder in left if alone else ():
                with alone_in(folder, waiting=False) as unused:
                    if unused:
                        shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path, *, waiting: bool = False) -> int | None:
    """The lock of a folder; None where somebody has it, or there are no locks."""
    if not _HAS_LOCKS:
        return None
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if waiting else fcntl.LOCK_NB))
    except OSError:
        os.close(lock)
        return None
    return lock
