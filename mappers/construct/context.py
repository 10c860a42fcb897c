"""Mapping context: a cascade, the sizes of its ranks, and the machine that it is mapped on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, prod

from archsim.counts.meter import contiguous_words
from archsim.spec.arch import Architecture, Memory
from archsim.spec.mapping import NestLevel
from archsim.spec.tensor_words import TensorWords, words_of
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.ir import Access, Einsum, Gather, Program, variables_of
from einsum_cascade.masks import conjuncts, depends_on_data
from einsum_cascade.memo import Memoized, cached_property, memoized

from ..space.array_tiles import array_strides, outer_parts_first
from ..space.factorisation import strongly_connected_components


def gathers(access: Access) -> bool:
    """Return whether an access is a gather: one of its indices is itself a tensor element."""
    return any(isinstance(index, Gather) for index in access.indices)


def repeated_gather(
    program: Program, shapes: Sizes[str, int], access: Access
) -> tuple[frozenset[str], int]:
    """Return the ranks that change only a gathered index of an access, and its positions.

    Without a gather there are no such ranks, and two positions for the only index. An access with
    several gathered indices is assumed to read other elements each time.
    """
    gathered = [(n, i) for n, i in enumerate(access.indices) if isinstance(i, Gather)]
    if len(gathered) != 1:
        return frozenset(), 2
    number, index = gathered[0]
    others = (i for n, i in enumerate(access.indices) if n != number)
    plain = {v for i in others for v in i.variables} | {*index.offset.variables}
    ranks = frozenset(v.upper() for v in index.access.variables if v not in plain)
    step = index.coefficient * prod(shapes[s] for s in index.shapes)
    length = shapes[program.tensor_ranks[access.tensor][number]]
    return ranks, -(-length // max(1, step))


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedGather:
    """Number of indices that a tile gathers, and of positions to choose from."""

    indices: int
    positions: int
    """Number of distinct positions that an index can name."""
    moved_by: frozenset[str]
    """Ranks along which only the gathered index changes, and no other index of the access."""

    @property
    def repetitions(self) -> Fraction:
        """Lower bound of how often each element is gathered on average.

        256 queries that gather three of 16 blocks each touch at most all 16.
        """
        return max(Fraction(1), Fraction(self.indices, self.positions))

    @property
    def stationary_along(self) -> frozenset[str]:
        """Ranks along which a tile gathers no new tensor elements, as it already holds all
        positions."""
        return self.moved_by if self.indices >= self.positions else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPart:
    """One member of a partitioned rank, such as M1 or M0 of M, with a loop of its own."""

    name: str
    rank: str
    stride: int
    count: int
    mean: Fraction
    """Average trip count: a short last tile lowers it. 8 sequences in tiles of 7 have 8/7 tiles,
    not 2."""
    even: bool
    """True if ``mean`` equals ``count``: all tiles are full."""


@dataclass(frozen=True, kw_only=True)
class MappingContext(Memoized):
    """A cascade, the sizes of all its ranks, the machine it is mapped on, and the cuts of ranks."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Tile sizes of some ranks in memories; each rank is cut at these sizes too. Sizes ascend.
    Each one is a multiple of the size before, and of the array's share."""
    cuts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Tile sizes of some ranks that replace ``strides``. Sizes ascend, each a multiple of the one
    before."""
    longer: dict[str, int] = field(default_factory=dict)
    """Given tile sizes that exceed their rank; ``shapes`` has the size of the rank instead."""
    fitted: bool = False
    """True if each rank is cut to fit the array together with other ranks along one dimension."""
    stretched: bool = False
    """True if several ranks may lie along one array dimension inside of shared loops as well."""

    @cached_property
    def words(self) -> TensorWords:
        """Number of machine words per value of each tensor."""
        return self.program.memo(words_of, self.architecture.word_bits)

    def memories(self, array: str) -> tuple[Memory, ...]:
        """Return the memories that feed an array, outermost first."""
        memories = self.architecture.memories
        return tuple(memories[i] for i in sorted(self.architecture.tree.feeding(array)))

    def way(self, array: str, e: Einsum, access: Access) -> tuple[int, ...]:
        """Return the memories that an access passes, as indices into ``memories(array)``."""
        tree = self.architecture.tree
        if tree.is_line:
            return tuple(range(len(self.architecture.memories)))
        operands = [*dict.fromkeys(a.tensor for a in e.reads if a.tensor != e.name)]
        number = None if access.tensor == e.name else operands.index(access.tensor)
        home = tree.home(array, number, None)
        return self._places(array, frozenset(tree.paths[home]))

    def held(self, array: str, e: Einsum, access: Access) -> tuple[int, ...]:
        """Return the memories that may hold an accessed tile, as indices into ``memories(array)``.

        Inputs and the Einsum's own result take one way. Another Einsum's result may be in any
        memory that feeds the array.
        """
        tree = self.architecture.tree
        if tree.is_line or access == e.target or access.tensor not in self.program.einsum_of:
            return self.way(array, e, access)
        return self._places(array, tree.feeding(array))

    def _places(self, array: str, levels: frozenset[int]) -> tuple[int, ...]:
        fed = sorted(self.architecture.tree.feeding(array))
        return tuple(n for n, level in enumerate(fed) if level in levels)

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Strongly connected components of the cascade, in dependence order."""
        return self.program.memo(strongly_connected_components)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Tile sizes at which ranks are cut by default: side lengths of the machine's arrays."""
        return array_strides(self.architecture)

    @memoized
    def within(self, rank: str, room: int) -> tuple[tuple[LoopPart, ...], int]:
        """Return the inner members of a rank that fit a given length, and their total length.

        If only one coordinate fits, there are no members and the length is 1.
        """
        parts = tuple(p for p in self.parts(rank) if self.extent(p) <= room)
        wide = prod(p.count for p in parts)
        return (parts, wide) if 1 < wide <= room else ((), 1)

    @memoized
    def parts(self, rank: str) -> tuple[LoopPart, ...]:
        """Return the members of a rank (such as M1, M0), outermost first."""
        size = self.shapes[rank]
        taken = {*self.shapes, *self.program.parallel}
        # 4,096 keys on arrays of 32 and 128 have strides 1, 32 and 128, and so, outermost first,
        # parts of 32, 4 and 32 iterations. 100 keys have 4 iterations of 32, on average 100/32, and
        # 32 of 1.
        cuts = {1, *self.cuts.get(rank, self.strides), *self.blocks.get(rank, ())}
        steps = sorted(s for s in cuts if s < max(2, size))
        names = [f"{rank}{number}" for number in range(len(steps))]
        # Names of parts must be free: a cascade may itself call a rank M0.
        if len(steps) == 1 or taken & {*names}:
            mean = Fraction(size)
            return (LoopPart(name=rank, rank=rank, stride=1, count=size, mean=mean, even=True),)
        upper = [*steps[1:], size]
        cut = zip(names, steps, upper, strict=True)
        return tuple(
            LoopPart(
                name=name,
                rank=rank,
                stride=step,
                count=-(-above // step),
                mean=Fraction(above, step),
                even=above % step == 0,
            )
            for name, step, above in reversed([*cut])
        )

    def extent(self, part: LoopPart) -> int:
        """Return the coordinates that a member's loop covers, padding beyond the rank's end
        included."""
        outermost = part.name == self.parts(part.rank)[0].name
        whole = part.stride * part.count
        return max(whole, self.longer.get(part.rank, 0)) if outermost else whole

    def ranks(self, e: Einsum) -> tuple[str, ...]:
        """Return the ranks of an Einsum, those of its result first."""
        return self.program.memo(_ranks_along, e.variables)

    def laid_tile(self, e: Einsum, laid: Collection[str]) -> dict[str, int]:
        """Return how many coordinates of each rank an Einsum's spatial loops cover."""
        return {
            r: min(self.shapes[r], prod(p.count for p in self.parts(r) if p.name in laid))
            for r in self.ranks(e)
        }

    def ranks_of(self, access: Access) -> frozenset[str]:
        """Return the ranks along which an accessed tensor varies."""
        return self.program.memo(_set_along, access.variables)

    def masked(self, name: str) -> frozenset[str]:
        """Return the ranks in an Einsum's mask, except conditions that depend on data."""
        return self.program.memo(_masked, name)

    def shared(self, name: str) -> tuple[str, ...]:
        """Return the ranks of the loops that an Einsum shares with its strongly connected
        component."""
        return self.program.memo(_shared_loops, name)

    @property
    def whole_shapes(self) -> dict[str, int]:
        """Full size of each rank in coordinates, regardless of loops around a tile."""
        return self.shapes

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Return the machine words that a memory moves for a tile; gathers move whole lines.

        Parameters
        ----------
        ranks : frozenset of str
            Ranks along which the tensor varies.
        tile : mapping
            Size of the tile along each rank in coordinates.
        """
        words = prod(tile[r] for r in ranks) * self.words.of(access.tensor)
        if not gathers(access):
            return words
        line = max(1, memory.line_bits // self.architecture.word_bits)
        rank_of = {v: v.upper() for v in access.variables}
        whole = {v: self.whole_shapes[r] for v, r in rank_of.items()}
        run = contiguous_words(access, {v: tile[r] for v, r in rank_of.items()}, whole)
        # 3 neighbours in lines of 8 words fetch one line: 8/3 times the words.
        distinct = words / self.gathered(access, tile).repetitions
        return distinct * (-(-run // line) * line) / run

    def kept_words(self, access: Access, tile: Sizes[str, int]) -> Fraction | int:
        """Return a tile's footprint in machine words; repeatedly gathered elements count once."""
        words = prod(tile[r] for r in self.ranks_of(access)) * self.words.of(access.tensor)
        return words / self.gathered(access, tile).repetitions if gathers(access) else words

    def moving(self, access: Access, tile: Sizes[str, int]) -> frozenset[str]:
        """Return the ranks whose loops replace the tensor elements that a tile holds."""
        ranks = self.ranks_of(access)
        return ranks - self.gathered(access, tile).stationary_along if gathers(access) else ranks

    def accesses(self, e: Einsum) -> tuple[Access, ...]:
        """Return an Einsum's distinct accesses, memoised because comparing them is slow."""
        return self.program.memo(_distinct_accesses, e.name)

    def gathered(self, access: Access, tile: Sizes[str, int]) -> RepeatedGather:
        """Return the number of gathered indices and of positions for a tile of an access.

        Parameters
        ----------
        access : Access
            Access that gathers. An access with several gathered indices is assumed to read new
            elements each time.
        tile : mapping
            Size of the tile along each rank in coordinates.
        """
        moved_by, positions = repeated_gather(self.program, self.whole_shapes, access)
        indices = prod(tile[r] for r in moved_by)
        return RepeatedGather(indices=indices, positions=positions, moved_by=moved_by)

    def capacity_bits(self, number: int, memory: Memory) -> float:
        """Return an inner memory's capacity in bits for an Einsum's own tiles; perhaps infinite."""
        del number
        return inf if memory.capacity_bytes is None else 8 * memory.capacity_bytes

    def sharing_einsums(self, name: str) -> int:
        """Return the number of Einsums in an Einsum's strongly connected component, itself
        included."""
        return len(next(g for g in self.groups if name in g))

    def unlayable(self, name: str) -> frozenset[str]:
        """Return the ranks that an Einsum cannot place along an array, as it carries values along
        them."""
        return frozenset(self.shared(name))

    @cached_property
    def nest(self) -> tuple[NestLevel, ...]:
        """Loops that Einsums of strongly connected components share, at the outermost memory."""
        ranks = dict.fromkeys(r for e in self.program.einsums for r in self.shared(e.name))
        loops = tuple(p.name for r in outer_parts_first(self.program, ranks) for p in self.parts(r))
        return NestLevel.nest(((self.architecture.home.name, loops),))


# The functions below depend on the cascade alone and are memoised with it: contexts are made for
# every machine and length.


def _ranks_along(program: Program, variables: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ranks of some variables, parallel ranks first."""
    return tuple(dict.fromkeys((*program.parallel, *(v.upper() for v in variables))))


def _distinct_accesses(program: Program, name: str) -> tuple[Access, ...]:
    e = program.einsum_of[name]
    return tuple(dict.fromkeys((*e.reads, e.target)))


def _set_along(program: Program, variables: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_ranks_along(program, variables))


def _masked(program: Program, name: str) -> frozenset[str]:
    """Return the ranks in an Einsum's mask, except conditions that depend on data."""
    where = with_masks(program).einsum_of[name].where
    known = (c for c in conjuncts(where) if not depends_on_data(c))
    return frozenset(v.upper() for c in known for v in variables_of(c))


def _shared_loops(program: Program, name: str) -> tuple[str, ...]:
    """Return the ranks of the loops that an Einsum shares with its strongly connected component."""
    group = next(g for g in program.memo(strongly_connected_components) if name in g)
    read = {a.tensor for n in group for a in program.einsum_of[n].reads}
    running = [r for n in group if n in read for r in program.iterative.get(n, ())]
    if not running:
        return ()
    have = {n: program.memo(_ranks_along, program.einsum_of[n].variables) for n in group}
    # Loops that only some Einsums have are inside of the loops that all have.
    running.sort(key=lambda rank: -sum(rank in ranks for ranks in have.values()))
    outer = dict.fromkeys(_outer_first(program, running))
    return (*program.parallel, *(r for r in outer if r in have[name]))


def _outer_first(program: Program, ranks: Iterable[str]) -> Iterator[str]:
    """Yield each given rank after all outer members of the same partitioned rank."""
    for name in ranks:
        family = program.rank_of[name].family
        members = program.rank_of[family].partition if family else (name,)
        yield from members[: members.index(name) + 1]
