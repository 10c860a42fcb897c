"""Bandwidth bound of a partitioning: the least time that the memory which feeds the cores needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Mapping as Sizes
from contextlib import suppress
from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, TypeAlias

from einsum_cascade.errors import InputError
from einsum_cascade.ir import Access, Einsum, Gather, Program
from einsum_cascade.libraries import np
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import einsum_operations
from einsum_cascade.passes.analysis import analyze_passes

from ..spec.arch import Architecture
from ..spec.mapping import SpatialRank
from . import policy
from .partition_factors import Partitioning, all_partition_factors
from .problem import Cores, MappingProblem

if TYPE_CHECKING:
    import numpy.typing as npt

Amounts: TypeAlias = "npt.NDArray[np.float64]"
"""Array with one amount per partitioning that is compared."""


def bandwidth_optimal(
    problem: MappingProblem,
    choices: Collection[tuple[str, ...]],
    others: Collection[Partitioning],
    masked: Collection[str] = (),
) -> Partitioning | None:
    """Return the partitioning with the smallest bandwidth bound, if it is clearly the smallest.

    Parameters
    ----------
    choices : collection of tuple of str
        Ranks that may be split together.
    others : collection
        Known partitionings.
    masked : collection of str
        Ranks under a mask, whose tiles get equal shares of the work.

    Returns
    -------
    tuple or None
        None also if several memories feed cores, or if cores form a ring.

    Examples
    --------
    A token of 128 heads that share 4K latent keys, on 132 cores: 4 of the heads and 32 of the keys.

    >>> from einsum_cascade import Cascade
    >>> machine = Architecture.load("h100-sxm")
    >>> program = Cascade.load("mla-absorbed-2pass").program
    >>> shapes = {"B": 1, "H": 128, "D": 128, "R": 64, "L": 512, "F": 128, "P": 1, "M": 4096}
    >>> problem = MappingProblem(program, machine, shapes)
    >>> ((memory, ranks),) = bandwidth_optimal(problem, [("H", "M")], [])
    >>> memory, [(s.rank, s.parts) for s in ranks]
    ('L2', [('H', 4), ('M', 32)])
    """
    cores, given = problem.unlinked_cores, problem.shapes
    if cores is None:
        return None
    sizes = [{r: given[r] for r in ranks if given[r] > 1} for ranks in choices]
    tried = [
        parts
        for ranks in sizes
        for parts in all_partition_factors(ranks, cores.number)
        if all(parts.get(r, 1) <= _most_unequal(parts, r) for r in masked)
    ]
    known = [_parts(problem.program, partitioning) for partitioning in others]
    times, sums = _BandwidthBound(problem, cores, (*tried, *known)).times()
    best = times[: len(tried)].min()
    if known and best > policy.MAX_TIME_RATIO_OF_EXTRA_PARTITIONING * times[len(tried) :].min():
        return None
    # The overlap in the bound is not complete in a run. Among nearly equal partitionings, those
    # with equal tiles come first, which suit arrays in more ways, and then the one with the least
    # total time.
    fastest = np.flatnonzero(times[: len(tried)] <= policy.NEARLY_FASTEST_RATIO * best)
    found = tried[
        min(fastest, key=lambda w: (any(given[r] % n for r, n in tried[w].items()), sums[w]))
    ]
    partitioned = tuple(
        SpatialRank(instances=cores.name, rank=r, parts=n, balanced=r in masked)
        for r, n in found.items()
        if n > 1
    )
    return ((cores.memory.name, partitioned),) if partitioned else None


def _most_unequal(parts: Sizes[str, int], rank: str) -> int:
    """Return the largest number of tiles of a masked rank, each of which is counted by itself."""
    alone = all(n == 1 for r, n in parts.items() if r != rank)
    return policy.MAX_UNEQUAL_TILES_OF_ONE_RANK if alone else policy.MAX_UNEQUAL_TILES


def bandwidth_bounds(
    problem: MappingProblem, partitionings: Collection[Partitioning]
) -> tuple[float, ...]:
    """Return the least time of each partitioning in seconds, if each core reads its operands once.

    Gathered elements count for each index, though indices may coincide. All times are 0 if several
    memories feed cores, or if cores form a ring.
    """
    times, _ = _times_of(problem, partitionings)
    return tuple(float(time) for time in times)


def fastest_first(
    problem: MappingProblem, partitionings: Sequence[Partitioning]
) -> list[Partitioning]:
    """Return partitionings in ascending order of their ``bandwidth_bounds``.

    The total time of all memories and arrays decides among those that are as fast as the first.
    """
    times, sums = _times_of(problem, partitionings)
    slower = times > policy.MAX_RATIO_OF_EQUAL_BOUNDS * times.min()
    order = np.lexsort((np.where(slower, times, sums), slower))
    return [partitionings[n] for n in order]


def _times_of(
    problem: MappingProblem, partitionings: Collection[Partitioning]
) -> tuple[Amounts, Amounts]:
    """Return two times of each partitioning: that of the busiest unit, and the sum over all."""
    cores = problem.unlinked_cores
    if cores is None:
        return np.zeros(len(partitionings)), np.zeros(len(partitionings))
    parts = [_parts(problem.program, partitioning) for partitioning in partitionings]
    return _BandwidthBound(problem, cores, parts).times()


def input_bandwidth_bound(problem: MappingProblem, partitioning: Partitioning) -> float:
    """Return the least time in seconds to transfer the inputs under one partitioning.

    Transfers between Einsums do not count: their sizes follow from tiles if the cascade cuts ranks.
    The time is 0 if an input has tiles of a rank that the cascade cuts, and in the cases of
    ``bandwidth_bounds``.
    """
    cores, program = problem.unlinked_cores, problem.program
    ranks = {r for t in program.inputs for r in program.tensor_ranks[t.name]}
    if cores is None or any(program.whole_rank(r) != r for r in ranks):
        return 0.0
    bound = _BandwidthBound(problem, cores, [_parts(program, partitioning)])
    return max(float(t[0]) for t in bound.moving(only_inputs=True))


def _parts(program: Program, partitioning: Partitioning) -> dict[str, int]:
    """Return the number of parts of each rank; parts of its tiles are parts of the rank."""
    found: dict[str, int] = {}
    for s in (s for _, partitioned in partitioning for s in partitioned):
        rank = program.whole_rank(s.rank)
        found[rank] = found.get(rank, 1) * (s.parts or 1)
    return found


@dataclass
class _BandwidthBound:
    """Estimator of the least times of some partitionings of a problem, in seconds, from transfers
    and work.

    Each core is assumed to read its operands once, or once per pass if they exceed its memory. Its
    arrays are assumed to be fully used.
    """

    problem: MappingProblem
    cores: Cores
    partitionings: Collection[Sizes[str, int]]
    """Numbers of tiles by rank, for each partitioning."""

    @cached_property
    def parts(self) -> dict[str, Amounts]:
        """Numbers of tiles of each rank that some partitioning splits."""
        ranks = dict.fromkeys(rank for each in self.partitionings for rank in each)
        return {
            rank: np.array([each.get(rank, 1) for each in self.partitionings], dtype=np.float64)
            for rank in ranks
        }

    @cached_property
    def one(self) -> Amounts:
        """Amount of one for each partitioning."""
        return np.ones(len(self.partitionings))

    @property
    def program(self) -> Program:
        """Cascade of the problem."""
        return self.problem.program

    @property
    def architecture(self) -> Architecture:
        """Machine of the problem."""
        return self.problem.architecture

    def times(self) -> tuple[Amounts, Amounts]:
        """Return two times of each partitioning: that of the busiest unit, and the sum over all
        units."""
        busy = [*self._work(), *self.moving()]
        return np.maximum.reduce(busy), np.add.reduce(busy)

    def moving(self, *, only_inputs: bool = False) -> list[Amounts]:
        """Return the transfer times of the outermost memory and of the memory that feeds the
        cores."""
        outer, memory = self.architecture.home, self.cores.memory
        moved, delivered = self._moved(), self._served(only_inputs)
        if memory.name != outer.name:
            delivered = delivered + moved
        amounts = ((outer, moved), (memory, delivered))
        found = [n / float(m.bandwidth_bytes_per_s) for m, n in amounts if m.bandwidth_bytes_per_s]
        return found or [0 * self.one]

    def _moved(self) -> Amounts:
        """Return the bytes of inputs that the outermost memory delivers.

        An input of several passes counts once per pass if neither its core nor the memory that
        feeds the cores can hold it.
        """
        moved, capacity = 0 * self.one, self.cores.memory.capacity_bytes
        for name in (t.name for t in self.program.inputs):
            of_all, part = self._refetched_bytes(name)
            here = capacity is None or self.cores.memory.name == self.architecture.home.name
            stays = self._fits_core_memory(part) | (
                self.one > 0 if here else of_all <= (capacity or 0)
            )
            moved = moved + self._bytes(name) * np.where(stays, 1, self._refetches(name))
        return moved

    @cached_property
    def _passes(self) -> dict[str, dict[str, int]]:
        """Return the number of passes over an input by tensor and rank.

        A tensor is included if Einsums read it again after all coordinates of the rank were seen.
        """
        found: dict[str, dict[str, int]] = {}
        readers = [{a.tensor for a in e.reads} for e in self.program.einsums]
        again = {t.name for t in self.program.inputs if sum(t.name in r for r in readers) > 1}
        if not again:
            return found
        # Passes are unknown for operations that are not associative: assume one.
        with suppress(InputError):
            for rank in self.program.memo(analyze_passes).ranks:
                whole = self.program.whole_rank(rank.rank) == rank.rank
                for t in (t for t in rank.tensors if whole and not rank.at_most):
                    if t.tensor in again and len({*t.read}) > 1:
                        found.setdefault(t.tensor, {})[rank.rank] = len({*t.read})
        return found

    def _refetches(self, tensor: str) -> int:
        return max(self._passes.get(tensor, {}).values(), default=1)

    @cached_property
    def _outside(self) -> set[str]:
        """Ranks that all Einsums' results have, so that loops over them can enclose all Einsums."""
        of_each = [self._ranks(e.target.variables) for e in self.program.einsums]
        return set.intersection(*of_each)

    def _refetched_bytes(self, tensor: str) -> tuple[Amounts, Amounts]:
        """Return the bytes to hold so that an input is read only once: in all cores, and in one
        core.

        Ranks of a single pass do not count: their loops enclose those of other ranks.
        """
        ranks = {self.program.whole_rank(r) for r in self.program.tensor_ranks[tensor]}
        of_all = part = self.one * self.problem.tensor_bytes(tensor, 1)
        for rank in ranks | {*self.program.parallel}:
            number = self.parts.get(rank, self.one)
            length = np.ceil(self.problem.extent(rank) / number)
            again = rank in self._passes.get(tensor, {}) and rank not in self._outside
            size = length if again else self.one
            of_all, part = of_all * size * number, part * size
        return of_all, part

    def _fits_core_memory(self, part: Amounts) -> npt.NDArray[np.bool_]:
        """Return whether a core's own memory can hold a number of bytes."""
        return part <= self._core_room

    @cached_property
    def _core_room(self) -> float:
        """Bytes that one input may fill in a core's own memory."""
        names = [m.name for m in self.architecture.memories]
        inner = self.architecture.memories[names.index(self.cores.memory.name) + 1 :]
        capacities = [m.capacity_bytes for m in inner]
        most = max((n for n in capacities if n is not None), default=None)
        return inf if most is None or None in capacities else policy.INPUT_CAPACITY_SHARE * most

    def _work(self) -> list[Amounts]:
        """Return the seconds of each array of the critical core, which has the largest tile of each
        rank, with each Einsum on its fastest array."""
        arrays = self.architecture.arrays
        busy = [0 * self.one for _ in arrays]
        for e in self.program.einsums:
            operations = einsum_operations(self.program, e)
            able = [
                (float(array.cycles_of(operations)) / array.elements, number)
                for number, array in enumerate(arrays)
                if not array.cannot_do([kind for kind, _ in operations])
            ]
            points = self.one * prod(self._extents(e.variables).values())
            for rank, size in self._extents(e.variables).items():
                if rank in self.parts:
                    # 100 keys in 3 tiles: the largest tile has 34.
                    points = points / size * np.ceil(size / self.parts[rank])
            if able:
                cycles, number = min(able)
                busy[number] = busy[number] + points * cycles
        return [cycles / float(self.architecture.clock_hz) for cycles in busy]

    def _extents(self, variables: Collection[str]) -> dict[str, int]:
        """Return the number of coordinates of each rank in an Einsum.

        An Einsum may lack one tile of a rank that the cascade cuts. The innermost tile is then
        assumed to be as long as an array is wide, unless its size is given.
        """
        found = {r: self.problem.extent(r) for r in self._ranks(variables)}
        own = {v.upper() for v in variables}
        width = max(d.size for a in self.architecture.arrays for d in a.dimensions)
        for rank in (r for r in self.program.ranks if r.partition and r.name in found):
            tile = self.problem.shapes.get(rank.partition[-1], min(width, found[rank.name]))
            if rank.partition[-1] not in own and own & {*rank.partition}:
                found[rank.name] = -(-found[rank.name] // tile)
            elif not own & {rank.name, *rank.partition[:-1]}:
                found[rank.name] = tile
        return found

    def _served(self, only_inputs: bool) -> Amounts:
        """Return the bytes that the cores read from and write to the memory that feeds them.

        A tensor counts for the Einsum that reads most of it. Partial results are written and read
        in the memory in which they meet.
        """
        taken: dict[str, Amounts] = {}
        delivered = 0 * self.one
        made = self.program.einsum_of
        for e in self.program.einsums:
            mine = self._ranks(e.variables) & self.parts.keys()
            for access in e.reads:
                own = self._ranks(access.variables)
                if access.tensor in made and (only_inputs or mine <= own):
                    continue  # The tensor need not leave the core.
                times = self._times(mine - own)
                times = self.one if self.cores.memory.multicast else times
                amount = self._bytes(access.tensor) * times
                if not only_inputs:
                    amount = np.maximum(amount, self._gathered(e, access, mine) * times)
                taken[access.tensor] = np.maximum(taken.get(access.tensor, amount), amount)
            if only_inputs:
                continue
            partial = self._times(mine - self._ranks(e.target.variables))
            # A memory that reduces is only written to; partial results in other memories are read
            # again.
            accesses = 1 if self.cores.memory.reduces else 2
            delivered = delivered + self._bytes(e.name) * np.where(
                partial > 1, accesses * partial, 0
            )
        for tensor, amount in taken.items():
            again = self._refetches(tensor)
            if again > 1:
                _, part = self._refetched_bytes(tensor)
                amount = amount * np.where(self._fits_core_memory(part), 1, again)
            delivered = delivered + amount
        return delivered

    def _gathered(self, e: Einsum, access: Access, mine: set[str]) -> Amounts:
        """Return the bytes that cores gather in all; none from a tensor that no index gathers from.

        Each gathered element is read anew, or a core holds all that it may gather from: slice by
        slice of other ranks of the result, with other operands read again for each.

        Parameters
        ----------
        mine : set of str
            Ranks of the Einsum that some partitioning splits.
        """
        gathers = [i for i in access.indices if isinstance(i, Gather)]
        if not gathers:
            return 0 * self.one
        direct = [v for i in access.indices if not isinstance(i, Gather) for v in i.variables]
        offsets = [v for i in gathers for v in i.offset.variables]
        size, split = self._bytes(access.tensor), self._ranks(direct)
        every = self.problem.elements(v.upper() for v in access.variables)
        gathered = self.one * self.problem.tensor_bytes(access.tensor, every)
        outside = {v.upper() for v in {*direct, *offsets} & {*e.target.variables}}
        parallel = {*self.program.parallel}
        whole = size / self.problem.elements(()) / self._times((mine & split) - parallel)
        slices = np.ceil(np.minimum(whole / self._core_room, self.problem.elements(outside)))
        others = sum(self._bytes(t) for t in {a.tensor for a in e.reads} - {access.tensor})
        copies = self._times((mine & self._ranks(access.variables)) - split)
        held = size * (self.one if self.cores.memory.multicast else copies) + slices * others
        slice_of_one = (
            size / self.problem.elements(outside) / self._times((mine & split) - outside - parallel)
        )
        return np.where(self._fits_core_memory(slice_of_one), np.minimum(held, gathered), gathered)

    def _times(self, ranks: set[str]) -> Amounts:
        """Return the product of the numbers of tiles over some ranks."""
        return prod((self.parts[rank] for rank in sorted(ranks)), start=self.one)

    def _ranks(self, variables: Collection[str]) -> set[str]:
        own = {self.program.whole_rank(v.upper()) for v in variables}
        return own | {*self.program.parallel}

    def _bytes(self, tensor: str) -> float:
        elements = self.problem.elements(self.program.tensor_ranks[tensor])
        return self.problem.tensor_bytes(tensor, elements)
