"""What is taken from an earlier lowering is what lowering afresh gives."""

from __future__ import annotations

import pytest

from archsim import Architecture, Mapping
from archsim.analytical import bind
from archsim.lower import lower
from archsim.tiling import build_tiling
from einsum_cascade import Cascade

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
    bound = bind(program, mapping, architecture, SHAPES[name])
    fresh = lower(program, mapping, architecture, bound.tiling)
    assert fresh == bound
    assert [e.reads for e in fresh.einsums] == [e.reads for e in bound.einsums]


def test_other_shapes_are_not_taken_from_an_earlier_lowering() -> None:
    mapping, architecture = Mapping.load("fusemax-binding"), Architecture.load("fusemax")
    program = Cascade.load(mapping.cascade).program
    sizes = {"M0": 256, "P0": 256, "P1": 1}
    first, second = (
        build_tiling(program, mapping, SHAPES["fusemax-binding"] | {"E": width}, sizes)
        for width in (40, 56)
    )
    like = lower(program, mapping, architecture, first)
    assert lower(program, mapping, architecture, second, like) == lower(
        program, mapping, architecture, second
    )
