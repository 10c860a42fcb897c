"""Parts of a workload (layers and operators): their cascades, mapping problems, and jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from einsum_cascade import Cascade
from einsum_cascade.errors import (
    InputError,
    MappingError,
    Problem,
    SpecError,
    did_you_mean,
    raise_all,
)
from einsum_cascade.ir import Access, Program, walk
from einsum_cascade.memo import cached_property
from einsum_cascade.number_formats import ACCUMULATE, DEFAULT
from einsum_cascade.operations import einsum_operations, kind_and_format, operation_label
from einsum_cascade.shapes import complete_shapes, rank_asymmetry
from einsum_cascade.source import Span
from workloads.parts.part import Part
from workloads.workload import Workload

from ..nest.roles import missing_operations
from ..result.note import noted
from ..spec.arch import OF_WORDS, Architecture
from ..spec.index import compute_the_same, mapping_entries
from ..spec.mapping import BEAM, EINSUM_BY_EINSUM, FUSED, NEST_BY_NEST, Mapping
from ..spec.tensor_words import in_formats, with_word_bits
from .job import Generators, Job
from .partition_factors import Partitioning
from .partitioning import replicating_partitionings, usual_partitionings
from .problem import MappingProblem


def program_of(part: Part, architecture: Architecture, cascade: str = "") -> Program:
    """Return the cascade of a part, with number formats for its tensors and the machine's word.

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


@dataclass(frozen=True)
class PartProblem:
    """Part of a workload, with the machine that runs it and a cascade that computes it.

    Each property is computed on first use, and raises SpecError if the cascade does not exist or
    shapes are missing.
    """

    part: Part
    architecture: Architecture
    generators: Generators
    """Functions that generate mappings which no file contains."""
    cascade: str = ""
    """Name or file of the cascade, by default of the part's own one. Mappings of the problem refer
    to the cascade by this name.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "cascade", self.cascade or self.part.cascade)

    @cached_property
    def program(self) -> Program:
        """Cascade with the number formats of the part."""
        return program_of(self.part, self.architecture, self.cascade)

    @cached_property
    def of_machine(self) -> MappingProblem:
        """Mapping problem: the cascade on the machine, with given shapes completed by defaults."""
        shapes, _ = complete_shapes(self.program, self.part.shapes_for(self.program.settable))
        return MappingProblem(self.program, self.architecture, shapes)

    @property
    def shapes(self) -> dict[str, int]:
        """Sizes of ranks in elements and values of parameters: those given, and defaults."""
        return self.of_machine.shapes

    @property
    def partitionings(self) -> tuple[Partitioning, ...]:
        """Usual partitionings over the cores. A machine with a single core has one, which is
        empty."""
        if not self.architecture.has_instances:
            return ((),)
        return self.of_machine.memo(usual_partitionings)

    @property
    def replicating_partitionings(self) -> tuple[Partitioning, ...]:
        """Further partitionings in which all cores read a common result; none on a single core."""
        if not self.architecture.has_instances:
            return ()
        return self.of_machine.memo(replicating_partitionings)

    def computed_by(self, cascade: str) -> PartProblem:
        """Return this problem with another cascade that computes the part."""
        if cascade == self.cascade:
            return self
        return replace(self, cascade=cascade)


def stands_in(part: Part, cascade: str) -> bool:
    """Return whether a cascade computes the same as a part, except for features in
    ``left_out_by``."""
    return any(compute_the_same(other, cascade) for other in part.stand_ins)


_SEARCH = "`archsim map` searches for a better one."
_DERIVED = {
    EINSUM_BY_EINSUM: "generated mapping: one Einsum after the other, every tensor through memory. "
    f"{_SEARCH}",
    FUSED: f"generated mapping: fused loops, intermediates stay on chip. {_SEARCH}",
    BEAM: f"generated mapping: the best that a short search finds. {_SEARCH}",
    NEST_BY_NEST: "generated mapping: several nests, cut at gathered indices and at passes. "
    f"{_SEARCH}",
}


def job_of(problem: PartProblem, mapping: Mapping, name: str = "") -> Job:
    """Return the job that runs one part under one mapping, with its shapes and notes.

    Parameters
    ----------
    name : str
        Name of the result; by default that of the part.

    Raises
    ------
    SpecError
        The cascade does not exist, or tells query heads apart that the part folds into rows.
    """
    part, program = problem.part, problem.computed_by(mapping.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    _refuse_unlike_rows(program, part.folded_for(ranks))
    own = [t.member for m in (mapping, *mapping.nests) for t in m.tiles]
    try:
        shapes = part.shapes_for(program.settable, program.name)
    except SpecError as wrong:
        if mapping.cascade == part.cascade:
            raise
        raise SpecError([_for_another(part, mapping), *wrong.problems]) from None
    given, usual = complete_shapes(program, shapes, fixed=own)
    derived = (_DERIVED[mapping.name],) if mapping.name in _DERIVED else ()
    sizes = ", ".join(f"{rank} = {size}" for rank, size in usual.items())
    assumptions = [f"{sizes}: usual for {program.name}; the workload gives none"] if usual else []
    wanted = {**shapes, **usual}
    assumptions += [
        f"{rank} = {size}, not {wanted[rank]}: there are no more candidates"
        for rank, size in given.items()
        if size < wanted[rank]
    ]
    another = _another(part, mapping)
    return Job(
        name=name or part.name,
        part=part,
        program=program,
        mapping=mapping,
        shapes=tuple(given.items()),
        architecture=problem.architecture,
        choose=problem.generators.choose,
        foreign=_for_another(part, mapping) if another else None,
        notes=(
            *noted("approximation", another),
            *noted("scope", (*part.notes_for(ranks), *part.left_out_by(program), *assumptions)),
            *noted("mapping", derived),
        ),
    )


def _another(part: Part, mapping: Mapping) -> tuple[str, ...]:
    """Return a note if the mapping's cascade does not compute the same as the part's cascade."""
    own, other = part.cascade, mapping.cascade
    if stands_in(part, other) or compute_the_same(own, other):
        return ()
    return (_runs_another(part, mapping),)


def refuse_another(part: Part, mapping: Mapping) -> None:
    """Raise an error for a mapping whose cascade does not compute the same as the part's cascade.

    Raises
    ------
    SpecError
        The hint lists mappings of the part's cascade.
    """
    if not compute_the_same(part.cascade, mapping.cascade):
        hint = f"{_for_another(part, mapping).hint}; or --approximate, to run something else"
        raise SpecError(_runs_another(part, mapping), mapping.span, hint)


def _runs_another(part: Part, mapping: Mapping) -> str:
    return (
        f"mapping '{mapping.name}' runs {mapping.cascade}, which does not compute what "
        f"{part.cascade} does"
    )


def _for_another(part: Part, mapping: Mapping) -> Problem:
    """Return the error message for a mapping of another cascade than the part's.

    The hint lists mappings of the part's cascade.
    """
    text = f"mapping '{mapping.name}' is for cascade '{mapping.cascade}', not '{part.cascade}'"
    others = ", ".join(entry.name for entry in mapping_entries(part.cascade))
    hint = (
        f"mappings of '{part.cascade}': {others}" if others else f"or --mapping {EINSUM_BY_EINSUM}"
    )
    return Problem(text, mapping.span, hint)


def _refuse_unlike_rows(program: Program, folded: int) -> None:
    """Raise an error if query heads are folded into query rows that the cascade treats
    differently."""
    asymmetry = rank_asymmetry(program, "P") if folded > 1 else None
    if asymmetry is not None:
        text = (
            f"cascade '{program.name}' tells queries apart by their position ({asymmetry}), so"
            f" {folded} query heads that share keys and values cannot be rows of one head"
        )
        hint = "use a cascade without a mask, or one with ranks for such heads (G groups of S)"
        raise SpecError(text, hint=hint)


def own_part(workload: Workload) -> Part:
    """Return the part that runs the cascade of the workload's attention.

    Parameters
    ----------
    workload : Workload
        A model of several kinds of layer has several attentions; ``cascade`` is that of the
        chosen layer, and some part always runs it.
    """
    return next(part for part in workload.parts if part.cascade == workload.cascade)


def refuse_unknown_tensors(workload: Workload, programs: Iterable[Program]) -> None:
    """Raise an error for formats of tensors that no running cascade has.

    Raises
    ------
    SpecError
        Naming each of them, where it is written, and the nearest tensor.
    """
    if not workload.formats.tensors:
        return
    known = dict.fromkeys(t for program in programs for t in program.tensors)
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
    raise_all(wrong, SpecError)


def refuse_missing_operations(
    workload: Workload, cascades: Iterable[tuple[Part, str]], architecture: Architecture
) -> None:
    """Raise an error for the operations that parts of a workload need and no array can do.

    Parameters
    ----------
    cascades : iterable of (Part, str)
        Parts, each with the cascade that computes it.

    Raises
    ------
    SpecError
        An operation is missing in a format only; points at the format.
    MappingError
        Operations are missing; names all of them with the Einsums that need them.
    """
    parts: dict[Program, str] = {}
    with suppress(InputError):  # An error in a cascade or mapping has a message of its own.
        for part, cascade in cascades:
            parts.setdefault(program_of(part, architecture, cascade), part.name)
    raise_all(_uncomputable_formats(workload, parts, architecture), SpecError)
    single = len(parts) == 1
    named = [("" if single else name, program) for program, name in parts.items()]
    missing = missing_operations(named, architecture)
    if missing is not None:
        raise MappingError(missing)


def _uncomputable_formats(
    workload: Workload, programs: Iterable[Program], architecture: Architecture
) -> Iterator[Problem]:
    """Yield a problem for each operation that a machine does in other formats only; the problem
    points at the format."""
    operations = [o for array in architecture.arrays for o in array.operations]
    needs: dict[str, list[tuple[Program, str]]] = {}
    for program in programs if workload.formats.stated else ():
        for e in program.einsums:
            for name, _ in einsum_operations(program, e):
                needs.setdefault(name, []).append((program, e.name))
    for name, einsums in needs.items():
        kind, fmt = kind_and_format(name)
        own = dict.fromkeys(o.format for o in operations if o.kind == kind and o.format)
        if fmt and own and not architecture.arrays_for([name]):
            several = dict.fromkeys(einsum for _, einsum in einsums)
            verb = "needs" if len(several) == 1 else "need"
            needed = f"{operation_label(name)}, which {', '.join(several)} {verb}"
            text = f"no array of {architecture.name} does {needed}"
            known = ", ".join(x for x in own if x != OF_WORDS)
            hint = f"{kind} is done in {known}; 'convert' or 'wider' of an array say what else"
            program, einsum = einsums[0]
            yield Problem(text, _stated(workload, program, einsum, fmt), hint)


def _stated(workload: Workload, program: Program, einsum: str, fmt: str) -> Span | None:
    """Return where in a file the number format of an Einsum's operands is set."""
    places, formats = dict(workload.formats_at), dict(workload.formats.tensors)
    nodes = walk(program.einsum_of[einsum].expression)
    operands = {n.tensor for n in nodes if isinstance(n, Access)}
    read = [name for name in formats if formats[name] == fmt and name in operands]
    return next((places[name] for name in (*read, DEFAULT) if name in places), None)
