"""Elements an access touches, against sets of them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.iteration.access_map import AccessMap, AccessMapper
from archsim.iteration.loops import Axis, Extents
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Access, Affine, Gather

SHAPES = {"M0": 3, "N0": 2, "N1": 3, "H": 2}
AXES = (
    Axis(name="H", extent=2, variables=(("h", 1),)),
    Axis(name="P", extent=5, variables=(("p", 1),)),
    Axis(name="R", extent=4, variables=(("r", 1),)),
    Axis(name="M", extent=8, variables=(("m1", 3), ("m0", 1))),
    Axis(name="N", extent=11, variables=(("n2", 6), ("n1", 2), ("n0", 1))),
)
INDICES = (
    *("p", "r", "m1", "m0", "n2", "n1", "n0", "2*p + 1", "3", "0"),
    *("m1*M0 + m0", "2*m1*M0 + 2*m0", "n2*N1*N0 + n1*N0 + n0", "n2*N1 + n1", "n1*N0 + n0"),
    *("p + r", "p - r", "2*p + r", "3*p + 2*r", "2*r + 2*p", "p + p", "m1*M0 + m0 + r"),
    *("m1 + m0", "m0 + p", "n2 + n0", "n1 + m1 + p", "m1*M0 + 2*m0"),
    *("G[2*p + r]", "G[m1*M0 + 2*m0]"),
)


RANK_OF = {"m1*M0 + m0": "M", "n2*N1*N0 + n1*N0 + n0": "N"}


def access(*indices: str) -> Access:
    """An access as parsed from a cascade; an odd index walks a rank W of its own."""
    names = [i.removesuffix(" + 1").upper() for i in indices]
    ranks = [
        n if n.isidentifier() else RANK_OF.get(i, "W") for n, i in zip(names, indices, strict=True)
    ]
    read = f"X[{', '.join(indices)}]" if indices else "X"
    text = f"""
cascade: c
ranks: {{P: a, R: a, M: {{is: a, partition: [M1, M0]}}, N: {{is: a, partition: [N2, N1, N0]}},
         W: a}}
inputs: {{X: [{", ".join(ranks)}], G: [W], Y: [P, R, M, N, W]}}
output: Z
einsums: |
  Z = {read} * Y[p, r, m1*M0 + m0, n2*N1*N0 + n1*N0 + n0, w] * G[w]
"""
    reads = Cascade.parse(text).program.einsums[0].reads
    return next(a for a in reads if a.tensor == "X")


def build(*indices: str, iterative: frozenset[str] = frozenset()) -> AccessMap:
    return AccessMapper(AXES, SHAPES, ("h",)).map(access(*indices), iterative)


def elements(read: Access, extents: Extents, drop: frozenset[str] = frozenset()) -> int:
    """Distinct elements, by visiting every point."""
    seen = set()
    for place in product(*(range(e) for e in extents)):
        at: dict[str, int] = {}
        for axis, coordinate in zip(AXES, place, strict=True):
            rest = coordinate
            for variable, stride in axis.variables:
                at[variable], rest = divmod(rest, stride)
        kept = [i for i in read.indices if not i.variables or not drop >= {*i.variables}]
        seen.add((at["h"], *(value(i, at) for i in kept)))
    return len(seen)


def value(index: Affine | Gather, at: dict[str, int]) -> object:
    if isinstance(index, Gather):
        return ("some", *(value(i, at) for i in index.access.indices))
    total = 0
    for term in index.terms:
        amount = term.coefficient * (at[term.variable] if term.variable else 1)
        for shape in term.shapes:
            amount *= SHAPES[shape]
        total += amount
    return total


boxes = st.tuples(*(st.integers(1, a.extent) for a in AXES))


@settings(max_examples=examples(250), deadline=None)
@given(st.lists(st.sampled_from(INDICES), max_size=4), boxes)
def test_size_equals_the_set(indices: list[str], extents: Extents) -> None:
    found = build(*indices)
    assert found.size(extents) == elements(found.access, extents)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.sampled_from(("p", "m1", "m0", "n1", "p + r")), max_size=4), boxes)
def test_live_keeps_one_copy(indices: list[str], extents: Extents) -> None:
    rank = frozenset({"m1"})
    found = build(*indices, iterative=rank)
    assert found.live(extents) == elements(found.access, extents, drop=rank)


def test_a_convolution_is_a_window() -> None:
    """Three rows of outputs under a kernel of four touch six inputs, however many columns."""
    assert build("p + r").size((1, 3, 4, 1, 1)) == 6
    assert build("p + r").size((1, 10**9, 4, 1, 1)) == 10**9 + 3
    assert build("p", "p + r").size((1, 10**9, 4, 1, 1)) == 4 * 10**9
    # A stride of two leaves no gap under four taps, and a gap under one.
    assert build("2*p + r").size((1, 10**9, 4, 1, 1)) == 2 * (10**9 - 1) + 4
    assert build("2*p + r").size((1, 10**9, 1, 1, 1)) == 10**9


def test_ragged_families() -> None:
    """Eight elements in tiles of three: the last holds two."""
    assert build("m1*M0 + m0").size((1, 1, 1, 8, 1)) == 8
    assert build("m1", "m0").size((1, 1, 1, 8, 1)) == 8
    assert build("m1").size((1, 1, 1, 8, 1)) == 3
    assert build("m0").size((1, 1, 1, 8, 1)) == 3
    assert build("m0").size((1, 1, 1, 2, 1)) == 2
    # Two of three digits: 7 = one tile of 6 and one element.
    assert build("n2", "n0").size((1, 1, 1, 1, 7)) == 2 + 1


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(MappingError, match="too irregular to count"):
        build("p + r", "p - r").size((1, 10**4, 10**4, 1, 1))
