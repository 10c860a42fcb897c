"""Measures: counts of a mapping as functions of its tile sizes, skipped masked tiles included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from archsim.counts.meter import Elements, InLines, Lanes, Meter, Size
from archsim.iteration.access_map import AccessMap, CoupledIndices, Digits, GatheredIndex, Part, Sum
from archsim.iteration.bands import Window
from archsim.iteration.loop_nest import LoopNest
from archsim.iteration.loops import Loop
from archsim.iteration.windowed import one
from archsim.nest.record import BoundEinsum
from archsim.nest.tiling import Tiling
from einsum_cascade.memo import Interner

from .kernels.measures import FlatMeasures, Floats, Ints, band_coverages, measure_all

FIXED = -1
"""Rank member of a loop whose stride is the same in all tilings."""


class OpenSide(NamedTuple):
    """Tile size along one of the two ranks of a mask's band, as a function of the tiling.

    A tile has ``unit * min(stride of the member, limit)`` coordinates, or ``unit`` if the member is
    ``FIXED``.
    """

    elements: int
    """Coordinates of the whole rank."""
    member: int
    unit: int
    limit: int


class OpenBand(NamedTuple):
    """Band of a mask, ``low`` <= x - y <= ``high``, between two ranks whose tile sizes vary."""

    low: int
    high: int
    plus: OpenSide
    minus: OpenSide
    least: tuple[int, int] | None = None
    """Narrower bounds that hold if tiles are whole blocks of a blocked mask, else None. ``low``
    and ``high`` are the bounds between single coordinates."""


Opened = tuple[int, int, int]
"""Member, unit and limit of a loop, as in ``OpenLoop``."""


class MaskedShares:
    """Shares of tiles that masks do not skip, for each Einsum of a subspace.

    Parameters
    ----------
    windows : mapping of str to Window
        Window of each masked Einsum.
    least : mapping of str to Window
        Windows that hold if tiles are whole blocks of a blocked mask, by Einsum.
    """

    def __init__(self, windows: Mapping[str, Window], least: Mapping[str, Window]) -> None:
        self._windows = windows
        self._least = least

    def governed(self, e: BoundEinsum, loops: Sequence[Loop]) -> int:
        """Return how many of an Einsum's loops, counted from the outermost, skip masked tiles.

        An Einsum without a mask of its own skips tiles in shared loops only.
        """
        if e.name not in self._windows:
            return 0
        return len(loops) if e.einsum.where is not None else sum(x in e.shared for x in loops)

    def key(self, e: BoundEinsum) -> tuple[object, ...]:
        """Return a memo key of all that decides which tiles are skipped, except the loops."""
        if e.name not in self._windows:
            return ()
        shared = () if e.einsum.where is not None else tuple(x.member for x in e.shared)
        return (self._windows[e.name].band, shared)

    def band(self, e: BoundEinsum, loops: Sequence[tuple[int, Opened]]) -> OpenBand | None:
        """Return the band of tiles that a mask leaves under some loops; None if it skips none.

        Parameters
        ----------
        loops : sequence of (int, (int, int, int))
            Axes of the loops that skip tiles, outermost first. Each has the member, unit and limit
            of its stride.
        """
        window = self._windows.get(e.name)
        if window is None:
            return None
        band = window.band
        strides: dict[int | None, Opened] = dict(loops)
        plus = _side(band.columns, window.plus_scale, strides.get(window.plus))
        minus = _side(band.rows, window.minus_scale, strides.get(window.minus))
        if plus.unit >= band.columns and minus.unit >= band.rows:
            return None
        low, high = max(band.low, -band.rows), min(band.high, band.columns)
        least = self._least[e.name].band if e.name in self._least else band
        drawn = (max(low, least.low), min(high, least.high))
        together = drawn if drawn[0] <= drawn[1] and drawn != (low, high) else None
        return OpenBand(low, high, plus, minus, together)


def _side(elements: int, scale: int, stride: Opened | None) -> OpenSide:
    if stride is None:
        return OpenSide(elements, FIXED, elements, 0)
    member, unit, limit = stride
    return OpenSide(elements, member, unit * scale, limit)


def shares_left(bands: Sequence[OpenBand], strides: Ints) -> Floats:
    """Return the share of tiles that each band touches, for each tiling.

    Parameters
    ----------
    bands : sequence of OpenBand
    strides : array of int64, (tilings, members)

    Returns
    -------
    array of float64, (tilings, bands)
    """
    found = np.empty((strides.shape[0], len(bands)))
    rows = [(b.low, b.high, *b.plus, *b.minus, *(b.least or (b.low, b.high))) for b in bands]
    table = np.array(rows, dtype=np.int64).reshape(-1, 12)
    band_coverages(table, np.ascontiguousarray(strides), found)
    return found


Number = int | float | Fraction

STAYS, MOVES, ONCE = range(3)
"""Effects of a loop on a tile: the tile stays, is replaced, or counts in one iteration only."""


class IrregularError(Exception):
    """Error raised if a count has no closed form, because of a mask or an irregular index."""


class OpenLoop(NamedTuple):
    """Loop of stride ``unit * min(stride of the member, limit)``, or ``unit`` if the member is
    ``FIXED``."""

    axis: int
    member: int
    unit: int
    limit: int
    mode: int


Strides = tuple[tuple[int, bool], ...]
"""Stride of every digit on an axis, and whether its values count as different (``Digits``)."""

Terms = tuple[tuple[int, int, Strides], ...]
"""Sum of multiples of the digits of axes; each has a coefficient, an axis, and the strides."""


class OpenMeasure(NamedTuple):
    """Total size of the tiles that arrive under some loops, as a function of the tiling.

    The ``extents`` are those outside of all loops. A tile's size is the product of its ``parts``.
    Each part is a sum of terms in ascending order of coefficients. Only loops of several iterations
    are listed. If there is a ``band``, its share of the total counts.
    """

    extents: tuple[int, ...]
    loops: tuple[OpenLoop, ...]
    parts: tuple[Terms, ...]
    band: OpenBand | None = None


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear sum: a constant plus multiples of measures, which are identified by their numbers."""

    constant: Number = 0
    terms: dict[int, Number] = field(default_factory=dict)

    def __add__(self, other: Linear | Number) -> Linear:
        if not isinstance(other, Linear):
            return Linear(self.constant + other, self.terms)
        terms = dict(self.terms)
        for place, factor in other.terms.items():
            terms[place] = terms.get(place, 0) + factor
        return Linear(self.constant + other.constant, terms)

    __radd__ = __add__

    def __mul__(self, factor: Number) -> Linear:
        return Linear(self.constant * factor, {p: f * factor for p, f in self.terms.items()})

    __rmul__ = __mul__

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | Number) -> Linear:
        return self + -other

    def __rsub__(self, other: Number) -> Linear:
        return -self + other


class OpenMeter(Meter[Linear]):
    """Meter that counts in measures of the tiling instead of numbers; equal counts are one measure.

    Counting rules ignore loops of one iteration. The measures thus hold for tilings in which the
    same loops have one iteration. A ``relaxed`` meter estimates. A mask leaves the same share of
    every count. Gathers fetch no further machine words of memory lines. An index may address an
    element twice.

    Parameters
    ----------
    tiling : Tiling
        Tiling that decides which loops have several iterations.
    relaxed : bool
        True if the meter estimates.
    masked_shares : MaskedShares, optional
        Shares that masks leave, for a relaxed meter.
    numbers : Interner, optional
        Numbers of measures that other meters asked for; new measures are added.
    """

    def __init__(
        self,
        tiling: Tiling,
        *,
        relaxed: bool = False,
        masked_shares: MaskedShares | None = None,
        numbers: Interner[OpenMeasure] | None = None,
    ) -> None:
        self._relaxed = relaxed
        self.masked_shares = masked_shares or MaskedShares({}, {})
        cut = [m for _, members in tiling.cuts for m in members]
        self._number = {name: n for n, name in enumerate(tiling.members)}
        self._limits = {m.name: tiling.shapes[m.rank] for m in cut}
        self._strides = {m.name: min(m.stride, self._limits[m.name]) for m in cut}
        self._numbers = Interner[OpenMeasure]() if numbers is None else numbers
        self._asked: dict[tuple[object, ...], tuple[Linear, object, object]] = {}
        """Memo of counts, keyed by the identities of a loop nest and a size. It also keeps both
        objects alive. The same nest comes once for every placement of every access."""
        self._opened: dict[tuple[str, int], tuple[int, int, int]] = {}

    @property
    def measures(self) -> tuple[OpenMeasure, ...]:
        """All measures so far, in the order of their numbers."""
        return tuple(self._numbers.keys)

    @override
    def whole(self, number: int) -> Linear:
        return Linear(number)

    @override
    def points(self, e: BoundEinsum) -> int:
        self._refuse_masks(e)
        return prod(e.extents)

    @override
    def run(self, e: BoundEinsum) -> Linear:
        if not self.masked_shares.key(e):
            return self.whole(self.points(e))
        modes = (MOVES for _ in e.whole.loops)
        return self._form(e, e.whole.loops, modes, _whole_axes(range(len(e.extents))))

    @override
    def delivered(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], size: Size
    ) -> Linear:
        sized: object = size
        if isinstance(size, Elements):
            sized = size.access_map
        elif isinstance(size, Lanes):
            sized = size.spatial
        asked = (id(nest), relevant, type(size), id(sized))
        if asked not in self._asked:
            modes = (MOVES if moves else STAYS for moves in relevant)
            form = self._form(e, nest.loops, modes, self._parts_of(size))
            self._asked[asked] = form, nest, sized
        return self._asked[asked][0]

    @override
    def distinct(self, e: BoundEinsum, nest: LoopNest, counted: tuple[bool, ...]) -> Linear:
        modes = (MOVES if wanted else ONCE for wanted in counted)
        return self._form(e, nest.loops, modes, ())

    @override
    def accessed(
        self, e: BoundEinsum, nest: LoopNest, relevant: tuple[bool, ...], access_map: AccessMap
    ) -> Linear:
        """Return the number of tensor elements accessed, except in tiles that a mask skips."""
        self._refuse_masks(e)
        if not self.masked_shares.key(e):
            return Linear(access_map.size(e.extents))
        modes = (MOVES if moves else ONCE for moves in relevant)
        return self._form(e, nest.loops, modes, self._parts_of(Elements(access_map)))

    def steps_left(self, einsums: Iterable[BoundEinsum]) -> OpenBand | None:
        """Return the band of a nest's steps that a mask does not skip; None if it may skip none.

        Parameters
        ----------
        einsums : iterable of BoundEinsum
            All Einsums of the nest.
        """
        # A step is skipped where an Einsum without a mask of its own is skipped.
        idle = [e for e in einsums if self.masked_shares.key(e) and e.einsum.where is None]
        if not idle:
            return None
        e = max(idle, key=lambda e: len(e.shared))
        cuts = [(x.axis, self._open(x)) for x in e.shared if e.trip_counts[x.member] > 1]
        return self.masked_shares.band(e, cuts)

    def first_tile(
        self, e: BoundEinsum, loops: tuple[Loop, ...], access_map: AccessMap, *, one_copy: bool
    ) -> Linear:
        """Return the size of the first tile under some loops, which is the largest one."""
        parts = access_map.one_copy if one_copy else access_map.parts
        found = tuple(_access_map_parts(parts, relaxed=self._relaxed))
        return self._form(e, loops, (ONCE for _ in loops), found)

    def _form(
        self,
        e: BoundEinsum,
        loops: tuple[Loop, ...],
        modes: Iterable[int],
        parts: tuple[Terms, ...],
    ) -> Linear:
        self._refuse_masks(e)
        opened = [
            (loop.axis, *self._open(loop), mode)
            for loop, mode in zip(loops, modes, strict=True)
            if e.trip_counts[loop.member] > 1
        ]
        measure = _normal(e.extents, opened, parts)
        if not measure.loops:
            return Linear(prod(_closed(part, measure.extents) for part in measure.parts))
        if self.masked_shares.key(e):
            # ``_normal`` removed some loops from the open ones.
            able = self.masked_shares.governed(e, [x for x in loops if e.trip_counts[x.member] > 1])
            cuts = [(axis, (m, u, n)) for axis, m, u, n, mode in opened[:able] if mode != ONCE]
            measure = measure._replace(band=self.masked_shares.band(e, cuts))
        return Linear(0, {self._numbers(measure): 1})

    def _refuse_masks(self, e: BoundEinsum) -> None:
        if e.einsum.where is not None and not self._relaxed:
            raise IrregularError(f"{e.name}: a mask makes tiles unlike")

    def _parts_of(self, size: Size) -> tuple[Terms, ...]:
        """Return the factors whose product is a size, one for each part of its access map."""
        if size is one:
            return ()
        if isinstance(size, Lanes):
            # Spatial loops cover everything that temporal loops leave of an axis.
            return _whole_axes(dict.fromkeys(loop.axis for loop in size.spatial))
        if isinstance(size, InLines):
            if not self._relaxed:
                raise IrregularError("gathered lines make reads uneven")
            size = Elements(size.access_map)
        assert isinstance(size, Elements), "counting measures nothing else"
        return tuple(_access_map_parts(size.access_map.parts, relaxed=self._relaxed))

    def _open(self, loop: Loop) -> tuple[int, int, int]:
        """Return the member, unit and limit of a loop's stride, as in ``OpenLoop``."""
        key = (loop.member, loop.stride)
        if key not in self._opened:
            self._opened[key] = FIXED, loop.stride, 0
            if loop.member in self._strides:
                # Bound loops have strides of the first tiling. The quotient is the same in all
                # tilings.
                unit, rest = divmod(loop.stride, self._strides[loop.member])
                assert not rest, "strides on an axis are multiples of those on the rank"
                self._opened[key] = self._number[loop.member], unit, self._limits[loop.member]
        return self._opened[key]


def _whole_axes(axes: Iterable[int]) -> tuple[Terms, ...]:
    """Return a factor for each axis: all positions along it."""
    return tuple(((1, axis, ((1, True),)),) for axis in axes)


def _access_map_parts(parts: tuple[Part, ...], *, relaxed: bool) -> Iterator[Terms]:
    for part in parts:
        if isinstance(part, Digits):
            yield ((1, part.axis, part.strides),)
        elif isinstance(part, GatheredIndex):
            if not relaxed:
                raise IrregularError("more picks than positions are no product")
            yield from _access_map_parts((*part.gathers, *part.offsets), relaxed=relaxed)
        elif isinstance(part, Sum) and not (relaxed and _uneven(part)):
            # A sign only shifts the values of a sum. The kernel looks for gaps from the smallest
            # coefficient up.
            terms = ((abs(c), d.axis, d.strides) for c, d in part.terms if c)
            yield tuple(sorted(terms, key=lambda t: t[0]))
        elif not relaxed:
            raise IrregularError("indices that share axes are counted one by one")
        else:
            apart = (
                part.axes if isinstance(part, CoupledIndices) else tuple(d for _, d in part.terms)
            )
            yield from (((1, d.axis, d.strides),) for d in apart)


def _uneven(part: Sum) -> bool:
    """Return whether a sum of indices may skip some values between its least and its largest."""
    return len(part.terms) > 1 and any(abs(c) != 1 for c, _ in part.terms)


@cache
def _digits(strides: Strides) -> tuple[tuple[int, bool, int], ...]:
    """Return digits together with the number of distinct inner tuples within each stride.

    >>> _digits(((4, True), (1, True)))  # a tile of 4 has 4 positions
    ((4, True, 4), (1, True, 1))
    """
    inner = (Digits(axis=0, strides=strides[n + 1 :]) for n in range(len(strides) - 1))
    below = (d.size((stride,)) for d, (stride, _) in zip(inner, strides, strict=False))
    return tuple((*digit, n) for digit, n in zip(strides, (*below, 1), strict=True))


def _normal(
    extents: tuple[int, ...], loops: list[tuple[int, int, int, int, int]], parts: tuple[Terms, ...]
) -> OpenMeasure:
    """Return a measure without redundant loops and axes, so that equal counts are equal measures.

    Parameters
    ----------
    loops : list of tuple
        Fields of each ``OpenLoop``.
    """
    sized = {axis for part in parts for _, axis, _ in part}
    # An innermost loop of this kind leaves the tile in place, and no loop inside it notices.
    while loops and loops[-1][-1] != MOVES and loops[-1][0] not in sized:
        loops.pop()
    axes = sorted({*sized, *(loop[0] for loop in loops)})
    place = {axis: n for n, axis in enumerate(axes)}
    return OpenMeasure(
        extents=tuple([extents[a] for a in axes]),
        loops=tuple([OpenLoop(place[axis], *rest) for axis, *rest in loops]),
        parts=tuple(sorted(tuple([(c, place[a], s) for c, a, s in part]) for part in parts)),
    )


def _closed(part: Terms, extents: tuple[int, ...]) -> int:
    """Return one factor of a size that is the same in all tilings."""
    terms = tuple((c, Digits(axis=axis, strides=strides)) for c, axis, strides in part)
    return Sum(terms=terms, span=None).size(extents)


def flatten(measures: Sequence[OpenMeasure]) -> FlatMeasures:
    """Return measures as flat arrays for the compiled kernels."""
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
            for coefficient, axis, strides in part:
                terms.append((coefficient, axis))
                digits += _digits(strides)
                first_digit.append(len(digits))
            parts.append(len(terms))
        ends.append((len(extents), len(loops), len(parts) - 1))
    first_extent, first_loop, first_part = (int_array(column) for column in zip(*ends, strict=True))
    return FlatMeasures(
        extents=int_array(extents),
        first_extent=first_extent,
        loops=int_array(loops, 5),
        first_loop=first_loop,
        parts=int_array(parts),
        first_part=first_part,
        terms=int_array(terms, 2),
        first_digit=int_array(first_digit),
        digits=int_array(digits, 3),
    )


def offsets(lengths: Sequence[int]) -> Ints:
    """Return the offsets of consecutive ranges with the given lengths, and the end of the last
    range."""
    # Lengths 2, 0 and 3 give 0, 2, 2, 5: range n is from offset n to offset n + 1.
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def int_array(rows: Sequence[object], width: int = 0) -> Ints:
    """Return integers as an array; rows of a width give the right shape even without rows."""
    shape = (len(rows), width) if width else (len(rows),)
    return np.array(rows, dtype=np.int64).reshape(shape)


def measured(measures: Sequence[OpenMeasure], strides: Ints) -> Floats:
    """Return the value of every measure for every tiling.

    Parameters
    ----------
    strides : array of int64, (tilings, members)

    Returns
    -------
    array of float64, (tilings, measures)
        NaN where indices are too irregular to be counted in closed form.
    """
    found = np.empty((strides.shape[0], len(measures)))
    measure_all(flatten(measures), np.ascontiguousarray(strides), found)
    bands = [m.band for m in measures]
    if several := {band: n for n, band in enumerate(dict.fromkeys(b for b in bands if b))}:
        shares = shares_left([*several], strides)
        masked = [n for n, band in enumerate(bands) if band]
        found[:, masked] *= shares[:, [several[band] for band in bands if band]]
    return found


def matrix(forms: Sequence[Linear], columns: Mapping[int, int]) -> tuple[Floats, Floats]:
    """Return linear sums as a matrix of coefficients, (forms, columns), and constants, (forms,).

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
