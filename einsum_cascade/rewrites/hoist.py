"""Factors that stand inside a sum and are the same for all that it adds: what could leave it.

``QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)`` divides at every e. The language computes and bills
what is written; whoever reads a count is told that ``factor:QK`` divides once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..algebra.conditions import Masks
from ..algebra.terms import variables_of
from ..ir import Einsum, Expression, Program
from ..notation.printer import expression_text
from ..operations import einsum_operations
from ..yaml.library import builtin_names, builtin_source
from .products import factors_of, is_worth_moving, product


@dataclass(frozen=True)
class Hoistable:
    """Factors of a sum that are free of what it sums over, as they are written."""

    einsum: str
    factors: tuple[Expression, ...]
    over: tuple[str, ...]

    def note(self, program: Program) -> str:
        """What is billed, and what to type so that it is not."""
        written, over = " and ".join(expression_text(f) for f in self.factors), ", ".join(self.over)
        stands, out = ("stands", "it") if len(self.factors) == 1 else ("stand", "them")
        where = f"{stands} inside the sum over {over} and {'is' if out == 'it' else 'are'}"
        return (
            f"{self.einsum}: {written} {where} billed at each {over}: "
            f"archsim rewrite {_called(program)} factor:{self.einsum} takes {out} out"
        )


def hoistable(program: Program) -> tuple[Hoistable, ...]:
    """Sums with factors that could leave them, so that less is computed.

    Only what is written in the sum itself counts: a factor inside a map that it reads is
    computed once as it is.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, P, E]\\ninputs: {Q: [P, E], K: [M, E]}\\noutput: QK\\n"
    >>> text = head + "einsums: 'QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)'\\n"
    >>> [h.einsum for h in hoistable(Cascade.parse(text).program)]
    ['QK']
    """
    masks = Masks(program)
    return tuple(h for e in program.einsums for h in _of(program, masks, e))


def _of(program: Program, masks: Masks, einsum: Einsum) -> Iterator[Hoistable]:
    if not einsum.over or einsum.select is not None or einsum.reduction != "+":
        return
    over = frozenset(einsum.over)
    parts = factors_of(einsum.expression)
    outside = [p for p in parts if not variables_of(p.value) & over and is_worth_moving(p.value)]
    inside = [p for p in parts if p not in outside]
    if not outside or not any(variables_of(p.value) & over for p in inside):
        return
    left = replace(einsum, expression=product(inside))
    times = [sum(n for _, n in einsum_operations(program, e)) for e in (einsum, left)]
    # A product of two sums one of them away: that is one operation a point, as before.
    if times[1] < times[0] and masks.keeps_points(einsum, left):
        yield Hoistable(einsum.name, tuple(p.value for p in outside), einsum.over)


def _called(program: Program) -> str:
    """What to type for a cascade: its name, or the file that it is in."""
    if program.span is None:
        return program.name
    built_in = program.name in builtin_names("cascades")
    own = program.span.source
    if built_in and builtin_source("cascades", program.name).name == own.name:
        return program.name
    return own.name
