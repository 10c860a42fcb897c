"""Cascades of the parts of a workload, in the number formats of the workload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Access, Einsum, Program, walk
from einsum_cascade.number_formats import ACCUMULATE, DEFAULT
from einsum_cascade.operations import einsum_operations, kind_and_format, operation_label
from einsum_cascade.source import Span

from ..spec.arch import OF_WORDS, Architecture
from ..spec.tensor_words import in_formats, with_word_bits
from .workload import PartLike, WorkloadLike


def program_of(part: PartLike, architecture: Architecture, cascade: str = "") -> Program:
    """Return a cascade of a part on a machine, with the formats of the part's tensors.

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
    return program.memo(in_formats, with_word_bits(part.formats, architecture.word_bits))


def refuse_unknown_tensors(workload: WorkloadLike, programs: Iterable[Program]) -> None:
    """Refuse formats of tensors that no running cascade has.

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


def refuse_uncomputable_formats(
    workload: WorkloadLike, part: PartLike, architecture: Architecture
) -> None:
    """Refuse a format in which no array of a machine computes an operation of a part.

    The error points at the format, which a refusal of all mappings would not.

    Raises
    ------
    SpecError
        Naming the first operation, and in what the machine does it.
    """
    if not workload.formats.stated:
        return
    program = program_of(part, architecture)
    operations = [o for array in architecture.arrays for o in array.operations]
    for e in program.einsums:
        for name, _ in einsum_operations(program, e):
            kind, fmt = kind_and_format(name)
            own = dict.fromkeys(o.format for o in operations if o.kind == kind and o.format)
            if fmt and own and not architecture.arrays_for([name]):
                asked = f"{operation_label(name)}, which {e.name} needs"
                text = f"no array of {architecture.name} does {asked}"
                known = ", ".join(x for x in own if x != OF_WORDS)
                hint = f"{kind} is done in {known}; 'convert' or 'wider' of an array say what else"
                raise SpecError(Problem(text, _stated(workload, program, e.name, fmt), hint))


def _stated(workload: WorkloadLike, program: Program, einsum: str, fmt: str) -> Span | None:
    """Return the place where the format of an Einsum's operands is stated."""
    places, formats = dict(workload.formats_at), dict(workload.formats.tensors)
    (e,) = (x for x in program.einsums if x.name == einsum)
    read = [name for name in formats if formats[name] == fmt and name in _read_by(e)]
    return next((places[name] for name in (*read, DEFAULT) if name in places), None)


def _read_by(e: Einsum) -> set[str]:
    return {n.tensor for n in walk(e.expression) if isinstance(n, Access)}


def _tensors(program: Program) -> Iterator[str]:
    yield from (t.name for t in program.inputs)
    yield from (e.name for e in program.einsums)
