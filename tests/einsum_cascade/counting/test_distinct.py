"""Entries of index tensors that are said to differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsim.validation.inputs import random_inputs, random_shapes
from einsum_cascade import Cascade, CascadeError
from einsum_cascade.algebra.excerpt import excerpt
from einsum_cascade.counting.symbolic import analyze
from einsum_cascade.counting.traffic import guaranteed_elements
from einsum_cascade.rewrites.proof import proof_shapes
from einsum_cascade.rewrites.proof import random_inputs as proof_inputs

TEXT = """
cascade: tables
parallel: [B]
ranks: {M: {is: keys, partition: [N, T]}, C: pages, E: width}
inputs: {K: [C, T, E], TABLE: [N], W: [E]}
output: Z
distinct: {TABLE: [N]}
einsums: |
  X[n, t] = K[TABLE[n], t, e] * W[e]
  Z       = X[n, t]
"""


def _cascade(along: str = "{TABLE: [N]}") -> Cascade:
    return Cascade.parse(TEXT.replace("{TABLE: [N]}", along))


def _run(table: Any, keys: int = 5, along: str = "{TABLE: [N]}") -> Any:
    table = np.asarray(table)
    parallel = table.shape[:-1]
    inputs = {"TABLE": table, "K": np.ones((*parallel, 9, 2, 3)), "W": np.ones((*parallel, 3))}
    return _cascade(along).evaluate(inputs, M=keys)["Z"]


def test_the_text_comes_back() -> None:
    for along in ("{TABLE: [N]}", "{TABLE: [B, N]}", "{TABLE: B}"):
        cascade = _cascade(along)
        assert Cascade.parse(cascade.text()) == cascade
    assert "distinct: {TABLE: [B]}" in _cascade("{TABLE: B}").text()
    assert _cascade() != _cascade("{TABLE: [B, N]}")
    assert [d.name for d in excerpt(_cascade().program, ("X",)).distinct] == ["TABLE"]
    assert excerpt(_cascade().program, ("Z",)).distinct == ()


@pytest.mark.parametrize(
    ("along", "said"),
    [
        ("{TABEL: [N]}", "'distinct' names 'TABEL', which is no input.*\n.*\n.*\n.*'TABLE'"),
        ("{W: [E]}", "'distinct' names 'W', which holds no positions"),
        ("{TABLE: [C]}", "entries of 'TABLE' cannot differ along 'C', which it does not have"),
        ("{TABLE: [N, N]}", "'TABLE' is distinct along 'N' twice"),
        ("{TABLE: [n]}", "'n' cannot be a name here"),
        ("[TABLE]", "'distinct' is a mapping"),
        ("{TABLE: [B]}\nshared: {TABLE: [B]}", "no entries that differ along 'B': it is shared"),
    ],
)
def test_what_cannot_be_said_is_refused(along: str, said: str) -> None:
    with pytest.raises(CascadeError, match=said):
        _cascade(along)


@pytest.mark.parametrize(
    ("table", "along", "said"),
    [
        ([4, 2, 4], "[N]", r"'TABLE' is 4 at \[0\] and at \[2\]: it must differ along N"),
        (
            [[1, 2, 3], [1, 5, 5]],
            "[N]",
            r"is 5 at \[1, 1\] and at \[1, 2\]: it must differ along N",
        ),
        ([[1, 2, 3], [4, 1, 5]], "[B, N]", r"is 1 at \[0, 0\] and at \[1, 1\]: .* along B, N"),
        ([[1, 2, 3], [4, 2, 1]], "[B]", r"is 2 at \[0, 1\] and at \[1, 1\]: .* along B"),
        ([[1, 2, 3], [3, 1, 2]], "[N]", None),
        ([[1, 2, 2], [3, 1, 1]], "[B]", None),
    ],
)
def test_entries_that_are_the_same_are_told(table: Any, along: str, said: str | None) -> None:
    if said is None:
        _run(table, along=f"{{TABLE: {along}}}")
        return
    with pytest.warns(UserWarning, match=said):
        found = _run(table, along=f"{{TABLE: {along}}}")
    # What is computed is right all the same: 5 keys of width 3.
    assert (found == 15).all()


def test_entries_of_pages_that_there_are_not_may_be_the_same() -> None:
    """Behind the last key a table may say anything."""
    text = TEXT.replace("[N, T]}", "[M1, N, T]}").replace("[N]", "[M1, N]").replace("[n", "[m1, n")
    cascade = Cascade.parse(text)
    arrays = {"K": np.ones((9, 2, 3)), "W": np.ones(3)}
    tail = {**arrays, "TABLE": np.array([[3, 4], [5, 3]])}
    assert cascade.evaluate(tail, M=6)["Z"] == 18
    with pytest.warns(UserWarning, match=r"is 3 at \[0, 0\] and at \[1, 1\]"):
        cascade.evaluate(tail, M=7)


@pytest.mark.parametrize("along", ["[N]", "[B, N]"])
def test_random_entries_differ(along: str) -> None:
    cascade = _cascade(f"{{TABLE: {along}}}")
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shapes = random_shapes(cascade.program, {}, rng)
        cascade.evaluate(random_inputs(cascade.program, shapes, rng), **shapes)
    sizes = proof_shapes(cascade.program)
    inputs = proof_inputs(cascade.program, sizes, 0)
    assert len(np.unique(inputs["TABLE"])) >= sizes["N"]
    cascade.evaluate(inputs, **sizes)


def test_the_least_traffic_has_a_page_for_each_entry() -> None:
    sizes = {"B": 3, "M": 8, "T": 2, "N": 4, "C": 20, "E": 5}
    shared = TEXT.replace("parallel: [B]", "parallel: [B]\nshared: {K: [B], W: [B]}")
    beside = 5 + 3 * 4 + 3  # W, TABLE, Z
    for along, pages in (("{TABLE: [B, N]}", 12), ("{TABLE: [N]}", 4), ("{}", 1)):
        program = Cascade.parse(shared.replace("{TABLE: [N]}", along)).program
        least = analyze(program).subs(sizes).traffic_min
        assert least == beside + pages * 2 * 5, along


def test_what_a_mask_leaves_out_of_an_operand_is_not_certain_to_be_read() -> None:
    """No query is shown more than one page, by the scores that the values are weighted with."""
    masked = """
cascade: weighted
ranks: {P: queries, N: pages of a sequence, T: slots, C: pages, E: width}
inputs: {Q: [P, E], K: [C, T, E], V: [C, T, E], TABLE: [N]}
output: O
distinct: {TABLE: [N]}
einsums: |
  X[p, n, t] = Q[p, e] * K[TABLE[n], t, e] where 4*n <= p
  O[p, e]    = X[p, n, t] * V[TABLE[n], t, e]
"""
    program = Cascade.parse(masked).program
    sizes = {"P": 4, "N": 8, "T": 2, "C": 9, "E": 3}
    one, both = 2 * 3, 2 * 4 * 3
    assert analyze(program).subs(sizes).traffic_min == both + 2 * one + 8  # Q, O; K, V; TABLE
    reader = program.einsum_of["O"]
    values = next(a for a in reader.reads if a.tensor == "V")
    assert guaranteed_elements(program, reader, values, sizes) is None


@pytest.mark.parametrize(
    ("inputs", "entry", "along", "least"),
    [
        # All entries differ, also those of one block, whichever slot of it is read.
        ("{K: [M], I: [J, T]}", "K[I[j, t]*T + t]", "{I: [J, T]}", 2 * 3 * 5 + 1),
        # A slot that is an index of its own adds no slots of its block: K is read on a diagonal.
        ("{K: [T, M], I: [J]}", "K[t, I[j]*T + t]", "{I: [J]}", 3 * 5 + 3 + 1),
    ],
)
def test_slots_that_also_index_something_else(
    inputs: str, entry: str, along: str, least: int
) -> None:
    text = f"cascade: slots\nranks: [M, J, T]\ninputs: {inputs}\noutput: Z\ndistinct: {along}\n"
    program = Cascade.parse(f"{text}einsums: Z = {entry}\n").program
    found = analyze(program).subs({"M": 60, "J": 3, "T": 5})
    assert found.traffic_min == least
