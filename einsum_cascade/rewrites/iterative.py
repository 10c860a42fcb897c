"""``make_iterative``: a reduction or prefix reduction as a tensor carried along steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..algebra.conditions import Masks
from ..algebra.products import ProductPart, product
from ..algebra.sweeps import RankView, grain_of
from ..algebra.terms import (
    Names,
    drop_unread,
    replace_einsum,
    settled,
    substitute_variables,
    target_variables,
    variable,
    variables_of,
)
from ..ir import Access, Einsum, Expression, Number, Program, Relational
from ..notation import expression_text
from ..operations import identity_of
from .base import Rewrite, RewriteStep, einsum_named, refuse, step
from .chunk import causal, causal_sum, decay_power, mask_ranks, recurrence
from .corrections import Corrections, known_reduction
from .running import RunningPlan, write


@dataclass(frozen=True)
class MakeIterative(Rewrite):
    """Carry a reduction along the rank it reduces.

    Precondition: the Einsum reduces the rank (by a built-in operator, or one sympy proves
    associative) and its target is indexed by bare rank variables. ``rank`` may be omitted if only
    one rank is reduced.

    Before -> after: ``GM[p] = QK[m,p] :: max[m]`` becomes ``RGM[0,p] = -inf``, ``RGM[m+1,p] =
    max(RGM[m,p], QK[m,p])``, and ``RGM[M,p]`` replaces ``GM[p]``. On a partitioned rank a local
    reduction comes first. A prefix reduction ``where m <= p`` is carried along p instead (the ranks
    are then declared alike): ``S[p] = X[m] where m <= p`` becomes ``RX[p+1] = RX[p] + X[p]``, and
    ``S[p]`` is ``RX[p+1]``.

    Source: iterative construction, Nayak et al., MICRO 2024, section III.
    """

    einsum: str
    rank: str | None = None
    name: ClassVar[str] = "make_iterative"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return one step."""
        einsum = einsum_named(program, self.einsum, self.name)
        prefix = mask_ranks(program, einsum)
        if prefix is not None and self.rank in (None, program.rank_of_variable[prefix[1]]):
            return (prefix_step(program, einsum, *prefix, str(self)),)
        grain = grain_of(program, self.rank or self._only_rank(program, einsum))
        if grain.variable not in einsum.over:
            raise refuse(self.name, f"it does not reduce '{grain.rank}'", einsum)
        view = RankView(program, grain)
        if einsum.select is not None:
            raise refuse(self.name, f"{einsum.select} is a selection, not a reduction", einsum)
        if not known_reduction(view, einsum):
            raise refuse(
                self.name, f"the reduction '{einsum.reduction}' is not proved associative", einsum
            )
        if target_variables(einsum) is None:
            raise refuse(self.name, "its target is not indexed by bare rank variables", einsum)
        alone = RunningPlan((), frozenset(), frozenset({einsum.name}), frozenset())
        after = write(view, alone, Corrections(view), in_sweep=False)
        start = identity_of(program, einsum.reduction)
        reason = f"{einsum.reduction} is associative and starts from its identity {start}"
        return (step(str(self), program, after, reason),)

    def _only_rank(self, program: Program, einsum: Einsum) -> str:
        families: dict[str, None] = {}
        for v in einsum.over:
            rank = program.rank_of[program.rank_of_variable[v]]
            families.setdefault(rank.family or rank.name)
        if len(families) != 1:
            listed = ", ".join(families) or "nothing"
            hint = f"say which, such as {self.name}:{einsum.name},{next(iter(families), 'M')}"
            raise refuse(self.name, f"it reduces {listed}", einsum, hint)
        return next(iter(families))


_RULE = "make_iterative"


def prefix_step(program: Program, einsum: Einsum, query: str, key: str, rule: str) -> RewriteStep:
    """Return the step that turns a prefix reduction into a recurrence along the queries.

    ``S[p] = f(X[m]) :: max[m] where m <= p`` becomes ``RS[p+1] = max(RS[p], f(X[p]))`` and ``S[p] =
    RS[p+1]``. In a causal sum the factors of the query stay outside, and a weight ``lam ** (p -
    m)`` becomes ``lam`` per step.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Prefix reduction.
    query, key : str
        Rank variables of its mask ``key <= query``.
    rule : str
        Name of the step in a derivation.

    Raises
    ------
    RewriteError
        The term does not consist of factors of the query and factors of the key.
    """
    for name in (query, key):
        rank = program.rank_of[program.rank_of_variable[name]]
        if rank.partition or rank.family:
            raise refuse(_RULE, f"'{rank.name}' is partitioned", einsum)
    state = _state_of(program, einsum, query, key)
    names = Names(program)
    indices = (variable(query), *map(variable, state.variables))
    before = Access(names.fresh(f"R{state.name}"), indices)
    factor = None if state.decay is None else decay_power(state.decay, Number(1))
    new, previous, start = recurrence(program, names, einsum, before, state.added, factor)
    # Under ``m < p`` the newest key is one step older, and so decayed once.
    read = new[-1].target if state.inclusive else previous
    whole = product(state.outside, read) if state.outside else read
    new.append(settled(replace(einsum, expression=whole, over=(), where=None)))
    init = (*program.init, start)
    # One loop iterates over both ranks now, so they must be equally long.
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
    """Carried state: its name and indices, the increment per step, and the factors outside."""

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
        name, kept = found.state(key)
        added = substitute_variables(product(found.keys), here)
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
