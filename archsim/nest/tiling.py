"""Tiling: ranks cut into partitioned ranks (members) with sizes, and access maps on their axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from einsum_cascade.errors import CascadeError, SpecError, did_you_mean
from einsum_cascade.ir import Access, Program
from einsum_cascade.memo import Memoized, cached_property, memoized
from einsum_cascade.shapes import resolve_shapes

from ..iteration.access_map import AccessMap, AccessMapper
from ..iteration.loops import Axis, Loop, iterations
from ..spec.arch import Architecture
from ..spec.mapping import WHOLE, DimensionRef, Factors, Mapping, MinimumSize, Tile
from ..spec.roles import ARRAY_ROLES

_UNCUT = 10**15
"""Size of a tile that is the whole rank: more iterations than any rank has."""


@dataclass(frozen=True, slots=True)
class Member:
    """Partitioned rank (member), such as M1 or M0 of M, over which a loop may run.

    One iteration covers ``stride`` coordinates of the rank.
    """

    name: str
    rank: str
    stride: int


@dataclass(frozen=True, kw_only=True)
class Tiling(Memoized):
    """Ranks of a cascade with their shapes, and the members (M1, M0) into which the mapping cuts
    them."""

    program: Program
    shapes: dict[str, int]
    cuts: tuple[tuple[str, tuple[Member, ...]], ...]
    """Pairs of a cut rank and its members, outermost first."""

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Ranks of the cascade: parallel ranks, ranks that it does not cut, and last ranks that it
        cuts."""
        leaves = [r.name for r in self.program.ranks if not r.partition]
        families = [r.name for r in self.program.ranks if r.partition]
        return (*self.program.parallel, *leaves, *families)

    @cached_property
    def members(self) -> dict[str, Member]:
        """Members of all ranks, by name."""
        return {m.name: m for rank in self.ranks for m in self.of_rank(rank)}

    def of_rank(self, rank: str) -> tuple[Member, ...]:
        """Return the members of a rank (M1, M0 of M), outermost first. A rank without cuts is its
        only member."""
        return self._by_rank.get(rank) or (Member(rank, rank, 1),)

    @cached_property
    def _by_rank(self) -> dict[str, tuple[Member, ...]]:
        return {rank: (Member(rank, rank, 1),) for rank in self.ranks} | dict(self.cuts)

    def loop(
        self, member: Member, places: Places, level: int, dimension: str | None = None
    ) -> Loop:
        """Return the loop over a member.

        Parameters
        ----------
        places : Places
            Places of the variables of the loop's iteration space.
        level, dimension
            See ``Loop``.
        """
        variable = member.rank.lower()
        axis, unit = places[variable]
        return Loop(member.name, axis, self.strides[member.name] * unit, level, variable, dimension)

    @cached_property
    def strides(self) -> dict[str, int]:
        """Coordinates that one iteration over each member covers, by name."""
        # A tile larger than its rank is the whole rank.
        return {name: min(m.stride, self.shapes[m.rank]) for name, m in self.members.items()}

    def elements(self, factors: Factors) -> int:
        """Return the product of factors: a factor is a number, or a member that stands for its
        bound."""
        return prod(f if isinstance(f, int) else self.bounds[f] for f in factors)

    @cached_property
    def bounds(self) -> dict[str, int]:
        """Iterations of a loop over each member inside one of the next outer member, by name."""
        found: dict[str, int] = {}
        for rank in self.ranks:
            extent = self.shapes[rank]
            for member in self.of_rank(rank):
                found[member.name] = iterations(extent, member.stride)
                extent = min(extent, member.stride)
        return found

    def access_map(self, axes: tuple[Axis, ...], access: Access) -> AccessMap:
        """Return the access map of an access on the axes of an iteration space. A running value has
        one copy along its iterative ranks."""
        running = self.program.iterative.get(access.tensor, ())
        ranks = self.program.tensor_ranks.get(access.tensor, ())
        lengths = tuple(self.shapes[r] + (r in running) for r in ranks)
        return self._mapper(axes).map(access, frozenset(r.lower() for r in running), lengths)

    @memoized
    def _mapper(self, axes: tuple[Axis, ...]) -> AccessMapper:
        return AccessMapper(axes, self.shapes, self.program.parallel_variables)

    @memoized
    def axes(self, variables: tuple[str, ...]) -> tuple[Axis, ...]:
        """Return the axes of an iteration space; partitioned ranks of one rank (M1, M0 of M) share
        an axis.

        Parameters
        ----------
        variables : tuple of str
            Variables of an Einsum's iteration space.

        Returns
        -------
        tuple of Axis
            Axes in the order of their first variables.
        """
        found: list[Axis] = []
        done: set[str] = set()
        for variable in variables:
            if variable in done:
                continue
            rank = variable.upper()
            axis = self._family_axis(variable, variables) or Axis(
                name=rank, extent=self.shapes[rank], variables=((variable, 1),)
            )
            found.append(axis)
            done.update([v for v, _ in axis.variables])
        return tuple(found)

    def _family_axis(self, variable: str, variables: tuple[str, ...]) -> Axis | None:
        """Return the axis that the tiles of one rank (M1, M0 of M) share. Return None if one is
        not iterated over although an inner one is."""
        rank = variable.upper()
        family = self.program.family_of(rank)
        if family is None:
            return None
        members = self.program.rank_of[family].partition
        present = [m for m in members if m.lower() in variables]
        if tuple(present) != members[: len(present)] or rank not in present:
            return None
        sizes = [self.shapes[m] for m in members]
        below = prod(sizes[len(present) :])
        pairs = tuple((m.lower(), prod(sizes[i + 1 : len(present)])) for i, m in enumerate(present))
        # Along m1 alone, with M cut into (M1, M0), the axis has one unit for each tile.
        extent = iterations(self.shapes[family], below)
        return Axis(name=family, extent=extent, variables=pairs)


Places = dict[str, tuple[int, int]]
"""Place of each rank variable: the position of its axis, and its stride in units of the axis."""


def axis_places(axes: tuple[Axis, ...]) -> Places:
    """Return the axis and the stride of each variable of the given axes."""
    return {v: (number, stride) for number, a in enumerate(axes) for v, stride in a.variables}


def tile_size(tile: Tile, architecture: Architecture) -> int | None:
    """Return the size of a tile on a machine; None if it depends on capacities.

    Raises
    ------
    SpecError
        The machine has no such array or dimension.
    """
    if tile.size == WHOLE:
        return _UNCUT
    if isinstance(tile.size, MinimumSize):
        return min(_extent(size, tile, architecture) for size in tile.size.sizes)
    if isinstance(tile.size, int | DimensionRef):
        return _extent(tile.size, tile, architecture)
    return None


def _extent(size: int | DimensionRef, tile: Tile, architecture: Architecture) -> int:
    """Return a size that is a number, or the extent of an array's dimension that it names."""
    if isinstance(size, int):
        return size
    array = architecture.array(size.array)
    if array is None:
        names = [a.name for a in architecture.arrays]
        hint = did_you_mean(size.array, [*names, *ARRAY_ROLES])
        raise SpecError(f"no array is called '{size.array}'", tile.span, hint)
    axis = array.dimension(size.dimension)
    if axis is None:
        hint = did_you_mean(size.dimension, [d.name for d in array.dimensions])
        raise SpecError(f"{array.name} has no dimension '{size.dimension}'", tile.span, hint)
    return axis.size


def build_tiling(
    program: Program, mapping: Mapping, given: dict[str, int], sizes: dict[str, int]
) -> Tiling:
    """Cut the ranks of ``program`` into members (M1, M0 of M) of given sizes.

    Parameters
    ----------
    given : dict
        Shapes of the workload, by rank.
    sizes : dict
        Size of every member the mapping names, in iterations of the next inner member.

    Raises
    ------
    SpecError
        A tile names no rank of the cascade, or shapes do not resolve.
    """
    own = {m: r.name for r in program.ranks for m in r.partition}
    known = {r.name for r in program.ranks} | set(program.parallel)
    fixed = dict(given)
    cuts: dict[str, list[Tile]] = {}
    for tile in mapping.tiles:
        if tile.rank not in known:
            hint = did_you_mean(tile.rank, known)
            raise SpecError(f"the cascade has no rank '{tile.rank}'", tile.span, hint)
        if tile.member in known and own.get(tile.member) != tile.rank:
            text = f"'{tile.member}' is a rank of the cascade, and no tile of {tile.rank}"
            raise SpecError(text, tile.span)
        if tile.member in own:
            if tile.size == WHOLE:
                text = f"{tile.member} is a rank of the cascade, which needs a number"
                raise SpecError(text, tile.span)
            size = sizes[tile.member]
            if given.get(tile.member, size) != size:
                text = (
                    f"the workload sets {tile.member} = {given[tile.member]}, this makes it {size}"
                )
                hint = f"change it in the mapping: mapping.partition.{tile.rank}.{tile.member}"
                raise SpecError(text, tile.span, hint)
            fixed[tile.member] = size
        else:
            cuts.setdefault(tile.rank, []).append(tile)
    try:
        shapes = resolve_shapes(program, fixed)
    except CascadeError as error:
        raise SpecError(error.problems) from None
    if missing := [f"'{r}'" for r in program.parallel if r not in shapes]:
        what = "shapes are" if len(missing) > 1 else "shape is"
        raise SpecError(f"{what} missing: {', '.join(missing)}")
    chains = tuple((rank, tuple(_chain(rank, tiles, sizes))) for rank, tiles in cuts.items())
    return Tiling(program=program, shapes=shapes, cuts=chains)


def with_other_sizes(
    tiling: Tiling, mapping: Mapping, given: dict[str, int], sizes: dict[str, int], rank: str
) -> Tiling:
    """Return a tiling with other sizes of the tiles of one rank.

    Parameters
    ----------
    given, sizes : dict
        See ``build_tiling``; sizes of tiles of other ranks are as before.
    """
    tiles = [t for t in mapping.tiles if t.rank == rank]
    if any(t.member in tiling.shapes for t in tiles):
        # Tiles that are ranks of the cascade set shapes, also of other ranks.
        return build_tiling(tiling.program, mapping, given, sizes)
    chain = tuple(_chain(rank, tiles, sizes))
    return replace(tiling, cuts=tuple((r, chain if r == rank else c) for r, c in tiling.cuts))


def _chain(rank: str, tiles: list[Tile], sizes: dict[str, int]) -> Iterator[Member]:
    """Yield the members of a rank, outermost first. The outermost is implied: it counts the tiles
    that remain.

    With M0: 256 and M1: 4 one iteration of M2 covers 1024 coordinates, one of M1 256, one of M0 1.
    """
    numbered = sorted((_number(rank, t), t) for t in tiles)
    for position, (number, tile) in enumerate(numbered):
        if number != position:
            text = f"tiles of {rank} are numbered from {rank}0 without gaps, not {tile.member}"
            raise SpecError(text, tile.span)
    strides = [1]
    for _, tile in numbered:
        strides.append(strides[-1] * sizes[tile.member])
    yield Member(f"{rank}{len(numbered)}", rank, strides[-1])
    for position in reversed(range(len(numbered))):
        yield Member(f"{rank}{position}", rank, strides[position])


def _number(rank: str, tile: Tile) -> int:
    suffix = tile.member.removeprefix(rank)
    if not tile.member.startswith(rank) or not suffix.isdecimal():
        text = f"a tile of {rank} is called {rank}0, {rank}1, ..., not {tile.member}"
        raise SpecError(text, tile.span)
    return int(suffix)
