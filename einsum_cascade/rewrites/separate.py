"""``separate``: a sum of ``f(x, d)`` as sums of functions of x alone, combined with d."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..algebra.conditions import Masks
from ..algebra.sweeps import readable_map
from ..algebra.sympy_bridge import Bridge, expand_products, render
from ..algebra.terms import drop_unread, replace_accesses, replace_einsum, variables_of
from ..ir import Access, Binary, Einsum, Expression, Program, Unary
from ..libraries import sympy
from ..notation.printer import expression_text
from .base import Rewrite, RewriteStep, einsum_named, refuse, step
from .factor import reduction_of
from .products import size_of


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

    def __str__(self) -> str:
        return f"{self.name}:{self.einsum}"

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
