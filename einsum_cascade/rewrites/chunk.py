"""``chunk`` and ``make_iterative``: rules that carry a state along chunks or single steps."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from .. import ir
from ..affine import affine_value, digits, product_of
from ..algebra import terms
from ..algebra.conditions import Masks
from ..algebra.products import ProductPart, product
from ..algebra.sweeps import RankView, grain_of
from ..algebra.sympy_bridge import Bridge, tidy
from ..errors import RewriteError
from ..ir import accesses_of
from ..libraries import sympy
from ..notation import expression_text
from ..operations import identity_of
from .base import Rewrite, RewriteStep, einsum_named, rank_named, refuse, step
from .corrections import Corrections, known_reduction
from .factor import opened_sum
from .partition import with_members
from .running import RunningPlan, write

_RULE = "chunk"

_N = TypeVar("_N", bound=ir.Node)


@dataclass(frozen=True)
class Chunk(Rewrite):
    """Split each causal sum into a sum over the own chunk and a state of the previous chunks.

    Precondition: queries and keys are one sequence (declared alike from here on). Every reduction
    over the keys is a sum with the mask ``m <= p``. Its term is a product of factors of the query,
    factors of the key, and a weight that is a constant to the power ``p - m`` (or no weight).

    Before -> after (``lam ** (p - m)``): ``O[p,f] = QK[p,m] * lam ** (p - m) * V[m,f] where m <=
    p`` becomes, with chunk ``p1``, query ``p0`` and key ``m0``: the same inside the chunk ``where
    m0 <= p0``, plus ``Q * lam ** (p0 + 1)`` times the state ``RKV[p1]``; ``RKV[p1+1] = RKV[p1] *
    lam ** M0 + sum of K * lam ** (M0 - 1 - m0) * V``. Every exponent is at least zero, so nothing
    overflows.

    Source: Lightning Attention-2, arXiv 2401.04658; chunkwise linear attention.
    """

    queries: str | None = None
    keys: str | None = None
    name: ClassVar[str] = _RULE

    def derive(self, program: ir.Program) -> tuple[RewriteStep, ...]:
        """Return the rule's single step."""
        query, key = self._ranks(program)
        _check_flow(program, query, key)
        sums = {
            e.name: causal_sum(program, e, query.variable, key.variable)
            for e in program.einsums
            if key.variable in e.over
        }
        members = (f"{query.name}1", f"{query.name}0", f"{key.name}0")
        taken = {r.name for r in program.ranks} | set(program.parallel)
        for name in members:
            if name in taken:
                raise refuse(_RULE, f"the rank '{name}' exists already")
        writer = _ChunkWriter(program, terms.Names(program), query, key, *members)
        einsums = [new for e in program.einsums for new in writer.rewritten(e, sums.get(e.name))]
        init = (*program.init, *writer.init)
        after = replace(program, ranks=writer.ranks(), einsums=tuple(einsums), init=init)
        return (step(f"{_RULE}:{query.name},{key.name}", program, after, *writer.because),)

    def _ranks(self, program: ir.Program) -> tuple[ir.Rank, ir.Rank]:
        if self.queries is None:
            for einsum in program.einsums:
                found = mask_ranks(program, einsum)
                if found is not None:
                    names = [program.rank_of_variable[v] for v in found]
                    return program.rank_of[names[0]], program.rank_of[names[1]]
            raise refuse(_RULE, "no reduction has a causal mask such as 'where m <= p'")
        query = rank_named(program, self.queries, _RULE)
        return query, rank_named(program, self.keys or "", _RULE)


def _check_flow(program: ir.Program, query: ir.Rank, key: ir.Rank) -> None:
    for rank in (query, key):
        if rank.partition or rank.family:
            raise refuse(_RULE, f"'{rank.name}' is partitioned", rank)
    if query is key:
        raise RewriteError(f"{_RULE} needs two ranks, queries and keys", query.span)
    if not any(key.variable in e.over for e in program.einsums):
        raise refuse(_RULE, f"no reduction over '{key.name}' has a causal mask")
    for einsum in program.einsums:
        if query.variable in einsum.over:
            raise refuse(_RULE, f"it reduces over the queries '{query.name}'", einsum)
        if {query.name, key.name} & set(program.iterative.get(einsum.name, ())):
            raise refuse(_RULE, "it is iterative along the sequence", einsum)
        if key.variable in einsum.target.variables and einsum.name in program.outputs:
            raise refuse(_RULE, f"it is an output along the keys '{key.name}'", einsum)


@dataclass
class _ChunkWriter:
    """Writer of a program whose queries and keys are split into chunks.

    ``outer``, ``inner`` and ``key_inner`` name the ranks of the chunk, of the query in the chunk
    and of the key in the chunk: P1, P0 and M0.
    """

    program: ir.Program
    names: terms.Names
    query: ir.Rank
    key: ir.Rank
    outer: str
    inner: str
    key_inner: str
    init: list[ir.Einsum] = field(default_factory=list)
    because: list[str] = field(default_factory=list)
    shared: dict[ir.Expression, ir.Access] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def rewritten(self, einsum: ir.Einsum, causal_: CausalReduction | None) -> Iterator[ir.Einsum]:
        """Yield the Einsums that replace one Einsum of the program."""
        if causal_ is None:
            new = terms.map_einsum(einsum, self.node, self.target(einsum))
            yield self._ended(terms.settled(new) if einsum.select is None else new)
        else:
            yield from self._split(causal_)

    def _split(self, found: CausalReduction) -> Iterator[ir.Einsum]:
        einsum = found.einsum
        self._explain(found)
        indices = self.indices(einsum.target.indices, computed=True)
        own = ir.Access(self.names.fresh(f"I{einsum.name}"), indices)
        yield terms.settled(terms.map_einsum(einsum, self.node, own))
        state, kept = self.names.fresh(f"R{found.name}"), tuple(map(terms.variable, found.kept))
        steps = ir.Binary("+", ir.Name(self.inner.lower(), "variable"), ir.Number(1))
        decayed = yield from self._decayed(found.queries, found.decay, steps)
        before = ir.Access(self.names.fresh(f"X{einsum.name}"), indices)
        now = ir.Access(state, (self.chunk, *kept))
        whole = now if decayed is None else ir.Binary("*", decayed, now)
        yield terms.settled(ir.Einsum(before, whole, span=einsum.span))
        yield ir.Einsum(self.target(einsum), ir.Binary("+", own, before), span=einsum.span)
        yield from self._recurrence(found, state, kept)

    def _recurrence(
        self, found: CausalReduction, state: str, kept: tuple[ir.Affine, ...]
    ) -> Iterator[ir.Einsum]:
        """Yield the Einsums of the state: the decayed previous state plus the chunk's own sum."""
        chunk, einsum = self.chunk, found.einsum
        last = ir.Binary("-", self.size, ir.Number(1))
        # Decay up to the last key of the chunk, where the state is kept. Its next reader, at
        # position p0 of the next chunk, is p0 + 1 positions further (``_split``).
        steps = ir.Binary("-", last, ir.Name(self.key_inner.lower(), "variable"))
        added = yield from self._decayed(found.keys, found.decay, steps)
        assert added is not None
        local = ir.Access(self.names.fresh(f"L{state[1:]}"), (chunk, *kept))
        yield self._ended(terms.settled(ir.Einsum(local, added, span=einsum.span)))
        factor = None if found.decay is None else decay_power(found.decay, self.size)
        state_access = ir.Access(state, (chunk, *kept))
        update, _, start = recurrence(self.program, self.names, einsum, state_access, local, factor)
        yield from update
        self.init.append(start)

    def _decayed(
        self, parts: tuple[ProductPart, ...], decay: ir.Expression | None, steps: ir.Expression
    ) -> Generator[ir.Einsum, None, ir.Expression | None]:
        """Return a product of factors times the decay over ``steps`` positions; None if it is 1.

        Einsums that the product needs are yielded.
        """
        whole = self.node(product(parts)) if parts else None
        if decay is None:
            return whole
        factor = decay_power(decay, steps)
        if whole is None:
            return factor
        first, *rest = [self.node(p.value) for p in parts]
        # A tensor with its decay is written once and shared by all sums that need it (``shared``).
        # A divisor, or a factor that is no plain tensor, is written where it is used.
        if not isinstance(first, ir.Access) or any(p.count != 1 for p in parts):
            return ir.Binary("*", whole, factor)
        expression = ir.Binary("*", first, factor)
        if expression not in self.shared:
            indices = tuple(map(terms.variable, ir.variables_of(expression)))
            target = ir.Access(self.names.fresh(f"D{first.tensor}"), indices)
            self.shared[expression] = target
            yield self._ended(ir.Einsum(target, expression))
        return product_of((self.shared[expression], *rest))

    def _ended(self, einsum: ir.Einsum) -> ir.Einsum:
        """Return an Einsum restricted to keys inside the sequence, if its last chunk may be
        partial.

        The condition is needed only where keys are read from an input without their query. A query
        inside the sequence has no key beyond it, and anything computed from an absent key is
        absent.
        """
        _, whole = self.position(self.key.variable)
        used = terms.variables_of(einsum.expression)
        reads = (i for a in einsum.reads for i in a.indices)
        if self.inner.lower() in used or self.key_inner.lower() not in used or whole not in reads:
            return einsum
        if any(a.tensor in self.ended for a in einsum.reads):
            return einsum
        self.ended.add(einsum.name)
        end = ir.Name(self.key.name, "shape")
        there = ir.Relational("<", affine_value(whole), end)
        return replace(einsum, where=terms.conjunction(einsum.where, there))

    # ---------------------------------------------------------------------- indices

    def ranks(self) -> tuple[ir.Rank, ...]:
        """Return the program's ranks with the new members; keys are declared like queries."""
        new: list[ir.Rank] = []
        for rank in with_members(self.program, self.query, (self.outer, self.inner)):
            if rank.name != self.key.name:
                new.append(rank)
                continue
            meaning = f"{rank.meaning} in a chunk" if rank.meaning else ""
            tile = ir.Rank(name=self.key_inner, meaning=meaning, like=self.inner, span=rank.span)
            new += [replace(rank, like=self.query.name), tile]
        return tuple(new)

    @property
    def chunk(self) -> ir.Affine:
        """Index of the chunk, as a variable."""
        return terms.variable(self.outer.lower())

    @property
    def size(self) -> ir.Name:
        """Number of keys in a chunk, as an expression."""
        return ir.Name(self.key_inner, "shape")

    def position(self, kind: str) -> tuple[ir.Affine, ir.Affine]:
        """Return the index of a query or key inside its chunk, and in the whole sequence."""
        if kind == self.query.variable:
            inside = terms.variable(self.inner.lower())
            return inside, digits((self.outer, self.inner))
        inside = terms.variable(self.key_inner.lower())
        tile = ir.AffineTerm(1, (self.key_inner,), self.outer.lower())
        return inside, ir.Affine((tile, *inside.terms))

    def target(self, einsum: ir.Einsum) -> ir.Access:
        """Return the target by chunk and position; an output keeps its index in the sequence."""
        computed = einsum.name not in self.program.outputs
        indices = self.indices(einsum.target.indices, computed=computed)
        return replace(einsum.target, indices=indices)

    def indices(self, indices: tuple[ir.Index, ...], *, computed: bool) -> tuple[ir.Index, ...]:
        """Return indices with each query or key index as (chunk, position in the chunk).

        If the tensor is not ``computed``, the index in the whole sequence stays one index.
        """
        new: list[ir.Index] = []
        for index in indices:
            name = index.as_variable if isinstance(index, ir.Affine) else None
            if name not in (self.query.variable, self.key.variable):
                new.append(index)
                continue
            inside, whole = self.position(name)
            if not computed:
                new.append(whole)
                continue
            # S[p, m] has both ranks in the own chunk: the chunk index occurs once, S[p1, p0, m0].
            if self.chunk not in new:
                new.append(self.chunk)
            new.append(inside)
        return tuple(new)

    def node(self, node: _N) -> _N:
        """Return an expression or condition in the chunk's variables.

        The causal mask and the distance ``p - m`` then refer to positions inside the chunk.
        """
        query, key = self.query.variable, self.key.variable
        own = {name: self.position(name)[0] for name in (query, key)}
        computed = set(self.program.einsum_of) - set(self.program.outputs)

        def change(part: ir.Node) -> ir.Node:
            if isinstance(part, ir.Relational) and causal(part) == (query, key):
                return terms.substitute_variables(part, own)
            if isinstance(part, ir.Binary) and _is_distance(part, query, key):
                return terms.substitute_variables(part, own)
            if isinstance(part, ir.Access):
                changed = self.indices(part.indices, computed=part.tensor in computed)
                return replace(part, indices=changed)
            return part

        whole = {name: self.position(name)[1] for name in (query, key)}
        return terms.substitute_variables(terms.rebuild(node, change), whole)

    def _explain(self, found: CausalReduction) -> None:
        p, m, size = self.query.variable, self.key.variable, self.key_inner
        p1, p0 = self.outer.lower(), self.inner.lower()
        m1, m0 = f"{m}1", size.lower()
        lines = [
            f"with {p} = {p1}*{size} + {p0} and {m} = {m1}*{size} + {m0}: {m} <= {p} when "
            f"{m1} = {p1} and {m0} <= {p0}, or {m1} < {p1}"
        ]
        if found.decay is not None:
            decay = expression_text(found.decay)
            base = decay if decay.isidentifier() else f"({decay})"
            lines.append(
                f"{base} ** ({p} - {m}) = {base} ** ({p0} + 1) * {base} ** "
                f"(({p1} - 1 - {m1})*{size}) * {base} ** ({size} - 1 - {m0})"
            )
        keys = ", ".join(expression_text(k.value) for k in found.keys)
        lines.append(
            f"{found.einsum.name}: over earlier chunks only {keys} depend on {m}, so their "
            "product is summed first and carried from chunk to chunk"
        )
        self.because.extend(line for line in lines if line not in self.because)


def _is_distance(part: ir.Binary, query: str, key: str) -> bool:
    """Return whether an expression is the difference of the query and the key variable."""
    ends = (part.left, part.right)
    names = [e.name if isinstance(e, ir.Name) and e.kind == "variable" else None for e in ends]
    return part.operator == "-" and sorted(filter(None, names)) == sorted((query, key))


# ------------------------------------------------------------------ causal sums


@dataclass(frozen=True)
class CausalReduction:
    """Reduction over the keys before a query; of a sum, ``w(p - m) * queries(p) * keys(m)``.

    Attributes
    ----------
    einsum : Einsum
        Reduction.
    name : str
        Name for the reduction of the key factors, which a state carries.
    kept : tuple of str
        Rank variables of the state.
    queries, keys : tuple of ProductPart
        Factors with the query variable, and factors with the key variable.
    decay : Expression or None
        Factor of the weight per position; None without decay.
    inclusive : bool
        True if the key at the query's own position takes part.
    """

    einsum: ir.Einsum
    name: str
    kept: tuple[str, ...]
    queries: tuple[ProductPart, ...]
    keys: tuple[ProductPart, ...]
    decay: ir.Expression | None
    inclusive: bool


def recurrence(
    program: ir.Program,
    names: terms.Names,
    einsum: ir.Einsum,
    state: ir.Access,
    added: ir.Expression,
    factor: ir.Expression | None,
) -> tuple[list[ir.Einsum], ir.Access, ir.Einsum]:
    """Return the Einsums that carry a running reduction over one step.

    Parameters
    ----------
    program : Program
    names : Names
    einsum : Einsum
        Reduction that the state replaces.
    state : Access
        State before the step; its first index is the variable of the step.
    added : Expression
        Increment of the step.
    factor : Expression, optional
        Decay of the state over the step.

    Returns
    -------
    list of Einsum
        Decayed state, if it decays, and the state after the step.
    Access
        State before the step, with its decay.
    Einsum
        First value of the state, for ``init``.
    """
    loop, *kept = state.indices
    update: list[ir.Einsum] = []
    previous = state
    if factor is not None:
        previous = ir.Access(names.fresh(f"P{state.tensor[1:]}"), state.indices)
        decayed = ir.Binary("*", state, factor)
        update.append(ir.Einsum(previous, decayed, span=einsum.span))
    after = ir.Access(state.tensor, (terms.variable(loop.variables[0], 1), *kept))
    merged = terms.combine(program, einsum.reduction, previous, added)
    update.append(ir.Einsum(after, merged, span=einsum.span))
    first = ir.Access(state.tensor, (ir.Affine(), *kept))
    start = ir.Number(identity_of(program, einsum.reduction))
    return update, previous, ir.Einsum(first, start, span=einsum.span)


def mask_ranks(program: ir.Program, einsum: ir.Einsum) -> tuple[str, str] | None:
    """Return the query and key variables of the causal mask on a reduction, or None."""
    for condition in sorted(Masks(program).skipped(einsum), key=expression_text):
        found = causal(condition)
        if found is not None and found[1] in einsum.over:
            return found
    return None


def causal(condition: ir.Condition) -> tuple[str, str] | None:
    """Return ``(p, m)`` if a condition says ``m <= p`` or ``m < p``, in either order; else None."""
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


def causal_sum(program: ir.Program, einsum: ir.Einsum, query: str, key: str) -> CausalReduction:
    """Return a masked reduction over the keys as a causal sum.

    The term is separated into factors of queries, factors of keys, and the weight between a query
    and a key.

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
    inclusive = _is_inclusive(program, einsum, query, key, _RULE)
    factors, _ = opened_sum(program, einsum)
    queries, keys, weights = [], [], []
    for part in factors:
        used = terms.variables_of(part.value) & {query, key}
        if used == {key}:
            keys.append(part)
        elif used != {query, key}:
            queries.append(part)
        elif terms.variables_of(*accesses_of(part.value)) & {query, key}:
            raise refuse(_RULE, _coupling(program, part, query, key), einsum)
        else:
            weights.append(part)
    if not keys or any(p.count < 0 for p in keys):
        raise refuse(_RULE, f"no factor of its term carries '{key}' alone", einsum)
    decay, scale = _decay(program, einsum, product(weights), query, key)
    # The state is indexed by the variables of the keys, so it cannot decay along another one.
    lacking = terms.variables_of(decay) - terms.variables_of(*(p.value for p in keys))
    if lacking:
        raise refuse(_RULE, f"its decay depends on '{min(lacking)}', its keys do not", einsum)
    if scale is not None:
        queries.append(ProductPart(scale))
    values = [part.value for part in keys]
    name = terms.product_name(values) or einsum.name
    if len(values) == 1 and isinstance(values[0], ir.Access):
        name = values[0].tensor
    kept = tuple(v for v in ir.variables_of(*values) if v != key)
    return CausalReduction(einsum, name, kept, tuple(queries), tuple(keys), decay, inclusive)


def _coupling(program: ir.Program, part: ProductPart, query: str, key: str) -> str:
    for access in accesses_of(part.value):
        source = program.einsum_of.get(access.tensor)
        if source is not None and {query, key} <= set(source.target.variables):
            return (
                f"'{source.name}' is not linear in what it reads, so it cannot be taken apart "
                f"into a factor of '{query}' and a factor of '{key}'"
            )
    return f"a factor of its term carries both '{query}' and '{key}'"


def _decay(
    program: ir.Program, einsum: ir.Einsum, weight: ir.Expression, query: str, key: str
) -> tuple[ir.Expression | None, ir.Expression | None]:
    """Return the factor by which a weight changes per position, and the weight at distance zero.

    None stands for a factor or weight of 1.
    """
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
    """Return ``decay ** steps``; for an exponential, multiply its argument by the steps instead."""
    if steps == ir.Number(1):
        return decay
    if isinstance(decay, ir.Call) and decay.function == "exp":
        inside = decay.arguments[0]
        assert not isinstance(inside, ir.Relational | ir.Logical)
        return ir.Call("exp", (ir.Binary("*", inside, steps),))
    return ir.Binary("**", decay, steps)


# ------------------------------------------------------------------ recurrences


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

    def derive(self, program: ir.Program) -> tuple[RewriteStep, ...]:
        """Return the rule's single step."""
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
            what = f"the reduction '{einsum.reduction}' is not proved associative"
            raise refuse(self.name, what, einsum)
        if terms.target_variables(einsum) is None:
            raise refuse(self.name, "its target is not indexed by bare rank variables", einsum)
        alone = RunningPlan((), frozenset(), frozenset({einsum.name}), frozenset())
        after = write(view, alone, Corrections(view), in_sweep=False)
        start = identity_of(program, einsum.reduction)
        reason = f"{einsum.reduction} is associative and starts from its identity {start}"
        return (step(str(self), program, after, reason),)

    def _only_rank(self, program: ir.Program, einsum: ir.Einsum) -> str:
        families: dict[str, None] = {}
        for v in einsum.over:
            rank = program.rank_of[program.rank_of_variable[v]]
            families.setdefault(rank.family or rank.name)
        if len(families) != 1:
            listed = ", ".join(families) or "nothing"
            hint = f"say which, such as {self.name}:{einsum.name},{next(iter(families), 'M')}"
            raise refuse(self.name, f"it reduces {listed}", einsum, hint)
        return next(iter(families))


def prefix_step(
    program: ir.Program, einsum: ir.Einsum, query: str, key: str, rule: str
) -> RewriteStep:
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
            raise refuse(MakeIterative.name, f"'{rank.name}' is partitioned", einsum)
    state = _carried(program, einsum, query, key)
    names = terms.Names(program)
    indices = (terms.variable(query), *map(terms.variable, state.kept))
    before = ir.Access(names.fresh(f"R{state.name}"), indices)
    factor = None if state.decay is None else decay_power(state.decay, ir.Number(1))
    added = terms.substitute_variables(product(state.keys), {key: terms.variable(query)})
    new, previous, start = recurrence(program, names, einsum, before, added, factor)
    # Under ``m < p`` the newest key is one step older, and so decayed once.
    read = new[-1].target if state.inclusive else previous
    whole = product(state.queries, read)
    new.append(terms.settled(replace(einsum, expression=whole, over=(), where=None)))
    init = (*program.init, start)
    # One loop iterates over both ranks now, so they must be equally long.
    ranks = tuple(
        replace(r, like=program.rank_of_variable[query]) if r.variable == key else r
        for r in program.ranks
    )
    rewritten = replace(terms.replace_einsum(program, einsum.name, new), init=init, ranks=ranks)
    reason = f"the {key} <= {query} of one {query} are those of the one before and {key} = {query}"
    if state.decay is not None:
        reason += f"; one step later every weight has one more {expression_text(state.decay)}"
    return step(rule, program, rewritten, reason)


def _carried(program: ir.Program, einsum: ir.Einsum, query: str, key: str) -> CausalReduction:
    if einsum.reduction == "+":
        return causal_sum(program, einsum, query, key)
    inclusive = _is_inclusive(program, einsum, query, key, MakeIterative.name)
    if query in terms.variables_of(einsum.expression):
        what = f"what it reduces depends on '{query}' beside the mask"
        raise refuse(MakeIterative.name, what, einsum)
    if set(einsum.over) != {key}:
        raise refuse(MakeIterative.name, f"it reduces more than '{key}'", einsum)
    kept = tuple(v for v in einsum.target.variables if v != query)
    reduced = (ProductPart(einsum.expression),)
    return CausalReduction(einsum, einsum.name, kept, (), reduced, None, inclusive)


def _is_inclusive(program: ir.Program, einsum: ir.Einsum, query: str, key: str, rule: str) -> bool:
    """Return whether the only mask of an Einsum is ``key <= query``, and not ``key < query``."""
    mask = tuple(Masks(program).skipped(einsum))
    if len(mask) != 1 or causal(mask[0]) != (query, key):
        raise refuse(rule, f"its mask is not {key} <= {query} alone", einsum)
    return isinstance(mask[0], ir.Relational) and mask[0].operator == "<="
