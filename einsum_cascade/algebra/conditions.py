"""Which points an Einsum skips: its own conditions and those of what it reads.

An element that a condition on the kept ranks removes is absent, and so is what is
computed from it point by point: a mask written once, on the scores, reaches everything
below. A rewrite must keep, for every reduction, exactly the points it had.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..ir import Access, Call, Condition, Einsum, Node, Number, Program, children, walk
from ..masks import conjuncts
from ..operations import identity_of
from .terms import at_access, substitute_variables, target_variables, variables_of


@dataclass(frozen=True)
class Masks:
    """The conditions under which a program's Einsums skip points."""

    program: Program

    @cached_property
    def _absent(self) -> dict[str, frozenset[Condition]]:
        found: dict[str, frozenset[Condition]] = {}
        for einsum in self.program.einsums:
            over = frozenset(einsum.over)
            own = {c for c in conjuncts(einsum.where) if not variables_of(c) & over}
            for access in _certain_reads(einsum.expression):
                if not set(access.variables) & over:
                    own |= self._inherited(access, found)
            # A step that a mask leaves out keeps the state as it was: the element is there.
            is_iterative = einsum.name in self.program.iterative
            found[einsum.name] = frozenset() if is_iterative else frozenset(own)
        return found

    def skipped(self, einsum: Einsum) -> frozenset[Condition]:
        """Conditions that must hold at a point for it to take part."""
        found = set(conjuncts(einsum.where))
        for access in _certain_reads(einsum.expression):
            if access.tensor != einsum.name:
                found |= self._inherited(access, self._absent)
        return frozenset(found)

    def _inherited(
        self, access: Access, absent: dict[str, frozenset[Condition]]
    ) -> frozenset[Condition]:
        conditions = absent.get(access.tensor, frozenset())
        source = self.program.einsum_of.get(access.tensor)
        if not conditions or source is None or target_variables(source) is None:
            return conditions
        values = at_access(source, access)
        return frozenset(
            part for c in conditions for part in conjuncts(substitute_variables(c, values))
        )

    def keeps_points(self, old: Einsum, new: Einsum) -> bool:
        """Whether a new reduction takes the points an old one takes, no fewer, no more.

        Parameters
        ----------
        old, new : Einsum
            ``new`` may be in no program yet; what both read is looked up in this one.
        """
        return self.skipped(old) == self.skipped(new)

    def may_be_infinite(self, einsum: Einsum) -> bool:
        """Whether a running max or min can still be its identity after some steps.

        That takes a mask, on the reduction or on one inside it, or an infinity written
        into what is reduced.
        """
        if einsum.select is not None or not math.isinf(identity_of(self.program, einsum.reduction)):
            return False
        for source in (einsum, *self._sources(einsum)):
            empty = identity_of(self.program, source.reduction) if source.over else 0
            if self.skipped(source) and math.isinf(empty):
                return True
        return bool(self.infinite_sources(einsum))

    def infinite_sources(self, einsum: Einsum) -> frozenset[str]:
        """Tensors an Einsum is computed from in whose equation an infinity is written."""
        return frozenset(
            source.name
            for source in (einsum, *self._sources(einsum))
            if any(isinstance(n, Number) and math.isinf(n.value) for n in walk(source.expression))
        )

    def sources(self, einsum: Einsum) -> frozenset[str]:
        """Every tensor an Einsum is computed from, itself included."""
        return frozenset((einsum.name, *(s.name for s in self._sources(einsum))))

    def _sources(self, einsum: Einsum) -> tuple[Einsum, ...]:
        seen: dict[str, Einsum] = {}
        pending = [einsum]
        while pending:
            for access in pending.pop().reads:
                source = self.program.einsum_of.get(access.tensor)
                if source is not None and source.name not in seen:
                    seen[source.name] = source
                    pending.append(source)
        return tuple(seen.values())


def _certain_reads(node: Node) -> Iterator[Access]:
    """Accesses that are read at every point: not those that a ``where`` call may skip."""
    if isinstance(node, Access):
        yield node
    if isinstance(node, Call) and node.function == "where":
        return
    for child in children(node):
        yield from _certain_reads(child)
