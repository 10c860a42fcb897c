"""Counting what a loop nest does where a window leaves tiles out (see ``archsim.lattice``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .lattice import Extents, Loop, inside
from .window import Box, Window, runs

_Key = tuple[int, ...]


def one(_: Extents) -> int:
    """The size of a tile where tiles are counted."""
    return 1


def windowed_points(
    loops: tuple[Loop, ...], extents: Extents, window: Window, size: Callable[[Extents], int]
) -> int:
    """The sum of ``size`` over all iterations of a nest that hold any point."""
    everything = (True,) * len(loops)
    return windowed_deliveries(loops, everything, extents, window, size)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Deliveries of one sub-nest: their total size, the first one's, and both ends' tiles."""

    total: int
    size: int
    first: _Key
    last: _Key


@lru_cache(maxsize=1 << 8)
def windowed_deliveries(
    loops: tuple[Loop, ...],
    relevant: tuple[bool, ...],
    extents: Extents,
    window: Window,
    size: Callable[[Extents], int],
) -> int:
    """``lattice.count_deliveries`` over the iterations that hold any point.

    A tile is told from the one before by the iterations of its relevant loops; what is
    left out in between does not matter. Many Einsums of a nest ask for the same.
    """
    memo: dict[tuple[int, Extents, Box | None], _Stream] = {}

    def visit(depth: int, now: Extents, box: Box | None) -> _Stream:
        if depth == window.governed:
            box = None
        key = (depth, now, box)
        if (known := memo.get(key)) is not None:
            return known
        if depth == len(loops):
            tile = size(now)
            found = _Stream(tile, tile, (), ())
        else:
            loop = loops[depth]
            parts = [
                (run.count, run.first, visit(depth + 1, inside(now, loop, run.extent), run.box))
                for run in runs(now[loop.axis], loop.stride, box, window.side(loop.axis))
            ]
            found = _moving(parts) if relevant[depth] else _staying(parts)
        memo[key] = found
        return found

    if window.box.empty:
        return 0
    return visit(0, extents, None if window.box.full else window.box.trimmed()).total


def _moving(parts: list[tuple[int, int, _Stream]]) -> _Stream:
    (_, begin, one), (count, other, end) = parts[0], parts[-1]
    total = sum(n * stream.total for n, _, stream in parts)
    return _Stream(total, one.size, (begin, *one.first), (other + count - 1, *end.last))


def _staying(parts: list[tuple[int, int, _Stream]]) -> _Stream:
    """Repetitions of a stream: a tile that is still there is not delivered again."""
    total = 0
    before: _Stream | None = None
    for count, _, stream in parts:
        repeats = count - 1 if stream.first == stream.last else 0
        if before is not None and before.last == stream.first:
            repeats += 1
        total += count * stream.total - repeats * stream.size
        before = stream
    return _Stream(total, parts[0][2].size, parts[0][2].first, parts[-1][2].last)


@lru_cache(maxsize=1 << 8)
def windowed_distinct(
    loops: tuple[Loop, ...],
    counted: tuple[bool, ...],
    extents: Extents,
    window: Window,
    size: Callable[[Extents], int],
) -> int:
    """The sum of ``size`` over the distinct indices of the ``counted`` loops of a nest.

    Any other loop is entered once, in its fullest iteration. Along the window's ranks that
    is found last, among those that hold a point for the indices counted.
    """
    loops, counted = _postponed(loops, counted, window)
    memo: dict[tuple[int, Extents, Box | None], int] = {}

    def visit(depth: int, now: Extents, box: Box | None) -> int:
        if depth == window.governed:
            box = None
        if depth == len(loops):
            return size(now)
        key = (depth, now, box)
        if (known := memo.get(key)) is not None:
            return known
        loop = loops[depth]
        found = [
            (run.count, visit(depth + 1, inside(now, loop, run.extent), run.box))
            for run in runs(now[loop.axis], loop.stride, box, window.side(loop.axis))
        ]
        if counted[depth]:
            memo[key] = sum(count * value for count, value in found)
        else:
            memo[key] = max(value for _, value in found)
        return memo[key]

    if window.box.empty:
        return 0
    return visit(0, extents, None if window.box.full else window.box.trimmed())


def _postponed(
    loops: tuple[Loop, ...], counted: tuple[bool, ...], window: Window
) -> tuple[tuple[Loop, ...], tuple[bool, ...]]:
    """Loops along the window's ranks that are not counted, behind the other governed ones."""
    pairs = list(zip(loops, counted, strict=True))
    governed, rest = pairs[: window.governed], pairs[window.governed :]
    late = [(x, c) for x, c in governed if not c and window.side(x.axis) is not None]
    early = [(x, c) for x, c in governed if c or window.side(x.axis) is None]
    order = [*early, *late, *rest]
    return tuple(x for x, _ in order), tuple(c for _, c in order)
