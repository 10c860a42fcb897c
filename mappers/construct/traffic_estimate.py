"""Traffic estimate of an Einsum in loops of its own: words each memory moves, and their time."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, pairwise
from math import prod

from archsim.spec.arch import Memory
from einsum_cascade.ir import Access, Einsum

from .context import LoopPart, MappingContext


@dataclass(frozen=True, slots=True)
class LevelLoops:
    """The loops that step through the tiles of a memory, outermost first."""

    memory: Memory
    loops: tuple[LoopPart, ...]


def grown(context: MappingContext, tile: dict[str, int], part: LoopPart) -> int:
    """Coordinates of a rank in a tile with one more loop inside; no more than there are."""
    return min(context.shapes[part.rank], tile[part.rank] * part.count)


@dataclass(frozen=True, slots=True)
class Passed:
    """A tensor as an Einsum touches it, and the memories that it passes."""

    access: Access
    ranks: frozenset[str]
    steps: tuple[tuple[int, int], ...]
    """Each memory that it passes and the next, by their numbers, outermost first."""
    words: Fraction | int
    """Of a value."""
    gathered: bool
    """Whether more than a tile's own words come in."""
    result: bool
    """Whether the Einsum writes it."""
    known: dict[tuple[int, ...], tuple[frozenset[str], Fraction | int]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """What is gathered, by memory and tile: orders of the same loops ask again and again."""

    def coming(
        self,
        context: MappingContext,
        tile: dict[str, int],
        level: LevelLoops,
        number: int,
        *,
        held: bool,
    ) -> tuple[frozenset[str], Fraction | int]:
        """Of what is gathered the ranks that bring other elements to what has a tile, which may be
        ``held`` for others that pick it, and the words that the memory of this number moves."""
        key = (number, held, *[tile[r] for r in self.ranks])
        found = self.known.get(key)
        if found is None:
            moving = context.moving(self.access, tile) if held else self.ranks
            words = context.tile_words(self.access, self.ranks, tile, level.memory)
            found = self.known[key] = (moving, words)
        return found


def _times(parts: list[LoopPart], moving: frozenset[str]) -> tuple[int, int]:
    """How often a tile comes under loops: as many whole ones as hold all, of ranks that move it.

    As a number over another: there are very many of these, and fractions are slow to make.
    """
    if all(p.even for p in parts):
        return prod([p.count for p in parts]), 1
    # 8 sequences in tiles of 7 are 8/7 of a tile together; what does not vary along them comes in
    # two rounds all the same.
    rounds: dict[str, tuple[int, int]] = {}
    for p in parts:
        top, below = rounds.get(p.rank, (1, 1))
        rounds[p.rank] = top * p.mean.numerator, below * p.mean.denominator
    times = under = 1
    for rank, (top, below) in rounds.items():
        if rank in moving:
            times, under = times * top, under * below
        else:
            times *= -(-top // below)
    return times, under


def moved_bytes(
    context: MappingContext, e: Einsum, array: str, levels: list[LevelLoops], inside: dict[str, int]
) -> tuple[Fraction, Fraction]:
    """Seconds that the slowest memory takes for an Einsum, and bytes that all move, at the most.

    What comes into a tile is read from the memory outside it. A result whose tile comes again
    is read back and written once more (Timeloop's rules; what is left of a rank counts as it is).

    Parameters
    ----------
    site : Site
    e : Einsum
    array : str
        Where it runs.
    levels : list of LevelLoops
        Memories that feed the array, outermost first, with the loops at each.
    inside : dict of str to int
        Coordinates of each rank inside of all these loops.
    """
    return moved_along(context, passed_by(context, e, array, len(levels)), levels, inside)


def passed_by(context: MappingContext, e: Einsum, array: str, levels: int) -> list[Passed]:
    """What an Einsum touches on an array that so many memories feed, and where it passes.

    Parameters
    ----------
    site : Site
    e : Einsum
    array : str
    levels : int
        Memories that feed the array.
    """
    accesses = context.accesses(e)
    ways = ((*context.way(array, e, a), levels) for a in accesses)
    return [
        Passed(
            access=a,
            ranks=context.ranks_of(a),
            steps=tuple(pairwise(way)),
            words=context.words.of(a.tensor),
            gathered=context.gathers(a),
            result=a == e.target,
        )
        for a, way in zip(accesses, ways, strict=True)
    ]


def moved_along(
    context: MappingContext, passed: list[Passed], levels: list[LevelLoops], inside: dict[str, int]
) -> tuple[Fraction, Fraction]:
    """``moved_bytes`` of what passes where is known.

    Parameters
    ----------
    site, levels, inside
        As of ``moved_bytes``.
    passed : list of Passed
        What ``passed_by`` says.

    Returns
    -------
    tuple of Fraction
        Seconds of the slowest memory, and bytes of all.
    """
    tiles, around = [dict(inside)], [p for level in levels for p in level.loops]
    for part in reversed(around):
        tiles.append(tiles[-1] | {part.rank: grown(context, tiles[-1], part)})
    # By the number of loops around them: what is inside of a memory is under those down to it.
    down = [0, *accumulate(len(level.loops) for level in levels)]
    moved = [(0, 1)] * len(levels)  # words, as numbers over others
    for x in passed:
        for at, below in x.steps:
            under, tile = around[: down[below]], tiles[len(around) - down[below]]
            if x.gathered:
                # What elements of an array take at a time is not held for others that pick it.
                held = below < len(levels)
                moving, words = x.coming(context, tile, levels[at], at, held=held)
            else:
                moving, words = x.ranks, prod([tile[r] for r in x.ranks]) * x.words
            while under and under[-1].rank not in moving:
                under.pop()
            times, over = _times(under, x.ranks)
            if x.result:
                # Each tile of a result is written whenever it leaves, and read back but the first
                # time.
                # 6 times 2 distinct tiles: 6 are written, and 4 read back, 2 * 6 - 2.
                distinct, of = _times([p for p in under if p.rank in x.ranks], x.ranks)
                times, over = 2 * times * of - distinct * over, over * of
            (before, parts), over = moved[at], over * words.denominator
            moved[at] = before * over + times * words.numerator * parts, parts * over
    word = context.architecture.word_bytes
    every, of, taken = 0, 1, [Fraction(0)]
    for (words, parts), level in zip(moved, levels, strict=True):
        size, over = words * word.numerator, parts * word.denominator
        every, of = every * over + size * of, of * over
        if (speed := level.memory.bandwidth_bytes_per_s) is not None:
            taken.append(Fraction(size * speed.denominator, over * speed.numerator))
    return max(taken), Fraction(every, of)
