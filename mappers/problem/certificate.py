"""Record of a search: the mapping found, its certificate, and how it differs from the runner-up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import isfinite
from typing import Any

from archsim.nest.record import Bound, BoundEinsum
from archsim.result.result import Result
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping

TIME_LIMIT, INTERRUPTED = "time limit", "interrupted"
"""Why a search was over before it was through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How the mappings of a space were covered.

    Every candidate is either *evaluated* or *pruned*: left out together with others, for a
    reason that holds for all of them.
    """

    strategy: str
    objective: str
    candidates: int
    evaluated: int
    """Candidates whose objective, or a bound of it, was worked out."""
    reasons: tuple[tuple[str, int], ...]
    """Why the others were pruned, and how many each time, to sixteen digits."""
    runs: int
    """Candidates that the engine ran."""
    gap: float
    """How much better than the mapping found any other could be, as a share of it."""
    tolerance: float
    """The gap up to which a mapping counts as optimal."""
    value: float
    """The objective of the mapping found."""
    floor: float
    """What no mapping is below, of this space or any other."""
    ended: str = ""
    """``TIME_LIMIT`` or ``INTERRUPTED``; empty where the search was through."""
    constraints: tuple[str, ...] = ()
    """What all mappings of the space obey, where it is not the whole one."""
    remembered: bool = False
    """Whether an earlier run searched, for the very same problem."""

    @property
    def pruned(self) -> int:
        """Candidates that were not evaluated."""
        return self.candidates - self.evaluated

    @property
    def bound(self) -> float:
        """What no mapping of the space is below."""
        return self.value * (1 - self.gap)

    @property
    def optimal(self) -> bool:
        """Whether no mapping of the space is better by more than the tolerance."""
        return self.gap <= self.tolerance

    @property
    def is_floor(self) -> bool:
        """Whether nothing is proven but the floor, which is no mapping's of any space."""
        return self.bound <= self.floor * (1 + 1e-9)

    def beside(self, others: Sequence[Certificate]) -> Certificate:
        """The same, with what was looked at for it in other spaces."""
        all_of = (self, *others)
        # Whoever interrupted one of them wants what there is: the others end as if time were up.
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
        """What ``archsim map --json`` says."""
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


def added_reasons(certificates: Iterable[Certificate]) -> tuple[tuple[str, int], ...]:
    """Why mappings were left out in several searches, and how many each time."""
    found: dict[str, int] = {}
    for why, count in chain.from_iterable(c.reasons for c in certificates):
        found[why] = found.get(why, 0) + count
    return tuple(found.items())


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a search was at some time."""

    seconds: float
    """Since it began."""
    runs: int
    """Mappings that the engine had run."""
    value: float
    """The best so far; infinite where there was none."""
    bound: float
    """What no mapping of the space is below, as far as was proven."""

    def to_dict(self) -> dict[str, Any]:
        """What ``archsim map --json`` says."""
        best = self.value if isfinite(self.value) else None
        return {"seconds": self.seconds, "runs": self.runs, "best": best, "bound": self.bound}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is otherwise in another mapping."""

    what: str
    here: str
    there: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """The best mapping known in which other loops are shared, or in another order."""

    mapping: Mapping
    result: Result
    differences: tuple[Difference, ...]
    """Where it differs from the mapping found (*here*), what matters most first."""

    def to_dict(self) -> dict[str, Any]:
        """What ``archsim map --json`` says."""
        return {
            "latency_s": self.result.latency_s,
            "cycles": self.result.cycles,
            "energy_pj": self.result.energy_pj,
            "bound_by": self.result.bound_by,
            "differences": [
                {"what": d.what, "here": d.here, "there": d.there} for d in self.differences
            ],
            "mapping_spec": {"mapping": mapping_dict(self.mapping)},
        }


@dataclass(frozen=True, slots=True)
class RanMapping:
    """A mapping that the engine ran, and what it is worth."""

    value: float
    mapping: Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """The best mapping that a search found."""

    mapping: Mapping
    result: Result
    certificate: Certificate
    runner_up: RunnerUp | None = None
    history: tuple[Moment, ...] = ()
    """How the best and the bound met."""
    ran: tuple[RanMapping, ...] = ()
    """A few of all that ran, the best first: of a machine that stands in for another, where the
    best of its mappings may be none of the other's."""


_NONE = "none"
_OUTSIDE = "stays outside of"


def differences_of_nests(
    one: Sequence[tuple[str, Bound]], other: Sequence[tuple[str, Bound]]
) -> tuple[Difference, ...]:
    """Where two mappings differ of which either may have several nests.

    Parameters
    ----------
    one, other : sequence of tuple
        The name of each nest, and its mapping, bound.
    """
    if len(one) == len(other) == 1:
        return differences(one[0][1], other[0][1])
    here, there = (" | ".join(name for name, _ in x) or "one" for x in (one, other))
    return (Difference(what="nests", here=here, there=there),)


def differences(one: Bound, other: Bound) -> tuple[Difference, ...]:
    """Where two mappings differ, what matters most first.

    Parameters
    ----------
    one, other : Bound
        Of the same cascade and shapes on the same machine.

    Returns
    -------
    tuple of Difference
        Shared loops by memory, Einsums that stay outside of them, arrays, places, layouts. Where
        nests are not the same ones, that they share no loops goes without saying.
    """
    alike = one.groups == other.groups
    return tuple(
        Difference(what=what, here=here, there=there)
        for (what, here), (_, there) in zip(_told(one), _told(other), strict=True)
        if here != there and (alike or _OUTSIDE not in what)
    )


def _told(bound: Bound) -> Iterator[tuple[str, str]]:
    """Choices of a mapping by what they are about, the same ones in the same order for all."""
    groups = [" ".join(group) for group in bound.groups]
    yield "nests", " | ".join(groups) if len(groups) > 1 else "one"
    spread = bound.instances.spread if bound.instances is not None else ()
    yield "spread", _listed(f"{x.rank} over {x.parts:,} {x.instances}" for x in spread)
    for level, memory in enumerate(bound.architecture.memories):
        loops = [x for x in bound.nest if x.level == level and x.bound > 1]
        yield f"shared loops at {memory.name}", _listed(f"{x.rank} {x.bound:,}" for x in loops)
    for e in bound.einsums:
        yield f"{e.name} {_OUTSIDE}", _listed(dict.fromkeys(_left(bound, e)))
        yield f"{e.name} runs on", e.array.name
    homes = dict(bound.residency.places)
    for tensor in sorted(homes):
        yield f"{tensor} is kept in", _listed(home.name for home in homes[tensor])
    for e in bound.einsums:
        yield f"own loops of {e.name}", _listed(_own(e))
        yield f"side by side in {e.name}", _listed(_lying(e))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or _NONE


def _left(bound: Bound, e: BoundEinsum) -> Iterator[str]:
    """Ranks of the shared loops that an Einsum stays out of."""
    return (x.rank for x in bound.nest if x.bound > 1 and x.member in e.outside)


def _own(e: BoundEinsum) -> Iterator[str]:
    return (
        f"{x.variable.upper()} {e.trip_counts[x.member]:,}"
        for x in e.own
        if e.trip_counts[x.member] > 1
    )


def _lying(e: BoundEinsum) -> Iterator[str]:
    """Dimensions with the ranks along them."""
    for d in e.array.dimensions:
        ranks = dict.fromkeys(x.variable.upper() for x in e.spatial if x.dimension == d.name)
        if ranks:
            yield f"{d.name}: {' x '.join(ranks)}"
