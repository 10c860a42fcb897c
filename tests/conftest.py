"""What holds for all tests."""

from __future__ import annotations

import gc
import os

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of collected tests and whole libraries stay until the end: the collector of
    garbage, which would go through them hundreds of times, leaves them out."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True, scope="session")
def _no_mapping_is_remembered() -> None:
    """What a run finds depends on no earlier one: tests of that set a directory of their own."""
    os.environ["ARCHSIM_CACHE"] = ""
