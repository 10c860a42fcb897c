"""What the engine counts is what the analysis says in symbols."""

from __future__ import annotations

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, Mapping
from einsum_cascade import Cascade

SHAPES = [
    {"B": 2, "H": 3, "E": 64, "F": 48, "P": 512, "M": 1024},
    {"B": 1, "H": 1, "E": 5, "F": 7, "P": 301, "M": 999},
]


@pytest.mark.parametrize("mapping", ["fusemax-binding", "linear-attention-by-head"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_operations_and_compulsory_traffic(mapping: str, shapes: dict[str, int]) -> None:
    how = Mapping.load(mapping)
    cascade = Cascade.load(how.cascade)
    result = evaluate_mapping(cascade.program, how, Architecture.load("fusemax"), shapes)
    known = {**dict(result.shape), **shapes}
    analysis = cascade.analyze().subs(known)
    counted: dict[str, int] = {}
    for einsum in result.einsums:
        for kind, count in einsum.operations:
            counted[kind] = counted.get(kind, 0) + count
    assert counted == {kind: int(value) for kind, value in analysis.operations.items() if value}
    assert result.bounds.traffic_bytes == 2 * int(analysis.traffic_min)
