"""The report says what the result says, in units, on every medium."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from archsim.document import Column, Document, Fact, Table, to_html, to_markdown
from archsim.quantities import (
    area,
    bar,
    byte_size,
    count,
    energy,
    engineering,
    percent,
    ratio,
    seconds,
)
from archsim.result.note import Note
from archsim.result.record import (
    ArrayUse,
    Bounds,
    EinsumUse,
    LevelBuffer,
    LevelTraffic,
    ScheduleReport,
)
from archsim.result.report import explain, report
from archsim.result.result import Result


@pytest.fixture
def result() -> Result:
    """A result by hand: 1,000,000 cycles at 1 GHz, two Einsums on one array."""
    return Result(
        workload="toy",
        architecture="machine",
        mapping="by-hand",
        engine="analytical",
        shape=(("B", 2), ("M", 65536)),
        latency_s=1e-3,
        cycles=1e6,
        bound_by="grid",
        arrays=(ArrayUse(array="grid", occupied_cycles=8e5, busy_cycles=7.5e5, utilization=0.75),),
        traffic=(
            LevelTraffic(level="DRAM", read_bytes=3 * 2**20, write_bytes=2**20),
            LevelTraffic(level="buffer", read_bytes=2**30, write_bytes=0),
        ),
        buffers=(
            LevelBuffer(level="DRAM", required_bytes=2**22, capacity_bytes=None),
            LevelBuffer(level="buffer", required_bytes=2**19, capacity_bytes=2**20),
        ),
        energy_by_component=(("DRAM", 3e9), ("grid", 1e9)),
        energy_by_einsum=(("S", 1e9), ("A", 3e9)),
        area_by_component=(("grid", 2e6), ("buffer", 500.0)),
        bounds=Bounds(compute_s=8e-4, bandwidth_s=5e-4, traffic_bytes=2 * 2**20),
        einsums=(
            EinsumUse(
                name="S",
                array="grid",
                cycles=5e5,
                operations=(("exp", 10), ("mac", 123_456_789)),
                utilization=0.5,
                traffic=(LevelTraffic(level="DRAM", read_bytes=2**20, write_bytes=0),),
            ),
            EinsumUse(
                name="A", array="grid", cycles=3e5, operations=(("div", 7),), utilization=0.25
            ),
        ),
        schedule=ScheduleReport(
            kind="pipelined",
            steps=16,
            period_cycles=60000,
            fill_drain_cycles=40000,
            critical=("S", "A"),
            lookahead=3,
        ),
        notes=(Note("one register file is billed", "price"),),
    )


def on_screen(document: Document, width: int = 120) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, markup=False).print(document)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00262123, "s", "2.621 ms"),
        (999.96e-6, "s", "1.000 ms"),
        (1.0, "s", "1.000 s"),
        (51_539_607_552, "", "51.54 G"),
        (256.0, "", "256"),
        (-7, "", "-7"),
        (999.5, "", "999.5"),
        (1000, "", "1.000 k"),
        (0, "J", "0 J"),
        (940e6, "Hz", "940.0 MHz"),
        (-2.5e-9, "s", "-2.500 ns"),
        (3e-21, "s", "0.003000 as"),
        (2.5e22, "s", "25,000 Es"),
    ],
)
def test_engineering_units(value: float, unit: str, text: str) -> None:
    assert engineering(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (16 * 2**20, "16 MiB"),
        (1.5 * 2**30, "1.500 GiB"),
        (2**80, "1048576 EiB"),
    ],
)
def test_byte_sizes_are_binary(value: float, text: str) -> None:
    assert byte_size(value) == text


def test_counts_shares_areas_and_energies() -> None:
    assert count(13_312_345) == "13,312,345"
    assert count(2.5) == "2.5"
    assert count(1_234_567.8) == "1,234,568"
    assert count(1e18) == "1.000000e+18"
    assert percent(0.8896) == "89.0 %"
    assert ratio(1.0409) == "1.04x"
    assert area(84_201_200) == "84.20 mm²"
    assert area(12.34) == "12.34 µm²"
    assert energy(2.5e9) == "2.500 mJ"
    assert seconds(0.00262) == "2.620 ms"
    assert seconds(1892.4) == "1,892 s"
    assert bar(0.5, 4) == "██░░"
    assert bar(1.7, 4) == "████"


def test_report_states_every_headline_with_its_unit(result: Result) -> None:
    text = on_screen(report(result))
    for said in (
        "toy on machine, mapped by by-hand",
        "M=65,536",
        "1.000 ms",
        "1,000,000 cycles at 1.000 GHz, bound by grid",
        "compute 800.0 µs, bandwidth 500.0 µs",
        "1.25x the bound",
        "4 MiB",
        "2.00x the bound",
        "4.000 mJ",
        "4.000 W",
        "2.000 mm²",
        "lookahead 3, 16 steps of 60,000 cycles, 40,000 of fill and drain",
        "75.0 %",
        "unlimited",
        "512 KiB",
        "50.0 %",
        "one register file is billed",
    ):
        assert said in text, said


def test_energy_of_each_einsum_stands_beside_its_cycles(result: Result) -> None:
    row = next(line for line in on_screen(report(result)).splitlines() if line.startswith("A "))
    assert row.split() == [
        "A",
        "grid",
        "7",
        "div",
        "300,000",
        "25.0",
        "%",
        "3.000",
        "mJ",
        "75.0",
        "%",
    ]


def test_energy_that_belongs_to_no_einsum_is_not_lost(result: Result) -> None:
    more = replace(result, energy_by_einsum=(*result.energy_by_einsum, ("leakage", 4e9)))
    row = next(line for line in on_screen(report(more)).splitlines() if line.startswith("leakage"))
    assert row.split()[-2:] == ["50.0", "%"]


def test_report_fits_one_screen_of_a_hundred_columns(result: Result) -> None:
    lines = on_screen(report(result), width=100).splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100


def test_nothing_is_divided_by_zero(result: Result) -> None:
    empty = replace(
        result,
        latency_s=0.0,
        cycles=0.0,
        energy_by_component=(("DRAM", 0.0),),
        energy_by_einsum=(),
        bounds=Bounds(compute_s=0.0, bandwidth_s=0.0, traffic_bytes=0.0),
    )
    assert "the bound is zero" in on_screen(report(empty))


def test_explanation_adds_up(result: Result) -> None:
    text = on_screen(explain(result))
    for said in ("1,000,000", "960,000", "16 steps of 60,000 cycles", "40,000", "S -> A"):
        assert said in text, said
    assert "123,456,789" in text


def test_explanation_splits_energy_by_einsum_and_component(result: Result) -> None:
    charged = replace(
        result,
        charges=(("S", "DRAM", 1e9), ("A", "DRAM", 2e9), ("A", "grid", 5e8), ("A", "grid", 5e8)),
    )
    lines = on_screen(explain(charged)).splitlines()
    start = lines.index(next(line for line in lines if line.startswith("energy by Einsum")))
    heading, _, *rows = (line.split() for line in lines[start + 1 : start + 5])
    assert heading == ["Einsum", "DRAM", "grid"]
    assert rows == [["S", "1.000", "mJ", "-"], ["A", "2.000", "mJ", "1.000", "mJ"]]


def test_a_document_prints_without_trailing_blanks(result: Result) -> None:
    text = str(report(result))
    assert "grid" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_markdown_holds_every_table(result: Result) -> None:
    text = to_markdown(report(result))
    assert text.startswith("# toy on machine")
    assert "| grid | 75.0 % |" in text
    assert text.count("\n## ") == 5


def test_a_users_name_is_never_markup() -> None:
    name = "[red]<b>|x[/red]"
    document = Document(
        title=name,
        facts=(Fact(name, "1 s"),),
        tables=((Table(title="t", columns=(Column("c", "name"),), rows=((name,),)),),),
    )
    assert on_screen(document).count(name) == 3
    assert "<b>|" not in to_html(document)
    assert to_html(document).count("[red]&lt;b&gt;|x[/red]") == 3
    assert "| [red]<b>\\|x[/red] |" in to_markdown(document)
