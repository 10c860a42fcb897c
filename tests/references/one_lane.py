"""The array of machines on which memories and instances are what is looked at."""

from __future__ import annotations

ARRAYS = """\
  arrays:
    - name: unit
      shape: {lanes: 1}
      registers: {depth: 8, energy: register_file}
      operations: {mac: {cycles: 1, bill: {}}}
"""
"""What stands behind the memories in a file: one element, whose products cost a cycle."""


def two_memories(far: str = "", near: str = "") -> str:
    """A file of that array behind two memories with lines of a byte.

    Parameters
    ----------
    far, near : str
        Fields of the outer memory and of the inner one, as a file has them, beside these.
    """
    return (
        f"""
architecture:
  name: small
  technology: accelergy-45nm
  clock: 1 GHz
  word: 8 bit
  memories:
    - {{name: far, energy: dram_hbm2, line: 8 bit, bandwidth: 1 GB/s, {far}}}
    - {{name: near, energy: sram, line: 8 bit, {near}}}
"""
        + ARRAYS
    )
