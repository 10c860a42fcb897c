"""Mappings of cascades of the zoo at small shapes on small machines, to compare their floors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np

from archsim.engine.evaluate import evaluate_bound, evaluate_nests
from archsim.legality.binding import bind
from archsim.nest.sequence import join_nests, nests_of
from archsim.plan.partition_factors import Partitioning
from archsim.plan.partitioning import partition_mapping
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping, SpatialRank
from archsim.validation.inputs import random_shapes
from einsum_cascade.algebra.excerpt import cut_blocks, excerpt
from einsum_cascade.errors import InputError
from einsum_cascade.functions import OPERATION_KINDS
from einsum_cascade.ir import Program, walk
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from workloads.references import find_reference

KINDS = ("line", "one array", "tree", "cores", "chips", "ring", "systolic")
_SIDES = (1, 2, 3, 4, 5, 8)
_BARE = ("mac", "mul", "add", "copy")
_CYCLES = dict.fromkeys(("mac", "mul", "add", "sub", "max", "copy", "select", "compare"), 1)
_CYCLES |= {"div": 2, "sqrt": 4, "rsqrt": 4, "exp": 6, "log": 6, "elu": 8, "pow": 9}
# Whatever else a cascade may ask for.
_CYCLES = {**dict.fromkeys(OPERATION_KINDS, 3), **_CYCLES}


def machine(kind: str, random: Random) -> dict[str, Any]:
    """A file of a small machine."""
    far = {"name": "far", "line": "64 bit", "energy": "dram_hbm2e"}
    near = {"name": "near", "line": "64 bit", "energy": "sram", "capacity": "64 MiB"}
    close = {"name": "close", "line": "32 bit", "energy": "sram", "capacity": "1 MiB"}
    far |= {"bandwidth": random.choice(("1 GB/s", "20 GB/s", "4000 GB/s"))}
    near |= {"bandwidth": random.choice(("3 GB/s", "40 GB/s", "8000 GB/s"))}
    memories: list[dict[str, Any]] = [far, near]
    arrays = [_array(random, "A0", 2, _BARE), _array(random, "A1", 1, tuple(_CYCLES))]
    if kind == "one array":
        arrays = [_array(random, "A0", 2, tuple(_CYCLES))]
    for array in arrays:
        if len(array["shape"]) > 1 and (kind == "systolic" or random.random() < 0.2):
            overlap = random.choice((True, False, "streams"))
            array |= {"operands": "systolic", "overlap": overlap}
    if kind in ("line", "chips"):
        memories.append(close)
    if kind == "tree":
        memories.append({**near, "name": "side", "inside": "far"})
        arrays[0] |= {"reads": ["near", "side"], "writes": "side"}
        arrays[1] |= {"reads": ["near", "side"], "writes": "near"}
    if kind in ("cores", "chips"):
        memories[0] |= {"instances": {"cores": random.choice((2, 3, 4, 5, 8))}}
        memories[0] |= {"multicast": random.random() < 0.5, "reduces": random.random() < 0.3}
    if kind == "chips":
        memories[1] |= {"instances": {"lanes": random.choice((2, 3))}}
    if kind == "ring":
        links = {"name": "links", "ring": True, "line": "64 bit", "energy": "link_board"}
        links |= {"instances": {"chips": random.choice((2, 3, 4))}, "bandwidth": "50 GB/s"}
        memories.insert(0, links)
    made = {"name": "m", "title": "m", "source": "made up", "technology": "jouppi-7nm"}
    made |= {"clock": "1 GHz", "word": "16 bit", "memories": memories, "arrays": arrays}
    return {"architecture": made}


def _array(random: Random, name: str, sides: int, kinds: tuple[str, ...]) -> dict[str, Any]:
    shape = {side: random.choice(_SIDES) for side in ("columns", "rows")[:sides]}
    operations = {kind: {"cycles": _CYCLES[kind], "bill": {"mac": 1}} for kind in kinds}
    registers: dict[str, Any] = {"depth": 64}
    if random.random() < 0.3:
        registers["billed"] = "one"
    return {"name": name, "shape": shape, "registers": registers, "operations": operations}


def small_shapes(program: Program, random: Random, *, own: bool) -> dict[str, int]:
    """Shapes of a few elements; sizes of the cascade's own tiles among them, or for mappings to
    choose, unless what is computed asks for them."""
    drawn = random_shapes(program, {}, np.random.default_rng(random.randrange(2**30)))
    asked = {getattr(n, "name", "") for f in program.functions for n in walk(f.body)}
    members = {m for r in program.ranks for m in r.partition} - asked
    return {r: n for r, n in drawn.items() if r in program.settable and (own or r not in members)}


def mappings(
    program: Program, on: Architecture, given: dict[str, int], random: Random, *, own: bool
) -> Iterator[Mapping]:
    """One Einsum after the other, with tiles of other sizes, spread, and in several nests; some of
    them are not legal."""
    base = _plain(program, on, given)
    yield base
    sizes = () if own else (1, 2, 3, 7)
    yield from (_sized(program, base, size) for size in sizes)
    for way in _ways(program, on, random):
        # Links hold nothing, partial results neither.
        summed = not on.memories[0].ring and random.random() < 0.7
        spread = partition_mapping(base, way, on, program if summed else None)
        yield spread
        if not own and random.random() < 0.3:
            yield _sized(program, spread, random.choice(sizes))
    blocks = program.memo(cut_blocks)
    for _ in range(min(3, len(blocks) - 1)):
        count = random.randint(1, min(3, len(blocks) - 1))
        places = sorted(random.sample(range(1, len(blocks)), count))
        ends = [0, *places, len(blocks)]
        names = [tuple(n for b in blocks[x:y] for n in b) for x, y in pairwise(ends)]
        try:
            made = tuple(_nest(program.memo(excerpt, n), on, given, random) for n in names)
        except InputError:
            continue
        yield join_nests(replace(base, name="nests"), made)


def _plain(program: Program, on: Architecture, given: dict[str, int]) -> Mapping:
    """One Einsum after the other on one chip."""
    return einsum_by_einsum(program, replace(on, memories=on.memories[on.home_level :]), given)


def _nest(part: Program, on: Architecture, given: dict[str, int], random: Random) -> Mapping:
    """The mapping of a nest, spread in the first way of a few that is legal."""
    shapes = {r: n for r, n in given.items() if r in part.settable}
    made = _plain(part, on, shapes)
    for way in _ways(part, on, random)[:4]:
        spread = partition_mapping(made, way, on, None if on.memories[0].ring else part)
        try:
            bind(part, spread, on, shapes)
        except InputError:
            continue
        return spread
    return made


def _ways(program: Program, on: Architecture, random: Random) -> list[Partitioning]:
    """Each rank in parts, and some pairs of ranks, whether that is legal or not."""
    able = [(m.name, name, most) for m in on.memories for name, most in m.instances]
    ranks = [*program.parallel, *(r.name for r in program.ranks)]
    if not able:
        return []
    found: list[Partitioning] = []
    for rank in ranks:
        memory, name, most = random.choice(able)
        parts, balanced = random.randint(2, most), random.random() < 0.3
        spread = SpatialRank(instances=name, rank=rank, parts=parts, balanced=balanced)
        found.append(((memory, (spread,)),))
    for _ in range(min(3, len(ranks) - 1)):
        memory, name, most = random.choice(able)
        pair = (SpatialRank(instances=name, rank=r, parts=2) for r in random.sample(ranks, 2))
        found.append(((memory, tuple(pair)),))
    random.shuffle(found)
    return found


def _sized(program: Program, mapping: Mapping, size: int) -> Mapping:
    """A mapping whose tiles of the cascade's own have another size, where inputs do not say it and
    it is no part of what is computed."""
    ends = (*(t.name for t in program.inputs), *program.outputs)
    shaped = {r for name in ends for r in program.tensor_ranks[name]}
    if (reference := find_reference(program.reference)) is not None:
        shaped |= {*signature(reference.function).parameters}
    cut = [r.partition for r in program.ranks if shaped.isdisjoint(r.partition)]
    own = {member for members in cut for member in members}
    tiles = (replace(t, size=size) if t.member in own else t for t in mapping.tiles)
    return replace(mapping, tiles=tuple(tiles))


def evaluated(
    program: Program, mapping: Mapping, on: Architecture, given: dict[str, int]
) -> Result:
    """What a mapping of one nest or several takes."""
    if not mapping.nests:
        return evaluate_bound(bind(program, mapping, on, given))
    nests = nests_of(program, mapping, given)
    bound = tuple((n.name, bind(n.program, n.mapping, on, n.shapes)) for n in nests)
    return evaluate_nests(program, mapping, bound)
