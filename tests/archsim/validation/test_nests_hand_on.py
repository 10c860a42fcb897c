"""What nests hand on to one another: numbers, and which of them there are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from portions import some

from archsim import Architecture
from archsim.nest.sequence import join_nests, nest_part
from archsim.plan.nest_cuts import stages_by_gathers, stages_by_passes
from archsim.spec.mapping import Mapping
from archsim.validation.inputs import random_inputs, random_parameters, random_shapes
from archsim.validation.mapped import mapped_run
from einsum_cascade import Cascade
from einsum_cascade.ir import Gather
from einsum_cascade.yaml.library import builtin_names, builtin_source
from mappers.construct.generators import GENERATORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from archsim.plan.nest_cuts import Names
    from einsum_cascade.ir import Program


def picks(program: Program) -> bool:
    """Whether an Einsum gathers at what another has picked."""
    indices = (i for e in program.einsums for a in e.reads for i in a.indices)
    return any(isinstance(i, Gather) and i.access.tensor in program.einsum_of for i in indices)


def source(name: str) -> str:
    """Return the text of a cascade."""
    return builtin_source("cascades", name).text


# To gather takes an index inside an index: to parse all cascades would take seconds.
WITHIN = [n for n in builtin_names("cascades") if re.search(r"\[[^]]*\[", source(n))]
PICKING = [n for n in WITHIN if picks(Cascade.load(n).program)]


def cut(program: Program, stages: tuple[Names, ...], shapes: dict[str, int]) -> Mapping:
    """A mapping with a nest for each stage, one Einsum after the other in each."""
    machine = Architecture.load("fusemax")
    nests = []
    for names in stages:
        part = nest_part(program, Mapping(name="", cascade=""), names, shapes)
        nests.append(GENERATORS.make(part.program, machine, part.shapes))
    return join_nests(Mapping(name="cut", cascade=program.name), tuple(nests))


@pytest.mark.parametrize("stages_of", [stages_by_gathers, stages_by_passes])
@pytest.mark.parametrize("name", some(PICKING, 4))
def test_nests_of_picking_cascades_compute_what_their_equations_say(
    name: str, stages_of: Callable[..., tuple[Names, ...]]
) -> None:
    """Causal masks leave first queries with fewer candidates than they pick."""
    known = Cascade.load(name)
    program = known.program
    machine = Architecture.load("fusemax")
    for seed in range(1):
        rng = np.random.default_rng(seed)
        shapes = random_shapes(program, {}, rng)
        inputs = random_inputs(program, shapes, rng)
        numbers = random_parameters(program, {}, rng, shapes)
        carried = {r for t in program.inputs for r in (*program.parallel, *t.ranks)}
        free = {n: size for n, size in shapes.items() if n not in carried}
        stages = stages_of(program, tuple(shapes))
        assert len(stages) > 1 or stages_of is stages_by_passes
        mapping = cut(program, stages, shapes | numbers)
        run = mapped_run(known, lambda *_, made=mapping: made, machine, GENERATORS)
        found = run(inputs, dtype="float64", **free, **numbers)
        expected = known.evaluate(inputs, dtype="float64", **free, **numbers)
        for output, values in expected.items():
            np.testing.assert_allclose(found[output], values, rtol=1e-9, atol=1e-12)
