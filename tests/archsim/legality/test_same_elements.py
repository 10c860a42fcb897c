"""What is written otherwise and touches the same elements of a tensor comes to a memory once."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from machines import small
from nest_walker import NestWalker, allowed
from portions import examples, left

from archsim import simulate
from archsim.legality.binding import bind
from archsim.legality.reuse import finds_tile_at
from archsim.nest.dataflow import same_elements
from archsim.nest.record import Bound, BoundEinsum
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from einsum_cascade import Cascade
from einsum_cascade.ir import Access, Einsum

READS = ("K[p1*P0 + p0, d]", "K[p1*P0 + p0, 1 - d]", "K[p1*P0 + m0, d]", "K[p1*P0 + m0, 1 - d]")
HEAD = """
cascade: c
ranks:
  P: {is: positions, partition: [P1, P0]}
  M0: {is: keys, like: P0}
  D: {is: of a pair, shape: 2}
inputs: {K: [P, D], L: [P]}
outputs: [A, B, C]
einsums: |
"""
MASKS = ("", " where m0 <= p0", " where p1 >= 1", " where p1*P0 + m0 < P")


def _cascade(rng: Random) -> Cascade:
    lines = []
    for name in "ABC":
        reads = " * ".join(rng.sample(READS, rng.choice([1, 2, 2])))
        lines.append(f"  {name}[p1, p0, m0] = {reads} * L[p1*P0 + p0]{rng.choice(MASKS)}")
    return Cascade.parse(HEAD + "\n".join(lines) + "\n")


def _mapping(rng: Random, cascade: Cascade, names: list[str]) -> Mapping:
    loops = ["P1", "P0", "M0", "D"]
    shared = [x for x in loops[:3] if rng.random() < (0.9 if x == "P1" else 0.3)]
    if "P0" in shared and "P1" not in shared:
        shared.insert(0, "P1")  # outer parts come first
    einsums = []
    for e in cascade.program.einsums:
        own = [x for x in loops if x not in shared]
        rng.shuffle(own)
        own.sort(key=lambda x: x != "P1")
        far = rng.choice([0, 0, 0, 1]) if own else 0
        levels = zip(names, (own[:far], own[far:]), strict=True)
        nest = tuple(NestLevel(level=n, loops=tuple(x)) for n, x in levels if x)
        einsums.append(EinsumMapping(einsum=e.name, array="array_1d", nest=nest))
    return Mapping(
        name="x",
        cascade="c",
        tiles=(Tile(rank="P", member="P0", size=3),),
        nest=(NestLevel(level=names[0], loops=tuple(shared)),) if shared else (),
        einsums=tuple(einsums),
        keep=tuple(Keep(level=name, tensors=("K", "L", "A", "B", "C")) for name in names),
        schedule=Schedule(),
    )


def _tiles(
    walker: NestWalker, e: Einsum, access: Access
) -> dict[frozenset[tuple[str, int]], set[object]]:
    """Elements under every iteration of the shared loops outside of a memory, by these loops."""
    loops = walker.temporal(e)
    outer = [(i, x.name) for i, x in enumerate(loops) if x.shared and x.width > 1]
    found: dict[frozenset[tuple[str, int]], set[object]] = {}
    run: set[frozenset[tuple[str, int]]] = set()
    for step in walker.walk_steps(e):
        key = frozenset((name, step.index[i]) for i, name in outer)
        tile = found.setdefault(key, set())
        if any(allowed(e, at, walker.shapes) for _, at in step.lanes):
            run.add(key)
        # Beyond the last position there are none.
        places = (walker.element(access, at) for _, at in step.lanes)
        tile.update(x for x in places if isinstance(x[0], int) and x[0] < walker.shapes["P"])
    return {key: tile for key, tile in found.items() if key in run}


def _left(walker: NestWalker, bound: Bound, e: BoundEinsum, number: int) -> bool:
    """Whether an access before this one brings all that it touches, iteration by iteration."""
    wanted = _tiles(walker, e.einsum, e.reads[number].access)
    place = bound.position[e.name]
    for other in bound.einsums[: place + 1]:
        for n, read in enumerate(other.reads):
            if (other is e and n >= number) or read.access.tensor != "K":
                continue
            alone = {
                x.variable for x in other.nonunit_loops if x.level < 1 and x not in other.shared
            }
            if other is not e and alone & {*read.access.variables}:
                continue
            brought = _tiles(walker, other.einsum, read.access)
            if all(tile <= brought.get(key, set()) for key, tile in wanted.items()):
                return True
    return False


def test_what_is_found_was_brought_element_by_element() -> None:
    seen = Counter[str]()
    machine = small((2, 3), 4)
    names = [m.name for m in machine.memories]
    for seed in range(examples(150)):
        rng = Random(seed)
        cascade = _cascade(rng)
        program, mapping = cascade.program, _mapping(rng, cascade, names)
        bound = bind(program, mapping, machine, {"P": rng.choice([6, 7, 9])})
        walker = NestWalker(program, mapping, machine, dict(bound.shapes), {"P0": 3})
        for e in bound.einsums:
            for number, read in enumerate(e.reads):
                written_so = e.operands[number].readers
                before = any(bound.position[r] < bound.position[e.name] for r in written_so)
                if read.access.tensor != "K" or before:
                    continue
                found = finds_tile_at(bound, e, number, 1)
                assert not found or _left(walker, bound, e, number), f"seed {seed}, {e.name}"
                seen["found" if found else "not found"] += 1
    assert seen["found"] > examples(50)
    assert seen["not found"] > examples(50)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("K[p1*P0 + p0, d]", "K[p1*P0 + m0, d]", True),
        ("K[p1*P0 + p0, d]", "K[p1*P0 + p0, 1 - d]", True),
        ("K[p1*P0 + p0, d]", "K[p1*P0 + p0, 2 - d]", False),
        ("K[p1*P0 + p0, d]", "K[p1*P0 + m0 + 1, d]", False),
        ("K[p1*P0 + p0, d]", "K[p1*P0 + n0, d]", False),
        ("K[p1*P0 + p0, d]", "K[p1*P0 + 2*m0, d]", False),
        ("T[m0, k0]", "T[k0, m0]", True),
        ("T[m0, m0]", "T[k0, k0]", False),
    ],
)
def test_indices_are_the_same_where_variables_go_over_the_same(
    one: str, other: str, same: bool
) -> None:
    """N0 is as long as P0 in no declaration; what lies on a diagonal is left alone."""
    tensor = one[0]
    shape = {"K": "[P, D]", "T": "[P0, P0]"}[tensor]
    text = (
        HEAD.replace("  D: {", "  K0: {is: keys, like: P0}\n  N0: others\n  D: {")
        .replace("K: [P, D], L: [P]", f"{tensor}: {shape}, L: [P], N: [M0, K0, N0], E: [D]")
        .replace("outputs: [A, B, C]", "outputs: [A, B, C, G]")
        + f"  A[p1] = {one}\n  B[p1] = {other} * {one}\n  C[p1] = L[p1*P0 + p0] * N[m0, k0, n0]\n"
        + "  G[p1] = E[d] * L[p1*P0 + p0]\n"
    )
    program = Cascade.parse(text).program
    first, second = program.einsums[1].reads
    found = same_elements(program, first)
    assert [(s.einsum, s.number) for s in found] == ([("A", 0), ("B", 1)] if same else [])
    assert bool(same_elements(program, second)) is same


def test_what_ends_with_a_rank_does_not_bring_what_is_beyond() -> None:
    """Of the last chunk there may be fewer p0 than m0."""
    text = HEAD.replace("L: [P]", "L: [P], T: [P1, P0]")
    text += "  A[p1] = T[p1, p0]\n  B[p1] = T[p1, m0]\n  C[p1] = L[p1*P0 + p0] * K[p1*P0 + p0, d]\n"
    program = Cascade.parse(text).program
    one, other = (program.einsums[n].reads[0] for n in (0, 1))
    assert not same_elements(program, other)
    assert [s.einsum for s in same_elements(program, one)] == ["B"]


@pytest.mark.parametrize("workload", [left("rwkv-6"), left("mamba-3")])
def test_chunked_kernels_read_each_input_once(workload: str) -> None:
    """Keys are read by pairs and one by one, pairs of states both ways round."""
    result = simulate(workload, "fusemax")
    assert result.latency_s < 1.02 * result.floor.latency_s
