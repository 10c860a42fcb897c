"""Results that wait in a memory's write buffer do not hold up what is read behind them."""

from __future__ import annotations

import pytest
from commands import refused

from archsim import Architecture, Mapping, Result, simulate
from workloads import load


def run(depth: int, kind: str = "fusemax-binding") -> Result:
    """BERT's attention on 500 tokens, which a slow DRAM reads and writes by turns."""
    settings = ["memories.DRAM.bandwidth=100 GB/s", f"memories.DRAM.write_buffer={depth}"]
    work = load("bert-base", seq_len=500, batch=1)
    return simulate(work, Architecture.load("fusemax", settings), Mapping.load(kind))


@pytest.mark.parametrize("depth", [2, 4])
def test_a_deeper_buffer_takes_reads_first(depth: int) -> None:
    shallow, deep = run(1), run(depth)
    assert deep.bounds == shallow.bounds
    assert deep.traffic == shallow.traffic
    assert deep.bounds.bandwidth_s <= deep.latency_s < 0.996 * shallow.latency_s


def test_a_buffer_as_deep_as_the_run_ends_it_with_all_writes() -> None:
    """Nothing is lost by waiting: the last result is out once all is read and written."""
    shallow, deep = run(1), run(1000)
    assert deep.bounds.bandwidth_s <= deep.latency_s <= shallow.latency_s * 1.01


@pytest.mark.parametrize(
    ("depth", "wanted"),
    [
        ("0", "expected a whole number, at least 1, got 0"),
        ("1025", "expected at most 1,024 steps of results that wait, got 1,025"),
        ("1000000", "expected at most 1,024 steps of results that wait, got 1,000,000"),
    ],
)
def test_a_buffer_holds_something_but_not_the_whole_run(depth: str, wanted: str) -> None:
    message = refused("simulate", "--set", f"architecture.memories.DRAM.write_buffer={depth}")
    assert f"write_buffer: {wanted}" in message
