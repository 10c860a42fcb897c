"""Systolic GEMM cycles against SCALE-Sim's closed forms (its reported cycles + 1).

R rows, C columns; folds F; per fold: output-stationary K + R + C - 2; weight- and
input-stationary T + 2R + C - 2, the R first cycles loading the stationary operand. Folds
are not trimmed at ragged edges. SCALE-Sim v3, verified there on 57 GEMMs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from evaluated import evaluate_mapping
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim import Architecture, Mapping, Result, simulate
from archsim.counts.occupancy import busy_cycles
from archsim.legality.binding import bind
from archsim.spec.arch import ProcessingArray
from einsum_cascade import Cascade
from workloads import load

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


@settings(max_examples=examples(60), deadline=None)
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
    folder = tmp_path_factory.mktemp("gemm")
    found = cycles(folder, kind, {"M": m, "N": n, "K": k}, r, c)
    assert found == closed_form(kind, m, n, k, r, c)


def test_overlapped_folds_pay_the_skew_once(tmp_path: Path) -> None:
    shapes = {"M": 1024, "N": 1024, "K": 64}
    assert cycles(tmp_path, "output", shapes, 256, 256, "true") == 16 * 64 + 510


@pytest.mark.parametrize(("kind", "expected"), [("output", 16 * 64), ("weight", 4 * (1024 + 511))])
def test_streams_hide_skew_and_loads_wait_for_the_drain(
    tmp_path: Path, kind: str, expected: int
) -> None:
    """Sums stay where they are and nothing is loaded; weights wait 255 cycles and take 256."""
    shapes = {"M": 1024, "N": 1024, "K": 64}
    assert cycles(tmp_path, kind, shapes, 256, 256, "streams") == expected


# ------------------------------------------------------- shapes and arrays chosen to be awkward

ODD = [
    (7, 5, 3, 4, 4),  # ragged folds both ways
    (9, 8, 2, 8, 4),  # one row beyond a fold
    (5, 6, 2, 16, 8),  # K and M smaller than the rows
    (1, 6, 9, 4, 4),  # one row of outputs
    (6, 1, 9, 4, 4),
    (6, 5, 1, 4, 4),  # nothing to accumulate
    (1, 1, 1, 4, 4),
    (1, 1, 1, 1, 1),
    (10, 12, 11, 1, 5),  # an array of one row
    (10, 12, 11, 5, 1),
    (64, 64, 64, 256, 256),  # an array that is never full
]


@pytest.mark.parametrize("kind", sorted(STATIONARY))
@pytest.mark.parametrize("case", ODD)
def test_odd_shapes(tmp_path: Path, kind: str, case: tuple[int, int, int, int, int]) -> None:
    m, n, k, r, c = case
    found = cycles(tmp_path, kind, {"M": m, "N": n, "K": k}, r, c)
    assert found == closed_form(kind, m, n, k, r, c)


def result(
    folder: Path, kind: str, shapes: dict[str, int], rows: int, columns: int, **changes: str
) -> Result:
    """The whole simulation, on a machine whose memory is never waited for."""
    cycles(folder, kind, shapes, rows, columns, changes.pop("overlap", "false"))
    machine = folder / "machine.yaml"
    text = machine.read_text().replace("bandwidth: 100 GB/s, ", "")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    machine.write_text(text)
    return evaluate_mapping(
        Cascade.parse(GEMM).program,
        Mapping.load(folder / "mapping.yaml"),
        Architecture.load(machine),
        shapes,
    )


def test_a_load_longer_than_a_folds_work_is_waited_for(tmp_path: Path) -> None:
    """256 tiles of weights of 256 x 256, one token each: 256 loads of 256 cycles behind a
    cycle of work each are 65,536 cycles at the least."""
    shapes = {"M": 1, "N": 4096, "K": 4096}
    found = result(tmp_path, "weight", shapes, 256, 256, overlap="true")
    assert 65_536 <= found.cycles == 256 * 256 + 1 + 510


@settings(max_examples=examples(40), deadline=None)
@given(
    m=st.integers(1, 90),
    n=st.integers(1, 100),
    k=st.integers(1, 100),
    r=st.integers(2, 32),
    c=st.integers(2, 32),
)
def test_loads_go_on_beside_work(
    tmp_path_factory: pytest.TempPathFactory, m: int, n: int, k: int, r: int, c: int
) -> None:
    """Fold by fold: weights for the next one are loaded once those of this one are in place."""
    folder = tmp_path_factory.mktemp("gemm")
    found = result(folder, "weight", {"M": m, "N": n, "K": k}, r, c, overlap="true")
    loaded = worked = 0
    for _ in range(-(-k // r) * -(-n // c)):
        begins = max(loaded + r, worked)
        loaded, worked = begins, begins + m
    skew = sum(term for _, term in found.folds[0].skew)
    assert found.cycles == worked + skew


@settings(max_examples=examples(40), deadline=None)
@given(
    kind=st.sampled_from(sorted(STATIONARY)),
    shapes=st.fixed_dictionaries({r: st.integers(1, 300) for r in "MNK"}),
    r=st.integers(1, 64),
    c=st.integers(1, 64),
)
def test_latency_and_utilization_of_a_whole_run(
    tmp_path_factory: pytest.TempPathFactory, kind: str, shapes: dict[str, int], r: int, c: int
) -> None:
    """SCALE-Sim's overall utilization is M N K over cycles (its report + 1) times R C."""
    found = result(tmp_path_factory.mktemp("gemm"), kind, shapes, r, c)
    m, n, k = (shapes[x] for x in "MNK")
    expected = closed_form(kind, m, n, k, r, c)
    assert found.cycles == expected
    assert found.utilization["array"] == pytest.approx(m * n * k / (expected * r * c))
    (use,) = found.arrays
    assert use.occupied_cycles == expected


@pytest.mark.parametrize(
    ("kind", "folds", "skew", "loads"),
    [("output", 16, 510, 0), ("weight", 4, 510, 4), ("input", 4, 510, 4)],
)
def test_explain_shows_the_terms_of_a_fold(
    tmp_path: Path, kind: str, folds: int, skew: int, loads: int
) -> None:
    """256 x 256, M = N = 1024, K = 64: 16 (64 + 510); 4 (1024 + 510 + 256)."""
    found = result(tmp_path, kind, {"M": 1024, "N": 1024, "K": 64}, 256, 256)
    (terms,) = found.folds
    assert (terms.folds, terms.loads, terms.load_cycles) == (folds, loads, 256 if loads else 0)
    assert dict(terms.skew) == {"rows": 255, "columns": 255}
    assert terms.cycles == folds * skew + loads * 256
    work = 64 if kind == "output" else 1024
    assert found.cycles == folds * work + terms.cycles
    text = str(found.explain())
    row = next(line for line in text.split("systolic arrays")[1].splitlines() if "Z" in line)
    for shown in (f"{folds}", f"{work:,}", "255 columns + 255 rows", f"{terms.cycles:,}"):
        assert re.search(rf"(^|\s){re.escape(shown)}(\s|$)", row), (shown, row)
    assert row.endswith("each time")
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_broadcast_array_has_no_folds(tmp_path: Path) -> None:
    shapes = {"M": 10, "N": 10, "K": 10}
    broadcast = {"operands: systolic\n      overlap: false": "operands: broadcast"}
    found = result(tmp_path, "output", shapes, 4, 4, **broadcast)
    assert found.folds == ()
    assert found.cycles == 9 * 10
    assert "systolic" not in str(found.explain())


@pytest.mark.parametrize("overlap", ["true", "false"])
def test_a_late_reduction_is_not_paid_twice(tmp_path: Path, overlap: str) -> None:
    """Draining takes R - 1 hops; a reduction that is R late is one cycle later still."""
    shapes = {"M": 40, "N": 9, "K": 11}
    late = "operations: {", "reduction: {rows: {latency: rows}}\n      operations: {"
    plain = result(tmp_path, "weight", shapes, 4, 3, overlap=overlap)
    folder = tmp_path / "late"
    folder.mkdir()
    found = result(folder, "weight", shapes, 4, 3, overlap=overlap, **dict([late]))
    assert found.cycles - plain.cycles == (1 if overlap == "false" else 4)


# ----------------------------------------------------------------------- attention by hand


def attention(*changes: str) -> Result:
    machine = Architecture.load(
        "fusemax-micro24", [f"arrays.array_2d.{c}" for c in ("operands=systolic", *changes)]
    )
    return simulate(load("bert-base", seq_len=2048), machine, Mapping.load("fusemax-binding"))


def test_what_hops_in_attention() -> None:
    """Along the rows: Q and the running maximum go down, sums and maxima come up.

    Along the columns: K and V. Scores wait where they were made, so nothing is loaded.
    """
    found = attention("overlap=false")
    terms = {f.einsum: f for f in found.folds}
    both, rows = {"columns": 255, "rows": 255}, {"rows": 255}
    assert {name: dict(f.skew) for name, f in terms.items()} == {
        "BQK": both,
        "LM": rows,
        "SLN": rows,
        "SLD": rows,
        "SLNV": both,
    }
    tiles = 64 * 12 * (2048 // 256) ** 2
    assert {f.folds for f in terms.values()} == {tiles}
    assert {f.loads for f in terms.values()} == {0}
    occupied = {a.array: a.occupied_cycles for a in found.arrays}
    assert occupied["array_2d"] == tiles * (64 + 64 + 9 + 2 * 510 + 3 * 255)
    assert found.latency_s >= found.bounds.compute_s


def test_overlap_hides_the_skew_of_attention() -> None:
    broadcast, hidden = attention("operands=broadcast"), attention("overlap=true")
    assert hidden.cycles == pytest.approx(broadcast.cycles, rel=1e-3)
    assert hidden.cycles >= broadcast.cycles
    assert hidden.cycles - broadcast.cycles < 1000
    slow = attention("overlap=false")
    assert slow.cycles == pytest.approx(64 * 12 * 8 * 8 * 1922, rel=1e-3)


def test_what_the_docs_say_about_attention() -> None:
    """docs/engine.md, "Systolic arrays"."""

    def slower(side: int) -> float:
        sides = [f"arrays.array_2d.shape.{axis}={side}" for axis in ("rows", "columns")]
        sides.append(f"arrays.array_1d.shape.lanes={side}")
        ways = ((), ("arrays.array_2d.operands=systolic", "arrays.array_2d.overlap=false"))
        plain, skewed = (
            simulate(
                load("bert-base"), Architecture.load("fusemax", (*sides, *way)), "fusemax-binding"
            )
            for way in ways
        )
        return skewed.latency_s / plain.latency_s

    assert (round(slower(256), 1), round(slower(16), 1)) == (13.5, 1.8)


def test_scores_from_a_buffer_are_loaded(tmp_path: Path) -> None:
    """A product with scores that wait in memory loads them along the rows, tile by tile."""
    cascade = tmp_path / "cascade.yaml"
    cascade.write_text(
        "cascade: product\nranks: [P, M, F]\ninputs: {A: [M, P], V: [M, F]}\noutput: Z\n"
        'einsums: "Z[p, f] = A[m, p] * V[m, f]"\n'
    )
    (tmp_path / "mapping.yaml").write_text(
        "mapping:\n  name: product\n  cascade: cascade.yaml\n"
        "  partition: {P: {P0: array.columns}, M: {M0: array.rows}}\n  einsums:\n"
        "    Z: {array: array, spatial: {rows: M0, columns: P0}, loops: [P1, M1, F]}\n"
        "  keep: {DRAM: [A, V, Z]}\n  schedule: {kind: sequential}\n"
    )
    (tmp_path / "machine.yaml").write_text(
        MACHINE.format(rows=4, columns=3, overlap="false").replace("bandwidth: 100 GB/s, ", "")
    )
    found = evaluate_mapping(
        Cascade.load(str(cascade)).program,
        Mapping.load(tmp_path / "mapping.yaml"),
        Architecture.load(tmp_path / "machine.yaml"),
        {"P": 6, "M": 12, "F": 5},
    )
    tiles = 2 * 3
    assert found.cycles == tiles * (5 + 3 + 2 + 4)
