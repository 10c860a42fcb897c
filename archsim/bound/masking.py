"""Which tiles of a mapped nest a mask leaves without a point, so that nobody runs them.

A masked Einsum leaves out every iteration in which its mask lets nothing through. Where
all masked Einsums of a step agree and the others provably do nothing then
(``einsum_cascade.idle.steps``), the whole step is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import gcd, prod

from einsum_cascade.masks import depends_on_data

from ..space.banded import one
from ..space.bands import Band, Box, Window
from ..space.iteration import Axis
from ..space.loop_space import LoopSpace
from ..space.nest import LoopNest
from .comparisons import ComparedForms, Form, compared, comparisons
from .record import Bound, BoundEinsum
from .shared import nest_space
from .tiling import Tiling

_FAR = 1 << 80
"""Farther than any two coordinates are apart."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Windows by Einsum, the steps that are left, and what is not left out and why."""

    windows: tuple[tuple[str, Window], ...]
    loose: frozenset[str]
    """Einsums whose masks leave out points inside their windows, too."""
    steps: int
    notes: tuple[str, ...]
    idle: Band | None = None
    """Outside of it whole steps are left out."""


def leave_out_masked(bound: Bound) -> Bound:
    """The mapping with the windows of its masked Einsums, and of steps that are idle.

    Where a mask is no band, or a step is not idle, nothing is left out; its
    ``unskipped`` then says so.
    """
    if all(e.einsum.where is None for e in bound.einsums):
        return bound
    found = _masking(bound, _mask_bands(bound, _Tiles.of(bound)))
    windows = dict(found.windows)
    spaces: dict[tuple[LoopSpace, Window | None], LoopSpace] = {}
    einsums: list[BoundEinsum] = []
    for e in bound.einsums:
        window = windows.get(e.name)
        masked = replace(e, window=window, loose=e.name in found.loose)
        vars(masked)["space"] = spaces.setdefault((e.space, window), masked.space)
        einsums.append(masked)
    return replace(
        bound,
        einsums=tuple(einsums),
        steps=found.steps,
        unskipped=found.notes,
        idle=found.idle,
    )


@dataclass(frozen=True, kw_only=True)
class MaskBands:
    """Bands of masked Einsums by name, and the Einsums whose masks are none that can be used."""

    bands: dict[str, Band]
    loose: frozenset[str]
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
    return _mask_bands(bound, _ANY, any_loops=True)


def _mask_bands(bound: Bound, tiles: _Tiles, *, any_loops: bool = False) -> MaskBands:
    """The bands that the masks of a mapping's Einsums are, in tiles of some sizes.

    Equal bands look equal, in whatever order their comparisons are written. ``any_loops``: whether
    bands are told that other loops than the mapping's can use.
    """
    numbers = _numbers(bound)
    bands: dict[str, Band] = {}
    loose: set[str] = set()
    without: dict[bool, list[str]] = {}
    for e in bound.einsums:
        if e.einsum.where is None:
            continue
        band, exact = _band(bound.tiling, e, numbers, tiles)
        if band is not None and _told_apart(e, band, any_loops=any_loops):
            turned = any((b.plus, b.minus) == (band.minus, band.plus) for b in bands.values())
            bands[e.name] = _turned(band) if turned else band
            loose |= set() if exact else {e.name}
        else:
            without.setdefault(depends_on_data(e.einsum.where), []).append(e.name)
    return MaskBands(bands=bands, loose=frozenset(loose), without=without)


def windows_of(bound: Bound) -> tuple[dict[str, Window], dict[str, Window]]:
    """The windows of a mapping's Einsums, by name, as ``leave_out_masked`` gives them were its
    tiles of any sizes: of single elements, and of whole blocks where masks are of blocks.

    Parameters
    ----------
    bound : Bound
        The mapping, without windows.
    """
    single = _Tiles(known=True, sizes={axis.name: 1 for e in bound.einsums for axis in e.axes})
    found = (_mask_bands(bound, tiles) for tiles in (single, _ANY))
    finest, blocks = (dict(_masking(bound, masks, counted=False).windows) for masks in found)
    return finest, blocks


def _masking(bound: Bound, found: MaskBands, *, counted: bool = True) -> Masking:
    """What is left out; ``counted``: with how many steps are left."""
    bands, loose, without = found.bands, found.loose, found.without
    notes = [f"{', '.join(names)}: {_no_band(data)}" for data, names in without.items()]
    windows = {
        e.name: _window(bound.tiling, e, bands[e.name], len(e.temporal))
        for e in bound.einsums
        if e.name in bands
    }
    idle = None if notes else _idle(bound, bands)
    if isinstance(idle, str):
        notes.append(f"{idle}, so that the other Einsums run in masked tiles too")
    if not isinstance(idle, _Idle):
        return Masking(
            windows=tuple(windows.items()),
            loose=loose,
            steps=bound.steps,
            notes=tuple(notes),
        )
    for e in idle.others:
        # Only whole steps are idle for them: their own loops go over all of a step's tile.
        windows[e.name] = _window(bound.tiling, e, idle.band, len(e.shared))
    return Masking(
        windows=tuple(windows.items()),
        loose=loose,
        steps=_steps(bound, idle.band) if counted else bound.steps,
        notes=(),
        idle=idle.band,
    )


def _no_band(data: bool) -> str:
    """What is done with a mask that leaves no tiles out, in words."""
    if data:
        return "its mask depends on data; every point that it might let through is counted"
    return "its mask is no band of two ranks; masked tiles are run"


def _numbers(bound: Bound) -> dict[str, int]:
    """Whole numbers by name: shapes, and parameters that are whole."""
    parameters = {
        p.name: int(p.default)
        for p in bound.program.parameters
        if p.default is not None and p.default == int(p.default)
    }
    return parameters | dict(bound.shapes)


# ------------------------------------------------------------------ idle steps


@dataclass(frozen=True)
class _Idle:
    """A band outside of which whole steps are idle, and the unmasked Einsums of a step."""

    band: Band
    others: tuple[BoundEinsum, ...]


def _idle(bound: Bound, bands: dict[str, Band]) -> _Idle | str | None:
    """The idle steps; or why there are none; or None where no step could be."""
    ranks = band_ranks(bands)
    stepping = frozenset(
        loop.rank.lower() for loop in bound.nest if _family(bound.tiling, loop.rank) in ranks
    )
    found = idle_band(bound, bands, stepping)
    if found is None or isinstance(found, str):
        return found
    inside = (e for e in bound.einsums if stepping <= {*e.einsum.variables})
    return _Idle(found, tuple(e for e in inside if e.name not in bands))


def band_ranks(bands: Mapping[str, Band]) -> frozenset[str]:
    """The ranks between which bands are."""
    return frozenset(r for b in bands.values() for r in (b.plus, b.minus) if r)


def idle_band(
    bound: Bound, bands: Mapping[str, Band], stepping: frozenset[str]
) -> Band | str | None:
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
    from einsum_cascade.idle.steps import idle_problem

    # A cascade is bound in many ways, and proved once.
    problem = bound.program.once(idle_problem, masked, stepping)
    return different.pop() if problem is None else problem


def _family(tiling: Tiling, rank: str) -> str:
    """The rank whose elements a rank goes along: its family, or itself."""
    declared = tiling.program.rank_of.get(rank)
    return declared.family if declared is not None and declared.family else rank


def _steps(bound: Bound, band: Band) -> int:
    """Steps of the shared nest that are not idle (one, if all are)."""
    axes, loops = nest_space(bound.tiling, bound.nest)
    window = window_over(bound.tiling, axes, band, len(loops))
    extents = tuple(a.extent for a in axes)
    nest = LoopNest(loops=loops, extents=extents, window=window)
    return max(1, nest.delivered((True,) * len(loops), one))


# ------------------------------------------------------------------ bands


def _window(tiling: Tiling, e: BoundEinsum, band: Band, governed: int) -> Window:
    return window_over(tiling, e.axes, band, governed)


def window_over(tiling: Tiling, axes: tuple[Axis, ...], band: Band, governed: int) -> Window:
    """A band over the axes of an iteration space, in elements of the ranks.

    Parameters
    ----------
    tiling : Tiling
        Shapes of the ranks, and members of those that are partitioned.
    axes : tuple of Axis
        Axes of the space; a rank of the band need not be among them.
    band : Band
        What a mask lets through.
    governed : int
        How many loops, from the outermost, leave out what is empty.
    """
    places = {a.name: (number, _scale(tiling, a)) for number, a in enumerate(axes)}
    plus, plus_scale = places.get(band.plus, (None, 1))
    minus, minus_scale = places.get(band.minus or "", (None, 1))
    across = 1 if band.minus is None else tiling.shapes[band.minus]
    return Window(
        plus=plus,
        minus=minus,
        plus_scale=plus_scale,
        minus_scale=minus_scale,
        box=Box(band.low, band.high, tiling.shapes[band.plus], across),
        governed=governed,
    )


def _scale(tiling: Tiling, axis: Axis) -> int:
    """Elements of the rank per unit of an axis: the members that are not gone along."""
    rank = tiling.program.rank_of.get(axis.name)
    if rank is None or not rank.partition:
        return 1
    present = {v for v, _ in axis.variables}
    if rank.name.lower() in present:
        return 1
    return prod(tiling.shapes[m] for m in rank.partition if m.lower() not in present)


def _told_apart(e: BoundEinsum, band: Band, *, any_loops: bool) -> bool:
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


def _band(
    tiling: Tiling, e: BoundEinsum, numbers: dict[str, int], tiles: _Tiles
) -> tuple[Band | None, bool]:
    """The band that holds all of an Einsum's mask, or None, and whether it is all of the mask.

    A comparison that is no band (of the end of a tile: ``p1*M0 + m0 < M``) only cuts off more.
    """
    assert e.einsum.where is not None, "masked Einsums only"
    found: Band | None = None
    exact = True
    for comparison in comparisons(e.einsum.where):
        if comparison is None or depends_on_data(comparison):
            return None, False
        known = compared(comparison, numbers)
        part = None if known is None else _half(tiling, e.axes, known, tiles)
        if part is None:
            exact = False
            continue
        exact = exact and known is not None and known.divisor == 1
        found = part if found is None else _both(found, part)
        if found is None:
            return None, False
    if found is not None and found.low > found.high and tiles.known:
        # Of blocks there is nothing where they are drawn together: they stay as wide as they are.
        single = _Tiles(known=True, sizes=dict.fromkeys(tiles.sizes, 1))
        return (found, exact) if single == tiles else _band(tiling, e, numbers, single)
    return found, exact


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """Elements of which all tiles are multiples, by rank; not ``known``: those of any mapping."""

    known: bool
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, bound: Bound) -> _Tiles:
        """Those of a mapping, of its Einsums and of its steps."""
        sizes: dict[str, int] = {}
        spaces = ((e.axes, e.temporal) for e in bound.einsums)
        for axes, loops in (nest_space(bound.tiling, bound.nest), *spaces):
            for loop in loops:
                axis = axes[loop.axis]
                # A loop of one iteration cuts nothing.
                if loop.stride < axis.extent:
                    size = loop.stride * _scale(bound.tiling, axis)
                    sizes[axis.name] = gcd(sizes.get(axis.name, 0), size)
        return cls(known=True, sizes=sizes)

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


_ANY = _Tiles(known=False, sizes={})


def _half(
    tiling: Tiling, axes: tuple[Axis, ...], known: ComparedForms, tiles: _Tiles
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
        if abs(sign) != 1 or sign in found or _scale(tiling, axis) != 1:
            return None
        if any(g != sign * stride for g, (_, stride) in zip(given, axis.variables, strict=True)):
            return None
        found[sign] = axis.name
    if left or not found:
        return None
    return found.get(1), found.get(-1)


def _turned(band: Band) -> Band:
    """The same band, the other of its two ranks subtracted."""
    assert band.minus is not None, "of two ranks"
    return Band(plus=band.minus, minus=band.plus, low=-band.high, high=-band.low)


def _both(a: Band, b: Band) -> Band | None:
    """Both bands at once, if they are between the same ranks."""
    if (a.plus, a.minus) != (b.plus, b.minus):
        if (a.plus, a.minus) != (b.minus, b.plus):
            return None
        b = _turned(b)
    return replace(a, low=max(a.low, b.low), high=min(a.high, b.high))
