"""Random cascades that pick: a mask, a selection, what it gathers, and reductions of that."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from pointwise import BEYOND, Pointwise

from einsum_cascade import ir

SHAPES = {"P": 4, "M": 4, "E": 2, "J": 3, "B": 3}
"""Shapes in which all that may be cut off is."""

HEAD = """
cascade: picked
ranks: {P: {is: queries, like: M}, E: width, J: picks, B: {is: of picks, like: J}, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M], S: [M, P]}
"""
MASKS = ("", " where m <= p", " where m < p", " where p - 2 < m and m <= p", " where S[m, p] > 0")
SCORES = (
    "Y[p, j] = Q[p, e] * K[I[p, j], e]",
    "Y[p, j] = K[I[p, j], e]",
    "Y[p, j] = K[I[p, j], e] * Q[p, e] :: max[e]",
    "G[p, j, e] = K[I[p, j], e]; Y[p, j] = Q[p, e] * G[p, j, e]",
    "G[p, j, e] = exp(K[I[p, j], e]); Y[p, j] = G[p, j, e] :: prod[e]",
    "G[j, p, e] = K[I[p, j], e] where j < 2; H[p, j] = G[j, p, e]; Y[p, j] = 1 + H[p, j]",
    "Y[p, j] = where(p > 1, K[I[p, j], 0], Q[p, 0])",
    "Y[p, j] = V[I[p, j]]",
    "Y[p, j] = V[M - 1 - I[p, j]]",
    "Y[p, j] = K[I[p, j] + e, 0] where I[p, j] + e < M",
    "Y[p, j] = V[2*I[p, j] - p] where 0 <= 2 * I[p, j] - p and 2 * I[p, j] - p < M",
    "G[p, j, e] = K[I[p, j], e] where p <= j and j < p + 1; Y[p, j] = G[p, j, e]",
)
REDUCED = (
    "R[p] = Y[p, j] :: max[j]; D[p] = exp(Y[p, j] - R[p])",
    "R[p] = exp(Y[p, j]); D[p] = exp(Y[p, j]) / R[p] * V[I[p, j]]",
    "R[p] = Y[p, j] :: min[j]; D[p] = R[p] + 1 where p > 0; A = exp(D[p])",
    "R[p] = exp(Y[p, j]) :: prod[j]; D = exp(-R[p])",
    "R[j] = exp(Y[p, j]); D = exp(-R[j])",
    "R[p, b] << topk(Y[p, j], b); D[p, b] = Y[p, R[p, b]]; A[p] = exp(D[p, b])",
)


@st.composite
def picked(draw: st.DrawFn) -> str:
    """Scores at the picks of every query, and what is reduced over them."""
    first, second = draw(st.sampled_from(MASKS)), draw(st.sampled_from(MASKS))
    lines = [f"X[m, p] = S[m, p]{first}", f"I[p, j] << topk(X[m, p], j){second}"]
    lines += draw(st.sampled_from(SCORES)).split("; ") + draw(st.sampled_from(REDUCED)).split("; ")
    # Whether or not the others do, these use every input and every rank.
    lines += ["ZQ[p, b] = Q[p, e] + 0 * b :: +[e]", "ZK[m] = K[m, e] * V[m]"]
    names = [line.split("[")[0].split(" ")[0] for line in lines]
    block = "\n".join(f"  {line}" for line in lines)
    return f"{HEAD}outputs: [{', '.join(names)}]\neinsums: |\n{block}\n"


def touched(program: ir.Program, inputs: dict[str, np.ndarray], shapes: dict[str, int]) -> int:
    """Elements of inputs that all tensors are computed from, found by computing them."""
    oracle = Pointwise(program, inputs, shapes)
    for e in program.einsums:
        for at in np.ndindex(*(shapes[r] for r in program.tensor_ranks[e.name])):
            oracle.element(e.name, at)
    read = {k for k, v in oracle.known.items() if k[0] in inputs and v is not BEYOND}
    return len(read)


def touched_in_a_run(program: ir.Program, seed: int) -> int:
    """What a run on random numbers touches of its inputs, in ``SHAPES``."""
    rng = np.random.default_rng(seed)
    inputs = {t.name: rng.normal(size=[SHAPES[r] for r in t.ranks]) for t in program.inputs}
    return touched(program, inputs, SHAPES)
