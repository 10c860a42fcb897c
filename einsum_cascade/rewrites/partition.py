"""``partition`` and its inverse ``fuse_partition``: rules that split a rank into nested members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from .. import ir
from ..affine import affine_value, digits
from ..algebra import terms
from ..errors import RewriteError, did_you_mean
from ..ir import accesses_of
from ..notation import index_text
from .base import Rewrite, RewriteStep, rank_named, refuse, step

_RULE = "partition"
_N = TypeVar("_N", bound=ir.Node)


@dataclass(frozen=True)
class Partition(Rewrite):
    """Split a rank into members (a partition), outermost first.

    Precondition: the rank is declared and has no members, and some equation iterates over it.
    Nothing is iterative along the rank or selects over it, and the members' names are free.

    Before -> after (``M=M1,M0``): an input read at ``m`` is read at ``m1*M0 + m0``. A computed
    tensor is indexed by ``m1, m0`` instead of ``m``, or written at ``m1*M0 + m0`` if something
    reads it at another index than ``m``. A reduction over ``m`` reduces over ``m1, m0``. With
    ``split`` a reduction ``X[p] = f :: max[m]`` becomes a local and a global one: ``LX[m1, p] = f
    :: max[m0]``, ``X[p] = LX[m1, p] :: max[m1]``.

    Source: fibertree partitioning as in Nayak et al., MICRO 2024, Cascade 5.
    """

    rank: str
    members: tuple[str, ...]
    split: bool = False
    name: ClassVar[str] = _RULE

    def __str__(self) -> str:
        rule = "split_partition" if self.split else self.name
        return f"{rule}:{self.rank}={','.join(self.members)}"

    def derive(self, program: ir.Program) -> tuple[RewriteStep, ...]:
        """Return the rule's single step."""
        family = rank_named(program, self.rank, self.name)
        for condition, at in self._obstacles(program, family):
            raise refuse(_RULE, condition, at)
        variables = tuple(m.lower() for m in self.members)
        index = digits(self.members)
        stored = self._stored_whole(program, family)
        change = _InMembers(family.variable, variables, index, stored)
        einsums = [e for old in program.einsums for e in self._parts(program, change, old)]
        model = program.model_of(self.rank)
        after = replace(
            program,
            ranks=with_members(program, family, self.members),
            usual=tuple(
                replace(u, name=self.rank) if u.name == model else u for u in program.usual
            ),
            einsums=tuple(einsums),
            init=tuple(change.of(e) for e in program.init),
            accumulate=tuple((stored.get(n, n), t) for n, t in program.accumulate),
        )
        text = f"{family.variable} = {index_text(index, tight=True)}"
        return (step(str(self), program, after, text),)

    def _stored_whole(self, program: ir.Program, family: ir.Rank) -> dict[str, str]:
        """Return computed tensors, each with the name of its version that is indexed by members.

        An output keeps its name and its index in the whole rank; other Einsums then read a new
        tensor in members (``BA``).
        """
        names = terms.Names(program)
        whole = _read_whole(program, family)
        held = {}
        for einsum in program.einsums:
            name = einsum.name
            if name in whole:
                continue
            is_kept = name in program.outputs and family.variable in einsum.target.variables
            if is_kept and terms.readers(program, name):
                held[name] = names.fresh(f"B{name}")
            elif not is_kept:
                held[name] = name
        return held

    def _parts(
        self, program: ir.Program, change: _InMembers, old: ir.Einsum
    ) -> Iterator[ir.Einsum]:
        einsum = change.of(old)
        if einsum.name != old.name:
            yield einsum
            whole = terms.substitute_variables(old.target, {change.family: change.index})
            yield ir.Einsum(whole, einsum.target, span=old.span)
            return
        outer, inner = self.members[0].lower(), {m.lower() for m in self.members[1:]}
        if not self.split or einsum.select or not {outer, *inner} <= set(einsum.over):
            yield einsum
            return
        name = terms.Names(program).fresh(f"L{einsum.name}")
        local = ir.Access(name, (terms.variable(outer), *einsum.target.indices))
        yield terms.settled(replace(einsum, target=local))
        yield terms.settled(replace(einsum, expression=local, where=None))

    def _obstacles(
        self, program: ir.Program, family: ir.Rank
    ) -> Iterator[tuple[str, ir.Rank | ir.Einsum]]:
        """Yield the violated conditions, each with the rank or Einsum that violates it."""
        if family.partition:
            yield f"'{self.rank}' is already cut into {', '.join(family.partition)}", family
        if family.family:
            yield f"'{self.rank}' is itself a member of '{family.family}'", family
        if family.shape is not None:
            yield f"'{self.rank}' has a shape of its own, {family.shape}", family
        model = program.rank_of.get(program.model_of(self.rank), family)
        if model.family is not None:
            text = f"'{self.rank}' is as long as '{model.name}', a member of '{model.family}'"
            yield text, family
        if len(self.members) < 2:
            yield "a partition has at least two members, outermost first", family
        taken = {r.name for r in program.ranks} | set(program.parallel)
        for member in self.members:
            if member in taken or self.members.count(member) > 1:
                yield f"the rank '{member}' exists already", family
            if not (member.isupper() and member.isidentifier()):
                yield f"'{member}' cannot be a rank, which is upper-case", family
        if not any(family.variable in e.variables for e in program.einsums):
            yield f"no equation walks '{self.rank}', it is only gathered from", family
        for einsum in (*program.einsums, *program.init):
            fibers = set(einsum.target.variables) & terms.variables_of(einsum.expression)
            if einsum.select is not None and family.variable in {*einsum.variables} - fibers:
                yield f"{einsum.select} selects along '{self.rank}' as a whole", einsum
            if self.rank in program.iterative.get(einsum.name, ()):
                yield f"it is iterative along '{self.rank}'", einsum
            for access in accesses_of(einsum.expression, einsum.where):
                if any(terms.stop_rank(i) == self.rank for i in access.indices):
                    yield f"it reads '{access.tensor}' at the stop '{self.rank}'", einsum
        for name in sorted(_read_whole(program, family) & set(program.iterative)):
            text = f"it is iterative, and read along '{self.rank}' at another place than its own"
            yield text, program.einsum_of[name]


@dataclass(frozen=True)
class FusePartition(Rewrite):
    """Undo a partition: join the members of a rank into the rank again.

    Precondition: the rank has members, and every computed tensor has all of the members or none.
    The members are only reduced together, and inputs are read at the whole index.

    Before -> after (``M``): ``m1*M0 + m0`` becomes ``m``; ``X[m1, m0]`` becomes ``X[m]``; a
    reduction over ``m1, m0`` becomes one over ``m``.

    Source: the inverse of ``partition``.
    """

    rank: str
    name: ClassVar[str] = "fuse_partition"

    def derive(self, program: ir.Program) -> tuple[RewriteStep, ...]:
        """Return the rule's single step."""
        family = program.rank_of.get(self.rank)
        if family is None or not family.partition:
            hint = did_you_mean(self.rank, (r.name for r in program.ranks if r.partition))
            raise RewriteError(f"{self.name}: '{self.rank}' has no members", None, hint)
        members = tuple(m.lower() for m in family.partition)
        einsums = tuple(self._fused(e, family, members) for e in program.einsums)
        init = tuple(self._fused(e, family, members) for e in program.init)
        ranks = tuple(
            replace(r, partition=()) if r.name == family.name else r
            for r in program.ranks
            if r.name not in family.partition
        )
        after = replace(
            program, ranks=_like_the_first(program, family, ranks), einsums=einsums, init=init
        )
        text = f"{index_text(digits(family.partition), tight=True)} = {family.variable}"
        return (step(str(self), program, after, text),)

    def _fused(self, einsum: ir.Einsum, family: ir.Rank, members: tuple[str, ...]) -> ir.Einsum:
        whole = digits(family.partition)

        def change(part: ir.Node) -> ir.Node:
            if isinstance(part, ir.Affine):
                return family_index(part, whole, family.variable)
            return ir.Name(family.variable, "variable") if part == affine_value(whole) else part

        def fuse(part: _N) -> _N:
            return terms.rebuild(
                terms.rebuild(part, change), lambda n: _fused_index(n, members, family.variable)
            )

        new = terms.map_einsum(einsum, fuse, fuse(einsum.target))
        left = terms.variables_of(*new.roots) & set(members)
        if left:
            text = f"it uses {', '.join(sorted(left))} apart from the rest of '{family.name}'"
            raise refuse(self.name, text, einsum)
        return terms.settled(new) if einsum.select is None else new


@dataclass(frozen=True)
class _InMembers:
    """Rewriter of one Einsum from a rank's variable to the variables of its members."""

    family: str
    members: tuple[str, ...]
    index: ir.Affine
    held: dict[str, str]

    def of(self, einsum: ir.Einsum) -> ir.Einsum:
        new = terms.map_einsum(einsum, self._node, self._node(einsum.target))
        if einsum.select is None:
            return terms.settled(new)
        own = {self.family: self.members}
        return replace(new, over=tuple(m for v in einsum.over for m in own.get(v, (v,))))

    def _node(self, node: _N) -> _N:
        marked = terms.rebuild(node, lambda n: self._access(n) if isinstance(n, ir.Access) else n)
        return terms.substitute_variables(marked, {self.family: self.index})

    def _access(self, access: ir.Access) -> ir.Access:
        """Return an access to a computed tensor with the rank's index as one index per member."""
        if access.tensor not in self.held:
            return access
        indices: list[ir.Index] = []
        for index in access.indices:
            if isinstance(index, ir.Affine) and index.as_variable == self.family:
                indices.extend(terms.variable(m) for m in self.members)
            else:
                indices.append(index)
        return replace(access, tensor=self.held[access.tensor], indices=tuple(indices))


def _read_whole(program: ir.Program, family: ir.Rank) -> frozenset[str]:
    """Return the computed tensors that are read along a rank at an index other than its variable.

    Such an index has no form in members: ``TB[p - m]``, or ``KR[m]`` along a rank declared alike.
    """
    found: set[str] = set()
    for einsum in program.statements:
        for access in accesses_of(einsum.expression, einsum.where):
            ranks = program.tensor_ranks[access.tensor]
            for rank, index in zip(ranks, access.indices, strict=True):
                plain = isinstance(index, ir.Affine) and index.as_variable == family.variable
                if plain != (rank == family.name):
                    found.add(access.tensor)
    return frozenset(found & set(program.einsum_of))


def family_index(index: ir.Affine, whole: ir.Affine, name: str) -> ir.Affine:
    """Return ``index`` with the rank's variable in place of the combination of members.

    2*m1*M0 + 2*m0 + 1 becomes 2*m + 1; m1*M0 + 2*m0 stays.
    """
    given = {(t.variable, t.shapes): t.coefficient for t in index.terms}
    wanted = {(t.variable, t.shapes): t.coefficient for t in whole.terms}
    # A guess by integer division; the check below decides whether it is exact.
    factors = {given.get(k, 0) // c for k, c in wanted.items()}
    if len(factors) != 1 or 0 in factors:
        return index
    factor = factors.pop()
    if any(given[k] != factor * c for k, c in wanted.items()):
        return index
    rest = [t for t in index.terms if (t.variable, t.shapes) not in wanted]
    return ir.collected((ir.AffineTerm(factor, variable=name), *rest))


def _fused_index(part: ir.Node, members: tuple[str, ...], name: str) -> ir.Node:
    """Return an access ``X[m1, m0, p]`` as ``X[m, p]``; any other node stays."""
    if not isinstance(part, ir.Access):
        return part
    names = [i.as_variable if isinstance(i, ir.Affine) else None for i in part.indices]
    for at in range(len(names) - len(members) + 1):
        if tuple(names[at : at + len(members)]) == members:
            rest = part.indices[at + len(members) :]
            return replace(part, indices=(*part.indices[:at], terms.variable(name), *rest))
    return part


def with_members(
    program: ir.Program, family: ir.Rank, members: tuple[str, ...]
) -> tuple[ir.Rank, ...]:
    """Return a program's ranks after one of them is partitioned into members, outermost first."""
    ranks: list[ir.Rank] = []
    model = program.model_of(family.name)
    for rank in program.ranks:
        if rank.name != family.name:
            # A partitioned rank is like no other rank: the others become like it instead.
            is_like = program.model_of(rank.name) == model != family.name
            ranks.append(replace(rank, like=family.name) if is_like else rank)
            continue
        ranks.append(replace(rank, partition=members, like=None))
        ranks.extend(ir.Rank(name=m, family=family.name, span=rank.span) for m in members)
    return tuple(ranks)


def _like_the_first(
    program: ir.Program, family: ir.Rank, ranks: tuple[ir.Rank, ...]
) -> tuple[ir.Rank, ...]:
    """Return the ranks with all ranks of equal shape declared like the first of them."""
    if family.like is not None:
        return ranks
    group = [
        r.name for r in ranks if r.name == family.name or program.share_shape(r.name, family.name)
    ]
    return tuple(
        replace(r, like=None if r.name == group[0] else group[0]) if r.name in group else r
        for r in ranks
    )
