"""What an Einsum lays out side by side, on which array: the layouts that are soonest done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, permutations
from math import prod

from archsim.spec.arch import Dimension, ProcessingArray
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.operations import einsum_operations

from .arrays import arrays_of
from .folding import Laid
from .idle import CutRank, Run, layouts_along
from .sites import LoopPart, Site

_LAYOUTS = 3
"""Layouts on systolic arrays of which the memories are asked, too."""

ORDERS = 120
"""Orders of an Einsum's loops that are tried: all of five ranks that some tensor lacks."""

_NEARLY = Fraction(5, 4)
"""How many times the least cycles a layout may take that reads less at a time."""

_Along = tuple[tuple[str, tuple[LoopPart, ...]], ...]
"""The dimensions in use of an array, and what is laid out along each."""


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """An array, what is laid out along its dimensions, and how long it is busy."""

    array: ProcessingArray
    along: tuple[tuple[str, tuple[str, ...]], ...]
    laid: Laid
    rounds: dict[str, int]
    """How often loops over each rank go round beside that, ragged edges exact."""
    cycles: Fraction
    """In the order of loops that suits it."""

    @property
    def names(self) -> set[str]:
        """Parts that are laid out."""
        return {name for _, names in self.along for name in names}


def soonest(site: Site, e: Einsum, on: ProcessingArray | None = None) -> list[ArrayLayout]:
    """The array that is soonest done with an Einsum, and how; the first of equals.

    Where loads cost cycles, some that are soon done, and those that fill the arrays: what they
    ask of memories differs.

    Parameters
    ----------
    site : Site
        The cascade and the machine.
    e : Einsum
        One of the cascade's.
    on : ProcessingArray, optional
        One that can do it; by default any may.

    Returns
    -------
    list of ArrayLayout
        One, unless loads cost cycles or Einsums that share loops are laid out in stretches.

    Raises
    ------
    MappingError
        No array can do all of its operations.
    """
    able = arrays_of(site.program, e, site.architecture) if on is None else (on,)
    if site.fitted:
        return _fitted(site, e, able)
    filling = [_layouts(site, e, a, filling=True) for a in able]
    if all(a.operands == "broadcast" for a in able):
        return sorted(chain(*filling), key=lambda layout: layout.cycles)[:1]
    others = (_layouts(site, e, a) for a in able)
    soon = sorted(chain(*filling, *others), key=lambda layout: layout.cycles)
    if not site.architecture.tree.is_line:
        # What is held still decides which of several memories is asked for much.
        return [
            x
            for n, x in enumerate(soon)
            if x not in soon[:n] and x.cycles <= _NEARLY * soon[0].cycles
        ]
    return [*soon[:_LAYOUTS], *(x for x in chain(*filling) if x not in soon[:_LAYOUTS])]


def sharing(site: Site, e: Einsum) -> ArrayLayout:
    """Of layouts that are done nearly as soon as any the one that reads fewest operands at a time:
    32 x 32 results share 32 of one operand and 32 of the other, but 32 sums for each of 32 results
    need 1,024 of one. Raises as ``soonest``."""
    first = soonest(site, e)[0]
    able = arrays_of(site.program, e, site.architecture)
    others = chain(*(_layouts(site, e, a) for a in able))

    def read(layout: ArrayLayout) -> tuple[int, Fraction]:
        laid = {r: [p for p in site.parts(r) if p.name in layout.names] for r in site.ranks(e)}
        wide = {r: prod(p.count for p in parts) for r, parts in laid.items()}
        return sum(prod(wide[r] for r in site.ranks_of(a)) for a in e.reads), layout.cycles

    return min((first, *(x for x in others if x.cycles <= _NEARLY * first.cycles)), key=read)


def layouts_of(site: Site, e: Einsum) -> list[ArrayLayout]:
    """All layouts that are looked at, on every array that can do an Einsum, the soonest first."""
    able = arrays_of(site.program, e, site.architecture)
    found = (_layouts(site, e, a, filling=filling) for a in able for filling in (True, False))
    return sorted(chain(*found), key=lambda layout: layout.cycles)


def _layouts(
    site: Site, e: Einsum, array: ProcessingArray, *, filling: bool = False
) -> list[ArrayLayout]:
    """Layouts with any ranks along an array's axes: what varies along all of them is loaded for
    each of its values. Or those ``filling`` it.

    Ranks of a mask are better gone through in time, where their empty tiles are left out.
    """
    able = layable(site, e) - site.masked(e.name)
    ranks = [r for r in site.ranks(e) if r in able and site.shapes[r] > 1]
    axes = min(len(ranks), len(array.dimensions))
    found = (
        (_laid_out(site, e, order) for order in _axis_orders(array))
        if filling
        else (
            _laid_out(site, e, next(_axis_orders(array)), first, filled=filled)
            for first in islice(permutations(ranks, axes), ORDERS)
            for filled in (True, False)
        )
    )
    alongs: dict[tuple[tuple[str, tuple[str, ...]], ...], _Along] = {}
    for x in found:
        along = tuple((d.name, x[d.name]) for d in array.dimensions if d.name in x)
        alongs.setdefault(tuple((d, tuple([p.name for p in parts])) for d, parts in along), along)
    takes = array.cycles_of(einsum_operations(site.program, e))
    return [_layout(site, e, array, along, takes) for along in alongs.values()]


def _axis_orders(array: ProcessingArray) -> Iterator[tuple[Dimension, ...]]:
    """Orders in which the axes of an array are filled, whatever order they are written in.

    First to be filled, and so with what fills it best, is one along which nothing is late.
    """
    first = sorted(array.dimensions, key=lambda d: (d.reduction_latency_cycles, -d.size))
    return permutations(first)


def _laid_out(
    site: Site,
    e: Einsum,
    order: tuple[Dimension, ...],
    first: tuple[str, ...] = (),
    *,
    filled: bool = True,
) -> dict[str, tuple[LoopPart, ...]]:
    """Fill each axis in turn with what fills it best; beside that, with ranks that fit whole.

    ``first`` are the ranks that axes begin with; unless they are to be ``filled``, nothing comes
    beside them.

    Of a dimension of 128 elements: 64 queries take half of it, and 2 heads that fit whole the rest.
    """
    able = layable(site, e)
    free = dict.fromkeys(r for r in site.ranks(e) if r in able)
    along: dict[str, tuple[LoopPart, ...]] = {}
    for number, dimension in enumerate(order):
        room, found = dimension.size, list[LoopPart]()
        while fitting := _fitting(site, free, room, whole=bool(found)):
            if found and not filled:
                break
            asked = [] if found else [x for x in fitting if x[0].rank in first[number:][:1]]
            best = max(asked or fitting, key=lambda parts: _filling(site, e, parts))
            found += best
            # A tile that is given longer than its rank takes the room of all of it.
            room //= max(site.extent(p) for p in best)
            free.pop(best[0].rank)
        if found:
            along[dimension.name] = tuple(found)
    return along


def _fitted(site: Site, e: Einsum, able: Iterable[ProcessingArray]) -> list[ArrayLayout]:
    """Layouts of ranks that are cut each by itself, the soonest first; of equals those that are
    not late, then those that read least at a time."""
    able_ranks = layable(site, e)  # a set: what is first of equals is said by the Einsum
    ranks = {r: site.parts(r)[::-1] for r in site.ranks(e) if r in able_ranks}
    cut = {r: CutRank(site.shapes[r], tuple(p.stride for p in ps)) for r, ps in ranks.items()}
    found = [
        _layout(site, e, a, tuple((d, _parts_of(site, runs)) for d, runs in x.along), takes)
        for a in able
        for takes in (a.cycles_of(einsum_operations(site.program, e)),)
        for x in layouts_along(a, cut, cut=False)
    ]
    found.sort(key=lambda layout: (layout.cycles, *_asked(site, e, layout)))
    # Several layouts of systolic arrays load in several ways. Of broadcast ones cycles say it all,
    # but for what memories beside them have to move for so many Einsums that share loops.
    if found[0].array.operands != "broadcast":
        return found[:_LAYOUTS]
    return [x for x in found if x.cycles <= _NEARLY * found[0].cycles][
        : None if site.stretched else 1
    ]


def _parts_of(site: Site, runs: Iterable[Run]) -> tuple[LoopPart, ...]:
    return tuple(p for rank, strides in runs for p in site.parts(rank) if p.stride in strides)


def _asked(site: Site, e: Einsum, layout: ArrayLayout) -> tuple[int, int]:
    """Cycles that sums come late, and operands that are read at a time."""
    late = {d.name: d.reduction_latency_cycles for d in layout.array.dimensions}
    result = site.ranks_of(e.target)
    reduced = (late[d] for d, ranks in layout.laid.along if ranks - result)
    wide = {
        r: prod(p.count for p in site.parts(r) if p.name in layout.names) for r in site.ranks(e)
    }
    return sum(reduced), sum(prod(wide[r] for r in site.ranks_of(a)) for a in e.reads)


def _layout(
    site: Site, e: Einsum, array: ProcessingArray, along: _Along, point_cycles: Fraction
) -> ArrayLayout:
    laid = Laid(
        array=array,
        along=tuple((d, frozenset(p.rank for p in parts)) for d, parts in along),
        reads=tuple(site.ranks_of(a) for a in e.reads),
        result=site.ranks_of(e.target),
        point_cycles=point_cycles,
    )
    wide = dict.fromkeys(site.ranks(e), 1)
    for part in (p for _, parts in along for p in parts):
        wide[part.rank] *= part.count
    rounds = {r: -(-site.shapes[r] // n) for r, n in wide.items()}
    return ArrayLayout(
        array=array,
        along=tuple((d, tuple(p.name for p in parts)) for d, parts in along),
        laid=laid,
        rounds=rounds,
        cycles=laid.least_cycles([*rounds.items()]),
    )


def _filling(site: Site, e: Einsum, parts: tuple[LoopPart, ...]) -> tuple[Fraction, int]:
    """What an axis is best filled with: most coordinates of a rank and, of as many, those of one
    that fewer tensors have, as the tiles of all that have it are so much larger."""
    have = [a for a in (*e.reads, e.target) if parts[0].rank in site.ranks_of(a)]
    # 100 coordinates in rounds of 64 are 50 a round; in rounds of 50 they are as many.
    return _at_once(site, parts), -len(have)


def _at_once(site: Site, parts: tuple[LoopPart, ...]) -> Fraction:
    """Coordinates of a rank in a round on average: its last tile may be a sliver."""
    size = site.shapes[parts[0].rank]
    return Fraction(size, -(-size // prod(p.count for p in parts)))


def layable(site: Site, e: Einsum) -> frozenset[str]:
    """Ranks that may run side by side: no running ones, none with an own part inside."""
    return site.program.memo(_with_none_inside, site.ranks(e)) - site.unlayable(e.name)


def _with_none_inside(program: Program, ranks: tuple[str, ...]) -> frozenset[str]:
    """Those of some ranks of which no part inside is among them."""
    mine = frozenset(ranks)
    return mine - {
        member
        for rank in program.ranks
        for place, member in enumerate(rank.partition)
        if mine & {*rank.partition[place + 1 :]}
    }


def _fitting(
    site: Site, ranks: Iterable[str], room: int, *, whole: bool
) -> list[tuple[LoopPart, ...]]:
    """Of every rank the parts that fit, if more than one coordinate does."""
    found: list[tuple[LoopPart, ...]] = []
    for rank in ranks:
        parts, wide = site.within(rank, room)
        if parts and (wide >= site.shapes[rank] or not whole):
            found.append(parts)
    return found
