"""Command line: ``archsim simulate``, ``archsim analyze`` and the other commands."""

from __future__ import annotations

import gc
import io
import sys

from .application import archsim

_COLLECT_AFTER = 50_000
"""Objects made between two garbage collections: a command keeps most of what it makes."""


def main() -> None:
    """Run the command line on ``sys.argv``, and exit with its code.

    A character that the terminal's encoding lacks is shown as ``?``.
    """
    gc.set_threshold(_COLLECT_AFTER)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    archsim(prog_name="archsim")


__all__ = ["archsim", "main"]
