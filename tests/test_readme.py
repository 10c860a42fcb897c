"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import ROOT

from archsim import Architecture, simulate, sweep
from archsim.cli.application import archsim
from archsim.quantities import byte_size, energy, percent, seconds
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.yaml.library import builtin_names
from workloads import load

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_there_are_two_command_blocks() -> None:
    run, test = blocks("sh")
    assert "\npip install .\n" in run
    assert run.rstrip().endswith("archsim simulate")
    assert test.rstrip().endswith("pytest -n 2 -m 'not slow'")
    assert not blocks("bash")
    assert not blocks("console")


def test_the_cascade_shown_is_the_built_in_one() -> None:
    text, _ = blocks("yaml")
    assert Cascade.parse(text) == Cascade.load("attention-3pass")


def test_the_sweep_shown_runs(tmp_path: Path) -> None:
    _, text = blocks("yaml")
    path = tmp_path / "lengths-and-buffers.yaml"
    path.write_text(text, encoding="utf-8")
    frame = sweep(path, limit=2, workers=1)
    assert frame.attrs["points"] == 24
    assert frame["status"].tolist() == ["ok", "ok"]


def test_the_python_shown_runs() -> None:
    (text,) = blocks("python")
    names: dict[str, object] = {}
    exec(text, names)
    assert names["cascade"] == Cascade.load("attention-1pass")
    assert names["result"].latency_s > 0  # type: ignore[attr-defined]


RUN_ELSEWHERE = ("atlas", "map", "reproduce", "rewrite", "validate")
"""Commands that take long; tests of each of them run it in this way always."""


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=pytest.mark.slow) if c.startswith(RUN_ELSEWHERE) else c
        for c in re.findall(r"\| `archsim (.*?)` \|", README)
    ],
)
def test_the_commands_shown_run(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As they stand there; the two that run everything there is run a part of it.

    Far more cascades are in the tests of the atlas, all runs in those of the evaluation.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("archsim.cli.atlas.builtin_names", lambda kind: builtin_names(kind)[::16])
    words = command.split()
    part = ["--figure", "12"] if words[0] == "reproduce" else []
    result = CliRunner().invoke(archsim, [*words, *part])
    assert result.exit_code == 0, result.stderr


def test_every_file_it_points_at_is_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert "docs/engine.md" in targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


@pytest.mark.parametrize("line", re.findall(r"^\| \d+[KM] \|.*$", README, flags=re.MULTILINE))
def test_the_table_says_what_the_engine_says(line: str) -> None:
    tokens, *shown = (cell.strip() for cell in line.strip("|").split("|"))
    full, published = (
        simulate(load("bert-base", seq_len=tokens), Architecture.load(machine))
        for machine in ("fusemax", "fusemax-micro24")
    )
    assert shown == [
        seconds(full.latency_s),
        percent(full.utilization["array_2d"]),
        percent(full.utilization["array_1d"]),
        byte_size(full.traffic_bytes),
        energy(full.energy_pj),
        energy(published.energy_pj),
    ]


@pytest.mark.parametrize("scope", ["attention", "block", "model"])
def test_the_table_of_scopes_says_what_the_engine_says(scope: str) -> None:
    (line,) = re.findall(rf"^\| `{scope}` \|(.*)\|$", README, flags=re.MULTILINE)
    found = simulate(load("bert-base", scope=scope), Architecture.load("fusemax-micro24"))
    assert [cell.strip() for cell in line.split("|")] == [
        seconds(found.latency_s),
        percent(found.utilization["array_2d"]),
        percent(found.utilization["array_1d"]),
        byte_size(found.traffic_bytes),
        energy(found.energy_pj),
    ]
    if scope == "block":
        linear = [p for p in found.parts if p.name != "attention"]
        time, spent = sum(p.latency_s for p in linear), sum(p.energy_pj for p in linear)
        assert f"({seconds(time)}, {energy(spent)} a layer)" in README


def test_the_table_has_every_length() -> None:
    assert len(re.findall(r"^\| \d+[KM] \|", README, flags=re.MULTILINE)) == 6


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs/images/overview.png").stat().st_size < 200_000


def test_the_cascade_of_the_language_page_runs() -> None:
    page = (ROOT / "docs" / "cascades.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    cascade = Cascade.parse(text)
    assert Cascade.parse(cascade.text()) == cascade
    assert validate_cascade(cascade).verdict == "not checked"


def test_the_number_of_the_map_of_the_house_is_the_engines() -> None:
    """docs/architecture.md follows one number through the rooms, to where it was found."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    result = simulate(load("bert-base", seq_len=1024), Architecture.load("fusemax"))
    cycles = f"{result.cycles:,.0f}"
    assert f"says {cycles} cycles" in page
    assert f"{cycles} in all" in page
