"""Differences of two mappings, and the runner-up that a better mapping leaves."""

from __future__ import annotations

from dataclasses import replace
from math import isclose
from pathlib import Path
from time import monotonic

from archsim import Architecture, Mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from einsum_cascade import Cascade
from mappers.problem.certificate import (
    Certificate,
    Difference,
    Moment,
    RunnerUp,
    Searched,
    differences,
)
from mappers.problem.engine_run import EngineRun, run_mapping
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import SearchProblem
from mappers.problem.search_log import with_better
from mappers.space.mapspace import Mapspace

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


def run_of(space: Mapspace, folder: Path, loops: str) -> EngineRun:
    """A run with some shared loops; heads that are not shared are gone over by each Einsum."""
    text = PUBLISHED.replace("[B, H, P1]", loops)
    if "H" not in loops:
        text = text.replace("outer: M1", "outer: [H, M1]").replace("loops: M1", "loops: [H, M1]")
        text = text.replace("loops: [M1, F]", "loops: [H, M1, F]")
    path = folder / "mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return run_mapping(space, Mapping.load(path), OBJECTIVES["energy"])


def test_a_better_mapping_leaves_the_best_of_another_kind_as_the_runner_up(tmp_path: Path) -> None:
    energy = OBJECTIVES["energy"]
    program, machine = Cascade.load("attention-naive").program, Architecture.load("fusemax")
    shapes = {"B": 1, "H": 2, "E": 64, "F": 64, "P": 512, "M": 512}
    space = Mapspace.of(program, machine, shapes)
    first, second, third = (
        run_of(space, tmp_path, loops) for loops in ("[B, H, P1]", "[B, P1, H]", "[B, P1]")
    )
    assert len({run.kind for run in (first, second, third)}) == 3
    certificate = Certificate(
        strategy="none",
        objective="energy",
        candidates=3,
        evaluated=3,
        reasons=(),
        runs=3,
        gap=0.5,
        tolerance=0.0,
        value=first.value,
        floor=0.0,
    )
    found = Searched(
        mapping=first.mapping,
        result=first.result,
        certificate=certificate,
        runner_up=RunnerUp(mapping=second.mapping, result=second.result, differences=()),
        history=(Moment(1.0, 2, first.value, 0.0),),
    )
    problem = SearchProblem(space, energy)
    expected = {first.kind: second, second.kind: first, third.kind: first}
    for run in (first, second, third):
        better = replace(run, value=0.9 * first.value)
        after = with_better(problem, found, better, certificate, monotonic())
        assert after.runner_up is not None
        assert after.runner_up.mapping == expected[run.kind].mapping
        assert after.runner_up.differences
        assert isclose(after.certificate.bound, certificate.bound)
        assert after.certificate.value == better.value
        assert [m.value for m in after.history] == [first.value, better.value]
        assert after.history[-1].seconds >= 1.0
