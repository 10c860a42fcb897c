"""Workloads of several parts: everything adds up, and every part keeps its own result."""

from __future__ import annotations

import json
from collections import Counter
from math import fsum

import pytest
from commands import refused, run
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim import Architecture, Mapping, Result, simulate
from archsim.result.merge import merged
from einsum_cascade.errors import MappingError, SpecError
from workloads import load

MACHINE = "fusemax-micro24"
CLOCK = 940e6
DRAM = 400 * 2**30


def of_scope(scope: str, **fields: int | str) -> Result:
    return simulate(load("bert-base", scope=scope, **fields), Architecture.load(MACHINE))


@pytest.mark.parametrize("tokens", ["1K", "16K", "1M"])
def test_a_block_is_its_attention_and_its_linear_layers(tokens: str) -> None:
    """End to end: attention as it is alone, and each matmul the longest of its two times."""
    block = of_scope("block", seq_len=tokens)
    alone = of_scope("attention", seq_len=tokens)
    (attention,) = (p for p in block.parts if p.name == "attention")
    assert attention.times == 1
    assert attention.result.latency_s == alone.latency_s
    whole = {"workload": "attention", "capacity": [], "shape": attention.result.to_dict()["shape"]}
    assert attention.result.to_dict() == {**alone.to_dict(), **whole}
    n = 64 * dict(alone.shape)["P"]
    seconds = []
    for k, j in [(768, 768)] * 4 + [(768, 3072), (3072, 768)]:
        traffic = 2 * (n * k + k * j + n * j)
        seconds.append(max(traffic / DRAM, n * k * j / 65536 / CLOCK))
    linear = [p.latency_s for p in block.parts if p.name != "attention"]
    assert all(s <= x <= 1.0001 * s for x, s in zip(linear, seconds, strict=True))
    assert block.latency_s == pytest.approx(fsum([alone.latency_s, *linear]), rel=1e-15)


def test_a_model_is_its_layers() -> None:
    block, model = of_scope("block", seq_len="1K"), of_scope("model", seq_len="1K")
    assert [p.times for p in model.parts] == [12] * 7
    assert [p.result for p in model.parts] == [p.result for p in block.parts]
    assert model.latency_s == pytest.approx(12 * block.latency_s, rel=1e-14)
    assert model.energy_pj == pytest.approx(12 * block.energy_pj, rel=1e-14)
    assert model.traffic_bytes == 12 * block.traffic_bytes
    assert model.utilization == pytest.approx(block.utilization, rel=1e-14)
    assert model.buffers == block.buffers
    assert model.area_by_component == block.area_by_component
    assert of_scope("model", seq_len="1K", layers=1).cycles == block.cycles


@st.composite
def fields(draw: st.DrawFn) -> dict[str, int | str]:
    sizes = {"B": 3, "H": 5, "E": 80, "F": 70, "P": 900, "M": 900}
    found: dict[str, int | str] = {r: draw(st.integers(1, most)) for r, most in sizes.items()}
    found["E"], found["F"] = (draw(st.integers(24, 80)) for _ in range(2))
    found |= {"model_width": draw(st.integers(1, 300)), "ffn_width": draw(st.integers(1, 300))}
    scope = draw(SCOPES)
    layers = {"layers": draw(st.integers(1, 4))} if scope == "model" else {}
    return {**found, **layers, "scope": scope}


SCOPES = st.sampled_from(["block", "model"])


@settings(max_examples=examples(2), deadline=None)
@given(given_fields=fields(), machine=st.sampled_from(["fusemax", MACHINE]))
def test_everything_adds_up(given_fields: dict[str, int | str], machine: str) -> None:
    whole = simulate(load("bert-base", **given_fields), Architecture.load(machine))
    layers = int(given_fields.get("layers", 1))
    assert {p.times for p in whole.parts} == {layers}
    runs = [p.result for p in whole.parts for _ in range(p.times)]
    assert whole.latency_s == pytest.approx(fsum(r.latency_s for r in runs))
    assert whole.cycles == pytest.approx(fsum(r.cycles for r in runs))
    assert whole.energy_pj == pytest.approx(fsum(r.energy_pj for r in runs))
    assert whole.latency_s >= max(whole.bounds.compute_s, whole.bounds.bandwidth_s) * (1 - 1e-12)
    assert whole.bounds.traffic_bytes == sum(r.bounds.traffic_bytes for r in runs)
    assert whole.traffic_bytes >= whole.bounds.traffic_bytes
    for level in whole.traffic:
        same = [t for r in runs for t in r.traffic if t.level == level.level]
        assert level.read_bytes == sum(t.read_bytes for t in same)
        assert level.write_bytes == sum(t.write_bytes for t in same)
    for use in whole.arrays:
        busy = fsum(a.busy_cycles for r in runs for a in r.arrays if a.array == use.array)
        assert use.busy_cycles == pytest.approx(busy)
        assert use.utilization == pytest.approx(busy / whole.cycles)
        assert use.utilization <= 1 + 1e-12
        own = fsum(e.utilization for e in whole.einsums if e.array == use.array)
        assert own == pytest.approx(use.utilization)
    for buffer in whole.buffers:
        held = [b.required_bytes for r in runs for b in r.buffers if b.level == buffer.level]
        assert buffer.required_bytes == max(held)
    operations: Counter[str] = Counter()
    for r in runs:
        for e in r.einsums:
            operations.update(dict(e.operations))
    found: Counter[str] = Counter()
    for e in whole.einsums:
        found.update(dict(e.operations))
    assert found == operations
    for named in (whole.energy_by_component, whole.energy_by_einsum):
        assert len({name for name, _ in named}) == len(named)
        assert fsum(v for _, v in named) == pytest.approx(whole.energy_pj)
    assert fsum(v for *_, v in whole.charges) == pytest.approx(whole.energy_pj)


def test_einsums_have_the_part_before_their_name_only_where_needed() -> None:
    names = [e.name for e in of_scope("block").einsums]
    assert names[:4] == ["query-projection.Z", "key-projection.Z", "value-projection.Z", "BQK"]
    assert len(set(names)) == len(names) == 18


def test_parts_of_one_name_are_told_apart() -> None:
    """As in a stack of two kinds of layers."""
    parts = of_scope("block").parts
    twice = merged((*parts, *parts), workload="w", mapping="m", shape=())
    assert len({p.name for p in twice.parts}) == 14
    assert twice.parts[7].name == "query-projection-2"
    names = [e.name for e in twice.einsums]
    assert len(set(names)) == 36
    assert {"attention.BQK", "attention-2.BQK"} <= set(names)
    assert twice.energy_pj == pytest.approx(2 * of_scope("block").energy_pj)
    assert Result.from_dict(json.loads(json.dumps(twice.to_dict()))) == twice


def test_what_bounds_a_workload_is_what_bounds_most_of_its_time() -> None:
    short, long = of_scope("block", seq_len="1K"), of_scope("block", seq_len="64K")
    assert (short.bound_by, short.schedule.critical) == ("array_2d", ("ffn-up",))
    assert (long.bound_by, long.schedule.critical) == ("array_1d", ("attention",))


def test_queries_and_keys_are_projected_apart() -> None:
    block = of_scope("block", P=3, M=1000)
    tokens = {p.name: dict(p.result.shape).get("N") for p in block.parts}
    assert tokens["query-projection"] == tokens["output-projection"] == 64 * 3
    assert tokens["ffn-up"] == tokens["ffn-down"] == 64 * 3
    assert tokens["key-projection"] == tokens["value-projection"] == 64 * 1000
    assert any("none comes from a cache" in note for note in block.notes)
    assert not any("cache" in note for note in of_scope("block").notes)


def test_round_trip() -> None:
    first = of_scope("model", seq_len="1K")
    text = json.dumps(first.to_dict(), allow_nan=False)
    again = Result.from_dict(json.loads(text))
    assert again == first
    assert json.dumps(again.to_dict()) == text
    assert str(again.table()) == str(first.table())
    assert str(again.explain()) == str(first.explain())


def test_the_report_has_a_row_per_part() -> None:
    result = of_scope("model")
    for text in (str(result.table()), str(result.explain())):
        assert all(f"\n{p.name} " in text for p in result.parts)
    assert "each operator's inputs once" in str(result.table())
    assert "84 runs one after the other" in str(result.table())
    assert "not counted" in str(result.table())
    alone = str(of_scope("attention").table())
    assert "parts" not in alone


def test_a_mapping_is_for_the_parts_of_its_cascade() -> None:
    work, machine = load("bert-base", scope="block"), Architecture.load(MACHINE)
    arch, linear = Mapping.load("fusemax-arch"), Mapping.load("linear-layer")
    one = simulate(work, machine, arch)
    assert one.mapping == "fusemax-arch + linear-layer"
    assert simulate(work, machine, linear) == simulate(work, machine)
    assert simulate(work, machine, [linear, arch]) == one
    with pytest.raises(SpecError, match="are for the same parts"):
        simulate(work, machine, [arch, Mapping.load("fusemax-binding")])


def test_a_mapping_of_another_cascade_is_the_attentions() -> None:
    linear = Mapping.load("linear-attention-by-head")
    work, machine = load("bert-base", scope="block"), Architecture.load(MACHINE)
    found = simulate(work, machine, linear, approximate=True)
    assert [p.result.mapping for p in found.parts].count("linear-attention-by-head") == 1
    assert found.parts[3].result.mapping == "linear-attention-by-head"


def test_what_is_wrong_says_in_which_part() -> None:
    small = Architecture.load(MACHINE, ["memories.global_buffer.capacity=512 B"])
    with pytest.raises(
        MappingError,
        match=r"^attention: no mapping .* legal(?s:.)*fusemax-arch: global_buffer needs 129 K",
    ):
        simulate(load("bert-base", scope="block"), small)


def simulated(*arguments: str) -> Result:
    done = run("simulate", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return Result.from_dict(json.loads(done.stdout))


def test_the_command_line_says_the_same() -> None:
    assert simulated("bert-base", MACHINE, "--set", "scope=block") == of_scope("block")
    more = ("--mapping", "linear-layer", "--mapping", "fusemax-arch")
    assert simulated("--set", "scope=model", *more).mapping == "fusemax-arch + linear-layer"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "scope=blok"], "did you mean 'block'?"),
        (["--set", "scope=[block]"], "expected one of attention, block, model"),
        (["--set", "scope=block", "--set", "layers=0"], "layers: expected a whole number"),
        (["--set", "scope=block", "--set", "D=512"], "has no rank 'D'"),
        (
            ["--mapping", "linear-layer", "--mapping", "fusemax-arch"],
            "'linear-layer' and 'fusemax-arch' are for the same parts",
        ),
        (
            [
                *("--set", "scope=block", "--set", "mapping.schedule.lookahead=1"),
                *("--mapping", "linear-layer", "--mapping", "fusemax-arch"),
            ],
            "is for one mapping, but 2 are given",
        ),
    ],
)
def test_what_is_refused(arguments: list[str], said: str) -> None:
    assert said in refused("simulate", *arguments)
