"""Masked one-pass attention of random shapes, mappings and machines."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from nest_cases import Case
from nest_mappings import random_machine, random_mapping

from archsim.nest.binder import bind_loops
from archsim.nest.masks import skip_masked_tiles
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from einsum_cascade import Cascade

ONE_PASS = """
cascade: small
parallel: [B]
ranks: {E: width, P: queries, M: {is: keys, partition: [M1, M0]}}
inputs: {Q: [P, E], K: [M, E], V: [M]}
output: AV
init: |
  RM[0, p] = -inf ; RD[0, p] = 0 ; RNV[0, p] = 0
einsums: |
  BQK[m1, m0, p]  = Q[p, e] * K[m1*M0 + m0, e] where MASK
  LM[m1, p]       = BQK[m1, m0, p] :: max[m0] where MASK
  RM[m1+1, p]     = max(RM[m1, p], LM[m1, p])
  SLN[m1, m0, p]  = exp(BQK[m1, m0, p] - RM[m1+1, p]) where MASK
  SLD[m1, p]      = SLN[m1, m0, p] where MASK
  SLNV[m1, p]     = SLN[m1, m0, p] * V[m1*M0 + m0] where MASK
  PRM[m1, p]      = exp(RM[m1, p] - RM[m1+1, p])
  SPD[m1, p]      = RD[m1, p] * PRM[m1, p]
  RD[m1+1, p]     = SLD[m1, p] + SPD[m1, p]
  RNV[m1+1, p]    = SLNV[m1, p] + RNV[m1, p] * PRM[m1, p]
  AV[p]           = RNV[M1, p] / RD[M1, p]
"""
MASKS = (
    "m1*M0 + m0 <= p + M - P",
    "m1*M0 + m0 <= p",
    "p - 3 <= m1*M0 + m0 and m1*M0 + m0 <= p",
    "m1*M0 + m0 < p + 2 and p - 4 < m1*M0 + m0",
    "m1*M0 + m0 == p",
    "p < 3",
)

ONE_OR_ANOTHER = (
    "m1*M0 + m0 <= p + M - P or m1*M0 + m0 < 3",
    "m1*M0 + m0 < 2 or p - 1 <= m1*M0 + m0 and m1*M0 + m0 <= p",
    "m1*M0 + m0 < p - 3 or m1*M0 + m0 == p",
    "p < 2 or m1*M0 + m0 <= p - 4",
    "p >= 6 or p < 1",
)
"""Masks that are no band: each has a point where one or another of two holds."""


def one_pass(mask: str) -> Cascade:
    return Cascade.parse(ONE_PASS.replace("MASK", mask))


def masked(case: Case) -> Bound:
    tiling = build_tiling(case.program, case.mapping, case.given, case.sizes)
    return skip_masked_tiles(bind_loops(case.program, case.mapping, case.architecture, tiling))


def masked_attention(seed: int, masks: Sequence[str] = MASKS) -> Case:
    random = Random(seed)
    program = one_pass(random.choice(masks)).program
    shapes = {
        "B": random.choice((1, 2)),
        "E": random.choice((1, 3)),
        "P": random.choice((1, 3, 5, 8, 11)),
        "M": random.choice((1, 4, 7, 10)),
        "M0": random.choice((1, 2, 3, 4)),
    }
    shapes["M1"] = -(-shapes["M"] // shapes["M0"])
    machine = random_machine(random)
    mapping, sizes = random_mapping(random, program, machine, shapes)
    return Case(program, mapping, machine, shapes, sizes)
