"""Shared loops are taken inside of the second memory where that may still promise most alone."""

from __future__ import annotations

from fractions import Fraction

import pytest
from machines import small
from portions import left

from archsim.nest.record import Bound
from archsim.spec.mapping import EinsumMapping
from einsum_cascade import Cascade
from mappers.construct import fused as make
from mappers.construct.fused import array_cycles, fused
from mappers.construct.fused_loops import SharedLoops


@pytest.mark.parametrize(
    ("name", "some"),
    [
        left("mlstm-chunked", True),
        ("kimi-delta-attention", True),
        left("attention-sliding-window", False),
        ("attention-3pass", False),
    ],
)
def test_nothing_is_lost_of_what_is_not_taken_inside(
    name: str, some: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays do the same with all loops outside, and what is legal there is so further inside."""
    program, machine = Cascade.load(name).program, small((4, 2), 3)
    leaves = (r.name for r in program.ranks if not r.family and not r.like)
    given = dict.fromkeys(leaves, 12) | dict.fromkeys(program.parallel, 2)
    inward = make._Fusion.inward
    taken: list[bool] = []

    def told(
        fusion: make._Fusion,
        plan: SharedLoops,
        inside: tuple[EinsumMapping, ...],
        least: Bound | None,
    ) -> Bound | None:
        found = inward(fusion, plan, inside, least)
        if least is not None:
            assert found is not None
            assert array_cycles(found) == array_cycles(least)
            taken.append(True)
        return found

    monkeypatch.setattr(make._Fusion, "inward", told)
    quick, asked = fused(program, machine, given), len(taken)
    monkeypatch.setattr(make, "array_cycles", lambda _: Fraction(0))
    assert fused(program, machine, given) == quick
    assert (asked < len(taken) - asked) == some, "arrays tell of some that they are no better"
