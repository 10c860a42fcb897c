"""Maximum cycle mean of a timed event graph, exactly, with a cycle that attains it.

The steady state of a (max,+) linear system advances per period by the largest ratio of weight to
tokens over all cycles (Baccelli et al., *Synchronization and Linearity*, section 2.5). The search
starts from a lower bound. A cycle above the bound is a positive cycle of reduced weights, and gives
the new bound, until no such cycle is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .event_graph import TimedEdge


@dataclass(frozen=True, slots=True)
class CriticalCycle:
    """Ratio (units of time per period) and edges of a cycle that attains it."""

    mean: Fraction
    edges: tuple[TimedEdge, ...]


class DeadlockError(ValueError):
    """Cycle without tokens, in which each task waits for itself."""

    def __init__(self, edges: tuple[TimedEdge, ...]) -> None:
        super().__init__("a cycle of dependencies within one step")
        self.edges = edges


def maximum_cycle_mean(nodes: int, edges: Sequence[TimedEdge], least: int = 0) -> CriticalCycle:
    """Return the largest weight per token over all cycles of a graph.

    A producer of 3 cycles and a consumer of 2 have one tile in flight; another resource is busy for
    4 cycles a step:

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
        Lower bound of the answer; returned without edges if no cycle exceeds it.

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
    """Return a cycle whose weight exceeds ``mean`` per token, or nothing (Bellman-Ford)."""
    longest = [0] * nodes
    through: list[TimedEdge | None] = [None] * nodes
    # Multiplied by the denominator, all weights are whole: a cycle's sum is positive exactly if its
    # weight per token exceeds the mean.
    reduced = [
        (e.before, e.after, e.weight * mean.denominator - mean.numerator * e.tokens, e)
        for e in edges
    ]
    touched: int | None = None
    # All nodes begin at 0, as if a source led to each. Without a positive cycle, the longest paths
    # settle after as many rounds as there are nodes.
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
    # After so many steps back, every walk has entered the cycle.
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
