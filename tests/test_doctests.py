"""The examples in docstrings, of all four packages, give the numbers that they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("einsum_cascade", "archsim", "mappers", "workloads")


def modules_with_examples() -> list[str]:
    """Names of the modules whose text has an example."""
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_hold(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted, "an example that doctest does not find"
    assert not found.failed
