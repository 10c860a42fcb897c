"""Traffic of contractions through small memories: no mapping moves less, and good ones little
more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product
from math import ceil
from random import Random

import pytest
from masked_cases import masked_attention
from nest_cases import Case, varied_case
from nest_mappings import random_machine, random_mapping, varied

from archsim import Architecture
from archsim.bounds.capacity import crossing_words
from archsim.bounds.floor import floor_of, least_work
from archsim.counts.cores import counts_of_all_cores
from archsim.counts.spill import count_mapping
from archsim.energy import memory_access
from archsim.legality.binding import bind
from archsim.legality.footprint import requirements
from archsim.nest.record import Bound
from archsim.plan.partitioning import partition_mapping
from archsim.spec.mapping import (
    EinsumMapping,
    Keep,
    Mapping,
    NestLevel,
    Schedule,
    SpatialRank,
    Spill,
    Tile,
)
from archsim.spec.tensor_words import in_formats
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.number_formats import TensorFormats
from mappers.construct.einsum_by_einsum import einsum_by_einsum

_PRODUCT, _SCORES = "Z[n, j] = X[n, d] * W[d, j]", "S[p, m] = Q[p, e] * K[m, e]"
_WEIGHTS, _TOKENS = "X: [N, D], W: [D, J]", "Q: [P, E], K: [M, E]"
CASCADES = {
    "product": (_WEIGHTS, "Z", _PRODUCT),
    "causal product": (_WEIGHTS, "Z", f"{_PRODUCT} where j <= n"),
    "masked sum": (_WEIGHTS, "Z", f"{_PRODUCT} where d <= n"),
    "largest score": (_TOKENS, "O", _SCORES, "O[p] = S[p, m] :: max[m]"),
    "attention": (
        f"{_TOKENS}, V: [M, F]",
        "O",
        _SCORES,
        "A[p, m] = exp(S[p, m])",
        "O[p, f] = A[p, m] * V[m, f]",
    ),
    "causal attention": (
        f"{_TOKENS}, V: [M, F]",
        "O",
        f"{_SCORES} where m <= p",
        "A[p, m] = exp(S[p, m]) where m <= p",
        "O[p, f] = A[p, m] * V[m, f] where m <= p",
    ),
    "chain": (f"{_WEIGHTS}, U: [J, L]", "Y", _PRODUCT, "Y[n, l] = Z[n, j] * U[j, l]"),
    "common input": (f"{_WEIGHTS}, U: [D, L]", "[Y, Z]", _PRODUCT, "Y[n, l] = X[n, d] * U[d, l]"),
    "apart": (
        f"{_WEIGHTS}, T: [N, D], U: [D, L]",
        "[Y, Z]",
        _PRODUCT,
        "Y[n, l] = T[n, d] * U[d, l]",
    ),
    "three operands": (f"{_WEIGHTS}, U: [N, J]", "Z", "Z[n] = X[n, d] * W[d, j] * U[n, j]"),
    "three ranks": (
        "X: [N, D, J], W: [D, L], U: [J, L]",
        "Z",
        "Z[n, l] = X[n, d, j] * W[d, l] * U[j, l]",
    ),
}


@cache
def program_of(inputs: str, output: str, *einsums: str, parallel: str = "") -> Program:
    """The program of a small cascade; its ranks are those of its inputs."""
    ranks = ", ".join(dict.fromkeys(c for c in inputs if c.isupper() and f"{c}:" not in inputs))
    lines = "".join(f"\n  {line}" for line in einsums)
    return Cascade.parse(
        f"cascade: c\nparallel: [{parallel}]\nranks: [{ranks}]\ninputs: {{{inputs}}}\n"
        f"output: {output}\neinsums: |{lines}\n"
    ).program


def moved_words(bound: Bound) -> Fraction:
    """Words that a mapping moves through the outermost memory."""
    home, counts = bound.architecture.home.name, count_mapping(bound)
    accesses = (a for c in counts_of_all_cores(bound, counts) for a in c.accesses)
    found = ((a.reads + a.writes) * bound.words.of(a.tensor) for a in accesses if a.place == home)
    return Fraction(sum(found))


def least_machine(bound: Bound) -> Architecture:
    """The mapping's machine with memories that hold what the mapping needs, and nothing more."""
    needed = [requirements(b) for b in bound.core_nests.values()]
    most = [max(r.required_bytes for r in level) for level in zip(*needed, strict=True)]
    memories = bound.architecture.memories
    limited = (replace(m, capacity_bytes=ceil(n)) for m, n in zip(memories, most, strict=True))
    return bound.architecture.resized((memories[0], *[*limited][1:]))


def floor_words(bound: Bound, machine: Architecture) -> tuple[Fraction, Fraction]:
    """Words of the floor on a machine, and without its capacities."""
    work = least_work(bound.whole, count_mapping(bound))
    return crossing_words(work.words, work.contractions, machine), work.words


# ------------------------------------------------------------------ random mappings


def random_contraction(random: Random) -> Case:
    """A product, or a cascade with some, on a machine of few elements."""
    program = program_of(
        *CASCADES[random.choice([*CASCADES])], parallel=random.choice(("", "", "", "B"))
    )
    ranks = [*program.parallel, *(r.name for r in program.ranks)]
    sizes = (4, 8, 12, 16, 24, 32) if len(ranks) < 4 else (2, 4, 8, 12, 16)
    shapes = {r: random.choice(sizes) for r in ranks}
    if random.random() < 0.2:
        formats = TensorFormats(default="bf16", tensors=(("X", "fp8_e4m3"), ("K", "fp8_e4m3")))
        program = in_formats(program, replace(formats, word_bits=16))
    drawn = random_machine(random)
    arrays = tuple(
        replace(
            a,
            dimensions=tuple(replace(d, size=random.choice((1, 1, 2))) for d in a.dimensions[:2]),
            registers=replace(a.registers, depth=1),
        )
        for a in drawn.arrays[: random.choice((1, 1, 2))]
    )
    memories = drawn.memories[: random.choice((2, 2, 3))]
    machine = replace(drawn, memories=memories, arrays=arrays)
    mapping, tiles = random_mapping(random, program, machine, shapes)
    if random.random() < 0.4:
        mapping = varied(random, program, mapping)
    if len(memories) > 1 and random.random() < 0.3:
        machine, mapping = _on_cores(random, program, machine, mapping, ranks)
    return Case(program, mapping, machine, shapes, tiles)


def _on_cores(
    random: Random, program: Program, machine: Architecture, mapping: Mapping, ranks: list[str]
) -> tuple[Architecture, Mapping]:
    at, most = random.randrange(len(machine.memories) - 1), random.choice((2, 3, 4))
    feeding = replace(
        machine.memories[at],
        instances=(("cores", most),),
        multicast=random.random() < 0.5,
        reduces=random.random() < 0.5,
    )
    machine = machine.resized((*machine.memories[:at], feeding, *machine.memories[at + 1 :]))
    chosen = random.sample(ranks, min(len(ranks), random.choice((1, 1, most // 2))))
    parts = random.randint(2, most) if len(chosen) == 1 else 2
    split = tuple(SpatialRank(instances="cores", rank=r, parts=parts) for r in chosen)
    summed = program if random.random() < 0.7 else None
    return machine, partition_mapping(mapping, ((feeding.name, split),), machine, summed)


def random_bound(seed: int) -> tuple[Bound, Architecture]:
    """A random mapping, and the smallest machine on which it is legal; some mappings spill."""
    random = Random(seed)
    if random.random() < 0.1:
        case = random.choice((varied_case, masked_attention))(seed)
    else:
        case = random_contraction(random)
    bound = bind(case.program, case.mapping, case.architecture, case.given)
    machine = least_machine(bound)
    if len(machine.memories) == 1 or not bound.is_whole or random.random() < 0.8:
        return bound, machine
    at = random.randrange(1, len(machine.memories))
    held = (machine.memories[at].capacity_bytes or 0) * random.randint(1, 9) // 10
    spilling = replace(machine.memories[at], capacity_bytes=max(1, held))
    machine = machine.resized((*machine.memories[:at], spilling, *machine.memories[at + 1 :]))
    spills = replace(case.mapping, spill=Spill(level=spilling.name))
    return bind(case.program, spills, machine, case.given), machine


def _never_less(seeds: range) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        try:
            bound, machine = random_bound(seed)
        except InputError:
            continue
        floor, compulsory = floor_words(bound, machine)
        assert compulsory <= floor <= moved_words(bound), f"seed {seed}"
        found["legal"] += 1
        found["higher"] += floor > compulsory
        found["higher on cores"] += floor > compulsory and not bound.is_whole
    return found


def test_random_mappings_move_no_less_than_the_floor_of_the_memories_they_need() -> None:
    found = _never_less(range(260))
    assert found["legal"] > 150
    assert found["higher"] > 30
    assert found["higher on cores"] > 0


@pytest.mark.slow
def test_many_random_mappings_move_no_less_than_the_floor() -> None:
    assert _never_less(range(1_000, 34_000))["legal"] > 20_000


# ------------------------------------------------------------------ good mappings


def _one_element() -> Architecture:
    drawn = random_machine(Random(1))
    (array,) = drawn.arrays[:1]
    array = replace(array, dimensions=(), registers=replace(array.registers, depth=1))
    memories = tuple(replace(drawn.memories[0], name=name) for name in ("far", "near"))
    return replace(drawn, memories=memories, arrays=(array,))


def _kept(program: Program) -> tuple[Keep, ...]:
    inside = tuple(sorted(t.name for t in (*program.inputs, *program.einsums)))
    outside = (*(t.name for t in program.inputs), *program.outputs)
    return Keep(level="far", tensors=outside), Keep(level="near", tensors=inside)


def tiled_product(name: str, rows: int, columns: int, *, cores: int = 1) -> Bound:
    """A product whose results stay in tiles while all of their operands pass.

    Cores have a part of the columns each, and share what they read.
    """
    program, machine = program_of(*CASCADES[name]), _one_element()
    nest = (
        NestLevel(level="far", loops=("N1", "J1", "D")),
        NestLevel(level="near", loops=("N0", "J0")),
    )
    (array,) = machine.arrays
    mapping = Mapping(
        name="tiled",
        cascade="c",
        tiles=(Tile(rank="N", member="N0", size=rows), Tile(rank="J", member="J0", size=columns)),
        einsums=(EinsumMapping(einsum="Z", array=array.name, nest=nest),),
        keep=_kept(program),
        schedule=Schedule(kind="sequential"),
    )
    if cores > 1:
        far = replace(machine.memories[0], instances=(("cores", cores),), multicast=True)
        machine = machine.resized((far, *machine.memories[1:]))
        split = SpatialRank(instances="cores", rank="J", parts=cores)
        mapping = partition_mapping(mapping, (("far", (split,)),), machine, program)
    return bind(program, mapping, machine, {"N": 64, "D": 64, "J": 64})


def tiled_scores(queries: int) -> Bound:
    """Scores of which only the largest leaves: tiles of queries stay while all keys pass."""
    program, machine = program_of(*CASCADES["largest score"]), _one_element()
    (array,) = machine.arrays
    inner = {"S": ("P0", "E"), "O": ("P0",)}
    mapping = Mapping(
        name="tiled",
        cascade="c",
        tiles=(Tile(rank="P", member="P0", size=queries),),
        nest=(NestLevel(level="far", loops=("P1", "M")),),
        einsums=tuple(
            EinsumMapping(einsum=e, array=array.name, nest=(NestLevel(level="near", loops=x),))
            for e, x in inner.items()
        ),
        keep=_kept(program),
        schedule=Schedule(kind="pipelined"),
    )
    return bind(program, mapping, machine, {"P": 256, "M": 256, "E": 8})


@pytest.mark.parametrize(
    ("name", "within"), [("product", 1.25), ("causal product", 1.4), ("masked sum", 1.45)]
)
def test_a_tiled_product_moves_little_more_than_the_floor(name: str, within: float) -> None:
    found = []
    for rows, columns in product((4, 8, 16, 32), repeat=2):
        bound = tiled_product(name, rows, columns)
        floor, compulsory = floor_words(bound, least_machine(bound))
        assert compulsory <= floor <= moved_words(bound)
        if floor > compulsory:
            found.append(moved_words(bound) / floor)
    assert len(found) > 10
    assert min(found) < within


def test_cores_hold_together_what_one_core_would() -> None:
    bound = tiled_product("product", 16, 4, cores=4)
    machine = least_machine(bound)
    floor, compulsory = floor_words(bound, machine)
    assert compulsory < floor <= moved_words(bound) < 1.4 * floor
    far, near = machine.memories
    assert near.capacity_bytes is not None
    alone = machine.resized(
        (replace(far, instances=()), replace(near, capacity_bytes=4 * near.capacity_bytes))
    )
    # Registers of three more elements.
    assert floor < floor_words(bound, alone)[0] < 1.05 * floor


def test_attention_that_keeps_its_scores_moves_little_more_than_the_floor() -> None:
    bounds = [tiled_scores(queries) for queries in (2, 4, 8, 16, 32)]
    floors = [floor_words(b, least_machine(b)) for b in bounds]
    assert all(compulsory < floor for floor, compulsory in floors)
    more = [moved_words(b) / floor for b, (floor, _) in zip(bounds, floors, strict=True)]
    assert 1 <= min(more) < 2.2


# ------------------------------------------------------------------ conditions


def _by_einsum(program: Program, size: int = 16) -> Bound:
    shapes = {r.name: size for r in program.ranks}
    machine = _one_element()
    return bind(program, einsum_by_einsum(program, machine, shapes), machine, shapes)


def _holding(words: int | None) -> Architecture:
    machine = _one_element()
    size = None if words is None else int(words * machine.word_bytes)
    return machine.resized((machine.memories[0], replace(machine.memories[1], capacity_bytes=size)))


def test_a_product_moves_the_words_that_hong_and_kung_proved() -> None:
    """2*N*D*J / sqrt(S) less 2*S, through 97 words and a register for each of three accesses."""
    bound = _by_einsum(program_of(*CASCADES["product"]), 64)
    floor, compulsory = floor_words(bound, _holding(97))
    assert compulsory == 3 * 64**2
    assert floor == pytest.approx(2 * 64**3 / 100**0.5 - 200, rel=0.01)
    assert floor_words(bound, _holding(None)) == (compulsory, compulsory)
    assert floor_words(bound, _holding(4 * 64**2)) == (compulsory, compulsory)


def test_products_add_up_only_if_they_have_no_tensor_in_common() -> None:
    one, apart, common = (
        floor_words(_by_einsum(program_of(*CASCADES[name]), 64), _holding(50))
        for name in ("product", "apart", "common input")
    )
    assert one[0] > one[1]
    assert apart[0] - apart[1] > 1.9 * (one[0] - one[1])
    assert common[0] - common[1] < 1.1 * (one[0] - one[1])


@pytest.mark.parametrize(
    ("inputs", "einsums", "counted"),
    [
        ("X: [N], W: [D, J]", ("Z[n, j] = X[n + d] * W[d, j]",), [{"W", "Z"}]),
        ("X: [N, D], I: [J], W: [N, D]", ("Z[n, j] = X[n, d] * W[I[j], d]",), [{"X", "I", "Z"}]),
        ("X: [N, N]", ("Z[n] = X[n, n]",), [{"X", "Z"}]),
        (_WEIGHTS, ("Y[n, j] = X[n, d] * W[d, j]", "Z[n, j] = Y[n, j] * 2"), [{"X", "W", "Y"}]),
    ],
)
def test_the_tensors_that_limit_points(
    inputs: str, einsums: tuple[str, ...], counted: list[set[str]]
) -> None:
    """Sums of indices and gathered elements may be equal at several points: they limit none."""
    bound = _by_einsum(program_of(inputs, "Z", *einsums))
    work = least_work(bound, count_mapping(bound))
    assert [{*c.tensors} for c in work.contractions] == counted


def test_energy_has_a_floor_of_the_same_words() -> None:
    program = program_of(*CASCADES["product"])
    shapes = {"N": 300, "D": 300, "J": 300}
    machine = Architecture.load(
        "fusemax", ["arrays.array_2d.shape.rows=4", "arrays.array_2d.shape.columns=4"]
    )
    far, near = machine.memories
    cut = replace(near, capacity_bytes=2048, billed_bytes=near.capacity_bytes)
    small = machine.resized((far, cut))
    bound = bind(program, einsum_by_einsum(program, machine, shapes), machine, shapes)
    counts = count_mapping(bound)
    floors = [floor_of(bound.on(m), counts) for m in (machine, small)]
    assert floors[1].compute_s == floors[0].compute_s
    price = memory_access(machine, machine.home)
    each = min(price.read_pj, price.write_pj) * machine.word_bits / machine.home.line_bits
    floor, compulsory = floor_words(bound, small)
    assert floor > 1.5 * compulsory
    more = floors[1].energy_pj - floors[0].energy_pj
    assert more == pytest.approx(float(floor - compulsory) * each, rel=1e-9)
    assert floors[1].bandwidth_s == pytest.approx(
        floors[0].bandwidth_s * float(floor / compulsory), rel=1e-9
    )
