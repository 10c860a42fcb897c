"""Which built-in mapping a machine runs a workload by, where nobody says which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError

from ..spec.index import compute_the_same, interchangeable_entries
from ..spec.mapping import EINSUM_BY_EINSUM, Mapping
from .job import Generators
from .plan import plan
from .run import run_plan
from .selection import usual_mapping
from .workload import WorkloadLike, own_part

if TYPE_CHECKING:
    from ..result.record import Result
    from ..spec.arch import Architecture


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mapping that a machine cannot run, and the first reason why."""

    mapping: str
    reason: str


@dataclass(frozen=True, slots=True)
class MachineRun:
    """A run, the mappings that were tried before its own, and what its cascades lack."""

    result: Result
    refused: tuple[Refusal, ...] = ()
    left_out: tuple[str, ...] = ()


def run_by(
    workload: WorkloadLike,
    machine: Architecture,
    mapping: Mapping | None,
    generators: Generators,
) -> MachineRun:
    """Simulate by a mapping, or by the default one.

    Parameters
    ----------
    mapping : Mapping or None
        For the parts whose cascade it names or stands in for, else for the attention.
    generators : Generators
        What makes the mappings that nobody wrote, and open choices.

    Raises
    ------
    SpecError, MappingError
        As ``plan``, or the machine cannot run a part so.
    """
    jobs = plan(workload, machine, mapping, generators=generators)
    return MachineRun(run_plan(jobs), left_out=jobs.left_out)


def run_somehow(
    workload: WorkloadLike, machine: Architecture, generators: Generators
) -> MachineRun:
    """Simulate by the default mapping (``simulate``), else by the first that is legal.

    After the default come all built-in ones, pipelined ones first, then by name; but only
    those of cascades that compute the same as the workload's (they name the same
    reference). Then come those of cascades that stand in for it: what they leave out is in
    ``MachineRun.left_out``. Where there are none, it runs one Einsum after the other.

    Raises
    ------
    MappingError
        None is legal; says why for each. ``NoLegalMappingError`` if each lacks room only.
    InputError
        Something named does not exist, or shapes are missing.
    """
    candidates = _candidates(workload, machine)
    default = usual_mapping(workload, machine)
    errors: dict[str, InputError] = {}
    # Without a written default this would be one Einsum after the other: the last resort.
    if default is not None or not candidates:
        try:
            return run_by(workload, machine, None, generators)
        except InputError as wrong:
            errors[EINSUM_BY_EINSUM if default is None else default.name] = wrong
    for mapping in candidates:
        if mapping.name in errors:
            continue
        try:
            found = run_by(workload, machine, mapping, generators)
        except InputError as wrong:
            errors[mapping.name] = wrong
        else:
            refused = (Refusal(name, _reason(why)) for name, why in errors.items())
            return replace(found, refused=tuple(refused))
    raise _none_is_legal(workload, machine, errors)


def _candidates(workload: WorkloadLike, machine: Architecture) -> tuple[Mapping, ...]:
    """Mappings in the order in which they are tried, the machine's own first of its kind."""
    designed = None if machine.mapping is None else Mapping.load(machine.mapping)
    found: dict[str, Mapping] = {}
    for cascade in (workload.cascade, *own_part(workload).stand_ins):
        if designed is not None and compute_the_same(cascade, designed.cascade):
            found.setdefault(designed.name, designed)
        for entry in interchangeable_entries(cascade):
            if entry.name not in found:
                found[entry.name] = entry.load()
    return tuple(found.values())


def _reason(error: InputError) -> str:
    return error.problems[0].message


def _none_is_legal(
    workload: WorkloadLike, machine: Architecture, errors: dict[str, InputError]
) -> InputError:
    """One error that says why each mapping is not legal; a common reason is said once."""
    found = list(errors.values())
    if len(found) == 1 or len({str(e) for e in found}) == 1:
        return found[0]
    short = all(isinstance(e, NoLegalMappingError) for e in found)
    lines = [f"no built-in mapping of {workload.name} is legal on {machine.name}:"]
    lines += [f"    {name}: {_reason(e)}" for name, e in errors.items()]
    hint = f"write one for this machine, or take --mapping ARCH={EINSUM_BY_EINSUM}"
    lines.append(f"    hint: {hint}")
    return (NoLegalMappingError if short else MappingError)("\n".join(lines))
