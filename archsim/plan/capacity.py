"""Memory that a whole workload needs, compared with the memory that a machine has.

Weights, caches and states of all parts stay in memory together. Activations are those of the part
that needs most, because parts run one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

from workloads.models import ModelConfig
from workloads.parts.part import weights_of
from workloads.workload import ANSWER, Workload

from ..result.record import MemoryNeed, RunRecord
from ..spec.arch import Architecture
from .job import Job

_QUERIES, _SEQUENCES = "P", "B"
"""Ranks of query tokens and of sequences in cascades that mix tokens."""


def memory_needs(
    workload: Workload, jobs: Sequence[Job], results: Sequence[RunRecord]
) -> tuple[MemoryNeed, ...]:
    """Return what a workload needs of the outermost memory that stores data.

    Parameters
    ----------
    jobs, results : sequence
        Jobs of all parts on one machine, and the result of one run of each.
    """
    machine = jobs[0].architecture
    home, copies = machine.home, machine.copies(machine.home.name)
    live = (
        result.resident_bytes * copies - _bytes(job, _kept(job))
        for job, result in zip(jobs, results, strict=True)
    )
    needed = _kept_by_all(workload, jobs, machine) + max(0.0, *live)
    size = home.installed_bytes or home.capacity_bytes
    available = None if size is None else float(size * copies)
    return (MemoryNeed(memory=home.name, needed_bytes=needed, available_bytes=available),)


def stored_formats(workload: Workload, jobs: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    """Return the number formats of a model's weights and caches, those of most values first."""
    if (model := workload.model) is None:
        return ()
    word = f"{jobs[0].architecture.word_bits}-bit words"
    found: dict[str, Counter[str]] = {"weights": Counter(), "caches": Counter()}
    for job in jobs:
        for name in () if _mixes(job) else weights_of(job.program):
            elements = (job.part.times + job.part.idle) * _elements(job, name)
            found["weights"][job.program.formats.of(name).name or word] += elements
    for name, elements in (*model.cached, *model.cached_of_encoder):
        found["caches"][workload.stored_formats.of(name).name or word] += elements
    return tuple((k, " and ".join(f for f, _ in n.most_common())) for k, n in found.items() if n)


def _kept_by_all(workload: Workload, jobs: Sequence[Job], machine: Architecture) -> float:
    """Return the bytes of weights, caches and states of all parts together."""
    model = workload.model if workload.scope == "model" else None
    elements, found = 0, 0.0
    for job in jobs:
        # Both stages of a request use the same weights.
        if job.part.stage == ANSWER or (model is not None and _mixes(job)):
            continue
        copies = job.part.times + job.part.idle
        found += copies * _bytes(job, _kept(job))
        elements += copies * sum(_elements(job, name) for name in _kept(job))
    if model is None:
        return found
    # Embeddings and norms belong to no part.
    others = max((model.parameters or 0) - elements, 0) * machine.word_bits / 8
    return found + others + _cached_bytes(workload, model, machine)


def _cached_bytes(workload: Workload, model: ModelConfig, machine: Architecture) -> float:
    """Return the bytes of all caches and states of a model, at the end of a request."""
    tokens, request = workload.computed, workload.request
    keys, batch = workload.seq_len or 1, workload.batch or 1
    if tokens is not None:
        keys, batch = tokens.keys, tokens.batch
    if request is not None:
        keys = request.prompt_len + request.answer_len - 1
    formats = workload.stored_formats
    formats = replace(formats, word_bits=formats.word_bits or machine.word_bits)
    kept = [(name, keys * count) for name, count in model.cached]
    kept += [(name, (model.encoder_len or keys) * n) for name, n in model.cached_of_encoder]
    kept.append(("SI", model.state_elements))
    bits = sum((formats.bits_of(name) * count for name, count in kept), Fraction(0))
    return float(batch * bits / 8)


def _mixes(job: Job) -> bool:
    """Return whether a job's cascade mixes the tokens of sequences: its inputs are no weights."""
    return _SEQUENCES in job.program.parallel


def _kept(job: Job) -> tuple[str, ...]:
    """Return the inputs that stay in memory after a run: weights, cached keys and values, states.

    A cascade with queries reads all other inputs, such as keys, from a cache.
    """
    program = job.program
    if _mixes(job) and any(r.name == _QUERIES for r in program.ranks):
        return tuple(t.name for t in program.inputs if _QUERIES not in t.ranks)
    return weights_of(program)


def _elements(job: Job, tensor: str) -> int:
    """Return the number of elements of a tensor in all parallel instances of a job's cascade."""
    shapes, program = dict(job.shapes), job.program
    ranks = (*program.parallel, *program.tensor_ranks.get(tensor, ()))
    return prod(shapes.get(rank, 1) for rank in ranks)


def _bytes(job: Job, tensors: Iterable[str]) -> float:
    """Return the bytes of some tensors of a job in their number formats."""
    machine = job.architecture
    formats = job.program.formats
    formats = replace(formats, word_bits=formats.word_bits or machine.word_bits)
    return float(sum(_elements(job, name) * formats.bits_of(name) / 8 for name in tensors))
