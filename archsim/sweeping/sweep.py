"""Running a sweep: what is not finished yet is run, batch by batch, and kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from ..jobs.job import Generators
from ..version import installed_version
from .checks import check_sweep, contents_of
from .export import export, withdraw
from .inputs import BestMappings, InputLoader
from .points import Point, point_at
from .run import BatchDone, SweepTask
from .spec import SearchedPoints, Sweep
from .store import Store, StoredSweep, opened_for
from .workers import Pool, batches_done, cluster, processes, usable_cores

_BLOCK = 4096
"""Points whose state is asked of the store at once."""
_WORTH_A_PROCESS = 16
"""Points below which another process takes longer to start than it saves."""

Advance = Callable[[int], None]
StartProgress = Callable[[int, int], AbstractContextManager[Advance]]
"""Given how many points there are and how many are done, what to call with each number more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDone:
    """How far a sweep is when its run ends."""

    total: int
    finished: int
    """Points in the store."""
    now: int
    """Points that this run added."""
    counts: tuple[tuple[str, int], ...]
    """Points of each status."""
    refused: str
    """Why the first refused point was refused."""
    written: tuple[Path, ...]


def _silent(total: int, done: int) -> AbstractContextManager[Advance]:
    del total, done
    return nullcontext(lambda _: None)


def run_sweep(
    sweep: Sweep,
    folder: Path,
    *,
    generators: Generators,
    find: BestMappings,
    workers: int | None = None,
    dask: str | None = None,
    limit: int | None = None,
    progress: StartProgress = _silent,
) -> SweepDone:
    """Run the points of a sweep that its folder does not have yet, and write the results.

    Parameters
    ----------
    folder : Path
        Holds ``store.sqlite`` and the results; made if it is not there.
    generators, find
        Where mappings come from that no file spells out, or that are to be searched.
    workers : int, optional
        Processes; by default one for each processor, as far as there is work for them.
    dask : str, optional
        The address of a Dask scheduler, whose workers run the points then.
    limit : int, optional
        At most so many points are run now.

    Raises
    ------
    InputError
        The sweep is wrong for all points, the folder is another sweep's, or a process or the
        disk failed: what was finished is kept.
    """
    check_sweep(sweep, InputLoader(sweep, generators, find))
    task = SweepTask(
        sweep=sweep,
        generators=generators,
        find=find,
        contents=contents_of(sweep),
        version=installed_version(),
    )
    with opened_for(folder, _stored(task)) as store:
        before = store.count()
        left = sweep.total - before
        now = left if limit is None else min(left, limit)
        workers = workers or _usual_workers(now)
        if now:
            withdraw(folder)
            with progress(before + now, before) as advance:
                pool = cluster(dask) if dask else processes(workers)
                _run(task, store, now, pool, advance)
        counts = store.counts()
        return SweepDone(
            total=sweep.total,
            finished=sum(counts.values()),
            now=now,
            counts=tuple(sorted(counts.items())),
            refused=store.first_message() if counts.get("refused") else "",
            written=export(store, sweep, workers=workers),
        )


def _stored(task: SweepTask) -> StoredSweep:
    sweep = task.sweep
    return StoredSweep(
        name=sweep.name,
        version=task.version,
        said=sweep.said,
        contents=task.contents,
        total=sweep.total,
        source=sweep.source.name,
        text=sweep.source.text,
    )


def _run(
    task: SweepTask,
    store: Store,
    number: int,
    opening: AbstractContextManager[Pool],
    advance: Advance,
) -> None:
    left = number
    points = _source(task.sweep, store)

    def next_points(size: int) -> tuple[Point, ...]:
        nonlocal left
        found = points.next(min(size, left))
        left -= len(found)
        return found

    with opening as pool:
        for batch in batches_done(pool, pickle.dumps(task), next_points):
            store.add(batch.columns)
            points.done(batch)
            advance(len(batch.columns))


class PointSource(Protocol):
    """Where points come from."""

    def next(self, most: int, /) -> tuple[Point, ...]:
        """The next points to run, at most so many; none while what they are depends on others."""
        ...

    def done(self, batch: BatchDone, /) -> None:
        """What some points gave; it is in the store."""
        ...


def _source(sweep: Sweep, store: Store) -> PointSource:
    if isinstance(sweep.points, SearchedPoints):
        # Not above: few sweeps are searches.
        from .study import StudyPoints

        return StudyPoints(sweep, sweep.points, store)
    return _GridPoints(sweep, store)


class _GridPoints:
    """Points that are known beforehand, but for those that are finished."""

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self._points = _open_points(sweep, store)

    def next(self, most: int) -> tuple[Point, ...]:
        return tuple(islice(self._points, most))

    def done(self, batch: BatchDone) -> None:
        """Nothing follows from them."""


def _open_points(sweep: Sweep, store: Store) -> Iterator[Point]:
    """Points that are not finished, as they are asked for."""
    for first in range(0, sweep.total, _BLOCK):
        last = min(first + _BLOCK, sweep.total) - 1
        done = store.done_between(first, last)
        yield from (point_at(sweep, n) for n in range(first, last + 1) if n not in done)


def _usual_workers(points: int) -> int:
    return max(1, min(usable_cores(), points // _WORTH_A_PROCESS))
