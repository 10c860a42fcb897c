"""Modulo scheduling, compiled: the same order of issue as ``modulo`` chooses in Python.

A graph whose times fit into 64 bits becomes tables; candidates are placed at a period, and a
short run of each decides. Tasks that delay one another for ever are found by the number of rounds
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..compiled import compiled, compiled_inside
from .event_graph import EventGraph, Issue
from .makespan import least_of_any

CHOSEN, UNPLACED, ILLEGAL = range(3)
"""What ``choose`` comes to: an order, none that keeps all dependencies at the period, or only such
as wait for themselves within a period."""


@compiled
def choose(
    t: OrderTables, period: int, slacks: Ints, steps: int, sure: int, plain: bool, chosen: Ints
) -> int:
    """Choose an order of issue.

    Parameters
    ----------
    period : int
        Units of time between two steps, for those that overlap.
    slacks : numpy.ndarray
        (patterns,): waits added between resources.
    steps : int
        So many are tried.
    sure : int
        What no run ends before in any order.
    plain : bool
        Whether steps do not overlap.
    chosen : numpy.ndarray
        (2, tasks): gets the stages and positions.

    Returns
    -------
    int
        ``CHOSEN``, ``UNPLACED`` or ``ILLEGAL``.
    """
    tasks, known = len(t.resource), 1
    for choices in t.choices:
        known *= choices
    most = known if plain else known * (1 + len(slacks))
    stage, position = np.zeros((most, tasks), np.int64), np.empty((most, tasks), np.int64)
    by, after = np.empty(tasks, np.int64), np.empty(len(t.work), np.int64)
    in_order(t, position)
    least = np.empty(most, np.int64)
    for n in range(known):
        by_position(position[n], by)
        least[n] = work_ends(t, steps, stage[n], by, after)
        if least[n] == sure:
            end = end_of(t, steps, stage[n], by, after, sure + 1)
            if end != LATE:
                copy_row(chosen[0], stage[n])
                copy_row(chosen[1], position[n])
                return CHOSEN
    if not plain:
        more = candidates(t, period, slacks, stage[known:], position[known:])
        if more == 0:
            return UNPLACED
        for n in range(known, known + more):
            by_position(position[n], by)
            least[n] = work_ends(t, steps, stage[n], by, after)
        known += more
    best, best_end = -1, BEYOND
    for _ in range(known):
        now = 0
        for n in range(known):
            if least[n] < least[now]:
                now = n
        if least[now] > best_end or (least[now] == best_end and now > best):
            break
        by_position(position[now], by)
        work_ends(t, steps, stage[now], by, after)
        limit = best_end + 1 if now < best else best_end
        end = end_of(t, steps, stage[now], by, after, limit)
        if end != LATE:
            best, best_end = now, end
        # It is not tried again.
        least[now] = BEYOND
    if best < 0:
        return ILLEGAL
    copy_row(chosen[0], stage[best])
    copy_row(chosen[1], position[best])
    return CHOSEN


Ints: TypeAlias = npt.NDArray[np.int64]

BEYOND = 1 << 62
"""Later than any time that is counted to here."""


class OrderTables(NamedTuple):
    """A graph with the orders of its resources; times are in its units."""

    resource: Ints
    occupancy: Ints
    latency: Ints
    heads: Ints
    tails: Ints
    work: Ints
    """By resource what it does in a step."""
    busiest: Ints
    """By resource 1 where none has more to do."""
    first: Ints
    """(tasks + 1,): the dependencies on task i are those from ``first[i]`` on, to the next's."""
    before: Ints
    after: Ints
    weight: Ints
    tokens: Ints
    apart: Ints
    """1 where slack is added: data between two resources."""
    choices: Ints
    """By resource how many orders there are."""
    size: Ints
    """By resource how many tasks."""
    at: Ints
    """By resource where its orders begin in ``orders``, one behind the other."""
    orders: Ints


@compiled_inside
def _next_choice(t: OrderTables, choice: Ints) -> int:
    """Move on to the next orders, the last resource first: who has another one; -1 at the end."""
    level = len(choice) - 1
    while level >= 0 and choice[level] + 1 == t.choices[level]:
        choice[level] = 0
        level -= 1
    if level >= 0:
        choice[level] += 1
    return level


@compiled_inside
def copy_row(into: Ints, of: Ints) -> None:
    """One after the other: what Numba says of slices of unlike lengths takes long to compile."""
    for i in range(len(into)):
        into[i] = of[i]


@compiled_inside
def _settle(
    t: OrderTables,
    weight: Ints,
    slots: Ints,
    starts: Ints,
    delayed: Ints,
    limit: int,
    tails: Ints,
    period: int,
) -> bool:
    """As ``_Pattern._settle``; False for None, and -1 for a task without a slot."""
    for _ in range(len(starts) + 2):
        again = False
        for before in range(len(starts)):
            if delayed[before] == 0:
                continue
            delayed[before] = 0
            start = starts[before]
            if start + tails[before] >= limit:
                return False
            for e in range(t.first[before], t.first[before + 1]):
                after = t.after[e]
                reach = start + weight[e]
                if reach > starts[after]:
                    slot = slots[after]
                    if slot >= 0:
                        reach = slot - period * ((slot - reach) // period)
                    starts[after] = reach
                    delayed[after] = 1
                    if after <= before:
                        again = True
        if not again:
            return True
    return False


@compiled_inside
def _place(
    t: OrderTables,
    weight: Ints,
    ready: Ints,
    order: Ints,
    phase: int,
    slots: Ints,
    starts: Ints,
    limit: int,
    tails: Ints,
    period: int,
) -> bool:
    """As ``_Pattern._place``, into ``starts``; ``slots`` of other resources are there."""
    copy_row(starts, ready)
    delayed = np.zeros(len(starts), np.int64)
    slot = phase
    for i in order:
        slots[i] = slot
        start = slot
        if start < ready[i]:
            start -= period * ((start - ready[i]) // period)
        if start > ready[i]:
            starts[i] = start
            delayed[i] = 1
        slot += t.occupancy[i]
    return _settle(t, weight, slots, starts, delayed, limit, tails, period)


@compiled_inside
def _offers(
    t: OrderTables,
    ready: Ints,
    order: Ints,
    anywhere: bool,
    least: int,
    tails: Ints,
    period: int,
    offers: Ints,
) -> int:
    """Phases with what all is not done before, the soonest first: how many there are."""
    known = 0
    offset = 0
    for first in order:
        phase = (ready[first] - offset) % period if anywhere else 0
        offset += t.occupancy[first]
        end, slot = least, phase
        for i in order:
            start = slot
            if start < ready[i]:
                start -= period * ((start - ready[i]) // period)
            end = max(end, start + tails[i])
            slot += t.occupancy[i]
        at = known
        while at > 0 and (
            end < offers[at - 1, 0] or (end == offers[at - 1, 0] and phase < offers[at - 1, 1])
        ):
            at -= 1
        if at > 0 and end == offers[at - 1, 0] and phase == offers[at - 1, 1]:
            continue
        for n in range(known, at, -1):
            offers[n, 0], offers[n, 1] = offers[n - 1, 0], offers[n - 1, 1]
        offers[at, 0], offers[at, 1] = end, phase
        known += 1
    return known


@compiled_inside
def last_end(starts: Ints, latency: Ints) -> int:
    end: int = starts[0] + latency[0]
    for i in range(1, len(starts)):
        end = max(end, starts[i] + latency[i])
    return end


@compiled_inside
def _soonest(
    t: OrderTables,
    weight: Ints,
    tails: Ints,
    order: Ints,
    anywhere: bool,
    period: int,
    ready: Ints,
    slots: Ints,
    starts: Ints,
) -> bool:
    """As ``_Pattern._soonest``: into ``slots``, which others have theirs in, and ``starts``."""
    before = last_end(ready, t.latency)
    offers = np.empty((len(order), 2), np.int64)
    count = _offers(t, ready, order, anywhere, before, tails, period, offers)
    if count > 1:
        for n in range(count - 1, -1, -1):
            if offers[n, 0] == before and _place(
                t, weight, ready, order, offers[n, 1], slots, starts, before, t.latency, period
            ):
                return True
    tried = np.empty(len(starts), np.int64)
    won, won_end, won_phase = False, BEYOND, 0
    for n in range(count):
        least, phase = offers[n, 0], offers[n, 1]
        if won and (least > won_end or (least == won_end and phase > won_phase)):
            break
        limit = won_end + 1 if won and phase < won_phase else won_end
        if _place(t, weight, ready, order, phase, slots, tried, limit, tails, period):
            copy_row(starts, tried)
            won, won_end, won_phase = True, last_end(tried, t.latency), phase
    slot = won_phase
    for i in order:
        slots[i] = slot
        slot += t.occupancy[i]
    return won


@compiled_inside
def candidates(t: OrderTables, period: int, slacks: Ints, stage: Ints, position: Ints) -> int:
    """As ``modulo._candidates``, a row each: how many there are."""
    count, tasks, patterns, row = len(t.work), len(t.resource), len(slacks), 0
    weight = np.empty((patterns, len(t.weight)), np.int64)
    tails = np.empty((patterns, tasks), np.int64)
    slots = np.empty((patterns, count + 1, tasks), np.int64)
    starts = np.zeros((patterns, count + 1, tasks), np.int64)
    # For a number that stands in the code Numba would compile ``_settle`` once more.
    never = max(BEYOND, period)
    fine, everyone = np.zeros((patterns, count + 1), np.int64), np.empty(tasks, np.int64)
    for p in range(patterns):
        for e in range(len(t.weight)):
            weight[p, e] = t.weight[e] - period * t.tokens[e] + slacks[p] * t.apart[e]
        for i in range(tasks):
            everyone[i] = 1
            slots[p, 0, i] = -1
        if p > 0:
            copy_row(starts[p, 0], starts[p - 1, 0])
        if not _settle(t, weight[p], slots[p, 0], starts[p, 0], everyone, never, t.latency, period):
            # Nothing is there sooner with more slack.
            break
        fine[p, 0] = 1
        copy_row(tails[p], t.latency if p == 0 else tails[p - 1])
        for _ in range(tasks):
            for e in range(len(t.weight)):
                one, other = t.after[e], t.before[e]
                tails[p, other] = max(tails[p, other], tails[p, one] + weight[p, e])
    choice = np.zeros(count, np.int64)
    moved = 0
    while moved >= 0:
        for p in range(patterns):
            # Orders of the resources before are those of the choice before.
            for r in range(moved, count):
                begin = t.at[r] + choice[r] * t.size[r]
                order = t.orders[begin : begin + t.size[r]]
                copy_row(slots[p, r + 1], slots[p, r])
                fine[p, r + 1] = fine[p, r] == 1 and _soonest(
                    t,
                    weight[p],
                    tails[p],
                    order,
                    r > 0,
                    period,
                    starts[p, r],
                    slots[p, r + 1],
                    starts[p, r + 1],
                )
            if fine[p, count] == 0:
                continue
            soonest = never
            for start in starts[p, count]:
                soonest = min(soonest, start)
            for i in range(tasks):
                stage[row, i] = starts[p, count, i] // period - soonest // period
                position[row, i] = starts[p, count, i] % period
            row += 1
        moved = _next_choice(t, choice)
    return row


@compiled_inside
def in_order(t: OrderTables, position: Ints) -> None:
    """As ``modulo._in_order``, a row each."""
    choice = np.zeros(len(t.work), np.int64)
    row = moved = 0
    while moved >= 0:
        here = position[row]
        for i in range(len(here)):
            here[i] = 2 * i
        for r in range(len(t.work)):
            latest = here[0]
            for place in here:
                latest = max(latest, place)
            begin = t.at[r] + choice[r] * t.size[r]
            for n in range(begin + t.size[r] - 1, begin - 1, -1):
                i = t.orders[n]
                if latest < here[i]:
                    here[i] = latest - 1
                latest = here[i]
        row += 1
        moved = _next_choice(t, choice)


LATE = -1
"""In place of an end: not before a limit, or never, as some task waits for itself."""

_PERIODS_BETWEEN_CHECKS = 4
"""As in ``makespan``."""


@compiled_inside
def by_position(position: Ints, order: Ints) -> None:
    """Tasks as their positions are, those of one position as they are written."""
    for i in range(len(position)):
        at = i
        while at > 0 and position[order[at - 1]] > position[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i


@compiled_inside
def work_ends(t: OrderTables, steps: int, stage: Ints, order: Ints, after: Ints) -> int:
    """As ``heads_tails.work_ends``, of which ``after`` is kept, and ``least_end``."""
    least = 0
    for r in range(len(t.work)):
        early = late = 0
        low, high = BEYOND, 0
        for n in range(len(order) if t.busiest[r] == 1 else 0):
            i = order[n]
            if t.resource[i] != r:
                continue
            now = stage[i]
            low, high = min(low, now), max(high, now)
            # Turns before its first one, and those from its last one on.
            filled = left = 0
            for m in range(len(order)):
                other = order[m]
                if t.resource[other] == r:
                    behind = now - stage[other]
                    # ``other`` has one turn more within the period in which this one is.
                    if behind >= 0:
                        filled += (behind + int(m < n)) * t.occupancy[other]
                    if behind <= 0:
                        left += (int(m >= n) - behind) * t.occupancy[other]
            early = max(early, t.heads[i] - filled)
            late = max(late, t.tails[i] - left)
        after[r] = late
        least = max(least, (early if steps > high - low + 1 else 0) + steps * t.work[r] + late)
    return least


@compiled_inside
def _fires(t: OrderTables, ago: Ints, by: Ints, order: Ints) -> bool:
    """As ``makespan._firing_order``; False where tasks wait for one another within a period."""
    done = np.zeros(len(by), np.int64)
    open_at = np.empty(len(t.work), np.int64)
    fired = 0
    while fired < len(by):
        known = fired
        for r in range(len(open_at)):
            open_at[r] = 1
        for i in by:
            r = t.resource[i]
            if done[i] == 1 or open_at[r] == 0:
                continue
            for e in range(len(ago)):
                if ago[e] == 0 and t.after[e] == i and done[t.before[e]] == 0:
                    # Nor do those behind it on its resource come now.
                    open_at[r] = 0
                    break
            if open_at[r] == 1:
                done[i] = 1
                order[fired] = i
                fired += 1
        if fired == known:
            return False
    return True


@compiled_inside
def _least_left(
    t: OrderTables, steps: int, stage: Ints, free: Ints, after: Ints, period: int
) -> int:
    """As ``_Trials._least``."""
    ahead = np.empty(len(free), np.int64)
    for r in range(len(free)):
        ahead[r] = free[r] + after[r]
    for i in range(len(stage)):
        left = steps - period + stage[i] - 1
        if left > 0:
            ahead[t.resource[i]] += min(left, steps) * t.occupancy[i]
    most = ahead[0]
    for end in ahead:
        if end > most:
            most = end
    return int(most)


@compiled_inside
def end_of(t: OrderTables, steps: int, stage: Ints, by: Ints, after: Ints, limit: int) -> int:
    """As ``_Trials.end``; ``LATE`` for None."""
    tasks, edges = len(stage), len(t.weight)
    ago, into = np.empty(edges, np.int64), np.zeros(tasks + 1, np.int64)
    furthest = 0
    for e in range(edges):
        ago[e] = t.tokens[e] + stage[t.after[e]] - stage[t.before[e]]
        if ago[e] < 0:
            return LATE
        furthest = max(furthest, ago[e])
        into[t.after[e] + 1] += 1
    for i in range(tasks):
        into[i + 1] += into[i]
    waits, filled = np.empty(edges, np.int64), np.empty(tasks, np.int64)
    copy_row(filled, into)
    for e in range(edges):
        waits[filled[t.after[e]]] = e
        filled[t.after[e]] += 1
    order = np.empty(tasks, np.int64)
    if not _fires(t, ago, by, order):
        return LATE
    begin: int = stage[0]
    late: int = stage[0]
    for behind in stage:
        begin, late = min(begin, behind), max(late, behind)
    periods = steps + late - begin
    # Rows of the periods that the next one depends on, one in place of the oldest.
    rows = min(furthest, periods) + 1
    history = np.empty((rows, tasks), np.int64)
    free, last = np.zeros(len(t.work), np.int64), np.zeros(tasks, np.int64)
    for n in range(periods):
        row = n % rows
        period = begin + n
        for task in order:
            history[row, task] = -1
            if not 0 <= period - stage[task] < steps:
                continue
            start = free[t.resource[task]]
            for k in range(into[task], into[task + 1]):
                e = waits[k]
                if ago[e] <= n:
                    # Starts are not negative; a step that is not there holds nobody up.
                    earlier = history[(n - ago[e]) % rows, t.before[e]]
                    if earlier >= 0:
                        start = max(start, earlier + t.weight[e])
            history[row, task] = last[task] = start
            free[t.resource[task]] = start + t.occupancy[task]
        if (
            n % _PERIODS_BETWEEN_CHECKS == 0
            and n < steps - 1
            and _least_left(t, steps, stage, free, after, period) >= limit
        ):
            return LATE
    end = last_end(last, t.latency)
    return end if end < limit else LATE


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
