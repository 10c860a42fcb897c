"""The best mappings of a workload: each of its parts has a space of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from archsim.analytical import evaluate_mapping, with_parameters
from archsim.arch import Architecture
from archsim.engine import PartLike, WorkloadLike, run_parts
from archsim.mapping import Mapping
from archsim.results import Result
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.shapes import with_usual

from .certificate import Certificate, Searched
from .exhaustive import TOLERANCE, exhaustive, units_of
from .mapspace import Mapspace
from .objectives import Objective

Progress = Callable[[str, int], Callable[[int], None]]
"""Told what is searched and how much there is to do; gives what to call with each amount."""


def _silent(what: str, total: int) -> Callable[[int], None]:
    del what, total
    return lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSearched:
    """A part of a workload and the mapping found for it."""

    name: str
    found: Searched


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSearched:
    """The result of a workload under the best mappings of its parts."""

    result: Result
    parts: tuple[PartSearched, ...]
    """Parts that differ, in the order they run."""

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """The mappings found."""
        return tuple(part.found.mapping for part in self.parts)

    def certificate(self) -> dict[str, Any]:
        """How all spaces were covered: sums, and the largest gap.

        The parts run one after the other, so that the gap of the whole is no larger.
        """
        all_of = [part.found.certificate for part in self.parts]
        worst = max(all_of, key=lambda c: c.gap)
        total = replace(
            worst,
            candidates=sum(c.candidates for c in all_of),
            evaluated=sum(c.evaluated for c in all_of),
            reasons=_added(all_of),
            runs=sum(c.runs for c in all_of),
        )
        found = total.to_dict()
        if len(all_of) > 1:
            found["parts"] = [{"part": p.name, **p.found.certificate.to_dict()} for p in self.parts]
        return found


def _added(certificates: list[Certificate]) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for certificate in certificates:
        for why, count in certificate.reasons:
            found[why] = found.get(why, 0) + count
    return tuple(found.items())


def search_workload(
    workload: WorkloadLike,
    architecture: Architecture,
    objective: Objective,
    *,
    tolerance: float = TOLERANCE,
    progress: Progress = _silent,
) -> WorkloadSearched:
    """The best mapping of every part of a workload on a machine.

    Parameters
    ----------
    objective : Objective
        What is to be small, for every part by itself.
    tolerance : float
        Mappings that could be better by less than this share are not run.

    Raises
    ------
    SpecError
        Something named does not exist, or shapes are missing.
    MappingError
        No mapping of a part is legal, or its cascade cannot be searched.
    """
    parts = tuple(workload.parts)
    known: dict[tuple[str, tuple[tuple[str, int], ...]], Searched] = {}
    found: list[PartSearched] = []
    chosen: list[Mapping] = []
    for part in parts:
        space = space_of(part, architecture)
        key = (part.cascade, tuple(space.shapes.items()))
        if key not in known:
            advance = progress(part.name, len(units_of(space)))
            searched = _named(
                part, exhaustive(space, objective, tolerance=tolerance, advance=advance)
            )
            known[key] = searched
            found.append(PartSearched(name=part.name, found=searched))
        chosen.append(known[key].mapping)
    result = run_parts(workload, architecture, parts, tuple(chosen), evaluate_mapping)
    return WorkloadSearched(result=result, parts=tuple(found))


def _named(part: PartLike, searched: Searched) -> Searched:
    """The cascade by the name or file that the part gives."""
    return replace(searched, mapping=replace(searched.mapping, cascade=part.cascade))


def space_of(part: PartLike, architecture: Architecture) -> Mapspace:
    """The mapspace of a part of a workload. Raises as ``Mapspace.of``."""
    program = Cascade.load(part.cascade).program
    given, _ = with_usual(program, part.shapes_for(program.settable))
    try:
        program, shapes = with_parameters(program, given)
        return Mapspace.of(program, architecture, shapes)
    except InputError as wrong:
        problems = [replace(p, message=f"{part.name}: {p.message}") for p in wrong.problems]
        raise type(wrong)(problems) from None
