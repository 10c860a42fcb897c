"""``python -m archsim``, and the script ``archsim``."""

from __future__ import annotations

import sys
from typing import Final

_LEAST_MB: Final = 512
"""Smallest limit of memory under which a command starts.

A sweep runs with 400 MB. With 300 MB, Arrow crashes when a sweep ends; with 200 MB, OpenBLAS ends
the process when it is loaded. Neither failure can be caught.
"""


def main() -> None:
    """Run the command line, unless memory is limited to less than its libraries need."""
    try:
        limit = _limit_mb()
        if limit is not None and limit < _LEAST_MB:
            raise MemoryError(f": 'ulimit -v' allows {limit} MB, at least {_LEAST_MB} are needed")
        from .cli import main as run
    except MemoryError as error:
        sys.stderr.write(f"error: not enough memory to start{error}\n")
        sys.exit(2)
    run()


def _limit_mb() -> int | None:
    """Return the limit of memory of this process in MB, or None if there is no limit.

    Raises
    ------
    MemoryError
        The module that knows the limit cannot be loaded.
    """
    if sys.platform == "win32":
        return None
    try:
        import resource
    except ImportError:
        raise MemoryError from None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit // 2**20


if __name__ == "__main__":
    main()
