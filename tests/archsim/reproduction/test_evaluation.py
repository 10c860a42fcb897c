"""The FuseMax evaluation: every run is there, its means come out, the page tells them."""

from __future__ import annotations

import re
import runpy

import pytest
from places import PUBLICATIONS, ROOT

from archsim.reproduction import Reproduction, Study, study
from archsim.reproduction.published import difference, read_published
from archsim.reproduction.runs import quantity_of
from archsim.reproduction.study import StudyRun

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> Study:
    return study(Reproduction.load("fusemax"))


def test_every_run_is_there(found: Study) -> None:
    assert found.missing == ()
    runs = [*found.outcomes]
    assert len(set(runs)) == len(runs)
    for billing in ("published", "full"):
        mine = [r for r in runs if r.billing == billing and not r.omission]
        for scope in ("attention", "end-to-end"):
            assert len([r for r in mine if r.scope == scope and not r.label]) == 5 * 4 * 6
        assert len([r for r in mine if r.label]) == 4 * 6


def test_every_mean_is_the_published_one_to_its_digits(found: Study) -> None:
    printed = {(h.scope, h.quantity, h.over): h.published.text for h in found.plan.headline}
    assert printed == {
        ("attention", "speedup", "flat"): "6.7x",
        ("attention", "energy", "flat"): "79%",
        ("attention", "speedup", "unfused"): "10x",
        ("attention", "energy", "unfused"): "77%",
        ("end-to-end", "speedup", "flat"): "5.3x",
        ("end-to-end", "energy", "flat"): "83%",
        ("end-to-end", "speedup", "unfused"): "7.6x",
        ("end-to-end", "energy", "unfused"): "82%",
    }
    for h in found.plan.headline:
        mean = found.mean(h, "published")
        assert mean is not None
        wanted = h.corrected or h.published
        assert h.published.agrees(mean) or wanted.agrees(mean), (h.title, mean)
        if h.corrected:
            assert mean == pytest.approx(h.corrected.value, abs=1e-3)


def test_full_billing_slows_down_those_whose_exponentials_took_no_time(found: Study) -> None:
    def against(configuration: str, quantity: str) -> float:
        ratio = found.against_published("full", "attention", configuration, quantity)
        assert ratio is not None
        return ratio

    for configuration in ("cascade", "arch", "binding"):
        assert against(configuration, "latency_s") == pytest.approx(1, rel=1e-3)
    # Where the 1D array is what takes long, four cycles a score become five.
    for workload in found.plan.workloads:
        for length in (2**10, 2**12, 2**14, 2**16):
            own, base = (
                found.result(StudyRun(b, "attention", "flat", workload, length))
                for b in ("full", "published")
            )
            assert own is not None
            assert base is not None
            assert own.latency_s / base.latency_s == pytest.approx(5 / 4, rel=1e-3)
    for configuration in ("unfused", "flat", "cascade", "arch", "binding"):
        assert 1.4 < against(configuration, "energy_pj") < 1.7


@pytest.mark.skipif(not PUBLICATIONS.is_dir(), reason="the published figures are not beside it")
def test_rows_are_as_published(found: Study) -> None:
    values = read_published(found.plan, PUBLICATIONS)
    assert len(values) == 5 * 6 * 5 + 6 * 3
    for v in values:
        own = found.result(v.run)
        assert own is not None
        tolerance = 1e-2 if v.quantity == "energy_pj" else 1e-3
        gap = abs(difference(quantity_of(own, v.quantity), v.value))
        assert gap <= (5e-3 if v.run.configuration == "unfused" else tolerance), v


def test_the_page_tells_what_a_fresh_run_finds(found: Study) -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_fusemax.py"))
    text = page["PAGE"].read_text(encoding="utf-8")
    assert text == page["filled"](text, page["tables"](found))
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(page["tables"](found))
    for image in re.findall(r"\((images/[^)]+)\)", text):
        assert (ROOT / "docs" / image).read_bytes().startswith(b"\x89PNG")
