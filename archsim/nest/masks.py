"""Masks of a bound mapping: the band of each mask, and the tiles and steps that are skipped.

A masked Einsum skips every iteration whose points its mask drops. A whole step is skipped if all
its masked Einsums agree and its other Einsums provably do nothing then
(``einsum_cascade.no_op_steps``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, prod
from typing import Final

from einsum_cascade import ir
from einsum_cascade.affine import linear_expression
from einsum_cascade.ir import Affine, Condition, Logical, Relational
from einsum_cascade.masks import conjuncts, depends_on_data
from einsum_cascade.no_op_steps import no_op_obstacle

from ..iteration.bands import RankBand, Window, enclosing_band
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Axis
from ..iteration.windowed import one
from .record import Bound, BoundEinsum, nest_space
from .tiling import Tiling


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedForms:
    """Comparison of two affine forms: ``low <= left - right <= high``; ``low`` is None for no
    bound.

    If ``divisor`` is not 1, both forms are first divided by it and rounded down.
    """

    left: Affine
    right: Affine
    low: int | None
    high: int
    divisor: int = 1


def compared(comparison: ir.Relational, numbers: Mapping[str, int]) -> ComparedForms | None:
    """Return a comparison of two affine forms. Both forms may be divided by one number and rounded
    down.

    Parameters
    ----------
    comparison : Relational
    numbers : mapping
        Shapes and integer parameters by name.

    Returns
    -------
    ComparedForms or None
        None for other comparisons, and for ``!=``.
    """
    bounds: dict[str, tuple[int | None, int]] = {"<=": (None, 0), "<": (None, -1), "==": (0, 0)}
    left, right = (_quotient(x, numbers) for x in (comparison.left, comparison.right))
    if left is None or right is None or left[1] != right[1] or comparison.operator not in bounds:
        return None
    low, high = bounds[comparison.operator]
    return ComparedForms(left=left[0], right=right[0], low=low, high=high, divisor=left[1])


def _quotient(node: ir.Expression, numbers: Mapping[str, int]) -> tuple[Affine, int] | None:
    """Return an affine form and its divisor; None if the expression is not of this kind."""
    match node:
        case ir.Call(
            function="floor", arguments=(ir.Binary(operator="/", left=above, right=below),)
        ):
            by = linear_expression(below, numbers)
            if by is None or by.variables or by.shape_terms or by.constant < 1:
                return None
            divided, divisor = linear_expression(above, numbers), by.constant
        case _:
            divided, divisor = linear_expression(node, numbers), 1
    if divided is None or any(term.shapes for term in divided.terms):
        return None
    return divided, divisor


_BEYOND_ANY_DISTANCE = 1 << 80
"""Distance larger than that of any two coordinates."""


TileMultiples = Mapping[str, int] | None
"""Number of which all tile sizes of a rank are multiples, by rank; None for tiles of any sizes."""

ANY_SIZES: Final[TileMultiples] = None
"""Tiles that may have any sizes."""


def scale_of(tiling: Tiling, axis: Axis) -> int:
    """Return the number of rank coordinates in one unit of an axis. It exceeds 1 if inner
    partitioned ranks, such as M0, are not on the axis."""
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
) -> tuple[RankBand | None, bool]:
    """Return the narrowest known band that contains an Einsum's mask, and whether the band is
    exact.

    A comparison that is no band (such as the end of a tile: ``p1*M0 + m0 < M``) only drops more
    points. For a disjunction of masks the band encloses all of them. The band is None if there is
    none.

    Parameters
    ----------
    tiling : Tiling
    e : BoundEinsum
        Masked Einsum.
    numbers : dict
        Shapes and integer parameters by name.
    tiles : TileMultiples
        Sizes of the mapping's tiles.
    within : bool
        True to return the largest band of a disjunction instead: a bound of what other loops skip.
    """
    where = e.einsum.where
    assert where is not None, "masked Einsums only"
    if depends_on_data(where):
        return None, False
    found, exact = _BandFinder(tiling, e.axes, numbers, tiles, within).of(where)
    if found is not None and found.low > found.high and tiles is not None:
        # A band of blocks is empty if it is narrowed too far: keep its full width.
        single = dict.fromkeys(tiles, 1)
        if single != tiles:
            return band_of(tiling, e, numbers, single, within=within)
    return found, exact


def bands_of_several(bound: Bound, e: BoundEinsum) -> tuple[RankBand, ...]:
    """Return the bands whose union is an Einsum's mask; empty if the mask is not such a union.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
    """
    where = e.einsum.where
    if where is None or depends_on_data(where):
        return ()
    finder = _BandFinder(bound.tiling, e.axes, integer_constants(bound), ANY_SIZES, False)
    return finder.of_several(where)


def integer_constants(bound: Bound) -> dict[str, int]:
    """Return the integers of a bound mapping by name: shapes and integer parameters."""
    parameters = {
        p.name: int(p.default)
        for p in bound.program.parameters
        if p.default is not None and p.default == int(p.default)
    }
    return parameters | dict(bound.shapes)


@dataclass(frozen=True, slots=True)
class _BandFinder:
    """Finder of the band that contains the points where a condition holds."""

    tiling: Tiling
    axes: tuple[Axis, ...]
    numbers: dict[str, int]
    tiles: TileMultiples
    within: bool

    def of(self, condition: Condition) -> tuple[RankBand | None, bool]:
        """Return the band of a condition, all of whose conjuncts must hold, and whether the band
        is exact."""
        found: RankBand | None = None
        exact = True
        for conjunct in conjuncts(condition):
            part, whole = self._part(conjunct)
            if part is None:
                # A disjunction between other ranks only drops more points, as a comparison without
                # a band does.
                if not whole and (self.within or not isinstance(conjunct, Logical)):
                    return None, False
                exact = False
                continue
            exact = exact and whole
            found = part if found is None else found.intersection(part)
            if found is None:
                return None, False
        return found, exact

    def _part(self, condition: Condition) -> tuple[RankBand | None, bool]:
        """Return the band of one conjunct, and whether the band is exact.

        If there is no band, the second value tells whether the other conjuncts may still give one.
        """
        if isinstance(condition, Relational):
            known = compared(condition, self.numbers)
            part = None if known is None else self._of_comparison(known)
            return part, part is None or (known is not None and known.divisor == 1)
        parts, shapes = self.of_several(condition), self.tiling.shapes
        if not parts:
            return None, False
        return (_largest(parts, shapes) if self.within else enclosing_band(parts, shapes)), False

    def of_several(self, condition: Condition) -> tuple[RankBand, ...]:
        """Return the bands of a disjunction; empty if the condition is none of bands alone."""
        if not isinstance(condition, Logical) or condition.operator != "or":
            return ()
        found = [band for band, _ in map(self.of, condition.operands) if band is not None]
        return tuple(found) if len(found) == len(condition.operands) else ()

    def _of_comparison(self, known: ComparedForms) -> RankBand | None:
        """Return a comparison as a band, bounded on one side or on both."""
        # left - right is plus - minus + constant. For example, m <= p + 3 is m - p - 3 <= 0: m - p
        # is at most 3.
        difference = known.left.minus(known.right)
        constant = difference.constant
        signs = self._signs(difference)
        if signs is None:
            return None
        plus, minus = signs
        sides = (self._added(side) for side in (known.left, known.right))
        slack = self._slack(known, sides) if known.divisor > 1 else 0
        low, high = -_BEYOND_ANY_DISTANCE, known.high * known.divisor + slack - constant
        if known.low is not None:
            low = known.low * known.divisor - slack - constant
        # A single rank is subtracted: -p + 3 <= 0 is the band of p from 3 on.
        if plus is None:
            assert minus is not None, "a comparison has a rank"
            return RankBand(plus=minus, minus=None, low=-high, high=-low)
        return RankBand(plus=plus, minus=minus, low=low, high=high)

    def _slack(self, known: ComparedForms, sides: Iterable[str | None]) -> int:
        """Return how far a rounded comparison must be widened because tiles do not align with
        blocks.

        A block has ``divisor`` elements. For tiles of single elements the result is the distance
        between the ends of a block. Otherwise, tiles and blocks consist of pieces of a common
        length. A tile that touches a piece holds all of it, so only distances between whole pieces
        count.
        """
        if self.tiles is None:
            # No mapping skips points that are no further apart than whole blocks.
            return 0
        piece = known.divisor
        for form, side in zip((known.left, known.right), sides, strict=True):
            size = 1 if side is None else self.tiles.get(side, 0)
            piece = gcd(piece, size, form.constant)
        return known.divisor - piece

    def _added(self, form: Affine) -> str | None:
        """Return the rank of a form that adds a single rank; None for other forms."""
        signs = self._signs(form)
        return signs[0] if signs is not None and signs[1] is None else None

    def _signs(self, form: Affine) -> tuple[str | None, str | None] | None:
        """Return the rank that a form adds and the rank that it subtracts; None for other forms."""
        found: dict[int, str] = {}
        left = {t.variable: t.coefficient for t in form.terms if t.variable}
        for axis in self.axes:
            given = [left.pop(v, 0) for v, _ in axis.variables]
            if not any(given):
                continue
            # m1*M0 + m0 has the strides of the axis as coefficients, 256 and 1: it is the position
            # along the axis.
            sign = given[-1]
            if abs(sign) != 1 or sign in found or scale_of(self.tiling, axis) != 1:
                return None
            if any(
                g != sign * stride for g, (_, stride) in zip(given, axis.variables, strict=True)
            ):
                return None
            found[sign] = axis.name
        if left or not found:
            return None
        return found.get(1), found.get(-1)


def _largest(parts: Sequence[RankBand], shapes: Mapping[str, int]) -> RankBand:
    """Return the band with the most points per coordinate of its second rank."""

    def share(band: RankBand) -> Fraction:
        over = band.over(shapes)
        return Fraction(over.points, over.rows)

    return max(parts, key=share)


def skip_masked_tiles(bound: Bound) -> Bound:
    """Return the mapping with masked tiles and no-op steps skipped.

    Each masked Einsum gets the window of its band. Nothing is skipped if a mask is no band, or if a
    step is not a no-op; ``masking_notes`` then says so.
    """
    if all(e.einsum.where is None for e in bound.einsums):
        return bound
    masks = mask_bands(bound, _tile_sizes(bound))
    windows, band, notes = _windows(bound, masks)
    einsums = tuple(
        replace(e, window=windows.get(e.name), partially_masked=e.name in masks.partially_masked)
        for e in bound.einsums
    )
    steps = bound.steps if band is None else _steps(bound, band)
    return replace(bound, einsums=einsums, steps=steps, masking_notes=notes, no_op_band=band)


@dataclass(frozen=True, kw_only=True)
class MaskBands:
    """Bands of masked Einsums by name, and the masked Einsums without a usable band."""

    bands: dict[str, RankBand]
    partially_masked: frozenset[str]
    """Einsums whose masks also drop points inside their bands."""
    without: dict[bool, list[str]]
    """Masked Einsums without a usable band; the key tells whether their masks depend on data."""


def mask_bands(bound: Bound, tiles: TileMultiples, *, any_loops: bool = False) -> MaskBands:
    """Return the bands of a mapping's masks, for tiles of given sizes.

    Equal bands compare equal, whatever the order of their comparisons.

    Parameters
    ----------
    bound : Bound
        Mapping without windows.
    tiles : TileMultiples
        Sizes of the tiles; ``ANY_SIZES`` for those of any mapping.
    any_loops : bool
        True to return only bands that loops of any mapping can use, and one band of a disjunction.
    """
    numbers = integer_constants(bound)
    bands: dict[str, RankBand] = {}
    partially_masked: set[str] = set()
    without: dict[bool, list[str]] = {}
    for e in bound.einsums:
        if e.einsum.where is None:
            continue
        band, exact = band_of(bound.tiling, e, numbers, tiles, within=any_loops)
        if band is not None and _is_monotone(e, band, any_loops=any_loops):
            other = any((b.plus, b.minus) == (band.minus, band.plus) for b in bands.values())
            bands[e.name] = band.swapped() if other else band
            partially_masked |= set() if exact else {e.name}
        else:
            without.setdefault(depends_on_data(e.einsum.where), []).append(e.name)
    return MaskBands(bands=bands, partially_masked=frozenset(partially_masked), without=without)


def _tile_sizes(bound: Bound) -> TileMultiples:
    """Return the number of which all tile sizes of a rank are multiples, for each rank of a
    mapping."""
    sizes: dict[str, int] = {}
    spaces = ((e.axes, e.temporal) for e in bound.einsums)
    for axes, loops in (nest_space(bound.tiling, bound.nest), *spaces):
        for loop in loops:
            axis = axes[loop.axis]
            # A loop of one iteration cuts nothing.
            if loop.stride < axis.extent:
                size = loop.stride * scale_of(bound.tiling, axis)
                sizes[axis.name] = gcd(sizes.get(axis.name, 0), size)
    return sizes


def windows_of(bound: Bound) -> tuple[dict[str, Window], dict[str, Window]]:
    """Return the windows of a mapping's Einsums by name, for the finest tiles and for the coarsest.

    The first windows are those of tiles of single elements. The second are those of tiles that are
    whole blocks of the masks.

    Parameters
    ----------
    bound : Bound
        Mapping without windows.
    """
    single = {axis.name: 1 for e in bound.einsums for axis in e.axes}
    finest, blocks = (_windows(bound, mask_bands(bound, tiles))[0] for tiles in (single, ANY_SIZES))
    return finest, blocks


_NOTES = {
    True: "its mask depends on data; every point that it might let through is counted",
    False: "its mask is no band of two ranks, so that masked tiles are run",
}
"""Notes on masks that skip no tiles; the key tells whether the mask depends on data."""


def _windows(
    bound: Bound, found: MaskBands
) -> tuple[dict[str, Window], RankBand | None, tuple[str, ...]]:
    """Return the windows of masked Einsums, and of other Einsums in steps that do nothing, by name.

    Also return the band outside of which whole steps are skipped, and notes on masks.
    """
    bands, tiling = found.bands, bound.tiling
    notes = tuple(f"{', '.join(names)}: {_NOTES[data]}" for data, names in found.without.items())
    windows = {
        e.name: window_over(tiling, e.axes, bands[e.name], len(e.temporal))
        for e in bound.einsums
        if e.name in bands
    }
    ranks = band_ranks(bands)
    stepping = frozenset(
        x.rank.lower() for x in bound.nest if bound.program.whole_rank(x.rank) in ranks
    )
    band = None if notes else no_op_band(bound, bands, stepping)
    if isinstance(band, str):
        notes = (f"Einsums without a mask run in masked tiles too, since {band}",)
    if not isinstance(band, RankBand):
        return windows, None, notes
    for e in bound.einsums:
        if e.name not in bands and stepping <= {*e.einsum.variables}:
            # Only whole steps do nothing for them: their own loops cover all of a step's tile.
            windows[e.name] = window_over(tiling, e.axes, band, len(e.shared))
    return windows, band, ()


def band_ranks(bands: Mapping[str, RankBand]) -> frozenset[str]:
    """Return the ranks that some bands compare."""
    return frozenset(r for b in bands.values() for r in (b.plus, b.minus) if r)


def no_op_band(
    bound: Bound, bands: Mapping[str, RankBand], stepping: frozenset[str]
) -> RankBand | str | None:
    """Return the band outside of which steps do nothing (no-ops), or the reason why they do
    something.

    The result is None if no step could be a no-op.

    Parameters
    ----------
    bound : Bound
    bands : mapping
        Bands of the masked Einsums, by name.
    stepping : frozenset of str
        Rank variables, of the bands' ranks, of the loops whose iterations are steps.
    """
    inside = [e for e in bound.einsums if stepping <= {*e.einsum.variables}]
    masked = tuple(e.name for e in inside if e.name in bands)
    if not stepping or not masked:
        return None
    different = {bands[name] for name in masked}
    if len(different) > 1:
        return f"{masked[0]} and others have different masks"
    # A cascade is bound in many ways, but its proof is needed once.
    problem = bound.program.memo(no_op_obstacle, masked, stepping)
    return different.pop() if problem is None else problem


def _steps(bound: Bound, band: RankBand) -> int:
    """Count the steps of the shared nest that touch a band; at least 1."""
    axes, loops = nest_space(bound.tiling, bound.nest)
    window = window_over(bound.tiling, axes, band, len(loops))
    extents = tuple(a.extent for a in axes)
    nest = LoopNest(loops=loops, extents=extents, window=window)
    return max(1, nest.delivered((True,) * len(loops), one))


def window_over(tiling: Tiling, axes: tuple[Axis, ...], band: RankBand, governed: int) -> Window:
    """Return the window that applies a band to the axes of an iteration space.

    Parameters
    ----------
    tiling : Tiling
    axes : tuple of Axis
        Axes of the space; a rank of the band need not be among them.
    band : RankBand
        Points that a mask keeps.
    governed : int
        Number of loops, from the outermost, that skip empty iterations.
    """
    places = {a.name: (number, scale_of(tiling, a)) for number, a in enumerate(axes)}
    plus, plus_scale = places.get(band.plus, (None, 1))
    minus, minus_scale = places.get(band.minus or "", (None, 1))
    return Window(
        plus=plus,
        minus=minus,
        plus_scale=plus_scale,
        minus_scale=minus_scale,
        band=band.over(tiling.shapes),
        governed=governed,
    )


def _is_monotone(e: BoundEinsum, band: RankBand, *, any_loops: bool) -> bool:
    """Return whether tiles along a band's axes come in the order of their coordinates.

    Loops over each axis must follow the order of the axis' variables, outermost first. Nor may an
    access change with an inner variable but not with an outer one: a tile would return unnoticed.
    """
    for number, axis in enumerate(e.axes):
        if axis.name not in (band.plus, band.minus):
            continue
        order = [v for v, _ in axis.variables]
        for access_map in (*e.reads, e.write):
            moving = [v in access_map.access.variables for v in order]
            if moving != sorted(moving, reverse=True):
                return False
        if any_loops:
            continue
        loops = [loop.variable for loop in e.temporal if loop.axis == number]
        if [order.index(v) for v in loops] != sorted(order.index(v) for v in loops):
            return False
    return True
