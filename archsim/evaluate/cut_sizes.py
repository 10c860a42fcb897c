"""What is left of Einsums at every size of a cascade's own tiles, a range of sizes at a time.

A chunked kernel cuts its positions into chunks whose size is for a mapping to choose: what goes
over the pairs of a chunk grows with it, what is done once a chunk shrinks. The floor is what the
best of all sizes leaves, and that is not the least that each Einsum has at a size of its own.
Sizes are many: a range of them bounds each Einsum from below, and ranges that promise least are
halved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from math import isqrt, prod

from einsum_cascade.affine import Form
from einsum_cascade.ir import Program
from einsum_cascade.masks import AtMostZero, inequalities

from ..bound.record import Bound, BoundEinsum
from ..space.iteration import Axis
from .cut_ranks import cut_of, member_of

_HALVED = 40
"""Ranges that are halved at the most; what they bound by then is as valid."""


@dataclass(frozen=True)
class TileSizes:
    """Sizes of a tile from ``low`` to ``high``, and what is left of Einsums at each of them."""

    low: int
    high: int
    points: tuple[tuple[str, int], ...]
    """By Einsum, at the least: of those that have as many at any size, nothing is said."""


def best_ranges(
    ranges: Callable[[int, int], TileSizes], longest: int, least: Callable[[TileSizes], Fraction]
) -> tuple[TileSizes, ...]:
    """Ranges that have all sizes up to the longest; those whose bound is least are the narrowest.

    Parameters
    ----------
    ranges : callable
        The range of sizes from one to another.
    longest : int
        In elements; longer tiles leave as much as this.
    least : callable
        What a range is bounded by.

    Examples
    --------
    What shrinks from 64 beside what grows by 1 is least at 8, where both together are 16:

    >>> def points(low: int, high: int) -> TileSizes:
    ...     return TileSizes(low, high, (("shrinks", -(-64 // high)), ("grows", low)))
    >>> found = best_ranges(points, 64, lambda r: Fraction(sum(n for _, n in r.points)))
    >>> min((sum(n for _, n in r.points), r.low, r.high) for r in found)
    (16, 8, 8)
    """
    number = 0
    open_: list[tuple[Fraction, int, TileSizes]] = []

    def add(low: int, high: int) -> None:
        nonlocal number
        number += 1
        heappush(open_, (least(found := ranges(low, high)), number, found))

    add(1, longest)
    for _ in range(_HALVED):
        _, _, best = open_[0]
        if best.low == best.high:
            break
        heappop(open_)
        # As wide in proportion: what is left is a matter of how many times as long tiles are.
        middle = min(best.high - 1, isqrt(best.low * best.high))
        add(best.low, middle)
        add(middle + 1, best.high)
    return tuple(found for _, _, found in open_)


@dataclass(frozen=True)
class OwnTiles:
    """A rank that a cascade cuts in two, in tiles of a size that is for mappings to choose."""

    rank: str
    outer: str
    """The member that goes over its tiles."""
    inner: str
    """The one inside of them."""

    def members(self, program: Program, axis: Axis) -> set[str]:
        """Those of the rank that an axis goes over."""
        of = (member_of(program, v) for v, _ in axis.variables)
        return {member for family, member in of if family == self.rank}

    def grows(self, program: Program, e: BoundEinsum) -> bool:
        """Whether larger tiles leave more of an Einsum."""
        return any(self.members(program, a) == {self.inner} for a in e.axes)

    def ranges(
        self, bound: Bound, incomplete: Collection[str], others: Collection[str]
    ) -> Callable[[int, int], TileSizes] | None:
        """What is left of Einsums at sizes from one to another; None where no size is better.

        Parameters
        ----------
        bound : Bound
            Any mapping of the cascade.
        incomplete : collection of str
            Einsums that have other points at other sizes, and no steps that a mapping may leave
            out though they have no mask.
        others : collection of str
            Ranks beside it of whose tiles mappings choose the size.
        """
        program, whole = bound.program, dict(bound.shapes)[self.rank]
        mine = [
            e
            for e in bound.einsums
            if e.name in incomplete
            and all(member_of(program, v)[0] not in others for v in e.variables)
        ]
        told = [_PointsLeft(self, bound, e) for e in mine if self._is_counted(bound, e)]
        if not any(c.grows for c in told):
            return None

        def found(low: int, high: int) -> TileSizes:
            return TileSizes(
                low, high, tuple((c.einsum.name, c.least(whole, low, high)) for c in told)
            )

        return found

    def _is_counted(self, bound: Bound, e: BoundEinsum) -> bool:
        """Whether it is known how many points an Einsum has at any size."""
        return e.einsum.where is None or all(
            isinstance(c, AtMostZero) and self._is_inside(bound.program, c.form)
            for c in inequalities(e.einsum.where)
        )

    def _is_inside(self, program: Program, form: Form) -> bool:
        """Whether a condition is of places inside of a tile, whatever its size: the larger tile
        lets through all that the smaller one does."""
        of = (member_of(program, t.variable) for t in form.terms if t.variable)
        return all(not t.shapes for t in form.terms) and (self.rank, self.outer) not in of


@dataclass(frozen=True)
class _PointsLeft:
    """The points of an Einsum at any size of a cut rank's tiles."""

    cut: OwnTiles
    bound: Bound
    einsum: BoundEinsum

    @property
    def grows(self) -> bool:
        """Whether larger tiles leave more."""
        return self.cut.grows(self.bound.program, self.einsum)

    def least(self, rank: int, low: int, high: int) -> int:
        """Points at the least where a rank is so long, and its tiles are of one of the sizes."""
        if self.einsum.einsum.where is None:
            return prod(self._extent(a, rank, low, high) for a in self.einsum.axes)
        if low == high:
            return self._let_through(rank, low)
        goes = any(self.cut.outer in self._members(a) for a in self.einsum.axes)
        return (rank // high if goes else 1) * self._let_through(low, low)

    def _members(self, axis: Axis) -> set[str]:
        """Those of the rank that an axis goes over."""
        return self.cut.members(self.bound.program, axis)

    def _extent(self, axis: Axis, rank: int, low: int, high: int) -> int:
        members = self._members(axis)
        if not members:
            return axis.extent
        if len(members) == 2:
            return rank
        return low if members == {self.cut.inner} else -(-rank // high)

    def _let_through(self, rank: int, size: int) -> int:
        """Points that its mask lets through where a rank is so long, and its tiles are."""
        from einsum_cascade.counting.point_counts import count_points

        program, cut = self.bound.program, self.cut
        numbers: dict[str, float] = {
            p.name: p.default for p in program.parameters if p.default is not None
        }
        numbers |= dict(self.bound.shapes)
        sizes = {cut.outer: -(-rank // size), cut.inner: size}
        for declared in program.ranks:
            family, member = cut_of(program, (*declared.partition, declared.name)[0])
            if family == cut.rank:
                numbers[declared.name] = rank if declared.partition else sizes[member]
        points = count_points(program, self.einsum.einsum, numbers)
        return points * prod(dict(self.bound.shapes)[r] for r in program.parallel)
