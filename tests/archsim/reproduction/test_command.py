"""``archsim reproduce``: what is printed, what is written, what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small import write

from archsim.cli.application import archsim

FILES = {"headline.csv", "runs.csv", "report.md"} | {
    f"figure-0{n}.{form}" for n in range(3, 8) for form in ("csv", "png", "svg")
}


def run(*arguments: object) -> Result:
    """``archsim reproduce`` in this process, alone."""
    words = ["reproduce", *map(str, arguments), "--workers", "1"]
    return CliRunner().invoke(archsim, words, prog_name="archsim")


def refused(*arguments: object) -> str:
    """What is said of a wrong input: exit code 2, nothing on stdout, no traceback."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert isinstance(result.exception, SystemExit)
    return result.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("out")
    plan = write(tmp_path_factory.mktemp("plan"))
    return folder / "made", run(plan, "--out", folder / "made")


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.mark.slow
def test_the_headline_is_printed(written: tuple[Path, Result]) -> None:
    _, result = written
    assert result.exit_code == 0
    assert "attention speedup, Fast over Slow" in result.stdout
    assert "3.1x" in result.stdout
    assert "corrected: they cannot count" in result.stdout
    assert "as we count" in result.stdout
    assert result.stderr.startswith(f"wrote {len(FILES)} files to ")


def test_every_file_is_written(written: tuple[Path, Result]) -> None:
    folder, _ = written
    assert {p.name for p in folder.iterdir()} == FILES
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    for path in folder.glob("*.svg"):
        assert "</svg>" in path.read_text(encoding="utf-8")


def test_tables_agree_with_one_another(written: tuple[Path, Result]) -> None:
    folder, _ = written
    runs = {
        (r["billing"], r["scope"], r["configuration"], r["seq_len"]): r
        for r in table(folder / "runs.csv")
        if not r["machine"]
    }
    assert len(runs) == 16
    faster = table(folder / "figure-04.csv")
    assert len(faster) == 8
    for row in faster:
        key = (row["billing"], "layer", row["configuration"], row["seq_len"])
        base = (row["billing"], "layer", "slow", row["seq_len"])
        expected = float(runs[base]["latency_s"]) / float(runs[key]["latency_s"])
        assert float(row["value"]) == expected
    means = table(folder / "headline.csv")
    speedups = [
        float(runs["theirs", "attention", "slow", n]["latency_s"])
        / float(runs["theirs", "attention", "fast", n]["latency_s"])
        for n in ("1024", "4096")
    ]
    assert float(means[0]["reproduced_theirs"]) == pytest.approx(sum(speedups) / 2)
    assert float(means[0]["printed"]) == 3.1


def test_stacks_and_breakdowns_add_up(written: tuple[Path, Result]) -> None:
    folder, _ = written
    for name in ("figure-05.csv", "figure-06.csv"):
        rows = table(folder / name)
        keys = {(r["billing"], r["configuration"], r["seq_len"]) for r in rows}
        assert len(keys) == 8
        for key in keys:
            mine = [r for r in rows if (r["billing"], r["configuration"], r["seq_len"]) == key]
            whole = sum(float(r["value"]) for r in mine if not r["part"])
            parts = [float(r["value"]) for r in mine if r["part"]]
            assert len(parts) > 3
            assert sum(parts) == pytest.approx(whole)


def test_the_report_shows_every_figure(written: tuple[Path, Result]) -> None:
    folder, _ = written
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# A small study\n")
    for heading in ("Figure 3: Busy", "Figure 7: Area", "## over Slow, as they count"):
        assert heading in text
    assert "| bert-base | 4K |" in text


def test_one_figure_is_printed_as_a_table(tmp_path: Path) -> None:
    result = run(write(tmp_path), "--figure", 6)
    assert result.exit_code == 0
    assert "Figure 6: Einsums" in result.stdout
    assert "Fast: 1D, as they count" in result.stdout
    assert "SPNV" in result.stdout
    assert "Figure 3" not in result.stdout
    assert "attention speedup" not in result.stdout


def test_missing_runs_are_said_and_end_with_code_1(tmp_path: Path) -> None:
    plan = write(tmp_path, ("      mapping: fusemax-binding", "      mapping: nothing"))
    result = run(plan, "--out", tmp_path / "out")
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert "missing: 8 runs of fast (attention): there is no built-in mapping" in said
    assert "missing: 4 runs of fast (layer): there is no built-in mapping" in said
    rows = table(tmp_path / "out" / "runs.csv")
    assert all(bool(r["missing"]) == (r["configuration"] == "fast") for r in rows)
    assert (tmp_path / "out" / "figure-04.png").exists()


THEIRS = "table,configuration,tokens,seconds,bytes\n"


def test_published_figures_are_put_beside(tmp_path: Path) -> None:
    plan, folder = write(tmp_path), tmp_path / "published"
    folder.mkdir()
    (folder / "theirs.csv").write_text(
        THEIRS + "a,slow,1K,0.006,402653184\na,fast,4096,0.0297,1\nb,fast,1K,1,1\na,other,1K,1,1\n",
        encoding="utf-8",
    )
    (folder / "machines.csv").write_text("size,area\n64,1e6\n7,1\n", encoding="utf-8")
    # Two figures are enough: they need all runs of attention, and the sweep.
    some = ("--figure", 3, "--figure", 7)
    result = run(plan, *some, "--published", folder, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "Beside the published figures" in result.stdout
    rows = table(tmp_path / "out" / "published.csv")
    keys = [(r["configuration"], r["seq_len"], r["machine"], r["quantity"]) for r in rows]
    assert keys == [
        ("slow", "1024", "", "latency_s"),
        ("slow", "1024", "", "traffic_bytes"),
        ("fast", "4096", "", "latency_s"),
        ("fast", "4096", "", "traffic_bytes"),
        ("fast", "4096", "64x64", "area_um2"),
    ]
    for row in rows:
        ours, theirs = float(row["reproduced"]), float(row["published"])
        assert float(row["relative_difference"]) == pytest.approx((ours - theirs) / theirs)
    assert rows[1]["relative_difference"] == "0.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected theirs.csv, machines.csv there, found none"),
        (
            "table,configuration,tokens,second,bytes\n",
            "no column 'seconds'; did you mean 'second'?",
        ),
        (THEIRS + "a,fast,1K,soon,1\n", "theirs.csv:2: seconds: expected a number, got 'soon'"),
        (THEIRS + "a,fast,1K,nan,1\n", "expected a finite number, got 'nan'"),
        (THEIRS + "a,fast,1K\n", "theirs.csv:2: seconds: expected a number, got ''"),
    ],
)
def test_published_figures_that_cannot_be_read_are_refused(
    tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "theirs.csv").write_text(text, encoding="utf-8")
    assert said in refused(write(tmp_path), "--published", tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert "did you mean 'fusemax'?" in refused("fusemaks")


@pytest.mark.parametrize("number", ["5", "13", "0", "-1"])
def test_a_figure_that_is_not_there_is_refused(number: str) -> None:
    said = refused("fusemax", "--figure", number)
    assert f"no figure {number}; known: 6, 7, 8, 9, 10, 11, 12" in said


def test_a_figure_that_is_no_number_is_refused() -> None:
    assert "'six' is not a valid integer" in refused("fusemax", "--figure", "six")


def test_an_out_that_is_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    plan = write(tmp_path)
    assert "it is not a folder" in refused(plan, "--out", plan)


def test_a_folder_of_published_figures_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such folder" in refused(write(tmp_path), "--published", tmp_path / "no")
