"""HTML and DOT renderings of a cascade, for people and for Jupyter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import ir
from ..source import html_text, visible
from .latex import program_latex
from .printer import statements_text

# ------------------------------------------------------------------------- DOT and HTML


def program_dot(program: ir.Program) -> str:
    """The dependency graph in Graphviz' DOT language.

    Inputs are boxes, outputs have a double border, iterative tensors are grey; a dashed
    edge carries the value of the iteration before.

    Returns
    -------
    str
        One node per input and Einsum, whose tooltip is the equation; ends with a line break.
    """
    from ..ordering import dependences

    delayed = {(d.writer, d.reader) for d in dependences(program) if d.delayed}
    at_once = {(d.writer, d.reader) for d in dependences(program) if not d.delayed}
    lines = [f"digraph {_quote(program.name)} {{", "  rankdir=TB;", "  node [shape=ellipse];"]
    lines += [f"  {_quote(t.name)} [shape=box];" for t in program.inputs]
    for einsum, text in zip(program.einsums, statements_text(program.einsums), strict=True):
        label = re.sub(" +=", " =", text, count=1)
        style = f"label={_quote(einsum.name)}, tooltip={_quote(label)}"
        if einsum.name in program.outputs:
            style += ", peripheries=2"
        if einsum.name in program.iterative:
            style += ', style=filled, fillcolor="lightgrey"'
        lines.append(f"  {_quote(einsum.name)} [{style}];")
    for writer, reader in _edges(program):
        dashed = (writer, reader) in delayed and (writer, reader) not in at_once
        lines.append(
            f"  {_quote(writer)} -> {_quote(reader)}{' [style=dashed]' if dashed else ''};"
        )
    return "\n".join([*lines, "}"]) + "\n"


def _edges(program: ir.Program) -> Iterator[tuple[str, str]]:
    pairs = ((a.tensor, e.name) for e in program.einsums for a in e.reads)
    yield from dict.fromkeys(pairs)


def _quote(text: str) -> str:
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def program_html(program: ir.Program) -> str:
    """Name, title and typeset equations as HTML, the text folded below; all of it escaped.

    Returns
    -------
    str
        One ``<div>``; its equations are LaTeX between ``$$``, which Jupyter typesets.
    """
    lines = [*statements_text(program.init), *statements_text(program.einsums)]
    heading = f"<strong>{html_text(program.name)}</strong>"
    title = f"<br>{html_text(program.title)}" if program.title else ""
    if program.unverified:
        title += f"<br><em>unverified: {html_text(program.unverified)}</em>"
    equations = html_text(f"$${program_latex(program)}$$")
    text = html_text("\n".join(lines))
    folded = f"<details><summary>as text</summary><pre>{text}</pre></details>"
    return f"<div>{heading}{title}<div>{equations}</div>{folded}</div>"
