"""Mappings in blocks: no slower than any other tiles, legal, and near what was measured."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from evaluated import evaluate_mapping
from machines import small

from archsim import Architecture, simulate
from archsim.spec.mapping import BLOCK_BY_BLOCK, Mapping
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.construct import block_by_block as block
from mappers.construct.block_by_block import _tiles, _tiles_in, block_by_block, tile_bytes
from mappers.construct.context import MappingContext
from mappers.construct.generators import GENERATORS
from workloads import load
from workloads.references import find_reference

LAYER = "linear-layer"


def fed_slowly(capacity: int) -> Architecture:
    """Arrays of 4 x 4 and 4 lanes below a buffer, and a memory that tiles decide about."""
    machine = small((4, 4), 4)
    outer, *_, inner = machine.memories
    memories = (
        replace(outer, bandwidth_bytes_per_s=machine.clock_hz * 2),
        replace(inner, capacity_bytes=capacity, bandwidth_bytes_per_s=machine.clock_hz * 64),
    )
    return replace(machine, memories=memories)


def cycles_of(mapping: Mapping, machine: Architecture, given: dict[str, int]) -> float | None:
    """Return the engine's result; None where tiles leave no half of the buffer to the next ones."""
    program = Cascade.load(LAYER).program
    try:
        found = evaluate_mapping(program, mapping, machine, given)
    except MappingError:
        return None
    room = found.to_dict()["buffer_bytes"][machine.memories[1].name]
    return found.cycles if 2 * room["required"] <= room["capacity"] else None


BLOCKS = """
mapping:
  name: blocks
  cascade: linear-layer
  partition: {{N: {{N0: 4, N1: {}}}, J: {{J0: 4, J1: {}}}, D: {{D0: {}}}}}
  einsums:
    Z:
      array: matrix
      spatial: {{rows: N0, columns: J0}}
      loops: {{outer: [N2, J2, D1], nearest: [N1, J1, D0]}}
  keep: {{outer: [X, W, Z], nearest: [X, W, Z]}}
  schedule: {{kind: sequential}}
"""


@pytest.mark.parametrize(("capacity", "shapes"), [(1024, (64, 32, 64)), (2048, (16, 64, 128))])
def test_no_other_block_that_fits_is_faster(
    tmp_path: Path, capacity: int, shapes: tuple[int, int, int]
) -> None:
    machine = fed_slowly(capacity)
    given = dict(zip(("N", "D", "J"), shapes, strict=True))
    found = block_by_block(Cascade.load(LAYER).program, machine, given)
    assert found is not None
    assert found.name == BLOCK_BY_BLOCK
    ours = cycles_of(found, machine, given)
    tried: list[float] = []
    for sizes in product((1, 2, 4, 8), (1, 2, 4, 8), (4, 16, 64)):
        path = tmp_path / "blocks.yaml"
        path.write_text(BLOCKS.format(*sizes))
        if (cycles := cycles_of(Mapping.load(path), machine, given)) is not None:
            tried.append(cycles)
    assert len(tried) > 5
    assert ours == min(tried)
    assert ours < max(tried)


def test_blocks_compute_the_same() -> None:
    cascade = Cascade.load("linear-layer-swiglu")
    shapes = {"N": 13, "D": 18, "J": 21}
    machine = fed_slowly(512)
    mapping = block_by_block(cascade.program, machine, shapes)
    assert mapping is not None
    how = mapped_run(cascade, mapping, machine, GENERATORS)
    reference = find_reference(cascade.program.reference)
    report = validate_cascade(cascade, reference=reference, shapes=shapes, trials=1, run=how)
    assert report.ok, report


def test_what_steps_along_a_rank_is_not_cut_into_blocks() -> None:
    program = Cascade.load("attention-1pass").program
    shapes = {"B": 1, "H": 2, "E": 8, "F": 8, "P": 64, "M": 64}
    assert block_by_block(program, fed_slowly(512), shapes) is None


@pytest.mark.parametrize(
    ("n", "d", "j", "measured_s"),
    [(1024, 12288, 12288, 1.199e-3), (8192, 4096, 4096, 1.021e-3), (64, 12288, 12288, 1.9e-4)],
)
def test_products_are_near_measured_ones(
    tmp_path: Path, n: int, d: int, j: int, measured_s: float
) -> None:
    # Zhang et al., LLMCompass, ISCA 2024, figure 5 of the artifact: fp16, launch included.
    path = tmp_path / "product.yaml"
    shape = f"{{N: {n}, D: {d}, J: {j}}}"
    path.write_text(f"workload: {{name: product, cascade: linear-layer, shape: {shape}}}")
    machine = Architecture.load("a100-80gb")
    found = simulate(load(path), machine)
    assert machine.launch_s is not None
    assert found.latency_s + machine.launch_s == pytest.approx(measured_s, rel=0.15)
    assert "to start a kernel takes 21 us more, in no latency here" in found.notes


def test_ranks_of_one_coordinate_are_gone_round_once() -> None:
    """One sequence went round in two memories, and what was made was refused."""
    program, machine = Cascade.load("attention-naive").program, Architecture.load("ascend-910b2")
    shapes = {"B": 1, "H": 1, "E": 64, "F": 64, "P": 512, "M": 512}
    mapping = block_by_block(program, machine, shapes)
    assert mapping is not None
    assert evaluate_mapping(program, mapping, machine, shapes).over_floor >= 1


def test_of_a_cascade_with_many_ranks_no_blocks_are_made() -> None:
    """There would be millions."""
    program = Cascade.load("deepseek-sparse-attention").program
    shapes = dict.fromkeys(("H", "P", "M", "N", "D", "J", "A", "R", "C", "F"), 1 << 12) | {"B": 1}
    assert block_by_block(program, Architecture.load("ascend-910b2"), shapes) is None


def test_tiles_that_fit_are_those_of_which_no_einsum_has_too_much() -> None:
    """The footprint of an Einsum is computed once for each tile of its own ranks."""
    program = Cascade.load("attention-3pass").program
    shapes = {"B": 1, "H": 2, "P": 32, "M": 48, "E": 16, "F": 16}
    context = MappingContext(program=program, architecture=small((4, 4), 4), shapes=shapes)
    least = dict.fromkeys(shapes, 1)
    every = [*_tiles(context, least)]
    held = [2 * max(tile_bytes(context, e, tile) for e in program.einsums) for tile in every]
    counts = []
    for room in (500, 2000, 5000, 10**9):
        found = [*_tiles_in(context, least, room)]
        assert found == [tile for tile, size in zip(every, held, strict=True) if size <= room]
        counts.append(len(found))
    assert 0 < counts[0] < counts[1] < counts[2] < counts[3] == len(every)


def test_an_einsum_is_asked_once_for_its_own_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cascade of many ranks has thousands of tiles, of which an Einsum has few of its own."""
    asked: list[str] = []
    whole = block.passed_by

    def counted(*args: Any) -> Any:
        asked.append(args[1].name)
        return whole(*args)

    monkeypatch.setattr(block, "passed_by", counted)
    program = Cascade.load("attention-3pass").program
    given = {"B": 1, "H": 1, "E": 8, "F": 8, "P": 16, "M": 16}
    assert block_by_block(program, fed_slowly(1 << 20), given) is not None
    # E, F, P and M have 36 tiles; SD has those of P and M alone, 9, in two layouts.
    assert 0 < asked.count("SD") <= 2 * 9
    assert asked.count("SD") < asked.count("QK") < 2 * 36
