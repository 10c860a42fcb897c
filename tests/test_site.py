"""The site: what its index and its pages of reference list is what there is."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

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
