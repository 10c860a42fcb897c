"""Which loops the Einsums of a cascade may share: a few promising choices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

from einsum_cascade.ir import Einsum, Program

from ..sites import LoopPart, Site
from ..space.array_tiles import outer_parts_first

_SHORT = 64
"""Coordinates of ranks that arrays take whole, up to which their loops are shared, too."""

_MOST = 4
"""Ranks beside those that have to be shared, of which one is taken, too."""


EXTRAS = tuple(
    (extras, fine, apart)
    for apart in (False, True)
    for extras, fine in ((0, False), (1, False), (1, True), (2, False), (2, True))
)
"""How many ranks that need not be shared have loops that are, and whether by one coordinate;
whether Einsums that are in no shared loop may go through the outermost memory by themselves."""

Structure = tuple[tuple[tuple[str, bool], ...], tuple[str, ...], bool, bool, bool]
"""Choices of shared loops that differ in sizes alone have the same one."""


Turning = frozenset[tuple[str, str]]
"""Einsums, and ranks whose loops they go round even where others do not."""


@dataclass(frozen=True, kw_only=True)
class SharedLoops:
    """Loops that Einsums share, outermost first."""

    loops: tuple[LoopPart, ...]
    close: frozenset[str]
    """Those that only the ``turning`` Einsums go round."""
    turning: Turning
    """Einsums that need one another from step to step of a rank, or their running values."""
    heads: int
    """How many of the first loops are over ranks that all results have."""
    extra: tuple[str, ...] = ()
    """The ranks that need not be shared."""
    apart: bool = False
    """Whether Einsums that are in none of the loops go through the outermost memory."""
    carrying: bool = False
    """Whether they go over all steps of a state, so that arrays may hold it."""
    streamed: bool = False
    """Whether those do, too, that are in no loops but the first over ranks that all have."""

    @property
    def structure(self) -> Structure:
        """Ranks of the loops inside of those that all results have, and whether down to single
        coordinates, those of them that need not be shared, whether some Einsums only turn in them,
        and which are apart."""
        inner = dict.fromkeys((p.rank, p.stride == 1) for p in self.loops[self.heads :])
        return tuple(inner), self.extra, bool(self.close), self.apart, self.streamed

    def is_alone(self, around: frozenset[str]) -> bool:
        """Whether an Einsum in these of the loops goes through the outermost memory by itself."""
        if not self.streamed:
            return self.apart and not around
        return around <= {p.name for p in self.loops[: self.heads]}

    def around(self, site: Site, e: Einsum) -> frozenset[str]:
        """The loops that an Einsum is in: those down to the first over a rank that it lacks."""
        ranks = {*site.ranks(e)}
        found: list[str] = []
        # Loops over H, P1, M1: what has no M is inside of H and P1 alone; what has no P is inside
        # of H alone, even if it has M, for it is done before P1 goes round.
        for part in self.loops:
            if part.rank not in ranks:
                break
            if part.name in self.close and (e.name, part.rank) not in self.turning:
                break
            found.append(part.name)
        return frozenset(found)


def _turning(site: Site) -> list[Turning]:
    """Einsums that need one another from step to step, those that read their running values one
    by one, and what is between them: along each rank, and where several have some, those along
    any of them in the loops over all, too."""
    along = {rank: _turning_along(site, rank) for rank in steps_of(site)}
    each = frozenset((name, rank) for rank, names in along.items() for name in names)
    between = _between(site.program, {name for name, _ in each})
    return [*dict.fromkeys((each, frozenset((n, r) for n in between for r in along)))]


def _turning_along(site: Site, rank: str) -> frozenset[str]:
    """The same along one rank alone."""
    program = site.program
    stepped = {
        name
        for g in site.groups
        if len(g) > 1 and any(rank in program.iterative.get(n, ()) for n in g)
        for name in g
    }
    running = {n for n in stepped if rank in program.iterative.get(n, ())}
    reading = {
        e.name
        for e in program.einsums
        if any(a.tensor in running and rank.lower() in a.variables for a in e.reads)
    }
    return _between(program, stepped | reading)


def _between(program: Program, names: set[str]) -> frozenset[str]:
    """Einsums, and those that need some of them and that others of them need."""
    before, after = reaching(program, names, back=True), reaching(program, names, back=False)
    return frozenset(names | (before & after))


def reaching(program: Program, names: set[str], *, back: bool) -> set[str]:
    """Einsums that some need, or that need them.

    Parameters
    ----------
    program : Program
    names : set of str
        Of the Einsums to begin with.
    back : bool
        Whether what they need is asked for.
    """
    needs = {e.name: {a.tensor for a in e.reads} for e in program.einsums}
    found, waiting = set[str](), [*names]
    while waiting:
        name = waiting.pop()
        near = needs[name] if back else {n for n, read in needs.items() if name in read}
        new = (near & needs.keys()) - found
        found |= new
        waiting += new
    return found


def _blocks(site: Site, rank: str, *, fine: bool) -> tuple[LoopPart, ...]:
    """The loops over the blocks of a rank, or over all of a short one or a ``fine`` one."""
    parts = site.parts(rank)
    return parts if fine else parts[:-1] or parts


def plans_of(
    site: Site, extras: int, *, fine: bool, apart: bool, outer: int | None = None
) -> Iterator[SharedLoops]:
    """Choices of shared loops, of so many ranks that need not be shared.

    Outermost are ranks that all results have, heads and sequences; all of them, or all but the
    last, or none where values run along another rank: heads that are left inside fill the arrays
    while one step waits for the other. Then ranks that need not be shared, in blocks as large as
    an array is wide or ``fine`` ones of one coordinate, and those along which Einsums need one
    another. Of arrays of several widths that is the least; blocks are larger under the ``outer``
    loops over them alone.

    Parameters
    ----------
    site : Site
        With its ranks cut for the arrays.
    extras : int
        Ranks that need not be shared, none to two.
    fine : bool
        Whether these are gone round coordinate by coordinate.
    apart : bool
        Whether Einsums that are in no shared loop go through the outermost memory.
    outer : int, optional
        How many of the loops over blocks are taken, the outermost first; all by default.
    """
    program = site.program
    everyones, stepped, others = site.memo(_ranks)
    turnings = _turning(site)
    closes = [frozenset(), *_inner_steps(site, stepped)]
    heads = heads_of(site)
    if stepped:
        heads += [_round(site, everyones[:-1]), ()]
    if site.fitted:
        # Of the last rank as many coordinates inside as fill the arrays.
        heads = [(*_round(site, everyones[:-1]), *site.parts(r)[:1]) for r in everyones[-1:]]
    others = others[:_MOST]
    running = {r for ranks in program.iterative.values() for r in ranks}
    for extra in combinations(others, extras):
        gone_round = {*stepped, *extra}
        # What heads share comes in once where all of them are inside of steps alone, and stretches
        # of them side by side fill the arrays.
        inside = site.fitted and site.stretched and gone_round and gone_round <= running
        blocks = [p for r in extra for p in _blocks(site, r, fine=fine)[:outer]]
        around = dict.fromkeys((*heads, ()) if inside else heads)
        for close, first, steps in product(dict.fromkeys(closes), around, _orders(site)):
            loops = (*first, *(p for p in (*blocks, *steps) if p.count > 1))
            for turning in turnings if close else turnings[:1]:
                yield SharedLoops(
                    loops=loops,
                    close=close,
                    turning=turning,
                    heads=len(first),
                    extra=extra,
                    apart=apart,
                )


def _orders(site: Site) -> Iterator[tuple[LoopPart, ...]]:
    """Loops over all steps, those outermost along which most Einsums go, or those innermost.

    Where keys are turned step by step, and softmax goes from block to block of keys, the steps of
    a block of keys may follow one another, or the blocks of keys of a step: then all keys come in
    at each step.
    """
    stepped = steps_of(site)
    for ranks in dict.fromkeys((stepped, stepped[::-1])):
        yield tuple(p for r in outer_parts_first(site.program, ranks) for p in site.parts(r))


def _inner_steps(site: Site, stepped: Iterable[str]) -> list[frozenset[str]]:
    """Loops over steps inside of blocks that Einsums which do not wait from step to step take
    whole: of blocks as long as the narrowest array is wide, and as long as the widest."""
    cut = [parts for r in stepped if len(parts := site.parts(r)) > 1]
    shortest = frozenset(parts[-1].name for parts in cut)
    return [shortest, frozenset(p.name for parts in cut for p in parts[1:])]


def plans_with_others_outside(site: Site) -> Iterator[SharedLoops]:
    """Loops over steps with all heads inside, and what is not in these through the outermost
    memory by itself.

    Of one head after the other inner memories may have room for all of it, but each waits for its
    own steps.
    """
    if steps_of(site):
        for plan in plans_of(site, 0, fine=False, apart=True):
            around = (plan.around(site, e) for e in site.program.einsums)
            if not plan.heads and any(map(plan.is_alone, around)):
                yield plan


def carrying_plans(site: Site) -> Iterator[SharedLoops]:
    """Loops over all steps of states that others read step by step, inside of those over blocks of
    one rank of the state, or of none: what an array holds of it stays there from step to step.

    A state of 256 x 512 on 256 x 256 elements goes through the memory beside them at every step; in
    two halves, one after the other, it does not.
    """
    program = site.program
    everyones, stepped, _ = site.memo(_ranks)
    for e in program.einsums:
        running = program.iterative.get(e.name, ())
        if len(running) != 1 or running[0] in (*stepped, *everyones):
            continue
        (rank,) = running
        state = [r for r in site.ranks(e) if r not in (rank, *everyones, *program.parallel)]
        others = (a for x in program.einsums if x is not e for a in x.reads if a.tensor == e.name)
        if not state or not any(rank.lower() in a.variables for a in others):
            continue
        steps = [p for r in outer_parts_first(program, [rank]) for p in site.parts(r)]
        for extra in (None, *(r for r in state if len(site.parts(r)) > 1)):
            blocks = () if extra is None else site.parts(extra)[:-1]
            for around in dict.fromkeys(heads_of(site)):
                loops = (*around, *(p for p in (*blocks, *steps) if p.count > 1))
                yield SharedLoops(
                    loops=loops,
                    close=frozenset(),
                    turning=frozenset(),
                    heads=len(around),
                    extra=(rank,) if extra is None else (extra, rank),
                    carrying=True,
                )


def streamed_plans(site: Site) -> Iterator[Iterator[tuple[Site, SharedLoops]]]:
    """Loops over the blocks of a rank, inside of heads and outside of steps, with what lacks the
    rank through the outermost memory by itself: for each rank of a state that need not be shared
    blocks of a half of it, a quarter, and so on.

    A state of 256 x 256 has no room in 160 KiB beside what is added to it; a quarter of it has, and
    the keys of all steps, which have no such part, are gone through for each.
    """
    everyones, stepped, _ = site.memo(_ranks)
    running = (e for e, along in site.program.iterative.items() if {*along} & {*stepped})
    state = dict.fromkeys(r for name in running for r in site.ranks(site.program.einsum_of[name]))
    for rank in (r for r in state if r not in (*everyones, *stepped)):
        halves = (site.shapes[rank] >> n for n in range(1, site.shapes[rank].bit_length()))
        yield (
            (cut, replace(plan, streamed=True))
            for cut in (replace(site, blocks={rank: (size,)}) for size in halves)
            for plan in plans_of(cut, 1, fine=False, apart=False, outer=1)
            if plan.heads and plan.extra == (rank,)
        )


def coarser_plans(site: Site) -> Iterator[Iterator[SharedLoops]]:
    """The same with loops over larger blocks of one rank, for each rank and way to share them those
    over the largest blocks first."""
    found: dict[tuple[object, ...], list[SharedLoops]] = {}
    for outer in range(1, len(site.strides)):
        for plan in plans_of(site, 1, fine=False, apart=False, outer=outer):
            if len(_blocks(site, plan.extra[0], fine=False)) > outer:
                key = plan.extra, plan.close, plan.loops[: plan.heads]
                found.setdefault(key, []).append(plan)
    yield from map(iter, found.values())


def heads_of(site: Site) -> list[tuple[LoopPart, ...]]:
    """Loops over all ranks that all results have, or over those alone that are parallel."""
    everyones, _, _ = site.memo(_ranks)
    carried = [r for r in everyones if r in site.program.parallel]
    return [_round(site, ranks) for ranks in (everyones, carried)]


def steps_of(site: Site) -> tuple[str, ...]:
    """Ranks along which Einsums need one another."""
    return site.memo(_ranks)[1]


def free_ranks(site: Site) -> tuple[str, ...]:
    """The last rank that all results have, and outer parts of ranks that the cascade cuts along
    which no Einsum needs another, those that all steps have."""
    program = site.program
    everyones, stepped, others = site.memo(_ranks)
    outer = {r.partition[0] for r in program.ranks if r.partition}
    turning = [e for e in program.einsums if any(e.name in g for g in site.groups if len(g) > 1)]
    found = [r for r in others if r in outer and all(r in site.ranks(e) for e in turning)]
    return (*everyones[-1:], *(r for r in found if r not in stepped))


def _round(site: Site, ranks: Iterable[str]) -> tuple[LoopPart, ...]:
    """All loops over some ranks that go round."""
    return tuple(p for r in ranks for p in site.parts(r) if p.count > 1)


def _ranks(site: Site) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Ranks that all results have, those along which Einsums need one another, and others that
    several Einsums go over, what most have first."""
    program = site.program
    einsums = program.einsums
    often: dict[str, int] = {}
    for e in einsums:
        for rank in site.ranks(e):
            often[rank] = often.get(rank, 0) + 1
    needed = {r for g in site.groups if len(g) > 1 for n in g for r in program.iterative.get(n, ())}
    stepped = sorted(needed, key=lambda r: (-often.get(r, 0), r))
    families = {r.name for r in program.ranks if r.family or r.partition}
    masked = frozenset[str]().union(*(site.masked(e.name) for e in einsums))
    everyones = [
        r
        for r in often
        if r in program.parallel
        or (
            r not in needed
            and r not in families
            and r not in masked
            and len(site.parts(r)) == 1
            and all(r.lower() in e.target.variables for e in einsums)
        )
    ]
    # A loop that one Einsum alone would go round shares nothing.
    others = [
        r
        for r in often
        if r not in everyones
        and r not in needed
        and often[r] > 1
        and (len(site.parts(r)) > 1 or 1 < site.shapes[r] <= _SHORT)
    ]
    # Tiles that a cascade cuts are blocks by themselves, however few they are.
    tiles = {r.partition[0] for r in program.ranks if r.partition}
    others.sort(key=lambda r: (len(site.parts(r)) == 1 and r not in tiles, -often[r]))
    return tuple(everyones), tuple(stepped), tuple(others)
