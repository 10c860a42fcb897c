"""Minimal domains: the iterations of each Einsum that every mapping runs, however fine its tiles.

A mapping skips tiles that a mask leaves empty, and steps in which other Einsums do nothing
(``masking``). The finer it tiles the ranks of the mask, the more it skips. Here every rank is cut
into single elements.

A cascade may partition a rank itself (``M: [M1, M0]``) and leave the tile size to the mapping. M1
and M0 are the members of the partition. An Einsum over all members has equally many points at any
size. The points of any other Einsum grow or shrink with the tile: work on the pairs of a chunk
grows with its length, while work done once per chunk shrinks. The floor needs the best size for all
Einsums together. There are many sizes. Ranges of sizes are therefore bounded from below, and the
ranges with the smallest bounds are halved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain, combinations
from math import isqrt, prod
from typing import NamedTuple

from einsum_cascade.affine import digits
from einsum_cascade.algebra.excerpt import inseparable
from einsum_cascade.counting.point_counts import count_points
from einsum_cascade.ir import (
    Access,
    Affine,
    AffineTerm,
    Condition,
    Gather,
    Name,
    Program,
    Relational,
    walk,
)
from einsum_cascade.masks import Opaque, conjuncts, inequalities
from einsum_cascade.no_op_steps import active_einsums

from ..iteration.bands import RankBand
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Axis, Loop
from ..nest.masks import ANY_SIZES, MaskBands, band_ranks, mask_bands, window_over
from ..nest.record import Bound, BoundEinsum
from .policy import MAX_BISECTIONS


class _StepCounts(NamedTuple):
    """Set of steps in which some Einsums may be no-ops."""

    stepping: frozenset[str]
    """Rank variables of the loops whose iterations are the steps."""
    band: RankBand
    """Band of the mask; outside it the Einsums are no-ops."""
    idle: frozenset[str]
    """Einsums that some mapping may skip outside the band."""


def minimal_domains(bound: Bound, fine: Collection[str] = ()) -> dict[str, tuple[LoopNest, ...]]:
    """Return, for each Einsum, loop nests over the iterations that no mapping can skip.

    Every mapping runs all iterations under one of the Einsum's nests. The shared loops of the
    mapping, and the Einsums that share them, decide which nest.

    Parameters
    ----------
    bound : Bound
        Mapping of the cascade; its tiles do not matter.
    fine : collection of str
        Ranks that the cascade cuts at a size that other mappings may choose. In these ranks a step
        may be as short as one element.
    """
    masks = mask_bands(bound, ANY_SIZES, any_loops=True)
    steps = tuple(_no_op_steps(bound, masks))
    return {e.name: tuple(_nests(bound, e, masks, steps, fine)) for e in bound.einsums}


def _nests(
    bound: Bound,
    e: BoundEinsum,
    masks: MaskBands,
    steps: tuple[_StepCounts, ...],
    fine: Collection[str],
) -> Iterator[LoopNest]:
    band = masks.bands.get(e.name)
    if band is not None:
        yield _windowed(bound, e, e.variables, band, fine)
        return
    yield LoopNest(loops=(), extents=e.extents)
    if e.einsum.where is None:
        for step in steps:
            if e.name in step.idle:
                yield _windowed(bound, e, step.stepping, step.band, fine)


def _no_op_steps(bound: Bound, masks: MaskBands) -> Iterator[_StepCounts]:
    """Yield sets of steps that may be no-ops outside a band, with the Einsums that may be skipped.

    Each nest of a mapping has some Einsums. An Einsum cannot be skipped in a step if other work in
    its nest needs the step. This counts only if both must share a nest, because the cascade cannot
    be cut between them.
    """
    if not masks.bands:
        return
    program = bound.program
    declared = program.rank_of
    members = (declared[r].partition or (r,) for r in band_ranks(masks.bands) if r in declared)
    variables = sorted(m.lower() for m in chain.from_iterable(members))
    unused = frozenset(chain.from_iterable(masks.without.values()))
    cannot_be_cut_from = program.memo(inseparable)
    # A mapping may share the loops of any of these variables; the no-op Einsums differ.
    for count in range(1, len(variables) + 1):
        for chosen in map(frozenset, combinations(variables, count)):
            inside = [e.name for e in bound.einsums if chosen <= {*e.einsum.variables}]
            for band in dict.fromkeys(masks.bands[n] for n in inside if n in masks.bands):
                in_band = tuple(n for n in inside if masks.bands.get(n) == band)
                other = {n for n in inside if n in masks.bands}.difference(in_band)
                active = program.memo(active_einsums, frozenset(in_band), chosen)
                busy = unused.union(other, active)
                idle = frozenset(n for n in inside if busy.isdisjoint(cannot_be_cut_from[n]))
                if not idle <= {*in_band}:
                    yield _StepCounts(chosen, band, idle)


def _windowed(
    bound: Bound, e: BoundEinsum, stepping: Collection[str], band: RankBand, fine: Collection[str]
) -> LoopNest:
    """Return an Einsum's loops over single values of the band's ranks.

    Loops go over the variables in ``stepping`` and over the ranks in ``fine``.
    """
    loops = tuple(
        Loop(member=variable, axis=number, stride=stride, level=0, variable=variable)
        for number, axis in enumerate(e.axes)
        if axis.name in (band.plus, band.minus)
        for variable, stride in axis.variables
        if variable in stepping or axis.name in fine
    )
    window = window_over(bound.tiling, e.axes, band, len(loops))
    return LoopNest(loops=loops, extents=e.extents, window=window)


ALL = Fraction(1)
"""Share one: all of an Einsum's points remain at any size of tiles."""


def declared_partition_of(program: Program, rank: str) -> tuple[str, str]:
    """Return the partitioned rank that a member (such as M1 of M) belongs to, and the member.

    Of equivalent ranks, the first rank and its member are returned.
    """
    declared = program.rank_of.get(rank)
    if declared is not None and declared.like is not None:
        return declared_partition_of(program, declared.like)
    family = program.rank_of.get(declared.family or "") if declared is not None else None
    if family is None:
        return "", rank
    first = program.rank_of[family.like] if family.like is not None else family
    if not first.partition:
        return family.name, rank
    return first.name, first.partition[family.partition.index(rank)]


def partition_member_of(program: Program, variable: str) -> tuple[str, str]:
    """Return the partitioned rank and its member, such as M and M1, that a variable iterates
    over.
    """
    return declared_partition_of(program, program.rank_of_variable.get(variable, variable.upper()))


def least_shares(bound: Bound) -> dict[str, Fraction]:
    """Return the share of each Einsum's points that remains at the best sizes of the cascade's
    tiles.

    An Einsum over all members of a partitioned rank, such as M1 and M0, has equally many points at
    any size. An Einsum over only some members (a running maximum over M1) could have a single tile,
    or tiles of a single element. These members therefore count as size one. Under a mask nothing
    may remain at some size, unless the mask only bounds positions.

    Parameters
    ----------
    bound : Bound
        Mapping of the cascade; any one serves.

    Returns
    -------
    dict of str to Fraction
        Share by Einsum; 1 if no size makes a difference.

    Examples
    --------
    In one-pass attention with 4 tiles of 256 keys, a quarter of ``RM[m1+1, p]`` remains.
    """
    masked = any(x.where is not None for x in bound.program.einsums)
    sizes, free = dict(bound.shapes), bound.pattern_memo(partial_ranks)
    return {
        e.name: _share(e, gone, sizes, masked) for e, gone in zip(bound.einsums, free, strict=True)
    }


class PartialRank(NamedTuple):
    """Partitioned rank of which an Einsum iterates over some members without the other members."""

    family: str
    axes: tuple[int, ...]
    """Numbers of the Einsum's axes that iterate over these members."""
    times: int
    """Number of times that the Einsum iterates over all members, each on a separate axis."""


def _share(
    e: BoundEinsum, gone: tuple[PartialRank, ...], sizes: dict[str, int], masked: bool
) -> Fraction:
    """Return the smallest share of an Einsum's points that may remain at some size of tiles."""
    if not gone:
        return ALL
    if masked:
        return Fraction(0)  # at some sizes, no tile may have to run
    share = ALL
    for family, axes, times in gone:
        # M1 and M0 together have at least M points at any size. M1 alone may be 1, so that its
        # whole extent may vanish.
        share *= Fraction(sizes[family] ** times, prod([e.extents[axis] for axis in axes]))
    return min(share, ALL)


def partial_ranks(bound: Bound) -> tuple[tuple[PartialRank, ...], ...]:
    """Return, for each Einsum, the partitioned ranks that reduce its share, at any shapes."""
    free = free_partitions(bound)
    return tuple(tuple(_partial_ranks_of(bound.program, e, free)) for e in bound.einsums)


def _partial_ranks_of(
    program: Program, e: BoundEinsum, free: Mapping[str, tuple[str, ...]]
) -> Iterator[PartialRank]:
    axes: dict[str, list[int]] = {family: [] for family in free}
    gone: dict[str, list[str]] = {family: [] for family in free}
    for number, axis in enumerate(e.axes):
        family, _ = partition_member_of(program, axis.variables[0][0])
        if family in free:
            members = [partition_member_of(program, v)[1] for v, _ in axis.variables]
            # Members that together give the rank's positions are one axis, equally long at any
            # size. M2 and M1 of three members are an axis with the number of tiles of M0.
            if len(members) < len(free[family]):
                axes[family].append(number)
                gone[family] += members
    whole = positional_rank(program, e)
    for family, found in axes.items():
        # Each position of ``whole`` comes once, however the rank is cut.
        if found and family != whole:
            times = min(gone[family].count(member) for member in free[family])
            yield PartialRank(family, tuple(found), times)


def positional_rank(program: Program, e: BoundEinsum) -> str:
    """Return the partitioned rank whose positions an Einsum's mask lets through exactly once.

    The mask leaves out positions of the last tile that are beyond the end of the rank. The result
    is empty for any other mask, and without a mask. An example is ``where p1*M0 + m0 < P`` over p1
    and m0, with M0 as long as P0: P points remain for any P0. If tiles are counted from the last to
    the first, the mask is ``where (P1 - p1 - 1)*M0 + m0 < P``.
    """
    if e.einsum.where is None or len(conditions := inequalities(e.einsum.where)) != 1:
        return ""
    (condition,) = conditions
    mine = [(v, *partition_member_of(program, v)) for axis in e.axes for v, _ in axis.variables]
    for family in dict.fromkeys(family for _, family, _ in mine if family):
        found = sorted(member for _, of, member in mine if of == family)
        all_members = found == sorted(program.rank_of[family].partition)
        if all_members and bounds_positions(program, condition, family) is not None:
            return family
    return ""


def bounds_positions(program: Program, condition: Affine | Opaque, family: str) -> bool | None:
    """Return True if a condition that bounds positions in a rank counts tiles from the last one.

    Returns False if it counts from the first tile, and None if the condition has another form.
    """
    if not isinstance(condition, Affine):
        return None
    members = program.rank_of[family].partition
    found = _terms(program, condition)
    forwards = digits(members).plus(Affine((AffineTerm(1), AffineTerm(-1, (family,)))))
    if found == _terms(program, forwards):
        return False
    # Of P1 tiles of P0, this is tile P1 - p1 - 1; all inner digits stay.
    outer, *inner = members
    first = (AffineTerm(1, (outer, *inner)), AffineTerm(-1, tuple(inner)))
    turned = tuple(
        AffineTerm(-t.coefficient, t.shapes, t.variable) if t.variable == outer.lower() else t
        for t in forwards.terms
    )
    backwards = Affine(turned).plus(Affine(first))
    return True if found == _terms(program, backwards) else None


def _terms(program: Program, form: Affine) -> frozenset[tuple[int, tuple[str, ...], str | None]]:
    """Return the terms of an affine form, with members of partitioned ranks for their variables
    and the first of equivalent ranks.
    """
    of = {v: partition_member_of(program, v) for v in form.variables}
    names = {v: member.lower() for v, (family, member) in of.items() if family}
    return frozenset(
        (
            t.coefficient,
            tuple(sorted(declared_partition_of(program, shape)[1] for shape in t.shapes)),
            names.get(t.variable or "", t.variable),
        )
        for t in form.terms
    )


def free_partitions(bound: Bound) -> dict[str, tuple[str, ...]]:
    """Return the ranks that the cascade partitions at sizes chosen by mappings, with their
    members.
    """
    program = bound.program
    chosen = {*(t.member for t in bound.mapping.tiles), *(u.name for u in program.usual)}
    # If gathered indices name tiles, the size of tiles is part of the computation.
    reads = (i for e in program.einsums for a in e.reads for i in a.indices)
    scaled = {shape for i in reads if isinstance(i, Gather) for shape in i.shapes}
    cut = [
        r
        for r in program.ranks
        if r.partition and not chosen.isdisjoint(r.partition) and scaled.isdisjoint(r.partition)
    ]
    families = {declared_partition_of(program, r.partition[0])[0] for r in cut}
    return {family: program.rank_of[family].partition for family in families}


def cut_ranks(bound: Bound) -> frozenset[str]:
    """Return the ranks of ``free_partitions``, and all ranks that are partitioned like them."""
    free, ranks = free_partitions(bound), (r for r in bound.program.ranks if r.partition)
    return frozenset(
        r.name for r in ranks if declared_partition_of(bound.program, r.partition[0])[0] in free
    )


@dataclass(frozen=True)
class TileSizes:
    """Range of tile sizes, from ``low`` to ``high``, with the least points of Einsums in this
    range."""

    low: int
    high: int
    points: tuple[tuple[str, int], ...]
    """Least points by Einsum; Einsums with equally many points at any size are left out."""


def best_ranges(
    ranges: Callable[[int, int], TileSizes], longest: int, least: Callable[[TileSizes], Fraction]
) -> tuple[TileSizes, ...]:
    """Return ranges that cover all tile sizes, and that are narrow where the lower bound is
    smallest.

    Parameters
    ----------
    ranges : callable
        Function that returns the range between two sizes.
    longest : int
        Longest size in elements; longer tiles have equally many points.
    least : callable
        Function that returns the lower bound of a range.

    Examples
    --------
    One Einsum shrinks from 64, another grows by 1; their sum is least at size 8 with 16:

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
    for _ in range(MAX_BISECTIONS):
        _, _, best = open_[0]
        if best.low == best.high:
            break
        heappop(open_)
        # The middle is geometric: points depend on the ratio of sizes.
        middle = min(best.high - 1, isqrt(best.low * best.high))
        add(best.low, middle)
        add(middle + 1, best.high)
    return tuple(found for _, _, found in open_)


@dataclass(frozen=True)
class FreeTileSize:
    """Rank that a cascade cuts in two, into tiles whose size the mappings choose."""

    rank: str
    outer: str
    """Member that counts the tiles, such as M1."""
    inner: str
    """Member that counts the elements inside a tile, such as M0."""

    def members(self, program: Program, axis: Axis) -> set[str]:
        """Return the members of the rank, such as M1 and M0, that an axis iterates over."""
        of = (partition_member_of(program, v) for v, _ in axis.variables)
        return {member for family, member in of if family == self.rank}

    def grows(self, program: Program, e: BoundEinsum) -> bool:
        """Return whether larger tiles give an Einsum more points."""
        return any(self.members(program, a) == {self.inner} for a in e.axes)

    def ranges(
        self, bound: Bound, incomplete: Collection[str], others: Collection[str]
    ) -> Callable[[int, int], TileSizes] | None:
        """Return a function that gives the least points of Einsums in a range of tile sizes.
        Returns None if no Einsum's points grow with the size.

        Parameters
        ----------
        bound : Bound
            Mapping of the cascade; any mapping gives the same answer.
        incomplete : collection of str
            Einsums whose points depend on the size; no mapping skips their unmasked steps.
        others : collection of str
            Other ranks whose tile sizes mappings choose.
        """
        program, whole = bound.program, dict(bound.shapes)[self.rank]
        mine = [
            e
            for e in bound.einsums
            if e.name in incomplete
            and all(partition_member_of(program, v)[0] not in others for v in e.variables)
        ]
        counted = [e for e in mine if self._is_counted(bound, e)]
        if not any(self.grows(program, e) for e in counted):
            return None

        def found(low: int, high: int) -> TileSizes:
            points = ((e.name, self._least(bound, e, whole, low, high)) for e in counted)
            return TileSizes(low, high, tuple(points))

        return found

    def _is_counted(self, bound: Bound, e: BoundEinsum) -> bool:
        """Return whether a lower bound of an Einsum's points is known at any size.

        A mask that does not depend on sizes lets through at least as much with more and larger
        tiles. A mask may also bound positions inside the rank. Then all positions of all tiles but
        the last are allowed.
        """
        if e.einsum.where is None:
            return True
        program, backwards = bound.program, False
        others: list[Condition] = []
        for condition in conjuncts(e.einsum.where):
            ends = {bounds_positions(program, i, self.rank) for i in inequalities(condition)}
            if ends == {None}:
                others.append(condition)
            backwards |= True in ends
        if not all(map(_is_free_of_sizes, others)):
            return False
        # From the last tile to the first, the partial tile comes first: positions outside are at
        # the beginning, and all other tiles shift by one.
        return not backwards or all(self._is_of_distances(program, c) for c in others)

    def _is_of_distances(self, program: Program, condition: Condition) -> bool:
        """Return whether a mask stays the same if all its tile numbers shift by one."""
        for node in walk(condition):
            if not isinstance(node, Relational):
                continue
            for part in inequalities(node):
                if not isinstance(part, Affine):
                    return False
                moved = [
                    t.coefficient
                    for t in part.terms
                    if t.variable
                    and partition_member_of(program, t.variable) == (self.rank, self.outer)
                ]
                if sum(moved):
                    return False
        return True

    def _least(self, bound: Bound, e: BoundEinsum, rank: int, low: int, high: int) -> int:
        """Return the least points of an Einsum for a rank of length ``rank``, over tile sizes from
        ``low`` to ``high``."""
        if e.einsum.where is None:
            return prod(self._extent(bound.program, a, rank, low, high) for a in e.axes)
        if low == high:
            return self._let_through(bound, e, rank, low)
        return self._let_through(bound, e, low * (rank // high), low)

    def _extent(self, program: Program, axis: Axis, rank: int, low: int, high: int) -> int:
        members = self.members(program, axis)
        if not members:
            return axis.extent
        if len(members) == 2:
            return rank
        return low if members == {self.inner} else -(-rank // high)

    def _let_through(self, bound: Bound, e: BoundEinsum, rank: int, size: int) -> int:
        """Return the number of points that the mask lets through, for a rank's length and its tile
        size."""
        program, shapes = bound.program, dict(bound.shapes)
        numbers: dict[str, float] = {
            p.name: p.default for p in program.parameters if p.default is not None
        }
        numbers |= shapes
        sizes = {self.outer: -(-rank // size), self.inner: size}
        for declared in program.ranks:
            family, member = declared_partition_of(program, (*declared.partition, declared.name)[0])
            if family == self.rank:
                numbers[declared.name] = rank if declared.partition else sizes[member]
        return count_points(program, e.einsum, numbers) * prod(shapes[r] for r in program.parallel)


def _is_free_of_sizes(condition: Condition) -> bool:
    """Return whether a mask compares positions only with one another and with constants."""
    return not any(
        isinstance(node, Access) or (isinstance(node, Name) and node.kind == "shape")
        for node in walk(condition)
    )
