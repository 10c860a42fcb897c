"""Tables of a study: the means it states, and every row of every figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..document import Column, Document, Table
from ..quantities import seconds
from .measures import PLAIN, Measures
from .plan import Figure, Headline, Plan
from .runs import Missing, Run
from .study import Study

Cell = str | float | None

ABSENT = "missing"
"""What a cell shows for a run that gave nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Exact rows for a CSV file: texts and numbers, None for what is missing."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tokens(length: int) -> str:
    """``4K`` for 4096, ``1M`` for 1048576, and plain digits where neither is whole."""
    for power, suffix in ((20, "M"), (10, "K")):
        if length >> power << power == length:
            return f"{length >> power}{suffix}"
    return str(length)


# ---------------------------------------------------------------------- headline


def headline(study: Study) -> Document:
    """Each mean: published, reproduced, and in the plan's other billings."""
    plan = study.plan
    first, *others = plan.billings
    columns = (
        Column("mean", "text"),
        Column("published"),
        Column("corrected"),
        Column("reproduced"),
        Column("same", "name"),
        *(Column(title) for _, title in others),
    )
    rows = tuple(_headline_row(study, h, first[0], [b for b, _ in others]) for h in plan.headlines)
    return Document(
        title=plan.title,
        subtitle=plan.source,
        tables=((Table(title="", columns=columns, rows=rows),),) if rows else (),
        notes=(*_mean_notes(plan), *_missing_notes(study)),
    )


def _headline_row(study: Study, h: Headline, first: str, others: list[str]) -> tuple[str, ...]:
    mean = study.mean(h, first)
    return (
        h.title,
        h.published.text,
        h.corrected.text if h.corrected else "",
        ABSENT if mean is None else h.published.like(mean, more=1),
        _same(h, mean),
        *(
            ABSENT if (m := study.mean(h, b)) is None else h.published.like(m, more=1)
            for b in others
        ),
    )


def _same(h: Headline, mean: float | None) -> str:
    """Whether a mean is the published one, to the digits that were printed."""
    if mean is None:
        return ""
    if h.published.agrees(mean):
        return "yes"
    if h.corrected is not None and h.corrected.agrees(mean):
        return "corrected"
    return "no"


def _mean_notes(plan: Plan) -> Iterator[str]:
    if plan.headlines:
        kinds = " and ".join(sorted({h.mean for h in plan.headlines}))
        models, lengths = len(plan.workloads), len(plan.lengths)
        runs = f"{models * lengths} runs"
        yield f"{kinds} means over {models} models and {lengths} lengths ({runs})"
    for because in dict.fromkeys(h.because for h in plan.headlines if h.because):
        yield f"corrected: {because}"


def _missing_notes(study: Study) -> Iterator[str]:
    """Each reason once, with how many runs it stopped."""
    found: dict[tuple[str, str, str], int] = {}
    for run, reason in study.missing:
        key = (run.scope, run.configuration, reason)
        found[key] = found.get(key, 0) + 1
    for (scope, configuration, reason), times in found.items():
        runs = "1 run" if times == 1 else f"{times} runs"
        yield f"missing: {runs} of {configuration} ({scope}): {reason}"


def omissions(study: Study) -> Document | None:
    """What each omission does to energy and latency by itself; None where there are none."""
    some = study.plan.omissions
    if some is None:
        return None
    rows = tuple(
        (
            study.plan.configuration(case.configuration).title,
            case.title,
            f"{after.energy_pj / before.energy_pj:.3f}x",
            f"{after.latency_s / before.latency_s:.3f}x",
        )
        for case, before, after in study.put_right()
    )
    columns = (
        Column("configuration", "name"),
        Column("put right", "text"),
        Column("energy"),
        Column("latency"),
    )
    scope = study.plan.scope(some.scope).title
    return Document(
        title="What is left out, put right one at a time",
        subtitle=f"{scope} of {some.workload} at {tokens(some.seq_len)} tokens",
        tables=((Table(title="", columns=columns, rows=rows),),),
    )


def billings(study: Study) -> Document | None:
    """What the other billings make of energy and latency; None where there is one alone."""
    first, *others = study.plan.billings
    if not others:
        return None
    columns = (
        Column("scope", "name"),
        Column("configuration", "name"),
        *(Column(f"{what}, {words}") for _, words in others for what in ("energy", "latency")),
    )
    rows = tuple(
        (
            scope.title,
            configuration.title,
            *(
                ABSENT
                if (m := study.against(first[0], b, scope.name, configuration.name, q)) is None
                else f"{m:.3f}x"
                for b, _ in others
                for q in ("energy_pj", "latency_s")
            ),
        )
        for scope in study.plan.scopes
        for configuration in study.plan.configurations
    )
    return Document(
        title=f"Relative to {first[1]}",
        subtitle="arithmetic means over all models and lengths",
        tables=((Table(title="", columns=columns, rows=rows),),),
    )


# ---------------------------------------------------------------------- figures


def figure_document(study: Study, figure: Figure) -> Document:
    """The numbers of one figure, billing by billing, a table for each panel."""
    plan = study.plan
    found = tuple(
        (table,)
        for billing, words in plan.billings
        for table in _figure_tables(study, figure, billing, words)
    )
    return Document(title=f"Figure {figure.number}: {figure.title}", tables=found)


def _figure_tables(study: Study, figure: Figure, billing: str, words: str) -> Iterator[Table]:
    if figure.kind == "scatter":
        yield _scatter_table(study, figure, billing, words)
        return
    if figure.kind == "breakdown":
        yield from _breakdown_tables(study, figure, billing, words)
        return
    plan = study.plan
    columns = (
        Column("model", "name"),
        Column("tokens"),
        *(Column(plan.configuration(c).title) for c in figure.configurations),
    )
    for panel in figure.panels:
        rows = tuple(
            (
                workload,
                tokens(length),
                *(
                    _cell(
                        panel.quantity,
                        study.value(figure, panel.quantity, billing, c, workload, length),
                    )
                    for c in figure.configurations
                ),
            )
            for workload in plan.workloads
            for length in plan.lengths
        )
        yield Table(title=f"{panel.title}, {words}", columns=columns, rows=rows)


def _breakdown_tables(study: Study, figure: Figure, billing: str, words: str) -> Iterator[Table]:
    """Per configuration: the part of the time that each Einsum keeps the array busy."""
    plan = study.plan
    for name in figure.configurations:
        einsums = breakdown_einsums(study, figure, name)
        if not einsums:
            continue
        rows: list[tuple[str, ...]] = []
        for workload in plan.workloads:
            for length in plan.lengths:
                parts = breakdown(study, figure, billing, name, workload, length)
                cells = (
                    [ABSENT] * len(einsums)
                    if parts is None
                    else [_percent(parts.get(e, 0.0)) for e in einsums]
                )
                rows.append((workload, tokens(length), *cells))
        title = f"{plan.configuration(name).title}: {figure.panels[0].title}, {words}"
        columns = (Column("model", "name"), Column("tokens"), *map(Column, einsums))
        yield Table(title=title, columns=columns, rows=tuple(rows))


def array_of(figure: Figure) -> str:
    """The array whose time a breakdown is of."""
    return figure.panels[0].quantity.partition(".")[2]


def breakdown(
    study: Study, figure: Figure, billing: str, configuration: str, workload: str, seq_len: int
) -> dict[str, float] | None:
    """Shares of the elapsed time by Einsum on the figure's array; None if missing."""
    own = study.measures(billing, figure.scope, configuration, workload, seq_len)
    if own is None:
        return None
    return {e: share for array, e, share in own.shares if array == array_of(figure)}


def breakdown_einsums(study: Study, figure: Figure, configuration: str) -> tuple[str, ...]:
    """Einsums that a configuration runs on the figure's array, in written order."""
    plan = study.plan
    found: dict[str, None] = {}
    for billing, _ in plan.billings:
        for workload in plan.workloads:
            for length in plan.lengths:
                parts = breakdown(study, figure, billing, configuration, workload, length)
                found |= dict.fromkeys(parts or ())
    return tuple(found)


def _scatter_table(study: Study, figure: Figure, billing: str, words: str) -> Table:
    columns = (
        Column("model", "name"),
        Column("machine"),
        Column("area (mm²)"),
        Column("latency"),
        Column("bound by", "text"),
    )
    rows = tuple(
        (
            run.workload,
            run.label,
            f"{own.area_um2 / 1e6:.2f}",
            seconds(own.latency_s),
            own.bound_by,
        )
        for run, own in study.points(figure, billing)
    )
    return Table(title=words, columns=columns, rows=rows)


def _cell(quantity: str, value: float | None) -> str:
    if value is None:
        return ABSENT
    if quantity == "speedup":
        return f"{value:.2f}x"
    if quantity == "energy" or quantity.startswith("utilization."):
        return _percent(value)
    return f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


# ---------------------------------------------------------------------- exact rows


def runs_sheet(study: Study) -> Sheet:
    """Every run with everything measured, exact: one row each, SI units but picojoules."""
    measured = [o for _, o in study.outcomes if isinstance(o, Measures)]
    arrays = tuple(dict.fromkeys(a for m in measured for a, _ in m.utilization))
    quantities = (*PLAIN, *(f"utilization.{a}" for a in arrays))
    columns = (*_KEYS, *quantities, "bound_by", "missing")
    rows = tuple(
        (*_keys(run), *(None for _ in quantities), None, outcome.reason)
        if isinstance(outcome, Missing)
        else (*_keys(run), *(outcome.value(q) for q in quantities), outcome.bound_by, None)
        for run, outcome in study.outcomes
    )
    return Sheet(columns=columns, rows=rows)


_KEYS = ("billing", "scope", "configuration", "workload", "seq_len", "machine", "put_right")


def _keys(run: Run) -> tuple[str | int, ...]:
    names = (run.billing, run.scope, run.configuration, run.workload)
    return (*names, run.seq_len, run.label, run.omission)


def headline_sheet(study: Study) -> Sheet:
    """Each mean as a plain number in every billing, beside the published one."""
    billings = [b for b, _ in study.plan.billings]
    names = ("quantity", "scope", "of", "over", "mean", "source", "printed", "corrected")
    rows = tuple(
        (
            *(h.quantity, h.scope, h.of, h.over, h.mean, h.source, h.published.value),
            h.corrected.value if h.corrected else None,
            *(study.mean(h, b) for b in billings),
        )
        for h in study.plan.headlines
    )
    return Sheet(columns=(*names, *(f"reproduced_{b}" for b in billings)), rows=rows)


def figure_sheet(study: Study, figure: Figure) -> Sheet:
    """The exact numbers a figure shows, one value a row."""
    columns = ("billing", "configuration", "workload", "seq_len", "part", "quantity", "value")
    return Sheet(columns=columns, rows=tuple(_figure_rows(study, figure)))


def _figure_rows(study: Study, figure: Figure) -> Iterator[tuple[Cell, ...]]:
    plan = study.plan
    if figure.kind == "scatter":
        for billing, _ in plan.billings:
            for run, own in study.points(figure, billing):
                keys = (billing, run.configuration, run.workload, run.seq_len, run.label)
                yield from ((*keys, p.quantity, own.value(p.quantity)) for p in figure.panels)
        return
    for billing, _ in plan.billings:
        for c in figure.configurations:
            for w in plan.workloads:
                for n in plan.lengths:
                    for part, quantity, value in figure_parts(study, figure, billing, c, w, n):
                        yield (billing, c, w, n, part, quantity, value)


def figure_parts(
    study: Study, figure: Figure, billing: str, configuration: str, workload: str, seq_len: int
) -> Iterator[tuple[str, str, float | None]]:
    """What a figure shows of one run: (part, quantity, value), the whole without a part."""
    run = (billing, configuration, workload, seq_len)
    for panel in figure.panels:
        yield "", panel.quantity, study.value(figure, panel.quantity, *run)
    if figure.kind == "breakdown":
        for einsum, share in (breakdown(study, figure, *run) or {}).items():
            yield einsum, figure.panels[0].quantity, share
    if figure.kind == "stack":
        for component, part in energy_parts(study, figure, *run):
            yield component, figure.panels[0].quantity, part


def energy_parts(
    study: Study, figure: Figure, billing: str, configuration: str, workload: str, seq_len: int
) -> tuple[tuple[str, float], ...]:
    """Energy by component over the whole energy of the figure's baseline (or its own)."""
    own = study.measures(billing, figure.scope, configuration, workload, seq_len)
    against = figure.baseline or configuration
    base = study.measures(billing, figure.scope, against, workload, seq_len)
    if own is None or base is None:
        return ()
    return tuple((component, e / base.energy_pj) for component, e in own.energy)


def to_csv(sheet: Sheet) -> str:
    """Comma-separated text; floats as their shortest exact form, nothing for None."""
    import csv
    from io import StringIO

    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows(sheet.rows)
    return stream.getvalue()
