"""One cascade of the atlas in full: equations, passes, footprints, operations, runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from einsum_cascade.counting.symbolic import Analysis
from einsum_cascade.ir import Program
from einsum_cascade.notation.typeset import expression_mathml, program_mathml
from einsum_cascade.source import html_text

from ..quantities import byte_size, energy, percent, seconds
from .run import AtlasRun


def details_html(program: Program, analysis: Analysis, runs: tuple[AtlasRun, ...]) -> str:
    """A ``<details>`` element that the table's names link to."""
    name = html_text(program.name)
    source = f'<p class="source">{html_text(program.origin)}</p>' if program.origin else ""
    doubt = (
        f'<p><span class="unverified">unverified</span> {html_text(program.unverified)}</p>'
        if program.unverified
        else ""
    )
    parts = (
        f'<div class="box">{program_mathml(program)}</div>',
        _passes(analysis),
        _footprints(analysis),
        _operations(analysis),
        _runs(runs),
    )
    return (
        f'<details class="cascade" id="cascade-{name}"><summary><h2>{name}</h2> '
        f"{html_text(program.title)}</summary>{source}{doubt}{''.join(parts)}</details>"
    )


def _table(title: str, heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Cells are HTML already."""
    found = list(rows)
    if not found:
        return ""
    head = "".join(f"<th>{h}</th>" for h in heading)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in found)
    return (
        f'<h3>{title}</h3><div class="box"><table class="data"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _passes(analysis: Analysis) -> str:
    rows = []
    for r in analysis.passes.ranks:
        groups = (
            f"<b>{number}</b> {html_text(' '.join(e for e, p in r.pass_of if p == number))}"
            for number in range(1, r.count + 1)
        )
        chains = "\n".join(html_text(b.chain) for b in r.barriers)
        rows.append(
            (
                html_text(r.rank),
                r.counted,
                " &nbsp; ".join(groups),
                f'<span class="because">{chains or "none"}</span>',
            )
        )
    return _table("Passes", ("rank", "passes", "Einsums by pass", "barriers"), rows)


def _footprints(analysis: Analysis) -> str:
    rows = (
        (
            html_text(f.rank),
            html_text(" ".join(f.per)),
            expression_mathml(f.total),
            expression_mathml(f.needed),
        )
        for f in analysis.footprint
    )
    heading = ("while traversing", "for each of", "elements held", "for later passes")
    return _table("Live footprint", heading, rows)


def _operations(analysis: Analysis) -> str:
    rows: list[tuple[Any, ...]] = [
        (html_text(kind), expression_mathml(n)) for kind, n in analysis.operations.items()
    ]
    rows.append(("<i>least traffic, elements</i>", expression_mathml(analysis.traffic_min)))
    return _table("Operations", ("kind", "count"), rows)


def _runs(runs: tuple[AtlasRun, ...]) -> str:
    heading = ("mapping", "machine", "length", "latency", "utilization", "traffic", "energy")
    return _table("Simulated", heading, (_run(r) for r in runs))


def _run(run: AtlasRun) -> tuple[str, ...]:
    place = (html_text(run.mapping), html_text(run.machine), html_text(run.length))
    if run.result is None:
        return (*place, f'<span class="none">{html_text(run.refusal)}</span>', "", "", "")
    used = ", ".join(f"{html_text(a)} {percent(u)}" for a, u in run.result.utilization.items())
    return (
        *place,
        f"{seconds(run.result.latency_s)}, bound by {html_text(run.result.bound_by)}",
        used,
        byte_size(run.result.traffic_bytes),
        energy(run.result.energy_pj),
    )
