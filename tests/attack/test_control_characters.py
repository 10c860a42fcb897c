"""What a file, a path or a word of the command line says is shown, never obeyed."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run
from places import ROOT
from small import TEXT

from archsim import Architecture, simulate
from archsim.document import Document, Fact, to_html, to_markdown, to_text
from archsim.reproduction import Reproduction, study
from archsim.reproduction.figures import pictures
from einsum_cascade import Cascade
from einsum_cascade.source import html_text, visible
from workloads import load

HOSTILE = "\x1b[31m\x9b5m\x07\x7f\x00\x85\u202e\u2066\u2028\r!"
QUOTED = r'"\e[31m\x9b5m\a\x7f\0\N\u202e\u2066\L\r!"'
"""The same as YAML writes it."""

SHAPE = ("--set", "seq_len=64", "--set", "batch=1")


def unseen(text: str) -> list[str]:
    """Characters that a terminal obeys or that turn what stands beside them."""
    return [
        c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in "\n\t"
    ]


def test_every_character_without_a_shape_is_written_as_an_escape() -> None:
    everything = "".join(map(chr, (*range(0x3000), 0xD800, 0xDFFF, 0xFEFF, 0xE0001, 0xE007F)))
    shown = visible(everything)
    # What is left are marks of letters, which turn nothing.
    assert all("\u0600" <= c <= "\u08ff" for c in unseen(shown))
    assert "\n" in shown
    assert "\t" in shown
    assert visible("a\r\nb") == "a\r\nb"
    assert visible("\U000e0001\ud800") == r"\U000e0001\ud800"
    assert html_text('<"\x1b') == r"&lt;&quot;\x1b"


def test_a_document_shows_them_in_every_form() -> None:
    document = Document(
        title=HOSTILE, subtitle=HOSTILE, facts=(Fact(HOSTILE, HOSTILE, HOSTILE),), notes=(HOSTILE,)
    )
    for text in (to_text(document), to_html(document), to_markdown(document)):
        assert not unseen(text)
        assert r"\x1b[31m\x9b5m\x07\x7f\x00\x85\u202e\u2066\u2028\x0d!" in text


def _with_titles(text: str) -> str:
    """A specification whose every title and source says something hostile."""
    changed, count = re.subn(
        r"(?m)^( *)(title|source|unverified): .*$",
        lambda found: f"{found[1]}{found[2]}: {QUOTED}",
        text,
    )
    assert count
    return changed


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], str]:
    def write(kind: str, name: str) -> str:
        text = (ROOT / "specs" / kind / f"{name}.yaml").read_text(encoding="utf-8")
        path = tmp_path / f"{kind}-{name}.yaml"
        path.write_text(_with_titles(text), encoding="utf-8")
        return str(path)

    return write


def _clean(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert not unseen(result.stdout + result.stderr)
    return result.stdout


def test_titles_of_files_are_shown(written: Callable[[str, str], str]) -> None:
    cascade = written("cascades", "attention-3pass")
    assert r"\x1b[31m" in _clean("analyze", cascade)
    json.loads(_clean("analyze", cascade, "--json"))
    for form in ("dot", "latex", "yaml"):
        _clean("show", cascade, "--format", form)
    _clean("rewrite", cascade, "defer_division")
    machine, work = written("architectures", "fusemax"), written("workloads", "bert-base")
    how = (*SHAPE, "--mapping", "fusemax-binding")
    json.loads(_clean("simulate", work, machine, *how, "--json"))
    assert "latency" in _clean("simulate", work, machine, *how, "--explain")
    page = Cascade.load(cascade)._repr_html_()
    assert not unseen(page)


def test_a_study_and_its_pictures_show_them(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    text = TEXT
    for title in ("Slow", "Busy", "as we count", "Faster"):
        text = text.replace(f": {title}\n", f': {QUOTED[:-1]} $x_{title[:2]}$"\n')
        text = text.replace(f": {title}}}", f': {QUOTED[:-1]}"}}')
    path.write_text(text, encoding="utf-8")
    plan = Reproduction.load(path).only((3,))
    found = study(plan)
    drawn = pictures(found.data(plan.figures[0]))["svg"].decode()
    assert not unseen(drawn)
    assert r"\x1b[31m" in drawn
    assert "$x_Sl$" in drawn


NAMES = [
    ("cascades", "attention-3pass", "cascade: attention-3pass", "cascade: "),
    ("architectures", "fusemax", "name: fusemax", "name: "),
    ("workloads", "bert-base", "name: bert-base", "name: "),
    ("mappings", "flat", "name: flat", "name: "),
    ("technology", "accelergy-45nm", "name: accelergy-45nm", "name: "),
]


@pytest.mark.parametrize(("kind", "name", "old", "new"), NAMES, ids=[n[0] for n in NAMES])
def test_a_name_cannot_hold_them(tmp_path: Path, kind: str, name: str, old: str, new: str) -> None:
    text = (ROOT / "specs" / kind / f"{name}.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "named.yaml"
    path.write_text(text.replace(old, new + QUOTED, 1), encoding="utf-8")
    given = {
        "cascades": ("analyze", str(path)),
        "architectures": ("simulate", "bert-base", str(path)),
        "workloads": ("simulate", str(path), "fusemax"),
        "mappings": ("simulate", "bert-base", "fusemax", "--mapping", str(path)),
        "technology": (
            "simulate",
            "bert-base",
            "fusemax",
            "--set",
            f"architecture.technology={path}",
        ),
    }[kind]
    result = run(*given)
    assert result.exit_code == 2, result.output
    assert f"{path}:" in result.stderr
    assert "name" in result.stderr
    assert not unseen(result.output)


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", HOSTILE.replace("\0", "")),
        ("analyze", f"./{HOSTILE.replace(chr(0), '')}.yaml"),
        ("show", "\x1b[2J"),
        ("simulate", "bert-base", "fusemax", "--set", "\x1b]0;title\x07=1"),
        ("simulate", "bert-base", "fusemax", "--engine", "\x1b[2J"),
        ("list", "\x9b2J"),
        ("\x1b[2J",),
        ("--\x1b[2J",),
        ("simulate", "--\x1b[2J"),
    ],
    ids=repr,
)
def test_words_of_the_command_line_are_shown(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert not unseen(result.output)


def test_a_name_that_a_mapping_shares_is_drawn_as_the_cascade() -> None:
    graph = _clean("show", "depthwise-convolution", "--format", "dot")
    assert graph.startswith('digraph "depthwise-convolution"')
    assert run("show", "flat", "--format", "dot").exit_code == 2


def test_a_path_in_a_picture_is_no_formula(tmp_path: Path) -> None:
    text = (ROOT / "specs/workloads/bert-base.yaml").read_text(encoding="utf-8")
    path = tmp_path / "a$\\frac$.yaml"
    path.write_text(text.replace("  name: bert-base\n", ""), encoding="utf-8")
    result = simulate(load(path, seq_len=64, batch=1), Architecture.load("fusemax"))
    assert result.workload.endswith("a$\\frac$.yaml")
    result.plot_utilization()._repr_png_()


def test_nothing_goes_out_by_another_door() -> None:
    """Commands print by ``say`` and ``show``; pages are escaped by ``html_text``."""
    doors = {"cli/console.py", "cli/application.py"}
    for file in (ROOT / "archsim").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import escape" not in text, file
        if str(file.relative_to(ROOT / "archsim")) not in doors:
            assert "click.echo(" not in text, file
