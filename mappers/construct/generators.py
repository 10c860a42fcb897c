"""Generators that ``archsim`` calls for mappings that no file spells out.

Each generator is imported on first use. Most runs have a written mapping without open choices, and
a command should not wait for unused modules.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Sizes
from dataclasses import replace
from time import monotonic
from typing import Final

from archsim.legality.binding import BindClosed
from archsim.nest.record import Bound
from archsim.plan.job import Generators
from archsim.plan.partition_factors import Partitioning
from archsim.plan.problem import MappingProblem
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.ir import Program

from ..memory import MappingKey, recall, remember
from . import policy


def _make(program: Program, architecture: Architecture, given: Sizes[str, int], /) -> Mapping:
    """Return the mapping of one Einsum after the other (``einsum_by_einsum``)."""
    from .einsum_by_einsum import einsum_by_einsum

    return einsum_by_einsum(program, architecture, given)


_FUSED = "fused, in stretches, states held, heads inside of steps"
"""Key of stored mappings, which names the version of ``fused`` that made them."""


def _fuse(program: Program, architecture: Architecture, given: Sizes[str, int], /) -> Mapping:
    """Return the mapping with intermediates in inner memories (``fused``)."""
    from .fused import fused

    return _remembered(_FUSED, fused, program, architecture, given)


_CONSTRUCTED = "beam search, heads side by side"
"""Key of stored mappings, which names the version of ``construct`` that made them."""


def _construct(problem: MappingProblem, partitioning: Partitioning, /) -> Mapping:
    """Return the best mapping of a beam search (``construct``)."""
    from .beam import construct

    def made(program: Program, architecture: Architecture, given: Sizes[str, int]) -> Mapping:
        return construct(MappingProblem(program, architecture, dict(given)), partitioning)

    version = f"{_CONSTRUCTED}: {partitioning}"
    return _remembered(version, made, problem.program, problem.architecture, problem.shapes)


def _remembered(
    version: str,
    make: Callable[[Program, Architecture, Sizes[str, int]], Mapping],
    program: Program,
    architecture: Architecture,
    given: Sizes[str, int],
) -> Mapping:
    """Return a generated mapping; one that takes long to generate is stored."""
    question = MappingKey(
        program=program, architecture=architecture, shapes=given, objective=version, folder="made"
    )
    if (known := recall(question)) is not None:
        # A stored mapping is generated: messages about written mappings do not apply.
        return replace(known, source="")
    begun = monotonic()
    made = make(program, architecture, given)
    if monotonic() - begun > policy.REMEMBER_AFTER_S:
        remember(question, made)
    return made


def _choose(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    lower: BindClosed,
    bind: BindClosed,
) -> Bound:
    """Return the cheapest legal combination of alternatives (``choices.choose``)."""
    from .choices import choose

    return choose(program, mapping, architecture, lower, bind)


def _recall(
    program: Program, architecture: Architecture, given: Sizes[str, int], /
) -> Mapping | None:
    """Return the mapping that an earlier search for the least latency found (``memory``)."""
    return recall(
        MappingKey(program=program, architecture=architecture, shapes=given, objective="latency")
    )


def _recall_none(
    program: Program, architecture: Architecture, given: Sizes[str, int], /
) -> Mapping | None:
    """Return None: no earlier command changes a result."""
    del program, architecture, given
    return None


GENERATORS: Final = Generators(
    make=_make, fuse=_fuse, construct=_construct, choose=_choose, recall=_recall_none
)
"""Generated mappings for cascades without a written one, and the cheapest of open choices."""

WITH_CACHE: Final = replace(GENERATORS, recall=_recall)
"""``GENERATORS``, and mappings that earlier searches found."""


def generators_of(*, use_cache: bool) -> Generators:
    """Return the generators with or without mappings that earlier searches found."""
    return WITH_CACHE if use_cache else GENERATORS
