"""Commands ``archsim list`` and ``archsim show``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, SpecError, nearest
from einsum_cascade.source import Source, visible
from einsum_cascade.yaml.library import (
    Kind,
    builtin_names,
    builtin_source,
    is_file_name,
    read_source,
    similar_builtins,
)
from einsum_cascade.yaml.source import YamlMapping, YamlScalar, read_yaml

from ..document import Document, Fact, names, numbers, table_document, table_of, texts
from ..quantities import byte_size, engineering
from .console import answer, console, say, show, show_json
from .options import ChoiceWithHint, flag_option, json_option, settings_option

if TYPE_CHECKING:
    from workloads import ModelSummary


class SpecKind(NamedTuple):
    """Kind of specification: its name for users, the key of its file, and its folder."""

    plural: str
    singular: str
    folder: Kind


KINDS = (
    SpecKind("cascades", "cascade", "cascades"),
    SpecKind("architectures", "architecture", "architectures"),
    SpecKind("operations", "operations", "operations"),
    SpecKind("mappings", "mapping", "mappings"),
    SpecKind("workloads", "workload", "workloads"),
    SpecKind("technologies", "technology", "technology"),
    SpecKind("reproductions", "reproduction", "reproductions"),
)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Entry of the catalogue: a specification's kind (in the singular), name and text."""

    kind: str
    name: str
    source: Source

    @property
    def description(self) -> str:
        """Title that the file gives, or an empty string."""
        return self._text("title")

    @property
    def unverified(self) -> str:
        """Reason why the file could not be compared with its source, or an empty string."""
        return self._text("unverified")

    def _text(self, key: str) -> str:
        root = read_yaml(self.source)
        for node in (root, root.child(self.kind)):
            text = node.child(key) if node is not None else None
            if isinstance(text, YamlScalar):
                return " ".join(text.text.split())
        return ""


def entries(plural: str) -> tuple[CatalogueEntry, ...]:
    """Return the built-in specifications of a kind, sorted by name.

    Parameters
    ----------
    plural : str
        Kind as in ``archsim list``: one of ``KINDS``, such as ``architectures``.
    """
    kind = next(k for k in KINDS if k.plural == plural)
    return tuple(_builtin(kind, name) for name in builtin_names(kind.folder))


def find(name: str) -> tuple[CatalogueEntry, ...]:
    """Return every specification that a name may mean: a built-in of any kind, or one file.

    ``architecture/flat`` (or ``architectures/flat``) is the built-in of that kind alone. A
    reproduction, which has the name of its subject, yields to any other kind of that name.

    Raises
    ------
    SpecError
        There is none; says the nearest name.
    """
    word, _, rest = name.partition("/")
    for kind in KINDS:
        if word in kind and rest in builtin_names(kind.folder):
            return (_builtin(kind, rest),)
    if is_file_name(name):
        source = read_source(Path(name))
        return (CatalogueEntry(_kind_of(source), str(Path(name)), source),)
    found = tuple(_builtin(k, name) for k in KINDS if name in builtin_names(k.folder))
    found = tuple(e for e in found if e.kind != "reproduction") or found
    if not found:
        close = nearest(name, sorted({n for k in KINDS for n in similar_builtins(k.folder, name)}))
        kinds = ", ".join(k.plural for k in KINDS)
        hint = f"did you mean '{close}'?" if close else f"'archsim list KIND' names all: {kinds}"
        raise SpecError(f"nothing built in is called '{name}'; {hint}")
    return found


def _builtin(kind: SpecKind, name: str) -> CatalogueEntry:
    return CatalogueEntry(kind.singular, name, builtin_source(kind.folder, name))


def _kind_of(source: Source) -> str:
    """Return the kind of a file, by its keys; a workload and a mapping may name a cascade too."""
    root = read_yaml(source)
    keys = root.keys if isinstance(root, YamlMapping) else ()
    for kind in reversed(KINDS):
        if kind.singular in keys:
            return kind.singular
    if "model_type" in keys:
        return "workload"  # This is the model's own configuration.
    expected = ", ".join(f"'{k.singular}'" for k in KINDS)
    raise SpecError(f"expected one of the keys {expected}, got {root.kind} without", root.span)


def summary_report(summary: ModelSummary) -> Document:
    """Return the summary of a model, as ``archsim show --summary`` prints it.

    Parameters
    ----------
    summary : ModelSummary
        Summary of ``workloads.summarize``.
    """
    encoder = summary.encoder_cache_bytes_per_token
    cached = f"{byte_size(encoder)} a token of the encoder; " if encoder else ""
    state = "no state beside it"
    if summary.state_bytes:
        state = f"beside it a state of {byte_size(summary.state_bytes)}, however long"
    cache = f"{byte_size(summary.cache_bytes_per_token)} a token"
    layers = ((kind, f"{count:,}") for kind, count in summary.layers)
    operations = ((kind, engineering(n, "")) for kind, n in summary.operations)
    kind = names("kind")
    return Document(
        title=summary.name,
        subtitle=summary.source,
        facts=(
            Fact("parameters", f"{summary.parameters:,}", "embeddings and output head included"),
            Fact("active", f"{summary.active_parameters:,}", "without experts not chosen"),
            Fact("cache", cache, f"of a sequence, in all layers; {cached}{state}"),
        ),
        tables=(
            (
                table_of("layers", (*kind, *numbers("layers")), layers),
                table_of("operations of a token", (*kind, *numbers("operations")), operations),
            ),
        ),
        notes=(_operations_counted(summary), *summary.omitted),
    )


def _operations_counted(summary: ModelSummary) -> str:
    if summary.decoded:
        return (
            f"operations are of one token decoded after {summary.keys - 1:,} others, in all layers"
            " and the output head: --set seq_len=N for another length"
        )
    return f"operations are of one of {summary.keys:,} tokens computed at once, on average"


@click.command("list")
@click.argument("kind", metavar="KIND", type=ChoiceWithHint([k.plural for k in KINDS]))
@json_option
def list_command(kind: str, as_json: bool) -> None:
    """List what is built in, by KIND.

    KIND is cascades, architectures, operations, mappings, workloads, technologies or
    reproductions.
    """
    found = entries(kind)
    if as_json:
        fields = ("name", "description", "unverified")
        show_json([{field: getattr(entry, field) for field in fields} for entry in found])
    else:
        rows = ((entry.name, _what_it_is(entry)) for entry in found)
        heads = (*names("name"), *texts("what it is"))
        show(table_document(f"{kind} ({len(found)})", heads, rows))


@click.command("show")
@click.argument("name")
@click.option("--format", "form", type=ChoiceWithHint(["yaml", "latex", "dot"]), default="yaml")
@flag_option("--summary", "Show a model's costs per token, or a machine's parts and evidence.")
@settings_option
@json_option
def show_command(
    name: str, form: str, summary: bool, settings: tuple[str, ...], as_json: bool
) -> None:
    """Print a specification: a built-in, KIND/NAME, or a file.

    A name that several kinds share prints them all. A cascade can also be printed as
    LaTeX equations and as a graph for Graphviz (dot). With --summary a model (a workload
    with a configuration, or a config.json) is told in numbers, and a machine with the evidence
    for its numbers.
    """
    if summary:
        _show_summary(name, settings, as_json)
        return
    if as_json or settings:
        raise click.UsageError("--json and --set go with --summary")
    found = find(name)
    if form != "yaml":
        cascades = tuple(e for e in found if e.kind == "cascade")
        # If a mapping has its cascade's name, the equations are those of the cascade.
        for entry in cascades or found:
            say(_cascade(entry, form))
        return
    for entry in found:
        say(f"# {entry.kind} {entry.name}")
        _show_text(entry)


def _show_summary(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    from workloads import load, summarize

    from ..spec.arch import Architecture
    from ..spec.overrides import Overrides

    if (called := _machine_called(name)) is not None:
        machine = Architecture.load(called, settings)
        answer(machine.to_dict, (machine.card(),), as_json=as_json)
        return
    given = Overrides.of_part("workload", settings)
    found = summarize(load(name.removeprefix("workload/"), given.workload))
    answer(found.to_dict, (summary_report(found),), as_json=as_json)


def _machine_called(name: str) -> str | None:
    """Return the built-in name or the file of the machine that a name means; None if it means
    none."""
    with suppress(InputError):
        for entry in find(name):
            if entry.kind == "architecture":
                return name if entry.name == str(Path(name)) else entry.name
    return None


def _what_it_is(entry: CatalogueEntry) -> str:
    note = f"unverified: {entry.unverified}" if entry.unverified else ""
    return " - ".join(t for t in (entry.description, note) if t)


def _cascade(entry: CatalogueEntry, form: str) -> str:
    if entry.kind != "cascade":
        raise InputError(f"--format {form} is for cascades, '{entry.name}' is of kind {entry.kind}")
    cascade = Cascade.parse(entry.source.text, entry.source.name)
    return cascade.latex() if form == "latex" else cascade.dot()


def _show_text(entry: CatalogueEntry) -> None:
    """Print the text of a file, coloured on a terminal, with control characters escaped."""
    terminal = console()
    if not terminal.is_terminal:
        say(entry.source.text.rstrip("\n"))
        return
    from rich.syntax import Syntax

    text = visible(entry.source.text)
    terminal.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
