"""``reassociate``: sum a chain of products in another order: (QK)V as Q(KV)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..algebra.conditions import Masks
from ..algebra.sweeps import readable_map
from ..algebra.sympy_bridge import symbol_text
from ..algebra.terms import (
    Names,
    accesses_of,
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
from ..ir import Access, Binary, Call, Einsum, Expression, Number, Program, Unary
from ..ir import variables_of as ordered_variables
from .base import Rewrite, RewriteStep, einsum_named, refuse, step
from .products import ProductPart, product


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

    def __str__(self) -> str:
        return f"{self.name}:{self.einsum}" if self.einsum else self.name

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


@dataclass(frozen=True)
class ProductChain:
    """Sum over ``outer`` of products, one of whose factors was a sum over ``inner``."""

    factors: tuple[ProductPart, ...]
    outer: tuple[str, ...]
    inner: tuple[str, ...]
    through: str


def chain_of(program: Program, einsum: Einsum) -> tuple[ProductChain | None, str]:
    """Return the chain of products that an Einsum sums, or None and the reason."""
    if einsum.reduction != "+" or not einsum.over or einsum.select:
        return None, "it is not a sum"
    found: list[ProductPart] = []
    inner: tuple[str, ...] = ()
    through = ""
    for part in flat(program, einsum, einsum.expression, 1):
        source = summed(program, part)
        # Only one factor is substituted; a variable that both sums have would be captured.
        if source is None or inner or set(source.over) & set(einsum.variables):
            found.append(part)
            continue
        assert isinstance(part.value, Access)
        body = substitute_variables(source.expression, at_access(source, part.value))
        found.extend(flat(program, source, body, 1))
        inner, through = source.over, source.name
    if not inner:
        return None, _why_not(program, found)
    return ProductChain(tuple(found), einsum.over, inner, through), ""


def attempt(program: Program, einsum: Einsum) -> RewriteStep | Objection:
    """Return the step that sums over the outer variables first, or an objection."""
    chain, reason = chain_of(program, einsum)
    if chain is None:
        return Objection(reason, is_chain=False, is_near="linear" in reason)
    outer = frozenset(chain.outer)
    masks = Masks(program)
    for einsum_ in (einsum, program.einsum_of[chain.through]):
        if masks.skipped(einsum_):
            return Objection(
                f"a mask ties {', '.join(sorted(outer))} to other ranks, so what is summed "
                "first is not the same for all of them",
                "for a causal mask m <= p the rule 'chunk' splits the mask first",
            )
    # QK[p, m] * V[m, f] with QK substituted is Q[p, e] * K[m, e] * V[m, f]: K and V have the outer
    # m and are summed over it first; Q and the sum over e come after.
    first = [p for p in chain.factors if variables_of(p.value) & outer]
    rest = [p for p in chain.factors if not variables_of(p.value) & outer]
    if not variables_of(*(p.value for p in rest)) & set(chain.inner):
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
        f"the sums over {', '.join(chain.inner)} and {', '.join(chain.outer)} commute, and "
        f"only {names} carry {', '.join(chain.outer)}"
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
        case Binary(operator="*", left=left, right=right):
            return [
                *flat(program, einsum, left, count),
                *flat(program, einsum, right, count),
            ]
        case Binary(operator="/", left=left, right=right):
            return [
                *flat(program, einsum, left, count),
                *flat(program, einsum, right, -count),
            ]
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
