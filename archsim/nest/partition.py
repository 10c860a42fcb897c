"""Partitions of a rank over cores, and the masks, indices and gathers of one core's part."""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, Final, TypeVar

from einsum_cascade.affine import affine_value
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.algebra.terms import map_einsum, rebuild
from einsum_cascade.ir import (
    Access,
    Affine,
    AffineTerm,
    Binary,
    Einsum,
    Gather,
    Index,
    Name,
    Node,
    Number,
    Program,
    variables_of,
    walk,
)
from einsum_cascade.masks import conjuncts, depends_on_data
from einsum_cascade.memo import cached_property

PartKinds = tuple[int, ...]
"""Kinds of a core's parts, one for each partitioned rank: an index of ``RankPartition.kinds``."""


@dataclass(frozen=True, kw_only=True)
class RankPartition:
    """Partition of a rank over cores: each core has one contiguous part."""

    rank: str
    level: int
    """Index of the memory that feeds the cores."""
    instances: str
    parts: int
    """Number of parts, equal to the number of cores in use."""
    part: int
    """Size of the largest part, in coordinates."""
    last: int
    """Size of the last part, in coordinates."""
    work_order: tuple[int, ...] = ()
    """Part numbers in falling order of work, if a mask makes parts differ; empty without a mask."""
    balanced: bool = False
    """True if parts have equal work instead of equal sizes."""
    begins: tuple[int, ...] = ()
    """First coordinate of each part; empty if parts have equal sizes."""
    alike: bool = False
    """True if parts under a mask count as equal: the first one in order stands for all."""

    @cached_property
    def kinds(self) -> tuple[Sequence[int], ...]:
        """Part numbers grouped by kind: parts of one kind are equal problems. The first kind
        stands for all."""
        if self.alike:
            return (self.work_order,)
        if self.work_order:
            return tuple((number,) for number in self.work_order)
        equal, last = range(self.parts - self.ragged), range(self.parts - 1, self.parts)
        return (equal, last) if self.ragged else (equal,)

    def kind_of(self, number: int) -> int:
        """Return the kind of part ``number``."""
        return next(kind for kind, numbers in enumerate(self.kinds) if number in numbers)

    def extent(self, kind: int) -> int:
        """Return the size of a part of the given kind, in coordinates."""
        return self.size(self.kinds[kind][0])

    def begin(self, number: int) -> int:
        """Return the first coordinate of a part."""
        return self.begins[number] if self.begins else self.part * number

    def size(self, number: int) -> int:
        """Return the size of a part, in coordinates."""
        if number == self.parts - 1:
            return self.last
        return self.begins[number + 1] - self.begins[number] if self.begins else self.part

    @property
    def variable(self) -> str:
        """Rank variable."""
        return self.rank.lower()

    @property
    def ragged(self) -> bool:
        """True if the last part is smaller than the largest part."""
        return self.last != self.part

    @property
    def size_text(self) -> str:
        """Size of the parts as text for messages, such as ``19 to 45, balanced``."""
        if not self.begins:
            return f"{self.part}"
        smallest = min(self.size(number) for number in range(self.parts))
        if smallest == self.part:
            return f"{self.part}"
        return f"{smallest} to {self.part}, balanced"


Partitions = tuple[RankPartition, ...]


def with_partition(partitions: Partitions, at: int, **changed: Any) -> Partitions:
    """Return the partitions with the one at a position changed."""
    return (*partitions[:at], replace(partitions[at], **changed), *partitions[at + 1 :])


@dataclass(frozen=True, kw_only=True)
class Ring:
    """Ring of cores: tensors that travel around it, and tensors of which each core has a copy."""

    parts: int = 1
    """Number of cores in the ring; each has a part of the travelling tensors."""
    tensors: tuple[tuple[str, str], ...] = ()
    """Pairs of a travelling input and its rank that is partitioned over the cores."""
    copied: tuple[str, ...] = ()
    """Inputs that are copied: every core holds all of the input that it needs."""

    def rank(self, tensor: str) -> str | None:
        """Return the rank along which a travelling tensor is partitioned over the cores. Return
        None if the tensor does not travel."""
        return dict(self.tensors).get(tensor)

    @property
    def passed(self) -> Fraction:
        """Share of a travelling tensor's tiles that a core gets from its neighbour."""
        return Fraction(self.parts - 1, self.parts)


NO_RING: Final = Ring()
"""Ring in which nothing travels."""


def is_local_gather(program: Program, access: Access, index: Index, variable: str) -> bool:
    """Return whether a core has all indices of a gather along a partitioned rank in its own part.

    Every query gathers its keys: a core with some of the queries has their indices, and may need
    any of the keys. The gathered tensor must not itself be produced in parts.

    Parameters
    ----------
    access : Access
        Access that gathers.
    index : Index
        Any of its indices.
    variable : str
        Rank variable in parts.
    """
    if not isinstance(index, Gather) or variable in index.offset.variables:
        return False
    inner = (i for i in index.access.indices if variable in i.variables)
    if not all(isinstance(i, Affine) and i.as_variable == variable for i in inner):
        return False
    made = program.einsum_of.get(access.tensor)
    return made is None or variable not in made.target.variables


def is_partitioned_along(access: Access, variable: str) -> bool:
    """Return whether a partitioned rank's variable occurs in an index of the tensor that is no
    gather."""
    plain = (i for i in access.indices if not isinstance(i, Gather))
    return any(variable in i.variables for i in plain)


def stepwise_ranks(program: Program) -> dict[str, str]:
    """Return the ranks that must not be partitioned, each with the reason.

    They are the ranks of a recurrence, and ranks that the cascade declares to be alike.
    """
    found: dict[str, str] = {}
    for r in program.ranks:
        if r.like:
            found[r.name] = found[r.like] = f"{r.name} is declared like {r.like}"
    for tensor, ranks in program.iterative.items():
        why = f"{tensor} is computed step by step along it"
        if _is_running_sum(program.einsum_of[tensor]):
            why += "; a masked sum over another rank (where n <= m) can be cut"
        found |= dict.fromkeys(ranks, why)
    return found


def _is_running_sum(e: Einsum) -> bool:
    return isinstance(e.expression, Binary) and any(
        isinstance(term, Access) and term.tensor == e.name
        for term in (e.expression.left, e.expression.right)
        if e.expression.operator == "+"
    )


def partition_obstacles(program: Program) -> dict[str, str]:
    """Return a reason for each rank of results that no core can compute a part of."""
    found = stepwise_ranks(program)
    for rank in program.ranks:
        users = [e for e in program.einsums if rank.variable in e.variables]
        if rank.name in found or any(rank.variable not in e.target.variables for e in users):
            continue
        for e in users:
            for a in e.reads:
                if a.tensor in program.einsum_of and not is_partitioned_along(a, rank.variable):
                    found[rank.name] = f"{e.name} needs all of {a.tensor}, which other cores make"
    return found


Scaled = TypeVar("Scaled", AffineTerm, Gather)
Lengths = tuple[tuple[str, int], ...]
"""Pairs of a rank and its number of coordinates."""


def has_mask_over(program: Program, rank: str, *, of_data: bool = True) -> bool:
    """Return whether a mask depends on a rank's coordinates or length. If the rank is a tile of a
    larger one, the larger one's length counts as well.

    Parameters
    ----------
    of_data : bool, default True
        True to include masks that read data. Their points are unknown, so all parts of the rank
        count as equal work.
    """
    names = {rank, rank.lower(), program.whole_rank(rank)}
    conditions = (c for e in with_masks(program).einsums for c in conjuncts(e.where))
    return any(
        names & {node.name} if isinstance(node, Name) else rank.lower() in variables_of(node)
        for condition in conditions
        if of_data or not depends_on_data(condition)
        for node in walk(condition)
        if isinstance(node, Name | Access)
    )


def whole_lengths(program: Program, rank: str, shapes: Sizes[str, int]) -> Lengths:
    """Return the length of a rank before it is partitioned, and of the larger rank if it is a tile.

    Parameters
    ----------
    program : Program
    rank : str
        Partitioned rank.
    shapes : mapping
        Shapes of the whole work, by rank.
    """
    family = program.family_of(rank)
    if family is None:
        return ((rank, shapes[rank]),)
    even = prod(shapes[m] for m in program.rank_of[family].partition)
    return (rank, shapes[rank]), (family, shapes.get(family, even))


def shift_masks(program: Program, rank: str, begin: int, whole: Lengths) -> Program:
    """Return the cascade of one part of a rank: its masks know where the part begins.

    The masks keep the length of the whole rank, too.

    Parameters
    ----------
    program : Program
    rank : str
        Partitioned rank.
    begin : int
        First coordinate of the part.
    whole : tuple
        Result of ``whole_lengths``.

    Returns
    -------
    Program
        For queries from 256 on ``m <= p`` becomes ``m <= p + 256``.
    """
    variable = AffineTerm(variable=rank.lower())
    terms = (variable, AffineTerm(coefficient=begin)) if begin else (variable,)
    lengths = dict(whole)

    def moved(node: Node) -> Node:
        # Tensors that a mask reads are those of the part, at positions of the part.
        if isinstance(node, Name) and node.kind == "variable" and node.name == rank.lower():
            return affine_value(Affine(terms=terms))
        if isinstance(node, Name) and node.kind == "shape" and node.name in lengths:
            return Number(value=lengths[node.name])
        return node

    einsums = (
        e if e.where is None else replace(e, where=rebuild(e.where, moved)) for e in program.einsums
    )
    return replace(program, einsums=tuple(einsums))


def keep_whole_lengths(program: Program, rank: str, whole: Lengths) -> Program:
    """Return the cascade of one part of a rank: its indices keep the length of the whole rank.

    ``X[p*M + e]`` addresses other elements at each p, however short a part of M is.

    Parameters
    ----------
    program, rank, whole
        See ``shift_masks``.

    Returns
    -------
    Program
        The same program if no index depends on the length.
    """
    lengths = dict(whole)
    family = program.family_of(rank)
    members = program.rank_of[family].partition if family is not None else (rank,)
    digits = {m.lower() for m in members}
    running = {t for t, ranks in program.iterative.items() if not lengths.keys().isdisjoint(ranks)}

    def with_lengths(scaled: Scaled) -> Scaled:
        times = prod(lengths[s] for s in scaled.shapes if s in lengths)
        shapes = tuple(s for s in scaled.shapes if s not in lengths)
        return replace(scaled, shapes=shapes, coefficient=scaled.coefficient * times)

    def term(t: AffineTerm) -> AffineTerm:
        # Positions along the rank are those of the part.
        return t if t.variable in digits else with_lengths(t)

    def index(i: Index) -> Index:
        if isinstance(i, Affine):
            return replace(i, terms=tuple(map(term, i.terms)))
        offset = replace(i.offset, terms=tuple(map(term, i.offset.terms)))
        return replace(with_lengths(i), offset=offset)

    def access(a: Access) -> Access:
        # The end of an iterative tensor along the rank is that of the part.
        same = a.tensor in running
        return a if same else replace(a, indices=tuple(map(index, a.indices)))

    def known(node: Node) -> Node:
        return rebuild(node, lambda n: access(n) if isinstance(n, Access) else n)

    einsums = tuple(replace(map_einsum(e, known), target=access(e.target)) for e in program.einsums)
    return program if einsums == program.einsums else replace(program, einsums=einsums)
