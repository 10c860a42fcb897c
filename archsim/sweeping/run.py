"""One point after the other: its inputs in, its row out. A refused point is a row, too."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from einsum_cascade.errors import InputError
from einsum_cascade.yaml.source import Scalar

from ..jobs.alike import AlikeJobs
from ..jobs.job import Generators, JobPlan
from ..jobs.plan import plan
from ..jobs.run import run_plan
from ..result.record import Result
from ..spec.mapping import Mapping
from .columns import LEVELS, NUMBERS
from .conditions import thresholds
from .inputs import BestMappings, InputLoader, key_of
from .points import Point
from .rows import PointRow, RowColumns, as_columns, as_row
from .spec import Sweep

_KEPT: Final = 32
"""Bound mappings that a process keeps: a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTask:
    """What a process needs to run any point of a sweep."""

    sweep: Sweep
    generators: Generators
    find: BestMappings
    contents: str
    version: str


@dataclass(frozen=True, slots=True)
class BatchDone:
    """Rows of some points as the store keeps them, and the seconds they took.

    Texts and numbers go from process to process in a tenth of the time that records take.
    """

    columns: tuple[RowColumns, ...]
    seconds: float

    @property
    def rows(self) -> tuple[PointRow, ...]:
        """The same as records."""
        return tuple(map(as_row, self.columns))


class PointRunner:
    """Runs points of one sweep in this process."""

    def __init__(self, task: SweepTask) -> None:
        self.task = task
        self.loader = InputLoader(task.sweep, task.generators, task.find)
        self.thresholds = thresholds(task.sweep)
        self.alike = AlikeJobs(kept=_KEPT)

    def row(self, point: Point) -> PointRow:
        """The row of a point."""
        inputs = self.loader.told(point)
        text = inputs.to_json()
        shown = tuple(
            axis.values[place].shown
            for axis, place in zip(self.task.sweep.axes, point.places, strict=True)
        )
        try:
            jobs = self._jobs(point)
            result = run_plan(jobs, evaluate=self.alike.evaluate)
        except InputError as wrong:
            return PointRow(
                point=point.number,
                key=self._key(text),
                status="refused",
                message=_one_line(wrong),
                workload=inputs.workload,
                architecture=inputs.architecture,
                mapping=inputs.mapping,
                axes=shown,
                inputs=text,
            )
        except Exception as fault:
            fault.add_note(f"at point {point.number}: {text}")
            raise
        if found := _found(jobs):
            text = replace(inputs, found=found).to_json()
        return self._judged(result, point, shown, text)

    def _key(self, inputs: str) -> str:
        return key_of(inputs, self.task.contents, self.task.version)

    def _jobs(self, point: Point) -> JobPlan:
        work, machine = self.loader.workload(point), self.loader.machine(point)
        mapping = self.loader.mapping(point, work, machine)
        generators, evaluate = self.task.generators, self.alike.evaluate
        return plan(work, machine, mapping, generators=generators, evaluate=evaluate)

    def _judged(
        self, result: Result, point: Point, shown: tuple[Scalar, ...], inputs: str
    ) -> PointRow:
        """The row of a result, excluded where it does not hold what is asked of it."""
        row = result.to_row()
        told: dict[str, Scalar] = {
            "point": point.number,
            **row,
            **{a.name: v for a, v in zip(self.task.sweep.axes, shown, strict=True)},
        }
        failures = [f for t in self.thresholds if (f := t.failure(told))]
        return PointRow(
            point=point.number,
            key=self._key(inputs),
            status="excluded" if failures else "ok",
            message="; ".join(failures),
            workload=result.workload,
            architecture=result.architecture,
            mapping=result.mapping,
            axes=shown,
            numbers=tuple(float(row[name]) for name in NUMBERS),
            members=tuple((c, float(v)) for c, v in row.items() if c.startswith(LEVELS)),
            bound_by=result.bound_by,
            inputs=inputs,
        )


def _found(jobs: JobPlan) -> tuple[Mapping, ...]:
    """Mappings of a plan that a search found, now or before: no name and no version says them."""
    found = (job.mapping for job in jobs.jobs if jobs.searched or job.searched)
    return tuple(dict.fromkeys(found))


def _one_line(wrong: InputError) -> str:
    """What an error says, without the places in files."""
    return "; ".join(" ".join(p.message.split()) for p in wrong.problems)


def run_batch(task: bytes, points: Sequence[Point]) -> BatchDone:
    """Rows of some points, in any process.

    Parameters
    ----------
    task : bytes
        A pickled ``SweepTask``: what was loaded for it is kept for the next batch.
    """
    begun = time.perf_counter()
    # A thread has its own: what a runner keeps is not made to be shared.
    runner = _runner(task, threading.get_ident())
    done = tuple([as_columns(runner.row(point)) for point in points])
    return BatchDone(done, time.perf_counter() - begun)


@lru_cache(maxsize=8)
def _runner(task: bytes, thread: int) -> PointRunner:
    del thread
    return PointRunner(pickle.loads(task))  # noqa: S301 - made by the process that asked for this
