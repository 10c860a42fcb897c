"""What goes to the terminal: rich for people, JSON for programs, never both."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from einsum_cascade.source import visible

from .waiting import clear_waiting, no_waiting

if TYPE_CHECKING:
    from rich.console import Console

    from ..document import Document


def say(text: str = "", *, err: bool = False) -> None:
    """Print a line, or many; to standard error with ``err``. Control characters are escaped."""
    clear_waiting()
    click.echo(visible(text), err=err)


def console() -> Console:
    """A console on the present standard output; texts are never read as markup."""
    from rich.console import Console

    clear_waiting()
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def show(document: Document) -> None:
    """Print for a person; in a file or a pipe without colours and trailing blanks."""
    if sys.stdout is not None and sys.stdout.isatty():
        console().print(document)
    else:
        say(str(document))


def show_json(value: Any) -> None:
    """Print for a program: one JSON value, and numbers that are numbers.

    Raises
    ------
    ValueError
        If a number is not finite, which JSON cannot say.
    """
    # JSON is ASCII here, and of that escapes all that a terminal obeys but this one.
    say(json.dumps(value, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


@contextmanager
def progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error while ``steps`` steps are done; silent where nobody looks.

    Yields a function that is called with a short text before each step.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    screen = Console(stderr=True, markup=False, highlight=False, emoji=False)
    columns = (
        # It turns while a step takes long, so that a bar at rest is not taken for a stop.
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    shown = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    with no_waiting(), shown:
        task = shown.add_task("", total=steps)
        begun = False

        def advance(text: str) -> None:
            nonlocal begun
            shown.update(task, description=visible(text), advance=1 if begun else 0)
            begun = True

        yield advance
