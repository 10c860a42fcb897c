"""What goes to the terminal: rich for people, JSON for programs, never both."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from archsim.document import Document


def console() -> Console:
    """A console on the present standard output; texts are never read as markup."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def show(document: Document) -> None:
    """Print for a person; in a file or a pipe without colours and trailing blanks."""
    if sys.stdout is not None and sys.stdout.isatty():
        console().print(document)
    else:
        click.echo(str(document))


def show_json(value: Any) -> None:
    """Print for a program: one JSON value, and numbers that are numbers.

    Raises
    ------
    ValueError
        If a number is not finite, which JSON cannot say.
    """
    click.echo(json.dumps(value, indent=2, allow_nan=False))
