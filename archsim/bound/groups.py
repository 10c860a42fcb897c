"""Groups of Einsums that share loops, and what single Einsums pass by a level.

A fused mapping is one group. A sequential one runs its groups one after the other: inside
a group Einsums share the nest and overlap, between groups everything is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Program

from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from ..spec.roles import ROLES
from .complaints import Complaint
from .residency import Residency

if TYPE_CHECKING:
    from .record import BoundEinsum


def groups_of(
    program: Program, mapping: Mapping, complaints: list[Complaint]
) -> tuple[tuple[str, ...], ...]:
    """The groups of a mapping in the order they run, Einsums in the order of the cascade.

    An Einsum in a later group than one that reads it joins ``complaints``.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    complaints : list of Complaint
        Changed.

    Raises
    ------
    SpecError
        A group names no Einsum, or an Einsum is in no group or in two.
    """
    names = [e.name for e in program.einsums]
    if mapping.schedule.kind != "sequential":
        return (tuple(names),)
    if not mapping.schedule.groups:
        return tuple((n,) for n in names)
    written = [[t.einsum for t in group] for group in mapping.schedule.groups]
    wrong = [*_group_names(mapping, written, names)]
    if wrong:
        raise SpecError(wrong)
    groups = tuple(tuple(n for n in names if n in group) for group in written)
    complaints.extend(_disorder(program, mapping, groups))
    return groups


def _group_names(mapping: Mapping, groups: list[list[str]], names: list[str]) -> Iterator[Problem]:
    span = mapping.schedule.span
    listed = [n for group in groups for n in group]
    for name in dict.fromkeys(listed):
        if name not in names:
            yield Problem(f"a group names '{name}'", span, did_you_mean(name, names))
        elif listed.count(name) > 1:
            yield Problem(f"{name} is in two groups", span)
    for name in names:
        if name not in listed:
            hint = f"'[{name}]' would be a group of its own"
            yield Problem(f"no group runs {name}", span, hint)


def _disorder(
    program: Program, mapping: Mapping, groups: tuple[tuple[str, ...], ...]
) -> Iterator[Complaint]:
    """Einsums that run in an earlier group than what they read.

    Running values that Einsums pass on to one another are for the legality check.
    """
    place = {name: number for number, group in enumerate(groups) for name in group}
    for position, e in enumerate(program.einsums):
        before = {p.name for p in program.einsums[:position]}
        for tensor in dict.fromkeys(a.tensor for a in e.reads):
            if tensor in before and place[tensor] > place[e.name]:
                text = f" runs in an earlier group than {tensor}, which it needs"
                yield Complaint(e.name, text, mapping.schedule.span)


def in_order(
    einsums: tuple[BoundEinsum, ...], groups: tuple[tuple[str, ...], ...]
) -> tuple[BoundEinsum, ...]:
    """Einsums as they run: group by group."""
    by_name = {e.name: e for e in einsums}
    return tuple(by_name[n] for group in groups for n in group)


def bypass_problems(
    program: Program, mapping: Mapping, places: Residency, architecture: Architecture
) -> Iterator[Complaint]:
    """What an Einsum cannot pass by: what is not there, or the outermost home of a tensor.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    places : Residency
        What each level keeps.
    architecture : Architecture
    """
    levels = [m.name for m in architecture.memories] + [a.name for a in architecture.arrays]
    for how in mapping.einsums:
        einsum = program.einsum_of.get(how.einsum)
        touched = [] if einsum is None else [a.tensor for a in (*einsum.reads, einsum.target)]
        for level, tensors in how.bypass:
            if level not in levels:
                hint = did_you_mean(level, [*levels, *ROLES])
                yield Complaint("", f"the machine has no level '{level}'", how.span, hint)
                continue
            for tensor in tensors:
                problem = _passed_by(tensor, level, touched, places)
                if problem:
                    text = f" cannot pass {tensor} by {level}: {problem}"
                    yield Complaint(how.einsum, text, how.span)


def _passed_by(tensor: str, level: str, touched: Iterable[str], places: Residency) -> str:
    if tensor not in touched:
        return f"it neither reads nor writes {tensor}"
    kept = [p.name for p in places.of(tensor)]
    if level not in kept:
        return f"{level} does not keep it"
    if level == kept[0]:
        return "nothing outside holds it"
    return ""
