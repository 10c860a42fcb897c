"""Verifier of programs: checks names, indices, reductions and order, and reports all problems."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from . import ir
from .affine import digits, linear
from .algebra.reduction_laws import operator_problems
from .algebra.terms import read_by_outputs
from .domains import distinct_problems, domain_problems
from .errors import CascadeError, Problem, did_you_mean, raise_all
from .functions import FUNCTIONS, REDUCTIONS, SELECTIONS
from .ordering import Dependence, chain_text, cycles, dependences, too_early
from .source import Span


def verify(program: ir.Program, spoiled: frozenset[str] = frozenset()) -> tuple[Problem, ...]:
    """Return every problem of a program; a well-formed program has none.

    Parameters
    ----------
    program : ir.Program
        Parsed program, or one that a rewrite built (without spans).
    spoiled : frozenset of str
        Names whose declaration was already rejected; their absence is not reported.
    """
    checks = (name_problems, index_problems, _flow_problems)
    return tuple(dict.fromkeys(p for check in checks for p in check(program, spoiled)))


def check(program: ir.Program) -> ir.Program:
    """Return the program itself if it is well formed.

    Raises
    ------
    CascadeError
        The program has problems; carries all of them.
    """
    raise_all(verify(program), CascadeError)
    return program


def _flow_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    yield from _outputs(program, spoiled)
    yield from _initialised(program, spoiled)
    yield from _order(program)
    # A line that could not be parsed may be the one that uses a name.
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
    """Yield iterative tensors whose coordinate 0 is not set, and other tensors where it is set."""
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
                yield Problem(f"init reads '{access.tensor}'; it can only read inputs", access.span)


def _order(program: ir.Program) -> Iterator[Problem]:
    names = {e.name for e in program.einsums} - {t.name for t in program.inputs}
    if len(names) < len(program.einsums):
        # Order is meaningless if a tensor is written twice, which has been reported.
        return
    edges = dependences(program)
    in_cycle: set[str] = set()
    for group, chain in cycles(edges):
        in_cycle |= group
        what = f"these Einsums depend on one another: {chain_text(chain)}"
        if len(chain) == 1:
            what = f"'{chain[0].reader}' depends on itself"
        hint = "a cycle needs a tensor written at v+1 and read at v, with v on the left all along"
        yield Problem(what, chain[0].access.span, hint)
    for edge in too_early(program, edges):
        if edge.reader not in in_cycle or edge.writer not in in_cycle:
            yield _early(program, edge)


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
    """Yield tensors that no output depends on, and unused inputs, parameters and ranks."""
    written = program.einsum_of
    read = {a.tensor for e in program.statements for a in e.reads}
    # A misspelt name makes the right one look unused; the misspelling has been reported.
    if any(name not in written for name in program.outputs) or not program.outputs:
        return
    if any(name not in program.tensor_ranks for name in read):
        return
    live = read_by_outputs(program)
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
        own = (rank.name, *rank.partition)
        if names.isdisjoint((*own, *(name.lower() for name in own))):
            yield Problem(f"rank '{rank.name}' is never used", rank.span)


def _mentioned(program: ir.Program) -> frozenset[str]:
    """Return the ranks, rank variables and parameters that equations, bodies or inputs mention."""
    bodies = (*(f.body for f in program.functions), *(r.body for r in program.reductions))
    roots = [*bodies, *(n for e in program.statements for n in e.roots)]
    named = {n.name for root in roots for n in ir.walk(root) if isinstance(n, ir.Name)}
    ranks = {rank for tensor in program.inputs for rank in tensor.ranks}
    return frozenset((*ranks, *named, *ir.variables_of(*roots), *ir.shapes_of(*roots)))


MAX_EXPANSION = 1000
"""Maximum number of operations of a user function after its calls are expanded."""

Declared = tuple[str, str, Span | None]
"""Declaration as a triple of its kind, name and span."""


def name_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Yield problems of declared names: spelling, duplicates, clashes, and wrong declarations."""
    yield from _spelling(program)
    yield from _duplicates(_ranks(program))
    yield from _written(program)
    yield from _duplicates(_values(program))
    yield from _callables(program, spoiled)
    yield from _partitions(program)
    yield from _accumulated(program, spoiled)
    yield from domain_problems(program, spoiled)
    yield from distinct_problems(program, frozenset(spoiled))
    yield from _usual(program, spoiled)


def _usual(program: ir.Program, spoiled: Collection[str]) -> Iterator[Problem]:
    """Yield problems of usual sizes: unknown names, and ranks with a determined size."""
    known = program.settable
    for usual in program.usual:
        rank = program.rank_of.get(usual.name)
        if usual.name not in known and usual.name not in spoiled:
            text = f"'usual' names '{usual.name}', which is no rank and no parameter"
            yield Problem(text, usual.span, did_you_mean(usual.name, known))
        elif rank is not None and rank.like:
            text = f"{rank.name} is as long as {rank.like}, so its size cannot be given"
            yield Problem(text, usual.span, f"give the usual size of {rank.like}")
        elif rank is not None and rank.shape:
            yield Problem(f"{rank.name} is always {rank.shape}", usual.span)


def _ranks(program: ir.Program) -> Iterator[Declared]:
    yield from (("rank", name, program.place("parallel", name)) for name in program.parallel)
    yield from (("rank", rank.name, rank.span) for rank in program.ranks)


def _values(program: ir.Program) -> Iterator[Declared]:
    """Yield the declarations whose names share one namespace and must not clash.

    These names may stand alone or before ``[`` or ``(``.
    """
    yield from (("input", t.name, t.span) for t in program.inputs)
    yield from (("parameter", p.name, p.span) for p in program.parameters)
    yield from (("function", f.name, f.span) for f in program.functions)
    inputs = {t.name for t in program.inputs}
    for name, einsum in program.einsum_of.items():
        if name not in inputs:
            yield ("tensor", name, einsum.target.span)


def _duplicates(declared: Iterable[Declared], verb: str = "declared") -> Iterator[Problem]:
    seen: dict[str, Declared] = {}
    for kind, name, span in declared:
        if name not in seen:
            seen[name] = (kind, name, span)
            continue
        other, _, first = seen[name]
        where = f" (first on line {first.line})" if first else ""
        if kind == other:
            yield Problem(f"{kind} '{name}' is {verb} twice{where}", span)
        else:
            article = "an" if other[0] in "aeiou" else "a"
            yield Problem(f"{kind} '{name}' has the name of {article} {other}{where}", span)


def _spelling(program: ir.Program) -> Iterator[Problem]:
    for _, name, span in _ranks(program):
        if not ir.RANK_NAME.fullmatch(name):
            yield Problem(f"rank '{name}' is not upper-case", span, f"write {name.upper()}")
    tensors = [(t.name, t.span) for t in program.inputs]
    tensors += [(e.name, e.target.span) for e in program.einsums]
    for name, span in tensors:
        if not ir.TENSOR_NAME.fullmatch(name):
            hint = f"write {name[:1].upper()}{name[1:]}; lower-case names are rank variables"
            yield Problem(f"tensor '{name}' does not begin upper-case", span, hint)
    taken = {r.variable: "rank variable" for r in program.ranks}
    taken |= {r.name: "rank" for r in program.ranks}
    taken |= dict.fromkeys(program.parallel, "rank")
    taken |= dict.fromkeys(FUNCTIONS, "function")
    # Parameters are keyword arguments of Cascade.evaluate, next to its own.
    taken |= dict.fromkeys(("self", "program", "inputs", "dtype", "keep"), "setting of evaluate")
    for parameter in program.parameters:
        if parameter.name in taken:
            what = f"parameter '{parameter.name}' has the name of a {taken[parameter.name]}"
            yield Problem(what, parameter.span)


def _written(program: ir.Program) -> Iterator[Problem]:
    inputs = {t.name for t in program.inputs}
    for einsum in program.einsums:
        if einsum.name in inputs:
            yield Problem(f"input '{einsum.name}' cannot be written", einsum.target.span)
    tensors = (("tensor", e.name, e.target.span) for e in program.einsums if e.name not in inputs)
    yield from _duplicates(tensors, "written")


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
        # Testing an operator evaluates its body, which must terminate.
        yield from operator_problems(program)


def _expansion(program: ir.Program) -> Iterator[Problem]:
    """Yield problems of functions that call themselves or expand beyond ``MAX_EXPANSION``."""
    nodes = {f.name: ir.walk(f.body) for f in program.functions}
    calls = {
        name: [n.function for n in below if isinstance(n, ir.Call) and n.function in nodes]
        for name, below in nodes.items()
    }
    sizes: dict[str, int] = {}
    # Callees first; a function that never becomes ready calls itself, directly or not.
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
    """Yield problems of calls: unknown functions, argument counts, division by literal zero."""
    arity = {f.name: (f.min_arity, f.max_arity) for f in FUNCTIONS.values()}
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
            yield from _like_problems(program, rank)
        like = program.rank_of.get(rank.like or "")
        # A member has no declaration of its own: a rank like it states its shape.
        takes_model = like is not None and like.family is None
        if rank.shape is not None and (rank.partition or takes_model):
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


def _like_problems(program: ir.Program, rank: ir.Rank) -> Iterator[Problem]:
    other = program.rank_of.get(rank.like or "")
    if other is None or other is rank:
        hint = did_you_mean(rank.like or "", (r for r in program.rank_of if r != rank.name))
        what = f"rank '{rank.name}' is like '{rank.like}', which is no rank"
        yield Problem(what, rank.span, hint)
    elif rank.partition and len(other.partition) not in (0, len(rank.partition)):
        what = f"ranks '{rank.name}' and '{other.name}' are alike, but not partitioned alike"
        yield Problem(what, rank.span)


def _accumulated(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    for name, _ in program.accumulate:
        if name not in program.einsum_of and name not in spoiled:
            hint = did_you_mean(name, program.einsum_of)
            what = f"'accumulate' names '{name}', which no Einsum writes"
            yield Problem(what, program.place("accumulate", name), hint)


def index_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Yield the problems that each statement has by itself."""
    for einsum in program.init:
        yield from _init_target(program, einsum)
        yield from _statement(program, einsum, spoiled)
    for einsum in program.einsums:
        yield from _target(program, einsum)
        yield from _statement(program, einsum, spoiled)
    for tensor in program.inputs:
        yield from _input(program, tensor, spoiled)


def _input(program: ir.Program, tensor: ir.Tensor, spoiled: frozenset[str]) -> Iterator[Problem]:
    for rank in tensor.ranks:
        if rank in program.parallel:
            what = f"input '{tensor.name}' carries parallel rank '{rank}' already"
            yield Problem(what, tensor.span, f"leave {rank} out")
        elif rank not in program.rank_of and rank not in spoiled:
            hint = did_you_mean(rank, program.rank_of)
            yield Problem(f"input '{tensor.name}' has unknown rank '{rank}'", tensor.span, hint)


def _statement(
    program: ir.Program, einsum: ir.Einsum, spoiled: frozenset[str]
) -> Iterator[Problem]:
    yield from _names(program, einsum)
    yield from _mixed(program, einsum)
    yield from _reduction(program, einsum, spoiled)
    for root in einsum.roots:
        yield from call_problems(program, root, spoiled)
    # Whether a guard keeps every read inside depends on shapes, which the evaluation checks.
    calls = (n for n in ir.walk(einsum.expression) if isinstance(n, ir.Call))
    guards = {a for call in calls if call.function == "where" for a in ir.walk(call)}
    for access in einsum.reads:
        guarded = einsum.where is not None or access in guards
        yield from _read(program, access, guarded, spoiled)


# ------------------------------------------------------------------------- names


def _names(program: ir.Program, einsum: ir.Einsum) -> Iterator[Problem]:
    """Yield problems of unknown names, which a program built by a rewrite may have.

    In a parsed program the parser has resolved all names.
    """
    known: dict[str, Collection[str]] = {
        "variable": program.rank_of_variable,
        "shape": program.rank_of,
        "parameter": {p.name for p in program.parameters},
        "argument": (),
    }
    for node in (n for root in einsum.roots for n in ir.walk(root)):
        if isinstance(node, ir.Name) and node.name not in known[node.kind]:
            hint = did_you_mean(node.name, known[node.kind])
            yield Problem(f"unknown {node.kind} '{node.name}'", node.span, hint)
        for term in node.terms if isinstance(node, ir.Affine) else ():
            used = [(name, "shape") for name in term.shapes]
            used += [(term.variable, "variable")] if term.variable else []
            for name, kind in used:
                if name not in known[kind]:
                    what = f"unknown rank '{name}' in an index"
                    yield Problem(what, node.span, did_you_mean(name, known[kind]))


def _mixed(program: ir.Program, einsum: ir.Einsum) -> Iterator[Problem]:
    """Yield problems of Einsums that use a rank and its members as independent indices."""
    for rank in program.ranks:
        if rank.partition and rank.variable in einsum.variables:
            members = [m.lower() for m in rank.partition if m.lower() in einsum.variables]
            if members:
                what = f"'{rank.variable}' and {_listed(tuple(members))} walk rank '{rank.name}'"
                hint = f"in one Einsum use {rank.variable} or {family_text(program, rank.name)}"
                yield Problem(f"{what} independently of one another", einsum.target.span, hint)


def family_text(program: ir.Program, family: str) -> str:
    """Return the index of a partitioned rank by its members, as text: ``m1*M0 + m0``."""
    members = program.rank_of[family].partition
    terms = ["*".join([m.lower(), *members[i + 1 :]]) for i, m in enumerate(members)]
    return " + ".join(terms)


def _reduction(
    program: ir.Program, einsum: ir.Einsum, spoiled: frozenset[str]
) -> Iterator[Problem]:
    known = (*REDUCTIONS, *(r.name for r in program.reductions))
    if einsum.reduction not in known and einsum.reduction not in spoiled:
        what = f"unknown reduction '{einsum.reduction}'"
        yield Problem(what, einsum.target.span, did_you_mean(einsum.reduction, known))
    right = ir.variables_of(einsum.expression)
    missing = tuple(v for v in right if v not in einsum.target.variables)
    if einsum.over != missing:
        what = f"'{einsum.name}' reduces over {_listed(einsum.over)}, not {_listed(missing)}"
        yield Problem(what, einsum.target.span)
    elif not missing and einsum.reduction != "+":
        what = f"'{einsum.name}' reduces nothing by '{einsum.reduction}'"
        yield Problem(what, einsum.target.span)
    for variable in ir.variables_of(einsum.where):
        if variable not in right and variable not in einsum.target.variables:
            what = f"'{variable}' stands only in the condition of '{einsum.name}'"
            span = einsum.where.span if einsum.where is not None else None
            yield Problem(what, span, "it must be an index of the equation")
    if einsum.select is not None:
        yield from _selection(einsum)


def _listed(variables: tuple[str, ...]) -> str:
    return ", ".join(f"'{v}'" for v in variables) if variables else "nothing"


def _selection(einsum: ir.Einsum) -> Iterator[Problem]:
    span = einsum.target.span
    if einsum.select not in SELECTIONS:
        hint = did_you_mean(einsum.select or "", SELECTIONS)
        yield Problem(f"'{einsum.select}' is not a selection", span, hint)
    if not isinstance(einsum.expression, ir.Access):
        yield Problem("a selection selects from a tensor", span)
        return
    if len(einsum.over) != 1:
        yield Problem(f"a selection is over one rank, not {_listed(einsum.over)}", span)
    free = [v for v in einsum.target.variables if v not in einsum.expression.variables]
    if len(free) != 1:
        yield Problem(f"a selection adds one variable, not {_listed(tuple(free))}", span)


# ------------------------------------------------------------------------- targets


def _target(program: ir.Program, einsum: ir.Einsum) -> Iterator[Problem]:
    seen: set[str] = set()
    for index in einsum.target.indices:
        if isinstance(index, ir.Gather):
            yield from _scatter(program, einsum, index)
            continue
        for variable in index.variables:
            if variable in seen:
                yield Problem(f"'{variable}' indexes '{einsum.name}' twice on the left", index.span)
            seen.add(variable)
        if index.as_variable or index.offset == 1 or family_of(program, index):
            continue
        if not index.variables:
            what = f"'{einsum.name}' is written at one coordinate only"
            yield Problem(what, index.span, "coordinate 0 of an iterative tensor belongs to init")
        else:
            hint = "write a rank variable, or v+1 for an iterative tensor"
            yield Problem(f"'{einsum.name}' cannot be written at this index", index.span, hint)


def _scatter(program: ir.Program, einsum: ir.Einsum, index: ir.Gather) -> Iterator[Problem]:
    """Yield problems of a scattered result ``C[I[j], e] = ...``, in any of its indices."""
    name, written = index.access.tensor, f"'{einsum.name}'"
    if not index.plain or any(isinstance(i, ir.Gather) for i in index.access.indices):
        what = f"{written} is scattered by elements of '{name}' as they are, without arithmetic"
        yield Problem(what, index.span, "compute the positions beforehand, or cut the rank")
    if len(einsum.scattered) > 1:
        yield Problem(f"{written} is scattered along more than one rank", index.span)
    if einsum.name in program.iterative or einsum.select is not None:
        what = f"a running or selected result like {written} cannot be scattered"
        yield Problem(what, index.span)
    if wrong := _no_coordinates(program, index):
        yield wrong
        return
    rank = program.scatters_along(index)
    if rank is None:
        hint = f"say so by 'domains: {{{name}: 0..N-1}}', N the rank"
        what = f"nothing tells how long {written} is where '{name}' points"
        yield Problem(what, index.span, hint)
    elif rank.lower() in einsum.variables:
        what = f"'{rank.lower()}' walks the rank along which {written} is scattered"
        yield Problem(what, index.span, "give the positions on the right a rank of their own")


def _init_target(program: ir.Program, einsum: ir.Einsum) -> Iterator[Problem]:
    writer = program.einsum_of.get(einsum.name)
    if writer is None or einsum.name not in program.iterative:
        return
    wanted = writer.target.indices
    if len(einsum.target.indices) != len(wanted):
        what = f"'{einsum.name}' has {len(wanted)} indices, not {len(einsum.target.indices)}"
        yield Problem(what, einsum.target.span)
        return
    starts = 0
    for index, other in zip(einsum.target.indices, wanted, strict=True):
        is_zero = isinstance(index, ir.Affine) and not index.terms
        iterates = isinstance(other, ir.Affine) and other.offset == 1
        starts += is_zero and iterates
        same = isinstance(index, ir.Affine) and index.as_variable in other.variables
        if not same and not (is_zero and iterates):
            right = "0" if iterates else " ".join(other.variables) or "the same index"
            yield Problem(f"init of '{einsum.name}' must have '{right}' here", index.span)
    if not starts:
        yield Problem(f"init of '{einsum.name}' sets no coordinate 0", einsum.target.span)


def family_of(program: ir.Program, index: ir.Index) -> str | None:
    """Return the rank ``M`` if an index is ``m1*M0 + m0`` over all its members, else None."""
    if not isinstance(index, ir.Affine) or len(index.terms) < 2:
        return None
    first = program.rank_of_variable.get(index.terms[0].variable or "")
    family = program.rank_of[first].family if first else None
    if family is None or family not in program.rank_of:
        return None
    members = program.rank_of[family].partition
    return family if {*linear(index).terms} == {*digits(members).terms} else None


# ------------------------------------------------------------------------- reads


def _read(
    program: ir.Program, access: ir.Access, guarded: bool, spoiled: frozenset[str]
) -> Iterator[Problem]:
    ranks = program.tensor_ranks.get(access.tensor)
    if ranks is None:
        if access.tensor not in spoiled:
            hint = did_you_mean(access.tensor, program.tensor_ranks)
            what = f"'{access.tensor}' is neither an input nor written by an Einsum"
            yield Problem(what, access.span, hint)
        return
    if len(ranks) != len(access.indices):
        shape = f"[{', '.join(r.lower() for r in ranks)}]" if ranks else ", a rank-zero tensor"
        count = len(access.indices)
        what = f"'{access.tensor}' is read with {count} ind{'ex' if count == 1 else 'ices'}"
        yield Problem(what, access.span, f"it is {access.tensor}{shape}")
        return
    for rank, index in zip(ranks, access.indices, strict=True):
        if isinstance(index, ir.Gather):
            if wrong := _no_coordinates(program, index):
                yield wrong
        elif misread := _misread(program, access.tensor, rank, index, guarded):
            yield Problem(misread[0], index.span, misread[1])


def _no_coordinates(program: ir.Program, index: ir.Gather) -> Problem | None:
    """Return a problem if the tensor of a gathered index holds no coordinates, else None."""
    writer = program.einsum_of.get(index.access.tensor)
    if writer is None or writer.select is not None:
        return None
    hint = "an input of whole numbers, or the result of '<< topk(...)'"
    return Problem(f"'{index.access.tensor}' does not hold coordinates", index.span, hint)


def _misread(
    program: ir.Program, tensor: str, expected: str, index: ir.Affine, guarded: bool
) -> tuple[str, str | None] | None:
    """Return a message and a hint if an index does not fit the rank it stands for, else None."""
    # An iterative tensor has one more coordinate: the state before the first step.
    last = 1 if expected in program.iterative.get(tensor, ()) else 0
    if not index.variables:
        return _constant(tensor, expected, index, last)
    offset = index.offset
    if offset is None:
        family = family_of(program, index)
        if family in (None, expected) or program.share_shape(family or "", expected):
            return None
        return f"this index walks '{family}', but '{expected}' is expected", None
    found = program.rank_of_variable.get(index.variables[0])
    if found is None:
        return None
    if found != expected and not program.share_shape(found, expected):
        message = (
            f"'{index.variables[0]}' walks rank '{found}', but '{tensor}' has '{expected}' here"
        )
        rank = program.rank_of.get(expected)
        if rank is None:
            return message, None
        is_member = found in rank.partition
        return message, f"write {family_text(program, rank.name) if is_member else rank.variable}"
    if guarded or 0 <= offset <= last:
        return None
    side = "before the start" if offset < 0 else "beyond the end"
    hint = "restrict the equation by 'where', or read another coordinate"
    return f"this reads {side} of '{tensor}' along '{expected}'", hint


def _constant(
    tensor: str, expected: str, index: ir.Affine, last: int
) -> tuple[str, str | None] | None:
    shapes = {s for t in index.terms for s in t.shapes}
    if not shapes:
        return ("a coordinate cannot be negative", None) if index.constant < 0 else None
    if shapes == {expected} and len(index.terms) == 1 and index.terms[0].coefficient == 1:
        hint = f"its last coordinate is {expected}-1"
        return None if last else (f"coordinate {expected} is beyond the end of '{tensor}'", hint)
    if len(shapes) == 1 and shapes != {expected}:
        return f"shape '{min(shapes)}' indexes rank '{expected}' of '{tensor}'", None
    return None
