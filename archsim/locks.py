"""Locks between processes: a wait for one is reported, and ends after a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from einsum_cascade.errors import InputError
from einsum_cascade.source import visible

_TELL_AFTER_S = 2.0
"""Seconds of waiting after which a message names the file."""
PATIENCE_S = 60.0
"""Seconds after which a process waits no longer."""
_POLL_S = 0.05


def wait_for(take: Callable[[], bool], file: Path, patience_s: float = PATIENCE_S) -> None:
    """Take a lock as soon as it is free; a long wait is reported on standard error.

    Parameters
    ----------
    take : callable
        Takes the lock and returns True, or returns False if another process holds it.
    file : Path
        Locked file or folder, for the messages.
    patience_s : float
        Largest number of seconds to wait.

    Raises
    ------
    InputError
        The lock is still held after that time.
    """
    begun, reported = time.monotonic(), False
    while not take():
        waited = time.monotonic() - begun
        if waited >= patience_s:
            holder = _named(_holder(file))
            raise InputError(f"gave up after {waited:.0f} s: {holder} keeps {file} locked")
        if waited >= _TELL_AFTER_S and not reported:
            reported = True
            _tell(file, patience_s)
        time.sleep(_POLL_S)


def _tell(file: Path, patience_s: float) -> None:
    """Report what is waited for, unless another worker of the same command holds it."""
    # Imported late: hardly any command has to wait.
    from logging import getLogger
    from multiprocessing import parent_process

    holder = _holder(file)
    if parent_process() is None or holder is None or _parent_of(holder) != os.getppid():
        text = f"waiting for {file}: {_named(holder)} keeps it locked (at most {patience_s:.0f} s)"
        getLogger("archsim").warning("%s", visible(text))


def _named(holder: int | None) -> str:
    return "another process" if holder is None else f"process {holder}"


def _parent_of(process: int) -> int | None:
    """Return the parent of a process, as far as the system tells."""
    with suppress(OSError, ValueError, IndexError):
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[1])
    return None


def _holder(file: Path) -> int | None:
    """Return the process that holds a lock of a file, as far as the system tells."""
    with suppress(OSError, ValueError, IndexError):
        # SQLite locks the file of its shared memory.
        files = (file, file.with_name(f"{file.name}-shm"))
        found = [path.stat() for path in files if path.exists()]
        places = {f"{os.major(x.st_dev):02x}:{os.minor(x.st_dev):02x}:{x.st_ino}" for x in found}
        # For example "1: FLOCK  ADVISORY  WRITE 1847 fe:00:11560378 0 EOF".
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        held = [int(words[4]) for words in map(str.split, lines) if words[5] in places]
        return next((process for process in held if process != os.getpid()), None)
    return None
