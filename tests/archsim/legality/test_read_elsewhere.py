"""Steps that a mask leaves empty, and readers that ask for what they write at other coordinates."""

from __future__ import annotations

import pytest
from machines import small

from archsim.legality.binding import bind
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.no_op_steps import no_op_obstacle
from mappers.construct.generators import GENERATORS

TEXT = """
cascade: c
ranks: {P: queries, M: {is: keys, like: P}}
inputs: {A: [M], B: [P], C: [M, P]}
outputs: [Y, W]
einsums: |
  U[m, p] = A[m] * B[p]
  Z[m, p] = U[m, p] * C[m, p] where m <= p
  Y[p] = Z[m, p]
  X[m, p] = U[READ] * C[m, p] where m <= p
  W[p] = X[m, p]
"""


@pytest.mark.parametrize(("read", "steps"), [("m, p", 21), ("p, m", 36)])
def test_what_is_read_turned_round_after_the_loops_is_made_in_all_steps(
    read: str, steps: int
) -> None:
    """X runs after the loops over all of M and P: at m <= p it wants U where p <= m."""
    cascade, machine = Cascade.parse(TEXT.replace("READ", read)), small((2, 3), 4)
    far, near = (m.name for m in machine.memories)
    loops = (NestLevel(level=far, loops=("P", "M")),)
    mapping = Mapping(
        name="x",
        cascade="c",
        nest=loops,
        einsums=tuple(
            EinsumMapping(
                einsum=e.name,
                array="array_1d",
                nest=loops if e.name in ("X", "W") else (),
                outside=("P", "M") if e.name in ("X", "W") else (),
            )
            for e in cascade.program.einsums
        ),
        keep=(
            Keep(level=far, tensors=("A", "B", "C", "U", "X", "Y", "W")),
            Keep(level=near, tensors=("A", "B", "C", "Z", "Y", "W")),
        ),
        schedule=Schedule(kind="pipelined"),
    )
    assert bind(cascade.program, mapping, machine, {"P": 6}).steps == steps
    run = mapped_run(cascade, mapping, machine, GENERATORS)
    assert validate_cascade(cascade, shapes={"P": 6}, trials=1, run=run).ok


WINDOW = """
cascade: c
ranks: {P: queries, M: {is: keys, partition: [M1, M0]}, E: IS}
inputs: {A: [M], B: [P], C: [M, P]}
outputs: [Y]
einsums: |
  U[m1*M0+m0, p] = A[m1*M0+m0] * B[p]
  Z[m1, p] = U[m1*M0+m0, p] * C[m1*M0+m0, p] where m1*M0+m0 <= p
  X[m1, e, p] = U[m1*M0+e, p] * Z[m1, p]
  Y[p] = X[m1, e, p]
"""


@pytest.mark.parametrize("length", ["window", "{is: keys, like: M0}"])
def test_a_window_of_another_length_reaches_into_other_steps(length: str) -> None:
    """The tile before an empty one reads on into it, where E is longer than M0."""
    program = Cascade.parse(WINDOW.replace("IS", length)).program
    problem = no_op_obstacle(program, ["Z"], ["m1", "p"])
    assert (problem is None) == ("like" in length)
