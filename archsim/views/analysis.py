"""Reports of the analysis of a cascade, and of the validation of cascades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from einsum_cascade.algebra.products import hoistable
from einsum_cascade.counting.traffic import gathered_inputs

from ..document import Document, Fact, Table, names, numbers, table_document, table_of, texts

if TYPE_CHECKING:
    from einsum_cascade.analysis_report import RankPasses
    from einsum_cascade.counting.symbolic import Analysis

    from ..validation.trial import ValidationReport


def analysis_report(analysis: Analysis, rank: str | None = None) -> Document:
    """Return a report of an analysis: passes with their barriers, footprints, operations, traffic.

    Parameters
    ----------
    analysis : Analysis
        Result of ``Cascade.analyze``.
    rank : str, optional
        The only rank to report passes and footprints of.

    Raises
    ------
    CascadeError
        The cascade has no such rank.
    """
    ranks = analysis.passes.ranks if rank is None else (analysis.passes.of(rank),)
    program = analysis.program
    known = (program.rank_of[r.rank] for r in ranks if r.rank in program.rank_of)
    return Document(
        title=f"{program.name}: {program.title}" if program.title else program.name,
        subtitle=", ".join(f"{r.name} {r.meaning}" for r in known if r.meaning),
        facts=_facts(analysis, ranks),
        tables=tuple((table,) for table in analysis_tables(analysis, ranks) if table.rows),
        notes=_notes(analysis),
    )


def analysis_tables(analysis: Analysis, ranks: tuple[RankPasses, ...]) -> tuple[Table, ...]:
    """Return the tables of an analysis, with the passes and footprints of some ranks."""
    return (
        _passes(ranks),
        _barriers(ranks),
        _footprints(analysis, [r.rank for r in ranks]),
        _operations(analysis),
        _traffic(analysis),
    )


def analysis_dict(analysis: Analysis, rank: str | None = None) -> dict[str, Any]:
    """Return the JSON object of ``analyze --json``, for one rank alone if ``rank`` is given.

    Raises
    ------
    CascadeError
        The cascade has no such rank.
    """
    found = analysis.to_dict()
    if rank is not None:
        found["ranks"] = {rank: analysis.passes.of(rank).to_dict()}
        for key in ("footprint", "footprint_elements"):
            found[key] = {r: v for r, v in found[key].items() if r == rank}
    return found


def _facts(analysis: Analysis, ranks: tuple[RankPasses, ...]) -> tuple[Fact, ...]:
    most = max(ranks, key=lambda r: (r.count, not r.at_most))
    often = [r.rank for r in ranks if r.count == most.count and r.grain != "member"]
    over = ", ".join(often) if often else most.rank
    return (
        Fact("passes", most.counted, f"over {over}"),
        Fact(
            "least traffic", f"{_text(analysis.traffic_min)} elements", "inputs and outputs, once"
        ),
        Fact("intensity", f"{_text(analysis.intensity)}", "operations per element of it"),
    )


def _passes(ranks: tuple[RankPasses, ...]) -> Table:
    return table_of(
        "passes over each rank",
        (*names("rank"), *numbers("passes"), *texts("Einsums by pass")),
        (("  " * (r.grain == "member") + r.rank, r.counted, _by_pass(r)) for r in ranks),
    )


def _by_pass(passes: RankPasses) -> str:
    groups = (
        f"{number}: {' '.join(e for e, p in passes.pass_of if p == number)}"
        for number in range(1, passes.count + 1)
    )
    return "  |  ".join(groups)


def _barriers(ranks: tuple[RankPasses, ...]) -> Table:
    barriers = [b for r in ranks for b in r.barriers]
    return table_of(
        "why each pass begins",
        (*names("rank"), *numbers("pass"), *names("Einsum"), *texts("because")),
        ((b.rank, str(b.opens), b.einsum, "\n".join((b.chain, *b.because))) for b in barriers),
    )


def _footprints(analysis: Analysis, shown: list[str]) -> Table:
    rows = []
    for f in (f for f in analysis.footprint if f.rank in shown):
        long = [f"{t.tensor} {_text(t.along)}" for t in f.tensors if t.along != 1]
        row = (f.rank, " ".join(f.per), _text(f.total), _text(f.needed), ", ".join(long) or "-")
        rows.append(row)
    return table_of(
        "footprint while a rank is traversed (elements)",
        (
            *names("rank"),
            *texts("per", "footprint", "for later passes", "tensors longer than one element"),
        ),
        rows,
    )


def _operations(analysis: Analysis) -> Table:
    rows = []
    for kind, total in analysis.operations.items():
        einsums = [e.einsum for e in analysis.by_einsum if kind in dict(e.operations)]
        rows.append((kind, _text(total), " ".join(einsums)))
    return table_of("operations", (*names("kind"), *texts("count", "Einsums")), rows)


def _traffic(analysis: Analysis) -> Table:
    return table_of(
        "traffic when the buffer is too small",
        (*names("rank"), *texts("buffer below", "adds (elements)", "by")),
        ((x.rank, _text(x.needed), _text(x.cheapest), x.choice) for x in analysis.extra),
    )


def _notes(analysis: Analysis) -> tuple[str, ...]:
    notes = []
    if analysis.program.unverified:
        notes.append(f"unverified: {analysis.program.unverified}")
    if masked := [e.einsum for e in analysis.by_einsum if e.at_most]:
        notes.append(f"at most: a mask that reads data may leave out some of {', '.join(masked)}")
    if gathered := gathered_inputs(analysis.program):
        distinct = analysis.program.distinct
        differ = " and ".join(f"entries of {d.name} along {', '.join(d.ranks)}" for d in distinct)
        notes.append(
            f"least traffic: of {', '.join(gathered)} only what is gathered for any data; gathered "
            f"indices may coincide{f', but {differ} differ' if differ else ''}"
        )
    notes += [h.note(analysis.program) for h in hoistable(analysis.program)]
    return tuple(notes)


def _text(expression: Any) -> str:
    """Return an expression in shapes as text; whole numbers have thousands separators."""
    if getattr(expression, "is_Integer", False):
        return f"{int(expression):,}"
    if getattr(expression, "is_Rational", False):
        return f"{float(expression):,.6g}"
    return str(expression)


def validation_report(checks: Sequence[tuple[ValidationReport, str | None]]) -> Document:
    """Return a table with a row per cascade: errors, tolerance, reference.

    Parameters
    ----------
    checks : sequence of (ValidationReport, str or None)
        Reports, each with the mapping of the run, if any.
    """
    good = sum(check.ok is True for check, _ in checks)
    beyond = sum(bool(check.beyond) for check, _ in checks)
    unknown = sum(check.ok is None for check, _ in checks) - beyond
    compared = len(checks) - unknown - beyond
    known = f"{good} of {compared} as they should be"
    others = ((f"{unknown} not checked", unknown), (f"{beyond} not comparable", beyond))
    title = ", ".join(text for text, number in ((known, compared), *others) if number)
    dtypes = " and ".join(dict.fromkeys(check.dtype for check, _ in checks))
    mapped = any(mapping for _, mapping in checks)
    return table_document(
        f"{title}, in {dtypes}",
        (
            *(*names("cascade"), *texts(*(("run as",) if mapped else ())), *names("")),
            *(*numbers("rel error", "tolerance", "abs error"), *texts("compared with")),
        ),
        (_validated(check, mapping, mapped) for check, mapping in checks),
        notes=(note for check, _ in checks for note in _validation_notes(check)),
    )


def _validation_notes(check: ValidationReport) -> Iterator[str]:
    if check.failure:
        yield f"{check.cascade}: {check.failure}"
    if check.beyond:
        yield f"{check.cascade}: not comparable, for {check.beyond}"
    elif check.ok is None:
        yield (
            f"{check.cascade}: nothing says what it ought to compute; --against another cascade, "
            "or validate(cascade, reference=a function of the inputs) in Python, checks it"
        )
    if check.set_aside:
        inputs = "input was" if check.set_aside == 1 else "inputs were"
        yield (
            f"{check.cascade}: {check.set_aside} random {inputs} drawn again, where rounding to "
            f"{check.dtype} alone changes what is selected"
        )


def _validated(check: ValidationReport, mapping: str | None, mapped: bool) -> tuple[str, ...]:
    form = f"mapped by {mapping}" if mapping else "equations"
    errors = (check.max_rel_error, check.tolerance, check.max_abs_error)
    numbers = [f"{x:.1e}" for x in errors]
    return (check.cascade, *((form,) if mapped else ()), check.verdict, *numbers, check.against)
