"""States stay in arrays from step to step, those that are larger than an array block by block."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machines import small

from archsim import simulate
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct import fused as make
from mappers.construct.context import MappingContext
from mappers.construct.fused_loops import carrying_plans
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference


def test_by_default_a_state_larger_than_the_array_is_held_in_halves() -> None:
    """256 x 512 of it went through the buffer at every step: 11.7 times the floor."""
    found = simulate("mlstm", "fusemax", settings=["cascade=mlstm-recurrent"])
    assert found.over_floor < 2


def test_loops_over_blocks_of_a_state_are_around_all_of_its_steps() -> None:
    program, machine = Cascade.load("mlstm-recurrent").program, small((4, 4), 4)
    shapes = {"B": 1, "H": 3, "E": 4, "F": 8, "P": 9}
    found = carrying_plans(MappingContext(program=program, architecture=machine, shapes=shapes))
    inside = {tuple(p.name for p in plan.loops[plan.heads :]) for plan in found}
    assert inside == {("P1", "P0"), ("F1", "P1", "P0")}


@pytest.mark.parametrize("name", ["mlstm-recurrent", "linear-attention-recurrent"])
def test_what_is_held_in_blocks_computes_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade, machine = Cascade.load(name), small((2, 2), 2)
    made: list[make._Made] = []
    carrying = make._Fusion.carrying

    def kept(fusion: make._Fusion) -> Iterator[make._Made]:
        found = [x for x in carrying(fusion) if len(x.plan.extra) > 1]
        made.extend(found)
        yield from found

    monkeypatch.setattr(make._Fusion, "of_width", lambda *_: iter(()))
    monkeypatch.setattr(make, "cuts_of", lambda _: iter(()))
    monkeypatch.setattr(make._Fusion, "carrying", kept)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes={"B": 1, "H": 2, "E": 3, "F": 5, "P": 5},
        trials=1,
        run=mapped_run(cascade, GENERATORS.fuse, machine, GENERATORS),
    )
    assert report.ok, report
    assert made
