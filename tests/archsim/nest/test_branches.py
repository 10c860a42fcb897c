"""Memories side by side: what passes which, against the walk and by hand; what is refused."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from bound_cases import bound, counted, untimed, walked, walker
from event_unrolled import run_unrolled
from nest_branches import branched_case
from nest_capacity import required
from portions import portions

import workloads
from archsim import Architecture, Mapping, simulate
from archsim.counts.accesses import count_einsum
from archsim.engine.events import run_program
from archsim.engine.latency import event_programs
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.legality.footprint import requirements
from archsim.steps.run_length import StepsError
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, SpecError

# ------------------------------------------------------------------ against the walk


@pytest.mark.parametrize("first", portions(400, 20, quick=2))
def test_trees_equal_the_walk(first: int) -> None:
    seen = Counter[str]()
    for seed in range(first, first + 20):
        case = branched_case(seed)
        if case is None:
            continue
        lowered, walk = bound(case), walker(case)
        for e in lowered.einsums:
            found = counted(count_einsum(lowered, e))
            assert found == walked(walk.walk(e.einsum)), f"seed {seed}, {e.name}"
            for tensor in (*(a.tensor for a in e.einsum.reads), e.name):
                apart = {*lowered.residency.memories(tensor)} - {*lowered.memories(e, tensor)}
                names = {(case.architecture.memories[i].name, tensor) for i in apart}
                seen["left aside"] += bool(names - e.bypass)
                seen["passed by"] += bool(names & e.bypass)
        for level, finds_tile_at in enumerate(requirements(lowered)):
            words = finds_tile_at.required_bytes / case.architecture.word_bytes
            assert words == required(walk, level), f"seed {seed}, level {level}"
        seen["legal"] += not illegalities(lowered)
    assert seen["legal"] > 2, seen
    if first == 0:  # a portion of every kind
        assert min(seen["left aside"], seen["passed by"]) > 2, seen


def test_runs_on_trees_equal_the_unrolled_ones() -> None:
    ran = 0
    for seed in range(30):
        case = branched_case(seed)
        if case is None or illegalities(lowered := bound(case)):
            continue
        counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
        with suppress(MappingError, StepsError):
            for _, program in event_programs(lowered, counts):
                expected, _ = run_unrolled(program)
                assert run_program(program).cycles == expected, f"seed {seed}"
                ran += 1
    assert ran > 3


# ------------------------------------------------------------------ by hand

SIZES = {"B": 1, "H": 1, "E": 16, "F": 16, "P": 32, "M": 32}
SCORES = 32 * 32


def two_branches(*shared: str) -> Architecture:
    """Gemmini by other names: its arrays have a buffer each, inside of some memories that both
    share, of which ``far`` is the outermost."""
    base = Architecture.load("gemmini")
    dram, buffer = base.memories[0], replace(base.memories[-1], inside=None)
    mesh, lanes = (replace(a, writes=()) for a in base.arrays)
    return replace(
        base,
        name="branched",
        memories=(
            replace(dram, name="far"),
            *(replace(buffer, name=n) for n in shared),
            *(replace(buffer, name=n, inside=["far", *shared][-1]) for n in ("left", "right")),
        ),
        arrays=(
            replace(mesh, name="square", reads=("left",)),
            replace(lanes, name="row", reads=("right",)),
        ),
    )


def moved(machine: Architecture, mapping: str | Mapping, tensor: str) -> dict[str, tuple[int, int]]:
    """Elements of a tensor of one head that all Einsums together read and write, by place."""
    mapping = Mapping.load(mapping) if isinstance(mapping, str) else mapping
    lowered = bind(Cascade.load(mapping.cascade).program, mapping, machine, SIZES)
    found: dict[str, tuple[int, int]] = {}
    for e in lowered.einsums:
        for a in count_einsum(lowered, e).accesses:
            if a.tensor == tensor:
                reads, writes = found.get(a.place, (0, 0))
                found[a.place] = (reads + int(a.reads), writes + int(a.writes))
    return {place: amount for place, amount in found.items() if any(amount)}


def test_what_one_branch_makes_another_reads_through_the_memory_outside_of_both() -> None:
    """Scores are made on the left and used on the right, where they are read for a maximum and
    again for exponentials: they come there once. Exponentials go the other way."""
    machine = two_branches("middle")
    scores = moved(machine, "fusemax-binding", "BQK")
    assert scores == {
        "middle": (SCORES, SCORES),
        "left": (0, SCORES),
        "right": (2 * SCORES, SCORES),
    }
    # The exponentials are read for their sum, and for the product with values.
    exponentials = moved(machine, "fusemax-binding", "SLN")
    assert exponentials["middle"] == (SCORES, SCORES)
    assert exponentials["left"] == (2 * SCORES, SCORES)
    assert exponentials["right"] == (0, SCORES)
    # What one array alone uses is in its own buffer, and no other.
    assert moved(machine, "fusemax-binding", "K").keys() == {"far", "left"}


def test_without_a_memory_outside_of_both_it_passes_the_outermost() -> None:
    assert moved(two_branches(), "fusemax-binding", "BQK") == {
        "far": (SCORES, SCORES),
        "left": (0, SCORES),
        "right": (2 * SCORES, SCORES),
    }


def test_arrays_at_different_depths() -> None:
    """What the inner one makes passes its own buffer on the way out, and comes from outside."""
    base = two_branches("middle")
    square, row = base.arrays
    arrays = (square, replace(row, reads=("middle",)))
    machine = replace(base, memories=base.memories[:3], arrays=arrays)
    assert moved(machine, "fusemax-binding", "BQK") == {
        "middle": (2 * SCORES, SCORES),
        "left": (0, SCORES),
    }


def test_operands_come_from_memories_in_turn_and_results_go_to_another() -> None:
    base = two_branches("middle")
    square, row = base.arrays
    arrays = (replace(square, reads=("left", "right"), writes=("sums",)), row)
    sums = replace(base.memories[-1], name="sums")
    machine = replace(base, memories=(*base.memories, sums), arrays=arrays)
    places = {t: {*moved(machine, "fusemax-binding", t)} for t in ("Q", "K", "BQK")}
    assert places == {
        "Q": {"far", "left"},
        "K": {"far", "right"},
        "BQK": {"middle", "sums", "right"},
    }


@pytest.mark.parametrize("mapping", [None, "einsum-by-einsum", "fused"])
def test_mappings_made_for_any_machine_run_on_branches(mapping: str | None) -> None:
    machine = two_branches("middle")
    work = workloads.load("bert-base", seq_len=16, batch=1, H=1, E=8, F=8)
    one, event = (simulate(work, machine, mapping, engine=x) for x in ("analytical", "event"))
    assert untimed(one) == untimed(event)
    assert one.latency_s == event.latency_s
    moving = {t.level: t.total_bytes for t in one.traffic}
    assert moving.keys() == {"far", "middle", "left", "right"}
    assert all(moving.values())


# ------------------------------------------------------------------ what is refused

TREE = {
    "architecture": {
        "name": "mine",
        "technology": "accelergy-45nm",
        "clock": "1 GHz",
        "word": "16 bit",
        "memories": [
            {"name": "far", "line": "64 bit", "energy": "dram_hbm2"},
            *(
                {
                    "name": n,
                    "line": "64 bit",
                    "energy": "sram",
                    "capacity": "1 MiB",
                    "inside": "far",
                }
                for n in ("left", "right")
            ),
        ],
        "arrays": [
            {
                "name": name,
                "shape": {"columns": 4},
                "registers": {"depth": 4},
                "reads": reads,
                "operations": {"mac": {"cycles": 1, "bill": {"mac": 1}}},
            }
            for name, reads in (("square", "left"), ("row", "right"))
        ],
    }
}


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("memories.right.inside=letf", "'letf' is not a memory, (.*\n)+.*did you mean 'left'"),
        ("memories.right.inside=right", "'right' is inside of 'right': no memory is outside"),
        (
            "memories.far.inside=left",
            "'far' is inside of 'left', which is inside of 'far': no memory is outside",
        ),
        ("memories.left.inside=right", "'left' is listed before 'right'"),
        ("memories.right.inside=null", "'right' is inside of nothing, and so is 'far'"),
        ("arrays.row.reads=rihgt", "'rihgt' is not a memory .*row(.*\n)+.*did you mean 'right'"),
        ("arrays.row.writes=[far, lft]", "'lft' is not a memory .*row.* could write to"),
        ("arrays.row.reads=[]", "left and right are side by side: 'row' must say which"),
        ("arrays.row.reads=left", "no array reads from 'right' or writes to it"),
        ("memories.left.instances.cores=2", "'left' feeds instances, but right, row is not inside"),
    ],
)
def test_what_is_no_tree_is_refused(tmp_path: Path, setting: str, wanted: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(TREE), encoding="utf-8")
    assert not Architecture.load(path).tree.is_line
    with pytest.raises(SpecError, match=wanted) as told:
        Architecture.load(path, [setting])
    assert len(told.value.problems) == 1


def test_a_line_may_be_said() -> None:
    plain = Architecture.load("fusemax")
    said = Architecture.load("fusemax", ["memories.global_buffer.inside=DRAM"])
    assert said == plain
    assert said.tree.is_line


def test_a_tree_changed_in_python_is_checked() -> None:
    machine = two_branches()
    with pytest.raises(SpecError, match="no array reads from 'right'"):
        replace(machine, arrays=machine.arrays[:1])


MAPPING = """
mapping:
  name: mine
  cascade: mine.yaml
  einsums:
    T: {array: square, loops: {far: [M], left: [K]}}
    Y: {array: row, loops: {far: [M]}}
  keep: {far: [A, T, Y], left: [A, T], right: [T, Y]}
  schedule: {kind: sequential}
"""
CASCADE = """
cascade: mine
ranks: {M: rows, K: columns}
inputs: {A: [M, K]}
output: Y
einsums: |
  T[m] = A[m, k]
  Y[m] = T[m]
"""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("", "", ""),
        (
            "far: [A, T, Y]",
            "far: [A, Y]",
            "Y reads T, which left keeps, but left does not feed row(.*\n)+.*keep T in far, too",
        ),
        ("right: [T, Y]", "right: [T, Y, A]", "A: right keeps it, but feeds nothing that touches"),
        ("left: [K]", "right: [K]", None),
        (
            "Y: {array: row, loops: {far: [M]}}",
            "Y: {array: row, loops: {left: [M]}}",
            "Y has loops at left, which does not feed row(.*\n)*.*row is fed by far, right",
        ),
    ],
)
def test_a_mapping_that_does_not_go_with_the_branches(
    tmp_path: Path, old: str, new: str, wanted: str | None
) -> None:
    (tmp_path / "mine.yaml").write_text(CASCADE, encoding="utf-8")
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING.replace(old, new), encoding="utf-8")
    mapping = Mapping.load(path)
    program = Cascade.load(mapping.cascade).program
    if not wanted:
        bind(program, mapping, two_branches(), {"M": 4, "K": 4})
        return
    with pytest.raises(MappingError, match=wanted):
        bind(program, mapping, two_branches(), {"M": 4, "K": 4})


def test_two_ways_to_one_einsum_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CASCADE, encoding="utf-8")
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING, encoding="utf-8")
    base = two_branches()
    square, row = base.arrays
    machine = replace(base, arrays=(square, replace(row, reads=("right", "left"))))
    mapping = Mapping.load(path)
    program = Cascade.load(mapping.cascade).program
    told = "Y takes T by left and by right, which are side by side(.*\n)*.*bypass: {right: T}"
    with pytest.raises(MappingError, match=told):
        bind(program, mapping, machine, {"M": 4, "K": 4})


def test_what_spills_is_one_memory() -> None:
    work = workloads.load("bert-base", seq_len=32, batch=1, H=1, E=16, F=16)
    told = r"several memories of branched are 'nearest' \(middle, left, right\), and one may spill"
    with pytest.raises(SpecError, match=told):
        simulate(work, two_branches("middle"), "flat")
