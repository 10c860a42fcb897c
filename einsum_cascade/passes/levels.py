"""From what separates two Einsums to pass numbers: the longest chain of barriers.

Inside one traversal elements come in one order. Einsums that need ascending order and
Einsums that need descending order (a running sum and a reverse running sum) can share no
traversal of a tensor, so the order of every traversal is searched for the fewest passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from .traversals import Order

MAX_SEARCHED = 7
"""Traversals whose orders are searched exhaustively; behind these either order is taken to do."""


@dataclass(frozen=True)
class Constraint:
    """``later`` is in no earlier pass than ``earlier``; in a later one if order forbids.

    ``order`` None: they share nothing, and only their sequence counts.
    """

    earlier: str
    later: str
    order: Order | None


@dataclass(frozen=True)
class Level:
    """What passes are assigned to: Einsums, in groups that traverse common tensors.

    ``B`` has to wait for all of ``A``, and ``C`` reads both in one loop:

    >>> wait = Constraint("A", "B", Order.NEVER)
    >>> together = Constraint("B", "C", Order.ANY)
    >>> Level(("A", "B", "C"), (), (wait, together)).numbers
    {'A': 1, 'B': 2, 'C': 2}

    Two running sums in opposite directions over one tensor need two passes of it:

    >>> up, down = Constraint("U", "U", Order.UP), Constraint("D", "D", Order.DOWN)
    >>> Level(("U", "D"), (frozenset("UD"),), (up, down)).numbers
    {'U': 1, 'D': 2}
    """

    names: tuple[str, ...]
    groups: tuple[frozenset[str], ...]
    constraints: tuple[Constraint, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """The pass of every Einsum; as early as its dependences allow."""
        orders: dict[str, tuple[Order, ...]] = {}
        best = self._assigned(orders)
        for group in self.groups:
            if not self._conflicts(group):
                continue
            best, orders = self._searched(group, orders)
        return best

    def _conflicts(self, group: frozenset[str]) -> bool:
        needs = {c.order for c in self.constraints if c.earlier in group and c.later in group}
        return Order.UP in needs and Order.DOWN in needs

    def _searched(
        self, group: frozenset[str], orders: Mapping[str, tuple[Order, ...]]
    ) -> tuple[dict[str, int], dict[str, tuple[Order, ...]]]:
        # A direction for each pass there is now and three to move to; 2**7 sequences at most.
        length = min(max(self._assigned(orders).values()) + 3, MAX_SEARCHED)
        found: list[tuple[int, int, int]] = []
        for sequence in itertools.product((Order.UP, Order.DOWN), repeat=length):
            tried = {**orders, **dict.fromkeys(group, sequence)}
            numbers = self._assigned(tried)
            # Fewest passes, then everything as early as can be; the place in the list breaks ties,
            # so that ascending order, which is tried first, wins them.
            found.append((max(numbers.values()), sum(numbers.values()), len(found)))
            if found[-1] == min(found):
                best, chosen = numbers, tried
        return best, chosen

    def _assigned(self, orders: Mapping[str, tuple[Order, ...]]) -> dict[str, int]:
        numbers = dict.fromkeys(self.names, 1)
        # On a cycle of barriers the numbers would rise without end.
        limit = len(self.names) + MAX_SEARCHED
        changed = True
        while changed:
            changed = False
            for c in self.constraints:
                needed = _earliest(c, numbers, orders)
                if needed > numbers[c.later] and needed <= limit:
                    numbers[c.later] = needed
                    changed = True
        return numbers


def _earliest(
    c: Constraint, numbers: Mapping[str, int], orders: Mapping[str, tuple[Order, ...]]
) -> int:
    """The first pass ``later`` can be in, given where ``earlier`` is now."""
    here = max(numbers[c.earlier], numbers[c.later])
    if c.order is None or c.order is Order.ANY:
        return here
    if c.order is Order.NEVER:
        return max(here, numbers[c.earlier] + 1) if c.earlier != c.later else here
    # From here on UP or DOWN: free where no order was searched for this group, and met by itself
    # where ``later`` is in a later pass than ``earlier`` anyhow.
    sequence = orders.get(c.later)
    if sequence is None or (c.earlier != c.later and here > numbers[c.earlier]):
        return here
    # One that needs an order with itself has to find a traversal that goes its way. Of two,
    # the later one need only leave the pass of the earlier: then the whole fiber is behind it.
    while here <= len(sequence) and sequence[here - 1] is not c.order:
        here += 1
        if c.earlier != c.later:
            break
    return here
