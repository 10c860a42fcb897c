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
