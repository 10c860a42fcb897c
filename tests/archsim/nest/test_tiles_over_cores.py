"""Parts of a cascade's own tiles, where an Einsum goes over the rank that is cut in them."""

from __future__ import annotations

import pytest

from archsim import Architecture
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.plan.partitioning import partition_mapping
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.construct.einsum_by_einsum import einsum_by_einsum

CASCADE = """
cascade: in-steps
ranks: {N: {is: steps, partition: [P, J]}, E: width}
inputs: {K: [N, E], Q: [P, E]}
output: O
einsums: |
  KK[STEP] = K[STEP, e] * K[STEP, e]
  O[p]     = KK[p*J + j] * Q[p, e]
"""

SHAPES = {"N": 16, "J": 2, "E": 8}


@pytest.mark.parametrize("parts", [2, 3])
def test_steps_of_all_parts_are_not_those_of_one(parts: int) -> None:
    """16 steps are 128 products, however many cores have a part of the 8 tiles."""
    machine = Architecture.load("fusemax", ["memories.DRAM.instances.cores=4"])
    over = ((machine.memories[0].name, (SpatialRank(instances="cores", rank="P", parts=parts),)),)
    tiled = Cascade.parse(CASCADE.replace("STEP", "p*J + j")).program
    spread = partition_mapping(einsum_by_einsum(tiled, machine, SHAPES), over, machine, tiled)
    result = evaluate_bound(bind(tiled, spread, machine, SHAPES))
    assert dict(result.einsums[0].operations)["mac"] == 16 * 8

    whole = Cascade.parse(CASCADE.replace("STEP", "n")).program
    spread = partition_mapping(einsum_by_einsum(whole, machine, SHAPES), over, machine, whole)
    with pytest.raises(MappingError, match=r"KK goes over all of N, of which .* parts \(P\)"):
        bind(whole, spread, machine, SHAPES)
