"""Fronts of three: latency, energy, and what a memory holds.

After the front of the machine as it is come those with less of the memory, a quarter of what any
mapping of the one before holds, until nothing fits. A mapping that holds no more than a capacity is
legal with that capacity, so that what is proven there is proven of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from archsim.result.record import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from .certificate import INTERRUPTED, TIME_LIMIT
from .engine_run import run_mapping
from .exhaustive.capped import EFFORT, CappedFront
from .exhaustive.curve import with_capacity
from .front import FrontPoint, FrontRun
from .objectives import OBJECTIVES
from .protocol import Advance, Clock, SearchProblem
from .space.mapspace import Mapspace
from .wide_front import front_on

POINTS = 24
"""Points of a front of three, at the most."""

CAPACITIES = 8
"""Fronts with less of the memory, at the most."""

_LESS = 4
"""How many times less than all mappings of a front hold the next one has."""

_SAVES = 0.1
"""A mapping that is no better otherwise has to hold less by this share."""

LEAN_EFFORT = replace(EFFORT, untimed=8, sketches=2, more_sketches=8, subspaces=24, patience=8)
"""Of each front with less of the memory: there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """A run of a front, and how much of the memory its mapping holds."""

    run: FrontRun
    bound_pj: float
    """What no mapping as fast that holds no more takes less energy than."""
    held_bytes: float | None = None
    """Of the memory, where one is asked about."""

    def point(self, run: Callable[[Mapping], Result], number: int, cascade: str) -> FrontPoint:
        """A point of the front of a workload.

        Parameters
        ----------
        run : callable
            The whole workload under a mapping.
        number : int
            From 1; a mapping that was searched is called by it.
        cascade : str
            As the workload names it.
        """
        mapping = self.run.mapping
        if mapping.name.startswith("best-"):
            mapping = replace(mapping, name=f"front-{number}", cascade=cascade)
        gap = max(0.0, 1 - self.bound_pj / self.run.energy_pj)
        return FrontPoint(mapping=mapping, result=run(mapping), gap=gap, held_bytes=self.held_bytes)

    @property
    def bytes(self) -> float:
        """What it holds; nothing where no memory is asked about."""
        return self.held_bytes or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFront:
    """What was found with all of the memory and with less of it."""

    runs: tuple[HeldRun, ...]
    searches: int
    engine_runs: int
    ended: str

    @classmethod
    def of(cls, front: CappedFront) -> HeldFront:
        """A front of two."""
        runs = zip(front.runs, front.bounds_pj, strict=True)
        return cls(
            runs=tuple(HeldRun(run=r, bound_pj=b) for r, b in runs),
            searches=front.searches,
            engine_runs=front.engine_runs,
            ended=front.ended,
        )


def held_front(
    problem: SearchProblem,
    memory: str,
    space_on: Callable[[Architecture], Mapspace],
    advance: Advance,
    clock: Clock,
    first: CappedFront,
) -> HeldFront:
    """A front of latency, energy and what a memory holds.

    Parameters
    ----------
    problem : SearchProblem
        On the machine as it is.
    memory : str
        One of limited size.
    space_on : callable
        The mappings there are on another machine.
    clock : Clock
        For the fronts with less of the memory.
    first : CappedFront
        The front of the machine as it is.
    """
    fronts, ended = [first], first.ended
    runs = last = [*_held(first, memory, lambda run: run)]
    while len(fronts) <= CAPACITIES and ended != INTERRUPTED:
        capacity = int(max(run.bytes for run in last)) // _LESS
        part = clock.part(CAPACITIES + 1 - len(fronts))
        if capacity < 1 or clock.share(1)():
            ended = TIME_LIMIT if capacity else ended
            break
        try:
            space = space_on(with_capacity(problem.space.architecture, memory, capacity))
            asked = replace(problem, space=space, known=None, others=())
            found = front_on(asked, advance, part, effort=LEAN_EFFORT)
        except InputError:
            # Nothing fits so little of it.
            break
        except KeyboardInterrupt:
            # The points so far are what was asked for.
            ended = INTERRUPTED
            break
        fronts.append(found)
        ended = found.ended or ended
        last = [*_held(found, memory, lambda run: _on(problem.space, run))]
        runs = [*runs, *last]
    return HeldFront(
        runs=unbeaten(runs, problem.tolerance),
        searches=sum(front.searches for front in fronts) + 2 * (len(fronts) - 1),
        engine_runs=sum(front.engine_runs for front in fronts),
        ended=ended,
    )


def _held(front: CappedFront, memory: str, of: Callable[[FrontRun], FrontRun]) -> Iterator[HeldRun]:
    for run, bound in zip(front.runs, front.bounds_pj, strict=True):
        mine = of(run)
        held = next(b.required_bytes for b in mine.result.buffers if b.level == memory)
        yield HeldRun(run=mine, bound_pj=bound, held_bytes=held)


def _on(space: Mapspace, run: FrontRun) -> FrontRun:
    """What was found with less of a memory, on the machine as it is: what fits less fits more."""
    again = run_mapping(space, run.mapping, OBJECTIVES["latency"])
    return FrontRun.of(run.mapping, again.result)


def unbeaten(runs: Iterable[HeldRun], tolerance: float) -> tuple[HeldRun, ...]:
    """The runs that belong on a front of three, fastest first.

    Parameters
    ----------
    runs : iterable of HeldRun
        In any order.
    tolerance : float
        What a mapping has to be better by in latency or energy, as a share, to be another point.
    """
    left = sorted(runs, key=lambda r: (r.run.cycles, r.run.energy_pj, r.bytes))
    saves = _SAVES
    found = _unbeaten(left, tolerance, saves)
    while len(found) > POINTS:
        # Fewer points differ by twice as much; in the end there are few enough.
        saves *= 2
        tolerance *= 2
        found = _unbeaten(left, tolerance, saves)
    return found


def _unbeaten(runs: list[HeldRun], tolerance: float, saves: float) -> tuple[HeldRun, ...]:
    found: list[HeldRun] = []
    for one in runs:
        if any(_no_better(one, other, tolerance, saves) for other in found):
            continue
        # What is slower by next to nothing, and better otherwise, takes the place of others.
        found = [other for other in found if not _as_good(one, other, tolerance)]
        found.append(one)
    return tuple(found)


def _no_better(one: HeldRun, other: HeldRun, tolerance: float, saves: float) -> bool:
    """Whether a run that is no faster than another saves neither energy nor memory."""
    return one.run.energy_pj >= other.run.energy_pj * (
        1 - tolerance
    ) and one.bytes >= other.bytes * (1 - saves)


def _as_good(one: HeldRun, other: HeldRun, tolerance: float) -> bool:
    """Whether a run is as fast as another to the tolerance, and takes no more of anything."""
    return (
        one.run.cycles <= other.run.cycles * (1 + tolerance)
        and one.run.energy_pj <= other.run.energy_pj
        and one.bytes <= other.bytes
    )
