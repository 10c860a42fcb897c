"""Usual sizes: read, printed, refused where they make no sense, giving way to given ones."""

from __future__ import annotations

import pytest

from einsum_cascade import Cascade
from einsum_cascade.errors import CascadeError
from einsum_cascade.shapes import complete_shapes, resolve_shapes
from einsum_cascade.yaml.library import builtin_names

TEXT = """
cascade: small
parallel: [B]
ranks: {M: {is: things, partition: [M1, M0]}, N: {is: others, like: M}, T: {shape: 3}}
inputs: {A: [M, T], C: [N]}
output: Y
parameters: [window]
usual: USUAL
einsums: |
  Y[m1, m0, n] = A[m1*M0 + m0, t] * C[n] where m0 < window
"""


def cascade(usual: str) -> Cascade:
    return Cascade.parse(TEXT.replace("USUAL", usual))


def test_they_are_read_and_printed() -> None:
    found = cascade("{M: 12, M0: 4, window: 2}")
    assert [(u.name, u.size) for u in found.program.usual] == [("M", 12), ("M0", 4), ("window", 2)]
    assert Cascade.parse(found.text()).program == found.program


def test_k_is_binary_here_too() -> None:
    text = TEXT.replace("shape: 3", "shape: 2K").replace("USUAL", "{M: 1K, M0: 0.5K, window: 1e3}")
    found = Cascade.parse(text).program
    assert [u.size for u in found.usual] == [1024, 512, 1000]
    assert found.rank_of["T"].shape == 2048


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"B": 2, "M": 12, "M0": 4, "window": 2}),
        ({"B": 1}, {"M": 12, "M0": 4, "window": 2}),
        ({"M": 5}, {"B": 2, "M0": 4, "window": 2}),
        ({"N": 5}, {"B": 2, "M0": 4, "window": 2}),
        ({"M1": 5}, {"B": 2, "M": 12, "window": 2}),
        ({"M0": 3, "window": 1}, {"B": 2, "M": 12}),
    ],
)
def test_they_give_way_to_what_is_given(given: dict[str, int], added: dict[str, int]) -> None:
    program = cascade("{B: 2, M: 12, M0: 4, window: 2}").program
    found, usual = complete_shapes(program, given)
    assert usual == added
    assert found == given | added


def test_of_a_family_of_three_two_may_be_usual() -> None:
    text = (
        "cascade: a\nranks: {N: {is: steps, partition: [P, J, I]}}\ninputs: {A: [N]}\noutput: Y\n"
    )
    program = Cascade.parse(text + "usual: {J: 2, I: 3}\neinsums: Y[p, j, i] = A[p*J*I + j*I + i]")
    for given in ({"P": 4}, {"N": 24}):
        assert complete_shapes(program.program, given)[1] == {"J": 2, "I": 3}
    assert complete_shapes(program.program, {"P": 4, "N": 24})[1] == {"J": 2}


def test_they_give_way_to_tiles() -> None:
    program = cascade("{B: 2, M: 12, M0: 4, window: 2}").program
    assert "M0" not in complete_shapes(program, {}, fixed=["M0"])[0]


@pytest.mark.parametrize(
    ("usual", "said"),
    [
        ("{Q: 3}", "'usual' names 'Q', which is no rank and no parameter"),
        ("{windw: 3}", "did you mean 'window'?"),
        ("{N: 3}", "N is as long as M, so its size cannot be given"),
        ("{T: 4}", "T is always 3"),
        ("{M: 0}", "a usual size is a positive whole number, not 0"),
        ("{M: 1.5}", "a usual size is a positive whole number, not 1.5"),
        ("{M: 0.3K}", "a usual size is a positive whole number, not 0.3K"),
        ("{M: -1K}", "a usual size is a positive whole number, not -1K"),
        ("{M: 1T}", "a usual size is a positive whole number, not 1T"),
        ("{M: true}", "a usual size is a positive whole number, not true"),
        ("{M: .inf}", "a usual size is a positive whole number, not .inf"),
        ("{M: 9999999G}", "a usual size is a positive whole number, not 9999999G"),
        ("[M]", "usual"),
    ],
)
def test_mistakes(usual: str, said: str) -> None:
    with pytest.raises(CascadeError) as no:
        cascade(usual)
    assert said in str(no.value)


@pytest.mark.parametrize("name", builtin_names("cascades"))
def test_every_cascade_has_all_shapes_of_a_bert_layer(name: str) -> None:
    """With heads, widths and tokens given, what is left is usual."""
    program = Cascade.load(name).program
    bert = {"B": 64, "H": 12, "E": 64, "F": 64, "P": 4096, "M": 4096}
    given = {r: n for r, n in bert.items() if r in program.settable}
    shapes, _ = complete_shapes(program, given)
    tiles = {m: 64 for r in program.ranks for m in r.partition[1:] if m not in shapes}
    likes = {r.name for r in program.ranks if r.like and program.rank_of[r.like].partition}
    owned = {m for r in program.ranks if r.name in likes for m in r.partition}
    sizes = {n: v for n, v in (shapes | tiles).items() if n not in owned}
    found = resolve_shapes(program, {n: v for n, v in sizes.items() if n in program.rank_of})
    assert set(found) >= {r.name for r in program.ranks}
