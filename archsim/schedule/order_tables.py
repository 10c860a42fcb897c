"""From an event graph to tables for the compiled choice of an order, where times fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from .event_graph import EventGraph, Issue
from .heads_tails import least_of_any
from .order_kernel import CHOSEN, ILLEGAL, choose
from .placing_kernel import BEYOND, Ints, OrderTables

Choices = Sequence[Sequence[tuple[int, ...]]]
"""By resource, the orders of its tasks."""


def tables_of(graph: EventGraph, choices: Choices) -> OrderTables:
    """A graph whose times fit, as arrays."""
    edges = sorted(
        (
            *(e.before, e.after, e.weight, e.tokens),
            int(graph.resource[e.before] != graph.resource[e.after] and not d.room),
        )
        for e, d in zip(graph.edges, graph.dependencies, strict=True)
    )
    before, after, weight, tokens, apart = np.array(edges, np.int64).reshape(-1, 5).T.copy()
    busiest = [n for n, _ in graph.busiest]
    flat = [[i for order in orders for i in order] for orders in choices]
    begins = accumulate(map(len, flat), initial=0)
    return OrderTables(
        resource=_ints(graph.resource),
        occupancy=_ints(graph.occupancy),
        latency=_ints(graph.latency),
        heads=_ints(graph.heads),
        tails=_ints(graph.tails),
        work=_ints(graph.work),
        busiest=_ints(int(n in busiest) for n in range(len(choices))),
        first=np.searchsorted(before, np.arange(len(graph.tasks) + 1)),
        before=before,
        after=after,
        weight=weight,
        tokens=tokens,
        apart=apart,
        choices=_ints(map(len, choices)),
        size=_ints(len(orders[0]) for orders in choices),
        at=_ints(begins),
        orders=_ints(i for here in flat for i in here),
    )


def _ints(numbers: Iterable[int]) -> Ints:
    return np.array([*numbers], np.int64)


def fit(graph: EventGraph, period: int, slacks: Sequence[int]) -> bool:
    """Whether no time that is counted to is as late as ``BEYOND``, nor as long before zero."""
    tasks, resources = len(graph.tasks), len(graph.members)
    total = sum(graph.occupancy)
    weight = max((abs(e.weight) for e in graph.edges), default=0)
    tokens = max((abs(e.tokens) for e in graph.edges), default=0)
    back = max((-e.tokens for e in graph.edges if e.tokens < 0), default=0)
    # Who is put off starts at most so much later than the last of all, or two periods and all work
    # after zero; and in a round everyone puts off others once. All are settled with one slack after
    # the other, then with one resource after the other.
    hop = weight + max(slacks, default=0) + period * (1 + back)
    settled = (tasks + 2) * tasks * hop + 2 * period + total
    starts = (len(slacks) + resources) * settled
    # A resource has no more work in all periods before a stage than these take, as it fits in one.
    turns = (graph.steps + 2) * (tasks + 1) * (weight + total)
    chains = 2 * tasks * hop + 2 * max(graph.latency)
    return 2 * starts + period * (tokens + 2) + turns + chains < BEYOND


class OrderSearch:
    """The orders of a graph, to be chosen from at one period after another."""

    def __init__(self, graph: EventGraph, choices: Choices) -> None:
        """``graph`` is of as many steps as are tried, and its times fit (``fit``)."""
        self.graph = graph
        self.tables = tables_of(graph, choices)
        self.sure = least_of_any(graph)

    def at(
        self, period: int, slacks: Sequence[int], *, plain: bool = False
    ) -> tuple[bool, Issue | None]:
        """Choose an order.

        Parameters
        ----------
        period : int
            Units of time between two steps.
        slacks : sequence of int
            Waits added between resources, in units.
        plain : bool, default False
            Whether steps do not overlap.

        Returns
        -------
        bool
            Whether any order in which steps overlap keeps all dependencies at the period.
        Issue or None
            The order, if so; None too where all have a circle within a period.
        """
        chosen = np.empty((2, len(self.graph.tasks)), np.int64)
        added = np.array(slacks, np.int64)
        status = choose(self.tables, period, added, self.graph.steps, self.sure, plain, chosen)
        if status != CHOSEN:
            return status == ILLEGAL, None
        stage, position = chosen.tolist()
        return True, Issue(stage=tuple(stage), position=tuple(position))
