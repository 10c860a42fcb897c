"""Whether the steps of a run are alike enough for an average one to stand for them.

No run ends before its busiest resource has done its work, and none need last longer than
its steps one after the other, each as long as what is busiest in it. An average step is as
good as the real ones where both are the same. Otherwise something is uneven: a ragged tile
moves more than it computes, the busiest resource has steps so light that dependencies
decide, or the run is so short that its fill and drain count. Then the real steps are run;
but not of a run that is short in every rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from einsum_cascade.errors import InputError, MappingError

from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..cost.occupancy import busy_cycles, reduction_latency, transfer_cycles
from ..schedule.kinds import kind_of
from ..schedule.lowering import exact_walk
from ..schedule.timing import Timing
from ..steps.group import FusionGroup, Walk

ALIKE = Fraction(1, 2000)
"""Share of a run by which an average step may be off before the real steps are run."""

LONG = 4096
"""Coordinates along some rank from which on steps are looked at. A shorter run has its average
step, and its fill and drain: it is all ends, and the event engine is there for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What an average step hides, in cycles of a whole run."""

    least: Fraction = Fraction(0)
    """The busiest resource's work: no run is shorter."""
    uneven: Fraction = Fraction(0)
    """How much longer it is with every step as long as what is busiest in it."""
    light: Fraction = Fraction(0)
    """How far the busiest resource's work, step by step, is from its mean, in total."""
    ends: Fraction = Fraction(0)
    """What the run is longer than its work: fill, drain, and waits in between."""

    @property
    def alike(self) -> bool:
        """Whether an average step stands for the real ones."""
        return max(self.uneven, self.light, self.ends) <= ALIKE * self.least

    def plus(self, other: Spread) -> Spread:
        """Of two runs one after the other."""
        return Spread(
            least=self.least + other.least,
            uneven=self.uneven + other.uneven,
            light=self.light + other.light,
            ends=self.ends + other.ends,
        )


def time_closely(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    """Latency from an average step, or where steps are too unlike, from all of them.

    Raises
    ------
    MappingError
        As ``schedule.kinds.time_mapping``.
    """
    kind = kind_of(bound)
    groups = kind.groups(bound, counts)
    average = kind.average(bound, groups)
    longest = max((size for _, size in bound.shapes), default=0)
    if longest < LONG or not kind.steady or _many_windows(bound):
        return average
    try:
        walks = tuple(exact_walk(bound, g) for g in groups)
        if spread(bound, walks, average).alike:
            return average
        # Not above: who has steps alike need not wait for Numba.
        from ..events.engine import time_events

        real = time_events(bound, counts, walks=walks).timing
    except (MappingError, InputError) as refused:
        why = refused.problems[0].message
        note = f"an average step was timed, though the steps are not alike: {why}"
        return replace(average, notes=(*average.notes, note))
    note = "steps are too unlike, or too few, for an average one: each was run as it is"
    return replace(
        average,
        cycles=real.cycles,
        period=real.period if real.steps == average.steps else real.cycles / average.steps,
        simulated=real.simulated,
        notes=(*average.notes, *real.notes, note),
    )


def _many_windows(bound: Bound) -> bool:
    """Whether masked Einsums run by themselves: their own loops have a step for every tile along
    the mask, each unlike the others, which are too many to look at."""
    return kind_of(bound).in_turn and any(e.window is not None for e in bound.einsums)


def spread(bound: Bound, walks: tuple[Walk, ...], average: Timing) -> Spread:
    """What the average step of a mapping hides, from the walks of what runs together."""
    in_turn = kind_of(bound).in_turn
    total = Spread()
    for walk in walks:
        bursts, smooth = _loads(bound, walk)
        found = _unevenness(walk, bursts, smooth)
        # Groups in turn have ends each, which their averages leave out.
        chain = _chain(walk.group, smooth) if in_turn else average.cycles - found.least
        ends = max(chain, Fraction(0))
        total = total.plus(replace(found, ends=ends))
    return total


_Loads = dict[str, tuple[Fraction, ...]]
"""Cycles a resource is busy in a step, by class."""


def _loads(bound: Bound, walk: Walk) -> tuple[_Loads, _Loads]:
    """What resources do in a step: with bursts, and with all of them smoothed.

    An Einsum outside a loop works in bursts. Those that take longer than a step hold up the
    others of their array; the rest are made up for by tiles in flight, as if spread over
    all steps.
    """
    group, kinds = walk.group, range(len(walk.classes))
    memories: _Loads = {}
    word = bound.architecture.word_bytes
    for m, memory in enumerate(bound.architecture.memories):
        moved = (
            sum((row[m] for row in (*c.loads, *c.drains) if row[m]), Fraction(0))
            for c in walk.classes
        )
        memories[memory.name] = tuple(transfer_cycles(bound, memory, x * word) for x in moved)
    count = sum(walk.steps_by_class.values())
    means: dict[str, Fraction] = {}
    for p in group.parts:
        mean = busy_cycles(bound, p.e) / count
        means[p.e.array.name] = means.get(p.e.array.name, Fraction(0)) + mean
    inside = {p.e.array.name for p in group.parts if p.e.name not in group.outside}
    found = [{name: [Fraction(0)] * len(kinds) for name in means} for _ in range(2)]
    for number, p in enumerate(group.parts):
        array, busy = p.e.array.name, [c.busy[number] for c in walk.classes]
        even = [busy_cycles(bound, p.e) / count] * len(kinds)
        outside = p.e.name in group.outside
        held = array in inside and max(busy) > max(means.values())
        for loads, apart in zip(found, (outside and not held, outside), strict=True):
            loads[array] = [
                a + b for a, b in zip(loads[array], even if apart else busy, strict=True)
            ]
    bursts, smooth = ({n: tuple(load) for n, load in loads.items()} for loads in found)
    return bursts | memories, smooth | memories


def _unevenness(walk: Walk, bursts: _Loads, smooth: _Loads) -> Spread:
    turns = walk.steps_by_class
    work = {
        r: sum((n * load[k] for k, n in turns.items()), Fraction(0)) for r, load in smooth.items()
    }
    busiest = max(work, key=lambda r: work[r])
    mean = work[busiest] / sum(turns.values())
    longest = sum((n * max(o[k] for o in bursts.values()) for k, n in turns.items()), Fraction(0))
    off = sum((n * abs(smooth[busiest][k] - mean) for k, n in turns.items()), Fraction(0))
    return Spread(least=work[busiest], uneven=longest - work[busiest], light=off)


def _chain(group: FusionGroup, loads: _Loads) -> Fraction:
    """One step through every resource, one after the other."""
    late = sum(reduction_latency(p.e) for p in group.parts)
    return late + sum((max(load) for load in loads.values()), Fraction(0))
