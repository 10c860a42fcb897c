"""A study holds what ``simulate`` says, run by run, however it is shared out."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
from small import write

from archsim import Architecture, Mapping, Result, simulate
from archsim.processes import map_in_order
from archsim.reproduction import Reproduction, Study, study
from archsim.reproduction.plan import PrintedRatio
from archsim.reproduction.runs import quantity_of, ratio
from archsim.reproduction.study import MEANS, planned_runs
from einsum_cascade.errors import InputError
from workloads import load

MACHINES = {"theirs": "fusemax-micro24", "ours": "fusemax"}
MAPPINGS = {"slow": "fusemax-arch", "fast": "fusemax-binding"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(Reproduction.load(write(tmp_path_factory.mktemp("plan"))))


def directly(billing: str, scope: str, configuration: str, length: int) -> Result:
    """The same run by itself, nothing remembered."""
    return simulate(
        load("bert-base", seq_len=length, scope="block" if scope == "layer" else scope),
        Architecture.load(MACHINES[billing]),
        Mapping.load(MAPPINGS[configuration]),
    )


def test_every_run_is_what_simulate_says(found: Study) -> None:
    runs = [(r, o) for r, o in found.outcomes.items() if not r.label]
    assert len(runs) == 2 * 2 * 2 * 2
    for run, outcome in runs:
        assert outcome == directly(run.billing, run.scope, run.configuration, run.seq_len)


def test_the_sweep_is_what_simulate_says(found: Study) -> None:
    runs = [(r, o) for r, o in found.outcomes.items() if r.label]
    assert [(r.billing, r.label) for r, _ in runs] == [
        (billing, f"{n}x{n}") for billing in MACHINES for n in (64, 128)
    ]
    for run, outcome in runs:
        n = run.label.partition("x")[0]
        sizes = ("array_2d.shape.rows", "array_2d.shape.columns", "array_1d.shape.lanes")
        settings = [f"arrays.{size}={n}" for size in sizes]
        machine = Architecture.load(MACHINES[run.billing], settings)
        result = simulate(load("bert-base", seq_len=4096), machine, Mapping.load("fusemax-binding"))
        assert outcome == result


@pytest.mark.slow
def test_two_processes_find_the_same_in_the_same_order(found: Study) -> None:
    reported: list[int] = []
    again = study(found.plan, workers=2, finished=reported.append)
    assert [*again.outcomes.items()] == [*found.outcomes.items()]
    # There is one workload alone, so they share its runs by mapping.
    ran = [MAPPINGS[run.configuration] for run in found.outcomes]
    assert reported == [ran.count(mapping) for mapping in MAPPINGS.values()]


def test_means_are_of_the_ratios_of_all_runs(found: Study) -> None:
    speedup, energy = found.plan.headline
    pairs = [
        [directly("theirs", "attention", c, n) for c in ("fast", "slow")] for n in (1024, 4096)
    ]
    faster = [slow.latency_s / fast.latency_s for fast, slow in pairs]
    assert found.mean(speedup, "theirs") == pytest.approx(sum(faster) / 2, rel=1e-12)
    less = [fast.energy_pj / slow.energy_pj for fast, slow in pairs]
    assert found.mean(energy, "theirs") == pytest.approx(prod(less) ** 0.5, rel=1e-12)


def test_kinds_of_mean() -> None:
    values = (1.0, 2.0, 4.0)
    assert MEANS["arithmetic"](values) == pytest.approx(7 / 3)
    assert MEANS["geometric"](values) == pytest.approx(2)
    assert MEANS["harmonic"](values) == pytest.approx(12 / 7)


def test_ratios_have_a_direction(found: Study) -> None:
    fast, slow = (directly("theirs", "attention", c, 1024) for c in ("fast", "slow"))
    assert ratio("speedup", fast, slow) > 1 > ratio("speedup", slow, fast)
    assert ratio("utilization.array_2d", fast, slow) == pytest.approx(
        fast.utilization["array_2d"] / slow.utilization["array_2d"]
    )


def test_a_run_that_is_not_legal_is_missing_with_its_reason(tmp_path: Path) -> None:
    wrong = ("      mapping: fusemax-binding", "      mapping: fusemax-bindin")
    plan = Reproduction.load(write(tmp_path, wrong))
    result = study(plan)
    reasons = {r.configuration: reason for r, reason in result.missing}
    assert list(reasons) == ["fast"]
    assert "no built-in mapping 'fusemax-bindin'" in reasons["fast"]
    assert all(
        isinstance(o, str) == (r.configuration == "fast") for r, o in result.outcomes.items()
    )
    assert result.mean(plan.headline[0], "theirs") is None


def test_one_figure_needs_only_its_own_runs(found: Study) -> None:
    def needs(number: int) -> set[tuple[str, str, bool]]:
        runs = planned_runs(found.plan.only([number]))
        return {(run.scope, run.configuration, bool(run.label)) for run in runs}

    both = {("attention", "slow", False), ("attention", "fast", False)}
    assert needs(3) == needs(5) == needs(6) == both
    assert needs(4) == {("layer", "slow", False), ("layer", "fast", False)}
    assert needs(7) == {("attention", "fast", True)}
    assert [h.quantity for h in found.plan.only([5]).headline] == ["energy"]


def test_quantities_are_named(found: Study) -> None:
    own = directly("theirs", "attention", "fast", 1024)
    assert quantity_of(own, "latency_s") == own.latency_s
    assert quantity_of(own, "area.array_2d") == dict(own.area_by_component)["array_2d"]
    with pytest.raises(InputError, match="did you mean 'latency_s'"):
        quantity_of(own, "latency")
    with pytest.raises(InputError, match="did you mean 'array_2d'"):
        quantity_of(own, "utilization.array2d")


@pytest.mark.parametrize(
    ("text", "value", "same", "other", "more"),
    [
        ("6.7x", 6.7, 6.7499, 6.7501, "6.75x"),
        ("10x", 10.0, 10.4, 10.6, "10.4x"),
        ("79%", 0.79, 0.7949, 0.7951, "79.5%"),
        ("79.5%", 0.795, 0.7952, 0.7949, "79.52%"),
    ],
)
def test_a_printed_ratio_agrees_to_its_digits(
    text: str, value: float, same: float, other: float, more: str
) -> None:
    printed = PrintedRatio(text=text)
    assert printed.value == pytest.approx(value)
    assert printed.like(printed.value) == text
    assert printed.agrees(same)
    assert not printed.agrees(other) or text == "79.5%"
    assert printed.like(same, more=1) == more


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_keep_the_order_and_raise_what_the_work_raises(workers: int) -> None:
    assert list(map_in_order(abs, range(-20, 0), workers, left="")) == list(range(20, 0, -1))
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_in_order(int, ["1", "2", "x"], workers, left=""))
