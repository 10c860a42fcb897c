"""A mapping that was bound before is bound again as if nothing were known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from nest_cases import Case, random_case, varied_case
from nest_starts import started_case
from portions import examples

from archsim import Architecture, Mapping
from archsim.counts.accesses import PathStop, path_of
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.nest.binder import ParametricNest, bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import Tiling, build_tiling
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError


def other_sizes(case: Case, random: Random) -> Tiling | None:
    """The case on other shapes, or in other tiles alone; None where shapes contradict."""
    given = case.given
    if random.random() < 0.5:
        given = {r: random.choice((1, n, n + 1, 2 * n, 7)) for r, n in given.items()}
    sizes = {m: random.choice((1, 1, n, 2 * n, 3)) for m, n in case.sizes.items()}
    try:
        return build_tiling(case.program, case.mapping, given, sizes)
    except InputError:
        return None


def ways(bound: Bound) -> list[tuple[PathStop, ...]]:
    """The ways of all accesses."""
    return [path_of(bound, e, n) for e in bound.einsums for n in range(len(e.access_maps))]


@pytest.mark.parametrize("make", [random_case, varied_case, started_case])
def test_other_sizes_are_bound_as_if_afresh(make: Callable[[int], Case | None]) -> None:
    """The same loops and addresses, the same refusals, and legal where that is found anew."""
    random = Random(5)
    again = refused = illegal = 0
    for seed in range(examples(120)):
        if (case := make(seed)) is None:
            continue
        tiling = build_tiling(case.program, case.mapping, case.given, case.sizes)
        try:
            last = bind_loops(case.program, case.mapping, case.architecture, tiling)
        except MappingError:
            continue
        parametric_nest = ParametricNest(last)
        for other in filter(None, (other_sizes(case, random) for _ in range(4))):
            found = parametric_nest.bound(other, random.choice((None, last)))
            try:
                fresh = bind_loops(case.program, case.mapping, case.architecture, other)
            except MappingError:
                assert found is None, seed
                refused += 1
                continue
            assert found == fresh, seed
            assert [e.operands for e in found.einsums] == [e.operands for e in fresh.einsums]
            assert found.pattern_memo(illegalities) == illegalities(fresh), seed
            # Sizes of one pattern share what is known of the ways.
            assert ways(found) == ways(fresh), seed
            illegal += bool(illegalities(fresh))
            last = found
            again += 1
    assert again > examples(100)
    assert refused > examples(2)
    assert illegal > examples(2)


def test_another_mapping_of_the_same_name_is_not_taken_for_one_that_is_known() -> None:
    mapping, machine = Mapping.load("fusemax-binding"), Architecture.load("fusemax")
    program = Cascade.load(mapping.cascade).program
    shapes = {"B": 1, "H": 1, "E": 64, "F": 64, "P": 4096, "M": 4096}
    first = bind(program, mapping, machine, shapes)
    with pytest.raises(MappingError, match="keeps"):
        bind(program, replace(mapping, keep=mapping.keep[:1]), machine, shapes)
    assert bind(program, mapping, machine, shapes) == first
