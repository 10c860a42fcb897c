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
from ..iteration.bands import RankBand
from ..iteration.loop_nest import LoopSpace
from ..iteration.loops import Axis, Loop, count_points, iterations
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
"""Pattern of sizes: flags for shared loops with one iteration, flags for each Einsum's loops with
more than one, and ranks of size 1."""


@dataclass(frozen=True, kw_only=True)
class SharedLoop:
    """Temporal loop of the shared nest; ``bound`` is its number of iterations in the first tile."""

    member: str
    rank: str
    level: int
    bound: int


@dataclass(frozen=True, kw_only=True)
class BoundEinsum(LoopSpace):
    """Einsum with its iteration space and its loops."""

    einsum: Einsum
    array: ProcessingArray
    outside: tuple[str, ...]
    """Shared loops, by partitioned rank (member), inside of which the Einsum does not run."""
    bypass: frozenset[tuple[str, str]]
    """Pairs of a level and a tensor, by name: the Einsum bypasses this level with this tensor."""
    operations: Operations
    operands: tuple[Operand, ...]
    """Operands of the Einsum with their producers, in the order of ``reads``."""
    reads: tuple[AccessMap, ...]
    write: AccessMap
    initial: tuple[BoundEinsum, ...] = ()
    """Statements of ``init`` that read inputs and begin the Einsum's result (``initial_einsums``).
    """
    partially_masked: bool = False
    """True if the mask also drops points inside the window."""
    is_initial: bool = False
    """True for a statement of ``init``, which runs before all Einsums of its tile."""

    @cached_property
    def name(self) -> str:
        """Name of the tensor that the Einsum writes."""
        return self.einsum.name

    @cached_property
    def access_maps(self) -> tuple[AccessMap, ...]:
        """Access maps of all accesses: the reads, then the write."""
        return (*self.reads, self.write)

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Ranks of the iteration space. For a rank that the cascade cuts, its partitioned ranks
        (members) are listed, outermost first."""
        return tuple([v.upper() for axis in self.axes for v, _ in axis.variables])

    def stepping(self, access_map: AccessMap, level: int) -> tuple[Loop, ...]:
        """Return the loops that step through the tiles of an access at a level, outermost first.

        The last returned loop is the innermost one whose iterations bring other elements of the
        tensor. Inside of it, the tile stays.

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
        """Return the rank variables whose loops bring other tensor elements to a level.

        Parameters
        ----------
        access_map, level
            See ``stepping``.
        """
        nest = self.nest(level)
        # Elements of an array hold no common tile: each one fetches its own gathered elements.
        return access_map.moving if nest is self.whole else access_map.moving_in(nest.first_tile)

    @cached_property
    def cycles_of_point(self) -> Fraction:
        """Cycles that a processing element needs for one point."""
        return self.array.memo(ProcessingArray.cycles_of, self.operations)

    @cached_property
    def cycles(self) -> Fraction:
        """Cycles that a processing element is busy over the whole run."""
        return self.iterations * self.cycles_of_point


@dataclass(frozen=True, kw_only=True)
class CorePartitioning:
    """Partition of a mapping's work over cores, each of which runs one nest."""

    partitions: tuple[RankPartition, ...] = ()
    """Partitions of ranks; each core has a part of each of these ranks."""
    whole: Bound | None = None
    """Nest of the whole work, whether it fits the machine or not. None if the bound mapping
    already is the whole work."""
    others: tuple[tuple[PartKinds, Bound], ...] = ()
    """Nests of the cores whose kinds of parts differ from those of the bound mapping."""
    ring: Ring = NO_RING
    """Tensors that cores pass on to one another."""
    replicated: frozenset[tuple[str, str]] = frozenset()
    """Pairs of an Einsum that each core runs for itself and the partitioned rank that it does not
    have."""

    def copies(
        self, access_map: AccessMap, level: int, shared: frozenset[str] = frozenset()
    ) -> int:
        """Return the number of different tiles of a tensor that the cores below a memory use at
        once.

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
"""Partitioning for work that a single core does."""


@dataclass(frozen=True, kw_only=True)
class Bound(Memoized):
    """Mapping bound to a cascade, shapes and a machine, with a legal loop structure."""

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
    """Groups of Einsums that share loops; groups run one after the other. A fused mapping has one
    group."""
    residency: Residency
    masking_notes: tuple[str, ...] = ()
    """Sentences that say why tiles run although a mask drops all of their points."""
    no_op_band: RankBand | None = None
    """Band outside of which whole steps of the nest are skipped."""
    cores: CorePartitioning = ONE_CORE
    """Partitioning over cores; this nest is the nest of one of these cores."""

    @property
    def is_whole(self) -> bool:
        """True if this nest does all of the work; False if it is one core's."""
        return self.cores.whole is None

    @property
    def whole(self) -> Bound:
        """Nest of the whole work: of all cores together."""
        return self.cores.whole or self

    @property
    def core_nests(self) -> dict[PartKinds, Bound]:
        """Nests of all cores, by the kinds of their parts; this nest comes first."""
        return {(0,) * len(self.cores.partitions): self, **dict(self.cores.others)}

    def iterative_variables(self, tensor: str) -> frozenset[str]:
        """Return the variables of a tensor's iterative ranks."""
        return frozenset(rank.lower() for rank in self.program.iterative.get(tensor, ()))

    @cached_property
    def words(self) -> TensorWords:
        """Machine words for one value of each tensor."""
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
        """Pattern of sizes: it decides legality, and which tiles are still there when Einsums read
        them."""
        return (
            tuple([loop.bound == 1 for loop in self.nest]),
            tuple([tuple([n > 1 for n in e.trip_counts.values()]) for e in self.einsums]),
            tuple([rank for rank, size in self.shapes if size == 1]),
        )

    @cached_property
    def pattern_facts(self) -> dict[Hashable, Any]:
        """Cache of the values that ``pattern_memo`` returned.

        A parametric nest shares the cache among all sizes with one pattern.
        """
        return {}

    def pattern_memo(
        self, make: Callable[Concatenate[Bound, P], T], *given: P.args, **none: P.kwargs
    ) -> T:
        """Return ``make(self, *given)`` from a cache. Names and ``pattern`` alone must decide the
        value.

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
        """Return the arguments with Einsums replaced by their names. Return None if an Einsum does
        not belong to this mapping."""
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
        """Return the fields to pickle, without caches of derived values."""
        derived = ("pattern_facts", "_residency_facts")
        return {name: v for name, v in super().__getstate__().items() if name not in derived}

    @cached_property
    def group_of(self) -> dict[str, int]:
        """Group number of each Einsum; groups are numbered in the order in which they run."""
        return {name: number for number, group in enumerate(self.groups) for name in group}

    @cached_property
    def by_name(self) -> dict[str, BoundEinsum]:
        """Einsums by name, which is the tensor that the Einsum writes."""
        return {e.name: e for e in self.einsums}

    @cached_property
    def position(self) -> dict[str, int]:
        """Position of each Einsum, by name, in the order in which Einsums run."""
        return {e.name: number for number, e in enumerate(self.einsums)}

    def results_read(self) -> Iterator[tuple[BoundEinsum, int, BoundEinsum]]:
        """Yield each read of another Einsum's result: the reader, the operand's position, and the
        producer."""
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
        """Return the mapping with equal loops but its tensors kept in other memories or registers.

        Parameters
        ----------
        residency : Residency
            Residency of all tensors.
        mapping : Mapping, optional
            Mapping with that residency; it differs from the bound one only in what levels keep.
        """
        return self._with(residency=residency, mapping=mapping or self.mapping)

    def with_loops_of(self, *einsums: BoundEinsum) -> Bound:
        """Return the mapping with some Einsums replaced: they have other loops, and may run on
        other arrays.

        Parameters
        ----------
        einsums : BoundEinsum
            Einsums to put in place; of equal names the last one counts.
        """
        put = {e.name: e for e in einsums}
        einsums = tuple(put.get(e.name, e) for e in self.einsums)
        found = self._with(einsums=einsums, by_name=self.by_name | put, _residency_facts={})
        vars(found).pop("pattern", None)
        return found

    def _with(self, **changed: Any) -> Bound:
        """Copy the record with some fields changed; cached values that follow from names alone
        stay."""
        for name in ("by_name", "position", "group_of", "words", "_residency_facts"):
            getattr(self, name)  # derive values before the copy, so that both have them
        found = object.__new__(Bound)
        vars(found).update(vars(self))
        vars(found).update(changed)
        for name in ("pattern_facts", "_memo"):
            vars(found).pop(name, None)
        return found

    def on(self, architecture: Architecture) -> Bound:
        """Return the mapping on another machine with equal arrays and equally named memories.

        Parameters
        ----------
        architecture : Architecture
            Machine of any speeds and capacities.
        """
        return self._with(architecture=architecture)

    @cached_property
    def _residency_facts(self) -> dict[Hashable, bool]:
        """Cache of ``residency_memo``, shared by all mappings that ``with_residency`` returns."""
        return {}

    def residency_memo(
        self,
        make: Callable[[Bound, BoundEinsum, int, int], bool],
        e: BoundEinsum,
        number: int,
        level: int,
    ) -> bool:
        """Return ``make(self, e, number, level)`` from a cache. Loops and one tensor's residency
        decide it.

        The value may depend on whether the level keeps the tensor, and on which registers keep it.

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
        """Level index of the arrays' registers: one more than that of the innermost memory."""
        return len(self.architecture.memories)

    def inner_bound(self, member: str) -> int:
        """Return the number of steps in one iteration of a shared loop."""
        names = [loop.member for loop in self.nest]
        return prod(loop.bound for loop in self.nest[names.index(member) + 1 :])


def shared_loops(
    mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> tuple[SharedLoop, ...]:
    """Return the loops of a mapping's shared nest, outermost first.

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
    """Return the axes that shared loops go over, and the loops on these axes.

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
    """Count the steps: iterations of the shared nest. Shorter last tiles are counted exactly.

    Parameters
    ----------
    tiling, nest
        See ``nest_space``.
    """
    axes, loops = nest_space(tiling, nest)
    # The order of loops does not change the number of iterations; counting needs outer tiles first.
    outer_first = tuple(sorted(loops, key=lambda loop: -loop.stride))
    return count_points(outer_first, tuple(a.extent for a in axes))
