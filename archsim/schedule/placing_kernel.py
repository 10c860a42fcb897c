"""Orders of issue whose steps overlap, compiled: ``modulo`` says what is done and why.

They are the same, order for order. What differs only saves time in Python: tasks that put one
another off for ever are found out by the number of rounds alone.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..compiled import compiled_inside

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
    put_off: Ints,
    limit: int,
    tails: Ints,
    period: int,
) -> bool:
    """As ``_Pattern._settle``; False for None, and -1 for a task without a slot."""
    for _ in range(len(starts) + 2):
        again = False
        for before in range(len(starts)):
            if put_off[before] == 0:
                continue
            put_off[before] = 0
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
                    put_off[after] = 1
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
    put_off = np.zeros(len(starts), np.int64)
    slot = phase
    for i in order:
        slots[i] = slot
        start = slot
        if start < ready[i]:
            start -= period * ((start - ready[i]) // period)
        if start > ready[i]:
            starts[i] = start
            put_off[i] = 1
        slot += t.occupancy[i]
    return _settle(t, weight, slots, starts, put_off, limit, tails, period)


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
