"""Comparisons of machines as built: losses that some state, beside machines that state none."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from commands import run
from lossy_machine import ODD

from archsim import Architecture, Comparison, compare, simulate
from archsim.comparison.report import comparison_csv
from archsim.quantities import engineering, percent, ratio, seconds
from workloads import load

WORK = load("bert-base", ["shape.H=1", "shape.E=16", "shape.F=16"], seq_len=64, batch=1)
PLAIN = Architecture.load("fusemax")
LOSSY = Architecture.load(
    "fusemax", ["measured.launch={value: 50 us, source: a clock}", "name=lossy"]
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with losses whose parts are called as no other machine's."""
    path = tmp_path_factory.mktemp("machine") / "odd.yaml"
    path.write_text(ODD)
    return path


@pytest.fixture(scope="module")
def built(odd: Path) -> Comparison:
    return compare(WORK, [PLAIN, Architecture.load(odd), LOSSY], as_built=True)


def test_machines_as_built_are_related_by_what_they_lose(built: Comparison, odd: Path) -> None:
    alone = [simulate(WORK, machine) for machine in (PLAIN, Architecture.load(odd), LOSSY)]
    assert [row.result for row in built.rows] == alone
    for row in built.rows:
        found = row.result.as_built or row.result
        assert row.totals.latency_s == found.latency_s
        assert row.speedup == alone[0].latency_s / found.latency_s
        assert row.energy_ratio == found.energy_pj / alone[0].energy_pj
        assert row.area_ratio == row.result.area_um2 / alone[0].area_um2
    assert alone[1].as_built is not None
    assert {x.name for x in alone[1].as_built.losses} >= {"launch"}
    assert built.rows[2].speedup < 0.5, "a start of 50 us takes longer than the run"


def test_energy_as_built_is_what_the_losses_say(odd: Path) -> None:
    found = compare(WORK, [odd.as_posix(), PLAIN], as_built=True)
    result = found.first.result
    assert result.as_built is not None
    more = replace(result.as_built, energy_pj=2 * result.energy_pj)
    data = found.to_dict()
    data["rows"][0]["as_built"]["energy_pj"] = more.energy_pj
    again = Comparison.from_dict(json.loads(json.dumps(data)))
    assert again.first.totals.energy_pj == more.energy_pj
    assert again.first.totals.traffic_bytes == result.traffic_bytes
    assert again.first.power_w == pytest.approx(2 * more.average_power_w)


def test_the_machine_that_comes_first_has_losses_too(built: Comparison) -> None:
    found = compare(WORK, [LOSSY, PLAIN], as_built=True)
    assert found.rows[1].speedup == pytest.approx(1 / built.rows[2].speedup)
    assert found.rows[0].speedup == 1


def test_the_report_says_which_machines_are_as_designed(built: Comparison) -> None:
    report = built.table()
    assert report.title == f"{WORK.name} on 3 machines as built"
    assert [n for n in report.notes if "as designed" in n] == [
        "fusemax states no losses: as designed"
    ]
    for row in built.rows:
        for shown in (seconds(row.totals.latency_s), ratio(row.speedup), percent(row.energy_ratio)):
            assert shown in str(report)


def test_spreadsheet_picture_and_json_have_the_same_numbers(built: Comparison) -> None:
    lines = list(csv.DictReader(StringIO(comparison_csv(built))))
    assert [float(x["latency_s"]) for x in lines] == [r.totals.latency_s for r in built.rows]
    figure = built.plot()
    assert figure.get_suptitle().endswith("as built")
    speed = figure.axes[0]
    assert [b.get_width() for b in speed.patches] == [r.speedup for r in built.rows]
    drawn = " ".join(t.get_text() for t in speed.texts)
    assert all(seconds(r.totals.latency_s) in drawn for r in built.rows)
    data = json.loads(json.dumps(built.to_dict()))
    assert data["as_built"] is True
    for row, one in zip(built.rows, data["rows"], strict=True):
        assert one["latency_s"] == row.result.latency_s, "each result keeps its design"
        assert ("as_built" in one) == (row.result.as_built is not None)
    assert Comparison.from_dict(data) == built


def test_at_equal_power_copies_are_of_the_machine_as_built() -> None:
    first, second = (found := compare(WORK, [PLAIN, LOSSY], as_built=True, iso_power=True)).rows
    assert second.result.as_built is not None
    power_w = second.result.as_built.average_power_w
    assert second.power_w == pytest.approx(power_w)
    assert second.copies == pytest.approx(first.result.power_w / power_w)
    assert second.speedup == pytest.approx(1), "equal energy: as many results for equal power"
    assert found.table().title.endswith("at equal power, as built")
    assert engineering(power_w, "W") in str(found.table())


def test_nothing_changes_where_nobody_asks(built: Comparison, odd: Path) -> None:
    designed = compare(WORK, [PLAIN, Architecture.load(odd), LOSSY])
    assert "as_built" not in designed.to_dict()
    assert designed.rows[2].speedup == 1
    assert "states no losses" not in str(designed.table())
    assert [r.result for r in designed.rows] == [r.result for r in built.rows]


def test_the_command_compares_machines_as_built(odd: Path) -> None:
    small = ("--set", "seq_len=64", "--set", "batch=1")
    result = run("compare", "bert-base", "fusemax", str(odd), *small, "--as-built", "--json")
    assert result.exit_code == 0, result.stderr
    first, second = json.loads(result.stdout)["rows"]
    assert second["speedup"] == first["latency_s"] / second["as_built"]["latency_s"]
    assert second["as_built"]["latency_s"] > second["latency_s"]
