"""Between which capacities the tiles that were fitted to memories come out the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from ..spec.arch import Architecture
from .footprint import Requirement
from .record import Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Capacities with which every size that was tried fits, or does not, as it did.

    What is tried next follows from what fitted before: all that is between is fitted alike.
    """

    least: tuple[tuple[str, Fraction], ...]
    """By memory of a limited capacity, bytes of the most that fitted."""
    below: tuple[tuple[str, Fraction], ...]
    """By memory, bytes of the least that did not fit there."""

    def has(self, architecture: Architecture) -> bool:
        """Whether a machine of the same layout, but for capacities, is one of those.

        >>> room = Room(least=(("buffer", Fraction(3 << 20)),), below=())
        >>> machine = Architecture.load("fusemax")
        >>> [m.name for m in machine.memories if m.capacity_bytes], room.has(machine)
        (['global_buffer'], False)
        """
        capacities = {
            m.name: m.capacity_bytes for m in architecture.memories if m.capacity_bytes is not None
        }
        return (
            [name for name, _ in self.least] == [*capacities]
            and all(capacities[name] >= size for name, size in self.least)
            and all(capacities[name] < size for name, size in self.below)
        )


class RoomAsked:
    """What is asked of memories while tiles are fitted, and whether they had it."""

    def __init__(self, needed: Iterable[Requirement]) -> None:
        self._least = {r.level: r.required_bytes for r in needed if r.capacity_bytes is not None}
        self._below: dict[str, Fraction] = {}

    def fits(self, needed: Iterable[Requirement]) -> bool:
        """Whether all limited memories hold what they must of one size that is tried.

        Parameters
        ----------
        needed : iterable of Requirement
            Of the limited memories; those behind the first that is too small are not looked at.
        """
        found: list[Requirement] = []
        for r in needed:
            if not r.fits:
                below = self._below.get(r.level, r.required_bytes)
                self._below[r.level] = min(below, r.required_bytes)
                return False
            found.append(r)
        for r in found:
            self._least[r.level] = max(self._least[r.level], r.required_bytes)
        return True

    @property
    def room(self) -> Room:
        """Capacities with which all answers are the same."""
        return Room(least=tuple(self._least.items()), below=tuple(self._below.items()))


def room_of(bound: Bound) -> Room | None:
    """Where tiles of a bound mapping were fitted, the capacities it is the same for (a fact).

    Binding tells it of mappings whose tiles were fitted (``Bound.tell``); others have none.
    """
    del bound
    return None
