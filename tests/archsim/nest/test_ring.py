"""Parts that chips pass on in a ring: against all chips written out, element by element."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from brief_search import BRIEFLY
from evaluated import evaluate_mapping
from one_lane import ARRAYS
from products import PRODUCT

from archsim import Architecture, Mapping, Result, simulate
from archsim.spec.files.mapping_text import mapping_text
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, SpecError
from mappers.construct.choices import choose
from mappers.exact.policy import BRIEF
from mappers.pareto.front_search import pareto_front
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import Clock, SearchProblem, silent
from mappers.relax.search import best_mapping
from mappers.space.mapspace import Mapspace

CHIPS = 3

MACHINE = (
    """
architecture:
  name: small
  technology: jouppi-7nm
  clock: 1 GHz
  word: 8 bit
  memories:
    - {name: links, ring: true, instances: {chips: 3}, energy: link_board, line: 8 bit,
       bandwidth: 1000 GB/s}
    - {name: home, energy: dram_hbm2, line: 8 bit, capacity: 4 KiB, bandwidth: 1000 GB/s}
"""
    + ARRAYS
)

MAPPING = """
mapping:
  name: parts
  cascade: CASCADE
  nest: [{level: links, loops: [], spatial: {chips: M}, ring: N}]
  einsums: {C: {array: unit, loops: {links: [N, K], home: [M]}}}
  keep: {home: [A, B, C]}
  schedule: {kind: sequential}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ring")
    (folder / "product.yaml").write_text(PRODUCT)
    (folder / "machine.yaml").write_text(MACHINE)
    (folder / "mapping.yaml").write_text(MAPPING.replace("CASCADE", str(folder / "product.yaml")))
    return folder


def run(
    folder: Path,
    shapes: dict[str, int],
    *settings: str,
    machine: tuple[str, ...] = (),
    engine: str = "analytical",
) -> Result:
    program = Cascade.load(folder / "product.yaml").program
    mapping = Mapping.load(folder / "mapping.yaml", settings)
    given = Architecture.load(folder / "machine.yaml", machine)
    return evaluate_mapping(program, mapping, given, shapes, engine=engine)


def passed_on(shapes: dict[str, int], outer: str, ring: str) -> int:
    """Elements of B over all links, chip by chip and tile by tile.

    Each chip has rows of A and C, and a part of B. It goes through loops ``outer`` over tiles of B,
    those over its own part first, then over the part that its neighbour had before. A tile that a
    chip needs and does not hold has to be with its neighbour at that moment or before.
    """
    part = shapes[ring] // CHIPS
    bounds = [shapes[rank] // (CHIPS if rank == "M" else 1) for rank in outer]
    size = 1
    for rank in "KN":
        size *= 1 if rank in outer else shapes[rank]
    total = last = 0
    held: list[set[object]] = [set() for _ in range(CHIPS)]
    needed: list[object] = [None] * CHIPS
    for step in product(*map(range, bounds)):
        now = dict(zip(outer, step, strict=True))
        away, place = divmod(now[ring], part)
        if now[ring] < last:
            held = [set() for _ in range(CHIPS)]
        last = now[ring]
        before = [set(tiles) for tiles in held]
        for chip in range(CHIPS):
            now[ring] = (chip - away) % CHIPS * part + place
            tile = tuple(now[rank] for rank in outer if rank in "KN")
            if tile != needed[chip] and away:
                assert tile in before[(chip - 1) % CHIPS]
                total += size
            held[chip].add(tile)
            needed[chip] = tile
    return total


@pytest.mark.parametrize("shapes", [{"M": 6, "N": 9, "K": 2}, {"M": 3, "N": 6, "K": 3}])
@pytest.mark.parametrize(
    ("outer", "inner", "ring"),
    [
        ("N", "KM", "N"),
        ("NK", "M", "N"),
        ("NM", "K", "N"),
        ("MNK", "", "N"),
        ("MKN", "", "N"),
        ("K", "MN", "K"),
        ("MK", "N", "K"),
    ],
)
def test_what_goes_over_links_is_that_of_all_chips_written_out(
    small: Path, shapes: dict[str, int], outer: str, inner: str, ring: str
) -> None:
    if shapes[ring] % CHIPS:
        shapes = shapes | {ring: CHIPS}
    loops = f"einsums.C.loops={{links: [{', '.join(outer)}], home: [{', '.join(inner)}]}}"
    found = run(small, shapes, loops, f"nest.0.ring={ring}")
    links, home = found.traffic
    assert links.read_bytes == passed_on(shapes, outer, ring) > 0
    assert not links.write_bytes
    # Each chip does what one does alone; a tile that is passed on is read there, and written here.
    own = shapes | {"M": shapes["M"] // CHIPS}
    alone = run(small, own, loops, "nest.0.ring=[]", "nest.0.spatial={}")
    assert home.read_bytes == CHIPS * alone.traffic[1].read_bytes + links.read_bytes
    assert home.write_bytes == CHIPS * alone.traffic[1].write_bytes + links.read_bytes
    # A chip holds its rows of A and C, a part of B, and one that goes round: of all that the
    # loops over tiles of B go over beside the ring a single tile.
    m, n, k = own["M"], shapes["N"], shapes["K"]
    elements_in_transit = (
        (k if "K" not in outer else 1) * n if ring == "N" else (k if "K" in outer else 1) * n
    )
    (buffer,) = found.buffers
    assert buffer.required_bytes == m * k + m * n + k * n // CHIPS + elements_in_transit // CHIPS
    assert dict(found.energy_by_component)["links"] == 8 * 10 * links.read_bytes


def test_a_chip_of_the_ring_alone_is_the_machine_without_links(small: Path) -> None:
    program = Cascade.load(small / "product.yaml").program
    ring = Architecture.load(small / "machine.yaml")
    chip = replace(ring, memories=ring.memories[1:])
    shapes = {"M": 5, "N": 7, "K": 3}
    loops = ["nest=[]", "einsums.C.loops={outer: [N, K, M]}", "keep={outer: [A, B, C]}"]
    mapping = Mapping.load(small / "mapping.yaml", loops)
    one, other = (evaluate_mapping(program, mapping, m, shapes) for m in (chip, ring))
    assert (one.cycles, one.energy_pj, one.buffers) == (
        other.cycles,
        other.energy_pj,
        other.buffers,
    )
    assert one.traffic == other.traffic[1:]
    assert one.traffic_bytes == other.traffic_bytes == one.traffic[0].total_bytes
    assert other.floor.bandwidth_s == pytest.approx(one.floor.bandwidth_s / CHIPS)


@pytest.mark.parametrize("engine", ["analytical", "event"])
def test_links_take_as_long_as_one_of_them_carries(small: Path, engine: str) -> None:
    shapes = {"M": 6, "N": 9, "K": 2}
    slow = run(small, shapes, machine=("memories.links.bandwidth=100 MB/s",), engine=engine)
    ample = run(small, shapes, engine=engine)
    each = slow.traffic[0].read_bytes / CHIPS
    # A byte takes ten cycles; the first product of all waits for what is passed on beside it.
    assert 10 * each < slow.cycles < 10 * each + 2 * ample.cycles
    assert slow.bound_by == "links"
    assert ample.cycles == pytest.approx(2 * 9 * 2, rel=0.1)
    assert ample.bound_by == "unit"


def attention(cascade: str, *settings: str, links: str = "50 GB/s", **shapes: int) -> Result:
    mapping = replace(Mapping.load("ring-attention", settings), cascade=cascade)
    machine = Architecture.load("tpu-v4i-board", [f"memories.links.bandwidth={links}"])
    sizes = {"B": 1, "H": 2, "E": 64, "F": 64, "P": 4096, "M": 4096} | shapes
    program = Cascade.load(cascade).program
    return evaluate_mapping(program, mapping, machine, sizes, choose=choose)


def test_ring_attention_that_ships() -> None:
    found = attention("attention-1pass")
    keys = 2 * 2 * 4096 * (64 + 64)
    assert found.traffic[0].read_bytes == 3 * keys
    # Queries, keys, values and outputs in four parts, and a part of one head on its way round.
    held = {b.level: b.required_bytes for b in found.buffers}
    assert held["HBM"] == 2 * keys / 4 + 2 * 1024 * (64 + 64)
    assert found.over_floor < 1.2
    assert "K in 4 parts of M, V in 4 parts of M" in " ".join(found.notes)
    slow = attention("attention-1pass", links="5 GB/s")
    assert slow.latency_s == pytest.approx(3 / 4 * keys / 5e9, rel=0.02)


@pytest.mark.parametrize(("cores", "ring"), [("B", "N"), ("N", "K")])
def test_chips_in_a_ring_may_have_cores(small: Path, cores: str, ring: str) -> None:
    """What goes round comes to a chip once, and is read once to be passed on, whether its cores
    each need a part of it (of N) or all of it (with parts of the batch B)."""
    text = PRODUCT.replace("{M: rows", "{B: batch, M: rows").replace("A: [M", "A: [B, M")
    text = text.replace("C[m, n] = A[m", "C[b, m, n] = A[b, m")
    (small / "batch.yaml").write_text(text)
    program = Cascade.load(small / "batch.yaml").program
    slow = ["memories.home.instances.cores=2", "memories.links.bandwidth=1 MB/s"]
    machine = Architecture.load(small / "machine.yaml", slow)
    below = replace(machine.memories[1], name="near", instances=())
    machine = replace(machine, memories=(*machine.memories, below))
    shapes = {"B": 2, "M": 6, "N": 6, "K": 6}
    nest = f"{{level: home, loops: [], spatial: {{cores: {cores}}}}}"
    links = f"{{level: links, loops: [], spatial: {{chips: M}}, ring: {ring}}}"
    given = ["einsums.C.loops={links: [N, K], home: [B], near: [M]}", "keep.near=[A, B, C]"]

    def moved(nest: str, sizes: dict[str, int]) -> Result:
        mapping = Mapping.load(small / "mapping.yaml", [*given, f"nest=[{nest}]"])
        return evaluate_mapping(program, mapping, machine, sizes)

    found = moved(f"{links}, {nest}", shapes)
    whole, alone = found.traffic, moved(nest, shapes | {"M": 2}).traffic
    assert found.bounds.bandwidth_s == whole[0].read_bytes / CHIPS / 1e6
    assert whole[0].read_bytes == (CHIPS - 1) * shapes["K"] * shapes["N"]
    assert whole[1].read_bytes == CHIPS * alone[1].read_bytes + whole[0].read_bytes
    assert whole[1].write_bytes == CHIPS * alone[1].write_bytes + whole[0].read_bytes


def test_under_a_causal_mask_all_parts_go_round_and_the_last_chip_takes_the_time() -> None:
    whole, causal = (attention(f"attention-{name}") for name in ("1pass", "causal-1pass"))
    assert causal.traffic[0] == whole.traffic[0]
    # The last queries need all keys but half of those of their own part.
    assert causal.cycles == pytest.approx(whole.cycles, rel=0.02)
    done = [sum(n for e in r.einsums for _, n in e.operations) for r in (causal, whole)]
    assert done[0] == pytest.approx(done[1] / 2, rel=0.02)


def test_heads_need_no_links_and_copies_are_told(small: Path) -> None:
    found = simulate("bert-base", "tpu-v4i-board", "einsum-by-einsum", seq_len=64, batch=1)
    assert not found.traffic[0].total_bytes
    assert any("4 of 4 chips are used: H in 4 parts" in note for note in found.notes)
    copied = run(small, {"M": 6, "N": 9, "K": 2}, "nest.0.ring=[]")
    assert not copied.traffic[0].total_bytes
    assert copied.buffers[0].required_bytes == 2 * 2 + 2 * 9 + 2 * 9
    assert "each of 3 chips has a copy of B before it begins" in copied.notes


def test_parts_go_round_where_there_is_no_room_for_copies(small: Path) -> None:
    shapes = {"M": 6, "N": 9, "K": 2}
    ample = run(small, shapes)
    (buffer,) = ample.buffers
    tight = (f"memories.home.capacity={buffer.required_bytes}B",)
    assert run(small, shapes, machine=tight).cycles == ample.cycles
    for setting in ("nest.0.ring=[]", "nest.0.ring=N"):
        less = (
            tight if "[]" in setting else (f"memories.home.capacity={buffer.required_bytes - 1}B",)
        )
        with pytest.raises(MappingError, match="home needs"):
            run(small, shapes, setting, machine=less)


def test_a_search_lets_go_round_what_has_no_room(small: Path) -> None:
    program, shapes = Cascade.load(small / "product.yaml").program, {"M": 6, "N": 9, "K": 2}
    latency = OBJECTIVES["latency"]

    def searched(room: int) -> Result:
        machine = Architecture.load(small / "machine.yaml", [f"memories.home.capacity={room}B"])
        space = Mapspace.of(program, machine, shapes)
        found = best_mapping(BRIEFLY, SearchProblem(space, latency), silent)
        again = run_mapping(space, found.mapping, latency)
        assert again.value == found.certificate.value
        return found.result

    assert not searched(64).traffic[0].total_bytes
    # A chip has no room for all of what the others need, too: parts of it go round.
    assert searched(33).traffic[0].total_bytes > 0


def test_a_front_lets_go_round_what_has_no_room(small: Path) -> None:
    """Without the ring no point of it is legal."""
    program, shapes = Cascade.load(small / "product.yaml").program, {"M": 6, "N": 9, "K": 2}
    machine = Architecture.load(small / "machine.yaml", ["memories.home.capacity=33B"])
    problem = SearchProblem(Mapspace.of(program, machine, shapes), OBJECTIVES["latency"])
    front = pareto_front(problem, lambda _: None, Clock(None), effort=BRIEF)
    assert front.points
    assert all(point.result.traffic[0].total_bytes > 0 for point in front.points)


def test_a_ring_is_written_and_kept(small: Path) -> None:
    mapping = Mapping.load(small / "mapping.yaml")
    (small / "again.yaml").write_text(mapping_text(mapping))
    assert Mapping.load(small / "again.yaml") == mapping
    found = run(small, {"M": 6, "N": 9, "K": 2})
    assert Result.from_dict(found.to_dict()).traffic == found.traffic


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["nest.0.ring=K"], "B is in parts of 0.666667 along K, which are not whole tiles of 1"),
        (["nest.0.ring=M"], "no input that all instances need goes over M, which is to go round"),
        (["nest.0.spatial={}"], "'links' has ranks in a 'ring', but none is 'spatial'"),
        (["nest.0.spatial={chips: {M: 2}}"], "a ring of 3 chips does not close over 2 of them"),
        (
            ["nest.0.spatial={chips: K}"],
            "C does not go over K, of which chips have parts: links is",
        ),
        (["keep={links: [B], home: [A, C]}"], "links is a ring of links, which hold nothing"),
        (["einsums.C.bypass={home: B}"], "C passes B by home"),
        (
            ["einsums.C.loops={home: [N, K, M]}"],
            "parts of 3 along N, which are not whole tiles of 9",
        ),
        (["nest.0.ring=[N, N]"], "'N' goes round already"),
        (["nest.0.level=home"], "home has no instances called 'chips'"),
    ],
)
def test_what_cannot_go_round_is_refused(small: Path, settings: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        run(small, {"M": 6, "N": 9, "K": 2}, *settings)
    assert said in str(error.value)


def test_parts_of_unlike_size_are_refused(small: Path) -> None:
    with pytest.raises(InputError, match="M in 3 parts of 3: in a ring all have to be of one size"):
        run(small, {"M": 7, "N": 9, "K": 2})


def test_a_ring_is_asked_for_where_there_is_one(small: Path) -> None:
    program = Cascade.load(small / "product.yaml").program
    plain = [
        s.replace("links", "DRAM").replace("home", "DRAM")
        for s in (
            "nest.0.level=links",
            "einsums.C.loops={links: [N, K, M]}",
            "keep={home: [A, B, C]}",
            "einsums.C.array=vector",
        )
    ]
    mapping = Mapping.load(small / "mapping.yaml", plain)
    machine = Architecture.load("edge", ["memories.DRAM.instances.chips=3"])
    with pytest.raises(SpecError, match="DRAM is no ring of links in which N could go round"):
        evaluate_mapping(program, mapping, machine, {"M": 6, "N": 9, "K": 2})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",\n       bandwidth: 1000 GB/s", "", "needs a 'bandwidth': that of each link"),
        ("instances: {chips: 3}, ", "", "'links' has no 'instances' to which 'ring' could apply"),
        ("instances: {chips: 3}", "instances: {chips: 3, cores: 2}", "of one kind of instances"),
        ("ring: true", "ring: true, multicast: true", "hold nothing and have no 'multicast'"),
        ("ring: true", "ring: true, capacity: 1 KiB", "hold nothing and have no 'capacity'"),
        ("link_board", "dram_hbm2", "'dram_hbm2' is of kind dram, expected link"),
        ("ring: true, ", "", "'link_board' is of kind link, expected dram or sram"),
        ("home, energy: dram_hbm2, line: 8 bit, capacity: 4 KiB",
         "home, energy: link_board, line: 8 bit, ring: true, instances: {cores: 2}",
         "'home' is a ring of links, but inside of 'links'"),
    ],
)  # fmt: skip
def test_a_ring_that_makes_no_sense_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(MACHINE.replace(old, new))
    with pytest.raises(SpecError) as error:
        Architecture.load(path)
    assert said in str(error.value)
    assert f"{path}:" in str(error.value)
