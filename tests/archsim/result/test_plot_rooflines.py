"""Rooflines and utilization: numbers by hand, names that do not cover one another."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from portions import left

from archsim import Architecture, Result, simulate
from archsim.result.figures import plot_utilization, separate_labels
from archsim.result.record import MemoryRoof, Roofs
from archsim.result.roofline import plot_roofline, spots
from einsum_cascade.errors import InputError
from workloads import load

PEAK_2D, PEAK_1D = 256 * 256 * 940e6, 256 * 940e6
DRAM = 400 * 2**30
SYSTOLIC = ("arrays.array_2d.operands=systolic", "arrays.array_2d.overlap=false")


def run(machine: str = "fusemax", *settings: str, **shape: int | str) -> Result:
    return simulate(load("bert-base", **shape), Architecture.load(machine, settings))


CASES = {
    "4K": lambda: run(),
    "1M": lambda: run(seq_len="1M"),
    "linear": lambda: run(cascade="linear-attention", seq_len=1024),
    "unlimited": lambda: run("fusemax-micro24"),
    "systolic": lambda: run("fusemax", *SYSTOLIC, cascade="attention-3pass"),
}


LONG = ("4K", "linear")
"""Cases of which the others have all that is drawn: one machine, no mask, one roof a memory."""


@pytest.fixture(
    scope="module", params=[left(case) if case in LONG else case for case in sorted(CASES)]
)
def result(request: pytest.FixtureRequest) -> Result:
    made: Result = CASES[request.param]()
    return made


@pytest.fixture(scope="module")
def rooflines(result: Result) -> Figure:
    return drawn(plot_roofline(result))


@pytest.fixture(scope="module")
def columns(result: Result) -> Figure:
    return drawn(plot_utilization(result))


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


# ------------------------------------------------------------------------------- roofline


def test_roofs_by_hand() -> None:
    found = run().roofs
    assert [(r.array, r.peak_ops_per_s, r.untimed) for r in found.arrays] == [
        ("array_2d", PEAK_2D, ()),
        ("array_1d", PEAK_1D, ()),
    ]
    assert found.memories == (
        MemoryRoof(level="DRAM", bytes_per_s=DRAM),
        MemoryRoof(level="global_buffer", bytes_per_s=8e12),
    )
    assert run("fusemax-micro24").roofs.memories[1].bytes_per_s is None


def test_points_by_hand() -> None:
    """Scores: E macs for every query and key; Q comes once, K once per pass over keys."""
    found = run(seq_len=4096)
    points = {s.name: s for s in spots(found, found.roofs.memories[0])}
    heads, macs = 64 * 12, 64 * 12 * 4096 * 4096 * 64
    score = points["BQK"]
    assert score.intensity == macs / (2 * heads * 4096 * (64 + 64))
    assert score.ops_per_s == pytest.approx(PEAK_2D)
    # The last division moves two bytes a quotient: the memory is slower than the array.
    assert points["AV"].intensity == 0.5
    assert points["AV"].ops_per_s == pytest.approx(0.5 * DRAM)
    whole = points["run (array_1d)"]
    ops = sum(n for e in found.einsums if e.array == "array_1d" for _, n in e.operations)
    assert whole.ops_per_s == ops / found.latency_s
    assert whole.intensity == ops / found.traffic_bytes


def test_no_point_is_above_a_roof(result: Result) -> None:
    peaks = {r.array: r.peak_ops_per_s for r in result.roofs.arrays}
    for memory in result.roofs.memories:
        for spot in spots(result, memory):
            assert spot.ops_per_s <= peaks[spot.array] * (1 + 1e-9)
            if memory.bytes_per_s is not None:
                assert spot.ops_per_s <= spot.intensity * memory.bytes_per_s * (1 + 1e-9)


def test_operations_that_take_no_cycles_have_no_roof() -> None:
    free = "arrays.array_1d.operations.exp.cycles=0"
    found = run("fusemax", free)
    (_, roof) = found.roofs.arrays
    assert roof.untimed == ("exp",)
    assert roof.peak_ops_per_s == PEAK_1D
    level = found.roofs.memories[1]
    (point,) = (s for s in spots(found, level) if s.name == "PRM")
    assert point.ops_per_s <= PEAK_1D * (1 + 1e-9)


def test_a_panel_per_memory_and_all_einsums_named(result: Result, rooflines: Figure) -> None:
    figure = rooflines
    assert len(figure.axes) == len(result.roofs.memories)
    for axes, memory in zip(figure.axes, result.roofs.memories, strict=True):
        assert axes.get_title(loc="left").startswith(f"{memory.level}: ")
        texts = " ".join([*(t.get_text() for t in axes.texts), axes.get_xlabel()])
        for e in result.einsums:
            assert e.name in texts.replace(",", " ").split()
        for unit in ("(op/B)", "(op/s)"):
            assert unit in axes.get_xlabel() + axes.get_ylabel()


def test_names_of_points_do_not_cover_one_another(rooflines: Figure) -> None:
    for axes in rooflines.axes:
        # Of the words alone: an annotation's own extent has its line in it.
        boxes = [Text.get_window_extent(t) for t in axes.texts]
        texts = [t.get_text() for t in axes.texts]
        for (a, one), (b, other) in itertools.combinations(zip(texts, boxes, strict=True), 2):
            assert not one.fully_overlaps(other), (a, b)


def test_a_result_without_roofs_is_refused() -> None:
    with pytest.raises(InputError, match="does not say what its machine can do"):
        plot_roofline(replace(run(), roofs=Roofs()))


def test_roofs_round_trip_through_json(result: Result) -> None:
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert Result.from_dict(json.loads(text)) == result


# ---------------------------------------------------------------------------- utilization


def test_columns_are_useful_work_and_add_up(result: Result, columns: Figure) -> None:
    (axes,) = columns.axes
    for at, use in enumerate(result.arrays):
        heights = [p.get_height() for p in axes.patches if p.get_x() + p.get_width() / 2 == at]
        *work, idle, waiting = heights
        here = [e.utilization for e in result.einsums if e.array == use.array]
        assert work == pytest.approx(here)
        assert sum(work) == pytest.approx(use.utilization)
        taken = use.occupied_cycles / result.cycles
        assert (idle, waiting) == pytest.approx((taken - sum(work), 1 - taken), abs=1e-9)
        assert sum(heights) == pytest.approx(1)


def test_names_of_parts_do_not_cover_one_another(result: Result, columns: Figure) -> None:
    (axes,) = columns.axes
    boxes = [t.get_window_extent() for t in axes.texts]
    assert len(boxes) >= len([e for e in result.einsums if e.utilization >= 0.0005])
    for one, other in itertools.combinations(boxes, 2):
        assert not one.fully_overlaps(other)


@given(places=st.lists(st.floats(0, 1), max_size=12).map(sorted), gap=st.floats(0.001, 0.08))
def test_spread_keeps_order_distance_and_bounds(places: list[float], gap: float) -> None:
    found = separate_labels(places, gap)
    assert len(found) == len(places)
    assert all(b - a >= gap * (1 - 1e-6) for a, b in itertools.pairwise(found))
    assert all(gap / 2 - 1e-9 <= y <= 1 - gap / 2 + 1e-9 for y in found)


def test_spread_leaves_what_is_apart_where_it_is() -> None:
    assert separate_labels([0.2, 0.5, 0.9], 0.1) == [0.2, 0.5, 0.9]
    assert separate_labels([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


@pytest.mark.parametrize("draw", [plot_roofline, plot_utilization])
def test_pictures_show_themselves(draw: object) -> None:
    assert draw(run())._repr_png_().startswith(b"\x89PNG")  # type: ignore[operator]
