"""Worth of a rewrite: the lower bound of latency once factors have left the sums of a cascade."""

from __future__ import annotations

from dataclasses import replace

from einsum_cascade.algebra.products import hoistable
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.operations import einsum_operations

from ..bounds.floor import floor_of
from ..counts.spill import count_mapping
from ..legality.binding import with_parameters
from ..nest.binder import bind_loops
from ..nest.cores import point_by_point
from ..nest.masks import skip_masked_tiles
from ..nest.tiling import build_tiling
from ..quantities import engineering
from ..result.note import Note
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Tile
from .job import Job
from .policy import MIN_GAIN_OF_REWRITE


def factoring_note(job: Job, result: Result) -> tuple[Note, ...]:
    """Return a note that names the rewrites which lower the floor of a job, and by how much.

    No note is returned if no factor can leave a sum, or if the floor stays about the same.
    """
    found = job.program.memo(hoistable)
    if not found:
        return ()
    # Only a rewrite needs sympy.
    from einsum_cascade.rewrites import rewrite

    rules = tuple(f"factor:{h.einsum}" for h in found)
    shapes = dict(job.shapes) | dict(result.shape)
    try:
        program = rewrite(job.program, *rules, prove_it=False).result
        latency_s = _floor_latency(program, job.architecture, shapes)
    except InputError:
        return ()
    if latency_s * MIN_GAIN_OF_REWRITE > result.floor.latency_s:
        return ()
    options = " ".join(f"--rewrite {rule}" for rule in rules)
    before, after = (engineering(s, "s") for s in (result.floor.latency_s, latency_s))
    return (Note(f"{options}: lower bound {after} instead of {before}", "rewrite"),)


def _floor_latency(program: Program, machine: Architecture, shapes: dict[str, int]) -> float:
    """Return the floor in seconds of any mapping of a cascade, by binding one point by point."""
    program, shapes = with_parameters(program, shapes)
    einsums = (
        (
            e.name,
            machine.arrays_for([kind for kind, _ in einsum_operations(program, e)])[0].name,
            (*program.parallel, *(program.rank_of_variable[v] for v in e.variables)),
        )
        for e in program.einsums
    )
    members = ((r.name, m) for r in program.ranks for m in r.partition[1:])
    mapping = replace(
        point_by_point(program.name, machine, einsums, tuple(program.tensors)),
        tiles=tuple(Tile(rank=rank, member=m, size=shapes[m]) for rank, m in members),
    )
    tiling = build_tiling(program, mapping, shapes, {})
    bound = skip_masked_tiles(bind_loops(program, mapping, machine, tiling))
    return floor_of(bound, bound.memo(count_mapping)).latency_s
