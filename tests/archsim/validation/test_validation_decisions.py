"""Narrow types and selections: what rounding alone turns over is not compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from commands import run

from archsim.validation.trial import changes_decisions, decisions
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from workloads.references import Reference

PICK = """
cascade: pick
ranks: {M: keys, J: {is: chosen, shape: 1}}
inputs: {S: [M], V: [M]}
outputs: [O, LOW]
einsums: |
  I[j]   << topk(S[m], j)
  O[j]   = V[I[j]]
  LOW[m] = where(S[m] < V[m], 1, 0)
"""


def test_what_counts_as_a_decision() -> None:
    assert decisions(Cascade.parse(PICK).program) == ("I", "LOW")
    assert decisions(Cascade.load("attention-causal").program) == ()
    assert set(decisions(Cascade.load("recycled-attention").program)) == {"DX", "NEW"}


@pytest.mark.parametrize(("second", "otherwise"), [(1.001, True), (1.1, False)])
def test_a_tie_within_rounding_is_found(second: float, otherwise: bool) -> None:
    """1 and 1.001 are one number in bfloat16; the sum is rounded after it is made."""
    text = PICK.replace("topk(S[m], j)", "topk(T[m], j)").replace(
        "  I[j]", "  T[m] = S[m] + V[m]\n  I[j]", 1
    )
    inputs = {"S": np.array([1.0, 1.0]), "V": np.array([0.0, second - 1])}
    found = changes_decisions(Cascade.parse(text), inputs, "bfloat16", {})
    assert found is otherwise
    assert not changes_decisions(Cascade.parse(text), inputs, "float64", {})


STEEP = """
cascade: steep
ranks: {M: keys}
inputs: {S: [M]}
output: O
einsums: |
  T[m] = 30 * S[m]
  O[m] = exp(T[m])
"""


def test_what_rounding_grows_to_is_told_from_what_is_wrong() -> None:
    """An exponent of 60 or so: a last place of bfloat16 in it is a good part of the result. What
    is wrong is so in float64, too."""

    def steep(S: Any) -> Any:
        return np.exp(30 * S)

    def wrong(S: Any) -> Any:
        return 2 * steep(S)

    cascade, right = Cascade.parse(STEEP), Reference("steep", steep)
    narrow = validate_cascade(cascade, reference=right, dtype="bfloat16", shapes={"M": 9})
    assert narrow.verdict == "not comparable"
    assert "times as far" in narrow.beyond
    assert validate_cascade(cascade, reference=right, shapes={"M": 9}).ok
    other = validate_cascade(cascade, reference=Reference("wrong", wrong), shapes={"M": 9})
    assert other.verdict == "FAILED"


def test_set_aside_is_reported() -> None:
    """Of sums that nearly always tie in bfloat16 some draws have to be set aside."""
    text = PICK.replace("topk(S[m], j)", "topk(T[m], j)").replace(
        "  I[j]", "  T[m] = 1 + S[m] / 50\n  I[j]", 1
    )

    def pick(S: Any, V: Any) -> dict[str, Any]:
        return {"O": V[[int(np.argmax(S))]], "LOW": (V > S) * 1.0}

    cascade = Cascade.parse(text)
    reference = Reference("pick", pick)
    report = validate_cascade(cascade, reference=reference, dtype="bfloat16", shapes={"M": 4})
    assert report.ok
    assert report.set_aside > 0
    assert report.to_dict()["set_aside"] == report.set_aside
    assert validate_cascade(cascade, reference=reference).set_aside == 0


def test_where_nothing_settles_the_check_fails() -> None:
    """Too many near ties: the last draw is compared as it is."""
    text = PICK.replace("topk(S[m], j)", "topk(T[m], j)").replace(
        "  I[j]", "  T[m] = 1 + 0 * S[m] + m / 1000000\n  I[j]", 1
    )

    def pick(S: Any, V: Any) -> dict[str, Any]:
        return {"O": V[-1:], "LOW": (V > S) * 1.0}

    report = validate_cascade(
        Cascade.parse(text),
        reference=Reference("pick", pick),
        dtype="bfloat16",
        shapes={"M": 16},
        trials=1,
    )
    assert not report.ok
    assert report.set_aside == 100


def test_a_wrong_selection_is_not_set_aside() -> None:
    """Both types choose the smallest: the reference knows better."""
    text = Cascade.load("landmark-retrieval").text().replace("topk(SL[n], j)", "topk(NL[n], j)")
    text = text.replace("  IX[j] ", "  NL[n] = -SL[n]\n  IX[j] ", 1)
    from workloads.references import find_reference

    for dtype in ("float64", "bfloat16"):
        report = validate_cascade(
            Cascade.parse(text),
            reference=find_reference("landmark_retrieval"),
            dtype=dtype,
            shapes={"N": 8, "J": 2},
        )
        assert not report.ok


def test_the_report_says_so() -> None:
    found = run("validate", "mixture-of-heads", "--dtype", "bfloat16", "--seed", "1")
    assert found.exit_code == 0
    assert "drawn again, where rounding" in found.output
