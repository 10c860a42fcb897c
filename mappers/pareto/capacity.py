"""Capacity curve: traffic and energy of mappings against the capacity of one memory."""

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
"""The outermost memory of limited size, on any machine; one of that name goes first."""


def limited_memory(architecture: Architecture, name: str, option: str) -> Memory:
    """The memory whose size a search is asked about.

    Parameters
    ----------
    name : str
        Its name or role, or ``buffer``: the outermost that is limited.
    option : str
        Where that was written, as errors begin.

    Raises
    ------
    SpecError
        There is none of that name or role, it is the outermost, or of no limit.
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
    """The least of one kind that was found with so much of a memory, run by the engine."""

    capacity_bytes: int
    mapping: Mapping
    result: Result
    """The workload's, on the machine with that capacity and the memory's own energies."""

    def to_dict(self) -> dict[str, Any]:
        """A point as ``archsim map --capacity-curve --json`` has it."""
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
    """Points of one series, in ascending order of capacities; none where nothing fits."""

    traffic: tuple[CapacityPoint, ...]
    """Of the least traffic of the outermost memory."""
    energy: tuple[CapacityPoint, ...]
    """Of the least energy."""

    def to_dict(self) -> dict[str, Any]:
        """A series as ``archsim map --capacity-curve --json`` has it."""
        return {
            "least_traffic": [point.to_dict() for point in self.traffic],
            "least_energy": [point.to_dict() for point in self.energy],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCurves:
    """Traffic and energy against the capacity of a memory."""

    workload: str
    architecture: str
    memory: str
    outermost: str
    own_bytes: int
    """What the machine has of the memory."""
    capacities: tuple[int, ...]
    bound_bytes: float
    """What no mapping of the cascade moves less than, by the analysis of its passes."""
    fused: CapacitySeries
    """Any mapping of the space."""
    einsum_by_einsum: CapacitySeries
    """Those in which no loops are shared and each intermediate goes to the outermost memory."""
    runs: int
    """Mappings that the engine ran."""
    ended: str = ""
    """Why it was over before it was through, if somebody wanted that."""

    def to_dict(self) -> dict[str, Any]:
        """What ``archsim map --capacity-curve --json`` prints."""
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
