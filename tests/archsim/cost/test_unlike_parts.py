"""What parts under a mask read of what does not move with them, key by key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from one_lane import two_memories

from archsim import Architecture, Mapping
from archsim.bound.binding import bind
from archsim.cost.apart import shares_apart
from archsim.cost.instances import of_all_instances, through_ports
from archsim.cost.spill import count_mapping
from archsim.evaluate.evaluate import evaluate_mapping
from einsum_cascade import Cascade

MACHINE = two_memories(
    far="multicast: true, instances: {cores: 3}",
    near="capacity: 4 KiB, bandwidth: 900 GB/s",
)

CASCADE = """
cascade: masked-product
ranks: {P: queries, M: keys, E: width}
inputs: {Q: [P, E], K: [M, E]}
output: S
einsums: |
  S[p, m] = Q[p, e] * K[m, e] where MASK
"""

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
@pytest.mark.parametrize(("queries", "keys"), [(12, 12), (11, 17), (17, 14)])
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
    for counts in (of_all_instances, through_ports):
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
    for (begin, end), share in zip(reaches, shares_apart(reaches), strict=True):
        there = set(range(begin, end))
        assert share * len(there) == len(there - seen)
        seen |= there
