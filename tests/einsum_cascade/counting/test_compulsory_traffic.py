"""Least traffic is a bound: no run touches less of its inputs, gathered ones included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples
from random_picks import SHAPES, picked, touched_in_a_run

from einsum_cascade import Cascade, ir
from einsum_cascade.counting.symbolic import analyze

HEAD = """cascade: gathered
ranks: {M: rows, P: {is: queries, like: M}, J: picks, E: width}
inputs: {S: [M, P], K: [M, P, E], X: [P, J]}
outputs: [C, Z]
einsums: |
"""


def least_of_inputs(program: ir.Program, shapes: dict[str, int]) -> int:
    written = sum(
        int(np.prod([shapes[r] for r in program.tensor_ranks[name]])) for name in program.outputs
    )
    return int(analyze(program).subs(shapes).traffic_min) - written


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(picked(), st.integers(0, 2**20))
def test_no_run_touches_less(text: str, seed: int) -> None:
    # What uses every input whole would hide what gathers touch.
    program = Cascade.parse(text.replace("K[m, e] * V[m]", "K[m, 0] * V[m]")).program
    assert least_of_inputs(program, SHAPES) <= touched_in_a_run(program, seed)


@pytest.mark.parametrize(
    ("lines", "least"),
    [
        # J rows of one query's choice: that many differ. All of S is compared.
        ("I[j] << topk(S[m, 0], j); C[j, e] = K[I[j], 0, e]", lambda m, j, e: m + j * e),
        # Every query picks J rows of its own column.
        (
            "I[p, j] << topk(S[m, p], j); C[j, e] = K[I[p, j], p, e]",
            lambda m, j, e: m * m + m * j * e,
        ),
        # Queries may pick the same rows.
        ("I[p, j] << topk(S[m, p], j); C[j, e] = K[I[p, j], 0, e]", lambda m, j, e: m * m + j * e),
        # The last query sees all rows, the first one, too few to count on picks of its own.
        (
            "I[p, j] << topk(S[m, p], j) where m <= p; C[j, e] = K[I[p, j], 0, e]",
            lambda m, j, e: m * m + j * e,
        ),
        # Row and pick together: a diagonal has no more elements than it is long.
        ("I[j] << topk(S[m, 0], j); C[j, e] = K[I[j], I[j], e]", lambda m, j, e: m + j * e),
        # Nobody says that the entries of a given tensor differ.
        ("C[j, e] = K[X[p, j], 0, e]", lambda m, j, e: e + m * j),
        ("C[j, e] = K[2*j, 0, e] where 2*j < M", lambda m, j, e: j * e),
        # Rows beside one position are there around any: the picks may overlap, and are the same.
        ("C[p, e] = K[X[p, 0]*E + e, 0, 0]", lambda m, j, e: m + e),
        ("I[j] << topk(S[m, 0], j); C[j, e] = K[I[j]*E + e, 0, 0]", lambda m, j, e: m + j * e),
        ("I[j] << topk(S[m, 0], j); C[j, e] = K[I[j]*2 + e, 0, 0]", lambda m, j, e: m + e),
        # What goes on to another pick with the place beside it may be at the same row.
        ("C[p, e] = K[X[p, 0] + p, 0, e]", lambda m, j, e: m + e),
        # Each query sees one pick, and all may see the same row.
        (
            "I[p, j] << topk(S[m, p], j); C[p, j, e] = K[I[p, j], 0, e] where j == p",
            lambda m, j, e: m * m + e,
        ),
    ],
)
def test_what_is_picked_is_counted_once(lines: str, least: object) -> None:
    text = [*lines.split("; "), "Z[m, p, j] = m + p + j"]
    text += [] if "S[" in lines else ["ZS[p] = S[0, 0] + p"]
    text += [] if "X[" in lines else ["ZX[p] = X[0, 0] + p"]
    names = ", ".join(["C", *(t.split("[")[0] for t in text if t.startswith("Z"))])
    block = "".join(f"  {line}\n" for line in text)
    program = Cascade.parse(HEAD.replace("[C, Z]", f"[{names}]") + block).program
    others = ("S[" not in lines) + ("X[" not in lines)
    assert callable(least)
    for m, j, e in ((8, 2, 3), (9, 4, 5)):
        shapes = {"M": m, "P": m, "J": j, "E": e}
        assert least_of_inputs(program, shapes) == least(m, j, e) + others
