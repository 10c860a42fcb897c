"""Capacity curve: least traffic and energy of a one-part workload against a memory's capacity.

The cost tables of a subspace do not depend on capacities; capacities limit branch and bound only.
Two columns are searched: bytes of the outermost memory, and energy. A tiling is skipped at a
capacity if its lower bound does not beat the best mapping known there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import chain, islice, product
from math import inf
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any, Literal

import numpy as np

from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError
from workloads.parts.part import Part
from workloads.workload import Workload

from ..construct.generators import GENERATORS
from ..exact.branch_and_bound import BranchAndBound, NotInBatchesError, in_batches
from ..exact.kernels.bounds import Choices
from ..exact.kernels.descent import LEAST, Search, SizedSearch, search, search_sized
from ..exact.kernels.measures import Floats
from ..exact.policy import Effort
from ..exact.process_pool import ProcessPool, usual_workers
from ..exact.subspaces import (
    SubspaceSearch,
    TableMemo,
    fresh_state,
    nodes_of,
    priced,
    with_multipliers,
)
from ..exact.tables import CostMemo, SubspaceRefusedError, Tables, tabulate
from ..problem.certificate import INTERRUPTED, TIME_LIMIT
from ..problem.constraint_files import ConstraintFile
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.incumbents import only_part, space_of
from ..problem.objectives import ENERGY, OBJECTIVES
from ..problem.protocol import (
    Advance,
    Clock,
    ProgressOfParts,
    SearchProblem,
    infrequent_collection,
    never,
    quiet,
    silent,
)
from ..relax.relaxation import Query, Relaxation, answer
from ..relax.search import family_of
from ..space.constraints import Constraints, IsKept, IsShared, MappingConstraint
from ..space.fusion import subspaces_of
from ..space.mapspace import Mapspace
from ..space.region import Region, Subspace
from . import policy
from .front_search import limited_memory, with_capacity

Kind = Literal["traffic", "energy"]
"""Name of the quantity to minimise: bytes of the outermost memory, or energy in pJ."""

KINDS: tuple[Kind, Kind] = ("traffic", "energy")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPoint:
    """Mapping of least traffic or least energy at one capacity, with its engine result."""

    capacity_bytes: int
    kind: Kind
    mapping: Mapping
    result: Result
    """Result at this capacity. An access costs the same energy as in the machine's own memory."""

    @property
    def value(self) -> float:
        """Bytes that the outermost memory moves, or energy in pJ."""
        return value_of(self.kind, self.result)

    def to_dict(self) -> dict[str, Any]:
        """Return the point as ``archsim map --capacity-curve --json`` prints it."""
        return {
            "capacity_bytes": self.capacity_bytes,
            "traffic_bytes": self.result.traffic_bytes,
            "energy_pj": self.result.energy_pj,
            "cycles": self.result.cycles,
            "latency_s": self.result.latency_s,
            "mapping_spec": {"mapping": mapping_dict(self.mapping)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySeries:
    """Points of one curve, by ascending capacity, and the effort of the search for them.

    A capacity that no mapping fits has no point.
    """

    points: tuple[CapacityPoint, ...]
    runs: int
    """Number of mappings that the engine ran."""
    ended: str
    """Reason why the search ended early; empty if it was complete."""

    @property
    def traffic(self) -> tuple[CapacityPoint, ...]:
        """Points with the least traffic of the outermost memory."""
        return tuple(point for point in self.points if point.kind == "traffic")

    @property
    def energy(self) -> tuple[CapacityPoint, ...]:
        """Points with the least energy."""
        return tuple(point for point in self.points if point.kind == "energy")

    def to_dict(self) -> dict[str, Any]:
        """Return the series as ``archsim map --capacity-curve --json`` prints it."""
        return {
            "least_traffic": [point.to_dict() for point in self.traffic],
            "least_energy": [point.to_dict() for point in self.energy],
        }


def value_of(kind: Kind, result: Result) -> float:
    """Return a result's bytes of the outermost memory, or its energy in pJ."""
    return result.traffic_bytes if kind == "traffic" else OBJECTIVES["energy"].of(result)


def metered(machine: Architecture) -> Architecture:
    """Return the machine with an outermost memory of one byte per cycle: its cycles count bytes."""
    outermost, *inner = machine.memories
    rate = Fraction(machine.clock_hz)
    return replace(machine, memories=(replace(outermost, bandwidth_bytes_per_s=rate), *inner))


def confirmed(
    capacities: Sequence[int],
    runs_at: Callable[[Kind, int], Iterable[EngineRun]],
    is_late: Callable[[], bool],
) -> tuple[tuple[CapacityPoint, ...], str]:
    """Return the best run of each kind at each capacity, and the reason of an early end, if any.

    A mapping that fits one capacity fits any larger one. If time is up, the largest capacities have
    no points, but the first point is always run.

    Parameters
    ----------
    capacities : sequence of int
        Capacities in bytes, ascending.
    runs_at : callable
        Runs mappings of one kind at one capacity, and yields the legal ones.
    is_late : callable
        Returns whether time is up.
    """
    best: dict[Kind, list[EngineRun]] = {kind: [] for kind in KINDS}
    points: list[CapacityPoint] = []
    for capacity, kind in product(capacities, KINDS):
        if points and is_late():
            return tuple(points), TIME_LIMIT
        able = best[kind]
        if kind == "energy":
            able += best["traffic"]
        for run in runs_at(kind, capacity):
            able.append(run)
            if is_late():
                break
        if able:
            # Of equal runs the first one is kept.
            found = min(able, key=lambda run: value_of(kind, run.result))
            best[kind] = [found]
            points.append(
                CapacityPoint(
                    capacity_bytes=capacity, kind=kind, mapping=found.mapping, result=found.result
                )
            )
    return tuple(points), ""


Tabulated = tuple[tuple[Kind, ...], Region, Subspace, Tables]
"""Quantities to minimise in a subspace, its region, the subspace, and its cost tables."""


class CapacityCurve:
    """Exact search of the least traffic and the least energy at several capacities of a memory.

    Parameters
    ----------
    space : Mapspace
        Mapspace on the machine as it is.
    memory : str
        Memory of limited size, not the outermost.
    capacities : sequence of int
        Capacities in bytes, ascending.
    is_half_over, is_over : callable
        Return whether the time is up: of the first half, in which ranks are not cut, or of all.
    is_late : callable
        Returns whether no further mapping is to be confirmed, except for the first point.
    """

    def __init__(
        self,
        space: Mapspace,
        memory: str,
        capacities: Sequence[int],
        *,
        effort: Effort = policy.CURVE_EFFORT,
        is_half_over: Callable[[], bool] = never,
        is_over: Callable[[], bool] = never,
        is_late: Callable[[], bool] = never,
        relaxed: bool = False,
    ) -> None:
        self.machine, self.memory, self.capacities = space.architecture, memory, tuple(capacities)
        largest = with_capacity(self.machine, memory, self.capacities[-1])
        self.space = replace(space, architecture=metered(largest))
        self.effort, self.relaxed = effort, relaxed
        self.is_half_over, self.is_over, self.is_late = is_half_over, is_over, is_late
        self.ended = ""
        self.runs = 0
        self.energy_weight = 0.0
        limited = [m.name for m in self.space.architecture.memories if m.capacity_bytes is not None]
        self.limit = limited.index(memory)
        # Columns of costs: energy, the arrays, then the memories, the outermost first.
        self.column = 1 + len(self.machine.arrays)
        self.best = {kind: [inf] * len(self.capacities) for kind in KINDS}
        self.found: dict[tuple[Kind, int], list[Callable[[], Mapping]]] = {}

    def run(self, advance: Advance) -> CapacitySeries:
        """Return the confirmed runs of both quantities at each capacity that some mapping fits.

        An interrupted search returns the runs found so far. If time is up, the largest capacities
        have no points.
        """
        try:
            for tabulated in self._tables(advance):
                if self._ends():
                    break
                self._search_subspace(*tabulated)
        except KeyboardInterrupt:
            self.ended = INTERRUPTED
        points, late = confirmed(self.capacities, self._first, self.is_late)
        return CapacitySeries(points=points, runs=self.runs, ended=self.ended or late)

    def _tables(self, advance: Advance) -> Iterator[Tabulated]:
        """Yield subspaces with their cost tables, and the quantities to minimise in each.

        A small mapspace is searched completely. Otherwise the least traffic is searched where ranks
        are not cut, so that tiles may have any size. Both quantities are searched in the subspaces
        that a search for the least energy visits.
        """
        regions = self._all_regions()
        if regions:
            yield from filter(None, self._simple(KINDS, regions, subspaces_of, advance))
            return
        uncut = self._simple(("traffic",), self.space.uncut(), self._distinct_outside, advance)
        for tabulated in uncut:
            if tabulated is not None:
                yield tabulated
            if self.is_half_over():
                self.ended = TIME_LIMIT
                break
        problem = SearchProblem(self.space, OBJECTIVES["energy"], is_over=self.is_over)
        others = TableMemo()
        with_energy = BranchAndBound(problem, self.effort, relaxed=self.relaxed, tables=others)
        # Where no mapping with cut ranks fits, one without cuts may.
        with suppress(MappingError):
            with_energy.run(advance)
        if with_energy.ended == INTERRUPTED:
            raise KeyboardInterrupt
        for region, subspace, tables in others.found.values():
            yield KINDS, region, subspace, tables
        if not self.found:
            yield from filter(None, uncut)

    def _simple(
        self,
        kinds: tuple[Kind, ...],
        regions: Sequence[Region],
        subspaces: Callable[[Region], Iterable[Subspace]],
        advance: Advance,
    ) -> Iterator[Tabulated | None]:
        """Yield the subspaces of some regions with their cost tables.

        None stands for a refused subspace: there may be many, and callers check the time meanwhile.
        """
        for region in regions:
            costs = CostMemo()
            for subspace in subspaces(region):
                advance(1)
                try:
                    tables = tabulate(region, subspace, relaxed=self.relaxed, memo=costs)
                except SubspaceRefusedError as why:
                    if why.irregular and not self.relaxed:
                        raise NotInBatchesError from None
                    yield None
                else:
                    yield kinds, region, subspace, tables

    def _all_regions(self) -> Sequence[Region]:
        """Return all regions of a mapspace that is small enough to search completely, else none."""
        if self.space.size > self.effort.regions:
            return []
        regions = self.space.regions(self.space.size)
        most = max(policy.MAX_SUBSPACES_SEARCHED_WHOLE, self.effort.subspaces)
        if most < inf:
            subspaces = chain.from_iterable(map(subspaces_of, regions))
            if sum(1 for _ in islice(subspaces, round(most) + 1)) > most:
                return []
        return regions

    def _ends(self) -> bool:
        """Return whether time is up; there must be a result first."""
        over = bool(self.found) and self.is_over()
        self.ended = TIME_LIMIT if over else self.ended
        return over

    def _distinct_outside(self, region: Region) -> Iterator[Subspace]:
        """Yield subspaces that may differ in footprint or in the outermost memory's traffic.

        The order of loops inside of the limited memory changes neither, so that one order is
        enough.
        """
        names = [m.name for m in self.machine.memories]
        outside = names.index(self.memory)
        seen: set[tuple[object, ...]] = set()
        for subspace in subspaces_of(region):
            skeleton = subspace.skeleton
            inside = tuple(frozenset(loops) for loops in skeleton.order[outside:])
            key = (skeleton.shared, skeleton.own, skeleton.order[:outside], inside)
            if key not in seen:
                seen.add(key)
                yield subspace

    def _search_subspace(
        self, kinds: tuple[Kind, ...], region: Region, subspace: Subspace, tables: Tables
    ) -> None:
        """Search a subspace for better mappings at every capacity."""
        choices, nodes = tables.choices, nodes_of(subspace)
        searched = SubspaceSearch(space=region, objective=ENERGY)
        sizes = np.repeat(choices.capacities[None], len(self.capacities), axis=0)
        sizes[:, self.limit] = self.capacities
        for start, cost, tile in priced(region, subspace, tables):
            for kind in kinds:
                costs = np.ascontiguousarray(cost[:, :, :1])
                if kind == "traffic":
                    # Among mappings of equal traffic the one of least energy is taken.
                    if not self.energy_weight:
                        self.energy_weight = policy.TIE_BYTES / self._least_root(
                            choices, costs, tile
                        )
                    costs = self.energy_weight * costs + cost[:, :, self.column, None]
                state = SizedSearch(
                    values=np.array(self.best[kind]),
                    tilings=np.full(len(sizes), -1),
                    chosen=np.full((len(sizes), len(choices.decisions)), -1),
                    tally=searched.tally,
                )
                search_sized(choices, sizes, policy.EQUAL_SHARE, nodes, costs, tile, state)
                self.best[kind] = state.values.tolist()
                for number in np.flatnonzero(state.tilings >= 0):
                    values = state.values[:, None].repeat(3, axis=1)
                    found = Search(values=values, chosen=state.chosen, tally=state.tally)
                    tiling = start + int(state.tilings[number])
                    proposal = searched.proposal(subspace, tables, tiling, int(number), found)
                    key = (kind, self.capacities[number])
                    make = partial(proposal.mapping, region, subspace, f"least-{kind}")
                    self.found.setdefault(key, []).append(make)

    @staticmethod
    def _least_root(choices: Choices, cost: Floats, tile: Floats) -> float:
        """Return a lower bound of a cost over all choices and tilings, for any capacities."""
        # With a limit of 0 the search ends at the bound of each tiling.
        state = fresh_state(choices, len(cost), np.zeros(6))
        weights = with_multipliers([np.ones(1)] * 2, len(choices.capacities))
        search(choices, ENERGY, 0.0, 0.0, 0, inf, True, 0, weights, cost, tile, state)
        return float(state.values[:, LEAST].min())

    def _first(self, kind: Kind, capacity: int) -> Iterator[EngineRun]:
        """Yield the run of the best mapping found at a capacity, if the engine accepts any."""
        space = replace(self.space, architecture=self.machine)
        for make in self.found.get((kind, capacity), [])[::-1][: policy.MAX_RUNS_PER_POINT]:
            self.runs += 1
            run = run_with(space, self.memory, capacity, make())
            if run is not None:
                yield run
                return


def run_with(space: Mapspace, memory: str, capacity: int, mapping: Mapping) -> EngineRun | None:
    """Run a mapping on the machine with a given capacity of a memory; return None if it is illegal.

    Parameters
    ----------
    capacity : int
        Capacity in bytes.
    """
    machine = with_capacity(space.architecture, memory, capacity)
    with suppress(MappingError):
        return run_mapping(replace(space, architecture=machine), mapping, OBJECTIVES["energy"])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCurves:
    """Least traffic and least energy of a workload against the capacity of a memory."""

    workload: str
    architecture: str
    memory: str
    outermost: str
    own_bytes: int
    """Capacity of the memory in the machine's description, in bytes."""
    capacities: tuple[int, ...]
    bound_bytes: float
    """Lower bound of the traffic in bytes, which follows from the passes of the cascade."""
    fused: CapacitySeries
    """Curve over all mappings."""
    einsum_by_einsum: CapacitySeries
    """Curve over mappings without shared loops; their intermediates go to the outermost memory."""

    @property
    def runs(self) -> int:
        """Number of mappings that the engine ran."""
        return self.fused.runs + self.einsum_by_einsum.runs

    @property
    def ended(self) -> str:
        """Reason why the search ended early; empty if it was complete."""
        return self.fused.ended or self.einsum_by_einsum.ended

    def to_dict(self) -> dict[str, Any]:
        """Return the curves as ``archsim map --capacity-curve --json`` prints them."""
        return {
            "workload": self.workload,
            "architecture": self.architecture,
            "capacity_curve": self.memory,
            "outermost": self.outermost,
            "own_bytes": self.own_bytes,
            "capacities_bytes": [*self.capacities],
            "bound_traffic_bytes": self.bound_bytes,
            "fused": self.fused.to_dict(),
            "einsum_by_einsum": self.einsum_by_einsum.to_dict(),
            "engine_runs": self.runs,
            **({"ended": self.ended} if self.ended else {}),
        }


class CurveQuery(Query[CapacitySeries]):
    """Query for the least traffic and the least energy at several capacities of a memory.

    Parameters
    ----------
    space : Mapspace
        Mapspace on the machine as it is; relaxations stand for it where it is not enumerated.
    memory : str
        Memory of limited size, not the outermost.
    capacities : sequence of int
        Capacities in bytes, ascending.
    is_stopped : callable
        Returns whether the caller cannot wait any longer.
    all_confirmed : bool
        True if every point is run by the engine, past the time limit too.
    """

    def __init__(
        self,
        space: Mapspace,
        memory: str,
        capacities: Sequence[int],
        clock: Clock,
        advance: Advance,
        *,
        is_stopped: Callable[[], bool] = never,
        all_confirmed: bool = False,
    ) -> None:
        super().__init__(space, family_of(space, memory))
        self.memory, self.capacities = memory, tuple(capacities)
        self.advance, self.is_stopped = advance, is_stopped
        self.is_late = never if all_confirmed else clock.late()
        self.clock = clock.most()
        self.is_over = self.clock.share(1)
        self.lifted: dict[tuple[Kind, int], list[Mapping]] = {}
        self.engine_runs = 0

    def enumerated(self) -> CapacitySeries:
        """Return the curve if the mapspace itself is enumerated."""
        half, whole = self.clock.share(2), self.clock.share(1)

        def searched(relaxed: bool) -> CapacitySeries:
            curve = CapacityCurve(
                self.space,
                self.memory,
                self.capacities,
                is_half_over=half,
                is_over=lambda: whole() or self.is_stopped(),
                is_late=self.is_late,
                relaxed=relaxed,
            )
            return curve.run(self.advance)

        return in_batches(SearchProblem(self.space, OBJECTIVES["energy"]), searched)

    def is_done(self) -> bool:
        """Return whether the search was interrupted, or time is up and there is a point."""
        late = bool(self.lifted) and (self.is_stopped() or self.is_over())
        return self.ended == INTERRUPTED or late

    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search the curve of a relaxation within its share of the remaining time."""
        self._search(relaxation, self.clock.part(left))

    def _search(self, relaxation: Relaxation, clock: Clock, *, all_confirmed: bool = False) -> None:
        """Search the curve of a relaxation; its cores share each capacity evenly."""
        # Several capacities may have one share, such as 1 B: the smallest of them keeps it.
        of_share = {max(1, c // relaxation.sharers): c for c in self.capacities[::-1]}
        question = (relaxation.space, self.memory, sorted(of_share), clock, self.advance)
        curve = CurveQuery(*question, is_stopped=self.is_stopped, all_confirmed=all_confirmed)
        found = answer(curve)
        self.engine_runs += found.runs
        self.ended = found.ended or self.ended
        for point in found.points:
            here = self.lifted.setdefault((point.kind, of_share[point.capacity_bytes]), [])
            here += [m for m in relaxation.lift(point.mapping) if m not in here]

    def answer(self) -> CapacitySeries:
        """Return, at each capacity, the best lifted mappings that the engine found legal."""
        points = self._confirmed()
        if not points and self.ended == TIME_LIMIT:
            # Nothing that there was time for is legal here; another relaxation may have more.
            for member in self.family.members:
                with suppress(InputError):
                    self._search(member.make(), Clock(0.0), all_confirmed=True)
            points = self._confirmed()
        return CapacitySeries(points=points, runs=self.engine_runs, ended=self.ended)

    def _confirmed(self) -> tuple[CapacityPoint, ...]:
        fitted: dict[Kind, list[Mapping]] = {kind: [] for kind in KINDS}

        def runs_at(kind: Kind, capacity: int) -> Iterator[EngineRun]:
            for mapping in self.lifted.get((kind, capacity), []):
                if mapping not in fitted[kind]:
                    self.engine_runs += 1
                    run = run_with(self.space, self.memory, capacity, mapping)
                    if run is not None:
                        fitted[kind].append(mapping)
                        yield run

        points, late = confirmed(self.capacities, runs_at, self.is_late)
        self.ended = self.ended or late
        return points


SMALLEST, LARGEST = 1 << 10, 1 << 26
"""Smallest and largest capacity in bytes: 1 KiB to 64 MiB, or to four times the machine's own."""

STEPS = 300
"""Number of subspaces that a progress bar counts, roughly."""


@infrequent_collection()
def capacity_curves(
    workload: Workload,
    architecture: Architecture,
    memory: str,
    *,
    progress: ProgressOfParts = quiet,
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
) -> CapacityCurves:
    """Search the least traffic and the least energy at capacities of 1 KiB, 2 KiB, and so on.

    Parameters
    ----------
    memory : str
        Name or role of a memory of limited size, not the outermost.
    progress : callable
        As for ``search_workload``.
    time_limit_s : float, optional
        Time limit in seconds.
    constraints : sequence of ConstraintFile
        Constraints on all mappings.

    Raises
    ------
    SpecError
        No memory has this name, or it has no capacity; or the workload has several parts.
    NoLegalMappingError
        No mapping fits any capacity.
    """
    clock = Clock(time_limit_s)
    part = only_part(workload, "a capacity curve")
    level = limited_memory(architecture, memory, "--capacity-curve")
    assert level.capacity_bytes is not None, "as limited_memory says"
    space = space_of(part, architecture, constraints=constraints)
    search = _SeriesSearch(
        workload=workload,
        part=part,
        architecture=architecture,
        memory=level.name,
        capacities=_capacities(level.capacity_bytes),
        spaces=(space, einsum_by_einsum(space)),
        clock=clock,
        advance=progress(part.name, STEPS),
    )
    fused, apart = search.both()
    # Any mapping is one of the first curve.
    fused = _better_of(fused, apart)
    if not fused.traffic:
        which = f"of {part.name} that was found in time" if fused.ended else f"of {part.name}"
        raise NoLegalMappingError(f"no mapping {which} fits {level.name} of up to 64 MiB")
    result = fused.traffic[-1].result
    return CapacityCurves(
        workload=result.workload,
        architecture=architecture.name,
        memory=level.name,
        outermost=architecture.home.name,
        own_bytes=level.capacity_bytes,
        capacities=search.capacities,
        bound_bytes=result.bounds.traffic_bytes,
        fused=fused,
        einsum_by_einsum=apart,
    )


@dataclass(frozen=True, kw_only=True)
class _SeriesSearch:
    """Search of both curves: over all mappings, and over mappings without shared loops."""

    workload: Workload
    part: Part
    architecture: Architecture
    memory: str
    capacities: tuple[int, ...]
    spaces: tuple[Mapspace, Mapspace]
    clock: Clock
    advance: Advance
    together: bool = field(default_factory=lambda: usual_workers() > 1)
    """True if both curves are searched at the same time; else each gets half of the time."""
    stopped: Event = field(default_factory=lambda: get_context().Event())
    """Event by which one search stops the other."""

    def __call__(self, number: int) -> CapacitySeries:
        """Search one of the two curves, by its index."""
        left = 1 if self.together or number else 2
        clock = self.clock.part(left)
        is_late = clock.late()
        shows_progress = number == 0 or not self.together
        advance = self.advance if shows_progress else silent(STEPS)
        question = (self.spaces[number], self.memory, self.capacities, clock.most(), advance)
        curve = CurveQuery(*question, is_stopped=self.stopped.is_set)
        return self._of_workload(answer(curve), is_late)

    def _of_workload(self, found: CapacitySeries, is_late: Callable[[], bool]) -> CapacitySeries:
        """Return a part's curve with each mapping's result for the whole workload.

        The first mapping is run even if time is up.
        """
        results: dict[Mapping, Result] = {}
        points: list[CapacityPoint] = []
        for point in found.points:
            capacity = point.capacity_bytes
            mapping = replace(point.mapping, cascade=self.part.cascade)
            if mapping not in results:
                if results and is_late():
                    found = replace(found, ended=found.ended or TIME_LIMIT)
                    break
                machine = with_capacity(self.architecture, self.memory, capacity)
                jobs = plan(self.workload, machine, ByPart((mapping,)), generators=GENERATORS)
                results[mapping] = run_plan(jobs)
            # With more capacity a mapping that fits has the same result but for the capacity.
            result = results[mapping]
            buffers = (
                replace(b, capacity_bytes=capacity) if b.level == self.memory else b
                for b in result.buffers
            )
            result = replace(result, buffers=tuple(buffers))
            points.append(replace(point, mapping=mapping, result=result))
        return replace(found, points=tuple(points))

    def both(self) -> tuple[CapacitySeries, CapacitySeries]:
        """Search the first curve in this process, and the second after it or in another process."""
        if not self.together:
            return self(0), self(1)
        pool = ProcessPool(self, 1, at_once=True)
        try:
            other = pool.submit(1)
            pool.begin()
            first = self(0)
            if first.ended == INTERRUPTED:
                # Ctrl-C interrupts this process only: the other one is asked for its points so far.
                self.stopped.set()
            second = pool.answer(other, never)
        finally:
            pool.close()
        assert second is not None, "it is waited for"
        return first, second


def _better_of(first: CapacitySeries, second: CapacitySeries) -> CapacitySeries:
    """Merge two curves: for each capacity the better point, the first curve's in a tie."""
    found: dict[tuple[int, Kind], CapacityPoint] = {}
    for point in (*first.points, *second.points):
        key = (point.capacity_bytes, point.kind)
        best = found.setdefault(key, point)
        if point.value < best.value:
            found[key] = point
    return replace(first, points=tuple(found[key] for key in sorted(found)))


def _capacities(own: int) -> tuple[int, ...]:
    """Return the capacities to search: powers of two, and the machine's own capacity."""
    most = max(LARGEST, 4 * own)
    powers = [SMALLEST << n for n in range(64) if SMALLEST << n <= most]
    return tuple(sorted({*powers, own}))


def einsum_by_einsum(space: Mapspace) -> Mapspace:
    """Restrict a mapspace to mappings whose Einsums share loops over parallel ranks only.

    Each intermediate goes to the outermost memory.
    """
    program = space.program
    ranks = dict.fromkeys(v.upper() for e in program.einsums for v in e.variables)
    outermost = space.architecture.home.name
    apart = (IsShared(rank) for rank in ranks if rank not in program.parallel)
    kept = (IsKept(e.name, outermost) for e in program.einsums)
    more = (
        *(MappingConstraint(statement=s, must=False) for s in apart),
        *(MappingConstraint(statement=s, must=True) for s in kept),
    )
    return replace(space, constraints=Constraints((*space.constraints.all, *more)))
