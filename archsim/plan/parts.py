"""Jobs of the parts of a workload, each under a given mapping."""

from __future__ import annotations

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.shapes import complete_shapes, rank_asymmetry

from ..spec.arch import Architecture
from ..spec.index import compute_the_same, mapping_entries
from ..spec.mapping import BLOCK_BY_BLOCK, EINSUM_BY_EINSUM, FUSED, NEST_BY_NEST, Mapping
from .job import Generators, Job
from .programs import program_of
from .selection import stands_in
from .workload import PartLike

_SEARCH = "`archsim map` searches for a better one."
_DERIVED = {
    EINSUM_BY_EINSUM: "generated mapping: one Einsum after the other, every tensor through memory. "
    f"{_SEARCH}",
    BLOCK_BY_BLOCK: "generated mapping: one Einsum after the other, in blocks that memories hold. "
    f"{_SEARCH}",
    FUSED: f"generated mapping: fused loops, intermediates stay on chip. {_SEARCH}",
    NEST_BY_NEST: "generated mapping: several nests, cut at gathered indices and at passes. "
    f"{_SEARCH}",
}


def job_of(
    part: PartLike,
    mapping: Mapping,
    architecture: Architecture,
    generators: Generators,
    *,
    name: str = "",
) -> Job:
    """Return the job of one part under one mapping, with its shapes and notes.

    Parameters
    ----------
    name : str
        Name of the result; by default that of the part.

    Raises
    ------
    SpecError
        The cascade does not exist, or tells query heads apart that the part folds into rows.
    """
    program = program_of(part, architecture, mapping.cascade)
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
    said = [f"{sizes}: usual for {program.name}; the workload gives none"] if usual else []
    wanted = {**shapes, **usual}
    said += [
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
        architecture=architecture,
        choose=generators.choose,
        foreign=_for_another(part, mapping) if another else None,
        notes=(
            *another,
            *part.notes_for(ranks),
            *part.left_out_by(program),
            *said,
            *derived,
        ),
    )


def _another(part: PartLike, mapping: Mapping) -> tuple[str, ...]:
    """Return a note if the mapping's cascade computes something else than the part's."""
    own, other = part.cascade, mapping.cascade
    if other == own or stands_in(part, other) or compute_the_same(own, other):
        return ()
    return (f"mapping '{mapping.name}' runs {other}, which does not compute what {own} does",)


def _for_another(part: PartLike, mapping: Mapping) -> Problem:
    """Return the problem of a mapping for another cascade, with the mappings of the part's
    cascade."""
    text = f"mapping '{mapping.name}' is for cascade '{mapping.cascade}', not '{part.cascade}'"
    others = ", ".join(entry.name for entry in mapping_entries(part.cascade))
    hint = (
        f"mappings of '{part.cascade}': {others}" if others else f"or --mapping {EINSUM_BY_EINSUM}"
    )
    return Problem(text, mapping.span, hint)


def _refuse_unlike_rows(program: Program, folded: int) -> None:
    """Refuse to fold query heads into queries if the cascade distinguishes queries."""
    apart = rank_asymmetry(program, "P") if folded > 1 else None
    if apart is not None:
        text = (
            f"cascade '{program.name}' tells queries apart by their position ({apart}), so"
            f" {folded} query heads that share keys and values cannot be rows of one head"
        )
        hint = "use a cascade without a mask, or one with ranks for such heads (G groups of S)"
        raise SpecError(Problem(text, hint=hint))
