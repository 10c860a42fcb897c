"""Several copies of a machine's inner part, each with a part of some ranks.

What a memory feeds may be there more than once (``instances: {cores: 24}``). A mapping spreads
ranks over the copies (``spatial: {cores: H}``): each instance runs the same loops on its part of
them, as the mapping of a smaller problem. All but the last have parts of the same size, so that
what all do together follows from few problems: of each spread rank, a whole part or the last one.
Under a mask over a spread rank each part is a problem of its own, and the one with most to do
stands for all that work at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Final

from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean
from einsum_cascade.ir import Access, Affine, Index, Program, walk
from einsum_cascade.memo import cached_property
from einsum_cascade.notation.printer import index_text

from ..space.access_map import AccessMap
from ..spec.arch import Architecture
from ..spec.mapping import Mapping, NestLevel, SpreadRank
from .balancing import balanced_begins
from .one_by_one import one_by_one
from .part_masks import has_mask_over, moved_masks, whole_indices, whole_lengths
from .part_picks import is_own_pick
from .remade import remade_by_each, torn
from .ring import NO_RING, Ring, ring_of
from .tiling import Tiling, build_tiling, tile_size

if TYPE_CHECKING:
    from .record import Bound, BoundEinsum

PartKinds = tuple[int, ...]
"""Of every spread rank the kind of its part that a problem has: an index of ``Spread.kinds``."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A rank in parts, one for each of some instances."""

    rank: str
    level: int
    """Index of the memory that feeds the instances."""
    instances: str
    available: int
    """Instances that there are for it."""
    parts: int
    """Instances that have a part."""
    part: int
    """Its extent in an instance, at the most."""
    last: int
    """Its extent in the last one."""
    by_work: tuple[int, ...] = ()
    """Numbers of parts that a mask makes unlike, from the one with most work; else empty."""
    balanced: bool = False
    """Whether parts are to be as large as lets all do as much."""
    begins: tuple[int, ...] = ()
    """Where each part begins, if they are not alike in size."""

    @cached_property
    def kinds(self) -> tuple[Sequence[int], ...]:
        """Numbers of parts that are the same problem, those that stand for all of them first."""
        if self.by_work:
            return tuple((number,) for number in self.by_work)
        alike, last = range(self.parts - self.ragged), range(self.parts - 1, self.parts)
        return (alike, last) if self.ragged else (alike,)

    def kind_of(self, number: int) -> int:
        """The kind of a part."""
        return next(kind for kind, numbers in enumerate(self.kinds) if number in numbers)

    def extent(self, kind: int) -> int:
        """Coordinates of a part of a kind."""
        return self.size(self.kinds[kind][0])

    def begin(self, number: int) -> int:
        """The first coordinate of a part."""
        return self.begins[number] if self.begins else self.part * number

    def size(self, number: int) -> int:
        """Coordinates of a part by its number."""
        if number == self.parts - 1:
            return self.last
        return self.begins[number + 1] - self.begins[number] if self.begins else self.part

    @property
    def variable(self) -> str:
        """The rank variable."""
        return self.rank.lower()

    @property
    def ragged(self) -> bool:
        """Whether the last part is smaller."""
        return self.last != self.part

    @property
    def told(self) -> str:
        """The size of its parts, in words."""
        if not self.begins:
            return f"{self.part}"
        least = min(self.size(number) for number in range(self.parts))
        return f"{least} to {self.part}, balanced" if least != self.part else f"{self.part}"

    def weight(self, kind: int, *, every: bool) -> int:
        """How many instances run a problem that has a part of a kind.

        Parameters
        ----------
        every : bool
            All instances are meant; else one stands for them.
        """
        if every:
            return len(self.kinds[kind])
        return 0 if kind else 1


@dataclass(frozen=True, kw_only=True)
class Instances:
    """How a bound mapping, which is that of one instance, is part of a whole."""

    spread: tuple[Spread, ...]
    whole: Bound
    """The same mapping on all of the work, whether it fits or not: for what the work itself is."""
    others: tuple[tuple[PartKinds, Bound], ...] = ()
    """The mapping of instances that have other parts of a rank than the bound mapping."""
    ring: Ring = NO_RING
    """What they pass on to one another."""
    remade: frozenset[tuple[str, str]] = frozenset()
    """By names: Einsums that each runs for itself, and ranks in parts of which it has none."""

    @cached_property
    def problems(self) -> dict[PartKinds, Bound | None]:
        """All problems that instances run; None stands for the bound mapping itself."""
        return {(0,) * len(self.spread): None, **dict(self.others)}

    def copies(self, access_map: AccessMap, level: int) -> int:
        """How many tiles of instances a memory that feeds them has of a tensor, side by side.

        Parameters
        ----------
        level : int
            The memory's index.
        """
        return prod(
            s.parts for s in self.spread if s.level >= level and s.variable in access_map.moving
        )


def total_iterations(bound: Bound) -> int:
    """What an instance has to do, in iterations of all Einsums."""
    return sum(e.iterations for e in bound.einsums)


BindShapes = Callable[[Program, Mapping, dict[str, int]], "Bound"]
"""Binds a mapping of a cascade to shapes."""


def is_spread(mapping: Mapping) -> bool:
    """Whether a mapping spreads any rank over instances."""
    return any(level.spatial for level in mapping.nest)


def bind_spread(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    bind_one: BindShapes,
    bind_whole: BindShapes,
) -> Bound:
    """Bind a mapping that spreads ranks: the mapping of one instance, and what it is part of.

    Parameters
    ----------
    shapes : dict
        Those of the whole work.
    bind_one : callable
        Binds the mapping of an instance, and refuses what is not legal.
    bind_whole : callable
        Binds all of the work without asking whether it is legal.

    Raises
    ------
    SpecError
        There is no such rank, or nothing that it could be spread over.
    MappingError
        The ranks cannot be worked on in parts, or an instance would need what is in another.
    """
    inner = _of_one(mapping)
    sizes = {t.member: tile_size(t, architecture) or 1 for t in inner.tiles}
    tiling = build_tiling(program, inner, shapes, sizes)
    spread = tuple(_spread(mapping, architecture, tiling))
    everything, program = program, _of_parts(program, spread, tiling)
    first = bind_one(program, inner, _shapes(tiling, spread, (0,) * len(spread)))
    illegal = (*_illegal(first, spread), *_uneven(tiling, spread))
    if problems := [Problem(text, first.mapping.span) for text in illegal]:
        raise MappingError(problems)
    ring = ring_of(mapping, first, spread)
    parts = _BoundParts(program, first.mapping, tiling, bind_one)
    masked = _masked(program, spread, first.mapping)
    for s in masked:
        at = spread.index(s)
        if s.balanced:
            spread = _balanced(spread, at, parts)
            parts = replace(parts, known={})
        spread = _by_work(spread, at, parts)
    bound = parts.of(spread, (0,) * len(spread)) if masked else first
    every = product(*(range(len(s.kinds)) for s in spread))
    others = tuple((kinds, parts.of(spread, kinds)) for kinds in every if any(kinds))
    whole = bind_whole(everything, one_by_one((bound,)), dict(tiling.shapes))
    remade = frozenset((name, s.rank) for s in spread for name in remade_by_each(bound, s))
    instances = Instances(spread=spread, whole=whole, others=others, ring=ring, remade=remade)
    return replace(bound, instances=instances)


def _of_parts(program: Program, spread: tuple[Spread, ...], tiling: Tiling) -> Program:
    """The cascade whose indices know how long ranks are that are in parts."""
    for s in spread:
        if s.parts > 1:
            program = program.memo(
                whole_indices, s.rank, whole_lengths(program, s.rank, tiling.shapes)
            )
    return program


@dataclass(frozen=True, slots=True)
class _BoundParts:
    """The problems of instances, each bound once."""

    program: Program
    mapping: Mapping
    tiling: Tiling
    bind: BindShapes
    known: dict[tuple[int, ...], Bound] = field(default_factory=dict)
    """By the numbers of parts."""

    def of(self, spread: tuple[Spread, ...], kinds: PartKinds) -> Bound:
        """The mapping of an instance that has parts of these kinds."""
        numbers = tuple(s.kinds[kind][0] for s, kind in zip(spread, kinds, strict=True))
        if numbers not in self.known:
            program = self.program
            for s, number in zip(spread, numbers, strict=True):
                if s.by_work:
                    whole = whole_lengths(self.program, s.rank, self.tiling.shapes)
                    program = program.memo(moved_masks, s.rank, s.begin(number), whole)
            shapes = _shapes(self.tiling, spread, kinds)
            self.known[numbers] = self.bind(program, self.mapping, shapes)
        return self.known[numbers]


def _masked(program: Program, spread: tuple[Spread, ...], mapping: Mapping) -> list[Spread]:
    """Spread ranks under a mask: one of them at the most."""
    found = [s for s in spread if s.parts > 1 and has_mask_over(program, s.rank)]
    if len(found) > 1:
        names = " and ".join(s.rank for s in found)
        text = f"masks are over {names}: of ranks with a mask one may be spread over instances"
        raise MappingError(Problem(text, mapping.span))
    return found


_UNLIKE: Final = 256
"""Parts under a mask, at the most: each is bound and counted by itself."""


def _balanced(spread: tuple[Spread, ...], at: int, parts: _BoundParts) -> tuple[Spread, ...]:
    """Spread ranks, with parts of one under a mask that take as long as one another."""
    masked = spread[at]
    even = replace(masked, by_work=tuple(range(masked.parts)))
    # The sample is the last whole part.
    number = max(0, masked.parts - 1 - masked.ragged)
    kinds = tuple(number if i == at else 0 for i in range(len(spread)))
    sample = parts.of((*spread[:at], even, *spread[at + 1 :]), kinds)
    begins = balanced_begins(parts.tiling, masked.rank, masked.parts, sample, even.begin(number))
    sizes = [b - a for a, b in pairwise((*begins, parts.tiling.shapes[masked.rank]))]
    found = replace(masked, parts=len(sizes), part=max(sizes), last=sizes[-1], begins=begins)
    return (*spread[:at], found, *spread[at + 1 :])


def _by_work(spread: tuple[Spread, ...], at: int, parts: _BoundParts) -> tuple[Spread, ...]:
    """Spread ranks, with the parts of one under a mask in the order of what there is to do."""
    masked = spread[at]
    if masked.parts > _UNLIKE:
        text = f"{masked.rank} has {masked.parts} parts under a mask, at most {_UNLIKE} are bound"
        raise MappingError(Problem(text, hint="use fewer parts"))

    def ordered(numbers: Iterable[int]) -> tuple[Spread, ...]:
        return (*spread[:at], replace(masked, by_work=tuple(numbers)), *spread[at + 1 :])

    unordered = ordered(range(masked.parts))
    kinds = (tuple(n if i == at else 0 for i in range(len(spread))) for n in range(masked.parts))
    work = [total_iterations(parts.of(unordered, k)) for k in kinds]
    return ordered(sorted(range(masked.parts), key=lambda n: -work[n]))


def _of_one(mapping: Mapping) -> Mapping:
    """What an instance runs."""
    levels = (replace(level, spatial=(), ring=()) for level in mapping.nest)
    return replace(mapping, nest=tuple(level for level in levels if level.loops))


def _shapes(tiling: Tiling, spread: tuple[Spread, ...], kinds: PartKinds) -> dict[str, int]:
    """Shapes of the problem of an instance."""
    found = dict(tiling.shapes)
    for s, kind in zip(spread, kinds, strict=True):
        found[s.rank] = s.extent(kind)
        declared = tiling.program.rank_of.get(s.rank)
        if s.parts > 1 and declared is not None and declared.family is not None:
            # The cascade's own tiles: all of the rank follows from them. One part is all of it, and
            # its last tile may be shorter.
            found.pop(declared.family, None)
    return found


def _spread(mapping: Mapping, architecture: Architecture, tiling: Tiling) -> Iterator[Spread]:
    """Every rank that is spread, with the size of its parts."""
    names = [m.name for m in architecture.memories]
    for level in mapping.nest:
        if level.spatial and level.level not in names:
            hint = did_you_mean(level.level, names)
            raise SpecError(Problem(f"no memory is called '{level.level}'", level.span, hint))
        left = dict(architecture.memories[names.index(level.level)].instances)
        for asked in level.spatial:
            if asked.instances not in left:
                raise SpecError(_no_instances(level, asked, left))
            found = _parted(level, asked, tiling, left[asked.instances], names.index(level.level))
            # Of 24 cores, with H in 6 parts, 4 are left for each part of the next rank.
            left[asked.instances] //= found.parts
            yield found


def _parted(
    level: NestLevel, asked: SpreadRank, tiling: Tiling, available: int, number: int
) -> Spread:
    """One rank in parts, at most as many as there are instances for it."""
    declared = tiling.program.rank_of.get(asked.rank)
    if asked.rank in tiling.shapes and not (declared is not None and declared.partition):
        rank, extent = asked.rank, tiling.shapes[asked.rank]
        # 10 heads for 4 instances are parts of 3, 3, 3 and 1.
        part = -(-extent // min(asked.parts or available, extent))
    else:
        member = tiling.members.get(asked.rank)
        if member is None or tiling.of_rank(member.rank)[0] != member:
            text = f"'{asked.rank}' is neither a rank nor the outermost tile of one"
            tiles = [
                m for m in tiling.members if tiling.of_rank(tiling.members[m].rank)[0].name == m
            ]
            hint = did_you_mean(asked.rank, dict.fromkeys((*tiling.shapes, *tiles)))
            raise SpecError(Problem(text, level.span, hint))
        if asked.parts is not None:
            text = f"{asked.rank} is a tile, of which each instance has one: it has no parts"
            hint = f"write {member.rank}: {asked.parts}, or leave out the number"
            raise SpecError(Problem(text, level.span, hint))
        # One tile for each instance, as the mapping cuts them.
        rank, extent = member.rank, tiling.shapes[member.rank]
        part = min(extent, member.stride)
    parts = -(-extent // part)
    if parts > available:
        text = (
            f"{asked.rank} has {parts} parts, but there are {available} {asked.instances} below"
            f" {level.level} for it"
        )
        raise MappingError(Problem(text, level.span, "use larger tiles, or fewer parts"))
    return Spread(
        rank=rank,
        level=number,
        instances=asked.instances,
        available=available,
        parts=parts,
        part=part,
        last=extent - part * (parts - 1),
        balanced=asked.balanced,
    )


def _no_instances(level: NestLevel, asked: SpreadRank, there: dict[str, int]) -> Problem:
    """That a memory does not feed what a rank is spread over."""
    hint = f"give {level.level} in the architecture 'instances: {{{asked.instances}: 4}}'"
    if there:
        hint = did_you_mean(asked.instances, there) or f"there are: {', '.join(there)}"
    text = f"{level.level} has no instances called '{asked.instances}'"
    return Problem(text, level.span, hint)


def _illegal(bound: Bound, spread: tuple[Spread, ...]) -> Iterator[str]:
    """Why ranks cannot be worked on in parts, each with all it needs."""
    for s in spread:
        variable = s.variable
        users = [e for e in bound.einsums if variable in e.variables]
        if not users:
            yield f"no Einsum has the rank {s.rank}, which is spread over {s.instances}"
        yield from _over_all(bound, s)
        for e in users:
            where = e.einsum.where
            if where is not None and not all(
                _is_of_part(bound.tiling, node, index, s)
                for node in walk(where)
                if isinstance(node, Access)
                for index in node.indices
            ):
                yield f"{e.name} has a mask that reads data of other parts of {s.rank}"
            if e.einsum.select is not None and variable in e.einsum.over:
                yield f"{e.name} picks from all of {s.rank}, of which instances have parts"
            yield from _unlike_parts(bound.tiling, e, s)
        for tensor, ranks in bound.program.iterative.items():
            if s.rank in ranks:
                yield f"{tensor} runs along {s.rank}: its steps follow one another"
        yield from torn(bound, s, remade_by_each(bound, s))


def _over_all(bound: Bound, s: Spread) -> Iterator[str]:
    """Einsums that go over a rank of whose tiles instances have parts: they would do what one
    instance has of it."""
    declared = bound.program.rank_of.get(s.rank)
    family = None if declared is None else declared.family
    if family is not None and s.parts > 1:
        for e in bound.einsums:
            if family.lower() in e.variables:
                text = f"{e.name} goes over all of {family}, of which instances have"
                yield f"{text} parts ({s.rank})"


def _unlike_parts(tiling: Tiling, e: BoundEinsum, s: Spread) -> Iterator[str]:
    """Accesses that need more of a tensor than the part of their instance."""
    for access_map in e.touches:
        for index in access_map.access.indices:
            if not _is_of_part(tiling, access_map.access, index, s):
                name = access_map.access.tensor
                where = index_text(index)
                yield f"{e.name} takes {name} at {where}, which may be in another part of {s.rank}"


def _uneven(tiling: Tiling, spread: tuple[Spread, ...]) -> Iterator[str]:
    """Ranks that the cascade cuts into tiles of which the last is shorter: an instance would take
    its own last one for as long as the others."""
    for s in spread:
        declared = tiling.program.rank_of.get(s.rank)
        if s.parts == 1 or declared is None or declared.family is None:
            continue
        members = tiling.program.rank_of[declared.family].partition
        even = prod(tiling.shapes[m] for m in members)
        if (length := tiling.shapes.get(declared.family, even)) != even:
            product = " x ".join(f"{m} = {tiling.shapes[m]}" for m in members)
            yield (
                f"{declared.family} = {length} is not {product}: parts of {s.rank} over"
                f" {s.instances} have to be of whole tiles"
            )


def _is_of_part(tiling: Tiling, access: Access, index: Index, s: Spread) -> bool:
    """Whether what an index goes over is in the part of an instance, or there for all of them."""
    return (
        s.variable not in index.variables
        or _in_order(tiling, index, s)
        or is_own_pick(tiling.program, access, index, s.variable)
    )


def _in_order(tiling: Tiling, index: Index, s: Spread) -> bool:
    """Whether parts of a rank are parts of what an index goes over: the rank itself, or all of a
    rank that the cascade cuts, whose outermost part is spread (of which there is more than one)."""
    if not isinstance(index, Affine):
        return False
    program = tiling.program
    family = program.rank_of[s.rank].family if s.rank in program.rank_of else None
    if family is None:
        return index.as_variable == s.variable
    members = program.rank_of[family].partition
    digits = {(m.lower(), *sorted(members[n + 1 :])) for n, m in enumerate(members)}
    terms = {(t.variable, *sorted(t.shapes)) for t in index.terms if t.coefficient == 1}
    whole = len(terms) == len(index.terms) and terms == digits
    outer = members[: members.index(s.rank)]
    outermost = all(tiling.shapes[m] == 1 for m in outer)
    return index.as_variable == s.variable or (outermost and whole)
