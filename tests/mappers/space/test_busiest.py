"""The bound of the busiest array against all ways to share Einsums out, and how full one is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from mappers.space.grid import Cells, busiest

ARRAYS = ("square", "lanes", "other")
CELLS = 3

Costs = list[dict[str, Cells]]


@st.composite
def costs(draw: st.DrawFn, einsums: int) -> Costs:
    """Cycles of some Einsums, each on some arrays, in a few regions."""
    cells = st.lists(st.integers(1, 60).map(float), min_size=CELLS, max_size=CELLS)
    able = st.dictionaries(st.sampled_from(ARRAYS), cells.map(np.array), min_size=1)
    return draw(st.lists(able, min_size=1, max_size=einsums))


def shared_out(costs: Costs) -> Cells:
    """The least of what the busiest array does, over all ways to share Einsums out."""
    least = np.full(CELLS, np.inf)
    for assigned in product(*costs):
        loads = {a: np.zeros(CELLS) for a in ARRAYS}
        for able, array in zip(costs, assigned, strict=True):
            loads[array] = loads[array] + able[array]
        least = np.minimum(least, np.maximum.reduce([*loads.values()]))
    return least


@given(costs(einsums=3))
@settings(max_examples=examples(60), deadline=None)
def test_few_einsums_are_all_told_apart(costs: Costs) -> None:
    assert busiest(costs, ARRAYS, (CELLS,)) == pytest.approx(shared_out(costs))


@given(costs(einsums=7))
@settings(max_examples=examples(40), deadline=None)
def test_no_way_is_below_the_bound(costs: Costs) -> None:
    found = busiest(costs, ARRAYS, (CELLS,))
    assert (found <= shared_out(costs) * (1 + 1e-9)).all()
    assert (found > 0).all()


def test_products_are_not_split_between_arrays() -> None:
    """Lanes that multiply, too, cannot take a share of a product: it runs on one array."""
    product_of = {"square": np.array([100.0]), "lanes": np.array([250.0])}
    exponentials = {"lanes": np.array([30.0])}
    assert busiest([product_of, exponentials], ("square", "lanes"), (1,)) == [100.0]
