"""Picks that are certain to differ: the floor moves them all, and no more than any data ask for."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
from machines import small
from portions import left
from random_picks import touched

from archsim.bounds.floor import least_work
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from einsum_cascade import Cascade, ir
from einsum_cascade.domains import draw_input
from einsum_cascade.shapes import resolve_shapes
from mappers.construct.einsum_by_einsum import einsum_by_einsum

BLOCKS = """
cascade: blocks
ranks:
  P: queries
  E: width
  J: picks
  M: {is: keys, partition: [C, T]}
  Y: {is: cells by blocks, partition: [N, R], like: C}
inputs: {S: [P, N], K: [M, E]}
outputs: [Z, X]
einsums: |
  X[c] = S[0, 0] + c
  A[p, n] = S[p, n] where n * R * T <= p + M - P
  I[p, j] << topk(A[p, n], j)
  Z[p] = K[I[p, j]*R*T + r*T + t, e] where I[p, j] * R * T + r * T + t <= p + M - P
"""
PAGES = """
cascade: pages
parallel: [B]
shared: {K: [B]}
ranks: {M: {is: keys, partition: [M1, N, T]}, C: pages, E: width}
inputs: {K: [C, T, E], TABLE: [M1, N]}
output: Z
distinct: {TABLE: [B, M1, N]}
einsums: |
  Z[e] = K[TABLE[m1, n], t, e]
"""


def _program(text: str, sizes: dict[str, int]) -> tuple[ir.Program, dict[str, int]]:
    program = Cascade.parse(text).program
    return program, resolve_shapes(program, sizes)


def _least(program: ir.Program, shapes: dict[str, int]) -> int:
    """Elements of inputs that any mapping moves."""
    machine = small((2, 3), 4)
    bound = bind(program, einsum_by_einsum(program, machine, shapes), machine, shapes)
    written = sum(prod(shapes[r] for r in program.tensor_ranks[n]) for n in program.outputs)
    return int(least_work(bound, count_mapping(bound)).words) - written


def _scores(shapes: dict[str, int], kind: str, seed: int = 0) -> np.ndarray:
    """Scores by which all queries pick the first blocks, or the last they see, or any."""
    rows = (shapes["P"], shapes["N"])
    if kind == "any":
        return np.random.default_rng(seed).normal(size=rows)
    return np.broadcast_to(np.arange(rows[1]) * (-1.0 if kind == "first" else 1.0), rows)


def _touched(program: ir.Program, shapes: dict[str, int], scores: np.ndarray) -> int:
    keys = np.ones([shapes[r] for r in ("M", "E")])
    return touched(program, {"S": scores, "K": keys}, shapes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"P": p, "M": m, "T": t, "R": r, "J": j, "E": 2}
        for p, m, t, r, j in (
            (1, 12, 2, 2, 2),
            (3, 12, 2, 2, 2),
            (1, 11, 2, 2, 2),
            (3, 11, 2, 2, 2),
            (2, 10, 2, 4, 1),  # the last block has one cell of four
            (3, 9, 1, 4, 2),  # earlier queries cannot pick the last block
            (4, 7, 2, 1, 3),
            (12, 12, 2, 2, 3),
            (2, 11, 2, 2, 3),
        )
    ],
)
def test_no_data_ask_for_less_than_the_floor_moves(sizes: dict[str, int]) -> None:
    program, shapes = _program(BLOCKS, sizes)
    least = _least(program, shapes)
    kinds = (("first", 0), ("last", 0), *(("any", n) for n in range(4)))
    found = [_touched(program, shapes, _scores(shapes, kind, seed)) for kind, seed in kinds]
    assert least <= min(found)
    # All queries pick the same blocks, of which the last may be short: it is as low as that, but
    # where only the last of several queries sees that block.
    lone = sizes["P"] == 1 or _touched(program, shapes, _scores(shapes, "last")) == min(found)
    assert not lone or least == min(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # No query is shown all of what it picks.
        left(" * T + r * T + t <= p + M - P", " * T + r * T + t < p + M - P"),
        left(" * T + r * T + t <= p + M - P", " * T + r * T + t == p + M - P"),
        left("<= p + M - P\n  I", "< p + M - P\n  I"),
        # The picks of two queries: the same, or not.
        left("topk(A[p, n], j)", "topk(A[p, n], j) where n > 0"),
        left("K[I[p, j]*R*T + r*T + t, e]", "K[I[p, j]*R*T + r*T + t, e] * K[I[p, 0]*R*T, 0]"),
        ("Z[p] = K[I[p, j]", "Z[p] = K[I[j, j]"),
        # Windows that overlap, and that leave gaps.
        left("I[p, j]*R*T + r*T + t", "I[p, j]*T + r*T + t"),
        ("I[p, j]*R*T + r*T + t", "I[p, j]*R*T + t"),
    ],
)
def test_where_less_is_certain_the_floor_moves_less(old: str, new: str) -> None:
    assert old in BLOCKS
    text = BLOCKS.replace(old, new)
    for p, m, t, r, j in product((3, 4), (11, 12), (2,), (1, 2), (2, 3)):
        try:
            program, shapes = _program(text, {"P": p, "M": m, "T": t, "R": r, "J": j, "E": 2})
        except ValueError:
            continue
        kinds = (("first", 0), ("last", 0), *(("any", n) for n in range(2)))
        for kind, seed in kinds:
            scores = _scores(shapes, kind, seed)
            assert _least(program, shapes) <= _touched(program, shapes, scores), (shapes, kind)


@pytest.mark.parametrize(("mask", "keys"), [("<= p + M - P", 8), ("< p + M - P", 1), ("< 1", 1)])
def test_where_a_pick_lies_is_for_the_data_to_say(mask: str, keys: int) -> None:
    """Of two blocks of 4 keys the mask may leave out any, unless it shows all that there are."""
    text = f"""
cascade: masked
ranks: {{P: queries, E: width, J: picks, M: {{is: keys, partition: [N, T]}}}}
inputs: {{S: [P, N], K: [M, E]}}
output: X
einsums: |
  I[p, j] << topk(S[p, n], j)
  X[p] = K[I[p, j]*T + t, e] where I[p, j]*T + t {mask}
"""
    program, shapes = _program(text, {"P": 1, "M": 12, "T": 4, "J": 2, "E": 3})
    assert _least(program, shapes) == 3 + 3 * keys


def test_a_block_may_end_before_its_last_cell() -> None:
    """One block of 4 cells where there are 2: no mask of the reader says so."""
    text = """
cascade: cells
ranks: {Y: {is: cells, partition: [N, R]}, M: keys, E: width}
inputs: {S: [Y], K: [M, E], TABLE: [N]}
outputs: [X, Z]
einsums: |
  X[n] = S[n*R + r]
  Z[e] = K[TABLE[0]*R + r, e]
"""
    program, shapes = _program(text, {"Y": 2, "R": 4, "M": 20, "E": 3})
    inputs = {"S": np.ones(2), "K": np.ones((20, 3)), "TABLE": np.zeros(1, int)}
    found = Cascade.parse(text).evaluate(inputs, Y=2, R=4)
    assert found["Z"].tolist() == [2, 2, 2]  # of ones: each sums two cells
    assert _least(program, shapes) <= 2 + 2 * 3 + 1


@pytest.mark.parametrize("keys", [12, 11, 9])
@pytest.mark.parametrize(
    ("along", "pages"),
    [
        ("[B, M1, N]", lambda one, batch: one * batch),
        ("[M1, N]", lambda one, _: one),
        ("[N]", None),
    ],
)
def test_pages_that_differ_are_moved(keys: int, along: str, pages: object) -> None:
    """Sequences may share pages unless the rank of the batch is named."""
    text = PAGES.replace("[B, M1, N]", along)
    sizes = {"B": 3, "M": keys, "N": 2, "T": 2, "C": 20, "E": 4}
    program, shapes = _program(text, sizes)
    table = next(t for t in program.inputs if t.name == "TABLE")
    drawn = draw_input(program, table, np.random.default_rng(keys), shapes)
    assert drawn is not None
    one = np.arange(shapes["M1"] * 2).reshape(shapes["M1"], 2)
    few = {
        "[B, M1, N]": one + one.size * np.arange(3)[:, None, None],
        "[M1, N]": np.stack([one] * 3),
        "[N]": np.tile(np.arange(2), (3, shapes["M1"], 1)),
    }[along]
    least = _least(program, shapes)
    for entries in (drawn, few):
        pool = np.ones([shapes[r] for r in ("C", "T", "E")])
        assert least <= touched(program, {"TABLE": entries, "K": pool}, shapes)
    entries_read = 3 * -(-keys // 2)
    if callable(pages):
        assert least == entries_read + 4 * pages(keys, 3)
    else:
        # Two pages of a tile: what the second of the last one lacks the others have.
        assert least == entries_read + 4 * 4


def test_a_pool_has_no_more_pages_than_it_has() -> None:
    """More entries than pages cannot all differ: nobody can run it, and the floor has the pool."""
    sizes = {"B": 3, "M": 12, "N": 2, "T": 2, "C": 5, "E": 4}
    program, shapes = _program(PAGES, sizes)
    assert _least(program, shapes) == 3 * 6 + 5 * 2 * 4
