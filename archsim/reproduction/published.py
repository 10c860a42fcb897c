"""Published numbers from a user's CSV files, compared with reproduced numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from pathlib import Path

from einsum_cascade.errors import InputError, did_you_mean
from einsum_cascade.yaml.library import file_exists, folder_exists, read_source

from ..document import Document, names, numbers, table_document, texts
from ..result.result import Result
from ..writing import csv_text
from .plan import PublishedTable, Reproduction
from .runs import quantity_of
from .study import Study, StudyRun
from .tables import tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedValue:
    """Published number with the run and the quantity that reproduce it."""

    run: StudyRun
    quantity: str
    value: float


def read_published(plan: Reproduction, folder: Path) -> tuple[PublishedValue, ...]:
    """Return all numbers of the plan's published tables whose files are in a folder.

    Raises
    ------
    InputError
        The folder holds none of the files, or one cannot be read as the plan says.
    """
    if not folder_exists(folder):
        raise InputError(f"--published {folder}: there is no such folder")
    there = [t for t in plan.tables if file_exists(folder / t.file)]
    if not there:
        files = ", ".join(dict.fromkeys(t.file for t in plan.tables)) or "no file"
        raise InputError(f"--published {folder}: expected {files} there, found none")
    return tuple(v for t in there for v in _values(plan, t, folder / t.file))


def _values(plan: Reproduction, table: PublishedTable, path: Path) -> Iterator[PublishedValue]:
    text = read_source(path, InputError).text
    try:
        reader = csv.DictReader(StringIO(text, newline=""))
        names, rows = reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except csv.Error as wrong:
        raise InputError(f"{path}: {wrong}") from None
    for column in table.needed_columns:
        if column not in names:
            raise InputError(
                f"{path}: there is no column '{column}'; {did_you_mean(column, names)}"
            )
    for line, row in rows:
        if any(row[column] != text for column, text in table.where.items()):
            continue
        run = _run(plan, table, row)
        if run is None:
            continue
        for column, quantity in table.columns.items():
            where = f"{path}:{line}: {column}"
            value = _number(row[column], where)
            yield PublishedValue(run=run, quantity=quantity, value=value)


def _run(plan: Reproduction, table: PublishedTable, row: dict[str, str]) -> StudyRun | None:
    """Return the run that a row of a table describes; None if the plan has no such run."""
    billing, key = plan.published_billing, table.key_of(row)
    if table.scope is None:
        sweep = plan.sweep
        scope = next((f.scope for f in plan.figures if f.is_of_sweep), None)
        if sweep is None or scope is None:
            return None
        return StudyRun(
            billing, scope, sweep.configuration, table.workload, sweep.seq_len, label=key
        )
    lengths = {text: n for n in plan.seq_len for text in (tokens(n), str(n))}
    configuration = row["configuration"]
    if key not in lengths or configuration not in [c.name for c in plan.configurations]:
        return None
    return StudyRun(billing, table.scope, configuration, table.workload, lengths[key])


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise InputError(f"{where}: expected a number, got '{text or ''}'") from None
    if not isfinite(value):
        raise InputError(f"{where}: expected a finite number, got '{text}'")
    return value


def differences_csv(study: Study, published: tuple[PublishedValue, ...]) -> str:
    """Return published and reproduced numbers, with their relative differences, as CSV."""
    keys = ("scope", "configuration", "workload", "seq_len", "machine", "quantity")
    rows = []
    for v, ours, gap in _pairs(study, published):
        run = (v.run.scope, v.run.configuration, v.run.workload, v.run.seq_len, v.run.label)
        rows.append((*run, v.quantity, v.value, ours, gap))
    return csv_text((*keys, "published", "reproduced", "relative_difference"), rows)


def differences_document(study: Study, published: tuple[PublishedValue, ...]) -> Document:
    """Return a table of the largest relative difference of each quantity and configuration.

    Parameters
    ----------
    study : Study
        Ours.
    published : tuple of PublishedValue
        Theirs. A number whose run gave nothing counts as missing.
    """
    found: dict[tuple[str, str, str, bool], list[float | None]] = {}
    for v, _, gap in _pairs(study, published):
        key = (v.run.scope, v.run.configuration, v.quantity, bool(v.run.label))
        found.setdefault(key, []).append(gap)
    return table_document(
        "Beside the published figures",
        (
            *(*names("configuration"), *texts("scope", "quantity")),
            *numbers("numbers", "missing", "largest difference"),
        ),
        (
            (configuration, f"{scope}, sweep" if sweep else scope, quantity, *_gaps(gaps))
            for (scope, configuration, quantity, sweep), gaps in found.items()
        ),
    )


def _gaps(gaps: list[float | None]) -> tuple[str, str, str]:
    there = [abs(g) for g in gaps if g is not None]
    missing = len(gaps) - len(there)
    worst = f"{100 * max(there):.4f}%" if there else ""
    return str(len(gaps)), str(missing) if missing else "", worst


def _pairs(
    study: Study, published: tuple[PublishedValue, ...]
) -> Iterator[tuple[PublishedValue, float | None, float | None]]:
    """Yield each number whose run was planned: published, reproduced, and their difference."""
    for v in published:
        own = study.outcomes.get(v.run)
        if isinstance(own, Result):
            ours = quantity_of(own, v.quantity)
            yield v, ours, difference(ours, v.value)
        elif own is not None:
            yield v, None, None


def difference(ours: float, theirs: float) -> float:
    """Return the difference between a reproduced and a published number, relative to the published
    one."""
    return (ours - theirs) / theirs if theirs else ours - theirs
