"""The cascade that a part of a workload runs, on numbers in the formats of the workload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Program
from einsum_cascade.number_formats import ACCUMULATE, DEFAULT

from ..spec.arch import Architecture
from ..spec.words import in_formats, on_machine
from .workload import PartLike, WorkloadLike


def program_of(part: PartLike, architecture: Architecture, cascade: str = "") -> Program:
    """A cascade of a part on a machine, with the formats of the part's tensors.

    Parameters
    ----------
    cascade : str
        By default the part's own.

    Raises
    ------
    SpecError
        There is no such cascade, or it is wrong.
    """
    program = Cascade.load(cascade or part.cascade).program
    return program.once(in_formats, on_machine(part.formats, architecture.word_bits))


def refuse_unknown_tensors(workload: WorkloadLike, programs: Iterable[Program]) -> None:
    """Refuse formats of tensors that no cascade which runs has.

    Raises
    ------
    SpecError
        Naming each of them, where it is written, and the nearest tensor.
    """
    if not workload.formats.tensors:
        return
    known = dict.fromkeys(t for program in programs for t in _tensors(program))
    places = dict(workload.formats_at)
    wrong = [
        Problem(
            f"formats: no cascade that runs has a tensor '{name}'",
            places.get(name),
            did_you_mean(name, [*known, DEFAULT, ACCUMULATE]),
        )
        for name, _ in workload.formats.tensors
        if name not in known
    ]
    if wrong:
        raise SpecError(wrong)


def _tensors(program: Program) -> Iterator[str]:
    yield from (t.name for t in program.inputs)
    yield from (e.name for e in program.einsums)
