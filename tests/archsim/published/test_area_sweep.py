"""The published sweep of area against latency: machines of 16 to 512 elements a side.

The publication sizes each machine from its side n and the width E of a head: 2 max(1, n/E)
tiles in flight, twice as many registers in a 2D element and eight times as many in a 1D
one; lines of n values; a buffer of n max(1, tiles / (2^18 / n)) 16 E bytes, doubled until
the memory is no slower than the 1D array. Everything else is ``fusemax-micro24``.
"""

from __future__ import annotations

import csv

import pytest
from places import PUBLICATIONS

from archsim import Architecture, Mapping, Result, simulate
from workloads import load

TABLE = PUBLICATIONS / "fusemax_pareto_bert.csv"
SIDES = (16, 32, 64, 128, 256, 512)
WIDTH = 64
TOKENS = 2**18
CLOCK = 940e6
DRAM = 400 * 2**30


def machine(side: int, doublings: int) -> Architecture:
    """A machine of the sweep whose buffer was doubled some times."""
    tiles = 2 * max(1, side // WIDTH)
    buffer = side * max(1, tiles // (TOKENS // side)) * 16 * WIDTH * 2**doublings
    settings = {
        "arrays.array_2d.shape.columns": side,
        "arrays.array_2d.shape.rows": side,
        "arrays.array_2d.registers.depth": 2 * tiles,
        "arrays.array_2d.overhead_area": f"{side} um^2",
        "arrays.array_1d.shape.lanes": side,
        "arrays.array_1d.registers.depth": 8 * tiles,
        "memories.global_buffer.capacity": f"{buffer} B",
        "memories.global_buffer.line": f"{16 * side} bit",
    }
    return Architecture.load("fusemax-micro24", [f"{k}={v}" for k, v in settings.items()])


def run(side: int, doublings: int) -> Result:
    """BERT's attention at 256K tokens."""
    work = load("bert-base", seq_len=TOKENS)
    return simulate(work, machine(side, doublings), Mapping.load("fusemax-binding"))


def seconds_1d(result: Result) -> float:
    return next(a.occupied_cycles for a in result.arrays if a.array == "array_1d") / CLOCK


def sized(side: int) -> tuple[int, Result]:
    """The run whose memory time no longer exceeds the 1D array's, and the doublings."""
    for doublings in range(8):
        result = run(side, doublings)
        if result.traffic_bytes / DRAM <= seconds_1d(result):
            return doublings, result
    raise AssertionError(f"the memory stays slower than the 1D array at {side}")


def published() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not TABLE.exists(), reason="the published table is not beside the project")
def test_the_table_has_the_six_machines() -> None:
    assert tuple(int(r["pe_dim"]) for r in published()) == SIDES


@pytest.mark.skipif(not TABLE.exists(), reason="the published table is not beside the project")
@pytest.mark.parametrize("row", published(), ids=lambda r: str(r["pe_dim"]))
def test_a_machine_as_published(row: dict[str, str]) -> None:
    """Areas and traffic to the digit; latency has the fill and drain, once."""
    _, result = sized(int(row["pe_dim"]))
    areas = dict(result.area_by_component)
    assert areas["array_2d"] == pytest.approx(float(row["array_2d_area_um2"]), rel=1e-12)
    assert result.area_um2 == pytest.approx(float(row["area_um2"]), rel=1e-12)
    assert result.traffic_bytes == float(row["traffic_bytes"])
    busy = {a.array: a.occupied_cycles / CLOCK for a in result.arrays}
    assert busy["array_2d"] == pytest.approx(float(row["compute_2d_s"]), rel=1e-12)
    assert busy["array_1d"] == pytest.approx(float(row["compute_1d_s"]), rel=1e-12)
    assert result.latency_s == pytest.approx(float(row["latency_s"]), rel=1e-6)
    assert result.latency_s > float(row["latency_s"])


@pytest.mark.parametrize("side", SIDES)
def test_latency_and_traffic_by_hand(side: int) -> None:
    """T score tiles of 2 E + 10 one-dimensional cycles, E more per query tile."""
    doublings, result = sized(side)
    assert doublings == (1 if side == 512 else 0)
    heads = 64 * 12
    query_tiles = heads * TOKENS // side
    tiles = query_tiles * TOKENS // side
    assert result.cycles == pytest.approx(tiles * (2 * WIDTH + 10) + query_tiles * WIDTH, rel=1e-6)
    held = 4 if side == 512 else 2
    assert dict(result.tiles)["P1"] == held
    once = 2 * heads * TOKENS * WIDTH
    assert result.traffic_bytes == 2 * once + 2 * once * (TOKENS // side // held)
