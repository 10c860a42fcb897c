"""What a mapping computes, against the reference of its cascade."""

from __future__ import annotations

from archsim import Architecture, Mapping
from archsim.validation.check import validate_cascade
from archsim.validation.mapped import mapped_run
from einsum_cascade import Cascade
from mappers.generators import GENERATORS
from workloads.references import find_reference


def computes_the_same(
    known: Cascade, made: Mapping, machine: Architecture, shapes: dict[str, int]
) -> None:
    """Under a mapping the numbers are those of the cascade's reference."""
    report = validate_cascade(
        known,
        reference=find_reference(known.program.reference),
        shapes=shapes,
        trials=1,
        run=mapped_run(known, lambda *_: made, machine, GENERATORS),
    )
    assert report.ok, report
