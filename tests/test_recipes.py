"""The recipes and the measured comparison of docs, run as they stand there, give what they say."""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import ROOT

from archsim.cli.application import archsim

PAGES = (ROOT / "docs" / "recipes.md", ROOT / "docs" / "comparison.md")

_FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class QuickRecipe:
    """A question, the blocks that answer it (language, file, text), and what they print."""

    title: str
    blocks: tuple[tuple[str, str, str], ...]
    prints: tuple[str, ...]


def quick_recipes() -> tuple[QuickRecipe, ...]:
    """The sections of the pages that have something to run."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    return tuple(
        QuickRecipe(
            section.partition("\n")[0],
            tuple(_FENCE.findall(section)),
            tuple(re.findall(r"^prints `([^`]+)`", section, re.MULTILINE)),
        )
        for text in texts
        for section in text.split("\n## ")[1:]
        if _FENCE.search(section)
    )


def run_command(line: str) -> str:
    """What a command prints; ``> FILE`` writes that, as a shell would."""
    command, _, target = line.partition(" > ")
    program, *words = shlex.split(command)
    assert program == "archsim"
    done = CliRunner().invoke(archsim, words)
    assert done.exit_code == 0, done.output
    if target:
        Path(target).write_text(done.stdout, encoding="utf-8")
    return done.output


def run_python(text: str) -> str:
    """What a block of Python prints."""
    said = StringIO()
    with redirect_stdout(said):
        exec(text, {})
    return said.getvalue()


@pytest.mark.parametrize("recipe", quick_recipes(), ids=lambda r: r.title)
def test_the_recipe_gives_what_it_says(
    recipe: QuickRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = ""
    for language, file, text in recipe.blocks:
        if file:
            Path(file).write_text(text, encoding="utf-8")
        elif language == "python":
            said += run_python(text)
        else:
            assert language == "sh"
            lines = text.replace("\\\n", "").splitlines()
            said += "".join(run_command(line) for line in lines)
    assert recipe.prints
    assert [words for words in recipe.prints if words not in said] == []
