"""The page of what is covered says what is so, and every cascade has its place on it."""

from __future__ import annotations

import re
import runpy

import pytest
from places import ROOT
from portions import left, some

from archsim import simulate
from einsum_cascade.yaml.library import builtin_names
from workloads import load

SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_coverage.py"))
PAGE = SCRIPT["PAGE"].read_text(encoding="utf-8")
CASCADES = builtin_names("cascades")
MECHANISMS = [mechanism for rows in SCRIPT["groups"]().values() for mechanism in rows]
MACHINES = builtin_names("architectures")
RUNS = [
    (mechanism.cascades[0], MACHINES[number % len(MACHINES)])
    for number, mechanism in enumerate(m for m in MECHANISMS if m.cascades)
]
NEW = ("injected-query-attention", "lstm-attention", "head-importance")


def test_every_cascade_has_one_place_and_every_mechanism_a_row() -> None:
    assert sorted(n for m in MECHANISMS for n in m.cascades) == sorted(CASCADES)
    for mechanism in MECHANISMS:
        assert mechanism.cascades or mechanism.note, mechanism.name
        assert f"\n| {mechanism.name} |" in PAGE
    named = re.findall(r"`([^`]+)`", " ".join(m.note for m in MECHANISMS))
    assert set(named) <= {*CASCADES, *builtin_names("mappings"), *builtin_names("workloads")}


@pytest.mark.parametrize("name", some(CASCADES, 60, 21))
def test_passes_are_those_of_a_fresh_analysis(name: str) -> None:
    told = re.search(rf"`{name}` ([^;|]+?)(;| \|)", PAGE)
    assert told is not None
    assert told[1] == SCRIPT["passes"](name)


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    assert SCRIPT["page"](PAGE) == PAGE, "run: python docs/make_coverage.py"


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        *(left(*run) for run in RUNS),
        *some([(n, m) for m in ("tpu-v4i", "fusemax") for n in NEW], 6, 2),
    ],
)
def test_a_cascade_runs_where_its_row_says(name: str, machine: str) -> None:
    assert machine in SCRIPT["able"](name)
    found = simulate(load("bert-base", cascade=name, seq_len=64, batch=2), machine)
    assert found.latency_s > 0
    assert found.over_floor >= 1
