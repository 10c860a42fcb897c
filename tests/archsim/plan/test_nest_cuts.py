"""Cascades cut where picks are known and where passes begin, each nest made by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from mapped_checks import computes_the_same
from portions import left, some

from archsim import Architecture, simulate
from archsim.legality.binding import bind, with_parameters
from archsim.nest.sequence import nests_of
from archsim.plan import defaults, job
from archsim.plan.nest_cuts import (
    NestCuts,
    cuts_of,
    nest_by_nest,
    stages_by_gathers,
    stages_by_passes,
)
from archsim.plan.partition_factors import Partitioning
from archsim.plan.parts import PartProblem, job_of
from archsim.plan.planner import evaluate_job
from archsim.plan.problem import MappingProblem
from archsim.spec.mapping import NEST_BY_NEST, EinsumMapping, Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import NoLegalMappingError
from einsum_cascade.ir import Gather
from einsum_cascade.yaml.library import builtin_names
from mappers.construct.generators import GENERATORS
from workloads import load

if TYPE_CHECKING:
    from pathlib import Path

    from archsim.nest.record import Bound
    from archsim.plan.nest_cuts import Names
    from archsim.plan.planner import Engine
    from einsum_cascade.ir import Program
    from workloads.parts.part import Part

# Sizes of tiles that are given; those of other ranks that a cascade cuts nests would choose.
GIVEN = ("U", "T", "A", "R")


def nest(names: Names) -> Mapping:
    einsums = (EinsumMapping(einsum=name, array="any") for name in names)
    return Mapping(name="nest", cascade="any", einsums=tuple(einsums))


def place_of(stages: tuple[Names, ...]) -> dict[str, int]:
    return {name: number for number, names in enumerate(stages) for name in names}


def gathered(program: Program, name: str) -> set[str]:
    """Index tensors that an Einsum picks by."""
    indices = (i for a in program.einsum_of[name].reads for i in a.indices)
    return {i.access.tensor for i in indices if isinstance(i, Gather)} & {*program.einsum_of}


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 18))
def test_stages_are_nests_of_all_einsums_in_an_order_in_which_they_can_run(name: str) -> None:
    program = Cascade.load(name).program
    for stages in (stages_by_gathers(program, GIVEN), stages_by_passes(program, GIVEN)):
        whole = Mapping(name="all", cascade=name, nests=tuple(nest(names) for names in stages))
        assert len(nests_of(program, whole, {})) == len(stages)
    place = place_of(stages_by_gathers(program, GIVEN))
    for e in program.einsums:
        assert all(place[index] < place[e.name] for index in gathered(program, e.name))


def test_a_cascade_is_cut_where_its_picks_are_known_and_where_its_passes_begin() -> None:
    program = Cascade.load("native-sparse-attention").program
    scores, window, picked = stages_by_gathers(program, GIVEN)
    assert (scores[0], scores[-1]) == ("KC", "IX")
    assert window == ("XW", "MW", "NW", "DW", "VW", "OW")
    # Gates, of which nothing else is made, are computed where they are read.
    assert picked == ("XS", "MS", "NS", "DS", "VS", "OS", "GCS", "GSS", "GWS", "O")
    place = place_of(stages_by_passes(program, GIVEN))
    assert place["XS"] == place["MS"] < place["NS"] == place["VS"]
    # Chunks of keys are gone over twice inside of one pass over all.
    one_pass = Cascade.load("attention-1pass").program
    assert len(stages_by_passes(one_pass, ())) == len(stages_by_gathers(one_pass, ())) == 1


def test_tiles_that_nests_would_have_to_cut_alike_are_not_handed_on() -> None:
    program = Cascade.load("native-sparse-attention").program
    assert len(stages_by_gathers(program, GIVEN)) == 3
    place = place_of(stages_by_gathers(program, ()))
    assert place["KC"] == place["XC"]


@pytest.mark.parametrize(
    ("name", "on", "fields"),
    [
        # First queries see fewer blocks than they pick: what they lack is no zero in a later nest.
        left("moba", "a100-80gb", {"P": 16, "U": 4, "J": 3}),
        left("moba", "fusemax", {"P": 16, "U": 4, "J": 3}),
        # Keys are as many as queries, which one nest needs and the other does not.
        left("fox", "a100-80gb", {}),
    ],
)
def test_what_is_made_nest_by_nest_computes_the_same(
    name: str, on: str, fields: dict[str, int]
) -> None:
    work = load(name, **fields, seq_len=16, H=2, E=8, F=8)
    part, machine = work.parts[0], Architecture.load(on)
    known = Cascade.load(part.cascade)
    made = nest_by_nest(PartProblem(part, machine, GENERATORS)).mapping
    assert made.name == NEST_BY_NEST
    assert len(made.nests) > 1
    program = known.program
    sizes = {t.member: t.size for n in made.nests for t in n.tiles if t.member in program.rank_of}
    computes_the_same(known, made, machine, part.shapes_for(program.settable) | sizes)


@pytest.mark.slow
def test_picked_blocks_are_attended_in_nests_of_their_own() -> None:
    """In one nest the second pass over scores leaves no room for keys: 4.3 times the floor."""
    work, machine = load("moba"), Architecture.load("a100-80gb")
    found = simulate(work, machine)
    assert found.mapping == NEST_BY_NEST
    assert found.over_floor < 1.6
    event = simulate(work, machine, engine="event")
    assert event.cycles == pytest.approx(found.cycles, rel=1e-3)


@pytest.mark.slow
def test_all_branches_of_native_sparse_attention_are_nests() -> None:
    """6.3 times the floor in one nest."""
    assert simulate(load("nsa"), Architecture.load("a100-80gb")).over_floor < 2.8


def test_nothing_is_cut_in_one_pass_without_picks_nor_on_chips_in_a_ring() -> None:
    machine, ring = Architecture.load("a100-80gb"), Architecture.load("tpu-v4i-board")
    part = load("moba").parts[0]

    def cuts(part: Part, machine: Architecture, cascade: str) -> NestCuts:
        return cuts_of(PartProblem(part, machine, GENERATORS, cascade))

    assert cuts(part, machine, part.cascade) == NestCuts(any=True, at_gathers=True)
    assert not cuts(part, ring, part.cascade).any
    bert, paged = (load(name).parts[0] for name in ("bert-base", "paged-decode"))
    assert not cuts(bert, machine, "attention-1pass").any
    assert not cuts(paged, machine, paged.cascade).any


@pytest.mark.slow
def test_what_hands_on_next_to_nothing_is_cut_off() -> None:
    """A table of biases has no queries to be in parts of: 4.3 times the floor where all SMs make
    all of it, whichever has what queries."""
    work, machine = load("t5-bias"), Architecture.load("a100-80gb")
    mapping = nest_by_nest(PartProblem(work.parts[0], machine, GENERATORS)).mapping
    assert len(mapping.nests) == 3
    assert simulate(work, machine, mapping).over_floor < 1.2
    # The default is a single nest nearly as fast.
    assert simulate(work, machine).over_floor < 1.3
    # On one core it is near the floor anyhow, and nothing is cut.
    assert simulate(work, Architecture.load("fusemax")).mapping != NEST_BY_NEST


@pytest.mark.slow
def test_heads_are_expanded_once_and_not_for_each_sequence() -> None:
    """In one nest, cores that have a sequence each read the weights of all heads: 4.4 times the
    floor. Tensors between three nests are 6 % of the compulsory traffic."""
    work = load("deepseek-v3", ["phase=decode", "cached_len=4095"], batch=128)
    found = simulate(work, Architecture.load("h100-sxm"))
    assert found.mapping == NEST_BY_NEST
    assert len(found.parts) == 3
    assert found.over_floor < 2.5


@pytest.mark.slow
def test_gates_are_summed_in_a_nest_of_their_own() -> None:
    """Beside them queries cannot be in parts, so that parts of F each had all scores; and parts of
    the queries have room for the keys of all of them: four times the floor, and 2.5."""
    found = simulate(load("fox", seq_len=1024), Architecture.load("a100-80gb"))
    assert found.mapping == NEST_BY_NEST
    assert found.over_floor < 1.7


@pytest.mark.slow
def test_nobody_asks_where_to_cut_what_is_not_to_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes are analysed for that: a twelfth of what the first run of a large cascade takes."""

    def not_asked(*_: object) -> NestCuts:
        pytest.fail("one nest is less than four times the floor")

    monkeypatch.setattr(defaults, "cuts_of", not_asked)
    assert 1.1 < simulate("fox", "fusemax").over_floor < 2


@pytest.mark.parametrize("engine", [left("analytical"), left("event")])
def test_nests_that_were_bound_to_be_chosen_are_not_bound_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what they would be: the mapping alone, which nobody has bound, takes as long."""
    work, machine = load("t5-bias"), Architecture.load("a100-80gb")
    part = work.parts[0]
    nested = nest_by_nest(PartProblem(part, machine, GENERATORS))
    mapping = nested.mapping
    fresh = job_of(PartProblem(part, machine, GENERATORS), mapping)
    made = replace(fresh, bound_nests=nested.nests)
    bound: list[Mapping] = []

    def told(program: Program, nest: Mapping, *others: Any, **also: Any) -> Bound:
        bound.append(nest)
        return bind(program, nest, *others, **also)

    monkeypatch.setattr(job, "bind", told)
    found = evaluate_job(made, engine)
    assert not bound
    assert evaluate_job(fresh, engine) == found
    assert len(bound) == len(mapping.nests)


def test_a_program_with_the_same_values_of_parameters_is_the_same() -> None:
    program = Cascade.load("attention-sliding-window").program
    (name,) = (p.name for p in program.parameters)
    one, shapes = with_parameters(program, {name: 3, "P": 7})
    assert shapes == {"P": 7}
    assert with_parameters(program, {name: 3})[0] is one
    for value in range(4, 20):
        other, _ = with_parameters(program, {name: value})
        assert [p.default for p in other.parameters] == [value]
    assert with_parameters(program, {name: 3})[0] == one


def test_a_nest_is_mapped_by_the_next_partitioning_if_the_first_has_none() -> None:
    """With one partitioning tried, such a nest was cut: overlapped NSA into single Einsums."""
    part = load("moba", ("seq_len=1K",)).parts[0]
    tried: dict[tuple[str, ...], list[Partitioning]] = {}

    def construct(problem: MappingProblem, partitioning: Partitioning = ()) -> Mapping:
        before = tried.setdefault(tuple(e.name for e in problem.program.einsums), [])
        before.append(partitioning)
        if len(before) == 1:
            raise NoLegalMappingError("no mapping fits")
        return GENERATORS.construct(problem, partitioning)

    generators = replace(GENERATORS, construct=construct)
    nest_by_nest(PartProblem(part, Architecture.load("h100-sxm"), generators))
    first, second = tried["X", "GM", "SN", "SD", "NV", "O"]
    assert first != second
    assert second


SMALL_MACHINE = """
architecture:
  extends: cloud
  name: small
  memories:
    DRAM: {bandwidth: 30 GB/s}
    global_buffer: {capacity: 128 KiB, bandwidth: 200 GB/s}
  arrays:
    array_2d: {shape: {columns: 32, rows: 16}}
    array_1d: {shape: {lanes: 32}}
"""


def test_a_single_core_runs_passes_as_nests(tmp_path: Path) -> None:
    """One nest takes twice the floor, and only from four times the floor on others were tried."""
    machine, work = tmp_path / "machine.yaml", tmp_path / "work.yaml"
    machine.write_text(SMALL_MACHINE)
    shape = "{B: 2, H: 6, E: 64, F: 64, P: 1024, M: 1024}"
    work.write_text(f"workload: {{name: any, cascade: attention-3pass, shape: {shape}}}")
    found = simulate(load(str(work)), Architecture.load(str(machine)))
    assert found.mapping == NEST_BY_NEST
    assert 1 <= found.over_floor < 1.6
