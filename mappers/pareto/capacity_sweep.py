"""Capacity sweep: least traffic and least energy at several capacities, in one exact search.

The cost tables of a subspace do not depend on capacities; capacities limit branch and bound only.
Two columns are searched: bytes of the outermost memory, and energy. A tiling is skipped at a
capacity if its lower bound does not beat the best mapping known there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain, islice, product
from math import inf
from typing import Any, Literal

import numpy as np

from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError

from ..exact.branch_and_bound import BranchAndBound, NotInBatchesError
from ..exact.kernels.bounds import Choices
from ..exact.kernels.descent import LEAST, Search, SizedSearch, search, search_sized
from ..exact.kernels.measures import Floats
from ..exact.policy import Effort
from ..exact.subspaces import (
    SubspaceSearch,
    TableMemo,
    column_sum,
    fresh_state,
    nodes_of,
    priced,
    with_multipliers,
)
from ..exact.tables import CostMemo, SubspaceRefusedError, Tables, tabulate
from ..problem.certificate import INTERRUPTED, TIME_LIMIT
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.objectives import ENERGY, OBJECTIVES
from ..problem.protocol import Advance, SearchProblem, never
from ..space.fusion import subspaces_of
from ..space.mapspace import Mapspace
from ..space.region import Region, Subspace
from . import policy

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


def with_capacity(machine: Architecture, memory: str, capacity: int) -> Architecture:
    """Return the machine with another capacity of a memory, but the same energy per access.

    Parameters
    ----------
    memory : str
        Memory of limited size.
    capacity : int
        Capacity in bytes.
    """
    memories = tuple(
        replace(m, capacity_bytes=capacity, billed_bytes=m.billed_bytes or m.capacity_bytes)
        if m.name == memory
        else m
        for m in machine.memories
    )
    return replace(machine, memories=memories)


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
                    found = Search(
                        values=state.values[:, None].repeat(3, axis=1),
                        chosen=state.chosen,
                        tally=state.tally,
                    )
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
        weights = with_multipliers([column_sum(1, 0)] * 2, len(choices.capacities))
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
