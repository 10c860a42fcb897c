"""Terminal output: text for people, JSON for programs, and signs of progress."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import click

from einsum_cascade.source import visible

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import Console

    from workloads import Workload

    from ..document import Document
    from ..plan.selection import ByPart
    from ..spec.arch import Architecture


_AFTER_S = 2.0
_EVERY_S = 0.5
_LOGGED_EVERY_S = 30.0
_KEY = "archsim.waiting"


class WaitingSign:
    """Line on the screen that tells how long a command has shown nothing; it is removed later.

    In a log file it is a line of its own every half a minute.
    """

    def __init__(self, stream: TextIO, *, live: bool = True) -> None:
        self.doing = "working"
        self._stream = stream
        self._live = live
        self._logged_s = 0.0
        self._lock = Lock()
        self._done = Event()
        self._since = monotonic()
        self._said = 0
        self._muted = False
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove the waiting line, and show it no more."""
        self._done.set()
        self._thread.join()
        self.clear()

    def clear(self) -> None:
        """Remove the waiting line before other output, and restart its clock."""
        with self._lock:
            if self._said:
                self._write("\r" + " " * self._said + "\r")
            self._said = 0
            self._logged_s = 0.0
            self._since = monotonic()

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Suppress the waiting line while a bar, for example, shows progress."""
        self.clear()
        self._muted = True
        try:
            yield
        finally:
            self.clear()
            self._muted = False

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            with self._lock:
                waited = monotonic() - self._since
                if not self._live:
                    if waited >= self._logged_s + _LOGGED_EVERY_S:
                        self._logged_s = waited
                        self._write(f"{self.doing}, {waited:.0f} s\n")
                elif waited >= _AFTER_S and not self._muted:
                    text = f"{self.doing}, {waited:.0f} s (Ctrl-C ends it)"
                    self._write("\r" + text)
                    self._said = len(text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._done.set()  # The terminal is gone.


class _Messages(logging.Handler):
    """Handler that prints messages of the library in place of the waiting line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        say(record.getMessage(), err=True)


@contextmanager
def waiting(context: click.Context) -> Iterator[None]:
    """Show a waiting line on the terminal while a command runs, or lines in a log file."""
    if sys.stderr is None:
        yield
        return
    sign = WaitingSign(sys.stderr, live=sys.stderr.isatty())
    context.meta[_KEY] = sign
    messages, logger = _Messages(), logging.getLogger("archsim")
    logger.addHandler(messages)
    try:
        yield
    finally:
        logger.removeHandler(messages)
        del context.meta[_KEY]
        sign.stop()


def clear_waiting_sign() -> None:
    """Remove the waiting line, if it is shown, before other output."""
    if (sign := _shown()) is not None:
        sign.clear()


def _shown() -> WaitingSign | None:
    context = click.get_current_context(silent=True)
    found = context.meta.get(_KEY) if context is not None else None
    return found if isinstance(found, WaitingSign) else None


def say(text: str = "", *, err: bool = False) -> None:
    """Print one or more lines, to standard error with ``err``. Control characters are escaped."""
    clear_waiting_sign()
    click.echo(visible(text), err=err)


def console() -> Console:
    """Return a console that prints to standard output and never reads texts as markup."""
    from rich.console import Console

    clear_waiting_sign()
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def show(document: Document) -> None:
    """Print a document; output to a file or a pipe has no colours and no trailing blanks."""
    if sys.stdout is not None and sys.stdout.isatty():
        console().print(document)
    else:
        say(str(document))


def show_json(value: Any) -> None:
    """Print one JSON value with finite numbers.

    Raises
    ------
    ValueError
        If a number is not finite, which JSON cannot say.
    """
    # The output is ASCII, and JSON escapes all control characters but this one.
    say(json.dumps(value, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def answer(
    exact: Callable[[], Any],
    documents: Iterable[Document],
    *,
    as_json: bool,
    written: Sequence[Path] = (),
    hint: str = "",
) -> None:
    """Print the answer of a command: one JSON value for programs, or documents for people.

    Parameters
    ----------
    exact : callable
        Returns the value to print as JSON.
    documents : iterable of Document
        Documents to print; made only if they are printed.
    written : sequence of Path
        Files that were written.
    hint : str
        Advice to print if none was written.
    """
    if as_json:
        show_json(exact())
        return
    show_all(documents)
    if hint and not written:
        say(hint, err=True)
    say_written(written)


def show_all(documents: Iterable[Document]) -> None:
    """Print documents with a blank line between them."""
    for number, document in enumerate(documents):
        if number:
            say()
        show(document)


def say_written(paths: Iterable[Path]) -> None:
    """Print the names of written files to standard error."""
    for path in paths:
        say(f"wrote {path}", err=True)


class Advance(Protocol):
    """Function that moves a progress bar."""

    def __call__(self, amount: int, text: str = "") -> None:
        """Count an amount of work as done; a text replaces the words beside the bar."""


@contextmanager
def progress(text: str, total: int, *, done: int = 0, unit: str = "") -> Iterator[Advance]:
    """Show a progress bar on standard error; in a log file, the waiting line tells the progress.

    Parameters
    ----------
    text : str
        Words beside the bar.
    total : int
        Amount of work.
    done : int
        Amount that was done before: it counts for the bar, not for the rate.
    unit : str
        Unit of the rate; without it the bar shows no rate.
    """
    sign = _shown()
    if sys.stderr is None or not sys.stderr.isatty():
        label, counted = text, done

        def count(amount: int, text: str = "") -> None:
            nonlocal counted
            counted += amount
            if sign is not None:
                sign.doing = f"{text or label}: {counted:,} of {total:,}"

        yield count
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Left

    columns = (
        # The spinner turns during a long step, which would look like a halt otherwise.
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
        TextColumn("{task.fields[rate]}"),
        Left(),
        TextColumn("left  {task.description}", markup=False),
    )
    screen = Console(file=sys.stderr, markup=False, highlight=False, emoji=False)
    muted = nullcontext() if sign is None else sign.muted()
    with muted, Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(visible(text), total=total, completed=done, rate="")

        def advance(amount: int, text: str = "") -> None:
            bar.advance(task, amount)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.1f} {unit}/s" if unit and speed else "")
            if text:
                bar.update(task, description=visible(text))

        yield advance


@contextmanager
def part_progress() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Yield a function that opens a progress bar for the next part; bars follow one another."""
    with ExitStack() as stack:

        def start(what: str, total: int) -> Callable[[int], None]:
            stack.pop_all().close()
            return stack.enter_context(progress(f"mapping {what}", total))

        yield start


def found_or_searched(work: Workload, machine: Architecture, /) -> ByPart:
    """Return the fastest mapping of every part, remembered or found by a search with progress
    bars."""
    from mappers.workload_search import best_mappings

    with part_progress() as start:
        return best_mappings(work, machine, progress=start)
