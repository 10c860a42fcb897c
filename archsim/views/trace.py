"""Timeline of a run as Chrome/Perfetto JSON: the Einsum that each resource runs at each time.

The event engine simulates the beginning of a run, a few rounds of each repetition, and the end. The
trace shows these slices at their true times, at most some ten thousand of them. Skipped time has a
track of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

from ..counts.cores import counts_at_ports
from ..counts.spill import count_mapping
from ..engine.latency import GroupRun, time_events
from ..plan.job import JobPlan
from ..writing import write_whole

_SKIPPED = "not shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """Slice of a track, with times in cycles since the beginning.

    ``where`` tells the step of the slice, loop by loop.
    """

    name: str
    track: str
    start: Fraction
    cycles: Fraction
    where: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Timeline: tracks in order (arrays, then memories), and their spans."""

    title: str
    clock_hz: Fraction
    tracks: tuple[str, ...]
    spans: tuple[TraceSpan, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the object of a trace file: ``ts`` and ``dur`` in microseconds."""
        number = {track: i + 1 for i, track in enumerate(self.tracks)}
        names = [_meta("process_name", 0, self.title)]
        for track, i in number.items():
            names += [_meta("thread_name", i, track), _meta("thread_sort_index", i, i)]
        return {
            "displayTimeUnit": "ns",
            "otherData": {"title": self.title, "clock_hz": float(self.clock_hz)},
            "traceEvents": [*names, *(self._event(s, number[s.track]) for s in self.spans)],
        }

    def _event(self, span: TraceSpan, track: int) -> dict[str, Any]:
        micro = Fraction(10**6) / self.clock_hz
        return {
            "name": span.name,
            "ph": "X",
            "pid": 1,
            "tid": track,
            "ts": float(span.start * micro),
            "dur": float(span.cycles * micro),
            "args": {
                "start_cycle": float(span.start),
                "cycles": float(span.cycles),
                **dict(span.where),
            },
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write the trace file.

        Raises
        ------
        InputError
            It cannot be written.
        """
        text = json.dumps(self.to_dict()) + "\n"
        write_whole(Path(path), lambda place: place.write_text(text, encoding="utf-8"))


def _meta(what: str, track: int, value: str | int) -> dict[str, Any]:
    key = "sort_index" if isinstance(value, int) else "name"
    return {"name": what, "ph": "M", "pid": 1, "tid": track, "args": {key: value}}


def trace(plan: JobPlan) -> Trace:
    """Return the timeline of a workload's jobs, as the event engine simulates them.

    Jobs follow one another, and each is shown once.

    Raises
    ------
    SpecError, MappingError, InputError
        As ``Job.bind``, or a run is too long for the event engine.
    """
    spans: list[TraceSpan] = []
    at = Fraction(0)
    architecture = plan.architecture
    for job in plan.nests:
        prefix = f"{job.name}: " if len(plan.nests) > 1 else ""
        bound = job.bind()
        counts = counts_at_ports(bound, count_mapping(bound))
        runs = [
            replace(r, start=r.start + at) for r in time_events(bound, counts, logged=True).runs
        ]
        for run in runs:
            found = (*_spans(run), *_gaps(run), *_last_drain(run, architecture.home.name))
            spans += [replace(s, name=prefix + s.name) for s in found]
        at = runs[-1].start + runs[-1].run.cycles
    known = [a.name for a in architecture.arrays] + [m.name for m in architecture.memories]
    used = {s.track for s in spans}
    others = sorted(used - {*known, _SKIPPED})
    tracks = tuple(t for t in (*known, *others, _SKIPPED) if t in used)
    names = " + ".join(dict.fromkeys(job.mapping.name for job in plan.jobs))
    return Trace(
        title=f"{plan.workload.name} on {architecture.name}, mapped by {names}",
        clock_hz=architecture.clock_hz,
        tracks=tracks,
        spans=tuple(sorted(spans, key=lambda s: (s.start, tracks.index(s.track)))),
    )


def _spans(run: GroupRun) -> Iterator[TraceSpan]:
    for s in run.run.slices:
        yield TraceSpan(
            name=s.task,
            track=s.resource,
            start=run.start + s.start,
            cycles=s.end - s.start,
            where=(("step", s.step), *run.group.nest.indices(s.step)),
        )


def _gaps(run: GroupRun) -> Iterator[TraceSpan]:
    """Return the intervals between slices, in which nothing is shown."""
    for gap in run.run.gaps:
        many = "steps that are" if gap.steps is None else f"{gap.steps:,} steps like those before,"
        start, cycles = run.start + gap.start, gap.end - gap.start
        yield TraceSpan(name=f"{many} not shown", track=_SKIPPED, start=start, cycles=cycles)


def _last_drain(run: GroupRun, memory: str) -> Iterator[TraceSpan]:
    """Return the slice for the transfer of the last output tile, with which nothing overlaps."""
    busy = max((s.end for s in run.run.slices if s.resource == memory), default=Fraction(0))
    for task, cycles in run.program.ends:
        made = max((s.end for s in run.run.slices if s.task == task), default=Fraction(0))
        if made >= busy and made + cycles == run.run.cycles:
            start = run.start + made
            yield TraceSpan(name="last drain", track=memory, start=start, cycles=cycles)
            return
