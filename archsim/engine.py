"""``simulate``: a workload on a machine under a mapping, by name or by value."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, Problem, SpecError
from einsum_cascade.library import builtin_names

from .arch import Architecture
from .mapping import Mapping
from .results import Result


class WorkloadLike(Protocol):
    """What ``simulate`` needs of a workload (``workloads.Workload`` is one)."""

    @property
    def name(self) -> str:
        """Shown in the result."""
        ...

    @property
    def cascade(self) -> str:
        """The cascade, by built-in name or file."""
        ...

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """Shapes of those ranks that the workload gives."""
        ...


def simulate(
    workload: WorkloadLike,
    architecture: Architecture,
    mapping: Mapping | None = None,
    *,
    engine: Literal["analytical", "event"] = "analytical",
) -> Result:
    """Counts, latency, energy, area and bounds of a workload on a machine.

    Parameters
    ----------
    workload : WorkloadLike
        Shapes, and the cascade to run where no mapping says another.
    architecture : Architecture
        The machine.
    mapping : Mapping, optional
        How to run it. A mapping names its cascade; without one, the built-in mapping of
        the workload's cascade that overlaps most is taken.
    engine : str
        ``"analytical"`` times an average step in closed form; ``"event"`` runs the real
        tiles. Counts, traffic and energy are the same.

    Raises
    ------
    SpecError
        Something named does not exist, or shapes are missing.
    MappingError
        The mapping is not legal on this machine; says why, with the numbers.
    """
    from .analytical import evaluate_mapping

    if engine not in ("analytical", "event"):
        raise InputError(f"there is no engine '{engine}'; use 'analytical' or 'event'")
    if mapping is None:
        mapping = default_mapping(workload.cascade)
    program = Cascade.load(mapping.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    return evaluate_mapping(
        program,
        mapping,
        architecture,
        workload.shapes_for(ranks),
        workload=workload.name,
        engine=engine,
    )


def default_mapping(cascade: str) -> Mapping:
    """The built-in mapping of a cascade: a pipelined one if there is one, else the first."""
    found = [
        m for name in builtin_names("mappings") if (m := Mapping.load(name)).cascade == cascade
    ]
    if not found:
        raise SpecError(
            Problem(
                f"no built-in mapping runs cascade '{cascade}'",
                hint="name a file of yours with --mapping; built-in mappings show how",
            )
        )
    return min(found, key=lambda m: (m.schedule.kind != "pipelined", m.name))
