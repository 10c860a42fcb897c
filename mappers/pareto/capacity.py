"""Records of a capacity curve: traffic and energy of mappings against the capacity of one
memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from archsim.result.result import Result
from archsim.spec.arch import Architecture, Memory
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import Problem, SpecError, did_you_mean

BUFFER = "buffer"
"""Name of the outermost memory of limited size on any machine, unless a memory has this name."""


def limited_memory(architecture: Architecture, name: str, option: str) -> Memory:
    """Return the memory whose capacity a query is about.

    Parameters
    ----------
    name : str
        Name or role of a memory, or ``buffer`` for the outermost one of limited size.
    option : str
        Option that errors begin with.

    Raises
    ------
    SpecError
        No memory has this name or role, or it is the outermost, or it has no limit.
    """
    outermost, *inner = architecture.memories[architecture.home_level :]
    known = [m.name for m in inner if m.capacity_bytes is not None]
    named = memory_in_role(architecture, name) or name
    if named == BUFFER and architecture.memory(named) is None:
        if not known:
            raise SpecError(f"{option}: no inner memory of {architecture.name} is limited in size")
        named = known[0]
    if named not in [m.name for m in architecture.memories]:
        hint = did_you_mean(name, known)
        raise SpecError(f"{option}: {architecture.name} has no memory '{name}'; {hint}")
    if named not in known:
        why = "is the outermost" if named == outermost.name else "has no limit"
        text = f"{option}: {named} {why}; asked is the size of an inner memory"
        raise SpecError(Problem(text, hint=f"known: {', '.join(known) or 'none'}"))
    return next(m for m in inner if m.name == named)


Series = Literal["fused", "einsum_by_einsum"]
SERIES: tuple[Series, Series] = ("fused", "einsum_by_einsum")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPoint:
    """Mapping of least traffic or least energy at one capacity, run by the engine."""

    capacity_bytes: int
    mapping: Mapping
    result: Result
    """Result of the workload at this capacity, with the access energies of the machine's own
    memory."""

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
    """Points of one series by ascending capacity; capacities that nothing fits have no points."""

    traffic: tuple[CapacityPoint, ...]
    """Points of the least traffic of the outermost memory."""
    energy: tuple[CapacityPoint, ...]
    """Points of the least energy."""

    def to_dict(self) -> dict[str, Any]:
        """Return the series as ``archsim map --capacity-curve --json`` prints it."""
        return {
            "least_traffic": [point.to_dict() for point in self.traffic],
            "least_energy": [point.to_dict() for point in self.energy],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCurves:
    """Least traffic and least energy of a workload against the capacity of a memory."""

    workload: str
    architecture: str
    memory: str
    outermost: str
    own_bytes: int
    """Capacity of the memory on the machine itself."""
    capacities: tuple[int, ...]
    bound_bytes: float
    """Lower bound of the traffic by the passes of the cascade."""
    fused: CapacitySeries
    """Series over all mappings."""
    einsum_by_einsum: CapacitySeries
    """Series over mappings without shared loops, whose intermediates go to the outermost memory."""
    runs: int
    """Mappings that the engine ran."""
    ended: str = ""
    """Reason of an early end; empty if the search was complete."""

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
