"""Power that is taken whether anything is done or not: by hand, in parts, in the floor."""

from __future__ import annotations

import pytest

import workloads
from archsim import Architecture, simulate
from archsim.energy import LEAKAGE, leakage_w
from einsum_cascade.errors import SpecError

SETTINGS = (
    "technology.memories.dram_hbm2.idle=2 W",
    "technology.memories.sram.leakage=10 pW/bit",
    "technology.memories.register_file.leakage=1 nW/bit",
    "technology.actions.mac.leakage=1 uW",
)
WATTS = {
    "DRAM": 2.0,
    "global_buffer": 8 * 2**24 * 10e-12,
    "array_2d.registers": 256 * 256 * 12 * 16 * 1e-9,
    "array_2d": 256 * 256 * 1e-6,
    "array_1d.registers": 256 * 32 * 16 * 1e-9,
    "array_1d": 256 * 1e-6,
}
"""16 MiB; 65,536 and 256 elements with 12 and 32 registers of 16 bit, and one mac each."""


def test_power_by_component() -> None:
    assert dict(leakage_w(Architecture.load("fusemax", SETTINGS))) == pytest.approx(WATTS)


@pytest.mark.parametrize("scope", ["attention", "block"])
def test_it_is_paid_for_as_long_as_the_run_lasts(scope: str) -> None:
    work = workloads.load("bert-base", seq_len=256, batch=1, scope=scope)
    plain = simulate(work, Architecture.load("fusemax"))
    leaky = simulate(work, Architecture.load("fusemax", SETTINGS))
    assert leaky.latency_s == plain.latency_s
    before, after = dict(plain.energy_by_component), dict(leaky.energy_by_component)
    for name, watts in WATTS.items():
        assert after[name] - before[name] == pytest.approx(1e12 * watts * plain.latency_s)
    paid = 1e12 * sum(WATTS.values()) * plain.latency_s
    of_no_einsum = sum(pj for e, pj in leaky.energy_by_einsum if e.endswith(LEAKAGE))
    assert of_no_einsum == pytest.approx(paid)
    assert sum(pj for _, pj in leaky.energy_by_einsum) == pytest.approx(leaky.energy_pj)
    assert sum(pj for *_, pj in leaky.charges) == pytest.approx(leaky.energy_pj)
    least = 1e12 * sum(WATTS.values()) * plain.floor.latency_s
    assert leaky.floor.energy_pj == pytest.approx(plain.floor.energy_pj + least)


def test_the_notes_say_what_is_billed() -> None:
    work = workloads.load("bert-base", seq_len=256, batch=1)
    plain = simulate(work, Architecture.load("fusemax")).notes
    leaky = simulate(work, Architecture.load("fusemax", SETTINGS)).notes
    assert "leakage, clock and on-chip network energy are not billed" in plain
    assert "clock and on-chip network energy are not billed" in leaky


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("technology.memories.sram.idle=1 W", "of kind sram has no 'idle'"),
        ("technology.memories.dram_hbm2.leakage=1 pW/bit", "of kind dram has no 'leakage'"),
        ("technology.memories.sram.leakage=1 W", "'W' is no unit of that"),
        ("technology.actions.mac.leakage=1 pJ", "'pJ' is no unit of that"),
        ("technology.actions.mac.leakage=-1 W", "negative"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        Architecture.load("fusemax", [setting])
    assert refused.value.problems[0].span is not None
