"""Results of a sweep as CSV, Parquet and a pandas frame."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from einsum_cascade.errors import InputError
from einsum_cascade.yaml.source import Scalar

from ..writing import write_csv, write_whole
from .columns import FITS, INHERITED, MACHINE, TEXTS, header, unit_of
from .file import read_sweep
from .spec import Sweep, symbol
from .store import PointRow, Store, opened

if TYPE_CHECKING:
    from pandas import DataFrame


CSV: Final = "results.csv"
PARQUET: Final = "results.parquet"
_ROWS_PER_PIECE = 4_000
"""Number of rows held in memory at once, so that memory does not grow with the sweep."""


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Results of a sweep: columns in their order, and a list of values for each row."""

    store: Store
    sweep: Sweep
    columns: tuple[str, ...]
    types: tuple[frozenset[type[Any]], ...]
    """Python types of the values of each axis."""

    @classmethod
    def of(cls, store: Store, sweep: Sweep) -> ResultTable:
        """Return the results in a store."""
        names = (axis.name for axis in sweep.axes)
        types = tuple(frozenset(type(v.shown) for v in axis.values) for axis in sweep.axes)
        return cls(store, sweep, header(names, store.member_columns()), types)

    def values(self, row: PointRow) -> list[Scalar]:
        """Return the values of a row in the order of the columns; None stands for an absent
        value.

        Raises
        ------
        sqlite3.DatabaseError
            The row is damaged.
        """
        axes = self.sweep.axes
        named = row.values(axis.name for axis in axes)
        for axis, types in zip(axes, self.types, strict=True):
            if type(named.get(axis.name)) not in types:
                raise sqlite3.DatabaseError(f"point {row.point} has no value of '{axis.name}'")
        if row.point >= self.sweep.total:
            raise sqlite3.DatabaseError(f"there is no point {row.point} in the sweep")
        return [named.get(column) for column in self.columns]

    def rows(self) -> Iterator[list[Scalar]]:
        """Yield the values of all rows."""
        return map(self.values, self.store.rows())

    def units(self) -> dict[str, str]:
        """Return units by column, for columns with a unit; an axis has the unit of its generated
        values."""
        axes = {axis.name: symbol(axis.kind) for axis in self.sweep.axes}
        found = {c: axes[c] if c in axes else unit_of(c) for c in self.columns}
        return {column: unit for column, unit in found.items() if unit}


def export(store: Store, sweep: Sweep) -> tuple[Path, ...]:
    """Write the results to files, and return the paths of the files.

    Raises
    ------
    InputError
        A file cannot be written; says why.
    """
    table = ResultTable.of(store, sweep)
    writers = {CSV: _csv, PARQUET: _parquet} if has_parquet() else {CSV: _csv}
    return tuple(_write(name, write, table) for name, write in writers.items())


def has_parquet() -> bool:
    """Return whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def remove_stale_results(folder: Path) -> None:
    """Remove the files of results, since these lack the points of the next run."""
    for name in (CSV, PARQUET):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as wrong:
            reason = (wrong.strerror or "it failed").lower()
            raise InputError(f"cannot write {folder / name}: {reason}") from None


def _write(name: str, write: Callable[[Path, ResultTable], None], table: ResultTable) -> Path:
    """Write a file completely or not at all."""
    try:
        place = table.store.folder / name
        return write_whole(place, lambda path: write(path, table), named=False)
    except InputError as wrong:
        raise InputError(f"{wrong}; the store beside it has it all") from None


def _csv(path: Path, table: ResultTable) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_csv(file, table.columns, table.rows())


def _parquet(path: Path, table: ResultTable) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types = {column: _type(table, column) for column in table.columns}
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema(
        [(column, kinds[kind]) for column, kind in types.items()],
        metadata={"units": json.dumps(table.units()), "sweep": table.sweep.name},
    )
    with ParquetWriter(path, schema) as writer:
        rows = table.rows()
        while piece := list(islice(rows, _ROWS_PER_PIECE)):
            columns = zip(schema, zip(*piece, strict=True), strict=True)
            arrays = [pa.array(_cells(values, types[f.name]), f.type) for f, values in columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _cells(values: Iterable[Scalar], kind: type[Any]) -> list[Scalar]:
    """Return the cells of a column; if an axis mixes numbers and words, all cells are texts."""
    return [str(v) if kind is str and v is not None else v for v in values]


_TYPES: Final = {"point": int, FITS: bool} | dict.fromkeys((*TEXTS, INHERITED, "bound_by"), str)


def _type(table: ResultTable, column: str) -> type[Any]:
    """Return the Python type of a column's values."""
    for axis, kinds in zip(table.sweep.axes, table.types, strict=True):
        if axis.name == column:
            if len(kinds) == 1 and kinds <= {bool, int, float}:
                (one,) = kinds
                return one
            return float if kinds == {int, float} else str
    if column in _TYPES:
        return _TYPES[column]
    return float


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
        ``attrs["axes"]`` the columns of its axes, ``attrs["work_axes"]`` those of them that
        change the computation, and ``attrs["names"]`` names for the values of an axis: those of the
        machines in its files.

    Raises
    ------
    InputError
        The folder holds no sweep.
    """
    # The import of pandas takes longer than most commands.
    from pandas import DataFrame

    with opened(Path(folder)) as store:
        meta = store.meta()
        sweep = read_sweep(store.sweep_source())
        table = ResultTable.of(store, sweep)
        rows = list(store.rows())
        frame = DataFrame(map(table.values, rows), columns=list(table.columns))
        shown = map(str, frame[MACHINE])
        called = {(v, r.architecture) for v, r in zip(shown, rows, strict=True) if r.bound_by}
    # Names of several files, and a file of several names, would not tell the machines apart.
    unique = len(called) == len(dict(called)) == len({name for _, name in called})
    frame.attrs |= {
        "sweep": meta.name,
        "version": meta.version,
        "points": meta.total,
        "units": table.units(),
        "axes": [axis.name for axis in sweep.axes],
        "work_axes": [axis.name for axis in sweep.axes if axis.varies_work],
        "names": {MACHINE: dict(sorted(called))} if unique else {},
    }
    return frame
