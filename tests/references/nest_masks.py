"""Masked nests walked: what a mask leaves without a point is found point by point."""

from __future__ import annotations

from nest_cases import Case
from nest_loops import Element, Step, Tag
from nest_walker import NestWalker, allowed

from archsim.nest.record import Bound
from einsum_cascade import ir


class MaskedWalker(NestWalker):
    """Leaves out the iterations that the Einsums of a lowering say they leave out.

    A masked Einsum leaves out those in which its mask lets no point through. Any other with
    a window leaves out the steps of the shared nest in which all masked ones are left out.
    Tiles come whole, whatever part of them is used.
    """

    def __init__(self, case: Case, lowered: Bound) -> None:
        # Its masks are written out: ``test_masks_propagate`` finds them element by element.
        program = lowered.program
        super().__init__(program, case.mapping, case.architecture, case.shapes, case.sizes)
        self.windowed = {e.name for e in lowered.einsums if e.window is not None}

    def active(self, einsum: ir.Einsum) -> list[Step]:
        """The iterations that are run."""
        steps = self.walk_steps(einsum)
        if einsum.name not in self.windowed:
            return steps
        if einsum.where is not None:
            return [s for s in steps if any(allowed(einsum, at, self.shapes) for _, at in s.lanes)]
        live = self.live()
        return [s for s in steps if any(_agree(self._shared(einsum, s), key) for key in live)]

    def live(self) -> set[tuple[tuple[str, int], ...]]:
        """Shared iterations in which some masked Einsum has a point."""
        return {
            tuple(self._shared(e, step).items())
            for e in self.program.einsums
            if e.where is not None and e.name in self.windowed
            for step in self.active(e)
        }

    def _left_by(
        self, einsum: ir.Einsum, access: ir.Access, level: int
    ) -> list[tuple[ir.Einsum, ir.Access]]:
        """An earlier reader leaves nothing where it was left out itself: it counts where it ran in
        all iterations of the loops stepping through tiles in which the one that takes them runs."""
        found = super()._left_by(einsum, access, level)
        return [
            (e, a)
            for e, a in found
            if a is e.target or not self._missed(einsum, (e, a), level) & self._run(einsum)
        ]

    def _missed(
        self, taker: ir.Einsum, given: tuple[ir.Einsum, ir.Access], level: int
    ) -> set[tuple[tuple[str, int], ...]]:
        """Shared iterations of a taker in which an earlier reader brings no tile."""
        names = [x.name for x in self.stepping(*given, level)]

        def tags(e: ir.Einsum, steps: list[Step]) -> set[tuple[tuple[str, int], ...]]:
            shared = [self._shared(e, s) for s in steps]
            return {tuple((n, at[n]) for n in names if n in at) for at in shared}

        brought = tags(given[0], self.active(given[0]))
        missing = tags(given[0], self.walk_steps(given[0])) - brought
        return {key for key in self._run(taker) if any(_agree(dict(key), tag) for tag in missing)}

    def _run(self, einsum: ir.Einsum) -> set[tuple[tuple[str, int], ...]]:
        """Shared iterations in which an Einsum runs."""
        return {tuple(self._shared(einsum, s).items()) for s in self.active(einsum)}

    def _shared(self, einsum: ir.Einsum, step: Step) -> dict[str, int]:
        loops = zip(self.temporal(einsum), step.index, strict=True)
        return {x.name: i for x, i in loops if x.shared}

    def _tiles(
        self, einsum: ir.Einsum, access: ir.Access, steps: list[Step], level: int
    ) -> dict[Tag, set[Element]]:
        return super()._tiles(einsum, access, self.walk_steps(einsum), level)


def _agree(one: dict[str, int], other: tuple[tuple[str, int], ...]) -> bool:
    return all(one.get(name, index) == index for name, index in other)
