"""Pictures of the documentation show what a fresh run gives."""

from __future__ import annotations

from types import ModuleType

import make_decoding
import make_kernels
import make_validation
import pytest
from portions import left
from recorded import IMAGES, drawn, numbers, pictures, recorded

NAMES = sorted(path.stem for path in IMAGES.glob("*.png"))
QUICK = {"overview", "validation-fsa", "validation-tpu-v1"}
"""Pictures that take less than a second; `make test` compares them all."""


@pytest.mark.parametrize("name", [name if name in QUICK else left(name) for name in NAMES])
def test_a_picture_shows_the_numbers_of_a_fresh_run(name: str) -> None:
    """A picture that differs is stale: draw it anew by ``make pictures``."""
    assert numbers(drawn(pictures()[name])) == recorded(name)


def test_each_picture_is_drawn_by_a_script() -> None:
    assert sorted(pictures()) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("made", [make_decoding, make_kernels, make_validation])
def test_a_page_tells_what_fresh_runs_find(made: ModuleType) -> None:
    text = made.PAGE.read_text(encoding="utf-8")
    assert made.page(text) == text
