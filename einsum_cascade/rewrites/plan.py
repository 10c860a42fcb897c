"""What has to run along with a sweep so that no later sweep is needed for it."""

from __future__ import annotations

from dataclasses import dataclass

from ..algebra.conditions import Masks
from ..algebra.terms import readers, target_variables
from ..algebra.view import RankView, is_map
from ..ir import Einsum
from .corrections import Blocked, Corrections, known_reduction


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
