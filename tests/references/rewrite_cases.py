"""Cascades that the rewrites are tried on, as users would write them, with what must happen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from element_by_element import run

from einsum_cascade.ir import Program
from einsum_cascade.notation import statement_text
from einsum_cascade.rewrites.proof import proof_shapes, random_inputs

_ATTENTION = """
ranks: {E: width, F: value width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: AV
einsums: |
  QK[m, p] = Q[p, e] * K[m, e]
"""

_MATRIX = """
ranks: {P: rows, M: columns}
inputs: {X: [P, M]}
output: Y
"""

_PAIR = """
ranks: {P: rows, M: columns, F: features}
inputs: {X: [P, M], W: [M, F]}
output: Y
"""


@dataclass(frozen=True)
class Case:
    """A cascade, the rank to reduce, and its passes before and after."""

    name: str
    text: str
    before: int
    after: int
    rank: str = "M"

    @property
    def yaml(self) -> str:
        """The whole file."""
        return f"cascade: {self.name}\n{self.text}"


REDUCIBLE = (
    Case(
        "softmin-attention",
        _ATTENTION
        + """  G[p] = QK[m, p] :: min[m]
  SN[m, p] = exp(G[p] - QK[m, p])
  SD[p] = SN[m, p]
  A[m, p] = SN[m, p] / SD[p]
  AV[p, f] = A[m, p] * V[m, f]
""",
        3,
        1,
    ),
    Case(
        "lse-form-attention",
        _ATTENTION
        + """  GM[p] = QK[m, p] :: max[m]
  SD[p] = exp(QK[m, p] - GM[p])
  LSE[p] = GM[p] + log(SD[p])
  A[m, p] = exp(QK[m, p] - LSE[p])
  AV[p, f] = A[m, p] * V[m, f]
""",
        3,
        1,
    ),
    Case(
        "two-consumers",
        _ATTENTION.replace("output: AV", "outputs: [AV, H, LSE]")
        + """  GM[p] = QK[m, p] :: max[m]
  SN[m, p] = exp(QK[m, p] - GM[p])
  SD[p] = SN[m, p]
  A[m, p] = SN[m, p] / SD[p]
  AV[p, f] = A[m, p] * V[m, f]
  H[p] = A[m, p] * A[m, p]
  LSE[p] = GM[p] + log(SD[p])
""",
        3,
        1,
    ),
    Case(
        "causal-softmax",
        _ATTENTION
        + """  GM[p] = QK[m, p] :: max[m] where m <= p
  SN[m, p] = exp(QK[m, p] - GM[p]) where m <= p
  SD[p] = SN[m, p] where m <= p
  A[m, p] = SN[m, p] / SD[p] where m <= p
  AV[p, f] = A[m, p] * V[m, f] where m <= p
""",
        3,
        1,
    ),
    Case(
        "mask-that-starts-empty",
        _PAIR
        + """einsums: |
  G[p] = X[p, m] :: max[m] where m >= 2 * p
  E[p, m] = exp(X[p, m] - G[p]) where m >= 2 * p
  D[p] = E[p, m] where m >= 2 * p
  A[p, m] = E[p, m] / D[p] where m >= 2 * p
  Y[p, f] = A[p, m] * W[m, f] where m >= 2 * p
""",
        3,
        1,
    ),
    Case(
        "additive-mask",
        _PAIR
        + """einsums: |
  S[p, m] = where(m >= 2 * p, X[p, m], -inf)
  G[p] = S[p, m] :: max[m]
  E[p, m] = exp(S[p, m] - G[p])
  D[p] = E[p, m]
  Y[p, f] = E[p, m] * W[m, f] / D[p]
""",
        3,
        1,
    ),
    Case(
        "entropy",
        _MATRIX
        + """einsums: |
  G[p] = X[p, m] :: max[m]
  E[p, m] = exp(X[p, m] - G[p])
  D[p] = E[p, m]
  L[p, m] = X[p, m] - G[p] - log(D[p])
  A[p, m] = E[p, m] / D[p]
  Y[p] = -A[p, m] * L[p, m]
""",
        3,
        1,
    ),
    Case(
        "weighted-variance",
        _MATRIX.replace("{X: [P, M]}", "{X: [P, M], U: [M]}")
        + """einsums: |
  W[m] = exp(U[m])
  SW = W[m]
  SX[p] = W[m] * X[p, m]
  MU[p] = SX[p] / SW
  Y[p] = W[m] * (X[p, m] - MU[p]) ** 2 / SW
""",
        2,
        1,
    ),
    Case(
        "third-central-moment",
        _MATRIX
        + """einsums: |
  S[p] = X[p, m]
  C[p, m] = X[p, m] - S[p] / M
  Y[p] = C[p, m] ** 3
""",
        2,
        1,
    ),
    Case(
        "exponentially-weighted",
        _MATRIX
        + """einsums: |
  S[p] = X[p, m]
  Y[p] = X[p, m] * exp(2 * X[p, m] - S[p])
""",
        2,
        1,
    ),
    Case(
        "scaled-max",
        _MATRIX
        + """einsums: |
  D[p] = exp(X[p, m]) :: prod[m]
  Y[p] = X[p, m] / D[p] :: max[m]
""",
        2,
        1,
    ),
    Case(
        "shifted-min",
        _MATRIX
        + """einsums: |
  D[p] = abs(X[p, m])
  C[p, m] = X[p, m] - D[p]
  Y[p] = C[p, m] :: min[m]
""",
        2,
        1,
    ),
    Case(
        "log-sum-exp-operator",
        'reductions: {"lae(a, b)": {is: "log(exp(a) + exp(b))", identity: -inf}}'
        + _MATRIX
        + """einsums: |
  D[p] = X[p, m] :: lae[m]
  Y[p] = exp(X[p, m] - D[p]) * X[p, m]
""",
        2,
        1,
    ),
    Case(
        "softmax-then-layer",
        _PAIR.replace("output: Y", "outputs: [Y, A]")
        + """einsums: |
  G[p] = X[p, m] :: max[m]
  E[p, m] = exp(X[p, m] - G[p])
  D[p] = E[p, m]
  A[p, m] = E[p, m] / D[p]
  Y[p, f] = A[p, m] * W[m, f]
""",
        3,
        2,
    ),
    Case(
        "mask-written-once",
        _ATTENTION.replace("K[m, e]\n", "K[m, e] where m >= 2 * p\n")
        + """  GM[p] = QK[m, p] :: max[m]
  SN[m, p] = exp(QK[m, p] - GM[p])
  SD[p] = SN[m, p]
  A[m, p] = SN[m, p] / SD[p]
  AV[p, f] = A[m, p] * V[m, f]
""",
        3,
        1,
    ),
    Case(
        "layer-norm-and-projection",
        _PAIR.replace("{X: [P, M]", "{G: [M], B: [M], X: [P, M]")
        + """einsums: |
  S[p] = X[p, m]
  MU[p] = S[p] / M
  C[p, m] = X[p, m] - MU[p]
  SQ[p] = C[p, m] ** 2
  R[p] = rsqrt(SQ[p] / M + 0.001)
  N[p, m] = C[p, m] * R[p] * G[m] + B[m]
  Y[p, f] = N[p, m] * W[m, f]
""",
        3,
        1,
    ),
    Case(
        "relative-entropy",
        _MATRIX.replace("{X: [P, M]}", "{X: [P, M], Z: [P, M]}")
        + """einsums: |
  GX[p] = X[p, m] :: max[m]
  EX[p, m] = exp(X[p, m] - GX[p])
  DX[p] = EX[p, m]
  GZ[p] = Z[p, m] :: max[m]
  DZ[p] = exp(Z[p, m] - GZ[p])
  A[p, m] = EX[p, m] / DX[p]
  LX[p, m] = X[p, m] - GX[p] - log(DX[p])
  LZ[p, m] = Z[p, m] - GZ[p] - log(DZ[p])
  Y[p] = A[p, m] * (LX[p, m] - LZ[p, m])
""",
        3,
        1,
    ),
    Case(
        "two-corrections-in-one-sum",
        _MATRIX
        + """einsums: |
  D[p] = X[p, m]
  Y[p] = exp(X[p, m] - D[p]) + exp(D[p] - X[p, m])
""",
        2,
        1,
    ),
    Case(
        "attention-without-a-maximum",
        _ATTENTION
        + """  SN[m, p] = exp(QK[m, p])
  SD[p] = SN[m, p]
  A[m, p] = SN[m, p] / SD[p]
  AV[p, f] = A[m, p] * V[m, f]
""",
        2,
        1,
    ),
)
"""Each reaches its passes by ``reduce_passes`` alone."""


REFUSED = (
    (
        "top-k",
        """
ranks: {E: width, F: value width, P: queries, M: keys, J: kept}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: AV
einsums: |
  QK[m, p] = Q[p, e] * K[m, e]
  I[j, p] << topk(QK[m, p], j)
  VS[j, p, f] = V[I[j, p], f]
  AV[p, f] = VS[j, p, f]
""",
        "at 'I': topk is a selection, not a reduction: no correction exists",
    ),
    (
        "median",
        """
ranks: {P: rows, M: columns, J: kept}
inputs: {X: [P, M]}
output: Y
einsums: |
  I[j, p] << topk(X[p, m], j)
  D[p] = X[p, I[j, p]] :: min[j]
  Y[p] = abs(X[p, m] - D[p])
""",
        "at 'I': topk is a selection, not a reduction",
    ),
    (
        "temperature-is-a-sum",
        _ATTENTION
        + """  T[p] = abs(QK[m, p])
  GM[p] = QK[m, p] :: max[m]
  SN[m, p] = exp((QK[m, p] - GM[p]) / T[p])
  SD[p] = SN[m, p]
  A[m, p] = SN[m, p] / SD[p]
  AV[p, f] = A[m, p] * V[m, f]
""",
        r"at 'SN': no correction exists: when GM, T moves on.*depends on QK\[m,p\]",
    ),
    (
        "mean-absolute-deviation",
        _MATRIX
        + """einsums: |
  S[p] = X[p, m]
  Y[p] = abs(X[p, m] - S[p] / M)
""",
        r"at 'Y': no correction exists.*depends on X\[p,m\]",
    ),
    (
        "sum-divides",
        _MATRIX
        + """einsums: |
  D[p] = X[p, m]
  Y[p] = X[p, m] / D[p] :: max[m]
""",
        "at 'Y': the correction .* may be negative, which swaps max and min",
    ),
    (
        "correction-may-divide-by-zero",
        _MATRIX
        + """einsums: |
  D[p] = X[p, m]
  Y[p] = abs(X[p, m] / D[p])
""",
        "at 'Y': the correction .* divides by D as known on the way, which can be zero",
    ),
    (
        "condition-needs-the-end",
        _MATRIX
        + """einsums: |
  D[p] = X[p, m] :: max[m]
  Y[p] = X[p, m] where X[p, m] > D[p] - 1
""",
        "at 'Y': its 'where' condition needs the end of the sweep",
    ),
    (
        "only-outputs-wait",
        _MATRIX
        + """einsums: |
  S[p] = X[p, m] * X[p, m]
  Y[p, m] = X[p, m] * rsqrt(S[p] / M)
""",
        "at 'Y': it is computed for every element of M .* no reduction follows",
    ),
    (
        "one-pass-already",
        _MATRIX
        + """einsums: |
  Y[p] = exp(X[p, m])
""",
        "no reduction of 'one-pass-already' waits for the end of a sweep",
    ),
    (
        "top-k-then-softmax",
        """
ranks: {E: width, F: value width, P: queries, M: keys, J: kept}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: AV
einsums: |
  QK[m, p] = Q[p, e] * K[m, e]
  I[j, p] << topk(QK[m, p], j)
  KS[j, p, e] = K[I[j, p], e]
  S[j, p] = Q[p, e] * KS[j, p, e]
  G[p] = S[j, p] :: max[j]
  SN[j, p] = exp(S[j, p] - G[p])
  SD[p] = SN[j, p]
  VS[j, p, f] = V[I[j, p], f]
  AV[p, f] = SN[j, p] * VS[j, p, f] / SD[p]
""",
        "at 'I': topk is a selection, not a reduction: no correction exists",
    ),
    (
        "mask-of-the-maximum-leaves-elements-out",
        _MATRIX
        + """einsums: |
  D[p] = X[p, m] :: max[m] where m >= p
  Y[p] = exp(X[p, m] - D[p]) * X[p, m]
""",
        "at 'Y': it takes elements that the mask of 'D' leaves out",
    ),
    (
        "product-of-differences",
        _MATRIX
        + """einsums: |
  D[p] = X[p, m]
  Y[p] = X[p, m] - D[p] :: prod[m]
""",
        r"at 'Y': no correction exists.*log f\(x, d2\) / log f\(x, d1\)",
    ),
)
"""Name, cascade, and what the refusal must say."""


def equations(program: Program) -> list[str]:
    return [statement_text(e) for e in (*program.init, *program.einsums)]


def assert_same(before: Program, after: Program, seed: int = 0) -> None:
    before = dataclasses.replace(before, parallel=())
    after = dataclasses.replace(after, parallel=())
    shapes = proof_shapes(after)
    inputs = random_inputs(before, shapes, seed)
    parameters = {p.name: 0.75 for p in before.parameters if p.default is None}
    truth = run(before, inputs, shapes, parameters)
    found = run(after, inputs, shapes, parameters)
    for name, value in truth.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9)
