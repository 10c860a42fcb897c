"""The band between two ranks that a mask is, or that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, prod
from typing import TYPE_CHECKING

from einsum_cascade.ir import Condition, Logical, Relational
from einsum_cascade.masks import depends_on_data

from ..space.bands import Band, Box
from ..space.iteration import Axis
from .comparisons import ComparedForms, Form, compared, conjunction
from .tiling import Tiling

if TYPE_CHECKING:
    from .record import Bound, BoundEinsum

_FAR = 1 << 80
"""Farther than any two coordinates are apart."""


def scale_of(tiling: Tiling, axis: Axis) -> int:
    """Elements of the rank per unit of an axis: the members that are not gone along."""
    rank = tiling.program.rank_of.get(axis.name)
    if rank is None or not rank.partition:
        return 1
    present = {v for v, _ in axis.variables}
    if rank.name.lower() in present:
        return 1
    return prod(tiling.shapes[m] for m in rank.partition if m.lower() not in present)


def band_of(
    tiling: Tiling,
    e: BoundEinsum,
    numbers: dict[str, int],
    tiles: TileMultiples,
    *,
    within: bool = False,
) -> tuple[Band | None, bool]:
    """The band that holds all of an Einsum's mask, or None, and whether it is all of the mask.

    A comparison that is no band (of the end of a tile: ``p1*M0 + m0 < M``) only cuts off more. Of
    masks of which one or another lets a point through it is the one that holds all of them.

    Parameters
    ----------
    tiling : Tiling
    e : BoundEinsum
        Masked.
    numbers : dict
        Shapes and whole parameters by name.
    tiles : TileMultiples
        Of the mapping.
    within : bool
        Whether one of several such masks is meant instead, the one of most points: what other
        loops leave out is outside of it, too.
    """
    where = e.einsum.where
    assert where is not None, "masked Einsums only"
    if depends_on_data(where):
        return None, False
    found, exact = _Bands(tiling, e.axes, numbers, tiles, within).of(where)
    if found is not None and found.low > found.high and tiles.known:
        # Of blocks there is nothing where they are drawn together: they stay as wide as they are.
        single = TileMultiples(known=True, sizes=dict.fromkeys(tiles.sizes, 1))
        if single != tiles:
            return band_of(tiling, e, numbers, single, within=within)
    return found, exact


def bands_of_several(bound: Bound, e: BoundEinsum) -> tuple[Band, ...]:
    """Bands of which one or another lets through each point that an Einsum's mask does; empty where
    its mask is none of this kind.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
    """
    where = e.einsum.where
    if not isinstance(where, Logical) or where.operator != "or" or depends_on_data(where):
        return ()
    told = _Bands(bound.tiling, e.axes, numbers_of(bound), ANY_SIZES, False)
    found = [band for band, _ in map(told.of, where.operands) if band is not None]
    return tuple(found) if len(found) == len(where.operands) else ()


def numbers_of(bound: Bound) -> dict[str, int]:
    """Whole numbers by name: shapes, and parameters that are whole."""
    parameters = {
        p.name: int(p.default)
        for p in bound.program.parameters
        if p.default is not None and p.default == int(p.default)
    }
    return parameters | dict(bound.shapes)


@dataclass(frozen=True, slots=True)
class _Bands:
    """What bands of conditions depend on."""

    tiling: Tiling
    axes: tuple[Axis, ...]
    numbers: dict[str, int]
    tiles: TileMultiples
    within: bool

    def of(self, condition: Condition) -> tuple[Band | None, bool]:
        """The band of conditions that must all hold, and whether it is all of them."""
        found: Band | None = None
        exact = True
        for one in conjunction(condition):
            part, whole = self._part(one)
            if part is None:
                # Alternatives between other ranks only cut off more, as what is no band does.
                if not whole and (self.within or not isinstance(one, Logical)):
                    return None, False
                exact = False
                continue
            exact = exact and whole
            found = part if found is None else _both(found, part)
            if found is None:
                return None, False
        return found, exact

    def _part(self, condition: Condition) -> tuple[Band | None, bool]:
        """The band of one condition and whether it is all of it; None and whether there may be a
        band without it."""
        if isinstance(condition, Relational):
            known = compared(condition, self.numbers)
            part = None if known is None else _half(self.tiling, self.axes, known, self.tiles)
            return part, part is None or (known is not None and known.divisor == 1)
        if not isinstance(condition, Logical) or condition.operator != "or":
            return None, False
        parts = [band for band, _ in map(self.of, condition.operands) if band is not None]
        if len(parts) < len(condition.operands):
            return None, False
        return (self._most(parts) if self.within else self._around(parts)), False

    def _most(self, parts: list[Band]) -> Band:
        """The band of most points, the first of equals."""
        return max(parts, key=lambda band: Fraction(self._box(band).points, self._box(band).minus))

    def _box(self, band: Band) -> Box:
        across = 1 if band.minus is None else self.tiling.shapes[band.minus]
        return Box(band.low, band.high, self.tiling.shapes[band.plus], across)

    def _around(self, parts: list[Band]) -> Band | None:
        """The band that holds all of some; None where they are between other ranks."""
        between = next((b for b in parts if b.minus is not None), parts[0])
        turns = [self._between(b, between) for b in parts]
        known = [b for b in turns if b is not None]
        if len(known) < len(parts):
            return None
        low, high = min(b.low for b in known), max(b.high for b in known)
        return replace(between, low=low, high=high)

    def _between(self, band: Band, other: Band) -> Band | None:
        """The band between the ranks of another that holds all of a band; None where there is
        none: ``m < L`` is ``m - p < L`` for queries p from 0 on."""
        if (band.plus, band.minus) == (other.plus, other.minus):
            return band
        if (band.plus, band.minus) == (other.minus, other.plus):
            return turned(band)
        if band.minus is not None or other.minus is None:
            return None
        shapes = self.tiling.shapes
        if band.plus == other.plus:
            return replace(other, low=band.low - (shapes[other.minus] - 1), high=band.high)
        if band.plus == other.minus:
            return replace(other, low=-band.high, high=shapes[other.plus] - 1 - band.low)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TileMultiples:
    """Elements of which all tiles are multiples, by rank; not ``known``: those of any mapping."""

    known: bool
    sizes: Mapping[str, int]

    def slack(self, known: ComparedForms, sides: Iterable[str | None]) -> int:
        """How far two forms may be apart, beyond multiples of their divisor, for which tiles hold
        points of one and the same block, or of blocks so many apart.

        Of single elements as far as the ends of a block. Tiles, and blocks, are made of pieces of
        some length: what is in two pieces' tiles is in them whole, and with their last element
        their first. So do the first ones of a block's last piece and of its first.
        """
        if not self.known:
            # No mapping leaves out what is no further apart than whole blocks.
            return 0
        piece = known.divisor
        for form, side in zip((known.left, known.right), sides, strict=True):
            size = 1 if side is None else self.sizes.get(side, 0)
            piece = gcd(piece, size, form.get("", 0))
        return known.divisor - piece


ANY_SIZES = TileMultiples(known=False, sizes={})


def _half(
    tiling: Tiling, axes: tuple[Axis, ...], known: ComparedForms, tiles: TileMultiples
) -> Band | None:
    """One comparison as a band that is open on one side, or on none."""
    form = dict(known.left)
    for name, value in known.right.items():
        form[name] = form.get(name, 0) - value
    constant = form.pop("", 0)
    # left - right is plus - minus + constant: of m <= p + 3 it is m - p - 3, so that m - p is at
    # most 3.
    signs = _signs(tiling, axes, form)
    if signs is None:
        return None
    plus, minus = signs
    slack = 0
    if known.divisor > 1:
        sides = (_added(tiling, axes, side) for side in (known.left, known.right))
        slack = tiles.slack(known, sides)
    low = -_FAR if known.low is None else known.low * known.divisor - slack - constant
    high = _FAR if known.high is None else known.high * known.divisor + slack - constant
    # One rank, subtracted: -p + 3 <= 0 is the band of p from 3 on.
    if plus is None:
        assert minus is not None, "a comparison has a rank"
        return Band(plus=minus, minus=None, low=-high, high=-low)
    return Band(plus=plus, minus=minus, low=low, high=high)


def _added(tiling: Tiling, axes: tuple[Axis, ...], form: Form) -> str | None:
    """The only rank of a form, if it is added."""
    signs = _signs(tiling, axes, {v: c for v, c in form.items() if v})
    return signs[0] if signs is not None and signs[1] is None else None


def _signs(
    tiling: Tiling, axes: Iterable[Axis], form: dict[str, int]
) -> tuple[str | None, str | None] | None:
    """The rank that is added and the one subtracted; None if it is not so simple."""
    found: dict[int, str] = {}
    left = {v: c for v, c in form.items() if c}
    for axis in axes:
        given = [left.pop(v, 0) for v, _ in axis.variables]
        if not any(given):
            continue
        # m1*M0 + m0 has coefficients that are the strides of the axis, 256 and 1: it is the
        # position along it, added or subtracted.
        sign = given[-1]
        if abs(sign) != 1 or sign in found or scale_of(tiling, axis) != 1:
            return None
        if any(g != sign * stride for g, (_, stride) in zip(given, axis.variables, strict=True)):
            return None
        found[sign] = axis.name
    if left or not found:
        return None
    return found.get(1), found.get(-1)


def turned(band: Band) -> Band:
    """The same band, the other of its two ranks subtracted."""
    assert band.minus is not None, "of two ranks"
    return Band(plus=band.minus, minus=band.plus, low=-band.high, high=-band.low)


def _both(a: Band, b: Band) -> Band | None:
    """Both bands at once, if they are between the same ranks."""
    if (a.plus, a.minus) != (b.plus, b.minus):
        if (a.plus, a.minus) != (b.minus, b.plus):
            return None
        b = turned(b)
    return replace(a, low=max(a.low, b.low), high=min(a.high, b.high))
