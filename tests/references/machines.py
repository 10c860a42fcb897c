"""Built-in machines cut down."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from archsim import Architecture


@cache
def small(sides: tuple[int, ...], lanes: int) -> Architecture:
    """fusemax with few elements: small shapes are cut into tiles, and leave ragged ones."""
    machine = Architecture.load("fusemax")
    sizes = {"array_2d": sides, "array_1d": (lanes,)}
    arrays = tuple(
        replace(
            a,
            dimensions=tuple(
                replace(d, size=size, reduction_latency_cycles=0)
                for d, size in zip(a.dimensions, sizes[a.name], strict=True)
            ),
        )
        for a in machine.arrays
    )
    return replace(machine, arrays=arrays)
