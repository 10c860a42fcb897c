"""What a level must hold, against sets of elements."""

from __future__ import annotations

import pytest
from bound_cases import bound, walker
from nest_capacity import required
from nest_cases import random_case
from portions import some

from archsim.legality.footprint import requirements


@pytest.mark.parametrize("first", some(range(1000, 1120, 20), 3))
def test_required_bytes_equal_the_walk(first: int) -> None:
    for seed in range(first, first + 20):
        case = random_case(seed)
        walk = walker(case)
        for level, found in enumerate(requirements(bound(case))):
            expected = required(walk, level) * case.architecture.word_bytes
            assert found.required_bytes == expected, f"seed {seed}, {found.level}"
