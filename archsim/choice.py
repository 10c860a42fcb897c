"""Which built-in mapping a machine runs a workload by, where nobody says which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError
from einsum_cascade.library import builtin_names

from .engine import simulate
from .mapping import Mapping

if TYPE_CHECKING:
    from .arch import Architecture
    from .engine import WorkloadLike
    from .results import Result


@dataclass(frozen=True, slots=True)
class Refusal:
    """A mapping that a machine cannot run, and the first reason why."""

    mapping: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A run, and the mappings that were tried before its own."""

    result: Result
    refused: tuple[Refusal, ...] = ()


def run_somehow(workload: WorkloadLike, machine: Architecture) -> Choice:
    """Simulate by the workload's default mapping, else by the first that is legal.

    The others are the built-in mappings of cascades that compute the same (they name the
    same reference), pipelined ones first, then by name.

    Raises
    ------
    MappingError
        None is legal; says why for each. ``NoLegalMappingError`` if each lacks room only.
    InputError
        Something named does not exist, or shapes are missing.
    """
    try:
        return Choice(simulate(workload, machine))
    except InputError as wrong:
        first = wrong
    errors: dict[str, InputError] = {}
    for mapping in interchangeable_mappings(workload.cascade):
        try:
            result = simulate(workload, machine, mapping)
        except InputError as wrong:
            errors[mapping.name] = wrong
        else:
            refused = (Refusal(name, _reason(why)) for name, why in errors.items())
            return Choice(result, tuple(refused))
    raise _none_is_legal(workload, machine, errors) if errors else first


def interchangeable_mappings(cascade: str) -> tuple[Mapping, ...]:
    """Built-in mappings of cascades that compute what ``cascade`` does, in order of choice.

    Parameters
    ----------
    cascade : str
        A built-in name or a file.

    Raises
    ------
    InputError
        There is no such cascade, or it is wrong.
    """
    reference = Cascade.load(cascade).program.reference
    alike = {cascade: True}
    found: list[Mapping] = []
    for name in builtin_names("mappings"):
        mapping = Mapping.load(name)
        if mapping.cascade not in alike:
            other = Cascade.load(mapping.cascade).program.reference
            alike[mapping.cascade] = bool(reference) and other == reference
        if alike[mapping.cascade]:
            found.append(mapping)
    return tuple(sorted(found, key=lambda m: (m.schedule.kind != "pipelined", m.name)))


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
    lines.append("    hint: write one for this machine (archsim show NAME shows how)")
    return (NoLegalMappingError if short else MappingError)("\n".join(lines))
