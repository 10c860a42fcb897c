"""The loops whose iterations are the steps of some Einsums, without those that do nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..bound.masking import window_over
from ..bound.record import Bound, BoundEinsum
from ..space.banded import one
from ..space.bands import BandProgression, Box, Run, Window, progressions, runs
from ..space.iteration import Axis, Extents, Loop, count_points, inside
from ..space.nest import LoopNest


@dataclass(frozen=True, kw_only=True)
class StepNest:
    """Loops over axes; with a ``window``, only iterations that hold a point are steps."""

    axes: tuple[Axis, ...]
    loops: tuple[Loop, ...]
    window: Window | None = None

    @property
    def extents(self) -> Extents:
        """The whole iteration space."""
        return tuple(a.extent for a in self.axes)

    @property
    def box(self) -> Box | None:
        """The band outside all loops; None where nothing is left out."""
        if self.window is None or self.window.box.full:
            return None
        return self.window.box.trimmed()

    def ramps(self, depth: int, extents: Extents, box: Box | None) -> tuple[BandProgression, ...]:
        """Iterations of a loop inside the ones around it, in as few ramps as there are."""
        return progressions(*self._cut(depth, extents, box))

    def turns(self, depth: int, extents: Extents, box: Box | None) -> tuple[Run, ...]:
        """Iterations of a loop inside the ones around it, in groups of like ones."""
        return runs(*self._cut(depth, extents, box))

    def _cut(
        self, depth: int, extents: Extents, box: Box | None
    ) -> tuple[int, int, Box | None, tuple[bool, int] | None]:
        """What ``ramps`` wants to know of a loop."""
        loop = self.loops[depth]
        if self.window is None or depth >= self.window.governed:
            return extents[loop.axis], loop.stride, None, None
        return extents[loop.axis], loop.stride, box, self.window.side(loop.axis)

    def steps(self, depth: int, extents: Extents, box: Box | None) -> int:
        """Steps inside the first ``depth`` loops."""
        loops = self.loops[depth:]
        if self.window is None or box is None:
            return count_points(loops, extents)
        governed = max(0, self.window.governed - depth)
        window = replace(self.window, box=box, governed=governed)
        return LoopNest(loops=loops, extents=extents, window=window).delivered(
            (True,) * len(loops), one
        )

    def settled(self, depth: int) -> bool:
        """Whether the first ``depth`` loops go along every rank of the window.

        What is left of it then depends on how far apart the two ranks' tiles are, not on
        where they are, and is the same many times over.
        """
        if self.window is None:
            return True
        entered = {loop.axis for loop in self.loops[:depth]}
        ranks = {a for a in (self.window.plus, self.window.minus) if a is not None}
        return ranks <= entered

    def indices(self, step: int) -> tuple[tuple[str, int], ...]:
        """Where a step is: the iteration of every loop, by member.

        Parameters
        ----------
        step : int
            From 0, in the order of the nest.

        Returns
        -------
        tuple of (str, int)
            Iterations from 0, counted with those that hold no point and are no steps.
        """
        extents, box = self.extents, self.box
        found: list[tuple[str, int]] = []
        for depth, loop in enumerate(self.loops):
            for run in self.turns(depth, extents, box):
                within = inside(extents, loop, run.extent)
                body = self.steps(depth + 1, within, run.box)
                if step < run.count * body:
                    break
                step -= run.count * body
            index, step = divmod(step, body)
            found.append((loop.member, run.first + index))
            extents, box = within, run.box
        return tuple(found)


def nest_window(
    bound: Bound,
    axes: tuple[Axis, ...],
    loops: tuple[Loop, ...],
    einsums: tuple[BoundEinsum, ...],
) -> Window | None:
    """The window of the steps that some Einsums share; None where every step is run.

    Parameters
    ----------
    bound : Bound
    axes : tuple of Axis
        Those that the loops go along.
    loops : tuple of Loop
        Whose iterations are steps.
    einsums : tuple of BoundEinsum
        That run in them.
    """
    if bound.idle is None:
        return None
    ranks = {axes[loop.axis].name for loop in loops}
    if not ranks & {bound.idle.plus, bound.idle.minus}:
        return None
    whole = [e for e in einsums if not e.outside]
    if any(e.window is None for e in whole):
        return None
    window = window_over(bound.tiling, axes, bound.idle, len(loops))
    return None if window.box.empty else window
