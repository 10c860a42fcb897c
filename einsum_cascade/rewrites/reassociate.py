"""``reassociate``: sum a chain of products in another order: (QK)V as Q(KV)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..algebra.conditions import Masks
from ..algebra.products import ProductPart, product
from ..algebra.sweeps import readable_map
from ..algebra.sympy_bridge import symbol_text
from ..algebra.terms import (
    Names,
    at_access,
    drop_unread,
    product_name,
    replace_einsum,
    settled,
    substitute_variables,
    target_variables,
    variable,
    variables_of,
)
from ..errors import RewriteError
from ..ir import Access, Binary, Call, Einsum, Expression, Number, Program, Unary, accesses_of
from ..ir import variables_of as ordered_variables
from .base import Rewrite, RewriteStep, einsum_named, refuse, step


@dataclass(frozen=True)
class Reassociate(Rewrite):
    """Sum over the outer rank before the inner one.

    Precondition: the Einsum is a sum of products and has a factor (read through product maps,
    nothing non-linear between) that is another sum of products; the factors with the outer reduced
    variables can be summed over them separately; no mask couples the two.

    Before -> after: ``QK[p,m] = Q[p,e] * K[m,e]; O[p,f] = QK[p,m] * V[m,f]`` becomes
    ``KV[e,f] = K[m,e] * V[m,f]; O[p,f] = Q[p,e] * KV[e,f]``.

    Source: associativity of the matrix product; linear attention, Katharopoulos et al., arXiv
    2006.16236.
    """

    einsum: str | None = None
    name: ClassVar[str] = "reassociate"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return one step, at the named Einsum or at the first possible one."""
        if self.einsum is not None:
            einsum = einsum_named(program, self.einsum, self.name)
            found = attempt(program, einsum)
            if isinstance(found, Objection):
                raise found.error(einsum)
            return (found,)
        refusals: list[tuple[Einsum, Objection]] = []
        for einsum in program.einsums:
            found = attempt(program, einsum)
            if isinstance(found, RewriteStep):
                return (found,)
            refusals.append((einsum, found))
        close = [r for r in refusals if r[1].is_chain] or [r for r in refusals if r[1].is_near]
        if close:
            einsum, objection = close[-1]
            raise objection.error(einsum)
        raise refuse(self.name, "no Einsum sums over a sum of products it reads as a factor")


@dataclass(frozen=True)
class Objection:
    """Reason why an Einsum cannot be reassociated.

    ``is_chain`` is True if it is a chain of products; ``is_near`` if only a map in between prevents
    it.
    """

    condition: str
    hint: str | None = None
    is_chain: bool = True
    is_near: bool = False

    def error(self, einsum: Einsum) -> RewriteError:
        """Return the error with this reason."""
        return refuse(Reassociate.name, self.condition, einsum, self.hint)


def opened_sum(program: Program, einsum: Einsum) -> tuple[list[ProductPart], Einsum | None]:
    """Return the factors of a sum's term, and the sum that one of them was.

    The first factor that is a sum of products is opened: its factors take its place.
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
        body = substitute_variables(source.expression, at_access(source, part.value))
        found.extend(flat(program, source, body, 1))
        inner = source
    return found, inner


def attempt(program: Program, einsum: Einsum) -> RewriteStep | Objection:
    """Return the step that sums over the outer variables first, or an objection."""
    if einsum.reduction != "+" or not einsum.over or einsum.select:
        return Objection("it is not a sum", is_chain=False)
    factors, inner = opened_sum(program, einsum)
    if inner is None:
        reason = _why_not(program, factors)
        return Objection(reason, is_chain=False, is_near="linear" in reason)
    outer = frozenset(einsum.over)
    masks = Masks(program)
    if masks.skipped(einsum) or masks.skipped(inner):
        return Objection(
            f"a mask ties {', '.join(sorted(outer))} to other ranks, so what is summed "
            "first is not the same for all of them",
            "for a causal mask m <= p the rule 'chunk' splits the mask first",
        )
    # QK[p, m] * V[m, f] with QK substituted is Q[p, e] * K[m, e] * V[m, f]: K and V have the outer
    # m and are summed over it first; Q and the sum over e come after.
    first = [p for p in factors if variables_of(p.value) & outer]
    rest = [p for p in factors if not variables_of(p.value) & outer]
    if not variables_of(*(p.value for p in rest)) & set(inner.over):
        return Objection(
            f"every factor carries {', '.join(sorted(outer))}: there is nothing to sum later"
        )
    read, new = inner_sum(program, einsum, first, outer)
    whole = Binary("*", product(rest), read)
    after = drop_unread(
        replace_einsum(program, einsum.name, (new, settled(replace(einsum, expression=whole))))
    )
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
    order = [v for p in factors for v in ordered_variables(p.value)]
    kept = [v for v in dict.fromkeys(order) if v not in over]
    name = product_name(p.value for p in factors) or f"N{einsum.name}"
    target = Access(Names(program).fresh(name), tuple(variable(v) for v in kept))
    return target, settled(Einsum(target, term, span=einsum.span))


def flat(program: Program, einsum: Einsum, expression: Expression, count: int) -> list[ProductPart]:
    """Return the factors of a product, with product maps opened.

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
    """Return the sum of products that a factor reads, or None."""
    if part.count != 1 or not isinstance(part.value, Access):
        return None
    source = program.einsum_of.get(part.value.tensor)
    if source is None or source.name in program.iterative or not source.over:
        return None
    is_product = isinstance(source.expression, Binary) and source.expression.operator in "*/"
    if source.reduction != "+" or source.select or not is_product:
        return None
    return source if target_variables(source) is not None else None


def _why_not(program: Program, factors: Iterable[ProductPart]) -> str:
    """Return why no factor is a sum of products; names a non-linear map in between."""
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
