"""The forms of every kernel against one another: long together, so `make test` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; validation of every cascade is in all runs."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
