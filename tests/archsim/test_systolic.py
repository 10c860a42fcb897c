"""Systolic GEMM cycles against SCALE-Sim's closed forms (its reported cycles + 1).

R rows, C columns; folds F; per fold: output-stationary K + R + C - 2; weight- and
input-stationary T + 2R + C - 2, the R first cycles loading the stationary operand. Folds
are not trimmed at ragged edges. SCALE-Sim v3, verified there on 57 GEMMs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import Architecture, Mapping
from archsim.analytical import bind
from archsim.arch import ProcessingArray
from archsim.tasks import busy_cycles
from einsum_cascade import Cascade

GEMM = """
cascade: gemm
ranks: [M, N, K]
inputs: {A: [M, K], B: [K, N]}
output: Z
einsums: "Z[m, n] = A[m, k] * B[k, n]"
"""
MACHINE = """
architecture:
  name: systolic
  technology: accelergy-45nm
  clock: 1 GHz
  word: 16 bit
  memories:
    - {{name: DRAM, bandwidth: 100 GB/s, line: 64 bit, energy: dram_hbm2}}
  arrays:
    - name: array
      shape: {{columns: {columns}, rows: {rows}}}
      registers: {{depth: 8}}
      operands: systolic
      overlap: {overlap}
      operations: {{mac: {{cycles: 1, bill: {{mac: 1}}}}}}
"""
STATIONARY = {
    "output": (("M", "rows"), ("N", "columns"), "[M1, N1, K]"),
    "weight": (("K", "rows"), ("N", "columns"), "[K1, N1, M]"),
    "input": (("K", "rows"), ("M", "columns"), "[K1, M1, N]"),
}


def cycles(
    folder: Path, kind: str, shapes: dict[str, int], rows: int, columns: int, overlap: str = "false"
) -> int:
    """Cycles the array is occupied with one GEMM."""
    (down, _), (across, _), loops = STATIONARY[kind]
    machine = folder / "machine.yaml"
    machine.write_text(MACHINE.format(rows=rows, columns=columns, overlap=overlap))
    (folder / "gemm.yaml").write_text(GEMM)
    mapping = folder / "mapping.yaml"
    mapping.write_text(
        "mapping:\n  name: gemm\n  cascade: gemm.yaml\n"
        f"  partition: {{{down}: {{{down}0: array.rows}}, "
        f"{across}: {{{across}0: array.columns}}}}\n"
        "  einsums:\n"
        f"    Z: {{array: array, spatial: {{rows: {down}0, columns: {across}0}}, loops: {loops}}}\n"
        "  keep: {DRAM: [A, B, Z]}\n  schedule: {kind: sequential}\n"
    )
    lowered = bind(
        Cascade.parse(GEMM).program, Mapping.load(mapping), Architecture.load(machine), shapes
    )
    assert isinstance(lowered.einsums[0].array, ProcessingArray)
    return int(busy_cycles(lowered, lowered.einsums[0]))


def closed_form(kind: str, m: int, n: int, k: int, r: int, c: int) -> int:
    """SCALE-Sim's reported compute cycles, plus one."""

    def folds(a: int, b: int) -> int:
        return -(-a // r) * -(-b // c)

    if kind == "output":
        return folds(m, n) * (k + r + c - 2)
    if kind == "weight":
        return folds(k, n) * (m + 2 * r + c - 2)
    return folds(k, m) * (n + 2 * r + c - 2)


@pytest.mark.parametrize(
    ("kind", "reported"), [("output", 9183), ("weight", 7159), ("input", 7159)]
)
def test_the_worked_example(tmp_path: Path, kind: str, reported: int) -> None:
    """256 x 256, M = N = 1024, K = 64, as SCALE-Sim 3.0.0 printed it."""
    shapes = {"M": 1024, "N": 1024, "K": 64}
    assert cycles(tmp_path, kind, shapes, 256, 256) == reported + 1


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(STATIONARY)),
    m=st.integers(1, 70),
    n=st.integers(1, 70),
    k=st.integers(1, 70),
    r=st.integers(1, 20),
    c=st.integers(1, 20),
)
def test_any_shape(
    tmp_path_factory: pytest.TempPathFactory, kind: str, m: int, n: int, k: int, r: int, c: int
) -> None:
    stream = {"output": k, "weight": m, "input": n}[kind]
    if stream == 1:
        return  # nothing streams: no tensor is stationary, and no skew is paid
    folder = tmp_path_factory.mktemp("gemm")
    found = cycles(folder, kind, {"M": m, "N": n, "K": k}, r, c)
    assert found == closed_form(kind, m, n, k, r, c)


def test_overlapped_folds_pay_the_skew_once(tmp_path: Path) -> None:
    shapes = {"M": 1024, "N": 1024, "K": 64}
    assert cycles(tmp_path, "output", shapes, 256, 256, "true") == 16 * 64 + 510
