"""Evaluation of one Einsum: its iteration space, map, reduction and result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from .. import ir
from ..errors import EvaluationError, NotANumberError
from ..masks import conjuncts
from ..operations import identity_of
from .aligned import AlignedArray, AlignedSpace, Excluded, Outside, Store, union
from .dtypes import Array, cast
from .expressions import Evaluator
from .inputs import Binding
from .reductions import Operator, contract, factors, reduce_axes, topk

Absences = Mapping[frozenset[str], Array]
"""Flags of absent elements, by the rank variables that decide."""


@dataclass(frozen=True)
class Computed:
    """Elements of a tensor, and flags of absent elements by the variables that decide.

    Axes: the parallel ranks, then the free variables of the target; both broadcast.
    """

    values: Array
    absent: Absences


def compute(
    program: ir.Program,
    einsum: ir.Einsum,
    binding: Binding,
    store: Store,
    fixed: Mapping[str, int],
) -> Computed:
    """Evaluate one Einsum at given values of the loop variables.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    binding : Binding
    store : mapping
        A ``Buffer`` for each tensor that the Einsum reads.
    fixed : mapping
        Step of each surrounding loop by variable; only variables of the target are allowed.

    Raises
    ------
    EvaluationError
        The Einsum reads beyond a tensor, or gives NaN (``NotANumberError``).
    """
    target = tuple(v for v in einsum.target.variables if v not in fixed)
    space = AlignedSpace(
        parallel=binding.parallel,
        variables=target + einsum.over,
        fixed={v: fixed[v] for v in einsum.variables if v in fixed},
        shapes=binding.shapes,
        ranks=program.rank_of_variable,
    )
    evaluator = Evaluator(
        program, space, store, binding.parameters, binding.precision.working(einsum.name)
    )
    with np.errstate(all="ignore"):
        return _Computation(einsum, evaluator, binding).result()


@dataclass(frozen=True)
class _Computation:
    """Einsum with everything needed to evaluate it."""

    einsum: ir.Einsum
    evaluator: Evaluator
    binding: Binding

    @property
    def kept(self) -> int:
        """Number of axes of the result."""
        return self.evaluator.space.ndim - len(self.einsum.over)

    def result(self) -> Computed:
        if self.einsum.select is not None:
            return self._selected()
        restriction = self._restriction()
        product, sign = factors(self.einsum.expression)
        if self._contractible(product):
            working = self.evaluator.working
            lanes = [self.evaluator.value(f) for f in product]
            lanes = [lane.with_values(cast(lane.values, working)) for lane in lanes]
            masks, absent = self._masks((*restriction, *lanes))
            found = contract(tuple(lanes), sign, masks, self.evaluator.space, self.kept)
            if found is not None:
                return self._finished(found, absent)
        lane = self.evaluator.value(self.einsum.expression)
        masks, absent = self._masks((*restriction, lane))
        values = cast(lane.values, self.evaluator.working)
        return self._finished(self._reduced(values, masks), absent)

    def _contractible(self, product: tuple[ir.Expression, ...]) -> bool:
        einsum = self.einsum
        # A contraction adds in any order; a 16-bit accumulator rounds in the order of the
        # coordinates.
        narrow = self.binding.precision.accumulator(einsum.name) is not None
        return bool(einsum.over) and einsum.reduction == "+" and len(product) > 1 and not narrow

    # --------------------------------------------------------------- what takes part

    def _restriction(self) -> tuple[AlignedArray, ...]:
        """Return the ends of partitioned fibers and the parts of ``where``, as exclusions."""
        # Only the exclusions of these lanes matter, not their values.
        found = [AlignedArray(self.evaluator.space.scalar(0), (e,)) for e in self._ends()]
        for part in conjuncts(self.einsum.where):
            lane = self.evaluator.condition(part)
            excluded = ~lane.values
            # A condition with an unknown operand decides nothing: the operand's own flags apply.
            for flags in lane.unknown:
                excluded = excluded & ~flags
            own = Excluded(frozenset(ir.variables_of(part)), excluded)
            found.append(replace(lane, excluded=(*lane.excluded, own)))
        return tuple(found)

    def _ends(self) -> Iterator[Excluded]:
        """Yield the coordinates beyond the end of a partitioned rank with a partial last tile."""
        space, program = self.evaluator.space, self.evaluator.program
        for rank in program.ranks:
            # The target's members alone count as well: beyond the end an element is absent, while
            # other points only leave a reduction.
            for names in (self.einsum.target.variables, self.einsum.variables):
                members = [m for m in rank.partition if m.lower() in names]
                if not members:
                    continue
                # For M = 10 in M1 = 3 tiles of M0 = 4, m is 4*m1 + m0, and (2, 2) and (2, 3) lie
                # beyond the end.
                strides = {
                    m: prod(space.shapes[n] for n in rank.partition[i + 1 :])
                    for i, m in enumerate(rank.partition)
                }
                at = sum(strides[m] * space.values(m.lower()) for m in members)
                beyond = np.asarray(at >= space.shapes[rank.name])
                if beyond.any():
                    yield Excluded(frozenset(m.lower() for m in members), beyond)

    def _masks(self, lanes: tuple[AlignedArray, ...]) -> tuple[tuple[Array, ...], Absences]:
        """Return the excluded points, and the flags of absent elements of the result.

        An element is absent if an exclusion that does not depend on reduced variables covers it.
        Other excluded points only leave a reduction without an operand.
        """
        space = self.evaluator.space
        excluded = [e for lane in lanes for e in lane.excluded if e.flags.any()]
        flags = tuple(e.flags for e in excluded)
        self._check_inside(tuple(o for lane in lanes for o in lane.outside), flags)
        over = frozenset(self.einsum.over)
        absent: dict[frozenset[str], Any] = {}
        for e in excluded:
            if not e.variables & over:
                # The flags are equal along the reduced axes, except where a tensor ends.
                found = e.flags.any(axis=tuple(range(self.kept, space.ndim)))
                absent[e.variables] = absent.get(e.variables, np.False_) | found
        return flags, absent

    def _check_inside(self, outside: tuple[Outside, ...], excluded: tuple[Array, ...]) -> None:
        space = self.evaluator.space
        for one in outside:
            if not one.flags.any():
                continue
            bad = one.flags
            for flags in excluded:
                bad = bad & ~flags
            if bad.any():
                what = (
                    f"'{self.einsum.name}' reads '{one.access.tensor}' beyond its coordinates, or "
                    f"where nothing sets it,{space.point(bad)}"
                )
                hint = "restrict the equation by 'where', or check the index tensor"
                raise EvaluationError(what, one.access.span, hint)

    # --------------------------------------------------------------- reduction, selection

    def _reduced(self, values: Array, masks: tuple[Array, ...]) -> Array:
        einsum, space = self.einsum, self.evaluator.space
        axes = len(einsum.over)
        if not axes:
            return values
        excluded = union(masks, space.ndim)
        # A mask may vary along a result axis along which the values are equal (length 1).
        kept = values.shape[: self.kept]
        if excluded is not None:
            kept = np.broadcast_shapes(kept, excluded.shape[: self.kept])
        full = np.broadcast_to(values, kept + space.shape[self.kept :])
        return reduce_axes(
            full,
            axes,
            einsum.reduction,
            excluded=excluded,
            identity=float(identity_of(self.evaluator.program, einsum.reduction)),
            accumulator=self.binding.precision.accumulator(einsum.name),
            operator=self._operator(),
        )

    def _operator(self) -> Operator | None:
        """Return a user reduction operator on arrays, or None for a built-in one."""
        found = [r for r in self.evaluator.program.reductions if r.name == self.einsum.reduction]
        if not found:
            return None
        (first, second), body = found[0].arguments, found[0].body
        inside = replace(self.evaluator, space=self._kept_space())

        def apply(a: Array, b: Array) -> Array:
            value = replace(inside, arguments={first: a, second: b}).value(body)
            return cast(value.values, inside.working)

        return apply

    def _selected(self) -> Computed:
        """Evaluate ``I[j, p] << topk(S[m, p], j)``: m is the last axis, j comes before it."""
        einsum, space = self.einsum, self.evaluator.space
        assert isinstance(einsum.expression, ir.Access)
        rank = next(v for v in einsum.target.variables if v not in einsum.expression.variables)
        axis = space.axis(rank)
        for part in conjuncts(einsum.where):
            if {rank, *einsum.over} <= set(ir.variables_of(part)):
                what = f"a condition on '{rank}' and on '{einsum.over[0]}' cannot select"
                raise EvaluationError(what, part.span)
        lane = self.evaluator.value(einsum.expression)
        masks, absent = self._masks((*self._restriction(), lane))
        # A condition on the selection's own rank does not restrict the candidates.
        candidates = tuple(m for m in masks if m.shape[axis] == 1)
        excluded = union(candidates, space.ndim)
        shape = list(space.shape)
        shape[axis] = 1
        positions, missing = topk(
            np.broadcast_to(lane.values, shape).squeeze(axis),
            None if excluded is None else np.broadcast_to(excluded, shape).squeeze(axis),
            space.size(rank),
        )
        missing = np.moveaxis(missing, -1, axis)
        if missing.any():
            fiber = frozenset(einsum.target.variables)
            absent = {**absent, fiber: absent.get(fiber, np.False_) | missing}
        return self._finished(np.moveaxis(positions, -1, axis), absent)

    def _kept_space(self) -> AlignedSpace:
        """Return the space without the reduced variables."""
        space = self.evaluator.space
        return replace(space, variables=space.variables[: self.kept - len(space.parallel)])

    def _finished(self, values: Array, absent: Absences) -> Computed:
        """Return the result with 0 for absent elements; NaN is an error."""
        values = values.reshape(values.shape[: self.kept])
        for flags in absent.values():
            values = np.where(flags, np.zeros((), values.dtype), values)
        broken = np.isnan(values)
        if broken.any():
            point = self._kept_space().point(broken)
            what = f"'{self.einsum.name}' is not a number{point}"
            hint = (
                "such as 0 * inf, inf - inf, inf / inf or the logarithm of a negative number; "
                f"computed in {self.evaluator.working.name}, "
                f"stored in {self.binding.precision.storage.name}"
            )
            raise NotANumberError(what, self.einsum.target.span, hint)
        if self.einsum.select is None:
            values = self.binding.precision.kept(self.einsum.name, values)
        return Computed(values, absent)
