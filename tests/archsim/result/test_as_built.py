"""Runs on machines as built: what measured losses add to the latency as designed."""

from __future__ import annotations

from functools import cache
from math import fsum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsim import Architecture, simulate
from archsim.result.as_built import as_built
from archsim.result.record import limits
from archsim.result.result import Result
from archsim.spec.losses import Losses, Measurement
from einsum_cascade.errors import SpecError
from workloads import load

LAUNCH = "measured.launch={value: 5 us, source: a clock}"
HALF = "{value: 0.5, source: a clock}"
SHARE = st.floats(0.05, 1)


def measured(value: float) -> Measurement:
    """A number that a test measured."""
    return Measurement(value=value, source="a clock")


@cache
def run() -> Result:
    """BERT's attention on a machine without measured losses."""
    return simulate("bert-base", "fusemax", seq_len=1024)


@pytest.fixture
def designed() -> Result:
    """The run, which all tests share."""
    return run()


def test_a_machine_without_measured_losses_is_as_designed(designed: Result) -> None:
    assert designed.as_built is None
    assert "as_built" not in designed.to_dict()
    assert "as designed: no losses of fusemax are measured" in str(designed.table())


def test_the_busiest_array_at_half_its_rate_takes_twice_as_long(designed: Result) -> None:
    assert limits(designed)[0].name == "array_1d"
    machine = Architecture.load("fusemax", [LAUNCH, f"measured.sustained.array_1d={HALF}"])
    found = simulate("bert-base", machine, seq_len=1024)
    built = found.as_built
    assert built is not None
    assert found.latency_s == designed.latency_s
    busy = limits(designed)[0].seconds
    assert built.latency_s == pytest.approx(designed.latency_s + busy + 5e-6, rel=1e-12)
    assert {x.name: x.seconds for x in built.losses} == pytest.approx(
        {"launch": 5e-6, "array_1d rate": busy}
    )
    assert built.average_power_w == pytest.approx(found.energy_pj / 1e12 / built.latency_s)


def test_einsums_that_follow_others_and_arrays_that_wait_take_longer(designed: Result) -> None:
    losses = Losses(fill=measured(1e-6), exposed=measured(0.25))
    built = as_built(designed, losses)
    assert built is not None
    shorter = next(x.seconds for x in limits(designed) if x.name == "array_2d")
    assert {x.name: x.seconds for x in built.losses} == pytest.approx(
        {"fill": 1e-6 * (len(designed.einsums) - 1), "overlap": shorter / 4}
    )


def test_arrays_hide_behind_a_memory_that_is_slower_than_both(designed: Result) -> None:
    memory = next(x.seconds for x in limits(designed) if x.name == "DRAM")
    slow = ("DRAM", measured(memory / designed.latency_s / 4))
    for exposed in (0.01, 1.0):
        built = as_built(designed, Losses(exposed=measured(exposed), sustained=(slow,)))
        assert built is not None
        assert [x.name for x in built.losses] == ["DRAM bandwidth"]
        assert built.latency_s == pytest.approx(4 * designed.latency_s, rel=0.01)


def test_a_memory_with_time_to_spare_may_lose_some_of_its_rate(designed: Result) -> None:
    assert {x.name: x.share for x in limits(designed)}["DRAM"] < 0.5
    built = as_built(designed, Losses(sustained=(("DRAM", measured(0.5)),)))
    assert built is not None
    assert (built.latency_s, built.losses) == (designed.latency_s, ())


def test_power_at_any_load_is_drawn_for_as_long_as_the_run_takes(designed: Result) -> None:
    power = (("leakage", measured(3.0)), ("clock tree", measured(4.0)))
    built = as_built(designed, Losses(launch=measured(1e-3), power=power))
    assert built is not None
    assert built.latency_s == pytest.approx(designed.latency_s + 1e-3)
    drawn_pj = built.energy_pj - designed.energy_pj
    assert drawn_pj == pytest.approx(1e12 * 7.0 * built.latency_s)


@given(st.floats(0, 50), st.floats(1.01, 40), st.floats(0, 1e-2))
def test_the_clock_is_lowered_until_the_power_is_within_the_limit(
    constant_w: float, above: float, launch_s: float
) -> None:
    plain, limit_w = run(), constant_w * above + 1e-3
    losses = Losses(launch=measured(launch_s), power=(("idle", measured(constant_w)),))
    free, built = as_built(plain, losses), as_built(plain, losses, limit_w)
    assert free is not None
    assert built is not None
    assert built.average_power_w <= limit_w * (1 + 1e-9)
    lost = {x.name: x.seconds for x in built.losses}
    assert built.latency_s == pytest.approx(free.latency_s + lost.get("clock", 0.0))
    assert ("clock" in lost) == (free.average_power_w > limit_w)


def test_runs_that_start_together_share_the_start() -> None:
    power = "measured.power={idle: {value: 5 W, source: x}}"
    machine = Architecture.load("cloud", [LAUNCH, power])
    found = simulate(load("mixtral-8x7b", ["scope=block", "seq_len=4"], batch=1), machine)
    experts = [p for p in found.parts if p.together > 1]
    assert experts
    assert all(p.together == p.times for p in experts)
    assert Result.from_dict(found.to_dict()).parts == found.parts
    built = found.as_built
    assert built is not None
    starts = sum(p.times // p.together * max(1, len(p.result.parts)) for p in found.parts)
    assert {x.name: x.seconds for x in built.losses} == pytest.approx({"launch": 5e-6 * starts})
    assert built.energy_pj == pytest.approx(found.energy_pj + 5e12 * built.latency_s)


@given(SHARE, SHARE, SHARE, st.floats(0, 1))
def test_losses_add_up_to_the_difference_and_grow_with_each_share(
    array: float, memory: float, less: float, launch: float
) -> None:
    plain, found = run(), []
    for share in (array, array * less):
        shares = (("array_2d", measured(share)), ("DRAM", measured(memory)))
        built = as_built(plain, Losses(launch=measured(launch), sustained=shares))
        assert built is not None
        lost = fsum(x.seconds for x in built.losses)
        assert built.latency_s == pytest.approx(plain.latency_s + lost, rel=1e-12)
        rates = {"array_2d": share, "DRAM": memory}
        slowed = [x.seconds / rates.get(x.name, 1.0) for x in limits(plain)]
        assert built.latency_s >= max(slowed) + launch
        found.append(built.latency_s)
    assert plain.latency_s <= found[0] <= found[1]


def test_each_run_of_each_part_starts_a_kernel() -> None:
    machine = Architecture.load("cloud", [LAUNCH])
    found = simulate(
        load("llama-3-8b", phase="decode", cached_len=64, batch=1, scope="model"), machine
    )
    assert found.as_built is not None
    kernels = sum(p.times * max(1, len(p.result.parts)) for p in found.parts)
    assert kernels > len(found.parts)
    (loss,) = found.as_built.losses
    assert loss.seconds == pytest.approx(5e-6 * kernels)
    assert found.as_built.latency_s == pytest.approx(found.latency_s + loss.seconds)


def test_parts_that_are_called_as_losses_are_told_from_them(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(
        """architecture:
  name: odd
  technology: scaled-5nm
  clock: 1 GHz
  word: 16 bit
  measured:
    launch: {value: 1 us, source: a clock}
    fill: {value: 2 us, source: a clock}
    sustained: {launch: {value: 0.001, source: a clock}}
  memories:
    - {name: launch, bandwidth: 10 GB/s, line: 64 bit, energy: dram_hbm3}
    - {name: overlap, capacity: 64 KiB, line: 64 bit, energy: sram}
  arrays:
    - {name: fill, shape: {a: 7, b: 5}, registers: {depth: 16}, operations: {extends: vector}}
"""
    )
    work = load("bert-base", ["shape.H=1", "shape.E=17", "shape.F=23"], seq_len=31, batch=1)
    found = simulate(work, Architecture.load(path))
    assert found.as_built is not None
    lost = {x.name: x.seconds for x in found.as_built.losses}
    assert lost.keys() == {"launch", "fill", "launch bandwidth"}
    assert (lost["launch"], lost["fill"]) == (1e-6, 2e-6 * (len(found.einsums) - 1))


def test_the_json_of_a_result_has_what_its_machine_loses() -> None:
    machine = Architecture.load("fusemax", [LAUNCH])
    found = simulate("bert-base", machine, seq_len=1024)
    data = found.to_dict()
    assert [*data["as_built"]["losses"]] == [{"name": "launch", "seconds": 5e-6}]
    assert Result.from_dict(data).as_built == found.as_built


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("measured.launch={value: 5, source: x}", "write '5 s'"),
        ("measured.launch={value: 5 us}", "source"),
        ("measured.sustained.DRAM={value: 1.1, source: x}", "above 0 and up to 1, got 1.1"),
        ("measured.sustained.DRAM={value: 0, source: x}", "above 0 and up to 1, got 0"),
        (f"measured.sustained.DRUM={HALF}", "did you mean 'DRAM'?"),
        ("measured.start={value: 5 us, source: x}", "unknown field"),
        ("measured.power={idle: {value: 80, source: x}}", "expected a power such as '700 W'"),
    ],
)
def test_a_wrong_loss_is_refused(setting: str, message: str) -> None:
    with pytest.raises(SpecError) as wrong:
        Architecture.load("fusemax", [setting])
    assert message in str(wrong.value)


def test_power_at_any_load_leaves_some_for_the_work() -> None:
    with pytest.raises(SpecError, match="80 W at any load leave nothing of the 75 W of 'tdp'"):
        Architecture.load("tpu-v1", ["measured.power={idle: {value: 80 W, source: x}}"])
