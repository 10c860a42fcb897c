"""Store of finished points: one SQLite file, one transaction per batch."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
)

from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.schema import StoredFields
from einsum_cascade.yaml.source import Scalar

from ..locks import wait_for
from ..spec.files.fields import Real, Whole
from .columns import NUMBERS, TEXTS

FILE: Final = "store.sqlite"

Status = Literal["ok", "refused", "excluded"]

_LOCK: Final = "lock.sqlite"
_STEMS: Final = ("store", "lock", "study")
"""Names of the databases in a folder, without suffixes: SQLite keeps further files beside each."""
_BUSY_S: Final = 1.0
"""Seconds that SQLite itself waits for a lock, in silence."""
_PRIMARY_CODE: Final = 0xFF
"""Bits of an error code of SQLite that say what is wrong; the others say where."""

_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE points (point INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, "
    + ", ".join(f"{c} TEXT NOT NULL" for c in TEXTS)
    + ", "
    + ", ".join(f"{c} REAL" for c in NUMBERS)
    + ", bound_by TEXT, axes TEXT NOT NULL, members TEXT NOT NULL, inputs TEXT NOT NULL"
    + ", unread INTEGER NOT NULL)",
)


Measured = Annotated[Real, AfterValidator(float)]
"""Number of a column: a file may hold an integer."""


class PointRow(NamedTuple):
    """Row of a finished point as the store keeps it: numbers, texts, and texts of JSON.

    Numbers are None if the point was refused. A named tuple passes between processes in a fraction
    of the time of other records.
    """

    point: Whole
    key: str
    workload: str
    architecture: str
    mapping: str
    status: Status
    message: str
    axes: str
    """Values of all axes as their columns show them, in JSON."""
    inputs: str
    """Inputs of the run in JSON, including mappings that a search found."""
    latency_s: Measured | None = None
    floor_latency_s: Measured | None = None
    cycles: Measured | None = None
    energy_pj: Measured | None = None
    area_um2: Measured | None = None
    bound_by: str | None = None
    members: str = "{}"
    """Numbers of memories, arrays and components by column, and whether the workload fits, in
    JSON."""
    unread: bool = False
    """True if the point was refused and a file could not be read: the next start runs it again."""

    def values(self, axes: Iterable[str]) -> Mapping[str, Scalar]:
        """Return the values of a row by column.

        Parameters
        ----------
        axes : iterable of str
            Names of the sweep's axes, which come before columns of the same name.

        Raises
        ------
        sqlite3.DatabaseError
            The row is damaged.
        """
        with _checked(f"point {self.point}"):
            members: dict[str, bool | float | str] = _reader(Members).validate_json(self.members)
            of_axes = zip(axes, _reader(Axes).validate_json(self.axes), strict=False)
            return self._asdict() | members | dict(of_axes)

    def read_inputs(self) -> PointInputs:
        """Return the inputs of the point. Raises sqlite3.DatabaseError if they are damaged."""
        with _checked(f"point {self.point}"):
            return PointInputs.model_validate_json(self.inputs)


class PointInputs(StoredFields):
    """Inputs of a point, as a user would give them to ``simulate``."""

    workload: str
    architecture: str
    mapping: str
    set: dict[str, str]


Axes = list[StrictStr | StrictInt | StrictFloat | StrictBool | None]
Members = dict[str, StrictBool | Measured | StrictStr]


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@contextmanager
def _checked(what: str) -> Iterator[None]:
    """Report values of another type, which a damaged file may hold."""
    try:
        yield
    except ValidationError as wrong:
        (error, *_) = wrong.errors()
        where = ", ".join(map(str, (what, *error["loc"])))
        text = f"what it keeps of a point is damaged: {where}: {error['msg']}"
        raise sqlite3.DatabaseError(text) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSweep:
    """Identity of the sweep that a folder stores, to recognise it again."""

    name: str
    version: str
    said: str
    """Content of the sweep in canonical form."""
    files: str
    """JSON object of the sha256 of each file that the sweep reads, by name."""
    total: Annotated[int, Field(ge=0, lt=2**63)]
    source: str
    """Name and text of the sweep's file, from which the sweep can be read again."""
    text: str


class Store:
    """Store of the finished points of one sweep."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection

    def add(self, rows: Iterable[PointRow]) -> None:
        """Store all given rows in one transaction. Raises InputError if there is no space."""
        marks = ", ".join("?" for _ in PointRow._fields)
        # The package defines the names of columns, and values are bound.
        command = f"INSERT INTO points ({', '.join(PointRow._fields)}) VALUES ({marks})"  # noqa: S608
        with self._connection:
            self._begin()
            self._connection.executemany(command, rows)

    def _begin(self) -> None:
        """Begin a transaction that writes as soon as no other process writes."""
        begin = partial(self._connection.execute, "BEGIN IMMEDIATE")
        wait_for(partial(_took, begin), self.folder / FILE)

    def counts(self) -> dict[str, int]:
        """Return the number of points of each status."""
        found = self._connection.execute("SELECT status, count(*) FROM points GROUP BY status")
        return {str(status): int(n) for status, n in found}

    def first_message(self) -> str:
        """Return the reason why the first refused point was refused."""
        command = "SELECT message FROM points WHERE status = 'refused' ORDER BY point LIMIT 1"
        return str(self._connection.execute(command).fetchone()[0])

    def done_between(self, first: int, last: int) -> set[int]:
        """Return the numbers of finished points from ``first`` up to ``last``, both included."""
        found = self._connection.execute(
            "SELECT point FROM points WHERE point BETWEEN ? AND ?", (first, last)
        )
        return {int(n) for (n,) in found}

    def rows(self) -> Iterator[PointRow]:
        """Yield all rows in the order of their points, without the inputs, which take most
        space."""
        names = ("'' AS inputs" if c == "inputs" else c for c in PointRow._fields)
        command = f"SELECT {', '.join(names)} FROM points ORDER BY point"  # noqa: S608
        return map(_row, self._connection.execute(command))

    def row(self, point: int) -> PointRow | None:
        """Return the row of one point, or None if it is not finished."""
        command = f"SELECT {', '.join(PointRow._fields)} FROM points WHERE point = ?"  # noqa: S608
        found = self._connection.execute(command, (point,)).fetchone()
        return None if found is None else _row(found)

    def renew(self, sweep: StoredSweep) -> None:
        """Remove points that lacked a file, and add the files that are read for the first time."""
        known = {**_files(self.meta()), **_files(sweep)}
        with self._connection:
            self._begin()
            self._connection.execute("DELETE FROM points WHERE unread")
            command = "UPDATE meta SET value = ? WHERE name = 'files'"
            self._connection.execute(command, (json.dumps(known),))

    def member_columns(self) -> tuple[str, ...]:
        """Return the columns of memories and arrays, in the order of their first occurrence."""
        found: dict[str, None] = {}
        command = "SELECT point, members FROM points ORDER BY point"
        for point, text in self._connection.execute(command):
            with _checked(f"point {point}, members"):
                found |= dict.fromkeys(_reader(Members).validate_json(text))
        return tuple(found)

    def meta(self) -> StoredSweep:
        """Return the identity of the stored sweep."""
        try:
            found = dict(self._connection.execute("SELECT name, value FROM meta"))
            meta: StoredSweep = _reader(StoredSweep).validate_python(found)
        except (sqlite3.OperationalError, ValidationError):
            raise InputError(f"{self.folder / FILE} is no store of a sweep") from None
        return meta

    def sweep_source(self) -> Source:
        """Return the text of the stored sweep, named after the store and the sweep's file."""
        meta = self.meta()
        return Source(f"{self.folder / FILE}: {meta.source}", meta.text)


def _row(values: Iterable[Any]) -> PointRow:
    point, *_ = values = tuple(values)
    with _checked(f"point {point}"):
        row: PointRow = _reader(PointRow).validate_python(values)
        return row


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Open the store of a folder for reading, even while another process writes.

    Raises
    ------
    InputError
        The folder has no store.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        raise InputError(f"there is no sweep in {folder}: {path} is not there")
    _check_files(folder)
    with _reported(folder, "read"), _connected(path, _read_only(path)) as connection:
        if not _has_tables(connection):
            raise InputError(f"{path} is no store of a sweep")
        yield Store(folder, connection)


@contextmanager
def opened_for(folder: Path, sweep: StoredSweep) -> Iterator[Store]:
    """Open the store of a sweep for writing by one process, and create it if necessary.

    Raises
    ------
    InputError
        The folder holds another sweep, is of another version, is in use, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_files(folder, replace=True)
    except OSError as wrong:
        raise InputError(f"cannot write into {folder}: {wrong.strerror}") from None
    with _reported(folder, "write"), _locked(folder), _connected(folder / FILE) as connection:
        store = Store(folder, connection)
        if _has_tables(connection):
            _refuse_another(store, sweep)
            store.renew(sweep)
        else:
            _make(connection, sweep)
        yield store


def _check_files(folder: Path, *, replace: bool = False) -> None:
    """Raise an error for a file of the database that is a link or no file.

    Parameters
    ----------
    replace : bool
        True to remove links, so that a file takes their place.
    """
    for path in sorted(p for stem in _STEMS for p in folder.glob(f"{stem}.sqlite*")):
        if replace and path.is_symlink():
            path.unlink()
        elif path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is a link, a folder or a device: a file is expected")


def _has_tables(connection: sqlite3.Connection) -> bool:
    """Return whether a database has tables. Raises sqlite3.DatabaseError if it has more, as a view
    may compute without end."""
    kinds = {kind for (kind,) in connection.execute("SELECT type FROM sqlite_master")}
    if more := kinds - {"table", "index"}:
        raise sqlite3.DatabaseError(f"it has a {min(more)}")
    return bool(kinds)


def _took(step: Callable[[], Any]) -> bool:
    """Run a step that takes a lock of the database; return False if another process holds it."""
    try:
        step()
    except sqlite3.OperationalError as wrong:
        if wrong.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _make(connection: sqlite3.Connection, sweep: StoredSweep) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for command in _SCHEMA:
            connection.execute(command)
        values = ((name, str(getattr(sweep, name))) for name in StoredSweep.__slots__)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values)


def _refuse_another(store: Store, sweep: StoredSweep) -> None:
    """Raise an error if a folder belongs to another sweep."""
    there, unknown = store.meta(), "(unknown)"
    if there.name != sweep.name:
        found = f"sweep '{there.name}', not '{sweep.name}'"
    elif there.version != sweep.version:
        found = f"sweep '{there.name}' of archsim {there.version or unknown}"
        found += f", this is archsim {sweep.version or unknown}"
    elif there.said != sweep.said:
        was, now = _content(there), _content(sweep)
        changed = ", ".join(k for k in {**was, **now} if was.get(k) != now.get(k)) or "order"
        found = f"another sweep that is called '{there.name}', too (not the same: {changed})"
    elif changed := ", ".join(_changed(_files(there), _files(sweep))):
        found = f"sweep '{there.name}' before a file that it names changed ({changed})"
    else:
        return
    raise InputError(f"{store.folder} holds {found}: give another --out")


def _changed(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of files whose text is another now, or is gone."""
    return sorted({os.path.normpath(name) for name in was if now.get(name) != was[name]})


def _content(sweep: StoredSweep) -> Mapping[str, Any]:
    with _checked("the content of the sweep"):
        found = _reader(dict[str, dict[str, Any]]).validate_json(sweep.said)
    return dict(found.get("sweep", {}))


def _files(sweep: StoredSweep) -> Mapping[str, str]:
    with _checked("the files of the sweep"):
        return dict(_reader(dict[str, str]).validate_json(sweep.files))


def _read_only(path: Path) -> bool:
    """Return whether a store is one file in a place that cannot be written.

    SQLite creates files beside a store for concurrent readers; here no process writes.
    """
    log = path.with_name(f"{path.name}-wal")
    return not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)


@contextmanager
def _connected(path: Path, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    where = f"{path.resolve().as_uri()}?immutable=1" if immutable else path
    with closing(sqlite3.connect(where, timeout=_BUSY_S, uri=immutable)) as connection:
        if not immutable:
            # A commit is complete after a kill. A power cut may lose the last ones.
            step = partial(connection.execute, "PRAGMA synchronous = NORMAL")
            wait_for(partial(_took, step), path)
        yield connection


def wait_until_free(path: Path) -> None:
    """Wait until no other process holds a database. Raises InputError if this takes too long."""
    with _connected(path) as connection:
        wait_for(partial(_took, partial(connection.execute, "BEGIN IMMEDIATE")), path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes; the lock of a killed process ends with it."""
    with closing(sqlite3.connect(folder / _LOCK, timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as wrong:
            if "locked" not in str(wrong):
                raise
            raise InputError(f"another process sweeps into {folder} at this moment") from None
        except sqlite3.DatabaseError as wrong:
            raise InputError(f"{folder / _LOCK} is no lock of a sweep: {wrong}") from None
        yield


@contextmanager
def _reported(folder: Path, doing: str) -> Iterator[None]:
    """Turn an error of the database into one that says that finished points are kept."""
    path = folder / FILE
    try:
        yield
    except sqlite3.OperationalError as wrong:
        raise InputError(
            f"cannot {doing} {path}: {wrong}; finished points are kept, start again to go on"
        ) from None
    except sqlite3.ProgrammingError:
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as wrong:  # The latter of a name in it.
        raise InputError(f"{path} is no store of a sweep: {wrong}") from None
