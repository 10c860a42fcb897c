"""Running form of a sweep: finals become iterative, and corrected sums follow them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from ..algebra.conditions import Masks
from ..algebra.sweeps import RankView, is_map, non_stop_indices
from ..algebra.terms import (
    Names,
    accesses_of,
    at_access,
    bare,
    combine,
    conjunction,
    drop_unread,
    in_order,
    map_einsum,
    number,
    readers,
    replace_accesses,
    settled,
    shape,
    stop_rank,
    substitute_variables,
    target_variables,
    variable,
    variables_of,
    zero,
)
from ..functions import ARITHMETIC, FUNCTIONS, of
from ..ir import (
    Access,
    Affine,
    Binary,
    Call,
    Condition,
    Einsum,
    Expression,
    Name,
    Node,
    Number,
    Program,
    Relational,
    Unary,
)
from ..masks import conjuncts
from ..notation.printer import expression_text
from ..operations import identity_of
from .corrections import NEW, OLD, Blocked, Correction, Corrections, apply_operator, known_reduction


@dataclass(frozen=True)
class RunningPlan:
    """What is to be made running along a grain.

    Attributes
    ----------
    targets : tuple of str
        Stale reductions, to be kept running and corrected.
    cone : frozenset of str
        Stale Einsums the targets are computed through (targets included).
    bases : frozenset of str
        Reductions whose running value is needed (targets included).
    derived : frozenset of str
        Values without the grain, computed from bases, that the cone reads.
    """

    targets: tuple[str, ...]
    cone: frozenset[str]
    bases: frozenset[str]
    derived: frozenset[str]


def plan_of(view: RankView, corrections: Corrections) -> RunningPlan:
    """Everything the stale reductions of a view need running.

    Raises
    ------
    Blocked
        When a target has no correction, or a value it needs cannot be kept running.
    """
    program = view.program
    targets = tuple(e.name for e in view.stale_reductions)
    for name in targets:
        corrections.of(program.einsum_of[name])
    cone, pending = set(targets), list(targets)
    while pending:
        for access in program.einsum_of[pending.pop()].reads:
            if access.tensor in view.stale and access.tensor not in cone:
                cone.add(access.tensor)
                pending.append(access.tensor)
    masks = Masks(program)
    for name in targets:
        _check_masks(view, masks, program.einsum_of[name])
    bases, derived = _finals(view, cone)
    bases |= cone & set(targets)
    for name in sorted(bases):
        _check_base(view, program.einsum_of[name])
    for name in sorted(derived):
        if not is_map(program.einsum_of[name]):
            raise Blocked(
                program.einsum_of[name],
                "it reduces results of the sweep over another rank: its value so far "
                "cannot be written in one expression",
            )
    return RunningPlan(targets, frozenset(cone), frozenset(bases), frozenset(derived))


def _finals(view: RankView, cone: set[str]) -> tuple[set[str], set[str]]:
    """Reductions, and values computed from them, that the cone reads."""
    einsum_of = view.program.einsum_of
    bases: set[str] = set()
    derived: set[str] = set()
    pending = [a for name in sorted(cone) for a in view.final_reads(einsum_of[name])]
    while pending:
        name = pending.pop().tensor
        if name in bases or name in derived or view.is_iterative(name):
            continue
        if view.sweeps(einsum_of[name]):
            bases.add(name)
        else:
            derived.add(name)
            pending.extend(view.final_reads(einsum_of[name]))
    return bases, derived


def _check_base(view: RankView, einsum: Einsum) -> None:
    if einsum.select is not None:
        raise Blocked(
            einsum,
            f"{einsum.select} is a selection, not a reduction: no correction exists, what is "
            "selected at the end may be nothing that was selected on the way",
        )
    if not known_reduction(view, einsum):
        raise Blocked(
            einsum,
            f"the reduction '{einsum.reduction}' is not proved associative, so it has no "
            "running form",
        )
    if target_variables(einsum) is None and readers(view.program, einsum.name):
        raise Blocked(einsum, "its target is not indexed by bare rank variables")


def _check_masks(view: RankView, masks: Masks, target: Einsum) -> None:
    """A target must be empty as long as a max or min it depends on has seen nothing.

    Until then its running value is the identity, which no correction can spoil; anything
    else would have been computed from an infinity.
    """
    for base in bases_below(view, target):
        if not masks.may_be_infinite(base):
            continue
        lacking = masks.skipped(base) - masks.skipped(target)
        lacking_infinity = masks.infinite_sources(base) - masks.sources(target)
        if lacking or lacking_infinity:
            raise Blocked(
                target,
                f"it takes elements that the mask of '{base.name}' leaves out, and so may "
                f"need '{base.name}' before that has seen any",
            )


def bases_below(view: RankView, einsum: Einsum) -> tuple[Einsum, ...]:
    """The reductions over the grain an Einsum needs the end of, in written order."""
    found: set[str] = set()
    seen = {einsum.name}
    pending = [einsum]
    while pending:
        for access in pending.pop().reads:
            source = view.program.einsum_of.get(access.tensor)
            if source is None or source.name in seen:
                continue
            seen.add(source.name)
            pending.append(source)
            if view.reduces(source):
                found.add(source.name)
    return tuple(e for e in view.program.einsums if e.name in found)


_N = TypeVar("_N", bound=Node)


@dataclass
class RunningValues:
    """Names of running values, filled while a plan is written.

    Attributes
    ----------
    running : dict
        The iterative tensor by the reduction it replaces.
    in_sweep : bool
        Whether the sweep reads finals as known so far; False leaves them to its end.
    so_far : dict
        The tensor that holds a value computed from running ones, after each step.
    finite : dict
        The same where an infinity of an empty mask is replaced by 0.
    """

    view: RankView
    running: Mapping[str, str]
    in_sweep: bool = True
    so_far: dict[str, str] = field(default_factory=dict)
    finite: dict[str, str] = field(default_factory=dict)

    def at(self, access: Access, step: Affine) -> Access:
        """A running value at a coordinate of the grain."""
        return Access(tensor=self.running[access.tensor], indices=(step, *access.indices))

    def final(self, node: _N) -> _N:
        """For a later pass: running values are read at the end of the sweep."""
        stop = shape(self.view.grain.rank)

        def change(access: Access) -> Expression | None:
            return self.at(access, stop) if access.tensor in self.running else None

        return replace_accesses(node, change)

    def now(self, node: _N, *, finite: bool = True) -> _N:
        """For this pass: finals are read as known after this step."""
        if not self.in_sweep:
            return self.final(node)

        def change(access: Access) -> Expression | None:
            if self.view.is_final(access):
                return self.new(access, finite=finite)
            name = self.so_far.get(access.tensor)
            return replace(access, tensor=name) if name else None

        return replace_accesses(node, change)

    def new(self, access: Access, *, finite: bool = True) -> Access:
        """A final value as known after this step."""
        name, grain = access.tensor, self.view.grain.variable
        held = (self.finite.get(name) if finite else None) or self.so_far.get(name)
        if held:
            return Access(tensor=held, indices=(variable(grain), *non_stop_indices(access)))
        return self._moved(access, variable(grain, 1))

    def old(self, access: Access) -> Expression:
        """A final value before this step; what is computed from others is computed again."""
        source = self.view.program.einsum_of[access.tensor]
        if access.tensor in self.running or self.view.is_iterative(access.tensor):
            return self._moved(access, variable(self.view.grain.variable))
        body = substitute_variables(source.expression, at_access(source, access))

        def change(inner: Access) -> Expression | None:
            return self.old(inner) if self.view.is_final(inner) else None

        return replace_accesses(body, change)

    def unmarked(self, factor: Expression) -> Expression:
        """A correction with the real values in the place of its marked ones."""

        def change(access: Access) -> Expression | None:
            if access.tensor.endswith(NEW):
                return self.new(replace(access, tensor=access.tensor.removesuffix(NEW)))
            if access.tensor.endswith(OLD):
                return self.old(replace(access, tensor=access.tensor.removesuffix(OLD)))
            return None

        return replace_accesses(factor, change)

    def _moved(self, access: Access, step: Affine) -> Access:
        if access.tensor in self.running:
            return self.at(access, step)
        rank = self.view.grain.rank
        indices = tuple(step if stop_rank(i) == rank else i for i in access.indices)
        return replace(access, indices=indices)


_NUMERIC: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        name: row.real if row.most is None else of(np, row.numpy)
        for name, row in FUNCTIONS.items()
        if row.sympy and row.algebra
    }
)
"""The functions that corrections are made of."""


def leaves_identity(view: RankView, einsum: Einsum, correction: Correction) -> bool:
    """Whether the first correction leaves the identity it acts on as it is.

    ``exp(-inf - x)`` times an empty sum is 0: good. ``d2 / d1`` with ``d1 = 0`` times an
    empty sum is not a number: the first correction must then be left out.

    Parameters
    ----------
    view : RankView
    einsum : Einsum
        The reduction whose running value is corrected.
    correction : Correction
    """
    identity = identity_of(view.program, einsum.reduction)
    with np.errstate(all="ignore"):
        factor = _evaluate(_at_start(view, correction.factor))
        left = np.float64(identity)
        value = apply_operator(left, correction.operator, factor)
    # An infinite factor may happen to leave an infinite identity alone; it still is a
    # division by zero on a machine.
    sound = correction.operator == "+" or bool(np.isfinite(factor))
    return sound and bool(value == left)


def _at_start(view: RankView, factor: Expression) -> Expression:
    """The factor with what is final replaced by what it is before the first step."""

    def change(access: Access) -> Expression | None:
        name = access.tensor
        if name.endswith(NEW):
            return None
        bare = Access(tensor=name.removesuffix(OLD), indices=access.indices)
        if not name.endswith(OLD) and not view.is_final(bare):
            return None
        return _start_of(view, bare)

    return replace_accesses(factor, change)


def _start_of(view: RankView, access: Access) -> Expression | None:
    source = view.program.einsum_of[access.tensor]
    if view.is_iterative(access.tensor):
        first = next((i for i in view.program.init if i.name == access.tensor), None)
        return first.expression if first is not None else None
    if view.sweeps(source):
        return Number(value=identity_of(view.program, source.reduction))
    return _at_start(view, substitute_variables(source.expression, at_access(source, access)))


def _evaluate(expression: Expression) -> Any:
    """The expression in float64, anything still unknown standing for some finite number.

    Only infinities and zeros matter here, so unknowns are distinct numbers of ordinary
    size, and names stand for 1.5.
    """
    accesses = dict.fromkeys(accesses_of(expression))
    return _number(expression, {a: np.float64(1.25 + 0.5 * k) for k, a in enumerate(accesses)})


def _number(node: Expression | Condition, values: Mapping[Access, Any]) -> Any:
    match node:
        case Number(value=value):
            return np.float64(value)
        case Name():
            return np.float64(1.5)
        case Access():
            return values[node]
        case Unary(operand=operand):
            return -_number(operand, values)
        case Binary(operator=operator, left=left, right=right):
            return ARITHMETIC[operator].python(_number(left, values), _number(right, values))
        case Call(function=function, arguments=arguments) if function in _NUMERIC:
            return _NUMERIC[function](*(_number(a, values) for a in arguments))
    return np.float64("nan")


Expansion = Generator[Einsum, None, Expression]
"""Writes Einsums, and returns the expression that reads their result."""


def write(
    view: RankView, plan: RunningPlan, corrections: Corrections, *, in_sweep: bool = True
) -> Program:
    """The program of ``view`` with ``plan`` carried out.

    ``in_sweep`` False leaves what else the plan's reductions need to the end of a sweep.

    Parameters
    ----------
    view : RankView
    plan : RunningPlan
        Which reductions become running ones, and what lies between them.
    corrections : Corrections
        Of the same view.
    """
    names = Names(view.program)
    running = {
        e.name: names.fresh(f"R{e.name}") for e in view.program.einsums if e.name in plan.bases
    }
    writer = _RunningWriter(
        view, plan, corrections, Masks(view.program), names, RunningValues(view, running, in_sweep)
    )
    einsums = [new for e in view.program.einsums for new in writer.rewritten(e)]
    init = (*view.program.init, *writer.init)
    # A running sum is accumulated in the type its reduction was given.
    accumulate = tuple(
        (name, kind)
        for old, kind in view.program.accumulate
        for name in (old, running.get(old), writer.local.get(old))
        if name is not None
    )
    written = replace(view.program, einsums=tuple(einsums), init=init, accumulate=accumulate)
    return in_order(drop_unread(written), frozenset(writer.late))


@dataclass
class _RunningWriter:
    view: RankView
    plan: RunningPlan
    corrections: Corrections
    masks: Masks
    names: Names
    values: RunningValues
    shared: dict[tuple[str, Expression], str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    init: list[Einsum] = field(default_factory=list)

    def rewritten(self, einsum: Einsum) -> Iterator[Einsum]:
        """What stands in the place of an Einsum."""
        name = einsum.name
        if name in self.plan.bases:
            yield from self._running(einsum)
            if name in self.view.program.outputs:
                at_stop = self.values.final(bare(einsum.target))
                yield Einsum(target=einsum.target, expression=at_stop, span=einsum.span)
        elif name in self.plan.cone:
            yield from self._cone(einsum)
        else:
            if name in self.plan.derived:
                yield from self._derived(einsum)
            yield map_einsum(einsum, self.values.final)

    # ------------------------------------------------------------------- reductions

    def _running(self, einsum: Einsum) -> Iterator[Einsum]:
        """A reduction as a running one: local part, corrected previous value, update."""
        program, grain = self.view.program, self.view.grain.variable
        term = yield from self._term(einsum)
        previous: Expression = self.values.at(bare(einsum.target), variable(grain))
        # A target is summed from what finals say so far: what it has is repaired when they move on.
        # A final such as a running maximum is not, and takes the new term as it is.
        if einsum.name in self.plan.targets:
            previous = yield from self._corrected(einsum, previous)
            update = combine(program, einsum.reduction, term, previous)
        else:
            update = combine(program, einsum.reduction, previous, term)
        after = self.values.at(bare(einsum.target), variable(grain, 1))
        yield Einsum(target=after, expression=update, span=einsum.span)
        start = number(identity_of(program, einsum.reduction))
        first = self.values.at(bare(einsum.target), zero())
        self.init.append(Einsum(target=first, expression=start, span=einsum.span))
        if self._is_read_in_sweep(einsum.name) and self.masks.may_be_infinite(einsum):
            seen = Relational(operator="!=", left=after, right=start)
            yield self._made_finite(einsum, after, seen)

    def _term(self, einsum: Einsum) -> Expansion:
        """What one step adds: a local reduction, or the term itself at element grain.

        A step in which a mask leaves nothing adds the identity. Were it skipped, the
        running value would miss the correction of that step.
        """
        grain = self.view.grain.variable
        inside = frozenset(einsum.over) - {grain}
        whole = [c for c in self._mask(einsum) if not variables_of(c) & inside]
        rest = [c for c in conjuncts(einsum.where) if c not in whole]
        einsum = map_einsum(replace(einsum, where=conjunction(*rest)), self.values.now)
        if whole:
            empty = number(identity_of(self.view.program, einsum.reduction))
            condition = conjunction(*whole)
            assert condition is not None
            chosen = Call(function="where", arguments=(condition, einsum.expression, empty))
            einsum = replace(einsum, expression=chosen)
        if not inside:
            return einsum.expression
        local = self._per_step("L", einsum)
        self.local[einsum.name] = local.tensor
        yield settled(replace(einsum, target=local))
        return local

    def _mask(self, einsum: Einsum) -> list[Condition]:
        """The conditions an Einsum takes its points under, its own first."""
        own = list(conjuncts(einsum.where))
        inherited = self.masks.skipped(einsum) - set(own)
        return [*own, *sorted(inherited, key=expression_text)]

    def _corrected(self, einsum: Einsum, previous: Expression) -> Expansion:
        """The previous running value, corrected for what changed in this step."""
        correction = self.corrections.of(einsum)
        factor = self.values.unmarked(correction.factor)
        if not leaves_identity(self.view, einsum, correction):
            factor = self._after_first_step(factor, correction)
        key = (correction.operator, factor)
        if key not in self.shared:
            self.shared[key] = self.names.fresh(f"C{_changed(correction)}")
            yield Einsum(target=self._correction_at(key, einsum), expression=factor)
        repaired = self._per_step("P", einsum)
        # Corrections and updates come after what only the new elements are needed for.
        self.late |= {self.shared[key], repaired.tensor, self.values.running[einsum.name]}
        expression = Binary(
            operator=correction.operator, left=previous, right=self._correction_at(key, einsum)
        )
        yield Einsum(target=repaired, expression=expression, span=einsum.span)
        return repaired

    def _after_first_step(self, factor: Expression, correction: Correction) -> Expression:
        """The factor once there is something to correct, before that nothing."""
        seen: list[Condition] = []
        for access in accesses_of(factor):
            base = next((b for b, r in self.values.running.items() if r == access.tensor), None)
            einsum = self.view.program.einsum_of[base] if base else None
            if einsum is None or not self.masks.may_be_infinite(einsum):
                continue
            empty = number(identity_of(self.view.program, einsum.reduction))
            step = variable(self.view.grain.variable)
            before = replace(access, indices=(step, *access.indices[1:]))
            seen.append(Relational(operator="!=", left=before, right=empty))
        begun = Name(name=self.view.grain.variable, kind="variable")
        condition = conjunction(*seen) or Relational(operator=">", left=begun, right=number(0))
        neutral = number(0 if correction.operator == "+" else 1)
        return Call(function="where", arguments=(condition, factor, neutral))

    def _correction_at(self, key: tuple[str, Expression], einsum: Einsum) -> Access:
        used = variables_of(key[1])
        kept = (i for i in bare(einsum.target).indices if set(i.variables) & used)
        return Access(tensor=self.shared[key], indices=(variable(self.view.grain.variable), *kept))

    # ------------------------------------------------------------------------- maps

    def _cone(self, einsum: Einsum) -> Iterator[Einsum]:
        """A map between a final and a target: of this pass, and of a later one if needed."""
        program = self.view.program
        needed_later = einsum.name in program.outputs or any(
            einsum.name in {a.tensor for a in e.reads}
            for e in program.einsums
            if e.name not in self.plan.cone
        )
        now = map_einsum(einsum, self.values.now)
        if not needed_later:
            yield now
            return
        name = self.names.fresh(f"U{einsum.name}")
        self.values.so_far[einsum.name] = name
        yield replace(now, target=replace(einsum.target, tensor=name))
        yield map_einsum(einsum, self.values.final)

    def _derived(self, einsum: Einsum) -> Iterator[Einsum]:
        """A value computed from finals, as known up to and including this step."""
        now = map_einsum(einsum, lambda node: self.values.now(node, finite=False))
        so_far = self._per_step("U", einsum)
        yield replace(now, target=so_far)
        self.values.so_far[einsum.name] = so_far.tensor
        sources = bases_below(self.view, einsum)
        if self._is_read_in_sweep(einsum.name) and any(
            self.masks.may_be_infinite(e) for e in sources
        ):
            size = Call(function="abs", arguments=(so_far,))
            seen = Relational(operator="!=", left=size, right=number(float("inf")))
            yield self._made_finite(einsum, so_far, seen)

    def _made_finite(self, einsum: Einsum, value: Access, seen: Relational) -> Einsum:
        target = self._per_step("F", einsum)
        self.values.finite[einsum.name] = target.tensor
        guarded = Call(function="where", arguments=(seen, value, number(0)))
        return Einsum(target=target, expression=guarded, span=einsum.span)

    def _per_step(self, prefix: str, einsum: Einsum) -> Access:
        """A new tensor like the target of ``einsum``, one value per step."""
        indices = (variable(self.view.grain.variable), *bare(einsum.target).indices)
        return Access(tensor=self.names.fresh(prefix + einsum.name), indices=indices)

    def _is_read_in_sweep(self, name: str) -> bool:
        einsum_of = self.view.program.einsum_of
        return any(name in {a.tensor for a in einsum_of[r].reads} for r in self.plan.cone)


def _changed(correction: Correction) -> str:
    """The first final whose change a correction repairs."""
    found = (a.tensor for a in accesses_of(correction.factor) if a.tensor.endswith(OLD))
    return next(found, "").rstrip(OLD)
