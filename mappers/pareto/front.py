"""Records of a Pareto front: no point is both faster and of less energy than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archsim.dominance import undominated
from archsim.result.result import Result
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping

from ..problem.certificate import Certificate, Searched
from ..problem.objectives import OBJECTIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRun:
    """Engine run of one part of a workload, as a point of a Pareto front."""

    mapping: Mapping
    result: Result
    cycles: float
    energy_pj: float
    bound_pj: float = 0.0
    """Lower bound of the energy, in pJ, of mappings that are as fast and hold no more."""
    footprint_bytes: float | None = None
    """Footprint in the memory of a front of three objectives; None on a front of two."""

    @classmethod
    def of(cls, mapping: Mapping, result: Result) -> FrontRun:
        """Return the run of a mapping, with both objectives of its result."""
        return cls(
            mapping=mapping,
            result=result,
            cycles=OBJECTIVES["latency"].of(result),
            energy_pj=OBJECTIVES["energy"].of(result),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSearched:
    """Pareto front of one part of a workload, and the effort of its search."""

    runs: tuple[FrontRun, ...]
    """Points of the front, fastest first."""
    least: tuple[Searched, Searched]
    """Searches of both ends: least latency, least energy."""
    searches: int
    """Searches besides the two ends."""
    engine_runs: int
    """Mappings that the engine ran."""
    ended: str
    """Reason of an early end; empty if the search was complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """Mapping on the Pareto front of a workload."""

    mapping: Mapping
    result: Result
    """Result of the whole workload, by the engine."""
    gap: float
    """Largest energy share that a mapping as fast and of no larger footprint could save."""
    held_bytes: float | None = None
    """Footprint in the memory of a front of three objectives; None on a front of two."""

    def to_dict(self) -> dict[str, Any]:
        """Return the point as ``archsim map --pareto --json`` prints it."""
        return {
            "cycles": self.result.cycles,
            "latency_s": self.result.latency_s,
            "energy_pj": self.result.energy_pj,
            "traffic_bytes": self.result.traffic_bytes,
            **({} if self.held_bytes is None else {"held_bytes": self.held_bytes}),
            "gap": self.gap,
            "bound_energy_pj": self.result.energy_pj * (1 - self.gap),
            "mapping_spec": {"mapping": mapping_dict(self.mapping)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Pareto front of latency, energy and optionally the footprint in one memory."""

    workload: str
    architecture: str
    points: tuple[FrontPoint, ...]
    """Points, fastest first; on a front of two, each of less energy than the one before."""
    least: tuple[Certificate, Certificate]
    """Certificates of both ends: least latency, least energy."""
    searches: int
    """Searches besides the two ends."""
    runs: int
    """Mappings that the engine ran."""
    tolerance: float
    """Share of the energy that a slower point has to save."""
    ended: str = ""
    """Reason of an early end; empty if the search was complete."""
    memory: str = ""
    """Memory whose footprint is the third objective; empty on a front of two."""

    @property
    def least_energy_pj(self) -> float:
        """Least energy of all points, in pJ."""
        return min(point.result.energy_pj for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """Return the front as ``archsim map --pareto --json`` prints it."""
        latency, energy = self.least
        return {
            "workload": self.workload,
            "architecture": self.architecture,
            "pareto": ["latency", "energy", *(("buffer",) if self.memory else ())],
            **({"memory": self.memory} if self.memory else {}),
            "points": [point.to_dict() for point in self.points],
            "least_latency": latency.to_dict(),
            "least_energy": energy.to_dict(),
            "searches": self.searches,
            "engine_runs": self.runs,
            "tolerance": self.tolerance,
            **({"ended": self.ended} if self.ended else {}),
        }


def non_dominated(runs: Sequence[FrontRun], tolerance: float) -> tuple[FrontRun, ...]:
    """Return the runs on the front of latency and energy, fastest first.

    Parameters
    ----------
    tolerance : float
        Share of the energy that a slower run has to save.
    """
    costs = [(run.cycles, run.energy_pj) for run in runs]
    return tuple(runs[n] for n in undominated(costs, (0.0, tolerance)))
