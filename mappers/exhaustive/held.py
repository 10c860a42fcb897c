"""What systolic arrays lose to values that stay in their elements, as sums of measures.

The rules are those of ``archsim.cost.folds``. There the operand that is loaded most often counts
of those that do not wait in registers; here each is priced by itself, so that one operand, loaded
most often in the first tiling, stands for all: no more is counted than is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archsim.bound.record import Bound, BoundEinsum
from archsim.cost.folds import HeldStill, held_still
from archsim.cost.meter import EXACT
from archsim.space.banded import one

from .measures import Linear, OpenMeter


class HeldCosts:
    """Cycles of skew and loads of the Einsums of one subspace.

    Parameters
    ----------
    base : Bound
        The subspace's first tiling.
    variants : mapping of str to sequence of BoundEinsum
        Every Einsum in all of its ways.
    """

    def __init__(
        self, base: Bound, variants: Mapping[str, Sequence[BoundEinsum]], meter: OpenMeter
    ) -> None:
        self._base, self._variants, self._meter = base, variants, meter
        self._known: dict[int, tuple[BoundEinsum, HeldStill | None]] = {}
        self._counted: dict[int, int | None] = {}
        """The operand whose loads count, of Einsums as they are known."""

    def anew(self, e: BoundEinsum) -> tuple[str, ...]:
        """Shared loops at whose steps an Einsum loads anew, as others hold something still in the
        same elements in between, whatever their ways."""
        if e.array.overlap != "streams" or self._held(e) is None:
            return ()
        turns = any(
            name != e.name
            and not self._base.apart(e.name, name)
            and all(v.array.name == e.array.name and v.spatial for v in others)
            for name, others in self._variants.items()
        )
        return tuple(loop.member for loop in e.shared) if turns else ()

    def skew(self, e: BoundEinsum) -> Linear:
        """Cycles in which the array drains and fills between folds."""
        held = self._held(e)
        if held is None or not held.skew or e.array.overlap == "streams":
            return Linear()
        cycles = sum(n for _, n in held.skew)
        if e.array.overlap:
            return Linear(cycles)
        folds = [self._changes(e, number) for number in held.own]
        # The fewest of them count: which these are depends on the tiling.
        return folds[0] * cycles if all(other == folds[0] for other in folds) else Linear()

    def loads(self, e: BoundEinsum, number: int, *, waits: bool) -> Linear:
        """Cycles in which an operand is loaded into the elements.

        Parameters
        ----------
        number : int
            The operand's; only one costs any.
        waits : bool
            Whether it waits in registers of the array.
        """
        held = self._held(e)
        if held is None or waits or self._counted_of(e, held) != number:
            return Linear()
        cycles = held.load_cycles
        if e.array.overlap == "streams" and self._comes_from_elsewhere(e, number):
            cycles += held.load_cycles - 1
        return self._changes(e, number) * cycles

    def _changes(self, e: BoundEinsum, number: int) -> Linear:
        return self._meter.delivered(e, e.whole, self._relevant(e, number), one)

    def _relevant(self, e: BoundEinsum, number: int) -> tuple[bool, ...]:
        """Loops at which what an element holds is another, or was put aside since."""
        anew, moving = bool(self.anew(e)), e.touches[number].moving
        return tuple(
            loop.variable in moving or (anew and loop in e.shared) for loop in e.whole.loops
        )

    def _counted_of(self, e: BoundEinsum, held: HeldStill) -> int | None:
        """The operand whose loads count: the one that is loaded most often in the first tiling."""
        if id(e) not in self._counted:
            able = held.loaded if held.load_cycles else ()
            self._counted[id(e)] = max(
                able,
                key=lambda number: EXACT.delivered(e, e.whole, self._relevant(e, number), one),
                default=None,
            )
        return self._counted[id(e)]

    def _comes_from_elsewhere(self, e: BoundEinsum, number: int) -> bool:
        """Whether an operand is no result of the array itself, whatever the ways of its writer."""
        writers = self._variants.get(e.touches[number].access.tensor, ())
        return all(writer.array.name != e.array.name for writer in writers)

    def _held(self, e: BoundEinsum) -> HeldStill | None:
        if id(e) not in self._known:
            self._known[id(e)] = e, held_still(e)
        return self._known[id(e)][1]
