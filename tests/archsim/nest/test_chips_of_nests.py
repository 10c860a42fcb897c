"""Several nests on chips in a ring: what one chip made, another does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_lane import ARRAYS

from archsim import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.problem.engine_run import EngineRun, run_mapping
from mappers.problem.objectives import objective_called
from mappers.space.mapspace import Mapspace

TWO = """
cascade: two-products
ranks: [M, K, N, L]
inputs: {A: [M, K], B: [K, N], C: [N, L]}
output: Z
einsums: |
  D[m, n] = A[m, k] * B[k, n]
  Z[m, l] = D[m, n] * C[n, l]
"""

MACHINE = (
    """
architecture:
  name: board
  technology: jouppi-7nm
  clock: 1 GHz
  word: 8 bit
  memories:
    - {name: wires, ring: true, instances: {dies: 2}, energy: link_board, line: 8 bit,
       bandwidth: 10 GB/s}
    - {name: own, energy: dram_hbm2, line: 8 bit, bandwidth: 10 GB/s}
"""
    + ARRAYS
)

MAPPING = """
mapping:
  name: two
  cascade: CASCADE
  nests:
    - nest: [{level: wires, loops: [], spatial: FIRST}]
      einsums: {D: {array: unit, loops: {own: [M, N, K]}}}
      keep: {own: [A, B, D]}
    - nest: [{level: wires, loops: [], spatial: SECOND}]
      einsums: {Z: {array: unit, loops: {own: [M, L, N]}}}
      keep: {own: [D, C, Z]}
"""

SHAPES = {"M": 8, "K": 4, "N": 6, "L": 4}


def ran(folder: Path, first: str, second: str) -> EngineRun:
    texts = {"two.yaml": TWO, "board.yaml": MACHINE}
    texts["mapping.yaml"] = (
        MAPPING.replace("CASCADE", str(folder / "two.yaml"))
        .replace("FIRST", first)
        .replace("SECOND", second)
    )
    for name, text in texts.items():
        (folder / name).write_text(text)
    program = Cascade.load(folder / "two.yaml").program
    space = Mapspace.of(program, Architecture.load(folder / "board.yaml"), SHAPES)
    return run_mapping(space, Mapping.load(folder / "mapping.yaml"), objective_called("latency"))


def test_what_each_chip_made_it_reads(tmp_path: Path) -> None:
    both, one = (ran(tmp_path, spread, spread) for spread in ("{dies: M}", "{}"))
    assert both.value < one.value
    traffic = {t.level: t for t in both.result.traffic}
    assert traffic["wires"].total_bytes == 0


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("{dies: M}", "{dies: L}", "not in parts, and parts of M"),
        ("{dies: M}", "{}", "not in parts, and parts of M"),
        ("{dies: N}", "{dies: M}", "parts of M, and parts of N"),
    ],
)
def test_what_other_chips_made_is_refused(
    tmp_path: Path, first: str, second: str, said: str
) -> None:
    with pytest.raises(MappingError, match="Z reads D by other parts") as wrong:
        ran(tmp_path, first, second)
    assert said in str(wrong.value)
    assert "partition both nests by the same parts of D" in str(wrong.value)
