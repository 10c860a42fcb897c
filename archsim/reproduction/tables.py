"""Tables of a study: means that the publication states, the numbers of every figure, and every
run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace

from ..document import Document, Table, names, numbers, table_document, table_of, texts
from ..quantities import seconds
from ..result.result import Result
from ..writing import csv_text
from .plan import PublishedFigure, PublishedMean, Reproduction
from .runs import PLAIN, Outcome, is_share, quantity_of
from .study import FigureData, ShownNumbers, Study

ABSENT = "missing"
"""Text in the cell of a run without a result."""


def tokens(length: int) -> str:
    """Return ``4K`` for 4096, ``1M`` for 1048576, and plain digits for other lengths."""
    for power, suffix in ((20, "M"), (10, "K")):
        if length >> power << power == length:
            return f"{length >> power}{suffix}"
    return str(length)


def headline(study: Study) -> Document:
    """Return a table of means: published, reproduced, and in the plan's other billings.

    Returns
    -------
    Document
        Without a table where the plan states no means.
    """
    plan = study.plan
    found = table_document(
        plan.title,
        (
            *(*texts("mean"), *numbers("published", "corrected", "reproduced"), *names("same")),
            *numbers(*plan.other_billings.values()),
        ),
        (_mean_row(study, mean) for mean in plan.headline),
        subtitle=plan.source,
        notes=[*_mean_notes(plan), *_missing_notes(study)],
    )
    return found if plan.headline else replace(found, tables=())


def _mean_row(study: Study, mean: PublishedMean) -> tuple[str, ...]:
    found = {b: study.mean(mean, b) for b in study.plan.billings}
    ours, *others = (
        ABSENT if m is None else mean.published.like(m, more=1) for m in found.values()
    )
    return (
        study.plan.title_of(mean),
        mean.published.text,
        mean.corrected.text if mean.corrected else "",
        ours,
        _same(mean, found[study.plan.published_billing]),
        *others,
    )


def _same(mean: PublishedMean, ours: float | None) -> str:
    """Return whether a mean agrees with the published one, to the printed digits."""
    if ours is None:
        return ""
    if mean.published.agrees(ours):
        return "yes"
    return "corrected" if mean.corrected and mean.corrected.agrees(ours) else "no"


def _mean_notes(plan: Reproduction) -> Iterator[str]:
    if plan.headline:
        kinds = " and ".join(sorted({h.mean for h in plan.headline}))
        models, lengths = len(plan.workloads), len(plan.seq_len)
        runs = f"{models * lengths} runs"
        yield f"{kinds} means over {models} models and {lengths} lengths ({runs})"
    for because in dict.fromkeys(h.because for h in plan.headline if h.because):
        yield f"corrected: {because}"


def _missing_notes(study: Study) -> Iterator[str]:
    """Yield each reason why runs are missing, with the number of these runs."""
    found = Counter((run.scope, run.configuration, reason) for run, reason in study.missing)
    for (scope, configuration, reason), times in found.items():
        runs = "1 run" if times == 1 else f"{times} runs"
        yield f"missing: {runs} of {configuration} ({scope}): {reason}"


def omissions(study: Study) -> Document | None:
    """Return a table of the effects of omitted costs on energy and latency; None without omitted
    costs."""
    some = study.plan.omissions
    if some is None:
        return None
    scope = study.plan.scope(some.scope).title
    return table_document(
        "What is left out, put right one at a time",
        (*names("configuration"), *texts("put right"), *numbers("energy", "latency")),
        (
            (
                study.plan.configuration(run.configuration).title,
                run.omission,
                f"{after.energy_pj / before.energy_pj:.3f}x",
                f"{after.latency_s / before.latency_s:.3f}x",
            )
            for run, before, after in study.put_right()
        ),
        subtitle=f"{scope} of {some.workload} at {tokens(some.seq_len)} tokens",
    )


def billings(study: Study) -> Document | None:
    """Return a table of all other billings' ratios to the published one; None without other
    billings."""
    plan = study.plan
    others = plan.other_billings
    if not others:
        return None

    def relative(billing: str, scope: str, configuration: str, quantity: str) -> str:
        mean = study.against_published(billing, scope, configuration, quantity)
        return ABSENT if mean is None else f"{mean:.3f}x"

    return table_document(
        f"Relative to {plan.billings[plan.published_billing]}",
        (
            *names("scope", "configuration"),
            *numbers(*(f"{q}, {w}" for w in others.values() for q in ("energy", "latency"))),
        ),
        (
            (
                s.title,
                c.title,
                *(relative(b, s.name, c.name, q) for b in others for q in PLAIN[1::-1]),
            )
            for s in plan.scopes
            for c in plan.configurations
        ),
        subtitle="arithmetic means over all models and lengths",
    )


def figure_document(study: Study, figure: PublishedFigure) -> Document:
    """Return the numbers of one figure, with a table for each billing and panel.

    Parameters
    ----------
    study : Study
        Whose plan the figure is of.
    figure : PublishedFigure
        One of a sweep over machines has its numbers machine by machine.
    """
    tables = _machine_tables(study, figure)
    if not figure.is_of_sweep:
        tables = _case_tables(study.data(figure))
    title = f"Figure {figure.number}: {figure.title}"
    return Document(title=title, tables=tuple((table,) for table in tables))


def _case_tables(data: FigureData) -> Iterator[Table]:
    """Yield tables with a row for every model and length, billing by billing.

    Whole runs have a table for each panel, with a column for each configuration. A breakdown has
    a table for each configuration: the share of the time that each Einsum uses the array.
    """
    plan, figure = data.plan, data.figure
    titles = {c: plan.configuration(c).title for c in figure.configurations}
    for billing, words in plan.billings.items():
        shown = [[data.numbers(billing, c, case) for c in titles] for case in plan.cases]
        if figure.kind == "breakdown":
            panel = figure.panels[0]
            for at, (name, title) in enumerate(titles.items()):
                if einsums := data.parts_of(name):
                    cells = [_part_cells(panel.quantity, row[at], einsums) for row in shown]
                    yield _case_table(plan, f"{title}: {panel.title}, {words}", einsums, cells)
        else:
            for panel in figure.panels:
                cells = [[_cell(panel.quantity, numbers) for numbers in row] for row in shown]
                yield _case_table(plan, f"{panel.title}, {words}", [*titles.values()], cells)


def _case_table(
    plan: Reproduction, title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]
) -> Table:
    """Return a table with a row of cells for every model and length."""
    rows = ((w, tokens(n), *row) for (w, n), row in zip(plan.cases, cells, strict=True))
    return table_of(title, (*names("model"), *numbers("tokens", *columns)), rows)


def _machine_tables(study: Study, figure: PublishedFigure) -> Iterator[Table]:
    """Yield tables of the sweep's machines: area, latency and bottleneck."""
    sizes = numbers("machine", "area (mm²)", "latency")
    for billing, words in study.plan.billings.items():
        rows = (
            (
                run.workload,
                run.label,
                f"{own.area_um2 / 1e6:.2f}",
                seconds(own.latency_s),
                own.bound_by,
            )
            for run, own in study.points(figure)
            if run.billing == billing
        )
        yield table_of(words, (*names("model"), *sizes, *texts("bound by")), rows)


def _part_cells(quantity: str, shown: ShownNumbers, parts: Sequence[str]) -> list[str]:
    if shown.whole[quantity] is None:
        return [ABSENT] * len(parts)
    return [_percent(shown.parts.get(part, 0.0)) for part in parts]


def _cell(quantity: str, shown: ShownNumbers) -> str:
    value = shown.whole[quantity]
    if value is None:
        return ABSENT
    if quantity == "speedup":
        return f"{value:.2f}x"
    return _percent(value) if is_share(quantity) else f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def runs_csv(study: Study) -> str:
    """Return all quantities of every run as CSV, a row each, in SI units except picojoules."""
    results = [o for o in study.outcomes.values() if isinstance(o, Result)]
    arrays = dict.fromkeys(a for r in results for a in r.utilization)
    quantities = (*PLAIN, *(f"utilization.{a}" for a in arrays))

    def cells(outcome: Outcome) -> tuple[str | float | None, ...]:
        if isinstance(outcome, str):
            return (*(None for _ in quantities), None, outcome)
        return (*(quantity_of(outcome, q) for q in quantities), outcome.bound_by, None)

    keys = ("billing", "scope", "configuration", "workload", "seq_len", "machine", "put_right")
    return csv_text(
        (*keys, *quantities, "bound_by", "missing"),
        ((*astuple(run), *cells(outcome)) for run, outcome in study.outcomes.items()),
    )


def means_csv(study: Study) -> str:
    """Return each mean in every billing, beside the published one, as CSV with plain numbers."""
    billings = study.plan.billings
    keys = ("quantity", "scope", "of", "over", "mean", "source")
    return csv_text(
        (*keys, "printed", "corrected", *(f"reproduced_{b}" for b in billings)),
        (
            (
                *(getattr(h, key) for key in keys),
                h.published.value,
                h.corrected.value if h.corrected else None,
                *(study.mean(h, b) for b in billings),
            )
            for h in study.plan.headline
        ),
    )


def figure_csv(data: FigureData) -> str:
    """Return the exact numbers of a figure as CSV, with one value per row."""
    columns = ("billing", "configuration", "workload", "seq_len", "part", "quantity", "value")
    return csv_text(columns, _figure_rows(data))


def _figure_rows(data: FigureData) -> Iterator[tuple[str | float | None, ...]]:
    for run, shown in data.shown.items():
        key = (run.billing, run.configuration, run.workload, run.seq_len)
        for quantity, value in shown.whole.items():
            yield (*key, run.label, quantity, value)
        for part, share in shown.parts.items():
            yield (*key, part, data.figure.panels[0].quantity, share)
