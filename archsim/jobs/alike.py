"""Jobs that have most in common: what two of them share is worked out once."""

from __future__ import annotations

from collections import OrderedDict

from ..bound.layout import layout, rebind
from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..cost.spill import count_mapping
from ..evaluate.evaluate import evaluate_bound
from ..result.record import Result
from ..spec.mapping import Mapping
from .job import Job

_AlikeKey = tuple[Mapping, tuple[object, ...], tuple[tuple[str, int], ...]]
"""A mapping (it names its cascade), the layout of a machine, and shapes."""


class AlikeJobs:
    """Evaluates jobs as ``evaluate_job`` does, those that are alike in less time.

    A mapping is bound and counted once for machines of one layout: speeds, energies and areas
    change neither. One with open choices is not, as speeds decide about these, too.

    Parameters
    ----------
    kept : int, optional
        Bound mappings that are remembered, the latest ones; all of them by default.
    """

    def __init__(self, kept: int | None = None) -> None:
        self._kept = kept
        self._bound: OrderedDict[_AlikeKey, tuple[Bound, tuple[EinsumCount, ...]]] = OrderedDict()

    def evaluate(self, job: Job, /) -> Result:
        """The result of a job, without the job's own notes. Raises as ``Job.bind``."""
        if job.known is not None:
            return job.known
        if job.mapping.choices:
            return evaluate_bound(job.bind(), workload=job.name)
        bound, counts = self._bound_once(job)
        bound = rebind(bound, job.architecture)
        return evaluate_bound(bound, workload=job.name, counts=counts)

    def _bound_once(self, job: Job) -> tuple[Bound, tuple[EinsumCount, ...]]:
        key = (job.mapping, layout(job.architecture), tuple(sorted(job.shapes)))
        if key not in self._bound:
            bound = job.bind()
            self._bound[key] = bound, count_mapping(bound)
        self._bound.move_to_end(key)
        found = self._bound[key]
        if self._kept is not None and len(self._bound) > self._kept:
            self._bound.popitem(last=False)
        return found
