"""Which of several instances takes the longest, where parts are balanced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

from .instances import total_iterations
from .record import Bound

# Parts within a sixteenth of the most there is to do, and three of them with the first: what each
# takes has to be run.
_NEAR: Final = Fraction(15, 16)
_RUN: Final = 3


def longest_ones(bound: Bound) -> Iterator[Bound]:
    """A bound mapping as each of the instances has it that may take the longest.

    Balanced parts have as much to do as one another, but for the rows of a tile: of those with
    nearly the most some are given, each in its turn as what stands for all.
    """
    yield bound
    instances = bound.instances
    spread = () if instances is None else instances.spread
    at = next((n for n, s in enumerate(spread) if s.begins), None)
    if at is None:
        return
    most = total_iterations(bound)
    for kind in range(1, min(_RUN, len(spread[at].kinds))):
        led = _led_by(bound, at, kind)
        if total_iterations(led) < _NEAR * most:
            return  # these are in the order of what there is to do
        yield led


def _led_by(bound: Bound, at: int, kind: int) -> Bound:
    """The same instances, where another kind of a spread rank's parts stands for all."""
    instances = bound.instances
    assert instances is not None, "nothing is spread"

    def other(number: int) -> int:
        return {0: kind, kind: 0}.get(number, number)

    s = instances.spread[at]
    by_work = tuple(s.by_work[other(n)] for n in range(len(s.by_work)))
    spread = (*instances.spread[:at], replace(s, by_work=by_work), *instances.spread[at + 1 :])
    problems = {
        (*kinds[:at], other(kinds[at]), *kinds[at + 1 :]): problem or replace(bound, instances=None)
        for kinds, problem in instances.problems.items()
    }
    first = problems.pop((0,) * len(spread))
    others = tuple(problems.items())
    return replace(first, instances=replace(instances, spread=spread, others=others))
