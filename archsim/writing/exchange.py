"""Files that replace those of a folder together: whoever looks finds the old ones or the new."""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from .stage import alone_in

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def move_together(stage: Path, folder: Path) -> None:
    """Move all files of a stage into a folder: in one step, if that can be.

    A new folder is the stage, by another name. One that is there changes names with the stage,
    once that has links to all other files of it. This is not done, and each file is moved by
    itself, where the system or the file system has no such step, where the folder holds others, is
    of another user, or is where some process works (its user would find it empty), and where the
    stage lies in it.

    Parameters
    ----------
    stage : Path
        It has the files alone; afterwards it is empty, gone, or has what they replaced.
    folder : Path
        There or not; it is no link.

    Raises
    ------
    OSError
        They cannot be moved.
    """
    new = {path.name for path in stage.iterdir()}
    with alone_in(folder.parent):
        if not folder.exists():
            stage.rename(folder)
            return
        if len(new) > 1 and _can_change_names(stage, folder):
            try:
                others = _linked(stage, folder, new)
                _exchange(stage, folder)
            except OSError:
                pass  # it has no such step, or no links: what is linked already does no harm
            else:
                _bring(stage, folder, {*new, *others})
                return
        for name in new:
            (stage / name).replace(folder / name)


def _can_change_names(stage: Path, folder: Path) -> bool:
    """Whether a folder can be another one by the same name, and nobody is the worse for it."""
    if _renameat2() is None or stage.parent != folder.parent or os.path.ismount(folder):
        return False
    entries = list(os.scandir(folder))
    return (
        folder.stat().st_uid == os.geteuid()
        and all(e.is_file(follow_symlinks=False) or e.is_symlink() for e in entries)
        and not _is_worked_in(folder)
    )


def _is_worked_in(folder: Path) -> bool:
    """Whether a folder is the working folder of some process of this user."""
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if process.samefile(folder):
                return True
    return False


def _linked(stage: Path, folder: Path, new: set[str]) -> set[str]:
    """Link all other files of a folder into the stage, which gets its mode and attributes."""
    others = {path.name for path in folder.iterdir()} - new
    for name in others:
        os.link(folder / name, stage / name, follow_symlinks=False)
    shutil.copystat(folder, stage)
    return others


def _bring(old: Path, folder: Path, known: set[str]) -> None:
    """Bring what somebody wrote into the old folder after its files were linked."""
    for path in [path for path in old.iterdir() if path.name not in known]:
        path.rename(folder / path.name)


def _exchange(one: Path, other: Path) -> None:
    """Let two paths change names in one step.

    Linux has ``renameat2`` for it since 3.15, and glibc since 2.28; Python has no name for it.

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
    function.argtypes = (
        *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p),
        ctypes.c_uint,
    )
    return function
