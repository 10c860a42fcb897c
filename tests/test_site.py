"""The site: what its index and its pages of reference list is what there is."""

from __future__ import annotations

import re
from importlib import import_module
from math import prod
from pathlib import Path

import pytest

from einsum_cascade import Cascade, ir

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def linked(page: Path) -> set[Path]:
    """The pages that a page links to."""
    targets = re.findall(r"\]\(([^)#:]+\.(?:md|ipynb))\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


def test_the_index_lists_every_page() -> None:
    pages = {*DOCS.rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")} - {DOCS / "index.md"}
    assert pages <= linked(DOCS / "index.md")


@pytest.mark.parametrize("package", ["archsim", "einsum_cascade", "workloads"])
def test_the_page_of_python_has_every_public_name(package: str) -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {package}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\.\. auto\w+:: (\w+)", section, flags=re.MULTILINE)
    assert sorted(listed) == sorted(import_module(package).__all__)


def carried(program: ir.Program, sizes: dict[str, int]) -> int:
    """Elements handed from step to step, and those of earlier keys that a step attends to."""
    steps = {rank for ranks in program.iterative.values() for rank in ranks}
    held = {name: {*program.tensor_ranks[name]} for name in program.iterative}
    for einsum in program.einsums:
        for access in ir.unconditional_reads(einsum.expression):
            ranks = {v.upper() for v in access.variables}
            inside = steps & {v.upper() for v in einsum.variables}
            if inside and "M" in ranks and not ranks & steps:
                held[access.tensor] = ranks
    outer = {*steps, *program.parallel, "B", "H", "G", "S"}
    return sum(prod(sizes[r] for r in ranks - outer) for ranks in held.values())


def test_the_page_says_what_a_head_carries_from_token_to_token() -> None:
    page = (ROOT / "docs/recurrences.md").read_text(encoding="utf-8").split("## Chunks")[0]
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    sizes = {"E": 3, "F": 5, "N": 7, "C": 11, "I": 13, "L": 17, "D": 19, "M": 23, "W": 23}
    seen = set()
    for row in (r for r in rows if len(r) == 5 and "`" in r[-1]):
        formula = re.findall(r"`([^`]+)`", row[-1])[0].replace("^", "**")
        expected = eval(re.sub(r"(?<=[\w)]) (?=[\w(])", "*", formula), dict(sizes))
        parallel, recurrent = (re.findall(r"`([\w-]+)`", cell) for cell in row[1:3])
        for name in recurrent or parallel[:1]:
            program = Cascade.load(name).program
            if program.iterative:
                own = {
                    r.name: r.shape or sizes[r.like]
                    for r in program.ranks
                    if r.shape or r.like in sizes
                }
                assert carried(program, sizes | own) == expected, name
                seen.add(name)
    assert {"titans-mag", "titans-mal", "path-attention", "mlstm-recurrent"} <= seen
