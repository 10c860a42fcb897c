"""``map --plot``: how the best and the bound of a search met, as a picture."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest
from portions import left

from archsim import Architecture
from mappers.exact.policy import BRIEF
from mappers.problem.certificate import Moment
from mappers.problem.objectives import objective_called
from mappers.problem.search_log import SearchLog
from mappers.views.plots import objective_scale, plot_history
from mappers.workload_search import search_workload
from workloads import load


def test_moments_keep_what_is_better_than_before() -> None:
    seen = SearchLog()
    for runs, value, bound in ((0, inf, 2.0), (1, 9.0, 1.0), (2, 10.0, 1.5), (3, 8.0, 8.5)):
        seen.note(runs, value, bound)
    *moments, end = seen.end(4)
    told = [(m.runs, m.value, m.bound) for m in moments]
    assert told == [(0, inf, 2.0), (1, 9.0, 2.0), (3, 8.0, 8.0)]
    assert (end.runs, end.value, end.bound) == (4, 8.0, 8.0)
    assert end.seconds >= moments[-1].seconds
    assert Moment(1.0, 0, inf, 2.0).to_dict()["best"] is None


@pytest.mark.parametrize("objective", ["latency", left("energy")])
def test_curves_are_those_of_the_history(objective: str, tmp_path: Path) -> None:
    found = search_workload(
        load("bert-base", batch=1, H=1, seq_len=16, cascade="attention-naive"),
        Architecture.load("fusemax"),
        objective_called(objective),
        effort=BRIEF,
    )
    picture = plot_history(found)
    (axes,) = picture.axes
    history, (unit, _) = found.parts[0].found.history, objective_scale(found)
    best, bound, *_ = axes.get_lines()
    assert best.get_ydata() == pytest.approx([unit * m.value for m in history])
    assert [*bound.get_xdata()] == [m.seconds for m in history]
    assert bound.get_ydata()[-1] == pytest.approx(unit * history[-1].bound)
    assert axes.get_ylim()[0] < bound.get_ydata()[-1] <= best.get_ydata()[-1] < axes.get_ylim()[1]
    picture.write(tmp_path / "search.svg")
    assert (tmp_path / "search.svg").stat().st_size > 1000
