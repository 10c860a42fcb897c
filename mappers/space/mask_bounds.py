"""Lower bounds of the work that masks leave, for any mapping with given tile sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.bounds.minimal_domain import minimal_domains
from archsim.iteration.bands import RankBand
from archsim.iteration.loop_nest import LoopNest
from archsim.nest.binder import bind_loops
from archsim.nest.cores import point_by_point
from archsim.nest.masks import mask_bands
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from archsim.spec.arch import Architecture
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.counting.point_counts import count_points
from einsum_cascade.ir import Einsum, Program, variables_of

from .array_tiles import arrays_of, outer_parts_first

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MaskShares:
    """Lower bounds of the shares of points that masks leave in any mapping; the masks' ranks."""

    of_points: Mapping[str, float]
    """Share of points that masks leave, for each Einsum that loses some."""
    ranks: frozenset[str]
    """Ranks that occur in the conditions of masks."""
    bands: Mapping[str, RankBand | None] = field(default_factory=dict)
    """Band of each masked Einsum; None if its mask skips no tiles."""

    def of(self, name: str, cuts: Iterable[tuple[str, int, float | Floats]]) -> float | Floats:
        """Return a lower bound of the share of an Einsum's iterations that masks leave.

        Parameters
        ----------
        name : str
            Name of the Einsum.
        cuts : iterable of (str, int, number or array)
            Each of its ranks, the rank's length, and the most coordinates of it that arrays take.

        Examples
        --------
        A mask lets 12 of 25 keys through. In tiles of 12 all of them may be in one of three:

        >>> round(MaskShares({"S": 0.48}, frozenset("M")).of("S", [("M", 25, 12)]), 3)
        0.333
        """
        found: float | Floats = self.of_points.get(name, 1.0)
        if found == 1:
            return found
        for rank, size, side in cuts:
            # A mask may skip the last tile, which is cut short.
            found = found * (size / (-(-size // side) * side) if rank in self.ranks else 1.0)
        return found


def mask_shares(program: Program, architecture: Architecture, shapes: dict[str, int]) -> MaskShares:
    """Return lower bounds of the shares of points that masks leave, for a cascade's Einsums.

    Parameters
    ----------
    architecture : Architecture
        A machine that can do all operations of the cascade.
    shapes : dict
        Elements of every rank, and of parts of those that the cascade cuts.
    """
    return program.memo(_least_shares, architecture, tuple(shapes.items()))


def _least_shares(
    program: Program, architecture: Architecture, sizes: tuple[tuple[str, int], ...]
) -> MaskShares:
    masked = [e for e in with_masks(program).einsums if e.where is not None]
    if not masked:
        return MaskShares({}, frozenset())
    shapes = dict(sizes)
    found = {e.name: masked_share(program, e, shapes) for e in masked}
    bound = _point_by_point(program, architecture, shapes)
    nests = minimal_domains(bound)
    for e in bound.einsums:
        if e.name not in found:
            points = prod(shapes[v.upper()] for v in e.variables)
            found[e.name] = min(_points(nest) for nest in nests[e.name]) / points
    ranks = {rank for e in masked for rank in _ranks_in_mask(program, e)}
    single = {axis.name: 1 for e in bound.einsums for axis in e.axes}
    bands = mask_bands(bound, single).bands
    return MaskShares(
        of_points={name: share for name, share in found.items() if share < 1},
        ranks=frozenset(ranks),
        bands={e.name: bands.get(e.name) for e in masked},
    )


def _ranks_in_mask(program: Program, e: Einsum) -> Iterator[str]:
    """Yield the ranks in an Einsum's mask, except inner members whose outer members are there too.

    Along a whole rank, the last tile is skipped as often as any other.
    """
    in_mask = {v.upper() for v in variables_of(e.where)} if e.where is not None else set[str]()
    for rank in in_mask:
        declared = program.rank_of.get(rank)
        family = declared.family if declared is not None else None
        members = program.rank_of[family].partition if family else (rank,)
        if in_mask.isdisjoint(members[: members.index(rank)]):
            yield rank


def _points(nest: LoopNest) -> int:
    return nest.delivered((True,) * len(nest.loops), prod)


def _point_by_point(program: Program, architecture: Architecture, shapes: dict[str, int]) -> Bound:
    """Bind a mapping whose Einsums visit their points one by one, each on any array."""
    einsums = (
        (e.name, arrays_of(program, e, architecture)[0].name, _ranks_of(program, e))
        for e in program.einsums
    )
    mapping = point_by_point(program.name, architecture, einsums, program.tensors)
    return bind_loops(program, mapping, architecture, build_tiling(program, mapping, shapes, {}))


def _ranks_of(program: Program, e: Einsum) -> tuple[str, ...]:
    ranks = outer_parts_first(program, sorted(v.upper() for v in e.variables))
    return (*program.parallel, *(r for r in ranks if r not in program.parallel))


def masked_share(program: Program, e: Einsum, shapes: dict[str, int]) -> float:
    """Return the share of an Einsum's points that its mask lets through.

    Parameters
    ----------
    e : Einsum
        Einsum with the masks that its operands hand on.
    shapes : dict
        Elements of every rank.
    """
    given = {p.name: p.default for p in program.parameters if p.default is not None}
    points = prod(shapes[v.upper()] for v in e.variables)
    return count_points(program, e, given | shapes) / points
