"""Masks of a bound mapping: the band of each mask, and the tiles and steps that are skipped.

A masked Einsum skips every iteration in which its mask lets nothing through. Where all masked
Einsums of a step agree and the others provably do nothing then (``einsum_cascade.no_op_steps``),
the whole step is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, prod

from einsum_cascade import ir
from einsum_cascade.affine import linear_expression
from einsum_cascade.ir import Condition, Logical, Relational
from einsum_cascade.masks import conjuncts, depends_on_data

from ..iteration.bands import RankBand, Window, enclosing_band
from ..iteration.loop_nest import LoopNest, LoopSpace
from ..iteration.loops import Axis
from ..iteration.windowed import one
from .record import Bound, BoundEinsum, nest_space
from .tiling import Tiling

Form = dict[str, int]
"""Whole numbers by rank variable that are multiplied with it and added up; "" has the constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedForms:
    """``low <= left - right <= high``, or so of what is left of both when they are divided by a
    number and rounded down; None: no end."""

    left: Form
    right: Form
    low: int | None
    high: int | None
    divisor: int = 1


def compared(comparison: ir.Relational, numbers: Mapping[str, int]) -> ComparedForms | None:
    """A comparison of forms, or of two that are divided by the same number and rounded down.

    Parameters
    ----------
    comparison : Relational
    numbers : mapping
        Shapes and whole parameters by name.

    Returns
    -------
    ComparedForms or None
        None where it is neither, or says that something is different.
    """
    left, right = (_quotient(x, numbers) for x in (comparison.left, comparison.right))
    if left is None or right is None or left[1] != right[1]:
        return None
    low, high = {"<=": (None, 0), "<": (None, -1), "==": (0, 0)}.get(
        comparison.operator, (None, None)
    )
    if high is None:
        return None
    return ComparedForms(left=left[0], right=right[0], low=low, high=high, divisor=left[1])


def _quotient(node: ir.Expression, numbers: Mapping[str, int]) -> tuple[Form, int] | None:
    """A form, and what it is divided by before it is rounded down."""
    match node:
        case ir.Call(
            function="floor", arguments=(ir.Binary(operator="/", left=above, right=below),)
        ):
            divided, by = _linear(above, numbers), _linear(below, numbers)
            if divided is None or by is None or set(by) != {""} or by[""] < 1:
                return None
            return divided, by[""]
        case _:
            form = _linear(node, numbers)
            return None if form is None else (form, 1)


def _linear(node: ir.Expression, numbers: Mapping[str, int]) -> Form | None:
    """Return an expression as integers times rank variables; None if it is not one."""
    form = linear_expression(node, numbers)
    if form is None or any(term.shapes for term in form.terms):
        return None
    return {term.variable or "": term.coefficient for term in form.terms}


_BEYOND_ANY_DISTANCE = 1 << 80
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
) -> tuple[RankBand | None, bool]:
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
    found, exact = _BandFinder(tiling, e.axes, numbers, tiles, within).of(where)
    if found is not None and found.low > found.high and tiles.known:
        # Of blocks there is nothing where they are drawn together: they stay as wide as they are.
        single = TileMultiples(known=True, sizes=dict.fromkeys(tiles.sizes, 1))
        if single != tiles:
            return band_of(tiling, e, numbers, single, within=within)
    return found, exact


def bands_of_several(bound: Bound, e: BoundEinsum) -> tuple[RankBand, ...]:
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
    told = _BandFinder(bound.tiling, e.axes, integer_constants(bound), ANY_SIZES, False)
    found = [band for band, _ in map(told.of, where.operands) if band is not None]
    return tuple(found) if len(found) == len(where.operands) else ()


def integer_constants(bound: Bound) -> dict[str, int]:
    """Whole numbers by name: shapes, and parameters that are whole."""
    parameters = {
        p.name: int(p.default)
        for p in bound.program.parameters
        if p.default is not None and p.default == int(p.default)
    }
    return parameters | dict(bound.shapes)


@dataclass(frozen=True, slots=True)
class _BandFinder:
    """What bands of conditions depend on."""

    tiling: Tiling
    axes: tuple[Axis, ...]
    numbers: dict[str, int]
    tiles: TileMultiples
    within: bool

    def of(self, condition: Condition) -> tuple[RankBand | None, bool]:
        """The band of conditions that must all hold, and whether it is all of them."""
        found: RankBand | None = None
        exact = True
        for conjunct in conjuncts(condition):
            part, whole = self._part(conjunct)
            if part is None:
                # Alternatives between other ranks only cut off more, as what is no band does.
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
        """The band of one condition and whether it is all of it; None and whether there may be a
        band without it."""
        if isinstance(condition, Relational):
            known = compared(condition, self.numbers)
            part = (
                None
                if known is None
                else _band_of_comparison(self.tiling, self.axes, known, self.tiles)
            )
            return part, part is None or (known is not None and known.divisor == 1)
        if not isinstance(condition, Logical) or condition.operator != "or":
            return None, False
        parts = [band for band, _ in map(self.of, condition.operands) if band is not None]
        if len(parts) < len(condition.operands):
            return None, False
        shapes = self.tiling.shapes
        return (_largest(parts, shapes) if self.within else enclosing_band(parts, shapes)), False


def _largest(parts: list[RankBand], shapes: Mapping[str, int]) -> RankBand:
    """Return the band with the most points per coordinate of its second rank."""

    def share(band: RankBand) -> Fraction:
        over = band.over(shapes)
        return Fraction(over.points, over.rows)

    return max(parts, key=share)


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


def _band_of_comparison(
    tiling: Tiling, axes: tuple[Axis, ...], known: ComparedForms, tiles: TileMultiples
) -> RankBand | None:
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
    low = (
        -_BEYOND_ANY_DISTANCE if known.low is None else known.low * known.divisor - slack - constant
    )
    high = (
        _BEYOND_ANY_DISTANCE
        if known.high is None
        else known.high * known.divisor + slack - constant
    )
    # One rank, subtracted: -p + 3 <= 0 is the band of p from 3 on.
    if plus is None:
        assert minus is not None, "a comparison has a rank"
        return RankBand(plus=minus, minus=None, low=-high, high=-low)
    return RankBand(plus=plus, minus=minus, low=low, high=high)


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


@dataclass(frozen=True, kw_only=True)
class _MaskWindows:
    """Windows of Einsums by name, the band of no-op steps, and notes on masks without effect."""

    by_name: dict[str, Window]
    no_op_band: RankBand | None = None
    """Band outside of which whole steps are skipped."""
    notes: tuple[str, ...] = ()


def skip_masked_tiles(bound: Bound) -> Bound:
    """The mapping with the windows of its masked Einsums, and of steps that are idle.

    Where a mask is no band, or a step is not idle, nothing is left out; its
    ``masking_notes`` then says so.
    """
    if all(e.einsum.where is None for e in bound.einsums):
        return bound
    masks = _mask_bands(bound, _tile_sizes(bound))
    found = _windows(bound, masks)
    spaces: dict[tuple[LoopSpace, Window | None], LoopSpace] = {}
    einsums: list[BoundEinsum] = []
    for e in bound.einsums:
        window = found.by_name.get(e.name)
        masked = replace(e, window=window, partially_masked=e.name in masks.partially_masked)
        vars(masked)["space"] = spaces.setdefault((e.space, window), masked.space)
        einsums.append(masked)
    return replace(
        bound,
        einsums=tuple(einsums),
        steps=bound.steps if (band := found.no_op_band) is None else _steps(bound, band),
        masking_notes=found.notes,
        no_op_band=found.no_op_band,
    )


@dataclass(frozen=True, kw_only=True)
class MaskBands:
    """Bands of masked Einsums by name, and the Einsums whose masks are none that can be used."""

    bands: dict[str, RankBand]
    partially_masked: frozenset[str]
    """Whose masks leave out points inside their bands, too."""
    without: dict[bool, list[str]]
    """By whether the mask depends on data."""


def bands_of_any(bound: Bound) -> MaskBands:
    """The bands that masks are, as far as other loops than a mapping's can use them: what any
    mapping runs has a point of theirs.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade.
    """
    return _mask_bands(bound, ANY_SIZES, any_loops=True)


def _mask_bands(bound: Bound, tiles: TileMultiples, *, any_loops: bool = False) -> MaskBands:
    """The bands that the masks of a mapping's Einsums are, in tiles of some sizes.

    Equal bands look equal, in whatever order their comparisons are written. ``any_loops``: whether
    bands are told that other loops than the mapping's can use, and of masks of which one or
    another lets a point through, one.
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
    """Elements of which all tiles of a mapping are multiples, of its Einsums and of its steps."""
    sizes: dict[str, int] = {}
    spaces = ((e.axes, e.temporal) for e in bound.einsums)
    for axes, loops in (nest_space(bound.tiling, bound.nest), *spaces):
        for loop in loops:
            axis = axes[loop.axis]
            # A loop of one iteration cuts nothing.
            if loop.stride < axis.extent:
                size = loop.stride * scale_of(bound.tiling, axis)
                sizes[axis.name] = gcd(sizes.get(axis.name, 0), size)
    return TileMultiples(known=True, sizes=sizes)


def windows_of(bound: Bound) -> tuple[dict[str, Window], dict[str, Window]]:
    """The windows of a mapping's Einsums, by name, as ``skip_masked_tiles`` gives them were its
    tiles of any sizes: of single elements, and of whole blocks where masks are of blocks.

    Parameters
    ----------
    bound : Bound
        The mapping, without windows.
    """
    single = TileMultiples(
        known=True, sizes={axis.name: 1 for e in bound.einsums for axis in e.axes}
    )
    finest, blocks = (
        _windows(bound, _mask_bands(bound, tiles)).by_name for tiles in (single, ANY_SIZES)
    )
    return finest, blocks


def _windows(bound: Bound, found: MaskBands) -> _MaskWindows:
    """Return the windows of masked Einsums, and of the others in steps that do nothing."""
    bands, tiling = found.bands, bound.tiling
    notes = tuple(f"{', '.join(names)}: {_no_band(data)}" for data, names in found.without.items())
    windows = {
        e.name: window_over(tiling, e.axes, bands[e.name], len(e.temporal))
        for e in bound.einsums
        if e.name in bands
    }
    ranks = band_ranks(bands)
    stepping = frozenset(x.rank.lower() for x in bound.nest if _family(tiling, x.rank) in ranks)
    band = None if notes else no_op_band(bound, bands, stepping)
    if isinstance(band, str):
        notes = (f"{band}, so that the other Einsums run in masked tiles too",)
    if not isinstance(band, RankBand):
        return _MaskWindows(by_name=windows, notes=notes)
    for e in bound.einsums:
        if e.name not in bands and stepping <= {*e.einsum.variables}:
            # Only whole steps do nothing for them: their own loops cover all of a step's tile.
            windows[e.name] = window_over(tiling, e.axes, band, len(e.shared))
    return _MaskWindows(by_name=windows, no_op_band=band)


def _no_band(data: bool) -> str:
    """What is done with a mask that leaves no tiles out, in words."""
    if data:
        return "its mask depends on data; every point that it might let through is counted"
    return "its mask is no band of two ranks; masked tiles are run"


# ------------------------------------------------------------------ idle steps


def band_ranks(bands: Mapping[str, RankBand]) -> frozenset[str]:
    """The ranks between which bands are."""
    return frozenset(r for b in bands.values() for r in (b.plus, b.minus) if r)


def no_op_band(
    bound: Bound, bands: Mapping[str, RankBand], stepping: frozenset[str]
) -> RankBand | str | None:
    """The band outside of which steps are idle; or why none are; or None where none could be.

    Parameters
    ----------
    bound : Bound
        The mapping.
    bands : mapping
        Bands of its masked Einsums, by name.
    stepping : frozenset of str
        Rank variables of the loops whose iteration is a step, of the bands' ranks.
    """
    inside = [e for e in bound.einsums if stepping <= {*e.einsum.variables}]
    masked = tuple(e.name for e in inside if e.name in bands)
    if not stepping or not masked:
        return None
    different = {bands[name] for name in masked}
    if len(different) > 1:
        return f"{masked[0]} and others have different masks"
    from einsum_cascade.no_op_steps import no_op_obstacle

    # A cascade is bound in many ways, and proved once.
    problem = bound.program.memo(no_op_obstacle, masked, stepping)
    return different.pop() if problem is None else problem


def _family(tiling: Tiling, rank: str) -> str:
    """The rank whose elements a rank goes along: its family, or itself."""
    declared = tiling.program.rank_of.get(rank)
    return declared.family if declared is not None and declared.family else rank


def _steps(bound: Bound, band: RankBand) -> int:
    """Steps of the shared nest that are not idle (one, if all are)."""
    axes, loops = nest_space(bound.tiling, bound.nest)
    window = window_over(bound.tiling, axes, band, len(loops))
    extents = tuple(a.extent for a in axes)
    nest = LoopNest(loops=loops, extents=extents, window=window)
    return max(1, nest.delivered((True,) * len(loops), one))


# ------------------------------------------------------------------ bands


def window_over(tiling: Tiling, axes: tuple[Axis, ...], band: RankBand, governed: int) -> Window:
    """A band over the axes of an iteration space, in elements of the ranks.

    Parameters
    ----------
    tiling : Tiling
        Shapes of the ranks, and members of those that are partitioned.
    axes : tuple of Axis
        Axes of the space; a rank of the band need not be among them.
    band : RankBand
        What a mask lets through.
    governed : int
        How many loops, from the outermost, leave out what is empty.
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
    """Whether loops over one axis of a band all have one variable, outermost ones first.

    An access that moves with an inner variable but not with an outer one would see tiles
    come back that are told apart by nothing.
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
