"""``--set``: every field can be reached, and a wrong setting says what it meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest
from commands import refused, run

from archsim.spec.arch import Architecture
from archsim.spec.files.load import MachineCache
from archsim.spec.mapping import Mapping
from archsim.spec.overrides import Overrides, parse_overrides
from archsim.spec.technology import Technology
from einsum_cascade.errors import SpecError
from workloads import load


def machine(*settings: str, name: str = "fusemax") -> Architecture:
    return Architecture.load(name, parse_overrides(settings))


def test_settings_go_where_their_prefix_says() -> None:
    given = parse_overrides(
        [
            "seq_len=64K",
            "workload.batch=1",
            "E=32",
            "architecture.clock=1 GHz",
            "mapping.schedule.lookahead=3",
            "technology.actions.exp.energy=90 pJ",
        ]
    )
    assert [s.field for s in given.workload] == ["seq_len", "batch", "E"]
    assert [s.field for s in given.architecture] == ["clock"]
    assert [s.field for s in given.mapping] == ["schedule.lookahead"]
    assert [s.field for s in given.technology] == ["actions.exp.energy"]
    assert parse_overrides([]) == Overrides()


@pytest.mark.parametrize(
    ("text", "size"),
    [("64K", 65536), ("1M", 2**20), ("2 G", 2**31), ("0.5K", 512), ("1e6", 10**6), ("7", 7)],
)
def test_counts_may_be_binary(text: str, size: int) -> None:
    work = load("bert-base", parse_overrides([f"seq_len={text}"]).workload)
    assert (work.shape("P"), work.shape("M")) == (size, size)


def test_every_field_of_an_architecture_can_be_set() -> None:
    found = machine(
        "architecture.name=mine",
        "architecture.clock=1.5GHz",
        "architecture.word=8 bit",
        "architecture.memories.DRAM.bandwidth=50 GiB/s",
        "architecture.memories.global_buffer.capacity=32MiB",
        "architecture.memories.1.line=512 bit",
        "architecture.arrays.array_2d.shape.rows=128",
        "architecture.arrays.array_2d.registers.billed=one",
        "architecture.arrays.array_2d.operations.exp.cycles=1",
        "architecture.arrays.array_2d.operations.exp.bill={exp: 1, add: 0.5}",
        "architecture.arrays.array_1d.operands=systolic",
        "architecture.arrays.array_1d.shape={lanes: 64, deep: 2}",
    )
    assert (found.name, found.clock_hz, found.word_bits) == ("mine", 1_500_000_000, 8)
    assert found.memories[0].bandwidth_bytes_per_s == 50 * 2**30
    assert (found.memories[1].capacity_bytes, found.memories[1].line_bits) == (2**25, 512)
    on_2d, on_1d = found.arrays
    assert [d.size for d in on_2d.dimensions] == [256, 128]
    assert on_2d.registers.billed == "one"
    exp = on_2d.operation("exp")
    assert exp is not None
    assert (exp.cycles, exp.bill) == (1, (("exp", Fraction(1)), ("add", Fraction(1, 2))))
    assert on_1d.operands == "systolic"
    assert [(d.name, d.size) for d in on_1d.dimensions] == [("lanes", 64), ("deep", 2)]


def test_a_resized_array_keeps_its_reduction_latency_true() -> None:
    rows = machine("architecture.arrays.array_2d.shape.rows=16").arrays[0].dimension("rows")
    assert rows is not None
    assert (rows.size, rows.reduction_latency_cycles) == (16, 16)


def test_the_technology_of_an_architecture_can_be_set() -> None:
    action = machine("technology.actions.mac.energy=1 nJ").technology.action("mac")
    assert action is not None
    assert action.energy_pj == 1000.0
    point = machine("technology.memories.sram.points.0.area=9 um^2").technology.memory("sram")
    assert point is not None
    assert point.points[0].area_um2 == 9


def test_every_field_of_a_mapping_can_be_set() -> None:
    settings = [
        "mapping.schedule.lookahead=3",
        "mapping.partition.P.P1=2",
        "mapping.partition.M.M0=array_1d.lanes",
        "mapping.nest.outer.loops=[H, B, P2, M1]",
        "mapping.einsums.AV.array=array_2d",
        "mapping.keep.vector=[]",
    ]
    mapping = Mapping.load("fusemax-binding", parse_overrides(settings))
    assert mapping.schedule.lookahead == 3
    queries = "min(matrix.columns, vector.lanes)"
    assert [str(t.size) for t in mapping.tiles] == ["array_1d.lanes", queries, "2"]
    assert mapping.nest[0].loops == ("H", "B", "P2", "M1")
    assert mapping.einsums[-1].array == "array_2d"
    assert mapping.keep[-1].tensors == ()
    whole = parse_overrides(["mapping.schedule={kind: sequential}"])
    assert Mapping.load("fusemax-arch", whole).schedule.kind == "sequential"


def test_a_setting_is_for_those_of_several_machines_that_bill_it() -> None:
    """fusemax makes exponentials of its mac units, flat has units of their own."""
    two = ("bert-base", "flat", "fusemax", "--set", "seq_len=256", "--json")
    plain, dearer = (
        json.loads(run("compare", *two, *more).stdout)["rows"]
        for more in ((), ("--set", "technology.actions.exp.energy=900 pJ"))
    )
    energies = [[row["energy_pj"]["total"] for row in rows] for rows in (plain, dearer)]
    assert energies[0][0] < energies[1][0]
    assert energies[0][1] == energies[1][1]
    narrow = run("compare", *two[:-1], "--set", "architecture.word=8 bit").stdout
    assert narrow.count("words are of 8 bit, but energy and area of operations") == 2
    said = refused("compare", *two, "--set", "technology.memories.x={kind: dram, source: x}")
    assert "needs the field 'energy'" in said
    with pytest.raises(SpecError, match="fusemax bills no 'exp'"):
        Architecture.load("fusemax", ["technology.actions.exp.energy=9 pJ"])
    node = ["technology.node=7 nm"]
    with pytest.raises(SpecError, match=r"take a technology of that node \(architecture.techn"):
        Architecture.load("flat", node)
    with pytest.raises(SpecError, match="nothing scales them"):
        Technology.load("accelergy-45nm", ["node=7 nm"])


def test_in_python_the_prefix_is_known() -> None:
    assert Architecture.load("fusemax", ["clock=1 GHz"]).clock_hz == 10**9
    assert Architecture.load("fusemax", ["architecture.clock=1 GHz"]).clock_hz == 10**9
    assert Mapping.load("fusemax-binding", ["schedule.lookahead=2"]).schedule.lookahead == 2
    assert Technology.load("accelergy-45nm", ["words=[8 bit]"]).words_bits == (8,)
    other = Architecture.load("fusemax", ["technology.words=[8 bit]"])
    assert other.technology.words_bits == (8,)
    with pytest.raises(TypeError, match="a list of texts"):
        Architecture.load("fusemax", "clock=1 GHz")


def use(*settings: str) -> None:
    given = parse_overrides(settings)
    load("bert-base", given.workload)
    Architecture.load("fusemax", given)
    Mapping.load("fusemax-binding", given)


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("architecture.clock=12", "clock: expected a frequency"),
        ("architecture.clock=16 MiB", "'MiB' is no unit of that"),
        ("architecture.clock=-1 MHz", "which is negative"),
        ("architecture.clok=1 MHz", "hint: did you mean 'clock'?"),
        ("architecture.clock.x=1 MHz", "'x' cannot be a field below the text '940 MHz'"),
        ("architecture.memories.buffer.capacity=1 MiB", "did you mean 'global_buffer'?"),
        ("architecture.memories.7.capacity=1 MiB", "the list has no member '7'"),
        ("architecture.arrays.array_2d.shape.rows=0", "at least 1, got 0"),
        ("architecture.arrays.array_2d.operations.expp.cycles=1", "did you mean 'exp'?"),
        ("architecture.arrays.array_2d.registrs.depth=1", "did you mean 'registers'?"),
        ("architecture.technology=accelergy", "did you mean 'accelergy-45nm'?"),
        ("architecture=flat", "architecture.FIELD=VALUE"),
        ("archi.clock=1 MHz", "did you mean 'architecture'?"),
        ("mapping.schedule.lookahead=0", "at least 1, got 0"),
        ("mapping.schedule.lookahead=true", "got true"),
        ("mapping.schedule.exposes=[LM]", "a pipelined schedule has no 'exposes'"),
        ("mapping.partition.P.P1=array_2d", "P1: expected a number"),
        ("technology.actions.expp.energy=1 pJ", "did you mean 'exp'?"),
        ("technology.actions.exp.energy=1", "hint: write '1 pJ'"),
        ("technology.node=7 nm", "nothing scales them to another"),
        ("technology.actions.exp.energy=9 pJ", "fusemax bills no 'exp', so that this changes"),
        ("technology.memories.spare={kind: dram, energy: 1 pJ/bit, source: x}", "no 'spare'"),
        ("architecture.arrays.array_2d.overlap=true", "which have nothing to overlap"),
        ("architecture.memories.DRAM.billed_capacity=1 GiB", "costs the same at any size"),
        ("seq_len=0", "seq_len: expected a whole number, at least 1, got 0"),
        ("seq_len=1e16", "up to 1e15"),
        ("seq_len=99999999999G", "up to 1e15"),
        ("seq_len=nan", "got 'nan'"),
        ("seq_len=.inf", "not finite"),
        ("seq_len=64k", "got '64k'"),
        ("seq_len=[1]", "got a list"),
        ("seqlen=1", "hint: did you mean 'seq_len'?"),
        ("h=3", "hint: did you mean 'H'?"),
        ("batch.x=1", "'batch' is none of workload, architecture"),
        ("scope=blok", "did you mean 'block'?"),
        ("cascade=attention-1", "there is no built-in cascade"),
        ("model=bert", "hint: did you mean 'bert-base'?"),
        ("seq_len", "expected FIELD=VALUE"),
        ("seq_len=", "no value is given for 'seq_len'"),
        ("=1", "cannot be a field"),
        ("a b=1", "'a b' cannot be a field"),
        ("architecture..clock=1 MHz", "'' cannot be a field"),
        ("architecture.clock='", "this is not YAML"),
        ("architecture.clock=!!python/name:os.system x", "tags such as"),
        (".".join(["x"] * 60) + "=1", "deep"),
    ],
)
def test_a_wrong_setting_is_shown_as_written(setting: str, wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        use(setting)
    message = str(caught.value)
    assert message.startswith(f"--set {setting[:60]}")
    assert wanted in message
    assert not re.match(r"--set [^\n]*:\d+:\d+: ", message)


def test_the_caret_stands_below_the_value() -> None:
    with pytest.raises(SpecError) as caught:
        use("architecture.clock=12")
    assert str(caught.value).splitlines() == [
        "--set architecture.clock=12: clock: expected a frequency such as '940 MHz', "
        "got a number without a unit",
        "    architecture.clock=12",
        "                       ^^",
        "    hint: write '12 MHz'",
    ]


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_overrides(["seq_len", "x.y=1", "E="])
    assert len(caught.value.problems) == 3


def test_machines_that_differ_in_sizes_alone_are_those_read_afresh() -> None:
    recent, sizes = MachineCache(), "memories.global_buffer.capacity="
    for settings in (
        [f"{sizes}1 MiB"],
        [f"{sizes}3 MiB"],
        [f"{sizes}1 B"],  # does not hold a line
        [f"{sizes}1.5 B"],
        [f"{sizes}3 MHz"],
        [f"{sizes}7"],
        [f"{sizes}3 MiB", "memories.DRAM.bandwidth=2 TB/s", "memories.DRAM.line=64 bit"],
        ["memories.DRAM.bandwidth=3 TB/s", f"{sizes}5 MiB", "memories.DRAM.line=64 bit"],
        [f"{sizes}5 MiB", "memories.DRAM.bandwidth=3 TB/s", "memories.DRAM.line=64 bit"],
        [f"{sizes}5 MiB", "memories.DRAM.bandwidth=3 TB", "memories.DRAM.line=64 bit"],
        [f"{sizes}3 MiB", "memories.global_buffer.name=other", f"{sizes}4 MiB"],
        ["memories.1.capacity=2 MiB"],
        ["memories.1.capacity=5 MiB"],
        [f"{sizes}3 MiB", f"{sizes}5 MiB"],
        [f"{sizes}3 MiB", "technology.memories.sram.leakage=1 pW/bit"],
        [f"{sizes}6 MiB", "technology.memories.sram.leakage=2 pW/bit"],
        ["memories.bufer.capacity=3 MiB"],
    ):
        given = Overrides.of_part("architecture", settings)
        found = outcome(partial(recent.machine, "fusemax", given))
        fresh = outcome(partial(Architecture.load, "fusemax", given))
        assert found == fresh
        if isinstance(found, Architecture) and isinstance(fresh, Architecture):
            assert (found.tree, found.source) == (fresh.tree, fresh.source)


def outcome(read: Callable[[], Architecture]) -> Architecture | str:
    try:
        return read()
    except SpecError as wrong:
        return str(wrong)


def test_a_machine_of_another_size_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = MachineCache()

    def sized(size: str) -> Architecture:
        given = [f"memories.global_buffer.capacity={size}", "memories.DRAM.bandwidth=1 TB/s"]
        return recent.machine("fusemax", Overrides.of_part("architecture", given))

    sized("2 MiB")
    monkeypatch.setattr("archsim.spec.files.load.load_architecture", None)
    assert sized("3 MiB").memories[1].capacity_bytes == 3 << 20


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seq_len=1K", "workload.seq_len=2K"),
        ("architecture.clock=1 GHz", "architecture.clock=1 GHz"),
    ],
)
def test_a_field_that_is_set_twice_is_refused_with_both(one: str, other: str) -> None:
    with pytest.raises(SpecError) as no:
        parse_overrides([one, other])
    assert f"is set twice, also by --set {one}" in str(no.value)
    assert other in str(no.value)
