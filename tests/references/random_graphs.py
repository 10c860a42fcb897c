"""Random graphs of tasks, and orders of issue that respect them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

from archsim.schedule.event_graph import EventGraph, GraphDependency, GraphTask, Issue


def random_graph(random: Random) -> EventGraph:
    """Tasks on a few resources; data flows forward within a step, anywhere across steps."""
    resources = [f"r{i}" for i in range(random.randint(1, 3))]
    tasks = []
    for i in range(random.randint(1, 7)):
        occupancy = Fraction(random.randint(0, 6), random.choice((1, 1, 2, 3)))
        late = random.choice((0, 0, random.randint(1, 40)))
        tasks.append(
            GraphTask(
                name=f"t{i}",
                resource=random.choice(resources),
                occupancy=occupancy,
                latency=occupancy + late,
            )
        )
    dependencies = []
    for _ in range(random.randint(0, 10)):
        before, after = random.randrange(len(tasks)), random.randrange(len(tasks))
        distance = random.choice((0, 1, 1, 2, 5, 17)) if before < after else random.randint(1, 9)
        room = random.choice((False, True))
        dependencies.append(
            GraphDependency(before=before, after=after, distance=distance, room=room)
        )
    return EventGraph(
        tasks=tuple(tasks), dependencies=tuple(dependencies), steps=random.randint(1, 60)
    )


def random_issue(random: Random, graph: EventGraph) -> Issue:
    """Any order that respects the dependencies: stages grow along them."""
    stage = [random.choice((0, 0, 1, 2)) for _ in graph.tasks]
    for _ in graph.tasks:
        for d in graph.dependencies:
            backwards = int(d.after <= d.before)
            stage[d.after] = max(stage[d.after], stage[d.before] - d.distance + backwards)
    return Issue(stage=tuple(stage), position=tuple(range(len(graph.tasks))))


def bounded(random: Random, graph: EventGraph) -> EventGraph:
    """The graph with room between every two resources that hang together, as mappings have."""
    room = [
        GraphDependency(
            before=d.after, after=d.before, distance=d.distance + random.randint(1, 4), room=True
        )
        for d in graph.dependencies
    ]
    return replace(graph, dependencies=(*graph.dependencies, *room))


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
        found.append(GraphDependency(before=i, after=i + 1, distance=0))
        if resources[i] != resources[i + 1]:
            found.append(GraphDependency(before=i + 1, after=i, distance=lookahead, room=True))
    return EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=400)
