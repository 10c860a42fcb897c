"""An event simulation of an event program without any shortcut: every turn of every task.

The runs is written out step by step, every turn gets a list of the turns it waits for, and
a heap of events fires them: a turn starts when it is the next of its resource's queue, the
resource is free, and all it waits for has happened. Times are fractions of a cycle.
"""

from __future__ import annotations

import heapq
from collections import deque
from fractions import Fraction
from math import lcm

from archsim.schedule.program import StepProgram
from archsim.steps.run_length import Repeat, RunLengths, Seq

Turn = tuple[int, int]
"""Task number and step."""


def written_out(runs: RunLengths) -> list[int]:
    """The class of every step."""
    if isinstance(runs, Repeat):
        return written_out(runs.body) * runs.count
    if isinstance(runs, Seq):
        return [kind for part in runs.parts for kind in written_out(part)]
    return [runs.kind]


def run_unrolled(program: StepProgram) -> tuple[Fraction, dict[Turn, tuple[Fraction, Fraction]]]:
    """Cycles until the last result (and what follows it), and start and end of every turn."""
    kinds = written_out(program.run_lengths)
    runs = {
        (i, k)
        for k, kind in enumerate(kinds)
        for i, task in enumerate(program.tasks)
        if task.occupancy[kind] is not None
    }
    waits: dict[Turn, list[tuple[Turn, bool]]] = {turn: [] for turn in runs}
    for d in program.dependencies:
        for k, kind in enumerate(kinds):
            distance = d.distance[kind]
            if (d.after, k) in runs and distance is not None and (d.before, k - distance) in runs:
                waits[d.after, k].append(((d.before, k - distance), d.room))
    # Whole numbers of the finest unit there is: exact, and ten times as fast as fractions.
    times = [x for t in program.tasks for x in (*t.occupancy, t.late) if x is not None]
    times += [x for _, x in (*program.start, *program.ends)]
    unit = lcm(*(x.denominator for x in times))
    finish, done = _fire(program, kinds, waits, unit)
    turns = {turn: (Fraction(a, unit), Fraction(b, unit)) for turn, (a, b) in done.items()}
    return Fraction(finish, unit), turns


def _fire(
    program: StepProgram, kinds: list[int], waits: dict[Turn, list[tuple[Turn, bool]]], unit: int
) -> tuple[int, dict[Turn, tuple[int, int]]]:
    tasks = program.tasks
    tells: dict[Turn, list[tuple[Turn, bool]]] = {turn: [] for turn in waits}
    missing = {turn: len(found) for turn, found in waits.items()}
    for turn, found in waits.items():
        for before, room in found:
            tells[before].append((turn, room))
    queues: dict[str, deque[Turn]] = {r: deque() for r in program.resources}
    for turn in sorted(waits, key=lambda t: (t[1] + tasks[t[0]].stage, t[0])):
        queues[tasks[turn[0]].resource].append(turn)
    held = {resource: int(x * unit) for resource, x in program.start}
    occupancies = [[x if x is None else int(x * unit) for x in t.occupancy] for t in tasks]
    lates = [int(t.late * unit) for t in tasks]
    busy = dict.fromkeys(queues, True)
    done: dict[Turn, tuple[int, int]] = {}
    finish = 0
    after = {task: int(x * unit) for task, x in program.ends}
    events: list[tuple[int, int, str, Turn | None]] = []
    for resource in queues:
        events.append((held.get(resource, 0), len(events), resource, None))
    heapq.heapify(events)
    number = len(events)
    while events:
        now, _, resource, told = heapq.heappop(events)
        if told is None:
            busy[resource] = False
        else:
            missing[told] -= 1
        if busy[resource] or not queues[resource] or missing[queues[resource][0]]:
            continue
        turn = queues[resource].popleft()
        task = tasks[turn[0]]
        occupancy, late = occupancies[turn[0]][kinds[turn[1]]], lates[turn[0]]
        assert occupancy is not None
        end = now + occupancy
        done[turn] = (now, end)
        busy[resource] = True
        finish = max(finish, end + late + after.get(task.name, 0))
        posts = [(end, resource, None)]
        posts += [(end if room else end + late, tasks[t[0]].resource, t) for t, room in tells[turn]]
        for time, where, what in posts:
            number += 1
            heapq.heappush(events, (time, number, where, what))
    assert not any(queues.values()), "some turn never starts"
    return finish, done
