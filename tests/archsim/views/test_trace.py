"""Timelines: tracks do not overlap, durations add up, the file is what viewers read."""

from __future__ import annotations

import json
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import python
from portions import left

import workloads
from archsim import Architecture, Mapping, simulate
from archsim.plan.job import JobPlan
from archsim.plan.planner import plan, run_plan
from archsim.views.trace import Trace, trace
from einsum_cascade.errors import InputError
from mappers.construct.generators import GENERATORS

FUSEMAX = Architecture.load("fusemax")
SEQUENTIAL = ["schedule={kind: sequential}", "keep.outer=[Q, K, V, O, PhiQ, PhiK, KV, Z, NV, D]"]


def planned(work: workloads.Workload, mapping: Mapping | None = None) -> JobPlan:
    return plan(work, FUSEMAX, mapping, generators=GENERATORS)


def traced(mapping: str = "fusemax-binding", **fields: int) -> Trace:
    return trace(planned(workloads.load("bert-base", **fields), Mapping.load(mapping)))


def by_track(found: Trace) -> dict[str, list[tuple[Fraction, Fraction]]]:
    tracks: dict[str, list[tuple[Fraction, Fraction]]] = defaultdict(list)
    for s in found.spans:
        tracks[s.track].append((s.start, s.start + s.cycles))
    return tracks


@pytest.mark.parametrize("seq_len", [512, left(4096), 2**20])
@pytest.mark.parametrize("mapping", ["fusemax-binding", "fusemax-arch"])
def test_slices_of_a_track_never_overlap(mapping: str, seq_len: int) -> None:
    tracks = by_track(traced(mapping, seq_len=seq_len))
    assert {"array_2d", "array_1d", "DRAM", "global_buffer"} <= set(tracks)
    for spans in tracks.values():
        for (_, end), (start, _) in pairwise(spans):
            assert end <= start


def test_a_short_run_is_shown_whole() -> None:
    """Durations on each array add up to its occupied cycles; the last slice ends the run."""
    found = traced(seq_len=512, batch=1, H=2)
    result = simulate(
        workloads.load("bert-base", seq_len=512, batch=1, H=2),
        FUSEMAX,
        Mapping.load("fusemax-binding"),
        engine="event",
    )
    tracks = by_track(found)
    assert "not shown" not in tracks
    for array in result.arrays:
        busy = sum((end - start for start, end in tracks[array.array]), Fraction(0))
        assert float(busy) == array.occupied_cycles
    names = {"DRAM load", "DRAM drain"}
    moved = sum((s.cycles for s in found.spans if s.name in names), Fraction(0))
    assert float(moved / FUSEMAX.clock_hz) == pytest.approx(result.bounds.bandwidth_s)
    assert found.spans[-1].name == "last drain"
    assert float(max(end for spans in tracks.values() for _, end in spans)) == result.cycles
    first = next(s for s in found.spans if s.name == "BQK")
    assert dict(first.where) == {"step": 0, "B": 0, "H": 0, "P2": 0, "M1": 0, "P1": 0}
    last = [s for s in found.spans if s.name == "AV"][-1]
    assert dict(last.where) == {"step": 7, "B": 0, "H": 1, "P2": 0, "M1": 1, "P1": 1}


def test_a_long_run_shows_start_and_end_and_what_it_leaves_out() -> None:
    found = traced(seq_len=2**20)
    tracks = by_track(found)
    skipped = tracks.pop("not shown")
    assert len(found.spans) < 20_000
    for start, end in skipped:
        for spans in tracks.values():
            assert not [1 for a, b in spans if a < end and b > start]
    shown = [s.where[0][1] for s in found.spans if s.where]
    assert min(shown) == 0
    assert max(shown) == 2**40 // 2**16 * 768 - 1
    assert sum((b - a for a, b in skipped), Fraction(0)) > 10**12


def test_einsums_one_after_the_other_follow_each_other() -> None:
    how = Mapping.load("linear-attention-by-head", SEQUENTIAL)
    work = workloads.load("bert-base", seq_len=512, cascade=how.cascade)
    found = trace(planned(work, how))
    spans = [s for s in found.spans if s.track in ("array_1d", "array_2d")]
    order = list(dict.fromkeys(s.name for s in spans))
    assert order == ["PhiQ", "PhiK", "KV", "Z", "NV", "D", "O"]
    ends = {n: max(s.start + s.cycles for s in spans if s.name == n) for n in order}
    for before, after in pairwise(order):
        assert min(s.start for s in spans if s.name == after) >= ends[before]


def events(path: Path) -> list[dict[str, Any]]:
    data = json.loads(path.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = data["traceEvents"]
    return found


def test_the_file_is_what_viewers_read(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    done = python("-m", "archsim", "simulate", "--trace", str(path), "--set", "seq_len=1K")
    assert done.returncode == 0
    assert "(event engine)" in done.stdout
    assert f"wrote {path}" in done.stderr
    found = events(path)
    names = {e["tid"]: e["args"]["name"] for e in found if e["name"] == "thread_name"}
    assert list(names.values())[:2] == ["array_2d", "array_1d"]
    slices = [e for e in found if e["ph"] == "X"]
    assert {names[e["tid"]] for e in slices} == set(names.values())
    for e in slices:
        assert e["dur"] >= 0
        if "cycles" in e["args"]:
            assert e["dur"] == pytest.approx(e["args"]["cycles"] / 940)
            assert e["ts"] == pytest.approx(e["args"]["start_cycle"] / 940)
    assert {e["ph"] for e in found} == {"M", "X"}


def test_a_trace_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*no such file"):
        traced(seq_len=512).save(tmp_path / "nowhere" / "t.json")


def test_a_trace_takes_the_usual_sizes_that_a_simulation_takes() -> None:
    # A convolution's number of taps has a usual size that no workload gives.
    work = workloads.load("bert-base", cascade="depthwise-convolution", seq_len=64)
    jobs = planned(work)
    found = trace(jobs)
    assert dict(jobs.jobs[0].shapes)["T"] == 4
    end = max(s.start + s.cycles for s in found.spans)
    assert float(end) == run_plan(jobs, engine="event").cycles
