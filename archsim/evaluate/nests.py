"""Several nests of a cascade run one after the other: one result."""

from __future__ import annotations

from dataclasses import replace

from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Program

from ..bound.binding import whole_of_nests
from ..bound.nests import chips_problems
from ..bound.record import Bound
from ..cost.instances import of_all_instances
from ..cost.spill import count_mapping
from ..result.merge import merged
from ..result.record import PartUse, Result
from ..spec.mapping import Mapping
from .evaluate import evaluate_bound
from .floor import floor_of


def result_of_nest(bound: Bound, name: str, engine: str) -> Result:
    """The result of one nest by itself (for ``Bound.memo``). Raises as ``evaluate_bound``."""
    return evaluate_bound(bound, workload=name, engine=engine)


def evaluate_nests(
    program: Program,
    mapping: Mapping,
    nests: tuple[tuple[str, Bound], ...],
    *,
    workload: str = "",
    engine: str = "analytical",
) -> Result:
    """Counts, latency, energy, area and bounds of a mapping of several nests.

    Nothing of two nests overlaps, and what one hands to another crosses the outermost memory. The
    floor is that of the cascade, by any mapping.

    Parameters
    ----------
    program : Program
        The whole cascade.
    mapping : Mapping
        The whole mapping.
    nests : tuple of tuple
        Each nest's name and its mapping, bound, in the order in which they run.
    workload, engine : str
        As of ``evaluate_mapping``.

    Raises
    ------
    MappingError
        As ``evaluate_bound``, and where chips in a ring read what others of them made in another
        nest.
    """
    machine = nests[0][1].architecture
    if problems := [*chips_problems(program, mapping, machine)]:
        raise MappingError(problems)
    counted = [(bound, bound.memo(count_mapping)) for _, bound in nests]
    parts = tuple(
        PartUse(name=name, times=1, result=bound.memo(result_of_nest, name, engine))
        for name, bound in nests
    )
    shape = {rank: size for bound, _ in counted for rank, size in bound.shapes}
    whole = merged(parts, workload=workload, mapping=mapping.name, shape=tuple(shape.items()))
    # What nests hand to one another need not cross the outermost memory, and what masks of one
    # leave out of another may be left out.
    every = whole_of_nests(program, [bound for bound, _ in counted])
    counts = tuple(count for bound, own in counted for count in of_all_instances(bound, own))
    return replace(whole, floor=floor_of(every, counts))
