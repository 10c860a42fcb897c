"""Small changes of what a search found: from a worse mapping next to it back to it, or further."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from time import monotonic
from typing import Any

import pytest

from archsim import Architecture
from archsim.nest.sequence import join_nests
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.algebra.excerpt import cut_blocks, excerpt
from einsum_cascade.errors import InputError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.local import local_search, policy
from mappers.local.local_search import (
    Move,
    improve_locally,
    moves_of,
    transposed,
    with_place,
    with_tile,
)
from mappers.problem.certificate import INTERRUPTED, TIME_LIMIT, Certificate, RunnerUp, Searched
from mappers.problem.engine_run import EngineRun, bound_mapping, run_mapping, run_to_beat
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import SearchProblem, at_once
from mappers.space.mapspace import Mapspace

SHAPES = {"B": 1, "H": 2, "E": 16, "F": 16, "M": 64, "P": 96}
SIDES = ("array_2d.shape.rows=8", "array_2d.shape.columns=8", "array_1d.shape.lanes=8")


@cache
def small() -> Mapspace:
    machine = Architecture.load("fusemax", [f"arrays.{side}" for side in SIDES])
    return Mapspace.of(Cascade.load("attention-1pass").program, machine, {**SHAPES, "M0": 8})


Changing = Callable[..., Mapping]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves some kinds of moves, of some things, and the time for all of them."""
    monkeypatch.setattr(policy, "MIN_SECONDS", 1e6)

    def leave(*kinds: Changing, **of: str) -> None:
        def some(*args: Any) -> Iterator[Move]:
            for move in moves_of(*args):
                assert isinstance(move, partial)
                if move.func in kinds and of.items() <= move.keywords.items():
                    yield move

        monkeypatch.setattr(local_search, "moves_of", some)

    return leave


def written() -> Mapping:
    """A mapping that is there already, with its parts by their names."""
    return bound_mapping(small(), Mapping.load("fusemax-binding")).mapping


def searched(run: EngineRun, gap: float = 0.9, other: EngineRun | None = None) -> Searched:
    floor = objective_called("latency").floor(run.result)
    certificate = Certificate(
        strategy="exhaustive",
        objective="latency",
        candidates=10,
        evaluated=10,
        reasons=(),
        runs=3,
        gap=gap,
        tolerance=1e-3,
        value=run.value,
        floor=floor,
    )
    beaten = (
        None
        if other is None
        else RunnerUp(mapping=other.mapping, result=other.result, differences=())
    )
    return Searched(
        mapping=run.mapping, result=run.result, certificate=certificate, runner_up=beaten
    )


def problem(objective: str = "latency") -> SearchProblem:
    return SearchProblem(small(), objective_called(objective))


def ran(mapping: Mapping, objective: str = "latency") -> EngineRun:
    return run_mapping(small(), mapping, objective_called(objective))


SHORTER = partial(with_tile, member="P0", times=Fraction(1, 4), sizes={"P0": 8})
WITHOUT = partial(with_place, tensor="K", place="global_buffer")
TWICE = partial(with_place, tensor="SLNV", place="global_buffer")


@pytest.mark.parametrize(
    ("objective", "spoil", "of"),
    [("latency", SHORTER, "member"), ("energy", WITHOUT, "tensor"), ("energy", TWICE, "tensor")],
)
def test_what_was_made_worse_is_made_good(
    objective: str, spoil: partial[Mapping], of: str, only: Callable[..., None]
) -> None:
    only(spoil.func, **{of: spoil.keywords[of]})
    good = ran(written(), objective)
    bad = ran(spoil(good.mapping), objective)
    assert bad.value > good.value
    found = improve_locally(problem(objective), searched(bad), monotonic())
    value = objective_called(objective).of(found.result)
    assert value <= good.value
    assert ran(found.mapping, objective).value == value
    # What was proven before is proven now.
    assert found.certificate.bound == pytest.approx(bad.value / 10)
    assert found.certificate.value == value
    assert found.certificate.runs > 3


def test_what_is_proven_is_left_as_it_is() -> None:
    found = searched(ran(written()), gap=0.01)
    assert improve_locally(problem(), found, monotonic()) is found


def test_of_what_is_as_good_that_of_less_energy_is_taken(only: Callable[..., None]) -> None:
    only(with_place, tensor="SLNV")
    mapping = with_place(written(), "SLNV", "global_buffer")
    found = improve_locally(problem(), searched(ran(mapping)), monotonic())
    assert found.result.cycles <= ran(mapping).value
    assert found.result.energy_pj < ran(mapping).result.energy_pj


def test_tiles_that_the_workload_gives_stay(only: Callable[..., None]) -> None:
    only(with_tile)
    mapping, machine = written(), small().architecture
    free, fixed = (
        len([*moves_of(machine, mapping, {"P0": 8}, members)]) for members in ((), ("P0",))
    )
    assert free > fixed
    found = improve_locally(problem(), searched(ran(mapping)), monotonic())
    assert dict(found.result.shape)["M0"] == 8


def test_it_ends_with_the_best_where_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = ran(with_tile(written(), "P1", Fraction(1, 8), {"P1": 96}))
    asked: list[Mapping] = []

    def interrupted(
        space: Mapspace, mapping: Mapping, objective: object, best: EngineRun, *_: object
    ) -> EngineRun | None:
        asked.append(mapping)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return run_to_beat(space, mapping, objective_called("latency"), best)

    monkeypatch.setattr(local_search, "run_to_beat", interrupted)
    found = improve_locally(problem(), searched(bad), monotonic())
    assert found.certificate.ended == INTERRUPTED
    assert found.result.cycles <= bad.value
    assert len(asked) == 2


def test_it_takes_no_time_where_there_is_none() -> None:
    late = replace(problem(), is_late=at_once)
    found = improve_locally(late, searched(ran(written())), monotonic())
    assert found.certificate.runs == 3
    assert found.certificate.ended == TIME_LIMIT


def test_what_is_certainly_slower_is_not_run() -> None:
    good, latency = ran(written()), objective_called("latency")
    slow = with_tile(written(), "P0", Fraction(1, 8), {"P0": 8})
    assert run_mapping(small(), slow, latency).value > good.value
    assert run_to_beat(small(), slow, latency, good) is None
    assert run_to_beat(small(), slow, objective_called("energy"), good) is not None


def test_nests_that_are_certainly_slower_together_are_not_run() -> None:
    latency, program = objective_called("latency"), small().program
    slow = join_nests(
        Mapping(name="slow", cascade=program.name),
        tuple(
            einsum_by_einsum(program.memo(excerpt, names), small().architecture, SHAPES)
            for names in program.memo(cut_blocks)
        ),
    )
    assert len(slow.nests) > 1
    run = ran(slow)
    assert run_to_beat(small(), slow, latency, run) == run
    good = ran(written())
    assert good.value < run.value
    assert run_to_beat(small(), slow, latency, good) is None
    assert run_to_beat(small(), slow, objective_called("energy"), good) is not None


def of_another_kind(good: EngineRun) -> EngineRun:
    """A worse mapping next to it, in which other loops are shared or in another order."""
    for move in moves_of(small().architecture, good.mapping, {"P0": 8, "P1": 96}):
        try:
            run = ran(move(good.mapping))
        except InputError:
            continue
        if run.kind != good.kind and run.value > good.value:
            return run
    raise AssertionError


def test_it_goes_on_from_the_runner_up_too(only: Callable[..., None]) -> None:
    """What was best is the runner-up of what was made of its runner-up."""
    good = ran(written())
    second = of_another_kind(good)
    only(transposed)
    found = improve_locally(problem(), searched(second, other=good), monotonic())
    assert found.result.cycles <= good.value
    assert found.runner_up is not None
    assert found.runner_up.differences
    assert ran(found.runner_up.mapping).kind != ran(found.mapping).kind


@pytest.mark.slow
def test_a_runner_up_that_is_far_worse_is_left_alone(only: Callable[..., None]) -> None:
    good = ran(written())
    second = of_another_kind(good)
    only(transposed)

    def runs(other: EngineRun | None) -> int:
        found = improve_locally(problem(), searched(good, other=other), monotonic())
        return found.certificate.runs

    far = replace(second.result, cycles=1.3 * good.result.cycles)
    assert second.value < 1.2 * good.value
    assert runs(None) == runs(replace(second, result=far)) < runs(second)


def test_a_mapping_of_another_cascade_is_beaten_by_what_the_runner_up_becomes(
    only: Callable[..., None],
) -> None:
    good = ran(written())
    spoilt = ran(SHORTER(good.mapping))
    loop = replace(good.mapping.nest[0], loops=("R1", *good.mapping.nest[0].loops))
    foreign = replace(good.mapping, nest=(loop, *good.mapping.nest[1:]))
    with pytest.raises(InputError):
        bound_mapping(small(), foreign)
    only(with_tile, member=SHORTER.keywords["member"])
    found = improve_locally(
        problem(), searched(replace(spoilt, mapping=foreign), other=spoilt), monotonic()
    )
    assert found.result.cycles <= good.value
    assert found.runner_up is None


def test_nothing_is_tried_once_a_nest_was_interrupted() -> None:
    """What is searched after it ends as if time were up."""
    found = searched(ran(written()))
    late, stopped = (replace(found.certificate, ended=why) for why in (TIME_LIMIT, INTERRUPTED))
    found = replace(found, certificate=late.with_effort_of([stopped]))
    assert found.certificate.ended == INTERRUPTED
    assert improve_locally(problem(), found, monotonic()) is found


def test_nothing_is_made_of_a_mapping_of_another_cascade() -> None:
    """It takes something else where it comes from, though it has the same names."""
    run = ran(written())
    found = improve_locally(problem(), searched(replace(run, value=2 * run.value)), monotonic())
    assert found.certificate.runs > 3
    longer = replace(run.result, cycles=2 * run.result.cycles)
    found = improve_locally(problem(), searched(replace(run, result=longer)), monotonic())
    assert found.certificate.runs == 3
