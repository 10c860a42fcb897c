"""Incremental re-evaluation: jobs that share a mapping are bound, counted and timed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Generic, TypeVar

from typing_extensions import override

from einsum_cascade.memo import IdentityCache
from einsum_cascade.number_formats import TensorFormats

from ..bounds.floor import LeastWork, least_work
from ..counts.accesses import EinsumCount
from ..counts.spill import count_mapping, spilled_share
from ..engine.capacity_variants import CapacityVariants, MemoryPrices, differ_in_capacities
from ..engine.evaluate import evaluate_bound
from ..engine.latency import time_bound
from ..legality.binding_key import (
    arrays_key,
    bandwidth_key,
    depends_on_capacities,
    keeps_fitted_tiles,
    memories_key,
    rebind_with_footprint,
)
from ..legality.footprint import all_fits
from ..nest.record import Bound
from ..result.result import Result
from ..schedule.kinds import exact_walks
from ..schedule.timing import Timing
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from ..steps.group import Walk
from ..steps.run_length import StepsError
from .job import Job
from .planner import evaluate_job

_ENGINE: Final = "analytical"
_MAX_CACHED_TIMINGS: Final = 256
_MAX_CACHED_ARRAYS: Final = 8
_MAX_CACHED_SIZES: Final = 16
_MAX_CACHED_RESULTS: Final = 256
"""Of all mappings and paces together: a result is some ten times as large as a timing."""

_MAX_KEYS_BY_IDENTITY: Final = 8
"""Of work that is told by which mapping it is, not by what that says."""

_Shapes = tuple[tuple[str, int], ...]
T = TypeVar("T")


class _HashedKey:
    """Something hashable, whose hash is worked out once: of a mapping it takes a while."""

    __slots__ = ("_hash", "_of")

    def __init__(self, *of: object) -> None:
        self._of = of
        self._hash = hash(of)

    @override
    def __hash__(self) -> int:
        return self._hash

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HashedKey) and self._hash == other._hash and self._of == other._of


class _RecentMemo(Generic[T]):
    """What was made for some keys lately."""

    def __init__(self, kept: int | None) -> None:
        self._kept = kept
        self._made: OrderedDict[_HashedKey, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def of(self, key: _HashedKey, make: Callable[[], T]) -> T:
        """What is known for a key, or is made now."""
        # Taken out and put back, so that the latest is last and the first goes when there are too
        # many.
        known = self._made.pop(key, None)
        found = self._made[key] = make() if known is None else known
        if self._kept is not None and len(self._made) > self._kept:
            self._made.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class _ArrayKeys:
    """Arrays of a machine, whatever its memories are."""

    same: _HashedKey
    laid_out: _HashedKey

    @classmethod
    def of(cls, arrays: tuple[ProcessingArray, ...]) -> _ArrayKeys:
        return cls(same=_HashedKey(arrays), laid_out=_HashedKey(arrays_key(arrays)))


class IncrementalEvaluator:
    """Evaluates jobs as ``evaluate_job`` does, those that are alike in less time.

    A mapping is bound once for machines of one layout, and counted once wherever its tiles come
    out the same: speeds, energies and areas change neither, nor do capacities, as long as all
    fits and tiles that are fitted are as large. One with open choices is not, as speeds decide
    about these, too. It is run once for machines of one pace: what is paid for energy and area,
    and how much more a memory could hold, takes no time.

    Parameters
    ----------
    kept : int, optional
        Mappings that are remembered, the latest ones; all of them by default.
    """

    def __init__(self, kept: int | None = None) -> None:
        self._works = lru_cache(maxsize=kept)(_HashedKey)
        self._at_hand: list[tuple[tuple[Mapping, _Shapes, TensorFormats], _HashedKey]] = []
        self._bound: _RecentMemo[_BoundBySize] = _RecentMemo(kept)
        self._runs: _RecentMemo[_CountedMapping] = _RecentMemo(kept)
        self._arrays: IdentityCache[_ArrayKeys] = IdentityCache()
        self._results = _RecentResults(None if kept is None else _MAX_CACHED_RESULTS)

    def evaluate(self, job: Job, /) -> Result:
        """The result of a job, without the job's own notes. Raises as ``Job.bind``."""
        machine, mapping = job.architecture, job.mapping
        if mapping.nests:
            return evaluate_job(job)
        if mapping.choices:
            return evaluate_bound(job.bind(), workload=job.name)
        work = self._work(mapping, job.shapes, job.program.formats)
        arrays = self._array_keys(machine.arrays)
        memories = memories_key(machine, capacities=depends_on_capacities(mapping))
        placed = _HashedKey(work, memories, arrays.laid_out)
        known = self._bound.of(placed, _BoundBySize).of(job)
        if not known.is_whole:
            # It is several mappings in one, of which each would have to be moved.
            return evaluate_bound(job.bind(), workload=job.name)
        bound = rebind_with_footprint(known, machine)
        if not all_fits(bound):
            # Says what does not fit, and where it is written.
            return evaluate_bound(job.bind(), workload=job.name)
        cut = (bound.tiling.cuts, tuple(bound.tiling.shapes.items()), spilled_share(bound))
        memories = memories_key(machine, capacities=False)
        same = _HashedKey(work, memories, arrays.laid_out, cut)
        run = self._runs.of(same, lambda: _CountedMapping(bound, self._results))
        return run.evaluate(bound, job.name, arrays)

    def _work(self, mapping: Mapping, shapes: _Shapes, formats: TensorFormats) -> _HashedKey:
        """What is done; to hash a mapping takes longer than to see that it is the last one."""
        for known, key in self._at_hand:
            if known[0] is mapping and known[1] == shapes and known[2] == formats:
                return key
        key = self._works(mapping, shapes, formats)
        self._at_hand = [
            ((mapping, shapes, formats), key),
            *self._at_hand[: _MAX_KEYS_BY_IDENTITY - 1],
        ]
        return key

    def _array_keys(self, arrays: tuple[ProcessingArray, ...]) -> _ArrayKeys:
        found = self._arrays.find(arrays)
        return found or self._arrays.keep(_ArrayKeys.of(arrays), arrays)


class _BoundBySize:
    """Bound mappings on machines of one layout: of tiles that are fitted, one for each size."""

    def __init__(self) -> None:
        self._known: list[Bound] = []

    def of(self, job: Job) -> Bound:
        """One that is the job's but for its machine. Raises as ``Job.bind``."""
        for known in self._known:
            if keeps_fitted_tiles(known, job.architecture):
                return known
        self._known = [job.bind(), *self._known[: _MAX_CACHED_SIZES - 1]]
        return self._known[0]


class _CountedMapping:
    """A bound mapping, its counts, its steps on the arrays of its machine, and their times."""

    def __init__(self, bound: Bound, results: _RecentResults) -> None:
        self.bound = bound
        self.results = results
        self.counts: tuple[EinsumCount, ...] = count_mapping(bound)
        self._walks: tuple[Walk, ...] | None = None
        self._paces: _RecentMemo[_TimedMapping] = _RecentMemo(_MAX_CACHED_TIMINGS)
        self._least: _RecentMemo[LeastWork] = _RecentMemo(_MAX_CACHED_ARRAYS)

    def evaluate(self, bound: Bound, workload: str, arrays: _ArrayKeys) -> Result:
        """The result on the machine that the mapping was moved to."""
        machine = bound.architecture
        least = self._least.of(arrays.same, lambda: least_work(bound, self.counts))
        pace = self._paces.of(
            _HashedKey(arrays.same, bandwidth_key(machine)), lambda: self._timed_mapping(bound)
        )
        self.results.of(pace)
        return pace.result(bound, workload, self.counts, least)

    def _timed_mapping(self, bound: Bound) -> _TimedMapping:
        return _TimedMapping(self._timed(bound), self.results.prices)

    def _timed(self, bound: Bound) -> Timing:
        walks = self._walks_on(bound.architecture.arrays)
        return time_bound(bound, self.counts, _ENGINE, walks)

    def _walks_on(self, arrays: tuple[ProcessingArray, ...]) -> tuple[Walk, ...]:
        """The steps of what runs together; none where they cannot be told, or are of others."""
        if arrays != self.bound.architecture.arrays:
            return ()
        if self._walks is None:
            try:
                self._walks = exact_walks(self.bound, self.counts)
            except StepsError:
                self._walks = ()
        return self._walks


class _TimedMapping:
    """How long a bound mapping takes on machines of one pace, and the last result there."""

    def __init__(self, timing: Timing, prices: MemoryPrices) -> None:
        self._timing = timing
        self._prices = prices
        self._last: CapacityVariants | None = None

    def result(
        self, bound: Bound, workload: str, counts: tuple[EinsumCount, ...], least: LeastWork
    ) -> Result:
        """The result on one of those machines, into which all fits."""
        known = self.known(bound.architecture)
        if known is not None:
            return replace(known, workload=workload)
        found = evaluate_bound(
            bound, workload=workload, counts=counts, timing=self._timing, least=least
        )
        if bound.mapping.spill is None:
            self._last = CapacityVariants(found, bound, counts, least, self._prices)
        return found

    def known(self, machine: Architecture) -> Result | None:
        """The last result on a machine that differs in capacities alone, if all fits there."""
        if self._last is None or not differ_in_capacities(self._last.machine, machine):
            return None
        return self._last.on(machine)

    def forget(self) -> None:
        """Let go of the last result."""
        self._last = None


class _RecentResults:
    """Paces that have kept their last results, of which the oldest let go of theirs."""

    def __init__(self, kept: int | None) -> None:
        self.prices = MemoryPrices()
        self._kept = kept
        self._paces: OrderedDict[int, _TimedMapping] = OrderedDict()

    def of(self, pace: _TimedMapping) -> None:
        """A pace that is asked for its result."""
        if self._kept is None:
            return
        # They are held here, so that no other one has the number.
        self._paces[id(pace)] = pace
        self._paces.move_to_end(id(pace))
        if len(self._paces) > self._kept:
            _, oldest = self._paces.popitem(last=False)
            oldest.forget()
