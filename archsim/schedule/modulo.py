"""The order in which resources issue tasks: a modulo schedule.

Each resource runs its tasks back to back, in the order they are written; tasks that wait
for nothing (slices of work from outside the step) go where they disturb least. The period
is the longest of the busiest resource and the cycle mean of the dependencies. A task
starts at the first slot of that pattern at which its operands are there, which tells how
many steps it lags (its stage). The phase of each resource against the first is chosen by
trial.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import accumulate, pairwise, product
from math import ceil
from operator import add

from einsum_cascade.memo import cached_property

from .cycle_mean import maximum_cycle_mean
from .event_graph import EventGraph, Issue, longest_chains
from .makespan import first_optimal, shortest_order

# The period grows by a sixteenth where nothing fits: 80 tries come to 128 times the first one.
_PERIOD_GROWTH = 17 / 16
_MAX_PERIODS_TRIED = 80
_SLACKS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Waits added between resources, in periods: patience lets the first tiles run ahead."""
# Orders are compared over so many steps, which shows their fill and drain and how they go on.
_TRIAL_STEPS = 32
_PATIENT = 3
"""Rounds of putting off after which a look is worth while at who does it to whom."""

_MAX_CACHED_ORDERS = 512
"""Graphs whose orders are remembered: most mappings that a search tries have steps like others."""

_Orders = dict[str, tuple[int, ...]]

_Slotted = tuple[list[int | None], list[int]]
"""By task its slot of the pattern, None where it has none yet, and its earliest start."""


def modulo_schedule(graph: EventGraph) -> Issue:
    """Choose stages and positions for every task of a graph.

    Of several orders, plain in-order issue among them, the one that ends a short run
    soonest is taken.

    One-pass attention by tiles of 256 x 256 (BERT, 16 tiles a head): the 2D array makes
    scores (S), whose maximum is 256 cycles late, and after the running maximum (M, on the 1D
    array) their exponentials and sums (E), late again. The 1D array corrects what there is by
    the maximum (C), takes the sums in (R), and has a slice of an output (A) from outside. One
    tile in flight takes 6304 cycles a head, two 3152, and with three the 1D array always works:

    >>> from fractions import Fraction
    >>> from archsim.schedule.event_graph import GraphDependency, GraphTask, period_edges
    >>> def step(lookahead):
    ...     rows = (("S", "2D", 65, 256), ("M", "1D", 1, 0), ("E", "2D", 72, 256),
    ...             ("C", "1D", 72, 0), ("R", "1D", 65, 0), ("A", "1D", 16, 0))
    ...     tasks = tuple(
    ...         GraphTask(name=n, resource=r, occupancy=Fraction(x), latency=Fraction(x + late))
    ...         for n, r, x, late in rows
    ...     )
    ...     data = ((0, 1, 0), (1, 1, 1), (1, 2, 0), (1, 3, 0), (2, 4, 0))
    ...     room = ((2, 0, lookahead), (4, 1, lookahead))
    ...     waits = [
    ...         GraphDependency(before=b, after=a, distance=d, delay=tasks[b].latency)
    ...         for b, a, d in data
    ...     ] + [
    ...         GraphDependency(
    ...             before=b, after=a, distance=d, delay=tasks[b].occupancy, room=True
    ...         )
    ...         for b, a, d in room
    ...     ]
    ...     return EventGraph(tasks=tasks, dependencies=tuple(waits), steps=1000)
    >>> for graph in (step(1), step(2), step(3)):
    ...     edges = period_edges(graph, modulo_schedule(graph))
    ...     print(16 * maximum_cycle_mean(len(graph.tasks), edges).mean)
    6304
    3152
    2464
    """
    return _scheduled(_OrderKey.of(graph))


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrderKey:
    """A graph, equal to all others of which the same order is chosen.

    That is chosen by whole numbers of units and who shares a resource: what tasks are called, why
    they wait, how long a unit is, and steps beyond those that are tried make no difference.
    """

    resource: tuple[int, ...]
    occupancy: tuple[int, ...]
    latency: tuple[int, ...]
    waits: tuple[tuple[int, int, int, int, bool], ...]
    """(before, after, weight, tokens, room)."""
    steps: int
    graph: EventGraph = field(compare=False, repr=False)

    @classmethod
    def of(cls, graph: EventGraph) -> _OrderKey:
        rooms = (d.room for d in graph.dependencies)
        return cls(
            resource=graph.resource,
            occupancy=graph.occupancy,
            latency=graph.latency,
            waits=tuple((*e[:4], room) for e, room in zip(graph.edges, rooms, strict=True)),
            steps=min(graph.steps, _TRIAL_STEPS),
            graph=graph,
        )


@lru_cache(maxsize=_MAX_CACHED_ORDERS)
def _scheduled(alike: _OrderKey) -> Issue:
    graph = alike.graph
    busiest = max(graph.work)
    mean = maximum_cycle_mean(len(graph.tasks), graph.edges, least=busiest).mean
    period = max(ceil(mean), 1)
    if first_graphs().over() and (issue := _compiled(graph, period)) is not None:
        return issue
    return _in_python(graph, period)


def _in_python(graph: EventGraph, period: int) -> Issue:
    """The order that ends soonest of those in which steps overlap at a period, or do not."""
    found = dict.fromkeys(_in_order(graph, orders) for orders in _orders(graph))
    trial = graph.at_most(_TRIAL_STEPS)
    if (plain := first_optimal(trial, found)) is not None:
        return plain
    for _ in range(_MAX_PERIODS_TRIED):
        overlapped = dict.fromkeys(_candidates(graph, period))
        if overlapped:
            found.update(overlapped)
            break
        if all(is_never_placeable(graph, orders) for orders in _orders(graph)):
            break
        period = ceil(period * _PERIOD_GROWTH)
    return shortest_order(trial, found)


def _compiled(graph: EventGraph, period: int) -> Issue | None:
    """The same, compiled; None where times do not fit into whole numbers of 64 bits."""
    from .order_kernel import OrderSearch, fit

    trial = graph.at_most(_TRIAL_STEPS)
    search: OrderSearch | None = None
    for _ in range(_MAX_PERIODS_TRIED):
        slacks = [int(slack * period) for slack in _SLACKS]
        if not fit(trial, period, slacks):
            return None
        search = search or OrderSearch(trial, _choices(graph))
        placed, issue = search.at(period, slacks)
        if placed:
            return issue
        if all(is_never_placeable(graph, orders) for orders in _orders(graph)):
            break
        period = ceil(period * _PERIOD_GROWTH)
    return None if search is None else search.at(period, (), plain=True)[1]


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
    patterns: list[_Pattern] = []
    for slack in _SLACKS:
        patterns.append(_Pattern.build(graph, period, int(slack * period), patterns[-1:]))
    for orders in _orders(graph):
        for pattern in patterns:
            starts = pattern.phased(orders)
            if starts is not None:
                yield _issue(starts, period)


def _orders(graph: EventGraph) -> Iterator[_Orders]:
    """Orders of all resources: every choice of one with every choice of the others."""
    for combination in product(*_choices(graph)):
        yield dict(zip(graph.members, combination, strict=True))


def _choices(graph: EventGraph) -> list[list[tuple[int, ...]]]:
    """By resource, written order with the tasks that wait for nothing at every place in turn."""
    bound = {e.before for e in graph.edges} | {e.after for e in graph.edges}
    choices: list[list[tuple[int, ...]]] = []
    for members in graph.members.values():
        tied = [i for i in members if i in bound]
        free = [i for i in members if i not in bound]
        places = range(len(tied) + 1) if free else range(1)
        orders = [(*tied[: len(tied) - p], *free, *tied[len(tied) - p :]) for p in places]
        # Of tied tasks a and b and a free one x: (a, b, x), (a, x, b) and (x, a, b).
        choices.append([*dict.fromkeys([*orders, members])])
    return choices


def is_never_placeable(graph: EventGraph, orders: _Orders) -> bool:
    """Whether tasks that a resource runs back to back wait for themselves at any period.

    Who waits for a result that comes later than its slot behind the other's is a period late.
    """
    for order in orders.values():
        # Slots are sums of what stands before: of occupancies 3, 2, 4 they are 0, 3, 5.
        ends = accumulate((graph.occupancy[i] for i in order), initial=0)
        slot = dict(zip(order, ends, strict=False))
        late = [
            (e.before, e.after, int(e.weight > slot[e.after] - slot[e.before]) - e.tokens)
            for e in graph.edges
            if e.weight > 0 and e.before in slot and e.after in slot
        ]
        if _has_positive_cycle(late, order):
            return True
    return False


def _has_positive_cycle(edges: Iterable[tuple[int, int, int]], nodes: Iterable[int]) -> bool:
    """Whether weights add up to more than nothing round some circle."""
    far = dict.fromkeys(nodes, 0)
    for _ in range(len(far) + 1):
        again = False
        for before, after, weight in edges:
            if far[before] + weight > far[after]:
                far[after] = far[before] + weight
                again = True
        if not again:
            return False
    return True


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """Dependencies at a period, in units."""

    graph: EventGraph
    period: int
    followers: tuple[tuple[tuple[int, int], ...], ...]
    """Per task, who waits for it: (after, weight less tokens' periods)."""
    tighter: tuple[_Pattern, ...] = ()
    """One with less slack, if there is one: nothing is there sooner with more."""
    known: dict[tuple[tuple[int, ...], ...], _Slotted | None] = field(default_factory=dict)
    """What is placed already, by the orders of the first resources."""

    @classmethod
    def build(
        cls, graph: EventGraph, period: int, slack: int, tighter: Iterable[_Pattern] = ()
    ) -> _Pattern:
        followers: list[list[tuple[int, int]]] = [[] for _ in graph.tasks]
        for e, d in zip(graph.edges, graph.dependencies, strict=True):
            # ``tokens`` steps earlier is as many periods earlier, whatever the stages.
            apart = graph.resource[e.before] != graph.resource[e.after] and not d.room
            weight = e.weight - period * e.tokens + (slack if apart else 0)
            followers[e.before].append((e.after, weight))
        return cls(
            graph=graph,
            period=period,
            followers=tuple(map(tuple, followers)),
            tighter=tuple(tighter),
        )

    @cached_property
    def ready(self) -> list[int] | None:
        """Earliest starts as far as dependencies go, or None."""
        everyone = range(len(self.graph.tasks))
        starts = [0 for _ in everyone]
        for one in self.tighter:
            if one.ready is None:
                return None
            starts = [*one.ready]
        return self._settle(starts, [None for _ in everyone], everyone, None, ())

    @cached_property
    def tails(self) -> tuple[int, ...]:
        """From the start of every task until all that wait for it are done, at the least."""
        links = [
            (after, before, weight)
            for before, followers in enumerate(self.followers)
            for after, weight in followers
        ]
        least = [one.tails for one in self.tighter]
        return longest_chains([*(least or [self.graph.latency])[0]], links)

    def phased(self, orders: _Orders) -> list[int] | None:
        """Starts with the phases that end the first step soonest, or None."""
        placed = self._placed(tuple(orders.values()))
        return None if placed is None else placed[1]

    def _placed(self, orders: tuple[tuple[int, ...], ...]) -> _Slotted | None:
        """Slots and starts once some resources have their orders, the first at phase 0.

        Orders of all resources differ in the last ones more often than in the first.
        """
        if orders in self.known:
            return self.known[orders]
        best: _Slotted | None = None
        if not orders:
            ready = self.ready
            best = None if ready is None else ([None] * len(ready), ready)
        elif (outer := self._placed(orders[:-1])) is not None:
            best = self._soonest(outer, orders[-1], anywhere=len(orders) > 1)
        self.known[orders] = best
        return best

    def _soonest(
        self, outer: _Slotted, order: tuple[int, ...], *, anywhere: bool
    ) -> _Slotted | None:
        """Slots and starts with one more resource, at the phase that ends soonest.

        Of phases at which no task that is put off ends as late as one that is not, the last
        is taken; else the first of the best. Those that may end soonest are tried first, until
        no other can be better.
        """
        ready, latency = outer[1], self.graph.latency
        before = max(map(add, ready, latency))
        phases = self._phases(ready, order) if anywhere else (0,)
        offers = sorted([(self._least(ready, order, p, before), p) for p in phases])
        for least, phase in reversed(offers) if len(offers) > 1 else ():
            if least == before:
                # Tails may end with a task that is not put off.
                found = self._place(outer, order, phase, before, latency)
                if found is not None:
                    return found
        best: _Slotted | None = None
        won: tuple[int, int] | None = None
        for least, phase in offers:
            if won is not None and (least, phase) > won:
                break
            # One that ends as soon as the best is taken if its phase comes before.
            limit = None if won is None else won[0] + (phase < won[1])
            found = self._place(outer, order, phase, limit, self.tails)
            if found is not None:
                best, won = found, (max(map(add, found[1], latency)), phase)
        return best

    def _phases(self, ready: list[int], order: tuple[int, ...]) -> set[int]:
        """Phases at which some task of a resource starts just when its operands are there."""
        found: set[int] = set()
        offset = 0
        for i in order:
            found.add((ready[i] - offset) % self.period)
            offset += self.graph.occupancy[i]
        return found

    def _least(self, ready: list[int], order: tuple[int, ...], phase: int, least: int) -> int:
        """What all is not done before, with slots from a phase on for one more resource.

        ``least`` is that without them.
        """
        occupancy, tails, period = self.graph.occupancy, self.tails, self.period
        slot = phase
        for i in order:
            start = slot
            if start < ready[i]:
                start -= period * ((start - ready[i]) // period)
            if start + tails[i] > least:
                least = start + tails[i]
            slot += occupancy[i]
        return least

    def _place(
        self,
        outer: _Slotted,
        order: tuple[int, ...],
        phase: int,
        limit: int | None,
        tails: tuple[int, ...],
    ) -> _Slotted | None:
        """Slots from a phase on for one more resource, and the earliest starts with them.

        No task starts before it did without them. None as of ``_settle``.
        """
        occupancy, period = self.graph.occupancy, self.period
        slots, starts = list(outer[0]), list(outer[1])
        late: list[int] = []
        for i in order:
            slots[i] = slot = phase
            phase += occupancy[i]
            if slot < starts[i]:
                slot -= period * ((slot - starts[i]) // period)
            if slot > starts[i]:
                starts[i] = slot
                late.append(i)
        settled = self._settle(starts, slots, late, limit, tails)
        return None if settled is None else (slots, settled)

    def _settle(
        self,
        starts: list[int],
        slots: list[int | None],
        late: Iterable[int],
        limit: int | None,
        tails: tuple[int, ...],
    ) -> list[int] | None:
        """Put off all who wait for late tasks, until nobody is; None where that never ends.

        A task that has a slot starts there, this period or a later one. Starts only grow, so
        that one that is put off and whose tail ends at ``limit`` or later decides: None then. A
        round settles one more task of every chain: when there are more rounds than tasks, some
        wait for themselves. Most that do are found out after a few rounds, from who put off whom.
        """
        period, all_followers = self.period, self.followers
        # In bytes, so that who is put off is looked for in no time: mostly few are.
        delayed = bytearray(len(starts))
        because = [-1] * len(starts)
        for i in late:
            delayed[i] = 1
        for number in range(len(starts) + 2):
            again = False
            before = -1
            while (before := delayed.find(1, before + 1)) >= 0:
                delayed[before] = 0
                start = starts[before]
                if limit is not None and start + tails[before] >= limit:
                    return None
                for after, weight in all_followers[before]:
                    reach = start + weight
                    if reach > starts[after]:
                        # The first time not before ``reach`` at which its slot comes: with slot 3
                        # of a period of 10, 25 becomes 33.
                        slot = slots[after]
                        if slot is not None:
                            reach = slot - period * ((slot - reach) // period)
                        starts[after] = reach
                        because[after] = before
                        delayed[after] = 1
                        again |= after <= before
            if not again:
                return starts
            if number >= _PATIENT and self._grows(starts, slots, because):
                return None
        return None

    def _grows(self, starts: list[int], slots: list[int | None], because: list[int]) -> bool:
        """Whether tasks that put one another off, in a circle, do so for ever.

        Once round the circle a task with a slot is put off by whole periods, and then again and
        again by as many: what a later start does to it is the same, as much later. Without slots
        in the circle any time does.
        """
        seen = [-1] * len(because)
        for first in range(len(because)):
            at = first
            while at >= 0 and seen[at] < 0:
                seen[at] = first
                at = because[at]
            if at < 0 or seen[at] != first:
                continue
            circle = [at]
            while because[circle[-1]] != at:
                circle.append(because[circle[-1]])
            turn = next((n for n, i in enumerate(circle) if slots[i] is not None), 0)
            circle = [*circle[turn:], *circle[:turn]]
            start = starts[circle[0]]
            for before, after in pairwise([*reversed([*circle, circle[0]])]):
                start = self._delayed_start(before, after, start, slots[after])
            if start > starts[circle[0]]:
                return True
        return False

    def _delayed_start(self, before: int, after: int, start: int, slot: int | None) -> int:
        """When a task can start that waits for one which starts then."""
        reach = start + max(weight for i, weight in self.followers[before] if i == after)
        return reach if slot is None else slot - self.period * ((slot - reach) // self.period)


def _issue(starts: list[int], period: int) -> Issue:
    stages = [s // period for s in starts]
    least = min(stages)
    return Issue(
        stage=tuple([s - least for s in stages]),
        position=tuple([s % period for s in starts]),
    )


@dataclass
class JitThreshold:
    """Those that are left to Python: each takes some milliseconds, as do, but for a hundred times
    as long, the import of a compiler and the reading of what it compiled."""

    alone: int = 250
    beside: int = 16
    """Where Numba is there already."""

    def over(self) -> bool:
        """Whether one more is none of them."""
        self.alone -= 1
        self.beside -= 1
        return self.alone < 0 or (self.beside < 0 and "numba" in sys.modules)


@cache
def first_graphs() -> JitThreshold:
    """Those of the whole process: what costs an import once need not be put off for ever."""
    return JitThreshold()
