"""Machines and tables of operations that extend others: merged by name, told with their places."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from commands import refused, run
from jsonschema import Draft202012Validator
from places import ROOT

from archsim import Architecture, simulate
from archsim.cli.schema import schema_of
from archsim.spec.files.load import MachineCache
from archsim.spec.overrides import parse_overrides
from einsum_cascade.errors import SpecError
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import Sources, read_source, reading_from
from einsum_cascade.yaml.source import read_yaml
from workloads import load

H100 = "extends: h100-sxm\n  name: mine\n"


def write(folder: Path, fields: str, name: str = "mine.yaml") -> Path:
    """A machine file with these fields, of which the first line is indented."""
    path = folder / name
    path.write_text(f"architecture:\n  {fields}", encoding="utf-8")
    return path


def names(machine: Architecture) -> list[str]:
    return [m.name for m in machine.memories]


def cycles(machine: Architecture, kind: str, array: str = "vector_unit") -> Fraction | None:
    found = next(a for a in machine.arrays if a.name == array).operation(kind)
    return None if found is None else found.cycles


def same_but_for_its_file(machine: Architecture, other: Architecture) -> bool:
    return replace(machine, source="") == replace(other, source="")


# ---------------------------------------------------------------------------- what is merged


def test_a_machine_that_changes_nothing_gives_equal_results(tmp_path: Path) -> None:
    base, mine = Architecture.load("fusemax"), write(tmp_path, "extends: fusemax\n")
    machine = Architecture.load(mine)
    assert same_but_for_its_file(machine, base)
    assert machine.source == str(mine)
    work = load("bert-base", seq_len=256)
    renamed = write(tmp_path, "{extends: fusemax, name: mine}", "renamed.yaml")
    expected, found = (simulate(work, m).to_dict() for m in (base, Architecture.load(renamed)))
    assert (expected.pop("architecture"), found.pop("architecture")) == ("fusemax", "mine")
    assert found == expected


@pytest.mark.parametrize(
    "memories",
    [
        "memories: {HBM: {bandwidth: 4 TB/s}, L1: {capacity: 512 KiB, bandwidth: null}}",
        "memories: [{name: HBM, bandwidth: 4 TB/s},"
        " {name: L1, capacity: 512 KiB, bandwidth: null}]",
    ],
)
def test_fields_given_win_and_the_others_stay(tmp_path: Path, memories: str) -> None:
    text = f"{H100}  clock: 2 GHz\n  {memories}\n"
    text += "  arrays: {vector_unit: {shape: {lanes: 256}, operations: {exp: {cycles: 4}}}}\n"
    base, machine = Architecture.load("h100-sxm"), Architecture.load(write(tmp_path, text))
    assert (machine.name, machine.clock_hz, machine.word_bits) == ("mine", 2 * 10**9, 16)
    hbm, l2, l1 = machine.memories
    assert hbm == replace(base.memories[0], bandwidth_bytes_per_s=Fraction(4 * 10**12))
    assert l2 == base.memories[1]
    assert l1 == replace(base.memories[2], capacity_bytes=2**19, bandwidth_bytes_per_s=None)
    assert machine.arrays[0] == base.arrays[0]
    vector, before = machine.arrays[1], base.arrays[1]
    assert (vector.elements, vector.registers) == (256, before.registers)
    kinds = [o.kind for o in vector.operations]
    assert kinds == [o.kind for o in before.operations]
    changed = [o for o in vector.operations if o not in before.operations]
    assert [(o.kind, o.cycles, o.bill) for o in changed] == [("exp", 4, (("exp", 1),))]


NEW = "{line: 64 bit, capacity: 1 MiB, energy: sram}"


@pytest.mark.parametrize(
    ("memories", "found"),
    [
        (f"{{new: {NEW}}}", ["HBM", "L2", "L1", "new"]),
        (f"{{HBM: {{}}, new: {NEW}}}", ["HBM", "new", "L2", "L1"]),
        (f"{{new: {NEW}, L1: {{}}}}", ["HBM", "L2", "new", "L1"]),
        (f"{{HBM: {{}}, new: {NEW}, other: {NEW}, L1: null}}", ["HBM", "new", "other", "L2"]),
        (f"{{L2: null, new: {NEW}}}", ["HBM", "new", "L1"]),
    ],
)
def test_new_ones_stand_where_they_are_written(
    tmp_path: Path, memories: str, found: list[str]
) -> None:
    assert names(Architecture.load(write(tmp_path, f"{H100}  memories: {memories}\n"))) == found


def test_chains_and_paths_beside_the_file_that_states_them(tmp_path: Path) -> None:
    """A base in a folder of its own names its technology and its mapping; a third file extends."""
    inner = tmp_path / "base"
    inner.mkdir()
    technology = (ROOT / "specs" / "technology" / "jouppi-7nm.yaml").read_text(encoding="utf-8")
    (inner / "seven.yaml").write_text(technology, encoding="utf-8")
    mapping = (ROOT / "specs" / "mappings" / "flat.yaml").read_text(encoding="utf-8")
    (inner / "own.yaml").write_text(mapping, encoding="utf-8")
    fields = "{extends: flat, technology: seven.yaml, mapping: own.yaml}"
    write(inner, fields, "first.yaml")
    write(tmp_path, "{extends: base/first.yaml, name: second}", "second.yaml")
    third = Architecture.load(write(tmp_path, "{extends: ./second.yaml, word: 8 bit}"))
    assert (third.name, third.word_bits, third.technology.node_nm) == ("second", 8, 7)
    assert third.mapping == str(inner / "own.yaml")


def test_settings_and_sweeps_reach_what_is_inherited(tmp_path: Path) -> None:
    mine = write(tmp_path, "extends: fusemax\n  memories: {DRAM: {bandwidth: 1 TB/s}}\n")
    capacity = "architecture.memories.global_buffer.capacity"
    machine = Architecture.load(
        mine, [f"{capacity}=8 MiB", "arrays.array_1d.operations.exp.cycles=2"]
    )
    assert machine.memories[1].capacity_bytes == 2**23
    assert (cycles(machine, "exp", "array_1d"), cycles(machine, "exp", "array_2d")) == (2, 6)
    both = Architecture.load(mine, ["operations.elements.exp.cycles=2"])
    assert (cycles(both, "exp", "array_1d"), cycles(both, "exp", "array_2d")) == (2, 2)
    table = "arrays.array_1d.operations"
    whole = Architecture.load(mine, [f"{table}={{extends: vector, exp: {{cycles: 5}}}}"])
    assert [cycles(whole, kind, "array_1d") for kind in ("exp", "div")] == [5, 6]
    one = Architecture.load(mine, [f"{table}.mac={{bf16: {{cycles: 5, bill: {{mac: 1}}}}}}"])
    assert one.arrays[1].formats_of("mac") == ("bf16",)
    assert one.arrays[1].operation("mac.fp32") is None
    with pytest.raises(SpecError, match="set the whole table"):
        Architecture.load(mine, [f"{table}.extends=vector"])
    with pytest.raises(SpecError, match="there is no 'element' to set a field of"):
        Architecture.load(mine, ["operations.element.exp.cycles=2"])
    other = Architecture.load(mine, ["extends=flat"])
    assert (other.name, other.memories[1].capacity_bytes) == ("flat", 2**25)
    assert other.memories[0].bandwidth_bytes_per_s == 10**12
    machines = MachineCache()  # a sweep has one
    for size in ("1 MiB", "2 MiB"):
        setting = f"{capacity}={size}"
        swept = machines.machine(str(mine), parse_overrides([setting]))
        assert swept == Architecture.load(mine, [setting])


def test_a_sweep_reads_what_a_machine_extends_once(tmp_path: Path) -> None:
    base = write(tmp_path, "extends: fusemax\n", "base.yaml")
    (tmp_path / "set.yaml").write_text("operations: {extends: vector}")
    array = "arrays: {array_1d: {operations: {extends: set.yaml}}}"
    mine = write(tmp_path, f"extends: base.yaml\n  {array}\n")
    sweep = Source(str(tmp_path / "sweep.yaml"), "sweep: {architecture: mine.yaml}")
    sources, before = Sources.named_in(sweep), Architecture.load(mine)
    assert {"mine.yaml", "base.yaml", "set.yaml"} <= sources.hashes.keys()
    base.write_text("architecture: {extends: flat}")
    assert Architecture.load(mine) != before
    with reading_from(sources):
        assert Architecture.load(mine) == before


# ---------------------------------------------------------------------------- sets of operations


def test_arrays_extend_sets_of_their_machine_built_in_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(
        "operations: {title: T, source: S, extends: vector, exp: {cycles: 3}, sin: null}"
    )
    own = "operations: {own: {extends: [multiply-add, file.yaml], div: {cycles: 7}}}"
    table = "{extends: own, div: {bill: {mac: 9}}, cos: null}"
    path = write(tmp_path, f"{H100}  {own}\n  arrays: {{vector_unit: {{operations: {table}}}}}\n")
    with pytest.raises(SpecError, match="is billed, but is not one of the array's units"):
        Architecture.load(path, ["arrays.vector_unit.units=[mac]"])
    machine = Architecture.load(path)
    found = {o.kind: o for o in machine.arrays[1].operations}
    # Tables of the base win over sets; h100 states none itself.
    assert list(found)[:4] == ["mac", "mul", "add", "copy"]
    assert (found["exp"].cycles, found["exp"].bill) == (3, (("exp", 1),))
    assert (found["div"].cycles, found["div"].bill) == (7, (("mac", 9),))
    assert found["add"].bill == (("add", 1),)
    assert not {"sin", "cos"} & found.keys()


def test_no_table_of_the_machines_that_ship_is_written_twice() -> None:
    tables = []
    for path in sorted((ROOT / "specs" / "architectures").glob("*.yaml")):
        fields = read_yaml(read_source(path)).plain()["architecture"]
        arrays = fields.get("arrays", [])
        for array in arrays.values() if isinstance(arrays, dict) else arrays:
            tables.append(array.get("operations", {}))
    long = [table for table in tables if len(table) > 3 and "extends" not in table]
    assert [table for n, table in enumerate(long) if table in long[:n]] == []
    assert "vector" in run("list", "operations").stdout


# ---------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("extends: h100-sxn", "mine.yaml:2:12: there is no built-in architecture 'h100-sxn'"),
        ("extends: h100-sxn", "hint: did you mean 'h100-sxm'?"),
        ("extends: ./none.yaml", "mine.yaml:2:12: there is no file"),
        ("extends: [flat]", "extends: expected an architecture or a file, got a list"),
        ("extends: map.yaml", "mine.yaml:2:12: 'map.yaml' has no section 'architecture:'"),
        ("extends: mine.yaml", "mine.yaml:2:12: 'mine.yaml' extends itself"),
        ("extends: loop.yaml", "loop.yaml:2:12: 'mine.yaml' extends itself"),
        ("extends: loop.yaml", "mine.yaml -> "),
        ("{extends: flat, memories: {DRAN: null}}", "2:30: there is no 'DRAN' to remove"),
        ("{extends: flat, memories: {DRAN: null}}", "hint: did you mean 'DRAM'?"),
        ("{extends: flat, memories: [{name: DRAN, line: 8 bit}]}", "hint: did you mean 'DRAM'?"),
        (
            "{extends: flat, memories: [{name: DRAM}, {name: DRAM}]}",
            "mine.yaml:2:51: 'DRAM' is given twice",
        ),
        ("{extends: flat, clock: null}", "the field 'clock' is missing in 'architecture'"),
        ("{extends: flat, clok: null}", "hint: did you mean 'clock'?"),
        ("{extends: flat, memories: []}", "mine.yaml:2:29: memories: expected at least one entry"),
        ("{extends: flat, arrays: {array_1d: 5}}", "2:38: arrays: expected a mapping of fields"),
        # What is wrong in the base is told there.
        ("{extends: wrong.yaml, clock: 2 GHz}", "wrong.yaml:3:40: 'global_buffer' does not hold"),
        ("{extends: flat, arrays: {array_1d: {operations: {extends: vectr}}}}", "mean 'vector'?"),
        (
            "{extends: flat, operations: {a: {extends: b}, b: {extends: a}},"
            " arrays: {array_1d: {operations: {extends: a}}}}",
            "the set of operations 'a' extends itself",
        ),
        (
            "{extends: flat, arrays: {array_1d: {operations: {extends: set.yaml}}}}",
            "set.yaml:1:14: 'exq' is not a kind of operation",
        ),
        (
            "{extends: flat, arrays: {array_1d: {operations: {extends: five.yaml}}}}",
            "'five.yaml': expected operations by kind, got the number 5",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: str, says: str
) -> None:
    write(tmp_path, f"{fields}\n")
    write(tmp_path, "extends: mine.yaml\n", "loop.yaml")
    wrong = "extends: flat\n  memories: {global_buffer: {capacity: 1 B}}\n"
    write(tmp_path, wrong, "wrong.yaml")
    (tmp_path / "map.yaml").write_text("mapping: {name: m}")
    (tmp_path / "set.yaml").write_text("operations: {exq: {cycles: 1, bill: {}}}")
    (tmp_path / "five.yaml").write_text("operations: 5")
    monkeypatch.chdir(tmp_path)
    assert says in refused("simulate", "bert-base", "mine.yaml")


def test_the_schema_knows_what_a_variant_may_leave_out() -> None:
    validator = Draft202012Validator(schema_of("architecture"))

    def wrong(fields: object) -> bool:
        return not validator.is_valid({"architecture": fields})

    table = {"extends": ["vector"], "exp": {"cycles": 4}, "sin": None}
    assert not wrong({"extends": "flat", "arrays": {"array_1d": {"operations": table}}})
    assert not wrong({"extends": "flat", "memories": [{"name": "DRAM", "bandwidth": None}]})
    assert wrong({"extends": "flat", "memories": {"DRAM": {"bandwith": "1 GB/s"}}})
    assert wrong({"extends": "flat", "arrays": {"array_1d": {"operations": {"exp": {"cycle": 4}}}}})
    assert wrong({"name": "x", "memories": {"DRAM": {}}})
