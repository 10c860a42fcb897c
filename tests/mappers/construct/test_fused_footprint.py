"""Shared loops that leave no room are told from the sizes of tiles alone, and never wrongly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import small
from portions import left

from archsim.legality.footprint import requirement
from archsim.nest.record import Bound
from archsim.spec.mapping import EinsumMapping
from einsum_cascade import Cascade
from mappers.construct import fused as make
from mappers.construct.fused import fused
from mappers.construct.fused_loops import SharedLoops
from mappers.construct.fused_tiles import exceeds_capacity, least_bytes


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("attention-3pass", {}),
        left("recycled-attention", {}),
        # Gathers: blocks of keys, and keys one by one.
        ("mixture-of-block-attention", {"M": 16, "U": 3, "J": 4}),
        left("deepseek-sparse-attention-shared", {"M": 16, "J": 3, "R": 2}),
    ],
)
def test_it_is_no_more_than_is_needed_and_the_same_mapping_is_made(
    name: str, own: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each choice of loops is laid out and bound as well: the slow way agrees with all of them."""
    program = Cascade.load(name).program
    machine = small((4, 2), 3)
    outer, buffer = machine.memories
    machine = replace(machine, memories=(outer, replace(buffer, capacity_bytes=800)))
    leaves = (r.name for r in program.ranks if not r.family and not r.like and r.name != "R")
    given = dict.fromkeys(leaves, 8) | dict.fromkeys(program.parallel, 2) | own
    quick = fused(program, machine, given)
    told: list[bool] = []
    legal = make._Fusion._legal

    def slowly(
        fusion: make._Fusion, plan: SharedLoops, inside: tuple[EinsumMapping, ...], split: int
    ) -> tuple[Bound | None, bool]:
        bound, crossed = legal(fusion, plan, inside, split)
        if bound is not None and split == len(plan.loops):
            needed = requirement(bound, 1)
            assert least_bytes(fusion.context, plan) <= needed.required_bytes
            told.append(exceeds_capacity(fusion.context, plan))
            assert not (told[-1] and needed.fits)
        return bound, crossed

    monkeypatch.setattr(make, "exceeds_capacity", lambda *_: False)
    monkeypatch.setattr(make._Fusion, "_legal", slowly)
    assert fused(program, machine, given) == quick
    assert any(told)
    assert not all(told)
