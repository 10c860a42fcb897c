"""What runs where nobody names a mapping, and what is said of a mapping that does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from portions import left

from archsim import Architecture, Mapping, Result, simulate
from archsim.engine.evaluate import evaluate_bound, takes_longer
from archsim.nest.record import Bound
from archsim.plan import planner, policy
from archsim.plan.defaults import known_mappings
from archsim.plan.parts import PartProblem
from archsim.plan.planner import evaluate_job
from archsim.plan.selection import mapping_called
from archsim.spec.mapping import BEAM, NEST_BY_NEST
from einsum_cascade.errors import MappingError, SpecError
from mappers.construct.generators import GENERATORS
from workloads import load


def decode(machine: Architecture, batch: int) -> Result:
    work = load("llama-3-8b", phase="decode", cached_len=511, scope="block", batch=batch)
    return simulate(work, machine)


def renamed(machine: Architecture) -> Architecture:
    """The machine with other names of its parts, and arrays half as wide."""
    arrays = (
        replace(a, name=name, dimensions=tuple(replace(d, size=d.size // 2) for d in a.dimensions))
        for a, name in zip(machine.arrays, ("mxu", "vpu"), strict=True)
    )
    memories = (
        replace(m, name=name)
        for m, name in zip(machine.memories, ("hbm", "unified_buffer"), strict=True)
    )
    return replace(machine, name="other", arrays=tuple(arrays), memories=tuple(memories))


@pytest.mark.parametrize("bandwidth", ["400 GB/s", left("3.35 TB/s")])
@pytest.mark.parametrize("batch", [1, left(8), 64])
def test_decode_leaves_no_array_idle_that_another_mapping_fills(bandwidth: str, batch: int) -> None:
    machine = Architecture.load("fusemax", [f"memories.DRAM.bandwidth={bandwidth}"])
    for one in (machine, renamed(machine)):
        assert decode(one, batch).over_floor <= 1.25


def test_the_fastest_of_those_known_is_taken() -> None:
    """But for two hundredths, for which a written one is not given up."""
    machine = Architecture.load("fusemax", ["memories.DRAM.bandwidth=2 TB/s"])
    work = load("llama-3-8b", phase="decode", cached_len=511, batch=4)
    (part,) = work.parts
    known = (k for k in known_mappings(PartProblem(part, machine, GENERATORS)) if k.there())
    runs = [simulate(work, machine, k()) for k in known]
    assert len(runs) > 1
    best = min(r.latency_s for r in runs)
    assert best <= simulate(work, machine).latency_s <= max(best / 0.98, 1.1 * runs[0].latency_s)


def test_twice_the_floor_is_reason_enough_to_look_at_shared_loops() -> None:
    """A written mapping at three times its floor was kept: what shares loops takes half of that."""
    work, machine = load("mlstm", seq_len=512), Architecture.load("fusemax")
    written = simulate(work, machine, Mapping.load("mlstm-chunked"))
    assert 2 < written.over_floor < 4
    found = simulate(work, machine)
    assert found.mapping == "beam"
    assert found.latency_s < 0.6 * written.latency_s


def test_of_a_single_core_shared_loops_are_looked_at_sooner() -> None:
    """A written mapping at 1.7 times its floor was kept: what shares loops takes 1.03."""
    work, machine = load("falcon-mamba-7b", seq_len=512), Architecture.load("tpu-v4i")
    written = simulate(work, machine, Mapping.load("mamba-s6"), approximate=True)
    assert 1.5 < written.over_floor < 2
    found = simulate(work, machine)
    assert found.mapping == "beam"
    assert found.over_floor < 1.1


def test_searches_that_leave_few_cores_idle_come_first() -> None:
    """Forget gates of 32 heads: with a core for each head 100 of 132 cores are idle, and the search
    for them took longer than the one that made it pointless."""
    work, machine = load("fox"), Architecture.load("h100-sxm")
    problem = PartProblem(work.parts[0], machine, GENERATORS)
    idle = [k.idle for k in known_mappings(problem) if k.name in (BEAM, NEST_BY_NEST)]
    few = [n <= policy.MAX_IDLE_RATIO for n in idle]
    assert few == sorted(few, reverse=True)
    assert few[0]
    assert idle[-1] > 2


def test_a_machine_keeps_the_mapping_it_was_designed_for() -> None:
    """However much faster another would be."""
    work = load("bert-base", seq_len=4096)
    flat = Architecture.load("flat")
    assert simulate(work, flat).mapping == "flat"
    other = simulate(work, flat, Mapping.load("fusemax-cascade"))
    assert other.latency_s < simulate(work, flat).latency_s


def test_a_mapping_that_computes_something_else_is_told() -> None:
    work, machine = load("bert-base", seq_len=512), Architecture.load("fusemax")
    with pytest.raises(SpecError, match="or --approximate, to run something else"):
        simulate(work, machine, Mapping.load("gqa-causal"))
    causal = simulate(work, machine, Mapping.load("gqa-causal"), approximate=True)
    told = "mapping 'gqa-causal' runs grouped-query-attention-causal, which does not compute what"
    assert any(n.startswith(told) and n.kind == "approximation" for n in causal.notes)
    same = simulate(work, machine, Mapping.load("flat"))
    assert not any("does not compute" in note for note in same.notes)


def test_where_no_array_can_do_an_operation_the_hint_is_not_to_search() -> None:
    nothing = "{add: {cycles: 1, bill: {add: 1}}}"
    machine = Architecture.load(
        "fusemax", [f"arrays.{a}.operations={nothing}" for a in ("array_1d", "array_2d")]
    )
    work = load("bert-base", seq_len=512)
    with pytest.raises(MappingError, match="give an array the operations that are missing"):
        simulate(work, machine)
    with pytest.raises(MappingError):
        mapping_called("einsum-by-einsum", work, machine, GENERATORS)


@pytest.mark.parametrize(
    ("workload", "fields", "machine"),
    [
        ("llama-3-8b", {"scope": "block", "batch": 1, "seq_len": 4096}, "fusemax"),
        ("bert-base", {"seq_len": 1024}, "tpu-v4i"),
        left("bert-base", {"seq_len": 128}, "h100-sxm"),
        left("delta-product", {"batch": 1, "seq_len": 512}, "fusemax"),
    ],
)
def test_what_is_not_timed_would_not_have_been_taken(
    workload: str, fields: dict[str, int | str], machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a limit the same is found; no bound is above what the engine counts."""
    work, architecture = load(workload, **fields), Architecture.load(machine)
    limits: list[float] = []

    def noted(bound: Bound, limit_s: float) -> bool:
        if found := takes_longer(bound, limit_s):
            limits.append(limit_s)
            latency_s = evaluate_bound(bound, workload="").latency_s
            assert latency_s > limit_s
            assert not takes_longer(bound, latency_s)
        return found

    monkeypatch.setattr(planner, "takes_longer", noted)
    # Another evaluator is asked without a limit.
    assert simulate(work, architecture) == simulate(work, architecture, evaluate=evaluate_job)
    assert limits
