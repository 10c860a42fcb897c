"""Sweeps along one rank: Einsums that traverse it, and Einsums that wait for a sweep to end.

The *grain* is the swept rank, or the outermost member of a partitioned one. A *final* value is
known only after a whole sweep. A *stale* Einsum sweeps the grain and depends on a final value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import RewriteError, did_you_mean
from ..ir import Access, Condition, Einsum, Expression, Gather, Program, accesses_of, walk
from ..masks import conjuncts
from ..memo import cached_property
from . import terms


@dataclass(frozen=True)
class Grain:
    """Rank that a sweep traverses step by step.

    A partitioned rank ``family`` is swept along its outermost member ``rank``; ``inner`` are the
    variables of the other members, which run inside one step.
    """

    family: str
    rank: str
    variable: str
    inner: tuple[str, ...] = ()

    @property
    def variables(self) -> frozenset[str]:
        """All variables that together traverse the whole rank."""
        return frozenset((self.variable, *self.inner))


def grain_of(program: Program, rank: str) -> Grain:
    """Return the swept rank for a declared one: its outermost member, or the rank if it has none.

    Parameters
    ----------
    program : Program
    rank : str
        Declared rank.

    >>> from einsum_cascade import Cascade
    >>> grain = grain_of(Cascade.load("attention-1pass").program, "M")
    >>> grain.variable, grain.inner
    ('m1', ('m0',))

    Raises
    ------
    RewriteError
        There is no such rank, or it is a member other than the outermost.
    """
    found = program.rank_of.get(rank)
    if found is None:
        hint = did_you_mean(rank, program.rank_of)
        raise RewriteError(f"'{program.name}' has no rank '{rank}'", hint=hint)
    family = program.rank_of[found.family] if found.family else found
    members = family.partition
    if not members:
        return Grain(family.name, family.name, family.variable)
    if found.family and found.name != members[0]:
        raise RewriteError(
            f"'{rank}' lies inside '{members[0]}': one step of the outermost member "
            f"holds it, it is not swept",
            found.span,
            f"name '{family.name}' or '{members[0]}'",
        )
    inner = tuple(program.rank_of[m].variable for m in members[1:])
    return Grain(family.name, members[0], program.rank_of[members[0]].variable, inner)


@dataclass(frozen=True)
class RankView:
    """Program together with one swept rank (grain), to ask which Einsums wait for a sweep."""

    program: Program
    grain: Grain

    def sweeps(self, einsum: Einsum) -> bool:
        """Return whether the Einsum iterates over the swept rank, kept or reduced."""
        return self.grain.variable in einsum.variables

    def reduces(self, einsum: Einsum) -> bool:
        """Return whether the Einsum reduces or selects over the swept rank."""
        return self.grain.variable in einsum.over

    def carries(self, einsum: Einsum) -> bool:
        """Return whether the swept rank indexes the tensor that the Einsum writes."""
        return self.grain.variable in einsum.target.variables

    def is_iterative(self, tensor: str) -> bool:
        """Return whether a tensor is iterative along the swept rank."""
        return self.grain.rank in self.program.iterative.get(tensor, ())

    def is_stop_read(self, access: Access) -> bool:
        """Return whether an access reads an iterative tensor at the end of the sweep."""
        return self.is_iterative(access.tensor) and any(
            terms.stop_rank(i) == self.grain.rank for i in access.indices
        )

    def is_final(self, access: Access) -> bool:
        """Return whether an access reads a final value, known only after a whole sweep."""
        return access.tensor in self.finals or self.is_stop_read(access)

    @cached_property
    def finals(self) -> frozenset[str]:
        """Tensors without the swept rank that are known only after a whole sweep."""

        def belongs(einsum: Einsum, found: set[str]) -> bool:
            late = (a.tensor in found or self.is_stop_read(a) for a in _operands(einsum))
            return not self.carries(einsum) and (self.sweeps(einsum) or any(late))

        return self._closure(belongs)

    @cached_property
    def stale(self) -> frozenset[str]:
        """Names of the Einsums that sweep the rank and depend on a final value."""

        def belongs(einsum: Einsum, found: set[str]) -> bool:
            late = (a.tensor in found or self.is_final(a) for a in _operands(einsum))
            return self.sweeps(einsum) and any(late)

        return self._closure(belongs)

    def _closure(self, belongs: Callable[[Einsum, set[str]], bool]) -> frozenset[str]:
        """Return the smallest set of names with every Einsum for which ``belongs`` holds.

        ``belongs`` depends on the set found so far.
        """
        found: set[str] = set()
        size = -1
        while size != len(found):
            size = len(found)
            # Repeat, because an iterative tensor is read above the line that writes it.
            found |= {e.name for e in self.program.einsums if belongs(e, found)}
        return frozenset(found)

    @cached_property
    def stale_reductions(self) -> tuple[Einsum, ...]:
        """Stale Einsums that reduce over the swept rank, in written order."""
        return tuple(e for e in self.program.einsums if e.name in self.stale and self.reduces(e))

    def depends(self, *nodes: Expression | Condition | None) -> bool:
        """Return whether any access below the nodes reads a final value or a stale tensor."""
        return any(self.is_final(a) or a.tensor in self.stale for a in accesses_of(*nodes))

    def final_reads(self, einsum: Einsum) -> tuple[Access, ...]:
        """Return the accesses by which an Einsum itself reads final values, each once."""
        reads = accesses_of(einsum.expression, einsum.where)
        return tuple(dict.fromkeys(a for a in reads if self.is_final(a)))


def _operands(einsum: Einsum) -> Iterator[Access]:
    """Yield the accesses of an Einsum to tensors other than its own."""
    accesses = accesses_of(einsum.expression, einsum.where)
    return (a for a in accesses if a.tensor != einsum.name)


def is_map(einsum: Einsum) -> bool:
    """Return whether an Einsum only maps: it does not reduce, select or carry a state.

    A mask does not matter: it removes points but changes no value.
    """
    return (
        not einsum.over
        and einsum.select is None
        and terms.target_variables(einsum) is not None
        and all(a.tensor != einsum.name for a in accesses_of(einsum.expression))
    )


def readable_map(program: Program, access: Access, reader: Einsum) -> Expression | None:
    """Return a map's expression as ``reader`` reads it, or None if the tensor is not such a map.

    A masked map is substituted only if the reader has the same mask, because it has no elements
    outside the mask.

    Parameters
    ----------
    program : Program
    access : Access
        Read by ``reader``.
    reader : Einsum

    Returns
    -------
    Expression or None
        Expression in the variables of ``reader``; None also for a read through a gather.
    """
    source = program.einsum_of.get(access.tensor)
    if source is None or not is_map(source) or source.name in program.iterative:
        return None
    if any(isinstance(i, Gather) for i in access.indices):
        return None
    values = terms.at_access(source, access)
    if source.where is not None:
        mask = terms.substitute_variables(source.where, values)
        if not set(conjuncts(mask)) <= set(conjuncts(reader.where)):
            return None
    return terms.substitute_variables(source.expression, values)


def inlined(
    program: Program, reader: Einsum, expression: Expression, wanted: Callable[[Access], bool]
) -> Expression:
    """Return an expression of ``reader`` with the maps that it reads replaced by theirs.

    Parameters
    ----------
    program : Program
    reader : Einsum
    expression : Expression
    wanted : callable
        Predicate on accesses: whether to replace one, if it reads a map (``readable_map``).
    """

    def change(access: Access) -> Expression | None:
        body = readable_map(program, access, reader) if wanted(access) else None
        return None if body is None else inlined(program, reader, body, wanted)

    return terms.replace_accesses(expression, change)


def gathers_through(node: Expression | Condition, tensor: str) -> bool:
    """Return whether some access below the node gathers at positions that ``tensor`` holds.

    Parameters
    ----------
    node : Expression or Condition
    tensor : str
        Tensor of positions, such as a result of ``topk``.
    """
    return any(
        isinstance(part, Gather) and any(a.tensor == tensor for a in accesses_of(part.access))
        for part in walk(node)
    )
