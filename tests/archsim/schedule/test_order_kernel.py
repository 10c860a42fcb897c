"""The choice of an order of issue: by plain enumeration, and compiled."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil
from random import Random

import pytest
from random_graphs import bounded, chain, random_graph

from archsim.engine.timing import makespan
from archsim.schedule import modulo, order_kernel, policy
from archsim.schedule.event_graph import (
    EventGraph,
    GraphDependency,
    GraphTask,
    Issue,
    maximum_cycle_mean,
)
from archsim.schedule.modulo import choices_of, latest_time, schedule_from, tables_of
from archsim.schedule.order_kernel import OrderTables, Pattern
from archsim.tables import PythonBudget

FAR = 10**9
"""Later than all times of the graphs here."""


def period_of(graph: EventGraph) -> int:
    """Return the shortest period that dependencies and resources allow."""
    mean = maximum_cycle_mean(len(graph.tasks), graph.edges, least=max(graph.work)).mean
    return max(ceil(mean), 1)


def drawn(seed: int) -> EventGraph:
    """Return a graph with limits on tiles in flight or without, of few steps or many."""
    random = Random(seed)
    graph = random_graph(random)
    return bounded(random, graph) if seed % 3 else graph


def in_cycle(random: Random) -> EventGraph:
    """Return a chain of tasks on one array whose first needs a result of the last."""
    graph = chain(random, 1)
    graph = replace(graph, tasks=tuple(replace(t, resource="x") for t in graph.tasks))
    last, before = len(graph.tasks) - 1, random.randint(1, 3)
    back = GraphDependency(before=last, after=0, distance=before)
    return replace(graph, dependencies=(*graph.dependencies, back))


class Placement:
    """Earliest starts at a period and a slack, placed by enumeration of all phases."""

    def __init__(self, graph: EventGraph, period: int, slacks: list[int]) -> None:
        self.graph, self.period = graph, period
        self.tables = tables_of(graph, choices_of(graph))
        self.pattern = Pattern(period, FAR, [0] * len(graph.edges), [*graph.latency])
        starts = [0] * len(graph.tasks)
        found = [order_kernel._relax(self.tables, self.pattern, slack, starts) for slack in slacks]
        self.ready = starts if all(found) else None

    def soonest(self, orders: tuple[tuple[int, ...], ...]) -> list[int] | None:
        """Return starts as the kernel places one resource after the other."""
        slots, starts = [-1] * len(self.graph.tasks), self.ready
        for number, order in enumerate(orders):
            if starts is None:
                return None
            later = [0] * len(slots)
            placed = order_kernel._place_soonest(
                self.tables, self.pattern, [*order], number > 0, starts, slots, later
            )
            starts = later if placed else None
        return starts

    def phase_by_phase(self, orders: tuple[tuple[int, ...], ...]) -> list[int] | None:
        """Return starts at the phases that end soonest.

        Of phases at which no delayed task ends last, the last is taken; else the first.
        """
        graph, starts = self.graph, self.ready
        slots = [-1] * len(graph.tasks)
        for number, order in enumerate(orders):
            if starts is None:
                return None
            best: tuple[int, list[int], list[int]] | None = None
            for phase in self._phases(starts, order) if number else [0]:
                now, later = [*slots], [0] * len(slots)
                t, place = self.tables, order_kernel._place
                if not place(t, self.pattern, starts, [*order], phase, now, later, t.latency, FAR):
                    continue
                ends = [x + late for x, late in zip(later, graph.latency, strict=True)]
                delayed = [x for x, a, b in zip(ends, later, starts, strict=True) if a > b]
                if best is None or max(delayed, default=0) < best[0]:
                    best = max(ends), now, later
            if best is None:
                return None
            _, slots, starts = best
        return starts

    def _phases(self, ready: list[int], order: tuple[int, ...]) -> list[int]:
        offset, found = 0, set()
        for i in order:
            found.add((ready[i] - offset) % self.period)
            offset += self.graph.occupancy[i]
        return sorted(found)


def test_phases_that_are_not_tried_are_no_better() -> None:
    moved = kept = 0
    # In the last graph a tail ends together with all, with a task that is not delayed.
    for seed in (*range(60), 258):
        random = Random(seed)
        graph = chain(random, 1 + seed % 4) if seed % 2 else random_graph(random)
        busiest = max(1, *graph.work)
        for period, slack in ((busiest, 0), (busiest, busiest // 2), (2 * busiest, busiest)):
            pattern = Placement(graph, period, [slack])
            for orders in product(*choices_of(graph)):
                placed = pattern.phase_by_phase(orders)
                assert pattern.soonest(orders) == placed, seed
                moved += placed is not None
                kept += placed is not None and placed == pattern.ready
    assert moved > 100
    assert kept > 5


@pytest.mark.parametrize("seed", range(5))
def test_cycles_that_are_given_up_early_never_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare with as many rounds of delays as there are tasks."""
    random = Random(seed)
    graphs = [bounded(random, random_graph(random)) for _ in range(60)]
    early = [starts_at_short_periods(graph) for graph in graphs]
    monkeypatch.setattr(order_kernel, "ROUNDS_BEFORE_CYCLE_SEARCH", 10**9)
    assert [starts_at_short_periods(graph) for graph in graphs] == early
    found = [starts for starts_of in early for starts in starts_of]
    assert sum(starts is None for starts in found) > 20
    assert sum(starts is not None for starts in found) > 20


def starts_at_short_periods(graph: EventGraph) -> list[list[int] | None]:
    """Return starts at periods at most of which tasks wait for themselves."""
    busiest = max(graph.work)
    found = []
    for period in (max(busiest - 3, 1), max(busiest - 1, 1), max(busiest, 1), busiest + 5):
        for slack in (0, period // 2):
            pattern = Placement(graph, period, [slack])
            found += [pattern.soonest(orders) for orders in product(*choices_of(graph))]
    return found


def test_orders_that_are_never_placeable_are_placed_at_no_period() -> None:
    """Try short and long periods, with and without slack."""
    never = placed = 0
    for seed in range(150):
        random = Random(seed)
        graph = in_cycle(random) if seed % 2 else random_graph(random)
        busiest = max(1, *graph.work)
        for orders in product(*choices_of(graph)):
            found = [
                Placement(graph, period, [slack]).soonest(orders)
                for period in (busiest, busiest + 1, 3 * busiest, 1000 * busiest)
                for slack in (0, period // 2)
            ]
            if any(modulo.is_never_placeable(graph, order) for order in orders):
                never += 1
                assert not any(found), seed
            else:
                placed += any(found)
    assert never > 10
    assert placed > 100


def test_starts_with_less_slack_are_where_more_slack_begins() -> None:
    later = never = 0
    for seed in range(80):
        random = Random(seed)
        graph = in_cycle(random) if seed % 2 else random_graph(random)
        period = max(1, *graph.work)
        slacks: list[int] = []
        for slack in (0, period // 2, 2 * period):
            slacks.append(slack)
            alone, chained = Placement(graph, period, [slack]), Placement(graph, period, slacks)
            assert chained.ready == alone.ready, seed
            if alone.ready is None:
                never += 1
                continue
            assert chained.pattern.weight == alone.pattern.weight, seed
            later += slack > 0
    assert never > 10
    assert later > 50


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_the_candidate_that_ends_first_is_chosen(first: int) -> None:
    """Giving up candidates that cannot win does not change which one wins."""
    for seed in range(first, first + 20):
        graph = drawn(seed).at_most(policy.TRIAL_STEPS)
        period, tasks = period_of(graph), len(graph.tasks)
        slacks = [0, period // 2]
        tables = tables_of(graph, choices_of(graph))
        plain = len([*product(*choices_of(graph))])
        stage, position = [0] * (3 * plain * tasks), [0] * (3 * plain * tasks)
        overlapped = order_kernel.overlapped(tables, period, slacks, FAR, plain, stage, position)
        if overlapped == plain:
            continue
        for number, orders in enumerate(product(*choices_of(graph))):
            row: list[int] = [0] * tasks
            choice = [c.index(o) for c, o in zip(choices_of(graph), orders, strict=True)]
            order_kernel.in_order(tables, choice, row)
            position[number * tasks : (number + 1) * tasks] = row
        rows = [slice(n * tasks, (n + 1) * tasks) for n in range(overlapped)]
        issues = [Issue(stage=tuple(stage[r]), position=tuple(position[r])) for r in rows]
        chosen = [0] * (2 * tasks)
        status = order_kernel.choose(tables, period, slacks, graph.steps, FAR, chosen)
        assert status == order_kernel.CHOSEN
        best = min(issues, key=lambda issue: makespan(graph, issue).cycles)
        assert chosen == [*best.stage, *best.position], seed
        for issue in issues:
            least = order_kernel.least_end(tables, graph.steps, [*issue.stage], [*issue.position])
            assert least <= makespan(graph, issue).cycles * graph.unit, seed


@pytest.mark.parametrize("steps", [7, 60, 400])
def test_a_trial_run_ends_when_the_event_engine_says(steps: int) -> None:
    """Skipping periods of equal advance changes no end."""
    for seed in range(80):
        graph = replace(drawn(seed), steps=steps)
        tables = tables_of(graph, choices_of(graph))
        issue = schedule_from(graph, period_of(graph), compile_kernel=False)
        for stage, position in ((issue.stage, issue.position), in_written_order(tables)):
            end = makespan(graph, Issue(stage=stage, position=position)).cycles * graph.unit
            order = order_kernel.by_position([*position])
            assert order_kernel.end_of(tables, steps, [*stage], order, FAR) == end, seed


@pytest.mark.parametrize("first", range(0, 2000, 500))
def test_any_order_ends_as_its_turns_say(first: int) -> None:
    """Stages far apart, whose first turns may look like a steady advance, included."""
    ended = 0
    for seed in range(first, first + 500):
        random = Random(seed)
        graph = loosely_tied(random)
        tables, tasks = tables_of(graph, choices_of(graph)), range(len(graph.tasks))
        for steps in (3, 9, 20):
            stage = [random.randint(0, 6) for _ in tasks]
            position = random.sample(tasks, len(tasks))
            order = order_kernel.by_position(position)
            end = end_turn_by_turn(tables, steps, stage, order)
            assert order_kernel.end_of(tables, steps, stage, order, FAR) == end, (seed, steps)
            if end >= 0:
                ended += 1
                assert order_kernel.least_end(tables, steps, stage, position) <= end, (seed, steps)
    assert ended > 500


def loosely_tied(random: Random) -> EventGraph:
    """Return a graph of few tasks and dependencies, some of them over several steps."""
    tasks = tuple(
        GraphTask(
            name=str(n),
            resource=str(random.randrange(3)),
            occupancy=Fraction(occupancy),
            latency=Fraction(occupancy + random.randint(0, 3)),
        )
        for n, occupancy in enumerate(random.choices(range(5), k=random.randint(2, 5)))
    )
    pairs = ((a, b) for a in range(len(tasks)) for b in range(len(tasks)) if a != b)
    waits = tuple(
        GraphDependency(a, b, random.randint(int(a > b), 3), room=random.random() < 0.3)
        for a, b in pairs
        if random.random() < 0.35
    )
    return EventGraph(tasks=tasks, dependencies=waits, steps=20)


def end_turn_by_turn(t: OrderTables, steps: int, stage: list[int], order: list[int]) -> int:
    """Return the end of a run of all turns; ``LATE`` if tasks wait for one another for ever."""
    ago = [n + stage[a] - stage[b] for n, a, b in zip(t.tokens, t.after, t.before, strict=True)]
    firing = [0] * len(stage)
    if min(ago, default=0) < 0 or not order_kernel._firing_order(t, ago, order, firing):
        return order_kernel.LATE
    starts: dict[tuple[int, int], int] = {}
    free = [0] * len(t.work)
    for period in range(min(stage), steps + max(stage)):
        for i in (i for i in firing if 0 <= period - stage[i] < steps):
            ready = (
                starts.get((period - ago[e], t.before[e]), -FAR) + t.weight[e]
                for e in range(len(ago))
                if t.after[e] == i
            )
            starts[period, i] = start = max(free[t.resource[i]], *ready, 0)
            free[t.resource[i]] = start + t.occupancy[i]
    return max(start + t.latency[i] for (_, i), start in starts.items())


def in_written_order(tables: OrderTables) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return stages and positions at which no step overtakes another."""
    tasks = len(tables.resource)
    position = [0] * tasks
    order_kernel.in_order(tables, [0] * len(tables.choices), position)
    return (0,) * tasks, tuple(position)


@pytest.mark.parametrize("first", range(0, 240, 60))
def test_compiled_code_chooses_the_same_order(first: int) -> None:
    """Begin with periods at which little fits, too."""
    chosen: dict[bool, int] = {True: 0, False: 0}
    for seed in range(first, first + 60):
        graph = drawn(seed)
        shortest = period_of(graph)
        for period in {max(shortest // 2, *graph.work, 1), shortest, shortest + 1, 3 * shortest}:
            found = schedule_from(graph, period, compile_kernel=True)
            assert found == schedule_from(graph, period, compile_kernel=False), (seed, period)
            chosen[any(found.stage)] += 1
    assert min(chosen.values()) > 5, chosen


@pytest.mark.parametrize("scale", [1, 10**6, 10**9, 10**12, 10**15, 10**30])
def test_times_of_any_size(scale: int) -> None:
    """Times that may not fit into 64 bits are left to Python; a scale changes no order."""
    for seed in range(30):
        graph = drawn(seed)
        period = period_of(graph)
        longer = EventGraph(
            tasks=tuple(
                replace(t, occupancy=t.occupancy * scale, latency=t.latency * scale)
                for t in graph.tasks
            ),
            dependencies=graph.dependencies,
            steps=graph.steps,
        )
        # The unit of longer times may be longer, too.
        period *= scale * longer.unit // graph.unit
        found = schedule_from(longer, period, compile_kernel=True)
        assert found == schedule_from(longer, period, compile_kernel=False)
        trial = longer.at_most(policy.TRIAL_STEPS)
        slacks = [int(slack * period) for slack in policy.SLACKS]
        fits = latest_time(trial, period, slacks) < modulo.MAX_COMPILED_TIME
        assert fits if scale <= 10**9 else not fits or scale < 10**30


def test_a_task_that_takes_no_time_is_not_put_where_it_waits_for_itself() -> None:
    """B comes at the end of A's period, which is where the next one begins: there A comes first,
    and needs the room that B leaves."""
    a = GraphTask(name="A", resource="x", occupancy=Fraction(3), latency=Fraction(8))
    b = GraphTask(name="B", resource="x", occupancy=Fraction(0), latency=Fraction(5))
    data = GraphDependency(before=0, after=1, distance=0)
    room = GraphDependency(before=1, after=0, distance=3, room=True)
    graph = EventGraph(tasks=(a, b), dependencies=(data, room), steps=40)
    issue = schedule_from(graph, period_of(graph), compile_kernel=False)
    assert issue == schedule_from(graph, period_of(graph), compile_kernel=True)
    # As nothing is ahead, each step waits for the one before: 39 times 8, and the last one's 13.
    assert makespan(graph, issue).cycles == 39 * 8 + 13


def test_the_first_graphs_of_a_process_are_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer are if Numba is imported already."""
    for imported, most in ((True, 16), (False, 250)):
        budget = PythonBudget(policy.GRAPHS_BEFORE_JIT, policy.GRAPHS_BEFORE_JIT_IF_IMPORTED)
        if imported:
            monkeypatch.setitem(sys.modules, "numba", modulo)
        else:
            monkeypatch.delitem(sys.modules, "numba", raising=False)
        assert budget.left == most
        budget.spend(most - 1)
        assert budget.left == 1
