"""Evaluation of one Einsum: its iteration space, expressions, reduction and result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import ir
from ..affine import digits
from ..errors import EvaluationError, NotANumberError
from ..functions import (
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    REDUCTIONS,
    Arithmetic,
    Function,
    Relation,
    of,
)
from ..masks import conjuncts
from ..operations import identity_of
from .aligned import AlignedArray, AlignedSpace, Excluded, Outside, Store, merged, read, union
from .dtypes import Array, DType, Precision, cast
from .inputs import Binding

Absences = Mapping[frozenset[str], Array]
"""Flags of absent elements, by the set of rank variables that decide about them."""


@dataclass(frozen=True)
class Computed:
    """Values of a computed tensor, and flags of its absent elements.

    Values and flags broadcast to the parallel ranks, then the free variables of the target.
    """

    values: Array
    absent: Absences


def compute(
    program: ir.Program, einsum: ir.Einsum, binding: Binding, store: Store, fixed: Mapping[str, int]
) -> Computed:
    """Evaluate one Einsum for given steps of the surrounding loops, and return its values.

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
    own = {v: fixed[v] for v in einsum.variables if v in fixed}
    space = AlignedSpace.of(program, binding, target + einsum.over, own)
    evaluator = Evaluator(
        program, space, store, binding.parameters, binding.precision.working(einsum.name)
    )
    with np.errstate(all="ignore"):
        return _Computation(einsum, evaluator, binding).result()


def restrictions(einsum: ir.Einsum, evaluator: Evaluator) -> Iterator[AlignedArray]:
    """Yield each condition of an Einsum's ``where`` as flags of the points that it excludes."""
    for part in conjuncts(einsum.where):
        lane = evaluator.condition(part)
        # A condition with an unknown operand decides nothing: the operand's own flags apply.
        excluded = ~lane.values & _known(lane)
        own = Excluded(frozenset(ir.variables_of(part)), excluded)
        yield replace(lane, excluded=(*lane.excluded, own))


@dataclass(frozen=True)
class _Computation:
    """Evaluation of one Einsum, whose outcome is ``result``."""

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
        if is_contraction(self.einsum, self.binding.precision):
            product, sign = factors(self.einsum.expression)
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

    # --------------------------------------------------------------- what takes part

    def _restriction(self) -> tuple[AlignedArray, ...]:
        """Return the points excluded by ``where`` and by the ends of partitioned ranks."""
        # Only the exclusions of these lanes matter, not their values.
        ends = (AlignedArray(self.evaluator.space.scalar(0), (e,)) for e in self._ends())
        return (*ends, *restrictions(self.einsum, self.evaluator))

    def _ends(self) -> Iterator[Excluded]:
        """Yield flags of the coordinates beyond the end of a rank with a partial last tile."""
        space, program = self.evaluator.space, self.evaluator.program
        for rank in program.ranks:
            # The target's members alone count as well: beyond the end an element is absent, while
            # other points only leave a reduction.
            for names in (self.einsum.target.variables, self.einsum.variables):
                members = [m.lower() for m in rank.partition if m.lower() in names]
                if not members:
                    continue
                # For M = 10 in M1 = 3 tiles of M0 = 4, m is 4*m1 + m0, and (2, 2) and (2, 3) lie
                # beyond the end.
                strides = digits(rank.partition).weights(space.shapes)
                at = sum(strides[m] * space.values(m) for m in members)
                beyond = np.asarray(at >= space.shapes[rank.name])
                if beyond.any():
                    yield Excluded(frozenset(members), beyond)

    def _masks(self, lanes: tuple[AlignedArray, ...]) -> tuple[tuple[Array, ...], Absences]:
        """Return the flags of excluded points, and the flags of absent elements of the result.

        An element is absent if an exclusion that does not depend on reduced variables covers it.
        Any other excluded point is only left out of the reduction.
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
        """Return a user reduction as a function on arrays, or None for a built-in operator."""
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
        """Return the result of a selection ``I[j, p] << topk(S[m, p], j)``.

        The last axis is m; the axis of j comes before it.
        """
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
        if excluded is not None:
            excluded = np.broadcast_to(excluded, shape).squeeze(axis)
        values = np.broadcast_to(lane.values, shape).squeeze(axis)
        positions, missing = topk(values, excluded, space.size(rank))
        missing = np.moveaxis(missing, -1, axis)
        if missing.any():
            fiber = frozenset(einsum.target.variables)
            absent = {**absent, fiber: absent.get(fiber, np.False_) | missing}
        return self._finished(np.moveaxis(positions, -1, axis), absent)

    def _kept_space(self) -> AlignedSpace:
        """Return the iteration space without the reduced variables."""
        space = self.evaluator.space
        return replace(space, variables=space.variables[: self.kept - len(space.parallel)])

    def _finished(self, values: Array, absent: Absences) -> Computed:
        """Return the result with 0 for absent elements; raise an error for NaN."""
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


# ------------------------------------------------------------------ expressions


def _on_arrays(
    rows: Mapping[str, Function] | Mapping[str, Arithmetic] | Mapping[str, Relation],
) -> Mapping[str, Callable[..., Array]]:
    return MappingProxyType({name: of(np, row.numpy) for name, row in rows.items()})


CALLS = _on_arrays(FUNCTIONS)
"""Built-in functions on arrays; a function of any number of arguments takes two arrays."""

PLUS_ONE = MappingProxyType(
    {name: of(np, row.plus_one) for name, row in FUNCTIONS.items() if row.plus_one is not None}
)
"""Functions plus one on arrays, by name of the function; others have no form of their own."""

BINARY = _on_arrays(ARITHMETIC)
"""Arithmetic operators on arrays."""

COMPARE = _on_arrays(COMPARISONS)
"""Comparison operators on arrays."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluator of expressions in one iteration space.

    Expressions of rank variables, shapes and parameters alone are computed in float64, so that
    coordinates stay exact. Their values are rounded to ``working`` where they meet a tensor. All
    arguments of a user function are evaluated before its body.
    """

    program: ir.Program
    space: AlignedSpace
    store: Store
    parameters: Mapping[str, float]
    working: DType
    arguments: Mapping[str, Array] = field(default_factory=dict)

    def value(self, node: ir.Expression | ir.Condition) -> AlignedArray:
        """Return the values of an expression or condition at all points."""
        match node:
            case ir.Number(value=value):
                return AlignedArray(self.space.scalar(float(value)))
            case ir.Name():
                return self._name(node)
            case ir.Access():
                lane = read(self.space, self.store, node)
                return lane.with_values(cast(lane.values, self.working))
            case ir.Unary(operand=operand):
                lane = self.value(operand)
                return lane.with_values(-lane.values)
            case ir.Binary(operator="+") if (call := _incremented(node)) is not None:
                lane = self.value(call.arguments[0])
                return lane.with_values(np.asarray(PLUS_ONE[call.function](lane.values)))
            case ir.Binary(operator=operator, left=left, right=right):
                return self._apply((self.value(left), self.value(right)), BINARY[operator])
            case ir.Call(function="where"):
                return self._where(node)
            case ir.Call():
                return self._call(node)
            case _:
                return self.condition(node)

    def _name(self, node: ir.Name) -> AlignedArray:
        match node.kind:
            case "variable":
                return AlignedArray(self.space.values(node.name).astype(np.float64))
            case "shape":
                return AlignedArray(self.space.scalar(float(self.space.shapes[node.name])))
            case "parameter":
                return AlignedArray(self.space.scalar(self.parameters[node.name]))
            case _:
                return AlignedArray(self.arguments[node.name])

    def _apply(self, lanes: tuple[AlignedArray, ...], function: object) -> AlignedArray:
        assert callable(function)
        return merged(lanes, np.asarray(reduce(function, self._in_one_type(lanes))))

    def _in_one_type(self, lanes: tuple[AlignedArray, ...]) -> list[Array]:
        """Return the values of all operands in one common number type."""
        if len({lane.values.dtype for lane in lanes}) == 1:
            return [lane.values for lane in lanes]
        return [cast(lane.values, self.working) for lane in lanes]

    def _call(self, node: ir.Call) -> AlignedArray:
        lanes = tuple(self.value(a) for a in node.arguments)
        for declared in self.program.functions:
            if declared.name == node.function:
                inner = dict(zip(declared.arguments, (lane.values for lane in lanes), strict=True))
                body = replace(self, arguments=inner).value(declared.body)
                return merged(lanes, body.values)
        function = CALLS[node.function]
        if len(lanes) > 1:
            return self._apply(lanes, function)
        return lanes[0].with_values(np.asarray(function(lanes[0].values)))

    def _where(self, node: ir.Call) -> AlignedArray:
        """Return the value of ``where(c, a, b)``.

        The branch not chosen excludes nothing and is not read.
        """
        condition, yes, no = node.arguments
        chooser = self.condition(condition)
        known = _known(chooser)
        variables = frozenset(ir.variables_of(condition))
        chosen = (
            self.value(yes).only_where(chooser.values & known, variables),
            self.value(no).only_where(~chooser.values & known, variables),
        )
        first, second = self._in_one_type(chosen)
        return merged((chooser, *chosen), np.where(chooser.values, first, second))

    def condition(self, node: ir.Expression | ir.Condition) -> AlignedArray:
        """Return the truth of a condition at all points.

        At each point, ``and`` and ``or`` stop at the first operand that decides.
        """
        match node:
            case ir.Relational(operator=operator, left=left, right=right):
                return self._apply((self.value(left), self.value(right)), COMPARE[operator])
            case ir.Logical(operator="not", operands=(operand,)):
                lane = self.condition(operand)
                return lane.with_values(~lane.values)
            case ir.Logical(operator=operator, operands=operands):
                return self._chain(operands, until=operator == "or")
            case _:
                raise TypeError(f"not a condition: {node!r}")

    def _chain(self, operands: tuple[ir.Condition, ...], until: bool) -> AlignedArray:
        found = self.condition(operands[0])
        variables = frozenset(ir.variables_of(operands[0]))
        for operand in operands[1:]:
            undecided = (~found.values if until else found.values) & _known(found)
            lane = self.condition(operand).only_where(undecided, variables)
            variables |= frozenset(ir.variables_of(operand))
            values = (found.values | lane.values) if until else (found.values & lane.values)
            found = merged((found, lane), values)
        return found


def _incremented(node: ir.Binary) -> ir.Call | None:
    """Return the call that a sum adds one to, if that would cancel the digits of its values."""
    for call, one in ((node.left, node.right), (node.right, node.left)):
        if isinstance(call, ir.Call) and isinstance(one, ir.Number) and one.value == 1:
            return call if call.function in PLUS_ONE else None
    return None


def _known(lane: AlignedArray) -> Array:
    """Return flags of the points at which an array has a defined value."""
    nothing = np.zeros((1,) * lane.values.ndim, bool)
    return ~reduce(np.logical_or, lane.unknown, nothing)


# ------------------------------------------------------------------ reductions


def factors(expression: ir.Expression) -> tuple[tuple[ir.Expression, ...], int]:
    """Return the factors of a product, and its sign; any other expression is its single factor."""
    match expression:
        case ir.Unary(operand=operand):
            found, sign = factors(operand)
            return found, -sign
        case ir.Binary(operator="*", left=left, right=right):
            first, one = factors(left)
            second, two = factors(right)
            return first + second, one * two
        case _:
            return (expression,), 1


def is_contraction(einsum: ir.Einsum, precision: Precision) -> bool:
    """Return whether an Einsum sums a product, so that no product of single points is stored.

    A contraction adds in any order; a 16-bit accumulator rounds in the order of the coordinates.
    """
    product, _ = factors(einsum.expression)
    narrow = precision.accumulator(einsum.name) is not None
    return bool(einsum.over) and einsum.reduction == "+" and len(product) > 1 and not narrow


def contract(
    lanes: tuple[AlignedArray, ...],
    sign: int,
    excluded: tuple[Array, ...],
    space: AlignedSpace,
    kept: int,
) -> Array | None:
    """Return the product of ``lanes``, summed over all axes from ``kept`` on.

    Excluded points take part with a factor 0, and factors are multiplied in any order.

    Returns
    -------
    array or None
        Array of ``kept`` axes, broadcastable; None if the sum must be taken point by point, because
        it is not finite (perhaps only because of an excluded point or of the order).
    """
    working = lanes[0].values.dtype
    arrays = [lane.values for lane in lanes] + [cast(~flags, working) for flags in excluded]
    shape = space.shape
    covered = reduce(np.maximum, [np.array(a.shape) for a in arrays])
    # Along an axis that no operand has, every element counts as often as the axis is long.
    if any(covered[axis] < shape[axis] for axis in range(kept, len(shape))):
        return None
    # A factor 0 does not remove an infinite point (0 * inf is NaN), and a product of more than two
    # factors may overflow in one order only: such sums are computed again, point by point.
    result = _einsum(arrays, kept, working)
    result = result if sign > 0 else -result
    return result if np.isfinite(result).all() else None


def _einsum(arrays: list[Array], kept: int, working: DType) -> Array:
    import opt_einsum

    operands: list[object] = []
    present: set[int] = set()
    for array in arrays:
        # Broadcast axes are left out, because opt_einsum wants one size per label.
        axes = [axis for axis, size in enumerate(array.shape) if size > 1]
        operands += [array.reshape([array.shape[axis] for axis in axes]), axes]
        present.update(axes)
    output = [axis for axis in range(kept) if axis in present]
    result = np.asarray(opt_einsum.contract(*operands, output), working)
    shape = [1] * kept
    for axis, size in zip(output, result.shape, strict=True):
        shape[axis] = size
    return result.reshape(shape)


Operator = Callable[[Array, Array], Array]

UFUNCS: Mapping[str, Any] = MappingProxyType(
    {name: of(np, row.merge.numpy) for name, row in REDUCTIONS.items()}
)
"""Functions that merge two elements, by name of the built-in reduction operator."""


def reduce_axes(
    values: Array,
    axes: int,
    reduction: str,
    *,
    excluded: Array | None,
    identity: float,
    accumulator: DType | None,
    operator: Operator | None,
) -> Array:
    """Return an array reduced over its last ``axes`` axes.

    Parameters
    ----------
    values : array
        Full along the reduced axes.
    axes : int
        Number of trailing axes to reduce; positive.
    reduction : str
        Name of the operator.
    excluded : array, optional
        Points that do not take part, broadcast to ``values``.
    identity : float
        Identity element of the operator.
    accumulator : dtype, optional
        16-bit type to which the running result is rounded.
    operator : callable, optional
        User operator; None for a built-in one.

    Returns
    -------
    array
        Array of the remaining axes, in the type of ``values``.

    Examples
    --------
    In bfloat16, with 8 significant bits, a sum of ones stops at 256:

    >>> from .dtypes import dtype_of
    >>> ones = np.ones(300, np.float32)
    >>> how = {"excluded": None, "identity": 0.0, "operator": None}
    >>> float(reduce_axes(ones, 1, "+", accumulator=dtype_of("bfloat16"), **how))
    256.0
    >>> float(reduce_axes(ones, 1, "+", accumulator=None, **how))
    300.0
    """
    trailing = tuple(range(values.ndim - axes, values.ndim))
    ufunc = UFUNCS.get(reduction)
    # A maximum is one of its operands, so nothing is rounded on the way.
    if ufunc is not None and (accumulator is None or reduction in ("max", "min")):
        if excluded is not None:
            values = np.where(excluded, np.asarray(identity, values.dtype), values)
        return np.asarray(ufunc.reduce(values, axis=trailing, dtype=values.dtype))
    apply = ufunc if operator is None else operator
    assert apply is not None
    return _fold(values, axes, apply, excluded, identity, accumulator)


def _fold(
    values: Array,
    axes: int,
    apply: Operator,
    excluded: Array | None,
    identity: float,
    accumulator: DType | None,
) -> Array:
    """Reduce point by point, starting with the identity; an excluded point changes nothing."""
    kept = values.shape[: values.ndim - axes]
    points = values.reshape((*kept, -1))
    skip = None
    if excluded is not None:
        skip = np.broadcast_to(excluded, values.shape).reshape(points.shape)
    total = np.full(kept, identity, values.dtype)
    for at in range(points.shape[-1]):
        after = np.asarray(apply(total, points[..., at]))
        if accumulator is not None:
            after = cast(cast(after, accumulator), values.dtype)
        total = after if skip is None else np.where(skip[..., at], total, after)
    return total


def topk(values: Array, excluded: Array | None, count: int) -> tuple[Array, Array]:
    """Return the positions of the ``count`` largest elements along the last axis.

    Equal elements are taken in the order of their positions.

    Parameters
    ----------
    values : array, shape (..., M)
        Candidates.
    excluded : array, optional
        Candidates that cannot be selected, broadcast to ``values``.
    count : int
        Number of positions; those beyond M are missing.

    Returns
    -------
    positions : array of int64, shape (..., count)
        Positions, largest element first.
    missing : array of bool, shape (..., count)
        True where fewer than ``count`` elements could be selected.
    """
    skip = np.broadcast_to(False if excluded is None else excluded, values.shape)
    # lexsort takes its last key first and is stable: excluded elements end up at the back.
    order = np.lexsort((-values, skip), axis=-1)
    available = values.shape[-1] - np.count_nonzero(skip, axis=-1)
    positions = np.zeros((*values.shape[:-1], count), np.int64)
    positions[..., : order.shape[-1]] = order[..., :count]
    missing = np.arange(count) >= available[..., None]
    return np.where(missing, 0, positions), missing
