"""Pictures of results at the width of a paper: their numbers add up, and nothing is clipped."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from commands import refused, run
from matplotlib.text import Text
from portions import some

import archsim
from archsim import Comparison, Result, compare, simulate
from archsim.result.figures import latency_steps, share_bars
from archsim.result.record import Floor
from archsim.views.plot import COMPARISON_KINDS, RESULT_KINDS
from einsum_cascade.errors import InputError


@pytest.fixture(scope="module", params=["attention", "block"])
def result(request: pytest.FixtureRequest) -> Result:
    return simulate("bert-base", "fusemax", "fusemax-arch", seq_len=512, scope=request.param)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare("bert-base", ["fusemax", "flat"], seq_len=512)


def test_a_waterfall_goes_from_the_floor_to_the_latency(result: Result) -> None:
    floor, *middle, last = latency_steps(result)
    assert (floor.begin_s, floor.end_s) == (0.0, pytest.approx(result.floor.latency_s))
    assert (last.begin_s, last.end_s) == (0.0, result.latency_s)
    steps = [floor, *middle]
    assert all(a.end_s == b.begin_s for a, b in pairwise(steps))
    assert all(s.length_s >= -1e-12 for s in steps)
    assert steps[-1].end_s == pytest.approx(result.latency_s)
    if not result.parts:
        bound = max(result.bounds.compute_s, result.bounds.bandwidth_s)
        assert steps[1].end_s == pytest.approx(max(bound, result.floor.latency_s))
        ends = result.schedule.fill_drain_cycles * result.latency_s / result.cycles
        assert steps[-1].length_s == pytest.approx(ends)
        assert steps[2].length_s > 0
    else:
        costly = max(result.parts, key=lambda p: p.latency_s - p.times * p.result.floor.latency_s)
        assert steps[1].name.startswith(f"{costly.name}:")


def test_shares_are_of_all_the_time_and_all_the_energy(result: Result) -> None:
    *times, spent = share_bars(result)
    assert [b.name for b in times] == [f"{a.array}, time" for a in result.arrays]
    for bar, use in zip(times, result.arrays, strict=True):
        shares = dict(bar.pieces)
        assert sum(shares.values()) == pytest.approx(1)
        assert 1 - shares.get("waiting", 0) == pytest.approx(use.occupied_cycles / result.cycles)
    pieces = {p.name: p.energy_pj for p in result.parts} or dict(result.energy_by_einsum)
    for name, share in spent.pieces:
        if name in pieces:
            assert share == pytest.approx(pieces[name] / result.energy_pj)
    assert sum(s for _, s in spent.pieces) == pytest.approx(1)


@pytest.mark.parametrize(
    "kind", [*RESULT_KINDS, *some((f"compared {k}" for k in COMPARISON_KINDS), 2)]
)
def test_pictures_fit_a_column(result: Result, comparison: Comparison, kind: str) -> None:
    shown = comparison if kind.startswith("compared") else result
    if kind == "roofline" and result.parts:
        pytest.skip("takes long: test_plots draws the roofs of parts")
    figure = archsim.plot(shown, kind.removeprefix("compared "), width=3.3)
    assert figure.get_figwidth() == 3.3
    figure.draw_without_rendering()
    page = figure.bbox.padded(2)
    for axes in figure.axes:
        names = [t for t in axes.get_yticklabels() if t.get_text()]
        texts = [*axes.texts, axes.xaxis.label, axes.title, *names]
        boxes = [Text.get_window_extent(t) for t in texts if t.get_text()]
        assert all(page.count_contains(b.corners()) == 4 for b in boxes)
        beside = [t.get_window_extent() for t in names]
        assert not [1 for a, b in combinations(beside, 2) if a.overlaps(b)]
    for text in (*figure.texts, *(t for legend in figure.legends for t in legend.texts)):
        assert page.count_contains(text.get_window_extent().corners()) == 4


def test_what_is_no_picture_of_it_is_said(result: Result, comparison: Comparison) -> None:
    with pytest.raises(
        InputError, match=r"of a result there is no picture 'pareto'.*\n?.*waterfall"
    ):
        archsim.plot(result, "pareto")
    with pytest.raises(InputError, match=r"of a comparison there is no picture 'bar'.*\n?.*'bars'"):
        archsim.plot(comparison, "bar")
    with pytest.raises(InputError, match="'roofline' has no 'x'"):
        archsim.plot(result, "roofline", x="latency_s")
    with pytest.raises(InputError, match="cannot draw a dict"):
        archsim.plot({}, "bars")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no floor"):
        replace(result, floor=Floor()).plot_waterfall()


def test_a_folder_of_a_run_is_drawn(result: Result, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result.to_dict()), encoding="utf-8")
    run("plot", str(tmp_path), "capacity", "--out", str(tmp_path / "r.svg"))
    assert (tmp_path / "r.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "did you mean 'roofline'" in refused("plot", str(tmp_path), "rooflin")
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert "the field 'schema_version' is missing" in refused("plot", str(tmp_path), "roofline")
