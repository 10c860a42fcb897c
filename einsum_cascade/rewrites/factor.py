"""``defer_division``, ``separate`` and ``reassociate``: rules that move factors out of sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import ir
from ..algebra import products, sympy_bridge, terms
from ..algebra.conditions import Masks
from ..algebra.products import ProductPart
from ..algebra.sweeps import inlined
from ..algebra.sympy_bridge import Bridge
from ..errors import RewriteError
from ..ir import Access, Binary, Call, Einsum, Expression, Number, Program, Unary, accesses_of
from ..libraries import sympy
from ..notation import expression_text
from .base import Rewrite, RewriteStep, einsum_named, refuse, step


@dataclass(frozen=True)
class Factor(Rewrite):
    """Move factors out of a reduction if they do not depend on its reduced ranks.

    Precondition: the Einsum is a sum, and a factor of its term (also inside a map that the term
    reads) has none of the reduced rank variables. Or the Einsum is a max or min, and a summand of
    its term, or a factor that is proved positive, has none.

    Before -> after: ``A[m,p] = SN[m,p] / SD[p]; AV[p,f] = A[m,p] * V[m,f]`` becomes ``SNV[p,f] =
    SN[m,p] * V[m,f]; AV[p,f] = SNV[p,f] / SD[p]``. Without the name of an Einsum the rule is
    applied wherever possible.

    Source: Nayak et al., MICRO 2024, equations 31-32 (deferred division).
    """

    einsum: str | None = None
    name: ClassVar[str] = "defer_division"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return one step for each Einsum that a factor can leave."""
        if self.einsum is not None:
            einsum = einsum_named(program, self.einsum, self.name)
            found = factor_out(program, einsum, products.is_worth_moving)
            if found is None:
                raise refuse(self.name, _why_not(einsum), einsum)
            return (found,)
        steps: list[RewriteStep] = []
        # Restart at the first Einsum: a factor that left one may leave the next.
        while found := _first_factored(program):
            steps.append(found)
            program = found.after
        if not steps:
            raise refuse(self.name, "no reduction has a factor free of what it reduces")
        return tuple(steps)


def _first_factored(program: Program) -> RewriteStep | None:
    found = (factor_out(program, einsum, products.is_worth_moving) for einsum in program.einsums)
    return next(filter(None, found), None)


def factor_out(
    program: Program, einsum: Einsum, wanted: Callable[[Expression], bool]
) -> RewriteStep | None:
    """Return the step that moves parts without reduced variables out of a reduction, or None.

    Factors leave a sum; summands and positive factors leave a max or min.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Reduction.
    wanted : callable
        Predicate on parts without reduced variables: whether the part is to leave.
    """
    if not einsum.over or einsum.select or einsum.reduction not in ("+", "max", "min"):
        return None
    over = frozenset(einsum.over)

    def free(part: Expression) -> bool:
        return not terms.variables_of(part) & over and wanted(part)

    if einsum.reduction == "+":
        return _split(program, einsum, free, additive=False)
    bridge = Bridge(program, sympy_bridge.positive_tensors(program))

    def free_and_positive(part: Expression) -> bool:
        return free(part) and bool(bridge.to_sympy(part).is_positive)

    moved = _split(program, einsum, free, additive=True)
    return moved or _split(program, einsum, free_and_positive, additive=False)


def _split(
    program: Program, einsum: Einsum, free: Callable[[Expression], bool], *, additive: bool
) -> RewriteStep | None:
    over = frozenset(einsum.over)

    def opens(access: Access, inner: Sequence[ProductPart]) -> bool:
        return not free(access) and any(free(p.value) for p in inner)

    parts = products.parts_of(program, einsum, opens, additive=additive)
    outside = [p for p in parts if free(p.value)]
    inside = [p for p in parts if not free(p.value)]
    if not outside:
        return None
    # If everything leaves, a sum of ones remains: the number of points, which a mask would change.
    if not any(terms.variables_of(p.value) & over for p in inside):
        if einsum.where is not None or einsum.reduction != "+":
            return None
        # The sum of c over m is M * c.
        counted = products.size_of(program, einsum.over)
        inner: Expression = products.product([*inside, ProductPart(counted)])
        new: tuple[Einsum, ...] = ()
    else:
        term = products.total(inside) if additive else products.product(inside)
        inner, new = reduction_of(program, einsum, term, _kept(einsum, term))
        # The factor that leaves may be the one whose mask removed points.
        summed = replace(einsum, expression=term)
        if not Masks(program).keeps_points(einsum, summed):
            return None
    build = products.total if additive else products.product
    outer = replace(einsum, expression=build(outside, inner), over=(), reduction="+", where=None)
    after = terms.replace_einsum(program, einsum.name, (*new, outer))
    text = ", ".join(expression_text(p.value) for p in outside)
    word = "sum" if einsum.reduction == "+" else einsum.reduction
    reason = f"{text} is free of {', '.join(einsum.over)}, so it leaves the {word}"
    if not additive and einsum.reduction != "+":
        reason = reason.replace(" is free", " is positive and free")
    return step(f"{Factor.name}:{einsum.name}", program, after, reason)


def reduction_of(
    program: Program, einsum: Einsum, term: Expression, kept: tuple[ir.Index, ...]
) -> tuple[Access, tuple[Einsum, ...]]:
    """Return an access to ``term`` reduced as in ``einsum``, by an existing or a new Einsum.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum whose operator, variables and mask the reduction takes over.
    term : Expression
    kept : tuple of Index
        Indices of the result.

    Returns
    -------
    Access
        Access to the reduced term.
    tuple of Einsum
        New Einsum to place before ``einsum``; empty if one exists already.
    """
    bridge = Bridge(program)
    wanted = bridge.to_sympy(term)
    for other in program.einsums:
        same = (
            set(other.over) == set(einsum.over)
            and other.reduction == einsum.reduction
            and other.where == einsum.where
            and other.select is None
            and other.name not in program.iterative
        )
        if same and other.name != einsum.name and bridge.to_sympy(other.expression) == wanted:
            return other.target, ()
    parts = products.factors_of(term)
    # A square counts as two equal factors, and a quotient has no name.
    factors = [p.value for p in parts for _ in range(p.count)]
    joined = terms.product_name(factors) if all(p.count > 0 for p in parts) else None
    base = joined or _reduced_name(einsum, term)
    target = Access(terms.Names(program).fresh(base), kept)
    return target, (terms.settled(replace(einsum, target=target, expression=term)),)


def _kept(einsum: Einsum, term: Expression) -> tuple[ir.Index, ...]:
    """Return the indices of an Einsum's target that a reduction of a term keeps."""
    used = terms.variables_of(term, einsum.where)
    return tuple(i for i in einsum.target.indices if set(i.variables) & used)


def _reduced_name(einsum: Einsum, term: Expression) -> str:
    """Return a name for a reduction: ``SX`` for a sum of X, ``GX`` for its maximum or minimum.

    The reduction of an expression gets the name of the Einsum with an ``N`` in front (numerator).
    """
    if isinstance(term, Access):
        return f"{'S' if einsum.reduction == '+' else 'G'}{term.tensor}"
    return f"N{einsum.name}"


def _why_not(einsum: Einsum) -> str:
    if not einsum.over:
        return "it reduces nothing"
    if einsum.select or einsum.reduction not in ("+", "max", "min"):
        return f"nothing can leave a '{einsum.select or einsum.reduction}'"
    kind = "factor" if einsum.reduction == "+" else "summand"
    return f"every {kind} of its term has one of the reduced variables {', '.join(einsum.over)}"


# ------------------------------------------------------------------ separating


@dataclass(frozen=True)
class Separate(Rewrite):
    """Split a sum whose term is a finite sum of products ``g_k(x) h_k(d)``.

    Precondition: the Einsum is a sum, and its term (with the maps it reads substituted) expands to
    two products or more with factors free of the reduced variables.

    Before -> after: ``C[d] = X[d] - MU; VAR = C[d] * C[d]`` becomes ``XX = X[d] * X[d]; VAR = XX -
    2 * MU * S + D * MU**2``, with ``S`` the existing sum of X. Exponentials are never split.

    Source: the two-moment form of a variance; expansion by sympy.
    """

    einsum: str
    name: ClassVar[str] = "separate"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return the rule's single step."""
        einsum = einsum_named(program, self.einsum, self.name)
        if not einsum.over or einsum.reduction != "+" or einsum.select:
            raise refuse(self.name, "it is not a sum", einsum)
        over = frozenset(einsum.over)
        found = separated(
            program, einsum, lambda source: any(over.isdisjoint(a.variables) for a in source.reads)
        )
        if found is None:
            raise refuse(
                self.name,
                "its term is not a finite sum of two or more products with a factor free of "
                f"{', '.join(einsum.over)}",
                einsum,
            )
        return (found,)


def separated(
    program: Program, einsum: Einsum, opened: Callable[[Einsum], bool], *, split_terms: bool = False
) -> RewriteStep | None:
    """Return the step that separates one sum, or None if the term of the sum does not expand.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    opened : callable
        Predicate on Einsums that are read: whether to substitute them.
    split_terms : bool
        Whether to split a sum of terms even if no factor leaves a sum.
    """
    if einsum.reduction != "+" or not einsum.over or einsum.select:
        return None
    bridge = Bridge(program)
    # A tensor of a function call stays.
    arithmetic = {
        e.name for e in program.einsums if isinstance(e.expression, Binary | Unary) and opened(e)
    }
    expression = inlined(program, einsum, einsum.expression, lambda a: a.tensor in arithmetic)
    summands = sympy_bridge.expand_products(bridge.to_sympy(expression))
    groups = _grouped(bridge, summands, frozenset(einsum.over))
    # (x - mu)**2: sums of x**2, of x with -2*mu outside, and of 1 with mu**2 outside.
    if len(groups) < 2 or not (split_terms or any(h != 1 for _, h in groups)):
        return None
    before = program
    new: list[Einsum] = []
    whole: Any = sympy.Integer(0)
    for inside, outside in groups:
        read = _reduced(bridge, program, einsum, inside)
        if read is None:
            return None
        value, added = read
        new.extend(added)
        if added:
            program = replace(program, einsums=(*program.einsums, *added))
        whole += bridge.to_sympy(value) * outside
    try:
        combined = bridge.from_sympy(sympy.expand(whole))
    except ValueError:
        return None
    outer = replace(einsum, expression=combined, over=(), reduction="+", where=None)
    after = terms.replace_einsum(before, einsum.name, (*new, outer))
    text = f"{expression_text(expression)} = {sympy_bridge.render(bridge, sympy.Add(*summands))}"
    return step(f"{Separate.name}:{einsum.name}", before, after, text)


def _grouped(
    bridge: Bridge, summands: tuple[Any, ...], over: frozenset[str]
) -> list[tuple[Any, Any]]:
    """Return each distinct summand with reduced variables, and the factor of its sum."""
    groups: dict[Any, Any] = {}
    for term in summands:
        inside, outside = sympy.Integer(1), sympy.Integer(1)
        for factor in sympy.Mul.make_args(term):
            if any(terms.variables_of(n) & over for n in bridge.nodes(factor)):
                inside *= factor
            else:
                outside *= factor
        groups[inside] = groups.get(inside, sympy.Integer(0)) + outside
    return [(g, h) for g, h in groups.items() if h != 0]


def _reduced(
    bridge: Bridge, program: Program, einsum: Einsum, inside: Any
) -> tuple[Expression, tuple[Einsum, ...]] | None:
    masks = Masks(program)
    if inside == 1:
        return None if masks.skipped(einsum) else (products.size_of(program, einsum.over), ())
    try:
        term = bridge.from_sympy(inside)
    except ValueError:
        return None
    if set(einsum.over) - terms.variables_of(term):
        # A rank that occurs only in the condition or another term is counted, not summed.
        return None
    if not masks.keeps_points(einsum, replace(einsum, expression=term)):
        return None
    return reduction_of(program, einsum, term, _kept(einsum, term))


# ------------------------------------------------------------------ reassociating


@dataclass(frozen=True)
class Reassociate(Rewrite):
    """Sum over the outer rank of two nested sums before the inner one.

    Precondition: the Einsum is a sum of products. One of its factors (read through product maps,
    nothing non-linear between) is another sum of products. The factors with the outer reduced
    variables can be summed over these variables separately. No mask couples the two sums.

    Before -> after: ``QK[p,m] = Q[p,e] * K[m,e]; O[p,f] = QK[p,m] * V[m,f]`` becomes ``KV[e,f] =
    K[m,e] * V[m,f]; O[p,f] = Q[p,e] * KV[e,f]``.

    Source: associativity of the matrix product; linear attention, Katharopoulos et al., arXiv
    2006.16236.
    """

    einsum: str | None = None
    name: ClassVar[str] = "reassociate"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return the single step, which rewrites the named Einsum or else the first one
        possible.
        """
        if self.einsum is not None:
            einsum = einsum_named(program, self.einsum, self.name)
            found = attempt(program, einsum)
            if not isinstance(found, RewriteStep):
                raise found[1]
            return (found,)
        refusals = [refuse(self.name, "no Einsum sums over a sum of products it reads as a factor")]
        nearest = 0
        for einsum in program.einsums:
            found = attempt(program, einsum)
            if isinstance(found, RewriteStep):
                return (found,)
            if found[0] >= max(nearest, 1):
                nearest = found[0]
                refusals.append(found[1])
        raise refusals[-1]


Objection = tuple[int, RewriteError]
"""Closeness to a chain of products, and the error for an Einsum that cannot be reassociated.

The closeness is 2 for a chain, 1 if only a non-linear map prevents one, else 0.
"""


def opened_sum(program: Program, einsum: Einsum) -> tuple[list[ProductPart], Einsum | None]:
    """Return the factors of a sum's term with one inner sum opened, and the opened sum or None.

    The first factor that is a sum of products is opened: its own factors take its place.
    """
    found: list[ProductPart] = []
    inner: Einsum | None = None
    for part in _factors(program, einsum):
        source = summed(program, part)
        # Only one factor is opened; a variable that both sums have would be captured.
        if source is None or inner or set(source.over) & set(einsum.variables):
            found.append(part)
            continue
        assert isinstance(part.value, Access)
        body = terms.substitute_variables(source.expression, terms.at_access(source, part.value))
        found.extend(_factors(program, replace(source, expression=body)))
        inner = source
    return found, inner


def attempt(program: Program, einsum: Einsum) -> RewriteStep | Objection:
    """Return the step that sums over the outer variables first, or the reason why none exists."""
    if einsum.reduction != "+" or not einsum.over or einsum.select:
        return 0, refuse(Reassociate.name, "it is not a sum", einsum)
    factors, inner = opened_sum(program, einsum)
    if inner is None:
        reason = _no_chain(program, factors)
        return int("linear" in reason), refuse(Reassociate.name, reason, einsum)
    outer = frozenset(einsum.over)
    masks = Masks(program)
    if masks.skipped(einsum) or masks.skipped(inner):
        reason = (
            f"a mask ties {', '.join(sorted(outer))} to other ranks, so what is summed "
            "first is not the same for all of them"
        )
        hint = "for a causal mask m <= p the rule 'chunk' splits the mask first"
        return 2, refuse(Reassociate.name, reason, einsum, hint)
    # QK[p, m] * V[m, f] with QK substituted is Q[p, e] * K[m, e] * V[m, f]: K and V have the outer
    # m and are summed over it first; Q and the sum over e come after.
    first = [p for p in factors if terms.variables_of(p.value) & outer]
    rest = [p for p in factors if not terms.variables_of(p.value) & outer]
    if not terms.variables_of(*(p.value for p in rest)) & set(inner.over):
        reason = f"every factor carries {', '.join(sorted(outer))}: there is nothing to sum later"
        return 2, refuse(Reassociate.name, reason, einsum)
    values = [p.value for p in first]
    kept = (terms.variable(v) for v in ir.variables_of(*values) if v not in outer)
    read, new = reduction_of(program, einsum, products.product(first), tuple(kept))
    whole = Binary("*", products.product(rest), read)
    outer_sum = terms.settled(replace(einsum, expression=whole))
    after = terms.replace_einsum(program, einsum.name, (*new, outer_sum))
    names = ", ".join(map(_text, values))
    reason = (
        f"the sums over {', '.join(inner.over)} and {', '.join(einsum.over)} commute, and "
        f"only {names} carry {', '.join(einsum.over)}"
    )
    return step(f"{Reassociate.name}:{einsum.name}", program, after, reason)


def _factors(program: Program, einsum: Einsum) -> tuple[ProductPart, ...]:
    """Return the factors of an Einsum's term; a map that is a product gives its own factors."""

    def opens(access: Access, inner: Sequence[ProductPart]) -> bool:
        del inner
        body = program.einsum_of[access.tensor].expression
        return isinstance(body, Access) or _is_product(body)

    return products.parts_of(program, einsum, opens)


def _is_product(expression: Expression) -> bool:
    return isinstance(expression, Binary) and expression.operator in ("*", "/")


def summed(program: Program, part: ProductPart) -> Einsum | None:
    """Return the Einsum behind a factor if it is a sum of products, else None."""
    if part.count != 1 or not isinstance(part.value, Access):
        return None
    source = program.einsum_of.get(part.value.tensor)
    if source is None or source.name in program.iterative or not source.over:
        return None
    if source.reduction != "+" or source.select or not _is_product(source.expression):
        return None
    return source if terms.target_variables(source) is not None else None


def _no_chain(program: Program, factors: Iterable[ProductPart]) -> str:
    """Return the reason why no factor is a sum of products, such as a non-linear map in between."""
    for part in factors:
        for access in accesses_of(part.value):
            source = program.einsum_of.get(access.tensor)
            if source is not None and not isinstance(source.expression, Access):
                kind = source.expression
                word = kind.function if isinstance(kind, Call) else "its expression"
                if not source.over:
                    return f"'{source.name}' is not linear in what it reads ({word})"
    return "no factor of its term is a sum of products"


def _text(value: Expression) -> str:
    if isinstance(value, Access):
        return sympy_bridge.symbol_text(value)
    return "a factor" if not isinstance(value, Number | Unary) else "a number"
