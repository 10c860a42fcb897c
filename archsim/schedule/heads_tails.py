"""What no run of an event graph ends before: heads and tails around a resource's work.

A resource cannot begin a task before the chain of results that leads to it (its *head*), and
when it has begun a task for the last time, the chain that follows is still to come (its
*tail*). In between it has all its work to do (Carlier, *The one-machine sequencing problem*,
1982). Where the busiest resource never waits, this is when the run ends.
"""

from __future__ import annotations

from typing import NamedTuple

from .event_graph import EventGraph, Issue


class WorkEnds(NamedTuple):
    """What a run takes beside the work of a resource at the least, in units, by resource."""

    before: tuple[int, ...]
    """In which the resource waits for the first of something."""
    after: tuple[int, ...]
    """From the end of its work to the last result."""


def work_ends(graph: EventGraph, issue: Issue) -> WorkEnds:
    """What comes before and after the work of every resource, in an order of issue.

    Of a task's head there is left what the turns of its resource before its first one do not
    fill, and of its tail what those after its last one do not. Only the busiest resources have
    either here: others seldom decide.
    """
    stage, position = issue.stage, issue.position
    before, after = [0] * len(graph.work), [0] * len(graph.work)
    for number, members in graph.busiest:
        order = [
            (stage[i], graph.occupancy[i], graph.heads[i], graph.tails[i])
            for i in sorted(members, key=position.__getitem__)
        ]
        stages = sorted({turn[0] for turn in order})
        early = late = 0
        # From stage to stage: turns in whole periods before its first one, then those in it.
        done = active = 0
        last = stages[0]
        for now in stages:
            # ``active`` is the work in a period of all tasks whose stage has come: they have turns
            # from their own stage on, ``now - last`` periods of them since the stage before this
            # one.
            done += (now - last) * active
            last, filled = now, done
            for x, work, head, _ in order:
                if x == now and head - filled > early:
                    early = head - filled
                if x <= now:
                    filled += work
            active = filled - done
        # The same backwards, for what is left after its last turn.
        left = active = 0
        for now in reversed(stages):
            left += (last - now) * active
            last, filled = now, left
            for x, work, _, tail in reversed(order):
                if x >= now:
                    filled += work
                if x == now and tail - filled > late:
                    late = tail - filled
            active = filled - left
        # In a run so short that some task is done before another begins, a head may go by
        # while a tail does.
        before[number] = early if graph.steps > stages[-1] - stages[0] + 1 else 0
        after[number] = late
    return WorkEnds(tuple(before), tuple(after))


def least_end(graph: EventGraph, ends: WorkEnds) -> int:
    """What no run of all steps ends before, in units."""
    each = zip(ends.before, graph.work, ends.after, strict=True)
    return max((early + graph.steps * work + late for early, work, late in each), default=0)


def least_of_any(graph: EventGraph) -> int:
    """What no run of all steps ends before in any order of issue, in units.

    Something comes first on a resource, and something last.
    """
    around = (
        min(graph.heads[i] for i in members)
        + min(graph.tails[i] - graph.occupancy[i] for i in members)
        for _, members in graph.busiest
    )
    return graph.steps * max(graph.work) + max(around)
