"""``archsim list`` and ``archsim show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from einsum_cascade.errors import InputError
from einsum_cascade.source import visible

from ..report.catalogue import KINDS, CatalogueEntry, entries, find
from .console import console, say, show, show_json
from .options import Known, json_option, settings_option

if TYPE_CHECKING:
    from ..document import Document


@click.command("list")
@click.argument("kind", metavar="KIND", type=Known([k.plural for k in KINDS]))
@json_option
def list_command(kind: str, as_json: bool) -> None:
    """List what is built in, by KIND.

    KIND is cascades, architectures, mappings, workloads, technologies or reproductions.
    """
    found = entries(kind)
    if as_json:
        show_json(
            [
                {"name": e.name, "description": e.description, "unverified": e.unverified}
                for e in found
            ]
        )
    else:
        show(_listing(kind, found))


@click.command("show")
@click.argument("name")
@click.option("--format", "form", type=Known(["yaml", "latex", "dot"]), default="yaml")
@click.option(
    "--summary", is_flag=True, help="A model's parameters, layers, and what a token takes."
)
@settings_option
@json_option
def show_command(
    name: str, form: str, summary: bool, settings: tuple[str, ...], as_json: bool
) -> None:
    """Print a specification: a built-in, KIND/NAME, or a file.

    A name that several kinds share prints them all. A cascade can also be printed as
    LaTeX equations and as a graph for Graphviz (dot). With --summary a model (a workload
    with a configuration, or a config.json) is told in numbers.
    """
    if summary:
        _show_summary(name, settings, as_json)
        return
    if as_json or settings:
        raise click.UsageError("--json and --set go with --summary")
    found = find(name)
    if form != "yaml":
        cascades = tuple(e for e in found if e.kind == "cascade")
        # A mapping may have its cascade's name: it is the cascade that has equations.
        for entry in cascades or found:
            say(_cascade(entry, form))
        return
    for entry in found:
        say(f"# {entry.kind} {entry.name}")
        _show_text(entry)


def _show_summary(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    from workloads import load, summarize

    from ..spec.overrides import Overrides

    given = Overrides.of_part("workload", settings)
    found = summarize(load(name.removeprefix("workload/"), given.workload))
    if as_json:
        show_json(found.to_dict())
        return
    from ..report.models import summary_report

    show(summary_report(found))


def _listing(kind: str, found: tuple[CatalogueEntry, ...]) -> Document:
    from ..document import Column, Document, Table

    table = Table(
        title="",
        columns=(Column("name", "name"), Column("what it is", "text")),
        rows=tuple((e.name, _what_it_is(e)) for e in found),
    )
    return Document(title=f"{kind} ({len(found)})", tables=((table,),))


def _what_it_is(entry: CatalogueEntry) -> str:
    note = f"unverified: {entry.unverified}" if entry.unverified else ""
    return " - ".join(t for t in (entry.description, note) if t)


def _cascade(entry: CatalogueEntry, form: str) -> str:
    if entry.kind != "cascade":
        raise InputError(f"--format {form} is for cascades, '{entry.name}' is of kind {entry.kind}")
    from einsum_cascade import Cascade

    cascade = Cascade.parse(entry.source.text, entry.source.name)
    return cascade.latex() if form == "latex" else cascade.dot()


def _show_text(entry: CatalogueEntry) -> None:
    """The text of a file, coloured on a terminal; no control character of it is obeyed."""
    terminal = console()
    if not terminal.is_terminal:
        say(entry.source.text.rstrip("\n"))
        return
    from rich.syntax import Syntax

    text = visible(entry.source.text)
    terminal.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
