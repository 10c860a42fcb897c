"""Cascades far longer than any that is published: soon done, or refused."""

from __future__ import annotations

from pathlib import Path

from commands import refused, run

from einsum_cascade import Cascade
from einsum_cascade.numeric.reference import schedule
from einsum_cascade.passes.analysis import MAX_EINSUMS


def normalised(times: int) -> str:
    """The maximum is taken and subtracted so many times: two Einsums and a barrier each."""
    lines = ["cascade: normalised", "ranks: {M: elements}", "inputs: {A0: [M]}"]
    lines += [f"output: A{times}", "einsums: |"]
    for i in range(times):
        lines += [f"  S{i} = A{i}[m] :: max[m]", f"  A{i + 1}[m] = A{i}[m] - S{i}"]
    return "\n".join(lines) + "\n"


def test_a_long_cascade_runs_in_the_order_in_which_it_is_written(tmp_path: Path) -> None:
    program = Cascade.parse(normalised(300)).program
    assert schedule(program) == program.einsums
    path = tmp_path / "long.yaml"
    path.write_text(normalised(100), encoding="utf-8")
    assert run("validate", str(path), "--no-reference").exit_code == 0


def test_passes_of_a_chain_are_its_barriers() -> None:
    passes = Cascade.parse(normalised(12)).passes("M")
    assert passes.count == 13
    assert [b.einsum for b in passes.barriers] == [f"A{i}" for i in range(1, 13)]


def test_more_einsums_than_passes_are_counted_of(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(normalised(MAX_EINSUMS // 2 + 1), encoding="utf-8")
    assert f"at most {MAX_EINSUMS}: take a part of it" in refused("analyze", str(path))
