"""What makes no sense of machines of any name is refused where it stands: file, line, a hint."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import refused

from archsim import simulate

MACHINE = """architecture:
  name: mine
  technology: jouppi-7nm
  clock: 1 GHz
  word: 16 bit
  memories:
    - {name: hbm, bandwidth: 100 GB/s, line: 64 bit, energy: dram_hbm2}
    - {name: shared, capacity: 1 MiB, line: 1024 bit, energy: sram, instances: {tiles: 4}}
    - {name: own, capacity: 256 KiB, line: 1024 bit, energy: sram}
  arrays:
    - name: mm
      shape: {x: 16, y: 16}
      registers: {depth: 16}
      operations: {mac: {bf16: {cycles: 1, bill: {mac: 1}}}}
"""
MAPPING = """mapping:
  name: spread
  cascade: linear-layer
  partition: {J: {J0: mm.x}, N: {N0: mm.y, N1: 4}}
  nest: [{level: shared, loops: [N1], spatial: {tiles: N2}}]
  einsums: {Z: {array: mm, spatial: {x: J0, y: N0}, loops: [J1, D]}}
  keep: {hbm: [X, W, Z], shared: [X, W], own: [X, W, Z]}
  schedule: {kind: sequential}
"""
WORK = """workload:
  name: work
  cascade: linear-layer
  shape: {N: 256, D: 64, J: 64}
  formats: {default: bf16}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # A memory inside of itself, and one whose inside has its own name.
        ("name: own,", "name: own, parent: own,", "machine.yaml:9:19: unknown field 'parent'"),
        ("name: own", "name: hbm", "machine.yaml:9:14: another memory is called 'hbm' already"),
        ("tiles: 4", "tiles: 0", "machine.yaml:8:88: tiles: expected a whole number, at least 1"),
        ("1 GHz", "1 GB", "machine.yaml:4:10: clock: expected a frequency"),
        ("1 MiB", "1 MHz", "machine.yaml:8:32: capacity: expected a size in bytes"),
        # A fan-out that no loop fills.
        (", spatial: {tiles: N2}", "", "map.yaml:5:10: no rank is partitioned over the 4 tiles"),
        ("tiles: N2", "tiles: N1", "map.yaml:5:10: 'N1' is neither a rank nor the outermost tile"),
        (
            "tiles: N2",
            "tiles: [N2, N2]",
            "map.yaml:5:56: tiles: expected ranks that differ, got N2",
        ),
        ("tiles: N2", "tiles: {N2: 2}", "map.yaml:5:10: N2 is a tile, of which each instance has"),
        ("tiles: N2", "tile: N2", "map.yaml:5:10: shared has no instances called 'tile'"),
        ("N: 256", "N: 1024", "map.yaml:5:10: N2 has 16 parts, but there are 4 tiles"),
    ],
)
def test_machines_and_mappings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, says: str
) -> None:
    files = {"machine.yaml": MACHINE, "map.yaml": MAPPING, "work.yaml": WORK}
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace(old, new))
    monkeypatch.chdir(tmp_path)
    text = refused("simulate", "work.yaml", "machine.yaml", "--mapping", "map.yaml")
    assert says in text


def test_a_mapping_may_say_that_one_instance_is_meant(tmp_path: Path) -> None:
    files = {"machine.yaml": MACHINE, "map.yaml": MAPPING, "work.yaml": WORK}
    whole = "loops: [N2, N1], spatial: {tiles: {J: 1}}"
    for name, text in files.items():
        said = text.replace("loops: [N1], spatial: {tiles: N2}", whole)
        (tmp_path / name).write_text(said)
    given = (str(tmp_path / name) for name in ("work.yaml", "machine.yaml", "map.yaml"))
    found = simulate(*given)
    assert "1 of 4 tiles are used: J in 1 parts of 64" in found.notes


@pytest.mark.parametrize(
    ("formats", "says"),
    [
        ("default: int8", "work.yaml:5:13: no array of mine does mac in int8, which Z needs"),
        ("default: bf16, W: fp32", "work.yaml:5:28: no array of mine does mac in fp32"),
        ("default: int7", "work.yaml:5:22: default: expected a format of numbers, got 'int7'"),
        ("accumulate: mxfp4", "work.yaml:5:25: accumulate: a sum has no neighbours that share"),
    ],
)
def test_formats_nobody_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: str, says: str
) -> None:
    (tmp_path / "machine.yaml").write_text(MACHINE)
    (tmp_path / "work.yaml").write_text(WORK.replace("default: bf16", formats))
    monkeypatch.chdir(tmp_path)
    text = refused("simulate", "work.yaml", "machine.yaml")
    assert says in text
    assert "int7" in text or "mxfp4" in text or "mac is done in bf16; 'convert'" in text
