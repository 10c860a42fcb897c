"""Explanation of an empty mapspace: the constraints that leave no mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from einsum_cascade.errors import NoLegalMappingError, Problem

from . import policy
from .array_tiles import arrays_of
from .constraints import Constraints, HasTiles, IsKept, IsShared, MappingConstraint, RunsOn
from .fusion import shareable_ranks
from .mapspace import Mapspace


def explain_infeasibility(space: Mapspace) -> NoLegalMappingError | None:
    """Return the error with the fewest constraints that empty a space; None if it is not empty.

    Without any one of them the space would have mappings.
    """
    if not space.constraints or space.regions(1):
        return None
    left = [*space.constraints.all]
    for one in space.constraints.all:
        others = [c for c in left if c is not one]
        if not replace(space, constraints=Constraints(tuple(others))).regions(1):
            left = others
    if len(left) == 1:
        (alone,) = left
        text = f"nothing of the mapspace is left where {alone.text}"
        return NoLegalMappingError(Problem(text, alone.span, _hint(space, alone)))
    both = "both" if len(left) == 2 else "all"
    text = f"nothing of the mapspace is left under these constraints, {both} of them together:"
    return NoLegalMappingError([Problem(text), *(Problem(c.text, c.span) for c in left)])


def no_legal_mapping(space: Mapspace, why: Sequence[Problem]) -> NoLegalMappingError:
    """Return the error of a space without legal mappings, with reasons and constraints.

    Parameters
    ----------
    why : sequence of Problem
        Problems of the mappings that were examined.
    """
    obeyed = space.constraints.all
    if not obeyed:
        return NoLegalMappingError(why)
    text = "no mapping that obeys the constraints was found legal; the first is not, as"
    also = "what is to be obeyed:" if len(obeyed) > 1 else "what is to be obeyed is this:"
    listed = (Problem(c.text, c.span) for c in obeyed)
    return NoLegalMappingError([Problem(text), *why, Problem(also), *listed])


def _hint(space: Mapspace, constraint: MappingConstraint) -> str | None:
    """Return a hint that lists the values that would be allowed."""
    free = replace(space, constraints=Constraints())
    match constraint.statement:
        case RunsOn(einsum, _):
            e = space.program.einsum_of[einsum]
            able = (a.name for a in arrays_of(space.program, e, space.architecture))
            return f"what can do all operations of {einsum}: {', '.join(able)}"
        case IsKept(tensor, _):
            places = free.regions(1)[0].region.places[tensor]
            return f"{tensor} may be kept in {'; '.join(' and '.join(p) for p in places)}"
        case HasTiles(memory, rank, _):
            sizes = _tile_sizes(free, memory, rank)
            return f"tiles of {rank} in {memory} may have {', '.join(f'{n:,}' for n in sizes)}"
        case IsShared():
            shared = shareable_ranks(free.regions(1)[0].region)
            return f"ranks whose loops may be shared: {', '.join(shared) or 'none'}"
        case _:
            return None


def _tile_sizes(space: Mapspace, memory: str, rank: str) -> list[int]:
    """Return the tile sizes of a rank in a memory, from a few promising regions."""
    found: set[int] = set()
    inner = len(space.architecture.memories)
    inner -= [m.name for m in space.architecture.memories].index(memory)
    for promised in space.regions(policy.REGIONS_FOR_TILE_SIZE_HINT):
        cut, size = promised.region.factorisation_of[rank], promised.region.shapes[rank]
        fine = prod(n for _, n in cut.fine)
        found |= {min(size, fine * prod(row[:inner])) for row in cut.sizes()}
    return sorted(found)
