"""The two machines of TransFusion (MICRO 2025, artifact): what they cost, and its four dataflows.

Counts are by hand from the costs of the artifact: a multiply-accumulate and an addition take a
cycle, an exponential of a difference 7, GELU 9, and a reciprocal root 6.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from archsim import Architecture, Result, simulate
from archsim.energy import memory_access

SHAPE = {"N": 1024, "D": 512, "H": 8, "E": 64, "F": 64, "S": 2048}


def run(folder: Path, cascade: str, machine: str, ranks: str) -> Result:
    path = folder / "part.yaml"
    shape = ", ".join(f"{rank}: {SHAPE[rank]}" for rank in ranks)
    path.write_text(f"workload: {{name: part, cascade: {cascade}, shape: {{{shape}}}}}\n")
    return simulate(path, machine, cascade)


def occupied(result: Result, array: str) -> float:
    return next(a.occupied_cycles for a in result.arrays if a.array == array)


@pytest.mark.parametrize(
    ("name", "read", "write"),
    [("edge", 5859.926552, 7881.676552), ("cloud", 12512.760572, 15751.460572)],
)
def test_a_line_of_the_buffer_costs_what_is_published(name: str, read: float, write: float) -> None:
    machine = Architecture.load(name)
    found = memory_access(machine, machine.memories[1])
    assert (found.read_pj, found.write_pj) == pytest.approx((read, write), abs=1e-6)


@pytest.mark.parametrize(("machine", "side"), [("cloud", 256), ("edge", 16)])
def test_projections(tmp_path: Path, machine: str, side: int) -> None:
    found = run(tmp_path, "projections", machine, "NDHEF")
    assert occupied(found, "array_2d") == 3 * 1024 * 512 * 8 * 64 / side**2
    x, weights, made = 1024 * 512, 3 * 512 * 512, 3 * 1024 * 512
    # All fits, and is read once: what two machines move is the same.
    assert found.traffic_bytes == 2 * (x + weights + made)


def test_feed_forward(tmp_path: Path) -> None:
    found = run(tmp_path, "feed-forward", "cloud", "NDS")
    assert occupied(found, "array_2d") == 2 * 1024 * 512 * 2048 / 256**2
    assert occupied(found, "array_1d") == 9 * 1024 * 2048 / 256
    assert found.traffic_bytes == 2 * (2 * 1024 * 512 + 2 * 512 * 2048)


@pytest.mark.parametrize("machine", ["cloud", "edge"])
def test_layer_norm(tmp_path: Path, machine: str) -> None:
    """A sum, a difference, a square, a product, gain and bias of each value; of a token a
    quotient, and a quotient, a sum and a reciprocal root."""
    found = run(tmp_path, "layer-norm", machine, "ND")
    assert occupied(found, "array_1d") == 1024 / 256 * (6 * 512 + 1 + 8)
    assert found.traffic_bytes == 2 * (2 * 1024 * 512 + 2 * 512)


def test_attention() -> None:
    """Of a tile of 256 x 256 scores E + 1 + 7 + 1 + F cycles, as in FuseMax."""
    found = simulate("bert-base", "cloud", "fusemax-binding", batch=1, seq_len=1024)
    assert occupied(found, "array_2d") == 12 * 16 * (64 + 1 + 7 + 1 + 64)
