"""What parts under a mask hold together of what does not move with them, step by step."""

from __future__ import annotations

from itertools import pairwise, zip_longest
from pathlib import Path

import pytest
from evaluated import evaluate_mapping
from masked_product import CASCADE
from one_lane import ARRAYS
from portions import left

from archsim import Architecture, Mapping
from archsim.counts.cores import counts_at_ports
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.legality.footprint import requirements
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError

MACHINE = (
    """
architecture:
  name: small
  technology: accelergy-45nm
  clock: 1 GHz
  word: 8 bit
  memories:
    - {name: far, energy: dram_hbm2, line: 8 bit, bandwidth: 1 GB/s}
    - {name: shared, energy: sram, line: 8 bit, multicast: true, instances: {cores: 4}, CAPACITY}
    - {name: near, energy: sram, line: 8 bit, capacity: 4 KiB}
"""
    + ARRAYS
)

MAPPING = """
mapping:
  name: parts
  cascade: CASCADE
  partition: {P: {P0: ROWS}, M: {M0: KEYS}}
  nest: [{level: shared, loops: [], spatial: {cores: PARTS}}]
  einsums: {S: {array: unit, loops: {far: OUTER, near: [P0, M0, E]}}}
  keep: {far: [Q, K, S], shared: [Q, K], near: [Q, K, S]}
  schedule: {kind: sequential}
"""

LET_THROUGH = {
    "m <= p + M - P": lambda p, m, late: m <= p + late,
    "m >= p": lambda p, m, late: m >= p,
    "p - 3 <= m and m <= p": lambda p, m, late: p - 3 <= m <= p,
    "p - 9 <= m and m <= p + 2": lambda p, m, late: p - 9 <= m <= p + 2,
    "p + M - P - 1 <= m and m <= p + M - P": lambda p, m, late: p + late - 1 <= m <= p + late,
}


class Case:
    """A masked product in four parts, queries and keys in tiles."""

    def __init__(self, path: Path, where: str, sizes: dict[str, int], **changed: str) -> None:
        cascade, mapping, machine = (path / f"{n}.yaml" for n in ("cascade", "mapping", "machine"))
        cascade.write_text(CASCADE.replace("MASK", where))
        told = MAPPING.replace("CASCADE", str(cascade))
        for name, value in ({"PARTS": "P", "OUTER": "[P1, M1]"} | changed).items():
            told = told.replace(name, value)
        for name in ("ROWS", "KEYS"):
            told = told.replace(name, str(sizes[name]))
        mapping.write_text(told)
        machine.write_text(MACHINE.replace("CAPACITY", changed.get("CAPACITY", "capacity: 4 KiB")))
        self.program, self.mapping = Cascade.load(cascade).program, Mapping.load(mapping)
        self.machine = Architecture.load(machine)
        self.shapes = {"P": sizes["P"], "M": sizes["M"], "E": 2}
        self.tile = sizes["KEYS"]
        bound = self.bound = bind(self.program, self.mapping, self.machine, self.shapes)
        (spread,) = bound.cores.partitions
        holds = LET_THROUGH[where]
        late = sizes["M"] - sizes["P"]
        self.alike = len({spread.size(n) for n in range(spread.parts - 1)}) == 1
        rows = sizes["ROWS"] if "P1" in changed.get("OUTER", "P1") else sizes["P"]
        self.tiles = [
            [
                [
                    tile
                    for tile in range(0, sizes["M"], self.tile)
                    if any(
                        holds(p, m, late)
                        for p in range(at, min(at + rows, spread.begin(n) + spread.size(n)))
                        for m in range(tile, min(tile + self.tile, sizes["M"]))
                    )
                ]
                for at in range(spread.begin(n), spread.begin(n) + spread.size(n), rows)
            ]
            for n in range(spread.parts)
        ]
        """By part and by its tiles of queries, where the tiles of keys begin that it goes to."""

    @property
    def leads(self) -> bool:
        """Whether one part goes to all tiles to which any other does."""
        at_once = [*zip_longest(*self.tiles, fillvalue=[])]
        return any(
            all({*tiles[n]} >= {t for other in tiles for t in other} for tiles in at_once)
            for n in range(len(self.tiles))
        )

    def held(self) -> list[set[int]]:
        """Tiles that are held together, step by step: parts are at tiles of queries together."""
        found: list[set[int]] = []
        for at_once in zip_longest(*self.tiles, fillvalue=[]):
            for step in zip_longest(*at_once):
                found.append({tile for tile in step if tile is not None})
        return found


SIZES = [
    {"P": p, "M": m, "ROWS": rows, "KEYS": keys}
    for p, m in ((16, 16), (24, 24), (32, 24), (14, 20))
    for rows, keys in ((2, 2), (4, 2), (2, 4), (1, 8))
]


@pytest.mark.parametrize("where", LET_THROUGH)
@pytest.mark.parametrize("outer", ["[M1]", left("[P1, M1]")])
def test_a_shared_memory_holds_the_tiles_at_which_parts_are_together(
    tmp_path: Path, where: str, outer: str
) -> None:
    """One tile was held for all parts, however far apart their windows are."""
    apart = 0
    for sizes in SIZES:
        inner = {"[M1]": "[P1, P0, M0, E]"}.get(outer, "[P0, M0, E]")
        case = Case(tmp_path, where, sizes, OUTER=outer, **{"[P0, M0, E]": inner})
        shared = dict(requirements(case.bound)[1].tensors)["K"]
        most = 1 if case.leads else max(map(len, case.held()))
        tile = 2 * case.tile
        assert min(most * tile, 2 * sizes["M"]) <= shared <= (most + 1) * tile, sizes
        apart += most > 1
    assert apart or where in ("m <= p + M - P", "m >= p")


@pytest.mark.parametrize("where", LET_THROUGH)
def test_what_comes_to_a_shared_memory_is_what_no_part_has_left_there(
    tmp_path: Path, where: str
) -> None:
    """Keys of two windows came once, though those of one are gone when the other needs them."""
    for sizes in SIZES:
        inner = {"[P0, M0, E]": "[P1, P0, M0, E]"}
        case = Case(tmp_path, where, sizes, OUTER="[M1]", **inner)
        (count,) = counts_at_ports(case.bound, count_mapping(case.bound))
        (found,) = [a.writes for a in count.accesses if (a.tensor, a.place) == ("K", "shared")]
        held = [set[int](), *case.held()]
        loads = sum(len(now - before) for before, now in pairwise(held))
        needed = len(set().union(*held)) if case.leads else loads
        sizes_of = 2 * min(case.tile, sizes["M"])
        # The last tile may be shorter.
        assert (needed - 1) * sizes_of <= found, sizes
        assert found <= max(loads, needed) * sizes_of, sizes


def test_parts_of_unlike_sizes_each_have_a_tile(tmp_path: Path) -> None:
    """Rows that are fewer are through a tile of keys sooner."""
    sizes = {"P": 32, "M": 32, "ROWS": 1, "KEYS": 4}
    where = "m <= p + M - P"
    held = [
        dict(requirements(Case(tmp_path, where, sizes, PARTS=parts).bound)[1].tensors)["K"]
        for parts in ("P", "{P: balanced}")
    ]
    assert held == [8, 4 * 8]


@pytest.mark.parametrize("where", LET_THROUGH)
def test_what_does_not_fit_is_refused_by_both_engines(tmp_path: Path, where: str) -> None:
    sizes = {"P": 24, "M": 24, "ROWS": 2, "KEYS": 2}
    case = Case(tmp_path, where, sizes)
    needed = int(requirements(case.bound)[1].required_bytes)
    fits = Case(tmp_path, where, sizes, CAPACITY=f"capacity: {needed} B")
    one, other = (
        evaluate_mapping(fits.program, fits.mapping, fits.machine, fits.shapes, engine=engine)
        for engine in ("analytical", "event")
    )
    assert one.cycles == other.cycles
    assert one.latency_s >= one.floor.latency_s
    with pytest.raises(MappingError, match=f"shared needs {needed} B"):
        Case(tmp_path, where, sizes, CAPACITY=f"capacity: {needed - 1} B")
