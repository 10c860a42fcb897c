"""Verifier, names: everything is declared once, spelt as its kind asks, and exists."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from .. import ir
from ..algebra.scalar import operator_problems
from ..domains import distinct_problems, domain_problems
from ..errors import Problem, did_you_mean
from ..functions import FUNCTIONS, REDUCTIONS
from ..source import Span

_RANK = re.compile(r"[A-Z][A-Z0-9_]*")
_TENSOR = re.compile(r"[A-Z][A-Za-z0-9_]*")

MAX_EXPANSION = 1000
"""How many operations a user's function may come to with its calls written out."""

Declared = tuple[str, str, Span | None]
"""A kind of thing, its name, and where it is declared."""


def name_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Problems of names: duplicates, clashes, spelling, functions and reductions."""
    yield from _spelling(program)
    yield from _duplicates(_ranks(program))
    yield from _written_twice(program)
    yield from _duplicates(_values(program))
    yield from _callables(program, spoiled)
    yield from _partitions(program)
    yield from _accumulated(program)
    yield from domain_problems(program, spoiled)
    yield from distinct_problems(program, frozenset(spoiled))
    yield from _usual(program, spoiled)


def _usual(program: ir.Program, spoiled: Collection[str]) -> Iterator[Problem]:
    """Usual sizes of what is no rank and no parameter, or of a rank that has its size already."""
    known = program.settable
    for usual in program.usual:
        rank = program.rank_of.get(usual.name)
        if usual.name not in known and usual.name not in spoiled:
            hint = did_you_mean(usual.name, known)
            yield Problem(
                f"'usual' names '{usual.name}', which is no rank and no parameter", usual.span, hint
            )
        elif rank is not None and rank.like:
            text = f"{rank.name} is as long as {rank.like}, so its size cannot be given"
            yield Problem(text, usual.span, f"give the usual size of {rank.like}")
        elif rank is not None and rank.shape:
            yield Problem(f"{rank.name} is always {rank.shape}", usual.span)


def _ranks(program: ir.Program) -> Iterator[Declared]:
    for name in program.parallel:
        yield ("rank", name, program.place("parallel", name))
    for rank in program.ranks:
        yield ("rank", rank.name, rank.span)


def _values(program: ir.Program) -> Iterator[Declared]:
    """What may stand as a bare name or before ``[`` or ``(``; ranks apart from tensors."""
    for tensor in program.inputs:
        yield ("input", tensor.name, tensor.span)
    for parameter in program.parameters:
        yield ("parameter", parameter.name, parameter.span)
    for function in program.functions:
        yield ("function", function.name, function.span)
    for name in program.einsum_of:
        if all(name != t.name for t in program.inputs):
            yield ("tensor", name, program.einsum_of[name].target.span)


def _duplicates(declared: Iterable[Declared]) -> Iterator[Problem]:
    seen: dict[str, Declared] = {}
    for kind, name, span in declared:
        if name not in seen:
            seen[name] = (kind, name, span)
            continue
        other, _, first = seen[name]
        where = f" (first on line {first.line})" if first else ""
        if kind == other:
            yield Problem(f"{kind} '{name}' is declared twice{where}", span)
        else:
            article = "an" if other[0] in "aeiou" else "a"
            yield Problem(f"{kind} '{name}' has the name of {article} {other}{where}", span)


def _spelling(program: ir.Program) -> Iterator[Problem]:
    for _, name, span in _ranks(program):
        if not _RANK.fullmatch(name):
            yield Problem(f"rank '{name}' is not upper-case", span, f"write {name.upper()}")
    tensors = [(t.name, t.span) for t in program.inputs]
    tensors += [(e.name, e.target.span) for e in program.einsums]
    for name, span in tensors:
        if not _TENSOR.fullmatch(name):
            hint = f"write {name[:1].upper()}{name[1:]}; lower-case names are rank variables"
            yield Problem(f"tensor '{name}' does not begin upper-case", span, hint)
    taken = {r.variable: "rank variable" for r in program.ranks}
    taken |= {r.name: "rank" for r in program.ranks}
    taken |= dict.fromkeys(program.parallel, "rank")
    taken |= dict.fromkeys(FUNCTIONS, "function")
    # Parameters are keywords of Cascade.evaluate, beside its own.
    taken |= dict.fromkeys(("self", "program", "inputs", "dtype", "keep"), "setting of evaluate")
    for parameter in program.parameters:
        if parameter.name in taken:
            what = f"parameter '{parameter.name}' has the name of a {taken[parameter.name]}"
            yield Problem(what, parameter.span)


def _written_twice(program: ir.Program) -> Iterator[Problem]:
    first: dict[str, ir.Einsum] = {}
    inputs = {t.name for t in program.inputs}
    for einsum in program.einsums:
        span = einsum.target.span
        if einsum.name in inputs:
            yield Problem(f"input '{einsum.name}' cannot be written", span)
        elif einsum.name in first:
            before = first[einsum.name].target.span
            where = f" (first on line {before.line})" if before else ""
            yield Problem(f"tensor '{einsum.name}' is written twice{where}", span)
        first.setdefault(einsum.name, einsum)


def _callables(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    for function in program.functions:
        if function.name in FUNCTIONS:
            yield Problem(f"function '{function.name}' is built in already", function.span)
    for reduction in program.reductions:
        if reduction.name in REDUCTIONS:
            yield Problem(f"reduction '{reduction.name}' is built in already", reduction.span)
    reductions = [("reduction", r.name, r.span) for r in program.reductions]
    yield from _duplicates(reductions)
    bodies = [f.body for f in program.functions] + [r.body for r in program.reductions]
    for body in bodies:
        yield from call_problems(program, body, spoiled)
    expansion = tuple(_expansion(program))
    yield from expansion
    if not expansion:
        # It computes the bodies, so they must come to an end.
        yield from operator_problems(program)


def _expansion(program: ir.Program) -> Iterator[Problem]:
    """Functions that call themselves, or grow beyond measure by calling one another."""
    nodes = {f.name: ir.walk(f.body) for f in program.functions}
    calls = {
        name: [n.function for n in below if isinstance(n, ir.Call) and n.function in nodes]
        for name, below in nodes.items()
    }
    sizes: dict[str, int] = {}
    # Callees first; who is never ready calls itself, or calls one that does.
    while ready := [n for n in calls if n not in sizes and all(c in sizes for c in calls[n])]:
        for name in ready:
            sizes[name] = len(nodes[name]) + sum(sizes[c] for c in calls[name])
    for function in program.functions:
        if function.name not in sizes:
            what = f"function '{function.name}' calls itself, or one that does"
            yield Problem(what, function.span)
        elif sizes[function.name] > MAX_EXPANSION:
            what = f"function '{function.name}' expands to {sizes[function.name]} operations"
            yield Problem(f"{what}; at most {MAX_EXPANSION} are allowed", function.span)


def call_problems(program: ir.Program, root: ir.Node, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Unknown functions, wrong numbers of arguments, and division by a literal zero."""
    arity = {f.name: (f.least, f.most) for f in FUNCTIONS.values()}
    arity |= {f.name: (len(f.arguments), len(f.arguments)) for f in program.functions}
    for node in ir.walk(root):
        match node:
            case ir.Call(function=name) if name not in arity:
                if name in spoiled:
                    continue
                yield Problem(f"unknown function '{name}'", node.span, did_you_mean(name, arity))
            case ir.Call(function=name, arguments=arguments):
                least, most = arity[name]
                if len(arguments) < least or (most is not None and len(arguments) > most):
                    wanted = f"{least}" if most == least else f"at least {least}"
                    what = f"'{name}' takes {wanted} argument{'s' * (wanted != '1')}"
                    yield Problem(f"{what}, not {len(arguments)}", node.span)
            case ir.Binary(operator="/", right=ir.Number(value=0)):
                yield Problem("division by zero", node.span)
            case _:
                pass


def _partitions(program: ir.Program) -> Iterator[Problem]:
    for rank in program.ranks:
        if rank.like is not None:
            yield from _alike(program, rank)
        like = program.rank_of.get(rank.like or "")
        # A member has no line of its own: what is like it says which length it has.
        apart = like is not None and like.family is None
        if rank.shape is not None and (rank.partition or apart):
            what = f"rank '{rank.name}' has a shape and takes it from elsewhere, too"
            yield Problem(what, rank.span, "leave out 'shape', or 'partition' and 'like'")
        if rank.family is not None:
            family = program.rank_of.get(rank.family)
            if family is None or rank.name not in family.partition:
                yield Problem(f"rank '{rank.name}' is no part of '{rank.family}'", rank.span)
            if rank.partition:
                yield Problem(f"rank '{rank.name}' is partitioned twice over", rank.span)
        for member in rank.partition:
            known = program.rank_of.get(member)
            if known is not None and known.family != rank.name:
                yield Problem(f"rank '{member}' belongs to two partitions", known.span)


def _alike(program: ir.Program, rank: ir.Rank) -> Iterator[Problem]:
    other = program.rank_of.get(rank.like or "")
    if other is None or other is rank:
        hint = did_you_mean(rank.like or "", (r for r in program.rank_of if r != rank.name))
        yield Problem(
            f"rank '{rank.name}' is like '{rank.like}', which is no rank", rank.span, hint
        )
    elif rank.partition and len(other.partition) not in (0, len(rank.partition)):
        what = f"ranks '{rank.name}' and '{other.name}' are alike, but not partitioned alike"
        yield Problem(what, rank.span)


def _accumulated(program: ir.Program) -> Iterator[Problem]:
    for name, _ in program.accumulate:
        if name not in program.einsum_of:
            hint = did_you_mean(name, program.einsum_of)
            what = f"'accumulate' names '{name}', which no Einsum writes"
            yield Problem(what, program.place("accumulate", name), hint)
