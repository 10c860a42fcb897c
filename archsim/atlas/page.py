"""Atlas as one HTML file that needs no network: a sortable table, and every cascade."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from string import Template
from typing import Any

from einsum_cascade.source import html_text

from ..result.result import Result
from .survey import LEGEND, MEASURES, SIZES, AtlasEntry, AtlasPlan, AtlasRun, Shown, utilization


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
    template = Template(files("archsim.atlas").joinpath("atlas.html").read_text(encoding="utf-8"))
    return template.substitute(
        summary=_summary(plan, entries),
        machines=_options(m.name for m in plan.machines),
        lengths=_options(s.label for s in plan.scenarios),
        headings=_headings(arrays),
        bodies="\n".join(_bodies(entries, arrays)),
        legend=html_text(LEGEND),
        details="\n".join(e.details for e in entries),
        runs=_embedded(_data(entries, arrays)),
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


def _headings(arrays: tuple[str, ...]) -> str:
    return "".join(
        f'<th scope="col" class="{kind}"><button type="button">{html_text(name)}</button></th>'
        for name, kind in _columns(arrays)
    )


def _columns(arrays: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return headings and rows of the table."""
    return [
        ("cascade", ""),
        ("passes", "number"),
        ("over", ""),
        *((label, "number") for _, label, _ in SIZES),
        ("mapping", ""),
        *((label, "number") for _, label, _ in MEASURES),
        *((f"{a} busy", "number") for a in arrays),
    ]


def _bodies(entries: tuple[AtlasEntry, ...], arrays: tuple[str, ...]) -> Iterator[str]:
    """Return groups of comparable rows; sorting keeps the groups."""
    groups = {
        "under a mapping written for it": [e for e in entries if e.is_mapped],
        "one Einsum after the other: no mapping is written": [
            e for e in entries if not e.is_mapped
        ],
    }
    columns = len(_columns(arrays))
    for title, group in groups.items():
        if group:
            rows = "\n".join(_row(e, arrays) for e in group)
            heading = f'<th scope="rowgroup" colspan="{columns}">{html_text(title)}</th>'
            yield f'<tbody class="group"><tr>{heading}</tr></tbody>'
            yield f'<tbody class="rows">{rows}</tbody>'


def _row(entry: AtlasEntry, arrays: tuple[str, ...]) -> str:
    program = entry.cascade.program
    most, over = entry.passes
    name = html_text(program.name)
    fields = [
        *(field for field, _, _ in SIZES),
        "mapping",
        *(field for field, _, _ in MEASURES),
        *(utilization(a) for a in arrays),
    ]
    cells = "".join(
        f'<td class="{kind}" data-field="{html_text(field)}" data-label="{html_text(label)}"></td>'
        for field, (label, kind) in zip(fields, _columns(arrays)[3:], strict=True)
    )
    words = html_text(f"{program.name} {program.title}")
    return (
        f'<tr data-name="{name}" data-find="{words}">'
        f'<td data-sort="{name}"><a href="#cascade-{name}">{name}</a><br>'
        f"<small>{html_text(program.title)}</small>{_mark(program.unverified)}</td>"
        f'<td class="number" data-label="passes">{most}</td>'
        f'<td data-label="over">{html_text(over)}</td>'
        f"{cells}</tr>"
    )


def _mark(unverified: str) -> str:
    if not unverified:
        return ""
    return f' <span class="unverified" title="{html_text(unverified)}">unverified</span>'


def _data(entries: tuple[AtlasEntry, ...], arrays: tuple[str, ...]) -> dict[str, Any]:
    """Return the numbers that the page's script shows: per cascade, machine and length."""
    runs: dict[str, Any] = {}
    sized: dict[str, Any] = {}
    for entry in entries:
        name = entry.cascade.name
        sized[name] = dict(entry.sized)
        for run in entry.runs:
            by_length = runs.setdefault(name, {}).setdefault(run.machine, {})
            best = by_length.get(run.length)
            if best is None or _better(run, best):
                seconds = run.result.latency_s if run.result else None
                by_length[run.length] = {"seconds": seconds, **_shown(run, arrays)}
    return {"sized": sized, "runs": runs}


def _better(run: AtlasRun, best: dict[str, Any]) -> bool:
    """Return whether a run is faster than the one shown so far; any run beats a refusal."""
    if run.result is None:
        return False
    return best["seconds"] is None or run.result.latency_s < best["seconds"]


def _shown(run: AtlasRun, arrays: tuple[str, ...]) -> dict[str, Shown]:
    if run.result is None:
        return {"mapping": ("does not run", None, f"{run.mapping}: {run.refusal}")}
    result: Result = run.result
    found: dict[str, Shown] = {"mapping": (run.mapping, run.mapping, "")}
    found |= {field: measure(result) for field, _, measure in MEASURES}
    used = result.utilization
    found |= {utilization(a): (f"{100 * used[a]:.1f} %", used[a], "") for a in arrays if a in used}
    return found


def _embedded(data: dict[str, Any]) -> str:
    """Return JSON that can stand inside a script element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
