"""Mapping context: a cascade with its sizes and the machine it is laid out on, gathers included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from ..space.components import strongly_connected_components


def gathers(access: Access) -> bool:
    """Whether some index of an access is itself read."""
    return any(isinstance(index, Gather) for index in access.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedGather:
    """What an access picks in a tile."""

    picks: int
    positions: int
    """That there are to be picked."""
    by: frozenset[str]
    """Ranks that move the picks, and nothing else of the access."""

    @property
    def again(self) -> Fraction:
        """How often each element is picked, at the least: of 16 blocks 256 queries that pick three
        each touch no more than all."""
        return max(Fraction(1), Fraction(self.picks, self.positions))

    @property
    def staying(self) -> frozenset[str]:
        """Ranks along which no other elements come: a tile of all positions stays while others
        pick."""
        return self.by if self.picks >= self.positions else frozenset()


def gathered_in(
    program: Program, shapes: Sizes[str, int], access: Access, tile: Sizes[str, int]
) -> RepeatedGather:
    """What an access picks in a tile of so many coordinates by rank.

    Parameters
    ----------
    shapes : mapping
        Coordinates of all ranks, whatever loops are around.
    access : Access
        Along several ranks at once it is taken to pick other elements each time.
    """
    gathered = [(n, i) for n, i in enumerate(access.indices) if isinstance(i, Gather)]
    if len(gathered) != 1:
        # Nothing is told of several picks at once: each element comes once (1 < 2), and moves with
        # all.
        return RepeatedGather(picks=1, positions=2, by=frozenset())
    number, index = gathered[0]
    others = (i for n, i in enumerate(access.indices) if n != number)
    plain = {v for i in others for v in i.variables} | {*index.offset.variables}
    by = frozenset(v.upper() for v in index.access.variables if v not in plain)
    step = index.coefficient * prod(shapes[s] for s in index.shapes)
    length = shapes[program.tensor_ranks[access.tensor][number]]
    return RepeatedGather(
        picks=prod(tile[r] for r in by), positions=-(-length // max(1, step)), by=by
    )


def words_in_lines(
    words: Fraction, access: Access, shapes: Sizes[str, int], tile: Sizes[str, int], line: int
) -> Fraction:
    """Words of the lines, of so many words each, around those that a gathered tile has.

    Parameters
    ----------
    words : Fraction
        Of the tile.
    access : Access
    shapes, tile : mapping
        Coordinates of all ranks, and of a tile, by rank.
    line : int
        Words of a line.
    """
    rank_of = {v: v.upper() for v in access.variables}
    whole = {v: shapes[r] for v, r in rank_of.items()}
    run = contiguous_words(access, {v: tile[r] for v, r in rank_of.items()}, whole)
    # Of 3 neighbours in lines of 8 words a line comes for each 3: 8/3 times the words.
    return words * (-(-run // line) * line) / run


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPart:
    """A loopable part of a rank: how often it goes round, inside one round of what is outside."""

    name: str
    rank: str
    stride: int
    count: int
    mean: Fraction
    """As ``count``, on average: the last round of what is outside may be shorter. Of 8 sequences
    in tiles of 7 there are 8/7 tiles of 7, and not 2."""
    even: bool
    """Whether the two are equal."""


@dataclass(frozen=True, kw_only=True)
class MappingContext(Memoized):
    """A cascade with all its shapes, and the machine it is to be laid out on."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Coordinates of ranks that memories hold at a time, ascending, each a multiple of the last
    and of what arrays take; beside what arrays take, ranks are cut so."""
    cuts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Where some ranks are cut instead of at ``strides``: ascending, multiples of the last."""
    longer: dict[str, int] = field(default_factory=dict)
    """Sizes of tiles that are given longer than their rank, which ``shapes`` has as long as it."""
    fitted: bool = False
    """Whether ranks are cut for what lies side by side, so that stretches of several may."""
    stretched: bool = False
    """Whether they do so inside of shared loops, too; else ranks beside others fit there whole."""

    @cached_property
    def words(self) -> TensorWords:
        """Words of the machine that a value of each tensor takes."""
        return self.program.memo(words_of, self.architecture.word_bits)

    def memories(self, array: str) -> tuple[Memory, ...]:
        """Memories that feed an array, outermost first."""
        memories = self.architecture.memories
        return tuple(memories[i] for i in sorted(self.architecture.tree.feeding(array)))

    def way(self, array: str, e: Einsum, access: Access) -> tuple[int, ...]:
        """Places, among the memories that feed an array, of those that an access passes."""
        tree = self.architecture.tree
        if tree.is_line:
            return tuple(range(len(self.architecture.memories)))
        home = tree.home(array, self._number(e, access), None)
        return self._places(array, frozenset(tree.paths[home]))

    def held(self, array: str, e: Einsum, access: Access) -> tuple[int, ...]:
        """The same of those that it may pass, wherever another Einsum makes the tensor.

        Of an input or an own result that is one way; what another Einsum makes may lie in any
        memory that feeds the array.
        """
        tree = self.architecture.tree
        if tree.is_line or access == e.target or access.tensor not in self.program.einsum_of:
            return self.way(array, e, access)
        return self._places(array, tree.feeding(array))

    def _number(self, e: Einsum, access: Access) -> int | None:
        """The place of an access among the operands of an Einsum; None of its result."""
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
        """Einsums that need one another, components in the order of what they need."""
        return self.program.memo(strongly_connected_components)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Coordinates that array dimensions take at a time."""
        return array_strides(self.architecture)

    def parts(self, rank: str) -> tuple[LoopPart, ...]:
        """The parts that a rank is cut into, outermost first."""
        if rank not in self._parts:
            self._parts[rank] = self._cut(rank)
        return self._parts[rank]

    @cached_property
    def _parts(self) -> dict[str, tuple[LoopPart, ...]]:
        return {}

    def within(self, rank: str, room: int) -> tuple[tuple[LoopPart, ...], int]:
        """The parts of a rank whose coordinates fit into some room, and how many they are; none
        where no more than one does."""
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
        # 4,096 keys of a machine with arrays of 32 and 128: strides 1, 32 and 128, and so,
        # outermost first, parts of 32, 4 and 32 rounds. Of 100 keys: 4 rounds of 32, on average
        # 100/32, and 32 of 1.
        cuts = {1, *self.cuts.get(rank, self.strides), *self.blocks.get(rank, ())}
        steps = sorted(s for s in cuts if s < max(2, size))
        names = [f"{rank}{number}" for number in range(len(steps))]
        # Names of parts must be free: a cascade may call a rank M0 itself.
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
        """Coordinates of a rank that a part and all inside of it go over, whether or not there
        are as many."""
        outermost = part.name == self.parts(part.rank)[0].name
        whole = part.stride * part.count
        return max(whole, self.longer.get(part.rank, 0)) if outermost else whole

    def ranks(self, e: Einsum) -> tuple[str, ...]:
        """Ranks an Einsum goes over, those of its result first."""
        return self.program.memo(_ranks_along, e.variables)

    def ranks_of(self, access: Access) -> frozenset[str]:
        """Ranks along which a tensor varies where it is accessed so."""
        return self.program.memo(_set_along, access.variables)

    def masked(self, name: str) -> frozenset[str]:
        """Ranks that the mask of an Einsum asks about, where it can be told before it runs: of
        what depends on data nothing is left out."""
        return self.program.memo(_masked, name)

    def shared(self, name: str) -> tuple[str, ...]:
        """Ranks of the loops that an Einsum shares with the others of its component."""
        return self.program.memo(_shared_loops, name)

    @property
    def whole_shapes(self) -> dict[str, int]:
        """Coordinates of all ranks, whatever loops are around."""
        return self.shapes

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Words that a memory moves for a tile, of so many coordinates by rank; ``ranks`` are
        those along which the tensor varies. Around what is gathered whole lines."""
        words = prod(tile[r] for r in ranks) * self.words.of(access.tensor)
        if not self.gathers(access):
            return words
        line = max(1, memory.line_bits // self.architecture.word_bits)
        distinct = words / self._picked(access, tile).again
        return words_in_lines(distinct, access, self.whole_shapes, tile, line)

    def kept_words(self, access: Access, tile: Sizes[str, int]) -> Fraction | int:
        """Words of a tile that a memory has to hold: of what is gathered each element once."""
        words = prod(tile[r] for r in self.ranks_of(access)) * self.words.of(access.tensor)
        return words / self._picked(access, tile).again if self.gathers(access) else words

    def moving(self, access: Access, tile: Sizes[str, int]) -> frozenset[str]:
        """Ranks whose loops bring other elements to what holds a tile."""
        ranks = self.ranks_of(access)
        return ranks - self._picked(access, tile).staying if self.gathers(access) else ranks

    def gathers(self, access: Access) -> bool:
        """Whether some index of it is itself read."""
        return gathers(access)

    def accesses(self, e: Einsum) -> tuple[Access, ...]:
        """What an Einsum reads and writes, each access once: to tell them apart takes a while."""
        if e.name not in self._accesses:
            self._accesses[e.name] = tuple(dict.fromkeys((*e.reads, e.target)))
        return self._accesses[e.name]

    @cached_property
    def _accesses(self) -> dict[str, tuple[Access, ...]]:
        return {}

    def _picked(self, access: Access, tile: Sizes[str, int]) -> RepeatedGather:
        return gathered_in(self.program, self.whole_shapes, access, tile)

    def room_bits(self, number: int, memory: Memory) -> int | None:
        """Bits of a memory, the so manyth inside of the outermost one, that the tiles of an
        Einsum's own loops have to fit in; None where they need not."""
        del number
        return None if memory.capacity_bytes is None else 8 * memory.capacity_bytes

    def together(self, name: str) -> int:
        """How many Einsums share the loops of one, itself included."""
        return len(next(g for g in self.groups if name in g))

    def unlayable(self, name: str) -> frozenset[str]:
        """Ranks of an Einsum of which no two coordinates run side by side: values run along them,
        or they are gone round together."""
        return frozenset(self.shared(name))

    @cached_property
    def nest(self) -> tuple[NestLevel, ...]:
        """The loops of all components of several Einsums, at the outermost memory."""
        ranks = dict.fromkeys(r for e in self.program.einsums for r in self.shared(e.name))
        loops = tuple(p.name for r in outer_parts_first(self.program, ranks) for p in self.parts(r))
        return (NestLevel(level=self.architecture.home.name, loops=loops),) if loops else ()


# Facts of the cascade alone, kept with it: sites of it are made for every machine and length.


def _ranks_along(program: Program, variables: tuple[str, ...]) -> tuple[str, ...]:
    """Ranks of some variables, those that all Einsums have first."""
    return tuple(dict.fromkeys((*program.parallel, *(v.upper() for v in variables))))


def _set_along(program: Program, variables: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_ranks_along(program, variables))


def _masked(program: Program, name: str) -> frozenset[str]:
    """Ranks that the mask of an Einsum asks about, but for what depends on data."""
    where = with_masks(program).einsum_of[name].where
    known = (c for c in conjuncts(where) if not depends_on_data(c))
    return frozenset(v.upper() for c in known for v in variables_of(c))


def _shared_loops(program: Program, name: str) -> tuple[str, ...]:
    """Ranks of the loops that an Einsum shares with the others of its component."""
    group = next(g for g in program.memo(strongly_connected_components) if name in g)
    read = {a.tensor for n in group for a in program.einsum_of[n].reads}
    running = [r for n in group if n in read for r in program.iterative.get(n, ())]
    if not running:
        return ()
    have = {n: program.memo(_ranks_along, program.einsum_of[n].variables) for n in group}
    # What only some of them go along is done again and again inside of what all do.
    running.sort(key=lambda rank: -sum(rank in ranks for ranks in have.values()))
    outer = dict.fromkeys(_outer_first(program, running))
    return (*program.parallel, *(r for r in outer if r in have[name]))


def _outer_first(program: Program, ranks: Iterable[str]) -> Iterator[str]:
    """Ranks, each after the outer parts of the rank that it is a part of."""
    for name in ranks:
        family = program.rank_of[name].family
        members = program.rank_of[family].partition if family else (name,)
        yield from members[: members.index(name) + 1]
