"""Shared operands: inputs that do not carry all of the parallel ranks, written out.

``parallel: [B, H]`` with ``shared: {W: [B]}`` says that there is one ``W`` for all ``b``. The
program that comes of it names its parallel ranks in the equations: every tensor has those that
something it is computed from has, so that nothing is kept, moved or computed once for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .. import ir
from ..algebra.terms import rebuild, variable
from ..errors import Problem, did_you_mean
from ..source import Span


@dataclass(frozen=True, kw_only=True)
class SharedInput:
    """An input and the parallel ranks that it lacks."""

    name: str
    ranks: tuple[str, ...]
    span: Span | None


def shared_problems(program: ir.Program, shared: tuple[SharedInput, ...]) -> Iterator[Problem]:
    """Names that are no inputs, ranks that are not parallel or along which entries differ."""
    known = [t.name for t in program.inputs]
    for one in shared:
        if one.name not in known:
            what = f"'shared' names '{one.name}', which is no input"
            yield Problem(what, one.span, did_you_mean(one.name, known))
        for rank in one.ranks:
            if rank not in program.parallel:
                what = f"'{one.name}' cannot be shared along '{rank}', which is not parallel"
                yield Problem(what, one.span, did_you_mean(rank, program.parallel))
            if any(d.name == one.name and rank in d.ranks for d in program.distinct):
                what = f"'{one.name}' has no entries that differ along '{rank}': it is shared"
                yield Problem(what, one.span)


def written_out(program: ir.Program, shared: tuple[SharedInput, ...]) -> ir.Program:
    """The program with its parallel ranks in the equations, each tensor with those it has.

    Parameters
    ----------
    program : Program
        Verified, with parallel ranks that no equation names.
    shared : tuple of SharedInput
        Inputs that lack some of them.

    Returns
    -------
    Program
        Without parallel ranks. Those of a tensor come before its own, in the order of
        ``parallel``.
    """
    carried = _carried(program, {s.name: frozenset(s.ranks) for s in shared})

    def explicit(node: ir.Node) -> ir.Node:
        if not isinstance(node, ir.Access):
            return node
        ranks = (r for r in program.parallel if r in carried[node.tensor])
        return replace(node, indices=(*(variable(r.lower()) for r in ranks), *node.indices))

    def statement(einsum: ir.Einsum) -> ir.Einsum:
        where = None if einsum.where is None else rebuild(einsum.where, explicit)
        return replace(
            einsum,
            target=rebuild(einsum.target, explicit),
            expression=rebuild(einsum.expression, explicit),
            where=where,
        )

    named = {r.name for r in program.ranks}
    added = (ir.Rank(name=r, span=program.span) for r in program.parallel if r not in named)
    return replace(
        program,
        parallel=(),
        ranks=(*added, *program.ranks),
        inputs=tuple(
            replace(t, ranks=(*(r for r in program.parallel if r in carried[t.name]), *t.ranks))
            for t in program.inputs
        ),
        init=tuple(statement(e) for e in program.init),
        einsums=tuple(statement(e) for e in program.einsums),
    )


def _carried(
    program: ir.Program, lacking: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """The parallel ranks of every tensor: those of what it is computed from."""
    every = frozenset(program.parallel)
    found = {t.name: every - lacking.get(t.name, frozenset()) for t in program.inputs}
    statements = (*program.init, *program.einsums)
    found.update((e.name, frozenset()) for e in statements)
    grown = True
    while grown:
        grown = False
        for einsum in statements:
            ranks = found[einsum.name].union(*(found[a.tensor] for a in einsum.reads))
            grown |= ranks != found[einsum.name]
            found[einsum.name] = ranks
    return found
