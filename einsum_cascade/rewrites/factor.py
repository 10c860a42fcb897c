"""``defer_division``: a factor that is equal for all summands leaves the sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..algebra.conditions import Masks
from ..algebra.sympy_bridge import Bridge, positive_tensors
from ..algebra.terms import Names, drop_unread, product_name, replace_einsum, settled, variables_of
from ..ir import Access, Binary, Einsum, Expression, Number, Program
from ..notation.printer import expression_text
from .base import Rewrite, RewriteStep, einsum_named, refuse, step
from .products import ProductPart, is_worth_moving, parts_of, product, size_of, total


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

    def __str__(self) -> str:
        return f"{self.name}:{self.einsum}" if self.einsum else self.name

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
