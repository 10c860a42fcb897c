"""Counts of all cores together, computed from the counts of each core.

A core runs its share (tile) of each partitioned rank. Memories inside a core are accessed by that
core alone. A memory that feeds several cores moves each core's share of a tensor separately if a
partitioned rank indexes the tensor. Otherwise it reads the tensor once for all cores if the network
multicasts, or once for each core if not. Partial sums over a partitioned rank meet in that memory
or on the way to it.

Under a mask, cores read different spans of a shared tensor. For each core, only its unique halo
counts: the part that no earlier core reads. On a ring of links, each core holds its own share of a
tensor. It receives the other shares over one link, tile by tile, and passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from math import ceil, prod

from einsum_cascade.ir import Gather
from einsum_cascade.memo import cached_property

from ..iteration.access_map import AccessMap
from ..nest.partition import PartKinds, RankPartition, Ring
from ..nest.record import Bound, BoundEinsum
from ..nest.shared_tiles import Halo, halos_of, shared_gather, unique_halo, varies_along_halo
from .accesses import AccessCount, Amount, EinsumCount, RegisterUses, Uses, deliveries, path_of
from .meter import EXACT, Size, words_in_lines
from .spill import count_mapping

Counts = tuple[EinsumCount, ...]

_Counted = Callable[[RankPartition], bool]
"""Function of a partitioned rank that returns True if all cores of the rank count.

If it returns False, one core stands for all.
"""


def counts_at_ports(bound: Bound, counts: Counts, some: int | None = None) -> Counts:
    """Return the counts of one core, with the traffic of all cores at memories that feed several
    cores.

    These counts determine time: all cores work at once and share the outer memories.

    Parameters
    ----------
    counts : tuple of EinsumCount
        Counts of the bound mapping, for a core whose tiles of partitioned ranks are full.
    some : int, optional
        Number of distinct core problems to count, those with most work first. Some of the problems
        never have more accesses than all of them, unless chips pass data on to one another.
    """
    return counts if bound.is_whole else _CoreSums(bound, counts, some).counts(timed=True)


def counts_of_all_cores(bound: Bound, counts: Counts) -> Counts:
    """Return the counts of all cores together: the work done and the accesses that cost energy.

    Parameters
    ----------
    bound : Bound
        Mapping of one core whose tiles of partitioned ranks are full.
    counts : tuple of EinsumCount
        Counts of that core.
    """
    return counts if bound.is_whole else _CoreSums(bound, counts).counts(timed=False)


_AccessKey = tuple[str, str, int]
"""Key of an access: tensor, memory or register file, and which of the tensor's accesses there."""


@dataclass(frozen=True, kw_only=True)
class _PartCount:
    """Counts of a core, identified by the kind of its tile (such as a full or ragged one) of each
    rank."""

    kinds: PartKinds
    einsum: BoundEinsum
    count: EinsumCount

    @cached_property
    def accesses(self) -> dict[_AccessKey, AccessCount]:
        """Accesses of the core by key.

        A core with a smaller tile may lack an access, because a loop with one iteration keeps its
        tile.
        """
        found: dict[_AccessKey, AccessCount] = {}
        for access in self.count.accesses:
            times = sum(key[:2] == (access.tensor, access.place) for key in found)
            found[access.tensor, access.place, times] = access
        return found

    def access(self, key: _AccessKey) -> AccessCount:
        """Return an access of the core; one of no tensor elements if the core lacks it."""
        return self.accesses.get(key, _NO_ACCESS)


_NO_ACCESS = AccessCount("", "", "", 0, 0)


class _CoreSums:
    """Calculator that sums the counts of a mapping over its cores."""

    def __init__(self, bound: Bound, counts: Counts, some: int | None = None) -> None:
        cores = bound.cores
        self.bound = bound
        self.partitions = cores.partitions
        self.levels = {m.name: n for n, m in enumerate(bound.architecture.memories)}
        self.memories, self.ring = bound.architecture.memories, cores.ring
        self.replicated = cores.replicated
        self.problems: list[tuple[PartKinds, Bound, Counts]] = [
            (kinds, nest, counts if nest is bound else nest.memo(count_mapping))
            for kinds, nest in islice(bound.core_nests.items(), some)
        ]
        if self.memories[0].ring:
            self.problems = [
                (kinds, one, over_links(one, all_of, cores.ring))
                for kinds, one, all_of in self.problems
            ]

    def counts(self, *, timed: bool) -> Counts:
        """Return the summed counts of every Einsum."""
        return tuple(self._of(e, timed=timed) for e in self.bound.einsums)

    def _of(self, e: BoundEinsum, *, timed: bool) -> EinsumCount:
        problems = [
            _PartCount(kinds=kinds, einsum=bound.by_name[e.name], count=count)
            for kinds, bound, counts in self.problems
            for count in counts
            if count.einsum == e.name
        ]
        one = problems[0].count
        keys = dict.fromkeys(key for p in problems for key in p.accesses)
        places = tuple(self._access(e, key, problems, timed=timed) for key in keys)
        if timed:
            return replace(one, accesses=places)

        def all_of(value: Callable[[EinsumCount], Amount]) -> Amount:
            return self._sum(e, problems, lambda p: value(p.count), lambda _: True)

        def uses(value: Callable[[EinsumCount], Uses]) -> Uses:
            return Uses(all_of(lambda c: value(c).reads), all_of(lambda c: value(c).writes))

        def register_uses(number: int) -> RegisterUses:
            return RegisterUses(
                of_all=uses(lambda c: c.registers_by_tensor[number][1].of_all),
                of_one=uses(lambda c: c.registers_by_tensor[number][1].of_one),
            )

        computed = int(all_of(lambda c: c.allowed))
        # ``allowed`` counts the work once, even if several cores replicate it.
        allowed = self._sum(
            e, problems, lambda p: p.count.allowed, lambda s: s.variable in e.variables
        )
        return replace(
            one,
            points=int(all_of(lambda c: c.points)),
            allowed=int(allowed),
            operations=tuple((kind, n * computed) for kind, n in e.operations),
            accesses=places,
            registers_by_tensor=tuple(
                (tensor, register_uses(n)) for n, (tensor, _) in enumerate(one.registers_by_tensor)
            ),
        )

    def _access(
        self, e: BoundEinsum, key: _AccessKey, problems: list[_PartCount], *, timed: bool
    ) -> AccessCount:
        """Return the accesses to one tensor at one memory or register file, summed over cores."""
        one = next(p.accesses[key] for p in problems if key in p.accesses)
        level = self.levels.get(one.place)
        accessing = [m for m in e.access_maps if m.access.tensor == one.tensor]
        moving = frozenset[str]().union(*(m.moving for m in accessing))
        result = one.tensor == e.name
        held = self.bound.memories(e, one.tensor)

        def own(s: RankPartition) -> bool:
            ring = level == s.level and self.memories[s.level].ring
            return level is None or level > s.level or ring

        def every(s: RankPartition, *, reads: bool) -> bool:
            if own(s):
                return not timed  # each core, or link of a ring, has its own
            if s.variable in moving:
                return True
            memory = self.memories[s.level]
            # The network begins at the innermost memory outside the cores that keeps the tensor.
            if level != max((i for i in held if i <= s.level), default=level):
                return False
            if result:
                return not reads and not memory.reduces
            return reads and not memory.multicast

        def of_all(value: Callable[[_PartCount], Amount], *, reads: bool) -> Amount:
            inside = min((n for n in held if level is not None and n > level), default=None)
            to = inside if reads else level
            return self._sum(
                e,
                problems,
                value,
                lambda s: every(s, reads=reads),
                lambda s: (
                    None
                    if own(s)
                    else self._unique_halo_by_kind(e, accessing, s, None if result else to)
                ),
            )

        writes = of_all(lambda p: p.access(key).writes, reads=False)
        if one.place == self.bound.architecture.home.name and self.ring.rank(one.tensor):
            # Cores pass the tensor on around a ring: every element that came in is passed on once,
            # in addition to local reads.
            used = of_all(lambda p: p.access(key).reads - p.access(key).writes, reads=True)
            return replace(one, reads=used + writes, writes=writes)
        reads = of_all(lambda p: p.access(key).reads, reads=True)
        if (gathered := self._gathered(e, key)) is not None:
            access_map, arrives, inside = gathered
            traffic = partial(self._shared_gather_traffic, e, problems, access_map)
            into = traffic(arrives, None, lambda s: every(s, reads=False))
            out_of = traffic(inside, level, lambda s: every(s, reads=True))
            writes = writes if into is None else min(writes, into)
            reads = reads if out_of is None else min(reads, out_of)
        if result and level is not None:
            summed = [s for s in self.partitions if s.variable in e.variables - moving]
            met = [s for s in summed if level <= s.level and every(s, reads=False)]

            def results(p: _PartCount) -> int:
                return p.einsum.write.size(p.einsum.extents)

            written = self._sum(e, problems, results, lambda s: s.variable in e.write.moving)
            # Every partial sum but the first is added to one that is stored already.
            reads += ceil(self._partial_sums_added(e, accessing, met) * written)
        return replace(one, reads=reads, writes=writes)

    def _gathered(
        self, e: BoundEinsum, key: _AccessKey
    ) -> tuple[AccessMap, int | None, int] | None:
        """Return the access map of the gathered operand that makes an access; None if the access
        gathers nothing.

        Also return the level of the access and the next level inside. The first is None if nothing
        arrives from outside.
        """
        tensor, place, times = key
        for number, access_map in enumerate(e.reads):
            if access_map.access.tensor != tensor:
                continue
            path = path_of(self.bound, e, number)
            levels = (*(stop.level for stop in path), self.bound.register_level)
            for stop, inside in zip(path, levels[1:], strict=True):
                if stop.place == place and not times:
                    gathers = any(isinstance(i, Gather) for i in access_map.access.indices)
                    arrives = stop.level if stop.level != levels[0] else None
                    return (access_map, arrives, inside) if gathers else None
                times -= stop.place == place
        return None

    def _shared_gather_traffic(
        self,
        e: BoundEinsum,
        problems: list[_PartCount],
        access_map: AccessMap,
        to: int | None,
        source: int | None,
        every: _Counted,
    ) -> Amount | None:
        """Return the traffic of a gather to a memory that several cores share; each element counts
        once. Return None if the cores share no gather there.

        ``source`` is the memory that is read, in whole lines; None for the elements that arrive.
        """
        if to is None or to == self.bound.register_level:
            return None
        held = shared_gather(self.bound, e, access_map, to, e.nest(to).first_tile)
        if held is None:
            return None
        size: Size = held.access_map.size
        if source is not None:
            bits = self.bound.architecture.word_bits * self.bound.words.of(access_map.access.tensor)
            size = words_in_lines(held.e, held.access_map, self.memories[source], bits)
        return self._sum(
            e,
            problems,
            lambda p: held.delivered(p.einsum, to, size),
            lambda s: s.variable not in held.shared and every(s),
        )

    def _sum(
        self,
        e: BoundEinsum,
        problems: list[_PartCount],
        value: Callable[[_PartCount], Amount],
        every: _Counted,
        halo_shares: Callable[[RankPartition], tuple[Fraction, ...] | None] = lambda _: None,
    ) -> Amount:
        """Return a count summed over the cores of the ranks selected by ``every``.

        For any other rank, one core stands for all. ``halo_shares`` gives the unique shares of
        those other cores by kind of tile, or None for no share.
        """
        weights = [self._weights(e, s, every(s), halo_shares) for s in self.partitions]
        total: Amount = 0
        for p in problems:
            weight: Amount = 1
            for of_kinds, kind in zip(weights, p.kinds, strict=True):
                weight *= of_kinds[kind]
            if weight:
                # Elements are whole numbers.
                amount = weight * value(p)
                total += amount if isinstance(weight, int) else ceil(amount)
        return total

    def _weights(
        self,
        e: BoundEinsum,
        s: RankPartition,
        every: bool,
        halo_shares: Callable[[RankPartition], tuple[Fraction, ...] | None],
    ) -> Sequence[Amount]:
        """Return the weight of each kind of tile of a partitioned rank: the cores to count."""
        # Every core runs the Einsum, on its part or in full; or one core runs it.
        each = s.variable in e.variables or (e.name, s.rank) in self.replicated
        if s.work_order and each and not every and (shares := halo_shares(s)) is not None:
            return shares
        if each and every:
            return [len(numbers) for numbers in s.kinds]
        return [1, *[0] * (len(s.kinds) - 1)]

    def _unique_halo_by_kind(
        self, e: BoundEinsum, accessing: list[AccessMap], s: RankPartition, to: int | None
    ) -> tuple[Fraction, ...] | None:
        """Return the unique halo share of each kind of tile under a mask; None if all shares are
        equal.

        Tiles of a masked rank reach different spans of a tensor that other ranks index. ``to`` is
        the memory that receives an operand.
        """
        reaches = self._reaches(e, accessing, s)
        if reaches is None:
            return None
        if to is not None and to <= s.level:
            tile = e.nest(to).first_tile
            found = (unique_halo(self.bound, e, m, to, tile, s) for m in accessing)
            # A tile that one core evicts is gone when another core needs it later.
            if (halo_shares := next((t for t in found if t is not None), None)) is not None:
                return halo_shares.shares
        return unique_halo_shares([(r.begin, r.end) for r in reaches])

    def _reaches(
        self, e: BoundEinsum, accessing: list[AccessMap], s: RankPartition
    ) -> tuple[Halo, ...] | None:
        """Return the halo of each kind of tile under a mask; None if no access varies along it."""
        found = halos_of(self.bound, e, s)
        if found is None or not any(varies_along_halo(m, e, found[0]) for m in accessing):
            return None
        return found

    def _partial_sums_added(
        self, e: BoundEinsum, accessing: list[AccessMap], met: list[RankPartition]
    ) -> Fraction:
        """Return the partial sums that are added to a stored sum, as a multiple of the tensor's
        elements."""
        times, first = Fraction(prod(s.parts for s in met)), Fraction(1)
        for s in met:
            reaches = self._reaches(e, accessing, s)
            if reaches is None:
                continue
            # Each core has the elements in its reach.
            lengths = [max(0, r.end - r.begin) for r in reaches]
            new = unique_halo_shares([(r.begin, r.end) for r in reaches])
            whole = e.extents[reaches[0].axis] * reaches[0].scale
            times *= Fraction(sum(lengths), s.parts * whole)
            fresh = (n * share for n, share in zip(lengths, new, strict=True))
            first *= sum(fresh, Fraction(0)) / whole
        return times - first


def unique_halo_shares(reaches: Sequence[tuple[int, int]]) -> tuple[Fraction, ...]:
    """Return, for each core, the fraction of its reach that no earlier core reaches.

    Parameters
    ----------
    reaches : sequence of (int, int)
        First index and end of each core's reach.

    Examples
    --------
    Half of the second reach is new, all of the third, and nothing of the last:

    >>> [str(share) for share in unique_halo_shares([(4, 8), (2, 6), (8, 9), (3, 7)])]
    ['1', '1/2', '1', '0']
    """
    found: list[Fraction] = []
    # Disjoint spans that do not touch: one span for a causal mask.
    covered: list[tuple[int, int]] = []
    for begin, end in reaches:
        known = sum(max(0, min(end, right) - max(begin, left)) for left, right in covered)
        new = max(0, end - begin - known)
        found.append(Fraction(new, end - begin) if new else Fraction(0))
        if new:
            accessing = [(left, right) for left, right in covered if left <= end and right >= begin]
            lefts, rights = zip(*accessing, (begin, end), strict=True)
            covered = [x for x in covered if x not in accessing] + [(min(lefts), max(rights))]
    return tuple(found)


def over_links(
    bound: Bound, counts: tuple[EinsumCount, ...], ring: Ring
) -> tuple[EinsumCount, ...]:
    """Return the counts of a core, with operands that come over one link of a ring.

    Parameters
    ----------
    bound : Bound
        Mapping of the core, on a machine whose outermost memory is a ring.
    counts : tuple of EinsumCount
        Counts as if all operands came from a memory.
    ring : Ring
        Tensors that go round the ring.
    """
    found: list[EinsumCount] = []
    for count in counts:
        # Accesses are in order: first those of each operand along its path, then the result's.
        left, moved = iter(count.accesses), list[AccessCount]()
        e = bound.by_name[count.einsum]
        for part in (e, *e.initial):
            for number in range(len(part.access_maps)):
                path = path_of(bound, part, number)
                places = [next(left) for _ in path]
                outermost = bool(path) and path[0].level == 0
                moved += _at_home(part, number, places, ring) if outermost else places
        found.append(replace(count, accesses=tuple(moved)))
    return tuple(found)


def _at_home(
    e: BoundEinsum, number: int, places: list[AccessCount], ring: Ring
) -> list[AccessCount]:
    """Return the accesses of a tensor whose path begins at the ring's links."""
    links, home, *inner = places
    if number == len(e.reads):
        # A result stays in its core; a partial sum comes back from there.
        written = home.writes - links.reads
        return [replace(links, reads=0, writes=0), replace(home, writes=written), *inner]
    passed = 0
    if ring.rank(links.tensor) is not None:
        every = deliveries(replace(e, window=None), e.reads[number], 1, EXACT)
        # A core's own part uses no link; all other parts are passed on to the core.
        passed = every - every // ring.parts
    return [
        replace(links, reads=passed, writes=0),
        replace(home, reads=home.reads + passed, writes=passed),
        *inner,
    ]
