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


def cores(number: int, *, bandwidth: str) -> str:
    """A file of small cores, each with a memory of its own, that share what they are fed by.

    Parameters
    ----------
    bandwidth : str
        Of the outermost memory, as a file has it.
    """
    return f"""
architecture:
  name: cores
  technology: jouppi-7nm
  clock: 1 GHz
  word: 16 bit
  memories:
    - {{name: HBM, bandwidth: {bandwidth}, line: 64 bit, energy: dram_hbm2e}}
    - {{name: L2, capacity: 64 KiB, line: 256 bit, bandwidth: 60 GB/s, energy: sram,
       instances: {{cores: {number}}}}}
    - {{name: L1, capacity: 4 KiB, line: 256 bit, bandwidth: 64 GB/s, energy: sram}}
  arrays:
    - name: matrix
      shape: {{columns: 4, rows: 4}}
      registers: {{depth: 32}}
      operations: {{mac: {{cycles: 1, bill: {{mac: 1}}}}}}
"""
