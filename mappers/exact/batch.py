"""Measures of many tilings at once: flat arrays for the kernel, and linear sums of measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archsim.nest.tiling import Tiling
from einsum_cascade.memo import Interner

from .kernels.arrays import FlatMeasures, FlatProducts, Floats, Ints
from .kernels.measures import measure_all
from .measures import (
    FIXED,
    MOVES,
    ONCE,
    STAYS,
    Linear,
    OpenDigits,
    OpenLoop,
    OpenMeasure,
    shares_left,
)


@dataclass(frozen=True, slots=True)
class LoopChain:
    """The loops of a measure on one axis, the extent outside them, and the size inside them."""

    extent: int
    loops: tuple[OpenLoop, ...]
    size: OpenDigits | None


@dataclass(frozen=True, slots=True)
class Product:
    """A measure as a product of chains, given by their numbers.

    The product is valid if one of the ``turning`` loops (a chain, and a loop of that chain) always
    takes several iterations, or if there are none. It is never valid if ``walked`` is set; the
    kernel then walks all loops.
    """

    chains: tuple[int, ...]
    turning: tuple[tuple[int, int], ...]
    walked: bool


def products(measures: Sequence[OpenMeasure]) -> tuple[tuple[LoopChain, ...], tuple[Product, ...]]:
    """Return the distinct chains of some measures, and each measure as a product of them."""
    numbers = Interner[LoopChain]()
    found = tuple(_product(m, numbers) for m in measures)
    return tuple(numbers.keys), found


def _product(measure: OpenMeasure, numbers: Interner[LoopChain]) -> Product:
    sizes: dict[int, OpenDigits] = {}
    for part in measure.parts:
        axes = [d.axis for _, d in part]
        if len(axes) > 1 or (axes and axes[0] in sizes):
            return Product(chains=(), turning=(), walked=True)
        sizes |= {d.axis: d._replace(axis=0) for _, d in part}
    where: list[tuple[int, int]] = []
    mine: dict[int, int] = {}
    for axis, extent in enumerate(measure.extents):
        loops = tuple([_by_itself(x) for x in measure.loops if x.axis == axis])
        mine[axis] = numbers(LoopChain(extent=extent, loops=loops, size=sizes.get(axis)))
    seen: dict[int, int] = {}
    for loop in measure.loops:
        where.append((mine[loop.axis], seen.get(loop.axis, 0)))
        seen[loop.axis] = seen.get(loop.axis, 0) + 1
    # A loop that leaves its tile in place finds another tile if a loop inside it moved. Loops
    # inside the innermost such loop are inside all of them.
    stays = [n for n, loop in enumerate(measure.loops) if loop.mode == STAYS]
    last = stays[-1] if stays else len(measure.loops)
    inside = range(last + 1, len(measure.loops))
    turning = tuple(where[n] for n in inside if measure.loops[n].mode == MOVES)
    return Product(chains=tuple(mine.values()), turning=turning, walked=bool(stays) and not turning)


def _by_itself(loop: OpenLoop) -> OpenLoop:
    """Return the loop alone: inside a product it counts as a loop that moves its tile."""
    _, member, unit, limit, mode = loop
    return OpenLoop(0, member, unit, limit, ONCE if mode == ONCE else MOVES)


def flatten(measures: Sequence[OpenMeasure]) -> FlatMeasures:
    """Return measures as flat arrays."""
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
    """Return measures as flat arrays of products."""
    chains, found = products(measures)
    flat = flatten([_measure(c) for c in chains])
    turning = [[flat.first_loop[chain] + loop for chain, loop in p.turning] for p in found]
    return FlatProducts(
        chains=flat,
        fixed=_array([int(all(x.member == FIXED for x in c.loops)) for c in chains], 0),
        factors=_array([c for p in found for c in p.chains], 0),
        first_factor=offsets([len(p.chains) for p in found]),
        turning=_array([x for loops in turning for x in loops], 0),
        first_turning=offsets([len(loops) for loops in turning]),
        walked=_array([int(p.walked) for p in found], 0),
    )


def _measure(chain: LoopChain) -> OpenMeasure:
    parts = () if chain.size is None else (((1, chain.size),),)
    return OpenMeasure(extents=(chain.extent,), loops=chain.loops, parts=parts)


def offsets(lengths: Sequence[int]) -> Ints:
    """Return where each of some consecutive ranges begins, and where the last one ends."""
    # Lengths 2, 0 and 3 give 0, 2, 2, 5: range n is from offset n to offset n + 1.
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _array(rows: Sequence[object], width: int) -> Ints:
    """Return rows of integers as an array, of the right shape even if there are none."""
    shape = (len(rows), width) if width else (len(rows),)
    return np.array(rows, dtype=np.int64).reshape(shape)


def strides_of(tiling: Tiling) -> Ints:
    """Return the strides of all members of a tiling."""
    return np.array([m.stride for m in tiling.members.values()], dtype=np.int64)


def measured(measures: Sequence[OpenMeasure], strides: Ints) -> Floats:
    """Return all measures of many tilings.

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
    """Return the coefficients, (forms, columns), and constants, (forms,), of linear sums.

    Parameters
    ----------
    columns : mapping of int to int
        Column of each measure in the sums, by the measure's number.
    """
    coefficients = np.zeros((len(forms), len(columns)))
    for row, form in enumerate(forms):
        for place, factor in form.terms.items():
            coefficients[row, columns[place]] = float(factor)
    return coefficients, np.array([float(form.constant) for form in forms])
