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

from einsum_cascade.ir import Access, Condition, Name, Program, Relational, walk
from einsum_cascade.masks import AtMostZero, Opaque, conjuncts, inequalities

from ..bound.record import Bound, BoundEinsum
from ..space.iteration import Axis
from .cut_ranks import cut_of, is_end, member_of

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
        """Whether it is known how many points an Einsum has at any size, at the least.

        A mask that knows no sizes lets through of more and of larger tiles all that it does of
        fewer and smaller ones. Besides it may ask for what is inside of the rank: all tiles but the
        last one are, as a whole.
        """
        if e.einsum.where is None:
            return True
        program, backwards = bound.program, False
        others: list[Condition] = []
        for condition in conjuncts(e.einsum.where):
            ends = {self._is_end(program, part) for part in inequalities(condition)}
            if ends == {None}:
                others.append(condition)
            backwards |= True in ends
        if not all(map(_knows_no_sizes, others)):
            return False
        # From the last tile to the first that one comes first: what is not inside is at the
        # beginning, and all others are one place on.
        return not backwards or all(self._is_of_distances(program, c) for c in others)

    def _is_end(self, program: Program, condition: AtMostZero | Opaque) -> bool | None:
        variables = condition.form.variables if isinstance(condition, AtMostZero) else ()
        names = {v: m.lower() for v in variables for f, m in [member_of(program, v)] if f}
        return is_end(program, condition, self.rank, names)

    def _is_of_distances(self, program: Program, condition: Condition) -> bool:
        """Whether a mask lets through the same where all tiles are one place on."""
        for node in walk(condition):
            if not isinstance(node, Relational):
                continue
            for part in inequalities(node):
                if not isinstance(part, AtMostZero):
                    return False
                moved = [
                    t.coefficient
                    for t in part.form.terms
                    if t.variable and member_of(program, t.variable) == (self.rank, self.outer)
                ]
                if sum(moved):
                    return False
        return True


def _knows_no_sizes(condition: Condition) -> bool:
    """Whether a mask asks about places alone, which it compares with one another and with numbers
    that stay the same."""
    return not any(
        isinstance(node, Access) or (isinstance(node, Name) and node.kind == "shape")
        for node in walk(condition)
    )


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
        return self._let_through(low * (rank // high), low)

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
