"""Indices of a rank that is in parts."""

from __future__ import annotations

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture
from archsim.plan.partitioning import partition_mapping
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from mappers.construct.einsum_by_einsum import einsum_by_einsum


@pytest.mark.parametrize(("length", "words"), [("M", 40), ("M1", 24), ("M1*M0", 40)])
def test_indices_know_how_long_a_rank_is_of_which_there_are_parts(length: str, words: int) -> None:
    """X[p*M + e] is of 5 rows of 8 where M is 12, and where a core has 6 of these."""
    cascade = Cascade.parse(
        "cascade: rows\nranks: {P: rows, E: width, M: {is: keys, partition: [M1, M0]}, L: all}\n"
        "inputs: {X: [L], K: [M]}\noutput: S\neinsums: |\n"
        f"  S[p, e, m1*M0 + m0] = X[p*{length} + e] * K[m1*M0 + m0]\n"
    )
    machine = Architecture.load("fusemax", ["memories.DRAM.instances.cores=2"])
    given = {"P": 5, "E": 8, "M1": 4, "M0": 3, "L": 56}
    made = einsum_by_einsum(cascade.program, machine, given)
    for parts in (1, 2):
        ranks = (SpatialRank(instances="cores", rank="M1", parts=parts),)
        spread = partition_mapping(made, (("DRAM", ranks),), machine)
        found = evaluate_mapping(cascade.program, spread, machine, given)
        assert found.traffic[0].read_bytes == 2 * (parts * words + 12)
