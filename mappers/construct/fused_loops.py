"""Candidates for the shared loops of a fused mapping, also for Einsums that gather."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod

from einsum_cascade.ir import Einsum, Gather, Program

from ..space.array_tiles import outer_parts_first
from . import policy
from .context import LoopPart, MappingContext, gathers

EXTRAS = tuple(
    (extras, fine, apart)
    for apart in (False, True)
    for extras, fine in ((0, False), (1, False), (1, True), (2, False), (2, True))
)
"""Stages of the search for shared loops, from the coarsest to the finest.

A stage is a tuple of three settings. The first is the number of optional ranks with shared loops.
The second tells whether these loops go over single coordinates. The third tells whether Einsums
outside of all shared loops may use the outermost memory alone.
"""

Structure = tuple[tuple[tuple[str, bool], ...], tuple[str, ...], bool, bool, bool]
"""Description of shared loops that ignores their sizes; see ``SharedLoops.structure``."""


Turning = frozenset[tuple[str, str]]
"""Pairs of an Einsum and a rank: the Einsum takes the ``close`` loops over this rank."""


@dataclass(frozen=True, kw_only=True)
class SharedLoops:
    """One choice of the loops that Einsums share, outermost first."""

    loops: tuple[LoopPart, ...]
    close: frozenset[str] = frozenset()
    """Names of loops that only Einsums listed in ``turning`` take."""
    turning: Turning = frozenset()
    """Pairs of an Einsum and a rank, for Einsums that take the ``close`` loops over that rank."""
    heads: int
    """Number of outermost loops over ranks that all results have, such as heads."""
    extra: tuple[str, ...] = ()
    """Ranks whose loops are shared although no dependence requires it."""
    apart: bool = False
    """True if Einsums outside of all these loops read and write the outermost memory."""
    carrying: bool = False
    """True if the loops go over all steps of a state, so that an array may hold the state."""
    streamed: bool = False
    """True if Einsums that take only the first ``heads`` loops use the outermost memory too."""

    @property
    def structure(self) -> Structure:
        """Description of the loops that ignores their sizes.

        It lists the inner ranks, and whether each goes down to single coordinates. Then come the
        optional ranks and three flags: some loops are ``close``, Einsums are ``apart``, operands
        are ``streamed``.
        """
        inner = dict.fromkeys((p.rank, p.stride == 1) for p in self.loops[self.heads :])
        return tuple(inner), self.extra, bool(self.close), self.apart, self.streamed

    def is_alone(self, around: frozenset[str]) -> bool:
        """Return whether an Einsum inside of some loops uses the outermost memory by itself."""
        if not self.streamed:
            return self.apart and not around
        return around <= {p.name for p in self.loops[: self.heads]}

    def around(self, context: MappingContext, e: Einsum) -> frozenset[str]:
        """Return the names of the shared loops around an Einsum.

        The Einsum is inside of all loops before the first one that it does not take. It takes no
        loop over a rank that it lacks.
        """
        ranks = {*context.ranks(e)}
        found: list[str] = []
        # Loops over H, P1, M1: an Einsum without M is inside of H and P1. One without P is inside
        # of H alone, even if it has M, as it is done before P1 begins.
        for part in self.loops:
            if part.rank not in ranks:
                break
            if part.name in self.close and (e.name, part.rank) not in self.turning:
                break
            found.append(part.name)
        return frozenset(found)


def _turning(context: MappingContext) -> list[Turning]:
    """Return the choices of pairs (Einsum, rank) for the loops over single steps.

    An Einsum takes these loops if it is in a dependence cycle along the rank, reads a running
    value, or lies between such Einsums. The first choice examines each rank alone. The second gives
    all loops to each Einsum that has some, or is between such Einsums.
    """
    along = {rank: _turning_along(context, rank) for rank in steps_of(context)}
    each = frozenset((name, rank) for rank, names in along.items() for name in names)
    between = _between(context.program, {name for name, _ in each})
    return [*dict.fromkeys((each, frozenset((n, r) for n in between for r in along)))]


def _turning_along(context: MappingContext, rank: str) -> frozenset[str]:
    """Return the Einsums that run step by step along one rank.

    They carry or read a running value along the rank, or lie between Einsums that do.
    """
    program = context.program
    iterative = {n for g in context.groups for n in g if rank in program.iterative.get(n, ())}
    shared = [g for g in context.groups if len(g) > 1 and not iterative.isdisjoint(g)]
    stepped = {name for g in shared for name in g}
    running = stepped & iterative
    reading = {
        e.name
        for e in program.einsums
        if any(a.tensor in running and rank.lower() in a.variables for a in e.reads)
    }
    return _between(program, stepped | reading)


def _between(program: Program, names: set[str]) -> frozenset[str]:
    """Return the named Einsums, and all Einsums on a dependence path between two of them."""
    before, after = reaching(program, names, back=True), reaching(program, names, back=False)
    return frozenset(names | (before & after))


def reaching(program: Program, names: set[str], *, back: bool) -> set[str]:
    """Return all Einsums that the named ones depend on, or all that depend on the named ones.

    Parameters
    ----------
    program : Program
    names : set of str
        Names of the Einsums to begin with.
    back : bool
        True for the Einsums that the named ones depend on.
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


def _blocks(context: MappingContext, rank: str, *, fine: bool) -> tuple[LoopPart, ...]:
    """Return a rank's loops over blocks, without the loop over single coordinates.

    That loop is included if ``fine``, or if the rank has no other one.
    """
    parts = context.parts(rank)
    return parts if fine else parts[:-1] or parts


def plans_of(
    context: MappingContext,
    extras: int,
    *,
    fine: bool = False,
    apart: bool = False,
    outer: int | None = None,
) -> Iterator[SharedLoops]:
    """Yield choices of shared loops with a given number of optional ranks.

    The outermost loops are over ranks that all results have, such as heads and sequences. All of
    these ranks are taken, or the parallel ones only. If values run along another rank, all except
    the last are tried too, and none. Heads that stay inside fill the arrays while a step waits for
    the one before. Next come optional ranks, in blocks as large as an array is wide, or single
    coordinates if ``fine``. Innermost are ranks along which Einsums depend on one another.

    Parameters
    ----------
    context : MappingContext
        Context with its ranks cut for the arrays.
    extras : int
        Number of optional ranks, none to two.
    fine : bool
        True if loops go over single coordinates of the optional ranks.
    apart : bool
        True if Einsums outside of all shared loops go through the outermost memory.
    outer : int, optional
        Number of loops over blocks that are taken, the outermost first; all by default. Where
        arrays have several widths, fewer loops make larger blocks.
    """
    program = context.program
    everyones, stepped, others = context.memo(_ranks)
    turnings = _turning(context)
    closes = [frozenset(), *_inner_steps(context, stepped)]
    heads = heads_of(context)
    if stepped:
        heads += [_round(context, everyones[:-1]), ()]
    if context.fitted:
        # Of the last rank as many coordinates stay inside as fill the arrays.
        heads = [(*_round(context, everyones[:-1]), *context.parts(r)[:1]) for r in everyones[-1:]]
    others = others[: policy.MAX_OPTIONAL_RANKS]
    running = {r for ranks in program.iterative.values() for r in ranks}
    for extra in combinations(others, extras):
        gone_round = {*stepped, *extra}
        # With all heads inside of the steps, operands that heads share arrive once, and stretches
        # of heads side by side fill the arrays.
        inside = context.fitted and context.stretched and gone_round and gone_round <= running
        blocks = [p for r in extra for p in _blocks(context, r, fine=fine)[:outer]]
        around = dict.fromkeys((*heads, ()) if inside else heads)
        for close, first, steps in product(dict.fromkeys(closes), around, _orders(context)):
            loops = (*first, *(p for p in (*blocks, *steps) if p.count > 1))
            depth = len(first)
            for turning in turnings if close else turnings[:1]:
                yield SharedLoops(
                    loops=loops, close=close, turning=turning, heads=depth, extra=extra, apart=apart
                )


def _orders(context: MappingContext) -> Iterator[tuple[LoopPart, ...]]:
    """Yield the loops over all steps in two orders: the most common rank outermost, or innermost.

    The order matters if keys change step by step while softmax goes from one block of keys to the
    next. Either all steps of a block run before the next block, or all blocks before the next step.
    In the second order all keys arrive at each step.
    """
    stepped = steps_of(context)
    for ranks in dict.fromkeys((stepped, stepped[::-1])):
        yield tuple(p for r in outer_parts_first(context.program, ranks) for p in context.parts(r))


def _inner_steps(context: MappingContext, stepped: Iterable[str]) -> list[frozenset[str]]:
    """Return two sets of inner loops over steps; only Einsums that run step by step take them.

    All other Einsums process whole blocks. Blocks are as long as the narrowest array is wide in the
    first set, and as long as the widest in the second.
    """
    cut = [parts for r in stepped if len(parts := context.parts(r)) > 1]
    shortest = frozenset(parts[-1].name for parts in cut)
    return [shortest, frozenset(p.name for parts in cut for p in parts[1:])]


def plans_with_others_outside(context: MappingContext) -> Iterator[SharedLoops]:
    """Yield shared loops over steps that have all heads inside and some Einsums outside.

    The Einsums outside use the outermost memory. If heads ran one after the other instead, all
    tensors might fit inner memories. But each head would then wait for its own steps.
    """
    if steps_of(context):
        for plan in plans_of(context, 0, apart=True):
            around = (plan.around(context, e) for e in context.program.einsums)
            if not plan.heads and any(map(plan.is_alone, around)):
                yield plan


def unrolled_plans(context: MappingContext, rank: str) -> list[SharedLoops]:
    """Return plans for contexts that place some coordinates of a rank side by side on an array.

    Loops go over the other coordinates of the rank. Einsums share these loops if sharing is
    optional for the rank.
    """
    plans = [*plans_of(context, 0), *plans_of(context, 1, outer=1)]
    heads = {p.rank for plan in plans for p in plan.loops[: plan.heads]}
    return [p for p in plans if rank in heads or p.extra == (rank,)]


def carrying_plans(context: MappingContext) -> Iterator[SharedLoops]:
    """Yield loops over all steps of a state that other Einsums read step by step.

    Around them are loops over blocks of one rank of the state, or none. An array thus keeps its
    block of the state from step to step. A state of 256 x 512 exceeds an array of 256 x 256
    processing elements. It goes through memory at every step, but not if it is processed in two
    halves, one after the other.
    """
    program = context.program
    everyones, stepped, _ = context.memo(_ranks)
    for e in program.einsums:
        running = program.iterative.get(e.name, ())
        if len(running) != 1 or running[0] in (*stepped, *everyones):
            continue
        (rank,) = running
        state = [r for r in context.ranks(e) if r not in (rank, *everyones, *program.parallel)]
        others = (a for x in program.einsums if x is not e for a in x.reads if a.tensor == e.name)
        if not state or not any(rank.lower() in a.variables for a in others):
            continue
        steps = [p for r in outer_parts_first(program, [rank]) for p in context.parts(r)]
        for extra in (None, *(r for r in state if len(context.parts(r)) > 1)):
            blocks = () if extra is None else context.parts(extra)[:-1]
            for around in dict.fromkeys(heads_of(context)):
                loops = (*around, *(p for p in (*blocks, *steps) if p.count > 1))
                ranks = (rank,) if extra is None else (extra, rank)
                yield SharedLoops(loops=loops, heads=len(around), extra=ranks, carrying=True)


def streamed_plans(
    context: MappingContext,
) -> Iterator[Iterator[tuple[MappingContext, SharedLoops]]]:
    """Yield, for each rank of a state, loops over halves of the rank, quarters, and so on.

    These loops are inside of heads and outside of steps. Einsums without the rank use the outermost
    memory by themselves. For example, a state of 256 x 256 and its increment together exceed 160
    KiB. A quarter of both fits. The keys of all steps lack the rank, so they are read again for
    each quarter.
    """
    everyones, stepped, _ = context.memo(_ranks)
    running = (e for e, along in context.program.iterative.items() if {*along} & {*stepped})
    state = dict.fromkeys(
        r for name in running for r in context.ranks(context.program.einsum_of[name])
    )
    for rank in (r for r in state if r not in (*everyones, *stepped)):
        halves = (context.shapes[rank] >> n for n in range(1, context.shapes[rank].bit_length()))
        yield (
            (cut, replace(plan, streamed=True))
            for cut in (replace(context, blocks={rank: (size,)}) for size in halves)
            for plan in plans_of(cut, 1, outer=1)
            if plan.heads and plan.extra == (rank,)
        )


def coarser_plans(context: MappingContext) -> Iterator[Iterator[SharedLoops]]:
    """Yield, for each optional rank, plans of loops over larger blocks, largest blocks first."""
    found: dict[tuple[object, ...], list[SharedLoops]] = {}
    for outer in range(1, len(context.strides)):
        for plan in plans_of(context, 1, outer=outer):
            if len(_blocks(context, plan.extra[0], fine=False)) > outer:
                key = plan.extra, plan.close, plan.loops[: plan.heads]
                found.setdefault(key, []).append(plan)
    yield from map(iter, found.values())


def heads_of(context: MappingContext) -> list[tuple[LoopPart, ...]]:
    """Return two choices of outermost loops: over all ranks that every result has, or over the
    parallel ones among these."""
    everyones, _, _ = context.memo(_ranks)
    carried = [r for r in everyones if r in context.program.parallel]
    return [_round(context, ranks) for ranks in (everyones, carried)]


def steps_of(context: MappingContext) -> tuple[str, ...]:
    """Return the ranks along which Einsums depend on one another from step to step."""
    return context.memo(_ranks)[1]


def free_ranks(context: MappingContext) -> tuple[str, ...]:
    """Return the ranks whose coordinates may lie side by side on an array while steps run.

    The first is the last rank that all results have. The others are outer members of partitioned
    ranks that all step-by-step Einsums have. No Einsum depends on another along them.
    """
    program = context.program
    everyones, stepped, others = context.memo(_ranks)
    outer = {r.partition[0] for r in program.ranks if r.partition}
    turning = [e for e in program.einsums if any(e.name in g for g in context.groups if len(g) > 1)]
    found = [r for r in others if r in outer and all(r in context.ranks(e) for e in turning)]
    return (*everyones[-1:], *(r for r in found if r not in stepped))


def _round(context: MappingContext, ranks: Iterable[str]) -> tuple[LoopPart, ...]:
    """Return the loops over some ranks, without loops of a single iteration."""
    return tuple(p for r in ranks for p in context.parts(r) if p.count > 1)


def _ranks(context: MappingContext) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return three groups of ranks: in all results, carrying dependences between steps, optional.

    Optional ranks occur in several Einsums, and no dependence requires them to be shared. The most
    common one comes first.
    """
    program = context.program
    einsums = program.einsums
    often = Counter(rank for e in einsums for rank in context.ranks(e))
    needed = {
        r for g in context.groups if len(g) > 1 for n in g for r in program.iterative.get(n, ())
    }
    stepped = sorted(needed, key=lambda r: (-often[r], r))
    families = {r.name for r in program.ranks if r.family or r.partition}
    masked = frozenset[str]().union(*(context.masked(e.name) for e in einsums))
    everyones = [
        r
        for r in often
        if r in program.parallel
        or (
            r not in needed
            and r not in families
            and r not in masked
            and len(context.parts(r)) == 1
            and all(r.lower() in e.target.variables for e in einsums)
        )
    ]
    # A loop of one Einsum alone would share nothing.
    others = [
        r
        for r in often
        if r not in everyones
        and r not in needed
        and often[r] > 1
        and (len(context.parts(r)) > 1 or 1 < context.shapes[r] <= policy.MAX_SHORT_RANK)
    ]
    # Tiles that a cascade cuts are blocks by themselves, however few they are.
    tiles = {r.partition[0] for r in program.ranks if r.partition}
    others.sort(key=lambda r: (len(context.parts(r)) == 1 and r not in tiles, -often[r]))
    return tuple(everyones), tuple(stepped), tuple(others)


def gathering_einsums(program: Program) -> frozenset[str]:
    """Return the Einsums that gather, those between two of them, and those that read only these."""
    found = _between(program, {e.name for e in program.einsums if any(map(gathers, e.reads))})
    for e in program.einsums:
        if found and {a.tensor for a in e.reads} <= found:
            found |= {e.name}
    return found


def gathering_ranks(context: MappingContext, names: frozenset[str]) -> list[str]:
    """Return the ranks along which gathered indices change, if all Einsums' results have them."""
    einsums = [e for e in context.program.einsums if e.name in names]
    moved = dict.fromkeys(
        v
        for e in einsums
        for a in e.reads
        for index in a.indices
        if isinstance(index, Gather)
        for v in index.access.variables
    )
    own = {r.name for r in context.program.ranks if r.family or r.partition}
    ranks = [v.upper() for v in moved if all(v in e.target.variables for e in einsums)]
    able = (r for r in ranks if r not in own and r not in context.program.parallel)
    return [r for r in able if context.shapes[r] > 1][: policy.MAX_GATHERING_RANKS]


def independent_einsums(program: Program, among: frozenset[str]) -> frozenset[str]:
    """Return the Einsums that no gathering Einsum needs and that need no gathering Einsum.

    An example is attention to a window beside attention to gathered blocks.
    """
    before, after = (reaching(program, {*among}, back=back) for back in (True, False))
    return frozenset(e.name for e in program.einsums) - before - after


BlocksAndLoops = tuple[MappingContext, list[SharedLoops]]
"""A context whose ranks are cut into blocks, and plans of shared loops over these blocks."""


def blocks_for_gathers(context: MappingContext) -> Iterator[Iterator[list[BlocksAndLoops]]]:
    """Yield, for each gathering rank, contexts cut into blocks, with plans of loops over them.

    Large blocks come first. All Einsums share the loops, or only the Einsums that gather.

    Parameters
    ----------
    context : MappingContext
        Context with its ranks cut for the arrays.
    """
    among = gathering_einsums(context.program)
    for rank in gathering_ranks(context, among) if among else ():
        yield _from_large_to_small(context, rank, among)


def _from_large_to_small(
    context: MappingContext, rank: str, among: frozenset[str]
) -> Iterator[list[BlocksAndLoops]]:
    independent = independent_einsums(context.program, among)
    # The largest power of two that fits: of 1,000 queries, 500 of which fit, 256. One block of all
    # of them would be no loop. 0, which fits nowhere, stays 0.
    size = 1 << (min(context.shapes[rank] - 1, _most(context, rank, among))).bit_length() >> 1
    while size:
        found = [_in_blocks(context, rank, (size,), among)]
        if independent:
            finer = (size // n for n in policy.FINER_BLOCK_FACTORS if size >= n)
            found += [_in_blocks(context, rank, (fine, size), independent) for fine in finer]
        yield found
        size //= 2


def _most(context: MappingContext, rank: str, among: frozenset[str]) -> int:
    """Return how many coordinates of a rank fit the second memory.

    The largest result of a gathering Einsum decides, for one head and sequence. Larger blocks need
    not be tried.
    """
    capacity = context.architecture.memories[1].capacity_bytes
    if capacity is None:
        return context.shapes[rank]
    einsums = (e for e in context.program.einsums if e.name in among)
    bytes_of_one = max(
        context.architecture.word_bytes
        * context.words.of(e.name)
        * prod(context.shapes[v.upper()] for v in e.target.variables if v.upper() != rank)
        for e in einsums
    )
    return int(capacity / bytes_of_one)


def _in_blocks(
    context: MappingContext, rank: str, sizes: tuple[int, ...], taking: frozenset[str]
) -> BlocksAndLoops:
    """Return plans of loops over blocks of a rank, perhaps with finer blocks for some Einsums.

    Parameters
    ----------
    sizes : tuple of int
        Size of the blocks. All Einsums share the loops, or only the Einsums in ``taking``. Or the
        size of finer blocks and that of blocks: all Einsums share the loops over blocks. The
        Einsums in ``taking``, independent of gathers, take the finer loops too. Otherwise they
        would take memory that gathers need.
    """
    *finer, size = sizes
    cut = replace(context, blocks={rank: sizes})
    blocks = tuple(p for p in cut.parts(rank) if p.stride >= sizes[0] and p.count > 1)
    names = frozenset(p.name for p in blocks)
    inner = frozenset(p.name for p in blocks if p.stride < size)
    return cut, [
        SharedLoops(
            loops=(*heads, *blocks),
            close=close,
            turning=frozenset((name, rank) for name in taking),
            heads=len(heads),
            extra=(rank,),
            apart=bool(close) and not finer,
        )
        for heads in dict.fromkeys(heads_of(cut))
        for close in ([inner] if finer else [inner, names])
    ]
