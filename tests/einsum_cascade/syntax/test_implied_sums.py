"""A sum that a missing index implies is of terms that all have the index."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from commands import refused

from einsum_cascade import Cascade, CascadeError

BIASED = """\
cascade: biased
parallel: [B, H]
ranks: {E: width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], C: [P]}
outputs: [ALL, S]
einsums: |
  ALL = Q[p, e] * K[m, e] * C[p]
"""
REPEATED = "S[m, p] = Q[p, e] * K[m, e] / sqrt(E) + C[p]"
APART = "S1[m, p] = Q[p, e] * K[m, e] / sqrt(E)\nS[m, p] = S1[m, p] + C[p]"
MEANT = f"{REPEATED} :: +[e]"


def cascade(equations: str) -> Cascade:
    lines = "".join(f"  {line}\n" for line in equations.splitlines())
    return Cascade.parse(BIASED + lines)


def hint(equations: str) -> str:
    with pytest.raises(CascadeError) as no:
        cascade(equations)
    (problem,) = no.value.problems
    assert problem.hint is not None
    return problem.hint


def spelled(said: str) -> tuple[str, str]:
    """Both spellings of a hint: the sum on its own, and the sum of everything."""
    apart, meant = said.split("\n    or, to add it once per ")
    return apart.removeprefix("write ").replace("; ", "\n"), meant.partition(": ")[2]


def values(equations: str) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(3)
    shapes = {"Q": (1, 1, 4, 3), "K": (1, 1, 5, 3), "C": (1, 1, 4)}
    found = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return cascade(equations).evaluate(found)["S"][0, 0]


def test_an_added_term_without_the_index_is_refused_with_both_spellings() -> None:
    with pytest.raises(CascadeError) as no:
        cascade(REPEATED)
    (problem,) = no.value.problems
    assert problem.message == "the implied sum over 'e' repeats a term without 'e': C[p]"
    assert str(problem.span) == "<text>:8:43"
    assert spelled(str(problem.hint)) == (APART, MEANT)


def test_both_spellings_mean_what_they_say() -> None:
    apart, meant = values(APART), values(MEANT)
    rng = np.random.default_rng(3)
    q, k, c = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.normal(size=4)
    np.testing.assert_allclose(apart, k @ q.T / np.sqrt(3) + c, rtol=1e-12)
    np.testing.assert_allclose(meant, k @ q.T / np.sqrt(3) + 3 * c, rtol=1e-12)


@pytest.mark.parametrize(
    ("equation", "apart"),
    [
        (
            "S[m, p] = C[p] - Q[p, e] * K[m, e]",
            "S1[m, p] = Q[p, e] * K[m, e]\nS[m, p] = C[p] - S1[m, p]",
        ),
        (
            "S[m, p] = K[m, e] + C[p] where m <= p",
            "S1[m] = K[m, e]\nS[m, p] = S1[m] + C[p] where m <= p",
        ),
        ("S[p] = K[m, 0] + C[p] where m <= p", "S1[p] = K[m, 0] where m <= p\nS[p] = S1[p] + C[p]"),
        (
            "S[p] = C[p] - (Q[p, e] * K[m, e] + 1)",
            "S1[p] = Q[p, e] * K[m, e]\nS[p] = C[p] - S1[p] - 1",
        ),
        ("S[p] = Q[p, e] + C[p] - (K[m, 0] - K[0, e]) * C[p] + Q[p, e]", None),
        ("S[p] = Q[p, e] + C[p] - K[m, 0] * C[p] + K[0, e]", None),
        ("S[p] = Q[p, e] + C[p] + K[0, e]", "S1[p] = Q[p, e] + K[0, e]\nS[p] = S1[p] + C[p]"),
        ("S[p] = C[p] - Q[p, e] + K[0, e]", "S1[p] = Q[p, e] - K[0, e]\nS[p] = C[p] - S1[p]"),
        ("S[m, p] = (Q[p, e] * K[m, e] + C[p]) / sqrt(E) where m <= p", None),
        ("S[p] = Q[p, e] + K[m, 0] + C[p] where m <= p", None),
    ],
)
def test_the_first_spelling_is_a_cascade(equation: str, apart: str | None) -> None:
    first, second = spelled(hint(equation))
    assert first == (apart or first)
    assert apart or re.fullmatch("the sum of what has '.' as an Einsum of its own", first)
    for spelling in (first, second) if apart else (second,):
        written = cascade(spelling)
        assert Cascade.parse(written.text()) == written


@pytest.mark.parametrize(
    "equation",
    [
        "S[m, p] = Q[p, e] * K[m, e] + C[p] * Q[p, e]",
        "S[m, p] = (Q[p, e] + C[p]) * K[m, e]",
        "S[m, p] = C[p] / K[m, e] + Q[p, e]",
        "S[m, p] = exp(Q[p, e] + C[p]) * K[m, e]",
        "S[m, p] = where(m <= p, Q[p, e] * K[m, e], C[p])",
        "S[m, p] = Q[p, e] * K[m, e] + C[p] :: max[e]",
        "S[m, p, e] = Q[p, e] * K[m, e] + C[p]",
        MEANT,
    ],
)
def test_terms_that_all_have_the_index_and_other_reductions_stay(equation: str) -> None:
    written = cascade(equation)
    assert Cascade.parse(written.text()) == written


def test_every_command_refuses_it(tmp_path: Path) -> None:
    file = tmp_path / "biased.yaml"
    file.write_text(f"{BIASED}  {REPEATED}\n")
    used = ("simulate", "bert-base", "fusemax", "--set", f"cascade={file}")
    for words in (("analyze", str(file)), ("validate", str(file)), used):
        said = refused(*words, code=2)
        assert f"{file}:8:43" in said
        assert APART.replace("\n", "; ") in said
        assert MEANT in said
