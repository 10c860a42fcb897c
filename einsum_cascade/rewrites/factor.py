"""``defer_division`` and ``separate``: factors that are equal for all summands leave a sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..algebra.conditions import Masks
from ..algebra.products import ProductPart, is_worth_moving, parts_of, product, size_of, total
from ..algebra.sweeps import readable_map
from ..algebra.sympy_bridge import Bridge, expand_products, positive_tensors, render
from ..algebra.terms import (
    Names,
    drop_unread,
    product_name,
    replace_accesses,
    replace_einsum,
    settled,
    variables_of,
)
from ..ir import Access, Binary, Einsum, Expression, Number, Program, Unary
from ..libraries import sympy
from ..notation import expression_text
from .base import Rewrite, RewriteStep, einsum_named, refuse, step


@dataclass(frozen=True)
class Factor(Rewrite):
    """Move factors that are free of the reduced ranks out of a reduction.

    Precondition: the Einsum is a sum, and a factor of its term (also inside a map that the term
    reads) has none of the reduced rank variables; or it is a max or min, and a summand of its term,
    or a factor that is proved positive, has none.

    Before -> after: ``A[m,p] = SN[m,p] / SD[p]; AV[p,f] = A[m,p] * V[m,f]`` becomes ``SNV[p,f] =
    SN[m,p] * V[m,f]; AV[p,f] = SNV[p,f] / SD[p]``. Without the name of an Einsum the rule is
    applied wherever possible.

    Source: Nayak et al., MICRO 2024, equations 31-32 (deferred division).
    """

    einsum: str | None = None
    name: ClassVar[str] = "defer_division"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return one step for each Einsum that gives up a factor."""
        if self.einsum is not None:
            einsum = einsum_named(program, self.einsum, self.name)
            found = factor_out(program, einsum, is_worth_moving)
            if found is None:
                raise refuse(self.name, _why_not(einsum), einsum)
            return (found,)
        steps: list[RewriteStep] = []
        moved = True
        while moved:
            # Restart at the first Einsum: a factor that left one may leave the next.
            moved = False
            for einsum in program.einsums:
                found = factor_out(program, einsum, is_worth_moving)
                if found is not None:
                    steps.append(found)
                    program, moved = found.after, True
                    break
        if not steps:
            raise refuse(self.name, "no reduction has a factor free of what it reduces")
        return tuple(steps)


def factor_out(
    program: Program, einsum: Einsum, wanted: Callable[[Expression], bool]
) -> RewriteStep | None:
    """Return the step that moves the wanted free parts out of one reduction, or None.

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
        return not variables_of(part) & over and wanted(part)

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
    if not any(variables_of(p.value) & over for p in inside):
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
    after = drop_unread(replace_einsum(program, einsum.name, (*new, outer)))
    text = ", ".join(expression_text(p.value) for p in outside)
    reason = f"{text} is free of {', '.join(einsum.over)}, so it leaves the {_verb(einsum)}"
    if not additive and einsum.reduction != "+":
        reason = reason.replace(" is free", " is positive and free")
    return step(f"{Factor.name}:{einsum.name}", program, after, reason)


def reduction_of(
    program: Program, einsum: Einsum, term: Expression
) -> tuple[Access, tuple[Einsum, ...]]:
    """Return an access to ``term`` reduced as in ``einsum``, by an existing Einsum or a new one.

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
    used = variables_of(term, einsum.where)
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
    factors = [p.value for p in _shallow(term)]
    base = product_name(factors) or _reduced_name(einsum, term)
    target = Access(Names(program).fresh(base), kept)
    return target, (settled(replace(einsum, target=target, expression=term)),)


def _reduced_name(einsum: Einsum, term: Expression) -> str:
    """Return ``SX`` for a sum of X, ``GX`` for its maximum or minimum, else ``N`` (numerator)."""
    if isinstance(term, Access):
        return f"{'S' if einsum.reduction == '+' else 'G'}{term.tensor}"
    return f"N{einsum.name}"


def _shallow(term: Expression) -> list[ProductPart]:
    """Return the factors of a term with powers repeated, without opening the operands."""
    match term:
        case Binary(operator="*", left=left, right=right):
            return [*_shallow(left), *_shallow(right)]
        case Binary(operator="**", left=left, right=Number(value=2)):
            return [ProductPart(left), ProductPart(left)]
        case _:
            return [ProductPart(term)]


def _verb(einsum: Einsum) -> str:
    return "sum" if einsum.reduction == "+" else einsum.reduction


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
        """Return one step."""
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
    """Return the step that separates one sum, or None if its term does not expand.

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
    expression = _written_out(program, einsum, einsum.expression, opened)
    terms = expand_products(bridge.to_sympy(expression))
    groups = _grouped(bridge, terms, frozenset(einsum.over))
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
    after = drop_unread(replace_einsum(before, einsum.name, (*new, outer)))
    text = f"{expression_text(expression)} = {render(bridge, sympy.Add(*terms))}"
    return step(f"{Separate.name}:{einsum.name}", before, after, text)


def _written_out(
    program: Program,
    einsum: Einsum,
    expression: Expression,
    opened: Callable[[Einsum], bool],
) -> Expression:
    """Return the term with arithmetic maps substituted; a bare function call stays a tensor."""

    def change(access: Access) -> Expression | None:
        source = program.einsum_of.get(access.tensor)
        if source is None or not isinstance(source.expression, Binary | Unary):
            return None
        body = readable_map(program, access, einsum) if opened(source) else None
        return None if body is None else _written_out(program, einsum, body, opened)

    return replace_accesses(expression, change)


def _grouped(bridge: Bridge, terms: tuple[Any, ...], over: frozenset[str]) -> list[tuple[Any, Any]]:
    """Return pairs (summand, factor of its sum), one for each distinct summand."""
    groups: dict[Any, Any] = {}
    for term in terms:
        inside, outside = sympy.Integer(1), sympy.Integer(1)
        for factor in sympy.Mul.make_args(term):
            if any(variables_of(n) & over for n in bridge.nodes(factor)):
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
    if set(einsum.over) - variables_of(term):
        # A rank that occurs only in the condition or another term is counted, not summed.
        return None
    if not masks.keeps_points(einsum, replace(einsum, expression=term)):
        return None
    return reduction_of(program, einsum, term)
