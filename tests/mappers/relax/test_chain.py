"""Searches on machines whose memories are side by side: in a line, then as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from brief_search import BRIEFLY
from portions import left
from products import TWO_LAYERS

from archsim import Architecture, simulate
from archsim.spec.mapping import Keep
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.memory_trees import chains_of, lifted_from_chain
from mappers.cut.nest_search import search_machine
from mappers.exact.policy import BRIEF
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import SearchProblem, silent
from mappers.relax.search import best_mapping
from mappers.space.mapspace import Mapspace
from mappers.workload_search import search_workload
from workloads import load

MACHINE = """
architecture:
  name: split
  technology: jouppi-7nm
  clock: 1 GHz
  word: 16 bit
  memories:
    - {name: far, bandwidth: 16 GB/s, line: 64 bit, energy: dram_hbm2e}
    - {name: sums, inside: far, capacity: 32 KiB, line: 128 bit, bandwidth: 64 GB/s, energy: sram}
    - {name: tiles, inside: far, capacity: 64 KiB, line: 128 bit, bandwidth: 64 GB/s, energy: sram}
  arrays:
    - name: grid
      reads: tiles
      writes: sums
      shape: {columns: 16, rows: 16}
      registers: {depth: 8}
      operations: {mac: {cycles: 1, bill: {mac: 1}}, copy: {cycles: 1, bill: {}}}
    - name: strip
      reads: [tiles, sums]
      writes: tiles
      shape: {lanes: 16}
      registers: {depth: 16}
      operations: {OPERATIONS}
"""


@pytest.fixture
def split(tmp_path: Path) -> Path:
    names = ("mac", "mul", "add", "sub", "max", "exp", "div", "copy")
    made = ", ".join(f"{name}: {{cycles: 1, bill: {{}}}}" for name in names)
    path = tmp_path / "split.yaml"
    path.write_text(MACHINE.replace("OPERATIONS", made))
    return path


def branched() -> Architecture:
    """Gemmini by other names: sums of its mesh have a memory of their own."""
    base = Architecture.load("gemmini")
    far, near = base.memories[0], base.memories[-1]
    mesh, lanes = base.arrays
    return replace(
        base,
        name="branched",
        memories=(
            replace(far, name="far"),
            replace(near, name="sums", inside="far", capacity_bytes=65536),
            replace(near, name="tiles", inside="far", capacity_bytes=262144),
        ),
        arrays=(
            replace(mesh, name="grid", reads=("tiles",), writes=("sums",)),
            replace(lanes, name="strip", reads=("tiles", "sums"), writes=("tiles",)),
        ),
    )


@pytest.mark.parametrize(
    ("cascade", "cores"), [left("attention-1pass", 1), left("attention-3pass", 2)]
)
def test_what_is_found_is_legal_here_and_better_than_what_is_known(
    cascade: str, cores: int
) -> None:
    machine, where, effort = branched(), "with memories in a line", BRIEF
    if cores > 1:
        far = replace(machine.memories[0], instances=(("cores", cores),))
        machine = replace(machine, memories=(far, *machine.memories[1:]))
        where += ", of one core's part"
    work = load("bert-base", cascade=cascade, seq_len=256, batch=1, H=cores)
    known = simulate(work, machine)
    found = search_workload(work, machine, objective_called("latency"), effort=effort)
    result = found.result
    assert result.floor.latency_s <= result.latency_s < 0.8 * known.latency_s
    assert where in found.certificate()["strategy"]
    again = simulate(work, machine, found.by_part.mappings[0], engine="event")
    assert (again.cycles, again.traffic) == (result.cycles, result.traffic)


@pytest.mark.slow
def test_several_nests_are_looked_at_where_memories_are_side_by_side() -> None:
    shapes = {"M": 256, "K": 512, "H": 64, "N": 512}
    space = Mapspace.of(Cascade.parse(TWO_LAYERS).program, branched(), shapes)
    problem, brief = SearchProblem(space, objective_called("latency")), BRIEF
    one = best_mapping(brief, problem, silent)
    found = search_machine(brief, problem, silent)
    assert len(found.mapping.nests) > 1
    assert found.certificate.strategy == "exhaustive, with memories in a line, nest by nest"
    assert found.result.floor.latency_s < found.result.latency_s < 0.99 * one.result.latency_s
    again = run_mapping(space, found.mapping, problem.objective)
    assert again.value == found.result.cycles


def test_what_has_no_room_in_its_branch_goes_to_the_outermost_memory() -> None:
    shapes = {"M": 64, "K": 64, "H": 64, "N": 64}
    program = Cascade.parse(TWO_LAYERS).program
    roomy = Mapspace.of(program, branched(), shapes)
    line = next(chains_of(roomy.architecture))
    kept = (
        Keep(level="far", tensors=("X", "W", "V", "Z")),
        Keep(level="sums", tensors=("X", "W", "V", "Y", "S", "R")),
        Keep(level="tiles", tensors=("X", "W", "V", "Y", "S", "R")),
    )
    made = replace(einsum_by_einsum(program, line, shapes), keep=kept)
    (whole,) = lifted_from_chain(roomy.mapping_problem, line, made)
    latency = objective_called("latency")
    run_mapping(roomy, whole, latency)
    far, *inner = roomy.architecture.memories
    for capacity in (4096, 1024, 64):
        memories = (far, *(replace(m, capacity_bytes=capacity) for m in inner))
        tight = replace(roomy.architecture, memories=memories)
        space = Mapspace.of(program, tight, shapes)
        with pytest.raises(MappingError, match="needs"):
            run_mapping(space, whole, latency)
        (fitted,) = lifted_from_chain(space.mapping_problem, line, made)
        run_mapping(space, fitted, latency)


def test_a_line_is_a_machine_of_those_memories(split: Path) -> None:
    machine = Architecture.load(split)
    assert [[m.name for m in line.memories] for line in chains_of(machine)] == [
        ["far", "sums", "tiles"],
        ["far", "tiles"],
        ["far", "sums"],
    ]
    assert all(line.tree.is_line for line in chains_of(machine))


@pytest.mark.slow
def test_what_is_fast_in_a_line_is_brought_over_as_it_was_found() -> None:
    """Not what takes less energy in the line, which has partial sums where no array writes them."""
    machine, latency = Architecture.load("gemmini"), objective_called("latency")
    found = search_workload(load("bert-base"), machine, latency)
    assert found.result.over_floor < 1.15


@pytest.mark.slow
def test_sizes_that_are_declared_alike_are_decided_together() -> None:
    """What is found says how long chunks are: keys of one, as many as its queries, were given."""
    work = load("mamba-2-2.7b", batch=1, seq_len=256)
    machine = Architecture.load("fsa")
    found = search_workload(work, machine, objective_called("latency"), effort=BRIEFLY)
    assert found.result.cycles < simulate(work, machine).cycles
