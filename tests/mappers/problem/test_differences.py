"""What is told of two mappings that differ."""

from __future__ import annotations

from pathlib import Path

from archsim import Architecture, Mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from einsum_cascade import Cascade
from mappers.problem.certificate import Difference, differences

PUBLISHED = """
mapping:
  name: mine
  cascade: attention-naive
  partition: {M: {M0: matrix.rows}, P: {P0: matrix.columns}}
  nest:
    - {level: outer, loops: [B, H, P1]}
  einsums:
    QK: {array: matrix, spatial: {columns: P0, rows: M0}, loops: {outer: M1, nearest: E}}
    SN: {array: matrix, spatial: {columns: P0, rows: M0}, loops: M1}
    SD: {array: matrix, spatial: {columns: P0, rows: M0}, loops: M1}
    A: {array: matrix, spatial: {columns: P0, rows: M0}, loops: M1}
    AV: {array: matrix, spatial: {columns: P0, rows: M0}, loops: [M1, F]}
  keep:
    outer: [Q, K, V, AV, QK]
    nearest: [QK, SN, SD, A, AV]
"""


def bound(text: str) -> Bound:
    program = Cascade.load("attention-naive").program
    shapes = {"B": 1, "H": 2, "E": 64, "F": 64, "P": 512, "M": 512}
    return bind(program, Mapping.load(text), Architecture.load("fusemax"), shapes)


def test_what_differs_is_told_and_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(PUBLISHED, encoding="utf-8")
    other = PUBLISHED.replace("outer: [Q, K, V, AV, QK]", "outer: [Q, K, V, AV, QK, SN]")
    other = other.replace("{level: outer, loops: [B, H, P1]}", "{level: outer, loops: [B, P1, H]}")
    other = other.replace("loops: [M1, F]", "loops: [F, M1]")
    second.write_text(other, encoding="utf-8")
    one = bound(str(first))
    assert differences(one, one) == ()
    assert differences(one, bound(str(second))) == (
        Difference(what="shared loops at DRAM", here="H 2, P 2", there="P 2, H 2"),
        Difference(what="SN is kept in", here="global_buffer", there="DRAM, global_buffer"),
        Difference(what="own loops of AV", here="M 2, F 64", there="F 64, M 2"),
    )
