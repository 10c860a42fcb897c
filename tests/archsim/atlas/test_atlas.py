"""The atlas: what it surveys, that its page says it, and that the page works in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import chromium, document_after
from click.testing import CliRunner
from portions import some

from archsim import Architecture, Mapping, simulate
from archsim.atlas import survey as surveys
from archsim.atlas.page import atlas_html
from archsim.atlas.survey import AtlasEntry, AtlasPlan, Scenario, details_html, most_passes, survey
from archsim.cli import archsim
from archsim.plan.job import Job
from archsim.plan.planner import evaluate_job
from archsim.plan.selection import mapping_called
from archsim.result.result import Result
from archsim.spec.mapping import EINSUM_BY_EINSUM
from einsum_cascade import Cascade
from einsum_cascade.counting.symbolic import Analysis
from einsum_cascade.errors import MappingError
from einsum_cascade.notation import program_mathml
from einsum_cascade.yaml.library import builtin_names, builtin_source
from mappers.construct.generators import GENERATORS
from mappers.memory import remember_texts
from workloads import load

CASCADES = ("attention-1pass", "attention-3pass", "layer-norm", "linear-attention")


@pytest.fixture(scope="module")
def plan() -> AtlasPlan:
    mappings = ("fusemax-arch", "fusemax-binding", "linear-attention-by-head")
    return AtlasPlan(
        cascades=CASCADES,
        machines=(Architecture.load("fusemax"), Architecture.load("flat")),
        mappings=tuple(Mapping.load(m) for m in mappings),
        scenarios=tuple(
            Scenario(label=n, workload=load("bert-base", seq_len=n)) for n in ("1K", "64K")
        ),
    )


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What the survey says that it does, filled in by ``entries``."""
    return []


@pytest.fixture(scope="module")
def entries(plan: AtlasPlan, told: list[str]) -> tuple[AtlasEntry, ...]:
    return survey(plan, told.append)


@pytest.fixture(scope="module")
def page(
    plan: AtlasPlan, entries: tuple[AtlasEntry, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "atlas.html"
    path.write_text(atlas_html(plan, entries), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["fusemax", "flat"])
@pytest.mark.parametrize("place", range(3))
def test_built_in_cascades_have_their_entries(place: int, machine: str) -> None:
    """A quarter of them, each on one of the machines and at one of the lengths of the command."""
    names = builtin_names("cascades")[2 * place + (machine == "flat") :: 24]
    length = ("1K", "64K", "1M")[place]
    everything = AtlasPlan(
        cascades=names,
        machines=(Architecture.load(machine),),
        mappings=tuple(Mapping.load(m) for m in builtin_names("mappings")),
        scenarios=(Scenario(label=length, workload=load("bert-base", seq_len=length)),),
    )
    found = survey(everything)
    assert [e.name for e in found] == list(names)
    assert all((r.result is None) == bool(r.refusal) for e in found for r in e.runs)
    page = atlas_html(everything, found)
    assert all(name in page for name in names)


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 3))
def test_equations_are_wellformed_and_complete(name: str) -> None:
    program = Cascade.load(name).program
    text = program_mathml(program).replace("&nbsp;", " ")
    math = ElementTree.fromstring(text)
    rows = math.findall("./mtable/mtr")
    assert len(rows) == len(program.init) + len(program.einsums)
    for row, einsum in zip(rows, (*program.init, *program.einsums), strict=True):
        target, equals, value = row.findall("mtd")
        assert "".join(target.itertext()).startswith(einsum.target.tensor)
        assert "".join(equals.itertext()) == "="
        said = "".join(value.itertext())
        for access in einsum.reads:
            assert access.tensor in said


@pytest.mark.parametrize(
    ("equation", "said"),
    [
        ("Y[m] = (A[m] + B[m]) * A[m]", "(Am+Bm)·Am"),
        ("Y[m] = A[m] - (A[m] - B[m])", "Am-(Am-Bm)"),
        ("Y[m] = A[m] / (A[m] + B[m])", "AmAm+Bm"),
        ("Y[m] = (-A[m]) ** 2 + B[m]", "(-Am)2+Bm"),
        ("Y[m] = abs(A[m]) + floor(B[m])", "|Am|+⌊Bm⌋"),
        ("Y[m] = A[m] * B[m] where m <= 3 and not m == 1", "Am·Bmwhere m≤3∧(¬(m=1))"),
        ("Y = A[m] + B[m] :: max[m]", "maxm(Am+Bm)"),
        ("Y = A[m] * B[m]", "∑mAm·Bm"),
    ],
)
def test_brackets_where_they_are_needed(equation: str, said: str) -> None:
    text = f"""
cascade: small
ranks: {{M: things}}
inputs: {{A: [M], B: [M]}}
output: Y
einsums: |
  {equation}
"""
    math = program_mathml(Cascade.parse(text).program).replace("&nbsp;", " ")
    value = ElementTree.fromstring(math).findall("./mtable/mtr/mtd")[2]
    assert "".join(value.itertext()) == said


def test_every_run_is_what_simulate_says(plan: AtlasPlan, entries: tuple[AtlasEntry, ...]) -> None:
    runs = [r for e in entries for r in e.runs]
    # Three written mappings, and one made for each of the two cascades without.
    assert len(runs) == (3 + 2) * 2 * 2
    machines = {m.name: m for m in plan.machines}
    mappings = {mapping.name: mapping for mapping in plan.mappings}
    works = {s.label: s.workload for s in plan.scenarios}
    for run in runs:
        if run.mapping == EINSUM_BY_EINSUM:
            continue
        if run.mapping == "linear-attention-by-head" and run.length == "64K":
            assert run.result is None
            assert "needs 48.13 MiB" in run.refusal
            continue
        machine, how = machines[run.machine], mappings[run.mapping]
        alone = simulate(works[run.length], machine, how, approximate=True)
        assert run.result is not None
        same = ("latency_s", "energy_pj", "traffic_bytes", "utilization", "bound_by", "mapping")
        assert all(getattr(run.result, name) == getattr(alone, name) for name in same)


def test_a_cascade_without_a_mapping_runs_einsum_by_einsum(
    plan: AtlasPlan, entries: tuple[AtlasEntry, ...]
) -> None:
    by_name = {e.name: e for e in entries}
    for run in by_name["attention-3pass"].runs:
        assert run.mapping == EINSUM_BY_EINSUM
        work = load("bert-base", cascade="attention-3pass", seq_len=run.length)
        machine = Architecture.load(run.machine)
        made = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
        assert run.result is not None
        assert run.result.latency_s == simulate(work, machine, made).latency_s
    for run in by_name["layer-norm"].runs:
        assert run.result is not None
        # BERT has no rank of tokens: the sizes that are usual for layer-norm.
        assert dict(run.shapes) == {"N": 4096, "D": 768}


def test_lengths_that_a_cascade_lacks_run_once(
    plan: AtlasPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[str] = []

    def counted(job: Job) -> Result:
        evaluated.append(job.mapping.name)
        return evaluate_job(job)

    monkeypatch.setattr(surveys, "evaluate_job", counted)
    some = replace(plan, cascades=("layer-norm", "attention-3pass"), machines=plan.machines[:1])
    alone, varying = survey(some)
    # Layer norm has no rank of tokens; attention has two.
    assert len(evaluated) == 1 + len(plan.scenarios)
    first, *others = alone.runs
    assert [replace(run, length=first.length) for run in others] == [first] * len(others)
    assert [run.length for run in alone.runs] == [run.length for run in varying.runs]


def test_a_survey_keeps_no_bindings(plan: AtlasPlan) -> None:
    program = Cascade.load("layer-norm").program
    program.memo(id)
    survey(replace(plan, cascades=("layer-norm",), machines=plan.machines[:1]))
    assert not program.has(id)


def test_a_cascade_in_a_file_runs_in_the_shapes_of_the_workload(
    plan: AtlasPlan, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    text = builtin_source("cascades", "attention-3pass").text
    path.write_text(text.replace("cascade: attention-3pass", "cascade: mine"), encoding="utf-8")
    (entry,) = survey(replace(plan, cascades=(str(path),), machines=plan.machines[:1]))
    (builtin,) = survey(replace(plan, cascades=("attention-3pass",), machines=plan.machines[:1]))
    for run, same in zip(entry.runs, builtin.runs, strict=True):
        assert run.result is not None, run.refusal
        assert same.result is not None
        assert run.result.latency_s == same.result.latency_s


def test_progress_is_told_as_often_as_promised(
    plan: AtlasPlan, entries: tuple[AtlasEntry, ...], told: list[str]
) -> None:
    assert len(told) == plan.steps
    assert "attention-1pass by fusemax-arch on flat at 64K" in told


@pytest.mark.slow
def test_several_processes_survey_the_same(
    plan: AtlasPlan, entries: tuple[AtlasEntry, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surveys, "_MIN_CASCADES_FOR_PROCESSES", 1)
    some = replace(plan, cascades=CASCADES[1:], machines=plan.machines[:1])
    told: list[str] = []
    found = survey(some, told.append, workers=2)
    assert len(told) == some.steps
    for entry, alone in zip(found, entries[1:], strict=True):
        assert replace(entry, runs=(), details="") == replace(alone, runs=(), details="")
        assert entry.runs == tuple(r for r in alone.runs if r.machine == plan.machines[0].name)


TINY = """
cascade: tiny
ranks: {M: keys}
inputs: {A: [M]}
output: Y
einsums: |
  Y = A[m] * A[m]
"""


def test_entries_are_remembered_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key covers texts of cascades, machines and settings; a damaged entry counts as none."""
    monkeypatch.setenv("ARCHSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    surveyed: list[str] = []

    def counted(to_survey: AtlasPlan, name: str, advance: Callable[[str], object]) -> AtlasEntry:
        surveyed.append(name)
        return make(to_survey, name, advance)

    make = surveys._entry
    monkeypatch.setattr(surveys, "_entry", counted)
    one, two = Path("one.yaml"), Path("two.yaml")
    one.write_text(TINY, encoding="utf-8")
    two.write_text(TINY.replace("tiny", "small"), encoding="utf-8")
    machine = Path("machine.yaml")
    machine.write_text(builtin_source("architectures", "flat").text, encoding="utf-8")

    def again(*options: str) -> tuple[list[str], str]:
        """Return the cascades that were surveyed, and the page."""
        surveyed.clear()
        names = ["--arch", f"./{machine}", "--length", "1K", "--out", "out"]
        done = CliRunner().invoke(archsim, ["atlas", f"./{one}", f"./{two}", *names, *options])
        assert done.exit_code == 0, done.output
        return sorted(surveyed), Path("out/atlas.html").read_text(encoding="utf-8")

    both = [f"./{one}", f"./{two}"]
    made, page = again()
    assert made == both
    assert again() == ([], page)
    monkeypatch.setenv("ARCHSIM_CACHE", "")
    assert again() == (both, page)
    monkeypatch.setenv("ARCHSIM_CACHE", str(tmp_path / "cache"))

    # A changed cascade; a setting of the machine; the machine's text; the code.
    two.write_text(TINY.replace("tiny", "small").replace("* A[m]", "+ A[m]"), encoding="utf-8")
    made, page = again()
    assert made == both[1:]
    assert "<mo>+</mo>" in page
    assert again("--set", "architecture.clock=2 GHz")[0] == both
    machine.write_text(machine.read_text("utf-8").replace("DRAM", "HBM"), encoding="utf-8")
    made, page = again()
    assert made == both
    assert "bound by HBM" in page
    with monkeypatch.context() as patch:
        patch.setattr(surveys, "source_hash", lambda: "changed")
        assert again() == (both, page)

    assert again() == ([], page)
    for file in (tmp_path / "cache" / "atlas").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    assert again() == (both, page)
    # The checksum is right, and the text is no entry.
    for file in (tmp_path / "cache" / "atlas").iterdir():
        remember_texts("atlas", {file.name: '{"name": 3}'})
    assert again() == (both, page)


def test_what_cannot_be_counted_at_a_length_is_left_out_there(
    plan: AtlasPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Analysis.at

    def at(analysis: Analysis, shapes: dict[str, int]) -> Analysis:
        if shapes["N"] == 4096:
            raise MappingError("its mask ties too many points together to count them")
        return counted(analysis, shapes)

    monkeypatch.setattr(Analysis, "at", at)
    some = replace(plan, cascades=("layer-norm",), machines=plan.machines[:1])
    (entry,) = survey(some)
    assert entry.sized == ()
    assert all(run.result for run in entry.runs)
    assert "layer-norm" in atlas_html(some, (entry,))


def test_rows_that_can_be_compared_stand_together(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    bodies = re.findall(r'<tbody class="rows">(.*?)</tbody>', text, re.DOTALL)
    names = [re.findall(r'data-name="([^"]*)"', body) for body in bodies]
    assert names == [["attention-1pass", "linear-attention"], ["attention-3pass", "layer-norm"]]
    headings = re.findall(r'<th scope="rowgroup"[^>]*>(.*?)</th>', text)
    assert [h.split()[0] for h in headings] == ["under", "one"]


def embedded(page: Path) -> dict[str, dict[str, dict[str, object]]]:
    found = re.search(r'id="runs">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    data: dict[str, dict[str, dict[str, object]]] = json.loads(found[1])
    return data


def test_the_fastest_mapping_is_shown(page: Path) -> None:
    run = embedded(page)["runs"]["attention-1pass"]["fusemax"]["1K"]
    assert isinstance(run, dict)
    assert run["mapping"][0] == "fusemax-binding"
    fastest = simulate(load("bert-base", seq_len="1K"), Architecture.load("fusemax"))
    assert run["latency"][1] == fastest.latency_s
    assert run["energy"][1] == fastest.energy_pj
    assert run["use:array_1d"][1] == fastest.utilization["array_1d"]


def test_the_best_mapping_may_run_another_cascade_that_computes_the_same(page: Path) -> None:
    runs = embedded(page)["runs"]
    three, one = (runs[f"attention-{n}pass"]["fusemax"]["1K"] for n in (3, 1))
    assert isinstance(three, dict)
    assert isinstance(one, dict)
    assert three["mapping"][0] == EINSUM_BY_EINSUM
    assert three["best"] == ["fusemax-binding", "fusemax-binding", "runs attention-1pass"]
    assert three["best-latency"] == one["latency"] == one["best-latency"]


def test_what_does_not_run_says_why(page: Path) -> None:
    run = embedded(page)["runs"]["linear-attention"]["flat"]["64K"]
    assert isinstance(run, dict)
    assert run["mapping"][0] == "does not run"
    assert "needs 48.13 MiB" in run["mapping"][2]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("attention-1pass", ("1", "all ranks; inside a tile 2 over M0")),
        ("flash-decoding", ("1", "all ranks; inside a tile 2 over M2, 2 over M0")),
        ("attention-3pass", ("3", "M")),
        ("linear-attention", ("1", "all ranks")),
    ],
)
def test_passes_over_members_are_told_apart(name: str, told: tuple[str, str]) -> None:
    assert most_passes(Cascade.load(name).analyze().passes.ranks) == told


def test_state_is_the_footprint_with_numbers(page: Path) -> None:
    sized = embedded(page)["sized"]
    assert sized["attention-3pass"]["64K"]["state"][1] == 65536  # type: ignore[index]
    assert sized["linear-attention"]["64K"]["state"][1] == 0  # type: ignore[index]
    # Three moments' passes over a row of 768 features, whatever the workload is.
    assert sized["layer-norm"]["64K"]["state"][:2] == ["768", 768]  # type: ignore[index]


def test_the_page_needs_no_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!#)[^"']*|@import|url\(""", text)
    assert outside == []


def test_users_texts_are_escaped() -> None:
    text = """
cascade: odd
title: "<img src=x onerror=alert(1)> $rows & co"
source: "</script><b>"
ranks: {M: things}
inputs: {A: [M]}
output: Y
einsums: |
  Y = A[m]
"""
    cascade = Cascade.parse(text)
    analysis = cascade.analyze()
    entry = AtlasEntry(
        name=cascade.name,
        title=cascade.program.title,
        unverified=cascade.program.unverified,
        function="",
        passes=most_passes(analysis.passes.ranks),
        sized=(),
        runs=(),
        details=details_html(cascade.program, analysis, ()),
    )
    html = atlas_html(AtlasPlan(cascades=(), machines=(), mappings=(), scenarios=()), (entry,))
    assert "<img" not in html
    assert "<td style='text-align:left'>1: Y</td>" in html
    assert "</script><b>" not in html
    assert "$rows & co" in unescape(html)


def test_command_writes_the_page(tmp_path: Path) -> None:
    arguments = ["atlas", "layer-norm", "--out", str(tmp_path / "a"), "--length", "2K"]
    done = CliRunner().invoke(archsim, arguments)
    assert done.exit_code == 0, done.output
    assert 'id="cascade-layer-norm"' in (tmp_path / "a" / "atlas.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["layer-nrom", "--out", "x"], "layer-norm"),
        (["--out", "x", "--length", "many"], "many"),
        (["--out", "x", "--arch", "fusemaxx"], "fusemax"),
        (["--out", "x", "--workload", "bert"], "bert-base"),
        ([], "--out"),
        (["--out", "x", "--set", "scope=block"], "scope=attention"),
        (["--out", "x", "--set", "seq_len=3"], "--length says how many tokens"),
        (["--out", "x", "--set", "mapping.schedule.lookahead=2"], "mapping.FIELD is not taken"),
        (["--out", "/dev/null"], "cannot write into /dev/null: it is not a folder"),
    ],
)
def test_mistakes(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(archsim, ["atlas", *arguments])
    assert done.exit_code == 2
    assert said in done.output
    assert not Path("x").exists()


needs_browser = pytest.mark.skipif(
    chromium() is None, reason="no Chromium here (Debian: apt-get install chromium)"
)


@needs_browser
def test_sorting_choosing_and_finding_in_a_browser(page: Path, tmp_path: Path) -> None:
    script = """
const heads = Array.from(table.tHead.rows[0].cells);
const click = name => heads.find(h => h.textContent === name).querySelector("button").click();
const order = () => bodies.map(
    body => Array.from(body.rows, r => r.dataset.name).join(" ")).join(" | ");
const cell = (name, field) => table.querySelector(
    `tr[data-name=${name}] td[data-field=${field}]`).textContent;
const said = [];
click("passes"); said.push("up " + order());
click("passes"); said.push("down " + order());
click("latency"); said.push("latency " + order());
said.push("before " + cell("attention-1pass", "latency"));
length.value = "64K"; length.dispatchEvent(new Event("change"));
said.push("after " + cell("attention-1pass", "latency"));
machine.value = "flat"; machine.dispatchEvent(new Event("change"));
said.push("flat " + cell("attention-1pass", "mapping"));
find.value = "NORM"; find.dispatchEvent(new Event("input"));
said.push("shown " + document.getElementById("shown").textContent);
const out = document.createElement("pre"); out.id = "said"; out.textContent = said.join("\\n");
document.body.append(out);
"""
    document = document_after(page, script, tmp_path)
    found = re.search(r'<pre id="said">(.*?)</pre>', document, re.DOTALL)
    assert found, document[-2000:]
    said = dict(line.split(" ", 1) for line in unescape(found[1]).splitlines())
    # What runs Einsum by Einsum stands apart, whatever the table is sorted by.
    mapped = "attention-1pass linear-attention"
    assert said["up"] == f"{mapped} | attention-3pass layer-norm"
    assert said["down"] == f"{mapped} | attention-3pass layer-norm"
    assert said["latency"] == f"{mapped} | layer-norm attention-3pass"
    assert said["before"] == "2.014 ms"
    assert said["after"] == "7.403 s"
    # Its matrix array has no maximum: what needs one goes to the lanes.
    assert said["flat"] == "fusemax-arch"
    assert said["shown"] == "1 of 4 cascades"
