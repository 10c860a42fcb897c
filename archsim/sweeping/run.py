"""Runs of points: points share loaded inputs, and each point gives a row."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal, Protocol

from einsum_cascade.errors import InputError, Problem, SpecError
from einsum_cascade.yaml.edit import Setting, written_setting
from einsum_cascade.yaml.library import resolve_reference
from einsum_cascade.yaml.source import Scalar, YamlScalar
from workloads import Workload, load

from ..plan.incremental import IncrementalEvaluator
from ..plan.job import Generators, JobPlan
from ..plan.planner import plan, run_plan
from ..plan.selection import ByPart, Given, mapping_called, usual_mapping
from ..plan.workload import WorkloadLike
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.files.load import MachineCache
from ..spec.files.mapping_text import mapping_dict
from ..spec.mapping import AUTO, MADE, Mapping
from ..spec.overrides import Overrides, section_of, sorted_settings
from .columns import LEVELS, NUMBERS, PointRow, RowColumns, as_columns, as_row, thresholds
from .spec import DEFAULT, Point, Sweep, SweepAxis
from .values import text_of

_MAX_CACHED_INPUTS: Final = 64
"""Number of workloads, machines and mappings kept: neighbouring points share most of theirs."""

_MAX_CACHED_AXIS_VALUES: Final = 1024
"""Number of axis values whose settings are kept."""

UNWRITTEN: Final = (AUTO, DEFAULT, *MADE)
"""Names in place of a mapping that no file states."""

Input = Literal["workload", "architecture", "mapping"]

_SECTIONS: Final = {
    "workload": ("workload",),
    "architecture": ("architecture", "technology"),
    "mapping": ("mapping",),
}


class BestMappings(Protocol):
    """Search of the mappings of a workload on a machine (``mappers.workload_search``)."""

    def __call__(self, workload: WorkloadLike, architecture: Architecture, /) -> ByPart:
        """Return one mapping for each part. Raises MappingError if a part has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PointInputs:
    """Inputs of a point, as a user would give them to ``simulate``."""

    workload: str
    architecture: str
    mapping: str
    settings: tuple[tuple[str, str], ...]
    """Fields and their values, as texts."""
    found: tuple[Mapping, ...] = ()
    """Mappings that were searched for. The search may find others another day."""

    def to_json(self) -> str:
        """Return one line of JSON, the same for the same inputs.

        If mappings were searched for, ``mapping_spec`` states them as ``archsim map --json`` does.
        """
        said: dict[str, object] = {
            "workload": self.workload,
            "architecture": self.architecture,
            "mapping": self.mapping,
            "set": dict(self.settings),
        }
        if self.found:
            specs = [{"mapping": mapping_dict(mapping)} for mapping in self.found]
            said["mapping_spec"] = specs[0] if len(specs) == 1 else specs
        return json.dumps(said, ensure_ascii=False)


def key_of(inputs: str, contents: str, version: str) -> str:
    """Return the unique name of a point, from its inputs, the contents of files, and the
    version.

    Parameters
    ----------
    inputs : str
        ``PointInputs.to_json``.
    contents : str
        ``contents_of`` the sweep.
    version : str
        Version of this package.
    """
    return sha256("\0".join((inputs, contents, version)).encode()).hexdigest()


class InputLoader:
    """Loader of the inputs of one sweep's points, which keeps those that later points may share."""

    def __init__(self, sweep: Sweep, generators: Generators, find: BestMappings) -> None:
        self.sweep = sweep
        self.generators = generators
        self.find = find
        self._axes: dict[Input, tuple[int, ...]] = {
            part: tuple(n for n, axis in enumerate(sweep.axes) if _concerns(axis, part))
            for part in ("workload", "architecture", "mapping")
        }
        self._machines = MachineCache()
        of_axis = lru_cache(maxsize=_MAX_CACHED_AXIS_VALUES)
        self._set_by: Callable[[int, int], tuple[Setting, ...]] = of_axis(self._set_by_axis)
        self._told_by: Callable[[int, int], tuple[tuple[str, str], ...]]
        self._told_by = of_axis(self._told_by_axis)
        keep = lru_cache(maxsize=_MAX_CACHED_INPUTS)
        self._workload: Callable[[tuple[int, ...]], Workload] = keep(self._load_workload)
        self._machine: Callable[[tuple[int, ...]], Architecture] = keep(self._load_machine)
        self._written: Callable[[tuple[int, ...]], Mapping] = keep(self._load_mapping)

    def told(self, point: Point) -> PointInputs:
        """Return the inputs of a point as texts."""
        return PointInputs(
            workload=self._name("workload", point.places).text,
            architecture=self._name("architecture", point.places).text,
            mapping=self._name("mapping", point.places).text,
            settings=(
                *((s.field, text_of(s.value)) for s in self.sweep.settings),
                *(said for n, place in enumerate(point.places) for said in self._told_by(n, place)),
            ),
        )

    def workload(self, point: Point) -> Workload:
        """Return the point's workload. Raises SpecError."""
        return self._workload(self._key("workload", point))

    def machine(self, point: Point) -> Architecture:
        """Return the point's machine. Raises SpecError."""
        return self._machine(self._key("architecture", point))

    def mapping(self, point: Point, work: Workload, machine: Architecture) -> Given:
        """Return the point's mapping, as the planner takes it.

        Raises
        ------
        SpecError
            There is none of that name, or it takes no settings.
        MappingError
            No mapping is found, or none can be made.
        """
        written = self.written(point)
        if written is not None:
            return written
        name = self._name("mapping", point.places).text
        if name == AUTO:
            return self.find(work, machine)
        if name in MADE:
            return mapping_called(name, work, machine, self.generators)
        given = self._overrides("mapping", point.places)
        usual = usual_mapping(work, machine) if given.mapping else None
        return Mapping.load(usual.name, given) if usual else None

    def written(self, point: Point) -> Mapping | None:
        """Return the point's mapping if it has a name or a file, else None. Raises SpecError."""
        name = self._name("mapping", point.places)
        if name.text not in UNWRITTEN:
            return self._written(self._key("mapping", point))
        given = self._overrides("mapping", point.places).mapping
        if given and name.text != DEFAULT:
            what = "searched for" if name.text == AUTO else "made from the cascade"
            text = f"mapping.{given[0].field}: the mapping is {what} and takes no settings"
            raise SpecError(Problem(text, given[0].span))
        return None

    def _key(self, part: Input, point: Point) -> tuple[int, ...]:
        """Return the positions on the axes that an input depends on, and 0 on the others."""
        concerned = self._axes[part]
        return tuple(p if n in concerned else 0 for n, p in enumerate(point.places))

    def _load_workload(self, places: tuple[int, ...]) -> Workload:
        name = self._name("workload", places)
        given = self._overrides("workload", places)
        return load(resolve_reference("workloads", name.text, name.span), given.workload)

    def _load_machine(self, places: tuple[int, ...]) -> Architecture:
        name = self._name("architecture", places)
        given = self._overrides("architecture", places)
        found = resolve_reference("architectures", name.text, name.span)
        return self._machines.machine(found, given)

    def _load_mapping(self, places: tuple[int, ...]) -> Mapping:
        name = self._name("mapping", places)
        given = self._overrides("mapping", places)
        return Mapping.load(resolve_reference("mappings", name.text, name.span), given)

    def _name(self, part: Input, places: tuple[int, ...]) -> YamlScalar:
        for axis, place in zip(self.sweep.axes, places, strict=True):
            if axis.role == part:
                return name_of(axis, place)
        fixed: YamlScalar | None = getattr(self.sweep, part)
        assert fixed is not None
        return fixed

    def _overrides(self, part: Input, places: tuple[int, ...]) -> Overrides:
        concerned = self._axes[part]
        return sorted_settings(self._settings(places, concerned))

    def _settings(self, places: tuple[int, ...], among: tuple[int, ...]) -> Iterator[Setting]:
        """Yield the settings of all points, then those of some axes."""
        yield from self.sweep.settings
        for n, place in enumerate(places):
            if n in among:
                yield from self._set_by(n, place)

    def _set_by_axis(self, axis: int, place: int) -> tuple[Setting, ...]:
        """Return the settings of a value of an axis."""
        moved = self.sweep.axes[axis]
        return tuple(written_setting(field, moved.values[place].node) for field in moved.fields)

    def _told_by_axis(self, axis: int, place: int) -> tuple[tuple[str, str], ...]:
        """Return the settings of a value of an axis as texts."""
        return tuple((s.field, text_of(s.value)) for s in self._set_by(axis, place))


def name_of(axis: SweepAxis, place: int) -> YamlScalar:
    """Return the name at a position of an axis. Raises SpecError if it is no name."""
    node = axis.values[place].node
    if not isinstance(node, YamlScalar):
        raise SpecError(Problem(f"{axis.name}: expected a name, got {node.kind}", node.span))
    return node


def _concerns(axis: SweepAxis, part: Input) -> bool:
    """Return whether an input depends on an axis."""
    return axis.role == part or any(section_of(f.text) in _SECTIONS[part] for f in axis.fields)


def problems_of(loader: Callable[[], object]) -> tuple[Problem, ...]:
    """Return the problems that a loader raises."""
    try:
        loader()
    except InputError as wrong:
        return wrong.problems
    return ()


_MAX_CACHED_MAPPINGS: Final = 32
"""Number of bound mappings that a process keeps: a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTask:
    """Inputs of a process that runs points of a sweep."""

    sweep: Sweep
    generators: Generators
    find: BestMappings
    contents: str
    version: str


@dataclass(frozen=True, slots=True)
class BatchDone:
    """Rows of a batch as the store keeps them, and the seconds they took.

    Texts and numbers pass between processes in a tenth of the time of records.
    """

    columns: tuple[RowColumns, ...]
    seconds: float

    @property
    def rows(self) -> tuple[PointRow, ...]:
        """Rows as records."""
        return tuple(map(as_row, self.columns))


class PointRunner:
    """Runner of points of one sweep in this process."""

    def __init__(self, task: SweepTask) -> None:
        self.task = task
        self.loader = InputLoader(task.sweep, task.generators, task.find)
        self.thresholds = thresholds(task.sweep)
        self.alike = IncrementalEvaluator(kept=_MAX_CACHED_MAPPINGS)

    def row(self, point: Point) -> PointRow:
        """Return the row of a point."""
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
        """Return the row of a result, excluded if it violates a condition."""
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
    """Return the mappings that a search found, now or before: no name and no version states
    them."""
    found = (job.mapping for job in jobs.jobs if jobs.searched or job.searched)
    return tuple(dict.fromkeys(found))


def _one_line(wrong: InputError) -> str:
    """Return the text of an error, without the places in files."""
    return "; ".join(" ".join(p.message.split()) for p in wrong.problems)


def run_batch(task: bytes, points: Sequence[Point]) -> BatchDone:
    """Return the rows of some points, in any process.

    Parameters
    ----------
    task : bytes
        A pickled ``SweepTask``: what was loaded for it is kept for the next batch.
    """
    begun = time.perf_counter()
    # Each thread has its own runner, which is not thread-safe.
    runner = _runner(task, threading.get_ident())
    done = tuple([as_columns(runner.row(point)) for point in points])
    return BatchDone(done, time.perf_counter() - begun)


@lru_cache(maxsize=8)
def _runner(task: bytes, thread: int) -> PointRunner:
    del thread
    return PointRunner(pickle.loads(task))  # noqa: S301 - made by the process that asked for this
