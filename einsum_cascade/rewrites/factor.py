"""``defer_division``, ``separate`` and ``reassociate``: rules that move factors out of sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import ir
from ..algebra import terms
from ..algebra.conditions import Masks
from ..algebra.products import (
    ProductPart,
    factors_of,
    is_worth_moving,
    parts_of,
    product,
    size_of,
    total,
)
from ..algebra.sweeps import inlined, readable_map
from ..algebra.sympy_bridge import (
    Bridge,
    expand_products,
    positive_tensors,
    render,
    symbol_text,
)
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
            found = factor_out(program, einsum, is_worth_moving)
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
    found = (factor_out(program, einsum, is_worth_moving) for einsum in program.einsums)
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
    bridge = Bridge(program, positive_tensors(program))

    def free_and_positive(part: Expression) -> bool:
        return free(part) and bool(bridge.to_sympy(part).is_positive)

    moved = _split(program, einsum, free, additive=True)
    return moved or _split(program, einsum, free_and_positive, additive=False)


def _split(
    program: Program, einsum: Einsum, free: Callable[[Expression], bool], *, additive: bool
) -> RewriteStep | None:
    over = frozenset(einsum.over)
    parts = parts_of(program, einsum, free, additive=additive)
    outside = [p for p in parts if free(p.value)]
    inside = [p for p in parts if not free(p.value)]
    if not outside:
        return None
    # If everything leaves, a sum of ones remains: the number of points, which a mask would change.
    if not any(terms.variables_of(p.value) & over for p in inside):
        if einsum.where is not None or einsum.reduction != "+":
            return None
        # The sum of c over m is M * c.
        counted = size_of(program, einsum.over)
        inner: Expression = product([*inside, ProductPart(counted)])
        new: tuple[Einsum, ...] = ()
    else:
        term = total(inside) if additive else product(inside)
        inner, new = reduction_of(program, einsum, term)
        # The factor that leaves may be the one whose mask removed points.
        summed = replace(einsum, expression=term)
        if not Masks(program).keeps_points(einsum, summed):
            return None
    build = total if additive else product
    outer = replace(einsum, expression=build(outside, inner), over=(), reduction="+", where=None)
    after = terms.replace_einsum(program, einsum.name, (*new, outer))
    text = ", ".join(expression_text(p.value) for p in outside)
    word = "sum" if einsum.reduction == "+" else einsum.reduction
    reason = f"{text} is free of {', '.join(einsum.over)}, so it leaves the {word}"
    if not additive and einsum.reduction != "+":
        reason = reason.replace(" is free", " is positive and free")
    return step(f"{Factor.name}:{einsum.name}", program, after, reason)


def reduction_of(
    program: Program, einsum: Einsum, term: Expression
) -> tuple[Access, tuple[Einsum, ...]]:
    """Return an access to ``term`` reduced as in ``einsum``, by an existing or a new Einsum.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum whose operator, variables and mask the reduction takes over.
    term : Expression

    Returns
    -------
    Access
        Access to the reduced term.
    tuple of Einsum
        New Einsum to place before ``einsum``; empty if one exists already.
    """
    used = terms.variables_of(term, einsum.where)
    kept = tuple(i for i in einsum.target.indices if set(i.variables) & used)
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
    parts = factors_of(term)
    # A square counts as two equal factors, and a quotient has no name.
    factors = [p.value for p in parts for _ in range(p.count)]
    joined = terms.product_name(factors) if all(p.count > 0 for p in parts) else None
    base = joined or _reduced_name(einsum, term)
    target = Access(terms.Names(program).fresh(base), kept)
    return target, (terms.settled(replace(einsum, target=target, expression=term)),)


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

        def opened(source: Einsum) -> bool:
            reads = source.reads
            return any(not set(a.variables) & over for a in reads)

        found = separated(program, einsum, opened)
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
    summands = expand_products(bridge.to_sympy(expression))
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
    text = f"{expression_text(expression)} = {render(bridge, sympy.Add(*summands))}"
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
        return None if masks.skipped(einsum) else (size_of(program, einsum.over), ())
    try:
        term = bridge.from_sympy(inside)
    except ValueError:
        return None
    if set(einsum.over) - terms.variables_of(term):
        # A rank that occurs only in the condition or another term is counted, not summed.
        return None
    if not masks.keeps_points(einsum, replace(einsum, expression=term)):
        return None
    return reduction_of(program, einsum, term)


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
            if isinstance(found, Objection):
                raise found.error
            return (found,)
        refusals = [refuse(self.name, "no Einsum sums over a sum of products it reads as a factor")]
        nearest = 0
        for einsum in program.einsums:
            found = attempt(program, einsum)
            if isinstance(found, RewriteStep):
                return (found,)
            if found.closeness >= max(nearest, 1):
                nearest = found.closeness
                refusals.append(found.error)
        raise refusals[-1]


@dataclass(frozen=True)
class Objection:
    """Error for an Einsum that cannot be reassociated.

    ``closeness`` is 2 for a chain of products, 1 if only a non-linear map prevents a chain, else 0.
    """

    error: RewriteError
    closeness: int = 2


def opened_sum(program: Program, einsum: Einsum) -> tuple[list[ProductPart], Einsum | None]:
    """Return the factors of a sum's term with one inner sum opened, and the opened sum or None.

    The first factor that is a sum of products is opened: its own factors take its place.
    """
    found: list[ProductPart] = []
    inner: Einsum | None = None
    for part in flat(program, einsum, einsum.expression, 1):
        source = summed(program, part)
        # Only one factor is opened; a variable that both sums have would be captured.
        if source is None or inner or set(source.over) & set(einsum.variables):
            found.append(part)
            continue
        assert isinstance(part.value, Access)
        body = terms.substitute_variables(source.expression, terms.at_access(source, part.value))
        found.extend(flat(program, source, body, 1))
        inner = source
    return found, inner


def attempt(program: Program, einsum: Einsum) -> RewriteStep | Objection:
    """Return the step that sums over the outer variables first, or the reason why none exists."""
    if einsum.reduction != "+" or not einsum.over or einsum.select:
        return Objection(refuse(Reassociate.name, "it is not a sum", einsum), closeness=0)
    factors, inner = opened_sum(program, einsum)
    if inner is None:
        reason = _no_chain(program, factors)
        closeness = int("linear" in reason)
        return Objection(refuse(Reassociate.name, reason, einsum), closeness)
    outer = frozenset(einsum.over)
    masks = Masks(program)
    if masks.skipped(einsum) or masks.skipped(inner):
        reason = (
            f"a mask ties {', '.join(sorted(outer))} to other ranks, so what is summed "
            "first is not the same for all of them"
        )
        hint = "for a causal mask m <= p the rule 'chunk' splits the mask first"
        return Objection(refuse(Reassociate.name, reason, einsum, hint))
    # QK[p, m] * V[m, f] with QK substituted is Q[p, e] * K[m, e] * V[m, f]: K and V have the outer
    # m and are summed over it first; Q and the sum over e come after.
    first = [p for p in factors if terms.variables_of(p.value) & outer]
    rest = [p for p in factors if not terms.variables_of(p.value) & outer]
    if not terms.variables_of(*(p.value for p in rest)) & set(inner.over):
        reason = f"every factor carries {', '.join(sorted(outer))}: there is nothing to sum later"
        return Objection(refuse(Reassociate.name, reason, einsum))
    read, new = inner_sum(program, einsum, first, outer)
    whole = Binary("*", product(rest), read)
    outer_sum = terms.settled(replace(einsum, expression=whole))
    after = terms.replace_einsum(program, einsum.name, (new, outer_sum))
    names = ", ".join(_text(p.value) for p in first)
    reason = (
        f"the sums over {', '.join(inner.over)} and {', '.join(einsum.over)} commute, and "
        f"only {names} carry {', '.join(einsum.over)}"
    )
    return step(f"{Reassociate.name}:{einsum.name}", program, after, reason)


def inner_sum(
    program: Program, einsum: Einsum, factors: Iterable[ProductPart], over: frozenset[str]
) -> tuple[Access, Einsum]:
    """Return an Einsum that sums the product of ``factors`` over some variables.

    Parameters
    ----------
    program : Program
        Program in which the new name must be free.
    einsum : Einsum
        Einsum whose span the new one takes.
    factors : iterable of ProductPart
    over : frozenset of str
        Variables to sum over.

    Returns
    -------
    Access
        Access to the sum.
    Einsum
        Sum, indexed by the remaining variables in the order of the factors.
    """
    factors = tuple(factors)
    term = product(factors)
    order = [v for p in factors for v in ir.variables_of(p.value)]
    kept = [v for v in dict.fromkeys(order) if v not in over]
    name = terms.product_name(p.value for p in factors) or f"N{einsum.name}"
    target = Access(terms.Names(program).fresh(name), tuple(terms.variable(v) for v in kept))
    return target, terms.settled(Einsum(target, term, span=einsum.span))


def flat(program: Program, einsum: Einsum, expression: Expression, count: int) -> list[ProductPart]:
    """Return the factors of a product; a map that is a product gives its own factors.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum that contains the product; maps with another mask stay closed.
    expression : Expression
    count : int
        Power of the product: 1 at the top, -1 below a division.
    """
    match expression:
        case Binary(operator="*" | "/" as operator, left=left, right=right):
            below = count if operator == "*" else -count
            return [*flat(program, einsum, left, count), *flat(program, einsum, right, below)]
        case Access():
            source = program.einsum_of.get(expression.tensor)
            if source is not None and isinstance(source.expression, Binary | Access):
                body = readable_map(program, expression, einsum)
                is_product = isinstance(body, Access) or (
                    isinstance(body, Binary) and body.operator in ("*", "/")
                )
                if body is not None and is_product:
                    return flat(program, einsum, body, count)
    return [ProductPart(expression, count)]


def summed(program: Program, part: ProductPart) -> Einsum | None:
    """Return the Einsum behind a factor if it is a sum of products, else None."""
    if part.count != 1 or not isinstance(part.value, Access):
        return None
    source = program.einsum_of.get(part.value.tensor)
    if source is None or source.name in program.iterative or not source.over:
        return None
    is_product = isinstance(source.expression, Binary) and source.expression.operator in "*/"
    if source.reduction != "+" or source.select or not is_product:
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
        return symbol_text(value)
    return "a factor" if not isinstance(value, Number | Unary) else "a number"
