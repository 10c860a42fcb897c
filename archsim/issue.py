"""The order in which resources issue tasks: a modulo schedule.

Each resource runs its tasks back to back, in the order they are written; tasks that wait
for nothing (slices of work from outside the step) go where they disturb least. The period
is the longest of the busiest resource and the cycle mean of the dependencies. A task
starts at the first slot of that pattern at which its operands are there, which tells how
many steps it lags (its stage). The phase of each resource against the first is chosen by
trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from operator import add

from .cycle_mean import maximum_cycle_mean
from .event_graph import EventGraph, Issue
from .makespan import shortest

_GROWTH = 17 / 16
_TRIES = 80
_SLACKS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Waits added between resources, in periods: patience lets the first tiles run ahead."""
_TRIAL_STEPS = 32

_Orders = dict[str, tuple[int, ...]]


def modulo_schedule(graph: EventGraph) -> Issue:
    """Choose stages and positions for every task of a graph.

    Of several orders, plain in-order issue among them, the one that ends a short run
    soonest is taken.
    """
    busiest = max(sum(graph.occupancy[i] for i in m) for m in graph.members.values())
    mean = maximum_cycle_mean(len(graph.tasks), graph.edges).mean
    period = max(busiest, ceil(mean), 1)
    trial = replace(graph, steps=min(graph.steps, _TRIAL_STEPS))
    found = dict.fromkeys(_in_order(graph, orders) for orders in _orders(graph))
    for _ in range(_TRIES):
        overlapped = dict.fromkeys(_candidates(graph, period))
        if overlapped:
            found.update(overlapped)
            break
        period = ceil(period * _GROWTH)
    return shortest(trial, found)


def _in_order(graph: EventGraph, orders: _Orders) -> Issue:
    """No step overtakes another on any resource: every task in the stage of its step."""
    position = [2 * i for i in range(len(graph.tasks))]
    for order in orders.values():
        latest = max(position)
        for i in reversed(order):
            if latest < position[i]:
                position[i] = latest - 1
            latest = position[i]
    return Issue(stage=(0,) * len(graph.tasks), position=tuple(position))


def _candidates(graph: EventGraph, period: int) -> Iterator[Issue]:
    """Orders of issue that keep every dependency at a period."""
    for orders in _orders(graph):
        for slack in _SLACKS:
            pattern = _Pattern.build(graph, period, int(slack * period))
            starts = pattern.phased(orders)
            if starts is not None:
                yield _issue(starts, period)


def _orders(graph: EventGraph) -> Iterator[_Orders]:
    """Written order, with the tasks that wait for nothing put at every place in turn."""
    bound = {e.before for e in graph.edges} | {e.after for e in graph.edges}
    choices: list[list[tuple[str, tuple[int, ...]]]] = []
    for resource, members in graph.members.items():
        tied = [i for i in members if i in bound]
        free = [i for i in members if i not in bound]
        places = range(len(tied) + 1) if free else range(1)
        orders = [(*tied[: len(tied) - p], *free, *tied[len(tied) - p :]) for p in places]
        choices.append([(resource, order) for order in dict.fromkeys([*orders, members])])
    for combination in product(*choices):
        yield dict(combination)


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """Dependencies at a period, in units: (before, after, weight less tokens' periods)."""

    graph: EventGraph
    period: int
    edges: tuple[tuple[int, int, int], ...]

    @classmethod
    def build(cls, graph: EventGraph, period: int, slack: int) -> _Pattern:
        resource = [t.resource for t in graph.tasks]
        edges = tuple(
            (
                e.before,
                e.after,
                e.weight
                - period * e.tokens
                + (slack if resource[e.before] != resource[e.after] and not d.room else 0),
            )
            for e, d in zip(graph.edges, graph.dependencies, strict=True)
        )
        return cls(graph=graph, period=period, edges=edges)

    def phased(self, orders: _Orders) -> list[int] | None:
        """Starts with the phases that end the first step soonest, or None."""
        slots: list[int | None] = [None] * len(self.graph.tasks)
        starts: list[int] | None = None
        for order in orders.values():
            best: tuple[int, int, list[int]] | None = None
            for phase in [0] if starts is None else self._phases(starts, order):
                found = self.place(self._with(slots, order, phase))
                if found is not None:
                    end = max(map(add, found, self.graph.latency))
                    if best is None or (end, phase) < best[:2]:
                        best = (end, phase, found)
            if best is None:
                return None
            slots, starts = self._with(slots, order, best[1]), best[2]
        return starts

    def _with(
        self, slots: list[int | None], order: tuple[int, ...], phase: int
    ) -> list[int | None]:
        found = list(slots)
        for i in order:
            found[i] = phase
            phase += self.graph.occupancy[i]
        return found

    def _phases(self, ready: list[int], order: tuple[int, ...]) -> list[int]:
        """Phases at which some task of a resource starts just when its operands are there."""
        found: set[int] = set()
        offset = 0
        for i in order:
            found.add((ready[i] - offset) % self.period)
            offset += self.graph.occupancy[i]
        return sorted(found)

    def place(self, slots: list[int | None]) -> list[int] | None:
        """Earliest starts on the slots of the pattern; tasks without a slot are free."""
        starts = [0 if s is None else s for s in slots]
        for _ in range(2 * len(starts) + 2):
            changed = False
            for before, after, weight in self.edges:
                reach = starts[before] + weight
                if reach > starts[after]:
                    slot = slots[after]
                    if slot is not None:
                        reach = slot - self.period * ((slot - reach) // self.period)
                    starts[after] = reach
                    changed = True
            if not changed:
                return starts
        return None


def _issue(starts: list[int], period: int) -> Issue:
    stages = tuple(s // period for s in starts)
    least = min(stages)
    return Issue(
        stage=tuple(s - least for s in stages),
        position=tuple(s - period * k for s, k in zip(starts, stages, strict=True)),
    )
