"""What is taken from an earlier lowering is what lowering afresh gives."""

from __future__ import annotations

from functools import partial

import pytest
from portions import left

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.legality.binding_key import binding_key, rebind
from archsim.nest.binder import bind_loops
from archsim.nest.roles import resolve_roles
from archsim.nest.tiling import build_tiling
from einsum_cascade import Cascade
from mappers.construct.choices import ChoiceMemory, choose

SHAPES = {
    "fusemax-binding": {"B": 2, "H": 3, "E": 40, "F": 48, "P": 5000, "M": 3000},
    "fusemax-cascade": {"B": 1, "H": 1, "E": 64, "F": 64, "P": 2**16, "M": 2**16},
    "linear-layer": {"N": 70_000, "D": 3000, "J": 900},
}


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("fusemax-binding", "fusemax"),
        ("fusemax-cascade", "cascade-on-flat-micro24"),
        ("linear-layer", "fusemax"),
        ("linear-layer", "flat"),
    ],
)
def test_a_fitted_mapping_is_lowered_as_if_its_tiles_were_given(name: str, machine: str) -> None:
    mapping, architecture = Mapping.load(name), Architecture.load(machine)
    program = Cascade.load(mapping.cascade).program
    mapping = resolve_roles(program, mapping, architecture)
    bound = bind(program, mapping, architecture, SHAPES[name], choose=choose)
    fresh = bind_loops(program, mapping, architecture, bound.tiling)
    assert fresh == bound
    assert [e.reads for e in fresh.einsums] == [e.reads for e in bound.einsums]


def test_other_shapes_are_not_taken_from_an_earlier_lowering() -> None:
    mapping, architecture = Mapping.load("fusemax-binding"), Architecture.load("fusemax")
    program = Cascade.load(mapping.cascade).program
    mapping = resolve_roles(program, mapping, architecture)
    sizes = {"M0": 256, "P0": 256, "P1": 1}
    first, second = (
        build_tiling(program, mapping, SHAPES["fusemax-binding"] | {"E": width}, sizes)
        for width in (40, 56)
    )
    like = bind_loops(program, mapping, architecture, first)
    assert bind_loops(program, mapping, architecture, second, like) == bind_loops(
        program, mapping, architecture, second
    )


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("fusemax-binding", "fusemax-micro24", "fusemax"),
        ("fusemax-arch", "fusemax", "fusemax-micro24"),
        ("unfused", "flat-micro24", "flat"),
        ("linear-layer", "flat", "flat-micro24"),
    ],
)
def test_a_mapping_is_bound_alike_on_machines_of_one_layout(
    name: str, one: str, other: str
) -> None:
    mapping = Mapping.load(name)
    program = Cascade.load(mapping.cascade).program
    shapes = SHAPES.get(name, SHAPES["fusemax-binding"])
    first, second = Architecture.load(one), Architecture.load(other)
    assert binding_key(first) == binding_key(second)
    assert rebind(bind(program, mapping, first, shapes), second) == bind(
        program, mapping, second, shapes
    )


@pytest.mark.parametrize(
    "setting",
    [
        "memories.global_buffer.capacity=15 MiB",
        "arrays.array_2d.shape.rows=128",
        "arrays.array_1d.registers.depth=31",
        "word=32 bit",
        "memories.DRAM.line=512 bit",  # what a gather reads is whole lines
    ],
)
def test_machines_of_other_sizes_are_of_another_layout(setting: str) -> None:
    assert binding_key(Architecture.load("fusemax", [setting])) != binding_key(
        Architecture.load("fusemax")
    )


@pytest.mark.parametrize("tokens", [1024, 5000, left(2**18)])
@pytest.mark.parametrize(("one", "other"), [("flat-micro24", "flat"), ("flat", "flat-micro24")])
def test_choices_remembered_from_another_machine_are_those_made_afresh(
    one: str, other: str, tokens: int
) -> None:
    mapping, known = Mapping.load("flat"), ChoiceMemory()
    program = Cascade.load(mapping.cascade).program
    shapes = {"B": 8, "H": 12, "E": 64, "F": 64, "P": tokens, "M": tokens}
    first, second = Architecture.load(one), Architecture.load(other)
    assert binding_key(first) == binding_key(second)
    bind(program, mapping, first, shapes, choose=partial(choose, memory=known))
    loops = dict(known.loops)
    again = bind(program, mapping, second, shapes, choose=partial(choose, memory=known))
    assert all(known.loops[key] is kept for key, kept in loops.items())
    fresh = bind(program, mapping, second, shapes, choose=choose)
    assert again == fresh
    assert count_mapping(again) == count_mapping(fresh)


def test_counts_are_the_same_on_machines_of_one_layout() -> None:
    mapping = Mapping.load("fusemax-arch")
    program = Cascade.load(mapping.cascade).program
    first, second = Architecture.load("fusemax-micro24"), Architecture.load("fusemax")
    bound = bind(program, mapping, first, SHAPES["fusemax-binding"])
    moved = rebind(bound, second)
    counts = count_mapping(bound)
    assert counts == count_mapping(moved)
    assert evaluate_bound(moved, counts=counts) == evaluate_bound(moved)
