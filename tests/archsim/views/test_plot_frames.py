"""Pictures of frames: they show the frame's numbers, fit their paper, and refuse what is wrong."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
import pytest
from commands import refused, run
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

import archsim
from archsim.dominance import undominated
from archsim.figure_style import ORDERED, Picture, caption, nested_size
from archsim.views.plot import FRAME_KINDS
from archsim.views.scales import scale_of
from einsum_cascade.errors import InputError

DRAWN = [kind for kind in FRAME_KINDS if kind != "parallel"]
MIB = 2**20


def made() -> pd.DataFrame:
    """A sweep as ``load_sweep`` gives it: two lengths, three machines, three sizes, two sides."""
    rows = []
    grid = product(["1K", "4K"], ["one", "other", "a-third-machine"], [1, 4, 16], [64, 128])
    for point, (length, machine, size, side) in enumerate(grid):
        work = {"1K": 1.0, "4K": 17.0}[length]
        pace = {"one": 1.0, "other": 2.5, "a-third-machine": 0.7}[machine]
        latency = 1e-3 * work * pace * (1 + 1 / size) * 64 / side
        rows.append(
            {
                "point": point, "seq_len": length, "architecture": machine, "buffer": size * MIB,
                "side": side, "workload": "w", "mapping": "m", "status": "ok", "message": "",
                "latency_s": latency, "floor_latency_s": 0.4 * latency, "cycles": latency * 1e9,
                "energy_pj": 1e9 * work * (3 / pace + size + side / 50),
                "area_um2": 1e8 * (size + side), "traffic_bytes.DRAM": 1e9 * work / size,
                "traffic_bytes.near": 5e9 * work, "utilization.array": 0.5 / pace,
                "buffer_bytes.near": size * MIB / 2, "bound_by": "DRAM" if size == 1 else "array",
            }
        )  # fmt: skip
    rows[5]["status"], rows[7]["status"] = "excluded", "refused"
    for column in ("latency_s", "energy_pj"):
        rows[7][column] = float("nan")
    frame = pd.DataFrame(rows)
    frame.attrs |= {
        "axes": ["seq_len", "architecture", "buffer", "side"],
        "work_axes": ["seq_len"],
        "units": {
            "buffer": "B", "latency_s": "s", "floor_latency_s": "s", "energy_pj": "pJ",
            "area_um2": "um^2", "traffic_bytes.DRAM": "B", "traffic_bytes.near": "B",
        },
    }  # fmt: skip
    return frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return made()


def ran(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["status"] == "ok"]


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_a_front_is_what_no_other_point_is_better_than(costs: list[tuple[int, int]]) -> None:
    found = undominated(costs, (0, 0))

    def beaten(a: tuple[int, int]) -> bool:
        return any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in costs)

    assert [costs[n] for n in found] == sorted({c for c in costs if not beaten(c)})


def test_fronts_are_of_one_work_and_one_colour(frame: pd.DataFrame) -> None:
    figure = archsim.plot(frame, "pareto")
    assert [a.get_title(loc="left") for a in figure.axes] == ["seq_len = 1K", "seq_len = 4K"]
    for axes, length in zip(figure.axes, ["1K", "4K"], strict=True):
        assert axes.get_xlabel() == "latency (ms)"
        steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        rows = ran(frame)[ran(frame)["seq_len"] == length]
        unit = {"1K": 1e9, "4K": 1e12 if "(J)" in axes.get_ylabel() else 1e9}[length]
        for line, (_, part) in zip(steps, rows.groupby("architecture", sort=False), strict=True):
            both = list(zip(part["latency_s"] * 1e3, part["energy_pj"] / unit, strict=True))
            best = sorted(p for p in both if not any(q < p and q[1] <= p[1] for q in both))
            assert [tuple(p) for p in line.get_xydata()] == [pytest.approx(p) for p in best]
    # Chosen points are numbered; the key tells their settings if it has space.
    key = figure.get_supxlabel().replace("\n", " ")
    assert key.startswith("1 least latency, 2 least energy, 3 least product; on a line: ")
    assert key.endswith("not drawn: 1 excluded and 1 refused")
    short = ran(frame)[ran(frame)["seq_len"] == "1K"]
    key = archsim.plot(short, "pareto").get_supxlabel()
    fastest = short.sort_values("latency_s").iloc[0]
    assert f"1 least latency: {1e6 * fastest['latency_s']:.0f} µs" in key
    assert "(a-third-machine, buffer 16 MiB, side 128)" in key


def leading(tick: float) -> int:
    """Return the first digit of a tick, with as many more as it has."""
    return int(f"{abs(tick):.6e}".partition("e")[0].replace(".", "").rstrip("0") or 0)


@pytest.mark.parametrize(("times", "scales"), [(1.04, 1), (9.0, 1), (30.0, 2)])
def test_panels_share_an_axis_of_energies_of_one_order(times: float, scales: int) -> None:
    energies = [93e12, 92e12, 91e12]
    energies += [times * e for e in energies]
    near = pd.DataFrame(
        {
            "machine": ["a", "b", "c"] * 2,
            "seq_len": ["1K"] * 3 + ["4K"] * 3,
            "latency_s": [1.0, 2.0, 3.0] * 2,
            "energy_pj": energies,
            "energy_pj.DRAM": energies,
        }
    )
    near.attrs.update(axes=["machine", "seq_len"], units={"energy_pj": "pJ"})
    for kind, x, side in (("pareto", None, "y"), ("breakdown", "machine", "x")):
        how = {"y": "energy_pj"} if kind == "breakdown" else {"colour": "machine"}
        figure = archsim.plot(near, kind, x=x, facet="seq_len", **how)
        limits = {getattr(axes, f"get_{side}lim")() for axes in figure.axes}
        assert len(limits) == scales
        assert {low for low, _ in limits} == {0}
        labels = [getattr(axes, f"get_{side}label")() for axes in figure.axes]
        assert all(labels) or scales == 1


def test_points_that_coincide_have_no_labels_without_a_legend() -> None:
    near = pd.DataFrame({"latency_s": [1.0, 1.001, 3.0], "energy_pj": [2.001, 2.0, 1.0]})
    figure = archsim.plot(near, "pareto")
    figure.draw_without_rendering()
    assert [note.get_text() for note in figure.axes[0].texts] == ["1, 3", "2"]


@pytest.mark.parametrize(("wide", "ticks"), [(3.0, 2), (9.0, 7)])
def test_round_ticks_of_a_logarithmic_axis_do_not_touch(wide: float, ticks: int) -> None:
    figure = Picture(figsize=(wide, 2), layout="constrained")
    axes = figure.subplots()
    axes.plot([1e3, 1e6], [1, 2])
    axes.set_xscale("log")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert len(boxes) >= ticks
    assert not [1 for a, b in pairwise(boxes) if a.overlaps(b)]


@pytest.mark.parametrize("kinds", [2, 5, 14])
def test_nested_markers_differ_in_size(kinds: int) -> None:
    sizes = [nested_size(at, kinds) for at in range(kinds)]
    assert sizes == sorted(set(sizes), reverse=True)


def test_large_round_numbers_are_written_out() -> None:
    figure = Picture()
    axes = figure.subplots()
    axes.plot([1, 2], [1e3, 2e6])
    axes.set_yscale("log")
    figure.draw_without_rendering()
    assert [t.get_text() for t in axes.get_yticklabels()][-1] == "1,000,000"


@pytest.mark.parametrize("log", [False, True])
def test_ticks_are_at_one_two_and_five(*, log: bool) -> None:
    for high in (3.1, 4.4, 26, 77, 830):
        figure = Picture()
        axes = figure.subplots()
        axes.set(xlim=(1, high), ylim=(1, high), xscale="log" if log else "linear")
        figure.draw_without_rendering()
        steps = axes.get_xticks() if log else [b - a for a, b in pairwise(axes.get_xticks())]
        assert {leading(t) for t in steps} <= {1, 2, 5}
        assert len(axes.get_xticks()) > 1


def test_points_at_one_place_all_show() -> None:
    same = pd.DataFrame({"machine": ["a", "b"], "latency_s": [1.0] * 2, "energy_pj": [2.0] * 2})
    (axes,) = archsim.plot(same, "pareto", colour="machine").axes
    sizes = [line.get_markersize() for line in axes.lines if line.get_marker() in {"o", "s"}]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 2


@pytest.mark.parametrize("width", [3.3, 7])
def test_captions_have_three_lines_at_most(width: float) -> None:
    figure = Picture(figsize=(width, 2))
    caption(figure, ["a long note about something"] * 40, ["a shorter note"] * 40)
    lines = figure.get_supxlabel().split("\n")
    assert len(lines) == 3
    assert lines[-1].endswith("...")


def test_lines_and_bars_take_the_best_of_what_is_not_drawn(frame: pd.DataFrame) -> None:
    figure = archsim.plot(frame, "lines", x="buffer", colour="architecture")
    for axes, length in zip(figure.axes, ["1K", "4K"], strict=True):
        rows = ran(frame)[ran(frame)["seq_len"] == length]
        for line, (_, part) in zip(
            axes.lines, rows.groupby("architecture", sort=False), strict=True
        ):
            least = part.groupby("buffer")["latency_s"].min()
            assert list(line.get_xdata()) == [size / MIB for size in least.index]
            assert list(line.get_ydata()) == pytest.approx([1e3 * t for t in least])
    assert "best latency over side" in figure.get_supxlabel()
    (axes,) = archsim.plot(frame, "bars", baseline="other").axes
    least = ran(frame).groupby(["seq_len", "architecture"], sort=False)["latency_s"].min()
    expected = [least[n, m] / least[n, "other"] for n in ("1K", "4K") for m in MACHINES]
    assert [p.get_height() for p in axes.patches] == pytest.approx(expected)


MACHINES = ("one", "other", "a-third-machine")


def large() -> pd.DataFrame:
    """A sweep whose fastest machine is too small, as are the others with one side at 4K."""
    frame = made()
    too_large = (frame["seq_len"] == "4K") & (frame["side"] == 128)
    return frame.assign(fits=~(too_large | (frame["architecture"] == "a-third-machine")))


def test_no_point_that_does_not_fit_is_on_a_front() -> None:
    frame = large()
    figure = archsim.plot(frame, "pareto", colour="architecture")
    assert [t.get_text() for t in figure.legends[0].texts][-1] == "does not fit the memory"
    for axes, length in zip(figure.axes, ["1K", "4K"], strict=True):
        rows = ran(frame)[ran(frame)["seq_len"] == length]
        good, bad = ({round(1e6 * t) for t in rows[rows["fits"] == f]["latency_s"]} for f in (1, 0))
        crosses, steps = (
            {round(1e3 * x) for line in axes.lines if of(line) for x in line.get_xdata()}
            for of in (
                lambda line: line.get_marker() == "x",
                lambda line: "steps" in line.get_drawstyle(),
            )
        )
        assert (crosses, crosses & steps) == (bad, bad & good)
        assert {round(1e3 * note.xy[0]) for note in axes.texts} <= steps <= good


def test_a_front_of_nothing_that_fits_is_empty() -> None:
    frame = made().assign(fits=False)
    (axes, *_) = archsim.plot(frame, "pareto").axes
    assert {line.get_marker() for line in axes.lines} == {"x"}
    assert not axes.texts


def test_cells_that_do_not_fit_are_hatched_and_rows_that_fit_preferred() -> None:
    frame = large()
    figure = archsim.plot(frame, "heatmap", x="buffer", y="side", facet="seq_len")
    assert [t.get_text() for t in figure.legends[0].texts] == ["does not fit the memory"]
    hatched = [{p.get_xy() for p in axes.patches if p.get_hatch()} for axes in figure.axes[:2]]
    assert hatched == [set(), {(x - 0.5, 0.5) for x in range(3)}]
    assert "3 of 12 shown do not fit the memory" in figure.get_supxlabel()
    (axes,) = archsim.plot(frame[frame["seq_len"] == "1K"], "lines", x="side", colour="buffer").axes
    rows = ran(frame)[(ran(frame)["seq_len"] == "1K") & ran(frame)["fits"]]
    least = [1e3 * t for t in rows.groupby(["buffer", "side"])["latency_s"].min()]
    assert [y for line in axes.lines for y in line.get_ydata()] == pytest.approx(least)


def test_whether_rows_fit_is_no_setting(tmp_path: Path) -> None:
    alone = tmp_path / "alone.csv"
    large().to_csv(alone, index=False)
    figure = archsim.plot(alone, "lines", x="buffer", colour="architecture", facet="seq_len")
    assert figure.get_supxlabel().replace("\n", " ").endswith("; best latency over side")


def test_pictures_of_rows_that_fit_speak_of_no_memory(frame: pd.DataFrame) -> None:
    figure = archsim.plot(frame.assign(fits=True), "heatmap")
    assert not figure.legends
    assert "memory" not in figure.get_supxlabel()


def test_a_map_has_a_cell_for_each_pair_of_settings(frame: pd.DataFrame) -> None:
    figure = archsim.plot(frame, "heatmap", facet="seq_len", colour="bound_by")
    assert [a.get_xlabel() for a in figure.axes] == ["buffer (MiB)", "buffer (MiB)"]
    for axes, length in zip(figure.axes, ["1K", "4K"], strict=True):
        rows = ran(frame)[ran(frame)["seq_len"] == length]
        cells = axes.collections[0].get_array()
        assert cells[..., 3].sum() == len(rows.groupby(["buffer", "side"]))
        # DRAM bounds where the buffer is smallest: its column has a colour of its own.
        first, others = cells[:, 0], cells[:, 1:].reshape(-1, 4)
        colours = [{tuple(c) for c in part if c[3]} for part in (first, others)]
        assert [len(found) for found in colours] == [1, 1]
        assert colours[0] != colours[1]


@pytest.mark.parametrize(("values", "ticks"), [(7, 7), (10, 10), (30, 15)])
@pytest.mark.parametrize("width", [3.3, 7.0])
@pytest.mark.parametrize("name", ["{} GB/s", "a-long-name-{}"])
def test_a_map_of_ten_values_has_a_tick_for_each(
    values: int, ticks: int, width: float, name: str
) -> None:
    cells = list(product(range(1, values + 1), ("low", "high"), ("1K", "4K")))
    own = pd.DataFrame(cells, columns=["x", "y", "seq_len"])
    own["cost"] = own["x"] * 100.0
    own["x"] = own["x"].map(name.format)
    figure = archsim.plot(own, "heatmap", x="x", y="y", facet="seq_len", width=width)
    figure.draw_without_rendering()
    labels = [[t for t in axes.get_xticklabels() if t.get_text()] for axes in figure.axes]
    shown = max(labels, key=len)
    assert len(shown) == values if values <= 10 else len(shown) <= ticks
    # Turned texts may have boxes that overlap: the distance of their baselines decides.
    boxes = [t.get_window_extent() for t in shown]
    if shown[0].get_rotation() != 30:
        assert not [1 for a, b in pairwise(boxes) if a.overlaps(b)]
    edge = figure.bbox.padded(1)
    assert all(edge.count_contains(box.corners()) == 4 for box in boxes)


def test_pieces_add_up(frame: pd.DataFrame) -> None:
    figure = archsim.plot(frame, "breakdown")
    for axes, length in zip(figure.axes, ["1K", "4K"], strict=True):
        factor = {"latency (ms)": 1e3, "latency (µs)": 1e6}[axes.get_xlabel()]
        rows = ran(frame)[ran(frame)["seq_len"] == length]
        least = rows.groupby("architecture", sort=False)["latency_s"].min()
        widths = [p.get_width() / factor for p in axes.patches]
        assert widths[::2] == pytest.approx([0.4 * t for t in least])
        assert [sum(pair) for pair in zip(widths[::2], widths[1::2], strict=True)] == (
            pytest.approx(list(least))
        )


@pytest.mark.parametrize(("quantity", "shared"), [("energy_pj", True), ("traffic_bytes", False)])
def test_stacks_of_energy_alone_have_one_axis(
    frame: pd.DataFrame, quantity: str, *, shared: bool
) -> None:
    own = frame.copy()
    own["energy_pj.near"] = own["energy_pj"] * own["seq_len"].map({"1K": 5, "4K": 1})
    ends = {axes.get_xlim() for axes in archsim.plot(own, "breakdown", y=quantity).axes}
    assert len(ends) == (1 if shared else 2)
    assert {low for low, _ in ends} == {0}


def test_energy_is_drawn_by_component(frame: pd.DataFrame) -> None:
    parts = frame[["seq_len", "latency_s", "status"]].iloc[:2].copy()
    parts["energy_pj.near"], parts["energy_pj.array"] = [3e9, 6e9], [1e9, 4e9]
    axes = archsim.plot(parts, "breakdown", x="latency_s", y="energy_pj").axes[0]
    assert axes.get_xlabel() == "energy (mJ)"
    assert sorted(p.get_width() for p in axes.patches) == pytest.approx([1, 3, 4, 6])


@pytest.mark.parametrize(
    ("kind", "width"), [*((kind, 3.3) for kind in DRAWN), ("pareto", 7.0), ("heatmap", 7.0)]
)
def test_nothing_is_clipped_and_no_ticks_touch(
    frame: pd.DataFrame, kind: str, width: float
) -> None:
    figure = archsim.plot(frame, kind, width=width)
    assert figure.get_figwidth() == width
    figure.draw_without_rendering()
    edge = figure.bbox.padded(1)
    for axes in figure.axes:
        for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            labels = [t for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
            boxes = [t.get_window_extent() for t in labels if t.get_rotation() == 0]
            boxes = [
                b
                for b in boxes
                if b.width and axes.bbox.padded(3).count_contains(_middle(b, axes, side))
            ]
            assert all(edge.count_contains(b.corners()) == 4 for b in boxes)
            assert not [1 for a, b in pairwise(boxes) if a.overlaps(b)]
        title = axes.xaxis.label.get_window_extent()
        assert edge.count_contains(title.corners()) == 4
    for text in [*figure.texts, *(t for legend in figure.legends for t in legend.texts)]:
        assert edge.count_contains(text.get_window_extent().corners()) == 4


def _middle(box: Any, axes: Any, side: str) -> list[tuple[float, float]]:
    """The place on the axis that a label is of: those beyond its ends are not drawn."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return [(x, axes.bbox.y0) if side == "x" else (axes.bbox.x0, y)]


def test_points_side_by_side_are_an_html_page(frame: pd.DataFrame, tmp_path: Path) -> None:
    figure = archsim.plot(frame, "parallel", out=tmp_path / "p.html")
    upright = {d.label: list(d.values) for d in figure.data[0].dimensions}
    assert list(upright)[:4] == ["seq_len", "architecture", "buffer", "side"]
    assert upright["latency (ms)"] == pytest.approx([1e3 * t for t in ran(frame)["latency_s"]])
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script src=" not in page


def test_a_frame_of_ones_own_needs_no_units() -> None:
    own = pd.DataFrame(
        {"size": [1, 2, 4] * 2, "who": ["a"] * 3 + ["b"] * 3, "cost": [3.5, 2, 1, 9, 8, 7]}
    )
    figure = archsim.plot(own, "lines")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("size", "cost")
    assert [list(line.get_ydata()) for line in axes.lines] == [[3.5, 2, 1], [9, 8, 7]]
    assert [t.get_text() for t in figure.legends[0].texts] == ["a", "b"]


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    odd = ["$x^{$", "a\x1b[31m", "<b>&"]
    own = pd.DataFrame({"who": odd * 2, "size": [1] * 3 + [2] * 3, "cost": [3.0, 2, 1, 9, 8, 7]})
    figure = archsim.plot(own, "lines", colour="who", out=tmp_path / "p.svg")
    texts = [t.get_text() for t in figure.legends[0].texts]
    assert texts == [r"\$x^{\$", "a\\x1b[31m", "<b>&"]
    ElementTree.parse(tmp_path / "p.svg")
    for kind in ("bars", "heatmap", "pareto"):
        how = {"y": "size"} if kind == "pareto" else {}
        archsim.plot(own, kind, out=tmp_path / "p.svg", **how)
        ElementTree.parse(tmp_path / "p.svg")


@pytest.mark.parametrize(
    ("numbers", "unit", "expected"),
    [
        ([0.002, 0.004], "s", ("ms", 1e-3, False)),
        ([2e-6, 3e-2], "s", ("µs", 1e-6, True)),
        ([5e9], "pJ", ("mJ", 1e9, False)),
        ([3 * MIB], "B", ("MiB", MIB, False)),
        ([4e8], "um^2", ("mm²", 1e6, False)),
        ([0.3, 0.9], "1", ("%", 0.01, False)),
        ([940e6], "Hz", ("MHz", 1e6, False)),
        ([651.7, 1369.0], "W", ("kW", 1e3, False)),
        ([0.0, 50.0], None, ("", 1.0, False)),
    ],
)  # fmt: skip
def test_units_have_the_prefix_that_is_read(
    numbers: list[float], unit: str | None, expected: tuple[str, float, bool]
) -> None:
    scale = scale_of(numbers, unit)
    assert (scale.unit, scale.log) == (expected[0], expected[2])
    assert scale.factor == pytest.approx(expected[1])


@pytest.mark.parametrize(
    ("kind", "how", "message"),
    [
        ("pareti", {}, "no picture 'pareti'.*did you mean 'pareto'"),
        ("pareto", {"x": "latency"}, "x: there is no column 'latency'.*latency_s"),
        ("pareto", {"x": "bound_by"}, "'bound_by' holds no numbers"),
        ("lines", {"facet": "latency_s"}, "facet: 'latency_s' has 34 values"),
        ("lines", {"baseline": "one"}, "has no 'baseline'"),
        ("bars", {"baseline": "ones"}, "architecture 'ones'.*'one'"),
        ("breakdown", {"y": "energy_pj"}, "not made of pieces"),
        ("heatmap", {"x": "side", "y": "side"}, "cannot stand across and up"),
        ("lines", {"width": 0.1}, "from 2 to 40 inches"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(
    frame: pd.DataFrame, kind: str, how: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        archsim.plot(frame, kind, **how)


def test_holes_are_told_or_refused() -> None:
    own = pd.DataFrame({"who": ["a", None, "b"], "size": [1, 2, 2], "cost": [3.0, 2.0, 1.0]})
    assert "1 without a setting" in archsim.plot(own, "bars").get_supxlabel()
    own.loc[0, "cost"] = float("inf")
    for kind in ("bars", "heatmap", "lines"):
        with pytest.raises(InputError, match="no finite number in 1 of 2 rows"):
            archsim.plot(own, kind, colour="cost" if kind == "heatmap" else None)


def test_a_large_map_is_an_image() -> None:
    cells = [(x, y) for x in range(40) for y in range(20)]
    own = pd.DataFrame({"x": [c[0] for c in cells], "y": [c[1] for c in cells]})
    own["cost"] = own["x"] * 100.0 + own["y"]
    axes, _ = archsim.plot(own, "heatmap", x="x", y="y", colour="cost").axes
    (mesh,) = axes.collections
    assert mesh.get_rasterized()
    shades = mesh.get_array()
    assert shades.shape[:2] == (20, 40)
    ramp = mpl.colormaps[ORDERED]
    for place, share in (((0, 0), 0.0), ((19, 39), 1.0), ((0, 20), 2000 / 3919)):
        assert list(shades[place]) == pytest.approx(ramp(share), abs=0.01)


def test_frames_without_rows_or_moving_settings_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="the frame has no rows"):
        archsim.plot(frame.head(0))
    with pytest.raises(InputError, match="of 1 points none is ok"):
        archsim.plot(frame.iloc[[5]])
    with pytest.raises(InputError, match="two settings of two values"):
        archsim.plot(frame.iloc[[0, 1]], "heatmap")
    with pytest.raises(InputError, match="no setting has two values"):
        archsim.plot(frame.head(1), "lines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("swept")
    what = {"workload": "bert-base", "architecture": "fusemax", "mapping": "fusemax-binding"}
    axes = {"seq_len": [256, 512], "architecture.clock": ["470 MHz", "940 MHz"]}
    archsim.sweep({"name": "s", **what, "axes": axes}, found, workers=1)
    return found


def test_a_folder_is_drawn(folder: Path, tmp_path: Path) -> None:
    done = run("plot", str(folder), "lines")
    assert done.stderr == f"wrote {folder / 'lines.png'}\n"
    assert (folder / "lines.png").read_bytes().startswith(b"\x89PNG")
    for suffix, begins in ((".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"p{suffix}"
        run("plot", str(folder / "results.csv"), "bars", "--out", str(path), "--width", "3.3")
        assert path.read_bytes().startswith(begins)
    frame = archsim.load_sweep(folder)
    assert (frame.attrs["axes"], frame.attrs["work_axes"]) == (
        ["seq_len", "architecture.clock"],
        ["seq_len"],
    )
    # A table alone says nothing of its units: those of results are known.
    alone = tmp_path / "alone.csv"
    alone.write_text((folder / "results.csv").read_text(encoding="utf-8"), encoding="utf-8")
    for source in (folder, alone):
        (axes, *_) = archsim.plot(source, "pareto").axes
        assert (axes.get_xlabel(), axes.get_ylabel()[:8]) == ("latency (µs)", "energy (")


def test_machines_are_drawn_by_their_names(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file, name in zip(files, ("small", "large"), strict=True):
        file.write_text(f"architecture: {{extends: fusemax, name: {name}}}\n", encoding="utf-8")
    what = {"workload": "bert-base", "mapping": "fusemax-binding"}
    given = [*map(str, files), "fusemax"]
    grid = {"architecture": given, "seq_len": [256, 512]}
    frame = archsim.sweep({"name": "s", **what, "axes": grid}, workers=1)
    assert frame["architecture"].tolist()[::2] == given
    figure = archsim.plot(frame, "pareto", facet="seq_len", width=20)
    names = ["small", "large", "fusemax"]
    assert [t.get_text() for t in figure.legends[0].texts] == names
    assert f"small: {files[0]}; large: {files[1]}" in figure.get_supxlabel().replace("\n", " ")
    for kind, how in (("heatmap", {"x": "architecture", "y": "seq_len"}), ("bars", {})):
        (axes, *_) = archsim.plot(frame, kind, **({"x": "architecture"} | how)).axes
        assert [t.get_text() for t in axes.get_xticklabels()] == names
    figure = archsim.plot(frame, "bars", colour="architecture", baseline=given[1])
    assert [t.get_text() for t in figure.legends[0].texts][1] == "large (baseline)"
    files[1].write_text("architecture: {extends: fusemax, name: small}\n", encoding="utf-8")
    alike = archsim.sweep(
        {"name": "s", **what, "axes": grid | {"architecture": given[:2]}}, workers=1
    )
    legend = archsim.plot(alike, "pareto").legends[0]
    assert [t.get_text() for t in legend.texts] == [str(f) for f in files]


def test_the_command_refuses_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text('a,b\n"1,2\n', encoding="utf-8")
    (tmp_path / "empty.csv").touch()
    for arguments, message in (
        ((folder, "pareto", "--x", "latency"), "did you mean 'latency_s'"),
        ((folder, "line"), "did you mean 'lines'"),
        ((folder, "lines", "--out", tmp_path / "p.gif"), "expected .png, .svg, .pdf"),
        ((folder, "parallel", "--out", tmp_path / "p.png"), "expected .html"),
        ((folder, "lines", "--out", tmp_path / "nowhere" / "p.png"), "is not there"),
        ((folder, "lines", "--out", "/proc/p.png"), "cannot write /proc/p.png"),
        ((tmp_path, "lines"), "holds nothing to draw"),
        ((tmp_path / "none", "lines"), "there is no folder and no file"),
        ((tmp_path / "broken.csv", "lines"), "cannot read"),
        ((tmp_path / "empty.csv", "lines"), "cannot read"),
    ):
        told = refused("plot", *map(str, arguments))
        assert message in told
        assert "Traceback" not in told


@pytest.mark.parametrize(("kind", "known"), [("pareto", ".png"), ("parallel", ".html")])
def test_a_wrong_suffix_is_refused_by_the_name_that_was_given(
    tmp_path: Path, kind: str, known: str
) -> None:
    if kind == "parallel":
        pytest.importorskip("plotly")
    file = tmp_path / "front.txt"
    with pytest.raises(InputError) as wrong:
        archsim.plot(made(), kind, out=file)
    text = f"cannot write a picture as {file}: the name ends in '.txt', expected {known}"
    assert wrong.value.problems[0].message.startswith(text)
