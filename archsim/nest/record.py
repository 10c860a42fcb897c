"""Bound mappings: loops with sizes, and the access map of every access.

Every model reads this record. For each Einsum it has the axes of the iteration space, the loops
outermost first, and the array that runs the Einsum.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Concatenate, ParamSpec, TypeVar

from typing_extensions import override

from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import Memoized, cached_property, memoized
from einsum_cascade.operations import Operations

from ..iteration.access_map import AccessMap
from ..iteration.bands import RankBand, Window
from ..iteration.loop_nest import LoopNest, LoopSpace
from ..iteration.loops import Axis, Extents, Loop, count_points, iterations
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from ..spec.tensor_words import TensorWords, words_of
from .dataflow import Operand
from .partition import NO_RING, PartKinds, RankPartition, Ring
from .residency import Residency
from .tiling import Tiling, axis_places

P = ParamSpec("P")
T = TypeVar("T")

UnitLoopPattern = tuple[tuple[bool, ...], tuple[tuple[bool, ...], ...], tuple[str, ...]]
"""Loops of one iteration, in the shared nest and of every Einsum, and ranks of one element."""


@dataclass(frozen=True, kw_only=True)
class SharedLoop:
    """Temporal loop of the shared nest, with ``bound`` iterations in the first tile."""

    member: str
    rank: str
    level: int
    bound: int


@dataclass(frozen=True, kw_only=True)
class BoundEinsum(Memoized):
    """One Einsum with its loops: ``shared`` and ``own`` temporal ones, then ``spatial`` ones."""

    einsum: Einsum
    array: ProcessingArray
    axes: tuple[Axis, ...]
    shared: tuple[Loop, ...]
    own: tuple[Loop, ...]
    spatial: tuple[Loop, ...]
    outside: tuple[str, ...]
    """Members of the shared nest that the Einsum is outside of."""
    bypass: frozenset[tuple[str, str]]
    """Pairs of a level's name and a tensor with which this Einsum bypasses the level."""
    operations: Operations
    operands: tuple[Operand, ...]
    """Operands with their producers, in the order of ``reads``."""
    reads: tuple[AccessMap, ...]
    write: AccessMap
    initial: tuple[BoundEinsum, ...] = ()
    """Statements of ``init`` that bring inputs into the Einsum's result (``initial_einsums``)."""
    window: Window | None = None
    """Window of the iterations that a mask leaves; None: all."""
    partially_masked: bool = False
    """True if the mask drops points inside the window, too."""
    is_initial: bool = False
    """True for a statement of ``init``, which runs before all Einsums of its tile."""

    @cached_property
    def name(self) -> str:
        """Name of the tensor that the Einsum writes."""
        return self.einsum.name

    @cached_property
    def access_maps(self) -> tuple[AccessMap, ...]:
        """All accesses: reads, then the write."""
        return (*self.reads, self.write)

    @cached_property
    def temporal(self) -> tuple[Loop, ...]:
        """All temporal loops, outermost first."""
        return (*self.shared, *self.own)

    @cached_property
    def space(self) -> LoopSpace:
        """Loops over the axes; Einsums with equal loops share one record."""
        return LoopSpace(
            axes=self.axes, temporal=self.temporal, spatial=self.spatial, window=self.window
        )

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Ranks of the iteration space; of ranks that the cascade cuts, the members, outermost
        first."""
        return tuple([v.upper() for axis in self.axes for v, _ in axis.variables])

    @cached_property
    def variables(self) -> frozenset[str]:
        """Rank variables of the iteration space."""
        return self.space.variables

    @cached_property
    def extents(self) -> Extents:
        """Extents of the whole iteration space."""
        return self.space.extents

    @cached_property
    def trip_counts(self) -> dict[str, int]:
        """Iterations of each loop, by its member, inside the first tile of the loops around it."""
        return self.space.trip_counts

    @cached_property
    def nonunit_loops(self) -> tuple[Loop, ...]:
        """Temporal loops of more than one iteration; all other loops have no effect."""
        return self.space.nonunit_loops

    def stepping(self, access_map: AccessMap, level: int) -> tuple[Loop, ...]:
        """Return the loops that step through the tiles of an access at a level, outermost first.

        A tile stays inside the innermost loop that brings other elements of the tensor.

        Parameters
        ----------
        access_map : AccessMap
            One of the Einsum's ``access_maps``.
        level : int
            Index of a memory from the outermost, or the register level below them all.
        """
        return self._stepping(self.moved_by(access_map, level), level)

    @memoized
    def _stepping(self, moving: frozenset[str], level: int) -> tuple[Loop, ...]:
        loops = [loop for loop in self.nonunit_loops if loop.level < level]
        while loops and loops[-1].variable not in moving:
            loops.pop()
        return tuple(loops)

    def moved_by(self, access_map: AccessMap, level: int) -> frozenset[str]:
        """Return the rank variables whose loops bring other elements of a tensor to a level.

        Parameters
        ----------
        access_map, level
            See ``stepping``.
        """
        nest = self.nest(level)
        # Elements of an array hold no common tile: each one fetches its own gathered elements.
        return access_map.moving if nest is self.whole else access_map.moving_in(nest.first_tile)

    def nest(self, level: int) -> LoopNest:
        """Return the temporal loops outside the tiles that ``level`` holds, as a nest."""
        return self.space.nest(level)

    @cached_property
    def whole(self) -> LoopNest:
        """Nest of all temporal loops: the iterations of one processing element."""
        return self.space.whole

    @cached_property
    def points(self) -> int:
        """Points of the tiles that run, including points that a mask cuts out of a tile."""
        return self.space.points

    @cached_property
    def cycles_of_point(self) -> Fraction:
        """Cycles of an element of the array for one point."""
        return self.array.memo(ProcessingArray.cycles_of, self.operations)

    @cached_property
    def iterations(self) -> int:
        """Temporal iterations of one processing element."""
        return self.space.iterations

    @cached_property
    def cycles(self) -> Fraction:
        """Cycles of an element of the array over the whole run."""
        return self.iterations * self.cycles_of_point


@dataclass(frozen=True, kw_only=True)
class CorePartitioning:
    """Partition of a mapping's work over cores, each of which runs one nest."""

    partitions: tuple[RankPartition, ...] = ()
    """Ranks of which each core has a part."""
    whole: Bound | None = None
    """Nest of all of the work, whether it fits or not; None: the nest is all of the work."""
    others: tuple[tuple[PartKinds, Bound], ...] = ()
    """Nests of cores that have other kinds of parts than the bound mapping."""
    ring: Ring = NO_RING
    """Tensors that cores pass on to one another."""
    replicated: frozenset[tuple[str, str]] = frozenset()
    """Pairs of an Einsum that each core runs for itself and a rank in parts that it lacks."""

    def copies(
        self, access_map: AccessMap, level: int, shared: frozenset[str] = frozenset()
    ) -> int:
        """Return the number of different tiles of a tensor that the cores below a memory use.

        Parameters
        ----------
        level : int
            Index of the memory.
        shared : frozenset of str
            Variables whose parts use the same tiles.
        """
        moving = access_map.moving - shared
        return prod(s.parts for s in self.partitions if s.level >= level and s.variable in moving)


ONE_CORE = CorePartitioning()
"""Partitioning of work that one core does."""


@dataclass(frozen=True, kw_only=True)
class Bound(Memoized):
    """Mapping bound to a cascade, shapes and a machine; its structure is legal."""

    program: Program
    mapping: Mapping
    architecture: Architecture
    shapes: tuple[tuple[str, int], ...]
    tiling: Tiling
    nest: tuple[SharedLoop, ...]
    steps: int
    einsums: tuple[BoundEinsum, ...]
    """Einsums in the order in which they run."""
    groups: tuple[tuple[str, ...], ...]
    """Groups of Einsums that share loops; groups run one after the other (a fused mapping has
    one)."""
    residency: Residency
    masking_notes: tuple[str, ...] = ()
    """Sentences that say why masked tiles run."""
    no_op_band: RankBand | None = None
    """Band outside of which whole steps of the nest are skipped."""
    cores: CorePartitioning = ONE_CORE
    """Partitioning over cores, of which this is the nest of one."""

    @property
    def is_whole(self) -> bool:
        """True if the nest is all of the work, not the part of one core."""
        return self.cores.whole is None

    @property
    def whole(self) -> Bound:
        """Nest of all of the work."""
        return self.cores.whole or self

    @property
    def core_nests(self) -> dict[PartKinds, Bound]:
        """Nests of all cores by their kinds of parts, with this nest first."""
        return {(0,) * len(self.cores.partitions): self, **dict(self.cores.others)}

    def iterative_variables(self, tensor: str) -> frozenset[str]:
        """Return the variables of the ranks along which a tensor is iterative."""
        return frozenset(rank.lower() for rank in self.program.iterative.get(tensor, ()))

    @cached_property
    def words(self) -> TensorWords:
        """Machine words per value of each tensor."""
        return self.program.memo(words_of, self.architecture.word_bits)

    def in_different_groups(self, one: str, other: str) -> bool:
        """Return whether two Einsums run one after the other, each over all of its loops.

        Parameters
        ----------
        one, other : str
            Names of Einsums; those of one group run together.
        """
        return self.group_of[one] != self.group_of[other]

    @cached_property
    def pattern(self) -> UnitLoopPattern:
        """Part of the sizes that decides legality, and which tiles Einsums find."""
        return (
            tuple([loop.bound == 1 for loop in self.nest]),
            tuple([e.space.loop_is_nonunit for e in self.einsums]),
            tuple([rank for rank, size in self.shapes if size == 1]),
        )

    @cached_property
    def pattern_facts(self) -> dict[Hashable, Any]:
        """Values that ``pattern_memo`` keeps.

        A parametric nest shares them among all sizes of one pattern.
        """
        return {}

    def pattern_memo(
        self, make: Callable[Concatenate[Bound, P], T], *given: P.args, **none: P.kwargs
    ) -> T:
        """Return ``make(self, *given)``, if names and ``pattern`` alone decide the value.

        Parameters
        ----------
        make : callable
            Function at the top level of a module; its identity is part of the key.
        given : hashable
            Further arguments: names, numbers, or Einsums. Nothing is kept for an Einsum that is
            not the mapping's own.
        """
        key = self._key(given)
        if key is None:
            return make(self, *given, **none)
        if (make, key) not in self.pattern_facts:
            self.pattern_facts[make, key] = make(self, *given, **none)
        found: T = self.pattern_facts[make, key]
        return found

    def _key(self, given: tuple[Any, ...]) -> tuple[Hashable, ...] | None:
        """Return arguments with names in place of Einsums; None if an Einsum is not the own one."""
        key: list[Hashable] = []
        for x in given:
            if isinstance(x, BoundEinsum):
                if self.by_name.get(x.name) is not x:
                    return None
                key.append(x.name)
            else:
                key.append(x)
        return tuple(key)

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Return the record without derived values."""
        derived = ("pattern_facts", "_residency_facts")
        return {name: v for name, v in super().__getstate__().items() if name not in derived}

    @cached_property
    def group_of(self) -> dict[str, int]:
        """Numbers of the Einsums' groups, in the order in which groups run."""
        return {name: number for number, group in enumerate(self.groups) for name in group}

    @cached_property
    def by_name(self) -> dict[str, BoundEinsum]:
        """Einsums by the tensor they write."""
        return {e.name: e for e in self.einsums}

    @cached_property
    def position(self) -> dict[str, int]:
        """Positions of the Einsums in the order in which they run, by name."""
        return {e.name: number for number, e in enumerate(self.einsums)}

    def results_read(self) -> Iterator[tuple[BoundEinsum, int, BoundEinsum]]:
        """Yield each read of a result: the reader, the operand's position, and the producer."""
        for e in self.einsums:
            for number, operand in enumerate(e.operands):
                if operand.producer is not None:
                    yield e, number, self.by_name[operand.producer]

    def producer(self, operand: Operand) -> BoundEinsum | None:
        """Return the Einsum that writes an operand; None for an input."""
        return self.by_name[operand.producer] if operand.producer else None

    def memories(self, e: BoundEinsum, tensor: str) -> tuple[int, ...]:
        """Return the indices of the memories that hold a tensor for an Einsum, outermost first.

        Parameters
        ----------
        e : BoundEinsum
            Einsum; levels that it bypasses, or that do not feed its array, are left out.
        tensor : str
            Tensor of the cascade.
        """
        return self._memories(e.array.name, e.bypass, e.name, tensor)

    @memoized
    def _memories(
        self, array: str, bypass: frozenset[tuple[str, str]], einsum: str, tensor: str
    ) -> tuple[int, ...]:
        memories, tree = self.architecture.memories, self.architecture.tree
        made = self.by_name[tensor].array.name if tensor in self.by_name else None
        reach = tree.reach(array, result=tensor == einsum, made=made)
        return tuple(
            i
            for i in self.residency.memories(tensor)
            if i in reach and (memories[i].name, tensor) not in bypass
        )

    def registers(self, e: BoundEinsum, tensor: str) -> tuple[str, ...]:
        """Return the arrays whose registers hold a tensor for an Einsum.

        Parameters
        ----------
        e, tensor
            See ``memories``.
        """
        kept = self.residency.registers(tensor)
        if not e.bypass:
            return kept
        return tuple(a for a in kept if (a, tensor) not in e.bypass)

    def with_residency(self, residency: Residency, mapping: Mapping | None = None) -> Bound:
        """Return a mapping with equal loops whose tensors are kept in other places.

        Parameters
        ----------
        residency : Residency
            Residency of all tensors.
        mapping : Mapping, optional
            Mapping with that residency; it differs from the bound one only in what levels keep.
        """
        return self._with(residency=residency, mapping=mapping or self.mapping)

    def with_loops_of(self, *einsums: BoundEinsum) -> Bound:
        """Return a mapping with other loops of some Einsums, on any arrays.

        Parameters
        ----------
        einsums : BoundEinsum
            Einsums to put in place; of equal names the last one counts.
        """
        put = {e.name: e for e in einsums}
        found = self._with(
            einsums=tuple(put.get(e.name, e) for e in self.einsums),
            by_name=self.by_name | put,
            _residency_facts={},
        )
        vars(found).pop("pattern", None)
        return found

    def _with(self, **changed: Any) -> Bound:
        """Copy the record with other fields; values that follow from names alone stay."""
        for name in ("by_name", "position", "group_of", "words", "_residency_facts"):
            getattr(self, name)  # derive values before the copy, so that both have them
        found = object.__new__(Bound)
        vars(found).update(vars(self))
        vars(found).update(changed)
        for name in ("pattern_facts", "_memo"):
            vars(found).pop(name, None)
        return found

    def on(self, architecture: Architecture) -> Bound:
        """Return the loops on a machine with equal arrays and equally named memories.

        Parameters
        ----------
        architecture : Architecture
            Machine of any speeds and capacities.
        """
        return self._with(architecture=architecture)

    @cached_property
    def _residency_facts(self) -> dict[Hashable, bool]:
        """Values that ``residency_memo`` keeps, shared with all that ``with_residency`` makes."""
        return {}

    def residency_memo(
        self,
        make: Callable[[Bound, BoundEinsum, int, int], bool],
        e: BoundEinsum,
        number: int,
        level: int,
    ) -> bool:
        """Return ``make(self, e, number, level)``, if loops and one tensor's residency decide it.

        The value may depend on whether the level keeps the tensor, and on which registers do.

        Parameters
        ----------
        make
            See ``pattern_memo``.
        e : BoundEinsum
        number : int
            Position of an operand of the Einsum.
        level : int
            Index of a memory from the outermost, or the register level below them all.
        """
        if self.by_name.get(e.name) is not e:
            return make(self, e, number, level)
        tensor = e.access_maps[number].access.tensor
        kept = level in self.residency.memories(tensor), self.residency.registers(tensor)
        key = (make, e.name, number, level, kept)
        if key not in self._residency_facts:
            self._residency_facts[key] = make(self, e, number, level)
        return self._residency_facts[key]

    @property
    def register_level(self) -> int:
        """Level index of the arrays' registers: below every memory."""
        return len(self.architecture.memories)

    def inner_bound(self, member: str) -> int:
        """Return the steps between two neighbouring iterations of a shared loop."""
        names = [loop.member for loop in self.nest]
        return prod(loop.bound for loop in self.nest[names.index(member) + 1 :])


def shared_loops(
    mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> tuple[SharedLoop, ...]:
    """Return the shared nest of a mapping, outermost first, with the iterations of the first
    tile.

    Parameters
    ----------
    mapping : Mapping
    architecture : Architecture
    tiling : Tiling
        Ranks of the cascade, cut by the mapping.

    Returns
    -------
    tuple of SharedLoop
        Loops whose bounds hold inside one iteration of the outer loops over the same rank.
    """
    levels = {m.name: i for i, m in enumerate(architecture.memories)}
    left = dict(tiling.shapes)
    found: list[SharedLoop] = []
    for level in mapping.nest:
        for name in level.loops:
            member = tiling.members[name]
            count = iterations(left[member.rank], member.stride)
            left[member.rank] = min(left[member.rank], member.stride)
            found.append(
                SharedLoop(member=name, rank=member.rank, level=levels[level.level], bound=count)
            )
    return tuple(found)


def nest_space(
    tiling: Tiling, nest: tuple[SharedLoop, ...]
) -> tuple[tuple[Axis, ...], tuple[Loop, ...]]:
    """Return the axes of shared loops, and the loops on them.

    Parameters
    ----------
    tiling : Tiling
        Ranks of the cascade, cut by the mapping.
    nest : tuple of SharedLoop
        Loops of the shared nest, outermost first.
    """
    axes = tiling.axes(tuple(dict.fromkeys(loop.rank.lower() for loop in nest)))
    places = axis_places(axes)
    loops = (tiling.loop(tiling.members[loop.member], places, loop.level) for loop in nest)
    return axes, tuple(loops)


def step_count(tiling: Tiling, nest: tuple[SharedLoop, ...]) -> int:
    """Count the iterations of the shared nest, with exact ragged edges.

    Parameters
    ----------
    tiling, nest
        See ``nest_space``.
    """
    axes, loops = nest_space(tiling, nest)
    # The order of loops does not change the number of iterations; counting needs outer tiles first.
    outer_first = tuple(sorted(loops, key=lambda loop: -loop.stride))
    return count_points(outer_first, tuple(a.extent for a in axes))
