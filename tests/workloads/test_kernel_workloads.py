"""The workloads of single kernels: all shapes are there, and each runs near its floor."""

from __future__ import annotations

import pytest

from archsim import Cascade, simulate
from archsim.legality.binding import with_parameters
from einsum_cascade.shapes import complete_shapes, resolve_shapes
from einsum_cascade.yaml.library import builtin_names
from workloads import load

KERNELS = tuple(
    name
    for name in builtin_names("workloads")
    if (work := load(name)).model is None and work.layers is None
)


def test_every_kernel_workload_gives_all_shapes() -> None:
    assert len(KERNELS) == 23
    for name in KERNELS:
        program = Cascade.load(load(name).cascade).program
        program, given = with_parameters(program, load(name).shapes_for(program.settable))
        found, usual = complete_shapes(program, given)
        # Sizes of chunks alone are left to mappings.
        resolve_shapes(program, {m: 64 for r in program.ranks for m in r.partition[1:]} | found)
        assert not usual, name


NEAR = {"fusemax": 1.45, "tpu-v4i": 1.6}
FARTHER = {
    "fusemax": {"nsa": 1.8, "nsa-overlapped": 2.1, "path": 2},
    "tpu-v4i": {
        "nsa-overlapped": 2.1,
        "delta-product": 1.8,
        "nsa": 1.8,
        "moba": 2,
        "mamba-3-mimo": 2.2,
        "path": 2.2,
        "log-linear": 2.1,
        "rwkv-7": 3.1,
        "kda": 4.7,
    },
}
"""Floors do not know which picks of two queries agree; the rest is told in docs/models.md."""


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["fusemax", "tpu-v4i"])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_workload_runs_near_its_floor(name: str, machine: str) -> None:
    found = simulate(load(name), machine)
    assert 1 <= found.over_floor < FARTHER[machine].get(name, NEAR[machine])
