"""The planner: which jobs a workload is on a machine.

Every command that runs something asks here, so that one run means the same to all of them:
``simulate``, its trace and its dumps, ``compare``, ``map``, ``validate``, the atlas and the
reproductions.
"""

from __future__ import annotations

from dataclasses import replace

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.rows import tells_apart
from einsum_cascade.shapes import with_usual

from ..spec.arch import Architecture
from ..spec.index import mapping_entries
from ..spec.mapping import EINSUM_BY_EINSUM, Mapping
from .job import Generators, Job, JobPlan
from .selection import ByPart, Given, mappings_of
from .workload import PartLike, WorkloadLike

_DERIVED = (
    "a mapping made for any cascade: one Einsum after the other, every tensor through memory; "
    "one written for this cascade may do better"
)


def plan(
    workload: WorkloadLike,
    architecture: Architecture,
    mapping: Given = None,
    *,
    generators: Generators,
) -> JobPlan:
    """The jobs of a workload on a machine, one for each part, in the order they run.

    Parameters
    ----------
    mapping : Mapping, sequence of Mapping, ByPart, or None
        As in ``mappings_of``.
    generators : Generators
        Where mappings come from that no file spells out.

    Raises
    ------
    SpecError
        Something named does not exist, or a part cannot be run by its mapping's cascade.
    MappingError
        A part without a written mapping has an Einsum that no array can do.
    """
    parts = tuple(workload.parts)
    chosen = mappings_of(workload, mapping, architecture, generators)
    if len(parts) == 1 and parts[0].times == 1:
        jobs = [job_of(parts[0], chosen[0], architecture, generators, name=workload.name)]
    else:
        jobs = []
        for part, how in zip(parts, chosen, strict=True):
            try:
                jobs.append(job_of(part, how, architecture, generators))
            except InputError as wrong:
                raise told_of(part.name, wrong) from None
    return JobPlan(
        workload=workload,
        architecture=architecture,
        jobs=tuple(jobs),
        searched=isinstance(mapping, ByPart),
    )


def told_of(name: str, error: InputError) -> InputError:
    """The error, saying which part of a workload it is about.

    Parameters
    ----------
    name : str
        Of the part, set before each message.

    Returns
    -------
    InputError
        Of the same class: the exit code of the command line follows from it.
    """
    problems = [replace(p, message=f"{name}: {p.message}") for p in error.problems]
    return type(error)(problems)


def job_of(
    part: PartLike,
    mapping: Mapping,
    architecture: Architecture,
    generators: Generators,
    *,
    name: str = "",
) -> Job:
    """One part under one mapping: its shapes, the usual ones of the cascade, and what to say.

    Parameters
    ----------
    name : str
        What the result is called; by default as the part.

    Raises
    ------
    SpecError
        The cascade does not exist, or tells query heads apart that the part folds into rows.
    """
    program = Cascade.load(mapping.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    _refuse_unlike_rows(program, part.folded_for(ranks))
    own = [t.member for t in mapping.tiles]
    try:
        shapes = part.shapes_for(program.settable, program.name)
    except SpecError as wrong:
        raise _for_another(part, mapping, wrong) from None
    given, usual = with_usual(program, shapes, fixed=own)
    derived = (_DERIVED,) if mapping.name == EINSUM_BY_EINSUM else ()
    sizes = ", ".join(f"{rank} = {size}" for rank, size in usual.items())
    said = (f"{sizes}: usual for {program.name}; the workload gives none",) if usual else ()
    return Job(
        name=name or part.name,
        part=part,
        program=program,
        mapping=mapping,
        shapes=tuple(given.items()),
        architecture=architecture,
        choose=generators.choose,
        notes=(*part.notes_for(ranks), *part.left_out_by(program), *said, *derived),
    )


def _for_another(part: PartLike, mapping: Mapping, wrong: SpecError) -> SpecError:
    """The error, saying first that the mapping is for another cascade where that is why."""
    if mapping.cascade == part.cascade:
        return wrong
    text = f"mapping '{mapping.name}' is for cascade '{mapping.cascade}', not '{part.cascade}'"
    others = ", ".join(entry.name for entry in mapping_entries(part.cascade))
    hint = (
        f"mappings of '{part.cascade}': {others}" if others else f"or --mapping {EINSUM_BY_EINSUM}"
    )
    return SpecError([Problem(text, mapping.span, hint), *wrong.problems])


def _refuse_unlike_rows(program: Program, folded: int) -> None:
    """Refuse to take query heads as more queries where the cascade tells queries apart."""
    apart = tells_apart(program, "P") if folded > 1 else None
    if apart is not None:
        text = (
            f"cascade '{program.name}' tells queries apart by their position ({apart}), so"
            f" {folded} query heads that share keys and values cannot be rows of one head"
        )
        hint = "use a cascade without a mask, or one with ranks for such heads (G groups of S)"
        raise SpecError(Problem(text, hint=hint))
