"""Shares of tiles and work in a step, by number: equal values have equal numbers.

A walk over the steps of masked tiles meets a few values in many places. Numbers compare much faster
than tuples of fractions, and consequences of a value are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

from einsum_cascade.memo import cached_property

from ..iteration.loops import Extents, Loop, count_points, inside
from .flows import Move, Role, StepShare
from .group import FusionGroup

_T = TypeVar("_T")

_UNKNOWN = object()
_NOTHING = Fraction(0)

Row = tuple[Fraction, ...]
Held = tuple[tuple[int | None, ...], ...]
"""Number of each flow's share, by Einsum and flow; None while its tile does not stay."""


class Numbered(Generic[_T]):
    """Distinct values, in the order of their first occurrence."""

    def __init__(self) -> None:
        self.values: list[_T] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, value: _T) -> int:
        """Return the number of a value, a new one for a new value."""
        return self.number_for(value, value)

    def number_for(self, key: Hashable, value: _T) -> int:
        """Return the number of a value that ``key`` identifies."""
        number = self._numbers.setdefault(key, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number

    def of(self, key: Hashable, make: Callable[[], _T]) -> int:
        """Return the number of the value that ``key`` identifies, made on first use."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.values)
            self.values.append(make())
        return number


class RemainingExtents(NamedTuple):
    """Extents of each Einsum that the outer loops leave.

    ``extents`` is None for an Einsum whose iterations differ from the nest's here. ``fresh`` holds,
    by flow, whether the loops that do not move it were at their first iteration.
    """

    extents: tuple[Extents | None, ...]
    fresh: tuple[tuple[bool, ...], ...]


class Shares:
    """Views, shares of tiles, and rows of traffic of the Einsums of a group."""

    def __init__(self, group: FusionGroup) -> None:
        self.parts = group.parts
        self.memories = group.memories
        self.views: Numbered[RemainingExtents] = Numbered()
        self.slices: Numbered[StepShare] = Numbered()
        self.held: Numbered[Held] = Numbered()
        self.rows: Numbered[Row] = Numbered()
        self._known: dict[Hashable, Any] = {}
        self.nest = group.nest
        depths = range(len(group.loops) + 1)
        # Number of an Einsum's own loops among the first of the group's.
        self.place = [
            [sum(x is not None for x in p.loops[:d]) for d in depths] for p in group.parts
        ]
        self.apart = [p.depth for p in group.parts]
        self.ask_fresh = [frozenset(m.flow for m in p.flows.moves if m.again) for p in group.parts]

    @cached_property
    def steps(self) -> int:
        """Number of steps of the group."""
        return self.nest.steps(0, self.nest.extents, self.nest.band)

    def memo(self, make: Callable[..., _T], *given: Hashable) -> _T:
        """Return the value of a function of the group, computed once."""
        key = (make.__name__, given)
        if (found := self._known.get(key, _UNKNOWN)) is _UNKNOWN:
            found = self._known[key] = make(*given)
        known: _T = found
        return known

    def start(self) -> tuple[int, int]:
        """Return the view outside all loops, and a state in which no tile stays."""
        view = RemainingExtents(
            extents=tuple(p.e.extents for p in self.parts),
            fresh=tuple((True,) * len(p.flows.flows) for p in self.parts),
        )
        nothing = tuple((None,) * len(p.flows.flows) for p in self.parts)
        return self.views.number(view), self.held.number(nothing)

    def entered(self, depth: int, outer: int, total: int, edge: bool, first: bool) -> int:
        """Return the view inside a loop of ``total`` iterations: at its last, first, or another
        one."""
        view = self.views.values[outer]
        extents = [*view.extents]
        fresh = [*view.fresh]
        # Every place asks for every Einsum: the list is cached.
        for number, axis, stride, stale in self.memo(self._looping, depth):
            now = extents[number]
            if now is None:
                continue
            # An Einsum whose loop has as many iterations as the nest's is in the same iteration.
            # For any other Einsum, the tile of this iteration is unknown.
            left = now[axis]
            if -(-left // stride) != total:
                extents[number] = None
            else:
                extent = left - (total - 1) * stride if edge else min(left, stride)
                if extent != left:
                    extents[number] = (*now[:axis], extent, *now[axis + 1 :])
            if stale and not first:
                fresh[number] = tuple([f and i not in stale for i, f in enumerate(fresh[number])])
        return self.views.number(RemainingExtents(tuple(extents), tuple(fresh)))

    def _looping(self, depth: int) -> list[tuple[int, int, int, frozenset[int]]]:
        """Return the Einsums that run in a loop, with axis and stride of their view of it.

        The last entry holds the flows that are fresh at the loop's first iteration alone.
        """
        own = ((number, p.loops[depth]) for number, p in enumerate(self.parts))
        return [
            (number, loop.axis, loop.stride, self._stale(number, depth))
            for number, loop in own
            if loop is not None
        ]

    def _stale(self, number: int, depth: int) -> frozenset[int]:
        """Return the flows that are fresh at a loop's first iteration alone: it does not move
        their tiles."""
        flows, place = self.parts[number].flows.flows, self.place[number][depth]
        return frozenset(
            i
            for i in self.ask_fresh[number]
            if i is not None and place < len(flows[i].loops) and not flows[i].moving[place]
        )

    # ------------------------------------------------------------------ shares of tiles

    def staying(
        self, depth: int, view: int, waiting: tuple[tuple[int, ...], ...]
    ) -> tuple[tuple[int, int, int], ...]:
        """Yield (Einsum, flow, number of its share) for tiles that stay in the loops inside.

        ``waiting`` holds the flows to look at, by Einsum.
        """
        now = self.views.values[view]
        found: list[tuple[int, int, int]] = []
        for number, (p, extents) in enumerate(zip(self.parts, now.extents, strict=True)):
            place, out = self.place[number][depth], self.apart[number]
            if extents is None or (out is not None and depth > out):
                continue
            for i in waiting[number]:
                flow = p.flows.flows[i]
                # From here on a single tile arrives: its elements spread evenly over the steps
                # inside.
                if place >= flow.stepped or flow.stays(place, extents):
                    share = flow.slice(place, extents, now.fresh[number][i])
                    found.append((number, i, self.slices.number_for(share.key, share)))
        return tuple(found)

    def arriving(self, depth: int, view: int, held: int) -> tuple[tuple[int, int, int], ...]:
        """Return the shares that stay from here on, and did not outside."""
        waiting = self.memo(self._waiting, held)
        return self.memo(self.staying, depth, view, waiting) if any(waiting) else ()

    def _waiting(self, held: int) -> tuple[tuple[int, ...], ...]:
        """Return the flows of each Einsum of which no tile stays yet."""
        return tuple(
            tuple([i for i, share in enumerate(shares) if share is None])
            for shares in self.held.values[held]
        )

    def keep(
        self, held: int, arriving: tuple[tuple[int, int, int], ...], many: int, of: int
    ) -> int:
        """Return held shares with arriving ones, ``many / of`` times as large."""
        known = list(self.held.values[held])
        for number, i, share in arriving:
            scaled = share
            if many != of:
                slice_ = self.slices.values[share].times(Fraction(many, of))
                scaled = self.slices.number_for(slice_.key, slice_)
            known[number] = (*known[number][:i], scaled, *known[number][i + 1 :])
        return self.held.number(tuple(known))

    def spread(self, depth: int, view: int, outer: int, held: int, steps: int) -> int:
        """Return held shares with those of Einsums that stay outside a loop from here on, by
        step."""
        known = list(self.held.values[held])
        for number, p in enumerate(self.parts):
            if depth == self.apart[number] and self.views.values[view].extents[number] is not None:
                totals = (
                    self._total(depth, view, number, i, self.held.values[outer][number][i])
                    for i in range(len(p.flows.flows))
                )
                known[number] = tuple(
                    self.slices.number_for(t.key, t)
                    for t in (whole.times(Fraction(1, steps)) for whole in totals)
                )
        return self.held.number(tuple(known))

    def _total(self, depth: int, view: int, number: int, flow: int, share: int | None) -> StepShare:
        """Return the total of a flow over all steps inside some loops."""
        p, place = self.parts[number], self.place[number][depth]
        now = self.views.values[view]
        extents = now.extents[number]
        assert extents is not None, "shares are of tiles that go along with the nest"
        if share is not None:
            return self.slices.values[share].times(count_points(p.steps[place:], extents))
        return p.flows.flows[flow].total(extents, place, now.fresh[number][flow])

    # ------------------------------------------------------------------ one step

    def busy(self, runs: tuple[bool, ...], view: int) -> int:
        """Return the number of the cycles that each Einsum works in a step."""
        extents = self.views.values[view].extents
        row = (
            p.busy * count_points(p.own, x) if r and x is not None else _NOTHING
            for p, r, x in zip(self.parts, runs, extents, strict=True)
        )
        return self._numbered(tuple(row))

    def _numbered(self, row: Row) -> int:
        """Return the number of a row; whole numbers are compared sooner than fractions."""
        return self.rows.number_for(tuple([x.as_integer_ratio() for x in row]), row)

    def moved(self, role: Role, runs: tuple[bool, ...], held: int) -> tuple[int, ...]:
        """Return the number of each Einsum's traffic in a step."""
        return tuple(
            self.memo(self._row, role, number, runs[number], slices)
            for number, slices in enumerate(self.held.values[held])
        )

    def _row(self, role: Role, number: int, runs: bool, slices: tuple[int | None, ...]) -> int:
        """Return the number of an Einsum's traffic: words by memory."""
        # Traffic of an Einsum outside a loop is spread over all steps (``spread``), also those in
        # which it does not run.
        sums = [_NOTHING] * self.memories
        even = self.apart[number] is not None
        for m in self.parts[number].flows.moves if runs or even else ():
            if m.role == role:
                share = self._share(number, m, slices)
                sums[m.memory] += share if m.scale == 1 else m.scale * share
        return self._numbered(tuple(sums))

    def _share(self, number: int, move: Move, slices: tuple[int | None, ...]) -> Fraction | int:
        """Return a step's share of a move, before it is scaled."""
        if move.flow is not None:
            known = slices[move.flow]
            if known is None:
                return 0
            share = self.slices.values[known]
            return share.again if move.again else share.arrives
        if self.apart[number] is None:
            return 1
        part = self.parts[number]
        return Fraction(count_points(part.steps, part.e.extents), self.steps)


def within(extents: Extents, loop: Loop, last: bool) -> Extents:
    """Return the extents inside the last iteration of a loop, or inside an earlier one."""
    left, stride = extents[loop.axis], loop.stride
    # Of 10 in tiles of 4, the last tile has 10 - 2 * 4.
    extent = left - (left - 1) // stride * stride if last else min(left, stride)
    return inside(extents, loop, extent)
