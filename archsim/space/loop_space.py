"""An iteration space with its loops: all that Einsums have in common that go round alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from einsum_cascade.memo import cached_property

from .banded import one
from .bands import Window
from .iteration import Axis, Extents, Loop, count_points
from .nest import LoopNest


@dataclass(frozen=True, kw_only=True)
class LoopSpace:
    """``temporal`` loops over some axes, and inside them those laid out over an array.

    Of 10 rows in tiles of 4, one by one on 4 lanes:

    >>> rows = Loop(member="M1", axis=0, stride=4, level=0, variable="m")
    >>> lanes = Loop(member="M0", axis=0, stride=1, level=0, variable="m", dimension="lanes")
    >>> axis = Axis(name="M", extent=10, variables=(("m", 1),))
    >>> space = LoopSpace(axes=(axis,), temporal=(rows,), spatial=(lanes,))
    >>> space.iterations, space.points, space.fills((True,)), space.fills((False,))
    (3, 10, 10, 4)
    """

    axes: tuple[Axis, ...]
    temporal: tuple[Loop, ...]
    spatial: tuple[Loop, ...]
    window: Window | None = None
    """What is left out because of a mask; None: nothing."""

    @cached_property
    def variables(self) -> frozenset[str]:
        """Rank variables of the axes."""
        return frozenset(v for axis in self.axes for v, _ in axis.variables)

    @cached_property
    def extents(self) -> Extents:
        """All of every axis."""
        return tuple([a.extent for a in self.axes])

    @cached_property
    def widths(self) -> dict[str, int]:
        """Iterations of each loop, by its member, inside the first tile of those around it."""
        found: dict[str, int] = {}
        rest = list(self.extents)
        for loop in self.temporal:
            found[loop.member] = -(-rest[loop.axis] // loop.stride)
            rest[loop.axis] = min(rest[loop.axis], loop.stride)
        for loop in self.spatial:
            found[loop.member] = -(-rest[loop.axis] // loop.stride)
        return found

    @cached_property
    def going_round(self) -> tuple[bool, ...]:
        """Whether each loop, the temporal ones first, has more than one iteration."""
        return tuple([n > 1 for n in self.widths.values()])

    @cached_property
    def going(self) -> tuple[Loop, ...]:
        """Temporal loops of more than one iteration: the others might as well not be there."""
        return tuple(loop for loop in self.temporal if self.widths[loop.member] > 1)

    @cached_property
    def _nests(self) -> dict[int, LoopNest]:
        return {}

    def nest(self, level: int) -> LoopNest:
        """The temporal loops outside the tiles that a level holds, as a nest."""
        if level not in self._nests:
            loops = tuple([loop for loop in self.temporal if loop.level < level])
            inner = len(loops) < len(self.temporal)
            self._nests[level] = self._over(loops) if inner else self.whole
        return self._nests[level]

    @cached_property
    def whole(self) -> LoopNest:
        """All temporal loops: what one element of the array runs through."""
        return self._over(self.temporal)

    @cached_property
    def everywhere(self) -> LoopNest:
        """All loops, those laid out over the array inside the temporal ones."""
        return self._over((*self.temporal, *self.spatial))

    def _over(self, loops: tuple[Loop, ...]) -> LoopNest:
        return LoopNest(loops=loops, extents=self.extents, window=self.window)

    @cached_property
    def points(self) -> int:
        """Points of the tiles that are run, those a mask takes out of a tile included."""
        if self.window is None:
            return prod(self.extents)
        return self.whole.delivered((True,) * len(self.temporal), prod)

    @cached_property
    def iterations(self) -> int:
        """Temporal iterations: what one processing element runs through."""
        return self.changes((True,) * len(self.temporal))

    @cached_property
    def _changes(self) -> dict[tuple[bool, ...], int]:
        return {}

    def changes(self, moved: tuple[bool, ...]) -> int:
        """How often the first element of the array takes another value.

        Parameters
        ----------
        moved : tuple of bool
            Whether each temporal loop brings another one.
        """
        if moved not in self._changes:
            self._changes[moved] = self.whole.delivered(moved, one)
        return self._changes[moved]

    @cached_property
    def _fills(self) -> dict[tuple[bool, ...], int]:
        return {}

    def fills(self, moved: tuple[bool, ...]) -> int:
        """How often all elements of the array that have a point take another value, together.

        Parameters
        ----------
        moved : tuple of bool
            As of ``changes``.
        """
        if moved not in self._fills:
            self._fills[moved] = self.whole.delivered(moved, self._lanes)
        return self._fills[moved]

    def _lanes(self, extents: Extents) -> int:
        return count_points(self.spatial, extents)
