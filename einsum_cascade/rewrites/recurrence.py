"""Prefix reductions as recurrences: what is reduced over ``m <= p`` is carried along p."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..algebra.conditions import Masks
from ..algebra.terms import (
    Names,
    combine,
    drop_unread,
    number,
    product_name,
    replace_einsum,
    settled,
    substitute_variables,
    variable,
    variables_of,
    zero,
)
from ..ir import Access, Binary, Einsum, Expression, Program, Relational
from ..ir import variables_of as ordered_variables
from ..notation.printer import expression_text
from ..operations import identity_of
from .base import RewriteStep, refuse, step
from .causal import causal, causal_sum, decay_power
from .products import ProductPart, product

_RULE = "make_iterative"


def prefix_step(program: Program, einsum: Einsum, query: str, key: str, rule: str) -> RewriteStep:
    """The step that turns a prefix reduction into a recurrence along the queries.

    ``S[p] = f(X[m]) :: max[m] where m <= p`` becomes ``RS[p+1] = max(RS[p], f(X[p]))``
    and ``S[p] = RS[p+1]``; in a causal sum the factors of the query stay outside and a
    weight ``lam ** (p - m)`` becomes ``lam`` per step.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        The prefix reduction.
    query, key : str
        Rank variables of its mask ``key <= query``.
    rule : str
        What the step is called in a derivation.

    Raises
    ------
    RewriteError
        When the term is not made of factors of the query and factors of the key.
    """
    for name in (query, key):
        rank = program.rank_of[program.rank_of_variable[name]]
        if rank.partition or rank.family:
            raise refuse(_RULE, f"'{rank.name}' is partitioned", einsum)
    state = _state_of(program, einsum, query, key)
    names = Names(program)
    carried = names.fresh(f"R{state.name}")
    kept = tuple(variable(v) for v in state.variables)
    before = Access(tensor=carried, indices=(variable(query), *kept))
    after = Access(tensor=carried, indices=(variable(query, 1), *kept))
    first = Access(tensor=carried, indices=(zero(), *kept))
    new: list[Einsum] = []
    previous: Expression = before
    if state.decay is not None:
        faded = Access(tensor=names.fresh(f"P{state.name}"), indices=before.indices)
        factor = decay_power(state.decay, number(1))
        decayed = Binary(operator="*", left=before, right=factor)
        new.append(Einsum(target=faded, expression=decayed, span=einsum.span))
        previous = faded
    update = combine(program, einsum.reduction, previous, state.added)
    new.append(Einsum(target=after, expression=update, span=einsum.span))
    # Under ``m < p`` the newest key seen is a step back, and so decayed once.
    read = after if state.inclusive else previous
    whole = product(state.outside, read) if state.outside else read
    new.append(settled(replace(einsum, expression=whole, over=(), where=None)))
    start = number(identity_of(program, einsum.reduction))
    init = (*program.init, Einsum(target=first, expression=start, span=einsum.span))
    # One walk goes along both now: they have to be equally long.
    ranks = tuple(
        replace(r, like=program.rank_of_variable[query]) if r.variable == key else r
        for r in program.ranks
    )
    rewritten = replace(replace_einsum(program, einsum.name, new), init=init, ranks=ranks)
    reason = f"the {key} <= {query} of one {query} are those of the one before and {key} = {query}"
    if state.decay is not None:
        reason += f"; one step later every weight has one more {expression_text(state.decay)}"
    return step(rule, program, drop_unread(rewritten), reason)


@dataclass(frozen=True)
class _CarriedState:
    """What is carried: its name and indices, what a step adds, and what stays outside."""

    name: str
    variables: tuple[str, ...]
    added: Expression
    outside: tuple[ProductPart, ...]
    decay: Expression | None
    inclusive: bool


def _state_of(program: Program, einsum: Einsum, query: str, key: str) -> _CarriedState:
    here = {key: variable(query)}
    if einsum.reduction == "+":
        found = causal_sum(program, einsum, query, key)
        values = [p.value for p in found.keys]
        single = values[0].tensor if len(values) == 1 and isinstance(values[0], Access) else None
        name = product_name(values) or single or einsum.name
        term = product(found.keys)
        kept = tuple(v for v in ordered_variables(term) if v != key)
        added = substitute_variables(term, here)
        return _CarriedState(
            name, kept, added, found.queries, found.decay, _is_inclusive(program, einsum)
        )
    conditions = Masks(program).skipped(einsum)
    if len(conditions) != 1 or causal(next(iter(conditions))) != (query, key):
        raise refuse(_RULE, f"its mask is not {key} <= {query} alone", einsum)
    if query in variables_of(einsum.expression):
        raise refuse(_RULE, f"what it reduces depends on '{query}' beside the mask", einsum)
    if set(einsum.over) != {key}:
        raise refuse(_RULE, f"it reduces more than '{key}'", einsum)
    kept = tuple(v for v in einsum.target.variables if v != query)
    added = substitute_variables(einsum.expression, here)
    return _CarriedState(einsum.name, kept, added, (), None, _is_inclusive(program, einsum))


def _is_inclusive(program: Program, einsum: Einsum) -> bool:
    condition = next(iter(Masks(program).skipped(einsum)))
    return isinstance(condition, Relational) and condition.operator in ("<=", ">=")
