"""``archsim compare``: ratios, equal area, the choice of mappings, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from named_parts import by_name
from places import PUBLICATIONS, ROOT

from archsim import Architecture, Comparison, Mapping, compare, simulate
from archsim.api import find_best
from archsim.comparison.compare import contenders_of
from archsim.comparison.report import comparison_csv
from archsim.comparison.scaling import scale_to_area, total_area
from archsim.quantities import area, percent, ratio
from archsim.spec.index import interchangeable_entries
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError
from einsum_cascade.yaml.library import builtin_names, builtin_source
from mappers.construct.generators import GENERATORS
from workloads import load

THREE_PASSES = """
mapping:
  name: three-passes
  cascade: attention-3pass
  partition: {M: {M0: array_2d.rows}, P: {P0: array_2d.columns}}
  nest:
    - {level: DRAM, loops: [B, H, P1]}
  einsums:
    QK: {array: array_2d, spatial: {columns: P0, rows: M0}, loops: [M1, E]}
    GM: {array: array_1d, spatial: {lanes: P0}, loops: [M1, M0]}
    SN: {array: array_1d, spatial: {lanes: P0}, loops: [M1, M0]}
    SD: {array: array_1d, spatial: {lanes: P0}, loops: [M1, M0]}
    A:  {array: array_1d, spatial: {lanes: P0}, loops: [M1, M0]}
    AV: {array: array_2d, spatial: {columns: P0, rows: M0}, loops: [F, M1]}
  keep:
    DRAM: [Q, K, V, AV]
    global_buffer: [Q, K, V, QK, GM, SN, SD, A, AV]
  schedule: {kind: pipelined, lookahead: 2}
"""
"""Every score of a row of tiles stays on chip; what a machine without 2D maximum can do."""

ARRAYS = ("array_2d", "array_1d")
PAIR = ("flat-micro24", "fusemax-micro24")
PUBLISHED = PUBLICATIONS / "fusemax_bert.csv"


@pytest.fixture(scope="module")
def three_passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapping") / "three-passes.yaml"
    path.write_text(THREE_PASSES, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def at_equal_area(three_passes: Path) -> Comparison:
    mappings = {PAIR[0]: Mapping.load(three_passes)}
    return compare(load("bert-base"), PAIR, iso_area=True, mappings=mappings)


def compared(*arguments: str) -> dict[str, Any]:
    result = run("compare", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


# ------------------------------------------------------------------------------- the ratios


def test_ratios_are_to_the_first_machine(three_passes: Path) -> None:
    found = compared("bert-base", *PAIR, "--mapping", f"{PAIR[0]}={three_passes}")
    assert found["iso_area"] is False
    first, second = found["rows"]
    work = load("bert-base")
    slow = simulate(work, Architecture.load(PAIR[0]), Mapping.load(three_passes))
    fast = simulate(work, Architecture.load(PAIR[1]))
    for found_row, result in ((first, slow), (second, fast)):
        assert {k: found_row[k] for k in result.to_dict()} == json.loads(
            json.dumps(result.to_dict())
        )
    assert (first["speedup"], first["energy_ratio"], first["area_ratio"]) == (1, 1, 1)
    assert second["speedup"] == slow.latency_s / fast.latency_s
    assert second["energy_ratio"] == fast.energy_pj / slow.energy_pj
    assert second["area_ratio"] == fast.area_um2 / slow.area_um2
    assert second["speedup"] > 6
    assert second["energy_ratio"] < 1


def test_the_published_chips_by_hand(three_passes: Path) -> None:
    """FuseMax 1303.0 mm^2, FLAT 1391.8 mm^2: FuseMax is 6.4 % smaller."""
    flat, fusemax = compare(
        load("bert-base", seq_len=1024), PAIR, mappings={PAIR[0]: str(three_passes)}
    ).rows
    assert round(flat.result.area_um2 / 1e6, 1) == 1391.8
    assert round(fusemax.result.area_um2 / 1e6, 1) == 1303.0
    assert round(100 * (1 - fusemax.area_ratio), 1) == 6.4


def test_settings_are_for_every_machine() -> None:
    names = ("fusemax-micro24", "fusemax")
    line = ("--set", "seq_len=1K", "--set", "architecture.clock=1 GHz")
    arch = [f"--mapping={n}=fusemax-arch" for n in names]
    found = compared("bert-base", *names, *line, *arch)["rows"]
    assert [r["architecture"] for r in found] == list(names)
    assert all(r["cycles"] == pytest.approx(r["latency_s"] * 1e9) for r in found)
    assert all(r["mapping"] == "fusemax-arch" for r in found)
    assert all(dict(r["shape"])["M"] == 1024 for r in found)


def test_machines_of_one_name_are_told_apart(tmp_path: Path) -> None:
    variants = [
        Architecture.load("fusemax", [f"arrays.array_1d.shape.lanes={n}"]) for n in (256, 512)
    ]
    work = load("bert-base", seq_len=1024)
    assert [r.label for r in compare(work, variants).rows] == ["fusemax #1", "fusemax #2"]
    path = tmp_path / "mine.yaml"
    text = builtin_source("architectures", "fusemax").text
    path.write_text(text.replace("940 MHz", "1 GHz"), encoding="utf-8")
    labels = [r.label for r in compare(work, ["fusemax", str(path)]).rows]
    assert labels == ["fusemax (specs/architectures/fusemax.yaml)", f"fusemax ({path})"]
    with pytest.raises(InputError, match="is given twice"):
        compare(work, ["fusemax", Architecture.load("fusemax")])


# ------------------------------------------------------------------------------- equal area


def test_the_command_calls_machines_by_their_names(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{letter}.yaml") for letter in "abc"]
    for file, name in zip(files, ("mine", "alike", "alike"), strict=True):
        text = f"architecture: {{extends: fusemax, name: {name}, clock: {len(file) + 99} MHz}}\n"
        Path(file).write_text(text if file != files[2] else text.replace("MHz", "kHz"))
    given = [f"--mapping={file}=fusemax-binding" for file in files]
    line = ("bert-base", *files, *given, "--set", "seq_len=256")
    rows = compared(*line)["rows"]
    assert [(row["label"], row["file"]) for row in rows] == [
        ("mine", files[0]),
        *((file, "") for file in files[1:]),
    ]
    assert {row["mapping"] for row in rows} == {"fusemax-binding"}
    found = Comparison.from_dict(compared(*line))
    title = f"as they are: mine of {files[0]}"
    assert found.table().title == f"bert-base on 3 machines {title}"
    assert found.plot(20).get_suptitle() == f"bert-base: mine of {files[0]}"


def test_machines_that_the_workload_does_not_fit_are_named() -> None:
    work = load("bert-base", ["shape.H=1", "shape.E=16", "shape.F=16"], seq_len=64, batch=1)
    settings = ["name=small", "memories.DRAM.installed=4 KiB"]
    report = compare(work, ["fusemax", Architecture.load("fusemax", settings)]).table()
    told = [note for note in report.notes if "not fit" in note]
    assert told == ["small does not fit: DRAM needs 8 KiB, has 4 KiB"]


def test_equal_area_scales_all_arrays_together(at_equal_area: Comparison) -> None:
    first, second = at_equal_area.rows
    assert first.scaling is None
    scaling = second.scaling
    assert scaling is not None
    assert scaling.scaled == "arrays"
    changed = {c.field: (c.before, c.after) for c in scaling.changes}
    size = changed["array_2d.rows"][1]
    assert changed == dict.fromkeys(
        ("array_2d.columns", "array_2d.rows", "array_1d.lanes"), (256, size)
    )
    # By hand: what is left beside the buffer grows with the square of the side.
    assert size == round(256 * ((1391.8 - 84.2) / (1303.0 - 84.2)) ** 0.5)
    reached = second.result.area_um2
    assert (scaling.target_um2, scaling.after_um2) == (first.result.area_um2, reached)
    assert scaling.residual == pytest.approx(second.area_ratio - 1)
    for other in (size - 1, size + 1):
        settings = [
            *(f"arrays.array_2d.shape.{d}={other}" for d in ("rows", "columns")),
            f"arrays.array_1d.shape.lanes={other}",
        ]
        missed = total_area(Architecture.load(PAIR[1], settings)) - scaling.target_um2
        assert abs(missed) > abs(reached - scaling.target_um2)


def test_the_scaled_machine_is_the_one_that_settings_make() -> None:
    """The reduction latency, one hop per row, grows with the array."""
    machine = Architecture.load("fusemax")
    scaled, scaling = scale_to_area(machine, 0.5 * total_area(machine))
    sizes = {c.field: c.after for c in scaling.changes}
    made = Architecture.load(
        "fusemax",
        [
            f"arrays.{array}.shape.{axis}={size}"
            for array, axis, size in ((*f.split("."), n) for f, n in sizes.items())
        ],
    )
    assert scaled == made
    assert made.arrays[0].dimensions[1].reduction_latency_cycles == sizes["array_2d.rows"] != 256


def test_what_the_readme_says_about_the_published_chips() -> None:
    flat, fusemax = (Architecture.load(n) for n in PAIR)
    arrays, by_arrays = scale_to_area(fusemax, total_area(flat))
    buffer, by_buffer = scale_to_area(fusemax, total_area(flat), "global_buffer")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    said = re.search(
        r"arrays of (\d+) instead of 256\s+elements a side FuseMax comes within ([\d.]+) %, "
        r"with a buffer of ([\d.]+) instead of 16 MiB it is equal",
        readme,
    )
    assert said is not None
    assert int(said[1]) == arrays.arrays[1].elements
    assert float(said[2]) == abs(round(100 * by_arrays.residual, 2))
    capacity = buffer.memories[1].capacity_bytes
    assert capacity is not None
    assert float(said[3]) == round(capacity / 2**20, 1)
    assert abs(by_buffer.residual) < 1e-5
    (_, row) = compare(load("bert-base"), PAIR).rows
    said = f"is {ratio(row.speedup)} as fast as `flat-micro24` at {percent(row.energy_ratio)} of"
    assert said in " ".join(readme.split())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.97, 1.0, 1.5, 4.0])
def test_shapes_keep_their_relations(share: float) -> None:
    settings = [
        "arrays.array_2d.shape.columns=512",
        "arrays.array_2d.shape.rows=128",
        "arrays.array_1d.shape.lanes=512",
    ]
    machine = Architecture.load("fusemax", settings)
    scaled, scaling = scale_to_area(machine, share * total_area(machine))
    columns, rows, lanes = (d.size for a in scaled.arrays for d in a.dimensions)
    assert columns == lanes
    assert rows == pytest.approx(columns / 4, abs=0.5)
    assert abs(scaling.residual) < 0.02
    assert scaling.changes or share == 1


@pytest.mark.parametrize("share", [0.97, 1.0, 1.1, 2.0])
@pytest.mark.parametrize("name", ["fusemax", "cascade-on-flat-micro24"])
def test_a_buffer_is_scaled_by_whole_lines(name: str, share: float) -> None:
    machine = Architecture.load(name)
    target = share * total_area(machine)
    scaled, scaling = scale_to_area(machine, target, "global_buffer")
    buffer, before = scaled.memories[1], machine.memories[1]
    assert buffer.capacity_bytes is not None
    assert before.capacity_bytes is not None
    assert buffer.capacity_bytes % (buffer.line_bits // 8) == 0
    assert abs(scaling.residual) < 1e-4
    assert scaled.arrays == machine.arrays
    grown = buffer.capacity_bytes / before.capacity_bytes
    assert (grown > 1) == (share > 1)
    if before.billed_bytes is not None:
        assert buffer.billed_bytes is not None
        assert buffer.billed_bytes / before.billed_bytes == pytest.approx(grown, rel=1e-3)


def test_a_machine_that_cannot_be_scaled_near() -> None:
    machine = Architecture.load("fusemax")
    with pytest.raises(InputError, match=r"by its arrays: in whole elements .* 84\.20 mm²") as no:
        scale_to_area(machine, 10e6)
    assert "--scale global_buffer" in str(no.value)
    with pytest.raises(InputError, match=r"by its global_buffer: in whole lines .* 1,219 mm²"):
        scale_to_area(machine, 100e6, "global_buffer")
    shape = ("shape.columns=2", "shape.rows=2")
    small = Architecture.load(
        "fusemax",
        [
            *(f"arrays.array_2d.{s}" for s in shape),
            "arrays.array_1d.shape.lanes=2",
            "memories.global_buffer.capacity=2 KiB",
            "memories.global_buffer.line=64 bit",
        ],
    )
    with pytest.raises(InputError, match="no closer than"):
        scale_to_area(small, 1.5 * total_area(small))


# ------------------------------------------------------------------- which mapping is chosen


def test_a_cascade_without_a_written_mapping_runs_by_one_that_is_made() -> None:
    own = [n for n in builtin_names("mappings") if Mapping.load(n).cascade == "attention-naive"]
    assert own == [], "choose another cascade that no built-in mapping runs"
    work = load("bert-base", cascade="attention-naive", seq_len=1024)
    rows = compare(work, ["fusemax-micro24", "fusemax"]).rows
    assert [r.result.mapping for r in rows] == ["beam"] * 2


def test_mappings_are_tried_pipelined_ones_first_then_by_name() -> None:
    found = interchangeable_entries("attention-3pass")
    keys = [(m.schedule != "pipelined", m.name) for m in found]
    assert keys == sorted(keys)
    assert {"fusemax-binding", "fusemax-arch"} <= {m.name for m in found}
    assert "linear-attention-by-head" not in {m.name for m in found}
    assert {Cascade.load(m.cascade).program.reference for m in found} == {"softmax_attention"}


def test_a_machine_runs_the_mapping_it_was_designed_for() -> None:
    """Its own mapping is what it runs where none is asked for: nothing is refused first."""
    names = ("fusemax-micro24", "cascade-on-flat-micro24", "flat-micro24", "flat")
    comparison = compare(load("bert-base", seq_len=1024), names)
    assert [r.result.mapping for r in comparison.rows] == [
        *("fusemax-binding", "fusemax-cascade", "flat", "flat")
    ]
    assert [r.refused for r in comparison.rows] == [()] * 4
    flat = Architecture.load("flat-micro24")
    assert simulate(load("bert-base", seq_len=1024), flat).mapping == "flat"


def test_the_mapping_a_machine_was_designed_for_must_compute_the_same() -> None:
    """Linear attention on FLAT's machine is not answered with softmax attention."""
    work = load("bert-base", cascade="linear-attention", seq_len=1024)
    (first, _) = compare(work, ["flat", "flat-micro24"]).rows
    assert first.result.mapping == "linear-attention-by-head"
    idle = [
        f"arrays.{array}.operations={{add: {{cycles: 1, bill: {{add: 1}}}}}}" for array in ARRAYS
    ]
    machine = replace(Architecture.load("flat", idle), name="idle")
    with pytest.raises(InputError) as no:
        compare(work, ["flat", machine])
    assert "idle: some Einsums run on no array of idle" in str(no.value)
    assert "  flat:" not in str(no.value)


def test_a_machine_designed_for_a_mapping_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"no built-in mapping 'falt'") as no:
        Architecture.load("flat", ["mapping=falt"])
    assert "did you mean 'flat'?" in str(no.value)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published table is not beside the project")
@pytest.mark.parametrize("tokens", ["1K", "4K", "16K", "64K", "256K", "1M"])
def test_speedup_and_energy_over_flat_as_published(tokens: str) -> None:
    with PUBLISHED.open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["table"] == "attention"]
    flat, binding = (
        next(r for r in rows if (r["configuration"], r["seq_len"]) == (name, tokens))
        for name in ("flat", "binding")
    )
    (_, fusemax) = compare(load("bert-base", seq_len=tokens), PAIR).rows
    speedup = float(flat["latency_s"]) / float(binding["latency_s"])
    energies = [float(r["energy_pj_without_overflow"]) for r in (binding, flat)]
    assert fusemax.speedup == pytest.approx(speedup, rel=1e-3)
    assert fusemax.energy_ratio == pytest.approx(energies[0] / energies[1], rel=2e-3)


def test_a_machine_that_lacks_operations_is_told_all_of_them() -> None:
    idle = [
        f"arrays.{array}.operations={{add: {{cycles: 1, bill: {{add: 1}}}}}}" for array in ARRAYS
    ]
    machine = replace(Architecture.load("fusemax", idle), name="idle")
    with pytest.raises(MappingError) as no:
        compare(load("bert-base"), ["fusemax", machine])
    assert str(no.value).splitlines() == [
        "idle: some Einsums run on no array of idle; array_1d lacks for them:",
        "    mac: BQK, SLNV",
        "    max: LM, RM",
        "    exp: SLN, PRM",
        "    mul: SPD, SPNV",
        "    div: AV",
        "    hint: give an array the operations that are missing",
    ]


def test_a_mapping_for_arrays_of_other_names(tmp_path: Path) -> None:
    machine = Architecture.load("fusemax")
    arrays = (replace(machine.arrays[0], name="mxu"), replace(machine.arrays[1], name="vpu"))
    renamed = replace(machine, name="renamed", arrays=arrays)
    own = tmp_path / "own.yaml"
    own.write_text(by_name("fusemax-binding"), encoding="utf-8")
    mappings = {"renamed": str(own)}
    with pytest.raises(InputError, match="renamed: no array is called 'array_2d'") as far:
        compare(load("bert-base"), [machine, renamed], mappings=mappings)
    assert "hint: known: matrix, mxu, vector, vpu" in str(far.value)
    # The built-in ones are for roles.
    first, second = compare(load("bert-base"), [machine, renamed]).rows
    assert first.result.mapping == second.result.mapping == "fusemax-binding"
    assert first.result.latency_s == second.result.latency_s


def test_the_same_shapes_missing_for_every_mapping_are_said_once() -> None:
    work = load("bert-base")
    bare = replace(work, shapes=tuple(s for s in work.shapes if s[0] != "E"))
    with pytest.raises(InputError) as no:
        compare(bare, ["fusemax", "fusemax-micro24"])
    assert str(no.value).count("missing") == 1


# ------------------------------------------------------------------------- how it is shown


def test_a_comparison_round_trips_through_json(at_equal_area: Comparison) -> None:
    text = json.dumps(at_equal_area.to_dict(), allow_nan=False)
    assert Comparison.from_dict(json.loads(text)) == at_equal_area
    with pytest.raises(InputError, match="comparison:1:1: the field 'rows' is missing"):
        Comparison.from_dict({"iso_area": True})


def test_the_table_says_what_the_json_says(at_equal_area: Comparison) -> None:
    text = str(at_equal_area.table())
    second = at_equal_area.rows[1]
    assert second.scaling is not None
    assert ratio(second.speedup) in text
    assert f"{100 * second.scaling.residual:+.2f} %" in text
    assert "array_2d.rows 256 265" in " ".join(text.split())
    for name, size in second.result.area_by_component:
        assert re.search(rf"{name} .* {re.escape(area(size))}", text)
    assert "<table" in at_equal_area._repr_html_()


def test_the_spreadsheet_has_the_exact_numbers(at_equal_area: Comparison) -> None:
    rows = list(csv.DictReader(StringIO(comparison_csv(at_equal_area))))
    for line, row in zip(rows, at_equal_area.rows, strict=True):
        assert line["machine"] == row.label
        assert float(line["speedup"]) == row.speedup
        assert float(line["area_um2"]) == row.result.area_um2
        assert float(line["utilization_array_2d"]) == row.result.utilization["array_2d"]
    assert rows[0]["area_residual"] == ""


def test_the_picture_has_a_bar_per_machine_and_measure(at_equal_area: Comparison) -> None:
    figure = at_equal_area.plot()
    speed, joules, space = figure.axes
    assert [b.get_width() for b in speed.patches] == [r.speedup for r in at_equal_area.rows]
    for axes, name in ((joules, "energy_ratio"), (space, "area_ratio")):
        for at, row in enumerate(at_equal_area.rows):
            parts = [b.get_width() for b in axes.patches if round(b.get_y() + 0.3) == at]
            assert sum(parts) == pytest.approx(getattr(row, name))


def test_pictures_and_tables_have_components_in_one_order() -> None:
    """The machine's: memories outermost first, each array after its registers."""
    order = ["DRAM", "global_buffer", "array_2d.registers", "array_2d", "array_1d.registers"]
    order.append("array_1d")
    found = compare(load("bert-base", seq_len=1024, scope="block"), ["fusemax", "flat"])
    (legend,) = found.plot().legends
    assert [t.get_text() for t in legend.get_texts()] == order
    for row in found.rows:
        for result in (row.result, *(part.result for part in row.result.parts)):
            names = [name for name, _ in result.energy_by_component]
            assert names == [name for name in order if name in names]
            sizes = [name for name, _ in result.area_by_component]
            assert sizes == [name for name in order if name in sizes]
        assert [name for name, _ in row.result.energy_by_component] == order


def test_out_writes_tables_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    line = ("bert-base", "fusemax", "fusemax-micro24", "--set", "seq_len=1K")
    result = run("compare", *line, "--out", str(folder))
    assert result.exit_code == 0, result.stderr
    names = {p.name for p in folder.iterdir()}
    assert names == {"compare.json", "table.csv", "compare.png", "compare.svg"}
    assert json.loads((folder / "compare.json").read_text()) == compared(*line)
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    picture = (folder / "compare.svg").read_text()
    assert "<svg" in picture
    assert "<dc:date>" not in picture, "equal runs draw equal files"
    assert "speedup" in result.stdout


# ------------------------------------------------------------------------------ bad input


def test_one_machine_is_no_comparison() -> None:
    assert "needs two machines or more, got fusemax" in refused("compare", "bert-base", "fusemax")
    assert "Missing argument 'ARCH ARCH...'" in refused("compare", "bert-base")
    with pytest.raises(InputError, match="needs two machines or more, got none"):
        compare(load("bert-base"), [])


def test_the_same_machine_twice(tmp_path: Path) -> None:
    twice = refused("compare", "bert-base", "fusemax", "fusemax")
    assert "'fusemax' is given twice" in twice
    copy = tmp_path / "copy.yaml"
    copy.write_text(builtin_source("architectures", "fusemax").text, encoding="utf-8")
    text = refused("compare", "bert-base", "fusemax", str(copy))
    assert f"'{copy}' is given twice (as 'fusemax')" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--mapping", "fusemax-binding"), "write fusemax=fusemax-binding"),
        (("--mapping", "fusmax=fusemax-arch"), "did you mean 'fusemax'?"),
        (("--mapping", "fusemax="), "a mapping's name is expected after '='"),
        (("--mapping", "fusemax=fusemax-arh"), "did you mean 'fusemax-arch'?"),
        (("--mapping", "fusemax=fusemax-arch") * 2, "fusemax is given two mappings"),
        (("--scale", "arrays"), "--iso-area"),
        (("--iso-area", "--scale", "array"), "did you mean 'arrays'?"),
        (("--iso-area", "--scale", "DRAM"), "has no area on chip for 'DRAM'"),
        (("--set", "mapping.schedule.lookahead=3"), "mappings of their own"),
    ],
)
def test_wrong_options(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused("compare", "bert-base", "fusemax", "fusemax-micro24", *arguments)


def test_python_refuses_a_mapping_for_nobody() -> None:
    with pytest.raises(InputError, match="no machine here is called 'fusemx'"):
        compare(
            load("bert-base"), ["fusemax", "fusemax-micro24"], mappings={"fusemx": "fusemax-arch"}
        )


def test_a_machine_may_run_a_generated_mapping() -> None:
    work = load("bert-base", scope="attention", seq_len=1024)
    found = compare(work, ["fusemax", "flat"], mappings={"flat": "einsum-by-einsum"})
    assert [row.result.mapping for row in found.rows][1] == "einsum-by-einsum"


def test_a_search_for_all_machines_includes_machines_of_ones_own() -> None:
    fusemax = Architecture.load("fusemax")
    mine = replace(fusemax, name="mine", clock_hz=2 * fusemax.clock_hz)
    found = contenders_of(
        load("bert-base"), ["flat", mine], "auto", find=find_best, generators=GENERATORS
    )
    assert [(c.label, c.mapping) for c in found] == [("flat", find_best), ("mine", find_best)]
