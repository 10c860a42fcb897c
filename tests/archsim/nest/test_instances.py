"""Several instances of a machine's inner part: against one of them, and against all written out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from evaluated import evaluate_mapping
from one_lane import two_memories
from products import PRODUCT

from archsim import Architecture, Mapping, Result, simulate
from archsim.counts.cores import counts_of_all_cores
from archsim.counts.spill import count_mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.nest.record import ONE_CORE
from archsim.plan.partition_factors import partition_factors
from archsim.plan.partitioning import partition_mapping
from archsim.plan.parts import PartProblem
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError
from mappers.construct.choices import choose
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from workloads import load

AMPLE = "memories.DRAM.bandwidth=1000 TB/s"
CORES = "memories.DRAM.instances.cores={}"

MACHINE = two_memories(far="instances: {cores: 3}", near="capacity: 4 KiB, bandwidth: 2 GB/s")

MAPPING = """
mapping:
  name: parts
  cascade: {cascade}
  nest: [{{level: far, loops: [], spatial: {{cores: {spread}}}}}]
  einsums: {{C: {{array: unit, loops: {{far: [{loops}]}}}}}}
  keep: {{far: [A, B, C], near: [A, B, C]}}
  schedule: {{kind: sequential}}
"""


def bert(cores: int, spread: str = "", *settings: str, **shapes: int) -> Result:
    """BERT by the mapping of FuseMax, some of its ranks spread over cores."""
    machine = [AMPLE, *settings, *([CORES.format(cores)] if cores > 1 else [])]
    given = [f"nest.0.spatial={spread}"] if spread else []
    mapping = Mapping.load("fusemax-binding", given)
    program = Cascade.load(mapping.cascade).program
    sizes = {"B": 1, "H": 12, "E": 64, "F": 64, "P": 1024, "M": 1024} | shapes
    return evaluate_mapping(program, mapping, Architecture.load("fusemax", machine), sizes)


def counted(result: Result) -> tuple[object, ...]:
    return result.cycles, result.traffic, result.energy_by_component, result.buffers


def test_one_core_of_many_is_the_machine_of_one_core() -> None:
    one, of_many = bert(1), bert(4)
    assert counted(of_many) == counted(one)
    assert "1 of 4 cores are used" in of_many.notes
    assert [a.utilization * 4 for a in of_many.arrays] == [a.utilization for a in one.arrays]
    inner = dict(one.area_by_component)
    assert dict(of_many.area_by_component) == {name: 4 * area for name, area in inner.items()}


def test_cores_with_private_data_and_ample_bandwidth_are_as_many_times_faster() -> None:
    part, whole = bert(1, H=3), bert(4, "{cores: H}", H=12)
    assert whole.cycles == pytest.approx(part.cycles, rel=1e-4)
    assert whole.energy_pj == pytest.approx(4 * part.energy_pj, rel=1e-12)
    for together, alone in zip(whole.traffic, part.traffic, strict=True):
        assert together.total_bytes == 4 * alone.total_bytes
    assert whole.einsums[0].operations == tuple((k, 4 * n) for k, n in part.einsums[0].operations)
    # What feeds the cores holds nothing more; each of them holds what one alone does.
    assert whole.buffers == part.buffers


def test_floor_is_that_of_all_cores() -> None:
    alone, fed = bert(1), bert(4, "{cores: H}")
    assert fed.floor.compute_s == pytest.approx(alone.floor.compute_s / 4)
    assert fed.floor.bandwidth_s == alone.floor.bandwidth_s
    assert fed.floor.energy_pj == alone.floor.energy_pj


@pytest.mark.parametrize(("setting", "times"), [((), 4), (("memories.DRAM.multicast=true",), 1)])
def test_a_shared_read_is_counted_once_with_multicast(setting: tuple[str, ...], times: int) -> None:
    # Queries are spread: each core reads its own, and all read the same keys and values.
    found = bert(4, "{cores: P}", *setting)
    own = 2 * 12 * 64 * 1024
    assert found.traffic[0].read_bytes == own + times * 2 * own
    assert found.traffic[0].write_bytes == own


def test_a_last_part_that_is_smaller_is_counted_as_it_is() -> None:
    ragged, even = bert(5, "{cores: H}", H=13), bert(1, H=13)
    assert "5 of 5 cores are used: H in 5 parts of 3" in ragged.notes
    assert [e.operations for e in ragged.einsums] == [e.operations for e in even.einsums]
    assert ragged.traffic[0] == even.traffic[0]
    assert ragged.cycles == pytest.approx(bert(1, H=3).cycles, rel=1e-4)


def test_both_engines_say_the_same() -> None:
    machine = Architecture.load("fusemax", [CORES.format(3), "memories.DRAM.bandwidth=100 GB/s"])
    given = (load("bert-base", seq_len=512, batch=1), machine)
    one, other = (simulate(*given, engine=engine) for engine in ("analytical", "event"))
    assert one.cycles == other.cycles
    assert one.schedule.timed_by == "steps"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "product.yaml").write_text(PRODUCT)
    (folder / "machine.yaml").write_text(MACHINE)
    return folder


def run(folder: Path, spread: str, *settings: str, loops: str = "M, N, K", **shapes: int) -> Result:
    cascade = folder / "product.yaml"
    path = folder / "mapping.yaml"
    path.write_text(MAPPING.format(cascade=cascade, spread=spread, loops=loops))
    machine = Architecture.load(folder / "machine.yaml", settings)
    return evaluate_mapping(Cascade.load(cascade).program, Mapping.load(path), machine, shapes)


def written_out(shapes: dict[str, int], parts: dict[str, int], *, multicast: bool) -> int:
    """Reads of the far memory, element by element: each core holds one element of A and of B at
    a time, and keeps it while its next step needs the same. With multicast those cores that need
    the same element in the same step of theirs read it at once."""
    sizes = {rank: -(-shapes[rank] // parts.get(rank, 1)) for rank in shapes}
    cores = list(product(*(range(0, shapes[rank], sizes[rank]) for rank in "MNK")))
    total = 0
    for variables in ((0, 2), (2, 1)):
        read: list[object] = []
        for first in cores:
            kept = None
            ends = [min(sizes[r], shapes[r] - a) for a, r in zip(first, "MNK", strict=True)]
            for step in product(*map(range, ends)):
                element = tuple(first[v] + step[v] for v in variables)
                if element != kept:
                    read.append((step, element))
                kept = element
        total += len(set(read) if multicast else read)
    return total


@pytest.mark.parametrize("multicast", [False, True])
@pytest.mark.parametrize("spread", ["{M: 3}", "{N: 3}", "{N: 2}"])
@pytest.mark.parametrize("shapes", [(6, 6, 4), (7, 5, 3)])
def test_reads_are_those_of_all_cores_written_out(
    small: Path, multicast: bool, spread: str, shapes: tuple[int, int, int]
) -> None:
    given = dict(zip("MNK", shapes, strict=True))
    result = run(small, spread, f"memories.far.multicast={str(multicast).lower()}", **given)
    rank, parts = spread[1], int(spread[4])
    assert result.traffic[0].read_bytes == written_out(given, {rank: parts}, multicast=multicast)
    assert result.traffic[0].write_bytes == given["M"] * given["N"]
    assert dict(result.einsums[0].operations)["mac"] == given["M"] * given["N"] * given["K"]


def test_partial_sums_meet_in_the_memory_or_on_the_way(small: Path) -> None:
    shapes = {"M": 2, "N": 2, "K": 9}
    meeting = run(small, "K", **shapes).traffic[0]
    on_the_way = run(small, "K", "memories.far.reduces=true", **shapes).traffic[0]
    # Each of 3 cores has a sum of 3 products for every element of C.
    assert meeting.write_bytes == 3 * 4
    assert on_the_way.write_bytes == 4
    assert meeting.read_bytes - on_the_way.read_bytes == 2 * 4


@pytest.mark.parametrize(
    ("spread", "settings", "said"),
    [
        ("H", (), "DRAM has no instances called 'cores'"),
        ("X", (CORES.format(4),), "'X' is neither a rank nor the outermost tile of one"),
        ("{H: 12}", (CORES.format(4),), "H has 12 parts, but there are 4 cores below DRAM for it"),
        ("F", (CORES.format(4),), "SLN is needed by all cores, but DRAM does not hold it for SLNV"),
        ("M1", (CORES.format(4),), "RM runs along M1: its steps follow one another"),
    ],
)
def test_what_cannot_be_spread_is_refused(
    spread: str, settings: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        simulate(
            load("bert-base", seq_len=1024, batch=1),
            Architecture.load("fusemax", settings),
            Mapping.load("fusemax-binding", [f"nest.0.spatial={{cores: {spread}}}"]),
        )
    assert any(said in p.message for p in refused.value.problems)


CAUSAL = """
cascade: masked-product
ranks: {P: queries, M: keys, E: width}
inputs: {Q: [P, E], K: [M, E]}
output: S
einsums: |
  S[p, m] = Q[p, e] * K[m, e] where m <= p + M - P
"""

CAUSAL_MAPPING = """
mapping:
  name: parts
  cascade: CASCADE
  nest: [{level: far, loops: [], spatial: {cores: P}}]
  einsums: {S: {array: unit, loops: {far: [P], near: [M, E]}}}
  keep: {far: [Q, K, S], near: [Q, K, S]}
  schedule: {kind: sequential}
"""


@pytest.mark.parametrize(("queries", "keys"), [(9, 9), (8, 11), (7, 20)])
def test_parts_under_a_mask_each_do_what_it_lets_through(
    tmp_path: Path, queries: int, keys: int
) -> None:
    cascade, path = tmp_path / "masked.yaml", tmp_path / "mapping.yaml"
    cascade.write_text(CAUSAL)
    path.write_text(CAUSAL_MAPPING.replace("CASCADE", str(cascade)))
    (tmp_path / "machine.yaml").write_text(MACHINE)
    machine = Architecture.load(tmp_path / "machine.yaml", ["memories.far.bandwidth=1 TB/s"])
    shapes = {"P": queries, "M": keys, "E": 2}
    bound = bind(Cascade.load(cascade).program, Mapping.load(path), machine, shapes)
    # Query p goes with all keys up to its own, aligned at the end.
    work = [2 * min(keys, p + 1 + keys - queries) for p in range(queries)]
    part = -(-queries // 3)
    parts = [sum(work[n : n + part]) for n in range(0, queries, part)]
    assert not bound.is_whole
    (spread,) = bound.cores.partitions
    assert [parts[n] for n in spread.work_order] == sorted(parts, reverse=True)
    (count,) = counts_of_all_cores(bound, count_mapping(bound))
    assert dict(count.operations) == {"mac": sum(work)}
    # The part with most to do is what takes time; its keys are read by it, and by others fewer.
    (own,) = count_mapping(bound)
    assert own.allowed == max(parts)
    (keys_read,) = [a.reads for a in count.accesses if (a.tensor, a.place) == ("K", "far")]
    assert keys_read <= 2 * keys * len(parts)


@pytest.mark.parametrize(
    ("rank", "number", "balanced", "keys"),
    [
        *(("M1", 3, balanced, 14) for balanced in (False, True)),
        *(("P1", 3, balanced, 14) for balanced in (False, True)),
        ("M1", 1, False, 13),  # the last of M1 tiles, of which one instance has all, is shorter
    ],
)
def test_parts_of_a_cut_rank_under_a_mask_do_together_what_one_instance_does(
    rank: str, number: int, balanced: bool, keys: int
) -> None:
    # The mask asks how long M and P are, of which M1 and P1 are parts.
    program = Cascade.load("flash-attention-2-backward-grouped").program
    shapes = {"B": 1, "G": 1, "S": 1, "E": 2, "F": 2, "P1": 5, "P0": 2, "M": keys, "M0": 2}
    machine = Architecture.load("edge", [CORES.format(3)])
    made = einsum_by_einsum(program, machine, shapes)
    parts = SpatialRank(instances="cores", rank=rank, parts=number, balanced=balanced)
    whole, together = (
        counts_of_all_cores(bound, count_mapping(bound))
        for bound in (
            bind(program, mapping, machine, shapes)
            for mapping in (made, partition_mapping(made, (("DRAM", (parts,)),), machine))
        )
    )
    masked = [n for n, e in enumerate(program.einsums) if e.where is not None]
    assert len(masked) == 2
    for n in masked:
        assert together[n].allowed == whole[n].allowed < 10 * keys * 2
    assert [c.operations for c in together] == [c.operations for c in whole]


def balanced_by_hand(work: list[int], parts: int) -> int:
    """The least that the part with most to do can have, over all ways to cut."""
    cuts = combinations(range(1, len(work)), parts - 1)
    return min(max(sum(work[a:b]) for a, b in pairwise((0, *cut, len(work)))) for cut in cuts)


LET_THROUGH: dict[str, Callable[[int, int, int], bool]] = {
    "m <= p": lambda p, m, late: m <= p,
    "m <= p + M - P": lambda p, m, late: m <= p + late,
    "m >= p": lambda p, m, late: m >= p,
    "p - 3 <= m and m <= p": lambda p, m, late: p - 3 <= m <= p,
}


@pytest.mark.parametrize("where", LET_THROUGH)
@pytest.mark.parametrize(("queries", "keys"), [(12, 12), (11, 17)])
def test_balanced_parts_are_cut_where_the_longest_is_shortest(
    tmp_path: Path, where: str, queries: int, keys: int
) -> None:
    cascade, path = tmp_path / "masked.yaml", tmp_path / "mapping.yaml"
    cascade.write_text(CAUSAL.replace("m <= p + M - P", where))
    path.write_text(
        CAUSAL_MAPPING.replace("CASCADE", str(cascade)).replace("cores: P", "cores: {P: balanced}")
    )
    (tmp_path / "machine.yaml").write_text(MACHINE)
    machine = Architecture.load(tmp_path / "machine.yaml", ["memories.far.bandwidth=1 TB/s"])
    shapes = {"P": queries, "M": keys, "E": 2}
    work = [
        2 * sum(LET_THROUGH[where](p, m, keys - queries) for m in range(keys))
        for p in range(queries)
    ]
    program, mapping = Cascade.load(cascade).program, Mapping.load(path)
    bound = bind(program, mapping, machine, shapes)
    (own,), (every,) = count_mapping(bound), counts_of_all_cores(bound, count_mapping(bound))
    assert dict(every.operations) == {"mac": sum(work)}
    assert own.allowed == balanced_by_hand(work, 3)
    # Each of the cores reads its own queries, and all keys before it looks at the first.
    reads = {a.tensor: a.reads for a in every.accesses if a.place == "far"}
    assert reads["Q"] == 2 * queries
    assert reads["K"] == 2 * keys * 3
    one, other = (
        evaluate_mapping(program, mapping, machine, shapes, engine=e)
        for e in ("analytical", "event")
    )
    assert one.cycles == other.cycles
    assert one.cycles >= own.allowed


def test_of_balanced_parts_the_one_that_takes_longest_takes_the_time() -> None:
    machine = Architecture.load("ascend-910b2")
    mapping = Mapping.load("gqa-causal")
    program = Cascade.load(mapping.cascade).program
    ranks = [("G", 8, False), ("P", 3, True)]
    spread = tuple(SpatialRank(instances="cores", rank=r, parts=n, balanced=b) for r, n, b in ranks)
    shapes = {"B": 1, "G": 8, "S": 4, "E": 128, "F": 128, "P": 1000, "M": 1000}
    bound = bind(program, partition_mapping(mapping, (("L2", spread),), machine), machine, shapes)
    assert not bound.is_whole
    alone = [replace(bound, cores=ONE_CORE), *(b for _, b in bound.cores.others)]
    cycles = [evaluate_bound(b).cycles for b in alone]
    assert max(cycles) != cycles[0]
    assert max(cycles) <= evaluate_bound(bound).cycles < 1.02 * max(cycles)


def test_parts_that_an_array_holds_whole_stay_as_long_as_they_are() -> None:
    """Two of these three parts have no more to do than the last one, but do not fit together."""
    settings = [CORES.format(3), "arrays.array_2d.shape.rows=8", "arrays.array_2d.shape.columns=8"]
    machine = Architecture.load("fusemax", [AMPLE, *settings, "arrays.array_1d.shape.lanes=8"])
    workload = load(
        "bert-base", cascade="attention-causal-1pass", seq_len=6, batch=1, H=1, E=4, F=4
    )
    found = simulate(workload, machine, mapping="einsum-by-einsum")
    assert "3 of 3 cores are used: P in 3 parts of 2" in found.notes


@pytest.mark.slow
def test_a_masked_rank_is_cut_for_instances_that_others_leave_idle() -> None:
    machine = Architecture.load("fusemax", [CORES.format(64), AMPLE])
    work = load("llama-3-8b", seq_len=256, batch=1)
    ways = PartProblem(work.parts[0], machine, GENERATORS).partitionings
    parts = [[(s.rank, s.parts) for _, ranks in way for s in ranks] for way in ways]
    assert [("G", 8), ("S", 4), ("P", 2)] in parts
    assert any("64 of 64 cores are used" in note for note in simulate(work, machine).notes)


def test_splits_of_keys_are_read_once_by_whoever_has_them() -> None:
    machine = Architecture.load("fusemax", [CORES.format(8)])
    program = Cascade.load("flash-decoding").program
    shapes = {"B": 1, "H": 2, "E": 16, "F": 16, "P": 1, "M2": 4, "M1": 4, "M0": 32}
    made = einsum_by_einsum(program, machine, {**shapes, "H": 1, "M2": 1})
    ranks = [SpatialRank(instances="cores", rank=r, parts=n) for r, n in (("H", 2), ("M2", 4))]
    split = evaluate_mapping(
        program, partition_mapping(made, (("DRAM", tuple(ranks)),), machine), machine, shapes
    )
    alone = evaluate_mapping(
        program, partition_mapping(made, (("DRAM", tuple(ranks[:1])),), machine), machine, shapes
    )
    assert "8 of 8 cores are used: H in 2 parts of 1, M2 in 4 parts of 1" in split.notes
    # Keys and values of 512 tokens and two heads, each by one core; beside them partial results.
    keys_and_values = 2 * 2 * 512 * 16 * 2
    assert keys_and_values < split.traffic[0].read_bytes < 1.5 * keys_and_values
    assert [e.operations for e in split.einsums] == [e.operations for e in alone.einsums]
    assert split.cycles < alone.cycles


def test_keys_of_one_sequence_are_split_over_cores_that_heads_leave_idle() -> None:
    machine = Architecture.load("fusemax", [CORES.format(24), "memories.DRAM.bandwidth=9600 GiB/s"])
    found = simulate(load("llama-3-8b", phase="decode", cached_len=4096, batch=1), machine)
    assert "24 of 24 cores are used: H in 8 parts of 1, M in 3 parts of 1366" in found.notes
    assert found.over_floor < 1.2
    # Keys and values come once, beside them the maxima, sums and results of three parts.
    keys_and_values = 2 * 2 * 8 * 4097 * 128
    assert keys_and_values < found.traffic[0].read_bytes < 1.05 * keys_and_values


def test_splits_of_unlike_length_are_refused() -> None:
    machine = Architecture.load("fusemax", [CORES.format(4)])
    program = Cascade.load("attention-2pass").program
    shapes = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 4, "M": 16, "M0": 5}
    made = einsum_by_einsum(program, machine, shapes)
    spread = partition_mapping(
        made, (("DRAM", (SpatialRank(instances="cores", rank="M1", parts=3),)),), machine
    )
    with pytest.raises(MappingError, match="M = 16 is not M1 = 4 x M0 = 5: parts of M1"):
        evaluate_mapping(program, spread, machine, shapes)


def test_multicast_needs_instances() -> None:
    with pytest.raises(InputError, match="no 'instances' to which 'multicast' could apply"):
        Architecture.load("fusemax", ["memories.DRAM.multicast=true"])


def test_where_nobody_says_how_ranks_are_spread_over_all_instances() -> None:
    settings = (CORES.format(24), AMPLE, "memories.global_buffer.capacity=1 MiB")
    work = load("bert-base", seq_len=1024, batch=1)
    found = simulate(work, Architecture.load("fusemax", settings))
    assert "24 of 24 cores are used: H in 12 parts of 1, P in 2 parts of 512" in found.notes
    assert found.over_floor < 1.6  # filling 24 arrays for half of 12 heads takes its share


def test_a_rank_is_spread_over_those_instances_that_do_most_of_it() -> None:
    """Two sequences on four chips of eight cores leave two chips idle, or all cores but one."""
    two = ["memories.DRAM.instances.chips=4", "memories.global_buffer.instances.cores=8", AMPLE]
    for cascade in ("attention-1pass", "attention-causal-1pass"):
        work = load("bert-base", cascade=cascade, batch=2, H=1, seq_len=256)
        found = simulate(work, Architecture.load("fusemax", two), mapping="einsum-by-einsum")
        assert "8 of 8 cores are used" in " ".join(found.notes)


def test_two_levels_of_instances() -> None:
    settings = (
        AMPLE,
        "memories.DRAM.instances.chips=3",
        "memories.global_buffer.instances.cores=4",
    )
    machine = Architecture.load("fusemax", settings)
    assert [machine.copies(p) for p in ("DRAM", "global_buffer", "array_2d")] == [1, 3, 12]
    spread = ("nest.0.spatial={chips: H}", "nest.1.spatial={cores: P}")
    program = Cascade.load("attention-1pass").program
    shapes = {"B": 1, "H": 12, "E": 64, "F": 64, "P": 2048, "M": 1024}
    mapping = Mapping.load("fusemax-binding", spread)
    bound = bind(program, mapping, machine, shapes)
    assert dict(bound.shapes) | {"H": 4, "P": 512} == dict(bound.shapes)
    both = evaluate_mapping(program, mapping, machine, shapes)
    own = 2 * 12 * 64 * 1024
    # A chip reads its keys and values once; its buffer gives them to each of its cores.
    assert both.traffic[0].read_bytes == 2 * own + 2 * own


def test_a_last_part_may_lack_accesses_that_whole_parts_have() -> None:
    """A loop that goes round once keeps a tile: a sequence by itself, against several together."""
    mapping = Mapping.load("mla-absorbed-decode")
    program = Cascade.load(mapping.cascade).program
    given = {"B": 11, "H": 11, "D": 512, "F": 64, "R": 64, "L": 64, "P": 1001, "M": 1001}
    shapes = {rank: n for rank, n in given.items() if rank in program.settable}
    machine = Architecture.load("fusemax", [AMPLE, CORES.format(5)])
    level = replace(mapping.nest[0], spatial=(SpatialRank(instances="cores", rank="B"),))
    spread = replace(mapping, nest=(level, *mapping.nest[1:]))
    bound = bind(program, spread, machine, shapes, choose=choose)
    cores = bound.cores
    ((_, last),) = cores.others
    whole, rest = (count_mapping(b) for b in (bound, last))
    assert sum(len(c.accesses) for c in whole) != sum(len(c.accesses) for c in rest)
    found, wanted = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    parts = cores.partitions[0].parts - 1
    all_counts = counts_of_all_cores(bound, whole)
    for into, counts, times in ((found, all_counts, 1), (wanted, whole, parts), (wanted, rest, 1)):
        for access in (a for count in counts for a in count.accesses):
            if access.place != "DRAM":  # what all share of that comes once
                into[access.tensor, access.place] += times * int(access.reads + access.writes)
    assert found == wanted


def test_more_instances_than_any_machine_has_take_no_longer() -> None:
    parts = partition_factors({"B": 64, "H": 12, "P": 10**9}, 10**15, False)
    assert parts["B"] == 64
    assert 1 <= parts["P"] <= 10**9


def test_what_picks_from_all_of_a_rank_does_not_have_it_in_parts(tmp_path: Path) -> None:
    cascade = tmp_path / "picks.yaml"
    cascade.write_text(
        "cascade: picks\nranks: {M: rows, J: picked}\ninputs: {S: [M]}\noutput: I\n"
        "einsums: |\n  I[j] << topk(S[m], j)\n"
    )
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        f"mapping:\n  name: m\n  cascade: {cascade}\n"
        "  nest: [{level: DRAM, spatial: {cores: M}}]\n"
        "  einsums: {I: {array: array_1d, loops: {DRAM: [M, J]}}}\n  keep: {DRAM: [S, I]}\n"
        "  schedule: {kind: sequential}\n"
    )
    machine = Architecture.load("fusemax", [CORES.format(4)])
    with pytest.raises(InputError, match="I picks from all of M"):
        bind(Cascade.load(cascade).program, Mapping.load(mapping), machine, {"M": 64, "J": 4})
