"""Runs of sweeps: checks before the first point, then batches of a grid or of an Optuna study."""

from __future__ import annotations

import hashlib
import json
import pickle
import sqlite3
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Named
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice, pairwise, product
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from einsum_cascade.errors import InputError, Problem, SpecError, collect_problems, did_you_mean
from einsum_cascade.yaml.library import Kind, Sources, reading_from, resolve_reference
from einsum_cascade.yaml.source import YamlScalar

from ..plan.inputs import FindMappings
from ..plan.job import Generators
from ..processes import Pool, processes, usable_cores
from ..version import installed_version
from .columns import AS_BUILT, FITS, INHERITED, MEMBERS
from .export import export, load_sweep, remove_stale_results
from .file import sweep_of
from .run import KINDS, UNWRITTEN, InputLoader, SweepTask, batches_done, cluster, name_of
from .spec import Point, PointChoice, Sweep, SweepAxis, measured, places_at, point_at, shuffled
from .store import PointRow, Store, StoredSweep, opened_for, wait_until_free

if TYPE_CHECKING:
    from pandas import DataFrame


def check_sweep(sweep: Sweep, loader: InputLoader) -> None:
    """Raise errors that affect every point; errors of single points go to their rows.

    Raises
    ------
    SpecError
        A name is of nothing, a condition compares with no number, or a setting is wrong at the
        first point and at the last.
    """
    problems: list[Problem] = []
    for kind, name in _named(sweep):
        with collect_problems(problems):
            resolve_reference(kind, name.text, name.span)
    if problems:
        raise SpecError(problems)
    first = Point(0, tuple(0 for _ in sweep.axes))
    last = Point(0, tuple(len(axis.values) - 1 for axis in sweep.axes))
    everywhere = {p.span for p in _wrong_at(loader, last)}
    found = [p for p in _wrong_at(loader, first) if p.span and p.span in everywhere]
    found = found or list(_wrong_members(sweep, loader))
    if found:
        raise SpecError(found)


def _wrong_members(sweep: Sweep, loader: InputLoader) -> Iterator[Problem]:
    """Yield problems of conditions, and of a search, on a memory, an array, a component or losses
    that no machine has."""
    members: set[str] = set()
    # Machines are an axis of their own, if there are several.
    machines = (range(len(a.values)) if a.role == "architecture" else (0,) for a in sweep.axes)
    for places in product(*machines):
        try:
            machine = loader.machine(Point(0, places))
        except InputError:
            return
        levels = [m.name for m in machine.memories]
        members |= {FITS, f"needed_bytes.{machine.home.name}"}
        members |= {f"traffic_bytes.{n}" for n in levels} | {f"buffer_bytes.{n}" for n in levels}
        arrays = [a.name for a in machine.arrays]
        members |= {f"utilization.{n}" for n in arrays}
        registers = (f"{n}.registers" for n in arrays)
        members |= {f"energy_pj.{n}" for n in (*levels, *arrays, *registers)}
        members |= {*AS_BUILT, INHERITED} if machine.losses else set()
    known = {*members, *(axis.name for axis in sweep.axes)}
    for condition in sweep.conditions:
        if condition.column.startswith(MEMBERS) and condition.column not in known:
            text = f"where: there is no column '{condition.column}'"
            hint = did_you_mean(condition.column, members)
            yield Problem(text, condition.node.span, _NO_LOSSES.get(condition.column, hint))
    for name in sweep.points.objectives if sweep.points else ():
        if name in AS_BUILT and name not in known:
            yield Problem(f"points: there is no column '{name}'", None, _NO_LOSSES[name])


_NO_LOSSES: Final = dict.fromkeys(
    (*AS_BUILT, INHERITED), "no machine here states losses in 'measured:'"
)


def _named(sweep: Sweep) -> Iterator[tuple[Kind, YamlScalar]]:
    """Yield every name of a specification file that a sweep contains, with the kind of file."""
    for part, kind in KINDS.items():
        fixed: YamlScalar | None = getattr(sweep, part)
        if fixed is not None and fixed.text not in UNWRITTEN:
            yield kind, fixed
    for axis in sweep.axes:
        meant: Kind | None = "cascades" if axis.varies_cascade else KINDS.get(axis.role)
        if meant is None:
            continue
        for place in range(len(axis.values)):
            name = name_of(axis, place)
            if axis.role != "mapping" or name.text not in UNWRITTEN:
                yield meant, name
    for setting in sweep.settings:
        named = setting.field in ("cascade", "workload.cascade")
        if named and isinstance(setting.value, YamlScalar):
            yield "cascades", setting.value


def _wrong_at(loader: InputLoader, point: Point) -> list[Problem]:
    """Return the problems in the inputs of one point."""
    found: list[Problem] = []
    for load_input in (loader.workload, loader.machine, loader.written):
        with collect_problems(found):
            load_input(point)
    return found


FILE: Final = "study.sqlite"
_TRIALS_PER_GENERATION: Final = 8
"""Number of points that a study proposes together, before it gets their results."""
_MAX_TRIALS_PENDING: Final = 16
"""Number of proposals that may repeat a known point; then a new point is drawn at random."""
_POINT: Final = "point"
_STATUS: Final = "status"
"""Name of the constraint of a trial: refused points and points that violate a condition fail it."""


class StudyPoints:
    """Points of a search, in the order in which the study proposes them.

    Parameters
    ----------
    store : Store
        Store; the study lies in the same folder, and is completed from it.

    Raises
    ------
    InputError
        Optuna is not installed.
    """

    def __init__(self, sweep: Sweep, choice: PointChoice, store: Store) -> None:
        try:
            import optuna
        except ImportError:
            text = "a search needs Optuna, which is not installed: pip install 'archsim[optuna]'"
            raise InputError(text) from None
        self._optuna: Any = optuna
        self._sweep, self._choice = sweep, choice
        self._waiting: deque[Point] = deque()
        self._open: dict[int, Any] = {}
        self._taken: set[tuple[int, ...]] = set()
        self._next = 0
        self._draw = 0
        with _study_problems(store.folder / FILE):
            self._study = self._opened(store)
            for trial in self._study.get_trials(deepcopy=False):
                self._resume(trial, store)
            if store.done_between(self._next, choice.number):
                raise ValueError("it lacks points that are finished")

    def next(self, most: int) -> tuple[Point, ...]:
        """Return the next point to run as a tuple, which is empty while results are pending and at
        the end."""
        if most and not self._waiting and not self._open:
            last = min(self._next + _TRIALS_PER_GENERATION, self._choice.number)
            for number in range(self._next, last):
                self._ask(number)
        return (self._waiting.popleft(),) if most and self._waiting else ()

    def done(self, rows: Iterable[PointRow]) -> None:
        """Report finished rows to the study, after the store has them."""
        for row in rows:
            trial = self._open.pop(row.point)
            if row.unread:
                # The trial stays open in the study: the next start runs it again.
                continue
            # A refused point, or one of a machine without losses, has zeros, and is no candidate.
            named = row.values(())
            there = all(named.get(n) is not None for n in self._choice.objectives if n in AS_BUILT)
            with warnings.catch_warnings():
                # A run that ended here has set the same constraint before.
                warnings.simplefilter("ignore")
                trial.set_constraint(_STATUS, 0.0 if row.status == "ok" and there else 1.0)
            values = [float(named.get(name) or 0.0) for name in self._choice.objectives]
            self._study.tell(trial, values)

    def _opened(self, store: Store) -> Any:
        """Open the study in the folder, and create it if necessary."""
        from sqlalchemy import URL

        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        wait_until_free(store.folder / FILE)
        url = URL.create("sqlite", database=str((store.folder / FILE).absolute()))
        return optuna.create_study(
            study_name=self._sweep.name,
            storage=url.render_as_string(),
            directions=["minimize"] * len(self._choice.objectives),
            load_if_exists=True,
        )

    def _resume(self, trial: Any, store: Store) -> None:
        """Resume a trial that an earlier run started."""
        states = self._optuna.trial.TrialState
        number = trial.user_attrs.get(_POINT)
        if number is None:
            # The trial repeated a point, or the run ended before the point was recorded.
            if trial.state == states.RUNNING:
                self._study.tell(trial.number, state=states.FAIL)
            return
        places = tuple(trial.params[axis.name] for axis in self._sweep.axes)
        sizes = (self._choice.number, *(len(axis.values) for axis in self._sweep.axes))
        if any(n not in range(size) for n, size in zip((number, *places), sizes, strict=True)):
            raise ValueError(f"trial {trial.number} is at no point of the sweep")
        self._taken.add(places)
        self._next = max(self._next, number + 1)
        if trial.state != states.RUNNING:
            return
        self._open[number] = self._optuna.trial.Trial(self._study, trial._trial_id)
        row = store.row(number)
        if row is None:
            self._waiting.append(Point(number, places))
        else:
            self.done([row])

    def _ask(self, number: int) -> None:
        """Request a proposal from the study for a point that was not run before."""
        for attempt in range(_MAX_TRIALS_PENDING + 1):
            if attempt == _MAX_TRIALS_PENDING:
                self._enqueue_another()
            self._study.sampler = self._sampler(number, attempt)
            trial = self._study.ask()
            places = tuple(_suggested(trial, axis) for axis in self._sweep.axes)
            if places not in self._taken:
                break
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        trial.set_user_attr(_POINT, number)
        self._taken.add(places)
        self._open[number] = trial
        self._waiting.append(Point(number, places))
        self._next = number + 1

    def _enqueue_another(self) -> None:
        """Enqueue in the study the next point, in a random order, that was not run."""
        grid = self._sweep.grid
        while True:
            places = places_at(self._sweep, shuffled(self._draw, grid, self._choice.seed))
            self._draw += 1
            if places not in self._taken:
                names = (axis.name for axis in self._sweep.axes)
                self._study.enqueue_trial(dict(zip(names, places, strict=True)))
                return

    def _sampler(self, number: int, attempt: int) -> Any:
        """Return a sampler whose choice depends only on the seed and the number of the point."""
        text = f"{self._choice.seed}:{number}:{attempt}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")
        return self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)


@contextmanager
def _study_problems(path: Path) -> Iterator[None]:
    """Report a study that is damaged, or of another sweep."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (InputError, sqlite3.Error):
        raise
    except (
        SQLAlchemyError,
        OptunaError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
    ) as wrong:
        reason = " ".join(str(wrong).split())
        raise InputError(f"{path} is no study of this sweep: {reason}") from None


def _suggested(trial: Any, axis: SweepAxis) -> int:
    """Return the position on an axis that a trial proposes."""
    last = len(axis.values) - 1
    if _in_order(axis):
        return int(trial.suggest_int(axis.name, 0, last))
    return int(trial.suggest_categorical(axis.name, range(last + 1)))


def _in_order(axis: SweepAxis) -> bool:
    """Return whether an axis has ascending numbers, so that neighbours give similar results."""
    found = [measured(v.shown) for v in axis.values]
    numbers: Iterator[Any] = (m.number for m in found if m is not None)
    return all(m is not None for m in found) and all(a < b for a, b in pairwise(numbers))


_BLOCK = 4096
"""Number of points whose state is read from the store in one query."""
_MIN_POINTS_FOR_A_PROCESS = 16
"""Smallest number of points for which a further process saves more time than it takes to start."""

Advance = Callable[[int], None]
StartProgress = Callable[[int, int], AbstractContextManager[Advance]]
"""Function that opens a progress bar, from the numbers of all points and of finished points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDone:
    """State of a sweep at the end of its run."""

    total: int
    finished: int
    """Number of points in the store."""
    counts: tuple[tuple[str, int], ...]
    """Number of points by status."""
    refused: str
    """Reason why the first refused point was refused."""
    written: tuple[Path, ...]


def _silent(total: int, done: int) -> AbstractContextManager[Advance]:
    del total, done
    return nullcontext(lambda _: None)


def run_sweep(
    sweep: Sweep,
    folder: Path,
    *,
    generators: Generators,
    find: FindMappings,
    workers: int | None = None,
    dask: str | None = None,
    limit: int | None = None,
    progress: StartProgress = _silent,
) -> SweepDone:
    """Run the points of a sweep that its folder does not have yet, and write the results.

    Parameters
    ----------
    folder : Path
        Folder of ``store.sqlite`` and the results, which is created if necessary.
    generators, find
        Generators of mappings that no file states, and the search for ``auto``.
    workers : int, optional
        Processes; by default one for each processor, if there is enough work.
    dask : str, optional
        The address of a Dask scheduler, whose workers run the points then.
    limit : int, optional
        Largest number of points to run now.

    Raises
    ------
    InputError
        The sweep is wrong for all points, the folder is another sweep's, or a process or the
        disk failed: what was finished is kept.
    """
    sources = Sources.named_in(sweep.source)
    with reading_from(sources):
        check_sweep(sweep, InputLoader(sweep, generators, find))
    stored = StoredSweep(
        name=sweep.name,
        version=installed_version(),
        said=sweep.said,
        files=json.dumps(sources.hashes, sort_keys=True),
        total=sweep.total,
        source=sweep.source.name,
        text=sweep.source.text,
    )
    task = SweepTask(sweep=sweep, generators=generators, find=find, stored=stored, sources=sources)
    with opened_for(folder, stored) as store:
        before = sum(store.counts().values())
        left = max(0, sweep.total - before)
        now = left if limit is None else min(left, limit)
        workers = workers or max(1, min(usable_cores(), now // _MIN_POINTS_FOR_A_PROCESS))
        if now:
            remove_stale_results(folder)
            with progress(before + now, before) as advance:
                pool = cluster(dask) if dask else processes(workers)
                _run(task, store, now, pool, advance)
        counts = store.counts()
        return SweepDone(
            total=sweep.total,
            finished=sum(counts.values()),
            counts=tuple(sorted(counts.items())),
            refused=store.first_message() if counts.get("refused") else "",
            written=export(store, sweep),
        )


def sweep_frame(
    given: Named[str, Any] | str | PathLike[str], out: str | PathLike[str] | None, **how: Any
) -> DataFrame:
    """Run a sweep and return its rows, one for each point.

    Parameters
    ----------
    given : dict, str or path
        Sweep file, or its content.
    out : str or path, optional
        Folder that keeps the results; without it nothing is kept.
    **how
        As for ``run_sweep``.
    """
    with TemporaryDirectory() as passing:
        folder = Path(passing if out is None else out)
        run_sweep(sweep_of(given), folder, **how)
        return load_sweep(folder)


def _run(
    task: SweepTask,
    store: Store,
    number: int,
    opening: AbstractContextManager[Pool],
    advance: Advance,
) -> None:
    left = number
    sweep, grid, study = task.sweep, _left_on_grid(task.sweep, store), None
    if sweep.points is not None and sweep.points.objectives:
        study = StudyPoints(sweep, sweep.points, store)

    def next_points(size: int) -> tuple[Point, ...]:
        nonlocal left
        most = min(size, left)
        found = tuple(islice(grid, most)) if study is None else study.next(most)
        left -= len(found)
        return found

    with opening as pool:
        for batch in batches_done(pool, pickle.dumps(task), next_points):
            store.add(batch.rows)
            if study is not None:
                study.done(batch.rows)
            advance(len(batch.rows))


def _left_on_grid(sweep: Sweep, store: Store) -> Iterator[Point]:
    """Yield the points of a grid that are not finished, in blocks read from the store."""
    for first in range(0, sweep.total, _BLOCK):
        last = min(first + _BLOCK, sweep.total) - 1
        done = store.done_between(first, last)
        yield from (point_at(sweep, n) for n in range(first, last + 1) if n not in done)
