"""Atlas as one HTML file that needs no network: a sortable table, and every cascade."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from math import inf
from string import Template
from typing import Any, NamedTuple

from einsum_cascade.source import html_text

from .survey import (
    LEGEND,
    MEASURES,
    SIZES,
    AtlasEntry,
    AtlasPlan,
    AtlasRun,
    RunMeasures,
    Shown,
    utilization,
)


def atlas_html(plan: AtlasPlan, entries: tuple[AtlasEntry, ...]) -> str:
    """Return the whole page. Texts of cascades, machines and mappings are escaped.

    Parameters
    ----------
    plan : AtlasPlan
        Plan of the survey.
    entries : tuple of AtlasEntry
        A row each, in this order until somebody sorts them.

    Returns
    -------
    str
        HTML with its styles, scripts and numbers inside: it fetches nothing.
    """
    arrays = tuple(dict.fromkeys(a.name for m in plan.machines for a in m.arrays))
    columns = _columns(arrays)
    numbers = json.dumps(_data(entries, arrays), allow_nan=False, separators=(",", ":"))
    template = Template(files("archsim.atlas").joinpath("atlas.html").read_text(encoding="utf-8"))
    return template.substitute(
        summary=_summary(plan, entries),
        machines=_options(m.name for m in plan.machines),
        lengths=_options(s.label for s in plan.scenarios),
        headings="".join(map(_heading, columns)),
        bodies="\n".join(_bodies(entries, columns)),
        legend=html_text(LEGEND),
        details="\n".join(e.details for e in entries),
        # This JSON stands inside a script element.
        runs=numbers.replace("<", "\\u003c"),
    )


def _summary(plan: AtlasPlan, entries: tuple[AtlasEntry, ...]) -> str:
    done = sum(r.result is not None for e in entries for r in e.runs)
    runs = sum(len(e.runs) for e in entries)
    shapes = ", ".join(dict.fromkeys(s.workload.name for s in plan.scenarios))
    return html_text(
        f"{len(entries)} cascades, analysed; {done} of {runs} combinations of mapping, machine and "
        f"length run, on shapes of {shapes}. Click a heading to sort, a name to read on."
    )


def _options(names: Iterable[str]) -> str:
    return "".join(f"<option>{html_text(n)}</option>" for n in names)


def _heading(column: _AtlasColumn) -> str:
    button = f'<button type="button">{html_text(column.label)}</button>'
    return f'<th scope="col" class="{column.kind}">{button}</th>'


class _AtlasColumn(NamedTuple):
    """Column of the table: its heading, its class, and the field that the script shows."""

    label: str
    kind: str = ""
    field: str = ""


def _columns(arrays: tuple[str, ...]) -> list[_AtlasColumn]:
    """Return the columns of the table; those with a field are filled in by the script."""
    return [
        _AtlasColumn("cascade"),
        _AtlasColumn("passes", "number"),
        _AtlasColumn("over ranks"),
        *(_AtlasColumn(label, "number", field) for field, label, _ in SIZES),
        _AtlasColumn("mapping", field="mapping"),
        *(_AtlasColumn(label, "number", field) for field, label, _ in MEASURES),
        _AtlasColumn("best mapping", field="best"),
        _AtlasColumn("its latency", "number", "best-latency"),
        *(_AtlasColumn(f"{a} busy", "number", utilization(a)) for a in arrays),
    ]


def _bodies(entries: tuple[AtlasEntry, ...], columns: list[_AtlasColumn]) -> Iterator[str]:
    """Yield groups of comparable rows; sorting keeps the groups."""
    titles = {
        True: "under a mapping written for it",
        False: "one Einsum after the other: no mapping is written",
    }
    for is_mapped, title in titles.items():
        if rows := "\n".join(_row(e, columns) for e in entries if e.is_mapped == is_mapped):
            heading = f'<th scope="rowgroup" colspan="{len(columns)}">{html_text(title)}</th>'
            yield f'<tbody class="group"><tr>{heading}</tr></tbody>'
            yield f'<tbody class="rows">{rows}</tbody>'


def _row(entry: AtlasEntry, columns: list[_AtlasColumn]) -> str:
    most, over = entry.passes
    name, title, doubt = map(html_text, (entry.name, entry.title, entry.unverified))
    cells = "".join(
        f'<td class="{c.kind}" data-field="{html_text(c.field)}"'
        f' data-label="{html_text(c.label)}"></td>'
        for c in columns
        if c.field
    )
    mark = f' <span class="unverified" title="{doubt}">unverified</span>' if doubt else ""
    return (
        f'<tr data-name="{name}" data-find="{name} {title}">'
        f'<td data-sort="{name}"><a href="#cascade-{name}">{name}</a><br>'
        f"<small>{title}</small>{mark}</td>"
        f'<td class="number" data-label="passes">{most}</td>'
        f'<td data-label="over ranks">{html_text(over)}</td>'
        f"{cells}</tr>"
    )


def _data(entries: tuple[AtlasEntry, ...], arrays: tuple[str, ...]) -> dict[str, Any]:
    """Return the numbers that the page's script shows: per cascade, machine and length."""
    runs: dict[str, Any] = {}
    best = _best_runs(entries)
    for entry in entries:
        by_machine = runs.setdefault(entry.name, {})
        for run in sorted(entry.runs, key=lambda r: r.result.latency_s if r.result else inf):
            # The fastest run comes first, and a refusal last.
            by_length = by_machine.setdefault(run.machine, {})
            fastest = best.get((entry.function, run.machine, run.length))
            by_length.setdefault(run.length, _shown(run, arrays) | _shown_best(fastest))
    return {"sized": {e.name: dict(e.sized) for e in entries}, "runs": runs}


_Best = tuple[str, RunMeasures]
"""Cascade and result of the fastest run."""


def _best_runs(entries: tuple[AtlasEntry, ...]) -> dict[tuple[str, str, str], _Best]:
    """Return the fastest run by function, machine and length."""
    found: dict[tuple[str, str, str], _Best] = {}
    for entry in entries:
        for run in entry.runs:
            place = (entry.function, run.machine, run.length)
            so_far = found.get(place)
            if run.result and (not so_far or run.result.latency_s < so_far[1].latency_s):
                found[place] = (entry.name, run.result)
    return found


def _shown_best(best: _Best | None) -> dict[str, Shown]:
    if best is None:
        return {}
    cascade, result = best
    _, _, measure = MEASURES[0]
    return {
        "best": (result.mapping, result.mapping, f"runs {cascade}"),
        "best-latency": measure(result),
    }


def _shown(run: AtlasRun, arrays: tuple[str, ...]) -> dict[str, Shown]:
    if run.result is None:
        return {"mapping": ("does not run", None, f"{run.mapping}: {run.refusal}")}
    used = run.result.utilization
    return {
        "mapping": (run.mapping, run.mapping, ""),
        **{field: measure(run.result) for field, _, measure in MEASURES},
        **{utilization(a): (f"{100 * used[a]:.1f} %", used[a], "") for a in arrays if a in used},
    }
