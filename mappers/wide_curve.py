"""Capacity curves on any machine: where its own mappings are not enumerated, of its stand-ins.

A core's part, or the machine with its memories in a line, has a curve of its own. What it found at
each capacity is brought over, and the engine prices it on the machine itself with that capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from .certificate import INTERRUPTED, TIME_LIMIT
from .engine_run import EngineRun
from .exhaustive.curve import KINDS, CapacityCurve, CapacityRun, Kind, least, run_with
from .exhaustive.irregular import in_batches
from .line_search import in_lines
from .objectives import objective_called
from .protocol import Advance, Clock, SearchProblem, never
from .space.mapspace import Mapspace
from .spread_search import over_cores
from .stand_in import StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFound:
    """What was found at each capacity, how many mappings the engine ran, and why it ended early."""

    runs: tuple[CapacityRun, ...]
    engine_runs: int
    ended: str


def curve_on(
    space: Mapspace,
    memory: str,
    capacities: Sequence[int],
    clock: Clock,
    advance: Advance,
    *,
    is_stopped: Callable[[], bool] = never,
    all_confirmed: bool = False,
) -> CurveFound:
    """The least traffic and energy of a space, or of what stands in for it, at some capacities.

    Parameters
    ----------
    space : Mapspace
        On the machine as it is.
    memory : str
        One of limited size, not the outermost.
    capacities : sequence of int
        In bytes, ascending.
    is_stopped : callable
        Whether somebody cannot wait any longer.
    all_confirmed : bool
        Whether all that was found is confirmed, however long that takes.
    """
    machine = space.architecture
    if machine.has_instances:
        others = [*over_cores(space, memory)]
    elif not machine.tree.is_line:
        others = [*in_lines(space, memory)]
    else:
        is_late = never if all_confirmed else clock.late()
        return _enumerated(space, memory, capacities, clock, advance, is_stopped, is_late)
    return _BroughtCurve(space, memory, capacities).run(others, clock, advance, is_stopped)


def _enumerated(
    space: Mapspace,
    memory: str,
    capacities: Sequence[int],
    clock: Clock,
    advance: Advance,
    is_stopped: Callable[[], bool],
    is_late: Callable[[], bool],
) -> CurveFound:
    """The same where a machine's own mappings are."""
    search = clock.most()
    half, whole = search.share(2), search.share(1)

    def searched(aside: bool) -> CurveFound:
        curve = CapacityCurve(
            space,
            memory,
            capacities,
            is_half_over=half,
            is_over=lambda: whole() or is_stopped(),
            is_late=is_late,
            relaxed=aside,
        )
        runs = curve.run(advance)
        return CurveFound(runs=runs, engine_runs=curve.runs, ended=curve.ended)

    return in_batches(SearchProblem(space, objective_called("energy")), searched)


class _BroughtCurve:
    """The curve of a machine, and how much was looked at for it."""

    def __init__(self, space: Mapspace, memory: str, capacities: Sequence[int]) -> None:
        self.space, self.memory, self.capacities = space, memory, tuple(capacities)
        self.found: dict[tuple[Kind, int], list[Mapping]] = {}
        self.engine_runs = 0
        self.ended = ""

    def run(
        self,
        others: list[Callable[[], StandIn]],
        clock: Clock,
        advance: Advance,
        is_stopped: Callable[[], bool],
    ) -> CurveFound:
        """What all that stands in for the machine has to offer, run on it."""
        is_late, search = clock.late(), clock.most()
        is_over = search.share(1)
        try:
            for number, make in enumerate(others):
                if self.ended != INTERRUPTED and not (self.found and (is_stopped() or is_over())):
                    mine = search.part(len(others) - number)
                    self._look_at(make, mine, advance, is_stopped)
        except KeyboardInterrupt:
            self.ended = INTERRUPTED
        runs = tuple(self._confirmed(is_late))
        if not runs and self.ended == TIME_LIMIT:
            # Of what there was time for nothing is legal here; of the rest something may be.
            for make in others:
                self._look_at(make, Clock(0.0), advance, is_stopped, all_confirmed=True)
            runs = tuple(self._confirmed(is_late))
        return CurveFound(runs=runs, engine_runs=self.engine_runs, ended=self.ended)

    def _look_at(
        self,
        make: Callable[[], StandIn],
        clock: Clock,
        advance: Advance,
        is_stopped: Callable[[], bool],
        *,
        all_confirmed: bool = False,
    ) -> None:
        """The curve of a stand-in; what shares the memory with others has its share of it."""
        try:
            other = make()
            # From the largest on, so that of several with one share (of 1 B, say) the smallest is
            # left.
            of_share = {max(1, c // other.share): c for c in self.capacities[::-1]}
            found = curve_on(
                other.space,
                self.memory,
                sorted(of_share),
                clock,
                advance,
                is_stopped=is_stopped,
                all_confirmed=all_confirmed,
            )
        except InputError:
            return  # others may do
        self.engine_runs += found.engine_runs
        self.ended = found.ended or self.ended
        for run in found.runs:
            here = self.found.setdefault((run.kind, of_share[run.capacity_bytes]), [])
            here += [m for m in other.brought(run.run.mapping) if m not in here]

    def _confirmed(self, is_late: Callable[[], bool]) -> Iterator[CapacityRun]:
        """The best at each capacity, run by the engine there. What fits less fits more; late, the
        largest capacities have no points."""
        best: dict[Kind, EngineRun | None] = dict.fromkeys(KINDS)
        fitted: dict[Kind, list[Mapping]] = {kind: [] for kind in KINDS}
        for capacity in self.capacities:
            for kind in KINDS:
                if any(best.values()) and is_late():
                    self.ended = self.ended or TIME_LIMIT
                    return
                if kind == "energy":
                    best[kind] = least(kind, best[kind], best["traffic"])
                for mapping in self.found.get((kind, capacity), []):
                    if mapping not in fitted[kind]:
                        self.engine_runs += 1
                        run = run_with(self.space, self.memory, capacity, mapping)
                        fitted[kind] += [] if run is None else [mapping]
                        best[kind] = least(kind, best[kind], run)
                    if best[kind] is not None and is_late():
                        self.ended = self.ended or TIME_LIMIT
                        break
                if (found := best[kind]) is not None:
                    yield CapacityRun(capacity_bytes=capacity, kind=kind, run=found)
