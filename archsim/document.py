"""Report in no particular form: facts, tables and notes as plain strings.

The same document is shown on a terminal (``rich``), written as plain text or Markdown, and shown in
Jupyter as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

from einsum_cascade.source import html_text, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a table. Numbers are aligned right; ``kind`` selects the form of a cell."""

    title: str
    kind: Literal["name", "text", "number", "bar"] = "number"


def names(*titles: str) -> tuple[Column, ...]:
    """Return columns of names."""
    return tuple(Column(title, "name") for title in titles)


def texts(*titles: str) -> tuple[Column, ...]:
    """Return columns of texts, which may be broken."""
    return tuple(Column(title, "text") for title in titles)


def numbers(*titles: str) -> tuple[Column, ...]:
    """Return columns of numbers."""
    return tuple(Column(title) for title in titles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def table_of(title: str, columns: Iterable[Column], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of rows."""
    return Table(title=title, columns=tuple(columns), rows=tuple(map(tuple, rows)))


def table_document(
    title: str,
    columns: Iterable[Column],
    rows: Iterable[Sequence[str]],
    subtitle: str = "",
    notes: Iterable[str] = (),
) -> Document:
    """Return a document with a single table."""
    tables = ((table_of("", columns, rows),),)
    return Document(title=title, subtitle=subtitle, tables=tables, notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class Fact:
    """Headline fact, such as ``latency   14.2 ms   bound by array_1d``."""

    label: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Lines to print with their indentation, such as loops."""

    title: str
    lines: tuple[str, ...]


def first_names(names: Iterable[str], most: int = 12) -> str:
    """Return the first names, joined, and the number of the others."""
    found = list(names)
    more = f", and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Title, facts, listings, rows of tables that may stand side by side, and notes."""

    title: str
    subtitle: str = ""
    facts: tuple[Fact, ...] = ()
    listings: tuple[Listing, ...] = ()
    tables: tuple[tuple[Table, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def __rich__(self) -> RenderableType:
        return to_rich(self)

    def __str__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def picture_text(text: str) -> str:
    r"""Return a text escaped for a picture: no part of it is read as a formula.

    >>> picture_text("./a$b$.yaml")
    './a\\$b\\$.yaml'
    """
    return visible(text).replace("$", r"\$")


def to_markdown(document: Document) -> str:
    """Return the document as GitHub-flavoured Markdown.

    Parameters
    ----------
    document : Document
        Rows of tables that stand side by side elsewhere are one below the other here.

    Returns
    -------
    str
        Text with a line break at the end.
    """
    parts = [f"# {document.title}"]
    if document.subtitle:
        parts.append(document.subtitle)
    if document.facts:
        parts.append("\n".join(_markdown_fact(f) for f in document.facts))
    for listing in document.listings:
        lines = (f"    {line}" for line in listing.lines)
        parts.append(_markdown_block(listing.title, lines))
    parts += [_markdown_table(t) for row in document.tables for t in row]
    if document.notes:
        parts.append("\n".join(f"* {n}" for n in document.notes))
    return visible("\n\n".join(parts) + "\n")


def _markdown_fact(fact: Fact) -> str:
    remark = f" ({fact.remark})" if fact.remark else ""
    return f"* **{fact.label}**: {fact.value}{remark}"


def _markdown_table(table: Table) -> str:
    rule = ["---:" if c.kind == "number" else "---" for c in table.columns]
    head = [c.title for c in table.columns]
    rows = [head, rule, *table.rows]
    lines = ("| " + " | ".join(map(_markdown_cell, row)) + " |" for row in rows)
    return _markdown_block(table.title, lines)


def _markdown_block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"## {title}\n", *lines] if title else lines)


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def to_html(document: Document) -> str:
    """Return the document as an HTML fragment, every text escaped.

    Parameters
    ----------
    document : Document
        Rows of tables that stand side by side elsewhere are one below the other here.

    Returns
    -------
    str
        One ``div`` without styles: a notebook or a page brings its own.
    """
    parts = [f"<h4>{html_text(document.title)}</h4>"]
    if document.subtitle:
        parts.append(f"<p>{html_text(document.subtitle)}</p>")
    if document.facts:
        parts.append(f"<table>{''.join(_html_fact(f) for f in document.facts)}</table>")
    parts += [_html_listing(x) for x in document.listings]
    parts += [html_table(t) for row in document.tables for t in row]
    parts += [f"<p><small>{html_text(n)}</small></p>" for n in document.notes]
    return f"<div>{''.join(parts)}</div>"


def _html_fact(fact: Fact) -> str:
    cells = (f"<b>{html_text(fact.label)}</b>", html_text(fact.value), html_text(fact.remark))
    return _html_row(cells, ["left"] * 3)


def _html_row(cells: Iterable[str], align: Iterable[str]) -> str:
    """Return a row of cells, which are HTML already."""
    made = (f"<td style='text-align:{a}'>{c}</td>" for a, c in zip(align, cells, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def _html_listing(listing: Listing) -> str:
    title = f"<p>{html_text(listing.title)}</p>" if listing.title else ""
    lines = "\n".join(html_text(line) for line in listing.lines)
    return f"{title}<pre style='text-align:left'>{lines}</pre>"


def html_table(table: Table) -> str:
    """Return a table as HTML, every text escaped."""
    align = ["right" if c.kind == "number" else "left" for c in table.columns]
    head = "".join(f"<th>{html_text(c.title)}</th>" for c in table.columns)
    rows = "".join(
        _html_row((html_text(cell).replace("\n", "<br>") for cell in row), align)
        for row in table.rows
    )
    caption = f"<caption>{html_text(table.title)}</caption>" if table.title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


_WORD = re.compile(r"\s*\S+\s*")

_NARROW = re.compile(r"[ -~²×µ█░─]*")
"""Characters that take one column each: those of reports and of ASCII texts."""


def to_text(document: Document, width: int = 110) -> str:
    """Return the document as plain text of at most ``width`` columns, without trailing blanks.

    The text equals that of ``rich``. If nothing has to be squeezed, ``rich`` is not imported: its
    import takes longer than most runs.
    """
    lines = _lines(document, width)
    if all(len(line) <= width and _NARROW.fullmatch(line) for line in lines):
        return "\n".join(line.rstrip() for line in lines)
    return text_by_rich(document, width)


def _lines(document: Document, width: int) -> list[str]:
    """Return the lines of a document; they may be too long, or have wide characters."""
    lines = _broken(document.title, width)
    if document.subtitle:
        lines += _broken(document.subtitle, width)
    if document.facts:
        lines += ["", *aligned([(f.label, f.value, f.remark) for f in document.facts], "  ")]
    for listing in document.listings:
        lines += ["", listing.title, *listing.lines]
    for tables in document.tables:
        lines += ["", *_in_columns([_table(t) for t in tables])]
    if document.notes:
        lines.append("")
        for note in document.notes:
            lines += _broken(note, width)
    return lines


def _broken(text: str, width: int) -> list[str]:
    """Return the lines of a text, broken between words if all characters are narrow."""
    if not _NARROW.fullmatch(text):
        return [text]
    lines = [""]
    for word in _WORD.findall(text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _table(table: Table) -> list[str]:
    rows = [tuple(c.title for c in table.columns), *table.rows]
    right = [n for n, c in enumerate(table.columns) if c.kind == "number"]
    head, *body = aligned(rows, "   ", right)
    title = [table.title] if table.title else []
    # A line break is not narrow, so that rich draws the rule of a table without any text.
    return [*title, head, "─" * len(head) or "\n", *body]


def aligned(rows: Sequence[Sequence[str]], gap: str, right: Container[int] = ()) -> list[str]:
    """Return cells below one another; columns in ``right`` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        gap.join(
            cell.rstrip().rjust(w) if n in right else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _in_columns(blocks: list[list[str]]) -> list[str]:
    """Return blocks of lines side by side."""
    widths = [max(map(len, block)) for block in blocks]
    rows = [
        (line.ljust(w) for line, w in zip(row, widths, strict=True))
        for row in zip_longest(*blocks, fillvalue="")
    ]
    return ["    ".join(row) for row in rows]


# Only terminal output needs rich: Markdown, HTML and JSON do without it.
_CELL_STYLES = {"FAILED": "bold red", "not checked": "yellow"}

_LEFT_OUT = "not shown, for lack of width:"

_GAP = 3
"""Columns between two cells."""

_STYLES = {"name": "cyan", "text": "", "number": "", "bar": "green"}


def to_rich(document: Document) -> RenderableType:
    """Return the document as a ``rich`` renderable; users' texts are never read as markup."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    parts: list[RenderableType] = [Text(visible(document.title), style="bold")]
    if document.subtitle:
        parts.append(Text(visible(document.subtitle), style="dim"))
    if document.facts:
        facts = Grid.grid(padding=(0, 2))
        for fact in document.facts:
            value = Text(visible(fact.value), style="bold")
            facts.add_row(Text(visible(fact.label)), value, Text(visible(fact.remark)))
        parts += ["", facts]
    for listing in document.listings:
        title = [Text(visible(listing.title), style="bold")] if listing.title else []
        parts += ["", *title, *(Text(visible(x)) for x in listing.lines)]
    for row in document.tables:
        tables = [_FittedTable(t) for t in row]
        parts += ["", tables[0] if len(tables) == 1 else Columns(tables, padding=(0, 4))]
    if document.notes:
        parts += ["", *(Text(visible(n), style="dim") for n in document.notes)]
    return Group(*parts)


def text_by_rich(document: Document, width: int) -> str:
    """Return the plain text of a document by ``rich``, which squeezes wide tables."""
    from rich.console import Console

    console = Console(file=StringIO(), width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(document)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


@dataclass(frozen=True, slots=True)
class _FittedTable:
    """Table for ``rich`` that leaves out columns before it breaks a word."""

    table: Table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich.text import Text

        shown, left_out = fitted(self.table, options.max_width)
        yield _rich_table(shown)
        if left_out:
            yield Text(visible(f"{_LEFT_OUT} {', '.join(left_out)}"), style="dim")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement.get(console, options, _rich_table(self.table))


def fitted(table: Table, width: int) -> tuple[Table, tuple[str, ...]]:
    """Return a table whose words fit in ``width`` columns, and the titles of what is left out.

    Bars are left out first, then columns from the right; the first column stays.
    """
    kept = list(range(len(table.columns)))
    least = [_least_width(c, [row[n] for row in table.rows]) for n, c in enumerate(table.columns)]
    bars_last = sorted(kept, key=lambda n: (table.columns[n].kind == "bar", n))
    while bars_last[1:] and sum(least[n] + _GAP for n in kept) - _GAP > width:
        kept.remove(bars_last.pop())
    rows = tuple(tuple(row[n] for n in kept) for row in table.rows)
    columns = tuple(table.columns[n] for n in kept)
    left_out = tuple(c.title for n, c in enumerate(table.columns) if n not in kept)
    return replace(table, columns=columns, rows=rows), left_out


def _least_width(column: Column, cells: Iterable[str]) -> int:
    """Return the width in which no word of a column is broken, nor a number or a name."""
    lines = (line for cell in (column.title, *cells) for line in cell.split("\n"))
    parts = (part for x in lines for part in (x.split() if column.kind == "text" else [x]))
    return max(map(len, parts), default=0)


def _rich_table(table: Table) -> RenderableType:
    """Return a title on its own line: rich would wrap it to the width of the table."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for column in table.columns:
        grid.add_column(
            visible(column.title),
            justify="right" if column.kind == "number" else "left",
            style=_STYLES[column.kind],
            no_wrap=column.kind != "text",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*(Text(visible(cell), style=_CELL_STYLES.get(cell, "")) for cell in row))
    return Group(Text(visible(table.title), style="bold"), grid) if table.title else grid
