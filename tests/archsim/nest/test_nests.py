"""Several nests of a mapping cost what each does, and all of them compute what one nest does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, simulate
from archsim.engine.evaluate import evaluate_nests, takes_longer
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.nest.sequence import join_nests, nests_of
from archsim.plan.partitioning import partition_mapping
from archsim.result.record import Floor
from archsim.spec.files.mapping_text import mapping_text
from archsim.spec.mapping import Mapping, SpatialRank
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.algebra.excerpt import cut_blocks, excerpt
from einsum_cascade.errors import MappingError, SpecError
from einsum_cascade.ir import Program
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS

SHAPES = {"B": 2, "H": 2, "E": 16, "F": 16, "P": 40, "M": 24}
MACHINE = Architecture.load("fusemax")


def cut(
    program: Program, shapes: dict[str, int], *places: int, on: Architecture = MACHINE
) -> Mapping:
    """A mapping of several nests, each one Einsum after the other."""
    blocks = program.memo(cut_blocks)
    ends = [0, *places, len(blocks)]
    nests: list[Mapping] = []
    for first, last in pairwise(ends):
        part = program.memo(excerpt, tuple(n for block in blocks[first:last] for n in block))
        own = {r: n for r, n in shapes.items() if r in part.settable}
        nests.append(einsum_by_einsum(part, on, own))
    return join_nests(replace(nests[0], name="cut", cascade=program.name), tuple(nests))


STEPS = 100


def least_of(nests: list[Bound], end: float) -> float:
    """What nests certainly take, in seconds, to a hundredth of an end."""
    *before, last = nests
    times = (end * step / STEPS for step in range(STEPS))
    return max(t for t in times if takes_longer(last, t, before=before))


@pytest.mark.parametrize("name", ["attention-3pass", "attention-causal", "feed-forward"])
def test_nests_are_priced_each_by_itself_and_have_the_floor_of_the_whole(name: str) -> None:
    program = Cascade.load(name).program
    shapes = {r: SHAPES.get(r, 24) for r in program.settable}
    mapping = cut(program, shapes, 1, 2)
    nests = tuple(
        (p.name, bind(p.program, p.mapping, MACHINE, p.shapes))
        for p in nests_of(program, mapping, shapes)
    )
    found = evaluate_nests(program, mapping, nests)
    assert found.cycles == sum(p.result.cycles for p in found.parts)
    # What they take at the least adds up, and is not above what they take.
    bounds, end = [bound for _, bound in nests], found.latency_s
    assert not takes_longer(bounds[-1], end, before=bounds[:-1])
    each = sum(least_of([bound], end) for bound in bounds)
    assert least_of(bounds, end) == pytest.approx(each, abs=(len(bounds) + 1) * end / STEPS)
    assert found.energy_pj == pytest.approx(sum(p.result.energy_pj for p in found.parts))
    whole = evaluate_mapping(program, einsum_by_einsum(program, MACHINE, shapes), MACHINE, shapes)
    assert found.floor.latency_s == pytest.approx(whole.floor.latency_s, rel=1e-12)
    assert found.floor.energy_pj == pytest.approx(whole.floor.energy_pj, rel=1e-9)
    # What is handed on is read from the outermost memory, and no more is written than anyway.
    assert found.traffic[0].write_bytes == whole.traffic[0].write_bytes
    assert found.traffic[0].read_bytes > whole.traffic[0].read_bytes


@pytest.mark.parametrize(
    ("name", "machine", "places", "tiles"),
    [
        ("attention-causal-1pass", "fusemax", (3,), {}),  # masks leave tiles out of another nest
        ("attention-causal-1pass", "fusemax", (1, 2, 3), {"M0": 4}),  # and steps of the whole
        (
            "flash-attention-2-backward-grouped",
            "fusemax",
            (6,),
            {"G": 1, "S": 2},
        ),  # steps of a nest alone
        ("attention-3pass", "fsa", (1,), {}),  # what a nest reads may wait in a systolic array
        ("attention-3pass", "fsa", (5,), {}),
    ],
)
def test_what_nests_hand_on_and_leave_to_one_another_is_not_in_the_floor(
    name: str, machine: str, places: tuple[int, ...], tiles: dict[str, int]
) -> None:
    program, on = Cascade.load(name).program, Architecture.load(machine)
    shapes = {r: SHAPES[r] for r in program.settable if r in SHAPES} | tiles
    nests = tuple(
        (p.name, bind(p.program, p.mapping, on, p.shapes))
        for p in nests_of(program, cut(program, shapes, *places, on=on), shapes)
    )
    whole = evaluate_mapping(program, einsum_by_einsum(program, on, shapes), on, shapes).floor
    found = evaluate_nests(program, cut(program, shapes, *places, on=on), nests).floor
    assert found.latency_s == pytest.approx(whole.latency_s, rel=1e-12)
    assert found.energy_pj == pytest.approx(whole.energy_pj, rel=1e-9)


def test_the_floor_of_nests_that_are_spread_is_that_of_all_instances() -> None:
    """It was that of the work of one of them, on all."""
    first, *inner = MACHINE.memories
    machine = replace(MACHINE, memories=(replace(first, instances=(("cores", 4),)), *inner))
    program = Cascade.load("attention-3pass").program
    shapes = {**SHAPES, "H": 4}
    heads = SpatialRank(instances="cores", rank="H", parts=4)

    def floor(*, spread: bool) -> Floor:
        mapping = cut(program, shapes, 1, 2)
        nests = []
        for part in nests_of(program, mapping, shapes):
            how = part.mapping
            if spread:
                how = partition_mapping(how, ((first.name, (heads,)),), machine)
            nests.append((part.name, bind(part.program, how, machine, part.shapes)))
        return evaluate_nests(program, mapping, tuple(nests)).floor

    assert floor(spread=True).latency_s == pytest.approx(floor(spread=False).latency_s, rel=1e-12)
    assert floor(spread=True).energy_pj == pytest.approx(floor(spread=False).energy_pj, rel=1e-9)


@pytest.mark.parametrize("name", ["attention-3pass", "attention-causal", "delta-rule"])
def test_nest_by_nest_computes_what_the_cascade_does(name: str) -> None:
    cascade = Cascade.load(name)
    program = cascade.program
    shapes = {r: SHAPES.get(r, 5) for r in program.settable} | {"B": 1, "P": 6, "M": 6, "E": 4}
    mapping = cut(program, shapes, 1, 3)
    run = mapped_run(cascade, mapping, MACHINE, GENERATORS)
    found = validate_cascade(cascade, run=run, shapes=shapes)
    assert found.ok


def test_a_file_holds_nests_and_both_engines_run_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    program = Cascade.load("attention-3pass").program
    mapping = cut(program, SHAPES, 2, 4)
    path = tmp_path / "nests.yaml"
    path.write_text(mapping_text(mapping))
    read = Mapping.load(path)
    assert read == mapping
    workload = "bert-base"
    setting = ["cascade=attention-3pass", "batch=2", "H=2", "E=16", "F=16", "seq_len=40"]
    told = [
        simulate(workload, "fusemax", mapping=read, engine=e, settings=setting)
        for e in ("analytical", "event")
    ]
    assert told[0].cycles == pytest.approx(told[1].cycles, rel=1e-3)
    assert [p.name for p in told[0].parts] == ["QK to GM", "SN to SD", "A to AV"]


def test_nests_that_do_not_go_together_are_refused() -> None:
    program = Cascade.load("attention-3pass").program
    mapping = cut(program, SHAPES, 2, 4)
    first, second, third = mapping.nests
    with pytest.raises(SpecError, match="SN runs in an earlier nest than QK"):
        nests_of(program, replace(mapping, nests=(second, first, third)), SHAPES)
    with pytest.raises(SpecError, match="no nest runs A"):
        nests_of(program, replace(mapping, nests=(first, second)), SHAPES)
    with pytest.raises(MappingError, match="has 3 nests, and one is needed here"):
        bind(program, mapping, MACHINE, SHAPES)


def test_what_runs_along_a_rank_stays_in_its_nest_and_tiles_handed_on_are_cut_alike() -> None:
    program = Cascade.load("attention-1pass").program
    mapping = einsum_by_einsum(program, MACHINE, SHAPES)

    def having(*names: str, size: int = 8) -> Mapping:
        own = tuple(e for e in mapping.einsums if e.einsum in names)
        tiles = tuple(replace(t, size=size) if t.member == "M0" else t for t in mapping.tiles)
        return replace(mapping, einsums=own, tiles=tiles)

    names = [e.name for e in program.einsums]
    whole = join_nests(mapping, (having(*names[:-1]), having(names[-1])))
    with pytest.raises(SpecError, match="RNV runs along M1: AV, which reads it"):
        nests_of(program, whole, SHAPES)
    whole = join_nests(mapping, (having(names[0]), having(*names[1:], size=4)))
    with pytest.raises(SpecError, match="BQK is made of tiles of M, which two nests cut otherwise"):
        nests_of(program, whole, SHAPES)


@pytest.mark.parametrize(
    ("nests", "said"),
    [
        ("nests: [{einsums: {QK: {array: matrix}}}]", "several nests are two at the least"),
        (
            "nests: [{einsums: {QK: {array: matrix}}}, {einsums: {QK: {array: matrix}}}]",
            "'QK' is already in a nest",
        ),
        (
            "einsums: {QK: {array: matrix}}\n  nests: [{einsums: {GM: {array: vector}}},"
            " {einsums: {SN: {array: vector}}}]",
            "a mapping of several nests has no 'einsums' of its own",
        ),
        ("nests: [{einsums: {}}, {einsums: {SN: {array: vector}}}]", "at least one entry"),
        ("keep: {outer: [Q]}", "the field 'einsums' is missing in 'mapping'"),
    ],
)
def test_files_of_nests_that_are_wrong_are_refused(tmp_path, nests: str, said: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "wrong.yaml"
    path.write_text(f"mapping:\n  name: wrong\n  cascade: attention-3pass\n  {nests}\n")
    with pytest.raises(SpecError, match=said):
        Mapping.load(path)
