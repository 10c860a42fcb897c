"""The house: the map names every room, and private words are gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("einsum_cascade", "archsim", "mappers", "workloads")
FILES = tuple(sorted(f for p in PACKAGES for f in (ROOT / p).rglob("*.py")))

GONE = (
    "footing", "knot", "lattice", "handover", "togo", "crew", "lineage",
)  # fmt: skip
"""Words that say nothing to an architect; docs/glossary.md has those that do."""


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


def test_private_words_are_gone() -> None:
    pattern = re.compile(rf"\b({'|'.join(GONE)})s?\b", re.I)
    found = [
        f"{file.relative_to(ROOT)}: {word[0]}"
        for file in FILES
        if (word := pattern.search(file.read_text(encoding="utf-8")))
    ]
    assert found == []
