"""The mapping made for any cascade: always legal, computes the same, counted by hand."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import networkx
import pytest
from commands import refused, run
from evaluated import evaluate_mapping
from machines import small
from nest_cases import random_case
from nest_mappings import random_machine
from portions import portions, some

from archsim import Architecture, simulate
from archsim.legality.binding import bind
from archsim.spec.arch import ProcessingArray
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.domains import places_needed
from einsum_cascade.errors import InputError, MappingError
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.operations import einsum_operations
from einsum_cascade.yaml.library import builtin_names, builtin_source
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from mappers.space.factorisation import strongly_connected_components
from workloads import load
from workloads.references import find_reference

CASES = 400


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 48, 2))
def test_every_cascade_computes_the_same(name: str) -> None:
    """The mapped nest of every cascade agrees with its independent reference."""
    computes_the_same(name, small((4, 8), 6))


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 84, 2))
def test_every_cascade_computes_the_same_without_room(name: str) -> None:
    """Tensors that an Einsum uses once bypass a memory that is too small for an array's
    operands."""
    roomy = small((4, 8), 6)
    outermost, buffer = roomy.memories
    for capacity in (64, 128, 256, 512, 1024):
        machine = replace(roomy, memories=(outermost, replace(buffer, capacity_bytes=capacity)))
        with suppress(MappingError):
            computes_the_same(name, machine)
            return
    pytest.fail("1 KiB is enough for all of them")


def test_arrays_that_a_memory_cannot_feed_whole_stay_idle_in_part() -> None:
    """16 keys fit, and so do 17: what a 7 x 16 array takes at a time does not."""
    settings = ["arrays.array_2d.shape.rows=16", "arrays.array_2d.shape.columns=7"]
    settings += ["arrays.array_1d.shape.lanes=6", "memories.global_buffer.capacity=128 B"]
    settings += ["memories.global_buffer.line=64 bit"]
    machine, program = (
        Architecture.load("fusemax", settings),
        Cascade.load("attention-3pass").program,
    )
    for keys in (16, 17, 18):
        given = {"B": 1, "H": 3, "E": 4, "F": 4, "P": 5, "M": keys}
        mapping = einsum_by_einsum(program, machine, given)
        assert evaluate_mapping(program, mapping, machine, given).cycles > 0
    # No answer where next to nothing of the arrays is fed.
    less = Architecture.load("fusemax", ["memories.global_buffer.capacity=1 KiB"])
    mapping = einsum_by_einsum(program, less, {**given, "P": 1024, "M": 1024})
    with pytest.raises(MappingError, match="global_buffer needs"):
        evaluate_mapping(program, mapping, less, {**given, "P": 1024, "M": 1024})


def computes_the_same(name: str, machine: Architecture) -> None:
    cascade = Cascade.load(name)
    reference = find_reference(cascade.program.reference)
    how = mapped_run(cascade, None, machine, GENERATORS)
    random, ranks = Random(name), cascade.program.ranks
    taken = {e.target.indices[-1].variables[0].upper() for e in cascade.program.einsums if e.select}
    tied = [r.name for r in ranks if r.partition or r.family or r.like or r.shape]
    # Entries of tables that differ need as many places as there are entries.
    places = {
        r for r, _ in places_needed(cascade.program, dict.fromkeys(cascade.program.rank_of, 1))
    }
    alone = [r.name for r in ranks if r.name not in {*tied, *taken, *places}]
    cut = [r.name for r in ranks if r.partition and not r.like]
    shapes = {}
    if len(ranks) > 4:
        sizes = (2, 3, 5) if len(ranks) <= 10 else (1, 2, 3)
        shapes = {r: random.choice(sizes) for r in alone}
        shapes |= {r: random.choice((3, 4, 5)) for r in cut}
    report = validate_cascade(cascade, reference=reference, shapes=shapes, trials=1, run=how)
    assert report.ok, report


@pytest.mark.parametrize(
    ("sides", "lanes", "soonest"), [((16, 16), 8, "array_2d"), ((2, 2), 64, "array_1d")]
)
def test_an_einsum_goes_to_the_array_that_is_soonest_done(
    sides: tuple[int, int], lanes: int, soonest: str
) -> None:
    # 64 x 64 x 32 multiplications: 256 of them at once against 8, and 4 against 64.
    program = Cascade.load("linear-layer").program
    how = einsum_by_einsum(program, small(sides, lanes), {"N": 64, "D": 32, "J": 64})
    assert [e.array for e in how.einsums] == [soonest]


def can_do(array: ProcessingArray, program: Program, einsum: Einsum) -> bool:
    return all(array.operation(kind) for kind, _ in einsum_operations(program, einsum))


@pytest.mark.parametrize("first", portions(CASES, 50))
def test_it_is_legal_for_any_cascade_on_any_machine_that_can_do_it(first: int) -> None:
    """Legality is checked by ``bind``; a machine may have no array for an operation."""
    legal = 0
    for seed in range(first, first + 50):
        case = random_case(seed)
        machine = random_machine(Random(seed))
        if not all(
            any(can_do(a, case.program, e) for a in machine.arrays) for e in case.program.einsums
        ):
            with pytest.raises(MappingError, match="no array of machine can do all of"):
                einsum_by_einsum(case.program, machine, case.given)
            continue
        how = einsum_by_einsum(case.program, machine, case.given)
        bind(case.program, how, machine, dict(case.given))
        legal += 1
    assert legal > 20


def test_tiles_fit_a_buffer_of_any_size() -> None:
    cascade, given = Cascade.load("attention-3pass"), {"B": 2, "H": 2, "E": 64, "F": 64}
    given |= {"P": 1000, "M": 777}
    for capacity in ("512 KiB", "1 MiB", "4 MiB", "64 MiB"):
        machine = Architecture.load("fusemax", [f"memories.global_buffer.capacity={capacity}"])
        how = einsum_by_einsum(cascade.program, machine, given)
        found = evaluate_mapping(cascade.program, how, machine, given)
        buffer = found.buffers[-1]
        assert buffer.required_bytes <= (buffer.capacity_bytes or 0)


def test_what_is_used_once_passes_by_a_memory_without_room() -> None:
    """256 x 64 quotients and what they are of are 64 KiB: the buffer of as much has no room left
    for the divisors, and holds these alone."""
    machine = Architecture.load("fusemax", ["memories.global_buffer.capacity=64 KiB"])
    work = load("bert-base", cascade="linear-attention", B=1, H=1, seq_len=1024)
    how = einsum_by_einsum_of(work, machine)
    past = {e.einsum: dict(e.bypass) for e in how.einsums if e.bypass}
    assert past == {"O": {"global_buffer": ("NV",)}}
    found, events = (simulate(work, machine, how, engine=n) for n in ("analytical", "event"))
    assert events.cycles == pytest.approx(found.cycles, rel=1e-3)
    assert found.buffers[-1].required_bytes <= 64 * 1024


def test_softmax_attention_by_hand() -> None:
    """Everything is written to DRAM; read from there is only what is not in the buffer."""
    machine = Architecture.load("fusemax")
    work = load("bert-base", cascade="attention-3pass", B=1, H=1, seq_len=256)
    found = simulate(work, machine, einsum_by_einsum_of(work, machine))
    head, scores, row = 256 * 64, 256 * 256, 256
    assert found.traffic[0].read_bytes == 2 * 3 * head
    assert found.traffic[0].write_bytes == 2 * (scores + row + scores + row + scores + head)
    longer = load("bert-base", cascade="attention-3pass", B=1, H=1, seq_len=4096)
    moved = simulate(longer, machine, einsum_by_einsum_of(longer, machine)).traffic[0]
    head, scores, row = 4096 * 64, 4096 * 4096, 4096
    assert moved.write_bytes == 2 * (scores + row + scores + row + scores + head)
    # Five reads of scores that do not fit; keys come again for every 256 queries, from the
    # buffer, where they do.
    assert moved.read_bytes >= 2 * (5 * scores + 3 * head)


def einsum_by_einsum_of(work, machine):  # type: ignore[no-untyped-def]
    program = Cascade.load(work.cascade).program
    return einsum_by_einsum(program, machine, work.shapes_for(("B", "H", "E", "F", "P", "M")))


def test_what_feeds_itself_takes_turns_and_all_else_does_not() -> None:
    groups = strongly_connected_components(Cascade.load("attention-1pass").program)
    assert groups[:2] == (("BQK",), ("LM",))
    assert [g for g in groups if len(g) > 1] == [("SPD", "RD"), ("SPNV", "RNV")]
    solver = strongly_connected_components(Cascade.load("delta-rule-chunked").program)
    assert ("KS", "R", "U", "RS", "SU", "S") in solver


@pytest.mark.parametrize("name", ["attention-1pass", "delta-rule-chunked"])
def test_groups_run_in_the_first_order_that_networkx_finds(name: str) -> None:
    program = Cascade.load(name).program
    place = {e.name: number for number, e in enumerate(program.einsums)}
    needs = networkx.DiGraph()
    needs.add_nodes_from(place)
    for e in program.einsums:
        needs.add_edges_from((a.tensor, e.name) for a in e.reads if a.tensor in place)
    together = networkx.condensation(needs)
    found = {node: sorted(m, key=place.get) for node, m in together.nodes(data="members")}
    order = networkx.lexicographical_topological_sort(together, key=lambda n: place[found[n][0]])
    assert strongly_connected_components(program) == tuple(tuple(found[n]) for n in order)


def test_a_cascade_without_a_mapping_runs_and_says_how() -> None:
    asked = ("simulate", "bert-base", "fusemax", "--set", "cascade=attention-naive")
    assert "mapped by beam" in run(*asked).stdout
    said = run(*asked, "--mapping", "einsum-by-einsum").stdout
    assert "mapped by einsum-by-einsum" in said
    assert "one Einsum after the other, every tensor through memory" in " ".join(said.split())
    assert " 1 step of " in said


@pytest.mark.parametrize("called", ["mine", "attention-2pass"])
@pytest.mark.parametrize("file", ["mine.yaml", "attention-2pass"])
def test_a_cascade_in_a_file_runs_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, called: str
) -> None:
    """Not the built-in one of its name, nor of the file's name."""
    monkeypatch.chdir(tmp_path)
    text = builtin_source("cascades", "attention-2pass").text
    text = text.replace("cascade: attention-2pass", f"cascade: {called}").replace("exp(", "tanh(")
    Path(file).write_text(text, encoding="utf-8")
    for more in ([], ["--trace", "trace.json"]):
        said = run("simulate", "--set", f"cascade=./{file}", "--set", "seq_len=1K", *more)
        assert said.exit_code == 0, said.stderr
        assert "mapped by beam" in said.stdout
        assert " tanh " in said.stdout


def test_it_can_be_asked_for_by_name() -> None:
    machine, work = Architecture.load("fusemax"), load("bert-base")
    said = run("compare", "bert-base", "fusemax", "flat", "--mapping", "fusemax=einsum-by-einsum")
    assert "einsum-by-einsum" in said.stdout
    fused = simulate(work, machine)
    assert einsum_by_einsum_of(work, machine).cascade == "attention-1pass"
    assert simulate(work, machine, einsum_by_einsum_of(work, machine)).latency_s > fused.latency_s


def test_it_takes_no_settings() -> None:
    said = refused(
        *("simulate", "bert-base", "fusemax", "--mapping", "einsum-by-einsum"),
        *("--set", "mapping.schedule.lookahead=2"),
    )
    assert "is made from the cascade and takes no settings" in said
    unwritten = ("simulate", "--set", "cascade=attention-naive", "--set", "mapping.schedule=x")
    assert "no mapping is written for this cascade" in refused(*unwritten)


def test_a_machine_that_cannot_do_it_is_named() -> None:
    only_copies = "arrays.array_1d.operations={copy: {cycles: 1, bill: {mac: 1}}}"
    machine = replace(Architecture.load("flat", [only_copies]), mapping=None)
    with pytest.raises(InputError, match="array_1d lacks for them:\n    exp: SN\n    div: A"):
        simulate(load("bert-base", cascade="attention-naive-deferred", seq_len=64), machine)


def test_a_tile_given_longer_than_its_rank_is_as_long_as_the_rank() -> None:
    """Loops are kept inside a memory by what their tiles hold, not by what they might hold."""
    machine = Architecture.load("fusemax")
    runs = [
        simulate(load("bert-base", seq_len=512, batch=1, H=1, M0=size), machine, "einsum-by-einsum")
        for size in (512, 513, 3_000_000)
    ]
    assert {r.cycles for r in runs} == {runs[0].cycles}
    assert {r.energy_pj for r in runs} == {runs[0].energy_pj}
