"""Notes that say why a rank is not cut over cores, and what to write instead."""

from __future__ import annotations

from pathlib import Path

from archsim import Architecture, Result, simulate
from archsim.nest.partition import partition_obstacles
from einsum_cascade import Cascade
from workloads import load

HEAD = """
cascade: gated
parallel: [B, H]
ranks: {E: width, F: value width, P: queries, M: {is: keys, like: P}, N: {is: gates, like: P}}
inputs: {Q: [P, E], K: [M, E], V: [M, F], G: [N]}
output: AV
"""
STEPWISE = (
    HEAD.replace("G: [N]", "G: [M]").replace(", N: {is: gates, like: P}", "")
    + """
init: "C[0] = 0"
einsums: |
  C[m+1] = C[m] + G[m]
  S[m, p] = Q[p, e] * K[m, e] where m <= p
  X[m, p] = exp(S[m, p] - C[m+1])
  AV[p, f] = X[m, p] * V[m, f]
"""
)
MASKED = (
    HEAD
    + """
einsums: |
  C[m] = G[n] where n <= m
  S[m, p] = Q[p, e] * K[m, e] where m <= p
  X[m, p] = exp(S[m, p] - C[m])
  AV[p, f] = X[m, p] * V[m, f]
"""
)


def run(text: str, tmp_path: Path) -> Result:
    file = tmp_path / "gated.yaml"
    file.write_text(text)
    cores = ("memories.DRAM.instances.cores=8", "memories.DRAM.bandwidth=1000 TB/s")
    work = load("bert-base", cascade=str(file), batch=1, H=2, seq_len=64)
    return simulate(work, Architecture.load("fusemax", cores), mapping="einsum-by-einsum")


def test_a_running_sum_is_named_with_what_to_write_instead(tmp_path: Path) -> None:
    notes = " | ".join(run(STEPWISE, tmp_path).notes)
    assert "2 of 8 cores are used: H in 2 parts of 1" in notes
    assert "M is not cut over cores: C is computed step by step along it; a masked sum" in notes
    assert "P is not cut over cores: M is declared like P" in notes


def test_a_masked_sum_has_no_such_obstacle() -> None:
    obstacles = partition_obstacles(Cascade.parse(MASKED).program)
    assert "step by step" not in " ".join(obstacles.values())
    assert obstacles["M"] == "M is declared like P"


def test_a_result_that_every_part_reads_whole_is_named() -> None:
    text = "cascade: c\nranks: [P, M, D]\ninputs: {Q: [P], X: [M, D]}\noutput: Y\neinsums: |\n"
    text += "  K[m] = X[m, d] * X[m, d]\n  Y[m, p] = Q[p] * K[m]\n"
    found = partition_obstacles(Cascade.parse(text).program)
    assert found == {"P": "Y needs all of K, which other cores make"}
