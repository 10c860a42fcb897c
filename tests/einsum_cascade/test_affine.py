"""Linear forms: members of a family are folded only where they say its position."""

from __future__ import annotations

import itertools
from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from einsum_cascade import Cascade
from einsum_cascade.affine import Families
from einsum_cascade.ir import Affine, AffineTerm, collected

RANKS = "{E: width, M: {is: keys, partition: [M2, M1, M0]}, P: {is: queries, like: M}}"
PROGRAM = Cascade.parse(
    f"cascade: a\nranks: {RANKS.replace('like: M}', 'partition: [P2, P1, P0], like: M}')}\n"
    "inputs: {X: [M, P, E]}\noutput: Z\n"
    "einsums: 'Z = X[m2*M1*M0 + m1*M0 + m0, p2*P1*P0 + p1*P0 + p0, e]'\n"
).program
FAMILIES = Families.of(PROGRAM)
SHAPES = {"M2": 2, "M1": 3, "M0": 5, "P2": 2, "P1": 3, "P0": 5, "E": 3, "M": 30, "P": 30}

TERMS = st.builds(
    AffineTerm,
    st.sampled_from([1, 1, 1, -1, 2]),
    st.sampled_from(
        [(), ("M0",), ("P0",), ("E",), ("M0", "M1"), ("P1", "M0"), ("P0", "P1"), ("E", "M0")]
    ),
    st.sampled_from(["m2", "m1", "m0", "p2", "p1", "p0", "e", None]),
)
M = [AffineTerm(1, ("M0", "M1"), "m2"), AffineTerm(1, ("M0",), "m1"), AffineTerm(1, (), "m0")]


def value(form: Affine, at: dict[str, int]) -> int:
    return sum(
        t.coefficient * prod(SHAPES[s] for s in t.shapes) * (at[t.variable] if t.variable else 1)
        for t in form.terms
    )


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(st.lists(TERMS, max_size=3), st.lists(st.sampled_from(M), max_size=3), st.integers(-1, 2))
def test_a_folded_form_is_the_same_number(
    terms: list[AffineTerm], digits: list[AffineTerm], change: int
) -> None:
    """At every place; the family's variable is where its members stand together."""
    digits = list(dict.fromkeys(digits))
    if 0 <= change < len(digits):
        digits[change] = AffineTerm(1, ("E", *digits[change].shapes[1:]), digits[change].variable)
    form = collected((*terms, *digits))
    folded = FAMILIES.fold(form)
    for m2, m1, m0 in itertools.product((0, 1), (0, 2), (1, 4)):
        at = {"m2": m2, "m1": m1, "m0": m0, "p2": m1 // 2, "p1": m2 + 1, "p0": m0 - 1, "e": 2}
        at |= {"m": m2 * 15 + m1 * 5 + m0, "p": at["p2"] * 15 + at["p1"] * 5 + at["p0"]}
        assert value(folded, at) == value(form, at)


def test_what_tiles_are_alike_in_length_fold_each_other() -> None:
    """``p1*M0 + p0`` is p where tiles of P are as long as those of M; ``p1*E + p0`` is none."""
    whole = [("p2", ("M0", "P1")), ("p1", ("M0",)), ("p0", ())]
    form = Affine(tuple(AffineTerm(-1, shapes, v) for v, shapes in whole))
    assert FAMILIES.fold(form) == Affine((AffineTerm(-1, (), "p"),))
    other = Affine((*form.terms[:1], AffineTerm(-1, ("E",), "p1"), *form.terms[2:]))
    assert FAMILIES.fold(other) == other
