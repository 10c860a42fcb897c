"""The group of commands, and what becomes of an error: its text and its exit code.

A command is imported when it is asked for, so that ``archsim list`` does not pay for what
``archsim analyze`` needs. Only a user's mistakes are caught; a fault of ours shows its
traceback. Exit codes: 0 done; 1 a check failed; 2 the input is wrong; 3 no legal mapping.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import IO, Any

import click
from click.exceptions import Exit

from einsum_cascade.errors import InputError, NoLegalMappingError, did_you_mean
from einsum_cascade.source import visible

from .console import waiting

_MODULES = MappingProxyType(
    {
        "simulate": "simulating",
        "map": "mapping",
        "compare": "comparing",
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
"""The module of this package that holds each command, in the order of the help text."""

_BROKEN_PIPE = 141
"""As a shell reports a process whose reader went away."""


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the place that standard output goes to."""


class Refused(click.ClickException):
    """The input is wrong: the message goes to standard error as it is."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(visible(self.message), file=file, err=True)


class NoLegalMapping(Refused):
    """No choice that is left open gives a legal mapping."""

    exit_code = 3


class Interrupted(Refused):
    """Ctrl-C, as a shell reports it."""

    exit_code = 130


class Commands(click.Group):
    """A group that imports a command on demand and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Commands in the order a reader meets them."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command called ``cmd_name``, or None."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"archsim.cli.{module}"), f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but a name that is not there is answered with the nearest one."""
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
        """As click does it; its messages repeat what was written, and help is printed here."""
        with _visible_messages(), _told_of_output():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            with _visible_messages(), _told_of_output(), waiting(ctx):
                return super().invoke(ctx)
        except NoLegalMappingError as error:
            raise NoLegalMapping(_readable(error)) from None
        except InputError as error:
            raise Refused(_readable(error)) from None
        except RecursionError:
            raise Refused("error: this is nested or chained too deeply to work on") from None
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None


@contextmanager
def _visible_messages() -> Iterator[None]:
    """Control characters in words of the command line are shown, not obeyed."""
    try:
        yield
    except click.UsageError as error:
        raise click.UsageError(visible(error.format_message()), error.ctx) from None


@contextmanager
def _told_of_output() -> Iterator[None]:
    """A reader that went away, or a place without room, is no fault of ours."""
    try:
        try:
            yield
        finally:
            # What was printed before a refusal or the end of help fails here, not at exit.
            _flush()
    except BrokenPipeError:
        _discard_output()
        raise Exit(_BROKEN_PIPE) from None
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _discard_output()
        raise Refused(f"error: cannot write the output: {error.strerror}") from None


def _readable(error: InputError) -> str:
    """Every problem; one without a place in a file is marked as an error."""
    return "\n".join(str(p) if p.span else f"error: {p}" for p in error.problems)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush is silent."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
