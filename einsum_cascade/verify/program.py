"""The verifier: is a program well formed? Finds every problem at once.

Names are checked in ``names``, indices in ``indices``; here stand the
questions about the cascade as a whole: who writes what, who reads it, and when.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import ir
from ..errors import CascadeError, Problem, did_you_mean
from ..ordering import Dependence, chain_text, cycles, dependences, too_early
from .indices import index_problems
from .names import name_problems


def verify(program: ir.Program, spoiled: frozenset[str] = frozenset()) -> tuple[Problem, ...]:
    """Every problem of a program.

    Parameters
    ----------
    program : ir.Program
        A program as parsed, or as a rewrite built it (without spans).
    spoiled : frozenset of str
        Names a mistake found earlier left half declared; nothing is said about their
        absence.

    Returns
    -------
    tuple of Problem
        Empty when the program is well formed.
    """
    found: dict[Problem, None] = {}
    for problem in name_problems(program, spoiled):
        found.setdefault(problem)
    for problem in index_problems(program, spoiled):
        found.setdefault(problem)
    for problem in _flow_problems(program, spoiled):
        found.setdefault(problem)
    return tuple(found)


def check(program: ir.Program) -> ir.Program:
    """The program itself when it is well formed.

    Raises
    ------
    CascadeError
        Carries every problem.
    """
    if problems := verify(program):
        raise CascadeError(problems)
    return program


def _flow_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    yield from _outputs(program, spoiled)
    yield from _initialised(program, spoiled)
    yield from _order(program)
    # What would have used a thing may be the very line that could not be read.
    if not spoiled:
        yield from _unused(program)


def _outputs(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    inputs = {t.name for t in program.inputs}
    written = {e.name for e in program.einsums}
    if not program.outputs and not spoiled:
        yield Problem("the cascade has no output", program.span, "such as 'output: AV'")
    for name in dict.fromkeys(program.outputs):
        span = program.place("output", name)
        if program.outputs.count(name) > 1:
            yield Problem(f"output '{name}' is named twice", span)
        if name in inputs:
            yield Problem(f"output '{name}' is an input", span)
        elif name not in written and name not in spoiled:
            yield Problem(f"output '{name}' is never written", span, did_you_mean(name, written))


def _initialised(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Iterative tensors have a coordinate 0, and only they do."""
    started = {e.name for e in program.init}
    for name, ranks in program.iterative.items():
        if name not in started and name not in spoiled:
            einsum = program.einsum_of[name]
            variables = [program.rank_of[r].variable for r in ranks]
            indices = ", ".join("0" if v in variables else v for v in einsum.target.variables)
            what = f"iterative tensor '{name}' has no coordinate 0 along {' and '.join(ranks)}"
            yield Problem(what, einsum.target.span, f"add to init: {name}[{indices}] = ...")
    inputs = {t.name for t in program.inputs}
    for einsum in program.init:
        if einsum.name not in program.iterative and einsum.name not in spoiled:
            what = f"init sets '{einsum.name}', which no Einsum writes at v+1"
            yield Problem(what, einsum.target.span, did_you_mean(einsum.name, program.iterative))
        for access in einsum.reads:
            if access.tensor not in inputs and access.tensor in program.einsum_of:
                what = f"init reads '{access.tensor}'; it can only read inputs"
                yield Problem(what, access.span)


def _order(program: ir.Program) -> Iterator[Problem]:
    names = {e.name for e in program.einsums} - {t.name for t in program.inputs}
    if len(names) < len(program.einsums):
        # A tensor written twice has been reported; its order means nothing.
        return
    edges = dependences(program)
    in_cycle: set[str] = set()
    for group, chain in cycles(edges):
        in_cycle |= group
        yield _cycle(chain)
    for edge in too_early(program, edges):
        if edge.reader not in in_cycle or edge.writer not in in_cycle:
            yield _early(program, edge)


def _cycle(chain: tuple[Dependence, ...]) -> Problem:
    first = chain[0]
    if len(chain) == 1:
        what = f"'{first.reader}' depends on itself"
    else:
        what = f"these Einsums depend on one another: {chain_text(chain)}"
    hint = "a cycle needs a tensor written at v+1 and read at v, with v on the left all along"
    return Problem(what, first.access.span, hint)


def _early(program: ir.Program, edge: Dependence) -> Problem:
    order = [e.name for e in program.einsums]
    if order.index(edge.writer) > order.index(edge.reader):
        what = f"'{edge.reader}' reads '{edge.writer}', which is written later"
        hint = f"move the Einsum of '{edge.reader}' below that of '{edge.writer}'"
    else:
        what = f"'{edge.reader}' needs all of '{edge.writer}' before its iteration ends"
        hint = f"move the Einsum of '{edge.reader}' below the whole iteration"
    return Problem(what, edge.access.span, hint)


def _unused(program: ir.Program) -> Iterator[Problem]:
    """Tensors no output depends on; inputs, parameters and ranks nothing mentions."""
    written = program.einsum_of
    statements = (*program.init, *program.einsums)
    read = {a.tensor for e in statements for a in e.reads}
    # A misspelt name makes the right one look unused; it has been reported itself.
    if any(name not in written for name in program.outputs) or not program.outputs:
        return
    if any(name not in program.tensor_ranks for name in read):
        return
    reads: dict[str, list[str]] = {}
    for e in statements:
        reads.setdefault(e.name, []).extend(a.tensor for a in e.reads)
    live: set[str] = set()
    stack = list(program.outputs)
    while stack:
        name = stack.pop()
        if name not in live:
            live.add(name)
            stack.extend(reads.get(name, ()))
    for name, einsum in written.items():
        if name not in live:
            yield Problem(f"'{name}' is never used: no output depends on it", einsum.target.span)
    for tensor in program.inputs:
        if tensor.name not in read:
            yield Problem(f"input '{tensor.name}' is never read", tensor.span)
    names = _mentioned(program)
    for parameter in program.parameters:
        if parameter.name not in names:
            yield Problem(f"parameter '{parameter.name}' is never used", parameter.span)
    for rank in program.ranks:
        if not names & {rank.name, rank.variable, *rank.partition, *_variables(rank.partition)}:
            yield Problem(f"rank '{rank.name}' is never used", rank.span)


def _variables(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n.lower() for n in names)


def _mentioned(program: ir.Program) -> frozenset[str]:
    """Ranks, rank variables and parameters that occur somewhere."""
    found = {rank for tensor in program.inputs for rank in tensor.ranks}
    roots: list[ir.Node] = [f.body for f in program.functions]
    roots.extend(r.body for r in program.reductions)
    for einsum in (*program.init, *program.einsums):
        roots.extend(n for n in (einsum.target, einsum.expression, einsum.where) if n is not None)
    for node in (n for root in roots for n in ir.walk(root)):
        if isinstance(node, ir.Name):
            found.add(node.name)
        elif isinstance(node, ir.Affine):
            for term in node.terms:
                found.update(term.shapes)
                found.update((term.variable,) if term.variable else ())
    return frozenset(found)
