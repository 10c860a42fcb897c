"""The forms of every kernel against one another: long together, so `make test` runs most."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EVERY = 8
"""One test of so many is in every run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark most tests of this folder; validation of every cascade is in all runs."""
    here = f"{HERE}{os.sep}"
    zoo = [item for item in items if str(item.path).startswith(here)]
    for number, item in enumerate(zoo):
        if number % EVERY:
            item.add_marker(pytest.mark.slow)
