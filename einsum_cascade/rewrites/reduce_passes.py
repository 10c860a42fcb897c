"""``reduce_passes``: a rule that lets sums run along with a sweep instead of after it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

from ..algebra.sweeps import Grain, RankView, gathers_through, grain_of, inlined
from ..algebra.sympy_bridge import Bridge, render
from ..errors import RewriteError
from ..graphs import reachable
from ..ir import Einsum, Program
from ..notation import expression_text
from .base import Rewrite, RewriteStep, refuse, step
from .chunk import Chunk
from .corrections import Blocked, Corrections, moved_finals
from .factor import factor_out, separated
from .running import SELECTION, RunningPlan, plan_of, write

# Bound on the steps of a derivation, in case one rule undoes another.
_MAX_STEPS = 200


@dataclass(frozen=True)
class ReducePasses(Rewrite):
    """Merge the sweeps over a rank that a correction can merge.

    Precondition: every reduction that needs a value from the end of a sweep of the same rank meets
    one of three conditions. It can give up that value (``defer_division``), or separate it
    (``separate``), or has a correction: ``f(x, d2) = c(d1, d2) (.) f(x, d1)`` with ``c`` free of
    ``x`` and ``(.)`` distributing over the reduction. Sympy decides. If nothing waits but a causal
    sum sweeps the keys for every query, the sums become chunks with one state (``chunk``).

    Before -> after: ``GM[p] = QK[m,p] :: max[m]; SN[m,p] = exp(QK[m,p] - GM[p]); SD[p] = SN[m,p]``
    becomes ``RGM[m+1,p] = max(RGM[m,p], QK[m,p]); SN[m,p] = exp(QK[m,p] - RGM[m+1,p]); CGM[m,p] =
    exp(RGM[m,p] - RGM[m+1,p]); PSD[m,p] = RSD[m,p] * CGM[m,p]; RSD[m+1,p] = SN[m,p] + PSD[m,p]``,
    and ``SD`` is ``RSD[M,p]``. On a partitioned rank it works tile by tile, with local reductions.

    Source: the online softmax of Milakov and Gimelshein (arXiv 1805.02867) and Cascade 5 of Nayak
    et al. (MICRO 2024), generalised.
    """

    rank: str | None = None
    name: ClassVar[str] = "reduce_passes"

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return the steps rank by rank: the helper rewrites that are needed, then the merge."""
        if self.rank is not None:
            return reduce_rank(program, grain_of(program, self.rank))
        grains = [grain_of(program, r.name) for r in program.ranks if r.family is None]
        waiting = [g for g in grains if not nothing_to_reduce(RankView(program, g))]
        if not waiting:
            # A causal sum sweeps the keys once for every query; a state carried from chunk to chunk
            # replaces these sweeps by one sweep for all queries.
            try:
                return Chunk().derive(program)
            except RewriteError:
                idle = (p for g in grains for p in _idle(RankView(program, g)).problems)
                placed = [problem for problem in idle if problem.span is not None]
                condition = (
                    f"no reduction of '{program.name}' waits for the end of a sweep, every rank is "
                    "passed over once"
                )
                error = RewriteError(placed) if placed else refuse(_RULE, condition, program)
                raise error from None
        # Report a selection first: it is the plainest reason.
        waiting.sort(key=lambda g: _selection(RankView(program, g)) is None)
        steps = _all_along(program, waiting)
        for grain in waiting[1:]:
            # A sum over two ranks that now runs along the first may have no running form along the
            # second; then one pass over the first is the best possible.
            with suppress(RewriteError):
                steps.extend(reduce_rank(steps[-1].after, grain))
        return tuple(steps)


def _all_along(program: Program, waiting: list[Grain]) -> list[RewriteStep]:
    """Return the steps along the first of some ranks, provided every rank has steps.

    Raises
    ------
    RewriteError
        A rank has none; the hint names the rules for ranks that have some.
    """
    found: list[tuple[RewriteStep, ...]] = []
    refused: list[RewriteError] = []
    for grain in waiting:
        try:
            found.append(reduce_rank(program, grain))
        except RewriteError as error:
            refused.append(error)
    if not refused:
        return list(found[0])
    rules = [steps[-1].rule for steps in found]
    if not rules:
        raise refused[0]
    last = refused[0].problems[-1]
    hints = (*([last.hint] if last.hint else []), f"{' and '.join(rules)} can be derived")
    raise RewriteError([*refused[0].problems[:-1], replace(last, hint="; ".join(hints))])


def reduce_rank(program: Program, grain: Grain) -> tuple[RewriteStep, ...]:
    """Return the steps that reduce the passes over one swept rank.

    Raises
    ------
    RewriteError
        A reduction has no correction, or nothing waits for the end of a sweep.
    """
    steps: list[RewriteStep] = []
    view = RankView(program, grain)
    while not nothing_to_reduce(view) and len(steps) < _MAX_STEPS:
        steps.append(_next(view))
        view = RankView(steps[-1].after, grain)
    if not steps:
        raise _idle(view)
    if not grain.inner and steps[-1].rule.startswith(_RULE):
        rank = grain.rank
        hint = (
            f"the corrections run for every element of {rank}; for every tile, partition it first: "
        )
        steps[-1] = replace(steps[-1], hint=f"{hint}partition:{rank}={rank}1,{rank}0")
    return tuple(steps)


def nothing_to_reduce(view: RankView) -> bool:
    """Return whether no reduction or selection waits for the end of a sweep."""
    return not view.stale_reductions and _selection(view) is None


def _next(view: RankView) -> RewriteStep:
    program = view.program
    selection = _selection(view)
    if selection is not None:
        raise refuse(_RULE, SELECTION.format(selection.select), selection)
    for einsum in _held_or_swept(view):
        if (found := factor_out(program, einsum, view.depends)) is not None:
            return found
    corrections = Corrections(view)
    for einsum in view.stale_reductions:
        try:
            corrections.of(einsum)
        except Blocked as blocked:
            for part in _held_or_swept(view):
                if (found := _separated(view, part)) is not None:
                    return found
            raise _refusal(view, blocked) from None
    try:
        plan = plan_of(view, corrections)
    except Blocked as blocked:
        raise _refusal(view, blocked) from None
    after = write(view, plan, corrections)
    because = _reasons(view, plan, corrections)
    return step(f"{_RULE}:{view.grain.rank}", program, after, *because)


_RULE = ReducePasses.name


def _held_or_swept(view: RankView) -> tuple[Einsum, ...]:
    """Return the reductions that wait for the end of a sweep, and local reductions feeding them."""
    einsum_of = view.program.einsum_of
    stale = [e.name for e in view.stale_reductions]
    names = reachable(stale, lambda n: {a.tensor for a in einsum_of[n].reads} & view.stale)
    return tuple(e for e in view.program.einsums if e.name in names and e.over)


def _separated(view: RankView, einsum: Einsum) -> RewriteStep | None:
    """Return the step that separates a waiting sum, or None if the results do not run along."""
    found = separated(
        view.program, einsum, lambda source: view.depends(source.expression), split_terms=True
    )
    if found is None:
        return None
    after = RankView(found.after, view.grain)
    known = {e.name for e in view.stale_reductions}
    corrections = Corrections(after)
    for new in after.stale_reductions:
        if new.name in known:
            continue
        try:
            corrections.of(new)
        except Blocked:
            return None
    return found


def _selection(view: RankView) -> Einsum | None:
    """Return a selection over the swept rank whose result gathers by position, or None."""
    einsums = view.program.einsums
    for einsum in einsums:
        selects = einsum.select is not None and view.reduces(einsum)
        if selects and any(gathers_through(e.expression, einsum.name) for e in einsums):
            return einsum
    return None


def _refusal(view: RankView, blocked: Blocked) -> RewriteError:
    einsum = blocked.einsum
    reads = ", ".join(dict.fromkeys(a.tensor for a in view.final_reads(einsum)))
    hint = (
        f"'{einsum.name}' needs {reads} at the end of a sweep of {view.grain.family}; "
        "that pass cannot be merged with the next"
    )
    return refuse(f"{_RULE}:{view.grain.rank}", blocked.condition, einsum, hint if reads else None)


def _idle(view: RankView) -> RewriteError:
    """Return the error for a rank on which no pass can be saved.

    Either nothing waits for the end of a sweep, or no reduction is among the waiting Einsums.
    """
    family = view.grain.family
    waiting = [e for e in view.program.einsums if e.name in view.stale]
    if not waiting:
        return refuse(f"{_RULE}:{family}", f"nothing waits for the end of a sweep of {family}")
    condition = (
        f"it is computed for every element of {family} from the end of a sweep, and no "
        "reduction follows that a correction could repair"
    )
    return refuse(f"{_RULE}:{family}", condition, waiting[0])


def _reasons(view: RankView, plan: RunningPlan, corrections: Corrections) -> tuple[str, ...]:
    """Return one line per corrected reduction: the identity behind it, with maps substituted."""
    lines: list[str] = []
    for name in plan.targets:
        einsum = view.program.einsum_of[name]
        expression = inlined(
            view.program, einsum, einsum.expression, lambda a: a.tensor in view.stale
        )
        bridge = Bridge(view.program)
        value = bridge.to_sympy(expression)
        old, new = moved_finals(view, bridge, expression)
        correction = corrections.of(einsum)
        factor = expression_text(correction.factor)
        lines.append(
            f"{name}: {render(bridge, value.subs(new))} = {factor} {correction.operator} "
            f"{render(bridge, value.subs(old))}"
        )
    return tuple(lines)
