"""Uniform walk: a run in which every step does an average step's share.

It is a ``Walk`` like the exact one, with a single class, so that one lowering of the schedule
serves both engines. It walks no loops, knows no edges, and exists where the exact walk is refused.
Its distances are nominal: as many steps back as the loops have iterations.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

from ..counts.accesses import Amount
from ..counts.occupancy import reduction_latency
from ..nest.record import Bound
from .flows import first_fill, last_drain
from .group import FusionGroup, GroupPart, StepClass, Walk
from .run_length import OneStep, repeat


def uniform_walk(bound: Bound, group: FusionGroup) -> Walk:
    """Return the steps of the shared nest, each with the work of an average one.

    Work before the first step or after the last is left out: the first fill and the last drain of
    the outermost memory, and one run of each Einsum outside a loop (the first run of a producer,
    the last run of a consumer), which no step hides.

    Operands from a memory count as loads and results as drains, whatever way the tiles go; the walk
    of the real steps is exact there.

    What is done once, before the first step or after the last, is not in them: the first fill and
    the last drain of the outermost memory, and one run of each Einsum outside a loop (the first of
    what the steps need, the last of what needs them), which has no steps beside it to hide in.

    What an Einsum reads from a memory is loaded and what it writes there drained, whatever way the
    tiles go: the walk of the real steps is exact there.

    Parameters
    ----------
    bound : Bound
        The mapping.
    group : FusionGroup
        Einsums in the loops of the shared nest, as ``fused_group`` gives them.

    Returns
    -------
    Walk
        One class for all steps of the nest; times in cycles and traffic in words are fractions.
    """
    steps = bound.steps
    apart = [_one_run(bound, p) if p.depth is not None else Fraction(0) for p in group.parts]
    busy = tuple((p.occupied - a) / steps for p, a in zip(group.parts, apart, strict=True))
    ends = bound.memo(first_fill, group.inside) + bound.memo(last_drain)
    loads, drains = _moved(bound, group, steps, ends)
    step = StepClass(
        runs=(True,) * len(group.parts),
        busy=busy,
        loads=loads,
        drains=drains,
        back=tuple(bound.inner_bound(loop.member) for loop in group.loops),
    )
    once = tuple(
        (p.e.name, a + reduction_latency(p.e))
        for p, a in zip(group.parts, apart, strict=True)
        if p.depth is not None
    )
    return Walk(group=group, run_lengths=repeat(steps, OneStep(0)), classes=(step,), once=once)


def whole_walk(bound: Bound, group: FusionGroup) -> Walk:
    """Return all work of a group as one step.

    Parameters
    ----------
    bound : Bound
        The mapping.
    group : FusionGroup
        Einsums of the mapping. The step has all their traffic, with first fill and last drain.
    """
    loads, drains = _moved(bound, group, 1, 0)
    step = StepClass(
        runs=(True,) * len(group.parts),
        busy=tuple(p.occupied for p in group.parts),
        loads=loads,
        drains=drains,
        back=(None,) * len(group.loops),
    )
    return Walk(group=group, run_lengths=OneStep(0), classes=(step,))


def _one_run(bound: Bound, part: GroupPart) -> Fraction:
    """Return the cycles of one run of an Einsum that stays outside inner loops."""
    runs = prod(loop.bound for loop in bound.nest if loop.member not in part.e.outside)
    return part.occupied / runs


_Moved = tuple[tuple[Fraction, ...], ...]
"""Words by Einsum and memory."""


def _moved(bound: Bound, group: FusionGroup, steps: int, ends: Amount) -> tuple[_Moved, _Moved]:
    """Return the loads and drains of a step, without ``ends`` of the outermost memory's words."""
    names = [m.name for m in bound.architecture.memories]
    reads: list[list[Amount]] = [[0] * len(names) for _ in group.parts]
    writes: list[list[Amount]] = [[0] * len(names) for _ in group.parts]
    for number, part in enumerate(group.parts):
        for a in part.count.accesses:
            if a.place in names:
                place = names.index(a.place)
                reads[number][place] += a.reads * bound.words.of(a.tensor)
                writes[number][place] += a.writes * bound.words.of(a.tensor)
    # Traffic of the outermost memory (the first) before and after the steps is not in the steps.
    total = sum(row[0] for row in (*reads, *writes))
    outermost = Fraction(max(total - ends, 0)) / total if total else Fraction(0)
    shares = (outermost / steps, *(Fraction(1, steps) for _ in names[1:]))
    nothing = Fraction(0)
    loads, drains = (
        tuple(
            tuple(x * share if x else nothing for x, share in zip(row, shares, strict=True))
            for row in rows
        )
        for rows in (reads, writes)
    )
    return loads, drains
