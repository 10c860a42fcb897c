"""Operands that lack parallel ranks: one copy for all."""

from __future__ import annotations

import numpy as np
import pytest

from einsum_cascade import Cascade, CascadeError

SHARED = """
cascade: shared
parallel: [B, H]
shared: {W: [B], TH: [B, H]}
ranks: {E: width, P: positions, D: in}
inputs: {X: [P, D], W: [D, E], TH: [E]}
output: Y
init: S[0, e] = TH[e]
einsums: |
  C[e]      = cos(TH[e])
  Z[p, e]   = X[p, d] * W[d, e]
  S[p+1, e] = S[p, e] * C[e]
  Y[p, e]   = Z[p, e] + S[p, e]
"""


def test_shared_operands_are_there_once() -> None:
    """A tensor has the parallel ranks of what it is computed from, and no more."""
    cascade = Cascade.parse(SHARED)
    ranks = cascade.program.tensor_ranks
    assert cascade.program.parallel == ()
    assert [ranks[n] for n in ("X", "W", "TH")] == [("B", "H", "P", "D"), ("H", "D", "E"), ("E",)]
    assert [ranks[n] for n in ("C", "S", "Z", "Y")] == [
        ("E",),
        ("P", "E"),
        ("B", "H", "P", "E"),
        ("B", "H", "P", "E"),
    ]
    assert Cascade.parse(str(cascade)).program == cascade.program
    rng = np.random.default_rng(0)
    x, w, th = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(3, 5, 2)), rng.normal(size=2)
    found = cascade.evaluate({"X": x, "W": w, "TH": th})["Y"]
    powers = th * np.cos(th) ** np.arange(4)[:, None]
    np.testing.assert_allclose(found, x @ w + powers, rtol=1e-13)


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        ("{V: [B]}", "'shared' names 'V', which is no input"),
        ("{W: [P]}", "'W' cannot be shared along 'P', which is not parallel"),
        ("{W: [b]}", "'b' cannot be a name here"),
        ("[W]", "'shared' is a mapping"),
    ],
)
def test_what_cannot_be_shared_is_refused(shared: str, said: str) -> None:
    with pytest.raises(CascadeError, match=said):
        Cascade.parse(SHARED.replace("{W: [B], TH: [B, H]}", shared))
