"""Running form of a sweep: a reduction becomes iterative, and corrected sums follow its value.

A *final* value is known only after a whole sweep of the rank.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from .. import ir
from ..algebra import terms
from ..algebra.conditions import Masks
from ..algebra.sweeps import RankView, is_map
from ..algebra.sympy_bridge import Bridge, constant
from ..functions import ARITHMETIC
from ..graphs import reachable
from ..ir import accesses_of
from ..libraries import sympy
from ..masks import conjuncts
from ..notation import expression_text
from ..operations import identity_of
from .corrections import NEW, OLD, Blocked, Correction, Corrections, known_reduction

SELECTION = (
    "{} is a selection, not a reduction: no correction exists, what is selected at the end may be "
    "nothing that was selected on the way"
)
"""Reason why a selection has no running form."""


@dataclass(frozen=True)
class RunningPlan:
    """Einsums that get a running form along the swept rank.

    Attributes
    ----------
    targets : tuple of str
        Stale reductions (they depend on a final value) to keep running and correct.
    cone : frozenset of str
        Stale Einsums through which the targets are computed (targets included).
    bases : frozenset of str
        Reductions whose running value is needed (targets included).
    derived : frozenset of str
        Values without the swept rank, computed from bases, that the cone reads.
    """

    targets: tuple[str, ...]
    cone: frozenset[str]
    bases: frozenset[str]
    derived: frozenset[str]


def plan_of(view: RankView, corrections: Corrections) -> RunningPlan:
    """Return all Einsums that need a running form so that no reduction waits for the sweep's end.

    Raises
    ------
    Blocked
        A target has no correction, or a value it needs has no running form.
    """
    program = view.program
    targets = tuple(e.name for e in view.stale_reductions)
    for name in targets:
        corrections.of(program.einsum_of[name])
    einsum_of = program.einsum_of
    cone = {*reachable(targets, lambda n: {a.tensor for a in einsum_of[n].reads} & view.stale)}
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
    """Return the reductions that Einsums of the cone read, and the values computed from these."""
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


def _check_base(view: RankView, einsum: ir.Einsum) -> None:
    if einsum.select is not None:
        raise Blocked(einsum, SELECTION.format(einsum.select))
    if not known_reduction(view, einsum):
        raise Blocked(
            einsum,
            f"the reduction '{einsum.reduction}' is not proved associative, so it has no "
            "running form",
        )
    if terms.target_variables(einsum) is None and terms.readers(view.program, einsum.name):
        raise Blocked(einsum, "its target is not indexed by bare rank variables")


def _check_masks(view: RankView, masks: Masks, target: ir.Einsum) -> None:
    """Check that a target is empty as long as a max or min below it has seen no element.

    Until then the target's running value is the identity, which no correction can change. Any other
    value would have been computed from an infinity.
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


def bases_below(view: RankView, einsum: ir.Einsum) -> tuple[ir.Einsum, ...]:
    """Return the reductions over the swept rank that an Einsum depends on, in written order."""
    found = {e.name for e in terms.sources(view.program, einsum) if view.reduces(e)} - {einsum.name}
    return tuple(e for e in view.program.einsums if e.name in found)


_N = TypeVar("_N", bound=ir.Node)


def leaves_identity(view: RankView, einsum: ir.Einsum, correction: Correction) -> bool:
    """Return whether the first correction leaves the identity of a reduction unchanged.

    ``exp(-inf - x)`` times an empty sum is 0, the identity. ``d2 / d1`` with ``d1 = 0`` times an
    empty sum is NaN, so that the first correction must be skipped.

    Parameters
    ----------
    view : RankView
    einsum : Einsum
        Reduction whose running value is corrected.
    correction : Correction
    """
    identity = constant(identity_of(view.program, einsum.reduction))
    factor = Bridge(view.program).to_sympy(_at_start(view, correction.factor))
    # An infinite factor may happen to leave an infinite identity unchanged; on a machine it still
    # is a division by zero. Nothing is known about functions that sympy cannot simplify.
    unsound = (sympy.oo, -sympy.oo, sympy.zoo, sympy.nan, sympy.core.function.AppliedUndef)
    if correction.operator != "+" and factor.has(*unsound):
        return False
    return bool(ARITHMETIC[correction.operator].python(identity, factor) == identity)


def _at_start(view: RankView, factor: ir.Expression) -> ir.Expression:
    """Return a correction factor with each old value as it is before the first step."""
    program = view.program

    def change(access: ir.Access) -> ir.Expression | None:
        name = access.tensor.removesuffix(OLD)
        plain = ir.Access(name, access.indices)
        if access.tensor.endswith(NEW) or (access.tensor == name and not view.is_final(plain)):
            return None
        if view.is_iterative(name):
            return next(e.expression for e in program.init if e.name == name)
        source = program.einsum_of[name]
        if view.sweeps(source):
            return ir.Number(identity_of(program, source.reduction))
        values = terms.at_access(source, plain)
        return _at_start(view, terms.substitute_variables(source.expression, values))

    return terms.replace_accesses(factor, change)


Expansion = Generator[ir.Einsum, None, ir.Expression]
"""Generator that yields Einsums and returns the expression that reads their result."""


def write(
    view: RankView, plan: RunningPlan, corrections: Corrections, *, in_sweep: bool = True
) -> ir.Program:
    """Return the program of ``view`` in the running form that ``plan`` describes.

    Parameters
    ----------
    view : RankView
    plan : RunningPlan
        Reductions to make running, and the Einsums between them.
    corrections : Corrections
        Corrections of the same view.
    in_sweep : bool
        Whether the plan's reductions read finals during the sweep; otherwise at its end.
    """
    names = terms.Names(view.program)
    running = {
        e.name: names.fresh(f"R{e.name}") for e in view.program.einsums if e.name in plan.bases
    }
    masks = Masks(view.program)
    writer = _RunningWriter(view, plan, corrections, masks, names, running, in_sweep)
    einsums = [new for e in view.program.einsums for new in writer.rewritten(e)]
    init = (*view.program.init, *writer.init)
    # A running sum is accumulated in the type of its reduction.
    accumulate = tuple(
        (name, kind)
        for old, kind in view.program.accumulate
        for name in (old, running.get(old), writer.local.get(old))
        if name is not None
    )
    written = replace(view.program, einsums=tuple(einsums), init=init, accumulate=accumulate)
    return terms.in_order(terms.drop_unread(written), frozenset(writer.late))


@dataclass
class _RunningWriter:
    """Writer of the running form of a plan; it names new tensors while it goes on.

    Attributes
    ----------
    running : dict
        Iterative tensor by the reduction it replaces.
    in_sweep : bool
        True if the sweep reads final values as known so far, False if it reads them at its end.
    so_far : dict
        Tensor that holds a value computed from running ones, after each step.
    finite : dict
        Tensor that holds the same value with 0 for the infinity of an empty mask.
    shared : dict
        Tensor of each correction, by its operator and factor.
    local : dict
        Tensor of the local part of each reduction.
    late : set of str
        Tensors to compute after everything that does not need them.
    """

    view: RankView
    plan: RunningPlan
    corrections: Corrections
    masks: Masks
    names: terms.Names
    running: Mapping[str, str]
    in_sweep: bool
    so_far: dict[str, str] = field(default_factory=dict)
    finite: dict[str, str] = field(default_factory=dict)
    shared: dict[tuple[str, ir.Expression], str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    init: list[ir.Einsum] = field(default_factory=list)

    def rewritten(self, einsum: ir.Einsum) -> Iterator[ir.Einsum]:
        """Yield the Einsums that replace one Einsum of the program."""
        name = einsum.name
        if name in self.plan.bases:
            yield from self._running(einsum)
            if name in self.view.program.outputs:
                at_stop = self.final(terms.bare(einsum.target))
                yield ir.Einsum(einsum.target, at_stop, span=einsum.span)
        elif name in self.plan.cone:
            yield from self._cone(einsum)
        else:
            if name in self.plan.derived:
                yield from self._derived(einsum)
            yield terms.map_einsum(einsum, self.final)

    # ------------------------------------------------------------------- reductions

    def _running(self, einsum: ir.Einsum) -> Iterator[ir.Einsum]:
        """Yield the Einsums of a running reduction: local part, corrected old value, update."""
        program, grain = self.view.program, self.view.grain.variable
        term = yield from self._term(einsum)
        previous: ir.Expression = self.at(terms.bare(einsum.target), terms.variable(grain))
        # A target is summed from finals as known so far, so its sum is corrected when they change.
        # A final such as a running maximum is not, and takes the new term as it is.
        if einsum.name in self.plan.targets:
            previous = yield from self._corrected(einsum, previous)
            update = terms.combine(program, einsum.reduction, term, previous)
        else:
            update = terms.combine(program, einsum.reduction, previous, term)
        after = self.at(terms.bare(einsum.target), terms.variable(grain, 1))
        yield ir.Einsum(after, update, span=einsum.span)
        start = ir.Number(identity_of(program, einsum.reduction))
        first = self.at(terms.bare(einsum.target), ir.Affine())
        self.init.append(ir.Einsum(first, start, span=einsum.span))
        if self._is_read_in_sweep(einsum.name) and self.masks.may_be_infinite(einsum):
            seen = ir.Relational("!=", after, start)
            yield self._made_finite(einsum, after, seen)

    def _term(self, einsum: ir.Einsum) -> Expansion:
        """Return the increment of one step: a local reduction, or the term if a step is one
        element.

        A step without points adds the identity. Skipping the step would lose its correction.
        """
        grain = self.view.grain.variable
        inside = frozenset(einsum.over) - {grain}
        whole = [c for c in self._mask(einsum) if not terms.variables_of(c) & inside]
        rest = [c for c in conjuncts(einsum.where) if c not in whole]
        einsum = terms.map_einsum(replace(einsum, where=terms.conjunction(*rest)), self.now)
        if whole:
            empty = ir.Number(identity_of(self.view.program, einsum.reduction))
            condition = terms.conjunction(*whole)
            assert condition is not None
            chosen = ir.Call("where", (condition, einsum.expression, empty))
            einsum = replace(einsum, expression=chosen)
        if not inside:
            return einsum.expression
        local = self._per_step("L", einsum)
        self.local[einsum.name] = local.tensor
        yield terms.settled(replace(einsum, target=local))
        return local

    def _mask(self, einsum: ir.Einsum) -> list[ir.Condition]:
        """Return the conditions that select an Einsum's points, its own before inherited ones."""
        own = list(conjuncts(einsum.where))
        inherited = self.masks.skipped(einsum) - set(own)
        return [*own, *sorted(inherited, key=expression_text)]

    def _corrected(self, einsum: ir.Einsum, previous: ir.Expression) -> Expansion:
        """Return the previous running value, corrected for the changes of this step."""
        correction = self.corrections.of(einsum)
        factor = self.unmarked(correction.factor)
        if not leaves_identity(self.view, einsum, correction):
            factor = self._after_first_step(factor, correction)
        key = (correction.operator, factor)
        if key not in self.shared:
            # The name tells the first final value whose change the correction repairs.
            finals = (a.tensor for a in accesses_of(correction.factor) if a.tensor.endswith(OLD))
            self.shared[key] = self.names.fresh(f"C{next(finals, '').rstrip(OLD)}")
            yield ir.Einsum(self._correction_at(key, einsum), factor)
        repaired = self._per_step("P", einsum)
        # Corrections and updates come after Einsums that need only the new elements.
        self.late |= {self.shared[key], repaired.tensor, self.running[einsum.name]}
        expression = ir.Binary(correction.operator, previous, self._correction_at(key, einsum))
        yield ir.Einsum(repaired, expression, span=einsum.span)
        return repaired

    def _after_first_step(self, factor: ir.Expression, correction: Correction) -> ir.Expression:
        """Return the factor, guarded to be neutral until there is a value to correct."""
        seen: list[ir.Condition] = []
        for access in accesses_of(factor):
            base = next((b for b, r in self.running.items() if r == access.tensor), None)
            einsum = self.view.program.einsum_of[base] if base else None
            if einsum is None or not self.masks.may_be_infinite(einsum):
                continue
            empty = ir.Number(identity_of(self.view.program, einsum.reduction))
            step = terms.variable(self.view.grain.variable)
            before = replace(access, indices=(step, *access.indices[1:]))
            seen.append(ir.Relational("!=", before, empty))
        begun = ir.Name(self.view.grain.variable, "variable")
        condition = terms.conjunction(*seen) or ir.Relational(">", begun, ir.Number(0))
        neutral = ir.Number(0 if correction.operator == "+" else 1)
        return ir.Call("where", (condition, factor, neutral))

    def _correction_at(self, key: tuple[str, ir.Expression], einsum: ir.Einsum) -> ir.Access:
        used = terms.variables_of(key[1])
        kept = (i for i in terms.bare(einsum.target).indices if set(i.variables) & used)
        return ir.Access(self.shared[key], (terms.variable(self.view.grain.variable), *kept))

    # ------------------------------------------------------------------------- maps

    def _cone(self, einsum: ir.Einsum) -> Iterator[ir.Einsum]:
        """Yield the Einsums of a map between a final value and a target, for this pass.

        If a later pass needs the map too, its version for that pass follows.
        """
        program = self.view.program
        later = {e.name for e in terms.readers(program, einsum.name)} - self.plan.cone
        now = terms.map_einsum(einsum, self.now)
        if not later and einsum.name not in program.outputs:
            yield now
            return
        name = self.names.fresh(f"U{einsum.name}")
        self.so_far[einsum.name] = name
        yield replace(now, target=replace(einsum.target, tensor=name))
        yield terms.map_einsum(einsum, self.final)

    def _derived(self, einsum: ir.Einsum) -> Iterator[ir.Einsum]:
        """Yield the Einsums of a value computed from final values, as known after this step."""
        now = terms.map_einsum(einsum, lambda node: self.now(node, finite=False))
        so_far = self._per_step("U", einsum)
        yield replace(now, target=so_far)
        self.so_far[einsum.name] = so_far.tensor
        bases = bases_below(self.view, einsum)
        if self._is_read_in_sweep(einsum.name) and any(
            self.masks.may_be_infinite(e) for e in bases
        ):
            size = ir.Call("abs", (so_far,))
            seen = ir.Relational("!=", size, ir.Number(float("inf")))
            yield self._made_finite(einsum, so_far, seen)

    def _made_finite(self, einsum: ir.Einsum, value: ir.Access, seen: ir.Relational) -> ir.Einsum:
        target = self._per_step("F", einsum)
        self.finite[einsum.name] = target.tensor
        guarded = ir.Call("where", (seen, value, ir.Number(0)))
        return ir.Einsum(target, guarded, span=einsum.span)

    def _per_step(self, prefix: str, einsum: ir.Einsum) -> ir.Access:
        """Return an access to a new tensor with one value of the target of ``einsum`` per step."""
        indices = (terms.variable(self.view.grain.variable), *terms.bare(einsum.target).indices)
        return ir.Access(self.names.fresh(prefix + einsum.name), indices)

    def _is_read_in_sweep(self, name: str) -> bool:
        einsum_of = self.view.program.einsum_of
        return any(name in {a.tensor for a in einsum_of[r].reads} for r in self.plan.cone)

    # ------------------------------------------------------------------- values

    def at(self, access: ir.Access, step: ir.Affine) -> ir.Access:
        """Return an access to a running value at one coordinate of the swept rank."""
        return ir.Access(self.running[access.tensor], (step, *access.indices))

    def final(self, node: _N) -> _N:
        """Return a node for a later pass, which reads running values at the end of the sweep."""
        stop = ir.Affine((ir.AffineTerm(shapes=(self.view.grain.rank,)),))

        def change(access: ir.Access) -> ir.Expression | None:
            return self.at(access, stop) if access.tensor in self.running else None

        return terms.replace_accesses(node, change)

    def now(self, node: _N, *, finite: bool = True) -> _N:
        """Return a node for this pass, in which final values are read as known after this step."""
        if not self.in_sweep:
            return self.final(node)

        def change(access: ir.Access) -> ir.Expression | None:
            if self.view.is_final(access):
                return self.new(access, finite=finite)
            name = self.so_far.get(access.tensor)
            return replace(access, tensor=name) if name else None

        return terms.replace_accesses(node, change)

    def new(self, access: ir.Access, *, finite: bool = True) -> ir.Access:
        """Return an access to a final value as it is known after this step."""
        name, grain = access.tensor, self.view.grain.variable
        held = (self.finite.get(name) if finite else None) or self.so_far.get(name)
        if held:
            kept = (i for i in access.indices if terms.stop_rank(i) is None)
            return ir.Access(held, (terms.variable(grain), *kept))
        return self._moved(access, terms.variable(grain, 1))

    def old(self, access: ir.Access) -> ir.Expression:
        """Return a final value as it was before this step; derived values are computed again."""
        source = self.view.program.einsum_of[access.tensor]
        if access.tensor in self.running or self.view.is_iterative(access.tensor):
            return self._moved(access, terms.variable(self.view.grain.variable))
        body = terms.substitute_variables(source.expression, terms.at_access(source, access))

        def change(inner: ir.Access) -> ir.Expression | None:
            return self.old(inner) if self.view.is_final(inner) else None

        return terms.replace_accesses(body, change)

    def unmarked(self, factor: ir.Expression) -> ir.Expression:
        """Return a correction factor with tensors in place of the names marked OLD and NEW."""

        def change(access: ir.Access) -> ir.Expression | None:
            if access.tensor.endswith(NEW):
                return self.new(replace(access, tensor=access.tensor.removesuffix(NEW)))
            if access.tensor.endswith(OLD):
                return self.old(replace(access, tensor=access.tensor.removesuffix(OLD)))
            return None

        return terms.replace_accesses(factor, change)

    def _moved(self, access: ir.Access, step: ir.Affine) -> ir.Access:
        if access.tensor in self.running:
            return self.at(access, step)
        rank = self.view.grain.rank
        indices = tuple(step if terms.stop_rank(i) == rank else i for i in access.indices)
        return replace(access, indices=indices)
