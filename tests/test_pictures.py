"""Pictures of the documentation show what a fresh run gives."""

from __future__ import annotations

import pytest
from make_pictures import PICTURES
from portions import left
from recorded import numbers, recorded

DRAWN = ("tokens", "skew", "formats", "sweep-pareto", "sweep-traffic", "search")


@pytest.mark.parametrize("name", ["overview", *map(left, DRAWN)])
def test_a_picture_shows_the_numbers_of_a_fresh_run(name: str) -> None:
    """A picture that differs is stale: draw it anew by ``make pictures``."""
    assert numbers(PICTURES[name]()) == recorded(name)
