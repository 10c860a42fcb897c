"""Report of a comparison, and the comparison as a table in CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..document import Document, Table, names, numbers, table_of, texts
from ..quantities import area, byte_size, count, energy, engineering, percent, ratio, seconds
from ..result.report import short_of_memory
from ..writing import csv_text
from .record import ComparedMachine, ComparisonRecord


def comparison_report(comparison: ComparisonRecord) -> Document:
    """Return the report of a comparison: ratios, areas by component, and scaled sizes."""
    first = comparison.first.result
    how = comparison.how or "as they are"
    sizes = "  ".join(f"{rank}={size:,}" for rank, size in first.shape)
    tables = [(_ratios(comparison),), (_runs(comparison),), (_areas(comparison),)]
    if in_copies(comparison):
        tables.insert(1, (_copies(comparison),))
    if (scalings := _scalings(comparison)).rows:
        tables.append((scalings,))
    return Document(
        title=f"{first.workload} on {len(comparison.rows)} machines {how}{comparison.files}",
        subtitle=f"{sizes}  (relative to {comparison.first.label})",
        tables=tuple(tables),
        notes=_notes(comparison),
    )


def in_copies(comparison: ComparisonRecord) -> bool:
    """Return whether the comparison takes several copies of some machine."""
    return any(row.copies != 1 for row in comparison.rows)


def _copies(comparison: ComparisonRecord) -> Table:
    what = "power" if comparison.iso_power else "area"
    rows = [
        (row.label, f"{row.copies:,.3g}", engineering(row.power_w, "W")) for row in comparison.rows
    ]
    heads = (*names("machine"), *numbers("copies", "power"))
    return table_of(f"copies with the first machine's {what}", heads, rows)


def _ratios(comparison: ComparisonRecord) -> Table:
    rows = [
        (
            *(row.label, row.result.mapping),
            *(seconds(row.totals.latency_s), ratio(row.speedup)),
            *(energy(row.totals.energy_pj), percent(row.energy_ratio)),
            *(area(row.result.area_um2), percent(row.area_ratio)),
        )
        for row in comparison.rows
    ]
    measured = numbers("latency", "speedup", "energy", "ratio", "area", "ratio")
    return table_of("", (*names("machine"), *texts("mapping"), *measured), rows)


def _runs(comparison: ComparisonRecord) -> Table:
    rows = []
    for row in comparison.rows:
        uses = ", ".join(f"{a} {percent(u)}" for a, u in row.result.utilization.items())
        rows.append((row.label, row.result.bound_by, uses, byte_size(row.result.traffic_bytes)))
    words = texts("bound by", "utilization")
    heads = (*names("machine"), *words, *numbers("outermost traffic"))
    return table_of("bottleneck and utilization", heads, rows)


def area_components(comparison: ComparisonRecord) -> tuple[str, ...]:
    """Return the components of all machines, in the order in which they first occur."""
    found = (n for row in comparison.rows for n, _ in row.result.area_by_component)
    return tuple(dict.fromkeys(found))


def _areas(comparison: ComparisonRecord) -> Table:
    parts = [dict(row.result.area_by_component) for row in comparison.rows]
    rows = [
        (name, *(area(p[name]) if name in p else "-" for p in parts))
        for name in area_components(comparison)
    ]
    rows.append(("total", *(area(row.result.area_um2) for row in comparison.rows)))
    machines = numbers(*(row.label for row in comparison.rows))
    return table_of("area by component", (*names("component"), *machines), rows)


def _scalings(comparison: ComparisonRecord) -> Table:
    return table_of(
        "sizes scaled to the first machine's area",
        (*names("machine"), *texts("size"), *numbers("before", "after", "residual")),
        (line for row in comparison.rows for line in _scaling_lines(row)),
    )


def _scaling_lines(row: ComparedMachine) -> Iterator[tuple[str, ...]]:
    scaling = row.scaling
    if scaling is None:
        return
    for change in scaling.changes:
        show = byte_size if change.unit == "bytes" else count
        yield (row.label, change.field, show(change.before), show(change.after), "")
    what = "area" if scaling.changes else "area (no other size is closer)"
    off = f"{100 * scaling.residual:+.2f} %"
    yield (row.label, what, area(scaling.before_um2), area(scaling.after_um2), off)


def _notes(comparison: ComparisonRecord) -> tuple[str, ...]:
    first = comparison.first.label
    found = [
        f"speedup: latency of {first} over the machine's own, above 1x the machine is faster; "
        f"ratios: the machine's over {first}'s"
    ]
    for row in comparison.rows:
        if row.refused:
            tried = "; ".join(f"{r.mapping}: {r.reason}" for r in row.refused)
            found.append(
                f"{row.label} runs {row.result.mapping}, since others are refused: {tried}"
            )
        found += [f"{row.label}: {note}" for note in row.left_out]
        if comparison.as_built and row.result.as_built is None:
            found.append(f"{row.label} states no losses: as designed")
        elif comparison.as_built and row.result.as_built and row.result.as_built.inherited:
            found.append(f"{row.label}: losses {row.result.as_built.inherited}")
        found += [f"{row.label} {line}" for line in short_of_memory(row.result)]
        missing = [name for name, size in row.result.area_by_component if not size]
        if missing:
            found.append(f"{row.label}: no area is given for {', '.join(missing)}")
    if in_copies(comparison):
        found.append("speedup and ratio of areas are of all copies, each with sequences of its own")
    elif comparison.iso_area:
        found.append("parts that were not scaled (register depth, lines, bandwidth) are as given")
    return tuple(found)


def comparison_csv(comparison: ComparisonRecord) -> str:
    """Return one CSV line per machine, with units in the column names and unrounded numbers.

    Parameters
    ----------
    comparison : ComparisonRecord
        Machines may differ in their arrays and components: a cell is empty where a machine
        has nothing of the column's name.
    """
    arrays = dict.fromkeys(a for row in comparison.rows for a in row.result.utilization)
    components = area_components(comparison)
    heads = (
        *("machine", "mapping", "latency_s", "speedup", "energy_pj", "energy_ratio"),
        *("area_um2", "area_ratio", "area_residual", "copies", "outer_traffic_bytes", "bound_by"),
        *(f"utilization_{a}" for a in arrays),
        *(f"area_{c}_um2" for c in components),
    )
    return csv_text(heads, (_csv_row(row, arrays, components) for row in comparison.rows))


def _csv_row(
    row: ComparedMachine, arrays: Iterable[str], components: Iterable[str]
) -> Iterator[str | float | None]:
    result, parts = row.result, dict(row.result.area_by_component)
    yield from (row.label, result.mapping)
    yield from (row.totals.latency_s, row.speedup, row.totals.energy_pj)
    yield from (row.energy_ratio, result.area_um2, row.area_ratio)
    yield None if row.scaling is None else row.scaling.residual
    yield from (row.copies, result.traffic_bytes, result.bound_by)
    yield from map(result.utilization.get, arrays)
    yield from map(parts.get, components)
