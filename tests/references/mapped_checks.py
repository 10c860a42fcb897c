"""What a mapping computes, against the reference of its cascade."""

from __future__ import annotations

from archsim import Architecture, Mapping
from archsim.plan.job import MakeMapping
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference


def computes_the_same(
    known: Cascade, made: Mapping | MakeMapping, machine: Architecture, shapes: dict[str, int]
) -> None:
    """Under a mapping, or one that is made then, the numbers are those of the reference."""
    make = (lambda *_: made) if isinstance(made, Mapping) else made
    report = validate_cascade(
        known,
        reference=find_reference(known.program.reference),
        shapes=shapes,
        trials=1,
        run=mapped_run(known, make, machine, GENERATORS),
    )
    assert report.ok, report
