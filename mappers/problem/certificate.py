"""Results of a search: the mapping found, its certificate, and how the runner-up differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from math import isfinite
from typing import Any

from archsim.nest.record import Bound, BoundEinsum
from archsim.result.result import Result
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping

from .engine_run import EngineRun

TIME_LIMIT, INTERRUPTED = "time limit", "interrupted"
"""Reasons why a search may end early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Statement of how much of a mapspace a search covered, and of the gap that it proves.

    Every candidate mapping is either *evaluated* or *pruned*. Candidates are pruned in groups, for
    one reason that holds for the whole group.
    """

    strategy: str
    objective: str
    candidates: int = 0
    evaluated: int = 0
    """Number of candidates whose objective, or a lower bound of it, was computed."""
    reasons: tuple[tuple[str, int], ...] = ()
    """Pairs of a reason for pruning and the number of candidates, exact to sixteen digits."""
    runs: int
    """Number of candidates that the engine ran."""
    gap: float
    """Largest share of the objective by which another mapping could be better."""
    tolerance: float
    """Largest gap at which a mapping counts as optimal."""
    value: float
    """Objective of the mapping found."""
    floor: float
    """Lower bound of the objective for any mapping, inside or outside of this mapspace."""
    ended: str = ""
    """``TIME_LIMIT`` or ``INTERRUPTED``; empty if the search was complete."""
    constraints: tuple[str, ...] = ()
    """Constraints on all mappings of the mapspace, as sentences."""
    remembered: bool = False
    """True if the result was stored by an earlier search of the same problem."""

    @property
    def pruned(self) -> int:
        """Number of candidates that were not evaluated."""
        return self.candidates - self.evaluated

    @property
    def bound(self) -> float:
        """Lower bound of the objective for all mappings of the mapspace."""
        return self.value * (1 - self.gap)

    @property
    def optimal(self) -> bool:
        """True if no mapping of the mapspace is better by more than the tolerance."""
        return self.gap <= self.tolerance

    @property
    def is_floor(self) -> bool:
        """True if the search proves no higher lower bound than the floor."""
        return self.bound <= self.floor * (1 + 1e-9)

    def bounded(self, value: float, bound: float) -> Certificate:
        """Return this certificate for another value, with the gap between it and a lower bound."""
        return replace(self, value=value, gap=gap_to(bound, value))

    def with_effort_of(self, others: Sequence[Certificate]) -> Certificate:
        """Return this certificate with the candidates and runs of other searches added."""
        all_of = (self, *others)
        # An interrupt asks for the best so far: the other searches end as if their time were up.
        ended = [c.ended for c in all_of if c.ended]
        return replace(
            self,
            candidates=sum(c.candidates for c in all_of),
            evaluated=sum(c.evaluated for c in all_of),
            reasons=added_reasons(all_of),
            runs=sum(c.runs for c in all_of),
            ended=INTERRUPTED if INTERRUPTED in ended else next(iter(ended), ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as ``archsim map --json`` prints it."""
        return {
            "strategy": self.strategy,
            "objective": self.objective,
            "candidates": self.candidates,
            "evaluated": self.evaluated,
            "pruned": self.pruned,
            "pruned_because": dict(self.reasons),
            "engine_runs": self.runs,
            "optimal": self.optimal,
            "gap": self.gap,
            "tolerance": self.tolerance,
            "value": self.value,
            "bound": self.bound,
            "floor": self.floor,
            **({"ended": self.ended} if self.ended else {}),
            **({"constraints": [*self.constraints]} if self.constraints else {}),
            **({"remembered": True} if self.remembered else {}),
        }


def gap_to(bound: float, value: float) -> float:
    """Return the share by which a lower bound is below a value."""
    return max(0.0, 1 - bound / value) if value else 0.0


def added_reasons(certificates: Iterable[Certificate]) -> tuple[tuple[str, int], ...]:
    """Add up the pruned candidates of several searches, reason by reason."""
    found: dict[str, int] = {}
    for why, count in chain.from_iterable(c.reasons for c in certificates):
        found[why] = found.get(why, 0) + count
    return tuple(found.items())


@dataclass(frozen=True, slots=True)
class Moment:
    """State of a search at one time: its incumbent and its lower bound."""

    seconds: float
    """Seconds since the search began."""
    runs: int
    """Number of mappings that the engine had run by then."""
    value: float
    """Objective of the incumbent; infinite if there was none yet."""
    bound: float
    """Lower bound for the mapspace that was proven by then."""

    def to_dict(self) -> dict[str, Any]:
        """Return the moment as ``archsim map --json`` prints it."""
        best = self.value if isfinite(self.value) else None
        return {"seconds": self.seconds, "runs": self.runs, "best": best, "bound": self.bound}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A choice in which two mappings differ, and its value in each of them."""

    what: str
    here: str
    there: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """Best known mapping whose shared loops are over other ranks, or in another order."""

    mapping: Mapping
    result: Result
    differences: tuple[Difference, ...]
    """Differences from the mapping found, most important first; *here* is the mapping found."""

    def to_dict(self) -> dict[str, Any]:
        """Return the runner-up as ``archsim map --json`` prints it."""
        return {
            "latency_s": self.result.latency_s,
            "cycles": self.result.cycles,
            "energy_pj": self.result.energy_pj,
            "bound_by": self.result.bound_by,
            "differences": [asdict(d) for d in self.differences],
            "mapping_spec": {"mapping": mapping_dict(self.mapping)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """Best mapping that a search found, with its result and certificate."""

    mapping: Mapping
    result: Result
    certificate: Certificate
    runner_up: RunnerUp | None = None
    history: tuple[Moment, ...] = ()
    """States of the search whenever the incumbent or the lower bound improved."""
    ran: tuple[EngineRun, ...] = ()
    """A few of the best runs, best first. They matter for relaxations, whose best mapping may be
    illegal on the machine."""


_OUTSIDE = "stays outside of"


def differences_of_nests(
    one: Sequence[tuple[str, Bound]], other: Sequence[tuple[str, Bound]]
) -> tuple[Difference, ...]:
    """Return the differences between two mappings, each of which may have several nests.

    Parameters
    ----------
    one, other : sequence of tuple
        Name and bound mapping of each nest.
    """
    if len(one) == len(other) == 1:
        return differences(one[0][1], other[0][1])
    here, there = (" | ".join(name for name, _ in x) or "one" for x in (one, other))
    return (Difference(what="nests", here=here, there=there),)


def differences(one: Bound, other: Bound) -> tuple[Difference, ...]:
    """Return the differences between two mappings of one nest, most important first.

    Parameters
    ----------
    one, other : Bound
        Mappings of the same cascade and shapes on the same machine.

    Returns
    -------
    tuple of Difference
        Shared loops by memory, Einsums outside of them, arrays, residencies, layouts. Where
        groups of fused Einsums differ, Einsums outside of shared loops are left out.
    """
    same_groups = one.groups == other.groups
    return tuple(
        Difference(what=what, here=here, there=there)
        for (what, here), (_, there) in zip(_choices(one), _choices(other), strict=True)
        if here != there and (same_groups or _OUTSIDE not in what)
    )


def _choices(bound: Bound) -> Iterator[tuple[str, str]]:
    """Yield every choice of a mapping and its value, in the same order for all mappings."""
    groups = [" ".join(group) for group in bound.groups]
    yield "nests", " | ".join(groups) if len(groups) > 1 else "one"
    partitions = bound.cores.partitions
    yield "partitions", _listed(f"{x.rank} over {x.parts:,} {x.instances}" for x in partitions)
    for level, memory in enumerate(bound.architecture.memories):
        loops = [x for x in bound.nest if x.level == level and x.bound > 1]
        yield f"shared loops at {memory.name}", _listed(f"{x.rank} {x.bound:,}" for x in loops)
    for e in bound.einsums:
        outside = (x.rank for x in bound.nest if x.bound > 1 and x.member in e.outside)
        yield f"{e.name} {_OUTSIDE}", _listed(dict.fromkeys(outside))
        yield f"{e.name} runs on", e.array.name
    homes = dict(bound.residency.places)
    for tensor in sorted(homes):
        yield f"{tensor} is kept in", _listed(home.name for home in homes[tensor])
    for e in bound.einsums:
        trips = ((x.variable.upper(), e.trip_counts[x.member]) for x in e.own)
        yield f"own loops of {e.name}", _listed(f"{rank} {n:,}" for rank, n in trips if n > 1)
        yield f"side by side in {e.name}", _listed(_spatial_ranks(e))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _spatial_ranks(e: BoundEinsum) -> Iterator[str]:
    """Yield each dimension of an Einsum's array with the ranks along it, as text."""
    for d in e.array.dimensions:
        ranks = dict.fromkeys(x.variable.upper() for x in e.spatial if x.dimension == d.name)
        if ranks:
            yield f"{d.name}: {' x '.join(ranks)}"
