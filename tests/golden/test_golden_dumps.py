"""Texts of the stages of small runs, whole: whatever changes in them is seen in a review."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from archsim.cli import archsim

HERE = Path(__file__).parent

CASES = {
    # Two ragged tiles of keys and of queries, every Einsum in one nest, tiles overlap.
    "pipelined": "bert-base fusemax --mapping fusemax-binding"
    " --set seq_len=300 --set B=1 --set H=2",
    # The same with a barrier between groups of Einsums.
    "phases": "bert-base fusemax --mapping fusemax-arch --set seq_len=300 --set B=1 --set H=2",
    # A causal mask: steps whose tiles hold no point are left out.
    "masked": "bert-base fusemax --mapping fusemax-causal --set cascade=attention-causal-1pass"
    " --set seq_len=600 --set B=1 --set H=1",
    # One Einsum after the other, by the mapping that is made for any cascade.
    "sequential": "bert-base fusemax --mapping einsum-by-einsum"
    " --set cascade=linear-attention --set seq_len=300 --set B=1 --set H=2",
    # A level that spills, and choices that were made.
    "spilled": "bert-base flat --mapping flat --set seq_len=300 --set B=1 --set H=2",
}


@pytest.mark.parametrize("stage", ["bound", "counts", "program"])
@pytest.mark.parametrize("case", CASES)
def test_a_stage_reads_as_it_did(case: str, stage: str, request: pytest.FixtureRequest) -> None:
    run = CliRunner().invoke(archsim, ["simulate", *CASES[case].split(), "--dump", stage])
    assert run.exit_code == 0, run.output
    golden = HERE / f"{case}.{stage}.txt"
    if request.config.getoption("--write-goldens", default=False):
        golden.write_text(run.output, encoding="utf-8")
    assert run.output == golden.read_text(encoding="utf-8")


def test_a_dump_is_given_alone() -> None:
    run = CliRunner().invoke(archsim, ["simulate", "--dump", "bound", "--json"])
    assert run.exit_code == 2
    assert "--dump prints a stage of the run and no result" in run.output
