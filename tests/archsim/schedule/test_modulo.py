"""Orders of issue: legal for any graph, and as good as the busiest resource allows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from random import Random

import pytest
from event_queue import run_events
from random_graphs import bounded, random_graph

from archsim.schedule import modulo
from archsim.schedule.cycle_mean import maximum_cycle_mean
from archsim.schedule.event_graph import EventGraph, GraphDependency, GraphTask, Issue, period_edges
from archsim.schedule.makespan import makespan
from archsim.schedule.modulo import modulo_schedule


@pytest.mark.parametrize("seed", range(120))
def test_every_order_is_legal(seed: int) -> None:
    """No dependency points back in time, none runs in a circle within a period, and every
    task starts on its resource in the order that was promised."""
    random = Random(seed)
    graph = bounded(random, random_graph(random))
    issue = modulo_schedule(graph)
    assert min(issue.stage) == 0
    edges = period_edges(graph, issue)
    assert all(e.tokens >= 0 for e in edges)
    maximum_cycle_mean(len(graph.tasks), edges)
    _, starts = run_events(graph, issue)
    for resource in graph.members:
        turns = sorted(
            (step + issue.stage[i], issue.position[i], i, time)
            for (i, step), time in starts.items()
            if graph.tasks[i].resource == resource
        )
        times = [time for *_, time in turns]
        assert times == sorted(times)
    for d in graph.dependencies:
        for step in range(d.distance, graph.steps):
            assert starts[d.after, step] >= starts[d.before, step - d.distance] + d.delay


def chain(random: Random, lookahead: int) -> EventGraph:
    """Tasks in a row over two arrays, with a late result and room for some tiles."""
    resources = [random.choice("xy") for _ in range(random.randint(2, 5))]
    tasks = []
    for i, r in enumerate(resources):
        occupancy = Fraction(random.randint(1, 9))
        late = random.choice((0, 0, 20))
        tasks.append(
            GraphTask(name=f"t{i}", resource=r, occupancy=occupancy, latency=occupancy + late)
        )
    found = []
    for i in range(len(tasks) - 1):
        found.append(GraphDependency(before=i, after=i + 1, distance=0, delay=tasks[i].latency))
        if resources[i] != resources[i + 1]:
            found.append(
                GraphDependency(
                    before=i + 1,
                    after=i,
                    distance=lookahead,
                    delay=tasks[i + 1].occupancy,
                    room=True,
                )
            )
    return EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=400)


@pytest.mark.parametrize("seed", range(40))
def test_with_room_the_busiest_array_never_waits(seed: int) -> None:
    """A chain with a wide window settles at the busiest resource's work per step."""
    graph = chain(Random(seed), lookahead=12)
    issue = modulo_schedule(graph)
    busiest = max(sum(graph.occupancy[i] for i in m) for m in graph.members.values())
    mean = maximum_cycle_mean(len(graph.tasks), period_edges(graph, issue)).mean
    assert mean == busiest


@pytest.mark.parametrize("seed", range(30))
def test_no_fixed_order_is_much_better(seed: int) -> None:
    """Against every order of stages up to two and positions, in short runs of small graphs."""
    random = Random(seed)
    graph = chain(random, lookahead=random.randint(1, 3))
    graph = replace(graph, tasks=graph.tasks[:4], steps=20)
    inside = [d for d in graph.dependencies if max(d.before, d.after) < len(graph.tasks)]
    graph = replace(graph, dependencies=tuple(inside))
    found = makespan(graph, modulo_schedule(graph)).cycles
    best = min(makespan(graph, issue).cycles for issue in every_issue(graph))
    assert found <= best * Fraction(5, 4)


def every_issue(graph: EventGraph) -> list[Issue]:
    """All legal orders with up to three stages."""
    count = len(graph.tasks)
    found = []
    for stage in product(range(3), repeat=count):
        if any(stage[d.after] + d.distance < stage[d.before] for d in graph.dependencies):
            continue
        for position in permutations(range(count)):
            edges = [
                (d.before, d.after)
                for d in graph.dependencies
                if stage[d.after] + d.distance == stage[d.before]
            ]
            if all(position[a] < position[b] for a, b in edges):
                found.append(Issue(stage=stage, position=position))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_circles_that_are_given_up_early_never_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside putting off as many times as there are tasks, whatever the circle."""
    random = Random(seed)
    graphs = [bounded(random, random_graph(random)) for _ in range(60)]
    early = [_pattern_starts(graph) for graph in graphs]
    monkeypatch.setattr(modulo, "_PATIENT", 10**9)
    assert [_pattern_starts(graph) for graph in graphs] == early
    found = [starts for starts_of in early for starts in starts_of]
    assert sum(starts is None for starts in found) > 20
    assert sum(starts is not None for starts in found) > 20


def _pattern_starts(graph: EventGraph) -> list[list[int] | None]:
    """Starts at short periods, at most of which tasks wait for themselves."""
    busiest = max(graph.work)
    found = []
    for period in (max(busiest - 3, 1), max(busiest - 1, 1), max(busiest, 1), busiest + 5):
        for slack in (0, period // 2):
            pattern = modulo._Pattern.build(graph, period, slack)
            found += [pattern.phased(orders) for orders in modulo._orders(graph)]
    return found


def test_phases_that_are_not_tried_are_no_better() -> None:
    """Beside trying all phases to their ends, one after the other."""
    moved = kept = 0
    # In the last one a tail ends together with all, with a task that is not put off.
    for seed in (*range(60), 258):
        random = Random(seed)
        graph = chain(random, 1 + seed % 4) if seed % 2 else random_graph(random)
        busiest = max(1, *graph.work)
        for period, slack in ((busiest, 0), (busiest, busiest // 2), (2 * busiest, busiest)):
            pattern = modulo._Pattern.build(graph, period, slack)
            for orders in modulo._orders(graph):
                placed = _phase_by_phase(pattern, list(orders.values()))
                assert pattern.phased(orders) == placed, seed
                moved += placed is not None
                kept += placed is not None and placed == pattern.ready
    assert moved > 100
    assert kept > 5


def _phase_by_phase(pattern: modulo._Pattern, orders: list[tuple[int, ...]]) -> list[int] | None:
    """Starts at the phases that end soonest. Where what is put off ends before something else
    does, the last of those; else the first."""
    graph, starts = pattern.graph, pattern.ready
    slots: list[int | None] = [None] * len(graph.tasks)
    for number, order in enumerate(orders):
        if starts is None:
            return None
        best: tuple[int, list[int | None], list[int]] | None = None
        for phase in sorted(pattern._phases(starts, order)) if number else (0,):
            found = pattern._place((slots, starts), order, phase, None, ())
            if found is None:
                continue
            ends = [x + late for x, late in zip(found[1], graph.latency, strict=True)]
            put_off = [x for x, a, b in zip(ends, found[1], starts, strict=True) if a > b]
            if best is None or max(put_off, default=0) < best[0]:
                best = max(ends), *found
        if best is None:
            return None
        _, slots, starts = best
    return starts


def _running(random: Random) -> EventGraph:
    """A chain of tasks on one array whose first needs what the last made some steps ago."""
    graph = chain(random, 1)
    graph = replace(graph, tasks=tuple(replace(t, resource="x") for t in graph.tasks))
    last, before = len(graph.tasks) - 1, random.randint(1, 3)
    back = GraphDependency(before=last, after=0, distance=before, delay=graph.tasks[-1].latency)
    return replace(graph, dependencies=(*graph.dependencies, back))


def test_what_is_never_placed_is_placed_at_no_period() -> None:
    """Beside trying short and long periods, with and without waits between resources."""
    never = placed = 0
    for seed in range(150):
        random = Random(seed)
        graph = _running(random) if seed % 2 else random_graph(random)
        busiest = max(1, *graph.work)
        for orders in modulo._orders(graph):
            found = [
                modulo._Pattern.build(graph, period, slack).phased(orders)
                for period in (busiest, busiest + 1, 3 * busiest, 1000 * busiest)
                for slack in (0, period // 2)
            ]
            if modulo.is_never_placeable(graph, orders):
                never += 1
                assert not any(found), seed
            else:
                placed += any(found)
    assert never > 10
    assert placed > 100


def test_what_is_there_with_less_slack_is_where_more_begins() -> None:
    """Earliest starts and tails with more and more slack, beside those from nothing."""
    later = never = 0
    for seed in range(80):
        random = Random(seed)
        graph = _running(random) if seed % 2 else random_graph(random)
        period = max(1, *graph.work)
        chained: list[modulo._Pattern] = []
        for slack in (0, period // 2, 2 * period):
            alone = modulo._Pattern.build(graph, period, slack)
            chained = [modulo._Pattern.build(graph, period, slack, chained)]
            assert chained[0].ready == alone.ready, seed
            if alone.ready is None:
                never += 1
                continue
            assert chained[0].tails == alone.tails, seed
            later += slack > 0
    assert never > 10
    assert later > 50
