"""Verifier, equations one by one: indices fit their ranks, reductions their variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import ir
from ..affine import digits, linear
from ..errors import Problem, did_you_mean
from ..functions import REDUCTIONS, SELECTIONS
from .names import call_problems


@dataclass(frozen=True)
class _Place:
    """An index at a position of a tensor, inside an Einsum."""

    program: ir.Program
    einsum: ir.Einsum
    tensor: str
    rank: str
    index: ir.Index
    guarded: bool

    def problem(self, message: str, hint: str | None = None) -> Problem:
        """A problem at this index."""
        return Problem(message, self.index.span, hint)


def index_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Problems of every statement taken by itself."""
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
    roots = [einsum.expression] if einsum.where is None else [einsum.expression, einsum.where]
    for root in roots:
        yield from call_problems(program, root, spoiled)
    # Whether a guard keeps every read inside depends on shapes: that is seen when it is evaluated.
    guards = {a for n in ir.walk(einsum.expression) if _is_where(n) for a in ir.walk(n)}
    for access in einsum.reads:
        guarded = einsum.where is not None or access in guards
        yield from _read(program, einsum, access, guarded, spoiled)


def _is_where(node: ir.Node) -> bool:
    return isinstance(node, ir.Call) and node.function == "where"


# ------------------------------------------------------------------------- names


def _names(program: ir.Program, einsum: ir.Einsum) -> Iterator[Problem]:
    """Names the parser resolves; a program built by a rewrite is held to the same."""
    parameters = {p.name for p in program.parameters}
    known = {
        "variable": set(program.rank_of_variable),
        "shape": set(program.rank_of),
        "parameter": parameters,
    }
    roots = [n for n in (einsum.target, einsum.expression, einsum.where) if n is not None]
    for node in (n for root in roots for n in ir.walk(root)):
        if isinstance(node, ir.Name) and node.name not in known.get(node.kind, ()):
            hint = did_you_mean(node.name, known.get(node.kind, ()))
            yield Problem(f"unknown {node.kind} '{node.name}'", node.span, hint)
        if isinstance(node, ir.Affine):
            for term in node.terms:
                for name in (*term.shapes, *(() if term.variable is None else (term.variable,))):
                    pool = known["variable"] if name == term.variable else known["shape"]
                    if name not in pool:
                        what = f"unknown rank '{name}' in an index"
                        yield Problem(what, term.span, did_you_mean(name, pool))


def _mixed(program: ir.Program, einsum: ir.Einsum) -> Iterator[Problem]:
    """A family and its members walk one rank twice over, independently."""
    for rank in program.ranks:
        if rank.partition and rank.variable in einsum.variables:
            members = [m.lower() for m in rank.partition if m.lower() in einsum.variables]
            if members:
                what = f"'{rank.variable}' and {_listed(tuple(members))} walk rank '{rank.name}'"
                hint = f"in one Einsum use {rank.variable} or {family_text(program, rank.name)}"
                yield Problem(f"{what} independently of one another", einsum.target.span, hint)


def family_text(program: ir.Program, family: str) -> str:
    """The index of a whole family by its members: ``m1*M0 + m0``."""
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
        yield Problem(
            f"'{einsum.name}' reduces nothing by '{einsum.reduction}'", einsum.target.span
        )
    if einsum.where is not None:
        for variable in ir.variables_of(einsum.where):
            if variable not in right and variable not in einsum.target.variables:
                what = f"'{variable}' stands only in the condition of '{einsum.name}'"
                yield Problem(what, einsum.where.span, "it must be an index of the equation")
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
        what = f"a selection is over one rank, not {_listed(einsum.over)}"
        yield Problem(what, span)
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
                what = f"'{variable}' indexes '{einsum.name}' twice on the left"
                yield Problem(what, index.span)
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
    """``C[I[j], e] = ...``: where the positions come from, and what else indexes the result."""
    name, written = index.access.tensor, f"'{einsum.name}'"
    if not index.plain or any(isinstance(i, ir.Gather) for i in index.access.indices):
        what = f"{written} is scattered by elements of '{name}' as they are, without arithmetic"
        yield Problem(what, index.span, "compute the positions beforehand, or cut the rank")
    if len(einsum.scattered) > 1:
        yield Problem(f"{written} is scattered along more than one rank", index.span)
    if einsum.name in program.iterative or einsum.select is not None:
        yield Problem(
            f"a running or selected result like {written} cannot be scattered", index.span
        )
    writer = program.einsum_of.get(name)
    if writer is not None and writer.select is None:
        hint = "an input of whole numbers, or the result of '<< topk(...)'"
        yield Problem(f"'{name}' does not hold coordinates", index.span, hint)
        return
    rank = program.scatters_along(index)
    if rank is None:
        hint = f"say so by 'domains: {{{name}: 0..N-1}}', N the rank"
        yield Problem(
            f"nothing tells how long {written} is where '{name}' points", index.span, hint
        )
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
            what = f"init of '{einsum.name}' must have '{right}' here"
            yield Problem(what, index.span)
    if not starts:
        yield Problem(f"init of '{einsum.name}' sets no coordinate 0", einsum.target.span)


def family_of(program: ir.Program, index: ir.Index) -> str | None:
    """The family ``M`` if an index is exactly ``m1*M0 + m0`` over all its members."""
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
    program: ir.Program,
    einsum: ir.Einsum,
    access: ir.Access,
    guarded: bool,
    spoiled: frozenset[str],
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
        place = _Place(program, einsum, access.tensor, rank, index, guarded)
        if isinstance(index, ir.Gather):
            yield from _gather(place, index)
        else:
            yield from _affine(place, index)


def _gather(place: _Place, index: ir.Gather) -> Iterator[Problem]:
    name = index.access.tensor
    writer = place.program.einsum_of.get(name)
    if writer is not None and writer.select is None:
        hint = "an input of whole numbers, or the result of '<< topk(...)'"
        yield place.problem(f"'{name}' does not hold coordinates", hint)


def _affine(place: _Place, index: ir.Affine) -> Iterator[Problem]:
    if not index.variables:
        yield from _constant(place, index)
        return
    offset = index.offset
    if offset is None:
        family = family_of(place.program, index)
        apart = family not in (None, place.rank)
        if apart and not place.program.alike(family or "", place.rank):
            yield place.problem(f"this index walks '{family}', but '{place.rank}' is expected")
        return
    found = place.program.rank_of_variable.get(index.variables[0])
    if found is None:
        return
    if found != place.rank and not place.program.alike(found, place.rank):
        yield place.problem(
            f"'{index.variables[0]}' walks rank '{found}', but '{place.tensor}' has "
            f"'{place.rank}' here",
            _rank_hint(place, found),
        )
        return
    iterative = place.rank in place.program.iterative.get(place.tensor, ())
    # An iterative tensor has one coordinate more, the state before the first step.
    last = 1 if iterative else 0
    if not place.guarded and not 0 <= offset <= last:
        what = f"this reads beyond the end of '{place.tensor}' along '{place.rank}'"
        if offset < 0:
            what = f"this reads before the start of '{place.tensor}' along '{place.rank}'"
        yield place.problem(what, "restrict the equation by 'where', or read another coordinate")


def _rank_hint(place: _Place, found: str) -> str | None:
    rank = place.program.rank_of.get(place.rank)
    if rank is None:
        return None
    if found in rank.partition:
        return f"write {family_text(place.program, rank.name)}"
    return f"write {rank.variable}"


def _constant(place: _Place, index: ir.Affine) -> Iterator[Problem]:
    iterative = place.rank in place.program.iterative.get(place.tensor, ())
    shapes = {s for t in index.terms for s in t.shapes}
    value = sum(t.coefficient for t in index.terms if not t.shapes)
    if not shapes:
        if value < 0:
            yield place.problem("a coordinate cannot be negative")
        return
    if shapes == {place.rank} and len(index.terms) == 1 and index.terms[0].coefficient == 1:
        if not iterative:
            what = f"coordinate {place.rank} is beyond the end of '{place.tensor}'"
            yield place.problem(what, f"its last coordinate is {place.rank}-1")
        return
    if len(shapes) == 1 and shapes != {place.rank}:
        other = next(iter(shapes))
        yield place.problem(f"shape '{other}' indexes rank '{place.rank}' of '{place.tensor}'")
