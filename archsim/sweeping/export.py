"""Results of a sweep as CSV, Parquet and a pandas frame."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.source import Scalar

from ..processes import extra_processes, report_killed_workers
from ..writing import write_whole
from .columns import NUMBERS, TEXTS, PointRow, header, unit_of
from .file import read_sweep
from .spec import Sweep
from .store import Store, opened
from .values import symbol

if TYPE_CHECKING:
    from pandas import DataFrame


CSV: Final = "results.csv"
PARQUET: Final = "results.parquet"
_ROWS_PER_PIECE = 4_000
"""Rows held at once; memory does not grow with their number."""
_MIN_ROWS_FOR_A_PROCESS = 20_000
"""Rows from which a second process saves more time than it takes to start."""


def units_of(sweep: Sweep, columns: Iterable[str]) -> dict[str, str]:
    """Return the unit of every column that has one; for an axis, that of its generated values."""
    axes = {axis.name: symbol(axis.kind) for axis in sweep.axes}
    found = {c: axes[c] if c in axes else unit_of(c) for c in columns}
    return {column: unit for column, unit in found.items() if unit}


def columns_of(store: Store, sweep: Sweep) -> tuple[str, ...]:
    """Return all columns of a sweep's results, in their order."""
    return header((axis.name for axis in sweep.axes), store.member_columns())


def values_of(row: PointRow, sweep: Sweep, columns: tuple[str, ...]) -> list[Scalar]:
    """Return a row's values in the order of the columns; None for absent values."""
    return RowValues(sweep, columns).of(row)


class RowValues:
    """Reader of rows, each as values in the order of the columns.

    Parameters
    ----------
    sweep : Sweep
        Sweep, whose axes come before columns of the same name.
    columns : tuple of str
        Columns of ``columns_of``.
    """

    def __init__(self, sweep: Sweep, columns: tuple[str, ...]) -> None:
        known = ("point", *TEXTS, *NUMBERS, "bound_by", *(axis.name for axis in sweep.axes))
        place = {name: at for at, name in enumerate(known)}
        self._places = tuple((column, place.get(column)) for column in columns)

    def of(self, row: PointRow) -> list[Scalar]:
        """Return the values of one row; None for absent values."""
        found = (row.point, *_texts(row), *row.numbers, row.bound_by, *row.axes)
        members = dict(row.members)
        return [members.get(name) if at is None else found[at] for name, at in self._places]


_texts = attrgetter(*TEXTS)


def export(store: Store, sweep: Sweep, *, workers: int = 1) -> tuple[Path, ...]:
    """Write the results, and return the files.

    Parameters
    ----------
    workers : int
        Processes; with several, one writes the one file of many rows and this process the other.

    Raises
    ------
    InputError
        A file cannot be written, or a process was killed; says why.
    """
    columns = columns_of(store, sweep)
    asked = (sweep, columns)
    if not has_parquet():
        return (_write_csv(store, *asked),)
    if workers == 1 or store.count() < _MIN_ROWS_FOR_A_PROCESS:
        return _write_csv(store, *asked), _write_parquet(store, *asked)
    with extra_processes(1) as pool, report_killed_workers("the store has it all, start again"):
        other = pool.executor.submit(_parquet_of, store.folder, *asked)
        return _write_csv(store, *asked), other.result()


def _write_csv(store: Store, sweep: Sweep, columns: tuple[str, ...]) -> Path:
    return _written(store.folder / CSV, lambda path: _csv(path, store, sweep, columns))


def _write_parquet(store: Store, sweep: Sweep, columns: tuple[str, ...]) -> Path:
    return _written(store.folder / PARQUET, lambda path: _parquet(path, store, sweep, columns))


def _parquet_of(folder: Path, sweep: Sweep, columns: tuple[str, ...]) -> Path:
    """Write the Parquet file in another process, which opens the store again."""
    with opened(folder) as store:
        return _write_parquet(store, sweep, columns)


def has_parquet() -> bool:
    """Return whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def remove_stale_results(folder: Path) -> None:
    """Remove results that lack the points of the next run."""
    for name in (CSV, PARQUET):
        (folder / name).unlink(missing_ok=True)


def _written(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file completely or not at all."""
    try:
        return write_whole(path, write)
    except InputError as wrong:
        raise InputError(f"{wrong}; the store beside it has it all") from None


def _csv(path: Path, store: Store, sweep: Sweep, columns: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(RowValues(sweep, columns).of, store.results()))


def _parquet(path: Path, store: Store, sweep: Sweep, columns: tuple[str, ...]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    texts = {axis.name for axis in sweep.axes if _type(sweep, axis.name) is str}
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema(
        [(c, kinds[_type(sweep, c)]) for c in columns],
        metadata={"units": json.dumps(units_of(sweep, columns)), "sweep": sweep.name},
    )
    values = RowValues(sweep, columns)
    with ParquetWriter(path, schema) as writer:
        for rows in _in_pieces(store.results()):
            found = zip(schema, zip(*map(values.of, rows), strict=True), strict=True)
            arrays = [pa.array(_as_texts(c) if f.name in texts else c, f.type) for f, c in found]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _as_texts(values: Iterable[Scalar]) -> list[str | None]:
    """Return the values of an axis of numbers and words, all as texts."""
    return [None if value is None else str(value) for value in values]


def _in_pieces(rows: Iterator[PointRow]) -> Iterator[list[PointRow]]:
    while piece := list(islice(rows, _ROWS_PER_PIECE)):
        yield piece


def _type(sweep: Sweep, column: str) -> type[Any]:
    """Return the type of a column's values."""
    for axis in sweep.axes:
        if axis.name == column:
            kinds = {type(v.shown) for v in axis.values}
            if len(kinds) == 1 and kinds <= {bool, int, float}:
                (one,) = kinds
                return one
            return float if kinds == {int, float} else str
    if column == "point":
        return int
    return str if column in (*TEXTS, "bound_by") else float


def load_sweep(folder: str | PathLike[str]) -> DataFrame:
    """Return the results of a sweep, finished or not: a row for each point that was run.

    Parameters
    ----------
    folder : str or path
        Folder that was given as ``--out``.

    Returns
    -------
    pandas.DataFrame
        Columns as in ``results.csv``; ``attrs["units"]`` has the unit of every column that has
        one, ``attrs["sweep"]`` the sweep's name, ``attrs["points"]`` how many points it has,
        ``attrs["axes"]`` the columns of its axes and ``attrs["work_axes"]`` those of them that
        change the computation.

    Raises
    ------
    InputError
        The folder holds no sweep.
    """
    with opened(Path(folder)) as store:
        return frame_of(store)


def frame_of(store: Store) -> DataFrame:
    """Return the frame of an open store."""
    # The import of pandas takes longer than most commands.
    from pandas import DataFrame

    meta = store.meta()
    sweep = read_sweep(Source(meta.source, meta.text))
    columns = columns_of(store, sweep)
    rows = list(map(RowValues(sweep, columns).of, store.results()))
    frame = DataFrame(rows, columns=list(columns))
    frame.attrs |= {
        "sweep": meta.name,
        "version": meta.version,
        "points": meta.total,
        "units": units_of(sweep, columns),
        "axes": [axis.name for axis in sweep.axes],
        "work_axes": [axis.name for axis in sweep.axes if axis.varies_work],
    }
    return frame
