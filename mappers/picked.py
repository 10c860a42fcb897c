"""What an access picks in a tile: positions that data says, some of them again and again."""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from archsim.cost.random_access import neighbours
from einsum_cascade.ir import Access, Gather, Program


def gathers(access: Access) -> bool:
    """Whether some index of an access is itself read."""
    return any(isinstance(index, Gather) for index in access.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedAgain:
    """What an access picks in a tile."""

    picks: int
    positions: int
    """That there are to be picked."""
    by: frozenset[str]
    """Ranks that move the picks, and nothing else of the access."""

    @property
    def again(self) -> Fraction:
        """How often each element is picked, at the least: of 16 blocks 256 queries that pick three
        each touch no more than all."""
        return max(Fraction(1), Fraction(self.picks, self.positions))

    @property
    def staying(self) -> frozenset[str]:
        """Ranks along which no other elements come: a tile of all positions stays while others
        pick."""
        return self.by if self.picks >= self.positions else frozenset()


def picked_in(
    program: Program, shapes: Sizes[str, int], access: Access, tile: Sizes[str, int]
) -> PickedAgain:
    """What an access picks in a tile of so many coordinates by rank.

    Parameters
    ----------
    shapes : mapping
        Coordinates of all ranks, whatever loops are around.
    access : Access
        Along several ranks at once it is taken to pick other elements each time.
    """
    gathered = [(n, i) for n, i in enumerate(access.indices) if isinstance(i, Gather)]
    if len(gathered) != 1:
        # Nothing is told of several picks at once: each element comes once (1 < 2), and moves with
        # all.
        return PickedAgain(picks=1, positions=2, by=frozenset())
    number, index = gathered[0]
    others = (i for n, i in enumerate(access.indices) if n != number)
    plain = {v for i in others for v in i.variables} | {*index.offset.variables}
    by = frozenset(v.upper() for v in index.access.variables if v not in plain)
    step = index.coefficient * prod(shapes[s] for s in index.shapes)
    length = shapes[program.tensor_ranks[access.tensor][number]]
    return PickedAgain(picks=prod(tile[r] for r in by), positions=-(-length // max(1, step)), by=by)


def in_lines(
    words: Fraction, access: Access, shapes: Sizes[str, int], tile: Sizes[str, int], line: int
) -> Fraction:
    """Words of the lines, of so many words each, around those that a gathered tile has.

    Parameters
    ----------
    words : Fraction
        Of the tile.
    access : Access
    shapes, tile : mapping
        Coordinates of all ranks, and of a tile, by rank.
    line : int
        Words of a line.
    """
    rank_of = {v: v.upper() for v in access.variables}
    whole = {v: shapes[r] for v, r in rank_of.items()}
    run = neighbours(access, {v: tile[r] for v, r in rank_of.items()}, whole)
    # Of 3 neighbours in lines of 8 words a line comes for each 3: 8/3 times the words.
    return words * (-(-run // line) * line) / run
