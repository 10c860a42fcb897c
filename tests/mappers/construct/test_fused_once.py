"""Facts that ``fused`` works out once for many choices, against working them out for each."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import small
from portions import left

from archsim.legality.dependences import illegalities, loses_tensors
from archsim.nest import binder
from archsim.nest.record import Bound
from archsim.nest.tiling import Tiling
from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Mapping
from einsum_cascade import Cascade
from einsum_cascade.ir import Program
from mappers.construct import fused as make
from mappers.construct.fused import fused
from mappers.construct.fused_loops import SharedLoops


@pytest.mark.parametrize("name", ["attention-3pass", left("mlstm-chunked")])
def test_it_is_what_it_is_told_of_each(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, machine = Cascade.load(name).program, small((4, 2), 3)
    leaves = (r.name for r in program.ranks if not r.family and not r.like)
    given = dict.fromkeys(leaves, 8) | dict.fromkeys(program.parallel, 2)
    quick = fused(program, machine, given)
    forgotten: list[bool] = []
    crossing: list[bool] = []
    alike: list[bool] = []
    legal = make._Fusion._legal

    def all_told(bound: Bound) -> bool:
        """Return all problems of a mapping, without anything remembered from other mappings."""
        told = bool(illegalities(replace(bound)))
        assert loses_tensors(bound) == told
        forgotten.append(told)
        return told

    def at_every_memory(
        fusion: make._Fusion, plan: SharedLoops, inside: tuple[EinsumMapping, ...], split: int
    ) -> tuple[Bound | None, bool]:
        """Loops cross a pass or do not, wherever they are split."""
        found = legal(fusion, plan, inside, split)
        if found[1]:
            for other in range(plan.heads, len(plan.loops) + 1):
                assert legal(fusion, plan, inside, other)[0] is None
        crossing.append(found[1])
        return found

    def from_names(
        program: Program,
        mapping: Mapping,
        architecture: Architecture,
        tiling: Tiling,
        like: Bound | None,
    ) -> Bound:
        """Nothing is taken from what was bound before."""
        found = binder.bind_loops(program, mapping, architecture, tiling)
        assert found == binder.bind_loops(program, mapping, architecture, tiling, like)
        alike.append(like is not None)
        return found

    monkeypatch.setattr(make, "loses_tensors", all_told)
    monkeypatch.setattr(make, "bind_loops", from_names)
    monkeypatch.setattr(make._Fusion, "_legal", at_every_memory)
    assert fused(program, machine, given) == quick
    assert {True, False} <= {*forgotten}
    assert {True, False} <= {*crossing}
    assert any(alike)
