"""Traffic estimate of an Einsum with its own loops: machine words that each memory moves, and the
seconds this takes."""

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
    """Loops at a memory, outermost first; each iteration of these loops uses another tile."""

    memory: Memory
    loops: tuple[LoopPart, ...]


def enlarged(context: MappingContext, tile: dict[str, int], part: LoopPart) -> int:
    """Return a tile's length along a rank after one more loop is inside the tile.

    A tile is at most as long as the whole rank.
    """
    return min(context.shapes[part.rank], tile[part.rank] * part.count)


@dataclass(frozen=True, slots=True)
class Passed:
    """A tensor that an Einsum accesses, and the memories that it passes."""

    access: Access
    ranks: frozenset[str]
    steps: tuple[tuple[int, int], ...]
    """Pairs of consecutive memories on the tensor's way, as indices, outermost first."""
    result: bool
    """True if the Einsum writes the tensor."""
    known: dict[tuple[object, ...], tuple[frozenset[str], Fraction | int]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Memo of ``coming``, keyed by memory and tile."""

    def coming(
        self, context: MappingContext, tile: dict[str, int], memory: Memory, *, held: bool
    ) -> tuple[frozenset[str], Fraction | int]:
        """Return the ranks whose loops replace a tile, and the machine words moved for it.

        A gathered tile that is ``held`` in a memory may serve several gathers of one element.
        """
        key = (memory.name, held, *[tile[r] for r in self.ranks])
        found = self.known.get(key)
        if found is None:
            moving = context.moving(self.access, tile) if held else self.ranks
            words = context.tile_words(self.access, self.ranks, tile, memory)
            found = self.known[key] = (moving, words)
        return found


def _times(parts: list[LoopPart], moving: frozenset[str]) -> tuple[int, int]:
    """Return how often a tile arrives under some loops, as numerator and denominator.

    A short last tile counts as a fraction if the rank moves the tile, else as one. Integers are
    returned because fractions are slow to make, and this function runs very often.
    """
    if all(p.even for p in parts):
        return prod([p.count for p in parts]), 1
    # 8 sequences in tiles of 7 are 8/7 of a tile together. A tensor that does not vary along them
    # arrives in two rounds all the same.
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


def passed_by(context: MappingContext, e: Einsum, array: str, levels: int) -> list[Passed]:
    """Return the tensors that an Einsum accesses on an array, and the memories that they pass.

    Parameters
    ----------
    context : MappingContext
    e : Einsum
    array : str
    levels : int
        Number of memories that feed the array.
    """
    accesses = context.accesses(e)
    ways = ((*context.way(array, e, a), levels) for a in accesses)
    return [
        Passed(
            access=a, ranks=context.ranks_of(a), steps=tuple(pairwise(way)), result=a == e.target
        )
        for a, way in zip(accesses, ways, strict=True)
    ]


def moved_bytes(
    context: MappingContext, passed: list[Passed], levels: list[LevelLoops], inside: dict[str, int]
) -> tuple[Fraction, Fraction]:
    """Return upper bounds of an Einsum's seconds at its slowest memory and of all bytes moved.

    A tile that enters a memory is read from the memory outside. If a tile of the result comes
    again, it is read back and written once more. These are Timeloop's rules, but shorter last tiles
    count with their own size.

    Parameters
    ----------
    context : MappingContext
    passed : list of Passed
        Tensors of the Einsum (``passed_by``).
    levels : list of LevelLoops
        Memories that feed the array, outermost first, with the loops at each.
    inside : dict of str to int
        Coordinates of each rank inside of all these loops.

    Returns
    -------
    tuple of Fraction
        Seconds of the slowest memory, and bytes moved by all memories.
    """
    tiles, around = [dict(inside)], [p for level in levels for p in level.loops]
    for part in reversed(around):
        tiles.append(tiles[-1] | {part.rank: enlarged(context, tiles[-1], part)})
    # Indexed by the number of loops outside: a memory's content is under the loops down to it.
    down = [0, *accumulate(len(level.loops) for level in levels)]
    moved = [(0, 1)] * len(levels)  # words as numerators and denominators
    for x in passed:
        for at, below in x.steps:
            under, tile = around[: down[below]], tiles[len(around) - down[below]]
            # Operands of array elements do not serve other gathers.
            held = below < len(levels)
            moving, words = x.coming(context, tile, levels[at].memory, held=held)
            while under and under[-1].rank not in moving:
                under.pop()
            times, over = _times(under, x.ranks)
            if x.result:
                # Each tile of a result is written whenever it leaves, and read back except the
                # first time: 6 times 2 distinct tiles are 6 writes and 4 reads, 2 * 6 - 2.
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
