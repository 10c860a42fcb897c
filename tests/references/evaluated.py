"""Evaluation of a mapping that is bound for the purpose."""

from __future__ import annotations

from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import Choose, bind
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.ir import Program


def evaluate_mapping(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    engine: str = "analytical",
    choose: Choose | None = None,
) -> Result:
    """Bind a mapping to a machine and shapes, and return its result."""
    bound = bind(program, mapping, architecture, shapes, choose=choose)
    return evaluate_bound(bound, engine=engine)
