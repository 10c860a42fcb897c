"""More is picked than there is: what is not there is absent, and a machine makes room for none."""

from __future__ import annotations

import numpy as np
import pytest
from portions import left

from archsim import Architecture, simulate, validate
from archsim.validation.mapped import mapped_run
from einsum_cascade import Cascade
from einsum_cascade.shapes import clip_selections, complete_shapes
from mappers.construct.generators import GENERATORS

HEAD = "cascade: some\nranks: {P: queries, M: keys, J: picks}\ninputs: {S: [P, M]WEIGHTS}\n"
PICKS = "  I[p, j] << topk(S[p, m], j)\n"


def some(body: str, outputs: str = "[Z]", weights: str = "") -> Cascade:
    head = HEAD.replace("WEIGHTS", weights)
    lines = "".join(f"  {line}\n" for line in body.split("; "))
    return Cascade.parse(f"{head}outputs: {outputs}\neinsums: |\n{PICKS}{lines}")


OF_PICKS = (
    "X[p, j] = S[p, I[p, j]]; Z[p] = exp(X[p, j])",
    "X[p, j] = S[p, I[p, j]]; G[p] = X[p, j] :: max[j]; Z[p] = exp(X[p, j] - G[p])",
    "X[p, j] = S[p, I[p, j]] * S[p, 0]; L[p] = X[p, j] :: min[j]; Z[p] = X[p, j] + L[p] :: +[j]",
    "X[p, j] = S[p, I[p, j]]; Z[p] = X[p, j] :: prod[j]",
    "N[p, j] = I[p, j] + 1; X[p, j] = N[p, j] * 2; Z[p] = X[p, j]",
)


@pytest.mark.parametrize("body", OF_PICKS)
def test_with_fewer_picks_all_is_the_same(body: str) -> None:
    """Selecting all candidates gives the same result as selecting more."""
    cascade = some(body)
    s = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4))
    wanted = cascade.evaluate({"S": s}, J=4)["Z"]
    np.testing.assert_array_equal(cascade.evaluate({"S": s}, J=7)["Z"], wanted)
    assert clip_selections(cascade.program, {"P": 3, "M": 4, "J": 7}) == {"J": 4}
    assert clip_selections(cascade.program, {"P": 3, "M": 4, "J": 4}) == {}
    assert clip_selections(cascade.program, {"P": 3, "J": 4}) == {}


OF_MORE = (
    ("Z[p] = S[p, I[p, j]] / J", ""),
    ("Z[p] = S[p, I[p, j]] * W[j]", ", W: [J]"),
    (
        "X[p, j] = S[p, I[p, j]]; Z[p] = X[p, j] + 0 :: +[j]; "
        "Y[p, j] = S[p, 0] + j; V[p] = Y[p, j]",
        "",
    ),
    ("Z[p, m] = where(I[p, j] == m, 1, 0)", ""),
)


@pytest.mark.parametrize(("body", "weights"), OF_MORE)
def test_what_counts_more_than_picks_keeps_its_shape(body: str, weights: str) -> None:
    cascade = some(body, "[Z, V]" if "V[p]" in body else "[Z]", weights)
    assert clip_selections(cascade.program, {"P": 3, "M": 4, "J": 7}) == {}


def test_usual_and_given_shapes_are_no_more_than_there_is_to_pick_from() -> None:
    program = Cascade.load("native-sparse-attention").program
    assert complete_shapes(program, {"M": 512, "P": 512})[0]["J"] == 8
    assert complete_shapes(program, {"M": 512, "P": 512, "J": 9})[0]["J"] == 8
    assert complete_shapes(program, {"M": 2048, "P": 512})[0]["J"] == 16


@pytest.mark.parametrize("name", [left("nsa"), "moba"])
def test_short_sequences_of_what_picks_blocks_run(name: str) -> None:
    """Eight blocks of 64 of which 16 are to be picked; one of 512, of which 3 are."""
    result = simulate(name, "fusemax", "fused", seq_len=512)
    assert any("there are no more candidates" in note for note in result.notes)
    assert result.cycles > 0


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("mixture-of-block-attention", {"M": 9, "P": 12, "U": 4, "J": 5}),
        left(
            "native-sparse-attention-overlapped", {"M": 9, "P": 3, "T": 2, "R": 2, "A": 2, "J": 7}
        ),
        ("deepseek-sparse-attention", {"M": 3, "P": 5, "J": 4}),
    ],
)
def test_kernels_with_fewer_blocks_than_picks(name: str, shapes: dict[str, int]) -> None:
    assert validate(name, **shapes).ok


@pytest.mark.parametrize(
    ("body", "weights"), [*((b, "") for b in OF_PICKS), *OF_MORE, ("Z[p, j] = S[p, I[p, j]]", "")]
)
def test_mapped_and_evaluated_with_more_picks_than_there_are(body: str, weights: str) -> None:
    """More picks than candidates give the same numbers and shapes from a mapped nest."""
    machine = Architecture.load("fusemax")
    cascade = some(body, "[Z, V]" if "V[p]" in body else "[Z]", weights)
    s, w = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4)), np.arange(1.0, 8.0)
    inputs = {"S": s} | ({"W": w} if weights else {})
    wanted = cascade.evaluate(inputs, J=7)
    found = mapped_run(cascade, None, machine, GENERATORS)(inputs, dtype="float64", J=7)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)
    assert wanted["Z"].shape == ((3, 4) if "Z[p, j]" in body or "Z[p, m]" in body else (3,))
