"""Results of lengths that come after others are those of lengths of which nothing is known."""

from __future__ import annotations

import gc
import pickle
import weakref
from dataclasses import replace
from random import Random

import pytest
from evaluated import evaluate_mapping
from portions import left

from archsim import Architecture, Mapping
from archsim.bounds import floor as floor_module
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.result.record import Floor
from archsim.result.result import Result
from archsim.schedule import modulo, policy
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.memo import Cache
from workloads import load

LENGTHS = (1, 2, 3, 31, 64, 129, 255, 256, 257, 300, 512, 700, 1024, 2048, 3001)
"""Of one tile or several, the last one of them whole or not."""

MAPPINGS = (
    left("fusemax-binding"),
    left("fusemax-arch"),
    "fusemax-window",
    left("unfused"),
    left("fusemax-causal"),
    left("ssd-chunked"),
)
"""Pipelined, in phases, masked, one Einsum after the other; and others that take longer."""


def told(program: Program, how: Mapping, machine: Architecture, shapes: dict[str, int]) -> object:
    """The result of a run, or why there is none."""
    try:
        return evaluate_mapping(program, how, machine, shapes).to_dict()
    except InputError as refused:
        return str(refused)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_lengths_in_any_order_are_as_if_afresh(mapping: str) -> None:
    how, machine = Mapping.load(mapping), Architecture.load("fusemax")
    program = Cascade.load(how.cascade).program
    lengths = [*LENGTHS, *LENGTHS]
    Random(mapping).shuffle(lengths)
    seen: dict[int, object] = {}
    for length in lengths:
        shapes = dict(load("bert-base", batch=2, seq_len=length, cascade=how.cascade).shapes)
        found = told(program, how, machine, shapes)
        if length not in seen:
            modulo._ORDERS = Cache(policy.MAX_CACHED_ORDERS)
            # Who is equal but another one knows nothing.
            seen[length] = told(replace(program), replace(how), replace(machine), shapes)
        assert found == seen[length], length
    assert len({str(x) for x in seen.values()}) == len(LENGTHS)
    assert sum(isinstance(x, dict) for x in seen.values()) > len(LENGTHS) // 2


def test_the_floor_of_the_energy_is_worked_out_when_it_is_asked_for() -> None:
    result: Result = evaluate_mapping(
        Cascade.load("attention-1pass").program,
        Mapping.load("fusemax-binding"),
        Architecture.load("fusemax"),
        {"B": 2, "H": 12, "E": 64, "F": 64, "P": 640, "M": 640},
    )
    asked: list[int] = []
    floor = Floor(latency_s=1.0, energy_pj=lambda: float(len(asked) or asked.append(1) or 1))
    assert not asked
    assert (floor.energy_pj, floor.energy_pj, asked) == (1.0, 1.0, [1])
    assert callable(vars(result.floor)["energy_pj"])
    assert 0 < result.floor.energy_pj <= result.energy_pj
    assert vars(result.floor)["energy_pj"] == result.floor.energy_pj


def test_what_only_the_energy_of_the_floor_needs_waits_until_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    for name in ("least_work", "_with_points", "operand_delivery_of"):
        real = getattr(floor_module, name)
        monkeypatch.setattr(
            floor_module, name, lambda *a, name=name, real=real: made.append(name) or real(*a)
        )
    shapes = {"B": 2, "H": 12, "E": 64, "F": 64, "P": 640, "M": 640}
    machine, how = Architecture.load("fusemax"), Mapping.load("unfused")
    result = evaluate_mapping(Cascade.load(how.cascade).program, how, machine, shapes)
    assert not made
    floor = result.floor
    assert floor.latency_s == max(floor.compute_s, floor.bandwidth_s) > 0
    assert made == ["least_work"]
    assert result.floor.energy_pj > 0
    assert {*made[1:]} == {"_with_points", "operand_delivery_of"}
    assert pickle.loads(pickle.dumps(result)) == result


def test_a_floor_that_is_known_holds_no_bound_mapping() -> None:
    how, machine = Mapping.load("unfused"), Architecture.load("fusemax")
    shapes = {"B": 2, "H": 12, "E": 64, "F": 64, "P": 640, "M": 640}
    gc.freeze()  # the collector need not go through what is older
    # Bindings are cached; a copy is held by nothing else.
    bound = replace(bind(Cascade.load(how.cascade).program, how, machine, shapes))
    floor, held = floor_module.floor_of(bound, count_mapping(bound)), weakref.ref(bound)
    assert floor.latency_s > 0
    del bound
    gc.collect()
    assert held() is None
    assert floor.energy_pj > 0


@pytest.mark.parametrize(
    "setting",
    [
        "technology.memories.sram.leakage=10 pW/bit",
        "memories.global_buffer.capacity=32 MiB",
        "word=8 bit",
    ],
)
def test_what_a_machine_costs_is_not_that_of_another_of_its_name(setting: str) -> None:
    how = Mapping.load("fusemax-binding")
    program = Cascade.load(how.cascade).program
    shapes = dict(load("bert-base", seq_len=640, cascade=how.cascade).shapes)
    plain, other = Architecture.load("fusemax"), Architecture.load("fusemax", [setting])
    found = [told(program, how, m, shapes) for m in (plain, other, plain, other)]
    assert found[0] == found[2] != found[1] == found[3]
    assert found[1] == told(replace(program), replace(how), replace(other), shapes)
