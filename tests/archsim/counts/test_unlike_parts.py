"""What parts under a mask read of what does not move with them, key by key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from evaluated import evaluate_mapping
from masked_product import CASCADE
from one_lane import two_memories
from portions import left

from archsim import Architecture, Mapping
from archsim.counts.cores import counts_at_ports, counts_of_all_cores, unique_halo_shares
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from einsum_cascade import Cascade

MACHINE = two_memories(
    far="multicast: true, instances: {cores: 3}", near="capacity: 4 KiB, bandwidth: 900 GB/s"
)

MAPPING = """
mapping:
  name: parts
  cascade: CASCADE
  nest: [{level: far, loops: [], spatial: {cores: PARTS}}]
  einsums: {S: {array: unit, loops: {far: [M], near: [P, E]}}}
  keep: {far: [Q, K, S], near: [Q, K, S]}
  schedule: {kind: sequential}
"""

LET_THROUGH: dict[str, Callable[[int, int, int], bool]] = {
    "m <= p + M - P": lambda p, m, late: m <= p + late,
    "m >= p": lambda p, m, late: m >= p,
    "p - 3 <= m and m <= p": lambda p, m, late: p - 3 <= m <= p,
    "p + M - P - 1 <= m and m <= p + M - P": lambda p, m, late: p + late - 1 <= m <= p + late,
    "p - 5 <= m and m <= p + 2": lambda p, m, late: p - 5 <= m <= p + 2,
}


@pytest.mark.parametrize("where", LET_THROUGH)
@pytest.mark.parametrize(("queries", "keys"), [left(12, 12), (11, 17), left(17, 14)])
@pytest.mark.parametrize("parts", ["P", "{P: balanced}"])
def test_every_key_that_some_part_needs_is_read_once(
    tmp_path: Path, where: str, queries: int, keys: int, parts: str
) -> None:
    """Those of the part with most to do were read for all, whatever keys the others have."""
    cascade, path = tmp_path / "masked.yaml", tmp_path / "mapping.yaml"
    cascade.write_text(CASCADE.replace("MASK", where))
    path.write_text(MAPPING.replace("CASCADE", str(cascade)).replace("PARTS", parts))
    (tmp_path / "machine.yaml").write_text(MACHINE)
    program, mapping = Cascade.load(cascade).program, Mapping.load(path)
    machine, shapes = Architecture.load(tmp_path / "machine.yaml"), {"P": queries, "M": keys}
    bound = bind(program, mapping, machine, shapes | {"E": 2})
    holds = LET_THROUGH[where]
    needed = {m for p in range(queries) for m in range(keys) if holds(p, m, keys - queries)}
    for counts in (counts_of_all_cores, counts_at_ports):
        (count,) = counts(bound, count_mapping(bound))
        (reads,) = [a.reads for a in count.accesses if (a.tensor, a.place) == ("K", "far")]
        assert reads == 2 * len(needed)
    one, other = (
        evaluate_mapping(program, mapping, machine, shapes | {"E": 2}, engine=engine)
        for engine in ("analytical", "event")
    )
    assert one.cycles == other.cycles
    assert one.latency_s >= one.floor.latency_s


@pytest.mark.parametrize("seed", range(40))
def test_shares_are_those_of_elements_not_seen_before(seed: int) -> None:
    begins = [(seed * 7 + n * n * 5) % 23 for n in range(6)]
    reaches = [(b, b + (seed + 3 * n) % 9) for n, b in enumerate(begins)]
    seen: set[int] = set()
    for (begin, end), share in zip(reaches, unique_halo_shares(reaches), strict=True):
        there = set(range(begin, end))
        assert share * len(there) == len(there - seen)
        seen |= there


@pytest.mark.parametrize("where", LET_THROUGH)
@pytest.mark.parametrize(("queries", "keys"), [(12, 12), (11, 17), (17, 14)])
@pytest.mark.parametrize("reduces", ["true", "false"])
def test_every_sum_that_some_part_has_is_written(
    tmp_path: Path, where: str, queries: int, keys: int, reduces: str
) -> None:
    """Of sums over what is in parts those of the part with most to do were written for all that
    meet on the way; and added to one that is there were all, of keys that no part reaches, too."""
    cascade, path = tmp_path / "masked.yaml", tmp_path / "mapping.yaml"
    told = CASCADE.replace("{Q: [P, E], K: [M, E]}", "{Q: [P, E], G: [P, M]}")
    told = told.replace("output: S", "output: D").replace("MASK", where)
    cascade.write_text(told.replace("S[p, m] = Q[p, e] * K[m, e]", "D[m, e] = Q[p, e] * G[p, m]"))
    told = MAPPING.replace("CASCADE", str(cascade)).replace("PARTS", "P").replace("S:", "D:")
    told = told.replace("far: [M], near: [P, E]", "far: [M], near: [E, P]")
    path.write_text(told.replace("[Q, K, S]", "[Q, G, D]"))
    machine = tmp_path / "machine.yaml"
    machine.write_text(MACHINE.replace("multicast: true", f"multicast: true, reduces: {reduces}"))
    program, shapes = Cascade.load(cascade).program, {"P": queries, "M": keys, "E": 2}
    bound = bind(program, Mapping.load(path), Architecture.load(machine), shapes)
    holds, late = LET_THROUGH[where], keys - queries
    (spread,) = bound.cores.partitions
    reached = [
        {m for m in range(keys) for p in range(s, s + n) if holds(p, m, late)}
        for s, n in ((spread.begin(k), spread.size(k)) for k in range(spread.parts))
    ]
    every, first = sum(map(len, reached)), len(set().union(*reached))
    for counts in (counts_of_all_cores, counts_at_ports):
        (count,) = counts(bound, count_mapping(bound))
        (there,) = [a for a in count.accesses if (a.tensor, a.place) == ("D", "far")]
        found = there.writes, there.reads
        assert found == ((2 * first, 0) if reduces == "true" else (2 * every, 2 * (every - first)))
