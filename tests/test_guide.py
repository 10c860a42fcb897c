"""The commands of the user guide, run as they stand there, print what the pages show."""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import ROOT
from portions import some

from archsim.cli.application import archsim

GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))

_FENCE = re.compile(
    r"^```(?P<language>\w+)(?: file=(?P<file>\S+))?(?: exit=(?P<exit>\d))?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MOST_WORDS = 900


def run_command(line: str, exit_code: int) -> str:
    """Return what a command prints."""
    program, *words = shlex.split(line)
    assert program == "archsim"
    done = CliRunner().invoke(archsim, words)
    assert done.exit_code == exit_code, (line, done.output)
    return done.output


def run_python(text: str) -> str:
    """Return what a block of Python prints."""
    said = StringIO()
    with redirect_stdout(said):
        exec(text, {})
    return said.getvalue()


@pytest.mark.parametrize("page", some(GUIDE, 4, 3), ids=lambda page: page.stem)
def test_a_page_of_the_guide_shows_what_its_commands_print(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ``text`` block holds lines of what the commands before it printed."""
    monkeypatch.chdir(tmp_path)
    said = ""
    for block in _FENCE.finditer(page.read_text(encoding="utf-8")):
        text = block["text"]
        if block["file"]:
            Path(block["file"]).write_text(text, encoding="utf-8")
        elif block["language"] == "python":
            said += run_python(text)
        elif block["language"] == "sh":
            lines = text.replace("\\\n", "").splitlines()
            said += "".join(run_command(line, int(block["exit"] or 0)) for line in lines)
        else:
            assert block["language"] == "text"
            assert [line for line in text.splitlines() if line.strip() not in said] == []
    assert said


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
def test_a_page_of_the_guide_is_short_and_has_a_picture(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text.split()) <= _MOST_WORDS
    assert re.search(r"!\[[^]]+\]\(\.\./images/\S+\.png\)", text)


def test_the_readme_shows_what_its_first_command_prints() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert run_command("archsim simulate", 0).startswith(shown)
    assert len(text.split()) <= 1500
