"""``make_iterative``: a reduction becomes a tensor that is carried from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..algebra.terms import target_variables
from ..algebra.view import RankView, grain_of
from ..errors import Problem, RewriteError
from ..ir import Einsum, Program
from ..operations import identity_of
from .base import Rewrite, RewriteStep, einsum_named, refuse, step
from .causal import mask_ranks
from .corrections import Corrections, known_reduction
from .plan import RunningPlan
from .recurrence import prefix_step
from .running import write


@dataclass(frozen=True)
class MakeIterative(Rewrite):
    """Carry a reduction along the rank it reduces.

    Precondition: the Einsum reduces the rank (by a built-in operator, or one sympy proves
    associative) and its target is indexed by bare rank variables. ``rank`` may be left
    out when only one rank is reduced.

    Before -> after: ``GM[p] = QK[m,p] :: max[m]`` becomes ``RGM[0,p] = -inf``,
    ``RGM[m+1,p] = max(RGM[m,p], QK[m,p])``, and ``RGM[M,p]`` stands for ``GM[p]``. On a
    partitioned rank a local reduction comes first. A prefix reduction ``where m <= p`` is
    carried along p instead (the ranks are then declared alike): ``S[p] = X[m] where
    m <= p`` becomes ``RX[p+1] = RX[p] + X[p]``, and ``S[p]`` is ``RX[p+1]``.

    Source: iterative construction, Nayak et al., MICRO 2024, section III.
    """

    einsum: str
    rank: str | None = None
    name: ClassVar[str] = "make_iterative"

    def __str__(self) -> str:
        return f"{self.name}:{self.einsum}" + (f",{self.rank}" if self.rank else "")

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """One step."""
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
        for variable in einsum.over:
            rank = program.rank_of[program.rank_of_variable[variable]]
            families.setdefault(rank.family or rank.name)
        if len(families) != 1:
            listed = ", ".join(families) or "nothing"
            raise RewriteError(
                Problem(
                    f"{self.name} does not apply at '{einsum.name}': it reduces {listed}",
                    einsum.span,
                    f"say which, such as {self.name}:{einsum.name},{next(iter(families), 'M')}",
                )
            )
        return next(iter(families))
