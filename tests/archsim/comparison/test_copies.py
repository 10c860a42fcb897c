"""Machines in as many copies as have the area, or draw the power, of the first."""

from __future__ import annotations

import json

import pytest
from commands import refused

from archsim import Architecture, Comparison, compare, simulate
from workloads import load

WORK = load("bert-base", seq_len=512, batch=1)
OWN = "fusemax-binding"


def test_at_equal_power_throughput_is_work_for_energy() -> None:
    first, second = compare(
        WORK,
        ["fusemax", "fusemax-micro24"],
        iso_power=True,
        mappings={"fusemax": OWN, "fusemax-micro24": OWN},
    ).rows
    power = [r.result.energy_pj / r.result.latency_s for r in (first, second)]
    assert (first.copies, second.copies) == (1, power[0] / power[1])
    assert second.copies > 1.2
    assert second.speedup == pytest.approx(first.result.energy_pj / second.result.energy_pj)
    assert second.area_ratio == second.copies * second.result.area_um2 / first.result.area_um2


def test_copies_of_equal_area_are_machines_as_they_are() -> None:
    found = compare(
        WORK,
        ["fusemax", "flat"],
        iso_area=True,
        scale="copies",
        mappings={"fusemax": OWN, "flat": "unfused"},
    )
    first, second = found.rows
    alone = simulate(WORK, Architecture.load("flat"), "unfused")
    assert (second.result, second.scaling) == (alone, None)
    assert second.copies == first.result.area_um2 / alone.area_um2
    assert second.area_ratio == pytest.approx(1)
    assert second.speedup == second.copies * first.result.latency_s / alone.latency_s
    text = str(found.table())
    assert "copies with the first machine's area" in text
    assert "0.936" in text
    again = Comparison.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found


def test_one_thing_is_equal() -> None:
    both = refused("compare", "bert-base", "fusemax", "edge", "--iso-area", "--iso-power")
    assert "two comparisons" in both
    scaled = refused("compare", "bert-base", "fusemax", "edge", "--iso-power", "--scale", "arrays")
    assert "--iso-area" in scaled
