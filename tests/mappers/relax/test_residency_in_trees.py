"""Places of tensors on machines whose memories are side by side, changed one by one."""

from __future__ import annotations

import pytest
from brief_search import BRIEFLY

from archsim import Architecture
from archsim.spec.mapping import Keep, Mapping
from einsum_cascade import Cascade
from mappers.problem.objectives import objective_called
from mappers.relax.search import BestMapping, improve_residency, starts_of
from mappers.workload_search import search_workload
from workloads import load

SIDES = ("array.shape.columns", "array.shape.rows", "comparators.shape.columns")


def small_fsa() -> Architecture:
    sides = (*SIDES, "accumulators.shape.columns")
    return Architecture.load("fsa", [f"arrays.{side}=16" for side in sides])


@pytest.mark.slow
def test_what_is_found_in_a_line_is_better_once_it_has_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts of the cascade are searched, too, for several nests: theirs take less than all."""
    objective, before, settle = objective_called("latency"), [], BestMapping._improve

    def told(search: BestMapping) -> None:
        assert search.best is not None
        if len(search.problem.space.program.einsums) == einsums:
            before.append(search.best.value)
        settle(search)

    einsums = len(Cascade.load("attention-naive").program.einsums)
    monkeypatch.setattr(BestMapping, "_improve", told)
    work = load("bert-base", cascade="attention-naive", seq_len=32, batch=1, H=1)
    found = search_workload(work, small_fsa(), objective, effort=BRIEFLY)
    assert objective.of(found.result) < min(before)


def test_changes_are_made_on_what_was_best_before() -> None:
    """The cost is the number of wrong places, and Q in two of them is not legal."""
    machine, memories = small_fsa(), ("DRAM", "latches", "scratchpad")
    wanted = {("DRAM", "Q"), ("DRAM", "K"), ("scratchpad", "Q"), ("scratchpad", "K")}
    begun = Mapping(
        name="m",
        cascade="c",
        keep=(Keep(level="DRAM", tensors=("Q", "K")), Keep(level="latches", tensors=("Q",))),
    )
    costs: list[int] = []

    def better(mapping: Mapping) -> bool:
        places = {(k.level, t) for k in mapping.keep for t in k.tensors}
        if {("latches", "Q"), ("scratchpad", "Q")} <= places:
            return False
        cost = len(places ^ wanted)
        if costs and cost >= costs[-1]:
            return False
        costs.append(cost)
        return True

    assert better(begun)
    found = improve_residency(machine, begun, better)
    assert {(k.level, t) for k in found.keep for t in k.tensors} == wanted
    assert costs == [3, 2, 1, 0]
    assert {k.level for k in found.keep} <= {*memories}


def test_mappings_of_roles_and_of_several_nests_stay_as_they_are() -> None:
    machine, part = small_fsa(), Mapping(name="m", cascade="c")
    roles = Mapping(name="m", cascade="c", keep=(Keep(level="outer", tensors=("Q",)),))
    assert not list(starts_of(machine, roles))
    assert not list(starts_of(machine, Mapping(name="m", cascade="c", nests=(part,))))
