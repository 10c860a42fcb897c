"""Partitions of a rank over cores, and the masks, indices and gathers of one part."""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Final

from einsum_cascade.affine import affine_value
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.algebra.terms import map_einsum, rebuild
from einsum_cascade.ir import (
    Access,
    Affine,
    AffineTerm,
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
"""Kind of part that a problem has of each partitioned rank: an index of ``RankPartition.kinds``."""


@dataclass(frozen=True, kw_only=True)
class RankPartition:
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
    work_order: tuple[int, ...] = ()
    """Numbers of parts that a mask makes unlike, from the one with most work; else empty."""
    balanced: bool = False
    """Whether parts are to be as large as lets all do as much."""
    begins: tuple[int, ...] = ()
    """Where each part begins, if they are not alike in size."""

    @cached_property
    def kinds(self) -> tuple[Sequence[int], ...]:
        """Numbers of parts that are the same problem, those that stand for all of them first."""
        if self.work_order:
            return tuple((number,) for number in self.work_order)
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
    def size_text(self) -> str:
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
class Ring:
    """What goes round among instances, and what each has a copy of."""

    parts: int = 1
    """Instances in the ring, each with a part of what goes round."""
    tensors: tuple[tuple[str, str], ...] = ()
    """Inputs that go round, each with the rank of which an instance holds a part."""
    copied: tuple[str, ...] = ()
    """Inputs of which every instance holds all that it needs."""

    def rank(self, tensor: str) -> str | None:
        """The rank of which instances hold parts of a tensor; None if it does not go round."""
        return dict(self.tensors).get(tensor)

    @property
    def passed(self) -> Fraction:
        """The share of all tiles that an instance gets from its neighbour."""
        return Fraction(self.parts - 1, self.parts)


NO_RING: Final = Ring()
"""Instances that pass nothing on."""


def is_local_gather(program: Program, access: Access, index: Index, variable: str) -> bool:
    """Whether a gather along a rank in parts asks each instance for picks of its own part alone.

    Every query picks its keys: an instance that has some of the queries has their picks, and may
    need any of the keys. What is picked from must not itself be made in parts.

    Parameters
    ----------
    access : Access
        The one that gathers.
    index : Index
        Any of its indices.
    variable : str
        The rank variable in parts.
    """
    if not isinstance(index, Gather) or variable in index.offset.variables:
        return False
    inner = (i for i in index.access.indices if variable in i.variables)
    if not all(isinstance(i, Affine) and i.as_variable == variable for i in inner):
        return False
    made = program.einsum_of.get(access.tensor)
    return made is None or variable not in made.target.variables


def is_partitioned_along(access: Access, variable: str) -> bool:
    """Whether a tensor has parts where a rank has: not where it is only picked from."""
    plain = (i for i in access.indices if not isinstance(i, Gather))
    return any(variable in i.variables for i in plain)


Lengths = tuple[tuple[str, int], ...]
"""Ranks and how many coordinates they have."""


def has_mask_over(program: Program, rank: str, *, of_data: bool = True) -> bool:
    """Whether an Einsum has a mask that asks about a rank's coordinates, or how long it is, or the
    rank of which it is a part as the cascade cuts it.

    Parameters
    ----------
    of_data : bool, default True
        Whether what asks data, too, counts: nobody knows what that leaves out, so that parts of
        the rank have as much to do.
    """
    names = {rank, rank.lower()}
    if (declared := program.rank_of.get(rank)) is not None and declared.family is not None:
        names.add(declared.family)
    conditions = (c for e in with_masks(program).einsums for c in conjuncts(e.where))
    return any(
        names & {node.name} if isinstance(node, Name) else rank.lower() in variables_of(node)
        for condition in conditions
        if of_data or not depends_on_data(condition)
        for node in walk(condition)
        if isinstance(node, Name | Access)
    )


def whole_lengths(program: Program, rank: str, shapes: Sizes[str, int]) -> Lengths:
    """How long a rank is before it is in parts, and the rank of which it is a part itself.

    Parameters
    ----------
    program : Program
    rank : str
        The rank that is in parts.
    shapes : mapping
        By rank, of the whole work.
    """
    declared = program.rank_of.get(rank)
    if declared is None or declared.family is None:
        return ((rank, shapes[rank]),)
    family = declared.family
    if (length := shapes.get(family)) is None:
        length = prod(shapes[m] for m in program.rank_of[family].partition)
    return (rank, shapes[rank]), (family, length)


def shift_masks(program: Program, rank: str, begin: int, whole: Lengths) -> Program:
    """The cascade as a part of a rank has it: its masks know where the part begins, and how long
    all of the rank is.

    Parameters
    ----------
    program : Program
    rank : str
        The rank of which there is a part.
    begin : int
        The part's first coordinate.
    whole : tuple
        What ``whole_lengths`` says.

    Returns
    -------
    Program
        ``m <= p`` for the queries from 256 on is ``m <= p + 256``.
    """
    variable = AffineTerm(variable=rank.lower())
    terms = (variable, AffineTerm(coefficient=begin)) if begin else (variable,)
    lengths = dict(whole)

    def moved(node: Node) -> Node:
        # What a mask reads of tensors is of the part itself, and lies where it lay.
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
    """The cascade as a part of a rank has it: its indices know how long all of the rank is.

    ``X[p*M + e]`` is of other elements at each p, however short a part of M is.

    Parameters
    ----------
    program, rank, whole
        As of ``shift_masks``.

    Returns
    -------
    Program
        The same one, where no index asks how long the rank is.
    """
    lengths = dict(whole)
    declared = program.rank_of.get(rank)
    cut = program.rank_of.get(declared.family or "") if declared is not None else None
    digits = {m.lower() for m in (cut.partition if cut is not None else (rank,))}
    running = {t for t, ranks in program.iterative.items() if not lengths.keys().isdisjoint(ranks)}

    def told(shapes: tuple[str, ...], coefficient: int) -> tuple[tuple[str, ...], int]:
        times = prod(lengths[s] for s in shapes if s in lengths)
        return tuple(s for s in shapes if s not in lengths), coefficient * times

    def term(t: AffineTerm) -> AffineTerm:
        if t.variable in digits or lengths.keys().isdisjoint(t.shapes):
            return t  # positions of the rank itself are of the part
        shapes, coefficient = told(t.shapes, t.coefficient)
        return replace(t, shapes=shapes, coefficient=coefficient)

    def index(i: Index) -> Index:
        if isinstance(i, Affine):
            return replace(i, terms=tuple(map(term, i.terms)))
        shapes, coefficient = told(i.shapes, i.coefficient)
        offset = replace(i.offset, terms=tuple(map(term, i.offset.terms)))
        return replace(i, shapes=shapes, coefficient=coefficient, offset=offset)

    def access(a: Access) -> Access:
        # The end of what runs along the rank is that of the part.
        same = a.tensor in running
        return a if same else replace(a, indices=tuple(map(index, a.indices)))

    def known(node: Node) -> Node:
        return rebuild(node, lambda n: access(n) if isinstance(n, Access) else n)

    einsums = tuple(replace(map_einsum(e, known), target=access(e.target)) for e in program.einsums)
    return program if einsums == program.einsums else replace(program, einsums=einsums)
