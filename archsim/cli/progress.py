"""A progress bar on standard error; nothing where that is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from einsum_cascade.source import visible

from .console import without_waiting_sign

Advance = Callable[[int], None]


@contextmanager
def progress(what: str, total: int, *, done: int = 0, unit: str = "") -> Iterator[Advance]:
    """Show how much of ``total`` is done; yields what to call with each amount.

    Parameters
    ----------
    done : int
        What was done before: it counts for the bar, not for the rate.
    unit : str
        Of what so many a second are done; with it the rate and the time left are shown.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Left

    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
    ]
    if unit:
        columns += [TextColumn("{task.fields[rate]}"), Left(), TextColumn("left")]
    with (
        without_waiting_sign(),
        Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar,
    ):
        task = bar.add_task(visible(what), total=total, completed=done, rate="")

        def advance(amount: int) -> None:
            bar.advance(task, amount)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.1f} {unit}/s" if unit and speed else "")

        yield advance
