"""Pareto front: mappings of which none is both faster and of less energy than another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from archsim.result.result import Result
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping

from ..problem.certificate import Certificate
from ..problem.objectives import OBJECTIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRun:
    """A mapping of one part that the engine has run, and its two objectives of one run."""

    mapping: Mapping
    result: Result
    cycles: float
    energy_pj: float

    @classmethod
    def of(cls, mapping: Mapping, result: Result) -> FrontRun:
        """A mapping and what the engine says of it."""
        return cls(
            mapping=mapping,
            result=result,
            cycles=OBJECTIVES["latency"].of(result),
            energy_pj=OBJECTIVES["energy"].of(result),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A mapping of a front."""

    mapping: Mapping
    result: Result
    """The workload's, by the engine."""
    gap: float
    """How much less energy another mapping of the space could take in that latency at the most,
    as a share of it; of a front of three, one that holds no more."""
    held_bytes: float | None = None
    """Of a front of three: what it holds of the memory."""

    def to_dict(self) -> dict[str, Any]:
        """A point as ``archsim map --pareto --json`` has it."""
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
    """Latency against energy, and what a memory holds, if asked: what each costs of the others."""

    workload: str
    architecture: str
    points: tuple[FrontPoint, ...]
    """Fastest first; of a front of two, each of less energy than the one before."""
    least: tuple[Certificate, Certificate]
    """How sure the two ends are: least latency, least energy."""
    searches: int
    """Searches under a cap, beside those two."""
    runs: int
    """Mappings that the engine ran."""
    tolerance: float
    """Of points whose energies differ by no more than this share the faster alone stays."""
    ended: str = ""
    """Why it was over before it was through, if somebody wanted that."""
    memory: str = ""
    """The memory of a front of three."""

    @property
    def least_energy_pj(self) -> float:
        """Of all points, in pJ."""
        return min(point.result.energy_pj for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """What ``archsim map --pareto --json`` prints."""
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


def undominated(runs: Iterable[FrontRun], tolerance: float) -> tuple[FrontRun, ...]:
    """The runs that belong on a front, fastest first.

    Parameters
    ----------
    runs : iterable of FrontRun
        In any order.
    tolerance : float
        A slower one has to save more than this share of the energy.
    """
    found: list[FrontRun] = []
    for run in sorted(runs, key=lambda r: (r.cycles, r.energy_pj)):
        if not found or run.energy_pj < found[-1].energy_pj * (1 - tolerance):
            found.append(run)
    return tuple(found)
