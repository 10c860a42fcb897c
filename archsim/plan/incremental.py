"""Incremental re-evaluation: jobs with a common mapping are bound, counted and timed only once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from einsum_cascade.memo import Cache, Identity, Key
from einsum_cascade.number_formats import TensorFormats

from ..bounds.floor import LeastWork, least_work
from ..counts.accesses import EinsumCount
from ..counts.spill import count_mapping, spilled_share
from ..engine.assemble import differ_in_capacities, priced
from ..engine.evaluate import critical_core, evaluate_bound
from ..engine.latency import time_bound
from ..engine.timing import Timing
from ..legality.binding_key import (
    arrays_key,
    bandwidth_key,
    depends_on_capacities,
    keeps_fitted_tiles,
    memories_key,
    rebind,
    rebind_with_footprint,
)
from ..legality.footprint import all_fits
from ..nest.record import Bound
from ..result.result import Result
from ..schedule.kinds import exact_walks
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from ..steps.group import Walk
from ..steps.run_length import StepsError
from . import policy
from .job import Job
from .planner import evaluate_job

_ENGINE: Final = "analytical"


@dataclass(frozen=True, slots=True)
class _ArrayKeys:
    """Keys under which results for a machine's processing arrays are remembered."""

    whole: Key
    binding: Key
    """Key of those properties of the arrays that binding reads."""

    @classmethod
    def of(cls, arrays: tuple[ProcessingArray, ...]) -> _ArrayKeys:
        return cls(whole=Key(arrays), binding=Key(arrays_key(arrays)))


class IncrementalEvaluator:
    """Evaluator that reuses the stages of earlier jobs; its results equal those of
    ``evaluate_job``.

    A mapping is bound once for all machines of one layout. It is counted once for all tile sizes
    that come out equal. Counts do not depend on speeds, energies and areas, nor on capacities
    while all tiles fit. It is timed once for all machines with the same speeds: prices and unused
    capacity take no time. Mappings with open choices are evaluated anew, since speeds decide
    between alternatives.

    Parameters
    ----------
    kept : int, optional
        Number of mappings to remember, the most recent ones; all by default.
    """

    def __init__(self, kept: int | None = None) -> None:
        self._keys: Cache[Key] = Cache(kept)
        self._recent_keys: Cache[Key] = Cache(policy.MAX_KEYS_BY_IDENTITY)
        self._arrays = Cache[_ArrayKeys](policy.MAX_CACHED_ARRAYS)
        self._bound: Cache[_FittedMappings] = Cache(kept)
        self._runs: Cache[_CountedMapping] = Cache(kept)
        self._cores = Cache[tuple[Bound, tuple[EinsumCount, ...], Timing]](kept)
        self._results = Cache[tuple[Architecture, Result]](
            None if kept is None else policy.MAX_CACHED_RESULTS
        )

    def evaluate(self, job: Job, /) -> Result:
        """Return the result of a job, without the job's own notes. Raises as ``Job.bind``."""
        machine, mapping = job.architecture, job.mapping
        if mapping.nests:
            return evaluate_job(job)
        if mapping.choices:
            return evaluate_bound(job.bind(), workload=job.name)
        work = self._work(mapping, job.shapes, job.program.formats)
        arrays = self._arrays.get(Identity(machine.arrays), lambda: _ArrayKeys.of(machine.arrays))
        memories = memories_key(machine, capacities=depends_on_capacities(mapping))
        fitted = self._bound.get(Key(work, memories, arrays.binding), _FittedMappings).of(job)
        if not fitted.is_whole:
            return self._on_cores(job, work)
        bound = rebind_with_footprint(fitted, machine)
        if not all_fits(bound):
            # The error names the tile that does not fit, and its place in the file.
            return evaluate_bound(job.bind(), workload=job.name)
        tiles = (bound.tiling.cuts, tuple(bound.tiling.shapes.items()), spilled_share(bound))
        counted = Key(work, memories_key(machine, capacities=False), arrays.binding, tiles)
        run = self._runs.get(counted, lambda: _CountedMapping(bound))
        return self._priced(run, bound, job.name, counted, arrays.whole)

    def _on_cores(self, job: Job, work: Key) -> Result:
        """Return the result of a partitioned mapping, timed once for machines that differ in
        prices alone.

        It has a nest per core, of which each would have to be moved to a machine of other sizes.
        """
        machine = job.architecture
        arrays = tuple(
            replace(a, operations=tuple(replace(o, bill=()) for o in a.operations))
            for a in machine.arrays
        )
        timed = Key(work, machine.clock_hz, machine.word_bits, machine.memories, arrays)
        core, counts, timing = self._cores.get(timed, lambda: critical_core(job.bind()))
        cores = replace(core.cores, whole=rebind(core.whole, machine))
        bound = replace(rebind(core, machine), cores=cores)
        return evaluate_bound(bound, workload=job.name, counts=counts, timing=timing)

    def _work(
        self, mapping: Mapping, shapes: tuple[tuple[str, int], ...], formats: TensorFormats
    ) -> Key:
        """Return the key of a mapping together with shapes and number formats.

        The key is looked up by the mapping's identity first, since hashing its content takes
        longer.
        """

        def by_content() -> Key:
            key = Key(mapping, shapes, formats)
            return self._keys.get(key, lambda: key)

        return self._recent_keys.get((Identity(mapping), shapes, formats), by_content)

    def _priced(
        self, run: _CountedMapping, bound: Bound, workload: str, counted: Key, arrays: Key
    ) -> Result:
        """Return the result of a counted mapping on its machine.

        If an earlier result with the same speeds differs in capacities only, its prices are
        updated.
        """
        speeds = Key(arrays, bandwidth_key(bound.architecture))
        timed = Key(counted, speeds)
        known, least = self._results.find(timed), run.least_work(bound, arrays)
        if known is not None and differ_in_capacities(known[0], bound.architecture):
            return replace(priced(known[1], bound, run.counts, least), workload=workload)
        counts, timing = run.counts, run.timing(bound, speeds)
        result = evaluate_bound(bound, workload=workload, counts=counts, timing=timing, least=least)
        if bound.mapping.spill is None:
            self._results.keep(timed, (bound.architecture, result))
        return result


class _FittedMappings:
    """Bound mappings for machines of one layout: one for each set of fitted tile sizes."""

    def __init__(self) -> None:
        self._known: list[Bound] = []

    def of(self, job: Job) -> Bound:
        """Return a bound mapping whose tile sizes are those of the job. Raises as ``Job.bind``."""
        for known in self._known:
            if keeps_fitted_tiles(known, job.architecture):
                return known
        self._known = [job.bind(), *self._known[: policy.MAX_CACHED_TILE_SIZES - 1]]
        return self._known[0]


class _CountedMapping:
    """Bound mapping with its counts, its schedule steps, and its timings by machine speeds."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.counts: tuple[EinsumCount, ...] = count_mapping(bound)
        self._walks: tuple[Walk, ...] | None = None
        self._timings: Cache[Timing] = Cache(policy.MAX_CACHED_TIMINGS)
        self._least: Cache[LeastWork] = Cache(policy.MAX_CACHED_ARRAYS)

    def least_work(self, bound: Bound, arrays: Key) -> LeastWork:
        """Return the least work of the mapping on some arrays; ``arrays`` is their key."""
        return self._least.get(arrays, lambda: least_work(bound, self.counts))

    def timing(self, bound: Bound, speeds: Key) -> Timing:
        """Return the timing of the mapping on a machine; ``speeds`` is the key of its speeds."""
        return self._timings.get(speeds, lambda: self._timed(bound))

    def _timed(self, bound: Bound) -> Timing:
        walks = self._walks_on(bound.architecture.arrays)
        return time_bound(bound, self.counts, _ENGINE, walks)

    def _walks_on(self, arrays: tuple[ProcessingArray, ...]) -> tuple[Walk, ...]:
        """Return the known schedule steps of each group, if they hold for the given arrays; else
        none."""
        if arrays != self.bound.architecture.arrays:
            return ()
        if self._walks is None:
            try:
                self._walks = exact_walks(self.bound, self.counts)
            except StepsError:
                self._walks = ()
        return self._walks
