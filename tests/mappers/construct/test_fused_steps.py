"""Blocks of steps that some Einsums take whole are as long as the widest array is wide, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machines import small
from portions import left

from archsim import simulate
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct import fused as make
from mappers.construct.context import MappingContext
from mappers.construct.fused_loops import plans_of
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference


def test_by_default_gates_of_a_scan_fill_all_lanes() -> None:
    """They took 32 of 128 lanes, as many as another array is wide: 4 times the floor."""
    found = simulate("rg-lru", "h100-sxm")
    assert found.over_floor < 1.2


def test_what_does_not_wait_is_outside_of_all_steps_or_of_the_finest() -> None:
    program, machine = Cascade.load("rg-lru").program, small((4, 2), 8)
    context = MappingContext(
        program=program, architecture=machine, shapes={"B": 1, "C": 2, "P": 16}
    )
    assert [p.name for p in context.parts("P")] == ["P3", "P2", "P1", "P0"]
    close = {plan.close for plan in plans_of(context, 0)}
    assert close == {frozenset(), frozenset({"P0"}), frozenset({"P2", "P1", "P0"})}


@pytest.mark.parametrize("name", ["rg-lru", left("rg-lru-resumed"), "rwkv-7-recurrent"])
def test_what_is_made_in_blocks_of_the_widest_array_computes_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade, machine = Cascade.load(name), small((4, 2), 8)
    made: list[make._Made] = []
    of_width = make._Fusion.of_width

    def in_long_blocks(fusion: make._Fusion, width: int | None) -> Iterator[make._Made]:
        found = [x for x in of_width(fusion, width) if len(x.plan.close) > 1]
        made.extend(found)
        yield from found

    monkeypatch.setattr(make._Fusion, "of_width", in_long_blocks)
    monkeypatch.setattr(make, "cuts_of", lambda _: iter(()))
    monkeypatch.setattr(make._Fusion, "gathering", lambda _: iter(()))
    monkeypatch.setattr(make._Fusion, "carrying", lambda _: iter(()))
    ranks = {r.name: 3 for r in cascade.program.ranks if not r.family} | {"P": 19}
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes={**dict.fromkeys(cascade.program.parallel, 2), **ranks},
        trials=1,
        run=mapped_run(cascade, GENERATORS.fuse, machine, GENERATORS),
    )
    assert report.ok, report
    assert made
