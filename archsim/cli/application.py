"""Group of all commands, and the text and exit code of errors.

A command is imported when it is requested, so that ``archsim list`` does not load what ``archsim
analyze`` needs. Errors of the user are caught; an error of the program shows its traceback. Exit
codes: 0 done; 1 a check failed; 3 no legal mapping; 130 Ctrl-C; 2 for everything else.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import monotonic, process_time
from types import MappingProxyType
from typing import IO, Any, TextIO

import click
from click.exceptions import Exit

from einsum_cascade.errors import InputError, NoLegalMappingError, did_you_mean
from einsum_cascade.source import visible
from einsum_cascade.yaml.library import file_exists, is_file_name

from .console import waiting

_FILES = "archsim.files"

_MODULES = MappingProxyType(
    {
        "simulate": "simulating",
        "map": "mapping",
        "compare": "comparing",
        "sensitivity": "sensitivity",
        "sweep": "sweeping",
        "plot": "plotting",
        "validate": "validating",
        "reproduce": "reproducing",
        "analyze": "algebra",
        "rewrite": "algebra",
        "atlas": "atlas",
        "list": "catalogue",
        "show": "catalogue",
        "schema": "schema",
    }
)
"""Module of each command in this package, in the order of the help text."""

_BROKEN_PIPE = 141
"""Exit code that a shell reports for a process whose reader closed the pipe."""

_COLLECT_AFTER = 50_000
"""Number of new objects after which garbage is collected: a command keeps most of its objects."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers that say that standard output cannot be written."""


_NO_THREAD = "can't start new thread"
"""Text of Python's error if the system refuses a thread."""


class Refused(click.ClickException):
    """Error of wrong input; its message goes to standard error unchanged."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message of the error."""
        click.echo(visible(self.message), file=file, err=True)


class NoLegalMapping(Refused):
    """Error raised if a machine refuses every mapping that open choices allow."""

    exit_code = 3


class Interrupted(Refused):
    """Error raised by Ctrl-C, with the exit code that a shell reports."""

    exit_code = 130


class Commands(click.Group):
    """Group of commands that imports a command on demand, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order of the help text."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command called ``cmd_name``, or None."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"archsim.cli.{module}"), f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the requested command, as click does; suggest the nearest name for an unknown
        one."""
        if args and not args[0].startswith("-") and args[0] not in _MODULES:
            hint = did_you_mean(args[0], _MODULES)
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Run as click does, but escape its messages, which repeat the user's words, and print
        help here."""
        files = _named_files(args)
        with _output_errors():
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_FILES] = files
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the requested command, and turn its errors into exit codes."""
        files = ctx.meta[_FILES]
        try:
            with _output_errors(), waiting(ctx):
                return super().invoke(ctx)
        except NoLegalMappingError as error:
            raise NoLegalMapping(_readable(error, files)) from None
        except InputError as error:
            raise Refused(_readable(error, files)) from None
        except RecursionError:
            raise Refused("error: this is nested or chained too deeply to work on") from None
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None
        except (MemoryError, ImportError, OSError) as error:
            raise Refused(f"error: {_of_the_system(error)}") from None
        except RuntimeError as error:
            if str(error) != _NO_THREAD:
                raise
            raise Refused(f"error: {error}: memory or processes are limited") from None


@contextmanager
def _output_errors() -> Iterator[None]:
    """Exit quietly if the reader has closed the pipe, or report that the destination has no
    space; escape control characters in click's messages, which repeat words of the command line."""
    try:
        try:
            yield
        except click.UsageError as error:
            raise click.UsageError(visible(error.format_message()), error.ctx) from None
        finally:
            # Output before a refusal or at the end of help fails here, not at exit.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _discard_output(sys.stdout)
        raise Exit(_BROKEN_PIPE) from None
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _discard_output(sys.stdout)
        raise Refused(f"error: cannot write the output: {error.strerror}") from None


def _readable(error: InputError, files: Sequence[str]) -> str:
    """Return the text of all problems; one without a position in a file is marked as an error.

    If the problems name none of the user's files, the text ends with these.
    """
    lines = [str(p) if p.span else f"error: {p}" for p in error.problems]
    if not any(name in line for name in files for line in lines):
        lines += [f"    file: {visible(name)}" for name in files]
    return "\n".join(lines)


def _named_files(words: Iterable[str]) -> tuple[str, ...]:
    """Return the words of a command line that name existing files, also after ``name=``."""
    values = dict.fromkeys(word.rpartition("=")[2] for word in words)
    return tuple(v for v in values if is_file_name(v) and file_exists(Path(v)))


def _of_the_system(error: Exception) -> str:
    """Return a message for an error of the system: no memory, no more files, no such library."""
    if isinstance(error, MemoryError):
        return "out of memory: smaller shapes or fewer --workers need less"
    if isinstance(error, ImportError):
        # numpy wraps the reason in a page of advice.
        return f"cannot load a library: {error.__cause__ or error}"
    assert isinstance(error, OSError)
    hint = ": 'ulimit -n' allows more" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    place = f": {error.filename}" if error.filename else ""
    return f"{(error.strerror or str(error)).lower()}{place}{hint}"


def _discard_output(stream: TextIO) -> None:
    """Discard buffered output, so that the interpreter prints no error when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from ..version import installed_version

    number = installed_version() or "(run from its source, not installed)"
    click.echo(f"archsim {number}")
    ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version.",
)
def archsim() -> None:
    """Attention algorithms as cascades of Einsums: analyse, run, map and simulate them.

    A name is a built-in (archsim list cascades); anything with a slash, or ending in
    .yaml or .json, is a file.
    """


def main() -> None:
    """Run the command line on ``sys.argv``, and exit with its code.

    A character that the terminal's encoding lacks is shown as ``?``. Pictures are drawn into files
    alone, so that Matplotlib's choice of a screen does not matter.
    """
    os.environ["MPLBACKEND"] = "agg"
    gc.set_threshold(_COLLECT_AFTER)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Time limits count from the start of the process, which has worked ever since.
    started = monotonic() - process_time()
    try:
        code = archsim.main(prog_name="archsim", standalone_mode=False, obj=started)
    except click.ClickException as error:
        code = error.exit_code
        _show(error)
    except (click.Abort, KeyboardInterrupt):
        code = Interrupted.exit_code
    except Exception:  # noqa: BLE001 - an error of the program, which is no failed check
        traceback.print_exc()
        code = Refused.exit_code
    sys.exit(code)


def _show(error: click.ClickException) -> None:
    """Print an error; the exit code tells it if standard error takes nothing."""
    try:
        error.show()
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _discard_output(sys.stderr)
