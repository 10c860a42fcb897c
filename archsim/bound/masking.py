"""Which tiles of a mapped nest a mask leaves without a point, so that nobody runs them.

A masked Einsum leaves out every iteration in which its mask lets nothing through. Where
all masked Einsums of a step agree and the others provably do nothing then
(``einsum_cascade.no_op_steps``), the whole step is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd

from einsum_cascade.masks import depends_on_data

from ..space.banded import one
from ..space.bands import Band, Box, Window
from ..space.iteration import Axis
from ..space.loop_space import LoopSpace
from ..space.nest import LoopNest
from .mask_bands import ANY_SIZES, TileMultiples, band_of, numbers_of, scale_of, turned
from .record import Bound, BoundEinsum
from .shared import nest_space
from .tiling import Tiling


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
    found = _masking(bound, _mask_bands(bound, _tile_sizes(bound)))
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
    return _mask_bands(bound, ANY_SIZES, any_loops=True)


def _mask_bands(bound: Bound, tiles: TileMultiples, *, any_loops: bool = False) -> MaskBands:
    """The bands that the masks of a mapping's Einsums are, in tiles of some sizes.

    Equal bands look equal, in whatever order their comparisons are written. ``any_loops``: whether
    bands are told that other loops than the mapping's can use, and of masks of which one or
    another lets a point through, one.
    """
    numbers = numbers_of(bound)
    bands: dict[str, Band] = {}
    loose: set[str] = set()
    without: dict[bool, list[str]] = {}
    for e in bound.einsums:
        if e.einsum.where is None:
            continue
        band, exact = band_of(bound.tiling, e, numbers, tiles, within=any_loops)
        if band is not None and _told_apart(e, band, any_loops=any_loops):
            other = any((b.plus, b.minus) == (band.minus, band.plus) for b in bands.values())
            bands[e.name] = turned(band) if other else band
            loose |= set() if exact else {e.name}
        else:
            without.setdefault(depends_on_data(e.einsum.where), []).append(e.name)
    return MaskBands(bands=bands, loose=frozenset(loose), without=without)


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
    """The windows of a mapping's Einsums, by name, as ``leave_out_masked`` gives them were its
    tiles of any sizes: of single elements, and of whole blocks where masks are of blocks.

    Parameters
    ----------
    bound : Bound
        The mapping, without windows.
    """
    single = TileMultiples(
        known=True, sizes={axis.name: 1 for e in bound.einsums for axis in e.axes}
    )
    found = (_mask_bands(bound, tiles) for tiles in (single, ANY_SIZES))
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
    from einsum_cascade.no_op_steps import no_op_obstacle

    # A cascade is bound in many ways, and proved once.
    problem = bound.program.memo(no_op_obstacle, masked, stepping)
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
    places = {a.name: (number, scale_of(tiling, a)) for number, a in enumerate(axes)}
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
