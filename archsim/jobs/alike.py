"""Jobs that have most in common: what two of them share is worked out once."""

from __future__ import annotations

from collections import OrderedDict

from einsum_cascade.number_formats import TensorFormats

from ..bound.layout import layout, rebind
from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..cost.spill import count_mapping
from ..evaluate.evaluate import evaluate_bound
from ..result.record import Result
from ..schedule.kinds import exact_walks
from ..spec.arch import ProcessingArray
from ..spec.mapping import Mapping
from ..steps.group import Walk
from ..steps.limits import StepsError
from .job import Job

_AlikeKey = tuple[Mapping, tuple[object, ...], tuple[tuple[str, int], ...], TensorFormats]
"""A mapping (it names its cascade), the layout of a machine, shapes, and formats of tensors."""


class AlikeJobs:
    """Evaluates jobs as ``evaluate_job`` does, those that are alike in less time.

    A mapping is bound and counted once for machines of one layout: speeds, energies and areas
    change neither. One with open choices is not, as speeds decide about these, too. What its
    steps do depends on the arrays besides, and on no memory's speed.

    Parameters
    ----------
    kept : int, optional
        Bound mappings that are remembered, the latest ones; all of them by default.
    """

    def __init__(self, kept: int | None = None) -> None:
        self._kept = kept
        self._known: OrderedDict[_AlikeKey, _BoundOnce] = OrderedDict()

    def evaluate(self, job: Job, /) -> Result:
        """The result of a job, without the job's own notes. Raises as ``Job.bind``."""
        if job.known is not None:
            return job.known
        if job.mapping.choices:
            return evaluate_bound(job.bind(), workload=job.name)
        shapes = tuple(sorted(job.shapes))
        key = (job.mapping, layout(job.architecture), shapes, job.program.formats)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _BoundOnce(job.bind())
        self._known.move_to_end(key)
        if self._kept is not None and len(self._known) > self._kept:
            self._known.popitem(last=False)
        return evaluate_bound(
            rebind(known.bound, job.architecture),
            workload=job.name,
            counts=known.counts,
            walks=known.walks(job.architecture.arrays),
        )


class _BoundOnce:
    """A bound mapping, its counts, and its steps on the arrays of its machine."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.counts: tuple[EinsumCount, ...] = count_mapping(bound)
        self._arrays = bound.architecture.arrays
        self._walks: tuple[Walk, ...] | None = None

    def walks(self, arrays: tuple[ProcessingArray, ...]) -> tuple[Walk, ...]:
        """The steps of what runs together; none where they cannot be told, or are of others."""
        if arrays != self._arrays:
            return ()
        if self._walks is None:
            try:
                self._walks = exact_walks(self.bound, self.counts)
            except StepsError:
                self._walks = ()
        return self._walks
