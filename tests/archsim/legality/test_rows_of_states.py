"""A state that is held as a whole may be read at any of its rows, and after its last step."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from bound_cases import bound, walker
from lockstep import Lockstep
from nest_cases import Case
from nest_mappings import random_machine, random_mapping
from portions import left

from archsim.legality.dependences import illegalities
from archsim.nest.record import Bound
from einsum_cascade import Cascade

SOLVED = """
cascade: solved
title: A triangular system, row after row
source: made up
ranks: {P: rows, J: columns, S: {is: steps, like: P}}
inputs: {L: [P, S], A: [P, J]}
outputs: [Y]
init: |
  X[0, p, j] = 0
einsums: |
  T[s, j]      = A[s, j] - X[s, s, j]
  X[s+1, p, j] = X[s, p, j] + L[p, s] * T[s, j]
  Y[s, j]      = T[s, j] * A[s, j]
"""

INVERSE = """
cascade: inverse
title: The inverse of a triangular matrix, kept in place and taken when it is done
source: made up
ranks: {P: rows, J: {is: columns, like: P}, S: {is: steps, like: P}}
inputs: {L: [P, S]}
outputs: [Y]
init: |
  X[0, p, j] = where(p == j, 1, 0)
einsums: |
  X[s+1, p, j] = X[s, p, j] - L[p, s] * X[s, s, j]
  Y[p, j]      = X[S, p, j] * 2
"""


def _cases(text: str, first: int, number: int) -> Iterator[tuple[int, Case]]:
    program = Cascade.parse(text).program
    for seed in range(first, first + number):
        random = Random(seed)
        size = random.randint(2, 4)
        shapes = {"P": size, "S": size, "J": size}
        machine = random_machine(random)
        mapping, sizes = random_mapping(random, program, machine, shapes)
        yield seed, Case(program, mapping, machine, shapes, sizes)


def _is_held(case: Bound) -> bool:
    """Whether a state stays where it is kept, all rows of it, while the steps go round."""
    x = case.by_name["X"]
    level = next(iter(case.residency.memories("X")), case.register_level)
    stepping = {loop.variable for loop in x.stepping(x.write, level)}
    return "s" in stepping and "p" not in stepping


@pytest.mark.parametrize("text", [SOLVED, INVERSE])
@pytest.mark.parametrize(
    ("first", "count"), [(0, 100), *(left(first, 500) for first in range(0, 3000, 500))]
)
def test_what_is_legal_finds_all_rows(text: str, first: int, count: int) -> None:
    """Run value by value, whatever loops there are and wherever a state is kept."""
    legal = refused = held = 0
    for seed, case in _cases(text, first, count):
        found = bound(case)
        problems = illegalities(found)
        wrong = Lockstep(walker(case)).run()
        assert problems or wrong is None, f"seed {seed}: {wrong}"
        refused += bool(problems)
        legal += not problems
        held += not problems and _is_held(found)
    assert min(legal, refused) > min(20, count // 13)
    assert held, "no state was held as a whole"
