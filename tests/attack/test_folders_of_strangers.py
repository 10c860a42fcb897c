"""Folders from strangers: damaged results and stores; links, pipes and folders for files."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run

import archsim
from archsim.comparison.compare import Comparison
from archsim.result.result import Result
from archsim.sweeping.store import PointRow
from archsim.views.frame import PlotOptions
from archsim.views.plot import COMPARISON_KINDS, RESULT_KINDS, draw
from archsim.writing import OutputFolder, write_whole
from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import read_source

GONE, RENAMED = object(), object()
VALUES = (
    *(GONE, RENAMED, None, "", "x", "$a$b", "3", True, [], {}, [1], {"a": 1}, 0, 1, -1, 1.5),
    *(10**30, 10**400, 1e308, 1e-320, float("nan"), float("inf")),
)
SWEEP = {
    "name": "two",
    "workload": "bert-base",
    "architecture": "fusemax",
    "mapping": "fusemax-binding",
    "axes": {"seq_len": [256, 512]},
}


def refusal(attempt: Callable[[], object]) -> str:
    """The message of a refusal; empty if nothing is refused."""
    try:
        attempt()
    except InputError as wrong:
        return str(wrong)
    return ""


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON data; of the items of a list the first."""
    if path:
        yield path
    if isinstance(data, dict):
        for key in data:
            yield from places(data[key], (*path, key))
    elif data and isinstance(data, list):
        yield from places(data[0], (*path, 0))


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of JSON data with another value at a place."""
    made = inner = copy.deepcopy(data)
    for step in path[:-1]:
        inner = inner[step]
    if value is GONE or value is RENAMED:
        old = inner.pop(path[-1])
        if value is RENAMED and isinstance(inner, dict):
            inner[f"no {path[-1]}"] = old
    else:
        inner[path[-1]] = value
    return made


@cache
def written(kind: type[Result | Comparison]) -> dict[str, Any]:
    shape = {"seq_len": 64, "batch": 1}
    if kind is Result:
        work = archsim.load("bert-base", **shape)
        return archsim.simulate(work, "fusemax", "fusemax-binding").to_dict()
    return archsim.compare(archsim.load("bert-base", **shape), ["fusemax", "flat"]).to_dict()


def check(
    kind: type[Result | Comparison], path: tuple[Any, ...], value: Any, *, drawn: bool
) -> None:
    """A changed result is loaded as it stands, and drawn, or refused with the place."""
    data = changed(written(kind), path, value)
    source = Source("theirs.json", json.dumps(data))
    if told := refusal(lambda: kind.from_json(source)):
        assert told.startswith("theirs.json:1:"), (path, value)
        return
    found = kind.from_json(source)
    again = found.to_dict()
    for step in path:
        if step not in (again if isinstance(again, dict) else range(len(again))):
            return  # A further field is ignored.
        again = again[step]
    if isinstance(value, bool | int | str) and path[-1] not in ("total", "fits", "residual"):
        assert json.dumps(again) == json.dumps(value), path
    kinds = RESULT_KINDS if kind is Result else COMPARISON_KINDS
    for picture in kinds if drawn else ():
        refusal(partial(_drawn, found, picture))


def _drawn(found: Result | Comparison, picture: str) -> bytes:
    return draw(found, picture, PlotOptions()).rendered("png", 20)


def changes(kind: type[Result | Comparison]) -> list[tuple[tuple[Any, ...], Any]]:
    return [(path, value) for path in places(written(kind)) for value in VALUES]


def test_a_changed_result_is_loaded_or_refused_with_the_place() -> None:
    for path, value in random.Random(3).sample(changes(Result), 40):
        check(Result, path, value, drawn=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Result, Comparison])
def test_every_changed_result_is_drawn_or_refused(kind: type[Result | Comparison]) -> None:
    for path, value in random.Random(5).sample(changes(kind), 300):
        check(kind, path, value, drawn=True)


def test_what_is_no_json_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for text, told in (
        ("", "the file is empty"),
        ("[" * 500, "nested more than 48 deep"),
        ('{"rows": 1, "rows": 2}', "'rows' is given twice"),
        ('{"schema_version": 1', "this is not YAML"),
        ("\x00", "U+0000"),
        ("9" * 5000, "a number of 5000 digits"),
    ):
        path.write_text(text, encoding="utf-8")
        message = refused("plot", str(tmp_path))
        assert "result.json" in message
        assert told in message


def test_a_table_with_any_columns_is_drawn_or_refused(tmp_path: Path) -> None:
    pandas, path = pytest.importorskip("pandas"), tmp_path / "theirs.parquet"
    pytest.importorskip("pyarrow")
    numbers = {"a": [1, 2], "latency_s": [1.0, 2.0], "floor_latency_s": [1.0, 1.0]}
    for column, values, told in (
        ("a", [[1], [2, 3]], "'a' holds no texts and no numbers"),
        ("a", [b"x", b"y"], "'a' holds no texts and no numbers"),
        ("latency_s", ["1", "2"], "'latency_s' holds no numbers"),
        ("latency_s", [1.0, float("inf")], "no finite number in 1 of 2 rows"),
    ):
        pandas.DataFrame(numbers | {column: values}).to_parquet(path)
        assert told in refused("plot", str(path), "breakdown")
    frame = pandas.DataFrame(numbers)
    for attributes in ({"axes": 5}, {"units": {"a": 3}}, {"work_axes": [[1]]}):
        frame.attrs = attributes
        frame.to_parquet(path)
        assert "its attributes are not those of a sweep" in refused("plot", str(path))


HERE = ("link", "pipe", "folder")


def put(path: Path, what: str, victim: Path) -> None:
    """Lay something in place of a file."""
    path.unlink(missing_ok=True)
    if what == "link":
        path.symlink_to(victim)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("untouched", encoding="utf-8")
    return path


@pytest.mark.parametrize("what", HERE)
@pytest.mark.parametrize("make", [True, False])
def test_nothing_in_a_folder_of_results_is_followed(
    tmp_path: Path, victim: Path, what: str, make: bool
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    put(folder / "b.txt", what, victim)
    out = OutputFolder(folder, make=make)
    if what == "folder":
        with pytest.raises(InputError, match="cannot write"), out:
            out.text("b.txt", "new")
        return
    (tmp_path / "named").symlink_to(folder)
    with OutputFolder(tmp_path / "named", make=make) as out:
        for name in ("a.txt", "b.txt"):
            out.text(name, "new")
    assert (tmp_path / "named").is_symlink(), "the folder itself may be a link"
    assert (folder / "b.txt").is_file()
    assert not (folder / "b.txt").is_symlink()
    assert victim.read_text(encoding="utf-8") == "untouched"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    assert "the file is empty" in refused("simulate", str(path), "fusemax")
    with pytest.raises(InputError, match=r"cannot write .*pipe\.yaml: no such device"):
        write_whole(path, lambda place: place.write_text("new", encoding="utf-8"))
    ours, theirs = os.pipe()
    os.write(theirs, b"whole")
    os.close(theirs)
    assert read_source(f"/dev/fd/{ours}").text == "whole"
    os.close(ours)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept") / "out"
    archsim.sweep(SWEEP, folder, workers=1)
    return folder


@pytest.fixture
def theirs(swept: Path, tmp_path: Path) -> Path:
    return shutil.copytree(swept, tmp_path / "theirs")


@pytest.mark.parametrize("what", HERE)
@pytest.mark.parametrize(
    "name",
    ["store.sqlite", "store.sqlite-journal", "store.sqlite-wal", "lock.sqlite", "study.sqlite"],
)
def test_a_database_is_a_file(theirs: Path, victim: Path, name: str, what: str) -> None:
    put(theirs / name, what, victim)
    with pytest.raises(InputError, match=f"{name} is a link, a folder or a device"):
        archsim.load_sweep(theirs)
    if what == "link":
        assert len(archsim.sweep(SWEEP, theirs, workers=1)) == 2
        assert victim.read_text(encoding="utf-8") == "untouched"
    else:
        with pytest.raises(InputError, match=f"{name} is a link, a folder or a device"):
            archsim.sweep(SWEEP, theirs, workers=1)


def test_results_beside_a_store_are_replaced(theirs: Path, victim: Path) -> None:
    for name in ("results.csv", "pareto.png"):
        put(theirs / name, "link", victim)
    archsim.sweep(SWEEP, theirs, workers=1)
    assert run("plot", str(theirs)).exit_code == 0
    for name in ("results.csv", "pareto.png"):
        assert not (theirs / name).is_symlink()
    assert victim.read_text(encoding="utf-8") == "untouched"
    put(theirs / "results.csv", "folder", victim)
    with pytest.raises(InputError, match="cannot write"):
        archsim.sweep(SWEEP, theirs, workers=1)


CELLS = ("NULL", "'x'", "'{'", "'[null]'", "-1", "9e999", "x'ff'", "9223372036854775807")


@pytest.fixture(scope="module")
def without_checks(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that takes any value in any column."""
    folder = shutil.copytree(swept, tmp_path_factory.mktemp("unchecked") / "out")
    with closing(sqlite3.connect(folder / "store.sqlite")) as store, store:
        names = ", ".join(PointRow._fields)
        store.execute(f"CREATE TABLE free ({names})")
        store.execute(f"INSERT INTO free SELECT {names} FROM points")
        store.execute("DROP TABLE points")
        store.execute("ALTER TABLE free RENAME TO points")
    return folder


@pytest.mark.parametrize("column", PointRow._fields)
def test_a_store_with_any_cell_is_loaded_or_refused(without_checks: Path, column: str) -> None:
    path = without_checks / "store.sqlite"
    for cell in CELLS:
        with closing(sqlite3.connect(path)) as store:
            ((old,),) = store.execute(f"SELECT {column} FROM points WHERE rowid = 2")
            with store:
                store.execute(f"UPDATE points SET {column} = {cell} WHERE rowid = 2")
        try:
            told = refusal(lambda: archsim.load_sweep(without_checks))
            shown = run("sweep", "--out", str(without_checks), "--show", "1")
            assert shown.exit_code in (0, 2), (cell, shown.exception)
            assert (shown.exit_code == 2) == bool(told) or column == "inputs"
            if not told:
                frame = archsim.sweep(SWEEP, without_checks, workers=1)
                assert [*frame["point"]] == [0, 1]
                assert frame["seq_len"].dtype.kind == "i"
        finally:
            with closing(sqlite3.connect(path)) as store, store:
                store.execute(f"UPDATE points SET {column} = ? WHERE rowid = 2", (old,))


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE points",
        "DROP TABLE meta",
        "DELETE FROM meta WHERE name = 'total'",
        "UPDATE meta SET value = 'many' WHERE name = 'total'",
        "UPDATE meta SET value = '-1' WHERE name = 'total'",
        "UPDATE meta SET value = x'ff'",
        "UPDATE meta SET value = '{' WHERE name = 'said'",
        "UPDATE meta SET value = '[' WHERE name = 'text'",
        "ALTER TABLE points DROP COLUMN cycles",
        "UPDATE points SET point = point + 7",
        "CREATE VIEW more AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) "
        "SELECT * FROM n",
    ],
)
def test_a_store_of_another_form_is_refused(theirs: Path, damage: str) -> None:
    with closing(sqlite3.connect(theirs / "store.sqlite")) as store, store:
        store.execute(damage)
    told = refusal(lambda: archsim.load_sweep(theirs))
    told = told or refusal(lambda: archsim.sweep(SWEEP, theirs, workers=1))
    assert any(place in told for place in ("store.sqlite", "holds another sweep"))
    assert "99999999999" in refused("sweep", "--out", str(theirs), "--show", "9" * 30) or told


def test_a_store_of_any_bytes_is_refused(theirs: Path) -> None:
    path, chance = theirs / "store.sqlite", random.Random(3)
    whole = path.read_bytes()
    for turn in range(16):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if turn % 2 else whole)
        for _ in range(turn % 7):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        for beside in theirs.glob("store.sqlite-*"):
            beside.unlink()
        refusal(lambda: archsim.load_sweep(theirs))
        refusal(lambda: archsim.sweep(SWEEP, theirs, workers=1))


@pytest.mark.parametrize("what", ["garbage", *HERE])
def test_a_damaged_cache_changes_nothing(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    small = (
        "bert-base",
        "fusemax",
        "--set",
        "seq_len=64",
        "--set",
        "batch=1",
        "--mapping",
        "fused",
    )
    expected = run("simulate", *small).stdout
    monkeypatch.setenv("ARCHSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mappers.construct.policy.REMEMBER_AFTER_S", 0.0)
    assert run("simulate", *small).stdout == expected
    (kept,) = (tmp_path / "cache").glob("*/*.yaml")
    if what == "garbage":
        kept.write_bytes(b"\xff\x00")
    else:
        put(kept, what, victim)
    assert run("simulate", *small).stdout == expected
    assert victim.read_text(encoding="utf-8") == "untouched"
