"""The maximum cycle mean of a timed event graph, exactly, with the cycle that attains it.

The steady state of a (max,+) linear system advances by the largest ratio of weight to
tokens over all cycles per period (Baccelli et al., *Synchronization and Linearity*,
section 2.5). Starting from a lower bound, a cycle that beats it is found as a positive
cycle of reduced weights and becomes the new bound, until none is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .event_graph import TimedEdge


@dataclass(frozen=True, slots=True)
class CriticalCycle:
    """The ratio (units of time per period) and the edges of a cycle that attains it."""

    mean: Fraction
    edges: tuple[TimedEdge, ...]


class DeadlockError(ValueError):
    """A cycle without tokens: each of its tasks waits for itself."""

    def __init__(self, edges: tuple[TimedEdge, ...]) -> None:
        super().__init__("a cycle of dependencies within one step")
        self.edges = edges


def maximum_cycle_mean(nodes: int, edges: Sequence[TimedEdge], least: int = 0) -> CriticalCycle:
    """The largest weight per token over all cycles of a graph.

    A producer of 3 cycles and a consumer of 2 with one tile in flight between them, beside a
    resource that is busy for 4 cycles a step:

    >>> edges = [TimedEdge(0, 1, 3, 0), TimedEdge(1, 0, 2, 1), TimedEdge(1, 1, 4, 1)]
    >>> found = maximum_cycle_mean(2, edges)
    >>> found.mean, [(e.before, e.after) for e in found.edges]
    (Fraction(5, 1), [(0, 1), (1, 0)])

    Parameters
    ----------
    nodes : int
        Tasks, numbered from 0.
    edges : sequence of TimedEdge
        Weights in units of time, tokens in periods.
    least : int
        What the answer is at the least: where no cycle has more, it is this, without edges.

    Raises
    ------
    DeadlockError
        A cycle of positive weight carries no token.
    """
    best = CriticalCycle(Fraction(least), ())
    while cycle := _positive_cycle(nodes, edges, best.mean):
        tokens = sum(e.tokens for e in cycle)
        if tokens <= 0:
            raise DeadlockError(cycle)
        best = CriticalCycle(Fraction(sum(e.weight for e in cycle), tokens), cycle)
    return best


def _positive_cycle(
    nodes: int, edges: Sequence[TimedEdge], mean: Fraction
) -> tuple[TimedEdge, ...]:
    """A cycle whose weight exceeds ``mean`` per token, or nothing (Bellman-Ford)."""
    longest = [0] * nodes
    through: list[TimedEdge | None] = [None] * nodes
    # Times the denominator, all are whole numbers: the sum over a cycle is above 0 exactly where
    # its weight per token is above the mean.
    reduced = [
        (e.before, e.after, e.weight * mean.denominator - mean.numerator * e.tokens, e)
        for e in edges
    ]
    touched: int | None = None
    # All nodes begin at 0, as if a source led to each. Without a positive cycle the longest ways
    # are settled after as many rounds as there are nodes.
    for _ in range(nodes + 1):
        touched = None
        for before, after, weight, edge in reduced:
            reach = longest[before] + weight
            if reach > longest[after]:
                longest[after] = reach
                through[after] = edge
                touched = after
        if touched is None:
            return ()
    return _trace(through, touched, nodes)


def _trace(through: list[TimedEdge | None], start: int | None, nodes: int) -> tuple[TimedEdge, ...]:
    """Walk back from a node that still improves into the cycle that feeds it."""
    node = start
    # So many steps back every walk has entered the cycle.
    for _ in range(nodes):
        edge = through[node] if node is not None else None
        assert edge is not None, "an improving node has a predecessor"
        node = edge.before
    cycle: list[TimedEdge] = []
    at = node
    while True:
        edge = through[at] if at is not None else None
        assert edge is not None, "a cycle closes"
        cycle.append(edge)
        at = edge.before
        if at == node:
            return tuple(reversed(cycle))
