"""The table of decoded tokens in the documentation is what runs say."""

from __future__ import annotations

import runpy

import pytest
from places import ROOT

from archsim.quantities import energy, seconds

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()


def cells(kind: str) -> list[str]:
    (line,) = (line for line in PAGE if line.startswith(f"| {kind} | ") and "µJ |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


@pytest.fixture(scope="module")
def script() -> dict[str, object]:
    return runpy.run_path(str(ROOT / "docs" / "make_decoding.py"))


@pytest.mark.parametrize(
    "kind", ["softmax, 8 heads of keys", "Lightning", "7 Lightning, 1 softmax"]
)
def test_what_a_token_costs_after_1023(script: dict[str, object], kind: str) -> None:
    row, latency, picojoules = cells(kind), script["latency"], script["picojoules"]
    assert callable(latency)
    assert callable(picojoules)
    assert row[1] == seconds(latency(kind, 1024))
    assert row[5] == energy(picojoules(kind, 1024))


def test_from_where_on_lightning_is_cheaper(script: dict[str, object]) -> None:
    row = cells("Lightning")
    for start, cost in ((row[0], script["latency"]), (row[4], script["picojoules"])):
        assert callable(cost)
        length = int(start.replace(",", ""))
        softmax = "softmax, 8 heads of keys"
        assert cost("Lightning", length) < cost(softmax, length)
        before = int(0.97 * length)
        assert cost("Lightning", before) > cost(softmax, before)
