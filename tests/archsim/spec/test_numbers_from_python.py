"""Machines that are changed in Python: their numbers are as exact as those of files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archsim.spec.arch import Architecture
from einsum_cascade.errors import SpecError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1.5])
def test_a_number_from_python_is_positive(value: float) -> None:
    machine = Architecture.load("fusemax")
    with pytest.raises(SpecError, match="fusemax: clock_hz: expected a positive number"):
        replace(machine, clock_hz=value)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="DRAM: bandwidth_bytes_per_s: expected a positive number"):
        replace(machine.memories[0], bandwidth_bytes_per_s=value)  # type: ignore[arg-type]


def test_floats_from_python_are_taken_as_they_are() -> None:
    machine = Architecture.load("fusemax")
    outer, inner = machine.memories
    outer = replace(outer, bandwidth_bytes_per_s=5e11)  # type: ignore[arg-type]
    inner = replace(inner, capacity_bytes=2.0**21)  # type: ignore[arg-type]
    given = replace(machine, clock_hz=1e9, memories=(outer, inner))  # type: ignore[arg-type]
    settings = ("clock=1 GHz", "memories.DRAM.bandwidth=500 GB/s")
    capacity = "memories.global_buffer.capacity=2 MiB"
    assert given == Architecture.load("fusemax", (*settings, capacity))
    with pytest.raises(SpecError, match=r"capacity_bytes: expected a whole number, got 2\.5"):
        replace(inner, capacity_bytes=2.5)  # type: ignore[arg-type]
