"""What instances pick from a memory that they share, against picks that are drawn and followed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from archsim import Architecture, Mapping
from archsim.counts.accesses import AccessCount
from archsim.counts.cores import counts_at_ports, counts_of_all_cores
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.legality.footprint import requirement
from archsim.nest.record import Bound
from archsim.steps.flows import first_fill
from einsum_cascade import Cascade

MACHINE = """
architecture:
  name: small
  technology: accelergy-45nm
  clock: 1 GHz
  word: 8 bit
  memories:
    - {name: far, energy: dram_hbm2, line: 16 bit, bandwidth: 1 GB/s}
    - {name: shared, energy: sram, line: 8 bit, capacity: 4 KiB, instances: {cores: 3}}
    - {name: near, energy: sram, line: 8 bit, capacity: 4 KiB}
  arrays:
    - name: unit
      shape: {lanes: 1}
      registers: {depth: 8, energy: register_file}
      operations: {mac: {cycles: 1, bill: {}}, add: {cycles: 1, bill: {}}}
"""

CASCADE = """
cascade: picks
ranks: [P, J, M, E, G]
inputs: {I: [P, J], K: [G, M, E]}
output: C
einsums: |
  C[g, p, e] = K[g, I[p, j], e]
"""

MAPPING = """
mapping:
  name: parts
  cascade: {cascade}
  nest: [{{level: shared, loops: [], spatial: {{cores: P}}}}]
  einsums: {{C: {{array: unit, loops: {{far: [G, P], shared: [J], near: [E]}}}}}}
  keep: {{far: [I, K, C], {shared}near: [I, K, C]}}
  schedule: {{kind: sequential}}
"""

HELD = "shared: [I, K, C], "
GROUPS, WIDTH = 2, 3


def bound_to(folder: Path, picks: int, positions: int, queries: int, kept: str = HELD) -> Bound:
    shapes = {"P": queries, "J": picks, "M": positions, "E": WIDTH, "G": GROUPS}
    machine, mapping = folder / "machine.yaml", folder / "mapping.yaml"
    machine.write_text(MACHINE)
    (cascade := folder / "picks.yaml").write_text(CASCADE)
    mapping.write_text(MAPPING.format(shared=kept, cascade=cascade))
    program = Cascade.load(str(cascade)).program
    return bind(program, Mapping.load(str(mapping)), Architecture.load(str(machine)), shapes)


def at(bound: Bound, place: str, *, every: bool = False) -> AccessCount:
    """What moves of K at a place."""
    own = count_mapping(bound)
    ((count),) = counts_of_all_cores(bound, own) if every else counts_at_ports(bound, own)
    return next(a for a in count.accesses if (a.tensor, a.place) == ("K", place))


def held(bound: Bound) -> int:
    """Words that the shared memory holds of K."""
    return int(dict(requirement(bound, 1).tensors)["K"])


def fetched(draw: Random, picks: int, positions: int, queries: int, room: int) -> int:
    """Words that come to the shared memory where each core goes through its queries, one at a time
    as all do, and picks at random. What was there stays if there is room for all positions."""
    part, found = -(-queries // 3), 0
    for _ in range(GROUPS):
        there: set[int] = set()
        for step in range(part):
            at_work = [q for q in range(step, queries, part) if q < queries]
            wanted = {m for _ in at_work for m in draw.sample(range(positions), picks)}
            found += len(wanted - there) * WIDTH
            there = there | wanted if room >= positions * WIDTH else wanted
            assert len(there) * WIDTH <= room
    return found


@pytest.mark.parametrize("queries", [6, 12, 11])
@pytest.mark.parametrize("picks", [1, 2, 3, 4, 5, 8])
def test_no_more_comes_to_a_shared_memory_than_all_that_could_be_picked(
    picks: int, queries: int, tmp_path: Path
) -> None:
    bound, draw = bound_to(tmp_path, picks, 8, queries), Random(picks * queries)
    count = at(bound, "shared").writes
    room = held(bound)
    assert max(fetched(draw, picks, 8, queries, room) for _ in range(20)) <= count
    # Three queries at a time: 3 picks each are 9 of 8 positions, and 2 are 6.
    together = 3 * picks >= 8
    assert room == WIDTH * (8 if together else 3 * picks)
    assert count == GROUPS * WIDTH * min(8 if together else 1000, queries * picks)
    # 3 words of 8 bits in lines of 16 are two lines.
    assert at(bound, "far").reads == count // WIDTH * 4
    assert at(bound, "far", every=True).reads == at(bound, "far").reads


def test_each_instance_still_reads_what_it_picks(tmp_path: Path) -> None:
    bound = bound_to(tmp_path, 4, 8, 12)
    assert at(bound, "shared").reads == GROUPS * 12 * 4 * WIDTH
    assert at(bound, "shared", every=True).reads == GROUPS * 12 * 4 * WIDTH


def test_what_no_shared_memory_keeps_comes_to_each_by_itself(tmp_path: Path) -> None:
    bound = bound_to(tmp_path, 4, 8, 12, "")
    assert at(bound, "far").reads == GROUPS * 12 * 4 * 4


def test_the_first_fill_brings_no_more_than_all_positions(tmp_path: Path) -> None:
    """What each of three cores could pick from, once, and all indices."""
    assert first_fill(bound_to(tmp_path, 4, 8, 12), ("C",)) == GROUPS * 8 * WIDTH + 12 * 4
