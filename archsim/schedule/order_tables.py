"""Tables of the choice of a modulo schedule: flat lists of whole numbers, and what handles them.

Functions on these tables are plain Python; ``native`` compiles them, with arrays for lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from .event_graph import EventGraph

Numbers = list[int]
"""A table of whole numbers; in ``native`` a numpy array.

A slice is a copy here and a view there: slices are only read.
"""


class OrderTables(NamedTuple):
    """An event graph and the candidate orders of its resources; times are in units of the graph."""

    resource: Numbers
    occupancy: Numbers
    latency: Numbers
    heads: Numbers
    tails: Numbers
    work: Numbers
    """Work of each resource in a step."""
    busiest: Numbers
    """1 for each resource that no other has more work than."""
    first: Numbers
    """(tasks + 1,): edges that leave task i are those from ``first[i]`` to ``first[i + 1]``."""
    before: Numbers
    after: Numbers
    weight: Numbers
    tokens: Numbers
    crossing: Numbers
    """1 for each edge that carries data between two resources; such edges get slack."""
    choices: Numbers
    """Number of orders of each resource."""
    size: Numbers
    """Number of tasks of each resource."""
    at: Numbers
    """Position in ``orders`` of the first order of each resource."""
    orders: Numbers


Choices = Sequence[Sequence[tuple[int, ...]]]
"""Candidate orders of the tasks of each resource."""


def tables_of(graph: EventGraph, choices: Choices) -> OrderTables:
    """Return the tables of a graph."""
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
    busiest = {number for number, _ in graph.busiest}
    flat = [[i for order in orders for i in order] for orders in choices]
    return OrderTables(
        resource=[*graph.resource],
        occupancy=[*graph.occupancy],
        latency=[*graph.latency],
        heads=[*graph.heads],
        tails=[*graph.tails],
        work=[*graph.work],
        busiest=[int(number in busiest) for number in range(len(graph.work))],
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


class Pattern(NamedTuple):
    """Edges at a period and a slack."""

    period: int
    beyond: int
    """Upper bound of all times."""
    weight: Numbers
    """Weight of each edge less the periods of its tokens, plus slack."""
    tails: Numbers
    """Least time from the start of each task to the end of all tasks that wait for it."""


def filled(length: int, value: int) -> Numbers:
    """Return a table with one value everywhere."""
    return [value] * length


def copy_row(into: Numbers, at: int, row: Numbers) -> None:
    """Write a row into a table from a position on."""
    into[at : at + len(row)] = row


def first_smallest(numbers: Numbers) -> int:
    """Return the position of the smallest number; of equal ones, the first."""
    return numbers.index(min(numbers))


def next_choice(t: OrderTables, choice: Numbers) -> int:
    """Advance to the next combination of orders, the last resource first.

    Returns
    -------
    int
        First resource with another order than before; -1 after the last combination.
    """
    level = len(choice) - 1
    while level >= 0 and choice[level] + 1 == t.choices[level]:
        choice[level] = 0
        level -= 1
    if level >= 0:
        choice[level] += 1
    return level
