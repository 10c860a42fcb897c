"""Modulo schedule: the order in which resources issue tasks, equal in every period.

Each resource runs its tasks back to back, in written order. Tasks without dependencies (slices of
work from outside the step) go where they delay other tasks least. The period is the work of the
busiest resource, or the cycle mean of the dependencies if that is longer. A task starts in the
first slot of its resource's pattern at which its operands are ready. The slot gives its stage: the
number of steps by which it lags. The phase of each resource relative to the first is found by
trial.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from itertools import accumulate
from math import ceil

from einsum_cascade.memo import Cache, Key

from ..tables import MAX_COMPILED_TIME, PythonBudget, compiled_kernel
from . import policy
from .event_graph import EventGraph, Issue, maximum_cycle_mean, positive_cycle
from .order_kernel import CHOSEN, HELPERS, UNPLACED, OrderTables, choose

_PYTHON_GRAPHS = PythonBudget(
    before_import=policy.GRAPHS_BEFORE_JIT, if_imported=policy.GRAPHS_BEFORE_JIT_IF_IMPORTED
)
"""Number of graphs that the process still schedules in Python, before it compiles the kernel."""


def modulo_schedule(graph: EventGraph) -> Issue:
    """Return an order of issue: a stage and a position for every task of a graph.

    A short run of each candidate order is timed, and the one that ends soonest is chosen. Written
    order is among the candidates.

    An example is one-pass attention with tiles of 256 x 256 (BERT, 16 tiles per head). The 2D array
    computes scores (S), whose maximum is 256 cycles late. After the running maximum (M, on the 1D
    array) the 2D array computes exponentials and sums (E), late again. The 1D array corrects
    earlier sums by the maximum (C), adds the new sums (R), and computes a slice of an output from
    outside (A). One tile in flight takes 6304 cycles per head, two take 3152, and with three the 1D
    array never waits:

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
    ...     waits = [GraphDependency(*flow) for flow in data]
    ...     waits += [GraphDependency(*limit, room=True) for limit in room]
    ...     return EventGraph(tasks=tasks, dependencies=tuple(waits), steps=1000)
    >>> for graph in (step(1), step(2), step(3)):
    ...     edges = period_edges(graph, modulo_schedule(graph))
    ...     print(16 * maximum_cycle_mean(len(graph.tasks), edges).mean)
    6304
    3152
    2464
    """
    return _ORDERS.get(_key(graph), lambda: _scheduled(graph))


_ORDERS = Cache[Issue](policy.MAX_CACHED_ORDERS)


def _key(graph: EventGraph) -> Hashable:
    """Return a key that is equal for graphs that get the same order of issue.

    The choice depends on times in units and on shared resources. Names, reasons of dependencies,
    the length of a unit, and steps beyond the trial run make no difference.
    """
    waits = tuple((*e[:4], d.room) for e, d in zip(graph.edges, graph.dependencies, strict=True))
    steps = min(graph.steps, policy.TRIAL_STEPS)
    return Key(graph.resource, graph.occupancy, graph.latency, waits, steps)


def _scheduled(graph: EventGraph) -> Issue:
    mean = maximum_cycle_mean(len(graph.tasks), graph.edges, least=max(graph.work)).mean
    compile_kernel = _PYTHON_GRAPHS.left <= 0
    _PYTHON_GRAPHS.spend(1)
    return schedule_from(graph, max(ceil(mean), 1), compile_kernel=compile_kernel)


def schedule_from(graph: EventGraph, period: int, *, compile_kernel: bool) -> Issue:
    """Return the order of issue at the smallest tried period at which steps can overlap.

    Periods are tried from ``period`` upwards. If none works, steps do not overlap.

    Parameters
    ----------
    period : int
        Units of time between two steps.
    compile_kernel : bool
        True to run compiled code where all times fit into 64 bits.
    """
    trial = graph.at_most(policy.TRIAL_STEPS)
    choices = choices_of(graph)
    tables = tables_of(trial, choices)
    for _ in range(policy.MAX_PERIODS_TRIED):
        slacks = [int(slack * period) for slack in policy.SLACKS]
        status, issue = _choose(trial, tables, period, slacks, compile_kernel)
        if status != UNPLACED:
            break
        if any(all(is_never_placeable(graph, order) for order in orders) for orders in choices):
            break
        period = ceil(period * policy.PERIOD_GROWTH)
    if status == UNPLACED:
        status, issue = _choose(trial, tables, period, [], compile_kernel)
    assert status == CHOSEN, "written order is legal"
    return issue


def _choose(
    trial: EventGraph, tables: OrderTables, period: int, slacks: list[int], compile_kernel: bool
) -> tuple[int, Issue]:
    """Return the kernel's status at one period, and the order that it chose, if any."""
    tasks = len(trial.tasks)
    beyond = latest_time(trial, period, slacks)
    chosen = [0] * (2 * tasks)
    compiles = compile_kernel and beyond < MAX_COMPILED_TIME
    kernel = compiled_kernel(HELPERS, choose) if compiles else choose
    status = kernel(tables, period, slacks, trial.steps, beyond, chosen)
    return status, Issue(stage=tuple(chosen[:tasks]), position=tuple(chosen[tasks:]))


Choices = Sequence[Sequence[tuple[int, ...]]]
"""Candidate orders of the tasks, for each resource."""


def tables_of(graph: EventGraph, choices: Choices) -> OrderTables:
    """Return a graph and its candidate orders as flat tables."""
    edges = sorted(
        (
            *(e.before, e.after, e.weight, e.tokens),
            int(graph.resource[e.before] != graph.resource[e.after] and not d.room),
        )
        for e, d in zip(graph.edges, graph.dependencies, strict=True)
    )
    before, after, weight, tokens, crossing = ([edge[n] for edge in edges] for n in range(5))
    leaving = [0] * len(graph.tasks)
    for task in before:
        leaving[task] += 1
    flat = [[i for order in orders for i in order] for orders in choices]
    return OrderTables(
        resource=[*graph.resource],
        occupancy=[*graph.occupancy],
        latency=[*graph.latency],
        heads=[*graph.heads],
        tails=[*graph.tails],
        work=[*graph.work],
        first=[*accumulate(leaving, initial=0)],
        before=before,
        after=after,
        weight=weight,
        tokens=tokens,
        crossing=crossing,
        choices=[*map(len, choices)],
        size=[len(orders[0]) for orders in choices],
        at=[*accumulate(map(len, flat), initial=0)],
        orders=[i for here in flat for i in here],
    )


def latest_time(graph: EventGraph, period: int, slacks: Iterable[int]) -> int:
    """Return an upper bound of the absolute value of every time that the kernel computes."""
    tasks, resources = len(graph.tasks), len(graph.members)
    waits = [0, *slacks]
    total = sum(graph.occupancy)
    weight = max((abs(e.weight) for e in graph.edges), default=0)
    tokens = max((abs(e.tokens) for e in graph.edges), default=0)
    back = max((-e.tokens for e in graph.edges if e.tokens < 0), default=0)
    # A delayed task starts at most one hop after the last of all, or two periods and all work
    # after zero; in a round each task delays others once. Placements settle for one slack after
    # the other, then for one resource after the other.
    hop = weight + max(waits) + period * (1 + back)
    settled = (tasks + 2) * tasks * hop + 2 * period + total
    starts = (len(waits) + resources) * settled
    # Work in all periods before a stage fits into these turns, as it fits into one period.
    turns = (graph.steps + 2) * (tasks + 1) * (weight + total)
    return 2 * starts + period * (tokens + 2) + turns + 2 * max(graph.latency)


def choices_of(graph: EventGraph) -> list[list[tuple[int, ...]]]:
    """Return the candidate orders of each resource: the free tasks are tried at every position.

    A task is free if it has no dependencies. All other tasks keep their written order. Of tasks a
    and b with dependencies and a free task x: (a, b, x), (a, x, b) and (x, a, b).
    """
    bound = {e.before for e in graph.edges} | {e.after for e in graph.edges}
    choices: list[list[tuple[int, ...]]] = []
    for members in graph.members.values():
        tied = [i for i in members if i in bound]
        free = [i for i in members if i not in bound]
        places = range(len(tied) + 1) if free else range(1)
        orders = [(*tied[: len(tied) - p], *free, *tied[len(tied) - p :]) for p in places]
        choices.append([*dict.fromkeys([*orders, members])])
    return choices


def is_never_placeable(graph: EventGraph, order: tuple[int, ...]) -> bool:
    """Return whether one resource's tasks, run back to back, cannot keep their dependencies at any
    period.

    A task that waits for a result later than its slot allows is a period late.
    """
    # Slots are sums of the occupancies before: of 3, 2 and 4 they are 0, 3 and 5.
    ends = accumulate((graph.occupancy[i] for i in order), initial=0)
    slot = dict(zip(order, ends, strict=False))
    periods = [
        e._replace(weight=int(e.weight > slot[e.after] - slot[e.before]))
        for e in graph.edges
        if e.weight > 0 and e.before in slot and e.after in slot
    ]
    # A cycle of dependencies fails if it is late for more periods than it spans.
    return bool(positive_cycle(len(graph.tasks), periods, Fraction(1)))
