"""Loops around Einsums that read what was picked, in blocks of what picks.

Queries that each pick their keys share those that they pick again: a block of queries that picks
more often than there are keys brings each key once. The more queries there are in a block, the
less comes in, and the fewer there are, the more room is left to what is handed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from einsum_cascade.ir import Gather, Program

from ..picked import gathers
from ..sites import Site
from .plans import SharedLoops, heads_of, reaching

_FINER = (4, 8)
"""How many times finer the blocks are in which goes round what has nothing to do with picks."""

_RANKS = 2
"""Ranks that move picks, of which blocks are made."""


def among_picks(program: Program) -> frozenset[str]:
    """Einsums that read what was picked, those between them, and what is made of these alone."""
    found = {e.name for e in program.einsums if any(map(gathers, e.reads))}
    before, after = (reaching(program, found, back=back) for back in (True, False))
    found |= before & after
    for e in program.einsums:
        if found and {a.tensor for a in e.reads} <= found:
            found.add(e.name)
    return frozenset(found)


def ranks_that_pick(site: Site, names: frozenset[str]) -> list[str]:
    """Ranks that all of these Einsums' results have, and along which picks move."""
    einsums = [e for e in site.program.einsums if e.name in names]
    moved = dict.fromkeys(
        v
        for e in einsums
        for a in e.reads
        for index in a.indices
        if isinstance(index, Gather)
        for v in index.access.variables
    )
    own = {m for r in site.program.ranks if r.family or r.partition for m in (r.name, *r.partition)}
    ranks = [v.upper() for v in moved if all(v in e.target.variables for e in einsums)]
    able = (r for r in ranks if r not in own and r not in site.program.parallel)
    return [r for r in able if site.shapes[r] > 1][:_RANKS]


def beside_picks(program: Program, among: frozenset[str]) -> frozenset[str]:
    """Einsums that need nothing of what is ``among`` picks, and of which that needs nothing: a
    window beside the blocks that are picked."""
    before, after = (reaching(program, {*among}, back=back) for back in (True, False))
    return frozenset(e.name for e in program.einsums) - before - after


BlocksAndLoops = tuple[Site, list[SharedLoops]]
"""A site cut into blocks, and loops over them."""


def blocks_for_picks(site: Site) -> Iterator[Iterator[list[BlocksAndLoops]]]:
    """Of each rank along which picks move the site cut into blocks, from large to small, and the
    loops over them, shared by all Einsums or by those among the picks alone.

    Parameters
    ----------
    site : Site
        With its ranks cut for the arrays.
    """
    among = among_picks(site.program)
    for rank in ranks_that_pick(site, among) if among else ():
        yield _from_large_to_small(site, rank, among)


def beside_short(site: Site) -> tuple[Site, ...]:
    """A site, and the same with stretches of ranks side by side inside of shared loops.

    Queries fill one side of an array, and the width of a key, half as long as the other, leaves
    room there for as many queries again: of all that they pick from each row comes in once for
    twice as many.
    """
    return site, replace(site, stretched=True, fitted=True)


def _from_large_to_small(
    site: Site, rank: str, among: frozenset[str]
) -> Iterator[list[BlocksAndLoops]]:
    beside = beside_picks(site.program, among)
    # The largest power of two that is no more: of 1,000 queries, 500 of which fit, 256. One block
    # of all of them would be no loop. 0, which fits nowhere, stays 0.
    size = 1 << (min(site.shapes[rank] - 1, _most(site, rank, among))).bit_length() >> 1
    while size:
        found = [_in_blocks(site, rank, size, among)]
        if beside:
            finer = (size // n for n in _FINER if size >= n)
            found += [_in_finer(site, rank, (fine, size), beside) for fine in finer]
        yield found
        size //= 2


def _most(site: Site, rank: str, among: frozenset[str]) -> int:
    """Coordinates of a rank for which the second memory holds the largest result among picks, of
    one head and sequence: no larger blocks need be tried."""
    capacity = site.architecture.memories[1].capacity_bytes
    if capacity is None:
        return site.shapes[rank]
    einsums = (e for e in site.program.einsums if e.name in among)
    bytes_of_one = max(
        site.architecture.word_bytes
        * site.words.of(e.name)
        * prod(site.shapes[v.upper()] for v in e.target.variables if v.upper() != rank)
        for e in einsums
    )
    return int(capacity / bytes_of_one)


def _in_blocks(site: Site, rank: str, size: int, among: frozenset[str]) -> BlocksAndLoops:
    """Loops over blocks, around all Einsums or around those among the picks."""
    cut = replace(site, blocks={rank: (size,)})
    blocks = tuple(p for p in cut.parts(rank) if p.stride >= size and p.count > 1)
    return cut, [
        SharedLoops(
            loops=(*heads, *blocks),
            close=close,
            turning=frozenset((name, rank) for name in among),
            heads=len(heads),
            extra=(rank,),
            apart=bool(close),
        )
        for heads in dict.fromkeys(heads_of(cut))
        for close in (frozenset[str](), frozenset(p.name for p in blocks))
    ]


def _in_finer(
    site: Site, rank: str, sizes: tuple[int, int], beside: frozenset[str]
) -> BlocksAndLoops:
    """Loops over blocks, around all Einsums, and inside over finer ones, around what has nothing
    to do with picks: that would take the room that they need."""
    fine, size = sizes
    cut = replace(site, blocks={rank: (fine, size)})
    blocks = tuple(p for p in cut.parts(rank) if p.stride >= fine and p.count > 1)
    return cut, [
        SharedLoops(
            loops=(*heads, *blocks),
            close=frozenset(p.name for p in blocks if p.stride < size),
            turning=frozenset((name, rank) for name in beside),
            heads=len(heads),
            extra=(rank,),
        )
        for heads in dict.fromkeys(heads_of(cut))
    ]
