"""What a run is between its inputs and its result, as text: ``simulate --dump STAGE``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from .bound.dump import bound_text
from .cost.dump import counts_text
from .counts.cores import counts_at_ports, over_links
from .counts.spill import count_mapping
from .jobs.job import JobPlan
from .nest.record import Bound
from .schedule.dump import program_text
from .schedule.kinds import exact_walks, kind_of


def _counts(bound: Bound) -> str:
    counts = count_mapping(bound)
    if bound.instances is not None and bound.architecture.memories[0].ring:
        counts = over_links(bound, counts, bound.instances.ring)
    return counts_text(bound, counts)


def _programs(bound: Bound) -> str:
    walks = exact_walks(bound, counts_at_ports(bound, count_mapping(bound)))
    programs = kind_of(bound).programs(bound, walks)
    return "\n\n".join(program_text(program) for program in programs)


STAGES: Final[Mapping[str, tuple[str, Callable[[Bound], str]]]] = MappingProxyType(
    {
        "bound": ("tiles in elements", bound_text),
        "counts": ("reads and writes in elements", _counts),
        "program": ("times in cycles", _programs),
    }
)
"""By name, in what its numbers are, and what a stage of a run says (docs/architecture.md)."""


def dump(plan: JobPlan, stage: str) -> str:
    """One stage of every job of a plan, as text.

    Parameters
    ----------
    stage : {"bound", "counts", "program"}
        The loop nest with its tiles; accesses and operations of every Einsum; tasks,
        dependencies and run lengths of the schedule, with the steps as they really are.

    Raises
    ------
    SpecError, MappingError
        As ``Job.bind``, and where the schedule contradicts the cascade's dependencies.
    """
    units, text = STAGES[stage]
    found = []
    for job in plan.nests:
        title = f"{job.name} on {job.architecture.name}, mapped by {job.mapping.name} ({units})"
        found.append(f"{title}\n{'=' * len(title)}\n{text(job.bind())}")
    return "\n\n".join(found)
