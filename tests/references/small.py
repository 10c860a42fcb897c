"""A small reproduction of no paper: two configurations, two lengths, one model."""

from __future__ import annotations

from pathlib import Path

TEXT = """\
reproduction:
  name: small
  title: A small study
  source: made up
  workloads: [bert-base]
  seq_len: [1K, 4K]
  billings: {theirs: as they count, ours: as we count}
  configurations:
    - name: slow
      title: Slow
      mapping: fusemax-arch
      architectures: {theirs: fusemax-micro24, ours: fusemax}
    - name: fast
      title: Fast
      mapping: fusemax-binding
      architectures: {theirs: fusemax-micro24, ours: fusemax}
  scopes:
    - {name: attention, title: attention}
    - {name: layer, title: whole layer, settings: [scope=block], mappings: [linear-layer]}
  figures:
    - number: 3
      kind: bars
      title: Busy
      scope: attention
      panels: [{quantity: utilization.array_2d, title: 2D}]
    - number: 4
      kind: bars
      title: Faster
      scope: layer
      baseline: slow
      panels: [{quantity: speedup, title: over Slow}]
    - number: 5
      kind: stack
      title: Energy
      scope: attention
      baseline: slow
      panels: [{quantity: energy, title: over Slow}]
    - number: 6
      kind: breakdown
      title: Einsums
      scope: attention
      panels: [{quantity: utilization.array_1d, title: 1D}]
    - number: 7
      kind: scatter
      title: Area
      scope: attention
      panels: [{quantity: area_um2, title: area}, {quantity: latency_s, title: latency}]
  headline:
    - {of: fast, over: slow, quantity: speedup, scope: attention, mean: arithmetic, published: 3.1x}
    - of: fast
      over: slow
      quantity: energy
      scope: attention
      mean: geometric
      published: 99%
      corrected: 100%
      because: they cannot count
  sweep:
    configuration: fast
    seq_len: 4K
    settings:
      - arrays.array_2d.shape.rows={n}
      - arrays.array_2d.shape.columns={n}
      - arrays.array_1d.shape.lanes={n}
    label: "{n}x{n}"
    groups:
      - workloads: [bert-base]
        points: [{n: 64}, {n: 128}]
  tables:
    - file: theirs.csv
      workload: bert-base
      scope: attention
      where: {table: a}
      key: "{tokens}"
      columns: {seconds: latency_s, bytes: traffic_bytes}
    - file: machines.csv
      workload: bert-base
      key: "{size}x{size}"
      columns: {area: area_um2}
"""


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    """The study in a file, with some of its text changed."""
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, f"'{old}' is there {text.count(old)} times"
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path
