"""What a systolic array loses between folds, from what is laid out alone: nothing is bound yet.

The rules are those of ``archsim.cost.folds``, without ragged edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from archsim.cost.folds import Folds
from archsim.spec.arch import ProcessingArray
from einsum_cascade.memo import cached_property

Ranks = frozenset[str]
"""Ranks along which a tensor varies."""

Rounds = Sequence[tuple[str, int]]
"""Loops over time, outermost first: the rank of each, and how often it goes round."""


@dataclass(frozen=True, kw_only=True)
class Laid:
    """What lies side by side on an array: ranks along its dimensions, and who varies with them."""

    array: ProcessingArray
    along: tuple[tuple[str, Ranks], ...]
    reads: tuple[Ranks, ...]
    result: Ranks
    point_cycles: Fraction
    """Cycles that an element is busy with a point."""

    @cached_property
    def _shared(self) -> tuple[frozenset[str], ...]:
        """Of each read, and of the result: the dimensions along which it does not vary."""
        return tuple(
            frozenset(d for d, ranks in self.along if not ranks & varies)
            for varies in (*self.reads, self.result)
        )

    @cached_property
    def _own(self) -> tuple[tuple[Ranks, bool], ...]:
        """What varies along most dimensions, and whether it is loaded: a result begins where it
        is, and in a row of elements each is at the edge."""
        least = min(map(len, self._shared))
        touched = (*self.reads, self.result)
        row = len(self.array.dimensions) == 1
        return tuple(
            (varies, place < len(self.reads) and not row)
            for place, (varies, axes) in enumerate(zip(touched, self._shared, strict=True))
            if len(axes) == least
        )

    @cached_property
    def _load_cycles(self) -> int:
        reduced = self._shared[-1]
        return min(d.size for d in self.array.dimensions if d.name in reduced or not reduced)

    @cached_property
    def _skew(self) -> tuple[tuple[str, int], ...]:
        hopping = frozenset[str]().union(*self._shared)
        return tuple((d.name, d.size - 1) for d in self.array.dimensions if d.name in hopping)

    def least_cycles(self, rounds: Rounds) -> Fraction:
        """As ``cycles``, in the order of the loops that takes least: innermost are ranks that
        nothing which is loaded has, or those that something which stays in place lacks."""
        if self._broadcasts:
            return self.cycles(rounds)
        loaded = frozenset[str]().union(*(varies for varies, is_loaded in self._own if is_loaded))
        orders = [(loaded, varies) for varies, _ in self._own]
        orders += [(varies, loaded) for varies, _ in self._own]
        return min(
            self.cycles(sorted(rounds, key=lambda x: (x[0] not in outer, x[0] not in then)))
            for outer, then in orders
        )

    @property
    def _broadcasts(self) -> bool:
        return self.array.operands == "broadcast" or not self.along

    def cycles(self, rounds: Rounds) -> Fraction:
        """Cycles that an Einsum occupies the array: its work, and what skew and loads add.

        Parameters
        ----------
        rounds : sequence of (str, int)
            All loops over time, outermost first.
        """
        work = self.point_cycles * prod(count for _, count in rounds)
        if self._broadcasts:
            return work
        changes = [(_changes(varies, rounds), loaded) for varies, loaded in self._own]
        loads = max((n for n, loaded in changes if loaded), default=0)
        load = self._load_cycles
        # Nothing is bound: what is loaded is taken to come from elsewhere.
        streams = self.array.overlap == "streams"
        lost = Folds(
            einsum="",
            array=self.array.name,
            folds=min(n for n, _ in changes),
            skew=() if streams else self._skew,
            loads=loads,
            load_cycles=load,
            overlap=self.array.overlap is True,
            stall=max(0, ceil(load - work / loads)) if loads else 0,
            drain=load - 1 if streams else 0,
        )
        return work + lost.cycles


def _changes(varies: Ranks, rounds: Rounds) -> int:
    """How often a tensor's value in an element of the array is another."""
    # Of loops m 4, n 3 and k 5 from the outside in a value that varies along m changes 4 times, one
    # that varies along n 12 times: inside of the innermost that moves it, it stays.
    going = [(rank, count) for rank, count in rounds if count > 1]
    while going and going[-1][0] not in varies:
        going.pop()
    return prod(count for _, count in going)
