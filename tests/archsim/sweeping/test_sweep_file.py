"""What a sweep file says, and what is answered to one that is wrong."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from commands import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from portions import examples

from archsim.sweeping.file import read_sweep, sweep_of
from archsim.sweeping.spec import measured, point_at, shuffled
from einsum_cascade.errors import SpecError
from einsum_cascade.source import Source

HEAD = "sweep:\n  name: s\n  workload: bert-base\n  architecture: fusemax\n"


def axes(**given: Any) -> dict[str, list[Any]]:
    made = sweep_of(
        {"name": "s", "workload": "bert-base", "architecture": "fusemax", "axes": given}
    )
    return {axis.name: [v.shown for v in axis.values] for axis in made.axes}


def test_written_values_stay_as_they_are_written_and_generated_ones_are_plain_numbers() -> None:
    found = axes(
        seq_len=["1K", 4096],
        buffer={
            "field": "architecture.x",
            "from": "1 MiB",
            "to": "64 MiB",
            "steps": 7,
            "scale": "log",
        },
        bandwidth={"field": "architecture.y", "from": "1 GB/s", "to": "3 GB/s", "steps": 3},
        clock={"field": "architecture.z", "from": "1 MHz", "to": "4 MHz", "steps": 2},
        batch={"from": 1, "to": "1K", "steps": 11, "scale": "log"},
        P={"from": 4, "to": 1, "steps": 4},
        share={"field": "technology.a", "from": 0.5, "to": 1, "steps": 3},
    )
    assert found == {
        "seq_len": ["1K", 4096],
        "buffer": [2**20 * 2**k for k in range(7)],
        "bandwidth": [1_000_000_000, 2_000_000_000, 3_000_000_000],
        "clock": [1_000_000, 4_000_000],
        "batch": [2**k for k in range(11)],
        "P": [4, 3, 2, 1],
        "share": [0.5, 0.75, 1.0],
    }
    assert {type(v) for v in (*found["buffer"], *found["bandwidth"], *found["P"])} == {int}


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.integers(2, 40),
    st.sampled_from(["linear", "log"]),
)
@settings(max_examples=examples(40), deadline=None)
def test_generated_values_hold_both_ends_and_rise_by_even_steps(
    first: int, last: int, steps: int, scale: str
) -> None:
    fields = {"field": "architecture.x", "from": f"{first} B", "to": f"{last} B"}
    near = abs(last - first) < 3 * steps * max(first, last) / min(first, last)
    if first == last or near:
        return  # whole numbers may repeat there: the table of what is wrong has such axes
    (found,) = axes(a=fields | {"steps": steps, "scale": scale}).values()
    assert (found[0], found[-1], len(found)) == (first, last, steps)
    for k, value in enumerate(found):
        exact = Fraction(k, steps - 1)
        if scale == "linear":
            assert abs(value - (first + (last - first) * exact)) <= Fraction(1, 2)
        else:
            assert value == pytest.approx(
                first ** float(1 - exact) * last ** float(exact), abs=0.51
            )


def test_points_go_through_the_grid_with_the_last_axis_fastest() -> None:
    made = sweep_of(
        {"name": "s", "workload": "w", "architecture": "a", "axes": {"x": [1, 2], "y": [1, 2, 3]}}
    )
    places = [point_at(made, n).places for n in range(made.total)]
    assert places == [(x, y) for x in range(2) for y in range(3)]


@given(st.integers(1, 500), st.integers(0, 10**6))
@settings(max_examples=examples(30), deadline=None)
def test_shuffled_numbers_are_the_numbers(total: int, seed: int) -> None:
    found = [shuffled(n, total, seed) for n in range(total)]
    assert sorted(found) == list(range(total))
    assert total < 20 or found != sorted(found)


def test_random_points_are_of_the_whole_grid_and_each_seed_has_its_own() -> None:
    grid = {
        "name": "s",
        "workload": "w",
        "architecture": "a",
        "axes": {"x": list(range(50)), "y": list(range(40))},
    }

    def drawn(seed: int) -> list[tuple[int, ...]]:
        made = sweep_of(grid | {"points": {"random": 300, "seed": seed}})
        return [point_at(made, n).places for n in range(made.total)]

    one = drawn(1)
    assert len(set(one)) == 300
    assert one == drawn(1) != drawn(2)
    means = [sum(p[k] for p in one) / 300 for k in range(2)]
    assert means == pytest.approx([24.5, 19.5], abs=4)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("4K", 4096),
        (3, 3),
        ("1.5", Fraction(3, 2)),
        ("2 MiB", 2**21),
        ("16 bit", 16),
        ("400 GiB/s", 400 * 2**30),
        ("1500 mm^2", 1500 * 10**6),
        ("10 ms", Fraction(1, 100)),
        ("fusemax", None),
        (True, None),
        (None, None),
    ],
)
def test_written_quantities(written: Any, number: Any) -> None:
    found = measured(written)
    assert (None if found is None else found.number) == number


WRONG = {
    "axes: {seq_len: [1K, 1024]}": (5, "seq_len: the number 1024 stands twice"),
    "axes: {seq_len: []}": (5, "seq_len: expected at least one value"),
    "axes: {seq_len: 4K}": (5, "seq_len: expected a list of values, or from, to and steps"),
    "axes: []": (5, "axes: expected at least one, NAME: [VALUE, ...]"),
    "axes: {latency_s: [1]}": (5, "'latency_s' is a column of the results"),
    "axes: {x: {from: 1, to: 4}}": (5, "x: 'steps' is missing"),
    "axes: {x: {from: 1, to: 4 MiB, steps: 3}}": (5, "mixes two kinds of numbers"),
    "axes: {x: {from: 1, to: 4, steps: 9}}": (5, "repeat whole numbers"),
    "axes: {x: {from: 0, to: 4, steps: 3, scale: log}}": (5, "a log scale needs ends above zero"),
    "axes: {x: {from: 1, to: 4, steps: 2, scale: logg}}": (5, "did you mean 'log'?"),
    "axes: {x: {feild: a, values: [1]}}": (5, "did you mean 'field'?"),
    "axes: {x: {field: a b, values: [1]}}": (5, "'a b' cannot be a field"),
    "axes: {x: {values: [1], steps: 3}}": (5, "values are given, 'steps' says others"),
    "axes: {architecture: [flat]}": (4, "the architecture is 'fusemax', and an axis chooses it"),
    "set: {batch: 1}\n  axes: {workload.batch: [2]}": (6, "workload.batch is set by set already"),
    "axes: {x: [1]}\n  where: [area_um2 < ]": (6, "expected COLUMN, a comparison and a value"),
    "axes: {x: [1]}\n  where: [aera_um2 < 4]": (6, "did you mean 'area_um2'?"),
    "axes: {x: [1]}\n  points: some": (6, "expected 'all' or a mapping"),
    "axes: {x: [1]}\n  points: {random: 2}": (6, "2 at random are more than the 1 that there are"),
    "axes: {x: [1]}\n  points: {randm: 2}": (6, "did you mean 'random'?"),
    "axes: {x: [1, 2]}\n  points: {search: optuna}": (6, "a search needs 'trials'"),
    "axes: {x: [1, 2]}\n  points: {search: optuna, trials: 3}": (6, "more than the 2 points"),
    "axes: {x: [1]}\n  points: {search: optuna, trials: 1, objectives: [latency]}": (
        6,
        "did you mean 'latency_s'?",
    ),
    "axes: {x: [1]}\n  points: {search: optun, trials: 1}": (6, "did you mean 'optuna'?"),
    "axis: {x: [1]}": (5, "did you mean 'axes'?"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_with_its_place(text: str) -> None:
    line, message = WRONG[text]
    with pytest.raises(SpecError) as caught:
        read_sweep(Source("s.yaml", f"{HEAD}  {text}\n"))
    told = [str(p) for p in caught.value.problems]
    assert any(t.startswith(f"s.yaml:{line}:") and message in t for t in told), told


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = HEAD + "  axes: {seq_len: [1, 1], x: 5}\n  were: []\n  points: none\n"
    with pytest.raises(SpecError) as caught:
        read_sweep(Source("s.yaml", text))
    assert [p.span.line for p in caught.value.problems if p.span] == [5, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            HEAD.replace("bert-base", "bert-bse").replace("fusemax", "fusemx")
            + "  axes: {cascade: [attention-causl]}",
            ["3:13", "'bert-base'", "4:17", "'fusemax'", "5:20", "'attention-causal'"],
        ),
        (
            HEAD
            + "  axes: {b: {field: architecture.memories.global_bufer.capacity, values: [1 MiB]}}",
            ["5:43", "'global_bufer'", "'global_buffer'"],
        ),
        (HEAD + "  set: {seqlen: 1K}\n  axes: {batch: [1, 2]}", ["5:9", "'seqlen'", "'seq_len'"]),
        (
            HEAD
            + "  axes: {batch: [1]}\n  where: [area_um2 < 3 s, bound_by < 4, utilization.x < 50 %]",
            ["6:11", "'3 s' is no number of um^2", "6:27", "bound_by is a text"],
        ),
        (
            HEAD + "  axes: {batch: [1]}\n  where: [utilization.array_2 > 5 %]",
            ["6:11", "'utilization.array_2'", "'utilization.array_2d'"],
        ),
        (
            HEAD + "  mapping: auto\n  axes: {mapping.schedule.kind: [phases, sequential]}",
            ["6:18", "the mapping is searched for and takes no settings"],
        ),
        (
            HEAD + "  mapping: fusemax-binding\n  axes: {mapping.schedul.kind: [phases]}",
            ["6:18", "did you mean 'schedule'?"],
        ),
        (
            HEAD + "  axes: {architecture.clock: {from: 1, to: 4, steps: 3}}",
            ["5:", "expected a frequency such as '940 MHz', got a number without a unit"],
        ),
    ],
)
def test_names_and_fields_of_nothing_end_the_sweep_before_it_begins(
    text: str, messages: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    told = refused("sweep", str(path), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    for message in messages:
        assert message in told


def test_the_page_shows_a_sweep() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert read_sweep(Source("docs/sweeps.md", text)).total == 3 * 2 * 7 * 3
