"""Pictures show the numbers of the result and leave nothing global behind."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from matplotlib.text import Text
from portions import left

from archsim import Architecture, Result, simulate
from archsim.result.figures import plot_energy, plot_time, plot_utilization
from archsim.result.roofline import plot_roofline
from workloads import load


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(load("bert-base", seq_len=1024), Architecture.load("fusemax"))


def widths(axes: object, row: int) -> list[float]:
    """Widths of the segments of one bar, in drawing order."""
    patches = axes.patches  # type: ignore[attr-defined]
    return [p.get_width() for p in patches if round(p.get_y() + p.get_height() / 2) == row]


def test_a_waterfall_has_one_full_bar_per_array(result: Result) -> None:
    (axes,) = plot_time(result).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [a.array for a in result.arrays]
    for row, use in enumerate(result.arrays):
        *busy, idle = widths(axes, row)
        cycles = [e.cycles for e in result.einsums if e.array == use.array]
        assert busy == pytest.approx([c / result.cycles for c in cycles])
        assert idle == pytest.approx(1 - sum(busy), abs=1e-12)


def test_energy_bars_are_shares_of_the_total(result: Result) -> None:
    (axes,) = plot_energy(result).axes
    for row, parts in enumerate((result.energy_by_component, result.energy_by_einsum)):
        assert widths(axes, row) == pytest.approx([pj / result.energy_pj for _, pj in parts])
        assert sum(widths(axes, row)) == pytest.approx(1)


def test_parts_have_a_bar_of_their_own() -> None:
    work = load("bert-base", scope="block", seq_len=1024)
    whole = simulate(work, Architecture.load("fusemax"))
    (axes,) = plot_time(whole).axes
    arrays = [a.array for a in whole.arrays]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["operators", *arrays]
    shares = [p.latency_s / whole.latency_s for p in whole.parts]
    assert widths(axes, 0) == pytest.approx(shares)
    for row, use in enumerate(whole.arrays, start=1):
        drawn = widths(axes, row)
        assert drawn[::2] == pytest.approx(shares)
        assert sum(drawn[1::2]) == pytest.approx(use.occupied_cycles / whole.cycles)
    (axes,) = plot_energy(whole).axes
    assert widths(axes, 1) == pytest.approx([p.energy_pj / whole.energy_pj for p in whole.parts])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["by component", "by operator"]


def colours(axes: object, along: str) -> list[tuple[float, ...]]:
    """Colours of the segments that have any (grey and white are waiting), in drawing order."""
    patches = axes.patches  # type: ignore[attr-defined]
    drawn = [p.get_facecolor() for p in patches if getattr(p, f"get_{along}")() > 0]
    return [c for c in drawn if len(set(c[:3])) > 1]


@pytest.mark.parametrize("scope", ["attention", "block"])
def test_an_einsum_or_part_has_one_colour_in_all_pictures(scope: str) -> None:
    work = load("bert-base", scope=scope, seq_len=1024)
    found = simulate(work, Architecture.load("fusemax"))
    (time,) = plot_time(found).axes
    (busy,) = plot_utilization(found).axes
    (joules,) = plot_energy(found).axes
    columns, rows = colours(busy, "height"), colours(time, "width")
    spent = colours(joules, "width")[len(found.energy_by_component) :]
    if found.parts:
        assert rows[: len(found.parts)] == spent
        assert set(columns) <= set(rows)
        assert columns[: len(found.parts)] == spent
    else:
        assert columns == rows
        by_name = dict(zip([n for n, _ in found.energy_by_einsum], spent, strict=True))
        order = [e.name for a in found.arrays for e in found.einsums if e.array == a.array]
        assert [by_name[name] for name in order] == rows
        assert len(set(rows)) == len(found.einsums)


def test_a_result_shows_itself_in_jupyter(result: Result) -> None:
    assert result.plot_time()._repr_png_().startswith(b"\x89PNG")
    assert "<td" in result._repr_html_()
    assert str(result.table()).startswith("bert-base on fusemax")


def test_every_einsum_is_named_in_its_bar_or_below_it(result: Result) -> None:
    (axes,) = plot_time(result).axes
    texts = [t.get_text() for t in axes.texts]
    below = [t for t in texts if t.startswith("narrow")]
    assert len(below) == len(result.arrays)
    for use in result.einsums:
        inside = any(t.startswith(f"{use.name}\n") for t in texts)
        assert inside != any(f"{use.name} " in t for t in below)


@pytest.mark.parametrize("model", ["bert-base", left("minimax-text-01"), "deepseek-v3"])
def test_parts_are_numbered_under_the_roofs(model: str) -> None:
    """Every number is at a point of its part and stands for it below; none covers another."""
    whole = simulate(load(model, scope="model"), Architecture.load("fusemax"))
    figure = plot_roofline(whole)
    figure.draw_without_rendering()
    key = dict(entry.split("\u00a0", 1) for entry in re.split(r"[ \n]+", figure.get_supxlabel()))
    slow = [p.name for p in whole.parts if p.latency_s >= 0.03 * whole.latency_s]
    expected = slow if len(whole.parts) > 10 else [p.name for p in whole.parts]
    assert list(key) == [str(n + 1) for n in range(len(expected))]
    assert [name.rstrip("\u00a0") for name in key.values()] == expected
    for panel in figure.axes:
        boxes = [Text.get_window_extent(t) for t in panel.texts]
        assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
        words = " ".join(t.get_text() for t in panel.texts).replace(",", " ").split()
        assert {w for w in words if w.isdigit()} == set(key)


def test_many_parts_are_named_where_there_is_room() -> None:
    """All inside the picture; none over another."""
    whole = simulate(load("deepseek-v3", scope="model"), Architecture.load("fusemax"))
    time = plot_time(whole)
    time.draw_without_rendering()
    (axes,) = time.axes
    edge = time.bbox.x1
    assert all(t.get_window_extent().x1 <= edge for t in axes.texts)
    assert any(t.get_text().endswith(" more") for t in axes.texts)
    roofs = plot_roofline(whole)
    roofs.draw_without_rendering()
    for panel in roofs.axes:
        boxes = [Text.get_window_extent(t) for t in panel.texts]
        assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
        assert "operators of less than 3 % of the time" in panel.get_xlabel()
    columns = plot_utilization(whole)
    columns.draw_without_rendering()
    (axes,) = columns.axes
    bars = [p.get_window_extent() for p in axes.patches]
    assert not any(t.get_window_extent().overlaps(b) for t in axes.texts for b in bars)
