"""Specification files: the formats as documented, and what is wrong said where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from archsim.spec.arch import Architecture, Dimension, Memory, Operation, Registers
from archsim.spec.files.architecture import OPERATION_KINDS
from archsim.spec.mapping import (
    DimensionRef,
    EinsumMapping,
    Keep,
    Mapping,
    NestLevel,
    PhaseTask,
    Tile,
)
from archsim.spec.technology import Technology
from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from einsum_cascade.operations import einsum_operations
from einsum_cascade.yaml.library import builtin_names, builtin_source

MACHINE = """\
architecture:
  name: small
  technology: accelergy-45nm
  clock: 940 MHz
  word: 16 bit
  memories:
    - {name: DRAM, bandwidth: 400 GiB/s, line: 64 bit, energy: dram_hbm2}
    - {name: global_buffer, capacity: 16 MiB, line: 4096 bit, bandwidth: 8 TB/s, energy: sram}
  arrays:
    - name: array_2d
      shape: {columns: 8, rows: 4}
      registers: {depth: 12}
      operations:
        mac: {cycles: 1, bill: {mac: 1}}
        exp: {cycles: 6, bill: {mac: 6}}
        max: {cycles: 1, bill: {max: 1}}
      reduction: {rows: {latency: 256}}
    - {name: array_1d, shape: {lanes: 8}, registers: {depth: 32},
       operations: {add: {cycles: 0.5, bill: {}}}}
"""

MAPPING = """\
mapping:
  name: short
  cascade: attention-1pass
  partition: {M: {M0: array_2d.rows}, P: {P0: 4, P1: fit}}
  nest:
    - {level: DRAM, loops: [B, H, P2, M1]}
    - {level: global_buffer, loops: [P1]}
  einsums:
    BQK: {array: array_2d, spatial: {columns: P0, rows: [M0]}, loops: [E]}
    LM:  {array: array_2d, spatial: {columns: P0, rows: M0}}
    RNV: {array: array_1d, spatial: {lanes: P0}, loops: {global_buffer: [F]}}
    AV:  {array: array_1d, spatial: {lanes: P0}, loops: F, outside: M1}
  keep: {DRAM: [Q, K, V, AV], array_2d: BQK}
  schedule: {kind: phases, groups: [[BQK, LM, AV@-1], [RNV]], exposes: [LM]}
"""

TECHNOLOGY = """\
technology:
  name: tiny
  node: 7 nm
  actions:
    mac: {energy: 1 pJ, area: 100 um^2, source: a guess}
  memories:
    hbm: {kind: dram, energy: 2 pJ/bit, source: a guess}
    buffer:
      kind: sram
      source: a guess
      points: [{rows: 64, width: 64 bit, area: 10 um^2, read: 1 pJ, write: 2 pJ}]
    flops:
      kind: registers
      source: a guess
      read_per_bit: 1 fJ/bit
      write_per_bit: 2 fJ/bit
      access_per_entry: 0 pJ
      area_per_bit: 1 um^2
      area_per_entry: 0 um^2
"""

Loader = Callable[[Path], object]


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------------------- what is read


PUBLISHED = ("fusemax", "flat", "fusemax-micro24", "flat-micro24", "cascade-on-flat-micro24")
"""The machines of the FuseMax evaluation."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_machine_of_the_published_evaluation_loads(name: str) -> None:
    machine = Architecture.load(name)
    assert machine.name == name
    assert machine.source == f"specs/architectures/{name}.yaml"
    assert (machine.clock_hz, machine.word_bits) == (940_000_000, 16)
    assert [d.size for a in machine.arrays for d in a.dimensions] == [256, 256, 256]
    assert machine.memories[0].bandwidth_bytes_per_s == 400 * 2**30
    assert machine.arrays[0].dimension("rows") == Dimension(
        name="rows", size=256, reduction_latency_cycles=256, reduction_latency_axis="rows"
    )


def test_the_built_ins_people_rely_on_are_there() -> None:
    assert set(builtin_names("architectures")) >= {*PUBLISHED, "edge", "tpu-v1", "a100-80gb"}
    assert set(builtin_names("mappings")) >= {"fusemax-binding", "fusemax-arch"}
    assert "accelergy-45nm" in builtin_names("technology")


def test_what_full_billing_changes() -> None:
    full, published = Architecture.load("fusemax"), Architecture.load("fusemax-micro24")
    assert [a.registers.billed for a in full.arrays] == ["all", "all"]
    assert [a.registers.billed for a in published.arrays] == ["one", "one"]
    assert full.memories[1].bandwidth_bytes_per_s == 8 * 10**12
    assert published.memories[1].bandwidth_bytes_per_s is None
    assert [a.operations for a in full.arrays] == [a.operations for a in published.arrays]


def test_published_operations() -> None:
    on_2d, on_1d = Architecture.load("fusemax-micro24").arrays
    one = Fraction(1)
    assert on_2d.operation("exp") == Operation(
        kind="exp", cycles=Fraction(6), bill=(("mac", Fraction(6)),)
    )
    assert on_2d.operation("sub") == Operation(kind="sub", cycles=one, bill=(("add", one),))
    assert on_1d.operation("div") == Operation(kind="div", cycles=one, bill=(("divide", one),))
    assert Architecture.load("cascade-on-flat-micro24").arrays[1].operation("exp") == Operation(
        kind="exp", cycles=one, bill=()
    )


def test_fusemax_can_do_every_operation_of_every_cascade() -> None:
    used = set()
    for name in builtin_names("cascades"):
        program = Cascade.load(name).program
        for einsum in program.einsums:
            used |= {kind for kind, _ in einsum_operations(program, einsum)}
    assert {"mac", "exp", "div", "rsqrt"} <= used <= set(OPERATION_KINDS)
    for array in Architecture.load("fusemax").arrays:
        assert {o.kind for o in array.operations} == set(OPERATION_KINDS)


def test_an_architecture_written_by_hand(tmp_path: Path) -> None:
    machine = Architecture.load(write(tmp_path, MACHINE))
    assert machine.technology == Technology.load("accelergy-45nm")
    assert machine.memories == (
        Memory(
            name="DRAM",
            energy="dram_hbm2",
            line_bits=64,
            bandwidth_bytes_per_s=Fraction(400 * 2**30),
        ),
        Memory(
            name="global_buffer",
            energy="sram",
            line_bits=4096,
            capacity_bytes=2**24,
            bandwidth_bytes_per_s=Fraction(8 * 10**12),
        ),
    )
    on_2d, on_1d = machine.arrays
    assert on_2d.registers == Registers(depth=12)
    assert on_2d.dimensions == (
        Dimension(name="columns", size=8),
        Dimension(name="rows", size=4, reduction_latency_cycles=256),
    )
    assert on_1d.operations == (Operation(kind="add", cycles=Fraction(1, 2), bill=()),)


def test_the_same_in_json(tmp_path: Path) -> None:
    import json

    import yaml

    text = json.dumps(yaml.safe_load(MACHINE), indent=1)
    assert Architecture.load(write(tmp_path, text, "a.json")) == Architecture.load(
        write(tmp_path, MACHINE)
    )


def test_a_reduction_as_late_as_a_dimension_is_long(tmp_path: Path) -> None:
    text = MACHINE.replace("latency: 256", "latency: columns")
    machine = Architecture.load(write(tmp_path, text))
    assert machine.arrays[0].dimensions[1].reduction_latency_cycles == 8


def test_a_systolic_array_and_its_network(tmp_path: Path) -> None:
    text = MACHINE.replace(
        "registers: {depth: 12}",
        "registers: {depth: 12, width: 32 bit, billed: one}\n"
        "      operands: systolic\n      overlap: false\n      overhead_area: 0.5 mm^2\n"
        "      units: [mac, max, exp]",
    )
    array = Architecture.load(write(tmp_path, text)).arrays[0]
    assert (array.operands, array.overlap, array.overhead_area_um2) == ("systolic", False, 5e5)
    assert array.registers == Registers(depth=12, width_bits=32, billed="one")
    assert array.units == ("mac", "max", "exp")


def test_any_number_of_memories_arrays_and_dimensions(tmp_path: Path) -> None:
    text = MACHINE.replace(
        "  arrays:\n",
        "    - {name: local, capacity: 3 KiB, line: 128 bit, energy: sram}\n  arrays:\n"
        "    - {name: cube, shape: {x: 2, y: 3, z: 5}, registers: {depth: 1},"
        " operations: {mac: {cycles: 1, bill: {mac: 1}}}}\n",
    )
    machine = Architecture.load(write(tmp_path, text))
    assert [m.name for m in machine.memories] == ["DRAM", "global_buffer", "local"]
    assert [a.name for a in machine.arrays] == ["cube", "array_2d", "array_1d"]
    assert machine.arrays[0].elements == 30


def test_a_technology_of_ones_own_beside_the_architecture(tmp_path: Path) -> None:
    write(tmp_path, TECHNOLOGY, "tiny.yaml")
    text = MACHINE.replace("accelergy-45nm", "./tiny.yaml").replace("dram_hbm2", "hbm")
    text = text.replace("energy: sram", "energy: buffer").replace("max: 1", "mac: 1")
    text = re.sub(r"registers: {depth: (\d+)}", r"registers: {depth: \1, energy: flops}", text)
    machine = Architecture.load(write(tmp_path, text))
    assert machine.technology.name == "tiny"
    flops = machine.technology.memory("flops")
    assert flops is not None
    assert (flops.read_per_bit_pj, flops.write_per_bit_pj) == (0.001, 0.002)


def test_a_mapping_written_by_hand(tmp_path: Path) -> None:
    mapping = Mapping.load(write(tmp_path, MAPPING))
    assert mapping.tiles == (
        Tile(rank="M", member="M0", size=DimensionRef(array="array_2d", dimension="rows")),
        Tile(rank="P", member="P0", size=4),
        Tile(rank="P", member="P1", size="fit"),
    )
    assert mapping.nest == (
        NestLevel(level="DRAM", loops=("B", "H", "P2", "M1")),
        NestLevel(level="global_buffer", loops=("P1",)),
    )
    assert mapping.einsum("BQK") == EinsumMapping(
        einsum="BQK",
        array="array_2d",
        spatial=(("columns", ("P0",)), ("rows", ("M0",))),
        nest=(NestLevel(level="", loops=("E",)),),
    )
    assert mapping.einsum("RNV") == EinsumMapping(
        einsum="RNV",
        array="array_1d",
        spatial=(("lanes", ("P0",)),),
        nest=(NestLevel(level="global_buffer", loops=("F",)),),
    )
    assert mapping.einsums[-1].outside == ("M1",)
    assert mapping.keep == (
        Keep(level="DRAM", tensors=("Q", "K", "V", "AV")),
        Keep(level="array_2d", tensors=("BQK",)),
    )
    assert mapping.schedule.kind == "phases"
    assert mapping.schedule.groups == (
        (PhaseTask(einsum="BQK"), PhaseTask(einsum="LM"), PhaseTask(einsum="AV", shift=-1)),
        (PhaseTask(einsum="RNV"),),
    )
    assert mapping.schedule.exposes == ("LM",)


def test_the_built_in_mappings_differ_in_their_schedule_alone() -> None:
    binding, epochs = Mapping.load("fusemax-binding"), Mapping.load("fusemax-arch")
    assert binding.cascade == epochs.cascade == "attention-1pass"
    assert [e.einsum for e in binding.einsums] == [
        e.name for e in Cascade.load("attention-1pass").program.einsums
    ]
    for field in ("tiles", "nest", "einsums", "keep"):
        assert getattr(binding, field) == getattr(epochs, field)
    assert (binding.schedule.kind, binding.schedule.lookahead) == ("pipelined", "fit")
    assert epochs.schedule.groups[0][2:] == (
        PhaseTask(einsum="RD", shift=-1),
        PhaseTask(einsum="AV", shift=-1),
    )


def test_a_schedule_that_is_not_given_is_pipelined(tmp_path: Path) -> None:
    text = MAPPING[: MAPPING.index("  schedule")]
    schedule = Mapping.load(write(tmp_path, text)).schedule
    assert (schedule.kind, schedule.lookahead, schedule.groups) == ("pipelined", "fit", ())


def test_a_cascade_beside_the_mapping(tmp_path: Path) -> None:
    write(tmp_path, builtin_source("cascades", "attention-1pass").text, "mine.yaml")
    text = MAPPING.replace("cascade: attention-1pass", "cascade: mine.yaml")
    assert Mapping.load(write(tmp_path, text)).cascade == str(tmp_path / "mine.yaml")


def test_a_path_object_is_a_file_whatever_its_name(tmp_path: Path) -> None:
    assert Mapping.load(write(tmp_path, MAPPING, "fusemax-arch")).name == "short"


# -------------------------------------------------------------------------- what is refused


def refuse(load: Loader, path: Path, *wanted: str) -> None:
    """Each wanted text is in the message, which points at a place of the file."""
    with pytest.raises(SpecError) as caught:
        load(path)
    message = str(caught.value)
    for text in wanted:
        assert text in message
    assert re.search(rf"{re.escape(str(path))}:\d+:\d+: ", message)
    assert all(p.span is not None for p in caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("940 MHz", "16 MiB", ":4:10: clock: expected a frequency such as '940 MHz', 'MiB' is no"),
        ("940 MHz", "940", "hint: write '940 MHz'"),
        ("940 MHz", "1e400 MHz", "which is no size for it"),
        ("940 MHz", ".nan", "which is not finite"),
        ("940 MHz", "true", "got true"),
        (
            "clock",
            "clok",
            "'clok'\n      clok: 940 MHz\n      ^^^^\n    hint: did you mean 'clock'?",
        ),
        ("columns: 8", "columns: 0", "columns: expected a whole number, at least 1, got 0"),
        ("columns: 8", "columns: -8", "at least 1, got -8"),
        ("columns: 8", "columns: 1e30", "up to 1e15"),
        ("columns: 8", "columns: 8.5", "whole number, got 8.5"),
        ("columns: 8", "columns: false", "got false"),
        ("{columns: 8, rows: 4}", "{}", "shape: expected at least one entry"),
        ("{columns: 8, rows: 4}", "[8, 4]", "shape: expected a mapping, got a list"),
        ("16 MiB", "-16 MiB", "which is negative"),
        ("16 MiB", "1 bit", "whole bytes"),
        ("16 MiB", "8 B", "'global_buffer' does not hold one line of 4096 bit"),
        ("capacity: 16 MiB, ", "", "'global_buffer' is billed as sram and needs a 'capacity'"),
        ("energy: sram", "energy: srm", "hint: did you mean 'sram'?"),
        ("energy: sram", "energy: register_file", "is of kind registers, expected dram or sram"),
        ("depth: 12", "energy: sram, depth: 12", "is of kind sram, expected registers"),
        ("name: global_buffer", "name: DRAM", "another memory is called 'DRAM' already"),
        ("name: array_1d", "name: DRAM", "another memory is called 'DRAM' already"),
        ("name: array_1d", "name: a.b", "expected a name of letters"),
        ("exp:", "expp:", "'expp' is not a kind of operation"),
        ("mac: 6", "macc: 6", "hint: did you mean 'mac'?"),
        ("mac: 6", "mac: -6", "mac: expected a number, zero or more, got -6"),
        ("cycles: 6", "cycles: .inf", "cycles: expected a number, zero or more"),
        ("latency: 256", "latency: row", "'row' is not a dimension"),
        ("reduction: {rows", "reduction: {row", "hint: did you mean 'rows'?"),
        ("depth: 32", "depth: 32, billed: ones", "hint: did you mean 'one'?"),
        ("accelergy-45nm", "accelergy-45", "hint: did you mean 'accelergy-45nm'?"),
        ("accelergy-45nm", "./none.yaml", "there is no file"),
        ("architecture:", "arch:", "expected the section 'architecture:', got 'arch:'"),
        ("registers: {depth: 12}", "units: [max], registers: {depth: 12}", "this is not YAML"),
        ("  memories:", "  memories: []\n  more:", "memories: expected at least one entry"),
        ("MHz\n", "MHz\n  clock: 1 GHz\n", "'clock' is given twice"),
        ("  word: 16 bit\n", "", "the field 'word' is missing in 'architecture'"),
    ],
)
def test_a_wrong_architecture(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in MACHINE
    refuse(Architecture.load, write(tmp_path, MACHINE.replace(old, new, 1)), wanted)


def test_a_bill_of_a_unit_that_is_not_there(tmp_path: Path) -> None:
    text = MACHINE.replace("registers: {depth: 12}", "registers: {depth: 12}\n      units: [max]")
    wanted = "'mac' is billed, but is not one of the array's units"
    refuse(Architecture.load, write(tmp_path, text), wanted, "units: max")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = MACHINE.replace("940 MHz", "940").replace("16 bit", "x").replace("depth: 12", "dept: 1")
    with pytest.raises(SpecError) as caught:
        Architecture.load(write(tmp_path, text))
    lines = [p.span.line for p in caught.value.problems if p.span]
    assert lines == [4, 5, 12, 12]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("P1: fit", "P1: fitt", "hint: did you mean 'fit'?"),
        ("P1: fit", "P1: evn", "hint: did you mean 'even'?"),
        ("P0: 4", "P0: 0", "P0: expected a whole number, at least 1, got 0"),
        ("P0: 4", "P0: 4.5", "whole number"),
        ("P0: 4", "P0: [4]", "P0: expected"),
        ("{P0: 4, P1: fit}", "{M0: 4}", "'M0' is already a tile of M"),
        ("{P0: 4, P1: fit}", "{P: 4}", "a tile of P cannot be called P itself"),
        ("{P0: 4, P1: fit}", "{}", "no tile of P is named"),
        ("[B, H, P2, M1]", "[B, h, P2, M1]", "hint: did you mean 'H'?"),
        ("[B, H, P2, M1]", "[B, H, P2, M1, B]", "'B' is already a loop of the nest"),
        ("level: global_buffer", "level: DRAM", "'DRAM' already has its loops"),
        ("rows: [M0]", "rows: P0", "'P0' is already laid out or looped over by BQK"),
        ("loops: [E]", "loops: [P1]", "'P1' is a loop of the shared nest"),
        ("outside: M1", "outside: MM1", "hint: did you mean 'M1'?"),
        ("[Q, K, V, AV]", "[Q, K, V, Q]", "'Q' is already kept in DRAM"),
        ("[RNV]]", "[RN]]", "hint: did you mean 'RNV'?"),
        ("[RNV]]", "[BQK]]", "'BQK' is already in a group"),
        (", [RNV]]", "]", "every Einsum is in one group; missing: RNV"),
        ("exposes: [LM]", "exposes: [LMM]", "hint: did you mean 'LM'?"),
        ("AV@-1", "AV@soon", "expected an Einsum, perhaps of another tile"),
        ("kind: phases", "kind: pipelined", "a pipelined schedule has no 'groups'"),
        ("kind: phases", "kind: phased", "hint: did you mean 'phases'?"),
        ("kind: phases", "lookahead: 3, kind: phases", "a phases schedule has no 'lookahead'"),
        ("groups: [[BQK, LM, AV@-1], [RNV]], ", "", "a schedule of phases needs 'groups'"),
        ("attention-1pass", "attention-1pas", "hint: did you mean 'attention-1pass'?"),
        ("attention-1pass", "./none.yaml", "there is no file"),
        ("array: array_2d", "arr: array_2d", "hint: did you mean 'array'?"),
    ],
)
def test_a_wrong_mapping(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in MAPPING
    refuse(Mapping.load, write(tmp_path, MAPPING.replace(old, new, 1)), wanted)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("energy: 1 pJ", "energy: 1 mm", "energy: expected an energy"),
        ("energy: 1 pJ", "energy: -1 pJ", "which is negative"),
        ("energy: 2 pJ/bit", "energy: 2 pJ", "expected an energy per bit"),
        ("kind: dram", "kind: drum", "hint: did you mean 'dram'?"),
        (", source: a guess}\n  mem", "}\n  mem", "the field 'source' is missing in 'mac'"),
        ("kind: dram, energy: 2 pJ/bit", "kind: dram", "needs the field 'energy'"),
        ("kind: dram", "kind: dram, least_depth: 3", "a memory of kind dram has no 'least_depth'"),
        (", read: 1 pJ, write: 2 pJ", "", "at least one point needs 'read' and 'write'"),
        (", read: 1 pJ", "", "both 'read' and 'write', or neither"),
        ("area: 10 um^2", "area: 0 um^2", "has an area above zero"),
        ("[{rows", "[{rows: 64, width: 8 B, area: 1 um^2}, {rows", "is given twice"),
        ("node: 7 nm", "node: 7", "hint: write '7 nm'"),
    ],
)
def test_a_wrong_technology(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in TECHNOLOGY
    refuse(Technology.load, write(tmp_path, TECHNOLOGY.replace(old, new, 1)), wanted)


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 12):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize("load", [Architecture.load, Mapping.load, Technology.load])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "this is not YAML"),
        ("- 1\n- 2\n", "and its fields, got a list"),
        ("just words", "and its fields, got the text 'just words'"),
        (bomb(), "expands to more than"),
        ("a: !!python/object/apply:os.system ['true']", "tags such as"),
        ("a: &a [*a]", "holds itself"),
        ("a: \x07", "this is not YAML"),
    ],
)
def test_a_file_that_is_something_else(
    tmp_path: Path, load: Loader, text: str, wanted: str
) -> None:
    refuse(load, write(tmp_path, text), wanted)


@pytest.mark.parametrize("load", [Architecture.load, Mapping.load, Technology.load])
def test_a_name_that_means_nothing(tmp_path: Path, load: Callable[[str], object]) -> None:
    with pytest.raises(SpecError, match="there is no built-in"):
        load("fusemaxx")
    with pytest.raises(SpecError, match="no such file"):
        load("./fusemaxx")
    with pytest.raises(SpecError, match="is a directory"):
        load(str(tmp_path))
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(SpecError, match="the file is empty"):
        load(str(tmp_path / "empty.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(SpecError, match="not UTF-8"):
        load(str(tmp_path / "latin.yaml"))
