"""Final values on the way: under which name and at which coordinate each is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..algebra.terms import (
    at_access,
    replace_accesses,
    shape,
    stop_rank,
    substitute_variables,
    variable,
)
from ..algebra.view import RankView, non_stop_indices
from ..ir import Access, Affine, Expression, Node
from .corrections import NEW, OLD

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
