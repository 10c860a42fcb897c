"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "CONTRIBUTING.md"
COPIED = ("einsum_cascade", "archsim", "mappers", "workloads", "specs")

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
_WHERE = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


COMMANDS = """
import json, sys, traceback
from click.testing import CliRunner
from archsim.cli.application import archsim
for words in json.load(sys.stdin):
    done = CliRunner().invoke(archsim, words)
    why = "".join(traceback.format_exception(done.exception)) if done.exit_code else ""
    print(json.dumps([done.exit_code, done.stdout, done.stderr + why]), flush=True)
"""
"""Runs commands one after the other, as each would be in a process of its own."""


@dataclass(frozen=True)
class Recipe:
    """A section: what to write where, what to run, and what that prints."""

    title: str
    writes: tuple[tuple[dict[str, str], str], ...]
    command: str
    prints: tuple[str, ...]


def recipes() -> tuple[Recipe, ...]:
    """The sections of the guide that have something to run."""
    found: list[Recipe] = []
    for section in GUIDE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        writes: list[tuple[dict[str, str], str]] = []
        command = ""
        for language, attributes, body in _FENCE.findall(text):
            where = {k: _plain(v) for k, v in _WHERE.findall(attributes)}
            if "file" in where:
                writes.append((where, body))
            elif language == "sh":
                command = body.strip()
                said = text[text.index(body) + len(body) :].split("\n## ")[0]
        prints = tuple(re.findall(r"^prints `([^`]+)`", said, re.M))
        found.append(Recipe(title, tuple(writes), command, prints))
    return tuple(found)


def _plain(value: str) -> str:
    """An attribute without its quotes."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


RECIPES = recipes()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages in which every recipe has been followed: they do not collide."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)  # kept byte code, too: it is of these files
    for recipe in RECIPES:
        for where, body in recipe.writes:
            _write(folder / where["file"], where, body)
    return folder


@pytest.fixture(scope="module")
def said(project: Path) -> dict[str, tuple[int, str, str]]:
    """What the command of each recipe ends with, and says: by its title."""
    run = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=project,
        # Compiled code is kept by the file it is of: that of a copy would be compiled once more.
        env={**os.environ, "PYTHONPATH": str(project), "COLUMNS": "200", "NUMBA_DISABLE_JIT": "1"},
        input=json.dumps([shlex.split(recipe.command)[1:] for recipe in RECIPES]),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    answers = map(json.loads, run.stdout.splitlines())
    return {recipe.title: tuple(told) for recipe, told in zip(RECIPES, answers, strict=False)}


def _write(file: Path, where: dict[str, str], body: str) -> None:
    """A new file, or lines below the one that is named, which must be there once."""
    if "after" not in where:
        assert not file.exists(), f"{file.name} is there already: the recipe makes a new file"
        file.write_text(body, encoding="utf-8")
        return
    text = file.read_text(encoding="utf-8")
    line = where["after"] + "\n"
    assert line in text, f"{file.name} has no line {where['after']!r}"
    file.write_text(text.replace(line, line + body, 1), encoding="utf-8")


def test_every_kind_of_thing_has_a_recipe() -> None:
    table = re.findall(r"^\| \[([^]]+)\]", GUIDE.read_text(encoding="utf-8"), re.M)
    assert [r.title.lower() for r in RECIPES] == table
    assert len(table) == 7


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.title.replace(" ", "-").lower())
def test_a_recipe_does_what_it_says(recipe: Recipe, said: dict[str, tuple[int, str, str]]) -> None:
    assert recipe.prints, "a recipe says what its command prints"
    assert shlex.split(recipe.command)[0] == "archsim"
    code, told, wrong = said[recipe.title]
    assert code == 0, wrong
    for printed in recipe.prints:
        assert printed in told, told


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.title.replace(" ", "-").lower())
def test_a_recipe_touches_as_few_files_as_the_table_says(recipe: Recipe) -> None:
    row = re.search(rf"^\| \[{recipe.title.lower()}\][^|]*\| (\d)", GUIDE.read_text("utf-8"), re.M)
    assert row is not None
    files = {w["file"] for w, _ in recipe.writes if w["file"] != "mine.yaml"}
    machines = {f for f in files if f.startswith("specs/architectures/")}
    extra = machines if recipe.title == "An operation" else set()
    assert len(files - extra) == int(row[1])
