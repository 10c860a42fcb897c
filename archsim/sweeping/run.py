"""Runs of points: inputs that points share, a row for each point, and batches in processes."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from einsum_cascade.errors import InputError, SpecError
from einsum_cascade.yaml.edit import Setting, written_setting
from einsum_cascade.yaml.library import Kind, Sources, reading_from, resolve_reference
from einsum_cascade.yaml.source import YamlScalar
from workloads import Workload, load

from ..plan.incremental import IncrementalEvaluator
from ..plan.inputs import FindMappings, load_mapping
from ..plan.job import Generators, JobPlan
from ..plan.planner import plan, run_plan
from ..plan.selection import Given
from ..processes import Pool, report_killed_workers
from ..spec.arch import Architecture
from ..spec.files.load import MachineCache
from ..spec.files.mapping_text import mapping_dict
from ..spec.mapping import AUTO, MADE, Mapping
from ..spec.overrides import Overrides, parse_overrides, section_of
from ..version import installed_version
from .columns import MEMBERS, NUMBERS
from .spec import DEFAULT, ROLES, Point, Role, Sweep, SweepAxis, text_of
from .store import PointRow, StoredSweep

_MAX_CACHED_INPUTS: Final = 192
"""Largest number of loaded workloads, machines and mappings: neighbouring points share most
inputs."""

_MAX_CACHED_AXIS_VALUES: Final = 1024
"""Largest number of axis values whose settings are kept."""

UNWRITTEN: Final = (AUTO, DEFAULT, *MADE)
"""Names that stand for a mapping which no file contains."""

KINDS: Final[dict[Role, Kind]] = {
    "workload": "workloads",
    "architecture": "architectures",
    "mapping": "mappings",
}
"""Kind of specification file by the role of an input."""


class InputLoader:
    """Loader of the inputs of a sweep's points; it keeps inputs that later points may share."""

    def __init__(self, sweep: Sweep, generators: Generators, find: FindMappings) -> None:
        self.sweep = sweep
        self.generators = generators
        self.find = find
        self._axes = {
            role: tuple(n for n, axis in enumerate(sweep.axes) if _concerns(axis, role))
            for role in ROLES
        }
        """Positions of the axes on which each input depends."""
        self._machines = MachineCache()
        self._set_by: Callable[[int, int], tuple[tuple[Setting, str], ...]]
        self._set_by = lru_cache(maxsize=_MAX_CACHED_AXIS_VALUES)(self._set_by_axis)
        self._loaded: Callable[[Role, tuple[int, ...]], Any]
        self._loaded = lru_cache(maxsize=_MAX_CACHED_INPUTS)(self._load)

    def inputs_of(self, point: Point) -> dict[str, Any]:
        """Return the inputs of a point as the texts that a user would give to ``simulate``."""
        fixed = ((s.field, text_of(s.value)) for s in self.sweep.settings)
        moved = (
            (setting.field, text)
            for axis, place in enumerate(point.places)
            for setting, text in self._set_by(axis, place)
        )
        names: dict[str, Any] = {role: self._name(role, point.places).text for role in ROLES}
        return names | {"set": dict((*fixed, *moved))}

    def workload(self, point: Point) -> Workload:
        """Return the point's workload. Raises SpecError."""
        found: Workload = self._input("workload", point)
        return found

    def machine(self, point: Point) -> Architecture:
        """Return the point's machine. Raises SpecError."""
        found: Architecture = self._input("architecture", point)
        return found

    def mapping(self, point: Point, work: Workload, machine: Architecture) -> Given:
        """Return the point's mapping in the form that the planner takes.

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
        given = None if name == DEFAULT else name
        overrides = self._overrides("mapping", point.places)
        generators, find = self.generators, self.find
        return load_mapping(given, work, machine, overrides, generators=generators, find=find)

    def written(self, point: Point) -> Mapping | None:
        """Return the point's mapping if it has a name or a file, else None. Raises SpecError."""
        name = self._name("mapping", point.places)
        if name.text not in UNWRITTEN:
            found: Mapping = self._input("mapping", point)
            return found
        given = self._overrides("mapping", point.places).mapping
        if given and name.text != DEFAULT:
            what = "searched for" if name.text == AUTO else "made from the cascade"
            text = f"mapping.{given[0].field}: the mapping is {what} and takes no settings"
            raise SpecError(text, given[0].span)
        return None

    def _input(self, role: Role, point: Point) -> Any:
        """Return an input of a point; points that agree on the axes it depends on share the
        input."""
        concerned = self._axes[role]
        return self._loaded(
            role, tuple(p if n in concerned else 0 for n, p in enumerate(point.places))
        )

    def _load(self, role: Role, places: tuple[int, ...]) -> Any:
        name = self._name(role, places)
        given = self._overrides(role, places)
        where = resolve_reference(KINDS[role], name.text, name.span)
        if role == "workload":
            return load(where, given.workload)
        if role == "architecture":
            return self._machines.machine(where, given)
        return Mapping.load(where, given)

    def _name(self, role: Role, places: tuple[int, ...]) -> YamlScalar:
        for axis, place in zip(self.sweep.axes, places, strict=True):
            if axis.role == role:
                return name_of(axis, place)
        fixed: YamlScalar | None = getattr(self.sweep, role)
        assert fixed is not None
        return fixed

    def _overrides(self, role: Role, places: tuple[int, ...]) -> Overrides:
        """Return the settings for an input: those of all points, then those that its axes set."""
        moved = (setting for n in self._axes[role] for setting, _ in self._set_by(n, places[n]))
        return parse_overrides((), (*self.sweep.settings, *moved))

    def _set_by_axis(self, axis: int, place: int) -> tuple[tuple[Setting, str], ...]:
        """Return the settings that a value of an axis makes, each with its value as text."""
        moved = self.sweep.axes[axis]
        settings = [written_setting(field, moved.values[place].node) for field in moved.fields]
        return tuple((setting, text_of(setting.value)) for setting in settings)


def name_of(axis: SweepAxis, place: int) -> YamlScalar:
    """Return the name at a position of an axis. Raises SpecError if it is no name."""
    node = axis.values[place].node
    if not isinstance(node, YamlScalar):
        raise SpecError(f"{axis.name}: expected a name, got {node.kind}", node.span)
    return node


def _concerns(axis: SweepAxis, role: Role) -> bool:
    """Return whether an axis chooses an input, or sets a field of it."""
    sections = (role, "technology") if role == "architecture" else (role,)
    return axis.role == role or any(section_of(f.text) in sections for f in axis.fields)


_MAX_CACHED_MAPPINGS: Final = 32
"""Largest number of bound mappings that a process keeps, which take a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTask:
    """Data that a process needs to run points of a sweep."""

    sweep: Sweep
    generators: Generators
    find: FindMappings
    stored: StoredSweep
    sources: Sources


@dataclass(frozen=True, slots=True)
class BatchDone:
    """Finished batch: its rows, and the seconds that the rows took."""

    rows: tuple[PointRow, ...]
    seconds: float


class PointRunner:
    """Runner that simulates points of one sweep in this process."""

    def __init__(self, task: SweepTask) -> None:
        self.task = task
        self.loader = InputLoader(task.sweep, task.generators, task.find)
        self.evaluator = IncrementalEvaluator(kept=_MAX_CACHED_MAPPINGS)

    def row(self, point: Point) -> PointRow:
        """Simulate a point and return its row."""
        inputs = self.loader.inputs_of(point)
        text = _json(inputs)
        shown = {
            axis.name: axis.values[place].shown
            for axis, place in zip(self.task.sweep.axes, point.places, strict=True)
        }
        row = PointRow(
            point=point.number,
            key=self._key(text),
            workload=inputs["workload"],
            architecture=inputs["architecture"],
            mapping=inputs["mapping"],
            status="refused",
            message="",
            axes=_json([*shown.values()]),
            inputs=text,
        )
        with reading_from(self.task.sources) as missing:
            try:
                work, machine = self.loader.workload(point), self.loader.machine(point)
                mapping = self.loader.mapping(point, work, machine)
                generators, evaluate = self.task.generators, self.evaluator.evaluate
                jobs = plan(work, machine, mapping, generators=generators, evaluate=evaluate)
                result = run_plan(jobs, evaluate=evaluate)
            except InputError as wrong:
                return row._replace(message=_one_line(wrong), unread=bool(missing))
            except Exception as fault:
                fault.add_note(f"at point {point.number}: {text}")
                raise
        # A search may find other mappings another day: the row states those it found.
        if specs := [{"mapping": mapping_dict(mapping)} for mapping in _found(jobs)]:
            text = _json(inputs | {"mapping_spec": specs[0] if len(specs) == 1 else specs})
        results = result.to_row()
        named = {"point": point.number, **results, **shown}
        failures = [f for c in self.task.sweep.conditions if (f := c.failure(named))]
        numbers: dict[str, Any] = {name: float(results[name]) for name in NUMBERS}
        return row._replace(
            key=self._key(text),
            workload=result.workload,
            architecture=result.architecture,
            mapping=result.mapping,
            status="excluded" if failures else "ok",
            message="; ".join(failures),
            inputs=text,
            bound_by=result.bound_by,
            members=_json({c: v for c, v in results.items() if c.startswith(MEMBERS)}),
            **numbers,
        )

    def _key(self, inputs: str) -> str:
        """Return the key of a point: a hash of its inputs, the contents of files and the
        version."""
        text = "\0".join((inputs, self.task.stored.files, self.task.stored.version))
        return sha256(text.encode()).hexdigest()


_json = json.JSONEncoder(ensure_ascii=False).encode


def _found(jobs: JobPlan) -> tuple[Mapping, ...]:
    """Return the mappings that a search found, in this run or an earlier one.

    The row has to keep them: neither a name nor the version determines them.
    """
    found = (job.mapping for job in jobs.jobs if jobs.searched or job.searched)
    return tuple(dict.fromkeys(found))


def _one_line(wrong: InputError) -> str:
    """Return the text of an error on one line, without positions in files."""
    return "; ".join(" ".join(p.message.split()) for p in wrong.problems)


def run_batch(task: bytes, points: Sequence[Point]) -> BatchDone:
    """Run some points in any process, and return the batch of their rows.

    Parameters
    ----------
    task : bytes
        A pickled ``SweepTask``: what was loaded for it is kept for the next batch.
    """
    begun = time.perf_counter()
    # Each thread has its own runner, which is not thread-safe.
    runner = _runner(task, threading.get_ident())
    return BatchDone(tuple([runner.row(point) for point in points]), time.perf_counter() - begun)


@lru_cache(maxsize=8)
def _runner(task: bytes, thread: int) -> PointRunner:
    del thread
    return PointRunner(pickle.loads(task))  # noqa: S301 - made by the process that asked for this


_BATCH_SECONDS = 0.5
"""Target duration of a batch in seconds.

It bounds the loss in a power cut, and is the interval between writes.
"""
_MAX_BATCH = 1000
_SCHEDULER_TIMEOUT_S = 10
"""Seconds within which a scheduler has to answer."""

NextPoints = Callable[[int], tuple[Point, ...]]
"""Function that takes a number and returns at most so many points to run next.

It returns no points after the last one.
"""


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """Connect to the workers of a Dask scheduler; the workers keep running afterwards.

    Raises
    ------
    InputError
        Dask is not installed, no scheduler answers, or its workers lack this version.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        text = "--dask needs Dask, which is not installed: pip install 'archsim[dask]'"
        raise InputError(text) from None
    connect: Any = Client
    parts_of: Any = get_address_host_port
    try:
        parts_of(address)
        client = connect(address, timeout=_SCHEDULER_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as wrong:
        raise InputError(f"no Dask scheduler answers at '{address}': {wrong}") from None
    with closing(client):
        threads = client.nthreads()
        if not threads:
            raise InputError(f"the Dask scheduler at '{address}' has no workers yet")
        _check_versions(client)
        executor = client.get_executor()
        try:
            yield Pool(executor, sum(threads.values()))
        finally:
            executor.shutdown(wait=False)


def _check_versions(client: Any) -> None:
    """Raise an error if some workers have another version of archsim."""
    own = installed_version()
    try:
        found = client.run(installed_version)
    except ImportError as wrong:
        raise InputError(f"the Dask workers do not have archsim: {wrong}") from None
    for worker, version in found.items():
        if version != own:
            there = version or "(unknown)"
            raise InputError(f"Dask worker {worker} has archsim {there}, this is archsim {own}")


def batches_done(pool: Pool, task: bytes, next_points: NextPoints) -> Iterator[BatchDone]:
    """Yield batches as they finish; their size follows from the time that points take.

    Raises
    ------
    InputError
        A process was killed.
    """
    size = 1
    waiting: set[Future[BatchDone]] = set()
    # Each worker runs one batch, and one more waits for it.
    most = 1 if pool.workers == 1 else 2 * pool.workers
    while True:
        while len(waiting) < most and (points := next_points(size)):
            waiting.add(pool.executor.submit(run_batch, task, points))
        if not waiting:
            return
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            try:
                with report_killed_workers(_KEPT):
                    batch = future.result()
            except Exception as wrong:
                if not _is_of_cluster(wrong):
                    raise
                raise InputError(f"{_LOST}: {wrong}") from None
            yield batch
            size = _next_size(size, batch)


_KEPT = "finished points are kept, start again to go on (fewer --workers need less memory)"
_LOST = "the Dask cluster lost a batch: finished points are kept, start again to go on"


def _is_of_cluster(wrong: Exception) -> bool:
    """Return whether an exception comes from Dask itself, and not from the task."""
    return type(wrong).__module__.startswith("distributed.") or isinstance(wrong, CancelledError)


def _next_size(size: int, batch: BatchDone) -> int:
    """Return the size of the next batch: at most doubled, as the first points of a process take
    longest."""
    wanted = int(_BATCH_SECONDS * len(batch.rows) / max(batch.seconds, 1e-6))
    return max(1, min(wanted, 2 * size, _MAX_BATCH))
