"""The house: the map names every room, a class name has one meaning, private words are gone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("einsum_cascade", "archsim", "mappers", "workloads")
FILES = tuple(sorted(f for p in PACKAGES for f in (ROOT / p).rglob("*.py")))

GONE = (
    "footing", "knot", "lattice", "handover", "togo", "crew", "lineage",
)  # fmt: skip
"""Words that say nothing to an architect; docs/glossary.md has those that do."""

GONE_FROM_NAMES = (
    "spread", "spreading", "pick", "picks", "picked", "remade", "torn", "strips", "delivering",
    "rents", "told", "beside", "left_behind", "nothing_left", "one_answer", "one_by_one",
    "side_by_side", "spread_search", "split_search", "line_search", "held_front", "wide_front",
    "wide_curve", "best_parts", "part_reach", "part_picks", "known_runs", "inmost", "garbage",
    "tells_apart", "joined_loops", "words_moved", "folding", "sketch_turns", "first_graphs",
)  # fmt: skip
"""Parts of names that say less than the field's terms: partition, gather, replication, band."""


@dataclass(frozen=True)
class Code:
    """What several tests ask of a file, of which each part of the tree is visited once."""

    constants: tuple[str, ...]
    names: tuple[str, ...]
    imports: tuple[ast.Import | ast.ImportFrom, ...]


@cache
def code_of(file: Path) -> Code:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    targets = (t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets)
    names, imports = [file.stem], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.append(ast.unparse(node.target).rpartition(".")[2])
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(node)
    constants = (t.id for t in targets if isinstance(t, ast.Name))
    return Code(tuple(constants), tuple(dict.fromkeys(names)), tuple(imports))


def functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Functions among statements, however deep."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from functions(getattr(node, field, ()))


def rooms(package: str) -> set[str]:
    """The first folders and files below a package."""
    found = {p.stem for p in (ROOT / package).glob("*.py")}
    found |= {p.parent.name for p in (ROOT / package).glob("*/__init__.py")}
    return found - {"__init__", "__main__"}


@pytest.mark.parametrize("package", ["archsim", "workloads"])
def test_the_map_names_every_room(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", page))
    assert rooms(package) <= named


DEFINED = re.compile(r"^ *class _?(\w+)[(:]", re.M)
"""Classes, as they are written here."""


def test_a_class_name_has_one_meaning() -> None:
    names = Counter(
        name for file in FILES for name in DEFINED.findall(file.read_text(encoding="utf-8"))
    )
    assert names["Program"] == 1
    assert [name for name, count in names.items() if count > 1] == []


def test_a_constant_is_defined_once() -> None:
    """A second definition in a file would change what code above it uses."""
    for file in FILES:
        names = Counter(code_of(file).constants)
        assert [name for name, count in names.items() if count > 1] == [], file


def test_a_file_of_tests_has_a_name_of_its_own() -> None:
    """Tests are in no packages: of two files with one name the second cannot be collected."""
    names = Counter(file.name for file in (ROOT / "tests").rglob("*.py"))
    names.pop("conftest.py", None)
    assert [name for name, count in names.items() if count > 1] == []


def test_private_words_are_gone() -> None:
    pattern = re.compile(rf"\b({'|'.join(GONE)})s?\b", re.I)
    found = [
        f"{file.relative_to(ROOT)}: {word[0]}"
        for file in FILES
        if (word := pattern.search(file.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_names_are_the_terms_of_the_field() -> None:
    """No name, of a module down to a variable, has a part that says nothing to an architect."""
    gone = re.compile(rf"(?:^|_)(?:{'|'.join(GONE_FROM_NAMES)})(?:_|$)")
    found = []
    for file in FILES:
        names = code_of(file).names
        words = (re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names)
        found += [f"{file.relative_to(ROOT)}: {word}" for word in words if gone.search(word)]
    assert found == []


OF_ONE_MACHINE = re.compile(r"\b(DRAM|global_buffer|array_2d|array_1d)\b")


def test_names_of_a_machines_parts_are_free() -> None:
    """No code asks for a part by the name that some machine gives it; docstrings may."""
    found = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if not OF_ONE_MACHINE.search(text):
            continue
        tree = ast.parse(text)
        stated = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        found += [
            f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in stated
            and OF_ONE_MACHINE.search(node.value)
        ]
    assert found == []


def test_files_and_functions_are_small() -> None:
    long: list[str] = []
    for file in (*FILES, *(ROOT / "tests").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > 800:
            long.append(f"{file.relative_to(ROOT)}: {text.count(chr(10))} lines")
        most = 120 if "kernel" in str(file.relative_to(ROOT)) else 80
        if text.count("\n") < most:  # no function in it is longer
            continue
        for node in functions(ast.parse(text).body):
            size = (node.end_lineno or 0) - node.lineno + 1
            if size > most:
                long.append(f"{file.relative_to(ROOT)}: {node.name} has {size} lines")
    assert long == []


def imported(module: str, file: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield our modules that a file imports: at the top, inside functions or for types."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in code_of(file).imports:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            # The package of a module that is imported by name hands on that module alone.
            names = [name for name in names[1:] if name in modules] or [base]
        yield from (name for name in names if name in modules and name != module)


def test_no_set_of_files_imports_one_another() -> None:
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in FILES
    }
    # Raises CycleError, which names the files of a cycle.
    TopologicalSorter({m: set(imported(m, f, modules)) for m, f in modules.items()}).prepare()
