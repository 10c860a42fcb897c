"""Writing the running form: finals become iterative, corrected sums follow them.

Names are made from the original's: ``LT`` is the local reduction of ``T`` over one tile,
``RT`` the running one, ``CT`` the correction a change of ``T`` asks for, ``PT`` the
previous running value after correction, ``UT`` another value as known up to this step,
``FT`` a value made finite where a mask has let nothing through yet.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

from ..algebra.conditions import Masks
from ..algebra.terms import (
    Names,
    accesses_of,
    bare,
    combine,
    conjunction,
    drop_unread,
    in_order,
    map_einsum,
    number,
    settled,
    variable,
    variables_of,
    zero,
)
from ..algebra.view import RankView
from ..ir import Access, Binary, Call, Condition, Einsum, Expression, Name, Program, Relational
from ..masks import conjuncts
from ..notation.printer import expression_text
from ..operations import identity_of
from .corrections import OLD, Correction, Corrections
from .plan import RunningPlan, bases_below
from .start import leaves_identity
from .values import RunningValues

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
