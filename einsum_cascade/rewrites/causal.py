"""Causal sums: reductions that chunks can split, and the decay of their weights."""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir
from ..algebra.conditions import Masks
from ..algebra.sympy_bridge import Bridge, tidy
from ..algebra.terms import accesses_of, at_access, substitute_variables, variables_of
from ..libraries import sympy
from ..notation.printer import expression_text
from .base import refuse
from .products import ProductPart, product
from .reassociate import flat, summed

_RULE = "chunk"


@dataclass(frozen=True)
class CausalSum:
    """Sum over the keys before a query: ``w(p - m) * queries(p) * keys(m)``.

    Attributes
    ----------
    einsum : Einsum
        Reduction.
    queries, keys : tuple of ProductPart
        Factors with the query variable, and factors with the key variable.
    inner : tuple of str
        Variables summed inside the scores (``e``).
    decay : Expression or None
        Factor of the weight per position; None without decay.
    """

    einsum: ir.Einsum
    queries: tuple[ProductPart, ...]
    keys: tuple[ProductPart, ...]
    inner: tuple[str, ...]
    decay: ir.Expression | None


def mask_ranks(program: ir.Program, einsum: ir.Einsum) -> tuple[str, str] | None:
    """Return the (query, key) variables of a causal mask on a reduction, or None."""
    for condition in sorted(Masks(program).skipped(einsum), key=expression_text):
        found = causal(condition)
        if found is not None and found[1] in einsum.over:
            return found
    return None


def causal(condition: ir.Condition) -> tuple[str, str] | None:
    """Return ``(p, m)`` if a condition is ``m <= p``, ``m < p`` or one of these reversed, else
    None."""
    if not isinstance(condition, ir.Relational):
        return None
    left, right = condition.left, condition.right
    if condition.operator in (">=", ">"):
        left, right = right, left
    elif condition.operator not in ("<=", "<"):
        return None
    if not (isinstance(left, ir.Name) and isinstance(right, ir.Name)):
        return None
    return (right.name, left.name) if left.kind == right.kind == "variable" else None


def causal_sum(program: ir.Program, einsum: ir.Einsum, query: str, key: str) -> CausalSum:
    """Return a reduction over the keys as a causal sum.

    Its term is separated into factors of queries, factors of keys, and the weight between the two.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    query, key : str
        Variables of the mask ``key <= query``.

    Raises
    ------
    RewriteError
        The reduction is no causal sum; says which condition fails.
    """
    if einsum.select is not None or einsum.reduction != "+":
        raise refuse(_RULE, f"it is a {einsum.select or einsum.reduction}, not a sum", einsum)
    mask = tuple(Masks(program).skipped(einsum))
    if len(mask) != 1 or causal(mask[0]) != (query, key):
        raise refuse(_RULE, f"its mask is not {key} <= {query} alone", einsum)
    factors, inner = _factors(program, einsum)
    queries, keys, weights = [], [], []
    for part in factors:
        used = variables_of(part.value) & {query, key}
        if used == {key}:
            keys.append(part)
        elif used != {query, key}:
            queries.append(part)
        elif variables_of(*accesses_of(part.value)) & {query, key}:
            raise refuse(_RULE, _coupling(program, part, query, key), einsum)
        else:
            weights.append(part)
    if not keys or any(p.count < 0 for p in keys):
        raise refuse(_RULE, f"no factor of its term carries '{key}' alone", einsum)
    decay, scale = _decay(program, einsum, product(weights), query, key)
    # The state is indexed by the variables of the keys, so it cannot decay along another one.
    lacking = variables_of(decay) - variables_of(*(p.value for p in keys))
    if lacking:
        raise refuse(_RULE, f"its decay depends on '{min(lacking)}', its keys do not", einsum)
    if scale is not None:
        queries.append(ProductPart(scale))
    return CausalSum(einsum, tuple(queries), tuple(keys), inner, decay)


def _coupling(program: ir.Program, part: ProductPart, query: str, key: str) -> str:
    for access in accesses_of(part.value):
        source = program.einsum_of.get(access.tensor)
        if source is not None and {query, key} <= set(source.target.variables):
            return (
                f"'{source.name}' is not linear in what it reads, so it cannot be taken apart "
                f"into a factor of '{query}' and a factor of '{key}'"
            )
    return f"a factor of its term carries both '{query}' and '{key}'"


def _factors(program: ir.Program, einsum: ir.Einsum) -> tuple[list[ProductPart], tuple[str, ...]]:
    """Return the factors of the term, with the scores substituted."""
    found: list[ProductPart] = []
    inner: tuple[str, ...] = ()
    for part in flat(program, einsum, einsum.expression, 1):
        source = summed(program, part)
        # Only one factor is substituted, and only if its reduced variable is not one of this
        # Einsum's: two sums over one name would merge.
        shared = source is not None and set(source.over) & set(einsum.variables)
        if source is None or inner or shared or not isinstance(part.value, ir.Access):
            found.append(part)
            continue
        values = at_access(source, part.value)
        body = substitute_variables(source.expression, values)
        found.extend(flat(program, source, body, 1))
        inner = source.over
    return found, inner


def _decay(
    program: ir.Program, einsum: ir.Einsum, weight: ir.Expression, query: str, key: str
) -> tuple[ir.Expression | None, ir.Expression | None]:
    """Return the factor that a weight takes per position, and the weight at distance zero."""
    bridge = Bridge(program)
    value = bridge.to_sympy(weight)
    p = bridge.symbol(ir.Name(query, "variable"))
    m = bridge.symbol(ir.Name(key, "variable"))
    # If p + 1 multiplies a weight by d and m + 1 multiplies it by 1 / d, with d free of both, the
    # weight is a constant times d ** (p - m). One condition alone would accept d ** p.
    decay = tidy(value.subs(p, p + 1) / value)
    back = tidy(value.subs(m, m + 1) / value)
    if decay.has(p, m) or back.has(p, m) or sympy.simplify(decay * back - 1) != 0:
        raise refuse(
            _RULE,
            f"its weight is not a constant to the power {query} - {key}: one step changes it "
            f"by {sympy.sstr(decay)}",
            einsum,
        )
    # At distance zero the power is 1, so the constant of the weight remains.
    scale = sympy.simplify(value.subs(m, p))
    return tuple(None if v == 1 else bridge.from_sympy(v) for v in (decay, scale))  # type: ignore[return-value]


def decay_power(decay: ir.Expression, steps: ir.Expression) -> ir.Expression:
    """Return ``decay ** steps``; an exponential takes the steps into its argument."""
    if steps == ir.Number(1):
        return decay
    if isinstance(decay, ir.Call) and decay.function == "exp":
        inside = decay.arguments[0]
        assert not isinstance(inside, ir.Relational | ir.Logical)
        whole = ir.Binary("*", inside, steps)
        return ir.Call("exp", (whole,))
    return ir.Binary("**", decay, steps)
