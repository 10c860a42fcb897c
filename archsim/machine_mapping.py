"""Which built-in mapping a machine runs a workload by, where nobody says which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError
from einsum_cascade.library import builtin_names

from .engine import compute_the_same, default_mapping, machines_own, simulate
from .mapping import EINSUM_BY_EINSUM, Mapping

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
    """Simulate by the default mapping (``simulate``), else by the first that is legal.

    After the default come all built-in ones, pipelined ones first, then by name; but only
    those of cascades that compute the same as the workload's (they name the same
    reference). Where there are none, it runs one Einsum after the other.

    Raises
    ------
    MappingError
        None is legal; says why for each. ``NoLegalMappingError`` if each lacks room only.
    InputError
        Something named does not exist, or shapes are missing.
    """
    candidates = _candidates(workload.cascade, machine)
    default = machines_own(workload.cascade, machine) or default_mapping(workload.cascade)
    errors: dict[str, InputError] = {}
    if default is not None or not candidates:
        try:
            return Choice(simulate(workload, machine))
        except InputError as wrong:
            errors[EINSUM_BY_EINSUM if default is None else default.name] = wrong
    for mapping in candidates:
        if mapping.name in errors:
            continue
        try:
            result = simulate(workload, machine, mapping)
        except InputError as wrong:
            errors[mapping.name] = wrong
        else:
            refused = (Refusal(name, _reason(why)) for name, why in errors.items())
            return Choice(result, tuple(refused))
    raise _none_is_legal(workload, machine, errors)


def _candidates(cascade: str, machine: Architecture) -> tuple[Mapping, ...]:
    found = interchangeable_mappings(cascade)
    own = machines_own(cascade, machine)
    return (own, *(m for m in found if m != own)) if own else found


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
    alike: dict[str, bool] = {}
    found: list[Mapping] = []
    for name in builtin_names("mappings"):
        mapping = Mapping.load(name)
        if mapping.cascade not in alike:
            alike[mapping.cascade] = compute_the_same(cascade, mapping.cascade)
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
