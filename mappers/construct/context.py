"""Mapping context: a cascade with its sizes and the machine it is laid out on, gathers included."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

from archsim.counts.meter import contiguous_words
from archsim.spec.arch import Architecture, Memory
from archsim.spec.mapping import NestLevel
from archsim.spec.tensor_words import TensorWords, words_of
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.ir import Access, Einsum, Gather, Program, variables_of
from einsum_cascade.masks import conjuncts, depends_on_data
from einsum_cascade.memo import Memoized, cached_property

from ..space.array_tiles import array_strides, outer_parts_first
from ..space.factorisation import strongly_connected_components


def gathers(access: Access) -> bool:
    """Return whether some index of an access is itself read."""
    return any(isinstance(index, Gather) for index in access.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedGather:
    """Gathered indices of an access in a tile."""

    indices: int
    positions: int
    """Number of positions that can be gathered."""
    moved_by: frozenset[str]
    """Ranks that move the gathered indices and nothing else of the access."""

    @property
    def repetitions(self) -> Fraction:
        """Least number of times each element is gathered.

        256 queries that gather three of 16 blocks each touch at most all 16.
        """
        return max(Fraction(1), Fraction(self.indices, self.positions))

    @property
    def stationary_along(self) -> frozenset[str]:
        """Ranks along which no new elements arrive: a tile of all positions stays."""
        return self.moved_by if self.indices >= self.positions else frozenset()


def gathered_in(
    program: Program, shapes: Sizes[str, int], access: Access, tile: Sizes[str, int]
) -> RepeatedGather:
    """Return the gathered indices of an access in a tile.

    Parameters
    ----------
    shapes : mapping
        Coordinates of all ranks, whatever loops are around.
    access : Access
        Access that gathers; with several gathered indices it is assumed to read new elements
        each time.
    tile : mapping
        Coordinates of the tile by rank.
    """
    gathered = [(n, i) for n, i in enumerate(access.indices) if isinstance(i, Gather)]
    if len(gathered) != 1:
        # Several gathers: each element comes once (1 < 2), and all ranks move it.
        return RepeatedGather(indices=1, positions=2, moved_by=frozenset())
    number, index = gathered[0]
    others = (i for n, i in enumerate(access.indices) if n != number)
    plain = {v for i in others for v in i.variables} | {*index.offset.variables}
    moved_by = frozenset(v.upper() for v in index.access.variables if v not in plain)
    step = index.coefficient * prod(shapes[s] for s in index.shapes)
    length = shapes[program.tensor_ranks[access.tensor][number]]
    return RepeatedGather(
        indices=prod(tile[r] for r in moved_by),
        positions=-(-length // max(1, step)),
        moved_by=moved_by,
    )


def words_in_lines(
    words: Fraction, access: Access, shapes: Sizes[str, int], tile: Sizes[str, int], line: int
) -> Fraction:
    """Return the words of all lines around the elements of a gathered tile.

    Parameters
    ----------
    words : Fraction
        Words of the tile.
    access : Access
    shapes, tile : mapping
        Coordinates of all ranks, and of the tile, by rank.
    line : int
        Words of a line.
    """
    rank_of = {v: v.upper() for v in access.variables}
    whole = {v: shapes[r] for v, r in rank_of.items()}
    run = contiguous_words(access, {v: tile[r] for v, r in rank_of.items()}, whole)
    # 3 neighbours in lines of 8 words fetch one line: 8/3 times the words.
    return words * (-(-run // line) * line) / run


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPart:
    """Part of a rank with a loop of its own."""

    name: str
    rank: str
    stride: int
    count: int
    mean: Fraction
    """Average of ``count``, as the last round of the outer loop may be shorter: 8 sequences in
    tiles of 7 have 8/7 tiles, not 2."""
    even: bool
    """True if both counts are equal."""


@dataclass(frozen=True, kw_only=True)
class MappingContext(Memoized):
    """A cascade with all its shapes, and the machine that it is mapped on."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Coordinates of ranks that memories hold at a time; ranks are cut there as well. They
    ascend, each a multiple of the one before and of the coordinates that arrays take."""
    cuts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Cuts of some ranks that replace ``strides``: ascending, each a multiple of the one before."""
    longer: dict[str, int] = field(default_factory=dict)
    """Given sizes of tiles longer than their rank; ``shapes`` has the length of the rank."""
    fitted: bool = False
    """True if ranks are cut for the array, so that stretches of several ranks lie side by side."""
    stretched: bool = False
    """True if stretches lie side by side inside of shared loops as well."""

    @cached_property
    def words(self) -> TensorWords:
        """Words of the machine that a value of each tensor takes."""
        return self.program.memo(words_of, self.architecture.word_bits)

    def memories(self, array: str) -> tuple[Memory, ...]:
        """Return the memories that feed an array, outermost first."""
        memories = self.architecture.memories
        return tuple(memories[i] for i in sorted(self.architecture.tree.feeding(array)))

    def way(self, array: str, e: Einsum, access: Access) -> tuple[int, ...]:
        """Return the memories that an access passes, as indices among those that feed an array."""
        tree = self.architecture.tree
        if tree.is_line:
            return tuple(range(len(self.architecture.memories)))
        home = tree.home(array, self._number(e, access), None)
        return self._places(array, frozenset(tree.paths[home]))

    def held(self, array: str, e: Einsum, access: Access) -> tuple[int, ...]:
        """Return the memories that an access may pass, as indices among the array's memories.

        An input or an own result has one way. A result of another Einsum may be in any memory that
        feeds the array.
        """
        tree = self.architecture.tree
        if tree.is_line or access == e.target or access.tensor not in self.program.einsum_of:
            return self.way(array, e, access)
        return self._places(array, tree.feeding(array))

    def _number(self, e: Einsum, access: Access) -> int | None:
        """Return the index of an access among an Einsum's operands; None for its result."""
        if access.tensor == e.name:
            return None
        return [*dict.fromkeys(a.tensor for a in e.reads if a.tensor != e.name)].index(
            access.tensor
        )

    def _places(self, array: str, levels: frozenset[int]) -> tuple[int, ...]:
        fed = sorted(self.architecture.tree.feeding(array))
        return tuple(n for n, level in enumerate(fed) if level in levels)

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Strongly connected components of the cascade, each after its inputs."""
        return self.program.memo(strongly_connected_components)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Coordinates that array dimensions take at a time."""
        return array_strides(self.architecture)

    def parts(self, rank: str) -> tuple[LoopPart, ...]:
        """Return the parts of a rank, outermost first."""
        if rank not in self._parts:
            self._parts[rank] = self._cut(rank)
        return self._parts[rank]

    @cached_property
    def _parts(self) -> dict[str, tuple[LoopPart, ...]]:
        return {}

    def within(self, rank: str, room: int) -> tuple[tuple[LoopPart, ...], int]:
        """Return the parts of a rank that fit into some room, and their number of coordinates.

        There are none where only one coordinate fits.
        """
        if (rank, room) not in self._within:
            parts = tuple(p for p in self.parts(rank) if self.extent(p) <= room)
            wide = prod(p.count for p in parts)
            self._within[rank, room] = (parts, wide) if 1 < wide <= room else ((), 1)
        return self._within[rank, room]

    @cached_property
    def _within(self) -> dict[tuple[str, int], tuple[tuple[LoopPart, ...], int]]:
        return {}

    def _cut(self, rank: str) -> tuple[LoopPart, ...]:
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
        """Return a part's coordinates with all inner parts, beyond the rank's end as well."""
        outermost = part.name == self.parts(part.rank)[0].name
        whole = part.stride * part.count
        return max(whole, self.longer.get(part.rank, 0)) if outermost else whole

    def ranks(self, e: Einsum) -> tuple[str, ...]:
        """Return the ranks of an Einsum, those of its result first."""
        return self.program.memo(_ranks_along, e.variables)

    def laid_tile(self, e: Einsum, laid: Collection[str]) -> dict[str, int]:
        """Return the coordinates of each of an Einsum's ranks that laid out parts cover."""
        return {
            r: min(self.shapes[r], prod(p.count for p in self.parts(r) if p.name in laid))
            for r in self.ranks(e)
        }

    def ranks_of(self, access: Access) -> frozenset[str]:
        """Return the ranks along which an accessed tensor varies."""
        return self.program.memo(_set_along, access.variables)

    def masked(self, name: str) -> frozenset[str]:
        """Return the ranks in an Einsum's mask that are known before a run.

        Conditions on data leave out nothing.
        """
        return self.program.memo(_masked, name)

    def shared(self, name: str) -> tuple[str, ...]:
        """Return the ranks of the loops that an Einsum shares with the others of its component."""
        return self.program.memo(_shared_loops, name)

    @property
    def whole_shapes(self) -> dict[str, int]:
        """Coordinates of all ranks, whatever loops are around."""
        return self.shapes

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Return the words that a memory moves for a tile; gathers move whole lines.

        Parameters
        ----------
        ranks : frozenset of str
            Ranks along which the tensor varies.
        tile : mapping
            Coordinates of the tile by rank.
        """
        words = prod(tile[r] for r in ranks) * self.words.of(access.tensor)
        if not self.gathers(access):
            return words
        line = max(1, memory.line_bits // self.architecture.word_bits)
        distinct = words / self._gathered(access, tile).repetitions
        return words_in_lines(distinct, access, self.whole_shapes, tile, line)

    def kept_words(self, access: Access, tile: Sizes[str, int]) -> Fraction | int:
        """Return the words of a tile that a memory holds: it has each gathered element once."""
        words = prod(tile[r] for r in self.ranks_of(access)) * self.words.of(access.tensor)
        return words / self._gathered(access, tile).repetitions if self.gathers(access) else words

    def moving(self, access: Access, tile: Sizes[str, int]) -> frozenset[str]:
        """Return the ranks whose loops bring new elements to a tile."""
        ranks = self.ranks_of(access)
        return (
            ranks - self._gathered(access, tile).stationary_along if self.gathers(access) else ranks
        )

    def gathers(self, access: Access) -> bool:
        """Return whether some index of an access is itself read."""
        return gathers(access)

    def accesses(self, e: Einsum) -> tuple[Access, ...]:
        """Return the distinct accesses of an Einsum, which are slow to compare."""
        if e.name not in self._accesses:
            self._accesses[e.name] = tuple(dict.fromkeys((*e.reads, e.target)))
        return self._accesses[e.name]

    @cached_property
    def _accesses(self) -> dict[str, tuple[Access, ...]]:
        return {}

    def _gathered(self, access: Access, tile: Sizes[str, int]) -> RepeatedGather:
        return gathered_in(self.program, self.whole_shapes, access, tile)

    def room_bits(self, number: int, memory: Memory) -> int | None:
        """Return the bits of an inner memory for tiles of own loops; None: no limit."""
        del number
        return None if memory.capacity_bytes is None else 8 * memory.capacity_bytes

    def together(self, name: str) -> int:
        """Return how many Einsums share the loops of an Einsum, itself included."""
        return len(next(g for g in self.groups if name in g))

    def unlayable(self, name: str) -> frozenset[str]:
        """Return the ranks of an Einsum that arrays cannot lay out: values run along them."""
        return frozenset(self.shared(name))

    @cached_property
    def nest(self) -> tuple[NestLevel, ...]:
        """Loops of all components of several Einsums, at the outermost memory."""
        ranks = dict.fromkeys(r for e in self.program.einsums for r in self.shared(e.name))
        loops = tuple(p.name for r in outer_parts_first(self.program, ranks) for p in self.parts(r))
        return (NestLevel(level=self.architecture.home.name, loops=loops),) if loops else ()


# The functions below depend on the cascade alone and are memoised with it: contexts are made for
# every machine and length.


def _ranks_along(program: Program, variables: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ranks of some variables, parallel ranks first."""
    return tuple(dict.fromkeys((*program.parallel, *(v.upper() for v in variables))))


def _set_along(program: Program, variables: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_ranks_along(program, variables))


def _masked(program: Program, name: str) -> frozenset[str]:
    """Return the ranks in an Einsum's mask, without conditions on data."""
    where = with_masks(program).einsum_of[name].where
    known = (c for c in conjuncts(where) if not depends_on_data(c))
    return frozenset(v.upper() for c in known for v in variables_of(c))


def _shared_loops(program: Program, name: str) -> tuple[str, ...]:
    """Return the ranks of the loops that an Einsum shares with the others of its component."""
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
    """Yield ranks, each after the outer parts of the rank that it belongs to."""
    for name in ranks:
        family = program.rank_of[name].family
        members = program.rank_of[family].partition if family else (name,)
        yield from members[: members.index(name) + 1]
