"""Measures of many tilings at once: flat arrays for the kernel, and sums of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from archsim.bound.tiling import Tiling

from .chains import LoopChain, products
from .kernels.arrays import FlatMeasures, FlatProducts, Floats, Ints
from .kernels.measured import measure_all
from .left_out import FIXED, shares_left
from .measures import Linear, OpenMeasure


def flatten(measures: Sequence[OpenMeasure]) -> FlatMeasures:
    """The arrays of some measures."""
    extents: list[int] = []
    loops: list[tuple[int, ...]] = []
    parts: list[int] = [0]
    terms: list[tuple[int, int]] = []
    digits: list[tuple[int, int, int]] = []
    ends: list[tuple[int, int, int]] = [(0, 0, 0)]
    first_digit = [0]
    for m in measures:
        extents += m.extents
        loops += [(x.axis, x.member, x.unit, x.limit, x.mode) for x in m.loops]
        for part in m.parts:
            for coefficient, d in part:
                terms.append((coefficient, d.axis))
                digits += [(stride, int(kept), inside) for stride, kept, inside in d.digits]
                first_digit.append(len(digits))
            parts.append(len(terms))
        ends.append((len(extents), len(loops), len(parts) - 1))
    first_extent, first_loop, first_part = (_array(column, 0) for column in zip(*ends, strict=True))
    return FlatMeasures(
        extents=_array(extents, 0),
        first_extent=first_extent,
        loops=_array(loops, 5),
        first_loop=first_loop,
        parts=_array(parts, 0),
        first_part=first_part,
        terms=_array(terms, 2),
        first_digit=_array(first_digit, 0),
        digits=_array(digits, 3),
    )


def flatten_products(measures: Sequence[OpenMeasure]) -> FlatProducts:
    """The arrays of some measures as products."""
    chains, found = products(measures)
    flat = flatten([_measure(c) for c in chains])
    turning = [[flat.first_loop[chain] + loop for chain, loop in p.turning] for p in found]
    return FlatProducts(
        chains=flat,
        fixed=_array([int(all(x.member == FIXED for x in c.loops)) for c in chains], 0),
        factors=_array([c for p in found for c in p.chains], 0),
        first_factor=_begins([len(p.chains) for p in found]),
        turning=_array([x for loops in turning for x in loops], 0),
        first_turning=_begins([len(loops) for loops in turning]),
        walked=_array([int(p.walked) for p in found], 0),
    )


def _measure(chain: LoopChain) -> OpenMeasure:
    parts = () if chain.size is None else (((1, chain.size),),)
    return OpenMeasure(extents=(chain.extent,), loops=chain.loops, parts=parts)


def _begins(lengths: Sequence[int]) -> Ints:
    # Of lengths 2, 0 and 3: 0, 2, 2, 5. What is of number n is from the n-th of them to the next.
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _array(rows: Sequence[object], width: int) -> Ints:
    """Rows of integers, an array of the right shape even where there are none."""
    shape = (len(rows), width) if width else (len(rows),)
    return np.array(rows, dtype=np.int64).reshape(shape)


def strides_of(tiling: Tiling) -> Ints:
    """The strides of all members, as the kernel takes them."""
    return np.array([m.stride for m in tiling.members.values()], dtype=np.int64)


def measured(measures: Sequence[OpenMeasure], strides: Ints) -> Floats:
    """All measures of many tilings.

    Parameters
    ----------
    strides : array of int64, (tilings, members)

    Returns
    -------
    array of float64, (tilings, measures)
        NaN where indices are too irregular to be counted in closed form.
    """
    found = np.empty((strides.shape[0], len(measures)))
    flat, factored = flatten(measures), flatten_products(measures)
    measure_all(flat, factored, np.ascontiguousarray(strides), found)
    bands = [m.band for m in measures]
    if several := {band: n for n, band in enumerate(dict.fromkeys(b for b in bands if b))}:
        shares = shares_left([*several], strides)
        masked = [n for n, band in enumerate(bands) if band]
        found[:, masked] *= shares[:, [several[band] for band in bands if band]]
    return found


def matrix(forms: Sequence[Linear], columns: Mapping[int, int]) -> tuple[Floats, Floats]:
    """Coefficients (forms, columns) and constants (forms,) of some sums.

    Parameters
    ----------
    columns : mapping of int to int
        The column of every measure that they have, by its place.
    """
    coefficients = np.zeros((len(forms), len(columns)))
    for row, form in enumerate(forms):
        for place, factor in form.terms.items():
            coefficients[row, columns[place]] = float(factor)
    return coefficients, np.array([float(form.constant) for form in forms])
