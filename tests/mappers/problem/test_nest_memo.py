"""Mappings of several nests next to one another: what is the same of them is worked out once."""

from __future__ import annotations

import gc
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import islice
from typing import Any

import pytest
from portions import left

from archsim import Architecture
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.nest.sequence import join_nests
from archsim.processes import COLLECT_AFTER
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.algebra.excerpt import cut_blocks, excerpt
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.local.local_search import _in_nest, moves_of, with_tile
from mappers.problem import engine_run
from mappers.problem.engine_run import EngineRun, bound_nests, run_mapping, run_to_beat
from mappers.problem.objectives import SearchObjective, objective_called
from mappers.problem.protocol import infrequent_collection
from mappers.space.mapspace import Mapspace

SHAPES = {"B": 1, "H": 2, "E": 16, "F": 16, "M": 48, "P": 64}
HALF = Fraction(1, 2)
SIDES = ("array_2d.shape.rows=8", "array_2d.shape.columns=8", "array_1d.shape.lanes=8")


def fresh() -> Mapspace:
    """A mapspace of which no nest was ever bound."""
    machine = Architecture.load("fusemax", [f"arrays.{side}" for side in SIDES])
    # A copy of the program has none of the values that the original keeps.
    program = replace(Cascade.load("attention-3pass").program)
    return Mapspace.of(program, machine, SHAPES)


small = cache(fresh)


@cache
def written() -> Mapping:
    """Nests of one Einsum after the other, with parts of the machine by their names, and with
    tiles half as long as they might be."""
    space = small()
    nests = tuple(
        einsum_by_einsum(space.program.memo(excerpt, names), space.architecture, SHAPES)
        for names in space.program.memo(cut_blocks)
    )
    whole = join_nests(Mapping(name="nests", cascade=space.program.name), nests)
    named = (bound.mapping for _, bound in bound_nests(space, whole))
    return join_nests(whole, tuple(with_tile(n, n.tiles[0].member, HALF, {}) for n in named))


def changed(every: int = 4) -> list[Mapping]:
    """Some of the small changes of each nest, one of so many."""
    whole, space = written(), small()
    found: list[Mapping] = []
    for number, (nest, (_, bound)) in enumerate(
        zip(whole.nests, bound_nests(space, whole), strict=True)
    ):
        sizes = {m: 4 for _, members in bound.tiling.cuts for m in (x.name for x in members)}
        moves = moves_of(space.architecture, nest, sizes)
        found += (_in_nest(number, move, whole) for move in islice(moves, 0, None, every))
    return found


def outcome(
    space: Mapspace, mapping: Mapping, objective: SearchObjective, best: EngineRun
) -> EngineRun | str | None:
    try:
        return run_to_beat(space, mapping, objective, best)
    except InputError as wrong:
        return str(wrong)


@pytest.mark.parametrize("name", ["latency", left("energy")])
@pytest.mark.parametrize("every", [8, left(4)])
def test_what_is_known_of_other_nests_changes_no_run(name: str, every: int) -> None:
    objective = objective_called(name)
    best = run_mapping(small(), written(), objective)
    better = 0
    for mapping in changed(every):
        found = outcome(small(), mapping, objective, best)
        assert found == outcome(fresh(), mapping, objective, best)
        if isinstance(found, EngineRun):
            assert found == run_mapping(small(), mapping, objective)
            better += found.value < best.value
        elif found is None:
            assert run_mapping(small(), mapping, objective).value > best.value
    assert better


def test_only_the_nest_that_changed_is_bound_again(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, space = objective_called("energy"), fresh()
    best = run_mapping(space, written(), objective)
    bound: list[Mapping] = []

    def counted(program: Program, mapping: Mapping, *given: Any, **more: Any) -> Bound:
        bound.append(mapping)
        return bind(program, mapping, *given, **more)

    monkeypatch.setattr(engine_run, "bind", counted)
    mappings = changed()
    bound.clear()
    for mapping in mappings:
        outcome(space, mapping, objective, best)
    nests = len(written().nests)
    assert nests > 3
    # A nest is bound once for each change, and once more after the last one.
    assert 0 < len(bound) <= len(mappings) + nests


def test_garbage_is_looked_for_as_often_as_before_once_a_search_is_over() -> None:
    before = gc.get_threshold()
    try:
        for young in (700, 2 * COLLECT_AFTER, 0):
            gc.set_threshold(young, 10, 10)
            with infrequent_collection():
                assert gc.get_threshold()[0] == (COLLECT_AFTER if young == 700 else young)
            assert gc.get_threshold() == (young, 10, 10)
    finally:
        gc.set_threshold(*before)
